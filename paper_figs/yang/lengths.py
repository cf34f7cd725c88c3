"""Lengths grow linearly in a saturating residual network, and cosines settle away from 0 and 1, but slowly.

After Yang & Schoenholz (2017); tanh between two matrices with biases. Lines are infinite width, points and
bands are random networks.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.yang import lengths as experiment
from experiments.yang.lengths import BLOCK, COSINES
from experiments.yang.residuals import VARIANCES, half_width, name
from paper_figs._panels import DASHED, LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import BLACK, house_style, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_most, between, equal

PANELS = 2
BUDGETS, compute = experiment.BUDGETS, experiment.compute
SPREAD = 1.3  # √width times the standard deviation of p over its mean, and of e, between networks
KNOWN_P = {50: 91.951, 200: 382.457}
KNOWN_E = {10: 0.6979, 50: 0.6528, 100: 0.6279, 200: 0.6044}  # from the cosine 0.5


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Mean squares and products on the left, cosines on the right."""
    with house_style():
        fig = new_figure(3.1)
        left, right = fig.subplots(1, 2)
        panel_title(left, "a", r"mean square $p^l$, mean product $\gamma^l$")
        _quantity(left, ds, "gamma")
        left.plot(ds.layer, ds.p_theory, color=BLACK, linewidth=1.2, label="$p^l$")
        _networks(left, ds.layer, ds, "p", BLACK)
        left.set(xlim=(0, ds.layer.max()), ylim=(0, None))
        panel_legend(left, r"$\gamma^l$, by $e^0$", loc="upper left")
        panel_title(right, "b", r"cosine $e^l$")
        _quantity(right, ds, "e")
        right.axhline(ds.attrs["e_star"], color=BLACK, linewidth=1.1, linestyle=(0, (4, 2)))
        right.set(xlim=(0, ds.layer.max()), ylim=(-0.55, 1))
        for ax in (left, right):
            ax.set_xlabel("layer $l$")
        left.set_ylabel(f"tanh, {VARIANCES} = {name(BLOCK)}", fontsize=7)
        many, width = ds.attrs["samples"], ds.attrs["width"]
        entries = {"infinite width": LINE, "infinite depth": DASHED}
        entries |= {f"{many} networks of width {width}, 95 %": NETWORKS}
        key(fig, entries | {"± standard deviation": Patch(color="0.82")})
    return fig


def _quantity(ax: Axes, ds: xr.Dataset, label: str) -> None:
    for cosine, colour in zip(ds.cosine.values.tolist(), graded(len(COSINES)), strict=True):
        row = ds.sel(cosine=cosine)
        entry = f"{cosine:g}".replace("-", "\N{MINUS SIGN}")
        ax.plot(row.layer, row[f"{label}_theory"], color=colour, linewidth=1.2, label=entry)
        _networks(ax, row.layer, row, label, colour)


def _networks(ax: Axes, layer: xr.DataArray, row: xr.Dataset, label: str, colour: str) -> None:
    mean, spread = row[label], row[f"{label}_spread"]
    ax.fill_between(layer, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
    few = slice(0, None, max(1, len(layer) // 10))
    points(ax, layer[few], mean[few], row[f"{label}_error"][few], colour)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Theory next to known values, its bend, and networks next to theory."""
    half = ds.e_theory.sel(cosine=0.5)
    claims = [
        equal(f"p at layer {layer}", ds.p_theory.sel(layer=layer), known, 5.1e-4)
        for layer, known in KNOWN_P.items()
    ]
    claims += [
        equal(f"e at layer {layer}", half.sel(layer=layer), known, 5.1e-5) for layer, known in KNOWN_E.items()
    ]
    bend = float(half.max() - np.maximum(half[0], half[-1]))
    claims.append(between("e rises above both of its ends by", bend, 0.05, 1))
    allowed = half_width(ds.attrs["samples"], ds.attrs["width"], SPREAD)
    off = abs(ds.p / ds.p_theory - 1).max()
    claims.append(at_most("networks, p over theory, largest distance to 1", off, allowed))
    for cosine in COSINES:
        row = ds.sel(cosine=cosine)
        off = abs(row.e - row.e_theory).max()
        label = f"networks from cosine {cosine:g}, e, largest distance to theory"
        claims.append(at_most(label, off, allowed))
    return claims


CONTROLS = {
    "twice the variance": Control(
        lambda ds: ds.assign(p=ds.p * 2, e=ds.e * 0.7), "p over theory", "from cosine 0.9, e"
    ),
}
