"""The paper that the theorems of this catalogue are from."""

SOURCE = "Yang & Schoenholz, NeurIPS 2017"
