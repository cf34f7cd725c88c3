r"""How far states and gradients travel with a leaky ReLU, independent weights.

The networks of Figures 1 and 3 of Marion et al. (2025), res-3 of width 40 with uniform weights, with a leaky
ReLU of slope s = 0.8 in place of ReLU. A branch now keeps the share c = (1 + s²)/2 = 0.82 of the mean square
instead of 1/2, so that the mean square of both ratios is (1 + c α²)^L − 1, exactly, and beta = 1/2 stays the
scaling at which it neither vanishes nor explodes. Where it explodes the root mean square is that of a few
networks, and the dashed line shows a typical one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.marion.initialization import Initialization
from paper_figs._ratios import FORWARD, FRACTIONS, GRADIENT, Quantity, points, smooth_depths
from paper_figs._style import (
    house_style,
    legend_below,
    log_scale,
    new_figure,
    panel_title,
)
from paper_figs.controls import Control, other
from paper_figs.marion import _white as white
from resnet_sde.claims import Claim, at_most, equal
from resnet_sde.finite_width import HomogeneousMoments, homogeneous_moments


@dataclass(frozen=True)
class Leaky:
    """Other networks with a leaky ReLU.

    networks: of ReLU, at the same scalings and depths.
    """

    networks: Initialization
    slope: float = 0.8

    def model(self, beta: float) -> rs.Model:
        """The law of the networks at this scaling."""
        return replace(self.networks.model(beta), block=rs.TwoLayer(rs.LeakyReLU(self.slope)))

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """The logarithms of the four ratios, each with the axes beta, depth, sample."""
        ds = self.networks.run(seed=seed, how=how, model=self.model)
        return ds.assign_attrs(experiment=repr(self), slope=self.slope)


PANELS = 6
BUDGETS = {budget: Leaky(networks) for budget, networks in white.BUDGETS.items()}
Z = white.Z  # standard errors allowed by every claim: two-sided false alarm 7e-6 each
ROOTS = {  # root mean squares as they are printed elsewhere, by beta and depth
    (0.5, 10): "1.0951",
    (0.5, 1000): "1.1268",
    (1.0, 10): "0.2917",
    (1.0, 1000): "0.02864",
    (0.25, 10): "3.005",
    (0.25, 1000): "3.62e5",
}


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """The ratios of every network, forward and gradient."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


def moments(ds: xr.Dataset, beta: float, depth: int) -> HomogeneousMoments:
    """What is known exactly; the deviation is that of Gaussian weights."""
    networks = Initialization(white.LAW, (), (), samples=0, width=int(ds.attrs["width"]))
    return homogeneous_moments(Leaky(networks, float(ds.attrs["slope"])).model(beta), depth)


def draw(ds: xr.Dataset) -> Figure:
    """A row for states and one for gradients, a panel for every beta."""
    betas, depths = ds.beta.values.tolist(), smooth_depths(ds)
    with house_style():
        fig = new_figure(4.3)
        axes = fig.subplots(2, len(betas))
        panels = [(quantity, beta) for quantity in (FORWARD, GRADIENT) for beta in betas]
        for letter, ax, (quantity, beta) in zip("abcdef", axes.flat, panels, strict=False):
            of = "states" if quantity is FORWARD else "gradients"
            panel_title(ax, letter, rf"{of}, $\beta = {FRACTIONS.get(beta, f'{beta:g}')}$")
            points(ax, ds[quantity.variable].sel(beta=beta))
            white.lines(ax, beta, depths, [moments(ds, beta, int(depth)) for depth in depths])
            _scale(ax, beta)
            ax.set_xlabel("depth $L$")
        for row, quantity in zip(axes, (FORWARD, GRADIENT), strict=True):
            row[0].set_ylabel(quantity.symbol)
        legend_below(fig)
    return fig


def _scale(ax: Axes, beta: float) -> None:
    log_scale(ax, {1.0: "xy", 0.25: "y"}.get(beta, ""))
    if (limits := {1.0: (1e-2, 1.0), 0.5: (0.8, 1.5)}.get(beta)) is not None:
        ax.set_ylim(*limits)


def check(ds: xr.Dataset) -> list[Claim]:
    """Mean squares against their exact values, logarithms where ratios explode, known root mean squares."""
    found = [
        claim
        for quantity in (FORWARD, GRADIENT)
        for beta in ds.beta.values.tolist()
        for depth in ds.depth.values.tolist()
        for claim in _cell(ds, quantity, beta, depth)
    ]
    return [_printed(ds), *found]


def _printed(ds: xr.Dataset) -> Claim:
    """The exact root mean squares must round to what is known."""
    off = []
    for (beta, depth), text in ROOTS.items():
        known = Decimal(text)
        unit = float(Decimal(1).scaleb(known.as_tuple().exponent))  # of its last digit
        off.append(abs(math.sqrt(moments(ds, beta, depth).mean_square_displacement) - float(known)) / unit)
    return at_most("exact root mean squares, distance to known ones in their last digit", max(off), 0.5)


def _cell(ds: xr.Dataset, quantity: Quantity, beta: float, depth: int) -> Iterator[Claim]:
    log10, known = ds[quantity.variable].sel(beta=beta, depth=depth), moments(ds, beta, depth)
    where, errors = f"{quantity.word}, beta = {beta:g}, L = {depth}", Z / math.sqrt(log10.size)
    if beta >= 0.5:
        expected, tolerance = known.mean_square_displacement, errors * known.std_square_displacement
        yield equal(f"{where}, mean ratio²", (100**log10).mean(), expected, tolerance)
        return
    expected = known.mean_log_growth / (2 * math.log(10))
    if expected >= math.log10(white.EXPLODED):
        tolerance = errors * known.std_log_growth / (2 * math.log(10))
        yield equal(f"{where}, mean log10 ratio", log10.mean(), expected, tolerance)


CONTROLS = {
    "no leak": Control(other(BUDGETS, lambda of: replace(of, slope=0.0)), "forward, beta = 1, L = 120"),
    "beta 15 % smaller": Control(
        other(
            BUDGETS,
            lambda of: Leaky(replace(of.networks, betas=tuple(0.85 * b for b in of.networks.betas))),
        ),
        "gradient, beta = 0.5, L = 1000",
    ),
    "the wrong way": Control(
        lambda ds: ds.assign(log10_gradient_displacement=-ds.log10_gradient_displacement),
        "gradient, beta = 0.25",
    ),
    "the share s² for (1 + s²) / 2": Control(
        lambda ds: ds.assign_attrs(slope=(2 * 0.8**2 - 1) ** 0.5), "exact root mean squares"
    ),
}
