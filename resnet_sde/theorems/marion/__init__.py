"""Marion, Fermanian, Biau & Vert, *Scaling ResNets in the Large-depth Regime*, JMLR 26(56), 2025.

Mean variation, regimes and limits of residual networks at random initialization, forward and backward,
    and what
is known beside them: exact moments and laws, Euler schemes, weights that are revealed as they are
    looked at, and
fractional weights.
"""

from importlib import import_module

for _name in (
    "means",
    "regimes",
    "depth_limits",
    "law",
    "smooth",
    "fractional",
    "two_matrices",
    "short_memory",
):
    import_module(f"{__name__}.{_name}")
