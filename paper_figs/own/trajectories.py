"""One network at several depths on one weight path, next to its limit, for weights of every regularity.

The networks have one matrix of width 4 and tanh, at their critical scaling. For independent, fractional
(H ≥ 1/2) and smooth weights they are Euler's scheme of a differential equation on the same path, and come
near its solution as the last panel shows. For H < 1/2 they move on with depth and have no limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import resnet_sde as rs
from experiments.own.trajectories import Trajectories
from paper_figs._style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    house_style,
    log_scale,
    new_figure,
    panel_title,
)
from paper_figs.controls import Change, Control
from resnet_sde.claims import Claim, at_least, at_most, equal

LAWS = (
    rs.FractionalNoise(0.3),
    rs.FractionalNoise(0.5),
    rs.WhiteNoise(),
    rs.FractionalNoise(0.6),
    rs.FractionalNoise(0.75),
    rs.FractionalNoise(0.9),
    rs.SmoothNoise(0.1),
)
BUDGETS = {
    "smoke": Trajectories(LAWS, (16, 64, 256), finest=1024, samples=64, points=64),
    "paper": Trajectories(LAWS, (16, 64, 256, 1024, 4096), finest=16384, samples=512),
}
TITLES = {
    "fractional:0.3": "$H = 0.3$",
    "fractional:0.5": "$H = 0.5$",
    "white": "white",
    "fractional:0.6": "$H = 0.6$",
    "fractional:0.75": "$H = 0.75$",
    "fractional:0.9": "$H = 0.9$",
    "smooth:0.1": "smooth, $\\ell = 0.1$",
}
LIMITS = {
    "fractional:0.3": "no limit: $H < 1/2$, one matrix",
    "fractional:0.5": "Itô equation",
    "white": "Itô equation",
    "smooth:0.1": "random ODE",
}
YOUNG = "Young equation"
ORDERS = {  # at width 1 for Young equations, 2H − 1; at width 4 for all others
    **{"fractional:0.5": 0.5, "white": 0.5, "smooth:0.1": 1.0},
    **{f"fractional:{hurst}": 2 * hurst - 1 for hurst in (0.6, 0.75, 0.9)},
}
LABELS = {**TITLES, "smooth:0.1": "smooth"}
SHIFTS = {
    "fractional:0.6": 5,
    "fractional:0.5": -6,
}  # points by which two labels that would overlap are moved
COLOURS = dict(zip(TITLES, (VERMILLION, PURPLE, BLACK, ORANGE, GREEN, SKY, BLUE), strict=True))
MARKERS = dict(zip(TITLES, "xso^vDP", strict=True))
TOLERANCE = 0.1  # of an order: the bias of a rate over practical depths, and 3 standard errors or more


def compute(budget: str, seed: int) -> xr.Dataset:
    """Trajectories, errors and the table of them."""
    ds = BUDGETS[budget].run(seed=seed).assign_attrs(budget=budget)
    return ds.assign_attrs(table=table(ds))


def root_mean_square(values: xr.DataArray) -> xr.DataArray:
    """Over the paths."""
    return np.sqrt((values**2).mean("sample", skipna=False))


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """A panel of trajectories for each law, and the errors of all of them in the last."""
    colours = _graded(ds.sizes["depth"])
    with house_style():
        fig = new_figure(8.2)
        row = fig.subplots(4, 2).flatten()
        for letter, ax, law in zip("abcdefg", row, ds.law.values.tolist(), strict=False):
            panel_title(ax, letter, TITLES[law])
            _trajectories(ax, ds.sel(law=law), colours)
            ax.text(0.015, 0.03, LIMITS.get(law, YOUNG), transform=ax.transAxes, va="bottom")
        for ax in row[:7:2]:
            ax.set_ylabel("first coordinate of $h$")
        panel_title(row[-1], "h", "relative distance to the limit at $t = 1$ (r.m.s.)")
        _errors(row[-1], ds)
        handles, labels = row[1].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), columnspacing=1.4)
    return fig


def _graded(depths: int) -> list[tuple[float, float, float, float]]:
    """From light to dark with depth."""
    return [mpl.colormaps["YlOrRd"](shade) for shade in np.linspace(0.3, 0.9, depths)]


def _trajectories(ax: Axes, ds: xr.Dataset, colours: list[tuple[float, float, float, float]]) -> None:
    for colour, depth in zip(colours, ds.depth.values.tolist(), strict=True):
        line = ds.states.sel(depth=depth).dropna("time")
        ax.plot(line.time, line, color=colour, linewidth=0.9, label=f"$L = {depth}$")
    if ds.solution.notnull().all():
        ax.plot(ds.time, ds.solution, color=BLACK, linewidth=0.6, label="limit")
    low, high = ax.get_ylim()
    ax.set(
        xlabel="time $t = k/L$",
        xlim=(0, 1),
        ylim=(low - 0.12 * (high - low), high),
        xticks=np.linspace(0, 1, 5),
    )


def _errors(ax: Axes, ds: xr.Dataset) -> None:
    """Distances to the limit against depth; between neighbouring depths, dashed, where there is none."""
    for law in ds.law.values.tolist():
        one, style = ds.sel(law=law), {"color": COLOURS[law], "marker": MARKERS[law], "markersize": 3}
        if law == "fractional:0.5":  # its line is that of white weights
            style |= {"markersize": 6, "markerfacecolor": "none"}
        distance, dashes, label = root_mean_square(one.distance), "solid", LABELS[law]
        if distance.isnull().any():
            distance, dashes = root_mean_square(one.move).dropna("depth"), (0, (4, 2))
        ax.plot(distance.depth, distance, linewidth=1.0, linestyle=dashes, **style)
        end = (float(distance.depth[-1]), float(distance[-1]))
        ax.annotate(
            label,
            end,
            (5, SHIFTS.get(law, 0)),
            textcoords="offset points",
            color=COLOURS[law],
            fontsize=7,
            va="center",
        )
    log_scale(ax, "xy")
    depths = ds.depth.values.tolist()
    ax.set(xlabel="depth $L$", xlim=(0.8 * depths[0], depths[-1] * (depths[-1] / depths[0]) ** 0.24))
    ax.set_xticks(depths[:: 1 + len(depths) // 4], [str(depth) for depth in depths[:: 1 + len(depths) // 4]])
    ax.minorticks_off()
    note = "dashed: between neighbouring depths"
    ax.text(0.03, 0.03, note, transform=ax.transAxes, fontsize=7, va="bottom")


# The table


def table(ds: xr.Dataset) -> str:
    """Distances and orders as a page of Markdown."""
    return "\n".join([*_lines(ds), ""])


def _lines(ds: xr.Dataset) -> Iterator[str]:
    paths, depths = ds.sizes["sample"], ds.depth.values.tolist()
    yield "# Networks next to their limits\n"
    yield (
        "h ← h + L^{−β\\*} V tanh(h) / √4, h_0 = (1, 1, 1, 1): root mean square of ‖h_L − H_1‖ / ‖h_0‖ over "
        f"{paths} paths, the order at which it falls, and the order at width 1 against a closed form. "
        "Intervals have level 99.9 %.\n"
    )
    head = ["law", "limit", "β\\*", *(f"L = {depth}" for depth in depths)]
    yield _row([*head, "order", "expected", "order at width 1", "expected"])
    yield _row(["---"] * (len(head) + 4))
    for law in ds.law.values.tolist():
        one = ds.sel(law=law)
        distance, none = root_mean_square(one.distance).values, bool(one.distance.isnull().any())
        shown = root_mean_square(one.move).values if none else distance
        kind = "none †" if none else LIMITS.get(law, YOUNG)
        numbers = ["–" if math.isnan(value) else f"{value:.2g}" for value in shown]
        beta = next(BUDGETS["paper"].model(known).beta for known in LAWS if str(known) == law)
        orders = [_order(one.order.values), _rate(one.expected)]
        narrow = [_order(one.narrow_order.values), _rate(one.narrow_expected)]
        yield _row([law, kind, f"{beta:g}", *numbers, *orders, *narrow])
    yield (
        "\n† Distance to the network of the next depth instead: it does not fall. The order at width 1 is "
        "that of the distance to asinh(sinh(h_0) e^X), which solves the equation that these networks would "
        "tend to.\n"
    )
    yield (
        "A Young equation shows its rate 2H − 1 at width 1; at width 4 the part of the error that "
        "fluctuates, which falls faster, still counts at these depths."
    )


def _row(entries: list[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _order(ends: np.ndarray) -> str:
    return "–" if np.isnan(ends).any() else "{:.3f} [{:.3f}, {:.3f}]".format(*ends)


def _rate(value: xr.DataArray) -> str:
    return "–" if math.isnan(value) else f"{float(value):.3g}"


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Networks come nearer to every limit, at its rate where it is known; those of H < 1/2 do not."""
    return [claim for law in ds.law.values.tolist() for claim in _check(law, ds.sel(law=law))]


def _check(law: str, ds: xr.Dataset) -> Iterator[Claim]:
    if law == "fractional:0.3":
        yield from _check_control(law, ds)
        return
    distance = root_mean_square(ds.distance).values
    ratio = float((distance[1:] / distance[:-1]).max())
    yield at_most(f"{law}, largest ratio of a distance to the one before", ratio, 0.9)
    order, width = (ds.order, 4) if law in LIMITS else (ds.narrow_order, 1)
    value = order.sel(end="value")
    yield equal(f"{law}, order at width {width}", value, ORDERS[law], TOLERANCE)


def _check_control(law: str, ds: xr.Dataset) -> Iterator[Claim]:
    """H < 1/2 must not pass for a limit."""
    limits = int(ds.distance.notnull().sum())
    yield equal(f"{law}, distances to a limit", limits, 0.0)
    moves = root_mean_square(ds.move).dropna("depth").values
    yield at_least(f"{law}, last move over the first", moves[-1] / moves[0], 0.7)
    measured = float(ds.narrow_order.sel(end="value"))
    yield at_most(f"{law}, order at width 1", measured, 0.05)


def _of_another_law(law: str, wrong: rs.PathLaw) -> Change:
    """The row of one law has the numbers of another."""

    def change(ds: xr.Dataset) -> xr.Dataset:
        found = replace(BUDGETS[ds.attrs["budget"]], laws=(wrong,)).run(seed=int(ds.attrs["seed"]))
        rest = ds.sel(law=ds.law != law)
        return xr.concat([rest, found.assign_coords(law=[law])], "law", combine_attrs="override")

    return change


CONTROLS = {
    "H = 0.75 for H = 0.3": Control(
        _of_another_law("fractional:0.3", rs.FractionalNoise(0.75)),
        *(f"fractional:0.3, {claim}" for claim in ("distances to a limit", "order at width 1", "last move")),
    ),
    "H = 0.3 for H = 0.6": Control(
        _of_another_law("fractional:0.6", rs.FractionalNoise(0.3)),
        *(f"fractional:0.6, {claim}" for claim in ("largest ratio", "order at width 1")),
    ),
    "white weights for smooth ones": Control(
        _of_another_law("smooth:0.1", rs.WhiteNoise()), "smooth:0.1, order at width 4"
    ),
    "smooth weights for white ones": Control(
        _of_another_law("white", rs.SmoothNoise(0.1)), "white, order at width 4"
    ),
    "a floor under the distances": Control(
        lambda ds: ds.assign(distance=ds.distance + 0.2),
        *(f"{law}, largest ratio" for law in TITLES if law != "fractional:0.3"),
    ),
}
