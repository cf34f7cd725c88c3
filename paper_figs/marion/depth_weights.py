"""Trained weights of N and of 2N layers, which start from the same weights: how far apart they end.

Networks res-1 of ReLU learn one example with Adam, after a further experiment of Marion et al. (2025). The
network of N layers starts from every second matrix of the one of 2N layers. Panels a and b show the
Frobenius norm of the difference between trained matrices, as root mean square over common layers and
networks; dashed is what networks would have that move as much but without regard to each other. Panel c has
the rates at which the distance falls with N.

Smooth weights and beta = 1 have an ordinary equation as their limit, with states and gradients that differ
by 1/N. Yet the rate of weights lies between 1/2 and 1: a step of Adam is nearly the sign of a gradient, and
where that sign changes along depth it does so a layer apart in the two networks, so that a share 1/N of the
layers differs by a whole step. For white weights and beta = 1 states differ by N^−1/2, and weights by
N^−1/2 to N^−1/4 for the same reason. With beta = 1/2 there is no common limit: half of the variance of
white weights is not shared, and smooth weights explode.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.execution import HERE, Execution
from experiments.marion import depth_convergence
from experiments.marion.depth_convergence import DepthConvergence, rate
from paper_figs._panels import INTERVAL, key, ticks
from paper_figs._style import BLACK, BLUE, ORANGE, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_least, at_most, between
from resnet_sde.estimate import mean

TRAINED = True
PANELS = 3
BUDGETS = {
    "smoke": DepthConvergence((8, 16, 32, 64), width=20, n_in=8, steps=10, samples=24),
    "cpu": depth_convergence.BUDGETS["cpu"],
    "paper": depth_convergence.BUDGETS["paper"],
}
COLOURS = {"smooth": BLUE, "white": ORANGE}
MARKERS = {"smooth": "o", "white": "s"}
RATES = {  # law and β: least and largest rate that theory has
    ("smooth", 1.0): (0.5, 1.0),
    ("white", 1.0): (0.25, 0.5),
    ("smooth", 0.5): (-math.inf, 0.0),
    ("white", 0.5): (0.0, 0.0),
}
BIAS = 0.1  # over practical depths, of a rate that is known to be one number
LEARNED = 0.01 / 3  # square error: 1 % of E y² of a target y that is uniform on (0, 1)
UNRELATED = {"color": "#808080", "linewidth": 1.1, "linestyle": (0, (4, 2))}
SHADE = "#DDDDDD"
YTICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """Distances of weights, and how far they have moved."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


def mean_square(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Squared distance over layers and networks, and its standard error."""
    square = ds.root_mean_square**2
    return square.mean("sample"), square.std("sample", ddof=1) / square.sizes["sample"] ** 0.5


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Distances against depth for each β, and their rates."""
    with house_style():
        fig = new_figure(2.9)
        axes = fig.subplots(1, 3, width_ratios=(1, 1, 1.1))
        lowest, moved = float(np.sqrt(mean_square(ds)[0].min())), float(ds.change.max())
        for letter, ax, beta in zip("ab", axes, (1.0, 0.5), strict=False):
            _distances(ax, ds.sel(beta=beta))
            ax.set(ylim=(lowest / 2, 2 * moved))
            panel_title(ax, letter, rf"$\beta = {beta:g}$")
        axes[0].set_ylabel(r"$\Vert V_k^N - V_{2k}^{2N}\Vert$ (r.m.s.)")
        _rates(axes[2], ds)
        panel_title(axes[2], "c", "rates in $1/N$ (99.9 %)")
        entries = {
            f"{law} weights": Line2D([], [], color=colour, marker=MARKERS[law], markersize=3)
            for law, colour in COLOURS.items()
        }
        entries["unrelated changes"] = Line2D([], [], **UNRELATED)
        key(fig, entries | {"c: expected": Patch(color=SHADE)})
    return fig


def _distances(ax: Axes, ds: xr.Dataset) -> None:
    depths = ds.depth.values
    for law, colour in COLOURS.items():
        square, error = (each.sel(law=law) for each in mean_square(ds))
        bars = np.sqrt(np.stack([square - INTERVAL * error, square + INTERVAL * error]).clip(0))
        root = np.sqrt(square)
        style = {"color": colour, "marker": MARKERS[law], "markersize": 3, "linestyle": "none"}
        ax.errorbar(depths, root, yerr=abs(bars - root.values), elinewidth=1.0, **style)
        fit = np.poly1d(np.polyfit(np.log(depths), np.log(root), 1))
        ax.plot(depths, np.exp(fit(np.log(depths))), color=colour, linewidth=1.0)
    moved = np.sqrt(2 * (ds.change**2).mean(("law", "sample")))
    ax.plot(depths, moved, **UNRELATED)
    log_scale(ax, "xy")
    ticks(ax, "x", depths[:: 1 + len(depths) // 6])
    ticks(ax, "y", YTICKS)
    ax.set(xlabel="layers $N$")


def _rates(ax: Axes, ds: xr.Dataset) -> None:
    cases = list(RATES)
    for row, (law, beta) in enumerate(cases):
        found, (low, high) = rate(ds, law, beta), RATES[law, beta]
        ends = max(low, -0.5) - 0.01, high + 0.01
        ax.barh(row, ends[1] - ends[0], left=ends[0], height=0.62, color=SHADE)
        bars = [[found.value - found.low], [found.high - found.value]]
        style = {"color": COLOURS[law], "marker": MARKERS[law], "markersize": 3.5, "linestyle": "none"}
        ax.errorbar(found.value, row, xerr=bars, elinewidth=1.2, **style)
    ax.axvline(0, color=BLACK, linewidth=0.7)
    ax.set_yticks(range(len(cases)), [f"{law},\n$\\beta = {beta:g}$" for law, beta in cases])
    ax.set(xlabel="rate", xlim=(-0.5, 1.25), ylim=(len(cases) - 0.5, -0.5))
    ax.grid(False, axis="y")


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Rates, whose intervals must meet what is expected; which law ends nearer; whether networks learned."""
    claims = [_rate(ds, law, beta) for law, beta in RATES]
    last = np.log(ds.root_mean_square.sel(beta=1.0).isel(depth=-1))
    nearer = mean(torch.from_numpy((last.sel(law="white") - last.sel(law="smooth")).values))
    name = f"beta = 1, N = {int(last.depth)}, lower end of the mean log distance of white over smooth weights"
    claims.append(at_least(name, nearer.low, 0.0))
    if ds.attrs["budget"] != "smoke":
        loss = float(ds.loss.sel(beta=1.0).mean("sample").max())
        claims.append(at_most("beta = 1, largest mean square error after training", loss, LEARNED))
    return claims


def _rate(ds: xr.Dataset, law: str, beta: float) -> Claim:
    """The interval has level 99.9 %, which is the chance that a claim passes where it should."""
    found, (low, high) = rate(ds, law, beta), RATES[law, beta]
    granted = (found.high - found.low) / 2 + (BIAS if low == high else 0.0)
    name = f"{law}, beta = {beta:g}, rate in 1/N"
    if math.isinf(low):
        return at_most(name, found.value, high + granted)
    return between(name, found.value, low - granted, high + granted)


CONTROLS = {
    "scalings exchanged": Control(lambda ds: ds.assign_coords(beta=ds.beta[::-1]), "smooth, beta = 1, rate"),
    "weights that come together at beta = 1/2": Control(
        lambda ds: ds.assign(root_mean_square=ds.root_mean_square / xr.where(ds.beta == 0.5, ds.depth, 1)),
        "smooth, beta = 0.5, rate",
        "white, beta = 0.5, rate",
    ),
    "laws exchanged": Control(
        lambda ds: ds.assign_coords(law=ds.law[::-1]), "log distance of white over smooth weights"
    ),
    "depths the wrong way": Control(
        lambda ds: ds.assign_coords(depth=ds.depth[::-1]).sortby("depth"), "smooth, beta = 1, rate"
    ),
}
