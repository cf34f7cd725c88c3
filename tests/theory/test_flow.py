"""Kernels in the limit of infinite depth: known solutions, orders of the schemes, and networks on the way."""

import functools
import itertools
import math

import pytest
import torch
from torch import Tensor

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
from resnet_sde.activations import ERF, GELU
from resnet_sde.laws import PathLaw
from resnet_sde.meanfield import Flow, NoFlow, displacements, flow, gaps, lengths, two_time
from resnet_sde.meanfield.flow import flow_gaps

FULL = (1.5, 0.3, 0.8, 0.2)
SMOOTH, CONSTANT = SmoothNoise(0.3), ConstantNoise()
RES1, RES3 = SingleLayer(RELU), TwoLayer(RELU)


def critical(block: Block, law: PathLaw, gain: float = 1.0) -> Model:
    return Model(block, law, 1, gain=gain)


@functools.cache
def solved(block: Block, law: PathLaw, steps: int) -> Flow:
    return flow(critical(block, law), steps=steps)


def rates(errors: list[float]) -> list[float]:
    """Orders between depths or steps that double."""
    return [math.log2(abs(a / b)) for a, b in itertools.pairwise(errors)]


def ends(block: Block, law: PathLaw, depth: int) -> tuple[float, float]:
    """Growth of states and gradients of a network with this many layers, in the mean square."""
    model = critical(block, law)
    found = displacements(block, law, depth, torch.tensor([model.alpha(depth)]))
    return 1 + 100 ** float(found.log10_forward), 1 + 100 ** float(found.log10_gradient)


# --- Solutions that are known.


def test_white_and_homogeneous() -> None:
    """C(s, t) = q_0 e^{c min(s, t)}, and gradients grow alike."""
    found = flow(critical(RES3, WhiteNoise(), gain=2.0), 3.0, steps=10)
    t = torch.linspace(0, 1, 11)
    assert torch.equal(found.times, t)
    torch.testing.assert_close(found.kernel, 3 * (2 * torch.minimum(t[:, None], t)).exp(), rtol=1e-10, atol=0)
    torch.testing.assert_close(found.log_gradient_growth, 2 * t, rtol=1e-10, atol=1e-12)


def test_white_and_linear_with_bias() -> None:
    """q' = w q + b."""
    found = flow(critical(SingleLayer(LINEAR, 0.7, 0.3), WhiteNoise()), steps=4)
    expected = (1 + 0.3 / 0.7) * (0.7 * found.times).exp() - 0.3 / 0.7
    torch.testing.assert_close(found.kernel.diagonal(), expected, rtol=1e-10, atol=0)


def test_constant_and_linear() -> None:
    """C(s, t) = I_0(2 √(st))."""
    found = solved(SingleLayer(LINEAR), CONSTANT, 256)
    square = found.times[:, None] * found.times
    expected = sum(square**n / float(math.factorial(n)) ** 2 for n in range(20))
    torch.testing.assert_close(found.kernel, expected, rtol=1e-6, atol=0)
    assert float(found.kernel[-1, -1]) == pytest.approx(2.2795853, rel=1e-6)
    torch.testing.assert_close(found.log_gradient_growth, expected.diagonal().log(), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(("hurst", "rms"), [(0.6, 0.414), (0.7, 0.412), (0.8, 0.411), (0.9, 0.410)])
def test_two_rectified_matrices_with_fractional_weights(hurst: float, rms: float) -> None:
    """A mean alone is left of the inner matrices: dH = ‖H‖ / √(2πd) db."""
    found = solved(RES3, FractionalNoise(hurst), 256)
    assert math.sqrt(found.kernel[-1, -1] - 1) == pytest.approx(rms, abs=6e-4)
    assert not found.log_gradient_growth.any()


def test_fractional_noise_of_the_bias_alone() -> None:
    """Between two matrices an odd φ has no mean: states move by σ_a² t^{2H}, gradients not at all."""
    law = FractionalNoise(0.8)
    block = TwoLayer(TANH, *FULL)
    found = flow(critical(block, law), steps=8)
    expected = 1 + 0.2 * found.times ** (2 * 0.8)
    torch.testing.assert_close(found.kernel.diagonal(), expected, rtol=1e-12, atol=0)
    assert not found.log_gradient_growth.any()
    errors = [ends(block, law, depth)[0] - 1.2 for depth in (125, 250, 500)]
    assert all(0.3 < rate < 0.5 for rate in rates(errors))  # 2 − 2H


# --- Orders of the scheme.


@pytest.mark.parametrize(
    ("block", "law", "states", "gradients"),
    [
        (SingleLayer(LINEAR), CONSTANT, 2.0, 2.0),
        (RES3, SMOOTH, 2.0, 2.0),
        (TwoLayer(TANH, *FULL), SMOOTH, 2.0, 2.0),
        (SingleLayer(TANH), FractionalNoise(0.65), 1.6, 1.6),
        (RES1, FractionalNoise(0.55), 1.2, 0.65),
        (RES1, FractionalNoise(0.65), 1.6, 0.95),
        (RES1, FractionalNoise(0.9), 2.0, 1.7),
    ],
    ids=["linear", "res-3", "full", "tanh, H = 0.65", "ReLU, H = 0.55", "ReLU, H = 0.65", "ReLU, H = 0.9"],
)
def test_orders_in_the_number_of_steps(block: Block, law: PathLaw, states: float, gradients: float) -> None:
    """min(2, 4H − 1); 3H − 1 for gradients through a kink."""
    found = [solved(block, law, steps) for steps in (64, 128, 256)]
    kernel = [float(one.kernel[-1, -1]) for one in found]
    inside = [float(one.kernel[len(one.times) // 2, -1]) for one in found]
    growth = [float(one.log_gradient_growth[-1]) for one in found]
    for values, order in ((kernel, states), (inside, states), (growth, gradients)):
        (rate,) = rates([values[1] - values[0], values[2] - values[1]])
        assert rate == pytest.approx(order, abs=0.12)


# --- Networks on the way to the limit.


@pytest.mark.parametrize(
    ("block", "law", "order"),
    [
        (RES3, WhiteNoise(), 1.0),
        (TwoLayer(TANH, *FULL), WhiteNoise(), 1.0),
        (Reduced(ERF, 1.3, 0.2), WhiteNoise(), 1.0),
        (SingleLayer(GELU), WhiteNoise(), 1.0),
        (SingleLayer(LINEAR), CONSTANT, 1.0),
        (RES3, SMOOTH, 1.0),
        pytest.param(TwoLayer(TANH, *FULL), SmoothNoise(1.0), 1.0, marks=pytest.mark.full),
        pytest.param(SingleLayer(TANH), FractionalNoise(0.8), 1.0, marks=pytest.mark.full),
        (RES1, FractionalNoise(0.8), 1.0),
        (RES3, FractionalNoise(0.65), 0.3),
        (RES3, FractionalNoise(0.8), 0.4),
    ],
    ids=[
        *("res-3, white", "full, white", "reduced, white", "res-1 GELU, white", "linear, constant"),
        *("res-3, smooth", "full, smooth", "res-1 tanh, H = 0.8", "res-1 ReLU, H = 0.8"),
        *("res-3, H = 0.65", "res-3, H = 0.8"),
    ],
)
def test_networks_come_near(block: Block, law: PathLaw, order: float) -> None:
    """Like 1/L; two matrices with fractional weights like L^−min(2H − 1, 2 − 2H).

    Marked full: a block and a law that others show one at a time.
    """
    limit = solved(block, law, 512)
    depths = (64, 128, 256)
    found = [ends(block, law, depth) for depth in depths]
    targets = float(limit.kernel[-1, -1]), math.exp(limit.log_gradient_growth[-1])
    for which, target in enumerate(targets):
        errors = [growth[which] - target for growth in found]
        assert all(rate == pytest.approx(order, abs=0.14) for rate in rates(errors))
        assert abs(errors[-1]) < (0.8 / 256 if order == 1 else 0.15)


@pytest.mark.parametrize("law", [WhiteNoise(), SMOOTH, FractionalNoise(0.8)], ids=str)
def test_the_whole_kernel(law: PathLaw) -> None:
    """Between any two times, at a gain of its own."""
    model = critical(SingleLayer(TANH, 1.2, 0.1), law, gain=1.5)
    limit = flow(model, 0.7, steps=128)
    errors = [
        two_time(model, 0.7, depth=depth)[:: depth // 128, :: depth // 128] - limit.kernel
        for depth in (256, 512)
    ]
    assert float(errors[1].abs().max()) < 5e-3
    torch.testing.assert_close(errors[0], 2 * errors[1], rtol=0, atol=4e-4)
    assert torch.equal(limit.kernel, limit.kernel.T)


def test_gaps_of_two_inputs() -> None:
    model, starts = critical(TwoLayer(TANH, *FULL), WhiteNoise()), torch.tensor([[1e-12, 0.5], [1.0, 1.9]])
    limit = flow_gaps(model, 0.7, starts, torch.tensor([0.0, 0.25, 1.0]))
    assert limit.shape == (3, 2, 2)
    torch.testing.assert_close(limit[0], starts, rtol=1e-12, atol=0)
    found = [gaps(model, 0.7, starts, depth=depth)[[depth // 4, depth]] for depth in (100, 200)]
    extrapolated = 2 * found[1] - found[0]
    torch.testing.assert_close(limit[1:], extrapolated, rtol=3e-5, atol=0)
    assert float((found[1] / limit[1:] - 1).abs().max()) < 5e-3


def test_gaps_follow_gradients_where_they_are_small() -> None:
    model = critical(SingleLayer(TANH), WhiteNoise())
    limit, times = flow(model, steps=4), torch.linspace(0, 1, 5)
    expected = 1e-9 * (limit.log_gradient_growth - limit.kernel.diagonal().log()).exp()
    torch.testing.assert_close(flow_gaps(model, 1.0, 1e-9, times), expected, rtol=1e-7, atol=0)


def test_lengths_come_near_at_every_time() -> None:
    model = critical(Reduced(TANH, 1.3, 0.2), WhiteNoise())
    limit, found = flow(model, steps=8), lengths(model, depth=8000)
    torch.testing.assert_close(found.q[::1000], limit.kernel.diagonal(), rtol=1e-4, atol=0)
    growth = found.log_gradient_growth[::1000]
    torch.testing.assert_close(growth, limit.log_gradient_growth, rtol=1e-4, atol=1e-12)


# --- Where there is none.


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Model(RES3, WhiteNoise(), 1, beta=0.4), r"beta = 0\.4 .* leave beta out"),
        (Model(RES3, WhiteNoise(), 1, beta=0.5, skip=0.7), r"skip 0\.7 .* use two_time"),
        (Model(RES3, FractionalNoise(0.2), 1), r"not known; use two_time"),
        (Model(RES1, FractionalNoise(0.4), 1), r"not known; use two_time"),
        (Model(TwoLayer(TANH), FractionalNoise(0.8), 1), r"odd activation .* is open; use two_time"),
        (Model(Reduced(RELU), WhiteNoise(), 1), r"not known; use two_time"),
        (Model(Reduced(TANH), SMOOTH, 1, beta=1.0), r"critical: None"),
    ],
    ids=["beta", "skip", "rough", "rough, one matrix", "odd", "a mean", "reduced"],
)
def test_refusals(model: Model, message: str) -> None:
    with pytest.raises(NoFlow, match=message):
        flow(model)
    with pytest.raises(NoFlow, match=message):
        flow_gaps(model, 1.0, 0.5, torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize(("q0", "steps"), [(0.0, 8), (math.inf, 8), (1.0, 0), (1.0, 2.5)])
def test_numbers_out_of_range(q0: float, steps: int) -> None:
    with pytest.raises(ValueError, match=r"q0 is the mean square|steps must be a positive integer"):
        flow(critical(RES3, WhiteNoise()), q0, steps=steps)


def test_two_inputs_need_white_weights() -> None:
    with pytest.raises(NoFlow, match=r"known for white weights, not for smooth:0\.3; use simulate"):
        flow_gaps(critical(RES3, SMOOTH), 1.0, 0.5, torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("gap0", [-0.1, 2.1])
def test_gaps_lie_between_0_and_2(gap0: float | Tensor) -> None:
    with pytest.raises(ValueError, match=r"gap0 .* must lie in \[0, 2\]"):
        flow_gaps(critical(RES3, WhiteNoise()), 1.0, gap0, torch.tensor([0.0, 1.0]))
