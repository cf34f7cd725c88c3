"""Residual networks with a ReLU: lengths and gradients are geometric, cosines tend to 1 like depth to the −2.

After Yang & Schoenholz (2017); two matrices. Gradients of weights stay bounded while those of states and of
biases explode. Lines are infinite width, points are random networks, whose mean lengths and mean squared
gradients are those of infinite width at every width.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.yang import relu as experiment
from experiments.yang import residuals
from experiments.yang.relu import NAMES
from experiments.yang.residuals import PARAMETERS, VARIANCES, log_of_mean
from paper_figs._claims import agrees
from paper_figs._panels import DASHED, LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, between, equal

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
KNOWN = (0.9162907319, 0.0, 1.3862943611)  # log p less its linear part: log (p^0 + k/B)


def straightened(row: xr.Dataset, gap: xr.DataArray) -> xr.DataArray:
    """(1 − e)^{−1/2} · 2/(ρK), which is l + 3/2 log l + C in the end."""
    growth, _, curvature = row.constant.values
    return gap**-0.5 * 2 / (growth / (1 + growth) * curvature)


def _along(layer: xr.DataArray) -> xr.DataArray:
    return layer + 1.5 * np.log(layer.clip(1))


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Lengths, cosines and gradients of parameters."""
    with house_style():
        fig = new_figure(3.1)
        left, middle, right = fig.subplots(1, 3)
        panel_title(left, "a", r"$\log_{10} p^l$")
        panel_title(middle, "b", r"$2\,(1-e^l)^{-1/2}/\rho K$")
        for block, colour in zip(NAMES, graded(3), strict=True):
            _lengths(left, ds.sel(block=block), colour)
            _cosines(middle, ds.sel(block=block), colour)
        left.set(xlabel="layer $l$", xlim=(0, 100), ylim=(0, 32))
        middle.set(xlabel=r"$l + \frac{3}{2}\,\ln l$", xlim=(0, 500), ylim=(0, 900))
        panel_legend(middle, VARIANCES, loc="lower right")
        panel_title(right, "c", f"gradients at {NAMES[2]}")
        _gradients(right, ds)
        many, width = ds.attrs["samples"], ds.attrs["width"]
        entries = {"infinite width": LINE, "slope 1": DASHED}
        key(fig, entries | {f"mean of {many} networks of width {width}, 95 %": NETWORKS})
    return fig


def _lengths(ax: Axes, row: xr.Dataset, colour: str) -> None:
    ax.plot(row.layer, row.log_p / math.log(10), color=colour, linewidth=1.3)
    mean, error = log_of_mean(row.log_p_seen.isel(few_layer=slice(0, None, 10)))
    points(ax, mean.few_layer, mean / math.log(10), error / math.log(10), colour)


def _cosines(ax: Axes, row: xr.Dataset, colour: str) -> None:
    layer = row.layer[1:]
    line = straightened(row, row.gap[1:])
    ax.plot(_along(layer), line, color=colour, linewidth=1.3, label=str(row.block.values))
    law = _along(layer) + float(line[-1] - _along(layer)[-1])
    ax.plot(_along(layer), law, color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
    seen = row.gap_seen.isel(few_layer=slice(10, None, 10))
    gap = seen.mean("network")
    error = seen.std("network", ddof=1) / seen.sizes["network"] ** 0.5
    value = straightened(row, gap)
    points(ax, _along(seen.few_layer), value, value * error / gap / 2, colour)


def _gradients(ax: Axes, ds: xr.Dataset) -> None:
    labels = ("state", "outer matrix", "inner matrix", "inner bias")
    for parameter, label, colour in zip(PARAMETERS, labels, graded(4), strict=True):
        row = ds.sel(parameter=parameter)
        ax.plot(row.top_layer, np.exp(row.gradient), color=colour, linewidth=1.3, label=label)
        mean, error = log_of_mean(row.gradient_seen.isel(top_layer=slice(19, None, 20)))
        points(ax, mean.top_layer, np.exp(mean), np.exp(mean) * error, colour)
    log_scale(ax, "y")
    ax.set(xlabel="layer $l$", xlim=(0, float(ds.top_layer[-1]) + 2), ylim=(0.3, 1e7))
    panel_legend(ax, loc="upper right", ncols=2, columnspacing=1.2, handlelength=0.9)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Lengths, slopes and gradients of infinite width; networks next to it."""
    claims, last, width = [], ds.sizes["layer"] - 1, ds.attrs["width"]
    layers = _along(ds.layer).values
    for block, known in zip(NAMES, KNOWN, strict=True):
        row = ds.sel(block=block)
        rest = float(row.log_p[last]) - last * math.log1p(float(row.constant[0]))
        claims.append(equal(f"{block}, log p less its linear part", rest, known, 1e-9))
        slope = residuals.local_slope(layers, straightened(row, row.gap).values, last)
        claims.append(equal(f"{block}, slope of the straightened cosine", slope, 1, 1e-3))
        mean, error = log_of_mean(row.log_p_seen)
        theory = row.log_p[: len(mean)].values
        claims.append(agrees(f"{block}, log p", mean[1:], error[1:], theory[1:], 0))
        gap, error = row.gap_seen.mean("network"), row.gap_seen.std("network", ddof=1)
        error = error / row.sizes["network"] ** 0.5
        theory = row.gap[: len(gap)].values
        allowed = 10 / width * theory
        claims.append(agrees(f"{block}, 1 - e", gap[1:], error[1:], theory[1:], allowed[1:]))
    return claims + _check_gradients(ds)


def _check_gradients(ds: xr.Dataset) -> list[Claim]:
    line = ds.gradient
    first, final = (line.isel(top_layer=k) for k in (0, -1))
    over = np.exp(first - final)
    growth, crossed = float(ds.constant.sel(block=NAMES[2])[0]), ds.sizes["top_layer"] - 1
    state = float(first.sel(parameter="state") - final.sel(parameter="state"))
    inner, outer = (float(over.sel(parameter=each)) for each in ("inner", "outer"))
    claims = [
        equal("inner matrix, first layer over last", inner, 0.25, 0.0025),
        between("outer matrix, first layer over last", outer, 0.2, 5),
        equal("state, log of first layer over last", state, crossed * math.log1p(growth), 1e-9),
    ]
    for parameter in PARAMETERS:
        mean, error = log_of_mean(ds.gradient_seen.sel(parameter=parameter))
        theory = ds.gradient.sel(parameter=parameter)
        claims.append(agrees(f"{parameter}, log of mean gradient", mean, error, theory, 1e-9))
    return claims


CONTROLS = {
    "cosines like 1/depth": Control(lambda ds: ds.assign(gap=ds.gap**0.5), "straightened cosine"),
    "weights whose gradients explode": Control(
        lambda ds: ds.assign(gradient=ds.gradient * 1.1), "inner matrix"
    ),
}
