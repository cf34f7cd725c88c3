"""Figure 1 of Marion et al. (2025): how far the state travels, independent weights.

Networks res-3 with two matrices of width 40 and uniform entries, h ← h + L^−beta V ReLU(W h), and a Gaussian
input in dimension 64. With beta = 1 they tend to the identity like L^−1/2, with beta = 1/4 they explode, and
with beta = 1/2 neither happens. The root mean square is known exactly at every width and depth; where
networks explode it is that of a few of them, and the dashed line shows a typical one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import xarray as xr
from matplotlib.figure import Figure

from paper_figs._ratios import FORWARD
from paper_figs.controls import Control, other
from paper_figs.marion import _white as white
from resnet_sde.claims import Claim

BUDGETS = white.BUDGETS
compute = white.compute


def draw(ds: xr.Dataset) -> Figure:
    """One panel for each beta."""
    return white.draw(ds, FORWARD)


def check(ds: xr.Dataset) -> list[Claim]:
    """The claims of this figure."""
    return white.check(ds, FORWARD)


CONTROLS = {
    "beta 15 % smaller": Control(
        other(BUDGETS, lambda of: replace(of, betas=tuple(0.85 * beta for beta in of.betas))), "beta = 0.5"
    ),
    "twice the mean square": Control(
        lambda ds: ds.assign(log10_displacement=ds.log10_displacement + math.log10(2) / 2), "beta = 1"
    ),
}
