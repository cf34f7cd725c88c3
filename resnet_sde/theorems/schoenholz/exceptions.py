"""Networks without a line between order and chaos: ReLU, no biases, dropout."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from resnet_sde.activations import RELU, TANH, Activation, LeakyReLU
from resnet_sde.claims import Claim, equal
from resnet_sde.meanfield import gaps, lengths, phase
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import Lab, gap
from resnet_sde.theorems.schoenholz.correlations import late_rate
from resnet_sde.theorems.schoenholz.critical import critical
from resnet_sde.theorems.schoenholz.networks import FEED_FORWARD, dropped, feed_forward
from resnet_sde.theorems.schoenholz.paper import SOURCE


@theorem(
    "relu-has-no-chaos",
    words="ReLU networks are never chaotic: all inputs become parallel at every variance, from σ_w² = 2 "
    "on, or without bias, like 1/l²; at σ_w² = 2 a bias makes it four times as fast.",
    statement=r"1 - c' = \varepsilon - k\,\varepsilon^{3/2} + \ldots,\; k = 2\sqrt2/(3\pi): \quad "
    r"l^2(1 - c^l) \to 9\pi^2/2, \qquad \sigma_w^2 = 2,\, \sigma_b > 0:\; 9\pi^2/8",
    assumptions=(*FEED_FORWARD, "φ = ReLU", "width → ∞"),
    source="derived here, after Schoenholz et al. (2017)",
    claims=4,
    budgets={"quick": {"samples": 800, "depth": 1024}, "full": {"samples": 2000, "depth": 4096}},
    controls={
        "variance 5 % too large": {"variance": 1.05},
        "leaky ReLU of slope 0.1": {"slope": 0.1},
        "the bias is forgotten": {"bias": 0.0},
    },
)
def relu_has_no_chaos(lab: Lab, *, depth: int, slope: float = 0.0, bias: float = 0.05) -> Iterator[Claim]:
    """Networks of width 400 after 15 layers, and the slope of (1 − c)^{−1/2} in the recursion."""
    phi = LeakyReLU(slope) if slope else RELU
    for weight, added in ((1.5, 0.05), (3.0, 0.0)):
        theory = float(gaps(feed_forward(RELU, weight, added), 1.0, 0.9, depth=15)[-1])
        seen = gap(lab.kernels(feed_forward(phi, weight, added, 400), (1.0, 1.0, 0.1), depth=15))
        name = f"(1 − c) / recursion at layer 15, σ_w² = {weight}"
        yield lab.ratio(name, seen, theory, within=0.1)
    k = 2 * math.sqrt(2) / (3 * math.pi)
    for name, added, rate in (("without bias", 0.0, k / 2), ("with bias", bias, k)):
        along = gaps(feed_forward(phi, 2.0 * lab.variance, added), 1.0, 0.9, depth=depth).rsqrt()
        late, early = (float(along[m] - along[m // 4]) for m in (depth, depth // 4))
        growth = 8 * (late - 2 * early) / (3 * depth)  # of a l + b √l + c this is a
        name = f"growth of (1 − c)^(−1/2) per layer at σ_w² = 2, {name}"
        yield equal(name, growth / rate, 1.0, 0.02)


@theorem(
    "no-bias-no-common-limit",
    words="Without biases and with χ_1 ≤ 1, saturating networks become linear: correlations stop at "
    "numbers that depend on the inputs, not at 1, and at σ_w² = 1 lengths decay like 1/2l.",
    statement=r"\sigma_b = 0,\; \sigma_w^2 \varphi'(0)^2 \le 1: \quad q^l \to 0, \quad c^l \to "
    r"c^\infty(q^0, c^0) < 1; \qquad \tanh,\, \sigma_w^2 = 1: \; q^l \sim 1/(2l)",
    assumptions=(*FEED_FORWARD, "σ_b = 0", "φ = tanh", "width → ∞"),
    source="derived here, after Schoenholz et al. (2017)",
    claims=4,
    budgets={"quick": {"samples": 600, "depth": 1000}, "full": {"samples": 3000, "depth": 10_000}},
    controls={"variance 5 % too large": {"variance": 1.05}, "a bias of 0.001": {"bias": 0.001}},
)
def no_bias_no_common_limit(lab: Lab, *, depth: int, bias: float = 0.0) -> Iterator[Claim]:
    """Networks of width 400 with σ_w² = 0.5 from correlations 0.5 and 0.9; the limits are 40-digit ones."""
    starts, limits = torch.tensor([0.5, 0.9]), torch.tensor([0.467130461324, 0.882749692241])
    for start, limit in zip(starts.tolist(), limits.tolist(), strict=True):
        model = feed_forward(TANH, 0.5, bias, 400)
        seen = gap(lab.without_error.kernels(model, (1.0, 1.0, start), depth=12))
        name = f"(1 − c) / limit after 12 layers, from {start}"
        yield lab.ratio(name, seen, 1 - limit, within=0.1)
    apart = gaps(feed_forward(TANH, 0.5, bias), 1.0, 1 - starts, depth=100)[-1]
    furthest = float((apart - (1 - limits)).abs().max())
    yield equal("largest |c − limit| after 100 layers, recursion", furthest, 0.0, 1e-9)
    along = lengths(feed_forward(TANH, lab.variance, bias), depth=depth)
    yield equal(f"2 l q at layer {depth}, σ_w² = 1", 2 * depth * float(along.q[-1]), 1.0, 0.01)


def _scaling(phi: Activation, small: float, large: float) -> float:
    """Exponent p of ξ_c ~ (1 − ρ)^{−p}, at the variances where ξ_c is infinite without dropout."""
    scales = []
    for lost in (small, large):
        weight, bias = (2.0 * (1 - lost), 0.0) if phi == RELU else (critical(phi, 0.05), 0.05)
        scales.append(phase(phi, weight, bias, keep_rate=1 - lost).xi_c or math.nan)
    return math.log(scales[0] / scales[1]) / math.log(large / small)


@theorem(
    "dropout-destroys-the-critical-line",
    words="Dropout with masks of their own keeps two inputs apart: c* < 1 at every variance, and ξ_c "
    "stays finite, of order (1 − ρ)^{−1/2} where it was infinite, and (1 − ρ)^{−1/3} for ReLU.",
    statement=r"C(1) = 1 - \frac{1-\rho}{\rho} \frac{\sigma_w^2 \mathbb{E}\varphi^2}{q^*} < 1 \implies "
    r"c^* < 1,\; \xi_c < \infty; \qquad \xi_c \sim (2\Delta\kappa)^{-1/2} \text{ at the old line}",
    assumptions=(*FEED_FORWARD, "masks of dropout of their own for each input and layer", "width → ∞"),
    source=f"{SOURCE} (loss of the critical point); exponents derived here",
    claims=5,
    budgets={"quick": {"samples": 400, "lost": 1e-8}, "full": {"samples": 1200, "lost": 1e-10}},
    controls={
        "masks are shared": {"shared": True},
        "keep rate 0.03 too large": {"keep_rate": 0.93},
        "keep rate 0.03 too small": {"keep_rate": 0.87},
        "the exponents are exchanged": {"exchanged": True, "samples": 50},
    },
)
def dropout_destroys_the_critical_line(
    lab: Lab, *, lost: float, keep_rate: float = 0.9, shared: bool = False, exchanged: bool = False
) -> Iterator[Claim]:
    """Tanh networks of width 300 on the line of σ_b² = 0.05, of which 90 % is kept, from two starts."""
    weight, bias = critical(TANH, 0.05), 0.05
    model, found = feed_forward(TANH, weight, bias, 300), phase(TANH, weight, bias, keep_rate=0.9)
    assert found.one_minus_c_star is not None
    assert found.q_star is not None
    for start in (0.0, 0.8):
        of_start = (found.q_star, found.q_star, start)
        seen = gap(dropped(lab, model, of_start, keep_rate=keep_rate, depth=24, shared=shared))
        exact = found.one_minus_c_star
        yield lab.equal(f"1 − c after 24 layers, from {start}", seen, exact, within=0.035)
    rate = late_rate(TANH, weight, bias, keep_rate=keep_rate)
    name = "rate of approach · ξ_c, recursion on the line"
    yield equal(name, rate * (found.xi_c or math.nan), 1.0, 0.003)
    exponents = (1 / 3, 1 / 2) if exchanged else (1 / 2, 1 / 3)
    for phi, exponent in zip((TANH, RELU), exponents, strict=True):
        measured = _scaling(phi, lost, 100 * lost)
        yield equal(f"exponent of ξ_c in 1/(1 − ρ), {phi}", measured, exponent, 0.005)
