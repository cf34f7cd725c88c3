"""Accuracy over the (H, beta) plane with one matrix a layer and with two: figure 9, whatever the images.

At initialization res-1 explodes below β* = max(H, 1/4) and res-3 below max(H, 1/2). Training gets over an
explosion that is not too large: networks learn down to an edge that lies `EDGE` below the boundary. So the
two blocks should differ for H < 1/2 and β between their edges, and not above.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

import resnet_sde as rs
from experiments.marion.accuracy_plane import BLOCKS, LEVEL, AccuracyPlane
from experiments.trained import at_best_rate
from paper_figs._panels import COLOURS, SMALL, colour_bar, key, panel_legend
from paper_figs._style import BLACK, BLUE, ORANGE, VERMILLION, house_style, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde import estimate
from resnet_sde.claims import Claim, at_least, at_most, between
from resnet_sde.estimate import Estimate

EDGE = 0.2
# Points (H, β) where res-1 learns, and where it does not. Those count that have a neighbour in the grid.
LEARN = [(hurst, beta) for hurst in (0.1, 0.5) for beta in (0.3, 0.5, 0.7, 0.9)] + [(0.9, 0.7), (0.9, 0.9)]
REFUSE = [(0.5, 0.1), (0.9, 0.1), (0.9, 0.3)]
NEAR = 0.05
LEARNED = {"digits": 0.93, "fashion-mnist": 0.8}  # the latter as in figure 8
REFUSED = 0.5  # networks that do not learn stay below
LEARNED_OF_SMOKE = 0.3  # eight steps; guesses reach 0.1
SAME = 0.03  # difference that is none: 3 standard errors of an accuracy of 0.96 on 397 images
ON_THE_EDGE = (
    "accuracy is already falling on this edge: the limit is that of one network with H = 0.5 and beta = 0.3,"
    " and means over three networks are 0.90 to 0.91"
)
OF_DIGITS = (
    "the limit is that of digits; little learning tells these images apart better, as the nearest mean of a"
    " class alone reaches 0.68"
)
APART = {"cmap": "RdBu", "vmin": -1.0, "vmax": 1.0}
NUMBER = {"textcoords": "offset points", "fontsize": SMALL, "ha": "center", "va": "bottom", "zorder": 4}
NUMBER |= {"path_effects": [withStroke(linewidth=2, foreground="white")]}
FEW = 5  # values of H up to which there is room for numbers in the cells
BOUNDARY = {"color": VERMILLION, "linewidth": 1.5}
LOWERED = {"color": VERMILLION, "linewidth": 1.2, "linestyle": (0, (4, 2))}
SURE = {"color": BLACK, "marker": "o", "markersize": 2.2, "linestyle": "none"}


def boundary(block: str, hursts: np.ndarray) -> np.ndarray:
    """β* of a block at every H."""
    return np.array([BLOCKS[block].critical_beta(rs.FractionalNoise(float(hurst))) for hurst in hursts])


def differences(ds: xr.Dataset) -> xr.DataArray:
    """Test accuracy of res-1 minus that of res-3, at the best rates; networks of one seed are a pair."""
    at = at_best_rate(ds).test_accuracy
    return at.sel(block="res-1", drop=True) - at.sel(block="res-3", drop=True)


def interval(samples: xr.DataArray) -> Estimate:
    """Of the mean over seeds, which are the only axis."""
    return estimate.mean(torch.from_numpy(samples.values), level=LEVEL)


def zone(apart: xr.DataArray, above: bool) -> xr.DataArray:
    """Mean difference over H < 1/2 and β above both edges, or between them; one for each seed."""
    low, high = (xr.DataArray(boundary(block, apart.hurst.values) - EDGE, dims="hurst") for block in BLOCKS)
    inside = apart.beta > high if above else (apart.beta > low) & (apart.beta < high)
    return apart.where(inside & (apart.hurst < 0.5)).mean(("hurst", "beta"))


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """A map of each block, a map of their difference, and the difference at small H."""
    apart = differences(ds)
    with house_style():
        fig = new_figure(6.2)
        axes = fig.subplots(2, 2)
        accuracy = at_best_rate(ds).test_accuracy.mean("sample")
        for letter, ax, block in zip("ab", axes[0], BLOCKS, strict=True):
            image = _map(ax, accuracy.sel(block=block), COLOURS)
            _lines(ax, block, 0.0, BOUNDARY)
            _lines(ax, block, EDGE, LOWERED)
            panel_title(ax, letter, f"accuracy of {block}")
        colour_bar(fig, image, axes[0], "test accuracy")
        image = _map(axes[1, 0], apart.mean("sample"), APART)
        _sure(axes[1, 0], apart)
        for block in BLOCKS:
            _lines(axes[1, 0], block, EDGE, LOWERED)
        panel_title(axes[1, 0], "c", "res-1 minus res-3")
        fig.colorbar(image, ax=axes[1, 0], pad=0.03, ticks=np.linspace(-1, 1, 5))
        _small_hurst(axes[1, 1], apart)
        panel_title(axes[1, 1], "d", "the same at small $H$")
        entries = {r"boundary $\beta^*$ at the start": Line2D([], [], **BOUNDARY)}
        entries[rf"edge of learning, $\beta^* - {EDGE:g}$"] = Line2D([], [], **LOWERED)
        entries["c: not 0 at the level of 95 %"] = Line2D([], [], **SURE)
        key(fig, entries)
    return fig


def _map(ax: Axes, values: xr.DataArray, colours: dict[str, object]) -> QuadMesh:
    """Colours over the plane; numbers too where there are few cells."""
    table = values.transpose("beta", "hurst")
    ax.grid(False)
    image = ax.pcolormesh(table.hurst, table.beta, table, shading="nearest", rasterized=True, **colours)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    ax.set(xlim=(max(left, 0), min(right, 1)), ylim=(max(low, 0), min(high, 1)))
    ax.set(xlabel="Hurst index $H$", ylabel=r"$\beta$")
    if table.hurst.size <= FEW:
        for value in table.stack(cell=("beta", "hurst")):
            label = f"{float(value.round(2)) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
            ax.annotate(label, (float(value.hurst), float(value.beta)), (0, 3), **NUMBER)
    return image


def _lines(ax: Axes, block: str, below: float, style: dict[str, object]) -> None:
    """The boundary of a block at initialization, or so much below it, within the map."""
    limits = ax.axis()
    fine = np.linspace(max(limits[0], 0.001), min(limits[1], 0.999), 201)
    ax.plot(fine, boundary(block, fine) - below, **style)
    ax.axis(limits)


def _sure(ax: Axes, apart: xr.DataArray) -> None:
    """A mark in every cell whose interval does not have 0 in it."""
    for hurst in apart.hurst.values:
        for beta in apart.beta.values:
            found = interval(apart.sel(hurst=hurst, beta=beta))
            if found.low > 0 or found.high < 0:
                ax.plot(hurst, beta, **SURE)


def _small_hurst(ax: Axes, apart: xr.DataArray) -> None:
    """The difference with its interval against β, for the smallest H and for the mean over all H < 1/2."""
    least = float(apart.hurst.min())
    low, high = (float(boundary(block, np.array([least]))[0]) - EDGE for block in BLOCKS)
    ax.axvspan(low, high, color="#ECECEC", linewidth=0)
    ax.axhline(0, color=BLACK, linewidth=0.7)
    small = apart.sel(hurst=apart.hurst < 0.5)
    rows = {f"$H = {least:g}$": (apart.sel(hurst=least), BLUE)}
    if small.sizes["hurst"] > 1:
        rows["mean over $H < 1/2$"] = (small.mean("hurst"), ORANGE)
    for shift, (label, (row, colour)) in zip((-0.006, 0.006), rows.items(), strict=False):
        found = [interval(row.sel(beta=beta)) for beta in row.beta]
        bars = np.array([(each.value - each.low, each.high - each.value) for each in found]).T
        bars[np.isinf(bars)] = 0  # one seed has no interval
        style = {"color": colour, "marker": "o", "markersize": 3, "linestyle": "none", "elinewidth": 1.0}
        ax.errorbar(row.beta + shift, [each.value for each in found], yerr=bars, label=label, **style)
    ax.set(xlabel=r"$\beta$", ylabel="difference", xlim=(0, 1), ylim=(-0.25, 1.0))
    panel_legend(ax, f"{apart.sizes['sample']} seeds, 95 %", loc="upper right")


# The claims


def check(ds: xr.Dataset, of: AccuracyPlane) -> list[Claim]:
    """Where res-1 learns and where not; whether training tells it apart from res-3 at small H."""
    claims = [*_of_points(ds, of), _everywhere(ds, of)]
    return claims if of.images.limit or of.samples == 1 else claims + _of_blocks(ds)


def learned(of: AccuracyPlane) -> float:
    """Accuracy on test images of networks that have learned."""
    return LEARNED_OF_SMOKE if of.images.limit else LEARNED[of.images.source.partition(":")[0]]


def _of_points(ds: xr.Dataset, of: AccuracyPlane) -> list[Claim]:
    accuracy, claims = at_best_rate(ds).test_accuracy.sel(block="res-1").mean("sample"), []
    wanted = dict.fromkeys(LEARN, (at_least, learned(of))) | dict.fromkeys(REFUSE, (at_most, REFUSED))
    reasons = {(0.5, 0.3): ON_THE_EDGE}
    if of.images.source.startswith("fashion-mnist"):
        reasons[0.5, 0.1] = OF_DIGITS
    for point, (claim, bound) in wanted.items():
        at = accuracy.sel(dict(zip(("hurst", "beta"), point, strict=True)), method="nearest")
        hurst, beta = float(at.hurst), float(at.beta)
        if max(abs(hurst - point[0]), abs(beta - point[1])) < NEAR:
            name = f"res-1, accuracy at H = {hurst:.3g}, beta = {beta:.3g}"
            claims.append(claim(name, at, bound, reasons.get(point, "")))
    return claims


def _everywhere(ds: xr.Dataset, of: AccuracyPlane) -> Claim:
    """The worst cell from the edge on; near the edge it is known to fail."""
    accuracy = at_best_rate(ds).test_accuracy.sel(block="res-1").mean("sample")
    height = accuracy.beta - np.maximum(accuracy.hurst, 0.5) + EDGE
    worst = accuracy.where(height >= 0).argmin(("hurst", "beta"))
    reason = ON_THE_EDGE if float(height[worst]) < 2 * NEAR else ""
    name = f"res-1, lowest accuracy from beta = max(H, 1/2) - {EDGE:g} on"
    return at_least(name, accuracy[worst], learned(of), reason)


def _of_blocks(ds: xr.Dataset) -> list[Claim]:
    """Intervals of level 95 % over seeds."""
    apart = differences(ds)
    least = apart.isel(hurst=0, beta=0)
    where = f"H = {float(least.hurst):g}, beta = {float(least.beta):g}"
    inside, above = (interval(zone(apart, of)) for of in (False, True))
    low, name = "lower end of the interval of res-1 minus res-3", "H < 1/2, beta"
    return [
        at_least(f"{where}, {low}", interval(least).low, 0.0),
        at_least(f"{name} between the edges of learning, {low}", inside.low, 0.0),
        between(f"{name} above both edges, {low}", above.low, -SAME, SAME),
        between(f"{name} above both edges, upper end", above.high, -SAME, SAME),
    ]


CONTROLS = {
    "blocks exchanged": Control(
        lambda ds: ds.assign_coords(block=ds.block[::-1]),
        "beta = 0.1, lower end",
        "between the edges of learning, lower end",
    ),
    "the boundary max(H, 1/2) for both blocks": Control(
        lambda ds: xr.concat([ds.sel(block="res-3").roll(sample=1), ds.sel(block="res-3")], ds.block),
        "between the edges of learning, lower end",
    ),
    "no boundary": Control(
        lambda ds: ds.assign(test_accuracy=ds.test_accuracy.clip(0.96)),
        "accuracy at H = 0.9, beta = 0.278",
        "accuracy at H = 0.9, beta = 0.1",
    ),
    "H the wrong way": Control(
        lambda ds: ds.assign_coords(hurst=ds.hurst[::-1]).sortby("hurst"), "beta = 0.1, lower end"
    ),
    "beta the wrong way": Control(
        lambda ds: ds.assign_coords(beta=ds.beta[::-1]).sortby("beta"),
        "res-1, accuracy at H = 0.9, beta = 0.9",
        "res-1, lowest accuracy",
    ),
    "two matrices worse everywhere": Control(
        lambda ds: ds.assign(test_accuracy=ds.test_accuracy - 0.04 * (ds.block == "res-3")),
        "above both edges, upper end",
    ),
}
