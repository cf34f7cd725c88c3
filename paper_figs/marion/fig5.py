"""Figure 5 of Marion et al. (2025): how far the gradient travels, smooth weights.

The networks of Figure 4. Gradients travel a little less far than states, since the masks of ReLU change along
depth while the states of one network move with it.
"""

from __future__ import annotations

from dataclasses import replace

import xarray as xr
from matplotlib.figure import Figure

import resnet_sde as rs
from paper_figs._ratios import GRADIENT
from paper_figs.controls import Control, other
from paper_figs.marion import _smooth as smooth
from resnet_sde.claims import Claim

BUDGETS = smooth.BUDGETS
compute = smooth.compute


def draw(ds: xr.Dataset) -> Figure:
    """One panel for each beta."""
    return smooth.draw(ds, GRADIENT)


def check(ds: xr.Dataset) -> list[Claim]:
    """The claims of this figure."""
    return smooth.check(ds, GRADIENT)


CONTROLS = {
    "weights of length 0.5": Control(
        other(BUDGETS, lambda of: replace(of, law=rs.SmoothNoise(0.5))), "beta = 2"
    ),
}
