r"""Fractional weights of two matrices: which of their sums survives, and the equation that it drives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from resnet_sde.activations import ERF, LINEAR, RELU, TANH, Activation
from resnet_sde.blocks import SingleLayer, TwoLayer
from resnet_sde.claims import Claim, equal
from resnet_sde.estimate import Estimate
from resnet_sde.fractional import autocovariance
from resnet_sde.laws import FractionalNoise
from resnet_sde.limits import ItoSDEInLaw, YoungODE
from resnet_sde.limits import limit as find_limit
from resnet_sde.model import Model, WeightPaths
from resnet_sde.paths import GridPath
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import Lab, end, square
from resnet_sde.theorems.marion.regimes import profile


def growth_exponent(hurst: float, phi: Activation, kind: str, depth: int) -> float:
    """Half the local growth exponent of Var Σ V_k g(h, W_k) in the number of terms, for ‖h‖² = d.

    kind: "one" matrix, "two" matrices, or the "gradient" of two.
    """
    few, many = (_sum_variance(hurst, phi, kind, count) for count in (depth, 4 * depth))
    return 0.5 * math.log(many / few) / math.log(4)


def _sum_variance(hurst: float, phi: Activation, kind: str, count: int) -> float:
    gamma = autocovariance(hurst, count)
    q = torch.ones_like(gamma)
    factor = q
    if kind == "two":
        factor = phi.dual(q, q, gap=1 - gamma)
    elif kind == "gradient":
        factor = gamma * phi.dual_prime(q, q, gap=1 - gamma)
    lags = 2.0 * (count - torch.arange(count, dtype=torch.float64))
    lags[0] = count
    return float((lags * gamma * factor).sum())


@theorem(
    "critical-scaling",
    words="The critical scaling of fractional weights depends on the block: H for one matrix; with two "
    "it is 1/2 for H < 1/2, and for H > 1/2 it is H if the activation has a mean, else max(1/2, 2H − "
    "1), as for gradients.",
    statement=r"\beta^* = \lim \tfrac12 \log \mathrm{Var}\left(\textstyle\sum_{k \le L} V_k\, g(h, "
    r"W_k)\right) / \log L",
    assumptions=("fractional weights", "first order in the branch: for one matrix H ≥ 1/4"),
    source="Marion et al. (2025), measured there; derived here from Hermite expansions",
    claims=10,
    budgets={"quick": {"depth": 20_000}, "full": {"depth": 100_000}},
    controls={"H off by 0.05": {"off": 0.05}},
)
def critical_scaling(lab: Lab, *, depth: int, off: float = 0.0) -> Iterator[Claim]:
    """Exact double sums; where two powers mix, local exponents are up to 0.02 off at these depths."""
    one, relu, odd = SingleLayer(RELU), TwoLayer(RELU), TwoLayer(ERF)
    for block, hursts in ((one, (0.3, 0.5, 0.8)), (relu, (0.2, 0.9)), (odd, (0.3, 0.6, 0.9))):
        kind = "one" if block is one else "two"
        for hurst in hursts:
            beta = block.critical_beta(FractionalNoise(hurst))
            found = growth_exponent(hurst + off, block.activation, kind, depth)
            name = f"{block.activation}, {kind} matri{'x' if kind == 'one' else 'ces'}, H = {hurst}"
            yield equal(f"exponent of the sums, {name}", found, float(beta or 0.0), 0.03)
    for hurst in (0.6, 0.9):
        found = growth_exponent(hurst + off, RELU, "gradient", depth)
        yield equal(f"exponent of the gradient, ReLU, H = {hurst}", found, max(0.5, 2 * hurst - 1), 0.03)


@theorem(
    "rough-boundary",
    words="Rough weights, H < 1/2, act through two matrices like independent ones and through one like "
    "what they are: at H = 0.2 and β = 0.4 networks of two matrices grow with depth, and those of one "
    "come to rest.",
    statement=r"H < \beta < \tfrac12: \quad \|h_L - h_0\| \text{ grows with } L \text{ for } V "
    r"\varphi(W h), \text{ and falls for } V \varphi(h)",
    assumptions=("ReLU", "fractional weights, H < β < 1/2"),
    source="derived and measured here, after Marion et al. (2025)",
    claims=4,
    budgets={"quick": 160, "full": 600},
    controls={"independent weights": {"hurst": 0.5}},
)
def rough_boundary(lab: Lab, *, hurst: float = 0.2, beta: float = 0.4, width: int = 20) -> Iterator[Claim]:
    """From 32 layers to 256, log₁₀ of the displacement moves by 0.13 and by −0.20."""
    for name, block, claim in (
        ("two matrices", TwoLayer(RELU), lab.at_least),
        ("one matrix", SingleLayer(RELU), lab.at_most),
    ):
        found = profile(lab, Model(block, FractionalNoise(hurst), width, beta), (32, 256))
        for what, logs in found.change.items():
            moved = lab.median(logs[:, 1] - logs[:, 0], unit=2 * math.log(10))
            yield claim(f"median log₁₀ of the change of {what} from 32 layers to 256, {name}", moved, 0.0)


@theorem(
    "young-limit-two-matrices",
    words="For H > 1/2 two matrices have a limit on the outer weights themselves: a Young equation driven by "
    "the sums of V where φ has a mean, and by the sums of the products V W where φ is odd and H > 3/4.",
    statement=r"dH_t = \mathbb{E}\varphi(\sqrt{q_t} z)\, dZ_t, \; Z = \lim L^{-H} \textstyle\sum V_k "
    r"1; \qquad dH_t = \mathbb{E}\varphi'(\sqrt{q_t} z)\, dA_t H_t, \; A = \lim L^{1 - 2H} "
    r"\textstyle\sum V_k W_k",
    assumptions=("two weight matrices", "fractional weights, H > 1/2; H > 3/4 for odd φ", "β = β*"),
    source="derived here; after Benning, Nourdin & Peccati, arXiv 2609.03589",
    claims=4,
    budgets={"quick": 250, "full": 600},
    controls={"outer weights of its own": {"resample": True}, "the slope is 1": {"slope": True}},
)
def young_limit_two_matrices(
    lab: Lab, *, width: int = 4, resample: bool = False, slope: bool = False
) -> Iterator[Claim]:
    """Distances to the equation fall by 64^{−order} from 32 layers to 2048; slopes in between scatter."""
    for phi, hurst in ((RELU, 0.8), (TANH, 0.9)):
        case = Model(TwoLayer(phi), FractionalNoise(hurst), width)
        equation = find_limit(case)
        assert isinstance(equation, YoungODE)
        rate = equation.strong_order
        if slope:  # of a linear block the leading term is all
            equation = YoungODE(replace(case, block=TwoLayer(LINEAR)))
        first, last = _distances(lab, case, equation, resample)
        ratio = _typical_ratio(lab.mean((last.log() - first.log()) / 2))
        name = f"error at 2048 layers / error at 32, {phi}, H = {hurst}"
        yield lab.equal(name, ratio, 64**-rate, within=0.15)
        name = f"share of square errors above 1/2 at 2048 layers, {phi}, H = {hurst}"
        yield lab.equal(name, lab.share(last > 0.5), 0.0, within=0.12)


def _distances(lab: Lab, case: Model, equation: YoungODE, resample: bool) -> tuple[Tensor, ...]:
    """‖network − limit‖², both with L layers on one path, at L = 32 and 2048; two of shape (sample,)."""

    def see(path: WeightPaths, h: Tensor, index: Tensor) -> Tensor:
        other, found = path, []
        if resample:
            networks = slice(int(index[0]), int(index[-1]) + 1)
            other = case.draw(2048, samples=len(h), seed=lab.subseed("other", networks))
        for depth in (32, 2048):
            solution = equation.solve(h, other, steps=depth, method="euler")
            found.append(square(end(case, h, path, depth) - solution))
        return torch.stack(found, dim=1)

    h = torch.ones(lab.samples, 1, case.width)
    return lab.on_paths(case, 2048, see, h, torch.arange(len(h))).unbind(1)


def _typical_ratio(log: Estimate) -> Estimate:
    """The geometric mean of a ratio: a mean square error is that of the few largest alone."""
    value, low, high = (math.exp(end) for end in (log.value, log.low, log.high))
    return Estimate(value, low, high, log.reason)


@theorem(
    "rough-drift",
    words="For H < 1/2 and β = 1/2, networks of two ReLU matrices tend in law to an Itô equation with "
    "a smaller diffusion than that of independent weights, and with a drift of size 1/d.",
    statement=r"dH_t = \sqrt{c_H/d}\,\|H_t\|\,dB_t + \tfrac{c_H - 1/2}{2d} H_t\,dt, \qquad c_H = "
    r"\sum_n \gamma(n)\, \mathbb{E}\,\varphi(u_0)\varphi(u_n)",
    assumptions=("two weight matrices with ReLU", "fractional weights, H < 1/2", "β = 1/2"),
    source="derived here",
    claims=2,
    budgets={"quick": {"samples": 20_000, "depth": 64}, "full": {"samples": 60_000, "depth": 128}},
    controls={"without the drift": {"drift": 0.0}, "independent weights": {"hurst": 0.5}},
)
def rough_drift(
    lab: Lab, *, depth: int, hurst: float = 0.35, drift: float = 1.0, width: int = 2
) -> Iterator[Claim]:
    """Mean and variance of log ‖h_L‖²; width 2, where the diffusion leaves the mean alone."""
    case = Model(TwoLayer(RELU), FractionalNoise(0.35), width)
    equation = ItoSDEInLaw(case, depth)
    h = torch.ones(1, 1, width)
    c, b = float(equation.covariation(h)), float(equation.drift(h)[0, 0, 0])
    mean = c * (1 - 2 / width) + 2 * b * drift
    logs = _pairs(lab, replace(case, law=FractionalNoise(hurst)), depth).square().mean(-1).log()
    yield lab.equal("mean of log ‖h_L‖² / ‖h_0‖²", logs.mean(0), mean, within=0.02)
    size = lab.spread(logs[0], unit=4 * c / width)
    yield lab.equal("variance of log ‖h_L‖² / (4 c_H/d)", size, 1.0, within=0.12)


def _pairs(lab: Lab, case: Model, depth: int) -> Tensor:
    """Ends of networks from h_0 = (1, …, 1) on paths with V and with −V, (2, sample, width)."""

    def see(path: WeightPaths, h: Tensor) -> Tensor:
        return torch.stack([end(case, h, view, depth)[:, 0] for view in (path, _mirrored(path))], dim=1)

    return lab.on_paths(case, depth, see, torch.ones(lab.samples, 1, case.width)).transpose(0, 1)


def _mirrored(path: WeightPaths) -> WeightPaths:
    """The same path with −V in place of V, of the same law: averages over both lose their odd parts."""
    outer = path.matrices["outer"]
    assert isinstance(outer, GridPath)
    return WeightPaths({**path.matrices, "outer": replace(outer, fine=-outer.fine)})


@theorem(
    "odd-drift",
    words="For 1/2 < H < 3/4 and β = 1/2, networks of two matrices with an odd activation tend in law to an "
    "Itô equation with a larger diffusion than that of independent weights, and with a drift of size 1/d.",
    statement=r"dH_t = \left(\sum_n \gamma(n)\, \mathbb{E}\varphi(u_0)\varphi(u_n)\right)^{1/2} dB_t + "
    r"b(H_t)\, dt",
    assumptions=("two weight matrices", "φ odd", "fractional weights, 1/2 < H < 3/4", "β = 1/2"),
    source="derived here",
    claims=2,
    budgets={"quick": {"samples": 16_000, "depth": 64}, "full": {"samples": 50_000, "depth": 128}},
    controls={"without the drift": {"drift": 0.0}, "independent weights": {"hurst": 0.5}},
)
def odd_drift(lab: Lab, *, depth: int, hurst: float = 0.7, drift: float = 1.0) -> Iterator[Claim]:
    """Tanh at width 1, where the drift is largest, and the equation with the sums of this depth.

    Without the drift the mean of h stays at 1: on one noise, all that is random is what the drift adds.
    """
    case = Model(TwoLayer(TANH), FractionalNoise(0.7), 1)
    h = torch.ones(2 * lab.samples, 1, 1)
    solution, still = (
        equation(case, depth).solve(h, steps=depth, seed=lab.seed).flatten()
        for equation in (ItoSDEInLaw, _Driftless)
    )
    added = drift * (solution - still)
    network = _pairs(lab, replace(case, law=FractionalNoise(hurst)), depth)[..., 0]
    yield lab.equal("difference of E h", lab.shift(network.mean(0), 1 + added), 0.0, within=0.015)
    squares = lab.shift(network.square().mean(0), (still + added).square())
    yield lab.equal("difference of E h²", squares, 0.0, within=0.12)


class _Driftless(ItoSDEInLaw):
    """The equation that forgets its drift."""

    def drift(self, h: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(h)
