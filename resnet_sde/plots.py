"""The few plots that the library itself draws."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", (0, (5, 1, 1, 1, 1, 1))), ("v", "-"), ("P", "--"))
_EXACT: dict[str, Any] = {"color": "black", "lw": 1.0, "ls": ":"}
_OF_A_LAW = ("law", "entries", "hurst", "length_scale")
_SYMBOLS = {
    **{"hurst": "H", "length_scale": r"\ell", "width": "d", "beta": r"\beta", "gain": r"\rho"},
    **{"skip": r"\lambda", "sw2": r"\sigma_w^2", "sb2": r"\sigma_b^2", "sv2": r"\sigma_v^2"},
    **{"sa2": r"\sigma_a^2"},
}
_BANDS_AT_MOST = 6
_TALLEST_COLUMN = 40
_HIGHEST = 1e12  # an explosion leaves the figure through its top, and the rest stays readable

Points = list[Mapping[str, Any]]


def draw_ratios(cells: Sequence[Mapping[str, Any]]) -> Figure:
    """Ratios of states and of gradients against depth, one line for each model of a study.

    Points are means over networks with two standard errors, dotted lines exact root mean squares where they
    are known; bands go from the 5 % to the 95 % quantile, unless the lines are many. Colours tell laws apart
    and lines the rest; a single law leaves the colours to the rest.

    Args:
        cells: records as the command `study` prints them with ``--json``.
    """
    series = _series(cells)
    columns, rows = -(-len(series) // _TALLEST_COLUMN), min(len(series), _TALLEST_COLUMN)
    figure = Figure(figsize=(7.0 + 2.2 * columns, max(4.2, 0.2 * rows + 1.0)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    looks = _looks(list(series))
    for axes, ratio, title in (
        (left, "displacement", r"states, $\|h_L - h_0\| / \|h_0\|$"),
        (right, "gradient_displacement", r"gradients, $\|p_0 - p_L\| / \|p_L\|$"),
    ):
        for key, points in series.items():
            _draw_series(axes, points, ratio, looks[key], band=len(series) <= _BANDS_AT_MOST)
        axes.set(xscale="log", yscale="log", xlabel="depth $L$", title=title)
        axes.grid(alpha=0.3, which="major")
    left.set_ylabel("ratio over networks")
    if left.get_ylim()[0] < _HIGHEST / 10 < left.get_ylim()[1]:
        left.set_ylim(top=_HIGHEST)
    handles, labels = right.get_legend_handles_labels()
    if any("exact_mean_square" in cell["displacement"] for cell in cells):
        handles.append(Line2D([], [], **_EXACT))
        labels.append("exact r.m.s.")
    figure.legend(handles, labels, loc="outside right center", fontsize="small", frameon=False, ncols=columns)
    return figure


def figure_bytes(figure: Figure, kind: str = "png", dpi: int = 160) -> bytes:
    """The figure as the content of a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi)
    return buffer.getvalue()


def _series(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Points]:
    """Cells grouped by what tells models apart: their law, and all the rest."""
    names = dict.fromkeys(n for c in cells for n, v in c.items() if not isinstance(v, Mapping))
    telling = [n for n in names if n not in ("depth", "method") and len({c.get(n) for c in cells}) > 1]
    for name in (
        "entries",
        *_SYMBOLS,
    ):  # what only some models have tells nothing unless it varies among them
        if name not in _OF_A_LAW[2:] and len({cell[name] for cell in cells if name in cell}) < 2:
            telling = [n for n in telling if n != name]
    grouped: dict[tuple[str, str], Points] = {}
    for cell in cells:
        law = _label(cell, [n for n in _OF_A_LAW if n in telling])
        grouped.setdefault((law, _label(cell, [n for n in telling if n not in _OF_A_LAW])), []).append(cell)
    return {key: sorted(points, key=lambda c: c["depth"]) for key, points in grouped.items()}


def _label(cell: Mapping[str, Any], names: Sequence[str]) -> str:
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
    exact = [
        (p["depth"], math.sqrt(p[ratio]["exact_mean_square"]))
        for p in shown
        if _drawable(p[ratio].get("exact_mean_square"))
    ]
    if exact:
        axes.plot(*zip(*exact, strict=True), **_EXACT, zorder=3)


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
