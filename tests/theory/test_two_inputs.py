"""The 1/width theory of two inputs against tables, one input, and derivatives."""

import math

import pytest
import torch
from finite_width_cases import ORACLES, PAIRS, gauss_hermite, model_of, square
from torch import Tensor

from resnet_sde import ERF, LINEAR, RELU, TANH, Activation, Model, SingleLayer, WhiteNoise
from resnet_sde.activations import GELU
from resnet_sde.finite_width import finite_size, finite_size_pair, off_diagonal_response, posterior_shift
from resnet_sde.finite_width.four_point import four_point
from resnet_sde.finite_width.phi_squared_moments import phi_squared_moments
from resnet_sde.finite_width.two_inputs import derivatives, second_moments
from resnet_sde.streams import generator

VECTORS = ("kernel", "branch", "kernel_shift", "branch_shift")
MATRICES = ("growth", "kernel_response", "branch_response", "kernel_covariance", "conditional_covariance")
COVERED = [ERF, RELU, LINEAR, TANH]


def far(found: Tensor, table: list) -> float:
    """The largest difference from a table."""
    return float((found - torch.tensor(table)).abs().max())


@pytest.mark.parametrize("phi", [ERF, RELU], ids=["erf", "relu"])
def test_tabulated_moments(phi: Activation) -> None:
    row, name = ORACLES["two_input"], str(phi).removesuffix("()").lower()
    entries = torch.tensor([row["K"]])
    first, second = derivatives(phi, entries)
    assert far(second_moments(phi, entries)[0], row[f"{name}_F"]) < 1e-15
    assert far(first[0], row[f"{name}_J"]) < 1e-15
    if phi == ERF:
        assert far(second[0, 2], row["erf_H12"]) < 1e-14


@pytest.mark.parametrize("row", PAIRS, ids=lambda row: f"L{row['L']}-{row['rho']}")
def test_tabulated_networks(row: dict) -> None:
    """The table has kernels to 1e-12, covariances to nine decimals or the error of its quadrature."""
    size = finite_size_pair(model_of(row), square(row["K0"]), depth=row["L"])
    assert far(size.kernel[-1], row["K_L"]) < 1e-12
    assert far(size.branch[-1], row["C_out"]) < 1e-12
    assert far(size.output_response, row["jac_Cout_K0"]) < 1e-12
    tolerance = 5.1e-10 + row["quadrature_uncertainty"]
    assert far(size.branch_covariance[-1, -1], row["NCov_Cout"]) < tolerance
    assert far(size.branch_covariance[1, -1], row["NCov_C2_Cout"]) < tolerance
    assert far(size.branch_shift[-1], row["mean_corr_Cout"]) < tolerance


ALONE = [(phi, skip) for phi in COVERED for skip in (1.0, 0.0) if phi != TANH or skip]


def test_a_network_without_branches() -> None:
    model = Model(SingleLayer(RELU), WhiteNoise(), 64, gain=0.0)
    size = finite_size_pair(model, square([0.5, 0.3, 0.1]), depth=3)
    assert not size.kernel_shift.any()
    assert torch.allclose(size.kernel_covariance[0, 3, 2, 2], torch.tensor(0.16))  # K11 K22 + K12²


@pytest.mark.parametrize(("phi", "skip"), ALONE, ids=str)
def test_each_input_alone(phi: Activation, skip: float) -> None:
    """The entries 11 and 22 are what one input has; for tanh to the error of its mixture."""
    model = Model(SingleLayer(phi, 1.2, 0.1), WhiteNoise(), 64, beta=0.0, gain=0.5, skip=skip)
    size = finite_size_pair(model, square([0.5, 0.3, 0.1]), depth=2)
    tolerance = 2e-7 if phi == TANH else 1e-13
    for entry, q0 in enumerate((0.5, 0.3)):
        alone = finite_size(model, q0, depth=2)
        for name in VECTORS:
            assert far(getattr(size, name)[..., entry], getattr(alone, name).tolist()) < tolerance, name
        for name in (*MATRICES, "branch_covariance"):
            found = getattr(size, name)[..., entry, entry]
            assert far(found, getattr(alone, name).tolist()) < tolerance, name
    assert torch.equal(size.variance[:, 1], size.kernel_covariance[range(3), range(3), 1, 1] / 64)
    assert size.output_covariance.shape == (3, 3)
    assert size.output_excess_kurtosis.shape == (3,)


def test_orthogonal_linear_networks() -> None:
    """Of orthogonal inputs through linear layers without bias, everything is known."""
    model = Model(SingleLayer(LINEAR, 1.0), WhiteNoise(), 64, beta=0.0, gain=0.5)
    size = finite_size_pair(model, torch.eye(2), depth=4)
    s = 0.25
    grown = (1 + s) ** 4
    # Leading order of Q_12 at layer L: E Q_12² N = grown² (1 + L (2s + s²) / (1 + s)²), from E (W h)(W h')ᵀ.
    assert math.isclose(size.kernel[-1, 0], grown, rel_tol=1e-14)
    expected = grown**2 * (1 + 4 * (2 * s + s * s) / (1 + s) ** 2)
    assert math.isclose(size.kernel_covariance[-1, -1, 2, 2], expected, rel_tol=1e-13)
    assert size.branch_shift.abs().max() < 1e-15


@pytest.mark.parametrize("phi", COVERED, ids=["erf", "relu", "linear", "tanh"])
def test_quartets_of_exchanged_pairs(phi: Activation) -> None:
    first, second = square([0.6, 0.9, 0.2])[None], square([0.5, 0.4, -0.1])[None]
    between = torch.tensor([[[0.3, 0.1], [-0.05, 0.35]]])
    there, back = four_point(phi, first, second, between), four_point(phi, second, first, between.mT)
    assert math.isclose(float(there), float(back), rel_tol=1e-12)
    swapped = four_point(phi, first.flip(1, 2), second, between.flip(1))
    assert math.isclose(float(there), float(swapped), rel_tol=1e-12)


def test_products_of_relu_tend_to_squares() -> None:
    """As two of the four variables become one, the formula of products becomes that of a square."""
    close = torch.tensor([[0.7, 0.7], [0.7, 0.7 + 1e-10]])[None]
    square_of = torch.full((1, 2, 2), 0.7)
    pair, between = square([0.5, 0.4, 0.1])[None], torch.tensor([[[0.3, 0.2], [0.3, 0.2]]])
    for other, across in ((pair, between), (torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), 0.3))):
        product, limit = (four_point(RELU, first, other, across) for first in (close, square_of))
        assert torch.allclose(product, limit, rtol=1e-5)  # the distance is of the order of the noise


@pytest.mark.parametrize("variance", [2.0, 8.5, 30.0])
def test_quartets_of_erf_at_large_variances(variance: float) -> None:
    ones = torch.ones(1, 2, 2)
    found = float(four_point(ERF, variance * ones, 0.98 * variance * ones, 0.98 * variance * ones))
    expected = phi_squared_moments(ERF).sources(variance * torch.tensor([0.98, 1.0]), 1.0)[0][1, 0]
    assert math.isclose(found, float(expected), rel_tol=1e-11)
    assert abs(gauss_hermite(ERF, variance, 0.98 * variance, 0.98 * variance, 32) / found - 1) > 1e-4


@pytest.mark.parametrize("phi", COVERED, ids=["erf", "relu", "linear", "tanh"])
def test_quartets_against_samples(phi: Activation) -> None:
    """200 000 points: nine comparisons an activation, chance of a false alarm 1e-5 each."""
    early, step = square([0.5, 0.8, 0.2]), square([0.3, 0.2, 0.1])
    late, cross = 0.81 * early + step, 0.9 * early
    source, count = generator(5, "quartets"), 200_000
    z = torch.randn(2, count, 2, generator=source)
    before = z[0] @ torch.linalg.cholesky(early).T
    after = 0.9 * before + z[1] @ torch.linalg.cholesky(step).T
    misses = []
    for a, b in ((0, 0), (1, 1), (0, 1)):
        for c, d in ((0, 0), (1, 1), (0, 1)):
            one = phi(after[:, a]) * phi(after[:, b])
            other = phi(before[:, c]) * phi(before[:, d])
            product = (one - one.mean()) * (other - other.mean())
            rows, columns = [a, b], [c, d]
            blocks = (late[rows][:, rows], early[columns][:, columns], cross[rows][:, columns])
            expected = float(four_point(phi, *(x[None] for x in blocks)))
            error = float(product.std()) / math.sqrt(count)
            misses.append(abs(float(product.mean()) - expected) / error)
            assert expected > 8 * error  # so that a covariance wrong by its own size would be seen
    assert max(misses) < 4.42


@pytest.mark.parametrize("phi", COVERED, ids=["erf", "relu", "linear", "tanh"])
def test_derivatives_of_two_inputs(phi: Activation) -> None:
    entries, step = torch.tensor([[0.5, 0.3, 0.1]]), 1e-5
    first, second = derivatives(phi, entries)
    for q in range(3):
        shift = step * torch.eye(3)[q]
        moved = second_moments(phi, entries + shift) - second_moments(phi, entries - shift)
        assert torch.allclose(moved[0] / (2 * step), first[0, :, q], rtol=1e-8, atol=1e-10)
        moved = derivatives(phi, entries + shift)[0] - derivatives(phi, entries - shift)[0]
        assert torch.allclose(moved[0] / (2 * step), second[0, :, :, q], rtol=1e-7, atol=1e-9)


def test_the_off_diagonal_response_is_the_last_entry() -> None:
    model = Model(SingleLayer(ERF, 1.3, 0.1), WhiteNoise(), 64, beta=0.0, gain=0.4)
    size = finite_size_pair(model, square([0.4, 0.4, 0.1]), depth=7)
    found = off_diagonal_response(model, 0.4, 0.25, depth=7)
    assert math.isclose(found, size.output_response[2, 2], rel_tol=1e-13)


# The posterior


def test_posterior_shift() -> None:
    """Numbers to four digits, which importance sampling confirmed."""
    block = SingleLayer(ERF, 1.2, 0.05)
    size = finite_size_pair(
        Model(block, WhiteNoise(), 256, beta=0.0, gain=0.3), square([0.3, 0.2, 0.1]), depth=10
    )
    apart = posterior_shift(size, torch.tensor([[1.5], [-1.0]]), noise=0.1) * 256
    assert abs(float(apart[2]) + 3.104) < 5.1e-4
    together = posterior_shift(size, torch.tensor([[2.0], [1.8]]), noise=0.1) * 256
    assert far(together, [1.143, 1.043, 2.553]) < 5.1e-4


def test_posterior_shift_of_one_input() -> None:
    """One output of variance v: C gains weight where y² is above v."""
    model = Model(SingleLayer(ERF, 1.2, 0.05), WhiteNoise(), 64, beta=0.0, gain=0.3)
    size = finite_size(model, 0.3, depth=10)
    v = float(size.branch[-1]) + 0.1
    typical = torch.full((1, 1), math.sqrt(v))
    assert abs(float(posterior_shift(size, typical, noise=0.1))) < 1e-15
    found = float(posterior_shift(size, 2 * typical, noise=0.1))
    assert math.isclose(found, 1.5 / v * float(size.output_covariance), rel_tol=1e-13)
    many = posterior_shift(size, (2 * typical).expand(1, 3), noise=0.1)
    assert math.isclose(float(many), 3 * found, rel_tol=1e-13)


@pytest.mark.parametrize(
    ("targets", "noise", "words"),
    [
        (torch.ones(3), 0.1, r"targets must have shape \(1 inputs, outputs\)"),
        (torch.ones(2, 1), 0.1, "targets must have shape"),
        (torch.ones(1, 1), -0.1, "noise is a variance"),
    ],
    ids=["axes", "inputs", "noise"],
)
def test_bad_data_are_refused(targets: Tensor, noise: float, words: str) -> None:
    size = finite_size(Model(SingleLayer(ERF), WhiteNoise(), 64), 0.3, depth=2)
    with pytest.raises(ValueError, match=words):
        posterior_shift(size, targets, noise=noise)


@pytest.mark.parametrize(
    ("phi", "k0", "depth", "words"),
    [
        (ERF, torch.eye(3), 2, r"k0 must be a \(2, 2\) matrix"),
        (ERF, torch.ones(2, 2), 2, "parallel"),
        (ERF, torch.tensor([[1.0, 0.2], [0.1, 1.0]]), 2, "symmetric"),
        (ERF, torch.eye(2), 1000, "give a depth up to 500"),
        (GELU, torch.eye(2), 2, "two inputs is not known for Gelu"),
    ],
    ids=["shape", "parallel", "symmetric", "deep", "activation"],
)
def test_bad_requests_are_refused(phi: Activation, k0: Tensor, depth: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        finite_size_pair(Model(SingleLayer(phi), WhiteNoise(), 9), k0, depth=depth)
