"""What the figures of trained residual networks over variance and depth share: one dataset, and their panels.

All are after Yang & Schoenholz (2017). A row of maps shows one kind of network, a column one rule for the
learning rate; below, the same accuracies against the number whose contours are on the maps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.execution import HERE, Execution
from experiments.yang import variance_grids
from experiments.yang.variance_grids import contour
from paper_figs._panels import (
    CROSS,
    accuracy_map,
    blown_up,
    colour_bar,
    graded,
    key,
    label_axes,
    panel_legend,
)
from paper_figs._style import BLACK, GREEN, VERMILLION, house_style, log_scale, new_figure, panel_title
from resnet_sde.claims import Claim, at_most

BUDGETS = variance_grids.BUDGETS
WEIGHTS = (0.1, 1, 10)  # labels
LAW, FIXED, ADAPTIVE = (
    variance_grids.RULES
)  # the rates that fall like 1/L, the same for all depths, and RMSprop
CALLED = {
    LAW: "SGD 0.16/$L$",
    FIXED: "SGD 0.005",
    ADAPTIVE: "RMSprop 3e-4",
    "tanh reduced": "tanh reduced",
    "tanh full": "tanh full",
    "relu full": "ReLU",
    "alpha-relu full": "ReLU$^{3/4}$",
}
MARKERS = ("o", "^")  # of kinds
OF_THEORY = {"color": VERMILLION, "linewidth": 0.8}
OF_ACCURACY = {"color": BLACK, "marker": "D", "markersize": 2.5, "linestyle": "none"}
RECOMMENDED = {"color": GREEN, "linewidth": 1.6}
OVERFLOWN = {"colors": "none", "hatches": ["////"]}
CONSTANT = {"color": GREEN, "linewidth": 1.1, "linestyle": (0, (4, 2))}


@dataclass(frozen=True)
class Shown:
    """What a figure shows of the dataset.

    kinds: of networks, those of them that the dataset has.
    number: the variable that limits accuracy; its logarithm has equally good contours.
    label: of that variable.
    levels: of its contours.
    recommended: whether to draw the recommended variances, and a contour of accuracy.
    overflow: the number above which squares of states overflow, if that is to be drawn.
    """

    kinds: Sequence[str]
    number: str
    label: str
    levels: Sequence[float]
    recommended: bool = False
    overflow: float = math.inf


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """Trained networks of all kinds and rules, and the theory of infinite width."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


def draw(ds: xr.Dataset, shown: Shown) -> Figure:
    """A row of maps for each kind, and a row of accuracies against the number."""
    kinds, rules = [kind for kind in shown.kinds if kind in ds.kind.values], ds.rule.values.tolist()
    with house_style():
        fig = new_figure(2.1 * len(kinds) + 2.6)
        axes = fig.subplots(len(kinds) + 1, len(rules), squeeze=False)
        letters = iter("abcdefghijkl")
        for kind, row in zip(kinds, axes, strict=False):
            for rule, ax in zip(rules, row, strict=True):
                image = _map(ax, ds.sel(kind=kind, rule=rule), shown)
                if shown.recommended:
                    _variances(ax, ds, kind, rule)
                panel_title(ax, next(letters), f"{CALLED[kind]}, {CALLED[rule]}")
        label_axes(axes[:-1], WEIGHTS)
        colour_bar(fig, image, axes[:-1], "test accuracy")
        for rule, ax in zip(rules, axes[-1], strict=True):
            _against(ax, ds.sel(kind=kinds, rule=rule), shown)
            panel_title(ax, next(letters), f"accuracy, {CALLED[rule]}")
        axes[-1, 0].set(ylabel="test accuracy")
        panel_legend(axes[-1, 0], "$L$", loc="lower left")
        key(fig, _key(ds, kinds, shown))
    return fig


def _key(ds: xr.Dataset, kinds: Sequence[str], shown: Shown) -> Mapping[str, Line2D | Patch]:
    entries: dict[str, Line2D | Patch] = {shown.label: Line2D([], [], **OF_THEORY)}
    if shown.recommended:
        entries |= {
            r"recommended $\sigma_w^2$": Line2D([], [], **RECOMMENDED),
            r"$\sigma_w^2 L$ constant": Line2D([], [], **CONSTANT),
            f"accuracy {variance_grids.LEVEL:g}": Line2D([], [], **OF_ACCURACY),
        }
    if np.isfinite(shown.overflow):
        entries["squares overflow"] = Patch(facecolor="none", edgecolor=OF_THEORY["color"], hatch="////")
    if bool(ds.diverged.sel(kind=kinds).any()):
        entries["loss is no number"] = CROSS
    if len(kinds) > 1:
        style = {"color": BLACK, "markersize": 3, "linestyle": "none"}
        entries |= {
            f"below: {CALLED[kind]}": Line2D([], [], marker=marker, **style)
            for kind, marker in zip(kinds, MARKERS, strict=False)
        }
    return entries


def _map(ax: Axes, of: xr.Dataset, shown: Shown) -> QuadMesh:
    image = accuracy_map(ax, of.test_accuracy.mean("sample"))
    blown_up(ax, of.diverged.max("sample"))
    number = of[shown.number].transpose("depth", "sigma_w2")
    levels = [np.log(level) for level in shown.levels]
    style = {"colors": OF_THEORY["color"], "linewidths": OF_THEORY["linewidth"], "linestyles": "solid"}
    lines = ax.contour(of.sigma_w2, of.depth, np.log(number), levels=levels, **style)
    names = {np.log(level): f"{level:.3g}" for level in shown.levels}
    ax.clabel(lines, fmt=names, fontsize=6, colors=BLACK, inline_spacing=2)
    if float(number.max()) > shown.overflow:
        region = ax.contourf(of.sigma_w2, of.depth, number, [shown.overflow, math.inf], **OVERFLOWN)
        region.set_edgecolor(OF_THEORY["color"])
        region.set_linewidth(OF_THEORY["linewidth"])
    return image


def _variances(ax: Axes, ds: xr.Dataset, kind: str, rule: str) -> None:
    """The recommended variances, the law 1/L through the one of a middle depth, and a contour of accuracy."""
    best = ds.recommended.sel(kind=kind)
    middle = best.isel(depth=best.sizes["depth"] // 2)
    ax.plot(best, best.depth, **RECOMMENDED)
    ax.plot(middle * middle.depth / best.depth, best.depth, **CONSTANT)
    ax.plot(contour(ds, kind, rule), ds.depth, **OF_ACCURACY)


def _against(ax: Axes, of: xr.Dataset, shown: Shown) -> None:
    accuracy = of.test_accuracy.mean("sample")
    for kind, marker in zip(of.kind.values, MARKERS, strict=False):
        for depth, colour in zip(of.depth.values, graded(of.sizes["depth"]), strict=True):
            cells = {"kind": kind, "depth": depth}
            label = f"{depth}" if kind == of.kind.values[0] else None
            style = {"color": colour, "marker": marker, "markersize": 2.5, "linestyle": "none"}
            ax.plot(of[shown.number].sel(cells), accuracy.sel(cells), label=label, **style)
    log_scale(ax, "x")
    ax.set(xlabel=shown.label, ylim=(-0.03, 1.03))


# Claims


def called(kind: str, rule: str) -> str:
    """The cells that a claim speaks of."""
    return f"{kind}, {rule}"


def within(of: xr.Dataset, number: str, low: float, high: float) -> xr.DataArray:
    """Mean accuracies of the cells in which a number of theory lies in an interval; NaN elsewhere."""
    return of.test_accuracy.mean("sample").where((of[number] >= low) & (of[number] <= high))


def known_growth(ds: xr.Dataset, kind: str) -> Claim:
    """Where there are no biases, lengths of ReLU networks grow by the factor 1 + σ_w²/2 in every layer."""
    exact = ds.depth * np.log1p(ds.sigma_w2 / 2)
    off = float(abs(ds.log_q.sel(kind=kind) / exact - 1).max())
    return at_most(f"{kind}, log p, largest relative distance to the exact one", off, 1e-9)
