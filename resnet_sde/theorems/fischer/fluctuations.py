r"""Means, fluctuations and shifts of the kernels of networks of finite width.

The kernel of the readout, C = σ_w² ⟨φ(h_L), φ(h_L)⟩ / N + σ_b², deviates from its value at infinite
width by 1/√N times a Gaussian variable, and its mean by 1/N. What feeds the deviation, φ² at one
layer, is correlated with φ² at others, since skip branches keep the states correlated: the memory
of the sources.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from resnet_sde.activations import LINEAR
from resnet_sde.claims import Claim, equal
from resnet_sde.finite_width.finite_size import check_model
from resnet_sde.streams import stream
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.fischer.networks import (
    DEEP,
    ERF_NET,
    FEED_FORWARD,
    LINEAR_NET,
    PARTIAL,
    RELU_NET,
    RESIDUAL,
    TANH_NET,
    TWO_INPUTS,
    Case,
    Seen,
    collect,
    covariance,
    every_state,
    last_state,
    network,
    states,
)
from resnet_sde.theorems.fischer.paper import SOURCE
from resnet_sde.theorems.lab import VARIANCE_OFF, Lab

FORGETFUL = {"without memory": {"memory": False}}


@theorem(
    "leading-kernels",
    words="In wide networks the kernel of the states grows from layer to layer by ρ² times the "
    "variance of the branch, and the variance of the readout follows from it.",
    statement=r"K^l = \lambda^2 K^{l-1} + \rho^2 (\sigma_w^2\, \mathbb{E}\varphi(\sqrt{K^{l-1}} z)^2 + "
    r"\sigma_b^2), \qquad \mathbb{E} y^2 \to \sigma_w^2\, \mathbb{E}\varphi(\sqrt{K^L} z)^2 + \sigma_b^2",
    assumptions=(*RESIDUAL, "width → ∞"),
    source=SOURCE,
    claims=4,
    budgets={"quick": 2000, "full": 5000},
    controls=VARIANCE_OFF,
)
def leading_kernels(lab: Lab) -> Iterator[Claim]:
    """At width 128, where the mean is up to 0.6 % off; an error of 5 % moves it by 3.5 % or more.

    What is averaged is quadratic in Gaussian variables, with an excess kurtosis of up to 36: hundreds of
    networks do not carry its mean.
    """
    cases = {"ReLU": RELU_NET, "erf, skip 0.8": PARTIAL, "feed-forward erf": FEED_FORWARD}
    for name, case in cases.items():
        (found,) = collect(lab, case.at(128), lambda s: s.c().entry)
        exact = float(case.theory.branch[-1, 0])
        yield lab.ratio(f"variance of the readout / recursion, {name}", found, exact, within=0.02)
    (found,) = collect(lab, ERF_NET.at(128), lambda s: s.q().entry)
    exact = float(ERF_NET.theory.kernel[-1, 0])
    yield lab.ratio("mean square of the states / recursion, erf", found, exact, within=0.02)


@theorem(
    "kernel-fluctuations",
    words="The variance over networks of the readout's kernel is 1/width times a sum over all pairs of "
    "layers: sources of different layers are correlated, which a recursion from layer to layer forgets.",
    statement=r"N\,\mathrm{Var}\,C^{L+1} \to (R B R^\top)_{L+1,L+1}, \quad B_{lm} = \sigma_w^4\, "
    r"\mathrm{Cov}(\varphi^2(h^{l-1}), \varphi^2(h^{m-1})), \quad R = (1 - A)^{-1}, \; A_{lm} = "
    r"\partial C^l / \partial C^m",
    assumptions=RESIDUAL,
    source=f"derived here; the approach is that of {SOURCE}",
    claims=5,
    budgets={"quick": 2000, "full": 6000},
    controls={**FORGETFUL, **VARIANCE_OFF},
    own_models=True,
)
def kernel_fluctuations(
    lab: Lab, *, start: float = 1.0, depth: int = 10, memory: bool = True
) -> Iterator[Claim]:
    """At width 64, and 512 for ReLU: its next order is 5/width, and one narrow network can decide a mean.

    5 % of σ_w² make 12 % or more.
    """
    cases = {
        "erf": (ERF_NET, 0.08),
        "erf, 50 layers": (DEEP, 0.12),
        "tanh": (TANH_NET, 0.08),
        "erf, skip 0.8": (PARTIAL, 0.1),
        "ReLU": (RELU_NET.at(512), 0.18),
    }
    if lab.model is not None:
        cases = {str(lab.model): (Case(lab.model, (start,), depth), 0.1 + 5 / lab.model.width)}
    for name, (case, tolerance) in cases.items():
        theory = case.theory if memory else case.without_memory(fluctuations=True)
        (values,) = collect(lab, case, lambda s: covariance(s.c(), s.c()))
        exact = float(theory.branch_covariance[-1, -1])
        yield lab.ratio(f"N Var C / theory, {name}", values, exact, within=tolerance)


@theorem(
    "empirical-kernel-fluctuations",
    words="The empirical kernel of the states fluctuates by more than the sampling noise of the "
    "states: that noise moves the later kernels, and kernels of distant layers are correlated.",
    statement=r"N\,\mathrm{Cov}(Q^l, Q^m) \to 2 \kappa_{lm}^2 + S_{lm} + S_{ml} + V_{lm}, \qquad "
    r"Q^l = \langle h_l, h_l \rangle / N",
    assumptions=RESIDUAL,
    source="derived here",
    claims=3,
    budgets={"quick": 10_000, "full": 30_000},
    controls={"without the response to the noise": {"noise_alone": True}, **VARIANCE_OFF},
)
def empirical_kernel_fluctuations(lab: Lab, *, noise_alone: bool = False) -> Iterator[Claim]:
    """At width 64, in units of the theory. 5 % of σ_w² make 8 % of the variance or more."""
    half = replace(lab, samples=lab.samples // 2)
    for name, case, seen, tolerance in (("erf", ERF_NET, lab, 0.06), ("erf, skip 0.8", PARTIAL, half, 0.1)):
        theory = case.theory
        own, across = collect(
            seen, case, lambda s: covariance(s.q(), s.q()), lambda s: covariance(s.q(layer=1), s.q())
        )
        exact = theory.kernel_covariance[:, -1, 0, 0]
        if noise_alone:
            skips = case.model.skip ** (case.depth - torch.arange(case.depth + 1.0))
            noise = 2 * (skips * theory.kernel[:, 0]).square()
            exact = noise + theory.conditional_covariance[:, -1, 0, 0]
        yield lab.ratio(f"N Var Q / theory, last layer, {name}", own, float(exact[-1]), within=tolerance)
        if case is ERF_NET:
            yield lab.ratio("N Cov Q / theory, first layer and last", across, float(exact[1]), within=0.1)


@theorem(
    "mean-shift",
    words="The mean of the readout's kernel differs from its value at infinite width by 1/width "
    "times a known number: fluctuations meet the curvature of E φ², and neurons feed back on their "
    "own later steps. Both vanish for linear networks, the first for ReLU.",
    statement=r"N(\mathbb{E}C^l - \bar C^l) \to m^l = \sigma_w^2 [f'(K)\,\mu + \tfrac12 f''(K)\,V "
    r"+ D]_{l-1}, \qquad \mu^l = \lambda^2 \mu^{l-1} + \rho^2 m^l",
    assumptions=RESIDUAL,
    source="derived here",
    claims=4,
    budgets={"quick": 4000, "full": 30_000},
    controls={"without the feedback of neurons on themselves": {"feedback": False}, **VARIANCE_OFF},
)
def mean_shift(lab: Lab, *, feedback: bool = True) -> Iterator[Claim]:
    """At width 32, whose next order is a few per cent."""
    cases = {
        "erf": (ERF_NET, 0.03),
        "feed-forward erf": (FEED_FORWARD, 0.03),
        "ReLU, 5 layers": (replace(RELU_NET, depth=5), 0.1),
        "linear, 5 layers": (replace(LINEAR_NET, depth=5), 0.04),
    }
    for name, (each, tolerance) in cases.items():
        case = each.at(32)
        theory = case.theory if feedback else case.without_memory(feedback=True)
        (entry,) = collect(lab, case, lambda s: s.c().entry)
        found = 32 * (entry - theory.branch[-1, 0])
        yield lab.equal(f"N (E C − C̄), {name}", found, float(theory.branch_shift[-1, 0]), within=tolerance)


@theorem(
    "two-inputs",
    words="The kernels of two inputs fluctuate together and shift: the theory of one input holds "
    "with an axis of the entries of the kernel.",
    statement=r"k^l = M^{l-1} k^{l-1} + \rho^2 \sigma_w^2 z^{l-1}, \quad M = \lambda^2 + \rho^2 "
    r"\sigma_w^2\, \partial F/\partial K, \quad F_{ab} = \mathbb{E}\varphi(h_a)\varphi(h_b)",
    assumptions=(*RESIDUAL, "biases shared by the inputs"),
    source="derived here",
    claims=4,
    budgets={"quick": 4000, "full": 15_000},
    controls={"inputs closer by 0.05": {"closer": 0.05}, **VARIANCE_OFF},
)
def two_inputs(lab: Lab, *, closer: float = 0.0) -> Iterator[Claim]:
    """At width 64: covariances of the entries 11, 22 and 12 of the readout's kernel, and the shift of 12."""
    theory, (k1, k2, k12) = TWO_INPUTS.theory, TWO_INPUTS.start
    moved = replace(TWO_INPUTS, start=(k1, k2, k12 + closer * math.sqrt(k1 * k2)))
    names, chosen = ("11", "22", "12"), ((0, 1), (1, 2), (2, 2))
    each = (partial(_of_entries, p=p, q=q) for p, q in chosen)
    *values, entry = collect(lab, moved, *each, lambda s: s.c(2).entry)
    for (p, q), products in zip(chosen, values, strict=True):
        exact = float(theory.branch_covariance[-1, -1, p, q])
        tolerance = 0.08 * float(theory.branch_covariance[-1, -1, p, p])
        yield lab.equal(f"N Cov(C_{names[p]}, C_{names[q]})", products, exact, within=tolerance)
    found = TWO_INPUTS.model.width * (entry - theory.branch[-1, 2])
    yield lab.equal("N (E C_12 − C̄_12)", found, float(theory.branch_shift[-1, 2]), within=0.07)


def _of_entries(seen: Seen, *, p: int, q: int) -> Tensor:
    return covariance(seen.c(p), seen.c(q))


@theorem(
    "output-kurtosis",
    words="Outputs are mixtures of Gaussian variables: their excess kurtosis is three times the "
    "relative variance of the readout's kernel, hence of order 1/width.",
    statement=r"\mathbb{E}y^4 / (\mathbb{E}y^2)^2 - 3 = 3\,\mathrm{Var}(C)/(\mathbb{E}C)^2 \approx "
    r"3\,[N\,\mathrm{Var}\,C] / (N \bar C^2)",
    assumptions=RESIDUAL,
    source="derived here",
    claims=1,
    budgets={"quick": 12_000, "full": 80_000},
    controls=FORGETFUL,
)
def output_kurtosis(lab: Lab, *, memory: bool = True) -> Iterator[Claim]:
    """At width 16, with 32 outputs of every network; without memory the theory is 42 % smaller."""
    case, outputs = ERF_NET.at(16), 32
    block = check_model(case.model)
    x = block.activation(states(lab, case, last_state)) * math.sqrt(block.sigma_w2 / 16)
    source = stream(lab.seed, "readouts", lab.samples)
    y = x @ source.normal_(torch.empty(lab.samples, 16, outputs))
    y = y + source.normal_(torch.empty(lab.samples, 1, outputs)) * math.sqrt(block.sigma_b2)
    theory = case.theory if memory else case.without_memory(fluctuations=True)
    second, fourth = y.square().mean((1, 2)), y.pow(4).mean((1, 2))
    m2, m4 = float(second.mean()), float(fourth.mean())
    near = (fourth - 2 * m4 / m2 * (second - m2)) / m2**2  # of their ratio, to first order
    yield lab.ratio("excess kurtosis / theory", near - 3, float(theory.output_excess_kurtosis[0]), within=0.4)


@theorem(
    "linear-moments",
    words="In linear networks without biases the first two moments of the empirical kernel are "
    "known at every width; without skip branches relative fluctuations grow like depth/width.",
    statement=r"\mathbb{E}Q^L = K^0 (1+s)^L, \quad \mathbb{E}(Q^L)^2 = (K^0)^2 (1 + "
    r"\tfrac2N)[(1+s)^2 + (4s + 2s^2)/N]^L, \quad s = \rho^2 \sigma_w^2",
    assumptions=("linear φ, no biases", "white Gaussian weights"),
    source="derived here",
    claims=3,
    budgets={"quick": 60_000, "full": 200_000},
    controls={"only to order 1/width": {"leading": True}, **VARIANCE_OFF},
)
def linear_moments(lab: Lab, *, leading: bool = False) -> Iterator[Claim]:
    """At width 6, where the leading order is 20 % off; and the 1/width theory of 100 layers."""
    case, width = LINEAR_NET.at(6), 6
    depth, (k0,) = case.depth, case.start
    s = case.model.alpha(depth) ** 2 * check_model(case.model).sigma_w2
    squares, weights = _tilted(lab, case)
    mean = k0 * (1 + s) ** depth
    yield lab.ratio("E Q / exact", weights * squares, mean, within=0.03)
    added = 4 * s + 2 * s**2
    second = (1 + 2 / width) * ((1 + s) ** 2 + added / width) ** depth * k0**2
    if leading:
        second = mean**2 * (1 + (2 + depth * added / (1 + s) ** 2) / width)
    yield lab.ratio("E Q² / exact", weights * squares.square(), second, within=0.1)
    deep = Case(network(LINEAR, 1.0, 0.0, 1.0, skip=0.0), (1.0,), 100).off(lab.variance)
    relative = float(deep.theory.kernel_covariance[-1, -1] / deep.theory.kernel[-1].square())
    yield equal("N Var Q / K², feed-forward, 100 layers", relative, 202.0, 1e-9)


def _tilted(lab: Lab, each: Case) -> tuple[Tensor, Tensor]:
    """Q of linear networks without biases, with larger skip branches, and weights that undo these; (sample,).

    Means of Q² are those of the few networks whose states grow in every layer, and no sample of usual size
    carries them. Along its state h a layer adds √(s/N) |h| g, with g standard normal given the layers before
    it. If g has the mean m = 3√(s/N) instead, which networks of the skip 1 + m √(s/N) are, then large Q are
    common, and weights exp(m²/2 − m g) of every layer, the ratio of the densities of g, leave all means.
    """
    case = each.off(lab.variance)
    step = case.model.alpha(case.depth) * math.sqrt(check_model(case.model).sigma_w2 / case.model.width)
    mean = 3 * step  # Q is weighted best by 2, Q² by 4
    larger = replace(each, model=replace(each.model, skip=1.0 + mean * step))
    h = states(lab, larger, every_state)[:, :, 0]
    below, above = h[:, :-1], h[:, 1:]
    g = ((above - below) * below).sum(-1) / (step * below.square().sum(-1))
    return h[:, -1].square().mean(-1), (mean**2 / 2 - mean * g).sum(1).exp()
