"""The papers that the theorems of this catalogue are from."""

SOURCE = "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein, ICLR 2017"
POOLE = "Poole, Lahiri, Raghu, Sohl-Dickstein & Ganguli, NeurIPS 2016"
BOTH = f"{POOLE}; {SOURCE}"
