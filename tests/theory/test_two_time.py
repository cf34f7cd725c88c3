"""Kernels between layers: against plain sums, one-time recursions, and each other across scales."""

import math

import numpy as np
import pytest
import torch
from plain_kernels import two_kernels

from resnet_sde import (
    LINEAR,
    RELU,
    TANH,
    Block,
    ConstantNoise,
    FractionalNoise,
    Model,
    Reduced,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
)
from resnet_sde.activations import ERF, GELU, SIGMOID, AlphaReLU, LeakyReLU
from resnet_sde.laws import PathLaw
from resnet_sde.meanfield import displacements, gradient_two_time, gradients_along, lengths, two_time

TEN = 2 * math.log(10)
ROUGH, REGULAR, SMOOTH = FractionalNoise(0.2), FractionalNoise(0.8), SmoothNoise(0.3)
FULL = (1.5, 0.3, 0.8, 0.2)  # variances of a block with biases

PLAIN = {
    "res-1 ReLU, H = 0.2": Model(SingleLayer(RELU), ROUGH, 1, beta=0.3),
    "res-1 tanh, H = 0.8": Model(SingleLayer(TANH, 1.4, 0.3), REGULAR, 1, beta=0.2),
    "res-1 leaky, smooth, skip 0.7": Model(SingleLayer(LeakyReLU(0.3)), SMOOTH, 1, beta=0.2, skip=0.7),
    "feed-forward GELU, smooth": Model(SingleLayer(GELU, 2.0, 0.1), SMOOTH, 1, beta=0.0, skip=0.0),
    "res-3, H = 0.8": Model(TwoLayer(RELU), REGULAR, 1, beta=0.3),
    "res-2 tanh, H = 0.2, skip 0.7": Model(TwoLayer(TANH), ROUGH, 1, beta=0.2, skip=0.7),
    "full ReLU, smooth": Model(TwoLayer(RELU, *FULL), SMOOTH, 1, beta=0.4),
    "full tanh, H = 0.8, skip −1": Model(TwoLayer(TANH, *FULL), REGULAR, 1, beta=0.4, skip=-1.0),
    "full tanh, constant": Model(TwoLayer(TANH, *FULL), ConstantNoise(), 1, beta=0.7),
    "reduced ReLU, H = 0.2": Model(Reduced(RELU, 0.7, 0.2), ROUGH, 1, beta=0.5),
    "reduced tanh, smooth, skip 0.7": Model(Reduced(TANH, 1.2, 0.1), SMOOTH, 1, beta=0.5, skip=0.7),
    "reduced ReLU, white": Model(Reduced(RELU, 0.7, 0.2), WhiteNoise(), 1, beta=0.5),
}
every_plain = pytest.mark.parametrize("model", PLAIN.values(), ids=PLAIN)


def ends(model: Model, depth: int, q0: float = 1.0) -> tuple[float, float]:
    """Mean squared displacements of states and gradients."""
    alphas = torch.tensor([model.alpha(depth)])
    found = displacements(model.block, model.law, depth, alphas, q0, skip=model.skip)
    return math.exp(TEN * found.log10_forward), math.exp(TEN * found.log10_gradient)


@every_plain
@pytest.mark.parametrize("depth", [1, 6])
def test_plain_sums(model: Model, depth: int) -> None:
    states, back = two_kernels(model, 0.6, depth)
    found = two_time(model, 0.6, depth=depth)
    np.testing.assert_allclose(found.numpy(), states, rtol=1e-10, atol=1e-12)
    gradients = gradient_two_time(model, 0.6, depth=depth)
    np.testing.assert_allclose(gradients.numpy(), back, rtol=1e-10, atol=1e-12)
    forward = states[-1, -1] - 2 * states[-1, 0] + states[0, 0]
    gradient = back[0, 0] - 2 * back[0, -1] + 1
    assert ends(model, depth, 0.6) == pytest.approx((forward / 0.6, gradient), rel=1e-9)


def test_twelve_layers_and_a_planted_error() -> None:
    """The sums again, deeper; a dual that is off by 1e-8 would be seen."""
    model = PLAIN["res-3, H = 0.8"]
    states, back = two_kernels(model, 1.0, 12)
    np.testing.assert_allclose(two_time(model, depth=12).numpy(), states, rtol=1e-13)
    np.testing.assert_allclose(gradient_two_time(model, depth=12).numpy(), back, rtol=1e-13)
    off = Model(TwoLayer(RELU, 1.0, 0.0, 1 + 1e-8), REGULAR, 1, beta=0.3)
    assert np.abs(two_time(off, depth=12).numpy() / states - 1).max() > 1e-9


# --- White weights: the diagonal is the recursion of one layer.

WHITE = {
    "res-1 ReLU": SingleLayer(RELU),
    "res-1 GELU": SingleLayer(GELU, 1.2, 0.3),
    "res-1 sigmoid": SingleLayer(SIGMOID, 1.2, 0.3),
    "res-3": TwoLayer(RELU),
    "full tanh": TwoLayer(TANH, *FULL),
    "full α-ReLU": TwoLayer(AlphaReLU(0.75), *FULL),
    "reduced erf": Reduced(ERF, 1.3, 0.2),
    "reduced ReLU": Reduced(RELU, 0.4, 0.2),
    "reduced sigmoid": Reduced(SIGMOID, 0.4, 0.2),
}
every_white = pytest.mark.parametrize("block", WHITE.values(), ids=WHITE)


@pytest.mark.parametrize("skip", [1.0, 0.7, 0.0])
@every_white
def test_white_weights_on_the_diagonal(block: Block, skip: float) -> None:
    model, depth = Model(block, WhiteNoise(), 1, beta=0.25, skip=skip), 40
    single = lengths(model, 0.8, depth=depth)
    states = two_time(model, 0.8, depth=depth)
    torch.testing.assert_close(states.diagonal(), single.q, rtol=1e-12, atol=0)
    back = gradient_two_time(model, 0.8, depth=depth).diagonal()
    growth = single.log_gradient_growth
    torch.testing.assert_close(back, (growth[-1] - growth).exp(), rtol=1e-12, atol=0)
    gradient = math.exp(growth[-1]) + 1 - 2 * skip**depth
    assert ends(model, depth, 0.8) == pytest.approx((float(single.displacement2[-1]), gradient), rel=1e-12)


@every_white
def test_white_weights_off_the_diagonal(block: Block) -> None:
    """A state keeps what it was, and a mean of its coordinates if φ is not odd: nothing else is shared."""
    model = Model(block, FractionalNoise(0.5), 1, beta=0.25, skip=0.7)
    states = two_time(model, 0.8, depth=12)
    kept = 0.7 ** (torch.arange(13)[:, None] - torch.arange(13)).abs()
    first = torch.minimum(torch.arange(13)[:, None], torch.arange(13))
    if isinstance(block, Reduced) and not block.activation.odd:
        mean = lengths(model, 0.8, depth=12)
        modes = mean.mean * mean.q.sqrt()
        martingale = kept * (mean.q - modes.square())[first]
        torch.testing.assert_close(states, martingale + modes[:, None] * modes, rtol=1e-12, atol=0)
    else:
        torch.testing.assert_close(states, kept * states.diagonal()[first], rtol=1e-12, atol=0)


# --- Closed forms.


@pytest.mark.parametrize(
    ("block", "c"), [(SingleLayer(RELU), 0.5), (TwoLayer(RELU), 0.5), (SingleLayer(LINEAR), 1)]
)
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
def test_independent_layers_multiply(block: Block, c: float, beta: float) -> None:
    model = Model(block, WhiteNoise(), 1, beta=beta)
    expected = math.expm1(400 * math.log1p(c * model.alpha(400) ** 2))
    assert ends(model, 400) == pytest.approx((expected, expected), rel=1e-12)


def bessel(square: float) -> float:
    """I_0(2 √square)."""
    return math.fsum(square**n / math.factorial(n) ** 2 for n in range(40))


def test_constant_linear_weights() -> None:
    """E‖h_L‖² = Σ (L choose n)² α^{2n} at finite depth; ⟨H_t, H_s⟩ = I_0(2 √(ts)) in the limit."""
    model = Model(SingleLayer(LINEAR), ConstantNoise(), 1, beta=1.0)
    states = two_time(model, depth=400)
    exact = math.fsum((math.comb(400, n) / 400**n) ** 2 for n in range(60))
    assert float(states[-1, -1]) == pytest.approx(exact, rel=1e-13)
    assert float(states[-1, -1]) == pytest.approx(2.27787, abs=5e-6)
    assert float(states[-1, -1]) == pytest.approx(bessel(1.0), rel=1e-3)
    assert float(states[200, 300]) == pytest.approx(bessel(0.5 * 0.75), rel=1e-3)
    torch.testing.assert_close(gradient_two_time(model, depth=400).flip(0, 1), states, rtol=1e-12, atol=0)


@pytest.mark.parametrize("law", [ROUGH, REGULAR, SMOOTH], ids=str)
def test_small_displacements_are_sums_of_covariances(law: PathLaw) -> None:
    """At α → 0 a linear branch moves by α Σ V_k: nothing is lost at squares of 1e-24."""
    depth, alpha = 50, 1e-12
    found = displacements(SingleLayer(LINEAR), law, depth, torch.tensor([alpha]))
    expected = alpha**2 * float(law.covariance(depth).sum())
    for log10 in (found.log10_forward, found.log10_gradient):
        assert math.exp(TEN * log10) == pytest.approx(expected, rel=1e-12)


# --- Scales.


def brought_back(model: Model, depth: int, q0: float = 1.0) -> tuple[float, float]:
    """log10 of the root mean squared displacements; both may be beyond all floats."""
    alphas = torch.tensor([model.alpha(depth)])
    found = displacements(model.block, model.law, depth, alphas, q0, skip=model.skip)
    return float(found.log10_forward), float(found.log10_gradient)


@pytest.mark.parametrize("block", [TwoLayer(RELU), TwoLayer(RELU, *FULL)], ids=["res-3", "full"])
@pytest.mark.parametrize("law", [REGULAR, SMOOTH, ConstantNoise()], ids=str)
def test_states_that_are_rescaled_agree_with_states_that_are_not(block: Block, law: PathLaw) -> None:
    model, depth = Model(block, law, 1, beta=0.0, gain=10.0), 80
    states, back = two_time(model, depth=depth), gradient_two_time(model, depth=depth)
    moved = states[-1, -1] - 2 * states[-1, 0] + 1, back[0, 0] - 2 * back[0, -1] + 1
    assert math.log10(moved[0]) > 110  # so that the unit has changed on the way
    expected = [math.log10(x) / 2 for x in moved]
    assert brought_back(model, depth) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("model", "depth"),
    [
        (Model(TwoLayer(RELU), WhiteNoise(), 1, beta=0.0), 4000),
        (Model(TwoLayer(RELU, *FULL), WhiteNoise(), 1, beta=0.0), 3000),
        (Model(SingleLayer(LINEAR), WhiteNoise(), 1, beta=0.0, gain=1e5, skip=0.7), 200),
    ],
    ids=["deep", "deep with biases", "fast"],
)
def test_explosion_beyond_floats(model: Model, depth: int) -> None:
    single = lengths(model, depth=depth)
    assert single.log_q[-1] > 720
    expected = (float(single.log_q[-1]) / TEN, float(single.log_gradient_growth[-1]) / TEN)
    assert brought_back(model, depth) == pytest.approx(expected, rel=1e-12)


def test_constant_weights_explode_like_binomials() -> None:
    """Linear, α = 1: Σ (L choose n)², the central binomial coefficient; here of 600 digits."""
    model = Model(SingleLayer(LINEAR), ConstantNoise(), 1, beta=0.0)
    expected = math.log10(math.comb(2000, 1000) - 1) / 2
    assert brought_back(model, 1000) == pytest.approx((expected, expected), rel=1e-13)
    deep = math.log10(math.comb(2400, 1200)) / 2
    assert brought_back(model, 1200) == pytest.approx((deep, deep), rel=1e-13)


@pytest.mark.parametrize("law", [ROUGH, SMOOTH], ids=str)
def test_a_homogeneous_block_with_biases_does_not_know_its_unit(law: PathLaw) -> None:
    """States and constants of ten times the size: the same network."""
    first = Model(TwoLayer(RELU, 1.5, 0.3, 0.8, 0.2), law, 1, beta=0.2)
    second = Model(TwoLayer(RELU, 1.5, 30.0, 0.8, 20.0), law, 1, beta=0.2)
    here, there = two_time(first, depth=30), two_time(second, 100.0, depth=30)
    torch.testing.assert_close(there, 100 * here, rtol=1e-12, atol=0)
    here, there = (gradient_two_time(model, q, depth=30) for model, q in ((first, 1.0), (second, 100.0)))
    torch.testing.assert_close(there, here, rtol=1e-12, atol=0)
    assert ends(second, 30, 100.0) == pytest.approx(ends(first, 30), rel=1e-12)


@pytest.mark.parametrize("block", [SingleLayer(RELU), TwoLayer(RELU), Reduced(RELU, 0.5)], ids=str)
@pytest.mark.parametrize("q0", [1e-90, 1e90])
def test_homogeneous_blocks_at_any_length(block: Block, q0: float) -> None:
    model = Model(block, REGULAR, 1, beta=0.8)
    scaled = two_time(model, q0, depth=20) / q0
    torch.testing.assert_close(scaled, two_time(model, depth=20), rtol=1e-12, atol=0)
    assert ends(model, 20, q0) == pytest.approx(ends(model, 20), rel=1e-12)


# --- What else the kernels are.


@every_plain
def test_the_jacobian_forwards_is_the_gradient_backwards(model: Model) -> None:
    """E‖(J − 1)ᵀ p‖² = E‖(J − 1) p‖²; `displacements` walks up, `gradient_two_time` down."""
    back = gradient_two_time(model, depth=50)
    expected = float(back[0, 0] - 2 * back[0, -1] + 1)
    assert ends(model, 50)[1] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("law", [WhiteNoise(), ROUGH, REGULAR, SMOOTH, ConstantNoise()], ids=str)
@pytest.mark.parametrize("name", ["res-3, H = 0.8", "full ReLU, smooth", "reduced ReLU, H = 0.2"])
def test_kernels_are_positive(name: str, law: PathLaw) -> None:
    model = Model(PLAIN[name].block, law, 1, beta=0.3)
    states = two_time(model, depth=40)
    back = gradients_along(model, states)
    for found in (states, back):
        assert torch.equal(found, found.T)
        assert torch.linalg.eigvalsh(found).min() > -1e-12 * found.trace()
    torch.testing.assert_close(states[0], torch.ones(41), rtol=0, atol=1e-14)
    torch.testing.assert_close(back[-1], torch.ones(41), rtol=0, atol=1e-14)
    assert torch.equal(back, gradient_two_time(model, depth=40))


def test_several_scalings_are_computed_at_once() -> None:
    """Each as it would be alone, though one of them explodes and another stands still."""
    alphas = torch.tensor([3.0, 0.0, 0.1, 1e-9])
    for block in (TwoLayer(RELU), TwoLayer(RELU, *FULL), SingleLayer(TANH)):
        for skip in (1.0, 0.7):
            found = displacements(block, REGULAR, 60, alphas, skip=skip)
            for i, alpha in enumerate(alphas):
                alone = displacements(block, REGULAR, 60, alpha[None], skip=skip)
                for name in ("log10_forward", "log10_gradient"):
                    one, many = getattr(alone, name), getattr(found, name)[i : i + 1]
                    torch.testing.assert_close(many, one, rtol=1e-13, atol=0)
    still = displacements(TwoLayer(RELU), REGULAR, 60, alphas)
    assert still.log10_forward[1] == still.log10_gradient[1] == -math.inf


def test_gradients_of_finite_width_mix_states_and_gradients() -> None:
    found = displacements(TwoLayer(RELU), REGULAR, 60, torch.tensor([0.05, 0.1, 5.0]))
    forward, gradient = (TEN * log10 for log10 in (found.log10_forward, found.log10_gradient))
    expected = torch.log(forward.exp() / 40 + gradient.exp() * 39 / 40) / TEN
    torch.testing.assert_close(found.at_width(40)[:2], expected[:2], rtol=1e-13, atol=0)
    assert found.at_width(40)[2] > found.log10_gradient[2]
    torch.testing.assert_close(found.at_width(1), found.log10_forward, rtol=1e-13, atol=0)


# --- Overflow and refusals.


def test_overflow_is_infinite() -> None:
    """Rows and columns of layers beyond all floats; what lies before them is untouched."""
    model = Model(SingleLayer(LINEAR), ConstantNoise(), 1, beta=0.0)
    deep = two_time(model, depth=1200)
    finite = deep.diagonal().isfinite()
    first = int((~finite).nonzero()[0])
    assert math.comb(2 * first - 2, first - 1) < 2**1024 < math.comb(2 * first, first)
    assert not finite[first:].any()
    assert bool((deep[first:] == math.inf).all())
    assert bool((deep[:, first:] == math.inf).all())
    assert bool(deep[:first, :first].isfinite().all())
    assert float(deep[first - 1, 0]) == pytest.approx(1.0, rel=1e-12)
    assert float(deep[10, 20]) == pytest.approx(math.comb(30, 10), rel=1e-12)
    assert not gradient_two_time(model, depth=1200)[0, 0].isfinite()


@pytest.mark.parametrize("block", [TwoLayer(RELU), TwoLayer(RELU, *FULL)], ids=["res-3", "full"])
def test_gradients_where_squares_of_states_overflow(block: Block) -> None:
    model = Model(block, SMOOTH, 1, beta=0.0, gain=10.0)
    assert two_time(model, depth=140)[-1, -1] > 1e200
    found = math.log10(gradient_two_time(model, depth=140)[0, 0]) / 2
    assert found == pytest.approx(brought_back(model, 140)[1], rel=1e-12)


@pytest.mark.parametrize("q0", [0.0, -1.0, math.nan, math.inf, 1e-101, 1e101])
def test_start_is_checked(q0: float) -> None:
    model = PLAIN["res-3, H = 0.8"]
    for verb in (two_time, gradient_two_time):
        with pytest.raises(ValueError, match=r"q0 .* give for example 1"):
            verb(model, q0, depth=3)
    with pytest.raises(ValueError, match=r"q0 .* give for example 1"):
        displacements(model.block, model.law, 3, torch.tensor([0.1]), q0)


@pytest.mark.parametrize("depth", [0, 2.5, True])
def test_depth_is_checked(depth: int) -> None:
    model = PLAIN["res-3, H = 0.8"]
    for verb in (two_time, gradient_two_time):
        with pytest.raises(ValueError, match="depth must be a positive integer"):
            verb(model, depth=depth)
    with pytest.raises(ValueError, match="depth must be a positive integer"):
        displacements(model.block, model.law, depth, torch.tensor([0.1]))
