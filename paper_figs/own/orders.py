r"""Orders at which networks come near their limits on the same weights, with intervals.

Against the Hurst index: fractional weights of one matrix, tanh and width 1, have the strong and the weak
order 2H − 1 to the exact solution. Networks of two matrices and width 4 follow a Young equation on their own
weights: with ReLU it is driven by the row sums of V, and the distance falls at the order min(H − 1/2, 1 − H);
with tanh and H > 3/4 it is driven by the products V W, at the order min(2H − 3/2, 2 − 2H). Theirs is the
order between 32 layers and 2048. At H = 1/2 the squares of the weights do not vanish in the sum, and the
limit is an Itô equation of strong order 1/2 and weak order 1. Smooth weights give 1.

Intervals have level 99.9 %, of some controls 99.99 %. Lines through the points of panel c have the order of
the theory; a deeper network as reference has an error of its own, which bends these lines and is taken out of
the fit. Depths are finite: the gradient of ReLU networks comes down to 1/4 from above, weak errors of linear
networks, which are known exactly, show 0.95 here, and two rates mix around the tips of panel b. Crosses are
controls, which must not show the order: another β, or weights of its own for every depth or for the limit.
Two of them lie far to the left of panel d.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.own.orders import DEEP, ROWS, SHALLOW, Orders, Row, young
from paper_figs._panels import NETWORKS, key, panel_legend
from paper_figs._style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    THEORY,
    VERMILLION,
    house_style,
    log_scale,
    new_figure,
    panel_title,
)
from paper_figs.controls import Change, Control
from resnet_sde.claims import Claim, at_least, at_most, equal

GRID = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
PANELS = 4
BUDGETS = {
    "smoke": Orders(
        hursts=(0.6, 0.75, 0.9),
        relu=(0.8,),
        tanh=(0.9,),
        own=(0.8, 0.9),
        controlled=(0.75,),
        paths=600,
        two_paths=200,
        white_paths=800,
        weak_paths=600,
        smooth_paths=40,
        control_paths=800,
        weak_depths=(8, 16, 32),
    ),
    "paper": Orders(
        hursts=GRID,
        relu=GRID,
        tanh=(0.8, 0.85, 0.9, 0.95),
        own=(0.7, 0.8, 0.9),
        controlled=(0.55, 0.75, 0.95),
        paths=2000,
        two_paths=1000,
        white_paths=2500,
        weak_paths=4000,
        smooth_paths=100,
        control_paths=800,
    ),
}
COLOURS = dict(zip(map(str, ROWS), (BLUE, SKY, GREEN, VERMILLION, BLACK, PURPLE, ORANGE, BLUE), strict=True))
MARKERS = dict(zip(map(str, ROWS), "osD^vP<>", strict=True))
ORDER = {("white", "strong"): 0.5, ("white", "gradient"): 0.5, ("white", "weak"): 1.0}  # smooth: all 1
HALVED = "white, ReLU, gradient"  # kinks flip the masks
POWERS = {"strong": 2, "gradient": 2, "weak": 1}  # in which errors of white weights add

# Tolerances are those of the theorems of the package; the whole interval must lie inside.
ONE_TOLERANCE = 0.05
RATIO_TOLERANCE = 0.15  # of 64^−order, the error at 2048 layers over that at 32
LEAST_ORDER = 0.1  # below it this tolerance hardly tells the order from 0
ROW_TOLERANCE = {"strong": 0.1, "gradient": 0.15}
HALVED_NEAR, HALVED_TOLERANCE = 0.3, 0.12
WEAK_TOLERANCE = {"smoke": 0.25, "paper": 0.1}  # the interval of the few paths of smoke is ± 0.15


def compute(budget: str, seed: int) -> xr.Dataset:
    """All orders."""
    return BUDGETS[budget].run(seed=seed).assign_attrs(budget=budget)


def theory(row: Row) -> float:
    """The order as L → ∞."""
    return 0.25 if str(row) == HALVED else ORDER.get((row.law, row.kind), 1.0)


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Fractional weights of one and of two matrices above; white and smooth ones below."""
    with house_style():
        fig = new_figure(6.0)
        axes = [ax for part in fig.subfigures(2, 1) for ax in part.subplots(1, 2)]
        titles = ("one matrix", "two matrices", "white and smooth weights: errors", "their orders")
        for letter, ax, title, panel in zip("abcd", axes, titles, (_one, _two, _errors, _rows), strict=True):
            panel_title(ax, letter, title)
            panel(ax, ds)
        entries = {"networks (99.9 %)": NETWORKS, "controls": Line2D([], [], **CONTROL)}
        key(fig, entries | {"theory": Line2D([], [], **THEORY)})
    return fig


def _points(
    ax: Axes, x: xr.DataArray, order: xr.DataArray, colour: str, marker: str, label: str = ""
) -> None:
    """Orders with their intervals."""
    value, low, high = (order.sel(end=end).to_numpy() for end in ("value", "low", "high"))
    style = {"color": colour, "marker": marker, "markersize": 4, "linestyle": "none", "elinewidth": 1.0}
    ax.errorbar(x, value, yerr=[value - low, high - value], label=label or None, zorder=3, **style)


CROSS = {"colour": "#777777", "marker": "x"}
CONTROL = {"color": "#777777", "marker": "x", "markersize": 5, "linestyle": "none"}
LEFT = -0.5  # of panel d; what is below is drawn there as a triangle


def _one(ax: Axes, ds: xr.Dataset) -> None:
    ax.plot([0.5, 1.0], [0.0, 1.0], **THEORY)
    _points(ax, ds.hurst - 0.004, ds.strong, BLUE, "o", "strong")
    _points(ax, ds.hurst + 0.004, ds.weak, ORANGE, "s", "weak")
    for control in ds.control.values:
        _points(ax, ds.controlled, ds.wrong.sel(control=control), **CROSS)
    _points(ax, np.array([0.5]), ds.ito.expand_dims("at"), GREEN, "D", "strong, Itô")
    ax.set(xlabel="Hurst index $H$", ylabel="order", xlim=(0.47, 1.0), ylim=(-0.35, 1.05))
    panel_legend(ax, loc="upper left")


def _two(ax: Axes, ds: xr.Dataset) -> None:
    for name, low, colour, marker in (("relu", 0.5, BLUE, "o"), ("tanh", 0.75, PURPLE, "s")):
        hursts = np.linspace(low, 1.0, 101)[1:-1]
        line = [young(name, hurst).strong_order for hurst in hursts]
        ax.plot(hursts, line, **{**THEORY, "color": colour, "linewidth": 1.0})
        label = {"relu": "ReLU", "tanh": "tanh"}[name]
        _points(ax, ds[f"hurst_{name}"], ds[name], colour, marker, label)
        _points(ax, ds[f"own_{name}"], ds[f"{name}_wrong"], **CROSS)
    ax.set(xlabel="Hurst index $H$", ylabel="order of the distance", xlim=(0.47, 1.0), ylim=(-0.06, 0.34))
    panel_legend(ax, loc="upper left")


def _errors(ax: Axes, ds: xr.Dataset) -> None:
    for row in ROWS:
        one = ds.sel(row=str(row)).dropna("point")
        depths, error, colour = one.depth.to_numpy(), one.error.to_numpy(), COLOURS[str(row)]
        marker = MARKERS[str(row)]
        ax.plot(depths, error, color=colour, marker=marker, markersize=3.5, linestyle="none")
        shape = _shape(row, depths, float(one.reference))
        ax.plot(depths, shape * np.exp(np.log(error / shape).mean()), color=colour, linewidth=0.9)
    log_scale(ax, "xy")
    ticks = [8, 16, 32, 64, 128]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="depth $L$", ylabel="error over the size of the input")


def _shape(row: Row, depths: np.ndarray, reference: float) -> np.ndarray:
    """The error at the order of the theory, up to a factor, with that of the reference."""
    if math.isinf(reference):
        return depths ** -theory(row)
    power = 4 if str(row) == HALVED else POWERS[row.kind]
    added = power * theory(row)
    return (depths**-added - reference**-added) ** (1 / power)


def _rows(ax: Axes, ds: xr.Dataset) -> None:
    for place, row in enumerate(ROWS):
        one, height = ds.sel(row=str(row)), len(ROWS) - place
        value, low, high = (float(one.row_order.sel(end=end)) for end in ("value", "low", "high"))
        style = {
            "color": COLOURS[str(row)],
            "marker": MARKERS[str(row)],
            "markersize": 4.5,
            "elinewidth": 1.2,
        }
        ax.errorbar(value, height, xerr=[[value - low], [high - value]], linestyle="none", zorder=3, **style)
        ax.plot([theory(row)] * 2, [height - 0.32, height + 0.32], **THEORY)
        wrong = float(one.row_wrong.sel(end="value"))
        marker = "x" if wrong > LEFT else "<"
        ax.plot(max(wrong, LEFT), height, **{**CONTROL, "marker": marker})
    names = [f"{row.law}, {row.block}" + ("" if row.kind == "strong" else f", {row.kind}") for row in ROWS]
    ax.set_yticks(range(len(ROWS), 0, -1), names)
    ax.set(xlabel="order", xlim=(LEFT - 0.1, 1.15), xticks=[-0.5, 0, 0.5, 1], ylim=(0.4, len(ROWS) + 0.6))


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Whole intervals within the tolerances, and controls outside."""
    return [*_check_one(ds), *_check_two(ds), *_check_rows(ds)]


def holds(name: str, order: xr.DataArray, expected: float, tolerance: float) -> Claim:
    """The end of an interval that is further from what is expected must be within the tolerance."""
    off = max(abs(float(order.sel(end=end)) - expected) for end in ("low", "high"))
    return at_most(f"{name}, furthest end of its interval from {expected:.3g}", off, tolerance)


def fails(name: str, order: xr.DataArray, expected: float, tolerance: float) -> Claim:
    """No point of the interval of a control may be within the tolerance."""
    low, high = (float(order.sel(end=end)) for end in ("low", "high"))
    off = max(low - expected, expected - high)
    return at_least(f"control, {name}, distance of its interval to {expected:.3g}", off, tolerance)


def _check_one(ds: xr.Dataset) -> Iterator[Claim]:
    for hurst in ds.hurst.values.tolist():
        for kind in ("strong", "weak"):
            found = ds[kind].sel(hurst=hurst)
            yield holds(f"one matrix, H = {hurst:g}, {kind} order", found, 2 * hurst - 1, ONE_TOLERANCE)
    yield holds("one matrix, white, strong order", ds.ito, 0.5, ROW_TOLERANCE["strong"])
    for hurst in ds.controlled.values.tolist():
        for control in ds.control.values.tolist():
            found = ds.wrong.sel(controlled=hurst, control=control)
            yield fails(f"one matrix, H = {hurst:g}, {control}", found, 2 * hurst - 1, ONE_TOLERANCE)


def _check_two(ds: xr.Dataset) -> Iterator[Claim]:
    """Of the ratio of the errors at both depths; where it says little, that the distance falls."""
    for name in ("relu", "tanh"):
        for hurst in ds[f"hurst_{name}"].values.tolist():
            found, expected = ds[name].sel({f"hurst_{name}": hurst}), young(name, hurst).strong_order
            where = f"two matrices, {name}, H = {hurst:g}"
            yield at_least(f"{where}, lower end of the order", found.sel(end="low"), 0.0)
            if expected > LEAST_ORDER - 1e-9:
                yield holds(f"{where}, ratio of errors", _ratio(found), _power(expected), RATIO_TOLERANCE)
        for hurst in ds[f"own_{name}"].values.tolist():
            found, expected = ds[f"{name}_wrong"].sel({f"own_{name}": hurst}), young(name, hurst).strong_order
            if expected > 1.5 * LEAST_ORDER:  # its order, near 0, has to lie far outside
                where = f"two matrices, {name}, H = {hurst:g}, own weights, ratio of errors"
                yield fails(where, _ratio(found), _power(expected), RATIO_TOLERANCE)


def _power(order: float) -> float:
    return float((DEEP / SHALLOW) ** -order)


def _ratio(order: xr.DataArray) -> xr.DataArray:
    """From an order to the ratio of errors, whose interval has its ends the other way round."""
    ratio = (DEEP / SHALLOW) ** -order
    return ratio.copy(data=ratio.sel(end=["value", "high", "low"]).to_numpy())


def _check_rows(ds: xr.Dataset) -> Iterator[Claim]:
    weak = float(ds.exact_weak)
    tolerance = {**ROW_TOLERANCE, "weak": WEAK_TOLERANCE[ds.attrs["budget"]]}
    yield equal("order of the exact weak errors of linear networks", weak, 1.0, 0.1)
    for row in ROWS:
        one, expected, allowed = ds.sel(row=str(row)), theory(row), tolerance[row.kind]
        if str(row) == HALVED:
            expected, allowed = HALVED_NEAR, HALVED_TOLERANCE
        expected = weak if row.kind == "weak" else expected
        yield holds(f"{row} order", one.row_order, expected, allowed)
        if row.control:
            yield fails(f"{row}, {row.control}", one.row_wrong, expected, allowed)


def _controlled(control: str) -> Change:
    """Strong orders of a control at H = 3/4."""

    def change(ds: xr.Dataset) -> xr.Dataset:
        ds.strong.loc[{"hurst": 0.75}] = ds.wrong.sel(controlled=0.75, control=control)
        return ds

    return change


def _own_outer_weights(ds: xr.Dataset) -> xr.Dataset:
    ds.relu.loc[{"hurst_relu": ds.own_relu.values}] = ds.relu_wrong.values
    return ds


CONTROLS = {
    "beta off by 0.15": Control(_controlled("beta off by 0.15"), "one matrix, H = 0.75, strong order"),
    "noise of its own for every depth": Control(
        _controlled("noise of its own for every depth"), "one matrix, H = 0.75, strong order"
    ),
    "half the weak orders": Control(
        lambda ds: ds.assign(weak=ds.weak / 2), "one matrix, H = 0.9, weak order"
    ),
    "wrong networks like right ones": Control(
        lambda ds: ds.assign(wrong=ds.wrong - ds.wrong + ds.strong.sel(hurst=0.75)),
        "control, one matrix, H = 0.75",
    ),
    "outer weights of their own": Control(_own_outer_weights, "two matrices, relu, H = 0.8, ratio"),
    "the order 2H - 1 of one matrix for two": Control(
        lambda ds: ds.assign(tanh=ds.tanh * 0 + 0.8), "two matrices, tanh, H = 0.9, ratio"
    ),
    "half the orders": Control(
        lambda ds: ds.assign(row_order=ds.row_order / 2),
        "white, tanh, strong order",
        "white, linear, weak order",
        "white, ReLU, gradient order",
        "smooth, tanh, gradient order",
    ),
}
