"""Regression of digits with the kernel of infinitely wide erf networks, against the residual scale ρ.

After the question of Fischer, Dahmen & Helias (2023), which scale is good for learning: the test error is
least at a scale that falls like 1/√L, between those at which the readout responds most to the length of an
input and to the angle between two. σ_w² = 1, σ_b² = K_0 = 0.05. Nothing is trained but the linear readout.
"""

from __future__ import annotations

import math

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.fischer import regression as experiment
from paper_figs._panels import INTERVAL, graded, key, panel_legend, ticks
from paper_figs._style import BLACK, BLUE, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, between

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
BEST = (1.8, 2.1)  # ρ√L
ERRORS = {"least": (0.11, 0.14), "smallest ρ": (0.17, 0.22), "largest ρ": (0.17, 0.29)}


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Errors and accuracies against ρ√L, and the best ρ against depth."""
    with house_style():
        fig = new_figure(2.9)
        axes = fig.subplots(1, 3)
        for ax, letter, title in zip(axes, "abc", ("test error", "test accuracy", "best scale"), strict=True):
            panel_title(ax, letter, title)
        _curves(axes[0], ds, "error")
        _curves(axes[1], ds, "accuracy")
        axes[0].set(ylabel="mean squared error", ylim=(0.1, None))
        panel_legend(axes[0], "$L$", loc="upper center")
        _best(axes[2], ds)
        splits, train = ds.attrs["splits"], ds.attrs["train"]
        label = f"mean of {splits} splits, {train} images to train on, 95 %"
        key(fig, {label: Line2D([], [], color=BLACK, linewidth=1.3, marker="o", markersize=3)})
    return fig


def _curves(ax: Axes, ds: xr.Dataset, name: str) -> None:
    for colour, depth in zip(graded(ds.sizes["depth"]), ds.depth.values.tolist(), strict=True):
        row = ds[name].sel(depth=depth)
        product, middle, error = row.scale * math.sqrt(depth), row.mean("split"), _error(row)
        ax.fill_between(product, middle - error, middle + error, color=colour, alpha=0.15, linewidth=0)
        ax.plot(product, middle, color=colour, linewidth=1.0, marker="o", markersize=2.5, label=f"{depth}")
    log_scale(ax, "x")
    ticks(ax, "x", (0.1, 0.3, 1, 3, 10))
    ax.set(xlabel=r"$ρ\sqrt{L}$")


def _best(ax: Axes, ds: xr.Dataset) -> None:
    labels = {"angle": ("response to angle", VERMILLION), "length": ("response to length", BLUE)}
    for name, (label, colour) in labels.items():
        ax.plot(ds.of_depth, ds.optima.sel(response=name), color=colour, linewidth=1.2, label=label)
    shape = {"color": BLACK, "marker": "o", "markersize": 3, "linestyle": "none", "elinewidth": 0.9}
    ax.errorbar(ds.depth, ds.best.mean("split"), yerr=_error(ds.best), label="test error", **shape)
    log_scale(ax, "xy")
    ticks(ax, "x", (10, 20, 40))
    ticks(ax, "y", (0.2, 0.5, 1))
    ax.set(xlabel="depth $L$", ylabel="residual scale $ρ$", ylim=(0.1, 2))
    panel_legend(ax, loc="upper right")


def _error(values: xr.DataArray) -> xr.DataArray:
    """Half the interval of the mean over splits."""
    return INTERVAL * values.std("split", ddof=1) / values.sizes["split"] ** 0.5


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """The law 1/√L of the best scale, and how the error rises on both sides."""
    claims = []
    for depth in ds.depth.values.tolist():
        row = ds.sel(depth=depth)
        product = float(row.best.mean("split")) * math.sqrt(depth)
        claims.append(between(f"L = {depth}, ρ√L of the least test error", product, *BEST))
        error = row.error.mean("split")
        for name, value in (("least", error.min()), ("smallest ρ", error[0]), ("largest ρ", error[-1])):
            claims.append(between(f"L = {depth}, test error, {name}", value, *ERRORS[name]))
        length, angle = ds.optima.sel(of_depth=depth).values
        inside = (product / math.sqrt(depth) - length) / (angle - length)
        claims.append(between(f"L = {depth}, place of the best ρ between the optima", inside, 0, 1))
    return claims


CONTROLS = {
    "best at scales like 1/L": Control(
        lambda ds: ds.assign(best=ds.best * (10 / ds.depth) ** 0.5), "ρ√L of the least test error"
    ),
}
