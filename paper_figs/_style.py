"""One style for all figures: colours that colour-blind readers tell apart, sizes for a journal column."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from resnet_sde.runs.store import write_whole

WIDTH = 7.0  # inches: the text width of a journal page

# Okabe & Ito (2008).
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
SIMULATION = {
    "color": BLUE,
    "marker": "o",
    "markersize": 3,
    "linestyle": "none",
    "elinewidth": 1.2,
    "zorder": 3,
}
THEORY = {"color": VERMILLION, "linewidth": 1.3, "zorder": 2}
THEORY_TOO = {"color": BLACK, "linewidth": 1.1, "linestyle": (0, (4, 2)), "zorder": 2}

RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "mathtext.fontset": "dejavusans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "pdf.fonttype": 42,  # text stays text
    "text.usetex": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Everything drawn or saved inside has the style."""
    with mpl.rc_context(RC):
        yield


def new_figure(height: float) -> Figure:
    """An empty figure of text width; needs no display and leaves no global state."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def panel_title(ax: Axes, letter: str, text: str) -> None:
    """A bold letter and a few words, above the panel on the left."""
    ax.set_title(rf"$\bf{{{letter}}}$  {text}", loc="left")


def log_scale(ax: Axes, which: str) -> None:
    """Logarithmic axes, "x", "y" or "xy", with labels at powers of ten only."""
    for letter in which:
        ax.set(**{f"{letter}scale": "log"})
        getattr(ax, f"{letter}axis").set_minor_formatter(NullFormatter())


def legend_below(fig: Figure) -> None:
    """One legend for all panels, below them, without repeats; simulation first, then theory."""
    entries: dict[str, object] = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    labels = sorted(entries, key=lambda label: isinstance(entries[label], Line2D))
    handles = [entries[label] for label in labels]
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), columnspacing=1.4)


def save(fig: Figure, stem: Path) -> list[Path]:
    """The figure as PDF and PNG. Returns their paths."""
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of the dates in DejaVu's files
    paths = [stem.with_suffix(suffix) for suffix in (".pdf", ".png")]
    options: list[dict[str, Any]] = [{"metadata": {"CreationDate": None}}, {"dpi": 200}]
    with house_style():
        for path, more in zip(paths, options, strict=True):
            content = io.BytesIO()
            fig.savefig(content, format=path.suffix[1:], **more)
            write_whole(path, content.getvalue())  # another run may draw the same figure
    return paths
