"""What every activation must satisfy."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnet_sde import (
    ERF,
    GELU,
    LINEAR,
    RELU,
    SIGMOID,
    TANH,
    Activation,
    AlphaReLU,
    LeakyReLU,
    activation,
)
from resnet_sde.testing import checks

ACTIVATIONS = [
    LINEAR,
    RELU,
    LeakyReLU(0.0),
    LeakyReLU(0.3),
    LeakyReLU(1.0),
    TANH,
    ERF,
    GELU,
    SIGMOID,
    AlphaReLU(0.51),
    AlphaReLU(0.75),
    AlphaReLU(1.0),
    *map(activation, ["silu", "softplus", "elu", "selu", "mish", "hard-tanh", "sin"]),
    Activation.of(torch.nn.functional.celu),
]
NAMES = ["linear", "relu", "tanh", "erf", "gelu", "sigmoid", "leaky-relu:0.3", "alpha-relu:0.75"]
NAMES += ["silu", "softplus", "elu", "selu", "mish", "hard-tanh", "sin"]
# Both signs, far and near, and nothing at the kink, where the derivative is a convention.
POINTS = torch.tensor(
    [-700.0, -30.0, -5.0, -1.3, -0.2, -1e-9, 1e-9, 0.2, 1.3, 5.0, 30.0, 700.0], dtype=torch.float64
)

every_activation = pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)


@every_activation
@pytest.mark.parametrize("check", ["function", "values", "derivative", "symmetries", "names"])
def test_activations_of_any_parameter_pass_what_is_quick(phi: Activation, check: str) -> None:
    checks(phi)[check]()


@every_activation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_pullback_is_a_product_with_prime(phi: Activation, dtype: torch.dtype) -> None:
    x = torch.cat([POINTS, torch.zeros(1)]).to(dtype)
    p = torch.linspace(-2, 2, len(x), dtype=dtype)
    before = p.clone()
    torch.testing.assert_close(phi.pullback(x, p), phi.prime(x) * p, rtol=0, atol=0)
    assert torch.equal(p, before)


@pytest.mark.parametrize(
    ("phi", "value"),
    [
        (LINEAR, (1.7, -1.7)),
        (RELU, (1.7, 0.0)),
        (LeakyReLU(0.1), (1.7, -0.17)),
        (TANH, (math.tanh(1.7), -math.tanh(1.7))),
        (ERF, (math.erf(1.7), -math.erf(1.7))),
        (GELU, (0.85 * math.erfc(-1.7 / 2**0.5), -0.85 * math.erfc(1.7 / 2**0.5))),
        (SIGMOID, (1 / (1 + math.exp(-1.7)), 1 / (1 + math.exp(1.7)))),
        (AlphaReLU(0.75), (1.7**0.75, 0.0)),
    ],
    ids=str,
)
def test_values(phi: Activation, value: tuple[float, float]) -> None:
    torch.testing.assert_close(phi(torch.tensor([1.7, -1.7])), torch.tensor(value), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(
    ("phi", "slope"),
    [(RELU, 0.0), (LeakyReLU(0.3), 0.3), (AlphaReLU(0.6), 0.0), (AlphaReLU(1.0), 0.0)],
    ids=str,
)
def test_at_a_kink_the_value_is_that_from_the_left(phi: Activation, slope: float) -> None:
    for zero in (torch.zeros(3), -torch.zeros(3)):
        assert torch.equal(phi.prime(zero), torch.full((3,), slope))
        assert torch.equal(phi.pullback(zero, torch.ones(3)), torch.full((3,), slope))
        assert not phi(zero).any()


@pytest.mark.parametrize("alpha", [0.51, 0.75, 1.0])
def test_alpha_relu_near_zero(alpha: float) -> None:
    phi, x = AlphaReLU(alpha), torch.tensor([-1e-300, -1e-9, 0.0, 1e-300, 1e-9])
    assert bool(phi(x).isfinite().all())
    slope = phi.prime(x)
    assert not slope[:3].any()
    torch.testing.assert_close(slope[3:], alpha * x[3:] ** (alpha - 1), rtol=1e-13, atol=0)


@pytest.mark.parametrize("phi", [RELU, LeakyReLU(0.0), AlphaReLU(1.0)], ids=str)
def test_three_ways_to_be_a_relu(phi: Activation) -> None:
    assert torch.equal(phi(POINTS), RELU(POINTS))
    assert torch.equal(phi.prime(POINTS), RELU.prime(POINTS))
    assert phi.homogeneous


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    phi = activation(name)
    assert phi == activation(name)
    assert isinstance(hash(phi), int)
    assert name.partition(":")[0].replace("-", "") in type(phi).__name__.lower()


def test_names_with_numbers() -> None:
    assert activation("leaky-relu:0.8") == LeakyReLU(0.8)
    assert activation("alpha-relu:0.8") == AlphaReLU(0.8)
    assert activation("relu") is RELU


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prelu", "unknown activation 'prelu'; give one of linear, relu"),
        ("ReLU", "unknown activation"),
        ("relu:0.1", "unknown activation"),
        ("leaky-relu", "needs a number after the colon"),
        ("leaky-relu:", "needs a number after the colon"),
        ("alpha-relu:x", "needs a number after the colon"),
        ("leaky-relu:2", r"must lie in \[0, 1\]"),
        ("leaky-relu:nan", r"must lie in \[0, 1\]"),
        ("alpha-relu:0.5", r"must lie in \(1/2, 1\]"),
        ("alpha-relu:inf", r"must lie in \(1/2, 1\]"),
    ],
)
def test_bad_names_are_explained(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activation(name)


FAMILIES = st.sampled_from(["leaky-relu", "alpha-relu", "relu", "linear", ""])
NUMBERED = st.builds("{}:{}".format, FAMILIES, st.one_of(st.floats(), st.text(max_size=4)))


@given(name=st.one_of(st.text(), NUMBERED))
def test_any_text_is_a_name_or_is_refused(name: str) -> None:
    try:
        phi = activation(name)
    except ValueError as error:
        message = str(error)
    else:
        assert isinstance(phi, Activation)
        message = "give"
    assert "give" in message or "needs a number" in message


@given(value=st.floats())
def test_numbers_are_valid_or_refused(value: float) -> None:
    for make, valid in ((LeakyReLU, 0 <= value <= 1), (AlphaReLU, 0.5 < value <= 1)):
        if valid:
            y: Tensor = make(value)(POINTS)
            assert bool(y.isfinite().all())
        else:
            with pytest.raises(ValueError, match="must lie in"):
                make(value)
