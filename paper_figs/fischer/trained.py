"""Accuracy and losses of trained residual networks of erf against the residual scale ρ.

After Fischer, Dahmen & Helias (2023), at a small size: all parameters are trained for a fixed number of steps
of gradient descent with momentum; σ_w² = 1, σ_b² = K_0 = 0.05. Against ρ√L the losses of all depths are least
at about the same place, and so are the responses of untrained, infinitely wide networks largest: that to the
length of an input, and that to the angle between two inputs at right angles. The place is that of neither; it
is closer to the second, and depends on the optimizer and on the learning rate. Accuracies hardly fall towards
small ρ, where networks are shallow, not bad; what is sure is that they fall at large ρ√L.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.execution import HERE, Execution
from experiments.fischer import residual_scale
from experiments.fischer.residual_scale import best_product
from paper_figs._panels import DASHED, DOTTED, INTERVAL, graded, key, panel_legend, ticks_within
from paper_figs._style import BLACK, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_least, between
from resnet_sde.finite_width import off_diagonal_response, output_response

TRAINED = True
PANELS = 3
BUDGETS = residual_scale.BUDGETS
TITLES = {"test_accuracy": "test accuracy", "test_loss": "test loss", "train_loss": "training loss"}
BEST = (1.7, 2.9)  # ρ √L of the least test loss
RATIO = (1.7, 2.6)  # of the best ρ when the depth grows fourfold, ideally 2
LARGE, LOST = 6.0, 0.04  # accuracies at ρ √L above the first are below the best by the second
CLOSER = (0.5, 1.0)  # where the least loss is, from one response (0) to the other (1)
OF_TEN_LAYERS = (
    "ten layers suffer least: accuracy is 2.5 points lower at 6.8, the first scale beyond 6, and 9.6 points"
    " lower at 10; the limit is what was seen at 9.5"
)
BESIDE = 0.05  # relative distance at which a response is compared with its maximum
RESPONSES = {
    "response": {"linewidth": 0.9, "linestyle": (0, (1, 1.5))},
    "pair_response": {"linewidth": 0.9, "linestyle": (0, (4, 2))},
}
TRIANGLE = {"marker": "v", "markersize": 4}


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """Trained networks of all depths and scales, and where responses are largest."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Accuracy, and losses with the places where they are least."""
    with house_style():
        fig = new_figure(2.9)
        axes = fig.subplots(1, len(TITLES))
        for ax, letter, (name, title) in zip(axes, "abc", TITLES.items(), strict=True):
            panel_title(ax, letter, title)
            _curves(ax, ds, name)
            log_scale(ax, "x")
            ax.set(xlabel=r"$\rho\sqrt{L}$", ylabel="accuracy" if "accuracy" in name else "cross-entropy")
            ticks_within(ax, "x", (0.1, 0.3, 1, 3, 10))
        panel_legend(axes[0], "$L$", loc="lower left")
        many = Line2D([], [], color=BLACK, marker="o", markersize=2.5, linewidth=0.9)
        entries = {f"mean of {ds.sizes['sample']} networks, 95 %": many}
        entries["largest response to length"] = DOTTED
        entries["to angles"] = DASHED
        entries["least loss, 95 %"] = Line2D([], [], color=BLACK, linestyle="none", **TRIANGLE)
        key(fig, entries)
    return fig


def _curves(ax: Axes, ds: xr.Dataset, name: str) -> None:
    """Means over networks by depth; below losses, where they are least."""
    colours = graded(ds.sizes["depth"])
    for rank, (depth, colour) in enumerate(zip(ds.depth.values.tolist(), colours, strict=True)):
        of = ds.sel(depth=depth)
        mean, error = of[name].mean("sample"), _error(of[name])
        style = {"markersize": 2.5, "linewidth": 0.9, "elinewidth": 0.8, "color": colour}
        ax.errorbar(of["product"], mean, INTERVAL * error, marker="o", label=f"{depth}", **style)
        for response, line in RESPONSES.items():
            ax.axvline(float(of[response]), color=colour, **line)
        if "loss" in name:
            best, low = best_product(ds, name).sel(depth=depth), 0.04 + 0.05 * rank  # of the panel's height
            place = {"transform": ax.get_xaxis_transform(), "linestyle": "none", "elinewidth": 0.9}
            error = INTERVAL * _error(best)
            ax.errorbar(best.mean(), low, xerr=error, color=colour, **place, **TRIANGLE)
    if "loss" in name:
        log_scale(ax, "y")
        ax.set(ylim=(0.5 * float(ds[name].mean("sample").min()), None))
        ticks_within(ax, "y", (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5))


def _error(values: xr.DataArray) -> xr.DataArray:
    """The standard error of the mean over networks, of those that have a value."""
    return values.std("sample", ddof=1) / np.sqrt(values.count("sample"))


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Least losses at one ρ√L for all depths, accuracies that fall beyond it, and maxima of responses."""
    claims = []
    accuracy = ds.test_accuracy.mean("sample")
    for depth in ds.depth.values.tolist():
        of = accuracy.sel(depth=depth)
        lost = float(of.max() - of.where(ds["product"] > LARGE).max())
        name = f"L = {depth}, accuracy lost at rho sqrt(L) > {LARGE:g}"
        reason = OF_TEN_LAYERS if depth == 10 else ""
        claims += [at_least(name, lost, LOST, reason), *_largest(ds, depth)]
    if ds.attrs["budget"] == "smoke":  # three scales: the least loss is at the end of the grid
        return claims
    best = best_product(ds).mean("sample")
    for depth in ds.depth.values.tolist():
        found, of = float(best.sel(depth=depth)), ds.sel(depth=depth)
        claims.append(between(f"L = {depth}, rho sqrt(L) of the least test loss", found, *BEST))
        apart = float(of.pair_response - of.response)
        place = (found - float(of.response)) / apart if apart else math.inf
        name = f"L = {depth}, the same, from the response to length (0) to that to angles (1)"
        claims.append(between(name, place, *CLOSER))
    shallow, deep = (depth for depth in ds.depth.values.tolist() if depth in (10, 40))
    ratio = float(best.sel(depth=shallow) / best.sel(depth=deep)) * math.sqrt(deep / shallow)
    claims.append(between(f"best rho at L = {shallow} over that at L = {deep}", ratio, *RATIO))
    return claims


def _largest(ds: xr.Dataset, depth: int) -> list[Claim]:
    """The responses at the stated scales over those at both sides."""
    of = BUDGETS[ds.attrs["budget"]]

    def length(product: float) -> float:
        return output_response(of.model(product / math.sqrt(depth)), of.k0, depth=depth)

    def angle(product: float) -> float:
        return off_diagonal_response(of.model(product / math.sqrt(depth)), of.k0, 0.0, depth=depth)

    claims = []
    for name, word, response in (("response", "length", length), ("pair_response", "angles", angle)):
        product = float(ds[name].sel(depth=depth))
        beside = max(response(product * (1 + sign * BESIDE)) for sign in (1, -1))
        where = f"L = {depth}, response to {word} beside its maximum, over that there"
        claims.append(between(where, beside / response(product), 0.0, 1.0))
    return claims


CONTROLS = {
    "scales the wrong way": Control(
        lambda ds: ds.assign(test_accuracy=ds.test_accuracy.copy(data=ds.test_accuracy.values[:, ::-1])),
        "accuracy lost",
    ),
    "a response that is largest at one rho": Control(
        lambda ds: ds.assign(response=ds.response * (ds.depth / 4) ** 0.5), "response to length"
    ),
    "the response to lengths for that to angles": Control(
        lambda ds: ds.assign(pair_response=ds.response), "response to angles"
    ),
}
