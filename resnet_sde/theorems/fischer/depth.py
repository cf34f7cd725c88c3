r"""Depth and data: feed-forward networks, residual networks of any depth, and kernels that learn.

Fluctuations add up along feed-forward networks and have a fixed point where the length map has one.
In residual networks with ρ = β/√L they have a limit as the depth grows, which is made of memory
alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from scipy.special import erf
from torch import Tensor

from resnet_sde.activations import ERF
from resnet_sde.claims import Claim, equal
from resnet_sde.finite_width import posterior_shift
from resnet_sde.finite_width.depth_flow import Growth
from resnet_sde.finite_width.finite_size import check_model
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.fischer.networks import (
    FEED_FORWARD,
    RESIDUAL,
    TWO_INPUTS,
    Case,
    Deviation,
    Seen,
    collect,
    covariance,
    network,
    square,
)
from resnet_sde.theorems.lab import VARIANCE_OFF, Lab


@theorem(
    "feed-forward-fluctuations",
    words="Without skip branches the sources of different layers are independent: fluctuations follow a "
    "recursion from layer to layer and settle, and the response to the input decays exponentially.",
    statement=r"V^l = \chi_{l-1}^2 V^{l-1} + \sigma_w^4\, \mathrm{Var}\,\varphi^2 \to \sigma_w^4\, "
    r"\mathrm{Var}\,\varphi^2 / (1 - \chi^2), \qquad \partial K^l/\partial K^0 \sim \chi^l, \quad "
    r"\chi = \sigma_w^2\, a(K^*)",
    assumptions=("feed-forward: W φ(h) + b with no skip", "white Gaussian weights and biases"),
    source="derived here",
    claims=3,
    budgets={"quick": 2500, "full": 15_000},
    controls={"a skip branch of weight 0.3": {"skip": 0.3}, **VARIANCE_OFF},
)
def feed_forward_fluctuations(lab: Lab, *, skip: float = 0.0) -> Iterator[Claim]:
    """Erf after 40 layers, with a sum over a grid of states for the oracle, and networks of width 64."""
    case = replace(FEED_FORWARD, depth=40)
    block = check_model(case.model)
    k = float(case.theory.kernel[-1])
    z = np.linspace(-9, 9, 721)
    density = np.exp(-(z**2) / 2)
    density, phi = density / density.sum(), erf(math.sqrt(k) * z) ** 2
    mean = float(density @ phi)
    chi = block.sigma_w2 * float(density @ (phi * (z**2 - 1))) / (2 * k)  # ∂E φ²/∂K, by Stein's lemma
    settled = block.sigma_w2**2 * float(density @ (phi - mean) ** 2) / (1 - chi**2)
    seen = replace(case, model=replace(case.model, skip=skip))
    theory = seen.off(lab.variance).theory
    ratio = float(theory.branch_covariance[-1, -1]) / settled
    yield equal("N Var C / fixed point, 40 layers", ratio, 1.0, 1e-8)
    decay = float(theory.kernel_response[40, 20]) ** 0.05
    yield equal("decay of the response per layer / χ", decay / chi, 1.0, 1e-4)
    (values,) = collect(lab, replace(seen, depth=8), lambda s: covariance(s.q(), s.q()))
    yield lab.ratio("N Var Q / fixed point, networks of 8 layers", values, 2 * k**2 + settled, within=0.1)


@theorem(
    "depth-limit",
    words="With ρ = β L^{−1/2} the kernel of deep networks, its fluctuations and its shift tend to "
    "limits that are neither zero nor infinite, at the rate 1/L: relative fluctuations are of order "
    "1/width at every depth. They are made of memory: without it they would vanish.",
    statement=r"\rho = \beta L^{-1/2}: \quad K^L \to K_{\beta^2}, \; \dot K = \sigma_w^2 f(K) + "
    r"\sigma_b^2; \qquad N\,\mathrm{Var}\,\hat K^L \to V_{\beta^2} > 0",
    assumptions=(*RESIDUAL, "λ = 1"),
    source="derived here, after Marion et al. (2025) for the scaling",
    claims=4,
    budgets={"quick": {"depth": 40}, "full": {"depth": 160}},
    controls={"without memory": {"memory": False}, "beta off by 0.05": {"beta": 0.45}},
)
def depth_limit(lab: Lab, *, depth: int, memory: bool = True, beta: float = 0.5) -> Iterator[Claim]:
    """Steps from L layers to 2L and from there to 4L, which halve."""
    cases = [Case(network(ERF, 1.0, 0.05, n**-beta), (0.05,), n) for n in (depth, 2 * depth, 4 * depth)]
    found = [case.theory if memory else case.without_memory(fluctuations=True) for case in cases]
    growth = Growth(check_model(cases[0].model))
    time = growth.time(0.05, float(2 * found[2].kernel[-1] - found[1].kernel[-1]))
    yield equal("time of the flow to K^L", time, 1.0, 0.001)
    spread = [float(size.conditional_covariance[-1, -1]) for size in found]
    yield equal("N Var of the conditional kernel, 4L layers / L", spread[2] / spread[0], 1.0, 0.1)
    shift = [float(size.branch_shift[-1]) for size in found]
    for name, (first, second, third) in (
        ("N Var of the conditional kernel", spread),
        ("N shift of C", shift),
    ):
        ratio = (third - second) / (second - first)
        yield equal(f"step from 2L to 4L / step from L to 2L, {name}", ratio, 0.5, 0.02)


@theorem(
    "posterior-kernel",
    words="Given data, the mean kernel of networks of finite width moves by 1/width times the "
    "covariance of the prior kernel with the gradient of the log likelihood.",
    statement=r"\mathbb{E}[C_p \mid y] - \mathbb{E} C_p = \tfrac1N \textstyle\sum_q "
    r"N\,\mathrm{Cov}(C_p, C_q)\, \partial_{C_q} \log N(y; 0, C + \kappa^2) + O(N^{-2})",
    assumptions=(*RESIDUAL, "Gaussian readout and noise"),
    source="derived here",
    claims=1,
    budgets={"quick": 1500, "full": 10_000},
    controls={"half the noise": {"noise": 0.05}},
)
def posterior_kernel(lab: Lab, *, noise: float = 0.1) -> Iterator[Claim]:
    """At width 128, weighted by how well networks explain the outputs 1.5 and −1; next order 6/width."""
    case, y = TWO_INPUTS.at(128), torch.tensor([1.5, -1.0])

    def weighted(seen: Seen) -> Tensor:
        entries = [seen.c(entry) for entry in range(3)]
        return covariance(_likelihood(entries, y, 0.1), entries[2])

    (values,) = collect(lab, case, weighted)
    exact = 128 * float(posterior_shift(case.theory, y[:, None], noise=noise)[2])
    yield lab.equal("N times the shift of C_12", values, exact, within=0.15 * abs(exact))


def _likelihood(entries: list[Deviation], y: Tensor, noise: float) -> Deviation:
    """N(y; 0, C + noise) of networks over its mean, and what it is to first order in their deviations."""
    limit = square(tuple(d.limit for d in entries)) + noise * torch.eye(2)
    first, second, both = (d.exact for d in entries)
    kernel = limit + torch.stack([first, both, both, second], -1).unflatten(-1, (2, 2))
    log = -0.5 * (torch.linalg.solve(kernel, y) @ y + torch.linalg.slogdet(kernel).logabsdet)
    inverse = torch.linalg.inv(limit)
    score = torch.outer(inverse @ y, inverse @ y) - inverse
    slopes = (score[0, 0] / 2, score[1, 1] / 2, score[0, 1])
    terms = torch.stack([slope * d.terms for slope, d in zip(slopes, entries, strict=True)]).sum(0)
    return Deviation(1.0, torch.softmax(log, 0) * len(log) - 1, terms)
