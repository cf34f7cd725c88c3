"""Smooth weights of length 0.1: the computation, panels and claims that figures 4 and 5 share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.marion.initialization import Initialization, first_order
from paper_figs._ratios import FORWARD, GRADIENT, REPETITIONS, Quantity, panels, widened
from paper_figs._style import BLACK, THEORY, THEORY_TOO, house_style, legend_below, log_scale
from paper_figs.marion import _white as white
from resnet_sde.claims import Claim, equal

LAW = rs.SmoothNoise(0.1)
INFINITE = "infinite width (r.m.s.)"
DIAMOND = {"color": BLACK, "marker": "D", "markersize": 4.5, "markerfacecolor": "none", "zorder": 4}
# float64: at beta = 2 the updates of a float32 state are near its rounding.
BUDGETS = {
    "smoke": Initialization(LAW, (2.0, 0.5, 1.0), (10, 120, 1000), samples=12, double=True),
    "paper": Initialization(LAW, (2.0, 0.5, 1.0), white.DEPTHS, samples=REPETITIONS, double=True),
}


@dataclass(frozen=True)
class Reference:
    """Numbers of one ratio to compare with, all at width 40.

    limit: root mean square at beta = 1, infinite width and L = 1000.
    ratio: mean ratio at beta = 1 from L = 120 on, ± 0.03.
    scaled: L times the mean ratio at beta = 2, ± 0.03.
    medians: median log₁₀ ratio at beta = 1/2 and its tolerance, by depth.
    exploding: log₁₀ of the root mean square at beta = 1/2 and infinite width, by depth.
    """

    limit: float
    ratio: float
    scaled: float
    medians: dict[int, tuple[float, float]]
    exploding: dict[int, float]


REFERENCES = {
    FORWARD: Reference(
        limit=0.3073,
        ratio=0.30,
        scaled=0.301,
        # 439 at L = 230, where log₁₀ has standard deviation 0.42 and a median of 50 one of 0.075.
        medians={230: (2.642, 0.34), 1000: (7.5, 0.5)},
        exploding={100: 1.493, 250: 3.054, 500: 4.972, 1000: 7.783},
    ),
    # The median of 2,600 gradients is 7.06 ± 0.02 (of states 7.35 ± 0.02), their standard deviation 0.88: the
    # tolerance is 4.5 standard errors of a median of 50.
    GRADIENT: Reference(limit=0.2703, ratio=0.27, scaled=0.27, medians={1000: (7.06, 0.7)}, exploding={}),
}


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """The ratios of every network, forward and gradient."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


def draw(ds: xr.Dataset, quantity: Quantity) -> Figure:
    """The ratio against depth beside what is known of its root mean square at infinite width."""
    reference, depths = REFERENCES[quantity], ds.depth.values
    with house_style():
        fig, axes = panels(ds, quantity)
        which = 0 if quantity is FORWARD else 1
        first = [first_order(LAW, int(L), int(ds.attrs["width"]))[which] for L in depths]
        axes[2.0].plot(
            depths, np.array(first) * depths**-2.0, label="first order in $L^{-2}$ (r.m.s.)", **THEORY
        )
        if reference.exploding:
            known = np.array(list(reference.exploding.items())).T
            axes[0.5].plot(known[0], 10 ** known[1], label=INFINITE, **DIAMOND, linestyle="none")
        axes[1.0].plot(1000, reference.limit, label=INFINITE, **DIAMOND, linestyle="none")
        axes[1.0].axhline(reference.limit, **THEORY_TOO)
        log_scale(axes[2.0], "xy")
        log_scale(axes[0.5], "y")
        axes[1.0].set(ylim=(0.15, 0.45))
        legend_below(fig)
    return fig


def check(ds: xr.Dataset, quantity: Quantity) -> list[Claim]:
    """Mean ratios at beta = 1 and 2, medians of the logarithm at beta = 1/2."""
    reference, log10 = REFERENCES[quantity], ds[quantity.variable]
    mean, median = (10**log10).mean("sample"), log10.median("sample")
    widen, claims = widened(ds.sizes["sample"]), []
    for depth in ds.depth.values.tolist():
        where = f"{quantity.word}, beta = {{}}, L = {depth}, "
        scaled = depth * mean.sel(beta=2.0, depth=depth)
        name = where.format(2) + "L × mean ratio"
        claims.append(equal(name, scaled, reference.scaled, 0.03 * widen))
        if depth >= 120:
            name, ratio = where.format(1) + "mean ratio", mean.sel(beta=1.0, depth=depth)
            claims.append(equal(name, ratio, reference.ratio, 0.03 * widen))
        if depth in reference.medians:
            name, (expected, tolerance) = where.format(0.5) + "median log10 ratio", reference.medians[depth]
            measured = median.sel(beta=0.5, depth=depth)
            claims.append(equal(name, measured, expected, tolerance * widen))
    return claims
