"""Homogeneous residual networks and powers after many layers: laws against the recursions."""

import math

import numpy as np
import pytest
import torch
from dual_references import check
from residual_models import COSINES, ORACLES, laws_of, layers_up_to, named, residual, slope, thousand_gaps
from scipy.integrate import solve_ivp

from resnet_sde import LINEAR, RELU, AlphaReLU, LeakyReLU, Reduced, TwoLayer
from resnet_sde.meanfield import gaps, lengths, parameter_gradients
from resnet_sde.meanfield.asymptotics import (
    HomogeneousAsymptotics,
    LinearAsymptotics,
    PowerAsymptotics,
)

HALF = COSINES.index(0.5)
LATE = torch.tensor([1e3, 1e4, 1e5], dtype=torch.float64)


# --- Homogeneous activations.


@pytest.mark.parametrize(
    ("name", "constant"),
    [("FR1", 0.0), ("FR2", 1.3862943611), ("FR3", 0.9162907319)],
    ids=["FR1", "FR2", "FR3"],
)
def test_relu_lengths_are_geometric(name: str, constant: float) -> None:
    laws, layers = laws_of(named(name), HomogeneousAsymptotics), torch.arange(1001.0)
    found = lengths(named(name), depth=1000)
    assert torch.allclose(found.log_q, laws.log_length(layers), rtol=1e-13, atol=1e-13)
    assert torch.allclose(found.log_gradient_growth, laws.log_gradient_growth(layers), rtol=1e-13, atol=0)
    assert abs(float(found.log_q[-1] - found.log_gradient_growth[-1]) - constant) < 1e-9


def test_relu_gradients_of_weights_are_bounded() -> None:
    """With p^0 = 1 and k/B = 3: χ_w at the first layer over that at the last tends to p^0 / (p^0 + k/B)."""
    found = parameter_gradients(named("FR2"), depth=200)
    assert found.log_inner is not None
    assert found.log_outer is not None
    assert found.log_inner_bias is not None
    assert abs(float((found.log_inner[0] - found.log_inner[-1]).exp()) - 0.25) < 0.0025
    assert 0.2 < float((found.log_outer[0] - found.log_outer[-1]).exp()) < 5
    assert math.isclose(float(found.log_inner_bias[0] - found.log_inner_bias[-1]), 199 * math.log(1.05))


def test_leaky_relu_cosines() -> None:
    """(1 − e)^{−1/2} is ρK/2 times l + 3/2 log l + C; against l alone its slope is not 1."""
    model = residual(TwoLayer(LeakyReLU(0.3), 2.0, 1.0, 1.0, 1.0))
    laws, layers = laws_of(model, HomogeneousAsymptotics), layers_up_to(1000)
    gap = gaps(model, 1.0, 0.5, depth=1000)
    scaled = gap.rsqrt() * 2 / (laws.rho * laws.curvature)
    assert abs(slope(layers + 1.5 * layers.log(), scaled, 1000) - 1) < 1e-3
    assert abs(slope(layers, scaled, 1000) - 1) > 1.9e-3
    offset = float((scaled - layers - 1.5 * layers.log())[500])
    check(laws.one_minus_cosine(layers, offset)[1000], float(gap[1000]), 1e-3)


@pytest.mark.parametrize("name", ["FR1", "FR2", "FR3"])
def test_relu_cosines(name: str) -> None:
    laws, layers = laws_of(named(name), HomogeneousAsymptotics), layers_up_to(1000)
    scaled = thousand_gaps(named(name))[:, HALF].rsqrt() * 2 / (laws.rho * laws.curvature)
    assert abs(slope(layers + 1.5 * layers.log(), scaled, 1000) - 1) < 1e-3
    constants = {"FR1": (24.280, 24.064), "FR2": (395.2, 396.0), "FR3": (25.967, 25.659)}[name]
    for layer, constant in zip((100, 1000), constants, strict=True):
        assert abs(float(scaled[layer] - layer) - 1.5 * math.log(layer) - constant) < 0.0505 * constant / 100


def relu_gaps(block: TwoLayer, depth: int) -> list[float]:
    """The recursion of the gap of two inputs for ReLU in plain numbers, from p = 1 and cosine 1/2."""
    w, b, v, a = block.variances
    p, gap, found = 1.0, 0.5, [0.5]
    for _ in range(depth):
        r = w * p + b
        angle = 2 * math.asin(math.sqrt(w * p * gap / r / 2))
        arc = (
            angle**3 / 3 * (1 - angle**2 / 10) if angle < 1e-3 else math.sin(angle) - angle * math.cos(angle)
        )
        distance = v * r / 2 * (w * p * gap / r - arc / math.pi)
        step = v * r / 2 + a
        gap = (gap + distance / p) / (1 + step / p)
        p = min(p + step, 1e200)  # by then the biases do not count
        found.append(gap)
    return found


@pytest.mark.parametrize("name", ["FR1", "FR2", "FR3", "sw2_1_sb2_025_sv2_05_sa2_025"])
def test_constant_of_relu_cosines(name: str) -> None:
    """C after a hundred thousand layers, in plain numbers that agree with the library for three hundred."""
    block = TwoLayer(RELU, 1.0, 0.25, 0.5, 0.25) if name.startswith("sw2") else named(name).block
    assert isinstance(block, TwoLayer)
    model, found = residual(block), torch.tensor(relu_gaps(block, 100_000))
    check(found[:301], gaps(model, 1.0, 0.5, depth=300), 1e-12)
    laws, expected = laws_of(model, HomogeneousAsymptotics), ORACLES["relu_cosine_constant"]["C_at_1e5"][name]
    constant = float(found[-1]) ** -0.5 * 2 / (laws.rho * laws.curvature) - 1e5 - 1.5 * math.log(1e5)
    assert abs(constant - expected) < max(1e-5, 1e-6 * expected)


@pytest.mark.parametrize("block", [TwoLayer(LINEAR, 0.1, 0.1, 1.0, 0.1), Reduced(LINEAR, 0.1, 0.1)], ids=str)
def test_linear_networks_are_exact(block: TwoLayer | Reduced) -> None:
    laws, layers = laws_of(residual(block), LinearAsymptotics), torch.arange(501.0)
    found = lengths(residual(block), 2.0, depth=500)
    assert torch.allclose(found.log_q, laws.log_length(layers, 2.0), rtol=1e-13, atol=1e-14)
    assert torch.allclose(found.log_gradient_growth, laws.log_gradient_growth(layers), rtol=1e-13, atol=0)
    gap = gaps(residual(block), 2.0, 0.7, depth=500)
    check(gap, laws.one_minus_cosine(layers, 0.7, 2.0), 1e-12)
    check(gap[-1], 0.7 * 2.0 / (2.0 + laws.added / laws.growth), 1e-12)


# --- Powers.


@pytest.mark.parametrize(
    ("name", "offsets", "growths"),
    [
        ("FA1", (17.534, 17.545, 17.546), (-11.443, -11.4744, -11.4762)),
        ("FA2", (12.695, 12.699, 12.699), None),
        ("FA4", (19.56, 20.38, 20.63), (-11.196, -11.260, -11.266)),
        ("FA5", (38.316, 38.355, 38.355), None),
    ],
    ids=["FA1", "FA2", "FA4", "FA5"],
)
def test_lengths_and_gradients_of_powers(
    name: str, offsets: tuple[float, ...], growths: tuple[float, ...] | None
) -> None:
    laws, found = laws_of(named(name), PowerAsymptotics), lengths(named(name), depth=100_000)
    at = LATE.long()
    late = (found.log_q[at] * (1 - laws.alpha)).exp() / laws.kappa
    measured = late - LATE + laws.alpha / (2 * (1 - laws.alpha)) * LATE.log()
    assert torch.allclose(measured, torch.tensor(offsets), atol=6e-3 if name == "FA4" else 6e-4, rtol=0)
    check(laws.length(LATE, float(measured[-1]))[-1], float(found.q[100_000]), 1e-9)
    of_gradients = found.log_gradient_growth[at] - laws.log_gradient_growth(LATE)
    if growths is not None:
        assert torch.allclose(of_gradients, torch.tensor(growths), atol=6e-4, rtol=0)
    layers = layers_up_to(100_000).log()
    assert abs(slope(layers, found.log_q, 100_000) - laws.length_exponent) < 2e-3
    assert abs(slope(layers, found.log_gradient_growth, 100_000) - laws.gradient_exponent) < 2e-3


def test_parameter_gradients_of_powers() -> None:
    laws, found = laws_of(named("FA1"), PowerAsymptotics), parameter_gradients(named("FA1"), depth=100_000)
    assert found.log_inner is not None
    assert found.log_inner_bias is not None
    assert found.log_outer is not None
    layers = torch.arange(1.0, 100_001.0).log()
    for column, exponent in (
        (found.log_state, laws.gradient_exponent),
        (found.log_inner_bias, laws.bias_gradient_exponent),
        (found.log_inner, laws.weight_gradient_exponent),
        (found.log_outer, laws.weight_gradient_exponent),
    ):
        assert abs(slope(layers, column, 99_999) + exponent) < 1e-3


def test_cosines_of_powers_move_as_the_kernel_says() -> None:
    """Without biases e^l − e^{l−1} is exactly (p^l − p^{l−1})/p^l times J(e^{l−1}) − e^{l−1}."""
    model, one = named("FA2"), torch.tensor(1.0)
    gap, p = gaps(model, 1.0, 0.5, depth=100), lengths(model, depth=100).q
    phi = model.block.activation
    pull = gap[:-1] - phi.difference(one, one, gap=gap[:-1]) / phi.second_moment(one)
    step = p.diff() / p[1:] * pull
    assert torch.allclose(-gap.diff(), step, rtol=1e-9, atol=1e-15)
    assert not torch.allclose(-gap.diff(), 1.001 * step, rtol=1e-4, atol=1e-15)


@pytest.mark.parametrize(("alpha", "measured"), [(0.6, 0.079715), (0.75, 0.031250), (0.9, 0.0050064)])
def test_rate_of_cosines_of_powers(alpha: float, measured: float) -> None:
    """In s = log p the cosine obeys de/ds = J(e) − e, and e − e* decays at the rate 1 − J'(e*)."""
    phi, one = AlphaReLU(alpha), torch.tensor(1.0)
    laws = laws_of(residual(TwoLayer(phi)), PowerAsymptotics)
    rate, size = 1 - laws.slope, float(phi.second_moment(one))

    def pull(_: float, gap: np.ndarray) -> np.ndarray:
        lost = phi.difference(one, one, gap=torch.from_numpy(gap)).numpy() / size
        return lost - gap

    end = 8 / rate
    times = np.array([0.8 * end, end])
    found = solve_ivp(pull, (0.0, end), [0.5], "LSODA", times, rtol=1e-10, atol=1e-16).y[0]
    fitted = -math.log((found[1] - laws.one_minus_e_star) / (found[0] - laws.one_minus_e_star)) / (0.2 * end)
    assert abs(fitted / rate - 1) < 2e-3
    assert abs(fitted / measured - 1) < 1e-3
