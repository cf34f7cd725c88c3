"""Pieces of panels: points and lines, keys, ticks, and maps of accuracies over two logarithmic axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figs._style import BLACK, log_scale

INTERVAL = 1.96  # standard errors of the intervals drawn, 95 %
SMALL = 7  # points, of legends and notes inside panels
NETWORKS = Line2D([], [], color=BLACK, marker="o", markersize=3, linestyle="none")
LINE = Line2D([], [], color=BLACK, linewidth=1.3)
DASHED = Line2D([], [], color=BLACK, linewidth=1.1, linestyle=(0, (4, 2)))
DOTTED = Line2D([], [], color=BLACK, linewidth=1.1, linestyle=(0, (1, 1.5)))
DASHES = {"linewidth": 1.1, "linestyle": (0, (4, 2))}
DOTS = {"linewidth": 0.9, "linestyle": (0, (1, 1.5))}
TRIANGLE = {
    "marker": "v",
    "markersize": 4.5,
    "linestyle": "none",
    "markeredgecolor": "white",
    "markeredgewidth": 0.4,
}
MAXIMUM = Line2D([], [], color=BLACK, marker="v", markersize=4.5, linestyle="none")


def graded(count: int) -> list[str]:
    """Colours for values in order, from dark to light; colour-blind readers tell them apart."""
    return [to_hex(mpl.colormaps["viridis"](shade)) for shade in np.linspace(0.0, 0.88, count)]


def points(ax: Axes, x: object, mean: object, error: object, colour: str, marker: str = "o") -> None:
    """Means of networks with their intervals."""
    ax.errorbar(
        np.asarray(x),
        np.asarray(mean),
        yerr=INTERVAL * np.asarray(error),
        color=colour,
        marker=marker,
        markersize=3,
        markeredgecolor="white",
        markeredgewidth=0.3,
        linestyle="none",
        elinewidth=0.9,
        zorder=3,
    )


def key(fig: Figure, entries: Mapping[str, Line2D]) -> None:
    """What lines and points mean in all panels, below them."""
    columns = min(4, len(entries))
    fig.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.4,
    )


def panel_legend(ax: Axes, title: str = "", **options: object) -> None:
    """A small legend inside a panel."""
    defaults = {"fontsize": SMALL, "title_fontsize": SMALL, "handlelength": 1.2, "labelspacing": 0.25}
    ax.legend(**({"title": title or None} | defaults | options))


def note(ax: Axes, x: float, y: float, text: str, **options: object) -> None:
    """A few small words in a panel, placed in fractions of it."""
    ax.text(x, y, text, **({"transform": ax.transAxes, "fontsize": SMALL} | options))


def ticks(ax: Axes, which: str, values: Sequence[float]) -> None:
    """Labels at these places only, on a logarithmic axis, "x" or "y"."""
    ax.set(**{f"{which}ticks": values, f"{which}ticklabels": [f"{value:g}" for value in values]})
    getattr(ax, f"{which}axis").minorticks_off()


def ticks_within(ax: Axes, which: str, values: Sequence[float]) -> None:
    """Labels at those of the values that a logarithmic axis has."""
    low, high = getattr(ax, f"get_{which}lim")()
    ticks(ax, which, [value for value in values if low <= value <= high])


# Maps of accuracies

SHADES = LinearSegmentedColormap.from_list("shades", mpl.colormaps["Blues"](np.linspace(0, 0.62, 256)))
COLOURS = {"cmap": SHADES, "vmin": 0.0, "vmax": 1.0}  # so light that lines stand out on all of them
BLOWN_UP = {"color": BLACK, "marker": "x", "markersize": 3, "markeredgewidth": 0.7, "linestyle": "none"}
CROSS = Line2D([], [], **BLOWN_UP)
DEPTHS = (2, 4, 8, 16, 32, 64, 128, 256)  # labels


def edges(values: np.ndarray) -> np.ndarray:
    """Ends of cells around increasing numbers, half way between them in logarithms."""
    middle = np.sqrt(values[1:] * values[:-1])
    return np.array([values[0] ** 2 / middle[0], *middle, values[-1] ** 2 / middle[-1]])


def accuracy_map(ax: Axes, accuracy: xr.DataArray) -> QuadMesh:
    """Colours of the accuracy of a network over σ_w² and depth, whose axes are `sigma_w2` and `depth`."""
    table = accuracy.transpose("depth", "sigma_w2")
    x, y = (edges(table[name].values.astype(float)) for name in ("sigma_w2", "depth"))
    ax.grid(False)
    image = ax.pcolormesh(x, y, table, rasterized=True, **COLOURS)
    log_scale(ax, "xy")
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    return image


def blown_up(ax: Axes, diverged: xr.DataArray) -> None:
    """A cross in every cell in which a network's loss was no number any more."""
    cells = diverged.transpose("depth", "sigma_w2").values > 0
    rows, columns = np.nonzero(cells)
    ax.plot(diverged.sigma_w2.values[columns], diverged.depth.values[rows], **BLOWN_UP)


def label_axes(axes: np.ndarray, weights: Sequence[float]) -> None:
    """Depth on the left of rows of maps, σ_w² below all of them, with labels at these variances."""
    for ax in axes.flat:
        ticks_within(ax, "y", DEPTHS)
        ticks_within(ax, "x", weights)
        ax.set(xlabel=r"$\sigma_w^2$")
    for ax in axes[:, 0]:
        ax.set(ylabel="depth $L$")


def colour_bar(fig: Figure, image: QuadMesh, axes: object, label: str) -> None:
    """The key of the colours, on the right of the panels."""
    bar = fig.colorbar(image, ax=axes, pad=0.015, fraction=0.05, ticks=np.linspace(0, 1, 6))
    bar.set_label(label)
