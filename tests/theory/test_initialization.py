"""Variances for a depth: tabulated values, the targets reached, the law for many layers, and refusals."""

import math
from dataclasses import replace

import pytest
from residual_models import ORACLES, residual

from resnet_sde import (
    GELU,
    LINEAR,
    RELU,
    SIGMOID,
    TANH,
    Activation,
    AlphaReLU,
    Block,
    LeakyReLU,
    Reduced,
    SingleLayer,
    TwoLayer,
)
from resnet_sde.activations import ERF
from resnet_sde.meanfield import lengths
from resnet_sde.meanfield.initialization import depth_law, recommend_variances

ROWS = ORACLES["recommended_sw2"]["rows"]
LIMITS = [
    {1.0: 1.0, 2.0: 2.0, 4.0: 4.0},
    {1.0: 1.97865, 2.0: 4.71494, 4.0: 13.34536},
    {1.0: 1.86192, 2.0: 4.94619, 4.0: 15.92751},
    {1.0: 2.48558, 2.0: 6.86616, 4.0: 22.26706},
]
ACTIVATIONS = [TANH, LINEAR, SIGMOID, ERF, RELU, LeakyReLU(0.3), GELU, AlphaReLU(0.75)]

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['arch']}-{row['sb2']}")


def block_of(row: dict) -> TwoLayer | Reduced:
    if row["arch"] == "FRN":
        return TwoLayer(TANH, sigma_b2=row["sb2"], sigma_v2=row["sv2"], sigma_a2=row["sa2"])
    return Reduced(TANH, sigma_b2=row["sb2"])


@every_row
def test_tabulated_variances(row: dict) -> None:
    found = {depth: recommend_variances(depth, block_of(row)) for depth in row["L"]}
    for depth, expected in zip(row["L"], row["sw2"], strict=True):
        assert math.isclose(found[depth].sigma_w2, expected, rel_tol=1e-6)  # seven digits are tabulated
        assert abs(found[depth].log_gradient_growth - row["T"]) < 1e-10
        assert found[depth].method == "root search"
    logs = {depth: math.log(each.sigma_w2) for depth, each in found.items()}
    late, early = (logs[1024] - logs[256]) / math.log(4), (logs[64] - logs[8]) / math.log(8)
    assert -1.029 < late < -1.006  # close to σ_w² L = const
    assert -1.45 < early < -1.16  # steeper at the depths in use
    # A variance that does not know the depth explodes: 1 from sixteen layers on, 2 from eight on.
    assert found[16].sigma_w2 < 1
    assert found[8].sigma_w2 < 2


@every_row
def test_the_law_for_many_layers(row: dict) -> None:
    block = block_of(row)
    for target, expected in LIMITS[ROWS.index(row)].items():
        law = depth_law(block, target_log_gradient_growth=target)
        assert abs(law.constant - expected) < 5.1e-6
        assert law.exponent == 1.0


@pytest.mark.parametrize("block", [TwoLayer, Reduced, SingleLayer], ids=lambda block: block.__name__)
@pytest.mark.parametrize(
    ("phi", "of_gradients"),
    [*((phi, True) for phi in ACTIVATIONS[::2]), *((phi, False) for phi in (TANH, *ACTIVATIONS[4:]))],
    ids=lambda value: str(value) if isinstance(value, Activation) else "gradients" if value else "lengths",
)
def test_targets_are_reached(phi: Activation, of_gradients: bool, block: type[Block]) -> None:
    """By every block and activation; with the variance 2 % larger, they are exceeded."""
    given = block(phi, sigma_b2=1e-4)
    targets = {"target_log_gradient_growth": 1.5} if of_gradients else {"target_log_p": 1.5}
    found = recommend_variances(10, given, p0=0.7, **targets)
    assert found.block == replace(given, sigma_w2=found.sigma_w2)
    reached = lengths(residual(found.block), 0.7, depth=10)
    assert found.log_p == float(reached.log_q[-1])
    assert found.log_gradient_growth == float(reached.log_gradient_growth[-1])
    assert abs((found.log_gradient_growth if of_gradients else found.log_p) - 1.5) < 1e-9
    more = lengths(residual(replace(given, sigma_w2=1.02 * found.sigma_w2)), 0.7, depth=10)
    assert float((more.log_gradient_growth if of_gradients else more.log_q)[-1]) > 1.501


@pytest.mark.parametrize(
    ("phi", "of_gradients"), list(zip(ACTIVATIONS, [True] * 4 + [False] * 4, strict=True)), ids=str
)
def test_what_holds_an_activation_back(phi: Activation, of_gradients: bool) -> None:
    found = recommend_variances(16, TwoLayer(phi))
    assert math.isclose(found.log_gradient_growth if of_gradients else found.log_p, 2.0, rel_tol=1e-9)


def test_closed_forms() -> None:
    """For ReLU σ_v² σ_w² = 2 (e^{T/L} − 1), and half of that for a linear network."""
    found = recommend_variances(64, TwoLayer(RELU, sigma_v2=3.0), target_log_p=1.7)
    assert found.method == "closed form"
    assert math.isclose(3 * found.sigma_w2, 2 * math.expm1(1.7 / 64), rel_tol=1e-14)
    found = recommend_variances(64, SingleLayer(LINEAR, sigma_b2=0.3), target_log_gradient_growth=1.7)
    assert found.method == "closed form"
    assert math.isclose(found.sigma_w2, math.expm1(1.7 / 64), rel_tol=1e-14)
    # With biases there is none; the search agrees where they vanish.
    found = recommend_variances(64, TwoLayer(RELU, sigma_a2=1e-14), target_log_p=1.7)
    assert found.method == "root search"
    assert math.isclose(found.sigma_w2, 2 * math.expm1(1.7 / 64), rel_tol=1e-11)
    largest = recommend_variances(64, TwoLayer(RELU), target_log_p=80.0)
    assert abs(largest.log_p - 80) < 1e-9


def test_the_law_of_powers() -> None:
    """σ_w² ~ L^{−1/α}, not 1/L: tabulated values of σ_w² L^{4/3} for α = 3/4."""
    block = TwoLayer(AlphaReLU(0.75))
    for depth, expected in ((16, 11.704), (64, 11.160), (256, 11.029), (1024, 10.997)):
        assert abs(recommend_variances(depth, block).sigma_w2 * depth ** (4 / 3) - expected) < 5.1e-4


@pytest.mark.parametrize(
    ("block", "exponent"),
    [
        (TwoLayer(TANH, sigma_b2=0.25, sigma_a2=0.25), 1.0),
        (Reduced(TANH), 1.0),
        (TwoLayer(SIGMOID), 1.0),
        (TwoLayer(RELU, sigma_v2=2.0), 1.0),
        (Reduced(LINEAR), 1.0),
        (Reduced(LeakyReLU(0.3)), 2.0),
        (TwoLayer(AlphaReLU(0.75)), 4 / 3),
    ],
    ids=str,
)
def test_variances_tend_to_the_law(block: TwoLayer | Reduced, exponent: float) -> None:
    """With an error of O(1/L): five times the layers, a fifth of the error."""
    law = depth_law(block, p0=0.8)
    assert law.exponent == exponent
    few, many = (recommend_variances(depth, block, p0=0.8).sigma_w2 / law(depth) - 1 for depth in (200, 1000))
    assert abs(many) < 0.02
    assert 4.5 < few / many < 5.5


@pytest.mark.parametrize(
    ("depth", "block", "more", "match"),
    [
        (0, TwoLayer(TANH), {}, "depth must be a positive integer"),
        (8, TwoLayer(TANH), {"p0": 0.0}, "p0 is the mean square"),
        (8, TwoLayer(TANH), {"target_log_p": 2.0, "target_log_gradient_growth": 2.0}, "two targets"),
        (8, TwoLayer(TANH), {"target_log_gradient_growth": -1.0}, "positive and finite"),
        (8, TwoLayer(TANH), {"target_log_p": math.nan}, "must be finite"),
        (64, TwoLayer(RELU, sigma_a2=0.5), {}, "the input and the biases alone reach 3.497"),
        (8, TwoLayer(RELU), {"p0": 9.0}, "alone reach 2.197"),
        (4, TwoLayer(TANH), {"target_log_gradient_growth": 1e4}, "not reached at depth 4"),
        (4, TwoLayer(TANH, sigma_v2=0.0), {}, "not reached at depth 4"),
        (64, TwoLayer(RELU), {"target_log_p": 81.0}, "above max_log_p = 80"),
        (64, TwoLayer(LINEAR), {"target_log_gradient_growth": 9.0, "max_log_p": 8.0}, "above max_log_p = 8"),
    ],
)
def test_refusals(depth: int, block: Block, more: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        recommend_variances(depth, block, **more)


@pytest.mark.parametrize(
    ("block", "more"),
    [
        (TwoLayer(RELU, sigma_b2=0.1), {}),
        (TwoLayer(RELU), {"target_log_p": -1.0}),
        (TwoLayer(AlphaReLU(0.75)), {"target_log_gradient_growth": 1.0}),
        (Reduced(AlphaReLU(0.75)), {}),
        (Reduced(SIGMOID), {}),
        (TwoLayer(GELU), {}),
        (TwoLayer(TANH), {"target_log_p": 1.0}),
        (TwoLayer(TANH, sigma_v2=0.0), {}),
    ],
    ids=str,
)
def test_no_law_for_many_layers(block: TwoLayer | Reduced, more: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no law in depth is known"):
        depth_law(block, **more)
