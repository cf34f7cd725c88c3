"""Maps of accuracies of trained networks over two logarithmic axes, and marks of networks that blew up."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_figs._narrow import ticks
from paper_figs._style import BLACK, log_scale

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


def ticks_within(ax: Axes, which: str, values: Sequence[float]) -> None:
    """Labels at those of the values that a logarithmic axis has."""
    low, high = getattr(ax, f"get_{which}lim")()
    ticks(ax, which, [value for value in values if low <= value <= high])


def colour_bar(fig: Figure, image: QuadMesh, axes: object, label: str) -> None:
    """The key of the colours, on the right of the panels."""
    bar = fig.colorbar(image, ax=axes, pad=0.015, fraction=0.05, ticks=np.linspace(0, 1, 6))
    bar.set_label(label)
