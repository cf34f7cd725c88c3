"""What the figures after Poole et al. (2016) share: variances, their colours, and maps over them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize

from experiments.schoenholz.poole import BIAS, WEIGHTS
from paper_figs._style import BLACK, BLUE, GREEN, VERMILLION

COLOURS = dict(zip(WEIGHTS, (BLUE, GREEN, VERMILLION), strict=True))
DIAGONAL = {"color": BLACK, "linewidth": 0.8, "linestyle": (0, (4, 2))}


def heat_map(
    ax: Axes, table: xr.DataArray, marked: tuple[float, ...], norm: Normalize | None = None
) -> Colorbar:
    """Colours over the plane of standard deviations; grey where infinite. Marks the variances of lines."""
    finite = table.where(np.isfinite(table)).transpose("grid_b", "grid_w")
    ax.grid(False)
    ax.set_facecolor("#BDBDBD")
    image = ax.pcolormesh(table.grid_w, table.grid_b, finite, cmap="viridis", norm=norm, rasterized=True)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02)
    for w in marked:
        mark = {"marker": "o", "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.8}
        ax.plot([w**0.5], [BIAS**0.5], color=COLOURS[w], **mark)
    ax.set(xlabel=r"$\sigma_w$", ylabel=r"$\sigma_b$")
    return bar
