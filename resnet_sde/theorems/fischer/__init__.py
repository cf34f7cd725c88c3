"""Fischer, Dahmen & Helias, *Field theory for optimal signal propagation in ResNets*, 2023.

Kernels of residual networks at finite width: how they fluctuate and shift, how the output responds to
the input, and the residual scale at which it responds most.
"""

from importlib import import_module

for _name in ("fluctuations", "responses", "optimal", "depth"):
    import_module(f"{__name__}.{_name}")
