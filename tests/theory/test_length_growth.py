"""Networks whose lengths hardly move: a bias far below the lengths still decides where they go."""

import math

import mpmath as mp
import pytest
import torch
from ids import plain

import resnet_sde as rs
from resnet_sde.activations import Activation
from resnet_sde.meanfield import critical_bias, phase

mp.mp.dps = 30


def gelu(u: mp.mpf) -> mp.mpf:
    return u * mp.ncdf(u)


def gelu_prime(u: mp.mpf) -> mp.mpf:
    return mp.ncdf(u) + u * mp.npdf(u)


def lost_by_gelu(q: float, slope: bool = False) -> mp.mpf:
    """What E φ² of the GELU lacks of that of the ReLU, q / 2; or E φ'², of 1 / 2. An integral near 0 only."""

    def lost(u: mp.mpf) -> mp.mpf:
        of_relu = (mp.mpf(1) if slope else u**2) if u > 0 else mp.mpf(0)
        return (of_relu - (gelu_prime(u) if slope else gelu(u)) ** 2) * mp.exp(-(u**2) / (2 * q))

    return mp.quad(lost, [-25, -5, 0, 5, 25]) / mp.sqrt(2 * mp.pi * q)


def test_what_a_gelu_lacks_of_a_relu_keeps_its_digits() -> None:
    q = torch.tensor([1.0, 30.0, 1e6, 1e12, 1e30])
    limit, rest = rs.GELU.share(q)
    assert (limit == 0.5).all()
    for x, value in zip(q.tolist(), rest.tolist(), strict=True):
        assert value == pytest.approx(float(-lost_by_gelu(x) / x), rel=1e-12)


@pytest.mark.parametrize(
    ("phi", "f", "slope2"),
    [
        (rs.TANH, mp.tanh, mp.mpf(1)),
        (rs.ERF, mp.erf, 4 / mp.pi),
        (rs.GELU, gelu, mp.mpf(1) / 4),
    ],
    ids=plain,
)
def test_what_is_not_linear_keeps_its_digits(phi: Activation, f: object, slope2: mp.mpf) -> None:
    for q in (1e-12, 1e-5, 0.1, 0.9):
        root = mp.sqrt(mp.mpf(q))
        exact = mp.quad(
            lambda z, root=root: (f(root * z) ** 2 - slope2 * (root * z) ** 2) * mp.npdf(z),  # type: ignore[operator]
            [-12, -3, 0, 3, 12],
        )
        limit, rest = phi.share(torch.tensor([q]))
        assert float(limit) == pytest.approx(float(slope2), rel=1e-14)
        assert float(rest) == pytest.approx(float(exact / q), rel=1e-8 if q == 1e-12 else 1e-11)


@pytest.mark.parametrize(
    ("phi", "sigma_w2", "sigma_b2", "keep_rate", "q0"),
    [
        (rs.GELU, 2.0, 1.0, 1.0, 1.0),
        (rs.GELU, 1.0, 1.0, 0.5, 1.0),
        (rs.GELU, 2.0, 10.0, 1.0, 1.0),
        (rs.GELU, 2.0, 0.1, 1.0, 100.0),
        (rs.GELU, 2.0, 1e-12, 1.0, 1e30),
        *((rs.RELU, 2.0, b, 1.0, 1.0) for b in (1e-300, 1e-12, 1.0, 1e3, 1e30)),
        (rs.LeakyReLU(0.3), 2 / (1 + 0.3**2), 1e-12, 1.0, 1.0),
        (rs.LeakyReLU(0.3), 1 / (1 + 0.3**2), 1.0, 0.5, 1.0),
        (rs.AlphaReLU(1.0), 2.0, 1e-12, 1.0, 1.0),
        (rs.LINEAR, 1.0, 1e-12, 1.0, 1.0),
    ],
    ids=str,
)
def test_lengths_that_grow_with_the_number_of_layers(
    phi: Activation, sigma_w2: float, sigma_b2: float, keep_rate: float, q0: float
) -> None:
    found = phase(phi, sigma_w2, sigma_b2, keep_rate=keep_rate, q0=q0)
    assert found.label == "critical-divergent"
    assert found.q_star == math.inf
    assert found.chi_1 == pytest.approx(1.0, abs=1e-15)
    assert found.xi_grad == found.xi_q == math.inf


def test_a_gelu_goes_to_the_fixed_point_on_its_side() -> None:
    """V(q) − q = b − (1 − w/2) q − w lost(q): for w = 2, b = 0.1 stable at 0.34, unstable at 14."""
    low = phase(rs.GELU, 2.0, 0.1)
    q = mp.findroot(lambda q: mp.mpf(0.1) - 2 * lost_by_gelu(q), 0.3)
    assert low.label == "ordered"
    assert low.q_star == pytest.approx(float(q), rel=1e-6)
    assert phase(rs.GELU, 2.0, 0.1, q0=10.0).q_star == pytest.approx(low.q_star, rel=1e-12)
    assert phase(rs.GELU, 2.0, 0.1, q0=20.0).q_star == math.inf


@pytest.mark.parametrize("missing", [1e-3, 1e-10, 1e-13])
def test_a_weight_just_below_marginal_has_a_far_fixed_point(missing: float) -> None:
    w = 2.0 - missing
    q = phase(rs.GELU, w, 1.0, q0=1e6).q_star
    assert q is not None
    assert math.isfinite(q)
    balance = 1 - (1 - mp.mpf(w) / 2) * q - mp.mpf(w) * lost_by_gelu(q)
    assert abs(balance) < 1e-9 + 1e-15 * q * 1e-3


@pytest.mark.parametrize("bias", [1e-15, 1e-30, 1e-40, 1e-60, 1e-200])
@pytest.mark.parametrize(
    ("phi", "sigma_w2", "bend"), [(rs.TANH, 1.0, 2.0), (rs.ERF, math.pi / 4, 2.0)], ids=str
)
def test_a_tiny_bias_of_a_critical_network(
    phi: Activation, sigma_w2: float, bend: float, bias: float
) -> None:
    """w E φ² = q − 2 q² + …, of tanh as of erf at slope 1, so that q* = √(b / 2)."""
    found = phase(phi, sigma_w2, bias, q0=1.0)
    assert found.q_star == pytest.approx(math.sqrt(bias / bend), rel=1e-6)
    assert found.label in ("critical", "ordered")


def test_lengths_that_creep_up_from_nothing_are_not_said_to_vanish() -> None:
    """φ = x/2 + x²/√(2π) + …: at w = 4, V(q) = q + 6 q²/π + …."""
    assert phase(rs.GELU, 4.0, 0.0, q0=1e-12).label == "divergent"
    assert phase(rs.GELU, 4.0, 0.0, q0=1e-60).label == "divergent"
    assert phase(rs.GELU, 3.9, 0.0, q0=1e-12).label == "degenerate"


@pytest.mark.parametrize("missing", [1e-7])
def test_the_critical_bias_far_out_keeps_its_digits(missing: float) -> None:
    w = mp.mpf(2.0 - missing)
    start = (0.0563 * float(w) / (missing / 2)) ** 2
    q = mp.findroot(lambda q: w * (mp.mpf("0.5") - lost_by_gelu(q, slope=True)) - 1, start)
    exact = (1 - w / 2) * q + w * lost_by_gelu(q)
    assert float(critical_bias(rs.GELU, float(w))) == pytest.approx(float(exact), rel=1e-6)
