"""Cosines of two inputs in saturating residual networks, which tend to their limit like a power of depth.

After Yang & Schoenholz (2017). A second power, −F l^{−1/2} with a known constant, hides the first one: it is
seen once the second is taken away. Lines are infinite width, points are random networks.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.yang import cosines as experiment
from experiments.yang.cosines import COSINES, KNOWN, NAMES
from experiments.yang.residuals import VARIANCES, local_slope
from paper_figs._claims import agrees
from paper_figs._panels import DASHED, DOTTED, LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import BLACK, BLUE, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_most, equal

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
TOLERANCES = {1000: 0.012, 10_000: 0.006}  # of corrected slopes, around −δ*
KNOWN_SLOPES = {  # corrected, from cosine 0.5
    1000: {NAMES[0]: -0.4270, NAMES[1]: -0.4913},
    2000: {NAMES[2]: -0.4433},
    10_000: {NAMES[0]: -0.4335, NAMES[1]: -0.4914, NAMES[2]: -0.4456},
}
KNOWN_LATE_SLOPE = -0.418  # of the third network at layer 2000 from cosine 0.999, which is slower
KNOWN_PLAIN = {100: (-0.3166, 6e-5), 1000: (-0.3533, 6e-5), 10_000: (-0.3605, 0.002)}


def over_the_limit(row: xr.Dataset, corrected: bool = True) -> np.ndarray:
    """E − e* of one network, plus F l^{−1/2} if corrected; the first entry means nothing."""
    e_star, _, f = row.constant.values
    layer = row.layer.values.clip(1)
    added = f / np.sqrt(layer) if corrected else 0 * layer
    return 1 - e_star - row.gap.values + (added if row.gap.ndim == 1 else added[:, None])


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Fixed points; the decay to them; the decay to 0 where no bias keeps inputs alike."""
    with house_style():
        fig = new_figure(3.1)
        left, middle, right = fig.subplots(1, 3)
        panel_title(left, "a", r"limit $e^*$, exponent $\delta^*$")
        _fixed_points(left, ds)
        panel_title(middle, "b", r"$e^l - e^* + F l^{-1/2}$")
        for block, colour in zip(NAMES[:3], graded(3), strict=True):
            _decay(middle, ds.sel(block=block), colour)
        panel_legend(middle, VARIANCES, loc="upper right")
        middle.set(ylim=(0.02, 100))
        panel_title(right, "c", r"$e^l$ without an outer bias")
        _to_zero(right, ds.sel(block=NAMES[3]))
        for ax in (middle, right):
            log_scale(ax, "xy")
            ax.set(xlabel="layer $l$", xlim=(1, float(ds.layer[-1])))
        many, width = ds.attrs["samples"], ds.attrs["width"]
        entries = {"infinite width": LINE, r"$l^{-\delta^*}$": DASHED, r"$e^l - e^*$ alone": DOTTED}
        key(fig, entries | {f"{many} networks of width {width}, 95 %": NETWORKS})
    return fig


def _fixed_points(ax: Axes, ds: xr.Dataset) -> None:
    for of, label, colour in (("e_star", "$e^*$", BLUE), ("delta_star", r"$\delta^*$", VERMILLION)):
        row = ds.limit.sel(of=of)
        ax.plot(row.ratio, row, color=colour, linewidth=1.3)
        ax.text(25, 0.90 if of == "e_star" else 0.43, label, color=colour)
    ax.axvline(1 / 3, color="0.6", linewidth=0.8)
    ax.text(0.37, 0.03, r"$\sigma_a^2 = \sigma_v^2/3$", fontsize=7)
    log_scale(ax, "x")
    ax.set(xlabel=r"$\sigma_a^2 / \sigma_v^2$", xlim=(0.01, 100), ylim=(0, 1.02))


def _decay(ax: Axes, row: xr.Dataset, colour: str) -> None:
    half = row.sel(cosine=0.5)
    layer, e_star, f = half.layer.values[1:], float(half.constant[0]), float(half.constant[2])
    corrected = over_the_limit(half)[1:]
    ax.plot(layer, corrected, color=colour, linewidth=1.3, label=str(row.block.values))
    law = corrected[-1] * (layer / layer[-1]) ** -float(half.constant[1])
    ax.plot(layer, law, color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
    raw = np.abs(over_the_limit(half, corrected=False)[1:])
    ax.plot(layer, raw, color=colour, linewidth=0.9, linestyle=(0, (1, 1.5)))
    few = _few(row)
    points(ax, few, row.e[few] - e_star + f / np.sqrt(few), row.e_error[few], colour)


def _to_zero(ax: Axes, row: xr.Dataset) -> None:
    for cosine, colour in zip((0.5, 0.999), graded(3), strict=False):
        line = row.sel(cosine=cosine)
        ax.plot(line.layer[1:], 1 - line.gap[1:], color=colour, linewidth=1.3, label=f"$e^0 = {cosine:g}$")
    end = 1 - float(row.gap.sel(cosine=0.5)[-1])
    law = end * (row.layer[1:] / row.layer[-1]) ** -float(row.constant[1])
    ax.plot(row.layer[1:], law, color=BLACK, linewidth=0.9, linestyle=(0, (4, 2)))
    few = _few(row)
    points(ax, few, row.e[few], row.e_error[few], graded(3)[0])
    ax.set(ylim=(0.02, 1.2))
    panel_legend(ax, loc="lower left")


def _few(row: xr.Dataset) -> np.ndarray:
    """Layers at which networks are shown."""
    return np.unique(np.geomspace(1, row.sizes["few_layer"] - 1, 9).astype(int))


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Fixed points, slopes of the decay, and networks next to theory."""
    claims = []
    for column, of in enumerate(("e_star", "delta_star")):
        found = ds.limit.sel(ratio=list(KNOWN), of=of).values
        off = np.abs(found - [row[column] for row in KNOWN.values()]).max()
        claims.append(at_most(f"{of}, off known values by", off, 1e-10))
    last = ds.sizes["layer"] - 1
    for block in NAMES[:3]:
        row, layers = ds.sel(block=block), np.log(ds.layer.values.clip(1))
        delta = float(row.constant[1])
        with np.errstate(invalid="ignore"):  # what is not a number fails
            over = np.log(over_the_limit(row))
        for layer in (each for each in KNOWN_SLOPES if each <= last):
            slopes = [local_slope(layers, over[:, k], layer) for k in range(len(COSINES))]
            if layer in TOLERANCES:
                for cosine, found in zip(COSINES[:3], slopes[:3], strict=True):
                    label = f"{block} from cosine {cosine:g}, corrected slope at layer {layer}"
                    claims.append(equal(label, found, -delta, TOLERANCES[layer]))
            if block in KNOWN_SLOPES[layer]:
                label = f"{block}, known corrected slope at layer {layer}"
                claims.append(equal(label, slopes[0], KNOWN_SLOPES[layer][block], 6e-5))
            if layer == 2000 and block == NAMES[2]:
                label = f"{block} from cosine 0.999, corrected slope at layer 2000"
                claims.append(equal(label, slopes[3], KNOWN_LATE_SLOPE, 6e-4))
    return claims + _check_plain(ds, last) + [_agree(ds, block) for block in NAMES]


def _check_plain(ds: xr.Dataset, last: int) -> list[Claim]:
    row = ds.sel(block=NAMES[3], cosine=0.5)
    layers, e = np.log(ds.layer.values.clip(1)), np.log(1 - row.gap.values)
    claims = [equal(f"{NAMES[3]}, exponent", row.constant[1], 1 - 2 / math.pi, 1e-12)]
    for layer, (known, tolerance) in KNOWN_PLAIN.items():
        if layer <= last:
            label = f"{NAMES[3]}, slope at layer {layer}"
            claims.append(equal(label, local_slope(layers, e, layer), known, tolerance))
    return claims


def _agree(ds: xr.Dataset, block: str) -> Claim:
    row = ds.sel(block=block, cosine=0.5)
    theory = 1 - row.gap[: ds.sizes["few_layer"]].values
    return agrees(f"{block}, cosine", row.e[1:], row.e_error[1:], theory[1:], 5 / ds.attrs["width"])


def _faster(ds: xr.Dataset) -> xr.Dataset:
    """The exponent of e − e* is δ* + 0.02."""
    layer = ds.layer.clip(1)
    e_star, f = ds.constant.sel(all_of="e_star"), ds.constant.sel(all_of="f")
    over = 1 - e_star - ds.gap + f * layer**-0.5
    return ds.assign(gap=1 - e_star - over * layer**-0.02 + f * layer**-0.5)


CONTROLS = {
    "cosines that decay faster": Control(_faster, "1, 0.25, 1, 0.25 from cosine -0.5, corrected slope"),
    "no second power": Control(
        lambda ds: ds.assign(constant=ds.constant.where(ds.all_of != "f", 1e-6)), "corrected slope"
    ),
}
