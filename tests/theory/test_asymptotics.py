"""Constants of residual networks of many layers, against tables, and what has none."""

import math

import pytest
import torch
from dual_references import check
from residual_models import ORACLES, laws_of, named, residual

from resnet_sde import (
    GELU,
    LINEAR,
    SIGMOID,
    TANH,
    AlphaReLU,
    FractionalNoise,
    LeakyReLU,
    Model,
    Reduced,
    SingleLayer,
    TwoLayer,
    WhiteNoise,
)
from resnet_sde.meanfield import gaps, lengths
from resnet_sde.meanfield.asymptotics import (
    MeanModeAsymptotics,
    PowerAsymptotics,
    SaturatingAsymptotics,
    asymptotics,
)


@pytest.mark.parametrize("row", ORACLES["tanh_asymptotic_constants"], ids=lambda row: row["id"])
def test_constants_of_tanh(row: dict) -> None:
    laws = laws_of(named(row["id"]), SaturatingAsymptotics)
    found = [laws.b, laws.kappa, laws.d_log, laws.a, laws.a_log, laws.e_star, laws.delta_star, -laws.f]
    names = ["b", "kappa", "D", "A", "A_log", "estar", "delta_star", "F_minus_half"]
    for name, value in zip(names, found, strict=True):
        assert abs(value - row[name]) <= 1e-13 * max(abs(row[name]), 0.1), name


@pytest.mark.parametrize(
    "row", ORACLES["tanh_frn_fixed_points"], ids=lambda row: str(row["sigma_a2_over_sigma_v2"])
)
def test_fixed_points_of_tanh(row: dict) -> None:
    block = TwoLayer(TANH, 0.7, 0.3, 2.0, 2.0 * row["sigma_a2_over_sigma_v2"])
    laws = laws_of(residual(block), SaturatingAsymptotics)
    found = torch.tensor([laws.one_minus_e_star, laws.delta_star, laws.e_star])
    check(found, [row["one_minus_estar"], row["delta_star"], row["estar"]], 1e-13)


def test_a_large_outer_bias_brings_inputs_together() -> None:
    """1 − e* → 8 / (π² (1 + σ_a²/σ_v²)²), without losing digits."""
    laws = laws_of(residual(TwoLayer(TANH, sigma_v2=1e-9)), SaturatingAsymptotics)
    assert laws.one_minus_e_star == 1.0
    laws = laws_of(residual(TwoLayer(TANH, sigma_a2=1e9)), SaturatingAsymptotics)
    assert math.isclose(laws.one_minus_e_star, 8 / (math.pi * 1e9) ** 2, rel_tol=1e-8)
    assert math.isclose(laws.delta_star, 0.5, abs_tol=1e-12)


@pytest.mark.parametrize("row", ORACLES["alpha_relu_fixed_points"], ids=lambda row: str(row["alpha"]))
def test_fixed_points_of_powers(row: dict) -> None:
    laws = laws_of(residual(TwoLayer(AlphaReLU(row["alpha"]))), PowerAsymptotics)
    exponents = {
        "c_alpha": laws.size,
        "estar": laws.e_star,
        "p_exponent": laws.length_exponent,
        "R": laws.gradient_exponent,
        "chi_w_and_chi_v_exponent": laws.weight_gradient_exponent,
        "chi_b_exponent": laws.bias_gradient_exponent,
    }
    for name, value in exponents.items():
        assert math.isclose(value, row[name], rel_tol=1e-14), name
    # These are differences of numbers that come together as α → 1.
    assert math.isclose(laws.one_minus_e_star, row["one_minus_estar"], rel_tol=1e-11)
    assert math.isclose(1 - laws.slope, row["one_minus_Jprime_at_estar"], rel_tol=1e-11)
    assert math.isclose(laws.mu, row["mu"], rel_tol=1e-11)


def test_powers_near_the_relu() -> None:
    """μ ~ (1 − α)/2 and 1 − e* ~ (9π²/8)(1 − α)^4; R has its minimum 4 at α = 2/3."""
    laws = laws_of(residual(TwoLayer(AlphaReLU(0.9999))), PowerAsymptotics)
    assert math.isclose(laws.mu, 0.5e-4, rel_tol=1e-6)
    assert math.isclose(laws.one_minus_e_star, 9 * math.pi**2 / 8 * 1e-16, rel_tol=1e-2)
    least = [
        laws_of(residual(TwoLayer(AlphaReLU(a))), PowerAsymptotics).gradient_exponent
        for a in (0.66, 2 / 3, 0.67)
    ]
    assert math.isclose(least[1], 4.0, rel_tol=1e-14)
    assert min(least) == least[1]


@pytest.mark.parametrize(("name", "growth"), [("RR1", 1.2868489251), ("RR2", 1.7455262716)])
def test_growth_of_a_mean(name: str, growth: float) -> None:
    laws = laws_of(named(name), MeanModeAsymptotics)
    assert math.isclose(laws.length_growth, growth, rel_tol=1e-10)
    found = lengths(named(name), depth=400)
    assert math.isclose(float(found.log_q.diff()[-1]), math.log(growth), abs_tol=1e-10)
    check(found.log_gradient_growth[[1, 400]], laws.log_gradient_growth(torch.tensor([1.0, 400.0])))
    gap = gaps(named(name), 1.0, 0.5, depth=100)
    assert math.isclose(float(gap[-1] / gap[-2]), laws.gap_factor, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (residual(TwoLayer(GELU)), "no law for many layers"),
        (residual(TwoLayer(SIGMOID)), "no law for many layers"),
        (residual(Reduced(AlphaReLU(0.75))), "no law for many layers"),
        (residual(TwoLayer(AlphaReLU(1 - 1e-7))), "too small for float64"),
        (residual(TwoLayer(TANH, sigma_v2=0.0)), "is constant"),
        (Model(TwoLayer(TANH), WhiteNoise(), 1), "skip 1 and beta 0"),
        (Model(TwoLayer(TANH), WhiteNoise(), 1, beta=0.0, skip=0.0), "skip 1 and beta 0"),
        (Model(TwoLayer(TANH), FractionalNoise(0.7), 1, beta=0.0), "not independent"),
    ],
    ids=["gelu", "sigmoid", "reduced power", "almost relu", "constant", "scaled", "feed-forward", "coloured"],
)
def test_refusals(model: Model, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        asymptotics(model)


def test_one_matrix_and_a_gain_are_the_same_law() -> None:
    """A gain multiplies the outer variances by its square; one matrix is two with the inner one 1."""
    two = asymptotics(residual(TwoLayer(TANH, 1.0, 0.0, 1.28, 0.32)))
    assert asymptotics(residual(SingleLayer(TANH, 1.28, 0.32))) == two
    scaled = Model(TwoLayer(TANH, 1.0, 0.0, 2.0, 0.5), WhiteNoise(), 1, beta=0.0, gain=0.8)
    other = laws_of(scaled, SaturatingAsymptotics)
    assert isinstance(two, SaturatingAsymptotics)
    assert math.isclose(other.kappa, two.kappa, rel_tol=1e-14)
    assert math.isclose(other.a_log, two.a_log, rel_tol=1e-14)
    linear = asymptotics(residual(TwoLayer(LeakyReLU(1.0), 0.3, 0.1, 2.0, 0.4)))
    assert linear == asymptotics(residual(TwoLayer(LINEAR, 0.3, 0.1, 2.0, 0.4)))
