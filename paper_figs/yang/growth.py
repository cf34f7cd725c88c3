"""Gradients of saturating residual networks grow like the exponential of the square root of depth.

After Yang & Schoenholz (2017), with the power of the depth that multiplies the exponential. Lines are
infinite width, points are random networks.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.yang import growth as experiment
from experiments.yang.growth import NAMES
from experiments.yang.residuals import VARIANCES, log_of_mean
from paper_figs._claims import agrees
from paper_figs._panels import DASHED, LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_most, equal

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
KNOWN_A = (1.063846, 0.951533)
AT = (100, 1000, 10_000)
KNOWN_REST = ((-1.396, -1.331, -1.293), (-1.190, -1.190, -1.182))  # what the law leaves at these layers


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Against the square root of the layer, near and far; and what the law leaves."""
    with house_style():
        fig = new_figure(3.0)
        axes = fig.subplots(1, 3)
        titles = (
            r"$\ln(\chi^0/\chi^l)$, networks",
            r"many layers",
            r"less $A\sqrt{l}$, less $A_{\log}\ln l$",
        )
        for ax, letter, title in zip(axes, "abc", titles, strict=True):
            panel_title(ax, letter, title)
        for block, colour in zip(NAMES, graded(3), strict=False):
            row = ds.sel(block=block)
            for ax, last in zip(axes, (ds.sizes["few_layer"] - 1, ds.sizes["layer"] - 1), strict=False):
                root = np.sqrt(row.layer[: last + 1])
                ax.plot(root, row.growth_theory[: last + 1], color=colour, linewidth=1.3, label=block)
                ax.plot(root, float(row.constant[0]) * root, color=colour, linewidth=1, linestyle=(0, (4, 2)))
            mean, error = log_of_mean(row.growth.isel(few_layer=np.arange(1, 11) ** 2))
            points(axes[0], np.sqrt(mean.few_layer), mean, error, colour)
            _rest(axes[2], row, colour)
        for ax in axes[:2]:
            ax.set(xlabel=r"$\sqrt{l}$", xlim=(0, None), ylim=(0, None))
        panel_legend(axes[1], VARIANCES, loc="upper left")
        many, width = ds.attrs["samples"], ds.attrs["width"]
        entries = {"infinite width": LINE, r"$A\sqrt{l}$; in c without the logarithm": DASHED}
        key(fig, entries | {f"mean of {many} networks of width {width}, 95 %": NETWORKS})
    return fig


def _rest(ax: Axes, row: xr.Dataset, colour: str) -> None:
    layer = row.layer[1:]
    a, a_log = row.constant.values
    less = row.growth_theory[1:] - a * np.sqrt(layer)
    ax.plot(layer, less - a_log * np.log(layer), color=colour, linewidth=1.3)
    ax.plot(layer, less, color=colour, linewidth=1, linestyle=(0, (4, 2)))
    log_scale(ax, "x")
    ax.set(xlabel="layer $l$", xlim=(10, None), ylim=(-1.6, 1.5))


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Constants, what the law leaves, and networks next to theory."""
    claims, layers = [], np.array(AT)
    for block, known_a, known in zip(NAMES, KNOWN_A, KNOWN_REST, strict=True):
        row = ds.sel(block=block)
        a, a_log = row.constant.values
        rest = row.growth_theory.sel(layer=layers).values - a * np.sqrt(layers) - a_log * np.log(layers)
        claims.append(equal(f"{block}, A", a, known_a, 1e-6))
        off = np.abs(rest - known).max()
        claims.append(at_most(f"{block}, beside the law, off known values by", off, 5.1e-4))
        change = float(rest[2] - rest[1])
        claims.append(equal(f"{block}, beside the law, change in the last decade", change, 0, 0.05))
        mean, error = log_of_mean(row.growth)
        theory = row.growth_theory[: len(mean)].values
        claims.append(agrees(f"{block}, log of mean", mean, error, theory, 10 / ds.attrs["width"]))
    return claims


CONTROLS = {
    "no power of the depth": Control(
        lambda ds: ds.assign(constant=ds.constant.where(ds.of == "a", 0.0)), "change in the last decade"
    ),
}
