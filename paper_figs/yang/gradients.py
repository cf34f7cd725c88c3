"""Gradients in a saturating residual network: of states, of matrices and of biases.

After Yang & Schoenholz (2017); tanh between two matrices with biases, the gradient at the top is random.
Lines are infinite width, points are random networks. Their mean squared gradients vary like log-normal
numbers whose mean is the theory, so that the mean of the logarithms would lie half a variance below.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.yang import gradients as experiment
from experiments.yang.gradients import FOLLOWED, SIMULATED
from experiments.yang.residuals import PARAMETERS, VARIANCES, log_of_mean, name
from paper_figs._claims import agrees
from paper_figs._panels import DASHED, LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import BLACK, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, equal

PANELS = 2
BUDGETS, compute = experiment.BUDGETS, experiment.compute
KNOWN = {0: 9.1369, 10: 5.6504, 25: 3.0084, 40: 1.0862}  # log of χ^l over that of the top layer
KNOWN_SPREAD = {0: 0.65, 10: 0.50, 25: 0.37, 40: 0.19}  # of it, between networks
EXTRA = {"outer": 0.003, "inner": 0.5025, "inner_bias": -0.5025}  # exponents of l beside that of the state
LABELS = {
    "state": r"state $h^l$, bias $a^l$",
    "outer": "outer matrix $V^l$",
    "inner": "inner matrix $W^l$",
    "inner_bias": "inner bias $b^l$",
}


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """By layer on the left, through many layers and beside that of the state on the right."""
    colours = dict(zip(PARAMETERS, graded(len(PARAMETERS)), strict=True))
    with house_style():
        fig = new_figure(3.1)
        left, right = fig.subplots(1, 2)
        panel_title(left, "a", r"$\log_{10}$ mean squared gradient of an entry")
        for parameter, colour in colours.items():
            row = ds.sel(parameter=parameter)
            theory = row.gradient_theory / math.log(10)
            left.plot(row.layer, theory, color=colour, linewidth=1.2, label=LABELS[parameter])
            mean, error = log_of_mean(row.gradient.isel(layer=slice(4, None, 5)))
            points(left, mean.layer, mean / math.log(10), error / math.log(10), colour)
        left.set(xlabel="layer $l$", xlim=(0, ds.layer.max() + 1))
        left.set_ylabel(f"{VARIANCES} = {name(SIMULATED)}", fontsize=7)
        panel_legend(left, loc="upper right")
        panel_title(right, "b", rf"over that of the state; {name(FOLLOWED)}")
        _far(right, ds, colours)
        many, width = ds.attrs["samples"], ds.attrs["width"]
        entries = {"infinite width": LINE, r"$l^{-1/2}$, $l^{1/2}$, $l^0$": DASHED}
        key(fig, entries | {f"mean of {many} networks of width {width}, 95 %": NETWORKS})
    return fig


def _far(ax: Axes, ds: xr.Dataset, colours: dict[str, str]) -> None:
    layer, last = ds.far_layer, float(ds.far_layer[-1])
    for matrix, exponent in (("outer", 0.0), ("inner", 0.5), ("inner_bias", -0.5)):
        value = np.exp(ds.extra.sel(matrix=matrix))
        ax.plot(layer, value, color=colours[matrix], linewidth=1.4)
        law = float(value[-1]) * (layer / last) ** exponent
        ax.plot(layer, law, color=BLACK, linewidth=0.9, linestyle=(0, (4, 2)))
    log_scale(ax, "xy")
    ax.set(xlabel="layer $l$", xlim=(1, last))


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Theory next to known values and exponents, networks next to theory."""
    claims = [
        equal(f"log chi at layer {layer}", ds.chi_theory.sel(state_layer=layer), known, 5.1e-5)
        for layer, known in KNOWN.items()
    ]
    for matrix, known in EXTRA.items():
        row = ds.extra.sel(matrix=matrix)
        last = row.sizes["far_layer"]
        exponent = float(row[last - 1] - row[last // 2 - 1]) / math.log(2)
        claims.append(equal(f"{matrix}, exponent beside the state", exponent, known, 2e-3))
    width, many = ds.attrs["width"], ds.attrs["samples"]
    for layer, known in KNOWN_SPREAD.items():
        spread = float(ds.chi.sel(state_layer=layer).std("network", ddof=1))
        label = f"log chi at layer {layer}, standard deviation between networks"
        claims.append(equal(label, spread, known, 4 * known / math.sqrt(2 * many)))
    claims.append(_agrees("state, from layer 0", ds.chi, ds.chi_theory, width))
    for parameter in PARAMETERS:
        row = ds.sel(parameter=parameter)
        claims.append(_agrees(parameter, row.gradient, row.gradient_theory, width))
    return claims


def _agrees(label: str, logs: xr.DataArray, theory: xr.DataArray, width: int) -> Claim:
    mean, error = log_of_mean(logs)
    return agrees(f"{label}, log of mean", mean, error, theory, 10 / width)


CONTROLS = {
    "geometric means, half a variance below": Control(
        lambda ds: ds.assign(gradient=ds.gradient - 0.5), "inner_bias, log of mean"
    ),
    "biases for weights": Control(lambda ds: ds.assign(extra=-ds.extra), "inner, exponent"),
}
