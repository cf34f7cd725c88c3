r"""Whether a learning rate that was found in a shallow network holds in a deep one.

Loss at the end of training against the rate, for three depths: of perceptrons on handwritten digits (a to f),
with one rate for all parameters, and of a small transformer on letters (g to k), with AdamW, where the rate
is that of the blocks. Points on the dashed line are the rates at which training comes down to a fixed loss,
the mean over networks. Panels l to n: by how many octaves this rate moves with the depth, with 95 % intervals
over networks; dotted lines are the rate law of the blocks, which the depth check reads off one step of
untrained networks.

Claimed: with a factor $1/\sqrt{L}$ in the graph, and rates by the law, the rate stays within $\pm 0.4$
octaves (l); so it does with the factor in initial weights, if what writes follows $1/L$ and the rest
$1/\sqrt{L}$. With one rate for all depths it moves as the law says, up to an exponent of 0.25, since
embedding and readout do not follow the depth; without a factor, where the law is no power law, deep networks
are lost at the rate of shallow ones, and some never come down (m). Reported and not claimed (n): schemes with
a factor $1/L$, whose best rates are known to disagree with the law of the blocks. With SGD the law is off by
an exponent of one: embedding and readout do the learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from string import ascii_lowercase

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.execution import HERE, Execution
from experiments.own.depth_transfer import BUDGETS, SCHEMES, crossings, octaves, predicted, shift
from experiments.wide import dataset
from paper_figs._panels import DOTTED, graded, key, panel_legend, ticks
from paper_figs._style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    THEORY_TOO,
    VERMILLION,
    house_style,
    new_figure,
    panel_title,
)
from paper_figs.controls import Change, Control
from resnet_sde.claims import Claim, at_least, at_most, equal

PANELS = 14
TRAINED = True
STAYS = 0.4  # octaves
NEAR = 0.25  # exponents of theory and of sweeps
LEARNED = {"smoke": 0.998, "cpu": 0.9, "paper": 0.9}  # least loss over that at the smallest rate, at most
SERIES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (VERMILLION, "v"))
ANSWERS = {"stays": ("stays",), "moves": ("moves", "fails"), "not claimed": ("",)}
COLUMNS = 4
LOSSES = {"digits": (0.03, 0.1, 0.3, 1, 2), "letters": (0.9, 1, 1.2, 1.5, 1.8, 2)}


def compute(budget: str, seed: int, *, how: Execution = HERE) -> xr.Dataset:
    """All sweeps, and the rate laws."""
    found = BUDGETS[budget].run(seed=seed, how=how)
    variables = {name: (each.dims, each.values) for name, each in found.data_vars.items()}
    coordinates = {name: each.values for name, each in found.coords.items()}
    return dataset(variables, coordinates, BUDGETS[budget], budget, seed)


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Losses against rates for each scheme; below, how crossings move with the depth."""
    names = [str(name) for name in ds.scheme.values]
    letters = dict(zip(names, ascii_lowercase, strict=False))
    rows = math.ceil((len(names) + len(ANSWERS)) / COLUMNS)
    with house_style():
        fig = new_figure(2.1 * rows)
        axes = fig.subplots(rows, COLUMNS).ravel()
        for ax, name in zip(axes, names, strict=False):
            optimizer, *where, rates = name.split(", ")
            panel_title(ax, letters[name], f"{optimizer}, {rates}\n{', '.join(where)}")
            _sweep(ax, ds, name)
        for ax in axes[len(names) + len(ANSWERS) :]:
            ax.remove()
        for ax in axes[: len(names) : COLUMNS]:
            ax.set(ylabel="loss at the end")
        below = axes[len(names) : len(names) + len(ANSWERS)]
        for ax, letter, title in zip(below, ascii_lowercase[len(names) :], ANSWERS, strict=False):
            panel_title(ax, letter, title)
            shown = {name: letters[name] for name in names if SCHEMES[name].claim in ANSWERS[title]}
            _shifts(ax, ds, shown, band=title == "stays")
        key(fig, _key(ds, names))
    return fig


def _key(ds: xr.Dataset, names: list[str]) -> dict[str, Line2D]:
    """Depths of both tasks, the loss to come down to, and the law."""
    tasks = {SCHEMES[name].task: ds.depth.sel(scheme=name).to_numpy() for name in names}
    labels = [" or ".join(str(depth) for depth in pair) for pair in zip(*tasks.values(), strict=True)]
    colours = graded(len(labels))
    depths = {
        f"depth {label}": Line2D([], [], color=colour, marker="o", markersize=3)
        for label, colour in zip(labels, colours, strict=True)
    }
    return depths | {"loss to come down to": Line2D([], [], **THEORY_TOO), "rate law": DOTTED}


def _sweep(ax: Axes, ds: xr.Dataset, name: str) -> None:
    at, crossed = ds.sel(scheme=name), crossings(ds, name)
    level = float(at.level)
    for place, colour in enumerate(graded(at.sizes["place"])):
        losses = at.loss[place].mean("sample")
        rates = at.log2_rate[place].to_numpy()[np.isfinite(losses)]
        ax.plot(rates, losses[np.isfinite(losses)], color=colour, marker="o", markersize=2.5, linewidth=1.0)
        middle = np.nanmean(crossed[place]) if np.isfinite(crossed[place]).any() else np.nan
        ax.plot([middle], [level], color=colour, marker="o", markersize=5, fillstyle="none", zorder=4)
    ax.axhline(level, **THEORY_TOO)
    ax.set(yscale="log", xlabel="rate")
    low, high = ax.get_ylim()
    ticks(ax, "y", [loss for loss in LOSSES[SCHEMES[name].task] if low <= loss <= high])
    ends = range(int(at.log2_rate.min()), int(at.log2_rate.max()) + 1)
    shown = ends[1 :: 2 + (len(ends) > 5)]
    ax.set_xticks(shown, [f"$2^{{{rate}}}$" for rate in shown])


def _shifts(ax: Axes, ds: xr.Dataset, shown: dict[str, str], *, band: bool) -> None:
    if band:
        ax.axhspan(-STAYS, STAYS, color="#E8F1E8", zorder=0)
    for (name, letter), (colour, marker) in zip(shown.items(), SERIES, strict=False):
        depths = ds.depth.sel(scheme=name).to_numpy()
        found = [shift(ds, name, place) for place in range(1, len(depths))]
        middle = np.array([0.0, *(each.value for each in found)])
        half = np.array([0.0, *(each.high - each.value for each in found)])
        half[~np.isfinite(half)] = np.nan
        style = {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 0.8, "elinewidth": 1.0}
        ax.errorbar(depths, middle, yerr=half, label=letter, zorder=3, **style)
        law = [predicted(ds, name, place) for place in range(len(depths))]
        ax.plot(depths, law, color=colour, linewidth=1.0, linestyle=":")
    ax.set(xscale="log", xlabel="depth $L$", ylabel="octaves")
    ticks(ax, "x", sorted({int(depth) for name in shown for depth in ds.depth.sel(scheme=name)[::2]}))
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.5 * (high - low), high)  # for the legend
    panel_legend(ax, loc="lower left", ncols=3, columnspacing=0.8)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Training learns; where enough is trained, crossings do what is claimed of each scheme."""
    budget = ds.attrs["budget"]
    losses = ds.loss.mean("sample")
    least = float((losses.min("rate") / losses.isel(rate=0)).max())
    name = "largest ratio of the least loss to that at the smallest rate"
    claims = [at_most(name, least, LEARNED[budget])]
    if budget == "smoke":  # a few steps: no loss comes down
        return claims
    names = [str(name) for name in ds.scheme.values]
    compared = [name for name in names if SCHEMES[name].claim in ("stays", "moves")]
    outside = sum(int(np.isnan(crossings(ds, name)).sum()) for name in compared)
    claims.append(equal("networks that cross outside of the grid of rates", outside, 0))
    return [*claims, *(claim for name in names for claim in _claimed(ds, name))]


def _claimed(ds: xr.Dataset, name: str) -> Iterator[Claim]:
    claim, found = SCHEMES[name].claim, shift(ds, name)
    if claim == "stays":
        largest = max(abs(found.low), abs(found.high))
        yield at_most(f"{name}, largest shift in the interval, octaves", largest, STAYS)
    if claim == "moves":
        yield at_least(f"{name}, smallest shift down in the interval, octaves", -found.high, STAYS)
        exponent, law = found.value / octaves(ds, name), predicted(ds, name) / octaves(ds, name)
        yield equal(f"{name}, exponent of the crossing", exponent, law, NEAR)
    if claim == "fails":
        deep = ds.sel(scheme=name).isel(place=-1)
        kept = deep.log2_rate.where(np.isfinite(deep.loss).any("sample")).max()
        down = float(crossings(ds, name)[0].mean() - kept)
        what = "octaves from the shallow crossing down to rates at which deep networks are not lost"
        yield at_least(f"{name}, {what}", down, STAYS)


def _moved(name: str, octaves_of: Callable[[xr.Dataset], float]) -> Change:
    """Deep networks of a scheme cross the loss at a rate that is so many octaves larger."""

    def change(ds: xr.Dataset) -> xr.Dataset:
        by = octaves_of(ds)
        ds = ds.assign(log2_rate=ds.log2_rate.astype(float))
        ds.log2_rate.loc[{"scheme": name, "place": "deep"}] += by
        return ds

    return change


def _uncrossed(ds: xr.Dataset) -> xr.Dataset:
    """One network of a scheme that stays does not come down to the loss."""
    ds.loss.loc[{"scheme": "SGD, multiplier 1/√L, one rate", "place": "middle", "sample": 0}] += 10
    return ds


def _untrained(ds: xr.Dataset) -> xr.Dataset:
    """The networks of a depth that is not compared learn nothing, at any rate but one."""
    at = ds.loss.loc[{"scheme": "SGD, multiplier 1/L, one rate", "place": "middle"}]
    at[:] = at.isel(rate=0)
    return ds


def _of_scheme(name: str, claim: str) -> Control:
    """Where rates stay they move by an octave, where they move it is by two powers less."""
    if claim == "stays":
        return Control(_moved(name, lambda ds: 1.0), f"{name}, largest shift in the interval")
    if claim == "moves":
        return Control(_moved(name, lambda ds: -2 * octaves(ds, name)), f"{name}, exponent of the crossing")
    return Control(_moved(name, lambda ds: 4.0), f"{name}, octaves from the shallow crossing")


CONTROLS = {
    **{f"{name}: another rate": _of_scheme(name, of.claim) for name, of in SCHEMES.items() if of.claim},
    "a network that does not learn": Control(_uncrossed, "networks that cross outside of the grid of rates"),
    "networks that do not learn": Control(
        _untrained, "largest ratio of the least loss to that at the smallest"
    ),
}
