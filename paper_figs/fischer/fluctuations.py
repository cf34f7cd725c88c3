"""Fluctuations of the kernels of erf networks, against depth and against the residual scale ρ.

After Fischer, Dahmen & Helias (2023); lines are the order 1/width, points are random networks. Skip
branches keep the states of all layers correlated: "without memory" leaves out what that adds, and is wrong
at any depth. σ_w² = 1, σ_b² = K_0 = 0.05.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.fischer import fluctuations as experiment
from paper_figs._claims import equals
from paper_figs._panels import DASHED, DASHES, LINE, NETWORKS, key, panel_legend, points, ticks
from paper_figs._style import BLUE, GREEN, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.fischer._claims import agrees
from resnet_sde.claims import Claim, between, equal

PANELS = 6
BUDGETS, compute = experiment.BUDGETS, experiment.compute
KNOWN = {  # at SCALES: width Var C, and width times the shift of its mean
    "variance": (0.007371613914, 0.01407746238, 0.06255347787, 0.1552658508, 0.1774344042, 0.09598675271),
    "shift": (-0.001132778609, -0.006479779154, -0.06458134574, -0.2254038082, -0.2877365972, -0.09625481863),
}
KNOWN_OF_DEPTH = {
    5: (0.217002, 1.534757, 0.076249, 0.046702, 0.020603, 0.006373, -0.075082),
    10: (0.227199, 1.511747, 0.084191, 0.047798, 0.025309, 0.003989, -0.093067),
    20: (0.232713, 1.497621, 0.088648, 0.048232, 0.02821, 0.002234, -0.103899),
    40: (0.235581, 1.489835, 0.09101, 0.048414, 0.029825, 0.001183, -0.109849),
    80: (0.237044, 1.485752, 0.092226, 0.048495, 0.030678, 0.000609, -0.112969),
    160: (0.237782, 1.483662, 0.092842, 0.048533, 0.031116, 0.000309, -0.114565),
    320: (0.238153, 1.482605, 0.093153, 0.048551, 0.031338, 0.000155, -0.115373),
}
ROUNDING = 1e-6  # of this table


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """At the optimal scale against depth above; of one depth against the scale below."""
    depth = ds.attrs["of_depth_of_scales"]
    with house_style():
        fig = new_figure(4.4)
        axes = fig.subplots(2, 3)
        titles = ("readout at $ρ^*$", "states at $ρ^*$", "shift at $ρ^*$")
        titles += (f"readout, $L = {depth}$", f"shift, $L = {depth}$", "relative to the kernel")
        for ax, letter, title in zip(axes.flat, "abcdef", titles, strict=True):
            panel_title(ax, letter, title)
        _against_depth(axes[0], ds)
        _against_scale(axes[1, 0], ds, "variance")
        _against_scale(axes[1, 1], ds, "shift")
        _relative_panel(axes[1, 2], ds)
        many, width = ds.attrs["samples"], ds.attrs["width"]
        networks = f"{many} networks of width {width}, 95 %"
        key(fig, {"order 1/width": LINE, "without memory": DASHED, networks: NETWORKS})
    return fig


COLOURS = {"variance": VERMILLION, "conditional": GREEN, "shift": BLUE}
LABELS = {
    "variance": r"$N\,$Var$\,C$",
    "conditional": r"$N\,$Var$\,\hat K^L$",
    "shift": r"$N\,($E$\,C - C_\infty)$",
}


def _against_depth(axes: np.ndarray, ds: xr.Dataset) -> None:
    for ax, name in zip(axes, ("variance", "conditional", "shift"), strict=True):
        ax.plot(ds.depth, ds.of_depth.sel(quantity=name), color=COLOURS[name], linewidth=1.2)
        if name != "shift":
            other = "without_memory" if name == "variance" else "conditional_without_memory"
            _dashed(ax, ds.depth, ds.of_depth.sel(quantity=other), COLOURS[name])
        _points(ax, ds.simulated_depth, ds.at_best.sel(of=name), COLOURS[name])
        log_scale(ax, "x")
        ticks(ax, "x", (5, 20, 80, 320))
        ax.set(xlabel="depth $L$", ylabel=LABELS[name])
        ax.set(ylim=(None, 0) if name == "shift" else (0, None))


def _against_scale(ax: Axes, ds: xr.Dataset, name: str) -> None:
    ax.plot(ds.scale, ds.of_scale.sel(quantity=name), color=COLOURS[name], linewidth=1.2)
    if name == "variance":
        _dashed(ax, ds.scale, ds.of_scale.sel(quantity="without_memory"), COLOURS[name])
    _points(ax, ds.table_scale, ds.simulated.sel(of=name), COLOURS[name])
    log_scale(ax, "x")
    ticks(ax, "x", (0.05, 0.1, 0.2, 0.5, 1))
    ax.set(xlabel="residual scale $ρ$", ylabel=LABELS[name])
    ax.set(ylim=(None, 0) if name == "shift" else (0, None))


def _relative_panel(ax: Axes, ds: xr.Dataset) -> None:
    labels = {"residual": "erf, $ρ = ρ^*$", "feed-forward": "linear feed-forward"}
    for (name, label), colour in zip(labels.items(), (GREEN, BLUE), strict=True):
        ax.plot(ds.depth, ds.relative.sel(network=name), color=colour, linewidth=1.2, label=label)
    log_scale(ax, "xy")
    ticks(ax, "x", (5, 20, 80, 320))
    ax.set(xlabel="depth $L$", ylabel=r"$N\,$Var$\,Q^L/(K^L)^2$", ylim=(1, 1500))
    panel_legend(ax, loc="upper left")


def _dashed(ax: Axes, x: xr.DataArray, y: xr.DataArray, colour: str) -> None:
    ax.plot(x, y, color=colour, **DASHES)


def _points(ax: Axes, x: xr.DataArray, found: xr.DataArray, colour: str) -> None:
    points(ax, x, found.sel(estimate="value"), found.sel(estimate="error"), colour)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Theory next to known values, networks next to theory, and what depth does."""
    known = [KNOWN_OF_DEPTH[depth] for depth in ds.depth.values.tolist()]
    claims = [equals("at the optimal scale", ds.of_depth, known, ROUNDING)]
    for name, values in KNOWN.items():
        claims.append(equals(f"{name} against ρ", ds.at_scales.sel(quantity=name), values, 1e-9))
    linear = ds.relative.sel(network="feed-forward")
    claims.append(equals("linear feed-forward, over 2 (L + 1)", linear / (2 * (ds.depth + 1)), 1, 1e-9))
    width = ds.attrs["width"]
    for name in ("variance", "conditional", "shift"):
        theory = ds.of_depth.sel(quantity=name, depth=ds.simulated_depth)
        for where, found, expected in (
            ("optimal scales", ds.at_best.sel(of=name), theory),
            (
                f"L = {ds.attrs['of_depth_of_scales']}",
                ds.simulated.sel(of=name),
                ds.at_scales.sel(quantity=name),
            ),
        ):
            value, error = (found.sel(estimate=which) for which in ("value", "error"))
            claims.append(agrees(f"{where}, {name}", value, error, expected, 5 / width * abs(expected)))
    last = ds.of_depth.isel(depth=slice(-2, None)).sel(quantity="conditional_without_memory")
    doublings = math.log2(float(ds.depth[-1] / ds.depth[-2]))
    ratio = float(last[1] / last[0]) ** (1 / doublings)
    claims.append(equal("Var of the conditional kernel without memory, twice the depth", ratio, 0.5, 0.03))
    least = float(ds.at_best.sel(of="variance", estimate="value")[-1])
    without_memory = float(ds.of_depth.sel(quantity="without_memory", depth=ds.simulated_depth[-1]))
    name = "deepest networks, share of Var C that is missing without memory"
    claims.append(between(name, 1 - without_memory / least, 0.4, 1))
    return claims


def _without_memory(ds: xr.Dataset) -> xr.Dataset:
    """Noise of kernels that is independent from layer to layer."""
    ds.at_scales.loc[{"quantity": "variance"}] = ds.at_scales.sel(quantity="without_memory")
    return ds


def _upwards(ds: xr.Dataset) -> xr.Dataset:
    ds.simulated.loc[{"of": "shift", "estimate": "value"}] *= -1
    return ds


CONTROLS = {
    "layers without memory": Control(_without_memory, "L = 20, variance, networks"),
    "kernels that shift upwards": Control(_upwards, "L = 20, shift, networks"),
}
