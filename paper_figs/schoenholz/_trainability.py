"""What the figures of trainable depth share: one dataset, maps with depth scales, depths against them.

All are after Schoenholz et al. (2017): feed-forward networks of tanh that were trained for a fixed number of
steps. L* is the depth at which the accuracy on training images falls through a threshold, and n = L*/ξ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.lines import Line2D

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.schoenholz import trainability
from experiments.schoenholz.trainability import Setting, collapse, deepest
from paper_figs._claims import tabulated
from paper_figs._panels import DEPTHS, accuracy_map, ticks_within
from paper_figs._style import BLACK, VERMILLION, log_scale
from paper_figs.schoenholz._known import TABLE, TABLE_WEIGHTS
from resnet_sde.claims import Claim, at_least, at_most, between
from resnet_sde.meanfield.phases import FixedPoints, fixed_points

BUDGETS = trainability.BUDGETS
SETTINGS = {str(each): each for of in BUDGETS.values() for each in of.settings}
LOW, HIGH = trainability.THRESHOLDS
MULTIPLES = (1, 3, 6, 12)  # of ξ_c over a map; Schoenholz et al. give 6 as that of their networks
WEIGHTS = (0.5, 1, 2, 4, 8)  # labels
GUESSED = 0.15  # above what guessing one class of ten scores: its share, and 5 standard errors of 1500 images
FORGOTTEN = 10  # multiples of ξ_c after which a network has forgotten its input
REFUSED = 0.2  # accuracy that a network which has forgotten its input stays below
CORRELATED = 0.85  # log L* and log ξ_c at least
LINE = {"color": VERMILLION, "linewidth": 0.8}
THICK = {"color": VERMILLION, "linewidth": 1.7}
POINT = {"marker": "o", "markersize": 2.5, "linestyle": "none"}
SIDES = {"ordered": ("o", "full"), "chaotic": ("^", "none")}  # marker, and how it is filled


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """Trained networks of all settings, and their depth scales."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


# What there is


def chosen(ds: xr.Dataset, wanted: Callable[[Setting], bool]) -> list[str]:
    """The names of the settings that are wanted, in their order."""
    return [name for name in ds.setting.values.tolist() if wanted(SETTINGS[name])]


def plain(ds: xr.Dataset) -> str:
    """The setting that the others are compared with: gradient descent without dropout."""
    return chosen(ds, lambda of: of.optimizer == "sgd" and of.keep_rate == 1)[0]


def called(setting: str) -> str:
    """A few words for a setting."""
    of = SETTINGS[setting]
    if of.keep_rate < 1:
        return f"keep rate {of.keep_rate:g}"
    return f"{'SGD' if of.optimizer == 'sgd' else 'RMSprop'}, rate {of.lr:g}"


def scales(ds: xr.Dataset, setting: str, sigma_w2: np.ndarray) -> FixedPoints:
    """Infinitely wide networks with the dropout of a setting, whose ξ_c and ξ_grad are asked for."""
    bias, keep_rate = BUDGETS[ds.attrs["budget"]].sigma_b2, SETTINGS[setting].keep_rate
    return fixed_points(rs.TANH, torch.tensor(sigma_w2), bias, keep_rate=keep_rate)


def sides(ds: xr.Dataset, setting: str) -> dict[str, np.ndarray]:
    """Which of the variances are on either side of χ_1 = 1."""
    ordered = scales(ds, setting, ds.sigma_w2.values).chi_1.numpy() < 1
    return {"ordered": ordered, "chaotic": ~ordered}


def spread(ds: xr.Dataset, setting: str, scale: str, threshold: float = LOW) -> float:
    """Standard deviation of L*/ξ over its mean: 0 if all depths are the same multiple of the scale."""
    of = collapse(ds, setting, threshold, scale)
    return of["deviation"] / of["mean"]


# Panels


def mapped(ax: Axes, ds: xr.Dataset, setting: str) -> QuadMesh:
    """Accuracy on training images, multiples of ξ_c, and where the accuracy falls through a half."""
    of = ds.sel(setting=setting)
    image = accuracy_map(ax, of.train_accuracy.mean("sample"))
    weights = np.geomspace(*ax.get_xlim(), 401)
    xi = scales(ds, setting, weights).xi_c.numpy()
    for multiple in MULTIPLES:
        ax.plot(weights, multiple * xi, **(THICK if multiple == 6 else LINE))
    found = deepest(of, HIGH)
    ax.plot(found.sigma_w2, found, color=BLACK, **POINT)
    return image


def against(ax: Axes, ds: xr.Dataset, setting: str, threshold: float, colour: str) -> None:
    """L* over ξ_c, one point for each variance; bars reach from the least to the largest network."""
    of = ds.sel(setting=setting)
    found = deepest(of, threshold)
    single = xr.concat([deepest(of.isel(sample=[i]), threshold) for i in range(ds.sizes["sample"])], "sample")
    low, high = (single.reduce(np.fmin.reduce, "sample"), single.reduce(np.fmax.reduce, "sample"))
    bounded = of.xi_c.values < float(ds.depth.max())  # as in `collapse`
    for side, which in sides(ds, setting).items():
        marker, fill = SIDES[side]
        here = bounded & which & np.isfinite(found.values)
        x, y = of.xi_c.values[here], found.values[here]
        bars = np.abs(np.stack([low.values[here], high.values[here]]) - y)
        style = {"marker": marker, "fillstyle": fill, "markersize": 4, "linestyle": "none", "zorder": 3}
        ax.errorbar(x, y, yerr=np.nan_to_num(bars), color=colour, elinewidth=0.9, **style)


KEY = {
    r"1, 3, 6 (thick) and 12 $\xi_c$": Line2D([], [], **LINE),
    "accuracy falls through 0.5": Line2D([], [], color=BLACK, **POINT),
}


def side_key() -> dict[str, Line2D]:
    """What the markers of `against` mean."""
    return {
        side: Line2D([], [], color=BLACK, marker=marker, fillstyle=fill, markersize=4, linestyle="none")
        for side, (marker, fill) in SIDES.items()
    }


def depth_axes(ax: Axes, ds: xr.Dataset) -> None:
    """L* over ξ_c in logarithms, with the line 6 ξ_c."""
    xi = np.array([1.0, float(ds.depth.max())])
    ax.plot(xi, 6 * xi, **THICK)
    log_scale(ax, "xy")
    ax.set(xlabel=r"depth scale $\xi_c$", ylabel="$L^*$", xlim=(1, 30), ylim=(3, 1.3 * xi[-1]))
    ticks_within(ax, "x", (1, 2, 5, 10, 20))
    ticks_within(ax, "y", DEPTHS)


# Claims


def known_scales(ds: xr.Dataset, setting: str) -> Claim:
    """The ξ_c of a setting next to known values; those have five digits."""
    _, known = TABLE[SETTINGS[setting].keep_rate]
    row = ds.sel(setting=setting).xi_c
    at = [w for w in TABLE_WEIGHTS if w in ds.sigma_w2.values]
    values = [known[TABLE_WEIGHTS.index(w)] for w in at]
    return tabulated(f"{called(setting)}, xi_c", row.sel(sigma_w2=at), values, 1e-4)


def learned(ds: xr.Dataset, setting: str) -> Claim:
    """The shallowest networks nearest the critical line have learned, however few the steps were."""
    cell = ds.train_accuracy.sel(setting=setting).sel(sigma_w2=1.76, method="nearest").isel(depth=0)
    name = f"{called(setting)}, accuracy of the shallowest networks at sigma_w2 = {float(cell.sigma_w2):g}"
    return at_least(name, cell.mean(), GUESSED)


def refused(ds: xr.Dataset, setting: str) -> Claim:
    """The most ordered networks, where their depth is many times ξ_c, have not."""
    row = ds.sel(setting=setting).isel(sigma_w2=0)
    deep = row.train_accuracy.mean("sample").where(row.depth >= FORGOTTEN * row.xi_c)
    name = f"{called(setting)}, accuracy at sigma_w2 = {float(row.sigma_w2):g} from {FORGOTTEN} xi_c on"
    return at_most(name, deep.max(), REFUSED)


def cell(ds: xr.Dataset, setting: str, sigma_w2: float, depth: int) -> tuple[str, float]:
    """The accuracy of the networks of one variance and depth, after its name."""
    found = ds.train_accuracy.sel(setting=setting, sigma_w2=sigma_w2, depth=depth).mean()
    return f"{called(setting)}, accuracy at ({sigma_w2:g}, {depth})", float(found)


def multiple(ds: xr.Dataset, setting: str, threshold: float, low: float, high: float) -> Claim:
    """The mean of n = L*/ξ_c."""
    found = collapse(ds, setting, threshold)["mean"]
    return between(f"{called(setting)}, mean L*/xi_c at accuracy {threshold:g}", found, low, high)


def correlated(ds: xr.Dataset, setting: str, threshold: float) -> Claim:
    """Whether log L* follows log ξ_c."""
    found = collapse(ds, setting, threshold)["correlation"]
    name = f"{called(setting)}, correlation of log L* and log xi_c at accuracy {threshold:g}"
    return at_least(name, found, CORRELATED)


def spreads(ds: xr.Dataset, setting: str) -> float:
    """The relative spread of L*/|ξ_grad| over that of L*/ξ_c."""
    return spread(ds, setting, "xi_grad") / spread(ds, setting, "xi_c")
