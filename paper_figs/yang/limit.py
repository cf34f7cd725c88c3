"""Residual networks scaled with depth tend to an ordinary differential equation, with an error like 1/depth.

Infinite width; h ← h + L^{−β} V g(h) with white weights, critical at β = 1/2. The layers are Euler's scheme
for the limit. Points are random networks at β = 1/2.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.yang import limit as experiment
from experiments.yang.limit import BETAS, BLOCKS
from paper_figs._claims import agrees, tabulated
from paper_figs._panels import DASHED, LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import BLACK, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_most, between

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
KNOWN = {  # p, e and log(χ^0/χ^L) of the limit, and their error times the depth
    "tanh": ((1.7291788246, 0.5957998398, 0.3853787252), (-0.04397, -0.00464, -0.03518)),
    "steep tanh": ((9.2629098601, 0.4675115272, 4.7195589016), (-1.158, 0.12, -8.87)),
    "ReLU": ((1.6487212707, 0.5502773996, 0.5), (-0.206, -0.0194, -0.125)),
    "steep ReLU": ((10.5835841484, 0.7505230533, 2.0), (-22.17, -0.1525, -2.0)),
    "power 3/4": ((2.2468857665, 0.7065751122, 0.4039760288), (-0.1909, -0.0188, -0.0472)),
    "linear": ((4.4365636569, 0.6936500816, 1.0), (-2.718, -0.0345, -0.5)),
}
KNOWN_SWEEP = {  # log(χ^0/χ^L) at these depths, and with how many digits
    ("ReLU", 0.25): ((1.47, 4.88, 15.7, 49.9), (0.005, 0.005, 0.05, 0.05)),
    ("ReLU", 0.5): ((0.488, 0.4988, 0.4999, 0.5), (5e-4, 5e-5, 5e-5, 5e-5)),
    ("ReLU", 0.75): ((0.157, 0.05, 0.0158, 0.005), (5e-4, 5e-5, 5e-5, 5e-5)),
    ("ReLU", 1.0): ((0.0499, 0.005, 0.0005, 0.00005), (5e-5, 5e-5, 5e-5, 5e-6)),
    ("tanh", 0.25): ((1.157, 2.844, 5.887, 11.05), (5e-4, 5e-4, 5e-4, 0.005)),
    ("tanh", 0.5): ((0.4264, 0.4317, 0.4322, 0.4323), (5e-5, 5e-5, 5e-5, 5e-5)),
}


def errors(ds: xr.Dataset) -> xr.DataArray:
    """Distance of layers to the limit, times the depth: (block, depth, of)."""
    return (ds.layers - ds.limit) * ds.depth


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Cosines along the limit, the error of finite depth, and other scalings."""
    with house_style():
        fig = new_figure(3.2)
        left, middle, right = fig.subplots(1, 3)
        panel_title(left, "a", r"cosine $e$ at time $t = l/L$")
        for block, colour in zip(BLOCKS, graded(len(BLOCKS)), strict=True):
            row = ds.sel(block=block)
            left.plot(row.time, row.e_limit, color=colour, linewidth=1.3, label=block)
            few = slice(0, None, max(1, ds.sizes["time"] // 8))
            points(left, row.time[few], row.e[few], row.e_error[few], colour)
        left.set(xlabel="time $t$", xlim=(0, 1), ylim=(0.3, 0.8))
        panel_legend(left, loc="lower left", ncols=2, columnspacing=0.8)
        panel_title(middle, "b", r"error $\times\, L$, over its limit")
        _errors(middle, ds)
        panel_title(right, "c", r"$\ln(\chi^0/\chi^L)$ by $\beta$")
        _sweep(right, ds)
        many, width, depth = (ds.attrs[each] for each in ("samples", "width", "network_depth"))
        entries = {"infinite width; ReLU in c": LINE, "tanh in c": DASHED}
        key(fig, entries | {f"{many} networks of width {width}, depth {depth}, 95 %": NETWORKS})
    return fig


def _errors(ax: Axes, ds: xr.Dataset) -> None:
    scaled = errors(ds)
    for block, colour in zip(BLOCKS, graded(len(BLOCKS)), strict=True):
        for of, marker in zip(ds.of.values.tolist(), ("", "s", "^"), strict=True):
            row = scaled.sel(block=block, of=of)
            limit = float(2 * row[-1] - row[-2])
            ax.plot(row.depth, row / limit, color=colour, linewidth=1.0, marker=marker, markersize=2.5)
    ax.axhline(1, color=BLACK, linewidth=0.8)
    log_scale(ax, "x")
    ax.set(xlabel="depth $L$", xlim=(9, 700))
    ax.text(0.97, 0.08, r"$p$: line, $e$: square, $\ln\chi$: triangle", fontsize=6.5, ha="right",
            transform=ax.transAxes)  # fmt: skip


def _sweep(ax: Axes, ds: xr.Dataset) -> None:
    for beta, colour in zip(BETAS, graded(len(BETAS)), strict=True):
        for plain, dashes in (("ReLU", "-"), ("tanh", (0, (4, 2)))):
            row = ds.sweep.sel(plain=plain, beta=beta)
            label = f"{beta:g}" if plain == "ReLU" else None
            ax.plot(row.sweep_depth, row, color=colour, linewidth=1.2, linestyle=dashes, label=label)
    log_scale(ax, "xy")
    ax.set(xlabel="depth $L$", xlim=(10, 10_000), ylim=(1e-5, 1e4))
    panel_legend(ax, r"$\beta$", loc="upper left", ncols=2, columnspacing=0.8)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Limits, errors and other scalings next to known values; networks next to their own depth."""
    claims, scaled = [], errors(ds)
    for block, (limit, constants) in KNOWN.items():
        claims.append(tabulated(f"{block}, limit", ds.limit.sel(block=block), limit, 2e-10))
        row = scaled.sel(block=block)
        extrapolated = 2 * row.sel(depth=640) - row.sel(depth=320)
        claims.append(tabulated(f"{block}, error times depth", extrapolated, constants, 0.005))
        ratio = row.sel(depth=160) / row.sel(depth=320) * 2
        for end, value in (("least", ratio.min()), ("largest", ratio.max())):
            label = f"{block}, {end} ratio of errors at depths 160 and 320"
            claims.append(between(label, value, 1.975, 2.005))
        seen = ds.sel(block=block)
        parts = (seen.e[1:], seen.e_error[1:], seen.e_theory[1:])
        claims.append(agrees(f"{block}, cosine", *parts, 5 / ds.attrs["width"]))
    for (plain, beta), (known, digits) in KNOWN_SWEEP.items():
        off = np.abs(ds.sweep.sel(plain=plain, beta=beta).values - known) / np.array(digits)
        label = f"{plain}, beta = {beta:g}, off known values, in half units of their last digit"
        claims.append(at_most(label, off.max(), 1.01))
    return claims


CONTROLS = {
    "errors like 1/depth²": Control(
        lambda ds: ds.assign(layers=ds.limit + (ds.layers - ds.limit) * 10 / ds.depth), "ratio of errors"
    ),
}
