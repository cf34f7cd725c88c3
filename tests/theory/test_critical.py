"""The boundary of order and chaos, and feed-forward networks beside it."""

import math

import mpmath as mp
import pytest
import torch
from feed_forward import ORACLES
from torch import Tensor

from resnet_sde.activations import (
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
from resnet_sde.meanfield.critical import critical_bias, critical_line, dropout_peak, length_coupling
from resnet_sde.meanfield.fluctuations import gradient_log_variance
from resnet_sde.meanfield.phases import fixed_points, phase

AT = 1.7609546396067391  # the critical σ_w² of tanh at σ_b² = 0.05
MEASURED = ((0.1, 1.0867, 0.98893), (0.01, 1.00886, 0.998930), (1e-3, 1.000888, 0.9998934))


def column(rows: list[dict], key: str) -> Tensor:
    return torch.tensor([float(row[key]) for row in rows])


# --- The line.


@pytest.mark.parametrize("name", ORACLES["critical_line"])
def test_the_table(name: str) -> None:
    rows, phi = ORACLES["critical_line"][name], activation(name)
    b = column(rows, "sb2")
    w = critical_line(phi, b)
    torch.testing.assert_close(w, column(rows, "sw2"), rtol=1e-12, atol=0)
    found = fixed_points(phi, w, b)
    torch.testing.assert_close(found.chi_1, torch.ones_like(b), rtol=1e-14, atol=0)
    for key, value in (("q_star", found.q_star), ("xi_q", found.xi_q), ("C2_at_1", found.curvature)):
        torch.testing.assert_close(value, column(rows, key), rtol=1e-12, atol=0)
    torch.testing.assert_close(critical_bias(phi, column(rows, "sw2")), b, rtol=1e-12, atol=0)


def test_another_network_has_another_line() -> None:
    """2 % more of E φ'², as at 2 % more variance, moves the line by more than any tolerance here."""
    assert abs(phase(TANH, AT * 1.02, 0.05).chi_1 - 1) > 1e-3
    assert abs(phase(TANH, AT, 0.05).chi_1 - 1) < 1e-15


def test_erf_in_closed_form() -> None:
    b = 10 ** torch.linspace(-3, 1, 9)
    w = critical_line(ERF, b)
    found = fixed_points(ERF, w, b)
    q = found.q_star
    torch.testing.assert_close(w, math.pi / 4 * (1 + 4 * q).sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        b, q - (1 + 4 * q).sqrt() / 2 * (2 * q / (1 + 2 * q)).asin(), rtol=1e-11, atol=0
    )
    torch.testing.assert_close(found.curvature, 4 * q.square() / (1 + 4 * q), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.xi_q, 1 / torch.log1p(2 * q), rtol=1e-12, atol=0)


def test_both_ends_of_the_line_of_tanh() -> None:
    """It leaves (1, 0) like (6 σ_b²)^{1/3} and ends like 3/4 √(2πq)."""
    b = torch.tensor([1e-4, 1e-3, 0.01, 0.05])
    ratio = (critical_line(TANH, b) - 1) / (6 * b).pow(1 / 3)
    torch.testing.assert_close(ratio, torch.tensor([1.020, 1.041, 1.084, 1.137]), rtol=0, atol=5.1e-4)
    far = critical_line(TANH, 1e6)
    q = fixed_points(TANH, far, 1e6).q_star
    assert float(far) == pytest.approx(0.75 * (2 * math.pi * float(q)) ** 0.5, rel=1e-5)
    assert float(critical_line(TANH, 0.0)) == pytest.approx(1, rel=1e-14)
    tiny = critical_line(TANH, 1e-18) - 1
    assert float(tiny) == pytest.approx(6e-18 ** (1 / 3), rel=1e-3)


def test_other_activations() -> None:
    b = torch.tensor([0.0, 0.1, 1.0])
    assert critical_line(RELU, b).nan_to_num(-1).tolist() == [2, -1, -1]
    assert critical_line(LINEAR, b).nan_to_num(-1).tolist() == [1, -1, -1]
    assert float(critical_line(LeakyReLU(0.5), 0.0)) == 1.6
    assert critical_bias(RELU, torch.tensor([1.0, 2.0])).nan_to_num(-1).tolist() == [-1, 0]
    gelu = critical_line(GELU, torch.tensor([0.0, 0.1, 0.3, 1.0]))
    assert gelu.isnan().tolist() == [True, True, False, False]
    for phi in (GELU, SIGMOID, AlphaReLU(0.75)):
        w = critical_line(phi, 0.5)
        found = fixed_points(phi, w, 0.5)
        assert float(found.chi_1) == pytest.approx(1, abs=1e-13)
        assert float(found.chi_q) < 1
        assert float(critical_bias(phi, w)) == pytest.approx(0.5, rel=1e-10)
    alpha = 0.75  # q* = σ_b² α²/(1 − α)²
    w = critical_line(AlphaReLU(alpha), b[1:])
    q = b[1:] * (alpha / (1 - alpha)) ** 2
    torch.testing.assert_close(w, 1 / AlphaReLU(alpha).second_moment_prime(q), rtol=1e-12, atol=0)
    assert critical_bias(TANH, 0.9).isnan()
    assert float(critical_bias(TANH, 1.0)) == 0


def test_the_phase_diagram() -> None:
    w, b = torch.linspace(0.5, 3, 26), torch.linspace(0.001, 0.25, 26)
    found = fixed_points(TANH, w[:, None], b)
    assert int((found.chi_1 < 1).sum()) == 406
    assert ((w[:, None] < critical_line(TANH, b)) == (found.chi_1 < 1)).all()
    assert ((found.c_star == 1) == (found.chi_1 < 1)).all()
    assert (found.xi_c > 0).all()


# --- Near the line.


@pytest.mark.parametrize(("step", "above", "below"), [*MEASURED, (1e-4, 1.0000888, 0.99998934)])
def test_both_sides(step: float, above: float, below: float) -> None:
    """ξ_c → 1/|χ_1 − 1| on both sides, from the expansion to second order."""
    chaos, order = (fixed_points(TANH, AT + sign * step, 0.05) for sign in (1, -1))
    assert float(chaos.xi_c * (chaos.chi_1 - 1)) == pytest.approx(above, abs=6e-8 if step < 1e-3 else 6e-5)
    assert float(order.xi_c * (1 - order.chi_1)) == pytest.approx(below, abs=6e-8 if step < 1e-3 else 6e-5)
    assert float((chaos.chi_1 - order.chi_1) / (2 * step)) == pytest.approx(0.2132, abs=0.2 * step + 6e-5)
    for found in (chaos, order):
        assert float(found.xi_c / found.near_critical_xi_c) == pytest.approx(1, abs=step)
    ratio = float(chaos.one_minus_c_star / chaos.near_critical_gap)
    assert 1 < ratio < 1 + step
    assert order.near_critical_gap == order.one_minus_c_star == 0


@pytest.mark.parametrize("lost", [1e-3, 1e-4, 1e-5])
def test_little_dropout_at_criticality(lost: float) -> None:
    """1 − c* → √(2Δ/κ) and ξ_c → 1/√(2Δκ), both from below, with an error like √(1 − ρ)."""
    found = fixed_points(TANH, AT, 0.05, keep_rate=1 - lost)
    leading = 1 / (2 * found.delta * found.curvature).sqrt()
    assert float(found.near_critical_xi_c / leading) == pytest.approx(1, abs=0.02 * lost**0.5)
    assert 1 < float(found.xi_c / found.near_critical_xi_c) < 1 + 1.5 * lost**0.5
    assert 1 < float(found.one_minus_c_star / found.near_critical_gap) < 1 + lost**0.5
    if lost == 1e-3:
        assert float(found.xi_c) == pytest.approx(42.849, abs=6e-4)
        assert float(leading) == pytest.approx(41.083, abs=6e-4)


@pytest.mark.parametrize("row", ORACLES["dropout_peak_tanh_sb2_0p05"], ids=lambda row: row["rho"])
def test_dropout_leaves_a_peak(row: dict) -> None:
    sigma_w2, xi_c = dropout_peak(TANH, 0.05, keep_rate=float(row["rho"]))
    assert xi_c == pytest.approx(float(row["xi_c"]), abs=6e-6)
    assert sigma_w2 == pytest.approx(float(row["sw2"]), abs=6e-6)


def test_the_peak_is_not_where_gradients_balance() -> None:
    sigma_w2, xi_c = dropout_peak(TANH, 0.05, keep_rate=0.9)
    balance = float(critical_line(TANH, 0.05)) * 0.9
    assert phase(TANH, balance, 0.05, keep_rate=0.9).chi_1 == pytest.approx(1, abs=1e-14)
    assert abs(sigma_w2 - balance) > 0.2
    assert xi_c > phase(TANH, balance, 0.05, keep_rate=0.9).xi_c
    with pytest.raises(ValueError, match="find that with critical_line"):
        dropout_peak(TANH, 0.05, keep_rate=1.0)
    with pytest.raises(ValueError, match="no peak in σ_w²; give for example TANH"):
        dropout_peak(RELU, 0.05, keep_rate=0.9)


# --- The linear map around the fixed point.


def correlation(phi: Activation, w: float, b: float, rho: float, q1: Tensor, q2: Tensor, c: Tensor) -> Tensor:
    """c after one layer with dropout of keep rate rho."""
    lengths = (w / rho * phi.second_moment(q1) + b) * (w / rho * phi.second_moment(q2) + b)
    return (w * phi.dual(q1, q2, gap=1 - c) + b) / lengths.sqrt()


@pytest.mark.parametrize("keep_rate", [1.0, 0.9])
@pytest.mark.parametrize(
    ("phi", "w", "b"), [(TANH, 2.5, 0.05), (ERF, 3.0, 0.2), (GELU, 1.2, 0.3), (RELU, 1.2, 0.3)], ids=str
)
def test_coupling_by_differences(phi: Activation, w: float, b: float, keep_rate: float) -> None:
    found = fixed_points(phi, w, b, keep_rate=keep_rate)
    q, c = found.q_star, found.c_star
    steps, weights = torch.tensor([-2.0, -1, 1, 2]), torch.tensor([1.0, -8, 8, -1]) / 12
    h = 2e-3 * q
    by_length = weights @ correlation(phi, w, b, keep_rate, q + h * steps, q, c) / h
    assert float(length_coupling(phi, w, b, keep_rate=keep_rate)) == pytest.approx(float(by_length), abs=1e-9)
    if c < 0.99:
        h = 2e-3 * (1 - c)
        slope = weights @ correlation(phi, w, b, keep_rate, q, q, c + h * steps) / h
        assert float(found.chi_c) == pytest.approx(float(slope), abs=1e-9)


def test_coupling_vanishes_in_order() -> None:
    coupling = length_coupling(TANH, torch.tensor([1.0, 0.5, 2.5]), torch.tensor([0.05, 0.0, 0.05]))
    assert float(coupling[0]) == 0
    assert coupling[1].isnan()
    assert float(coupling[2]) < -0.01


# --- Fluctuations.


def moments(phi: str, q: float) -> dict[str, float]:
    """Gaussian means of φ at variance q, by quadrature of its own."""
    f = {"tanh": mp.tanh, "erf": mp.erf}[phi]
    root = mp.sqrt(q)

    def mean(g: object) -> float:
        integrand = lambda z: g(root * z) * mp.npdf(z)  # noqa: E731
        return float(mp.quad(integrand, mp.linspace(-12, 12, 49)))

    slope = lambda u: mp.diff(f, u)  # noqa: E731
    return {
        "2": mean(lambda u: f(u) ** 2),
        "4": mean(lambda u: f(u) ** 4),
        "p2": mean(lambda u: slope(u) ** 2),
        "p4": mean(lambda u: slope(u) ** 4),
        "2p2": mean(lambda u: f(u) ** 2 * slope(u) ** 2),
    }


def test_variance_of_gradients_in_another_way() -> None:
    w, b = 2.5, 0.05
    found = phase(TANH, w, b)
    m = moments("tanh", found.q_star)
    step = 1e-4
    q = torch.tensor([found.q_star - step, found.q_star + step])
    tilt = float(TANH.second_moment_prime(q).log().diff() / (2 * step)) / (1 - found.chi_q)
    expected = 3 * m["p4"] / m["p2"] ** 2 - 1 + tilt**2 * w**2 * (m["4"] - m["2"] ** 2)
    expected += 2 * tilt * w * (m["2p2"] / m["p2"] - m["2"])
    assert float(gradient_log_variance(TANH, w, b)) == pytest.approx(expected, rel=1e-7)


def test_variance_of_gradients() -> None:
    found = gradient_log_variance(TANH, torch.tensor([1.0, 1.761, 2.5, 4.0]), 0.05)
    torch.testing.assert_close(found, torch.tensor([2.69, 3.99, 4.88, 6.35]), rtol=0, atol=5.1e-3)
    assert float(gradient_log_variance(RELU, 1.0, 0.5)) == pytest.approx(5, rel=1e-12)
    assert float(gradient_log_variance(LINEAR, 1.0)) == pytest.approx(2, rel=1e-12)
    assert float(gradient_log_variance(LeakyReLU(0.5), 1.0)) == pytest.approx(
        6 * (1 + 0.5**4) / (1 + 0.5**2) ** 2 - 1, rel=1e-12
    )
    assert gradient_log_variance(TANH, 0.5, 0.0).isnan()
    assert gradient_log_variance(GELU, 3.0, 0.1).isnan()
    assert float(gradient_log_variance(AlphaReLU(0.75), 1.0, 0.1)) == math.inf
    assert 5 < float(gradient_log_variance(AlphaReLU(0.95), 1.0, 0.1)) < 8
