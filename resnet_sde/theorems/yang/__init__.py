"""Yang & Schoenholz, *Mean Field Residual Networks: On the Edge of Chaos*, NeurIPS 2017.

Residual networks whose branch is not scaled with depth: their recursions at finite width, the laws of
lengths, cosines and gradients after many layers for activations that saturate and for those that do not,
and what these say about scaling branches or choosing variances with depth.
"""

from importlib import import_module

for _name in ("widths", "saturating", "unbounded", "depth"):
    import_module(f"{__name__}.{_name}")
