"""Poole et al., and Schoenholz, Gilmer, Ganguli & Sohl-Dickstein, Deep Information Propagation."""
