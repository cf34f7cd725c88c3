"""Schoenholz, Gilmer, Ganguli & Sohl-Dickstein, *Deep Information Propagation*, ICLR 2017.

Feed-forward networks at initialization: where lengths and correlations settle and how fast, how deep
gradients reach, the line between order and chaos, and what becomes of it for ReLU, without biases and under
dropout. The maps of lengths and correlations are those of Poole et al. (2016).
"""

from importlib import import_module

for _name in ("lengths", "correlations", "critical", "exceptions", "gradients"):
    import_module(f"{__name__}.{_name}")
