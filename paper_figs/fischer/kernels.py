"""Kernels of erf networks layer by layer: their means, their fluctuations, and how both change with width.

After Fischer, Dahmen & Helias (2023); lines are theory to order 1/width, points are random networks. Skip
branches keep the states of all layers correlated: "without memory" leaves out what that adds.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.fischer import kernels as experiment
from experiments.fischer.finite_width import (
    extrapolated,
)
from experiments.fischer.kernels import NETS
from experiments.wide import fitted_slope
from paper_figs._claims import equals
from paper_figs._panels import DASHED, DASHES, LINE, NETWORKS, key, panel_legend, points, ticks
from paper_figs._style import BLUE, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.fischer._claims import agrees
from resnet_sde.claims import Claim, between, equal

PANELS = 4
BUDGETS, compute = experiment.BUDGETS, experiment.compute
KNOWN_BRANCH = [0.17792091, 0.194736838, 0.212243109, 0.230343155, 0.248931937, 0.267899334]
KNOWN_BRANCH += [0.287133578, 0.306524512, 0.32596647, 0.345360656, 0.364616937]
KNOWN_VARIANCE = [0.0239277551, 0.0338699912, 0.045433029, 0.0584763362, 0.0727833808, 0.0880766185]
KNOWN_VARIANCE += [0.104037772, 0.120330549, 0.136622881, 0.152606227, 0.168010298]
KNOWN_SHIFT = [0, -0.00656235865, -0.015512138, -0.0269502266, -0.0408544185, -0.0570783975, -0.0753628628]
KNOWN_SHIFT += [-0.0953566823, -0.116644661, -0.138777993, -0.161303713]
READOUT_MEAN = 0.36399  # of C at width 256
VARIANCE, SHIFT = KNOWN_VARIANCE[-1], KNOWN_SHIFT[-1]  # of the readout, times the width
SLOPE_TOLERANCE = 0.03  # of both against the width, around −1


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Means above; fluctuations and widths below."""
    with house_style():
        fig = new_figure(4.6)
        axes = fig.subplots(2, 2)
        for ax, letter, name in zip(axes[0], "ab", NETS, strict=True):
            panel_title(ax, letter, f"means, {name} network")
            _means(ax, ds.sel(network=name))
        panel_title(axes[1, 0], "c", "fluctuations of $C$, residual")
        _fluctuations(axes[1, 0], ds.sel(network="residual"))
        panel_title(axes[1, 1], "d", "readout against width, residual")
        _widths(axes[1, 1], ds)
        samples, width, many = (ds.attrs[name] for name in ("samples", "width", "many"))
        networks = f"{samples} networks of width {width} (d: {many} of each width), 95 %"
        key(fig, {"theory": LINE, "without memory": DASHED, networks: NETWORKS})
    return fig


COLOURS = {"K": BLUE, "C": VERMILLION}


def _means(ax: Axes, row: xr.Dataset) -> None:
    labels = {"K": "$K$, of the states", "C": "$C$, of the branches"}
    for kernel, colour in COLOURS.items():
        one = row.sel(kernel=kernel)
        ax.plot(one.layer, one.theory, color=colour, linewidth=1.2, label=labels[kernel])
        points(ax, one.layer, one["mean"], one.mean_error, colour)
    ax.set(xlabel="layer $l$", ylabel="kernel", xlim=(-0.3, 10.3))
    panel_legend(ax)


def _fluctuations(ax: Axes, row: xr.Dataset) -> None:
    ax.plot(row.layer, row.variance_theory, color=VERMILLION, linewidth=1.2)
    ax.plot(row.layer, row.without_memory, color=VERMILLION, **DASHES)
    points(ax, row.layer, row.variance, row.variance_error, VERMILLION)
    ax.set(xlabel="layer $l$", ylabel=r"$N\,$Var$\,C^l$", xlim=(-0.3, 10.3), ylim=(0, None))


def _widths(ax: Axes, ds: xr.Dataset) -> None:
    width = ds.networks_width
    labels = {"variance": r"$N\,$Var$\,C$", "shift": r"$N\,($E$\,C - C_\infty)$"}
    colours = {"variance": VERMILLION, "shift": BLUE}
    for name, known in {"variance": VARIANCE, "shift": SHIFT}.items():
        one = ds.readout.sel(of=name)
        ax.axhline(known, color=colours[name], linewidth=1.2, label=labels[name])
        points(ax, width, one.sel(estimate="value"), one.sel(estimate="error"), colours[name])
    log_scale(ax, "x")
    ticks(ax, "x", width.values.tolist())
    ax.set(xlabel="width $N$", ylabel="times $N$", ylim=(-0.22, 0.22), xlim=(26, 630))
    panel_legend(ax, loc="center right")


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Theory next to known values, networks next to theory, and 1/width."""
    residual = ds.sel(network="residual")
    claims = [
        equals("limit of C", residual.limit.sel(kernel="C"), KNOWN_BRANCH, 1e-8),
        equals("width Var C", residual.variance_theory, KNOWN_VARIANCE, 1e-8),
        equals("width times shift of C", residual["shift"].sel(kernel="C"), KNOWN_SHIFT, 1e-8),
    ]
    for name in NETS:
        row = ds.sel(network=name)
        for kernel in COLOURS:
            one = row.sel(kernel=kernel)
            claims.append(agrees(f"{name}, mean of {kernel}", one["mean"], one.mean_error, one.theory))
        error, theory = row.variance_error, row.variance_theory
        claims.append(agrees(f"{name}, variance of C", row.variance, error, theory))
    last = residual.isel(layer=-1)
    if ds.attrs["budget"] == "paper":
        name = "mean of C of the readout at width 256"
        claims.append(equal(name, last["mean"].sel(kernel="C"), READOUT_MEAN, 6e-4))
    missing = 1 - float(last.without_memory / last.variance)
    claims.append(between("share of Var C that is missing without memory", missing, 0.35, 1))
    return claims + _scaling(ds)


def _scaling(ds: xr.Dataset) -> list[Claim]:
    claims, width = [], ds.networks_width.values
    for name, known, tolerance in (("variance", VARIANCE, 0.02), ("shift", SHIFT, 0.05)):
        value, error = (ds.readout.sel(of=name, estimate=which).values for which in ("value", "error"))
        slope = fitted_slope(np.log(width), np.log(np.abs(value) / width))
        claims.append(equal(f"readout, slope of the {name} in the width", slope, -1, SLOPE_TOLERANCE))
        limit = extrapolated(width, value, error)
        where = f"readout, width times {name}, extrapolated"
        claims.append(equal(where, limit, known, tolerance * abs(known)))
    return claims


def _without_memory(ds: xr.Dataset) -> xr.Dataset:
    ds.variance_theory.loc[{"network": "residual"}] = ds.without_memory
    return ds


CONTROLS = {
    "noise of kernels that is independent from layer to layer": Control(
        _without_memory, "residual, variance of C"
    ),
    "deviations for variances": Control(
        lambda ds: ds.assign(readout=ds.readout * (ds.networks_width / 32) ** 0.5),
        "slope of the variance",
        "slope of the shift",
    ),
}
