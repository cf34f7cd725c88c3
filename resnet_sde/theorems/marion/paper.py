"""The paper that the theorems of this catalogue are from."""

SOURCE = "Marion, Fermanian, Biau & Vert, JMLR 26(56), 2025"
