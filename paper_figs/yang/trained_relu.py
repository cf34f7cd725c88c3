"""Test accuracy of residual networks of ReLU and of a power of it, over variance and depth.

After Yang & Schoenholz (2017), without a depth scale, at a small size; of the same dataset as the figure for
tanh. Contours are the growth of lengths ln p_L at initialization and infinite width. With learning rates that
fall like 1/L training blows up beyond a length that is the same for all depths, long before squares of states
overflow in single precision; networks whose loss is no number have accuracy 0. RMSprop gets further, and its
accuracy falls smoothly. So it does with the power 3/4 of the ReLU, whose lengths grow like a power of depth
and overflow nowhere here. That the largest variance before overflow is the best is seen only where steps are
too small for shallow networks, with the same rate at all depths; elsewhere small ones are at least as good.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

from paper_figs.controls import Control
from paper_figs.yang import _variance_maps as variance_maps
from paper_figs.yang._variance_maps import ADAPTIVE, LAW, Shown, called, known_growth, within
from resnet_sde.claims import Claim, at_least, at_most

TRAINED = True
PANELS = 2
BUDGETS, compute = variance_maps.BUDGETS, variance_maps.compute
OVERFLOW = float(np.log(np.finfo(np.float32).max))  # of a mean square
SHOWN = Shown(("relu full", "alpha-relu full"), "log_q", r"$\ln p_L$", (1, 3, 6.9, 20), overflow=OVERFLOW)
POWER, ORDERED = "alpha-relu full", -0.9  # as for tanh
WORKS, FAILS = 3.0, 6.9  # log p_L up to which networks are trained, and from which on they are not
ACCURATE = {"smoke": 0.8, "cpu": 0.9}  # accuracies; at the smoke budget after 30 steps in place of 80
UNTRAINED = 0.2
SMOOTH = (0.95, 0.5)  # accuracies with RMSprop up to p_L = 10, and from FAILS to FURTHER
FURTHER = 13.8
OF_FOUR_LAYERS = (
    "80 steps at this rate are few for four layers, which reach 0.94 to 0.955 up to p_L = 10; from eight"
    " layers on it is 0.956 to 0.98"
)


def draw(ds: xr.Dataset) -> Figure:
    """Maps of accuracy for each rule; below, accuracy against the growth of lengths."""
    return variance_maps.draw(ds, SHOWN)


def check(ds: xr.Dataset) -> list[Claim]:
    """Lengths as known, and one length at all depths up to which networks are trained."""
    kind, budget = "relu full", ds.attrs["budget"]
    of = ds.sel(kind=kind)
    law = of.sel(rule=LAW)
    name = called(kind, LAW)
    failing = float(within(law, "log_q", FAILS, np.inf).max())
    claims = [
        known_growth(ds, kind),
        at_most(f"{name}, largest accuracy where log p >= {FAILS:g}", failing, UNTRAINED),
    ]
    if budget in ACCURATE:
        working = float(within(law, "log_q", 0.0, WORKS).min())
        where = f"{name}, least accuracy where log p <= {WORKS:g}"
        claims.append(at_least(where, working, ACCURATE[budget]))
    if budget == "cpu":
        name, adaptive = called(kind, ADAPTIVE), of.sel(rule=ADAPTIVE)
        ranges = ((0.0, np.log(10), SMOOTH[0], OF_FOUR_LAYERS), (FAILS, FURTHER, SMOOTH[1], ""))
        for low, high, least, reason in ranges:
            found = float(within(adaptive, "log_q", low, high).min())
            where = f"{name}, least accuracy where log p is in [{low:.3g}, {high:.3g}]"
            claims.append(at_least(where, found, least, reason))
        claims.append(_ordered(ds))
    return claims


def _ordered(ds: xr.Dataset) -> Claim:
    """With a power of the ReLU accuracy follows lengths too, once they have grown tenfold."""
    of = ds.sel(kind=POWER, rule=ADAPTIVE)
    accuracy, grown = of.test_accuracy.mean("sample"), of.log_q >= np.log(10)
    pair = (values.transpose(*grown.dims).values[grown.values] for values in (accuracy, of.log_q))
    name = f"{called(POWER, ADAPTIVE)}, rank correlation with log p from {np.log(10):.3g} on"
    return at_most(name, stats.spearmanr(*pair).statistic, ORDERED)


CONTROLS = {
    "lengths for their squares": Control(lambda ds: ds.assign(log_q=ds.log_q / 2), "log p, largest"),
    "lengths that do no harm": Control(
        lambda ds: ds.assign(test_accuracy=ds.test_accuracy.clip(0.8)), "log p >= 6.9"
    ),
    "lengths that do harm early": Control(
        lambda ds: ds.assign(test_accuracy=ds.test_accuracy * xr.where(ds.log_q < 1, 1, 0.1)), "log p <= 3"
    ),
}
