"""Gaussian moments of φ² against tables, Owen's T function, Mehler's series and quadrature."""

import math

import pytest
import torch
from finite_width_cases import ORACLES, gauss_hermite, owen

from resnet_sde import ERF, LINEAR, RELU, TANH, Activation, LeakyReLU, activation
from resnet_sde.activations import GELU, SIGMOID, AlphaReLU, Erf
from resnet_sde.finite_width.phi_squared_moments import (
    GaussianSum,
    Hermite,
    cross_kernel,
    phi_squared_moments,
)

KERNEL = torch.tensor([0.05, 0.1, 0.3, 0.5, 0.9, 1.5, 2.0], dtype=torch.float64)


def pair(phi: Activation, late: float, early: float, cross: float) -> tuple[float, float]:
    found = phi_squared_moments(phi).pair(*(torch.tensor([float(x)]) for x in (late, early, cross)))
    return float(found[0]), float(found[1])


@pytest.mark.parametrize(
    ("phi", "row"),
    [(phi, row) for phi in (ERF, TANH) for row in ORACLES[f"{type(phi).__name__.lower()}_scalar"]],
    ids=lambda x: x["K"] if isinstance(x, dict) else type(x).__name__,
)
def test_tabulated_moments(phi: Activation, row: dict) -> None:
    k = torch.tensor([row["K"]])
    found = {
        "f": phi.second_moment(k),
        "a": phi_squared_moments(phi).slope(k),
        "fpp": phi_squared_moments(phi).curvature(k),
        "var_phi2": torch.tensor(pair(phi, row["K"], row["K"], row["K"])[0]),
    }
    found["m4"] = found["var_phi2"] + found["f"].square()
    for name, value in found.items():
        assert math.isclose(float(value), float(row[name]), rel_tol=2e-14), name


@pytest.mark.parametrize("row", ORACLES["erf_source_pairs"], ids=lambda row: f"{row['Kj']}-{row['Ki']}")
def test_tabulated_sources_of_erf(row: dict) -> None:
    source, feedback = pair(ERF, row["Ki"], row["Kj"], row["Kj"])
    assert abs(source - row["Sigma"]) < 1e-13  # of the table: the error of its trapezoidal rule
    assert abs(feedback - row["Gamma"]) < 1e-13


def test_tabulated_sources_of_relu() -> None:
    row = ORACLES["relu_source_pair"]
    source, feedback = pair(RELU, row["Ki"], row["Kj"], row["Kj"])
    assert math.isclose(source, row["Sigma"], rel_tol=1e-14)
    assert math.isclose(feedback, row["Gamma"], rel_tol=1e-14)
    assert math.isclose(pair(RELU, 0.5, 0.5, 0.5)[0], row["var_same"], rel_tol=1e-14)


def test_erf_is_uniform_at_one_half() -> None:
    assert math.isclose(pair(ERF, 0.5, 0.5, 0.5)[0], 4 / 45, rel_tol=1e-14)


@pytest.mark.parametrize(
    ("late", "early", "share"), [(8.5, 8.0, 1.0), (8.5, 8.5, 0.6), (25, 20, 1.0), (100, 90, 0.9)]
)
def test_large_variances_agree_with_owen_where_gauss_hermite_fails(
    late: float, early: float, share: float
) -> None:
    cross = share * early
    source, feedback = pair(ERF, late, early, cross)
    expected, curved = owen(late, early, cross)
    assert abs(source - expected) < 1e-12
    assert abs(feedback - curved) < 1e-12
    assert abs(gauss_hermite(ERF, late, early, cross, 32) - expected) > 1e-2 * expected
    assert abs(gauss_hermite(ERF, late, early, cross, 96) - expected) > 1e-4 * expected


def test_gauss_hermite_serves_small_variances() -> None:
    assert abs(gauss_hermite(ERF, 0.4, 0.3, 0.25, 64) - pair(ERF, 0.4, 0.3, 0.25)[0]) < 1e-14


@pytest.mark.parametrize("skip", [1.0, 0.8, 0.0, -0.5])
@pytest.mark.parametrize("name", ["erf", "tanh", "linear"])
def test_closed_forms_agree_with_the_series_of_mehler(name: str, skip: float) -> None:
    phi = activation(name)
    closed, series = phi_squared_moments(phi), Hermite(phi)
    for a, b in zip(closed.sources(KERNEL, skip), series.sources(KERNEL, skip), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-14)
    assert torch.allclose(closed.slope(KERNEL), series.slope(KERNEL), rtol=1e-14)
    assert torch.allclose(closed.curvature(KERNEL), series.curvature(KERNEL), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("phi", [RELU, LeakyReLU(0.3), LINEAR], ids=str)
@pytest.mark.parametrize("cosine", [-0.99, -0.4, 0.0, 0.7, 1.0])
def test_half_lines_agree_with_quadrature(phi: Activation, cosine: float) -> None:
    """By polar coordinates: E r⁴ = 8, and the angle of a fine even grid."""
    late, early = 1.3, 0.7
    angle = (torch.arange(200_000) + 0.5) * (2 * math.pi / 200_000)
    u = math.sqrt(late) * torch.cos(angle - math.acos(cosine))
    v = math.sqrt(early) * torch.cos(angle)
    product = 8 * (phi(u).square() * phi(v).square()).mean()
    lengths = (1 + (0.3 if phi == LeakyReLU(0.3) else float(phi == LINEAR)) ** 2) / 2
    source, feedback = pair(phi, late, early, cosine * math.sqrt(late * early))
    assert math.isclose(source + lengths**2 * late * early, float(product), rel_tol=1e-8)
    if abs(cosine) < 1:
        step = 1e-6
        moved = (pair(phi, late + x, early, cosine * math.sqrt(late * early))[0] for x in (step, -step))
        up, down = moved
        assert abs((up - down) / (2 * step) - feedback) < 1e-8


@pytest.mark.parametrize("phi", [ERF, TANH, SIGMOID, GELU], ids=str)
def test_derivatives_of_sources_and_slopes(phi: Activation) -> None:
    """Feedback is the derivative of the source in the later variance, the curvature that of the slope."""
    known, step = phi_squared_moments(phi), 1e-4
    shift = torch.zeros_like(KERNEL)
    shift[-1] = step
    _, feedback = known.sources(KERNEL, 1.0)
    # With skip 1 the covariance with an earlier layer is its variance, whatever the later one is.
    up, down = (known.sources(KERNEL + sign * shift, 1.0)[0][-1, :-1] for sign in (1, -1))
    assert torch.allclose((up - down) / (2 * step), feedback[-1, :-1], rtol=1e-7, atol=1e-9)
    slopes = (known.slope(KERNEL + step) - known.slope(KERNEL - step)) / (2 * step)
    assert torch.allclose(known.curvature(KERNEL), slopes, rtol=1e-6)


def test_sources_at_one_layer_are_variances() -> None:
    for phi in (SIGMOID, GELU):
        source, feedback = phi_squared_moments(phi).sources(torch.tensor([0.4, 0.7]), 0.0)
        assert source[0, 1] == source[1, 0] == 0
        assert not feedback.any()
        assert math.isclose(float(source[1, 1]), gauss_hermite(phi, 0.7, 0.7, 0.7, 80), rel_tol=1e-10)


def test_kernel_between_layers() -> None:
    k = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(cross_kernel(k, 1.0), torch.tensor([[1.0, 1, 1], [1, 2, 2], [1, 2, 3]]))
    assert torch.equal(cross_kernel(k, 0.0), torch.diag(k))
    assert torch.equal(cross_kernel(k, -0.5)[2], torch.tensor([0.25, -1.0, 3.0]))


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1/width theory of AlphaReLU.*is not known; give erf"):
        phi_squared_moments(AlphaReLU(0.7))
    with pytest.raises(ValueError, match=r"needs more than 400 Hermite polynomials.*give a smaller gain"):
        phi_squared_moments(SIGMOID).sources(torch.tensor([1.0, 1e4]), 1.0)


def test_kinds_of_activations() -> None:
    assert isinstance(phi_squared_moments(Erf()), GaussianSum)
    assert phi_squared_moments(AlphaReLU(1.0)) == phi_squared_moments(RELU)
    assert isinstance(phi_squared_moments(SIGMOID), Hermite)
