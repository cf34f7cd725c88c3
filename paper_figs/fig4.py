"""Figure 4 of Marion et al. (2025): how far the state travels, smooth weights."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from paper_figs import smooth
from paper_figs.criteria import Criterion
from paper_figs.ratios import FORWARD

BUDGETS = smooth.BUDGETS
compute = smooth.compute


def draw(ds: xr.Dataset) -> Figure:
    """One panel for each beta."""
    return smooth.draw(ds, FORWARD)


def check(ds: xr.Dataset) -> list[Criterion]:
    """The criteria of this figure."""
    return smooth.check(ds, FORWARD)
