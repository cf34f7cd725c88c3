r"""Lengths: where they settle, how fast, and what networks of finite width make of the recursions.

The mean square of the pre-activations of one input obeys q' = V(q) = σ_w² E φ(√q z)² + σ_b².
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import ERF, RELU, TANH
from resnet_sde.claims import Claim, equal
from resnet_sde.meanfield import kernel, lengths, phase
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_ERRORS, Lab, gap
from resnet_sde.theorems.schoenholz.networks import FEED_FORWARD, feed_forward, one_input, settled, variances
from resnet_sde.theorems.schoenholz.paper import POOLE, SOURCE

RECURSIONS = {
    "tanh": (feed_forward(TANH, 1.3, 0.05, 400), (1.0, 0.5, 0.5), 12),
    "ReLU": (feed_forward(RELU, 1.5, 0.05, 400), (1.0, 0.5, 0.5), 6),
}


@theorem(
    "mean-field-recursion",
    words="In wide feed-forward networks the mean square of the pre-activations of an input, and the "
    "correlation of two inputs, follow recursions from layer to layer.",
    statement=r"q_a' = \sigma_w^2\, \mathbb{E}\varphi(u)^2 + \sigma_b^2, \quad q_{ab}' = \sigma_w^2\, "
    r"\mathbb{E}\varphi(u)\varphi(v) + \sigma_b^2, \quad (u, v) \sim N(0, q), \quad c = "
    r"q_{ab}/\sqrt{q_a q_b}",
    assumptions=(*FEED_FORWARD, "width → ∞"),
    source=POOLE,
    claims=4,
    budgets={"quick": 1200, "full": 4000},
    controls=VARIANCE_ERRORS,
    own_models=True,
)
def mean_field_recursion(lab: Lab) -> Iterator[Claim]:
    """At width 400, inputs of unequal lengths; an error of 5 % moves the mean squares by 10 % or more."""
    cases = RECURSIONS if lab.model is None else {str(lab.model): (lab.model, (1.0, 0.5, 0.5), 8)}
    for name, (case, start, depth) in cases.items():
        variances(case)
        theory = kernel(case, _kernel_of(*start), depth=depth)[-1]
        seen = lab.kernels(case, start, depth=depth)
        yield lab.ratio(f"mean square / recursion, {name}", seen[:, 0, 0], float(theory[0, 0]), within=0.045)
        apart = float(gap(theory[None])[0])
        yield lab.ratio(f"(1 − correlation) / recursion, {name}", gap(seen), apart, within=0.07)


def _kernel_of(q1: float, q2: float, c: float) -> Tensor:
    product = c * math.sqrt(q1 * q2)
    return torch.tensor([[q1, product], [product, q2]])


SETTLING = {
    "ordered tanh": feed_forward(TANH, 1.3, 0.05, 500),
    "chaotic tanh": feed_forward(TANH, 2.5, 0.05, 500),
    "ReLU": feed_forward(RELU, 1.0, 0.05, 500),
}


@theorem(
    "length-fixed-point",
    words="Whatever the length of the input, the mean square of pre-activations settles at q*, the "
    "stable fixed point of the length map.",
    statement=r"q^l \to q^* = \sigma_w^2\, \mathbb{E}\varphi(\sqrt{q^*} z)^2 + \sigma_b^2 \quad "
    r"\text{for every } q^0 > 0",
    assumptions=(*FEED_FORWARD, "width → ∞", "a stable fixed point q* > 0"),
    source=POOLE,
    claims=6,
    budgets={"quick": 600, "full": 3000},
    controls=VARIANCE_ERRORS,
    own_models=True,
)
def length_fixed_point(lab: Lab) -> Iterator[Claim]:
    """After 8 ξ_q layers, from a quarter of q* and from four times it; 5 % of variance are 9 % of q*."""
    for name, case in lab.cases(SETTLING):
        found, q_star = settled(case)
        depth = math.ceil(8 * found.xi_q)
        for factor in (0.25, 4.0):
            seen = lab.simulate(case, one_input(factor * q_star), ob.kernel, depth=depth)["kernel"][:, 0, 0]
            yield lab.ratio(f"mean square / q*, {name}, from {factor} q*", seen, q_star, within=0.03)


SCALES = ((TANH, 0.5, 0.05), (TANH, 1.0, 1e-4), (TANH, 2.5, 0.05), (ERF, 2.0, 0.05), (RELU, 1.9, 0.05))


@theorem(
    "length-depth-scale",
    words="Lengths approach q* exponentially, by the factor e every ξ_q layers; ξ_q stays finite where "
    "order turns into chaos.",
    statement=r"|q^l - q^*| \sim e^{-l/\xi_q}, \quad e^{-1/\xi_q} = \chi_1 + "
    r"\sigma_w^2\, \mathbb{E}\varphi''(\sqrt{q^*} z)\,\varphi(\sqrt{q^*} z)",
    assumptions=(*FEED_FORWARD, "width → ∞", "a stable fixed point q* > 0"),
    source=SOURCE,
    claims=5,
    budgets={"quick": {"factor": 2.0}, "full": {"factor": 4.0}},
    controls={**VARIANCE_ERRORS, "without the term of φ''": {"bend": False}},
)
def length_depth_scale(lab: Lab, *, factor: float, bend: bool = True) -> Iterator[Claim]:
    """The recursion from a multiple of q*, where it is 1e-4 to 1e-7 away, against the slope at q*."""
    for phi, weight, bias in SCALES:
        found, _ = settled(feed_forward(phi, weight, bias))
        rate = 1 / found.xi_q if bend else -math.log(found.chi_1)
        moved = phase(phi, lab.variance * weight, bias)
        assert moved.q_star is not None
        first, last = (math.ceil(power * math.log(10) * moved.xi_q) for power in (4, 7))
        model = feed_forward(phi, lab.variance * weight, bias)
        off = (lengths(model, factor * moved.q_star, depth=last).q / moved.q_star - 1).abs().log()
        measured = float(off[first] - off[last]) / (last - first)
        name = f"rate of approach / (1/ξ_q), {phi}, variances {weight} and {bias}"
        yield equal(name, measured / rate, 1.0, 0.003)
