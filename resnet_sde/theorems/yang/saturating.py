r"""Activations that saturate: lengths grow linearly, gradients like e^{A √l}, cosines fall like powers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import ERF, TANH
from resnet_sde.blocks import Reduced, TwoLayer
from resnet_sde.claims import Claim, equal
from resnet_sde.meanfield import gaps, lengths, parameter_gradients
from resnet_sde.meanfield.asymptotics import SaturatingAsymptotics
from resnet_sde.model import Model
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import Lab, gap
from resnet_sde.theorems.yang.networks import FULL_TANH, RESIDUAL, laws_of, logs_along, residual
from resnet_sde.theorems.yang.paper import SOURCE

SATURATING = (*RESIDUAL, "φ odd, tending to ±1 as fast as tanh", "width → ∞")
REFINED = f"{SOURCE} (leading order); further terms derived here"
RECURSIONS = {"full tanh": FULL_TANH, "reduced erf": Reduced(ERF)}


def laws(model: Model) -> SaturatingAsymptotics:
    """The laws of a network that saturates."""
    return laws_of(model, SaturatingAsymptotics)


@theorem(
    "saturating-lengths",
    words="In residual networks that saturate lengths grow linearly with depth, less a multiple of its "
    "root and of its logarithm.",
    statement=r"p^l = b l - \kappa \sqrt{l} - \tfrac{\kappa^2}{4b} \log l + O(1), \quad b = \sigma_v^2 + "
    r"\sigma_a^2, \quad \tanh: \kappa = 2\sigma_v^2 \sqrt{2/\pi} / (\sigma_w \sqrt{b})",
    assumptions=SATURATING,
    source=REFINED,
    claims=3,
    budgets={"quick": {"samples": 350, "depth": 10_000}, "full": {"samples": 1200, "depth": 40_000}},
    controls={
        "variance 5 % too large": {"variance": 1.05},
        "without the term in log l": {"with_log": False, "samples": 50},
    },
)
def saturating_lengths(lab: Lab, *, depth: int, with_log: bool = True) -> Iterator[Claim]:
    """What is O(1) in recursions stops changing; networks of width 400 grow by the law itself."""
    for name, block in RECURSIONS.items():
        law = laws(residual(block))
        along = lengths(lab.with_error(residual(block)), depth=depth).q
        at = torch.tensor([1000.0, float(depth)])
        law_at = law.length(at) - (0.0 if with_log else law.d_log * at.log())
        change = float((along[at.long()] - law_at).diff())
        yield equal(f"change of p − law from layer 1000 to {depth}, {name}", change, 0.0, 0.1)
    law, last = laws(residual(FULL_TANH)), torch.tensor([32.0, 128.0])
    grown = float(law.length(last).diff())
    seen = logs_along(lab, residual(FULL_TANH, 400), ob.log10_length, 128).exp()
    moved = seen[:, 128] - seen[:, 32]
    yield lab.ratio("(p^128 − p^32) / law, networks, full tanh", moved, grown, within=0.04)


@theorem(
    "saturating-gradients",
    words="In residual networks that saturate gradients explode like the exponential of a multiple of "
    "√l, times a power of l; biases inside have a factor √l more, weights inside one less.",
    statement=r"\log \chi^0/\chi^l = A\sqrt{l} + A_{\log} \log l + O(1), \quad \tanh: A = \tfrac43 "
    r"\sqrt{2/\pi}\, \sigma_v^2 \sigma_w / \sqrt{b}; \qquad \chi_b^m/\chi_b^l = (l/m)^{1/2} "
    r"\chi^m/\chi^l, \quad \chi_w^m/\chi_w^l = (m/l)^{1/2} \chi^m/\chi^l",
    assumptions=(*SATURATING, "gradient at the top random and independent of the weights"),
    source=REFINED,
    claims=5,
    budgets={"quick": {"samples": 220, "depth": 10_000}, "full": {"samples": 500, "depth": 40_000}},
    controls={
        "variance 5 % too large": {"variance": 1.05},
        "without the term in log l": {"with_log": False, "samples": 50},
        "l^0.45 in place of √l": {"half": 0.45, "samples": 50},
    },
)
def saturating_gradients(
    lab: Lab, *, depth: int, with_log: bool = True, half: float = 0.5
) -> Iterator[Claim]:
    """What is O(1) in recursions stops changing; networks of width 1000 follow the law."""

    def law_at(model: Model, *layers: float) -> Tensor:
        law, at = laws(model), torch.tensor(layers)
        return law.log_gradient_growth(at) - (0.0 if with_log else law.a_log * at.log())

    for name, block in RECURSIONS.items():
        along = lengths(lab.with_error(residual(block)), depth=depth).log_gradient_growth
        change = float(along[depth] - along[1000] - law_at(residual(block), 1000.0, float(depth)).diff())
        yield equal(f"change of log χ^0/χ^l − law, 1000 to {depth}, {name}", change, 0.0, 0.05)
    logs = logs_along(lab, residual(FULL_TANH, 1000), ob.log10_gradient_length, 128)
    off = logs[:, 32] - logs[:, 128] - float(law_at(residual(FULL_TANH), 32.0, 128.0).diff())
    yield lab.equal("log χ^32/χ^128 − law, networks, full tanh", off, 0.0, within=0.13)
    deep = parameter_gradients(residual(FULL_TANH), depth=depth)
    assert deep.log_inner is not None
    assert deep.log_inner_bias is not None
    for name, column, power in (("biases", deep.log_inner_bias, -half), ("weights", deep.log_inner, half)):
        extra = column - deep.log_state
        slope = float(extra[depth - 1] - extra[depth // 2 - 1]) / math.log(2)
        yield equal(f"exponent of inner {name} beside the state", slope, power, 0.01)


@theorem(
    "saturating-cosines",
    words="With a bias outside, the cosine of two inputs tends to a number e* < 1 that depends on "
    "σ_a²/σ_v² alone, like l^{−δ*}, behind a term of order l^{−1/2} that hides it.",
    statement=r"e^* = (\sigma_v^2 \tfrac2\pi \arcsin e^* + \sigma_a^2)/b, \quad e^l - e^* = K l^{-\delta^*} "
    r"- F l^{-1/2} + \ldots, \quad \delta^* = 1 - \tfrac{\sigma_v^2}{b}\, \tfrac2\pi (1 - e^{*2})^{-1/2}",
    assumptions=(*SATURATING, "σ_a > 0", "inputs that are not equal"),
    source=f"{SOURCE} (e*, δ*); the correction is derived here",
    claims=3,
    budgets={"quick": {"samples": 400, "depth": 800}, "full": {"samples": 1000, "depth": 2000}},
    controls={
        "σ_a² 5 % too large": {"outer_bias": 1.05},
        "σ_a² 5 % too small": {"outer_bias": 0.95},
        "the bias outside is forgotten": {"outer_bias": 0.0},
        "without the term in l^{−1/2}": {"corrected": False, "samples": 50},
    },
)
def saturating_cosines(
    lab: Lab, *, depth: int, outer_bias: float = 1.0, corrected: bool = True
) -> Iterator[Claim]:
    """Slopes of log (e^l − e* + F l^{−1/2}) over half of the recursion, from cosine 0; networks."""
    for name, block in (
        ("σ_a²/σ_v² = 1/4", FULL_TANH),
        ("σ_a²/σ_v² = 1/3", TwoLayer(TANH, 1.69, 0.49, 1.5, 0.5)),
    ):
        law = laws(residual(block))
        moved = replace(block, sigma_a2=outer_bias * block.sigma_a2)
        at = torch.tensor([float(depth // 2), float(depth)])
        over = law.one_minus_e_star - gaps(residual(moved), 1.0, 1.0, depth=depth)[at.long()]
        over = over + (law.f / at.sqrt() if corrected else 0.0)
        slope = float(over.abs().log().diff()) / math.log(2)
        yield equal(f"exponent of e − e*, {name}", slope, -law.delta_star, 0.013)
    theory = float(gaps(residual(FULL_TANH), 1.0, 1.0, depth=24)[-1])
    found = replace(FULL_TANH, sigma_a2=outer_bias * FULL_TANH.sigma_a2)
    apart = gap(lab.kernels(residual(found, 400), (1.0, 1.0, 0.0), depth=24))
    yield lab.equal("1 − e at layer 24 − recursion, networks", apart - theory, 0.0, within=0.02)


@theorem(
    "saturating-cosines-without-outer-bias",
    words="Without a bias outside, two inputs become orthogonal like l^{−(1 − 2/π)}, from the side on "
    "which their first covariance lies; where it is zero, their covariance never moves.",
    statement=r"\sigma_a = 0: \quad \gamma^l + \sigma_b^2/\sigma_w^2 \sim K l^{2/\pi} e^{-4\kappa/(\pi b "
    r"\sqrt l)}, \quad \mathrm{sign} K = \mathrm{sign}(\sigma_w^2 \gamma^0 + \sigma_b^2), \quad e^l \sim "
    r"\tfrac{K}{b} l^{-(1 - 2/\pi)}",
    assumptions=(*SATURATING, "σ_a = 0"),
    source=f"{SOURCE} (e* = 0); exponent and sign derived here",
    claims=4,
    budgets={"quick": {"samples": 1100, "depth": 1000}, "full": {"samples": 3000, "depth": 2000}},
    controls={
        "an outer bias of 0.01": {"outer_bias": 0.01},
        "first covariance 0.05 instead of 0": {"shift": 0.05},
        "without the term in l^{−1/2}": {"corrected": False, "samples": 50},
    },
)
def saturating_cosines_without_outer_bias(
    lab: Lab, *, depth: int, outer_bias: float = 0.0, shift: float = 0.0, corrected: bool = True
) -> Iterator[Claim]:
    """σ_w² = 1 and σ_b² = 1/2, so that the covariance stays where the cosine of the inputs is −1/2."""
    block = TwoLayer(TANH, 1.0, 0.5, 1.0, outer_bias)
    starts, at = torch.tensor([0.0, -0.8, -0.5 + shift]), [depth // 2, depth]
    p = lengths(residual(block), depth=depth).q[:, None]
    covariance = p * (1 - gaps(residual(block), 1.0, 1 - starts, depth=depth)) + 0.5
    law = laws(residual(replace(block, sigma_a2=0.0)))
    late = 4 * law.kappa / (math.pi * law.b) * (depth**-0.5 - (depth // 2) ** -0.5) if corrected else 0.0
    for place, side, sign in ((0, "above", 1.0), (1, "below", -1.0)):
        slope = (float((sign * covariance[at, place]).log().diff()) + late) / math.log(2)
        yield equal(f"exponent of the covariance, from {side}", slope, 2 / math.pi, 0.01)
    moved = float(covariance[:, 2].abs().max())
    yield equal("largest covariance where it starts at 0, recursion", moved, 0.0, 1e-9)
    kernel = lab.kernels(residual(block, 400), (1.0, 1.0, -0.5 + shift), depth=16)
    yield lab.equal("mean covariance where it starts at 0, networks", kernel[:, 0, 1] + 0.5, 0.0, within=0.2)
