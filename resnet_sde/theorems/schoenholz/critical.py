"""The line between order and chaos, and its neighbourhood."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from resnet_sde import observables as ob
from resnet_sde.activations import ERF, RELU, TANH, Activation
from resnet_sde.claims import Claim, equal
from resnet_sde.meanfield import critical_line, fixed_points, gaps, phase
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_ERRORS, Lab
from resnet_sde.theorems.schoenholz.networks import FEED_FORWARD, feed_forward, one_input
from resnet_sde.theorems.schoenholz.paper import BOTH, SOURCE


def critical(phi: Activation, sigma_b2: float) -> float:
    """σ_w² on the critical line."""
    return float(critical_line(phi, sigma_b2))


@theorem(
    "critical-line",
    words="On one line of variances, σ_w² = 1/E φ'² and σ_b² = q − σ_w² E φ² with q for the parameter, "
    "mean squared gradients neither vanish nor explode; near σ_b = 0 it is σ_w² = 1 + (6 σ_b²)^{1/3}.",
    statement=r"\chi_1 = 1 \iff (\sigma_w^2, \sigma_b^2) = (1/\mathbb{E}\varphi'^2,\; q - "
    r"\mathbb{E}\varphi^2/\mathbb{E}\varphi'^2); \qquad \tanh: \sigma_w^2 - 1 \sim (6\sigma_b^2)^{1/3}",
    assumptions=(*FEED_FORWARD, "width → ∞", "lengths at q*", "gradient at the top independent"),
    source=f"{BOTH}; the expansion is derived here",
    claims=4,
    budgets={"quick": 1000, "full": 2500},
    controls=VARIANCE_ERRORS,
)
def critical_lines(lab: Lab) -> Iterator[Claim]:
    """Over 20 layers of width 500; an error of 5 % in the variance changes the ratio by 30 % or more."""
    depth = 20
    for phi, bias in ((TANH, 0.05), (ERF, 0.05), (RELU, 0.0)):
        weight = critical(phi, bias)
        model, x = feed_forward(phi, weight, bias, 500), one_input(phase(phi, weight, bias).q_star or 1.0)
        growth = lab.simulate(model, x, ob.gradient_growth, depth=depth)["gradient_growth"].square()
        name = f"mean of |p_0|²/|p_{depth}|², {phi}, σ_b² = {bias}"
        yield lab.equal(name, growth, 1.0, within=0.15)
    bias = 1e-9
    ratio = (lab.variance * critical(TANH, bias) - 1) / (6 * bias) ** (1 / 3)
    yield equal("(σ_w² − 1) / (6 σ_b²)^{1/3}, σ_b² = 1e-9", ratio, 1.0, 0.002)


@theorem(
    "critical-exponents",
    words="Near the line ξ_c diverges like 1/|χ_1 − 1| on both sides and 1 − c* grows like χ_1 − 1; on "
    "it 1 − c decays like 2/(κ l), κ being the curvature of the correlation map.",
    statement=r"\xi_c |\chi_1 - 1| \to 1, \quad 1 - c^* \sim 2(\chi_1 - 1)/\kappa, \quad \kappa = "
    r"\sigma_w^2 q^* \mathbb{E}\varphi''^2; \qquad \chi_1 = 1: \; 1 - c^l \sim 2/(\kappa l)",
    assumptions=(*FEED_FORWARD, "width → ∞", "φ smooth, odd and bounded", "σ_b > 0"),
    source=f"{SOURCE} (divergence of ξ_c); amplitudes derived here",
    claims=4,
    budgets={"quick": {"depth": 1000}, "full": {"depth": 4000}},
    controls={
        "variance 5 % too large": {"variance": 1.05},
        "curvature 5 % too large": {"curvature": 1.05},
        "the curvature of the length map, without q*": {"with_length": False},
    },
)
def critical_exponents(
    lab: Lab, *, depth: int, curvature: float = 1.0, with_length: bool = True
) -> Iterator[Claim]:
    """A thousandth beside the line for σ_b² = 0.05, and the recursion on it."""
    bias = 0.05
    line = lab.variance * critical(TANH, bias)
    near = fixed_points(TANH, line + torch.tensor([-1e-3, 0.0, 1e-3]), bias)
    kappa = float(near.curvature[1]) * curvature / (1.0 if with_length else float(near.q_star[1]))
    off = (near.chi_1 - 1).abs()
    for place, side in ((0, "ordered"), (2, "chaotic")):
        yield equal(f"ξ_c |χ_1 − 1|, {side}", near.xi_c[place] * off[place], 1.0, 0.003)
    apart = float(near.one_minus_c_star[2] / off[2])
    yield equal("(1 − c*)/(χ_1 − 1) · κ/2, chaotic", apart * kappa / 2, 1.0, 0.003)
    along = gaps(feed_forward(TANH, line, bias), float(near.q_star[1]), 0.5, depth=depth)
    decay = float(along[-1]) * depth * kappa / 2
    yield equal(f"(1 − c) l κ/2 at layer {depth}", decay, 1.0, 0.01)
