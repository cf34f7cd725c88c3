r"""How the readout of networks responds to the input: differences on the same random numbers.

The response to the length of the input is a product over the layers, times what φ still passes at
the end: ∂C/∂K_0 = σ_w² a(K_L) Π (λ² + ρ² σ_w² a(K_l)), with a(K) = ∂ E φ(√K z)² / ∂K = E φ'² + φ
φ''. That of the product of two inputs to theirs has E φ'(u) φ'(v) in the place of a.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from resnet_sde.activations import ERF
from resnet_sde.blocks import SingleLayer
from resnet_sde.claims import Claim, equal
from resnet_sde.finite_width import diagonal_optimum, finite_size, off_diagonal_response, output_response
from resnet_sde.laws import WhiteNoise
from resnet_sde.meanfield import lengths
from resnet_sde.model import Model
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.fischer.networks import (
    ERF_NET,
    FEED_FORWARD,
    RESIDUAL,
    TANH_NET,
    TWO_INPUTS,
    Case,
    network,
    readout_kernels,
)
from resnet_sde.theorems.fischer.paper import DERIVED
from resnet_sde.theorems.lab import VARIANCE_OFF, Lab

STEP = 1e-4  # of K_0: small against what bends, large against rounding


def slopes(lab: Lab, case: Case, entry: int = 0) -> Tensor:
    """Derivatives of the readout's kernel in an entry of that of the states h_0, (sample, input, input)."""
    step = STEP * case.start[0]
    up, down = (
        readout_kernels(lab, replace(case, start=_moved(case.start, entry, sign * step))) for sign in (1, -1)
    )
    return (up - down) / (2 * step)


def _moved(start: tuple[float, ...], entry: int, step: float) -> tuple[float, ...]:
    return tuple(value + step * (place == entry) for place, value in enumerate(start))


def response(model: Model, case: Case, *, bent: bool = True) -> float:
    """∂C/∂K_0 of one input; without the term of φφ'' it would be that of the product of two equal inputs."""
    if bent:
        return output_response(model, case.start[0], depth=case.depth)
    return off_diagonal_response(model, case.start[0], 1.0, depth=case.depth)


@theorem(
    "input-response",
    words="The variance of the readout responds to the length of the input by a product over the "
    "layers: residual networks amplify it, feed-forward ones forget it.",
    statement=r"\partial C^{L+1} / \partial K^0 = \sigma_w^2\, a(K^L) \prod_{l<L} (\lambda^2 + "
    r"\rho^2 \sigma_w^2\, a(K^l)), \qquad a = \mathbb{E}\varphi'^2 + \mathbb{E}\varphi\varphi''",
    assumptions=(*RESIDUAL, "width → ∞"),
    source=DERIVED,
    claims=3,
    budgets={"quick": 800, "full": 5000},
    controls={"without the term of φφ''": {"bent": False}, **VARIANCE_OFF},
)
def input_response(lab: Lab, *, bent: bool = True) -> Iterator[Claim]:
    """At width 128, where the mean response is 1 % off; 5 % of σ_w² make 4 % or more."""
    cases = {
        "erf": (ERF_NET, 0.03),
        "tanh": (TANH_NET, 0.03),
        "feed-forward erf, 3 layers": (replace(FEED_FORWARD, depth=3), 0.05),
    }
    for name, (each, tolerance) in cases.items():
        case = each.at(128)
        found, exact = slopes(lab, case).flatten(), response(case.model, case, bent=bent)
        yield lab.ratio(f"∂C/∂K_0 / theory, {name}", found, exact, within=tolerance)


@theorem(
    "response-to-two-inputs",
    words="At fixed lengths the product of two inputs passes by factors with E φ'(u)φ'(v), so that "
    "close inputs are separated more than the response to lengths would say; lengths act on it "
    "with a sign of their own.",
    statement=r"\partial C^{L+1}_{12} / \partial K^0_{12} = \sigma_w^2\, e(K^L) \prod_{l<L} "
    r"(\lambda^2 + \rho^2 \sigma_w^2\, e(K^l)), \qquad e(K) = \mathbb{E}\varphi'(u)\varphi'(v)",
    assumptions=(*RESIDUAL, "width → ∞"),
    source="derived here",
    claims=3,
    budgets={"quick": 1000, "full": 6000},
    controls={"the response to lengths in its place": {"lengths": True}, **VARIANCE_OFF},
)
def response_to_two_inputs(lab: Lab, *, lengths: bool = False) -> Iterator[Claim]:
    """At width 128; two inputs of unequal lengths, and two of equal ones that are nearly parallel."""
    case = TWO_INPUTS.at(128)
    theory = case.theory.output_response
    of_product, of_length = (slopes(lab, case, entry) for entry in (2, 0))
    expected = float(theory[0, 0] if lengths else theory[2, 2])
    yield lab.ratio("∂C_12/∂K_12 / theory", of_product[:, 0, 1], expected, within=0.035)
    yield lab.ratio("∂C_12/∂K_11 / theory", of_length[:, 0, 1], float(theory[2, 0]), within=0.1)
    close = replace(case, start=(0.2, 0.2, 0.2 * 0.98))
    found = slopes(lab, close, 2)[:, 0, 1]
    expected = off_diagonal_response(case.model, 0.2, 0.98, depth=case.depth)
    if lengths:
        expected = output_response(case.model, 0.2, depth=case.depth)
    yield lab.ratio("∂C_12/∂K_12 / theory, nearly parallel", found, expected, within=0.1)


@theorem(
    "response-peak",
    words="As a function of the residual scale ρ the response has one maximum: the skip branches "
    "carry the more the larger ρ is, and the readout passes the less.",
    statement=r"\rho \mapsto a(K^L) \prod_{l<L} (1 + \rho^2 \sigma_w^2\, a(K^l)) \quad \text{rises "
    r"up to } \rho^* \text{ and falls beyond}",
    assumptions=(*RESIDUAL, "λ = 1", "a saturating φ", "inputs short of saturation", "width → ∞"),
    source=DERIVED,
    claims=3,
    budgets={"quick": 700, "full": 4000},
    controls={"networks without biases": {"bias": 0.0}, **VARIANCE_OFF},
)
def response_peak(lab: Lab, *, bias: float = 0.05) -> Iterator[Claim]:
    """Networks of width 128 and 20 layers of erf, at ρ* = 0.2365, at ρ*/1.6 and at 1.6 ρ*."""
    start, depth = 0.05, 20
    best = diagonal_optimum(network(ERF, 1.0, 0.05, 1.0), start, depth=depth).scale
    assert best is not None

    def at(scale: float, sigma_b2: float = 0.05) -> Case:
        return Case(network(ERF, 1.0, sigma_b2, scale, width=128), (start,), depth)

    top = output_response(at(best).model, start, depth=depth)
    for name, factor in (("ρ*", 1.0), ("ρ*/1.6", 1 / 1.6), ("1.6 ρ*", 1.6)):
        found = lab.mean(slopes(lab, at(factor * best, bias)).flatten(), unit=top)
        expected = output_response(at(factor * best).model, start, depth=depth) / top
        yield lab.equal(f"response at {name} / theory at ρ*", found, expected, within=0.035)


@theorem(
    "responses-of-kernels",
    words="The response of the kernel at every layer to that of the input is its derivative, a product of "
    "factors of the layers in between.",
    statement=r"\partial K^l / \partial K^m = \prod_{m \le k < l} \left(\lambda^2 + \rho^2 \sigma_w^2 "
    r"a(K^k)\right)",
    assumptions=RESIDUAL,
    source=DERIVED,
    claims=2,
    budgets={"quick": {"depth": 8}, "full": {"depth": 12}},
    controls={"variance off by 0.1 %": {"variance": 1.001}},
)
def responses_of_kernels(lab: Lab, *, depth: int) -> Iterator[Claim]:
    """By central differences of the recursion of lengths, with and without a skip branch."""
    for name, skip, gain in (("residual", 1.0, 0.5), ("feed-forward", 0.0, 1.0)):
        case = Model(SingleLayer(ERF, 1.5, 0.1), WhiteNoise(), 1, beta=0.0, gain=gain, skip=skip)
        up, down = (lengths(case, 1.5 + sign * STEP, depth=depth).q for sign in (1, -1))
        seen = replace(case, gain=gain * lab.variance**0.5)
        found = finite_size(seen, 1.5, depth=depth).kernel_response[:, 0]
        error = (found * 2 * STEP / (up - down) - 1).abs()[: depth // 2].max()
        yield equal(f"largest relative difference, {name}", error, 0.0, 1e-6)
