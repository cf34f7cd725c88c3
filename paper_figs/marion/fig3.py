"""Figure 3 of Marion et al. (2025): how far the gradient travels, independent weights.

The networks of Figure 1. The gradient at the top is Gaussian and independent of the weights, and p_0 is what
comes back at the input. For ReLU its root mean square ratio is the same exact number as that of the states.
"""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figs._ratios import GRADIENT
from paper_figs.controls import Control
from paper_figs.marion import _white as white
from resnet_sde.claims import Claim

BUDGETS = white.BUDGETS
compute = white.compute


def draw(ds: xr.Dataset) -> Figure:
    """One panel for each beta."""
    return white.draw(ds, GRADIENT)


def check(ds: xr.Dataset) -> list[Claim]:
    """The claims of this figure."""
    return white.check(ds, GRADIENT)


CONTROLS = {
    "divided by the wrong end": Control(
        lambda ds: ds.assign(
            log10_gradient_displacement=ds.log10_gradient_displacement - ds.log10_gradient_growth
        ),
        "beta = 0.25",
    ),
}
