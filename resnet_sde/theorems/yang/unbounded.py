r"""Activations that do not saturate: ReLU, powers of it, and the mean that builds up in reduced networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from resnet_sde.activations import RELU, AlphaReLU, LeakyReLU
from resnet_sde.blocks import Reduced, TwoLayer
from resnet_sde.claims import Claim, equal
from resnet_sde.meanfield import gaps, lengths
from resnet_sde.meanfield.asymptotics import HomogeneousAsymptotics, MeanModeAsymptotics, PowerAsymptotics
from resnet_sde.model import Model
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_ERRORS, Lab, gap
from resnet_sde.theorems.yang.networks import FULL_POWER, last_layer, laws_of, residual
from resnet_sde.theorems.yang.paper import SOURCE

RECTIFIED = {
    "variances 1, 0, 1, 0": TwoLayer(RELU, 1.0, 0.0, 1.0, 0.0),
    "variances 2, 1, 1, 1": TwoLayer(RELU, 2.0, 1.0, 1.0, 1.0),
}


@theorem(
    "relu-cosines",
    words="In full ReLU networks all inputs become parallel, 1 − e being inverse to the square of l + "
    "3/2 log l + const.",
    statement=r"(1 - e^l)^{-1/2} = \tfrac{\rho K}{2}(l + \tfrac32 \log l + C + o(1)), \quad \rho = "
    r"\frac{B}{1 + B}, \quad K = \frac{2\sqrt2}{3\pi}",
    assumptions=("x ← x + V φ(W x + b) + a", "white Gaussian weights and biases", "φ = ReLU", "width → ∞"),
    source=f"{SOURCE} (power of l); further terms derived here",
    claims=3,
    budgets={"quick": {"samples": 500, "depth": 1000}, "full": {"samples": 1200, "depth": 2000}},
    controls={
        "variance 5 % too large": {"variance": 1.05},
        "without the term in log l": {"with_log": False, "samples": 50},
        "leaky ReLU of slope 0.1": {"slope": 0.1},
    },
)
def relu_cosines(lab: Lab, *, depth: int, with_log: bool = True, slope: float = 0.0) -> Iterator[Claim]:
    """The slope over the last half of the recursion, and networks of width 400 after 20 layers."""

    def seen(block: TwoLayer, width: int) -> Model:
        changed = replace(block, activation=LeakyReLU(slope)) if slope else block
        return residual(changed, width)

    at = torch.tensor([float(depth // 2), float(depth)])
    clock = at + (1.5 * at.log() if with_log else 0.0)
    for name, block in RECTIFIED.items():
        law = laws_of(residual(block), HomogeneousAsymptotics)
        root = gaps(lab.with_error(seen(block, 1)), 1.0, 0.5, depth=depth)[at.long()].rsqrt()
        growth = float(root.diff() / clock.diff()) * 2 / (law.rho * law.curvature)
        yield equal(f"slope of (1 − e)^(−1/2) / (ρK/2), {name}", growth, 1.0, 0.001)
    block = RECTIFIED["variances 1, 0, 1, 0"]
    theory = float(gaps(residual(block), 1.0, 0.5, depth=20)[-1])
    apart = gap(lab.kernels(seen(block, 400), (1.0, 1.0, 0.5), depth=20))
    yield lab.ratio("(1 − e) / recursion at layer 20, networks", apart, theory, within=0.08)


@theorem(
    "power-lengths-and-gradients",
    words="Where φ is a power α < 1 of ReLU, lengths and gradients of full residual networks are powers "
    "of depth, with a logarithm beside it in lengths.",
    statement=r"p^l = [\kappa(l - \tfrac{\alpha}{2(1-\alpha)} \log l + C)]^{1/(1-\alpha)}(1 + o(1)), "
    r"\quad \chi^m/\chi^l \sim (l/m)^R, \quad R = \frac{\alpha^2}{(1-\alpha)(2\alpha-1)}",
    assumptions=("x ← x + V φ(W x + b) + a", "white Gaussian weights and biases", "1/2 < α < 1", "width → ∞"),
    source=f"{SOURCE} (exponents); the term in log l is derived here",
    claims=4,
    budgets={"quick": {"samples": 600, "depth": 10_000}, "full": {"samples": 2000, "depth": 40_000}},
    controls={
        "variance 5 % too large": {"variance": 1.05},
        "without the term in log l": {"with_log": False, "samples": 50},
        "α off by 0.01": {"shift": 0.01},
    },
)
def power_lengths_and_gradients(
    lab: Lab, *, depth: int, with_log: bool = True, shift: float = 0.0
) -> Iterator[Claim]:
    """α = 0.75. What is constant in the recursions stops changing; networks of width 400 follow them."""
    law = laws_of(residual(FULL_POWER), PowerAsymptotics)
    block = TwoLayer(AlphaReLU(law.alpha + shift), *FULL_POWER.variances)
    found = lengths(lab.with_error(residual(block)), depth=depth)
    at = torch.tensor([1000.0, float(depth)])
    logs = law.alpha / (2 * (1 - law.alpha)) * at.log() if with_log else torch.zeros(2)
    constant = (found.log_q[at.long()] * (1 - law.alpha)).exp() / law.kappa - at + logs
    name = f"change of C from layer 1000 to {depth}"
    yield equal(name, constant.diff(), 0.0, 0.05)
    growth = found.log_gradient_growth[at.long()] - law.log_gradient_growth(at)
    name = f"change of log χ^0/χ^l − R log l from layer 1000 to {depth}"
    yield equal(name, growth.diff(), 0.0, 0.05)
    theory = lengths(residual(FULL_POWER), depth=24)
    seen = last_layer(lab, residual(block, 400), None, depth=24)
    yield lab.equal("log p^24 − recursion, networks", seen.length.log() - theory.log_q[-1], 0.0, within=0.1)
    of_gradient = lab.mean(seen.log_growth - theory.log_gradient_growth[-1])
    yield lab.equal("log χ^0/χ^24 − recursion, networks", of_gradient, 0.0, within=0.12)


@theorem(
    "power-cosines",
    words="For a power α < 1 of ReLU the cosine of two inputs tends to the fixed point e* < 1 of its "
    "kernel J, at the rate 1 − J'(e*) in log p, which is a power of l below 1/4.",
    statement=r"\sigma_a = \sigma_b = 0: \; e^l - e^{l-1} = \frac{p^l - p^{l-1}}{p^l} (J(e^{l-1}) - "
    r"e^{l-1}); \qquad |e - e^*| \sim e^{-(1 - J'(e^*)) \log p} = \Theta(l^{-\mu})",
    assumptions=("x ← x + V φ(W x + b) + a", "white Gaussian weights and biases", "1/2 < α < 1", "width → ∞"),
    source=f"{SOURCE} (e*); identity and rate derived here",
    claims=3,
    budgets={"quick": {"folds": 8.0, "samples": 4000}, "full": {"folds": 12.0, "samples": 15_000}},
    controls={
        "α off by 0.01": {"shift": 0.01},
        "p^{l−1} in place of p^l": {"late": 0},
        "the kernel of ReLU": {"alpha": 1.0},
    },
)
def power_cosines(
    lab: Lab, *, folds: float, shift: float = 0.0, late: int = 1, alpha: float = 0.75
) -> Iterator[Claim]:
    """α = 0.75: the recursion over 100 layers, the flow in log p, and one layer of networks of width 400."""
    phi, seen = AlphaReLU(alpha), residual(TwoLayer(AlphaReLU(0.75 + shift)), 400)
    law = laws_of(residual(TwoLayer(AlphaReLU(0.75))), PowerAsymptotics)
    gap, p = gaps(seen, 1.0, 0.5, depth=100), lengths(seen, depth=100).q
    step = p.diff() / p[late : 100 + late] * -_pull(phi, gap[:-1])
    off = float((gap.diff() / step - 1).abs().max())
    yield equal("largest relative error of the identity, recursion", off, 0.0, 1e-8)
    rate = 1 - law.slope
    times = np.array([0.8, 1.0]) * folds / rate
    over = _flow(AlphaReLU(0.75 + shift), 0.5, times) - law.one_minus_e_star
    fitted = float(np.log(np.abs(over[0] / over[1]))) / float(times[1] - times[0])
    yield equal("rate of e − e* in log p / (1 − J'(e*))", fitted / rate, 1.0, 0.003)
    kernel = lab.kernels(seen, (1.0, 1.0, 0.5), depth=1)
    added = (kernel[:, 0, 1] - 0.5) / law.size
    half = float(_pull(phi, torch.tensor(0.5))) + 0.5
    yield lab.equal("covariance that a layer adds / E φ², networks, cosine 1/2", added, half, within=0.02)


def _pull(phi: AlphaReLU, gap: Tensor) -> Tensor:
    """J(e) − e at e = 1 − gap."""
    one = torch.tensor(1.0)
    return gap - phi.difference(one, one, gap=gap) / phi.second_moment(one)


def _flow(phi: AlphaReLU, gap: float, times: np.ndarray) -> np.ndarray:
    """Solution of d(1 − e)/dt = −(J(e) − e) at two times."""
    from scipy.integrate import solve_ivp  # slow to import

    def slope(_: float, y: np.ndarray) -> np.ndarray:
        return -_pull(phi, torch.from_numpy(y)).numpy()

    end = float(times[-1])
    found: np.ndarray = solve_ivp(slope, (0.0, end), [gap], "LSODA", times, rtol=1e-10, atol=1e-16).y[0]
    return found


@theorem(
    "mean-mode",
    words="In reduced networks whose φ is not odd a mean builds up, which makes lengths grow by a factor g "
    "> 1 + B a layer and inputs parallel, while gradients grow by 1 + B.",
    statement=r"\mu' = \mu + m(q),\; p' = p + \mathbb{E}\varphi^2 + 2\mu\, m(q),\; m(q) = "
    r"\mathbb{E}\varphi(\sqrt q z); \qquad \text{ReLU: } p^l \sim g^l,\; g = 1 + B + "
    r"\frac{\sigma_w^2/\pi}{\sqrt g - 1},\; 1 - e^l \sim ((1 + B)/g)^l,\; B = \tfrac{\sigma_w^2}{2}",
    assumptions=("x ← x + φ(W x + b)", "white Gaussian weights and biases", "φ = ReLU", "width → ∞"),
    source="derived here, after Yang & Schoenholz (2017)",
    claims=4,
    budgets={"quick": {"samples": 800, "depth": 60}, "full": {"samples": 5000, "depth": 90}},
    controls={**VARIANCE_ERRORS, "without the mean mode": {"with_mean": False}},
)
def mean_mode(lab: Lab, *, depth: int, with_mean: bool = True) -> Iterator[Claim]:
    """An outer matrix takes the mean away. Networks of width 400 are off the recursion by 0.03."""
    block = Reduced(RELU, 0.5, 0.1)
    law = laws_of(residual(block), MeanModeAsymptotics)
    seen = residual(block if with_mean else TwoLayer(RELU, 0.5, 0.1), 400)
    wrong = lab.with_error(seen)
    factor = math.exp(float(lengths(wrong, depth=depth).log_q.diff()[-1]))
    yield equal("factor on p in a late layer", factor, law.length_growth, 1e-4)
    apart = gaps(wrong, 1.0, 0.5, depth=depth)
    yield equal("factor on 1 − e in a late layer", apart[-1] / apart[-2], law.gap_factor, 1e-4)
    theory = lengths(residual(block), depth=8)
    found = last_layer(lab, seen, None, depth=8)
    yield lab.equal("log p^8 − recursion, networks", found.length.log() - theory.log_q[-1], 0.0, within=0.1)
    of_gradient = lab.mean(found.log_growth - theory.log_gradient_growth[-1])
    yield lab.equal("log χ^0/χ^8 − recursion, networks", of_gradient, 0.0, within=0.08)
