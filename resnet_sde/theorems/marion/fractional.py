"""Fractional weights of one matrix: Young limits, contraction for H < 1/2, the ends of the scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from resnet_sde.activations import LINEAR, TANH
from resnet_sde.blocks import SingleLayer
from resnet_sde.claims import Claim, equal
from resnet_sde.laws import ConstantNoise, FractionalNoise, WhiteNoise
from resnet_sde.limits.exact import exact_end
from resnet_sde.model import Model, WeightPaths
from resnet_sde.paths import ConstantPath
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_OFF, Lab, ask, end, limit_of, square
from resnet_sde.theorems.marion.paper import SOURCE
from resnet_sde.theorems.marion.regimes import exact_log_factor

HURSTS = (0.6, 0.75, 0.9)


@theorem(
    "young-limit",
    words="With one matrix of fractional weights, H > 1/2, and β = H, networks converge to a Young "
    "equation on their own weights; at width 1, where it has a closed form, at the rate L^{−(2H − 1)}.",
    statement=r"dH_t = d^{-1/2}\, dB^H_t\, \varphi(H_t), \qquad \|h_L - H_1\| \sim L^{-(2H - 1)} \; (d = 1)",
    assumptions=("one weight matrix", "fractional weights, H > 1/2", "φ Lipschitz", "β = H"),
    source="Marion et al. (2025) for the scaling; equation and rate derived here",
    claims=3,
    budgets={"quick": 800, "full": 5000},
    controls={
        "beta off by 0.15": {"beta_off": -0.15},
        "beta off by 0.15 the other way": {"beta_off": 0.15},
        "noise of its own for every depth": {"resample": True},
    },
    own_models=True,
)
def young_limit(lab: Lab, *, resample: bool = False) -> Iterator[Claim]:
    """Against asinh(sinh(h) e^X), with X the end of the path."""
    depths = (64, 256, 1024)
    usual = {f"H = {hurst}": Model(SingleLayer(TANH), FractionalNoise(hurst), 1) for hurst in HURSTS}
    for _, case in lab.cases(usual):
        target, hurst = limit_of(case, "young-ode").model, case.law.exponent
        rate = lab.order(depths, _young_errors(lab, case, target, depths, resample))
        name = f"strong order, {target.block.activation}, H = {hurst}"
        yield lab.equal(name, rate, 2 * hurst - 1, within=0.05)


def _young_errors(lab: Lab, case: Model, target: Model, depths: Sequence[int], resample: bool) -> Tensor:
    """‖h_L − H_1‖²; (sample, depth)."""
    seen = lab.with_error(case)

    def see(path: WeightPaths, h: Tensor) -> Tensor:
        exact, errors = ask(exact_end, target, h, path, depths[-1]), []
        for depth in depths:
            if resample:
                path = target.draw(depth, samples=len(h), seed=lab.subseed(depth))
            errors.append(square(end(seen, h, path, depth) - exact))
        return torch.stack(errors, dim=1)

    return lab.on_paths(target, depths[-1], see, torch.ones(lab.samples, 1, target.width))


@theorem(
    "young-drift",
    words="A linear network of width 1 falls short of its Young equation by a factor whose logarithm "
    "has the mean −L E log |1 + L^{−H} z|, exactly, for every H: the same as with independent weights.",
    statement=r"\mathbb{E}\left[\log|h_L/h_0| - X_1\right] = L\, \mathbb{E}\log|1 + L^{-H} z| \approx "
    r"-\tfrac12 L^{1-2H}",
    assumptions=("linear res-1 of width 1", "fractional weights, any H", "β = H"),
    source="derived here",
    claims=4,
    budgets={"quick": 40_000, "full": 150_000},
    controls={"beta off by 0.05": {"beta_off": -0.05}, **VARIANCE_OFF},
)
def young_drift(lab: Lab, *, depth: int = 64) -> Iterator[Claim]:
    """X, of mean zero, takes out most of what is random."""
    for hurst in (0.3, *HURSTS):
        case = Model(SingleLayer(LINEAR), FractionalNoise(hurst), 1)
        unit = 0.5 * depth * exact_log_factor(1, case.alpha(depth) ** 2)
        see = partial(_shortfall, lab.with_error(case).alpha(depth), depth)
        found = lab.on_paths(case, depth, see, torch.ones(lab.samples))
        yield lab.ratio(f"mean shortfall / exact, H = {hurst}", found, unit, within=0.025)


def _shortfall(alpha: float, depth: int, path: WeightPaths, _: Tensor) -> Tensor:
    """Log |h_L/h_0| − X_1; (sample,)."""
    weights = alpha * path.matrices["outer"].weights(depth).flatten(1)
    return (1 + weights).abs().log().sum(0) - weights.sum(0)


@theorem(
    "rough-contraction",
    words="With one matrix of fractional weights, H < 1/2, and β = 1/2, what is random dies out and a "
    "contraction stays: linear networks tend to e^{−1/(2d)} times their input.",
    statement=r"H < \tfrac12,\; \beta = \tfrac12: \quad h_L \to e^{-1/(2d)}\, h_0",
    assumptions=("linear res-1", "fractional weights, H < 1/2", "β = 1/2"),
    source="derived here",
    claims=4,
    budgets={"quick": 500, "full": 4000},
    controls={"independent weights": {"hurst": 0.5}, "the factor 1/2 is missing": {"factor": 1.0}},
)
def rough_contraction(
    lab: Lab, *, hurst: float = 0.1, factor: float = 0.5, depth: int = 512
) -> Iterator[Claim]:
    """Within 0.01 of the limit at 512 layers; the spread falls like L^{H − 1/2}."""
    for width in (1, 2, 3):
        case = Model(SingleLayer(LINEAR), FractionalNoise(hurst), width, 0.5)
        along = lab.on_paths(case, depth, partial(_along, case, depth), torch.ones(lab.samples, 1, width))
        kept = math.exp(-factor / width)
        yield lab.equal(f"E⟨h_L, h_0⟩ / ‖h_0‖², width {width}", along, kept, within=0.025)
        if width == 1:
            yield lab.at_most("variance of h_L / h_0, width 1", lab.spread(along), 0.02)


def _along(model: Model, depth: int, path: WeightPaths, h: Tensor) -> Tensor:
    """⟨h_L, h_0⟩ / ‖h_0‖² from h_0 = (1, …, 1), (sample,)."""
    return (end(model, h, path, depth) * h).sum((1, 2)) / model.width


@theorem(
    "interpolation",
    words="Fractional weights interpolate between independent and constant ones: at H = 1/2 they are "
    "white, and as H → 1 networks tend to those of constant weights like √(1 − H).",
    statement=r"\gamma_{1/2}(n) = 1_{n=0}, \qquad \gamma_H(n) \to 1 \text{ and } \|h_L - "
    r"h_L^{\mathrm{const}}\| = O(\sqrt{1-H}) \text{ as } H \to 1",
    assumptions=("fractional weights",),
    source=f"after {SOURCE}",
    claims=7,
    budgets={"quick": 6000, "full": 24_000},
    controls={"H off by 0.05": {"half": 0.55}, "constant weights of its own": {"resample": True}},
)
def interpolation(lab: Lab, *, half: float = 0.5, resample: bool = False) -> Iterator[Claim]:
    """Exact covariances; laws of states and gradients at H = 1/2; distances on one path as H → 1."""
    depth, width = 16, 5
    white = float((FractionalNoise(half).covariance(256) - WhiteNoise().covariance(256)).abs().max())
    yield equal("largest entry of γ_½ − 1", white, 0.0, 1e-12)
    ones = float((FractionalNoise(1 - 1e-6).covariance(256) - ConstantNoise().covariance(256)).abs().max())
    yield equal("largest entry of γ_H − 1 at 1 − H = 1e-6", ones, 0.0, 2e-5)
    both = [Model(SingleLayer(TANH), law, width, 0.25) for law in (FractionalNoise(half), WhiteNoise())]
    for what, ratios in (("states", lab.log_ratios), ("gradients", lab.gradient_log_ratios)):
        first, second = (ratios(model, depth=depth) for model in both)
        for name, a, b in zip(("change", "growth"), first, second, strict=True):
            where = f"distance of the laws of the {name} of {what} at H = 1/2"
            yield lab.at_most(where, lab.distance(a, b), 0.0, within=0.1)
    sizes = (100, 400, 1600)
    errors = torch.stack([_from_constant(lab, 1 - 1 / n, depth, resample) for n in sizes], dim=1)
    rate = lab.order(sizes, errors)
    yield lab.equal("rate in 1/(1 − H) of the distance to constant weights", rate, 0.5, within=0.1)


def _from_constant(lab: Lab, hurst: float, depth: int, resample: bool) -> Tensor:
    """‖h_L − h_L'‖² of networks on a fractional path and on its mean; (sample,)."""
    model = Model(SingleLayer(TANH), FractionalNoise(hurst), 4, 1.0)

    def see(path: WeightPaths, h: Tensor) -> Tensor:
        other = model.draw(depth, samples=len(h), seed=lab.subseed("other")) if resample else path
        mean = WeightPaths({"outer": ConstantPath(other.matrices["outer"].weights(depth).mean(0))})
        return square(end(model, h, path, depth) - end(model, h, mean, depth))

    return lab.again(hurst).on_paths(model, depth, see, torch.ones(lab.samples // 4, 1, 4))


@theorem(
    "one-path-many-depths",
    words="The weights of a shallower network are those of a deeper one on the same path, added up and "
    "rescaled by m^{−H}: they have exactly the law of a network of that depth.",
    statement=r"V^{(L)}_k = m^{-H} \sum_{j=1}^m V^{(mL)}_{(k-1)m + j} \stackrel{d}{=} \text{fractional "
    r"noise of length } L",
    assumptions=("fractional or white Gaussian weights",),
    source="self-similarity of fractional Brownian motion",
    claims=4,
    budgets={"quick": {"depth": 32}, "full": {"depth": 128}},
    controls={"H off by 0.01 in the rescaling": {"off": 0.01}},
)
def one_path_many_depths(lab: Lab, *, depth: int, off: float = 0.0) -> Iterator[Claim]:
    """Nothing is random in the claim: the covariance of the sums, against that of the law."""
    steps = 8
    for hurst in (0.1, 0.5, 0.75, 0.97):
        fine = FractionalNoise(hurst).covariance(depth * steps)
        blocks = fine.unflatten(0, (depth, steps)).unflatten(2, (depth, steps)).sum((1, 3))
        coarse = blocks * float(steps) ** (-2 * (hurst + off))
        gap = float((coarse - FractionalNoise(hurst).covariance(depth)).abs().max())
        yield equal(f"largest error of the covariance, H = {hurst}", gap, 0.0, 1e-12)
