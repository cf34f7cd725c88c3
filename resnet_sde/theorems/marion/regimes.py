r"""Identity, stability and explosion: what the scaling makes of a deep network, forward and backward.

Networks of several depths are compared on one weight path, on which most of what is random in them
cancels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from resnet_sde.activations import LINEAR, TANH, Activation
from resnet_sde.blocks import SingleLayer
from resnet_sde.claims import Claim
from resnet_sde.laws import FractionalNoise, SmoothNoise, WhiteNoise
from resnet_sde.model import Model, WeightPaths
from resnet_sde.propagate import States, trajectory
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_OFF, AssumptionNotMet, Lab
from resnet_sde.theorems.marion.means import HOMOGENEOUS
from resnet_sde.theorems.marion.paper import SOURCE

LAWS = (WhiteNoise(), FractionalNoise(0.7), SmoothNoise(0.3))
BETA_OFF = {"beta off by 0.15": {"beta_off": -0.15}, "beta off by 0.15 the other way": {"beta_off": 0.15}}
ONE_MATRIX = (
    "one weight matrix, of independent entries, centred and of variance 1/d",
    "weights that are white, fractional with H > 1/2, or smooth along depth; β* is 1/2, H, or 1",
)


@dataclass(frozen=True)
class DepthRatios:
    """Logarithms of squared ratios of networks at several depths on one path; all (sample, depth).

    change: of ‖h_L − h_0‖² / ‖h_0‖² and of ‖p_0 − p_L‖² / ‖p_L‖², by direction.
    growth: of ‖h_L‖² / ‖h_0‖² and of ‖p_0‖² / ‖p_L‖².
    """

    change: dict[str, Tensor]
    growth: dict[str, Tensor]


def profile(lab: Lab, model: Model, depths: tuple[int, ...]) -> DepthRatios:
    """Networks of these depths, the last of which all others divide, at Gaussian h_0 and p_L."""
    seen = lab.with_error(model)

    def see(path: WeightPaths, h: Tensor, p: Tensor) -> Tensor:
        columns = []
        for depth in depths:
            layers, alpha = path.layers(depth), seen.alpha(depth)
            found = trajectory(seen.block, h, layers, alpha, top=p, every_layer=False)
            assert found.adjoint is not None
            columns.append(torch.stack([*_logs(found.hidden, -1, 0), *_logs(found.adjoint, 0, -1)]))
        return torch.stack(columns, dim=-1).transpose(0, 1)

    logs = lab.on_paths(seen, depths[-1], see, lab.starts(seen.width), lab.starts(seen.width, "top"))
    forth, growth, back, gradient = logs.unbind(1)
    return DepthRatios({"states": forth, "gradients": back}, {"states": growth, "gradients": gradient})


def _logs(states: States, last: int, first: int) -> tuple[Tensor, Tensor]:
    """Log of ‖x_last − x_first‖² / ‖x_first‖² and of ‖x_last‖² / ‖x_first‖², (sample,)."""
    start, stop = states.natural(first), states.natural(last)
    size = start.square().sum((1, 2)).log()
    return (stop - start).square().sum((1, 2)).log() - size, stop.square().sum((1, 2)).log() - size


def one_matrix(lab: Lab, phi: Activation, width: int) -> Iterator[tuple[str, Model]]:
    """The weights of each law, or the model that was given; all at critical scaling."""
    for name, model in lab.cases({str(law): Model(SingleLayer(phi), law, width) for law in LAWS}):
        law = model.law
        rough = law.noise == "fractional" and law.exponent < 0.5
        unstable = law.noise == "white" and not law.gaussian
        if model.critical_beta is None or rough or unstable or not isinstance(model.block, SingleLayer):
            raise AssumptionNotMet(
                f"one matrix, skip 1 and Gaussian weights with H ≥ 1/2 are asked for, not {model}"
            )
        yield name, replace(model, beta=None)


@theorem(
    "identity",
    words="Above the critical scaling networks tend to the identity: states and gradients move by "
    "L^{−(β − β*)}.",
    statement=r"\beta > \beta^*: \quad \|h_L - h_0\| / \|h_0\| \sim \|p_0 - p_L\| / \|p_L\| \sim "
    r"L^{-(\beta - \beta^*)}",
    assumptions=ONE_MATRIX,
    source=SOURCE,
    claims=6,
    budgets={"quick": 100, "full": 1000},
    controls=BETA_OFF,
    own_models=True,
)
def identity(lab: Lab, *, width: int = 10, shift: float = 0.5) -> Iterator[Claim]:
    """At these depths the rate is within 0.02 of its limit."""
    depths = (16, 64, 256)
    for name, case in one_matrix(lab, TANH, width):
        for what, logs in profile(lab.away(shift), case, depths).change.items():
            rate = lab.order(depths, logs.exp())
            yield lab.equal(f"rate of the change of {what}, {name}", rate, shift, within=0.05)


@theorem(
    "stability",
    words="At the critical scaling deep networks neither stay at their input nor explode: the change "
    "of states and gradients has a limit in law that is not degenerate.",
    statement=r"\beta = \beta^*: \quad \log (\|h_L - h_0\|/\|h_0\|) \text{ converges in law to a "
    r"non-degenerate limit as } L \to \infty",
    assumptions=ONE_MATRIX,
    source=SOURCE,
    claims=12,
    budgets={"quick": 600, "full": 1000},
    controls=BETA_OFF,
    own_models=True,
)
def stability(lab: Lab, *, width: int = 10) -> Iterator[Claim]:
    """From 64 layers to 256 the logarithms would move by 0.4 if β were off by 0.15.

    A law is degenerate if its quantiles agree. Normal variables of variance 0.03 have deciles 0.44 apart.
    """
    for name, case in one_matrix(lab, TANH, width):
        found = profile(lab, case, (64, 256))
        for what, logs in found.change.items():
            whose = f"log of the square displacement, 64 layers to 256, {what}, {name}"
            yield lab.equal(whose, logs[:, 1] - logs[:, 0], 0.0, within=0.1)
        for what, logs in found.growth.items():
            apart = lab.interdecile_range(logs[:, 1])
            whose = f"interdecile range of the logarithm of the growth, {what}, {name}"
            yield lab.at_least(whose, apart, 0.44)


@theorem(
    "explosion",
    words="Below the critical scaling states and gradients grow without bound as networks get deeper.",
    statement=r"\beta < \beta^*: \quad \|h_L\| / \|h_0\| \to \infty, \quad \|p_0\| / \|p_L\| \to "
    r"\infty \text{ in probability}",
    assumptions=(*ONE_MATRIX, "width of 10 or more: narrow networks may collapse instead"),
    source=SOURCE,
    claims=6,
    budgets={"quick": 300, "full": 1000},
    controls={"the critical beta, 0.15 above": {"shift": 0.0}},
    own_models=True,
)
def explosion(lab: Lab, *, width: int = 10, shift: float = -0.15) -> Iterator[Claim]:
    """From 64 layers to 256, log ‖h_L‖² grows by 0.5 to 1.5 at β* − 0.15, and by 0.02 or less at β*."""
    for name, case in one_matrix(lab, LINEAR, width):
        for what, logs in profile(lab.away(shift), case, (64, 256)).growth.items():
            more = logs[:, 1] - logs[:, 0]
            yield lab.at_least(f"log of the square norm, 64 layers to 256, {what}, {name}", more, 0.3)


def exact_log_factor(width: int, square: float) -> float:
    """E log ‖e + √square z‖², |e| = 1, z ~ N(0, I / width): noncentral χ², by its Poisson sum."""
    half = 0.5 * width / square
    count = np.arange(max(0, int(half - 12 * math.sqrt(half) - 40)), int(half + 12 * math.sqrt(half) + 40))
    weights = scipy.stats.poisson.pmf(count, half)
    return math.log(2 * square / width) + float((weights * scipy.special.digamma(width / 2 + count)).sum())


@theorem(
    "explosion-needs-width",
    words="The mean of log ‖h_L‖² of linear networks with white Gaussian weights is known exactly: "
    "below β = 1/2 it explodes from width 3 on, stays at width 2, and collapses at width 1.",
    statement=r"\mathbb{E} \log (\|h_L\|^2/\|h_0\|^2) = L\, \mathbb{E} \log \|e + \alpha_L z\|^2, \quad "
    r"z \sim N(0, I/d) \qquad (\approx L \alpha_L^2 (1 - 2/d))",
    assumptions=("linear res-1", "white Gaussian weights"),
    source="derived here, after Marion et al. (2025)",
    claims=4,
    budgets={"quick": 10_000, "full": 60_000},
    controls={"beta off by 0.05": {"beta": 0.2}, **VARIANCE_OFF},
)
def explosion_needs_width(lab: Lab, *, depth: int = 64) -> Iterator[Claim]:
    """In units of L α², so that the claim is about 1 − 2/d; 5 % of variance are 5 % of that."""
    for width, tolerance in ((1, 0.06), (2, 0.03), (3, 0.03), (40, 0.02)):
        case = Model(SingleLayer(LINEAR), WhiteNoise(), width, 0.25)
        unit = depth * case.alpha(depth) ** 2
        exact = depth * exact_log_factor(width, case.alpha(depth) ** 2) / unit
        logs = lab.log_ratios(case, depth=depth, samples=lab.samples * (1 if width == 40 else 4))[1]
        name = f"mean of log ‖h_L‖²/‖h_0‖² / (L α²), width {width}"
        yield lab.equal(name, lab.mean(logs, unit=unit), exact, within=tolerance)


@theorem(
    "probability-bound",
    words="If L α² ≤ 1, the square displacement exceeds 2 L α² / δ with probability δ at most.",
    statement=r"L \alpha_L^2 \le 1 \implies P(\|h_L - h_0\|^2 > 2 L \alpha_L^2 \|h_0\|^2 / \delta) \le "
    r"\delta",
    assumptions=("white weights", "E ‖g(h)‖² ≤ ‖h‖² for all h", "L α² ≤ 1"),
    source=SOURCE,
    claims=8,
    budgets={"quick": 1000, "full": 5000},
    controls={"beta off by 0.15": {"beta": 0.35}},
    own_models=True,
)
def probability_bound(lab: Lab, *, width: int = 40, depth: int = 256) -> Iterator[Claim]:
    """Markov's inequality is far from sharp, and so is the bound."""
    blocks = ("linear res-1", "res-3")
    two = {name: Model(HOMOGENEOUS[name], WhiteNoise(), width, 0.5) for name in blocks}
    for name, case in lab.cases(two):
        strength = math.nan if case.block.strength is None else case.block.strength
        square = (case.alpha(depth) * strength) ** 2 * depth
        if case.law.noise != "white" or not square <= 1 + 1e-12:
            raise AssumptionNotMet(f"weights must be white and L α² at most 1, and {case} has {square:.3g}")
        found = lab.log_ratios(case, depth=depth)[0]
        for delta in (0.5, 0.2, 0.1, 0.05):
            broken = lab.share(found > math.log(2 * square / delta))
            yield lab.at_most(f"share of square displacements above 2 L α² / {delta}, {name}", broken, delta)
