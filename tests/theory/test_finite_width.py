"""The 1/width theory of one input against tables, exact networks and its own limits."""

import math
from itertools import pairwise

import pytest
import torch
from finite_width_cases import LAYERS, ORACLES, erf_model, model_of
from torch import Tensor

from resnet_sde import (
    ERF,
    LINEAR,
    RELU,
    TANH,
    FractionalNoise,
    Model,
    Reduced,
    SingleLayer,
    TwoLayer,
    WhiteNoise,
)
from resnet_sde.activations import GELU, AlphaReLU
from resnet_sde.finite_width import finite_size, output_response
from resnet_sde.finite_width.finite_size import without_memory
from resnet_sde.finite_width.phi_squared_moments import phi_squared_moments
from resnet_sde.propagate import default_dtype


# Tables have twelve significant digits unless a test says otherwise.
def close(
    found: Tensor | float, table: list[float] | float, rtol: float = 5e-12, atol: float = 1e-13
) -> bool:
    return torch.allclose(torch.as_tensor(found), torch.as_tensor(table), rtol=rtol, atol=atol)


# Tables


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    case = LAYERS[name]
    size = finite_size(model_of(case), case["K0"], depth=case["L"])
    assert close(size.kernel, case["K"])
    assert close(size.branch, case["C"])
    assert close(size.growth, case["chi"])
    assert close(size.kernel_response[:, 0], case["kernel_response_to_input"])
    assert close(size.branch_response[:, 0], case["branch_response_to_input"])
    assert close(size.branch_covariance.diagonal(), case["NVarC"])
    assert close(size.conditional_covariance.diagonal(), case["NVarKhat"])
    assert close(size.kernel_covariance.diagonal(), case["NVarQ"])
    assert close(size.branch_shift, case["mean_corr_C"])
    assert close(size.kernel_shift, case["mean_corr_K"])
    assert close(size.branch_covariance[1, -1], case["NCov_C2_Cout"])
    assert close(size.kernel_covariance[1, -1], case["NCov_Q1_QL"])


@pytest.mark.parametrize("name", LAYERS)
def test_sources_of_one_layer_alone_are_not_enough(name: str) -> None:
    """The negative control: the recursion of feed-forward networks fails in every residual one."""
    case = LAYERS[name]
    model = model_of(case)
    less = without_memory(model, case["K0"], depth=case["L"]).branch_covariance[-1, -1]
    assert close(less.squeeze(), case["NVarC_out_diag_source_only"])
    full = finite_size(model, case["K0"], depth=case["L"]).branch_covariance[-1, -1]
    if model.skip == 0:
        assert close(less.squeeze(), full, rtol=1e-14)
    else:
        assert float(less) < 0.95 * float(full)


def test_against_the_residual_scale() -> None:
    table = ORACLES["NVarCout_vs_rho_L20"]
    for row in range(len(table["rho"])):
        model = erf_model(table["sw2"], table["sb2"], table["rho"][row])
        size = finite_size(model, table["K0"], depth=20)
        # Ten digits.
        assert close(size.branch_covariance[-1, -1], table["full"][row], rtol=5e-10)
        assert close(size.branch_shift[-1], table["mean_corr"][row], rtol=5e-10)
        assert close(size.branch[-1], table["C_out"][row], rtol=5e-10)
        less = without_memory(model, table["K0"], depth=20).branch_covariance[-1, -1]
        assert close(less.squeeze(), table["diag_only"][row], rtol=5e-10)


@pytest.mark.parametrize("rows", ["rows_rho_betastar_over_sqrtL", "rows_rho_2p5_over_sqrtL"])
def test_deep_networks(rows: str) -> None:
    table = ORACLES["deep_limit"]
    gain = table["beta_star"] if "betastar" in rows else 2.5
    forgotten = []
    for depth, *values in table[rows]:
        model = Model(SingleLayer(ERF, table["sw2"], table["sb2"]), WhiteNoise(), 100, gain=gain)  # beta 1/2
        size, less = (
            finite_size(model, table["K0"], depth=depth),
            without_memory(model, table["K0"], depth=depth),
        )
        found = [
            size.kernel[-1],
            size.output_response,
            size.branch_covariance[-1, -1],
            less.branch_covariance[-1, -1].squeeze(),
            size.conditional_covariance[-1, -1],
            less.conditional_covariance[-1, -1].squeeze(),
            size.branch_shift[-1],
            size.kernel_covariance[-1, -1],
        ]
        assert close(torch.stack(found), values, rtol=0, atol=5.1e-7)  # six decimals
        forgotten.append(float(less.conditional_covariance[-1, -1]))
    # Without memory the variance of the kernel would vanish with depth, like 1/L.
    assert all(1.6 < a / b < 2.1 for a, b in pairwise(forgotten[2:]))


def test_scalings_in_depth() -> None:
    table = ORACLES["exponent_sweep"]
    for beta, depth, kernel, response in table["entries"]:
        model = Model(SingleLayer(ERF, table["sw2"], table["sb2"]), WhiteNoise(), 100, beta=beta)
        found = output_response(model, table["K0"], depth=depth, out_sigma_w2=1.0)
        assert close(found, response, rtol=1e-7)  # eight digits
        if depth <= 100:
            size = finite_size(model, table["K0"], depth=depth, out_sigma_w2=1.0)
            assert close(size.kernel[-1], kernel, rtol=1e-7)
            assert close(size.output_response, response, rtol=1e-7)


def test_limits_of_the_scalings() -> None:
    """Critical networks tend to a limit like 1/L, and above they respond as if they had no layers."""
    table = ORACLES["exponent_sweep"]
    critical, above = table["limit_half"]["R_out"], table["limit_above_half"]["R_out"]

    def response(beta: float, depth: int) -> float:
        model = Model(SingleLayer(ERF, table["sw2"], table["sb2"]), WhiteNoise(), 100, beta=beta)
        return output_response(model, table["K0"], depth=depth, out_sigma_w2=1.0)

    errors = [response(0.5, depth) - critical for depth in (1000, 4000)]
    assert 3.9 < errors[0] / errors[1] < 4.1
    assert abs(errors[1]) < 1e-4
    assert close(response(1.5, 100_000), above, rtol=1e-6)


@pytest.mark.parametrize("row", ORACLES["feedforward_fixed_points"], ids=lambda row: str(row["sw2"]))
def test_deep_feed_forward_networks(row: dict) -> None:
    size = finite_size(model_of({**row, "skip": 0.0}), row["K"], depth=60)
    assert close(size.kernel[-1], row["K"], rtol=1e-11)
    assert close(size.growth[-1], row["chi"], rtol=1e-11)
    assert close(-1 / math.log(float(size.growth[-1])), row["xi"], rtol=1e-9)
    assert close(size.branch_covariance[-1, -1], row["NVarC"], rtol=1e-11)
    decay = size.kernel_response[41, 0] / size.kernel_response[40, 0]
    assert close(decay, math.exp(-1 / row["xi"]), rtol=1e-9)


@pytest.mark.parametrize("row", ORACLES["linear_exact_sb0"], ids=lambda row: f"{row['N']}-{row['L']}")
def test_linear_networks_are_known_at_every_width(row: dict) -> None:
    block = SingleLayer(LINEAR, row["sw2"])
    model = Model(block, WhiteNoise(), row["N"], beta=0.0, gain=row["rho"])
    size = finite_size(model, row["K0"], depth=row["L"])
    n, s, depth, k0 = row["N"], row["rho"] ** 2 * row["sw2"], row["L"], row["K0"]
    assert close(size.mean[-1], row["mean_QL"], rtol=1e-11)
    assert close(size.variance[-1] * n, row["NVar_leading"], rtol=1e-9)
    step = (1 + s) ** 2 + (4 * s + 2 * s * s) / n
    square = k0**2 * (1 + 2 / n) * step**depth
    exact = n * (square - row["mean_QL"] ** 2)
    assert close(exact, row["NVar_QL"], rtol=1e-6)
    # What is left out is of order 1/N, with a coefficient of a few times depth * s.
    assert abs(float(size.variance[-1]) * n / row["NVar_QL"] - 1) < 4 / n


# Structure


@pytest.mark.parametrize("skip", [1.0, 0.7, 0.0])
def test_covariances_are_symmetric_and_positive(skip: float) -> None:
    model = Model(SingleLayer(TANH, 1.5, 0.1), WhiteNoise(), 50, beta=0.0, gain=0.6, skip=skip)
    size = finite_size(model, 0.8, depth=12)
    for matrix in (size.kernel_covariance, size.conditional_covariance, size.branch_covariance):
        assert torch.allclose(matrix, matrix.T, rtol=1e-13, atol=1e-15)
        assert float(torch.linalg.eigvalsh(matrix).min()) > -1e-12
    assert torch.equal(size.variance, size.kernel_covariance.diagonal() / 50)
    assert torch.equal(size.mean, size.kernel + size.kernel_shift / 50)
    assert torch.equal(size.response, size.kernel_response[-1])


def test_responses_are_derivatives_of_the_kernels() -> None:
    model = Model(SingleLayer(GELU, 1.5, 0.1), WhiteNoise(), 50, beta=0.0, gain=0.4)
    size, step = finite_size(model, 0.8, depth=8), 1e-5
    up, down = (finite_size(model, 0.8 + sign * step, depth=8) for sign in (1, -1))
    slopes = (up.kernel - down.kernel) / (2 * step)
    assert torch.allclose(slopes, size.kernel_response[:, 0], rtol=1e-9)
    slopes = (up.branch - down.branch) / (2 * step)
    assert torch.allclose(slopes, size.branch_response[:, 0], rtol=1e-9)
    chain = size.kernel_response[8, 3] * size.kernel_response[3, 0]
    assert torch.allclose(chain, size.kernel_response[8, 0], rtol=1e-13)


@pytest.mark.parametrize("skip", [1.0, 0.8, 0.0])
def test_covariances_by_inversion(skip: float) -> None:
    """The quadratic form of the field theory: N Cov(C, C) = R B Rᵀ with R = (1 − A)⁻¹, all layers at once."""
    depth, q0, rho2, weight = 12, 0.4, 0.09, 1.3
    block = SingleLayer(ERF, weight, 0.05)
    model = Model(block, WhiteNoise(), 50, beta=0.0, gain=math.sqrt(rho2), skip=skip)
    size = finite_size(model, q0, depth=depth)
    known = phi_squared_moments(ERF)
    layers = torch.arange(depth + 1)
    lag = layers[:, None] - layers - 1  # of what layer m adds, when layer l > m is read
    carried = torch.where(lag >= 0, torch.tensor(skip**2) ** lag.clamp_min(0), 0.0)
    feeds = weight * known.slope(size.kernel)[:, None] * rho2 * carried
    response = torch.linalg.inv(torch.eye(depth + 1) - feeds)
    correlation = weight**2 * known.sources(size.kernel, skip)[0]
    expected = response @ correlation @ response.T
    assert torch.allclose(size.branch_covariance, expected, rtol=1e-12, atol=1e-16)


def test_the_readout_has_variances_of_its_own() -> None:
    model = erf_model(1.2, 0.05, 0.3)
    own = finite_size(model, 0.1, depth=10)
    other = finite_size(model, 0.1, depth=10, out_sigma_w2=3.6, out_sigma_b2=0.0)
    assert math.isclose(other.branch[-1], 3 * (own.branch[-1] - 0.05), rel_tol=1e-14)
    assert math.isclose(other.branch_covariance[-1, -1], 9 * own.branch_covariance[-1, -1], rel_tol=1e-14)
    assert math.isclose(other.branch_covariance[-1, 2], 3 * own.branch_covariance[-1, 2], rel_tol=1e-14)
    assert math.isclose(other.branch_shift[-1], 3 * own.branch_shift[-1], rel_tol=1e-14)
    assert math.isclose(other.output_response, 3 * own.output_response, rel_tol=1e-14)
    assert torch.equal(other.kernel_covariance, own.kernel_covariance)
    assert torch.equal(other.branch_covariance[:-1, :-1], own.branch_covariance[:-1, :-1])


def test_statistics_of_the_outputs() -> None:
    case = LAYERS["E1"]
    size = finite_size(model_of(case, width=64), case["K0"], depth=case["L"])
    variance = case["NVarC"][-1] / 64
    assert close(size.output_covariance, variance)
    assert close(size.output_mean, case["C"][-1] + case["mean_corr_C"][-1] / 64)
    assert close(size.output_excess_kurtosis, 3 * variance / case["C"][-1] ** 2)


def test_only_the_scale_at_this_depth_counts() -> None:
    block, depth = SingleLayer(TANH, 1.2, 0.1), 25
    direct = finite_size(Model(block, WhiteNoise(), 64, beta=0.0, gain=0.2), 0.5, depth=depth)
    scaled = finite_size(Model(block, WhiteNoise(), 64, beta=0.5, gain=1.0), 0.5, depth=depth)
    assert torch.allclose(direct.kernel_covariance, scaled.kernel_covariance, rtol=1e-13)
    assert torch.allclose(direct.branch_shift, scaled.branch_shift, rtol=1e-12, atol=1e-15)


def test_relu_shifts_up_and_a_network_without_branches_does_not() -> None:
    relu = finite_size(Model(SingleLayer(RELU), WhiteNoise(), 64), 1.0, depth=20)
    assert float(relu.branch_shift[1:].min()) > 0
    still = finite_size(Model(SingleLayer(RELU), WhiteNoise(), 64, gain=0.0), 1.0, depth=20)
    assert not still.kernel_shift.any()
    assert torch.equal(still.kernel_covariance, torch.full((21, 21), 2.0))


def test_theory_is_float64_whatever_the_default() -> None:
    model = erf_model(1.2, 0.05, 0.3)
    expected = finite_size(model, 0.1, depth=10)
    with default_dtype(torch.float32):
        found = finite_size(model, 0.1, depth=10)
    assert torch.equal(found.kernel_covariance, expected.kernel_covariance)
    assert torch.equal(found.branch_shift, expected.branch_shift)


# Refusals


@pytest.mark.parametrize("block", [TwoLayer(RELU), Reduced(TANH)], ids=["TwoLayer", "Reduced"])
def test_other_blocks_are_refused(block: TwoLayer | Reduced) -> None:
    with pytest.raises(ValueError, match=f"one matrix .* not for {type(block).__name__}; give SingleLayer"):
        finite_size(Model(block, WhiteNoise(), 10), depth=5)


@pytest.mark.parametrize("law", [FractionalNoise(0.7), WhiteNoise("uniform")], ids=str)
def test_other_laws_are_refused(law: FractionalNoise | WhiteNoise) -> None:
    with pytest.raises(ValueError, match="derived for white Gaussian weights"):
        finite_size(Model(SingleLayer(TANH), law, 10), depth=5)


@pytest.mark.parametrize(
    ("model", "q0", "depth", "words"),
    [
        (erf_model(1.0, 0.0), 0.0, 5, "q0 is the mean square of a state"),
        (erf_model(1.0, 0.0), 1.0, 0, "depth must be a positive integer"),
        (erf_model(1.0, 0.0), 1.0, 10_000, "give a depth up to 3000"),
        (Model(SingleLayer(LINEAR), WhiteNoise(), 9, beta=0.0, gain=50.0), 1.0, 100, "give a smaller depth"),
        (Model(SingleLayer(AlphaReLU(0.8)), WhiteNoise(), 9), 1.0, 5, "AlphaReLU"),
    ],
    ids=["q0", "depth", "deep", "overflow", "activation"],
)
def test_bad_requests_are_refused(model: Model, q0: float, depth: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        finite_size(model, q0, depth=depth)


def test_a_readout_needs_variances() -> None:
    with pytest.raises(ValueError, match="out_sigma_w2 is a variance"):
        finite_size(erf_model(1.0, 0.0), depth=5, out_sigma_w2=-1.0)
