"""Panels of a ratio against depth, one for each beta: what figures 1, 3, 4 and 5 have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.marion.initialization import mean_and_interval
from paper_figs._style import SIMULATION, new_figure, panel_title

REPETITIONS = 50  # networks in a cell for which the tolerances of figures 1, 3, 4 and 5 are stated
FRACTIONS = {0.25: "1/4", 0.5: "1/2"}


@dataclass(frozen=True)
class Quantity:
    """One of the two ratios: its variable in the dataset and how figures and claims call it."""

    variable: str
    symbol: str
    word: str


FORWARD = Quantity("log10_displacement", r"$\Vert h_L - h_0\Vert \,/\, \Vert h_0\Vert$", "forward")
GRADIENT = Quantity("log10_gradient_displacement", r"$\Vert p_0 - p_L\Vert \,/\, \Vert p_L\Vert$", "gradient")


def panels(ds: xr.Dataset, quantity: Quantity) -> tuple[Figure, dict[float, Axes]]:
    """A panel for every beta of the dataset, in its order, with the simulated ratios."""
    fig = new_figure(2.45)
    row = np.atleast_1d(fig.subplots(1, ds.sizes["beta"]))
    axes = dict(zip(ds.beta.values.tolist(), row, strict=True))
    for letter, (beta, ax) in zip("abcdefgh", axes.items(), strict=False):
        panel_title(ax, letter, rf"$\beta = {FRACTIONS.get(beta, f'{beta:g}')}$")
        points(ax, ds[quantity.variable].sel(beta=beta))
        ax.set_xlabel("depth $L$")
    row[0].set_ylabel(quantity.symbol)
    return fig, axes


def smooth_depths(ds: xr.Dataset) -> np.ndarray:
    """Depths at which to evaluate a formula for a line through the panel."""
    return np.unique(np.geomspace(float(ds.depth.min()), float(ds.depth.max()), 200).round().astype(int))


def points(ax: Axes, log10: xr.DataArray, **style: object) -> None:
    """Mean ratios over networks with their intervals, against depth."""
    summary = mean_and_interval(10**log10)
    mean = summary["mean"]
    label = f"mean of {log10.sizes['sample']} networks, 95 % bootstrap interval"
    ends = [mean - summary.low, summary.high - mean]
    ax.errorbar(summary.depth, mean, yerr=ends, **{**SIMULATION, "label": label, **style})


def widened(samples: int, stated: int = REPETITIONS) -> float:
    """Factor on a tolerance stated for `stated` networks that keeps its number of standard errors."""
    return math.sqrt(stated / samples)
