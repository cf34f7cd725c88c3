"""Figure 4 of Marion et al. (2025): how far the state travels, smooth weights.

Networks res-3 of width 40 as in Figure 1, whose weights are Gaussian processes along depth with a Gaussian
covariance of length 0.1. Now beta = 1 is the scaling with a limit, an ordinary differential equation; with
beta = 2 networks tend to the identity, and with beta = 1/2 they explode. At beta = 1/2 the mean is that of a
few networks, and its interval is no guide to where the next ones would lie.
"""

from __future__ import annotations

from dataclasses import replace

import xarray as xr
from matplotlib.figure import Figure

import resnet_sde as rs
from paper_figs._ratios import FORWARD
from paper_figs.controls import Control, other
from paper_figs.marion import _smooth as smooth
from resnet_sde.claims import Claim

BUDGETS = smooth.BUDGETS
compute = smooth.compute


def draw(ds: xr.Dataset) -> Figure:
    """One panel for each beta."""
    return smooth.draw(ds, FORWARD)


def check(ds: xr.Dataset) -> list[Claim]:
    """The claims of this figure."""
    return smooth.check(ds, FORWARD)


CONTROLS = {
    "white weights": Control(
        other(BUDGETS, lambda of: replace(of, law=rs.WhiteNoise())), "beta = 1", "beta = 0.5"
    ),
}
