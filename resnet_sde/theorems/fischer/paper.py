"""The paper that the theorems of this catalogue are from."""

SOURCE = "Fischer, Dahmen & Helias (2023)"
DERIVED = f"{SOURCE}; expressions derived here"
