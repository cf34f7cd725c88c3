r"""How far states and gradients travel when the entries of a weight matrix are correlated.

Networks of Figures 1 and 3 of Marion et al. (2025), and below those of Figures 4 and 5, with Gaussian
matrices whose entries have the covariance C / d; C is the correlation matrix of d² rows of d² independent
uniform numbers, the same in every layer. Lines are those of independent weights: exact for white ones, at
infinite width for smooth ones. There is a reason why they hold here too, in panel g: given C, the mean square
of V u is that of u up to the eigenvalues of a matrix M close to the identity, although C is not close to it
(its own eigenvalues fill [0, 4]). Panel h shows the difference to networks made of the same random numbers
without correlations.

A network of fewer layers has the first weights of the deepest one, or sees the same smooth paths, so the
points of a panel move together. Intervals have level 95 %. Where smooth weights explode, at beta = 1/2, a
mean is that of a few networks, far above the median.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from experiments.marion.correlated_weights import QUANTITIES, CorrelatedWeights, branch_factors
from paper_figs._panels import panel_legend
from paper_figs._ratios import FORWARD, FRACTIONS, GRADIENT, Quantity, points
from paper_figs._style import (
    BLACK,
    BLUE,
    ORANGE,
    SIMULATION,
    THEORY,
    THEORY_TOO,
    house_style,
    log_scale,
    new_figure,
    panel_title,
)
from paper_figs.controls import Control
from paper_figs.marion import _smooth as smooth
from paper_figs.marion import _white as white
from resnet_sde.claims import Claim, at_most, equal

PANELS = 8
BUDGETS = {
    "smoke": CorrelatedWeights((10, 120), (10, 120), samples=12, draws=4000),
    "paper": CorrelatedWeights(
        white.DEPTHS, (10, 15, 22, 33, 50, 80, *white.DEPTHS[1:]), samples=30, draws=20_000
    ),
}
STYLES = {
    FORWARD: {**SIMULATION, "label": "states"},
    GRADIENT: {**SIMULATION, "color": ORANGE, "marker": "s", "label": "gradients"},
}
FALSE_ALARM = 1e-3  # of all claims on factors and on differences together, shared out evenly
LARGEST_SHIFT = 0.008  # 4.5 standard deviations √2 d^{−3/2} / π over the choice of C, at width 40
SHOWN = {"": 0.5, "smooth_": 1.0}  # the critical beta, by the prefix of the variable
LIMITS = {("", 1.0): (1e-2, 1.0), ("", 0.5): (0.5, 1.1), ("smooth_", 1.0): (0.15, 0.45)}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Ratios of both kinds of weights, and factors."""
    return BUDGETS[budget].run(seed=seed).assign_attrs(budget=budget)


def part(ds: xr.Dataset, prefix: str, weights: str = "correlated") -> xr.Dataset:
    """Ratios of white weights, or with the prefix smooth_ of smooth ones, as figures 1 and 4 have them."""
    names = {f"{prefix}{name}": name for name in QUANTITIES}
    own = ds[list(names)].rename({**names, f"{prefix}beta": "beta"} if prefix else {})
    return own.sel(weights=weights)


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """White weights, smooth weights, and what the correlations do."""
    with house_style():
        fig = new_figure(6.8)
        above, below = fig.subfigures(2, 1, height_ratios=(2, 1.05))
        axes = above.subplots(2, 3)
        for row, prefix, law in zip(axes, ("", "smooth_"), ("white", "smooth"), strict=True):
            own = part(ds, prefix)
            for ax, beta in zip(row, own.beta.values.tolist(), strict=True):
                _ratios(ax, own.sel(beta=beta))
                _lines(ax, ds, prefix, beta)
                letter = "abcdef"[list(axes.flat).index(ax)]
                panel_title(ax, letter, rf"{law}, $\beta = {FRACTIONS.get(beta, f'{beta:g}')}$")
            row[0].set_ylabel("ratio")
        left, right = below.subplots(1, 2)
        _factors(left, ds)
        _differences(right, ds)
        handles, labels = axes[1, 0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=2)
    return fig


def _ratios(ax: Axes, own: xr.Dataset) -> None:
    for quantity, style in STYLES.items():
        points(
            ax,
            own[quantity.variable],
            **{**style, "label": f"{style['label']}, {own.sizes['sample']} networks"},
        )
    ax.set_xlabel("depth $L$")


def _lines(ax: Axes, ds: xr.Dataset, prefix: str, beta: float) -> None:
    if prefix:
        labels = ("root mean square, independent weights (theory)", "the same of gradients of smooth weights")
        for name, style, label in zip(QUANTITIES, (THEORY, THEORY_TOO), labels, strict=True):
            ax.plot(ds.line, 10 ** ds.smooth_theory.sel(of=name, smooth_beta=beta), label=label, **style)
    else:
        depths = np.unique(np.geomspace(*ds.depth.values[[0, -1]], 100).round().astype(int))
        known = [white.moments(ds, beta, int(depth)).mean_square_displacement for depth in depths]
        ax.plot(depths, np.sqrt(known), **THEORY)
    critical = SHOWN[prefix]
    log_scale(ax, "xy" if beta > critical else "y" if beta < critical else "")
    if (limits := LIMITS.get((prefix, beta))) is not None:
        ax.set_ylim(*limits)


def _factors(ax: Axes, ds: xr.Dataset) -> None:
    for weights, colour, marker in (("correlated", BLUE, "o"), ("independent", BLACK, "x")):
        one = ds.sel(weights=weights)
        style = {"color": colour, "marker": marker, "markersize": 3, "linestyle": "none", "elinewidth": 0.8}
        ax.errorbar(ds.factor, one.measured, yerr=1.96 * one.measured_error, label=weights, **style)
    ends = ds.factor.values[[0, -1]]
    ax.plot(ends, ends, **THEORY)
    ax.set(xlabel="eigenvalue of $M$", ylabel=r"mean of $\Vert V u\Vert^2 / \Vert u\Vert^2$")
    panel_title(ax, "g", "mean squares along eigenvectors $u$ of $M$")
    panel_legend(ax, loc="upper left")


def _differences(ax: Axes, ds: xr.Dataset) -> None:
    ax.axhline(0.0, **THEORY)
    words = {FORWARD: "states", GRADIENT: "gradients"}
    for k, (prefix, beta) in enumerate(SHOWN.items()):
        for quantity, style in STYLES.items():
            gap = _gap(ds, prefix, quantity).sel(beta=beta)
            error = gap.std("sample", ddof=1) / gap.sizes["sample"] ** 0.5
            law = "smooth" if prefix else "white"
            face = {"markerfacecolor": "white"} if prefix else {}
            own = {**style, **face, "label": f"{law}, {words[quantity]}"}
            shift = (2 * k + (quantity is GRADIENT) - 1.5) * 10
            ax.errorbar(gap.depth + shift, gap.mean("sample"), yerr=1.96 * error, **own)
    ax.set(xlabel="depth $L$", ylabel=r"difference of $\log_{10}$", ylim=(-0.06, 0.1))
    panel_title(ax, "h", r"ratios, correlated and independent, at $\beta^*$")
    panel_legend(ax, loc="upper left", ncols=2)


def _gap(ds: xr.Dataset, prefix: str, quantity: Quantity) -> xr.DataArray:
    """log₁₀ of a ratio with correlated weights less that with independent ones, axes beta, depth, sample."""
    both = [part(ds, prefix, weights)[quantity.variable] for weights in ("correlated", "independent")]
    return both[0] - both[1]


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Those of independent weights; differences to them; and mean squares given C."""
    claims = []
    for quantity in (FORWARD, GRADIENT):
        for law, found in (
            ("white", white.check(part(ds, ""), quantity)),
            ("smooth", smooth.check(part(ds, "smooth_"), quantity)),
        ):
            claims += [replace(claim, name=f"{law}, {claim.name}") for claim in found]
    tests = [*_of_factors(ds), *_of_differences(ds)]
    share = FALSE_ALARM / len(tests)
    for name, z, freedom in tests:
        furthest = float(stats.t.isf(share / 2, freedom))
        claims.append(at_most(f"{name}, |t|", abs(z), furthest))
    mean = float(2 * ds.branch_factor.mean())
    name = "twice E‖V φ(W h)‖² / ‖h‖² given C, mean over directions"
    return [*claims, equal(name, mean, 1.0, LARGEST_SHIFT)]


def _of_factors(ds: xr.Dataset) -> Iterator[tuple[str, float, float]]:
    """Every eigenvector by itself, and all at once; their mean squares are nearly independent."""
    one = ds.sel(weights="correlated")
    off = ((one.measured - one.factor) / one.measured_error).values
    for k in range(off.size):
        yield f"mean square of V u, eigenvector {k}", float(off[k]), math.inf
    centred = (ds.factor - 1).values
    weight = centred / one.measured_error.values**2
    slope = (weight * (one.measured.values - 1)).sum() / (weight * centred).sum()
    yield (
        "slope of mean squares on eigenvalues, less 1",
        float((slope - 1) * (weight * centred).sum() ** 0.5),
        math.inf,
    )


def _of_differences(ds: xr.Dataset) -> Iterator[tuple[str, float, float]]:
    for prefix, law in (("", "white"), ("smooth_", "smooth")):
        for quantity in (FORWARD, GRADIENT):
            gap = _gap(ds, prefix, quantity).isel(depth=-1)
            for beta in gap.beta.values.tolist():
                values = gap.sel(beta=beta).values
                z = values.mean() / (values.std(ddof=1) / math.sqrt(values.size))
                name = f"{law}, {quantity.word}, beta = {beta:g}, difference to independent weights"
                yield name, float(z), values.size - 1


def _independent(ds: xr.Dataset) -> xr.Dataset:
    ds.measured.loc[{"weights": "correlated"}] = ds.measured.sel(weights="independent")
    return ds


def _of_one_sign(ds: xr.Dataset) -> xr.Dataset:
    """A part of 5 % that all entries of a matrix share."""
    entries = 0.95 * np.eye(1600) + 0.05
    h = np.random.default_rng(0).standard_normal((ds.sizes["state"], 40))
    return ds.assign(branch_factor=("state", branch_factors(entries, h)))


def _of_a_larger_variance(ds: xr.Dataset) -> xr.Dataset:
    ds.log10_displacement.loc[{"weights": "correlated"}] += 0.12
    return ds


CONTROLS = {
    "independent weights": Control(_independent, "slope of mean squares"),
    "eigenvalues on the other side of 1": Control(
        lambda ds: ds.assign(factor=2 - ds.factor), "eigenvector 39"
    ),
    "entries that share a part": Control(_of_one_sign, "mean over directions"),
    "a larger variance": Control(_of_a_larger_variance, "white, forward, beta = 0.5, difference"),
    "smooth weights that are white": Control(
        lambda ds: ds.assign(
            smooth_log10_displacement=ds.smooth_log10_displacement - 0.5 * np.log10(ds.depth)
        ),
        "smooth, forward, beta = 1, L = 120",
    ),
}
