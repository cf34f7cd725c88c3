"""The few plots that the library itself draws."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vP*"
_EXACT: dict[str, Any] = {"color": "black", "lw": 0.8, "ls": "--"}
_NOT_LABELS = ("depth", "method")


def draw_ratios(cells: Sequence[Mapping[str, Any]]) -> Figure:
    """Ratios of states and of gradients against depth, one line for each model of a study.

    Points are means over networks with two standard errors, bands go from the 5 % to the 95 % quantile, and
    dashed lines are exact root mean squares where they are known.

    Args:
        cells: records as the command `study` prints them with ``--json``.
    """
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    series = _series(cells)
    for axes, ratio, title in (
        (left, "displacement", "states, $\\|h_L - h_0\\| / \\|h_0\\|$"),
        (right, "gradient_displacement", "gradients, $\\|p_0 - p_L\\| / \\|p_L\\|$"),
    ):
        for number, (label, points) in enumerate(series.items()):
            _draw_series(axes, points, ratio, label, number)
        axes.set(xscale="log", yscale="log", xlabel="depth $L$", title=title)
        axes.grid(alpha=0.3, which="major")
    left.set_ylabel("ratio over networks")
    handles, labels = right.get_legend_handles_labels()
    if any("exact_mean_square" in cell["displacement"] for cell in cells):
        handles.append(Line2D([], [], **_EXACT))
        labels.append("exact r.m.s.")
    figure.legend(handles, labels, loc="outside right center", fontsize="small", frameon=False)
    return figure


def figure_bytes(figure: Figure, kind: str = "png", dpi: int = 160) -> bytes:
    """The figure as the content of a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi)
    return buffer.getvalue()


def _series(cells: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Cells grouped by model; labels name only what differs between models."""
    names = [n for n, v in cells[0].items() if not isinstance(v, Mapping) and n not in _NOT_LABELS]
    every = dict.fromkeys([*names, *(n for c in cells for n, v in c.items() if not isinstance(v, Mapping))])
    telling = [n for n in every if n not in _NOT_LABELS and any(c.get(n) != cells[0].get(n) for c in cells)]
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for cell in sorted(cells, key=lambda c: c["depth"]):
        parts = [
            f"{n.replace('_', ' ')} {cell[n]:g}" if isinstance(cell[n], float) else str(cell[n])
            for n in telling
            if cell.get(n) is not None
        ]
        grouped.setdefault(", ".join(parts) or "networks", []).append(cell)
    return grouped


def _draw_series(axes: Any, points: Sequence[Mapping[str, Any]], ratio: str, label: str, number: int) -> None:
    shown = [p for p in points if _drawable(p[ratio]["mean"])]
    colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number // len(COLOURS) % len(_MARKERS)]
    depth = [p["depth"] for p in shown]
    error = [2 * p[ratio]["se"] if isinstance(p[ratio]["se"], float) else 0.0 for p in shown]
    mean = [p[ratio]["mean"] for p in shown]
    axes.errorbar(depth, mean, yerr=error, color=colour, marker=marker, ms=4, lw=1, capsize=2, label=label)
    band = [p for p in shown if _drawable(p[ratio]["q05"]) and _drawable(p[ratio]["q95"])]
    low, high = ([p[ratio][name] for p in band] for name in ("q05", "q95"))
    axes.fill_between([p["depth"] for p in band], low, high, color=colour, alpha=0.15, lw=0)
    exact = [
        (p["depth"], math.sqrt(p[ratio]["exact_mean_square"]))
        for p in shown
        if _drawable(p[ratio].get("exact_mean_square"))
    ]
    if exact:
        axes.plot(*zip(*exact, strict=True), **_EXACT, zorder=3)


def _drawable(value: object) -> bool:
    return isinstance(value, float) and 0 < value < 1e300
