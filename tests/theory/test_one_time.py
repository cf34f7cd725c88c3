"""Lengths and gradients of independent layers: exact values, at any depth and scale."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch

from resnet_sde import (
    LINEAR,
    RELU,
    TANH,
    Block,
    FractionalNoise,
    Model,
    Reduced,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
)
from resnet_sde.activations import ERF, GELU, SIGMOID, AlphaReLU, LeakyReLU
from resnet_sde.meanfield import Lengths, displacement, lengths, two_time

FULL = (1.5, 0.3, 0.8, 0.2)
BLOCKS = {
    "res-1 linear": SingleLayer(LINEAR, 0.7, 0.1),
    "res-1 ReLU": SingleLayer(RELU, 1.2, 0.1),
    "res-1 GELU": SingleLayer(GELU),
    "res-1 sigmoid": SingleLayer(SIGMOID),
    "full tanh": TwoLayer(TANH, *FULL),
    "full leaky": TwoLayer(LeakyReLU(0.3), *FULL),
    "full α-ReLU": TwoLayer(AlphaReLU(0.75), *FULL),
    "reduced erf": Reduced(ERF, 1.3, 0.2),
    "reduced ReLU": Reduced(RELU, 0.4, 0.2),
    "reduced sigmoid": Reduced(SIGMOID, 0.4, 0.2),
}
every_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)


def white(block: Block, beta: float = 0.5, gain: float = 1.0, skip: float = 1.0) -> Model:
    return Model(block, WhiteNoise(), 1, beta=beta, gain=gain, skip=skip)


def close(found: torch.Tensor | float, expected: torch.Tensor | float, rel: float = 1e-12) -> None:
    found, expected = (torch.as_tensor(x, dtype=torch.float64) for x in (found, expected))
    torch.testing.assert_close(found, expected, rtol=rel, atol=0)


# --- Layer by layer.


@every_block
@pytest.mark.parametrize("skip", [1.0, 0.7, 0.0, -1.0])
@pytest.mark.parametrize("keep_rate", [1.0, 0.6])
def test_one_layer(block: Block, skip: float, keep_rate: float) -> None:
    """Each layer from the one before it, by the moments themselves."""
    model, depth = white(block, 0.2, skip=skip), 12
    found, a2 = lengths(model, 0.8, depth=depth, keep_rate=keep_rate), model.alpha(12) ** 2
    weight, bias, of_weights, of_bias = block.variances
    q, phi = found.q[:-1], block.activation
    r, mode = weight * q + bias, (found.mean * found.q.sqrt())[:-1]
    shifted = isinstance(block, Reduced) and not phi.odd
    pull = model.alpha(12) * phi.mean(r) if shifted else torch.zeros(depth)
    branch = of_weights * phi.second_moment(r) / keep_rate + of_bias
    close(found.q[1:], skip**2 * q + 2 * skip * mode * pull + a2 * branch)
    after = (found.mean * found.q.sqrt())[1:]
    torch.testing.assert_close(after, skip * mode + pull, rtol=1e-12, atol=1e-15)
    factor = skip**2 + a2 * of_weights * weight * phi.second_moment_prime(r) / keep_rate
    torch.testing.assert_close(found.log_gradient_growth.diff(), factor.log(), rtol=1e-11, atol=1e-14)
    kept = skip ** torch.arange(depth + 1)
    expected = found.q / 0.8 + 1 - 2 * kept
    torch.testing.assert_close(found.displacement2, expected, rtol=1e-12, atol=1e-14)


def test_start() -> None:
    found = lengths(white(BLOCKS["full tanh"]), 0.8, depth=5)
    assert isinstance(found, Lengths)
    assert {column.shape for column in vars(found).values()} == {(6,)}
    assert {column.dtype for column in vars(found).values()} == {torch.float64}
    close(found.q[0], 0.8, 1e-15)
    assert found.displacement2[0] == found.mean[0] == found.log_gradient_growth[0] == 0


# --- Closed forms, deep and small.


@pytest.mark.parametrize(
    ("block", "keep_rate", "c"),
    [
        (SingleLayer(RELU), 1.0, 0.5),
        (TwoLayer(RELU, 2.0, 0.0, 3.0), 1.0, 3.0),
        (SingleLayer(LINEAR), 0.7, 1 / 0.7),
    ],
    ids=["res-1 ReLU", "res-3", "dropout"],
)
@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0, 2.0])
def test_homogeneous_layers_multiply(block: Block, keep_rate: float, c: float, beta: float) -> None:
    """E‖h_L − h_0‖² / ‖h_0‖² = (1 + cα²)^L − 1, whether it is 1e-15 or beyond all floats."""
    depth = 100_000
    model = white(block, beta)
    found = lengths(model, depth=depth, keep_rate=keep_rate)
    exponent = depth * math.log1p(c * model.alpha(depth) ** 2)
    close(found.log_q[-1], exponent, 1e-12)
    close(found.log_gradient_growth[-1], exponent, 1e-12)
    expected = math.expm1(exponent) if exponent < 700 else math.inf
    close(found.displacement2[-1], expected, 1e-11 if exponent > 100 else 1e-12)
    if exponent > 720:
        assert found.q[-1] == math.inf


@pytest.mark.parametrize("phi", [RELU, GELU, TANH], ids=str)
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_no_digits_are_lost_in_a_hundred_thousand_layers(phi: type, beta: float) -> None:
    """The sum of logarithms of all layers, taken exactly at the states that were found."""
    model, depth = white(SingleLayer(phi), beta), 100_000
    found = lengths(model, depth=depth)
    # Beyond 1e90, ReLU and GELU are homogeneous.
    q, a2 = found.q[:-1].clamp(max=1e90), model.alpha(depth) ** 2
    forward = torch.log1p(a2 * phi.second_moment(q) / q).tolist()
    backward = torch.log1p(a2 * phi.second_moment_prime(q)).tolist()
    close(found.log_q[-1], math.fsum(forward), 1e-13)
    close(found.log_gradient_growth[-1], math.fsum(backward), 1e-12)


@pytest.mark.parametrize("depth", [1, 2, 1000])
def test_the_smallest_displacements_keep_their_digits(depth: int) -> None:
    """At β = 2 states hardly move: two terms of a Taylor series in α² are exact."""
    model = white(SingleLayer(TANH), 2.0, gain=1e-4)
    q, zero = torch.tensor(0.8), torch.tensor(0.0)
    s = float(TANH.second_moment(q))
    rise = float(TANH.second_moment_prime(q) + TANH.mean_curvature(q, q, gap=zero))
    a2 = model.alpha(depth) ** 2
    expected = (depth * a2 * s + a2**2 * s * rise * depth * (depth - 1) / 2) / 0.8
    assert expected < 2e-8
    close(lengths(model, 0.8, depth=depth).displacement2[-1], expected, 1e-13)


@mp.workdps(40)
def test_a_mean_that_adds_up() -> None:
    """Reduced ReLU against 40 digits; its states share a mean that grows with every layer."""
    model, depth = white(Reduced(RELU, 0.4, 0.2), 0.5), 200
    alpha2 = mp.mpf(1) / depth
    q, mode, growth = mp.mpf(1), mp.mpf(0), mp.mpf(0)
    moved = []
    for _ in range(depth):
        r = mp.mpf("0.4") * q + mp.mpf("0.2")
        pull = mp.sqrt(alpha2 * r / (2 * mp.pi))
        q, mode = q + 2 * mode * pull + alpha2 * r / 2, mode + pull
        growth += mp.log(1 + alpha2 * mp.mpf("0.2"))
        moved.append(float(q - 1))
    found = lengths(model, depth=depth)
    close(found.displacement2[1:], torch.tensor(moved), 1e-13)
    close(found.mean[-1], float(mode / mp.sqrt(q)), 1e-13)
    close(found.log_gradient_growth[-1], float(growth), 1e-13)


# --- Feed-forward layers.


def test_states_that_vanish() -> None:
    """σ_w² = 1 halves the square of a ReLU state in every layer: 1e-900 after 3000."""
    found = lengths(white(SingleLayer(RELU), 0.0, skip=0.0), depth=3000)
    close(found.log_q[-1], -3000 * math.log(2), 1e-13)
    close(found.log_gradient_growth[-1], -3000 * math.log(2), 1e-13)
    assert found.q[-1] == 0
    close(found.displacement2[-1], 1.0, 1e-15)


def test_he_weights_preserve_lengths() -> None:
    found = lengths(white(SingleLayer(RELU, 2.0), 0.0, skip=0.0), 3.0, depth=1000)
    close(found.q, torch.full((1001,), 3.0), 1e-13)
    torch.testing.assert_close(found.log_gradient_growth, torch.zeros(1001), rtol=0, atol=1e-13)


def test_biases_alone() -> None:
    """Without weights every state is its bias after one layer, and no gradient comes back."""
    found = lengths(white(SingleLayer(AlphaReLU(0.75), 0.0, 0.3), 0.0, skip=0.0), 5.0, depth=4)
    close(found.q, torch.tensor([5.0, 0.3, 0.3, 0.3, 0.3]))
    assert found.log_gradient_growth.tolist() == [0.0] + 4 * [-math.inf]
    outer = lengths(white(TwoLayer(AlphaReLU(0.75), 0.0, 0.0, 1.0, 1.0), 0.0), depth=3)
    close(outer.q, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert not outer.log_gradient_growth.any()


# --- Scales and dropout.


@pytest.mark.parametrize("block", [TwoLayer(RELU, *FULL), SingleLayer(RELU, 1.2, 0.3)], ids=["full", "res-1"])
def test_a_homogeneous_block_does_not_know_its_unit(block: Block) -> None:
    variances = {
        name: value * (1e6 if name.endswith(("b2", "a2")) else 1)
        for name, value in vars(block).items()
        if name != "activation"
    }
    other = type(block)(RELU, **variances)
    first, second = lengths(white(block), 1.0, depth=50), lengths(white(other), 1e6, depth=50)
    close(second.q, 1e6 * first.q)
    close(second.displacement2[1:], first.displacement2[1:])
    close(second.log_gradient_growth[1:], first.log_gradient_growth[1:])


@pytest.mark.parametrize("q0", [1e-250, 1e-8, 1e8, 1e250])
def test_any_start_that_is_a_float(q0: float) -> None:
    found = lengths(white(TwoLayer(RELU)), q0, depth=100)
    close(found.displacement2[-1], math.expm1(100 * math.log1p(0.005)))
    close(found.log_q[-1] - math.log(q0), 100 * math.log1p(0.005), 1e-11)


@pytest.mark.parametrize(
    ("block", "same"),
    [
        (SingleLayer(TANH, 1.2, 0.3), SingleLayer(TANH, 1.5, 0.3)),
        (TwoLayer(TANH, 1.2, 0.3, 0.8, 0.2), TwoLayer(TANH, 1.2, 0.3, 1.0, 0.2)),
    ],
    ids=["one matrix", "two matrices"],
)
def test_dropout_multiplies_the_variance_of_the_outer_matrix(block: Block, same: Block) -> None:
    dropped, more = lengths(white(block), depth=50, keep_rate=0.8), lengths(white(same), depth=50)
    for name in vars(dropped):
        close(getattr(dropped, name)[1:], getattr(more, name)[1:], 1e-13)


# --- Refusals.


@pytest.mark.parametrize("law", [FractionalNoise(0.7), SmoothNoise()], ids=str)
def test_layers_that_are_not_independent_are_refused(law: FractionalNoise | SmoothNoise) -> None:
    with pytest.raises(ValueError, match=r"not independent.*use meanfield\.two_time, or WhiteNoise\(\)"):
        lengths(Model(SingleLayer(TANH), law, 1), depth=10)


def test_laws_that_are_white_are_not() -> None:
    models = [Model(SingleLayer(TANH), law, 1) for law in (WhiteNoise("uniform"), FractionalNoise(0.5))]
    for model in models:
        close(lengths(model, depth=10).q, lengths(white(SingleLayer(TANH)), depth=10).q, 1e-15)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_start_that_is_no_mean_square_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"q0 is the mean square .* give for example 1"):
        lengths(white(SingleLayer(TANH)), value, depth=10)


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, math.nan, True, np.True_, torch.tensor(True)])
def test_keep_rates_are_probabilities(value: float) -> None:
    with pytest.raises(ValueError, match=r"keep_rate must lie in \(0, 1\]"):
        lengths(white(SingleLayer(TANH)), depth=10, keep_rate=value)


@pytest.mark.parametrize("depth", [0, -3, 2.5])
def test_depth_is_a_positive_integer(depth: int) -> None:
    with pytest.raises(ValueError, match="depth must be a positive integer"):
        lengths(white(SingleLayer(TANH)), depth=depth)


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("skip", [1.0, 0.8])
def test_branches_with_a_mean_add_up_along_the_state(beta: float, skip: float) -> None:
    """Displacements from any layer to the last, against kernels of two layers; they are infinite far out."""
    model = Model(Reduced(RELU, 1.3, 0.2), WhiteNoise(), 1, beta=beta, skip=skip)
    kernel, found = two_time(model, 1.5, depth=12), displacement(model, 1.5, depth=12)
    q = kernel.diagonal()
    exact = (q[-1] - 2 * kernel[-1] + q) / q
    torch.testing.assert_close(found.along, exact, rtol=1e-12, atol=1e-12)
    without = q[-1] / q - 1 + 2 * (1 - skip ** torch.arange(12, -1, -1))  # as if branches were centred
    assert float((without / exact)[:-1].max()) > 1.2
    assert not bool(displacement(model, 1.5, depth=4000).along.isnan().any())
