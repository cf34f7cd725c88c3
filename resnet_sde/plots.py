"""The few plots that the library itself draws."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from resnet_sde.parts import BLOCKS, LAWS, choices

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", (0, (5, 1, 1, 1, 1, 1))), ("v", "-"), ("P", "--"))
_EXACT: dict[str, Any] = {"color": "black", "lw": 1.0, "ls": ":"}
_THEORY: dict[str, dict[str, Any]] = {
    "exact_mean_square": {"label": "exact r.m.s.", **_EXACT},
    "mean_field_mean_square": {
        "label": "r.m.s. at infinite width",
        **{"color": "black", "lw": 1.0, "ls": (0, (4, 2))},
    },
}
_CHOICES = choices(LAWS)
_NUMBERS = [option for option, choice in _CHOICES.items() if not choice.words]  # of laws
_WORDS = [option for option, choice in _CHOICES.items() if choice.words]
_OF_A_LAW = ("law", *_WORDS, *_NUMBERS)
_SYMBOLS = {
    **{option: _CHOICES[option].symbol for option in _NUMBERS},
    **{"width": "d", "beta": r"\beta", "gain": r"\rho", "skip": r"\lambda"},
    **{option: choice.symbol for option, choice in choices(BLOCKS).items() if not choice.words},
}
_PANELS = (
    ("displacement", r"states, $\|h_L - h_0\| / \|h_0\|$"),
    ("gradient_displacement", r"gradients, $\|p_0 - p_L\| / \|p_L\|$"),
)
_BANDS_AT_MOST = 6
_TICKS_AT_MOST = 8
_TALLEST_COLUMN = 40
_HIGHEST = 1e12  # an explosion leaves the figure through its top, and the rest stays readable

Points = list[Mapping[str, Any]]


def draw_ratios(cells: Sequence[Mapping[str, Any]], *, samples: int, seed: int) -> Figure:
    """Ratios of states and of gradients against depth, one line for each model of a study.

    Points are means over networks with two standard errors, black lines root mean squares: exact ones, or
    else those at infinite width, where they are known. Bands go from the 5 % to the 95 % quantile, unless the
    lines are many. Colours tell laws apart and lines the rest; a single law leaves the colours to the rest.
    The title says what all models have in common. Axes are logarithmic: points that have no place there are
    counted below the title of the panel.

    Args:
        cells: records as the command `study` prints them with ``--json``; a ratio may have
            `mean_field_mean_square` beside `exact_mean_square`.
        samples: networks behind each point.
        seed: of the study.
    """
    series = _series(cells)
    columns, rows = -(-len(series) // _TALLEST_COLUMN), min(len(series), _TALLEST_COLUMN)
    figure = Figure(figsize=(7.6 + 2.2 * columns, max(4.4, 0.2 * rows + 1.0)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    looks = _looks(list(series))
    band = len(series) <= _BANDS_AT_MOST and samples > 1 and len({cell["depth"] for cell in cells}) > 1
    for axes, (ratio, title) in zip(panels, _PANELS, strict=True):
        for key, points in series.items():
            _draw_series(axes, points, ratio, looks[key], band=band)
        axes.set(xscale="log", yscale="log", xlabel="depth $L$")
        axes.set_title("\n".join([title, *_left_out(cells, ratio)]), fontsize="medium")
        axes.grid(alpha=0.3, which="major")
    _fit(panels[0], cells)
    figure.suptitle(_common(cells, samples, seed), fontsize="medium")
    handles, labels = panels[1].get_legend_handles_labels()
    handles += _keys(cells, looks[next(iter(series))]["color"], band=band)
    labels += [handle.get_label() for handle in handles[len(labels) :]]
    figure.legend(handles, labels, loc="outside right center", fontsize="small", frameon=False, ncols=columns)
    return figure


def figure_bytes(figure: Figure, kind: str = "png", dpi: int = 160) -> bytes:
    """The figure as the content of a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi)
    return buffer.getvalue()


def _fit(axes: Any, cells: Sequence[Mapping[str, Any]]) -> None:
    """Limits and ticks of both panels, which share them: ticks stand at the depths of the study."""
    points = [c[ratio]["mean"] for c in cells for ratio, _ in _PANELS if _drawable(c[ratio]["mean"])]
    if not points:
        axes.set_ylim(0.1, 10.0)
    elif axes.get_ylim()[0] < _HIGHEST / 10 < axes.get_ylim()[1]:
        axes.set_ylim(top=_HIGHEST)
    axes.set_ylabel("mean over networks ± 2 standard errors")
    depths = sorted({cell["depth"] for cell in cells})
    axes.set_xlim(depths[0] / 1.25, depths[-1] * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(_apart(depths)))
    axes.xaxis.set_major_formatter(lambda depth, _: f"{depth:.0f}")
    axes.xaxis.set_minor_locator(NullLocator())


def _apart(depths: Sequence[int]) -> list[int]:
    """The depths, from the deepest one down, without those whose labels would lie upon each other."""
    least = (depths[-1] / depths[0]) ** (1 / _TICKS_AT_MOST)
    kept = [depths[-1]]
    for depth in depths[-2::-1]:
        if kept[-1] >= least * depth:
            kept.append(depth)
    return kept


def _left_out(cells: Sequence[Mapping[str, Any]], ratio: str) -> list[str]:
    """What logarithmic axes have no place for, in words."""
    missing = [cell for cell in cells if not _drawable(cell[ratio]["mean"])]
    if not missing:
        return []
    zero = all(cell[ratio]["mean"] == 0 for cell in missing)
    what = "0" if zero else "0, infinite or undefined"
    return [f"({len(missing)} of {len(cells)} means are {what}: not on logarithmic axes)"]


def _common(cells: Sequence[Mapping[str, Any]], samples: int, seed: int) -> str:
    """What all models have in common, in a line or two."""

    def one(name: str) -> Any:
        found = {cell.get(name) for cell in cells}
        return found.pop() if len(found) == 1 else None

    words = [one("law"), *map(one, _WORDS), _label({n: one(n) for n in _NUMBERS}, _NUMBERS)]
    law = " ".join(str(word) for word in words if word)
    parts = [f"block {one('block')}" if one("block") else "", one("activation") or ""]
    parts += [f"{law} weights" if law else "", _label({n: one(n) for n in ("width", "beta")}, _SYMBOLS)]
    networks = f"{samples} network{'s' if samples > 1 else ''} at each point, seed {seed}"
    return f"{', '.join(part for part in parts if part)}\n{networks}".strip()


def _keys(cells: Sequence[Mapping[str, Any]], colour: str, *, band: bool) -> list[Any]:
    """Entries of the legend that explain bands and black lines."""
    keys: list[Any] = [Patch(color=colour, alpha=0.15, lw=0, label="5 % to 95 % of networks")] if band else []
    for name, style in _THEORY.items():
        if any(_drawable(_square_of(cell[ratio], name)) for cell in cells for ratio, _ in _PANELS):
            keys.append(Line2D([], [], **style))
    return keys


def _series(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Points]:
    """Cells grouped by what tells models apart: their law, and all the rest."""
    names = dict.fromkeys(n for c in cells for n, v in c.items() if not isinstance(v, Mapping))
    telling = [n for n in names if n not in ("depth", "method") and len({c.get(n) for c in cells}) > 1]
    for name in (*_WORDS, *_SYMBOLS):  # what only some models have tells nothing unless it varies among them
        if name not in _NUMBERS and len({cell[name] for cell in cells if name in cell}) < 2:
            telling = [n for n in telling if n != name]
    grouped: dict[tuple[str, str], Points] = {}
    for cell in cells:
        law = _label(cell, [n for n in _OF_A_LAW if n in telling])
        grouped.setdefault((law, _label(cell, [n for n in telling if n not in _OF_A_LAW])), []).append(cell)
    return {key: sorted(points, key=lambda c: c["depth"]) for key, points in grouped.items()}


def _label(cell: Mapping[str, Any], names: Iterable[str]) -> str:
    values = {n: cell[n] for n in names if cell.get(n) is not None}
    return ", ".join(f"${_SYMBOLS[n]} = {v:g}$" if n in _SYMBOLS else str(v) for n, v in values.items())


def _looks(keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Label, colour, marker and line of every series."""
    laws, others = ([*dict.fromkeys(part)] for part in zip(*keys, strict=True))
    looks = {}
    for law, other in keys:
        colour, style = laws.index(law), others.index(other)
        if len(laws) == 1:
            colour, style = style, style // len(COLOURS)
        marker, line = _STYLES[style % len(_STYLES)]
        label = ", ".join(part for part in (law, other) if part) or "networks"
        colour_name = COLOURS[colour % len(COLOURS)]
        looks[law, other] = {"label": label, "color": colour_name, "marker": marker, "ls": line}
    return looks


def _draw_series(axes: Any, points: Points, ratio: str, look: Mapping[str, Any], *, band: bool) -> None:
    shown = [p for p in points if _drawable(p[ratio]["mean"])]
    depth, mean = ([p["depth"] for p in shown], [p[ratio]["mean"] for p in shown])
    error = [2 * p[ratio]["se"] if isinstance(p[ratio]["se"], float) else 0.0 for p in shown]
    below = [min(e, 0.9 * m) for e, m in zip(error, mean, strict=True)]  # the axis has no place for 0
    axes.errorbar(depth, mean, yerr=[below, error], ms=4, lw=1, capsize=2, **look)
    if band:
        inside = [p for p in shown if _drawable(p[ratio]["q05"]) and _drawable(p[ratio]["q95"])]
        low, high = ([p[ratio][name] for p in inside] for name in ("q05", "q95"))
        axes.fill_between([p["depth"] for p in inside], low, high, color=look["color"], alpha=0.15, lw=0)
    for name, style in _THEORY.items():
        known = [(p["depth"], _square_of(p[ratio], name)) for p in points]
        line = [(depth, math.sqrt(square)) for depth, square in known if _drawable(square)]
        if line:
            axes.plot(*zip(*line, strict=True), **{**style, "label": None}, zorder=3)


def _square_of(statistics: Mapping[str, Any], name: str) -> Any:
    """A mean square that theory gives; infinite width stands where nothing exact is known."""
    if name != "exact_mean_square" and "exact_mean_square" in statistics:
        return None
    return statistics.get(name)


def _drawable(value: object) -> bool:
    return isinstance(value, float) and 0 < value < 1e300


def draw_stream(profiles: Sequence[Mapping[str, Any]]) -> Figure:
    """Norms of residual streams against relative depth, dotted what their branches predict.

    Args:
        profiles: documents of profiles, one for each depth.
    """
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    stream_panel(figure.subplots(), profiles)
    return figure


def stream_panel(axes: Any, profiles: Sequence[Mapping[str, Any]]) -> None:
    """The panel of `draw_stream`."""
    for profile, colour in zip(profiles, itertools.cycle(COLOURS), strict=False):
        norms = [number(v) for v in profile["norms"]]
        depth, share = len(norms) - 1, [k / (len(norms) - 1) for k in range(len(norms))]
        axes.plot(share, [v / norms[0] for v in norms], color=colour, label=f"$L = {depth}$")
        action, rest = number(profile["action"]), 1.0 - number(profile["degree"])
        if profile["kind"] in ("residual", "post-activation") and math.isfinite(action):
            axes.plot(share, [_grown(action * t, rest) for t in share], **{**_EXACT, "color": colour})
    axes.set(yscale="log", xlabel="share of depth $k/L$", ylabel=r"$\|h_k\| / \|h_0\|$", title="the stream")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", frameon=False)


def number(value: float | str | None) -> float:
    """A number as JSON holds it."""
    return math.nan if value is None else float(value)


def _grown(action: float, rest: float) -> float:
    """Growth of a stream by independent branches of this action; rest is 1 minus their degree."""
    return math.exp(min(action / 2, 700.0)) if rest < 1e-9 else (1.0 + rest * action) ** (0.5 / rest)


def draw_depth_check(check: Mapping[str, Any]) -> Figure:
    """What scales with depth; the stream at every depth; rates of learning, or how layers add up.

    Args:
        check: the document of a depth check.
    """
    figure = Figure(figsize=(14.0, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    exponents, stream, last = figure.subplots(1, 3)
    _draw_exponents(exponents, check)
    stream_panel(stream, check["profiles"])
    if check["rates"]:
        _draw_rates(last, check)
    else:
        _draw_sums(last, check["profiles"][-1]["sums"])
    return figure


def _draw_exponents(axes: Any, check: Mapping[str, Any]) -> None:
    critical = number(check["critical_beta"])
    axes.axhspan(critical - 0.1, critical + 0.1, color=COLOURS[2], alpha=0.2, label=r"$\beta^* \pm 0.1$")
    names = ["block"]
    block = number(check["beta"]["value"])
    axes.bar(0, 0.0 if math.isnan(block) else block, color=COLOURS[0], alpha=0.5)
    for i, writer in enumerate(check["writers"], start=1):
        value, low, high = (number(writer["beta"][n]) for n in ("value", "low", "high"))
        if math.isfinite(high - low):
            axes.errorbar(i, value, [[value - low], [high - value]], fmt="o", color=COLOURS[1])
        names.append(writer["name"] or "branch")
    laws = {r["role"]: r["depth_exponent"] for r in check["roles"] if not r["writes"]}
    for role, exponent in laws.items():
        if exponent is not None and abs(exponent) > 0.1:
            axes.plot(len(names), exponent, "x", color=COLOURS[3])
            names.append(role)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize="small")
    axes.set(ylabel=r"exponent of $L^{-\beta}$", title="what scales")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)


def _draw_rates(axes: Any, check: Mapping[str, Any]) -> None:
    for rate, colour in zip(check["rates"], itertools.cycle(COLOURS), strict=False):
        if rate["exponent"] is None:
            continue
        depths, logs = check["rate_depths"], [number(v) for v in rate["log2_rates"]]
        exponent = number(rate["exponent"]["value"])
        centre = sum(logs) / len(logs)
        middle = sum(math.log2(d) for d in depths) / len(depths)
        axes.plot(depths, [2.0**v for v in logs], "o", color=colour)
        line = [2.0 ** (centre + exponent * (math.log2(d) - middle)) for d in depths]
        axes.plot(depths, line, color=colour, label=f"{rate['group']}: $L^{{{exponent:.2f}}}$")
    axes.set(xscale="log", yscale="log", xlabel="depth $L$", ylabel="rate of one step", title="rates")
    axes.legend(fontsize="small", frameon=False)
    axes.grid(alpha=0.3)


def _draw_sums(axes: Any, sums: Sequence[tuple[int, float | str | None]]) -> None:
    sizes, values = [m for m, _ in sums], [number(v) for _, v in sums]
    axes.plot(sizes, values, "o-", color=COLOURS[0], label="measured")
    if sizes:
        axes.plot(sizes, [values[0] * m for m in sizes], ls=":", color="black", label="independent")
        axes.plot(sizes, [values[0] * m**2 for m in sizes], ls="--", color="black", label="coherent")
        axes.legend(fontsize="small", frameon=False)
    axes.set(
        xlabel="consecutive blocks $m$", ylabel=r"mean $\|\sum u\,/\|h\|\|^2$", title="how blocks add up"
    )
    axes.set(xscale="log", yscale="log")
    axes.grid(alpha=0.3)
