r"""Theory of any law against simulation: mean square displacements over blocks, laws and scalings.

Four blocks, six laws of the weights along depth, from independent to constant, and seven scalings L^(-beta),
at 64 layers. The mean squares of how far states and gradients travel, over networks on which all scalings are
seen, stand beside those of infinite width, which are given by one recursion for the kernel between layers.
Intervals are 95 %. Hollow points explode: means over networks are then those of few of them, and they are not
tested; gradients of two ReLU matrices then lie above the line, because a share 1/width of them grows like the
state.

Networks of finite width differ from infinite width by the order of 1/width, which is seen at the smaller
width; twice the mean square at the larger width less that at the smaller is free of it. What then remains is
chance: the deviations in standard errors follow the normal law, and a theory with 5 % too much variance in
its outer weights is told apart. Scalings of one block and law share their weights, so their deviations are
alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import scipy.stats
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.own.plane_of_laws import BLOCKS, LAWS, QUANTITIES, LawPlane
from paper_figs._claims import Z
from paper_figs._panels import DASHED, INTERVAL, LINE, panel_legend
from paper_figs._ratios import FORWARD, GRADIENT
from paper_figs._style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    house_style,
    new_figure,
    panel_title,
)
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_least, at_most, between, equal
from resnet_sde.runs.versions import current_versions

PANELS = 4
BUDGETS = {
    "smoke": LawPlane((0.35, 0.7, 1.1), widths=(16, 32), samples=400, depth=24, inputs=1),
    "cpu": LawPlane((0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1), widths=(48, 96), samples=384),
}
MODERATE = 4.0  # mean square up to which it is that of most networks, and tested
SHOWN = 1.5  # log10 of a root mean square up to which it is shown
LEVEL = 1e-3  # chance of a false alarm among all the deviations
PLANTED_AT_LEAST = 5.0  # standard errors by which 5 % of variance must be seen
COLOURS = dict(zip(LAWS, (BLACK, PURPLE, VERMILLION, GREEN, SKY, ORANGE), strict=True))
MARKERS = dict(zip(BLOCKS, "os^D", strict=True))
OF_THEORY, OF_PLANTED = "right", "variance 5 % too large"


def compute(budget: str, seed: int) -> xr.Dataset:
    """Mean squares of networks and of theory."""
    settings = BUDGETS[budget]
    made = {"seed": seed, "budget": budget, "experiment": repr(settings)}
    return settings.run(seed=seed).assign_attrs(made, versions=json.dumps(current_versions()))


def extrapolated(ds: xr.Dataset) -> xr.Dataset:
    """Mean square and its error at infinite width, from a width and its double."""
    narrow, wide = (ds.isel(width=k) for k in (0, 1))
    error = np.sqrt(4 * wide.error**2 + narrow.error**2)
    return xr.Dataset({"mean": 2 * wide["mean"] - narrow["mean"], "error": error})


def deviations(ds: xr.Dataset, measured: xr.Dataset, theory: str = "theory") -> xr.DataArray:
    """Distances to theory in standard errors; NaN where mean squares are those of few networks."""
    return ((measured["mean"] - ds[theory]) / measured.error).where(ds.theory <= MODERATE)


def bound(z: xr.DataArray) -> float:
    """What the largest of so many normal deviations exceeds with probability `LEVEL` at most."""
    return float(scipy.stats.norm.isf(LEVEL / 2 / int(z.notnull().sum())))


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Mean squares above, deviations below."""
    with house_style():
        fig = new_figure(6.6)
        axes = fig.subplots(2, 2)
        for letter, ax, quantity in zip("ab", axes[0], QUANTITIES, strict=True):
            _scatter(ax, ds.sel(quantity=quantity))
            panel_title(ax, letter, f"{quantity}, width {int(ds.width[-1])}, $L = {ds.attrs['depth']}$")
            symbol = FORWARD.symbol if quantity == "states" else GRADIENT.symbol
            ax.set_ylabel(rf"$\log_{{10}}$ r.m.s. of {symbol}")
            ax.set_xlabel("infinite width")
        _by_width(axes[1, 0], ds)
        panel_title(axes[1, 0], "c", "deviations by width")
        _quantiles(axes[1, 1], ds)
        panel_title(axes[1, 1], "d", "deviations after extrapolation")
        _legend(fig)
    return fig


def _scatter(ax: Axes, ds: xr.Dataset) -> None:
    ends = (-1.6, SHOWN)
    ax.plot(ends, ends, color=BLACK, linewidth=0.8)
    wide = ds.isel(width=-1)
    for block, marker in MARKERS.items():
        for law, colour in COLOURS.items():
            here = wide.sel(block=block, law=law)
            for tested in (True, False):
                some = here.where((here.theory <= MODERATE) == tested, drop=True)
                some = some.where(np.log10(some.theory) / 2 < SHOWN, drop=True)
                ax.errorbar(
                    np.log10(some.theory) / 2,
                    np.log10(some["mean"]) / 2,
                    yerr=INTERVAL * some.error / some["mean"] / (2 * math.log(10)),
                    color=colour,
                    marker=marker,
                    markersize=3.2,
                    markerfacecolor=colour if tested else "none",
                    linestyle="none",
                    elinewidth=0.8,
                    markeredgewidth=0.6,
                )
    ax.set(xlim=ends, ylim=ends)


def _by_width(ax: Axes, ds: xr.Dataset) -> None:
    """Every deviation, a column for each width; moved sideways by law."""
    columns = [*(ds[["mean", "error"]].isel(width=k) for k in (0, 1)), extrapolated(ds)]
    for place, measured in enumerate(columns):
        z = deviations(ds, measured)
        for k, (law, colour) in enumerate(COLOURS.items()):
            some = z.sel(law=law).values.ravel()
            at = place + 0.11 * (k - (len(COLOURS) - 1) / 2)
            ax.plot(np.full(some.size, at), some, "o", color=colour, markersize=2, markeredgewidth=0)
    limit = bound(deviations(ds, columns[-1]))
    for side in (-limit, limit):
        ax.axhline(side, **_style(DASHED))
    names = [*(f"width {int(width)}" for width in ds.width), "extrapolated"]
    ax.set_xticks(range(len(columns)), names)
    ax.set(xlabel="networks", ylabel="deviation, in standard errors")


def _quantiles(ax: Axes, ds: xr.Dataset) -> None:
    """Deviations in order against quantiles of the normal law, for theory and with an error planted in it."""
    for name, label, colour, marker in (
        ("theory", OF_THEORY, BLUE, "o"),
        ("planted", OF_PLANTED, VERMILLION, "x"),
    ):
        z = deviations(ds, extrapolated(ds), name).values.ravel()
        z = np.sort(z[np.isfinite(z)])
        normal = scipy.stats.norm.ppf((np.arange(z.size) + 0.5) / z.size)
        ax.plot(normal, z, marker, color=colour, markersize=2.5, linestyle="none", label=label)
    ends = np.array([normal[0], normal[-1]])
    ax.plot(ends, ends, **_style(LINE))
    panel_legend(ax, "theory", loc="upper left")
    ax.set(xlabel="quantile of the normal law", ylabel="deviation, in standard errors")


def _style(line: Line2D) -> dict[str, object]:
    return {"color": line.get_color(), "linewidth": 0.9, "linestyle": line.get_linestyle()}


def _legend(fig: Figure) -> None:
    laws = {law: Line2D([], [], color=colour, linewidth=3) for law, colour in COLOURS.items()}
    shape = {"color": BLACK, "linestyle": "none", "markersize": 4}
    blocks = {block: Line2D([], [], marker=marker, **shape) for block, marker in MARKERS.items()}
    entries = laws | blocks | {f"bound, level {LEVEL:g} for all": DASHED}
    fig.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, columnspacing=1.4)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Deviations after extrapolation are chance; finite width and 5 % of variance are seen."""
    return [claim for quantity in QUANTITIES for claim in _check(ds.sel(quantity=quantity), quantity)]


def _check(ds: xr.Dataset, quantity: str) -> Iterator[Claim]:
    z = deviations(ds, extrapolated(ds))
    limit = bound(z)
    yield at_most(f"{quantity}, largest deviation after extrapolation", abs(z).max(), limit)
    # Scalings share their weights, so at least one number for each block and law is independent.
    groups = ds.sizes["block"] * ds.sizes["law"]
    low, high = np.sqrt(scipy.stats.chi2.ppf([LEVEL / 2, 1 - LEVEL / 2], groups) / groups)
    size = float(np.sqrt((z**2).mean()))
    yield between(f"{quantity}, root mean square deviation after extrapolation", size, low, high)
    narrow = deviations(ds, ds[["mean", "error"]].isel(width=0))
    text = (
        f"{quantity}, the same at width {int(ds.width[0])} without extrapolation, where finite width is seen"
    )
    yield at_least(text, np.sqrt((narrow**2).mean()), high)
    share, error = mean_share(ds, "theory")
    text = f"{quantity}, mean relative deviation at the largest beta"
    yield equal(text, share, 0.0, Z * error)
    share, error = mean_share(ds, "planted")
    text = f"{quantity}, standard errors of the same with 5 % too much variance in the theory"
    yield at_least(text, abs(share) / error, PLANTED_AT_LEAST)


def mean_share(ds: xr.Dataset, theory: str) -> tuple[float, float]:
    """Relative deviation at the largest β, averaged by precision over blocks and laws, and its error."""
    measured = extrapolated(ds).isel(beta=-1)
    share, error = measured["mean"] / ds[theory].isel(beta=-1) - 1, measured.error / ds.theory.isel(beta=-1)
    weight = 1 / error**2
    return float((share * weight).sum() / weight.sum()), float(weight.sum() ** -0.5)


def _gradients_like_states(ds: xr.Dataset) -> xr.Dataset:
    """The factor of the gradient kernel is the dual of φ, not of its derivative."""
    ds.theory.loc[{"quantity": "gradients"}] = ds.theory.sel(quantity="states")
    return ds


CONTROLS = {
    "too much variance": Control(lambda ds: ds.assign(theory=ds.planted), "mean relative deviation"),
    "gradients like states": Control(_gradients_like_states, "gradients, largest deviation"),
    "laws in another order": Control(
        lambda ds: ds.assign(theory=ds.theory.copy(data=ds.theory.roll(law=1).values)),
        "states, largest deviation",
    ),
    "errors that take four inputs of a network for independent": Control(
        lambda ds: ds.assign(error=ds.error / 2), "root mean square deviation"
    ),
}
