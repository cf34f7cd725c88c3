"""Gaussian duals against 60-digit arithmetic, brute-force quadrature and each other."""

import math

import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pytest
import torch
from dual_references import (
    ACTIVATIONS,
    ALPHA,
    EXACT,
    FINE,
    GAPS,
    LEAKY,
    LENGTHS,
    SMOOTH,
    STEEP,
    VARIANCES,
    check,
    tensors,
)
from hypothesis import given
from torch import Tensor

from resnet_sde._gaussian import logistic
from resnet_sde._gaussian.mixtures import _AT_ONCE
from resnet_sde.activations import ERF, GELU, LINEAR, RELU, SIGMOID, TANH, Activation, AlphaReLU, LeakyReLU


@pytest.mark.parametrize("name", EXACT)
def test_against_sixty_digits(name: str) -> None:
    phi, reference = EXACT[name]
    with mp.workdps(60):
        for q1, q2 in VARIANCES:
            a, b = mp.mpf(q1), mp.mpf(q2)
            half = (reference(a, a, mp.mpf(1))[0] + reference(b, b, mp.mpf(1))[0]) / 2
            exact = [reference(a, b, 1 - mp.mpf(gap)) for gap in GAPS]
            x, y, gaps = (*tensors(q1, q2), torch.tensor(GAPS))
            check(phi.dual(x, y, gap=gaps), [float(dual) for dual, _ in exact])
            check(phi.dual_prime(x, y, gap=gaps), [float(prime) for _, prime in exact])
            check(phi.difference(x, y, gap=gaps), [float(half - dual) for dual, _ in exact])


@pytest.mark.parametrize("name", ["relu", "leaky", "erf", "mixture", "gelu"])
def test_curvature_against_sixty_digits(name: str) -> None:
    """Twice the derivative of the reference in q1 at fixed covariance."""
    phi, reference = EXACT[name]
    with mp.workdps(60):
        for q1, q2 in VARIANCES:
            for gap in GAPS:
                a, b = mp.mpf(q1), mp.mpf(q2)
                k = mp.sqrt(a * b) * (1 - mp.mpf(gap))
                slope = mp.diff(lambda q, k=k, b=b: reference(q, b, k / mp.sqrt(q * b))[0], a)
                x, y, z = tensors(q1, q2, gap)
                check(phi.mean_curvature(x, y, gap=z), float(2 * slope))


@pytest.mark.parametrize(("phi", "scale"), [(TANH, 1.0), (SIGMOID, 2.0)])
def test_tanh_and_sigmoid_are_mixtures(phi: Activation, scale: float) -> None:
    """With many nodes pointwise, so that their duals are those of erf, summed."""
    rule = logistic(scale, shifted=phi is SIGMOID, size=FINE)
    weights, variances = torch.tensor(rule.weights), torch.tensor(rule.variances)
    x = torch.cat([torch.logspace(-8, 0, 50), torch.linspace(1, 40, 2000)])
    sums = torch.erf(x[:, None] / (2 * variances).sqrt()) @ weights
    check(sums + (0.5 if rule.shifted else 0.0), phi(x), 1e-14)
    densities = torch.exp(-x[:, None].square() / (2 * variances)) / variances.sqrt()
    assert (math.sqrt(2 / math.pi) * densities @ weights - phi.prime(x)).abs().max() < 1e-14


@pytest.mark.parametrize(("phi", "scale"), [(TANH, 1.0), (SIGMOID, 2.0)])
@pytest.mark.parametrize("name", ["dual", "difference", "dual_prime", "mean_curvature"])
def test_the_nodes_are_enough_at_any_variance(phi: Activation, scale: float, name: str) -> None:
    q1, ratio, gap = torch.meshgrid(
        torch.logspace(-12, 12, 13), torch.tensor([1.0, 1.5, 1e6]), torch.tensor([0.0, *GAPS]), indexing="ij"
    )
    fine = getattr(logistic(scale, shifted=phi is SIGMOID, size=FINE), name)(q1, ratio * q1, gap)
    check(getattr(phi, name)(q1, ratio * q1, gap=gap), fine, 5e-14)


# --- Brute force in two dimensions, for whatever is smooth.


def brute(phi: Activation, q1: float, q2: float, gap: float) -> dict[str, float]:
    """All moments of a pair by the trapezoidal rule in its two independent standard normal coordinates."""
    z = torch.linspace(-9.5, 9.5, 401)
    weight = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    half = math.asin(math.sqrt(gap / 2))
    s, t = z[:, None], z[None, :]
    u = math.sqrt(q1) * (math.cos(half) * s + math.sin(half) * t)
    v = math.sqrt(q2) * (math.cos(half) * s - math.sin(half) * t)
    u.requires_grad_()
    (second,) = torch.autograd.grad(phi.prime(u).sum() + 0 * u.sum(), u)
    u = u.detach()
    values = {
        "dual": phi(u) * phi(v),
        "difference": (phi(u) - phi(v)).square() / 2,
        "dual_prime": phi.prime(u) * phi.prime(v),
        "mean_curvature": second * phi(v),
    }
    return {name: (weight @ value @ weight).item() for name, value in values.items()}


@pytest.mark.parametrize("phi", SMOOTH, ids=str)
@pytest.mark.parametrize("gap", [0.01, 0.5, 1.7])
@pytest.mark.parametrize(("q1", "q2"), [(1e-2, 1e-2), (1.0, 1.0), (0.3, 3.0), (20.0, 20.0), (25.0, 1.0)])
def test_against_brute_force(phi: Activation, q1: float, q2: float, gap: float) -> None:
    x, y, z = tensors(q1, q2, gap)
    for name, expected in brute(phi, q1, q2, gap).items():
        measured = getattr(phi, name)(x, y, gap=z).item()
        assert abs(measured - expected) <= 1e-11 * abs(expected) + 1e-14, name


@pytest.mark.parametrize("phi", SMOOTH, ids=str)
@pytest.mark.parametrize("q", [1e-3, 0.1, 2.0, 20.0])
def test_one_variable_against_brute_force(phi: Activation, q: float) -> None:
    z = torch.linspace(-12, 12, 2001)
    weight = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    u = (math.sqrt(q) * z).requires_grad_()
    (second,) = torch.autograd.grad(phi.prime(u).sum() + 0 * u.sum(), u)
    u, (length,) = u.detach(), tensors(q)
    expected = [phi(u), phi(u).square(), phi.prime(u).square(), second.square()]
    measured = [phi.mean, phi.second_moment, phi.second_moment_prime, phi.second_moment_second]
    for f, values in zip(measured, expected, strict=True):
        assert abs(f(length).item() - (weight @ values).item()) <= 1e-12 * (weight @ values.abs()).item()


@pytest.mark.parametrize("phi", [RELU, LEAKY, ALPHA, STEEP], ids=str)
def test_one_variable_against_the_gamma_function(phi: Activation) -> None:
    a, slope = getattr(phi, "alpha", 1.0), getattr(phi, "slope", 0.0)

    def half(p: float) -> float:
        return 2 ** (p / 2 - 1) * math.gamma((p + 1) / 2) / math.sqrt(math.pi)

    q = torch.tensor(LENGTHS)
    check(phi.mean(q), (1 - slope) * half(a) * q.pow(a / 2))
    check(phi.second_moment(q), (1 + slope**2) * half(2 * a) * q.pow(a))
    check(phi.second_moment_prime(q), (1 + slope**2) * a**2 * half(2 * a - 2) * q.pow(a - 1))
    assert torch.isinf(phi.second_moment_second(q)).all()


# --- Each other.


def points() -> tuple[Tensor, Tensor, Tensor]:
    q1, q2, gap = torch.meshgrid(
        torch.tensor([0.01, 0.5, 2.0, 300.0]),
        torch.tensor([0.02, 0.5, 7.0]),
        torch.tensor([1e-3, 0.4, 1.2, 1.9]),
        indexing="ij",
    )
    return q1.clone(), q2.clone(), gap.clone()


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)
def test_derivatives_of_the_dual(phi: Activation) -> None:
    """Price's theorem: ∂/∂k is dual_prime and 2 ∂/∂q1 is mean_curvature, with k the covariance."""
    q1, q2, gap = points()
    k = ((1 - gap) * (q1 * q2).sqrt()).requires_grad_()
    q1.requires_grad_()
    dual = phi.dual(q1, q2, gap=1 - k / (q1 * q2).sqrt())
    in_q1, in_k = torch.autograd.grad(dual.sum(), (q1, k))
    prime, curvature = phi.dual_prime(q1, q2, gap=gap), phi.mean_curvature(q1, q2, gap=gap)
    torch.testing.assert_close(in_k, prime.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(2 * in_q1, curvature.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)
def test_hermite_series(phi: Activation) -> None:
    """Mehler: dual = Σ a_n(q1) a_n(q2) c^n, with a_n the coefficients in orthonormal Hermite polynomials."""
    y, w = np.polynomial.legendre.leggauss(400)
    y, w = (y + 1) / 2, w / 2
    z = torch.from_numpy(
        np.concatenate([-12 * y**4, 12 * y**4])
    )  # dense at the kink, where α-ReLU is a power
    weight = torch.from_numpy(np.tile(48 * y**3 * w, 2)) * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    hermite = [torch.ones_like(z), z]
    for n in range(1, 60):
        hermite.append((z * hermite[n] - math.sqrt(n) * hermite[n - 1]) / math.sqrt(n + 1))
    basis = torch.stack(hermite)
    q1, q2, c = 0.4, 1.7, 0.5
    terms = (basis @ (weight * phi(math.sqrt(q1) * z))) * (basis @ (weight * phi(math.sqrt(q2) * z)))
    x, y, gap = tensors(q1, q2, 1 - c)
    powers = c ** torch.arange(len(terms))
    check(phi.dual(x, y, gap=gap), terms @ powers, 1e-11)
    check(phi.dual(x, y, gap=2 - gap), terms @ (powers * (-1.0) ** torch.arange(len(terms))), 1e-11)


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)
def test_symmetry_and_no_gap(phi: Activation) -> None:
    q1, q2, gap = points()
    for f in (phi.dual, phi.difference, phi.dual_prime):
        check(f(q1, q2, gap=gap), f(q2, q1, gap=gap), 1e-13)
    q, zero = torch.tensor(LENGTHS), torch.tensor(0.0)
    check(phi.dual(q, q, gap=zero), phi.second_moment(q), 1e-14)
    check(phi.dual_prime(q, q, gap=zero), phi.second_moment_prime(q), 1e-14)
    assert (phi.difference(q, q, gap=zero) == 0).all()
    assert (phi.difference(q, 2 * q, gap=zero) > 0).all()


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)
def test_shapes(phi: Activation) -> None:
    q1, q2, gap = (
        torch.linspace(0.3, 2, 3)[:, None, None],
        torch.linspace(0.1, 5, 4)[:, None],
        torch.linspace(0.1, 1.9, 5),
    )
    for f in (phi.dual, phi.difference, phi.dual_prime, phi.mean_curvature):
        whole = f(q1, q2, gap=gap)
        assert whole.shape == (3, 4, 5)
        assert whole.dtype == torch.float64
        check(f(q1[2, 0, 0], q2[1, 0], gap=gap[3]), whole[2, 1, 3].item(), 1e-14)
        assert f(q1[:0], q2, gap=gap).shape == (0, 4, 5)
    assert phi.mean(q2).shape == phi.second_moment(q2).shape == phi.second_moment_second(q2).shape == (4, 1)


def test_many_points_are_those_one_by_one() -> None:
    """More than go at once, on both sides of a seam."""
    q = torch.linspace(0.1, 5, _AT_ONCE // 100)
    gap = torch.tensor(0.3)
    whole = TANH.dual(q, 2 * q, gap=gap)
    for i in (0, 120, 127, 128, 129, len(q) - 1):
        check(whole[i], TANH.dual(q[i], 2 * q[i], gap=gap).item(), 1e-14)


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)
def test_rounding_beyond_the_ends_of_the_gap_does_no_harm(phi: Activation) -> None:
    one = torch.tensor(1.0)
    for f in (phi.dual, phi.difference, phi.dual_prime, phi.mean_curvature):
        for end, beyond in ((0.0, -1e-16), (2.0, 2 + 4e-16)):
            check(f(one, one, gap=torch.tensor(beyond)), f(one, one, gap=torch.tensor(end)).item(), 0.0)


@pytest.mark.parametrize("phi", [LINEAR, RELU, LEAKY, ERF, GELU, ALPHA, TANH, SIGMOID], ids=str)
def test_nothing_comes_of_no_variance(phi: Activation) -> None:
    q, one, gap = torch.zeros(1), torch.ones(1), torch.tensor([0.3])
    at_zero = phi(q).square()
    check(phi.second_moment(q), at_zero)
    check(phi.dual(q, q, gap=gap), at_zero)
    assert (phi.difference(q, q, gap=gap) == 0).all()
    expected = (phi.second_moment(one) + at_zero) / 2 - phi(q) * phi.mean(one)
    check(phi.difference(q, one, gap=gap), expected)


@pytest.mark.parametrize(
    ("one", "other"), [(LeakyReLU(1.0), LINEAR), (LeakyReLU(0.0), RELU), (AlphaReLU(1.0), RELU)], ids=str
)
def test_special_cases(one: Activation, other: Activation) -> None:
    q1, q2, gap = points()
    for name in ("dual", "difference", "dual_prime", "mean_curvature"):
        check(getattr(one, name)(q1, q2, gap=gap), getattr(other, name)(q1, q2, gap=gap), 1e-14)


@pytest.mark.parametrize("name", ["dual", "difference", "dual_prime", "mean_curvature"])
def test_a_power_of_nearly_one_is_nearly_a_relu(name: str) -> None:
    q1, q2, gap = points()
    near, relu = getattr(AlphaReLU(1 - 1e-9), name)(q1, q2, gap=gap), getattr(RELU, name)(q1, q2, gap=gap)
    check(near, relu, 1e-6)


gaps = st.floats(0, 2)
lengths = st.floats(-8, 8).map(lambda x: 10**x)


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)
@given(q1=lengths, q2=lengths, a=gaps, b=gaps)
def test_inequalities(phi: Activation, q1: float, q2: float, a: float, b: float) -> None:
    """The dual falls as the gap grows (GELU, which is not monotone: up to 1), and Cauchy-Schwarz holds."""
    if phi is GELU:
        a, b = a / 2, b / 2
    x, y, near, far = tensors(q1, q2, min(a, b), max(a, b))
    size = (phi.second_moment(x) * phi.second_moment(y)).sqrt()
    margin = 1e-13 * size
    assert phi.dual(x, y, gap=far) <= phi.dual(x, y, gap=near) + margin
    assert phi.difference(x, y, gap=far) * (1 + 1e-13) >= phi.difference(x, y, gap=near)
    assert phi.dual(x, y, gap=near).abs() <= size + margin
    slopes = (phi.second_moment_prime(x) * phi.second_moment_prime(y)).sqrt()
    assert phi.dual_prime(x, y, gap=near).abs() <= slopes * (1 + 1e-13)
    middle = (phi.second_moment(x) + phi.second_moment(y)) / 2
    assert abs(middle - phi.dual(x, y, gap=near) - phi.difference(x, y, gap=near)) <= 1e-13 * middle


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)
def test_an_error_of_two_percent_is_caught(phi: Activation) -> None:
    q1, q2, gap = points()
    right = phi.dual(q1, q2, gap=gap)
    wrong = right.clone()
    wrong[1, 1, 1] *= 1.02
    check(right, right)
    with pytest.raises(AssertionError):
        check(wrong, right)
