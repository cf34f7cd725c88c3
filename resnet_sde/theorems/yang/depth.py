"""What depth asks for: distances that grow like gradients, branches scaled with depth, good variances."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from resnet_sde.activations import RELU, TANH, AlphaReLU
from resnet_sde.blocks import Reduced, TwoLayer
from resnet_sde.claims import Claim, equal
from resnet_sde.laws import WhiteNoise
from resnet_sde.meanfield import depth_law, flow, flow_gaps, gaps, lengths, recommend_variances
from resnet_sde.model import Model
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_ERRORS, Lab, ask, critical
from resnet_sde.theorems.yang.networks import FULL_TANH, RESIDUAL, last_layer, residual
from resnet_sde.theorems.yang.paper import SOURCE


@theorem(
    "expressivity-is-gradient-explosion",
    words="The distance of two close inputs grows through the network as mean squared gradients do, on "
    "average at every width.",
    statement=r"\lim_{s^0 \to 0} s^L / s^0 = \chi^0/\chi^L; \qquad \mathbb{E}\|J u\|^2 = "
    r"\mathbb{E}\|J^\top p\|^2 \text{ for random unit } u, p",
    assumptions=(*RESIDUAL, "inputs that tend to each other", "gradient at the top random"),
    source=f"{SOURCE} (metric expressivity); equality derived here",
    claims=3,
    budgets={"quick": 30_000, "full": 60_000},
    controls={"inputs that are not close": {"gap": 0.5}, "variance 5 % too large": {"variance": 1.05}},
)
def expressivity_is_gradient_explosion(lab: Lab, *, gap: float = 1e-9) -> Iterator[Claim]:
    """Recursions over 20 layers, gradients without the error; both in the same networks of width 10."""
    for block in (FULL_TANH, replace(FULL_TANH, activation=RELU)):
        case, phi = residual(block), block.activation
        seen = lab.with_error(case)
        apart = math.log(float(gaps(seen, 1.0, gap, depth=20)[-1]) / gap)
        apart += float(lengths(seen, depth=20).log_q[-1])
        growth = float(lengths(case, depth=20).log_gradient_growth[-1])
        yield equal(f"log s^20/s^0, {phi}", apart, growth, 1e-4)
    case, near = residual(FULL_TANH, 10), max(gap, 1e-4)  # of float32 states
    found = last_layer(lab, case, 1 - near, depth=4)
    unit = float(lengths(case, depth=4).log_gradient_growth[-1].exp())
    off = lab.mean(found.apart / near - found.log_growth.exp(), unit=unit)
    yield lab.equal("(E s^4/s^0 − E χ^0/χ^4) / recursion, networks", off, 0.0, within=0.06)


@theorem(
    "kernel-flow",
    words="With branches scaled by L^{−1/2} lengths, cosines and gradients of wide networks tend to an "
    "ordinary equation in l/L, with an error of order 1/L.",
    statement=r"\dot p = \sigma_v^2 \mathbb{E}\varphi(\sqrt q z)^2 + \sigma_a^2, \quad \dot s = "
    r"\tfrac{\sigma_v^2}{2} \mathbb{E}(\varphi(u) - \varphi(v))^2, \quad \tfrac{d}{dt} \log\chi^0/\chi^t = "
    r"\sigma_v^2 \sigma_w^2 \mathbb{E}\varphi'(\sqrt q z)^2",
    assumptions=(
        "x ← x + L^{−1/2} (V φ(W x + b) + a), or one matrix, or reduced with odd φ",
        "white Gaussian weights and biases",
        "width → ∞, then L → ∞",
    ),
    source="derived here, after Yang & Schoenholz (2017) and Marion et al. (2025)",
    claims=5,
    budgets={"quick": {"samples": 250, "depth": 64}, "full": {"samples": 1000, "depth": 64}},
    controls={**VARIANCE_ERRORS, "beta off by 0.05": {"beta": 0.45}},
    own_models=True,
)
def kernel_flow(lab: Lab, *, depth: int) -> Iterator[Claim]:
    """The error of the recursion halves when the depth doubles; networks of width 400 and the equation."""
    ((_, case),) = lab.cases({"full": Model(TwoLayer(TANH, 4.0, 0.25, 4.0, 0.5), WhiteNoise(), 400)})
    at_critical = critical(case)
    limit = ask(flow, at_critical, steps=2)
    gap = float(ask(flow_gaps, at_critical, 1.0, 0.5, torch.tensor([0.0, 1.0]))[-1])
    p, growth = float(limit.kernel[-1, -1]), float(limit.log_gradient_growth[-1])
    seen = lab.with_error(case)
    few, many = (lengths(seen, depth=depth) for depth in (512, 1024))
    for name, ends_of, end in (
        ("p", [float(along.q[-1]) for along in (few, many)], p),
        ("log χ^0/χ^L", [float(along.log_gradient_growth[-1]) for along in (few, many)], growth),
    ):
        ratio = (ends_of[0] - end) / (ends_of[1] - end)
        yield equal(f"error of {name} at 512 layers / at 1024", ratio, 2.0, 0.03)
    found = last_layer(lab, case, 0.5, depth=depth)
    yield lab.ratio(f"p / limit, networks of {depth} layers", found.length, p, within=0.05)
    yield lab.ratio(f"s / limit, networks of {depth} layers", found.apart, p * gap, within=0.07)
    off = lab.mean(found.log_growth - growth)
    yield lab.equal(f"log χ^0/χ^L − limit, networks of {depth} layers", off, 0.0, within=0.12)


@theorem(
    "recommended-variances",
    words="The variance at which gradients grow by a given factor falls like 1/L in saturating networks; "
    "for a power α of ReLU the one at which lengths do falls like L^{−1/α}.",
    statement=r"\log \chi^0/\chi^L = T \implies \sigma_w^2 L \to \kappa(T); \qquad \log p^L = T,\; "
    r"\varphi = x_+^\alpha \implies \sigma_w^2 L^{1/\alpha} \to \text{const}",
    assumptions=(*RESIDUAL, "width → ∞"),
    source=f"{SOURCE} (1/L); constants and the power derived here",
    claims=3,
    budgets={"quick": {"samples": 400, "depth": 1024}, "full": {"samples": 1500, "depth": 2048}},
    controls={
        "variance 5 % too large": {"variance": 1.05},
        "1/L for every activation": {"power": 1.0, "samples": 50},
    },
)
def recommended_variances(lab: Lab, *, depth: int, power: float | None = None) -> Iterator[Claim]:
    """Reduced tanh networks of width 800 and 32 layers reach the target; variances of deep ones."""
    block = Reduced(TANH, sigma_b2=0.5)
    found = recommend_variances(32, block, target_log_gradient_growth=2.0).block
    assert isinstance(found, Reduced)
    seen = residual(replace(found, sigma_w2=lab.variance * found.sigma_w2), 800)
    growth = last_layer(lab.without_error, seen, None, depth=32).log_growth
    yield lab.equal("log χ^0/χ^32, networks", growth, 2.0, within=0.045)
    ratio = lab.variance * recommend_variances(depth, block).sigma_w2 / depth_law(block)(depth)
    yield equal(f"σ_w² / its law at {depth} layers, tanh", ratio, 1.0, 0.01)
    of_power = TwoLayer(AlphaReLU(0.75))
    less, more = (recommend_variances(layers, of_power).sigma_w2 for layers in (depth // 4, depth))
    expected = 1 / 0.75 if power is None else power
    exponent = math.log(less / more) / math.log(4)
    yield equal("exponent of σ_w² in 1/L, α = 0.75", exponent, expected, 0.005)
