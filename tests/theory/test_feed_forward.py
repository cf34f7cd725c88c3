"""Layers of feed-forward networks of infinite width, against 40-digit values and known limits."""

import math

import pytest
import torch
from feed_forward import ORACLES, feed_forward, pair_kernel, row_id

from resnet_sde import LINEAR, RELU, TANH, Model, SingleLayer, WhiteNoise, activation
from resnet_sde.activations import ERF, GELU, Activation
from resnet_sde.meanfield import kernel, lengths
from resnet_sde.meanfield.flow import flow, flow_gaps
from resnet_sde.meanfield.pairs import gaps, gradient_cosines
from resnet_sde.meanfield.phases import phase

DEGENERATE = ORACLES["degenerate"]
LIMITS = DEGENERATE["asymptotics"]
CRITICAL = 1.7609546396067391  # σ_w² of tanh at σ_b² = 0.05


def of_row(row: dict) -> tuple[Model, float]:
    """The network and the keep rate of a row of the trajectories."""
    network = feed_forward(activation(row["activation"]), float(row["sw2"]), float(row["sb2"]))
    if row["kind"] == "residual":
        gain = math.sqrt(float(row["alpha2"]))
        network = Model(network.block, WhiteNoise(), 1, beta=0.0, gain=gain, skip=1.0)
    return network, float(row["rho"])


@pytest.mark.parametrize("row", ORACLES["trajectories"], ids=row_id)
def test_trajectories(row: dict) -> None:
    network, keep_rate = of_row(row)
    start = pair_kernel(*(float(row[name]) for name in ("qa0", "qb0", "c0")))
    found = kernel(network, start, depth=max(v["l"] for v in row["values"]), keep_rate=keep_rate)
    for value in row["values"]:
        q1, q2, c = (float(value[name]) for name in ("qa", "qb", "c"))
        torch.testing.assert_close(found[value["l"]], pair_kernel(q1, q2, c), rtol=1e-12, atol=0)


def test_other_trajectories_are_told_apart() -> None:
    """2 % more of the variance that multiplies E φφ is seen in the first layer."""
    row = ORACLES["trajectories"][0]
    start = pair_kernel(*(float(row[name]) for name in ("qa0", "qb0", "c0")))
    off = kernel(feed_forward(TANH, 1.02 * float(row["sw2"]), float(row["sb2"])), start, depth=1)[1]
    value = row["values"][0]
    expected = pair_kernel(float(value["qa"]), float(value["qb"]), float(value["c"]))
    assert ((off / expected - 1).abs() > 0.01).all()


def test_the_residual_limit() -> None:
    """α² = 1/L: the flow, and networks that come near it like 1/L."""
    row = ORACLES["residual_ode_limit"]
    block = SingleLayer(activation(row["activation"]), float(row["sw2"]), float(row["sb2"]))
    network = Model(block, WhiteNoise(), 1)
    q, c, gain = (float(row[name]) for name in ("q", "c", "log_gradient_gain"))
    end = flow(network)
    gap = flow_gaps(network, 1.0, 1 - float(row["c0"]), end.times)
    assert float(end.kernel[-1, -1]) == pytest.approx(q, rel=1e-10)
    assert 1 - float(gap[-1]) == pytest.approx(c, rel=1e-10)
    assert float(end.log_gradient_growth[-1]) == pytest.approx(gain, rel=1e-10)
    for depth in (16, 256):
        found = lengths(network, depth=depth)
        assert 0 < q - float(found.q[-1]) < 0.04 / depth
        assert 0 < float(gaps(network, 1.0, 0.5, depth=depth)[-1]) - (1 - c) + 0.01 / depth < 0.02 / depth
        assert abs(float(found.log_gradient_growth[-1]) - gain) < 0.2 / depth


@pytest.mark.parametrize("phi", [TANH, RELU, GELU], ids=str)
def test_without_skip_a_residual_layer_is_dense(phi: Activation) -> None:
    """The layer at skip 0 and α = 1 is V and C themselves, its gradients χ_1."""
    w, b, q, gap = 1.4, 0.1, torch.tensor(0.8), torch.tensor(0.3)
    network = feed_forward(phi, w, b)
    v = w * phi.second_moment(q) + b
    found = lengths(network, float(q), depth=1)
    torch.testing.assert_close(found.q[1], v, rtol=1e-13, atol=0)
    slope = (w * phi.second_moment_prime(q)).log()
    torch.testing.assert_close(found.log_gradient_growth[1], slope, rtol=1e-12, atol=0)
    moved = w * phi.difference(q, q, gap=gap) / v
    torch.testing.assert_close(gaps(network, float(q), gap, depth=1)[1], moved, rtol=1e-13, atol=0)
    residual = lengths(Model(network.block, WhiteNoise(), 1, beta=0.0, skip=1.0), float(q), depth=1)
    torch.testing.assert_close(residual.q[1], q + v, rtol=1e-13, atol=0)


# --- To the fixed points.


@pytest.mark.parametrize(
    ("phi", "w", "b", "keep_rate", "gap0"),
    [
        (TANH, 1.3, 0.05, 1.0, 0.7),
        (TANH, 2.5, 0.05, 1.0, 1.0),
        (TANH, 1.7, 0.05, 0.9, 0.4),
        (ERF, 2.0, 0.05, 1.0, 1.0),
        (RELU, 1.5, 0.05, 0.95, 0.4),
        (GELU, 1.5, 0.3, 0.9, 1.0),
    ],
    ids=str,
)
def test_layers_approach_the_fixed_point_at_its_rates(
    phi: Activation, w: float, b: float, keep_rate: float, gap0: float
) -> None:
    """Lengths from elsewhere at χ_q, correlations from settled lengths at χ_c, late in the decay."""
    found = phase(phi, w, b, keep_rate=keep_rate)
    network = feed_forward(phi, w, b)
    depth = math.ceil(max(12 * found.xi_q, 12 * found.xi_c))
    q = lengths(network, 1.3 * found.q_star, depth=depth, keep_rate=keep_rate).q - found.q_star
    late = math.ceil(12 * found.xi_q) - 1
    assert float(q[late] / q[late - 1]) == pytest.approx(found.chi_q, rel=1e-4)
    gap = gaps(network, found.q_star, gap0, depth=depth, keep_rate=keep_rate) - found.one_minus_c_star
    late = math.ceil(12 * found.xi_c) - 1
    assert float(gap[late] / gap[late - 1]) == pytest.approx(found.chi_c, rel=1e-4)


def test_gradients_of_two_inputs_lose_each_other() -> None:
    """Their cosine falls by χ_c/χ_1 a layer, though each of them grows."""
    found = phase(TANH, 2.5, 0.05)
    cosine = gradient_cosines(feed_forward(TANH, 2.5, 0.05), found.q_star, found.one_minus_c_star, depth=8)
    expected = (found.chi_c / found.chi_1) ** torch.arange(9.0)
    torch.testing.assert_close(cosine, expected, rtol=1e-12, atol=0)


# --- Where there is no rate.


@pytest.mark.parametrize("row", DEGENERATE["tanh_sb2_zero_limit_c"], ids=row_id)
def test_linear_in_the_end(row: dict) -> None:
    """Without bias below criticality lengths vanish, and c falls a little, to a value of the inputs."""
    w, q0, c0, c_inf = (float(row[name]) for name in ("sw2", "q0", "c0", "c_inf"))
    assert phase(TANH, w, 0.0, q0=q0).c_star is None
    depth = math.ceil(40 * phase(TANH, w, 0.0).xi_q)
    end = 1 - float(gaps(feed_forward(TANH, w, 0.0), q0, 1 - c0, depth=depth)[-1])
    assert end == pytest.approx(c_inf, abs=3e-12)  # the table is that good: see the test below
    assert end < c0


@pytest.mark.parametrize(("c0", "c_inf"), [(0.5, 0.46713046132424093), (0.9, 0.88274969223912290)])
def test_linear_in_the_end_to_more_digits(c0: float, c_inf: float) -> None:
    """Against Mehler series in 30-digit arithmetic."""
    end = gaps(feed_forward(TANH, 0.5, 0.0), 1.0, 1 - c0, depth=58)[-1]
    assert 1 - float(end) == pytest.approx(c_inf, abs=1e-13)


def test_small_angles_at_criticality() -> None:
    """1 − c → 2/(κ l) for a smooth φ."""
    found = phase(TANH, CRITICAL, 0.05)
    limit = float(LIMITS["tanh_critical_sb2_0p05_limit"])
    assert 2 / found.curvature == pytest.approx(limit, rel=1e-12)
    gap = gaps(feed_forward(TANH, CRITICAL, 0.05), found.q_star, 0.5, depth=1000)
    for layer, share in ((10, 0.4899), (100, 0.9582), (1000, 1.0039)):
        assert float(gap[layer]) * layer / limit == pytest.approx(share, abs=6e-5)


def test_lengths_at_the_corner_of_the_diagram() -> None:
    """q → 1/(2l) for tanh at (1, 0)."""
    assert LIMITS["tanh_sw2_1_sb2_0"] == "l*q_l -> 1/2"
    q = lengths(feed_forward(TANH, 1.0, 0.0), 1.0, depth=10_000).q
    for layer, share in ((10, 1.0440), (100, 1.0138), (1000, 1.00233), (10_000, 1.000328)):
        assert 2 * layer * float(q[layer]) == pytest.approx(share, abs=6e-5 if layer < 1000 else 6e-6)


@pytest.mark.parametrize(
    ("sigma_b2", "key", "share", "shares"),
    [
        (0.0, "relu_sw2_2_sb2_0", 4.5, ((10, 0.281), (100, 0.802), (1000, 0.971))),
        (0.05, "relu_sw2_2_sb2_pos", 1.125, ((100, 1.433), (1000, 1.192))),
    ],
    ids=["unbiased", "biased"],
)
def test_small_angles_at_a_kink(
    sigma_b2: float, key: str, share: float, shares: tuple[tuple[int, float], ...]
) -> None:
    """l² (1 − c) → 9π²/2 for a critical ReLU; with a bias, whose share of q is 1/l, a quarter of that."""
    limit = share * math.pi**2
    assert float(LIMITS[key].split()[-1]) == pytest.approx(limit, rel=1e-12)
    gap = gaps(feed_forward(RELU, 2.0, sigma_b2), 1.0, 0.9, depth=1000)
    for layer, ratio in shares:
        assert float(gap[layer]) * layer**2 / limit == pytest.approx(ratio, abs=6e-4)


@pytest.mark.full
def test_very_deep_critical_networks() -> None:
    """The slow ends of the limits above."""
    found = phase(TANH, CRITICAL, 0.05)
    gap = gaps(feed_forward(TANH, CRITICAL, 0.05), found.q_star, 0.5, depth=10_000)
    assert float(gap[-1]) * 10_000 * found.curvature / 2 == pytest.approx(1.00124, abs=6e-6)
    gap = gaps(feed_forward(RELU, 2.0, 0.0), 1.0, 0.9, depth=10_000)
    assert float(gap[-1]) * 1e8 / (4.5 * math.pi**2) == pytest.approx(0.9963, abs=6e-5)
    gap = gaps(feed_forward(RELU, 2.0, 0.05), 1.0, 0.9, depth=100_000)
    for layer, share in ((10_000, 1.064), (100_000, 1.020)):
        assert float(gap[layer]) * layer**2 / (1.125 * math.pi**2) == pytest.approx(share, abs=6e-4)


def test_linear_networks_keep_every_angle() -> None:
    assert LIMITS["smooth_critical"] == "(1-c_l)*l -> 2/C''(1)"
    gap = gaps(feed_forward(LINEAR, 0.7, 0.0), 1.0, 0.3, depth=50)
    torch.testing.assert_close(gap, torch.full((51,), 0.3), rtol=1e-12, atol=0)
    biased = gaps(feed_forward(LINEAR, 0.7, 0.1), 1.0, 0.3, depth=50)
    assert float(biased[-1]) < 1e-7
