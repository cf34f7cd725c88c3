"""Independent uniform weights: the computation, panels and claims that figures 1 and 3 share."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.marion.initialization import Initialization
from paper_figs._ratios import REPETITIONS, Quantity, panels, smooth_depths, widened
from paper_figs._style import THEORY, THEORY_TOO, house_style, legend_below, log_scale
from resnet_sde.claims import Claim, equal
from resnet_sde.finite_width import HomogeneousMoments, homogeneous_moments

DEPTHS = (10, *range(120, 1001, 110))
LAW = rs.WhiteNoise("uniform")
BUDGETS = {
    "smoke": Initialization(LAW, (1.0, 0.25, 0.5), (10, 120, 1000), samples=12),
    "paper": Initialization(LAW, (1.0, 0.25, 0.5), DEPTHS, samples=REPETITIONS),
}
Z = 4.5  # standard errors allowed by every claim: two-sided false alarm 7e-6 each
SD_SQUARE, SD_RATIO = 0.1932, 0.117  # of D and of its root over networks, at width 40 and beta = 1/2
MEAN_RATIO = {10: 0.784, 1000: 0.7956}  # at width 40 and beta = 1/2, from 10,000 networks
EXPLODED = 10.0  # a ratio from which ‖h_L − h_0‖ and ‖h_L‖ have the same logarithm on the scale of the spread


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """The ratios of every network, forward and gradient."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


def moments(ds: xr.Dataset, beta: float, depth: int) -> HomogeneousMoments:
    """What is known exactly; the mean square is that of gradients too, and of uniform weights."""
    experiment = Initialization(LAW, (), (), samples=0, width=int(ds.attrs["width"]))
    return homogeneous_moments(experiment.model(beta), depth)


def draw(ds: xr.Dataset, quantity: Quantity) -> Figure:
    """The ratio against depth beside its exact root mean square and, where it explodes, its typical value."""
    depths = smooth_depths(ds)
    with house_style():
        fig, axes = panels(ds, quantity)
        for beta, ax in axes.items():
            lines(ax, beta, depths, [moments(ds, beta, int(depth)) for depth in depths])
        log_scale(axes[1.0], "xy")
        axes[1.0].set(ylim=(1e-2, 1.0))
        log_scale(axes[0.25], "y")
        axes[0.5].set(ylim=(0.5, 1.1))
        legend_below(fig)
    return fig


def lines(ax: Axes, beta: float, depths: np.ndarray, known: list[HomogeneousMoments]) -> None:
    """The exact root mean square by depth and, where it explodes, the typical value."""
    root = np.sqrt([m.mean_square_displacement for m in known])
    ax.plot(depths, root, label="root mean square (exact)", **THEORY)
    if beta < 0.5:
        typical = np.exp([m.mean_log_growth / 2 for m in known])
        far = typical > EXPLODED
        ax.plot(depths[far], typical[far], label="exp of the mean log (theory)", **THEORY_TOO)


def check(ds: xr.Dataset, quantity: Quantity) -> list[Claim]:
    """Mean squares against their exact values; logarithms where the ratio explodes."""
    log10 = ds[quantity.variable]
    return [
        claim
        for depth in ds.depth.values.tolist()
        for beta, claims in ((1.0, _identity), (0.5, _stable), (0.25, _explosion))
        for claim in claims(
            f"{quantity.word}, beta = {beta:g}, L = {depth}",
            log10.sel(beta=beta, depth=depth),
            moments(ds, beta, depth),
        )
    ]


def _identity(where: str, log10: xr.DataArray, known: HomogeneousMoments) -> list[Claim]:
    expected = known.mean_square_displacement
    tolerance = 0.14 * widened(log10.size) * expected
    return [equal(f"{where}, mean ratio²", (100**log10).mean(), expected, tolerance)]


def _stable(where: str, log10: xr.DataArray, known: HomogeneousMoments) -> list[Claim]:
    expected, root = known.mean_square_displacement, math.sqrt(log10.size)
    claims = [equal(f"{where}, mean ratio²", (100**log10).mean(), expected, Z * SD_SQUARE / root)]
    if (mean := MEAN_RATIO.get(known.depth)) is not None:
        claims.append(equal(f"{where}, mean ratio", (10**log10).mean(), mean, Z * SD_RATIO / root))
    return claims


def _explosion(where: str, log10: xr.DataArray, known: HomogeneousMoments) -> list[Claim]:
    expected = known.mean_log_growth / (2 * math.log(10))
    if expected < math.log10(EXPLODED):
        return []
    spread = known.std_log_growth / (2 * math.log(10))
    tolerance = Z * spread / math.sqrt(log10.size)
    return [equal(f"{where}, mean log10 ratio", log10.mean(), expected, tolerance)]
