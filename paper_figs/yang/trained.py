"""Test accuracy of residual networks of tanh over the variance of their weights and their depth.

After Yang & Schoenholz (2017), without a depth scale, at a small size; a reduced network has one matrix in a
layer, a full one two. Contours are the growth of gradients ln(χ_0/χ_L) at initialization and infinite width;
recommended is the variance at which it is 2, and diamonds are where accuracy falls through a level. With
learning rates that fall like 1/L accuracy follows the growth of gradients, and the variance at which it falls
does so about like 1/L. The law is one of that rule: with the same rate at all depths that variance hardly
depends on depth, and shallow networks see too few steps; RMSprop is in between. Networks of small variance
are not worse here, as the skip path alone tells these images apart.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from experiments.yang import known
from experiments.yang.variance_grids import contour_slope, rank_correlations
from paper_figs._claims import tabulated
from paper_figs.controls import Control
from paper_figs.yang import _variance_maps as variance_maps
from paper_figs.yang._variance_maps import ADAPTIVE, FIXED, LAW, Shown, called
from resnet_sde.claims import Claim, at_least, at_most, between

TRAINED = True
PANELS = 2
BUDGETS, compute = variance_maps.BUDGETS, variance_maps.compute
SHOWN = Shown(
    ("tanh reduced", "tanh full"),
    "log_gradient_growth",
    r"$\ln(\chi_0/\chi_L)$",
    (0.5, 1, 4, 8, 16),
    recommended=True,
)
KNOWN = {
    "tanh reduced": known.KNOWN[0],
    "tanh full": known.KNOWN[2],
}  # recommended, by depth
ORDERED = -0.9  # rank correlation with the growth of gradients, at most
STRONGER = 0.1  # than with σ_w²
SLOPE = (-1.7, -0.8)  # of log σ_w² over log L on the contour of accuracy
# The accuracy of a cell has a standard error of 0.013, of 500 images, and falls by 0.05 when σ_w² grows by a
# factor of e; so log σ_w² on a contour has one of 0.26, and the slope over five depths, whose logarithms have
# deviation 0.98, one of 0.12. Three of these are nearly half the least slope of the law.
FLAT = 0.4
BETTER = 0.1  # accuracy at the recommended variance less that at 1, at the largest depth
# At the smoke budget six cells are to be ordered; at most three neighbours may be swapped by noise.
ORDERED_OF_SMOKE = -0.8


def draw(ds: xr.Dataset) -> Figure:
    """Maps of accuracy for each kind and rule; below, accuracy against the growth of gradients."""
    return variance_maps.draw(ds, SHOWN)


def check(ds: xr.Dataset) -> list[Claim]:
    """Accuracy follows the growth of gradients where rates fall like 1/L, and elsewhere it does not."""
    kinds = [kind for kind in SHOWN.kinds if kind in ds.kind.values]
    claims = [_recommended(ds, kind) for kind in kinds if set(ds.depth.values) & set(known.DEPTHS)]
    if ds.attrs["budget"] == "smoke":
        return claims + [claim for kind in kinds for claim in _of_smoke(ds, kind)]
    for kind in kinds:
        claims += _of_law(ds, kind)
        if ds.attrs["budget"] == "cpu":
            claims += _slopes(ds, kind)
    return claims


def _recommended(ds: xr.Dataset, kind: str) -> Claim:
    table = dict(zip(known.DEPTHS, KNOWN[kind], strict=True))
    depths = [depth for depth in ds.depth.values.tolist() if depth in table]
    found = ds.recommended.sel(kind=kind, depth=depths)
    return tabulated(f"{kind}, recommended sigma_w2", found, [table[depth] for depth in depths], 1e-5)


def _of_smoke(ds: xr.Dataset, kind: str) -> list[Claim]:
    """Few steps, but gradients that grow by e^9 are in the way of few steps as well."""
    of = ds.sel(kind=kind, rule=LAW)
    accuracy = of.test_accuracy.mean("sample")
    ranks = (
        values.transpose("depth", "sigma_w2").values.ravel().argsort().argsort()
        for values in (accuracy, of.log_gradient_growth)
    )
    order = float(np.corrcoef(*ranks)[0, 1])
    worse = float(accuracy.isel(depth=0, sigma_w2=-1) - accuracy.isel(depth=-1, sigma_w2=-1))
    name = called(kind, LAW)
    return [
        at_most(f"{name}, rank correlation with log growth", order, ORDERED_OF_SMOKE),
        at_least(f"{name}, accuracy lost from the least to the largest depth", worse, BETTER),
    ]


def _of_law(ds: xr.Dataset, kind: str) -> list[Claim]:
    """What holds where rates fall like 1/L."""
    name, ranks = called(kind, LAW), rank_correlations(ds, kind, LAW)
    growth = ranks["log_gradient_growth"]
    deepest = ds.sel(kind=kind, rule=LAW).isel(depth=-1)
    gained = float((deepest.at_recommended - deepest.at_one).mean())
    return [
        at_most(f"{name}, rank correlation with log growth", growth, ORDERED),
        at_most(f"{name}, the same less that with sigma_w2", growth - ranks["sigma_w2"], -STRONGER),
        at_least(f"{name}, accuracy at the recommended variance less that at 1", gained, BETTER),
    ]


def _slopes(ds: xr.Dataset, kind: str) -> list[Claim]:
    """The law of the contour, and what is left of it with the same rate at all depths, and with RMSprop."""
    law, fixed, adaptive = (contour_slope(ds, kind, rule) for rule in (LAW, FIXED, ADAPTIVE))
    return [
        between(f"{called(kind, LAW)}, slope of the contour", law, *SLOPE),
        between(f"{called(kind, FIXED)}, slope of the contour", fixed, -FLAT, FLAT),
        at_least(f"{called(kind, ADAPTIVE)}, slope less that of {LAW}", adaptive - law, 0.0),
        at_most(f"{called(kind, ADAPTIVE)}, slope less that of {FIXED}", adaptive - fixed, 0.0),
    ]


CONTROLS = {
    "deviations for variances": Control(lambda ds: ds.assign(recommended=ds.recommended**0.5), "recommended"),
    "gradients that vanish": Control(
        lambda ds: ds.assign(log_gradient_growth=-ds.log_gradient_growth), "rank correlation"
    ),
    "all networks as accurate as shallow ones": Control(
        lambda ds: ds.assign(test_accuracy=ds.test_accuracy * 0 + ds.test_accuracy.isel(depth=0)),
        "accuracy lost",
    ),
}
