"""Weights along depth before and after training: the panels and claims of figure 8, whatever the images."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import resnet_sde as rs
from experiments.marion.trained_weights import LAWS, TrainedWeights
from paper_figs._panels import key
from paper_figs._style import BLACK, BLUE, ORANGE, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_least, at_most, equal

Z = 4.5  # standard errors granted to the weights before training: two-sided false alarm 7e-6 each
SMOOTH, ROUGH = 0.05, 0.8  # roughness that smooth weights stay below and independent ones above
# The smoke budget has 20 layers, so that smooth weights change from one to the next: their roughness is 0.15.
# Its 12 steps of Adam are little more than signs of gradients, which jump along depth.
SMOOTH_OF_SMOKE, CHANGE_OF_SMOKE = 0.2, 0.5
MOVED = 0.1  # relative change from which on it means something that weights keep their roughness
# What networks that have learned reach on test images. For Fashion-MNIST it is half way between 0.68, that of
# the nearest mean of a class, and 0.9, that of the best dense networks. Guesses reach 0.1.
ACCURACY = {"digits": 0.95, "fashion-mnist": 0.8}
ACCURACY_OF_SMOKE = 0.3
MOMENTS = {"before": ORANGE, "after": BLUE, "of_change": BLACK}
MARK = {"color": VERMILLION, "linewidth": 1.5}


def expected_roughness(law: rs.PathLaw, depth: int, entries: int) -> tuple[float, float]:
    """Mean and deviation of the roughness of a matrix at initialization, to first order in 1/entries.

    It is the ratio of two quadratic forms of Gaussian paths, each a sum over independent entries.
    """
    gamma, steps = law.covariance(depth).numpy(), np.diff(np.eye(depth), axis=0)
    increments = steps.T @ steps / (2 * (depth - 1))
    spread = (np.eye(depth) - 1 / depth) / (depth - 1)
    top, bottom = np.trace(increments @ gamma), np.trace(spread @ gamma)
    form = (increments / top - spread / bottom) @ gamma
    return top / bottom, top / bottom * math.sqrt(2 * np.trace(form @ form) / entries)


def expected(of: TrainedWeights, case: str) -> tuple[float, float]:
    """The same for the networks of a case, whose name begins with that of its law."""
    return expected_roughness(LAWS[case.partition(",")[0]], of.depth, of.width**2)


def accuracy(of: TrainedWeights) -> float:
    """What the mean over networks must reach on test images."""
    return ACCURACY_OF_SMOKE if of.images.limit else ACCURACY[of.images.source.partition(":")[0]]


# The picture


def draw(ds: xr.Dataset, of: TrainedWeights) -> Figure:
    """One entry of a matrix in each case; roughness and accuracy of all networks below."""
    cases = ds.case.values.tolist()
    with house_style():
        fig = new_figure(4.9)
        above, below = fig.add_gridspec(2, 1)
        row = above.subgridspec(1, len(cases)).subplots(sharey=True)
        for letter, ax, case in zip("abc", row, cases, strict=True):
            _paths(ax, ds.sel(case=case).isel(sample=0, entry=0))
            law, _, beta = case.partition(", beta = ")
            panel_title(ax, letter, rf"{law} weights, $\beta = {beta}$")
        row[0].set_ylabel("one entry of $V_k$")
        left, right = below.subgridspec(1, 2, width_ratios=(2, 1)).subplots()
        _roughness(left, ds, of)
        _accuracies(right, ds, accuracy(of))
        words = {"before": "before training", "after": "after", "of_change": "change"}
        entries = {words[when]: Line2D([], [], color=colour) for when, colour in MOMENTS.items()}
        key(fig, entries | {"d: exact mean before, e: wanted of means": Line2D([], [], **MARK)})
    return fig


def _paths(ax: Axes, ds: xr.Dataset) -> None:
    layers = np.arange(1, ds.sizes["layer"] + 1)
    ax.plot(layers, ds.before, color=MOMENTS["before"], linewidth=0.6)
    ax.plot(layers, ds.after, color=MOMENTS["after"], linewidth=0.6)
    ax.plot(layers, ds.after - ds.before, color=MOMENTS["of_change"], linewidth=1.4)
    ax.set(xlabel="layer $k$", xlim=(1, layers[-1]))


def _roughness(ax: Axes, ds: xr.Dataset, of: TrainedWeights) -> None:
    """A point for each network; its colour says when."""
    for i, case in enumerate(ds.case.values.tolist()):
        for shift, (when, colour) in zip((-0.25, 0, 0.25), MOMENTS.items(), strict=True):
            _cloud(ax, i + shift, ds[f"roughness_{when}"].sel(case=case), colour)
        mean, _ = expected(of, case)
        ax.plot([i - 0.4, i + 0.15], [mean, mean], **MARK)
    log_scale(ax, "y")
    _cases(ax, ds)
    panel_title(ax, "d", r"roughness $\langle (V_{k+1} - V_k)^2\rangle \,/\, 2\,\mathrm{Var}\,V$")


def _accuracies(ax: Axes, ds: xr.Dataset, wanted: float) -> None:
    for i, case in enumerate(ds.case.values.tolist()):
        _cloud(ax, i, ds.test_accuracy.sel(case=case), MOMENTS["after"])
    ax.axhline(wanted, **MARK)
    _cases(ax, ds)
    panel_title(ax, "e", "accuracy on test images")


def _cloud(ax: Axes, x: float, values: xr.DataArray, colour: str) -> None:
    """Points side by side."""
    offsets = np.linspace(-0.07, 0.07, values.size) if values.size > 1 else np.zeros(1)
    style = {"marker": "o", "markersize": 3, "linestyle": "none", "markeredgecolor": "white"}
    ax.plot(x + offsets, values, color=colour, markeredgewidth=0.3, zorder=3, **style)


def _cases(ax: Axes, ds: xr.Dataset) -> None:
    labels = [case.replace(", beta = ", "\n$\\beta = $") for case in ds.case.values.tolist()]
    ax.set(xlim=(-0.5, len(labels) - 0.5), xlabel="weights at the start")
    ax.set_xticks(range(len(labels)), labels)
    ax.grid(False, axis="x")


# The claims


def check(ds: xr.Dataset, of: TrainedWeights) -> list[Claim]:
    """Roughness before training is that of its law, and a training from which networks learn keeps it."""
    return [claim for case in ds.case.values.tolist() for claim in _check(case, ds.sel(case=case), of)]


def _check(case: str, ds: xr.Dataset, of: TrainedWeights) -> Iterator[Claim]:
    smoke = of.images.limit is not None
    mean, deviation = expected(of, case)
    tolerance = Z * deviation / math.sqrt(of.samples)
    before, after = ds.roughness_before.mean(), ds.roughness_after
    yield equal(f"{case}, mean roughness before training", before, mean, tolerance)
    if case.startswith("smooth"):
        largest = SMOOTH_OF_SMOKE if smoke else SMOOTH
        yield at_most(f"{case}, largest roughness after training", after.max(), largest)
    else:
        yield at_least(f"{case}, smallest roughness after training", after.min(), ROUGH)
    largest, change = CHANGE_OF_SMOKE if smoke else SMOOTH, ds.roughness_of_change
    yield at_most(f"{case}, largest roughness of the change", change.max(), largest)
    yield at_least(f"{case}, smallest relative change", ds.relative_change.min(), MOVED)
    yield at_least(f"{case}, mean test accuracy", ds.test_accuracy.mean(), accuracy(of))


CONTROLS = {
    "smooth and white weights exchanged": Control(
        lambda ds: ds.isel(case=[1, 0, 2]).assign_coords(case=ds.case),
        "smooth, beta = 1, mean roughness before",
        "smooth, beta = 1, largest roughness after",
        "white, beta = 1, smallest roughness after",
    ),
    "smooth weights of twice the length": Control(
        lambda ds: ds.assign(roughness_before=ds.roughness_before / 4),
        "smooth, beta = 1, mean roughness before",
    ),
    "a change that is independent from layer to layer": Control(
        lambda ds: ds.assign(roughness_of_change=xr.ones_like(ds.roughness_of_change)),
        "white, beta = 0.5, largest roughness of the change",
    ),
    "hardly any training": Control(
        lambda ds: ds.assign(relative_change=ds.relative_change / 10, test_accuracy=ds.test_accuracy / 3),
        "smallest relative change",
        "mean test accuracy",
    ),
}
