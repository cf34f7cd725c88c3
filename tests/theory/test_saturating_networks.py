"""Residual networks that saturate, after many layers: laws against the recursions."""

import math

import pytest
import torch
from dual_references import check
from residual_models import COSINES, ORACLES, laws_of, layers_up_to, named, residual, slope, thousand_gaps

from resnet_sde import RELU, TANH, Activation, AlphaReLU, Reduced, TwoLayer
from resnet_sde.meanfield import gaps, lengths, parameter_gradients
from resnet_sde.meanfield.asymptotics import SaturatingAsymptotics

HALF = COSINES.index(0.5)
LATE = torch.tensor([1e3, 1e4, 1e5], dtype=torch.float64)


# Whatever is O(1) must stop changing: by less than 0.1 in a length and 0.05 in a logarithm between a thousand
# and ten thousand layers, where the terms before it change by thousands and hundreds.


@pytest.mark.parametrize("name", ["RT1", "RT2", "FT1", "FT2", "FT3", "RE1"])
def test_lengths_and_gradients_of_saturating_networks(name: str) -> None:
    laws, found = laws_of(named(name), SaturatingAsymptotics), lengths(named(name), depth=100_000)
    at = LATE.long()
    of_lengths = found.q[at] - laws.length(LATE)
    of_gradients = found.log_gradient_growth[at] - laws.log_gradient_growth(LATE)
    assert abs(float(of_lengths[1] - of_lengths[0])) < 0.1
    assert abs(float(of_gradients[1] - of_gradients[0])) < 0.05
    if name == "RE1":
        check(of_lengths, [2.5007, 2.4726, 2.4597], 2.5e-5)
        check(of_gradients, [-1.5194, -1.4967, -1.4855], 4e-5)
        return
    last = 20_000 if name == "FT3" else 100_000
    layer = torch.tensor(float(last))
    expected = ORACLES["measured_residuals_l_1e5"][name]  # five digits behind the point
    assert abs(float(found.q[last] - laws.length(layer)) - expected[0]) < 5.1e-6
    growth = float(found.log_gradient_growth[last] - laws.log_gradient_growth(layer))
    assert abs(growth - expected[1]) < 5.1e-6


def test_no_term_of_these_laws_can_be_left_out() -> None:
    """Without its last term, or with a variance two percent off, neither law would have passed."""
    laws, found = laws_of(named("RT1"), SaturatingAsymptotics), lengths(named("RT1"), depth=10_000)
    at, layers = [1000, 10_000], torch.tensor([1e3, 1e4])
    left = found.q[at] - laws.length(layers) + laws.d_log * layers.log()
    assert abs(float(left.diff())) > 0.1
    left = found.log_gradient_growth[at] - laws.log_gradient_growth(layers) + laws.a_log * layers.log()
    assert abs(float(left.diff())) > 0.05
    wrong = laws_of(residual(Reduced(TANH, 1.02)), SaturatingAsymptotics)
    left = found.q[at] - wrong.length(layers)
    assert abs(float(left.diff())) > 0.1


@pytest.mark.parametrize(("name", "inputs"), [("FT1", [0, 2, 3]), ("FT2", [0, 2, 3]), ("FT3", [0, 2, 3])])
def test_decay_to_the_fixed_cosine(name: str, inputs: list[int]) -> None:
    """The slope of log (e^l − e* + F l^{−1/2}) is −δ*; without F it is far off."""
    laws, layers = laws_of(named(name), SaturatingAsymptotics), layers_up_to(1000)[:, None]
    over = laws.one_minus_e_star - thousand_gaps(named(name))[:, inputs]
    corrected = over + laws.f / layers.sqrt()
    for k in range(len(inputs)):
        assert abs(slope(layers.log(), corrected[:, [k]].log(), 1000) + laws.delta_star) < 0.012
        assert abs(slope(layers.log(), over[:, [k]].abs().log(), 1000) + laws.delta_star) > 0.09


@pytest.mark.parametrize(
    ("name", "amplitudes"), [("FT1", (4.68,)), ("FT2", (17.39,)), ("FT3", (3.62, 2.56, 3.01))]
)
def test_amplitudes(name: str, amplitudes: tuple[float, ...]) -> None:
    """K is nearly reached after a thousand layers, and the law then gives the cosine to a few thousandths."""
    laws, gap = laws_of(named(name), SaturatingAsymptotics), thousand_gaps(named(name))
    layer = torch.tensor(1000.0)
    for amplitude, column in zip(amplitudes, (HALF, 2, 3), strict=False):
        corrected = laws.one_minus_e_star - gap[1000, column] + laws.f / layer.sqrt()
        assert abs(float(corrected * layer**laws.delta_star) / amplitude - 1) < 0.025
        predicted = laws.one_minus_cosine(layer, amplitude)
        assert abs(float(predicted - gap[1000, column])) < 0.006


def test_decay_without_an_outer_bias() -> None:
    """The cosine e^l ~ K l^{−(1−2/π)}: tabulated slopes over a factor two, K near 1.26."""
    cosine, layers = 1 - thousand_gaps(named("RT1"))[:, HALF], layers_up_to(1000)
    assert abs(laws_of(named("RT1"), SaturatingAsymptotics).delta_star - (1 - 2 / math.pi)) < 1e-15
    for layer, expected in ((100, -0.3166), (1000, -0.3533)):
        assert abs(slope(layers.log(), cosine.log(), layer) - expected) < 5e-5
    assert abs(float(cosine[1000] * 1000 ** (1 - 2 / math.pi)) / 1.26 - 1) < 0.02


def test_the_sign_of_the_first_covariance_decides() -> None:
    """γ^l + σ_b²/σ_w² ~ K l^{2/π} with K of the sign it has at l = 0; where that is 0, γ never moves."""
    model = residual(Reduced(TANH, 1.0, 0.5))
    gap0 = 1 - torch.tensor([0.0, -0.3, -0.5, -0.7])
    covariance = lengths(model, depth=1000).q[:, None] * (1 - gaps(model, 1.0, gap0, depth=1000))
    scaled = (covariance[1000] + 0.5) / 1000 ** (2 / math.pi)
    assert torch.allclose(scaled[:3], torch.tensor([0.772, 0.301, 0.0]), atol=5e-4, rtol=0)
    assert float((covariance[:, 2] + 0.5).abs().max()) < 1e-11
    assert float(scaled[3]) < -0.1


def test_equal_inputs_stay_equal() -> None:
    for name in ("RT2", "FT1", "FR1", "FA1", "RR2"):
        assert not gaps(named(name), 1.0, 0.0, depth=20).any()


def test_parameter_gradients_of_tanh() -> None:
    """Inner biases grow by l^{1/2} more than the state, inner weights by as much less, outer ones alike."""
    found, depth = parameter_gradients(named("FT1"), depth=20_000), 20_000
    assert found.log_inner is not None
    assert found.log_inner_bias is not None
    assert found.log_outer is not None
    extra = torch.stack([found.log_inner_bias, found.log_inner, found.log_outer]) - found.log_state
    exponents = (extra[:, depth - 1] - extra[:, depth // 2 - 1]) / math.log(2)
    assert torch.allclose(exponents, torch.tensor([-0.5025, 0.5025, 0.003]), atol=2e-3, rtol=0)


# --- Two inputs close together.


@pytest.mark.parametrize(
    ("phi", "growths", "order"),
    [
        (TANH, {1e-3: 3.57221, 1e-6: 3.583756, 1e-9: 3.58376731, 1e-12: 3.5837673211}, 1.0),
        (RELU, {1e-9: 8.109253}, 0.5),
        (AlphaReLU(0.75), {1e-9: 4.42323}, 0.25),
    ],
    ids=["tanh", "relu", "power"],
)
def test_distances_of_close_inputs_grow_like_gradients(
    phi: Activation, growths: dict[float, float], order: float
) -> None:
    """s^L/s^0 → χ^0/χ^L as the inputs come together, s being half their mean squared distance."""
    model, gap0 = residual(TwoLayer(phi, 1.0, 0.25, 1.0, 0.25)), torch.tensor([1e-3, 1e-6, 1e-9, 1e-12])
    found = lengths(model, depth=20)
    growth = (gaps(model, 1.0, gap0, depth=20)[-1] / gap0).log() + found.log_q[-1]
    for start, expected in growths.items():
        digits = 10 if start == 1e-12 else len(str(expected)) - 2
        assert abs(float(growth[gap0 == start]) - expected) < 0.6 * 10.0**-digits
    off = (found.log_gradient_growth[-1] - growth)[:3]
    assert bool((off > 0).all())
    assert abs(math.log(off[0] / off[1]) / math.log(1000) - order) < 0.02
