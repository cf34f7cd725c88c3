r"""Correlations: order, chaos and the depth to which two inputs can be told apart.

At equal lengths q* the correlation c of two inputs obeys c' = C(c) = (σ_w² E φ(u)φ(v) + σ_b²) / q*, a power
series in c with coefficients that are not negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from resnet_sde.activations import ERF, TANH, Activation
from resnet_sde.claims import Claim, equal
from resnet_sde.estimate import exactly
from resnet_sde.meanfield import gaps, phase
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_ERRORS, Lab, gap
from resnet_sde.theorems.schoenholz.networks import FEED_FORWARD, feed_forward, settled
from resnet_sde.theorems.schoenholz.paper import BOTH, SOURCE

STARTS = torch.tensor([-0.95, -0.3, 0.2, 0.8, 0.999], dtype=torch.float64)


@theorem(
    "order-and-chaos",
    words="Where χ_1 ≤ 1 all inputs become parallel; where χ_1 > 1 the correlation of any two inputs "
    "tends to one number c* < 1, however close or far they are.",
    statement=r"\chi_1 = \sigma_w^2\, \mathbb{E}\varphi'(\sqrt{q^*} z)^2: \quad \chi_1 \le 1 \implies c^l "
    r"\to 1; \qquad \chi_1 > 1 \implies c^l \to c^* = C(c^*) < 1",
    assumptions=(*FEED_FORWARD, "width → ∞", "σ_b > 0", "inputs that are not equal"),
    source=BOTH,
    claims=5,
    budgets={"quick": 280, "full": 1200},
    controls={**VARIANCE_ERRORS, "c* = 1 in both phases": {"root": 1.0, "samples": 50}},
)
def order_and_chaos(lab: Lab, *, root: float | None = None) -> Iterator[Claim]:
    """Networks of width 800 from two starts, where 5 % of variance move c* by 0.05; recursions from five."""
    width, depth = 800, 50
    case = feed_forward(TANH, 2.2, 0.05, width)
    found, q_star = settled(case)
    assert found.one_minus_c_star is not None
    apart = found.one_minus_c_star if root is None else 1 - root
    for c in (0.35, 0.75):
        start = (q_star, q_star, c)
        seen = gap(lab.kernels(case, start, depth=depth))
        yield lab.equal(f"1 − correlation, chaotic, from {c}", seen, apart, within=0.04)
    recursion = gaps(lab.with_error(case), q_star, 1 - STARTS, depth=500)[-1]
    furthest = float((recursion - apart).abs().max())
    yield equal("largest |c − c*|, chaotic, recursion", furthest, 0.0, 1e-9)
    case = feed_forward(TANH, 1.3, 0.05, width)
    _, q_star = settled(case)
    seen = gap(lab.kernels(case, (q_star, q_star, -0.5), depth=40))
    yield lab.at_most("1 − correlation, ordered, from -0.5", seen, 0.0, within=0.02)
    case = feed_forward(TANH, 1.7, 0.05)  # on the line σ_w² is 1.76
    _, q_star = settled(case)
    recursion = gaps(lab.with_error(case), q_star, 1 - STARTS, depth=1000)[-1]
    yield lab.at_most("largest 1 − c, ordered, recursion", exactly(float(recursion.max())), 0.0, within=1e-5)


SCALES = ((TANH, 1.5), (TANH, 2.0), (TANH, 4.0), (ERF, 2.0))


@theorem(
    "correlation-depth-scale",
    words="Once lengths have settled, correlations approach c* exponentially, by the factor e every ξ_c "
    "layers, in both phases.",
    statement=r"|c^l - c^*| \sim e^{-l/\xi_c}, \quad e^{-1/\xi_c} = \chi_c = \sigma_w^2\, "
    r"\mathbb{E}\varphi'(u^*)\varphi'(v^*)",
    assumptions=(*FEED_FORWARD, "width → ∞", "σ_b > 0", "lengths at q*", "χ_1 ≠ 1"),
    source=SOURCE,
    claims=6,
    budgets={"quick": 400, "full": 2000},
    controls={
        "variance 5 % too large": {"variance": 1.05},
        "the scale of gradients": {"of_gradients": True, "samples": 50},
    },
)
def correlation_depth_scale(lab: Lab, *, of_gradients: bool = False) -> Iterator[Claim]:
    """The recursion against its asymptotic rate, and networks of width 400 against the recursion."""
    for phi, weight in SCALES:
        found = phase(phi, weight, 0.05)
        scale = found.xi_grad if of_gradients else found.xi_c
        assert scale is not None
        measured = late_rate(phi, lab.variance * weight, 0.05)
        name = f"rate of approach / (1/ξ_c), {phi}, σ_w² = {weight}"
        yield equal(name, measured * abs(scale), 1.0, 0.003)
    for weight, start, depth in ((1.3, 0.0, 15), (2.0, 0.9, 40)):
        case = feed_forward(TANH, weight, 0.05, 400)
        _, q_star = settled(case)
        theory = float(gaps(case, q_star, 1 - start, depth=depth)[-1])
        apart = gap(lab.kernels(case, (q_star, q_star, start), depth=depth))
        yield lab.ratio(f"(1 − c) / recursion at layer {depth}, σ_w² = {weight}", apart, theory, within=0.15)


def late_rate(
    phi: Activation, weight: float, bias: float, *, keep_rate: float = 1.0, q_factor: float = 1.0
) -> float:
    """Rate at which the recursion of 1 − c approaches its fixed point, late: where it is 1e-4 to 1e-7 off."""
    found = phase(phi, weight, bias, keep_rate=keep_rate)
    assert found.q_star is not None
    assert found.one_minus_c_star is not None
    assert found.xi_c is not None
    scale = found.xi_c if q_factor == 1 else max(found.xi_c, found.xi_q)
    start = 1.2 * found.one_minus_c_star or 0.1
    depth = math.ceil(7 * math.log(10) * scale)
    model = feed_forward(phi, weight, bias)
    along = gaps(model, q_factor * found.q_star, start, depth=depth, keep_rate=keep_rate)
    off = (along - found.one_minus_c_star).abs().log()
    first = depth * 4 // 7
    return float(off[first] - off[depth]) / (depth - first)


@theorem(
    "the-slower-scale",
    words="From lengths that have not settled correlations approach c* at the slower of the two scales; "
    "with dropout that can be the scale of lengths.",
    statement=r"|c^l - c^*| \sim \max(\chi_q, \chi_c)^l \quad \text{unless } q^0 = q^*, \text{ where it "
    r"is } \chi_c^l",
    assumptions=(*FEED_FORWARD, "width → ∞", "c* < 1", "masks of dropout of their own for each input"),
    source="derived here, after Schoenholz et al. (2017)",
    claims=2,
    budgets={"quick": {"factor": 2.0}, "full": {"factor": 4.0}},
    controls={"variance 5 % too small": {"variance": 0.95}, "lengths do not matter": {"coupled": False}},
)
def the_slower_scale(lab: Lab, *, factor: float, coupled: bool = True) -> Iterator[Claim]:
    """A tanh network with σ_w² = 0.915, σ_b² = 1e-4 and 90 % kept, where ξ_q = 31 and ξ_c = 9."""
    keep_rate, weight, bias = 0.9, 0.915, 1e-4
    found = phase(TANH, weight, bias, keep_rate=keep_rate)
    assert found.xi_c is not None
    scale = max(found.xi_q, found.xi_c) if coupled else found.xi_c
    off = late_rate(TANH, lab.variance * weight, bias, keep_rate=keep_rate, q_factor=factor)
    yield equal("rate of approach · max(ξ_q, ξ_c), lengths off q*", off * scale, 1.0, 0.02)
    settled_rate = late_rate(TANH, lab.variance * weight, bias, keep_rate=keep_rate)
    yield equal("rate of approach · ξ_c, lengths at q*", settled_rate * found.xi_c, 1.0, 0.02)
