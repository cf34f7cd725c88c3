"""The variance of the weights that suits a depth, at which gradients of tanh networks grow to a given size.

After Yang & Schoenholz (2017), who hold σ_w² L constant. The exact variance falls faster at the depths in
use, and its constant is not that of the exponential of √L. Lines are infinite width, points are random
networks.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.yang import variances as experiment
from experiments.yang.known import DEPTHS, KNOWN
from experiments.yang.residuals import log_of_mean, name
from experiments.yang.variances import BLOCKS, KNOWN_LIMITS, SHOWN, TARGET
from paper_figs._claims import agrees, tabulated
from paper_figs._panels import (
    DASHED,
    DOTTED,
    LINE,
    NETWORKS,
    graded,
    key,
    note,
    panel_legend,
    points,
)
from paper_figs._style import house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, between

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
NAMES = [name(block).removeprefix("1, ") for block in BLOCKS]


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Variances by depth, the same times the depth, and the growth of gradients at them."""
    with house_style():
        fig = new_figure(3.1)
        left, middle, right = fig.subplots(1, 3)
        panel_title(left, "a", r"$\sigma_w^2$ for $\ln(\chi^0/\chi^L) = 2$")
        panel_title(middle, "b", r"$\sigma_w^2 L$")
        for k, colour in enumerate(graded(len(BLOCKS))):
            row = ds.sel(block=k)
            _variances(left, row, np.ones(len(DEPTHS)), colour, NAMES[k])
            _variances(middle, row, ds.depth.values, colour, NAMES[k])
        left.set(ylim=(1e-3, 10))
        middle.set(ylim=(1, 80))
        panel_legend(middle, r"$\sigma_b^2,\ \sigma_v^2,\ \sigma_a^2$", loc="upper right")
        panel_title(right, "c", r"$\ln(\chi^0/\chi^L)$ at " + NAMES[SHOWN])
        _growth(right, ds)
        for ax in (left, middle):
            log_scale(ax, "xy")
            ax.set(xlabel="depth $L$", xlim=(4, 1024))
        many, width = ds.attrs["samples"], ds.attrs["width"]
        entries = {"exact": LINE, r"limit of $\sigma_w^2 L$": DASHED, r"from $A\sqrt{L}$ alone": DOTTED}
        key(fig, entries | {f"mean of {many} networks of width {width}, 95 %": NETWORKS})
    return fig


def _variances(ax: Axes, row: xr.Dataset, factor: np.ndarray, colour: str, label: str) -> None:
    depth = row.depth.values
    ax.plot(depth, row.sigma_w2 * factor, color=colour, linewidth=1.3, label=label)
    for constant, dashes in ((row.limit.sel(target=TARGET), (4, 2)), (row.exponential, (1, 1.5))):
        law = float(constant) / depth * factor
        ax.plot(depth, law, color=colour, linewidth=0.9, linestyle=(0, dashes))


def _growth(ax: Axes, ds: xr.Dataset) -> None:
    dark, light = graded(3)[:2]
    ax.plot([4, 1024], [TARGET, TARGET], color=dark, linewidth=1.3)
    ax.plot(ds.line[4:], ds.growth_of_one[4:], color=light, linewidth=1.3)
    for choice, colour in (("recommended", dark), ("one", light)):
        mean, error = log_of_mean(ds.growth.sel(choice=choice))
        points(ax, mean.few_depth, mean, error, colour)
    note(ax, 0.52, 0.11, r"$\sigma_w^2$ of panel a", color=dark)
    note(ax, 0.30, 0.60, r"$\sigma_w^2 = 1$", color=light)
    log_scale(ax, "x")
    ax.set(xlabel="depth $L$", xlim=(4, 1024), ylim=(0, 30))


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Variances next to known values, their slopes and limits, networks next to the target."""
    claims, width = [], ds.attrs["width"]
    for k, known in enumerate(KNOWN):
        row = ds.sel(block=k).sigma_w2
        claims.append(tabulated(f"{name(BLOCKS[k])}, sigma_w2", row, known, 1e-5))
        for (near, far), low, high in (((256, 1024), -1.0285, -1.0065), ((8, 64), -1.445, -1.165)):
            slope = float(np.log(row.sel(depth=far) / row.sel(depth=near))) / math.log(far / near)
            label = f"{name(BLOCKS[k])}, slope from depth {near} to {far}"
            claims.append(between(label, slope, low, high))
    for target, limits in KNOWN_LIMITS.items():
        found = ds.limit.sel(target=target)
        claims.append(tabulated(f"target {target:g}, limits of sigma_w2 L", found, limits, 5e-6))
    mean, error = log_of_mean(ds.growth)
    of_one = ds.growth_of_one.sel(line=ds.few_depth.values).values
    for choice, theory in (("recommended", np.full(len(mean.few_depth), TARGET)), ("one", of_one)):
        found, off = mean.sel(choice=choice), error.sel(choice=choice)
        claims.append(agrees(f"variance {choice}, log of mean growth", found, off, theory, 20 / width))
    return claims


CONTROLS = {
    "variances that fall like the root of the depth": Control(
        lambda ds: ds.assign(sigma_w2=ds.sigma_w2 * ds.depth**0.5), "slope from depth 256"
    ),
}
