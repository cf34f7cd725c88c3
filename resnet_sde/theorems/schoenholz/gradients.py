r"""Gradients: how their mean square and their covariance change from layer to layer, and how they scatter.

The gradient at the top is random and independent of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import RELU, TANH, Activation
from resnet_sde.claims import Claim
from resnet_sde.meanfield import gradient_log_variance, phase
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_ERRORS, Lab, inputs
from resnet_sde.theorems.schoenholz.critical import critical
from resnet_sde.theorems.schoenholz.networks import (
    FEED_FORWARD,
    feed_forward,
    gradient_products,
    one_input,
    settled,
)
from resnet_sde.theorems.schoenholz.paper import SOURCE

INDEPENDENT = (*FEED_FORWARD, "lengths at q*", "gradient at the top independent of the weights")
SLOPES = {
    "ordered tanh": feed_forward(TANH, 1.0, 0.05, 400),
    "chaotic tanh": feed_forward(TANH, 2.5, 0.05, 400),
    "ReLU": feed_forward(RELU, 1.5, 0.05, 400),
}


@theorem(
    "gradient-depth-scale",
    words="The mean squared gradient changes by the factor χ_1 a layer: it vanishes in the ordered "
    "phase and explodes in the chaotic one.",
    statement=r"\mathbb{E}\|\nabla_{z^l}\|^2 \propto \chi_1^{L - l} = e^{-(L - l)/\xi_\nabla}",
    assumptions=(*INDEPENDENT, "width → ∞"),
    source=SOURCE,
    claims=3,
    budgets={"quick": 1000, "full": 3500},
    controls={**VARIANCE_ERRORS, "the factor is that of the covariance": {"of_pairs": True}},
    own_models=True,
)
def gradient_depth_scale(lab: Lab, *, of_pairs: bool = False) -> Iterator[Claim]:
    """Over 15 layers, which an error of 5 % moves by 30 % or more."""
    depth = 15
    for name, case in lab.cases(SLOPES):
        found, q_star = settled(case)
        chi = found.chi_c if of_pairs and found.chi_c is not None else found.chi_1
        seen = lab.simulate(case, one_input(q_star), ob.gradient_growth, depth=depth)
        growth = seen["gradient_growth"].square()
        yield lab.ratio(f"mean of |p_0|²/|p_{depth}|² / χ_1^{depth}, {name}", growth, chi**depth, within=0.14)


@theorem(
    "gradient-covariance",
    words="The covariance of the gradients of two inputs changes by χ_c < 1 a layer: it decays at the "
    "scale ξ_c of forward correlations in both phases, also where each gradient explodes.",
    statement=r"\mathbb{E}\langle\nabla_{z_a^l}, \nabla_{z_b^l}\rangle \propto \chi_c^{L - l} = e^{-(L - "
    r"l)/\xi_c}",
    assumptions=(*INDEPENDENT, "correlation at c*", "width → ∞"),
    source="derived here, after Schoenholz et al. (2017)",
    claims=3,
    budgets={"quick": 800, "full": 2500},
    controls={**VARIANCE_ERRORS, "the factor is χ_1 for both": {"alone": True}},
)
def gradient_covariance(lab: Lab, *, alone: bool = False) -> Iterator[Claim]:
    """Eight layers of width 400; in the chaotic phase χ_c^8 is 0.51 and χ_1^8 is 2.7."""
    depth = 8
    for weight in (1.3, 2.5):
        case = feed_forward(TANH, weight, 0.05, 400)
        found, q_star = settled(case)
        assert found.chi_c is not None
        x = inputs(q_star, q_star, min(found.c_star or 0.0, 0.9999))
        products = lab.simulate(case, x, gradient_products, depth=depth)["gradient_products"]
        factor = found.chi_1 if alone else found.chi_c
        name = f"E ⟨p_0(x), p_0(x')⟩ / χ_c^{depth}, σ_w² = {weight}"
        yield lab.ratio(name, products[:, 0, 1], factor**depth, within=0.1)
    yield lab.ratio(f"E ‖p_0(x)‖² / χ_1^{depth}, chaotic", products[:, 0, 0], found.chi_1**depth, within=0.1)


def typical_log_slope(phi: Activation, sigma_w2: float, sigma_b2: float) -> float:
    r"""Width × (mean change of log ‖p‖² in a layer − log χ_1): how far single networks fall behind χ_1.

    With f = E φ'² at q*, a = f'/f and V_q = σ_w⁴ Var φ² / (1 − χ_q²), the variance of lengths × width, this
    is −(3 E φ'⁴/f² − 1)/2 from the scatter of one layer, a V'' V_q / 2(1 − χ_q) because the mean length is
    not q*, (f''/f − a²) V_q / 2 because f bends, and 2 (q* − σ_b²) a ρ / (1 − χ_q²/χ_1) because a matrix was
    seen along the state, ρ being E φ²φ'² / (E φ² f). Derivatives in q are means with Hermite polynomials.
    """
    found = phase(phi, sigma_w2, sigma_b2)
    if phi.homogeneous:
        return -0.5 * float(gradient_log_variance(phi, sigma_w2, sigma_b2))
    assert found.q_star is not None
    q, chi_q = found.q_star, found.chi_q
    z = torch.arange(-10.0, 10.0, 1 / 64)
    normal = torch.exp(-z.square() / 2) / 64 / math.sqrt(2 * math.pi)
    first, second = (z.square() - 1) / (2 * q), (z.pow(4) - 6 * z.square() + 3) / (4 * q**2)
    squares, slopes = phi(math.sqrt(q) * z).square(), phi.prime(math.sqrt(q) * z).square()

    def mean(values: Tensor) -> float:
        return float(values @ normal)

    f, a = mean(slopes), mean(slopes * first) / mean(slopes)
    lengths = sigma_w2**2 * (mean(squares.square()) - mean(squares) ** 2) / (1 - chi_q**2)
    shared = mean(squares * slopes) / (mean(squares) * f)
    return (
        -(3 * mean(slopes.square()) / f**2 - 1) / 2
        + a * sigma_w2 * mean(squares * second) * lengths / (2 * (1 - chi_q))
        + (mean(slopes * second) / f - a**2) * lengths / 2
        + 2 * (q - sigma_b2) * a * shared / (1 - chi_q**2 / found.chi_1)
    )


@theorem(
    "gradients-of-single-networks",
    words="The log of the squared gradient of one network of width N is a random walk along depth, of "
    "variance v/N a layer; its drift lags behind log χ_1 by a multiple of 1/N, so that typical gradients "
    "vanish on the critical line.",
    statement=r"\log \|p_{l}\|^2 - \log\|p_{l+k}\|^2 \approx N(k \log\chi_1 + k\mu/N,\; k v/N), \quad v = "
    r"3\,\mathbb{E}\varphi'^4/f^2 - 1 + a^2 S/(1-\chi_q)^2 + \ldots",
    assumptions=INDEPENDENT,
    source="derived here",
    claims=4,
    budgets={"quick": 10_000, "full": 40_000},
    controls={
        "variance 5 % too large": {"variance": 1.05, "samples": 4000},
        "lengths do not fluctuate": {"steady": True},
        "the scatter of linear networks": {"linear": True, "samples": 4000},
    },
)
def gradients_of_single_networks(lab: Lab, *, steady: bool = False, linear: bool = False) -> Iterator[Claim]:
    """Width 64, 30 layers in the middle of 40, on the critical line, where v/2 is 2.0 and μ is −1.7."""
    width, depth, margin = 64, 40, 5
    layers = depth - 2 * margin
    for phi, weight, bias in ((TANH, critical(TANH, 0.05), 0.05), (RELU, 2.0, 0.0)):
        case, x = feed_forward(phi, weight, bias, width), one_input(phase(phi, weight, bias).q_star or 1.0)
        seen = lab.simulate(case, x, ob.log10_gradient_length, depth=depth)["log10_gradient_length"][..., 0]
        walk = 2 * math.log(10) * (seen[:, margin] - seen[:, depth - margin])
        v = 2.0 if linear else float(gradient_log_variance(phi, weight, bias))
        drift = -v / 2 if steady else typical_log_slope(phi, weight, bias)
        unit = layers / width
        name = f"(mean change of log |p|²) · N/layers, {phi}, σ_w² = {weight:.3g}"
        yield lab.equal(name, lab.mean(walk, unit=unit), drift, within=0.2 if phi == TANH else 0.25)
        name = f"variance of the change / v, {phi}, σ_w² = {weight:.3g}"
        yield lab.equal(name, lab.spread(walk, unit=unit * v), 1.0, within=0.2)
