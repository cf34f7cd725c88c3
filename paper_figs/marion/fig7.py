"""Figure 7 of Marion et al. (2025): states and gradients at initialization over the (H, beta) plane.

Networks res-3 with fractional noise of Hurst index H as weights along depth, at 1000 layers. Every network is
seen at all beta. Colours are log10 of the ratio: at infinite width on the left, the mean over networks of
width 40 on the right. The dashed line is where the ratio is 1 at this depth, which is not the boundary of
infinite depth. The published figure used fractional noise with a wrong eigenvalue; what that changes is a
figure of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from scipy.interpolate import PchipInterpolator

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.marion.plane import Plane, over_networks, zero_level
from paper_figs._planes import BOUNDARY, HURSTS_OF_LEVELS, INTERPOLATION, LEVEL, LEVELS, grid
from paper_figs._ratios import FORWARD, GRADIENT
from paper_figs._style import GREEN, house_style, legend_below, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_most, equal

# Marion et al. have 5 networks and 10 inputs; the error is that of the networks, so here they are more.
BUDGETS = {
    "smoke": Plane((0.05, 0.35, 0.65, 0.9), grid(0.2, 1.1, 10), samples=5, inputs=2),
    "cpu": Plane(grid(0.05, 0.97, 12), grid(0, 1.3, 12), samples=20, inputs=4),
    "paper": Plane(grid(0.05, 0.97, 51), grid(0, 1.3, 70), samples=20, inputs=4),
}
SCALE = 1.0  # of the colours: log10 of a ratio beyond ± this looks the same
LEVEL_OF_NETWORKS = {"color": GREEN, "marker": "o", "markersize": 2.0, "linestyle": "none", "elinewidth": 1.0}

# At width 40 and L = 1000: how far the mean log10 ratio may be from log10 of the root mean square at infinite
# width, on average over the cells where the latter lies in ± 1 and H <= 0.9.
DISTANCE = {FORWARD: 0.06, GRADIENT: 0.08}
HURST_AT_MOST = 0.9
LEVEL_DISTANCE = {"smoke": 0.05, "cpu": 0.05, "paper": 0.03}


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """The ratios of every network, and their mean field."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


def draw(ds: xr.Dataset) -> Figure:
    """States above, gradients below; mean field on the left, networks on the right."""
    with house_style():
        fig = new_figure(6.0)
        axes = fig.subplots(2, 2, sharey=True)
        for row, quantity in zip(axes, (FORWARD, GRADIENT), strict=True):
            ratios, theory = ds[quantity.variable], ds[f"{quantity.variable}_theory"]
            for ax, values in zip(row, (theory, over_networks(ratios)["mean"]), strict=True):
                image = _heat_map(ax, values)
                _boundary(ax, ds.hurst.values)
                _level_of_theory(ax, theory)
                if quantity is GRADIENT:
                    _bulk_boundary(ax, ds.hurst.values)
            _level_of_networks(row[1], ratios)
            row[0].set_ylabel(r"$\beta$")
            bar = fig.colorbar(image, ax=row, extend="both", pad=0.02, ticks=np.linspace(-SCALE, SCALE, 5))
            bar.set_label(rf"$\log_{{10}}$ of {quantity.symbol}")
        _titles(axes.flat, ds)
        legend_below(fig)
    return fig


def _heat_map(ax: Axes, log10: xr.DataArray) -> QuadMesh:
    """Colours of a ratio over the plane; red where it is above 1."""
    table = log10.transpose("beta", "hurst")
    colours = {"cmap": "RdBu_r", "vmin": -SCALE, "vmax": SCALE}  # told apart by colour-blind readers
    ax.grid(False)
    return ax.pcolormesh(table.hurst, table.beta, table, shading="nearest", rasterized=True, **colours)


def _boundary(ax: Axes, hursts: np.ndarray) -> None:
    fine = np.linspace(hursts.min(), hursts.max(), 201)
    critical = [rs.TwoLayer(rs.RELU).critical_beta(rs.FractionalNoise(hurst)) for hurst in fine]
    ax.plot(fine, critical, label=r"boundary $\beta^*$ as $L \to \infty$", **BOUNDARY)


def _bulk_boundary(ax: Axes, hursts: np.ndarray) -> None:
    """Of all of a gradient but the share 1/width along the state, which has the boundary of the states."""
    fine = np.linspace(hursts.min(), hursts.max(), 201)
    label = r"$\max(1/2, 2H - 1)$"
    ax.plot(fine, np.maximum(0.5, 2 * fine - 1), label=label, **{**BOUNDARY, "linestyle": ":"})


def _level_of_theory(ax: Axes, log10: xr.DataArray) -> None:
    ax.plot(log10.hurst, zero_level(log10), label="ratio 1, mean field", **LEVEL)


def _level_of_networks(ax: Axes, log10: xr.DataArray) -> None:
    """The level of the mean over networks; its error from the levels of single networks."""
    level, single = zero_level(over_networks(log10)["mean"]), zero_level(log10.mean("input"))
    error = 1.96 * single.std("sample", ddof=1) / single.sizes["sample"] ** 0.5
    label = "ratio 1, networks (95 %)"
    ax.errorbar(log10.hurst, level, yerr=error, label=label, **LEVEL_OF_NETWORKS)


def _titles(axes: Iterable[Axes], ds: xr.Dataset) -> None:
    depth, width = ds.attrs["depth"], ds.attrs["width"]
    sides = ("mean field", f"{ds.sizes['sample']} networks of width {width}")
    panels = [(of, side) for of in ("states", "gradients") for side in sides]
    for letter, ax, (of, side) in zip("abcd", axes, panels, strict=True):
        panel_title(ax, letter, f"{of}, {side}, $L = {depth}$")
        ax.set_xlabel("Hurst index $H$")


def check(ds: xr.Dataset) -> list[Claim]:
    """Networks next to their mean field, and the levels of ratio 1 of both next to a table."""
    budget, claims = ds.attrs["budget"], []
    for quantity in (FORWARD, GRADIENT):
        theory, mean = ds[f"{quantity.variable}_theory"], over_networks(ds[quantity.variable])["mean"]
        moderate = (abs(theory) <= SCALE) & (ds.hurst <= HURST_AT_MOST)
        name = f"{quantity.word}, mean distance of log10 ratios to the mean field"
        distance = abs(mean - theory).where(moderate).mean()
        claims.append(at_most(name, distance, DISTANCE[quantity]))
        known = PchipInterpolator(HURSTS_OF_LEVELS, LEVELS[quantity])(ds.hurst)
        for of, values, tolerance in (
            ("mean field", theory, INTERPOLATION),
            ("networks", mean, LEVEL_DISTANCE[budget]),
        ):
            away = zero_level(values) - known
            worst = int(abs(away).fillna(np.inf).argmax("hurst"))  # no level at all is the worst
            name = f"{quantity.word}, beta where the ratio is 1, {of}, H = {float(ds.hurst[worst]):.3g}"
            claims.append(equal(name, zero_level(values)[worst], known[worst], tolerance))
    return claims


def _without_the_share_along_the_state(ds: xr.Dataset) -> xr.Dataset:
    """The mean field of gradients is that of infinite width, without the share 1/40."""
    share = 1 / 40
    square = 100**ds.log10_gradient_displacement_theory - share * 100**ds.log10_displacement_theory
    return ds.assign(log10_gradient_displacement_theory=np.log10(square / (1 - share)) / 2)


CONTROLS = {
    "gradients for states": Control(
        lambda ds: ds.assign(log10_displacement=ds.log10_gradient_displacement),
        "forward, beta where the ratio is 1, networks",
    ),
    "ratios smaller by 10^0.2, as of a smaller variance": Control(
        lambda ds: ds.assign(log10_displacement=ds.log10_displacement - 0.2), "forward, mean distance"
    ),
    "gradients of infinite width": Control(
        _without_the_share_along_the_state, "gradient, beta where the ratio is 1, mean field"
    ),
    "ratios nowhere 1": Control(
        lambda ds: ds.assign(log10_displacement=-abs(ds.log10_displacement) - 0.1),
        "forward, beta where the ratio is 1, networks",
    ),
}
