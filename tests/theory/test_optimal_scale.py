"""The residual scale of the largest response against tables, expansions and its own conditions."""

import math

import pytest
import torch
from finite_width_cases import ORACLES, erf_model

from resnet_sde import ERF, GELU, LINEAR, RELU, SIGMOID, TANH, Activation, Model, SingleLayer, WhiteNoise
from resnet_sde.finite_width import (
    branch_optimum,
    diagonal_optimum,
    finite_size,
    off_diagonal_optimum,
    off_diagonal_response,
    output_response,
    saturation_kernel,
    saturation_scale,
    sensitive_band,
)
from resnet_sde.finite_width.depth_flow import Growth, pair_peak

BASE = erf_model(1.0, 0.05)


def at(model: Model, scale: float) -> Model:
    return Model(model.block, model.law, model.width, beta=0.0, gain=scale)


# Tables


@pytest.mark.parametrize("row", ORACLES["Kstar"], ids=lambda row: str(row["r"]))
def test_saturation_kernel_of_erf(row: dict) -> None:
    assert abs(saturation_kernel(ERF, row["r"]) - float(row["Kstar"])) < 1e-14


def test_saturation_kernel_of_other_slopes_and_activations() -> None:
    for ratio, kernel in ORACLES["Kstar_tanh"]:
        assert (
            abs(saturation_kernel(TANH, ratio) - kernel) < 1.1e-10
        )  # ten decimals, the last one rounded off
    # erf(√π x / 2), of slope 1, sees π K / 4.
    unit = ORACLES["Kstar_erf_unit_slope_r0"]
    assert math.isclose(saturation_kernel(ERF) / (math.pi / 4), unit, rel_tol=1e-14)
    assert [saturation_kernel(phi) for phi in (RELU, LINEAR, GELU)] == [math.inf] * 3
    assert saturation_kernel(SIGMOID) == 0.0  # a mean of 1/2 acts as a bias
    assert saturation_kernel(ERF, 1 / math.pi + 1e-6) == 0.0
    assert 0 < saturation_kernel(ERF, 1 / math.pi - 1e-4) < 1e-3


@pytest.mark.parametrize(
    "row", ORACLES["rho_star"], ids=lambda r: f"{r['L']}-{r['sw2']}-{r['sb2']}-{r['K0']}"
)
def test_diagonal_optimum(row: dict) -> None:
    model, q0, depth = erf_model(row["sw2"], row["sb2"]), row["K0"], row["L"]
    best = diagonal_optimum(model, q0, depth=depth)
    # The table has seven to eight digits: it took maxima from values.
    assert math.isclose(best.scale, row["rho_exact"], rel_tol=2e-7)
    assert math.isclose(best.kernel, row["K_L"], rel_tol=5e-7)
    assert math.isclose(best.gain, row["gain"], rel_tol=1e-7)
    assert best.reason is None
    highest = output_response(at(model, best.scale), q0, depth=depth, out_sigma_w2=1.0)
    assert math.isclose(highest, row["resp_max_per_sw2out"], rel_tol=1e-9)
    for method, name in (("continuum", "rho_cont"), ("corrected", "rho_cont_1overL")):
        found = diagonal_optimum(model, q0, depth=depth, method=method)
        assert math.isclose(found.scale, row[name], rel_tol=2e-7)
    for method, name in (("logarithmic", "rho_linlog"), ("midpoint", "rho_sat_mid")):
        found = saturation_scale(model, q0, kernel=row["Kstar"], depth=depth, method=method)
        assert math.isclose(found.scale, row[name], rel_tol=2e-7)
    branch = branch_optimum(model, q0, depth=depth)
    assert math.isclose(branch.scale, row["rho_branch"], rel_tol=2e-7)


@pytest.mark.parametrize(
    "row", ORACLES["rho_star"][::11], ids=lambda r: f"{r['L']}-{r['sw2']}-{r['sb2']}-{r['K0']}"
)
def test_sensitive_band(row: dict) -> None:
    found = sensitive_band(erf_model(row["sw2"], row["sb2"]), row["K0"], depth=row["L"])
    assert found == pytest.approx(row["band95"], abs=5.1e-7)  # six decimals


@pytest.mark.parametrize(
    "row", ORACLES["rho_star_off"], ids=lambda r: f"{r['L']}-{r['sw2']}-{r['sb2']}-{r['c0']}"
)
def test_off_diagonal_optimum(row: dict) -> None:
    model, q0, depth = erf_model(row["sw2"], row["sb2"]), row["K0"], row["L"]
    best = off_diagonal_optimum(model, q0, row["c0"], depth=depth)
    assert math.isclose(best.scale, row["rho_exact"], rel_tol=2e-7)
    assert math.isclose(best.kernel, row["K_L"], rel_tol=5e-7)
    assert math.isclose(best.gain, row["gain"], rel_tol=5e-7)
    found = off_diagonal_optimum(model, q0, row["c0"], depth=depth, method="continuum")
    assert math.isclose(
        found.scale, row["rho_cont"], rel_tol=4e-4
    )  # the table has four digits, the last one of them wrong


def test_response_curves() -> None:
    table = ORACLES["response_curve"]
    for depth, values in table["R_out"].items():
        for scale, value in zip(table["rho"], values, strict=True):
            model = erf_model(table["sw2"], table["sb2"], scale)
            found = output_response(model, table["K0"], depth=int(depth), out_sigma_w2=table["sw2_out"])
            assert math.isclose(found, value, rel_tol=6e-10)  # ten digits


def test_universality() -> None:
    """ρ √L in the continuum: nearly independent of σ_w² for a small bias, 1/σ_w without."""
    for name, rows in ORACLES["universality_rho_sqrtL_continuum_K0_0.05"].items():
        sigma_b2 = float(name.removeprefix("sb2="))
        found = {
            w: diagonal_optimum(erf_model(w, sigma_b2), 0.05, depth=100, method="continuum") for w, _ in rows
        }
        for sigma_w2, prefactor in rows:
            assert math.isclose(found[sigma_w2].prefactor, prefactor, rel_tol=1e-7)
            if sigma_b2 == 0:
                assert math.isclose(prefactor * math.sqrt(sigma_w2), found[1].prefactor, rel_tol=1e-7)


def test_saturation_prefactors() -> None:
    for name, prefactor in ORACLES["Ksat_to_beta_sw2_1_sb2_0.05_K0_0.05"].items():
        kernel = float(name.rpartition("=")[2])
        found = saturation_scale(BASE, 0.05, kernel=kernel, depth=50, method="continuum")
        assert math.isclose(found.prefactor, prefactor, rel_tol=3e-6)  # six digits


def test_constants_of_two_inputs() -> None:
    """Orthogonal inputs without bias stay orthogonal: the peak is where σ_w² f(K) = 2 σ_w² / π."""
    known = math.sin(1) / (2 * (1 - math.sin(1)))
    assert math.isclose(known, float(ORACLES["Kstar_off_orth_nobias"]), rel_tol=1e-14)
    for sigma_w2 in (0.5, 2.0):
        assert math.isclose(pair_peak(SingleLayer(ERF, sigma_w2), 0.05, 0.0).kernel, known, rel_tol=1e-9)


# Laws in depth


@pytest.mark.parametrize("phi", [ERF, TANH], ids=["erf", "tanh"])
@pytest.mark.parametrize("cosine", [None, 0.3], ids=["diagonal", "off-diagonal"])
def test_the_expansion_in_depth(phi: Activation, cosine: float | None) -> None:
    """The continuum is off by 1/L, the correction leaves 1/L²."""
    model = Model(SingleLayer(phi, 1.3, 0.05), WhiteNoise(), 64)

    def scale(depth: int, method: str) -> float:
        if cosine is None:
            return diagonal_optimum(model, 0.05, depth=depth, method=method).scale
        return off_diagonal_optimum(model, 0.05, cosine, depth=depth, method=method).scale

    exact = {depth: scale(depth, "exact") for depth in (20, 40)}
    first, second = (scale(depth, "continuum") / exact[depth] - 1 for depth in exact)
    assert 1.85 < first / second < 2.1
    assert abs(first) > 1e-2
    first, second = (scale(depth, "corrected") / exact[depth] - 1 for depth in exact)
    assert 3.4 < first / second < 4.3
    assert abs(first) < 1e-2


def test_the_optimum_is_the_critical_scaling() -> None:
    """The exponent of depth is −1/2, approached from below; the prefactor of the base case is 1.0247."""
    best = {depth: diagonal_optimum(BASE, 0.05, depth=depth) for depth in (20, 50, 51, 200, 10_000)}
    fitted = math.log(best[200].scale / best[20].scale) / math.log(10)
    assert abs(fitted + 0.512) < 5e-4
    local = math.log(best[51].scale / best[50].scale) / math.log(51 / 50)
    assert abs(local + 0.5125) < 1e-4
    assert abs(best[10_000].prefactor - ORACLES["deep_limit"]["beta_star"]) < 1e-4
    assert abs(best[50].prefactor - ORACLES["deep_limit"]["beta_star"]) > 1e-2


def test_exact_scaling_law() -> None:
    """Kernels know ρ²σ_w² and ρ²σ_b² only."""
    for factor in (7.0,):
        other = erf_model(factor, 0.05 * factor)
        ratio = diagonal_optimum(BASE, 0.05, depth=20).scale / diagonal_optimum(other, 0.05, depth=20).scale
        assert math.isclose(ratio, math.sqrt(factor), rel_tol=1e-12)
        one, two = (off_diagonal_optimum(m, 0.05, 0.3, depth=20).scale for m in (BASE, other))
        assert math.isclose(one / two, math.sqrt(factor), rel_tol=1e-12)


def test_local_elasticities() -> None:
    step = 1e-4

    def scale(w: float = 1.0, b: float = 0.05, q0: float = 0.05) -> float:
        return math.log(diagonal_optimum(erf_model(w, b), q0, depth=50).scale)

    weight = (scale(w=math.exp(step)) - scale(w=math.exp(-step))) / (2 * step)
    bias = (scale(b=0.05 * math.exp(step)) - scale(b=0.05 * math.exp(-step))) / (2 * step)
    start = (scale(q0=0.05 * math.exp(step)) - scale(q0=0.05 * math.exp(-step))) / (2 * step)
    assert [weight, bias, start] == pytest.approx([-0.235, -0.264, -0.223], abs=1e-3)
    assert abs(weight + bias + 0.5) < 1e-7


def test_correlated_inputs_want_a_larger_scale() -> None:
    """Three digits at depth 20; inputs that are too long for the diagonal response are among them."""
    table = {0.05: (0.6038, 0.6743), 0.2: (0.4812, 0.5355), 1.0: (0.3018, 0.3584)}
    for q0, scales in table.items():
        for cosine, scale in zip((0.0, 0.3), scales, strict=True):
            assert abs(off_diagonal_optimum(BASE, q0, cosine, depth=20).scale - scale) < 1e-4
    nearly = [off_diagonal_optimum(BASE, 0.05, c, depth=20, method="continuum").scale for c in (0.9, 0.99)]
    assert nearly[1] > 1.4 * nearly[0]


@pytest.mark.parametrize("depth", [2, 7])
def test_the_maximum_is_one(depth: int) -> None:
    best = diagonal_optimum(BASE, 0.05, depth=depth).scale
    top = output_response(at(BASE, best), 0.05, depth=depth)
    assert all(output_response(at(BASE, best * x), 0.05, depth=depth) < top for x in (0.5, 0.99, 1.01, 3.0))
    best = off_diagonal_optimum(BASE, 0.05, 0.3, depth=depth).scale
    top = off_diagonal_response(at(BASE, best), 0.05, 0.3, depth=depth)
    for x in (0.5, 0.99, 1.01, 3.0):
        assert off_diagonal_response(at(BASE, best * x), 0.05, 0.3, depth=depth) < top


def test_the_saturation_scale_reaches_its_kernel() -> None:
    found = saturation_scale(BASE, 0.05, kernel=0.5, depth=20)
    assert math.isclose(finite_size(at(BASE, found.scale), 0.05, depth=20).kernel[-1], 0.5, rel_tol=1e-12)
    assert found.kernel == pytest.approx(0.5, rel=1e-12)


def test_the_depth_at_which_the_usual_scales_are_best() -> None:
    """0.1 to 0.3, a range that practice has settled on, is best from 13 to 106 layers."""
    scales = [diagonal_optimum(BASE, 0.05, depth=depth).scale for depth in (12, 13, 106, 107)]
    assert scales[0] > 0.3 > scales[1]
    assert scales[2] > 0.1 > scales[3]


# No optimum


@pytest.mark.parametrize(
    ("model", "q0", "words"),
    [
        (BASE, 1.0, "leave Erf no room before saturation; give one below 0.238526"),
        (BASE, 0.23853, "leave Erf no room"),
        (erf_model(1.0, 0.4), 0.05, "biases of variance 0.4 leave no room"),
        (Model(SingleLayer(RELU), WhiteNoise(), 9), 0.05, "ReLU does not saturate"),
        (Model(SingleLayer(LINEAR), WhiteNoise(), 9), 0.05, "Linear does not saturate"),
        (Model(SingleLayer(GELU), WhiteNoise(), 9), 0.05, "Gelu does not saturate"),
        (erf_model(0.0, 0.1), 0.05, "sigma_w2 is 0"),
        (Model(SingleLayer(ERF), WhiteNoise(), 9, beta=0.0, skip=0.0), 0.05, "has no skip branch"),
        (Model(SingleLayer(ERF), WhiteNoise(), 9, beta=0.0, skip=0.5), 0.05, "skip weight is 0.5"),
    ],
    ids=["long", "just-long", "bias", "relu", "linear", "gelu", "no-weights", "feed-forward", "skip"],
)
def test_without_an_optimum_there_is_a_sentence(model: Model, q0: float, words: str) -> None:
    for found in (diagonal_optimum(model, q0, depth=20), branch_optimum(model, q0, depth=20)):
        assert (found.scale, found.kernel, found.gain, found.prefactor) == (None, None, None, None)
        assert words in found.reason
        assert found.reason.endswith(".")
    with pytest.raises(ValueError, match="no maximum, so no band"):
        sensitive_band(model, q0, depth=20)


@pytest.mark.parametrize("depth", [1, 3, 40])
def test_the_condition_holds_at_every_depth(depth: int) -> None:
    """The response rises from ρ = 0 on exactly where K_0 is below K*."""
    limit = saturation_kernel(ERF, 0.05)
    for q0, rises in ((0.999 * limit, True), (1.001 * limit, False)):
        small, none = (
            output_response(at(BASE, scale), q0, depth=depth) for scale in (3e-3 / depth**0.5, 0.0)
        )
        assert (small > none) == rises
        assert (diagonal_optimum(BASE, q0, depth=depth).scale is not None) == rises
    assert Growth(BASE.block).peak(limit * 2) == limit * 2


def test_other_responses_without_an_optimum() -> None:
    assert "one direction" in off_diagonal_optimum(BASE, 0.05, 1.0, depth=20).reason
    relu = Model(SingleLayer(RELU), WhiteNoise(), 9)
    assert "does not saturate" in off_diagonal_optimum(relu, 0.05, 0.0, depth=20).reason
    sigmoid = Model(SingleLayer(SIGMOID), WhiteNoise(), 9)
    assert "has no maximum" in off_diagonal_optimum(sigmoid, 0.05, 0.0, depth=20).reason
    assert "only grow" in saturation_scale(BASE, 0.05, kernel=0.04, depth=20).reason
    assert "At depth 1 the response grows" in off_diagonal_optimum(BASE, 0.05, 0.3, depth=1).reason
    assert diagonal_optimum(BASE, 0.05, depth=1).scale is not None
    assert "sees the input itself" in branch_optimum(BASE, 0.05, depth=1).reason
    feed_forward = Model(SingleLayer(ERF), WhiteNoise(), 9, beta=0.0, skip=0.0)
    assert "no skip branch" in off_diagonal_optimum(feed_forward, 0.05, 0.0, depth=20).reason
    assert "no skip branch" in saturation_scale(feed_forward, 0.05, kernel=1.0, depth=20).reason


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown method 'best'; give one of exact, continuum, corrected"):
        diagonal_optimum(BASE, 0.05, depth=20, method="best")
    with pytest.raises(ValueError, match=r"cosine of two inputs must lie in \[-1, 1\]"):
        off_diagonal_optimum(BASE, 0.05, 1.5, depth=20)
    with pytest.raises(ValueError, match="q0 is the mean square"):
        diagonal_optimum(BASE, -1.0, depth=20)
    with pytest.raises(ValueError, match="depth must be a positive integer"):
        diagonal_optimum(BASE, 0.05, depth=0)
    with pytest.raises(ValueError, match="kernel is the mean square"):
        saturation_scale(BASE, 0.05, kernel=0.0, depth=20)
    with pytest.raises(ValueError, match="level must lie strictly between"):
        sensitive_band(BASE, 0.05, depth=20, level=1.0)
    with pytest.raises(ValueError, match="bias_ratio is"):
        saturation_kernel(ERF, -0.1)


def test_the_prefactor_does_not_use_the_scale_of_the_model() -> None:
    other = Model(BASE.block, WhiteNoise(), 7, beta=0.3, gain=2.0)
    assert diagonal_optimum(other, 0.05, depth=20) == diagonal_optimum(BASE, 0.05, depth=20)
    assert torch.get_default_dtype() == torch.float64
