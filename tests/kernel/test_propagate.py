"""The layer loop against plain loops and autograd, and where its numbers would not fit."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import digamma
from torch import Tensor
from torch.nn.functional import linear

from resnet_sde import (
    LINEAR,
    RELU,
    SIGMOID,
    TANH,
    AlphaReLU,
    Block,
    FractionalNoise,
    LeakyReLU,
    Model,
    Reduced,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
    forward,
    simulate,
    trajectory,
)
from resnet_sde.blocks import Layer
from resnet_sde.matrices import Dense
from resnet_sde.observables import log10_displacement, log10_gradient_growth, log10_growth
from resnet_sde.propagate import Trajectory, Workspace, _Loop
from resnet_sde.streams import Stream, stream

PHIS = [LINEAR, RELU, LeakyReLU(0.3), TANH, SIGMOID, AlphaReLU(0.8)]
BLOCKS: list[Block] = [
    *(SingleLayer(phi, 1.2, b) for phi, b in product(PHIS, (0.0, 0.3))),
    *(Reduced(phi, 1.2, b) for phi, b in product(PHIS, (0.0, 0.3))),
    *(TwoLayer(phi, 1.2, b, 0.8, a) for phi, (a, b) in product(PHIS, [(0.0, 0.0), (0.2, 0.3), (0.2, 0.0)])),
]
HOMOGENEOUS = [b for b in BLOCKS if b.homogeneous]
WIDTH, DEPTH, SAMPLES, INPUTS = 6, 9, 3, 2
ALPHA = 0.4

every_block = pytest.mark.parametrize("block", BLOCKS, ids=str)
every_homogeneous_block = pytest.mark.parametrize("block", HOMOGENEOUS, ids=str)


def dense_layers(block: Block, depth: int = DEPTH, samples: int = SAMPLES, width: int = WIDTH) -> list[Layer]:
    return Model(block, WhiteNoise(), width, beta=0.0).draw(depth, samples=samples, seed=1).layers(depth)


def deferred_layers(block: Block, depth: int, source: Stream, width: int = WIDTH) -> list[Layer]:
    return [Layer.revealed(block.shapes(width), source) for _ in range(depth)]


def states(*key: object, inputs: int = INPUTS, width: int = WIDTH) -> Tensor:
    return torch.randn(SAMPLES, inputs, width, generator=stream(0, *key).torch)


def naive(block: Block, h: Tensor, layers: list[Layer], alpha: float, skip: float) -> list[Tensor]:
    """The states of one network, (input, width), as anyone would compute them."""
    phi, result = block.activation, [h]
    for layer in layers:
        if isinstance(block, SingleLayer):
            branch = plain(phi(h), layer["outer"], block.sigma_w2, block.sigma_b2)
        else:
            branch = phi(plain(h, layer["inner"], block.sigma_w2, block.sigma_b2))
        if isinstance(block, TwoLayer):
            branch = plain(branch, layer["outer"], block.sigma_v2, block.sigma_a2)
        h = skip * h + alpha * branch
        result.append(h)
    return result


def plain(x: Tensor, matrix: object, weight: float, bias: float) -> Tensor:
    entries = matrix.entries.squeeze(0)
    width = x.shape[-1]
    constant = math.sqrt(bias) * entries[width] if bias > 0 else None
    return linear(x, math.sqrt(weight / width) * entries[:width].mT, constant)


def of_network(layers: list[Layer], n: int) -> list[Layer]:
    def pick(matrix: object) -> object:
        return Dense(matrix.entries[n : n + 1]) if isinstance(matrix, Dense) else matrix

    return [x.changed(pick) for x in layers]


@every_block
@pytest.mark.parametrize("skip", [1.0, 0.0, 0.5])
def test_states_and_gradients_are_those_of_a_plain_network(block: Block, skip: float) -> None:
    layers, h, top = dense_layers(block), states("h"), states("top")
    fast = trajectory(block, h, layers, ALPHA, skip, top=top)
    assert fast.adjoint is not None
    for n in range(SAMPLES):
        expected = naive(block, h[n].requires_grad_(), of_network(layers, n), ALPHA, skip)
        gradients = torch.autograd.grad(expected[-1], expected, top[n])
        for k in range(DEPTH + 1):
            torch.testing.assert_close(fast.hidden.natural(k)[n], expected[k], rtol=1e-11, atol=1e-12)
            torch.testing.assert_close(fast.adjoint.natural(k)[n], gradients[k], rtol=1e-10, atol=1e-12)


@every_block
def test_forward_is_differentiable(block: Block) -> None:
    layers, h, top = dense_layers(block), states("h").requires_grad_(), states("top")
    result = forward(block, h, layers, ALPHA)
    assert result.shape == (DEPTH + 1, SAMPLES, INPUTS, WIDTH)
    (gradient,) = torch.autograd.grad(result[-1], h, top)
    adjoint = trajectory(block, h.detach(), layers, ALPHA, top=top).adjoint
    assert adjoint is not None
    torch.testing.assert_close(adjoint.natural(0), gradient, rtol=1e-10, atol=1e-12)


@every_homogeneous_block
@pytest.mark.parametrize("deferred", [True, False], ids=["deferred", "dense"])
def test_product_of_state_and_gradient_is_constant(block: Block, deferred: bool) -> None:
    if any(getattr(block, name, 0.0) > 0 for name in ("sigma_b2", "sigma_a2")):
        return
    depth = 50
    layers = deferred_layers(block, depth, stream(2)) if deferred else dense_layers(block, depth)
    t = trajectory(block, states("h"), layers, ALPHA, top=states("top"))
    assert t.adjoint is not None
    products = torch.stack([(t.hidden.natural(k) * t.adjoint.natural(k)).sum(-1) for k in range(depth + 1)])
    sizes = t.hidden.natural(depth).norm(dim=-1) * t.adjoint.natural(depth).norm(dim=-1)
    assert float(((products - products[-1]) / sizes).abs().max()) < 1e-10


@pytest.mark.parametrize("law", [FractionalNoise(0.8), SmoothNoise(0.2), WhiteNoise("uniform")], ids=str)
def test_that_product_is_constant_for_every_law(law: object) -> None:
    model = Model(TwoLayer(RELU), law, WIDTH)
    layers = model.draw(40, samples=SAMPLES, seed=3).layers(40)
    t = trajectory(model.block, states("h"), layers, model.alpha(40), top=states("top"))
    assert t.adjoint is not None
    first, last = ((t.hidden.natural(k) * t.adjoint.natural(k)).sum(-1) for k in (0, -1))
    torch.testing.assert_close(first, last, rtol=0, atol=1e-10)


@every_block
@pytest.mark.parametrize("skip", [1.0, 0.0])
@pytest.mark.parametrize("deferred", [True, False], ids=["deferred", "dense"])
def test_carrying_a_scale_changes_no_bit(block: Block, skip: float, deferred: bool) -> None:
    inputs = 1 if deferred else INPUTS

    def run(period: int | None) -> list[Tensor]:
        layers = deferred_layers(block, DEPTH, stream(4)) if deferred else dense_layers(block)
        loop = _Loop(block, ALPHA, skip, period)
        hidden, exponents, pre = loop.up(8.0 * states("h", inputs=inputs), layers, keep=True)
        adjoint, more = loop.down(states("top", inputs=inputs), layers, pre, keep=True)
        return [torch.ldexp(x, e) for x, e in zip(hidden + adjoint, exponents + more, strict=True)]

    for period in (1, 2, 5):
        for carried, natural in zip(run(period), run(None), strict=True):
            assert torch.equal(carried, natural)


SEVERAL = torch.tensor([[0.0], [0.4]], dtype=torch.float64)  # a factor for each input


@every_block
@pytest.mark.parametrize("skip", [1.0, 0.5])
def test_every_input_may_have_its_own_factor(block: Block, skip: float) -> None:
    layers, h, top = dense_layers(block), states("h"), states("top")
    together = trajectory(block, h, layers, SEVERAL, skip, top=top)
    natural = forward(block, h, layers, SEVERAL.expand(SAMPLES, -1, -1), skip)
    assert together.adjoint is not None
    for row, alpha in enumerate(SEVERAL.flatten().tolist()):
        alone = trajectory(block, h, layers, alpha, skip, top=top)
        assert alone.adjoint is not None
        for k in range(DEPTH + 1):
            expected = alone.hidden.natural(k)[:, row]
            for found in (together.hidden.natural(k)[:, row], natural[k, :, row]):
                torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
            gradients = (t.natural(k)[:, row] for t in (together.adjoint, alone.adjoint))
            torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-13)


def test_forward_is_differentiable_in_the_factors() -> None:
    block, h = TwoLayer(TANH), states("h")
    alpha = SEVERAL.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(forward(block, h, dense_layers(block), alpha)[-1].sum(), alpha)
    step = 1e-6
    for row in range(INPUTS):
        nudge = torch.zeros_like(SEVERAL)
        nudge[row] = step
        ends = [forward(block, h, dense_layers(block), SEVERAL + s * nudge)[-1].sum() for s in (1, -1)]
        assert float(gradient[row]) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize(
    "shape", [(WIDTH,), (INPUTS,), (SAMPLES, INPUTS, WIDTH), (SAMPLES, 1), (1,)], ids=str
)
def test_factors_of_coordinates_are_refused(shape: tuple[int, ...]) -> None:
    block = TwoLayer(RELU)
    for run in (forward, trajectory):
        with pytest.raises(ValueError, match="give shape \\(2, 1\\)"):
            run(block, states("h"), dense_layers(block), torch.ones(shape))


def test_factors_of_very_different_size_stay_in_range() -> None:
    block, alpha = TwoLayer(LINEAR), torch.tensor([[1e-3], [1e3]])
    h, layers = states("h")[:, :1].repeat(1, 2, 1).float(), dense_layers(block, 200)
    narrow = [x.changed(lambda matrix: Dense(matrix.entries.float())) for x in layers]
    t = trajectory(block, h, narrow, alpha, 0.0, top=h)
    for observe in (log10_growth, log10_gradient_growth):
        small, large = observe(t).unbind(1)
        torch.testing.assert_close(large - small, torch.full_like(small, 200 * 6.0), rtol=0, atol=1e-3)


def mean_log10_growth(skip: float, width: int) -> float:
    """Exact mean of log₁₀ of ‖h_{k+1}‖ / ‖h_k‖: one linear matrix at skip 1, two with ReLU at skip 0."""
    if skip == 1.0:
        # d ‖e + z/√d‖² is noncentral χ² with d degrees of freedom and parameter d, a Poisson mixture.
        n = np.arange(2000)
        mean = stats.poisson.pmf(n, width / 2) @ digamma(width / 2 + n)
        return float(mean + math.log(2 / width)) / (2 * math.log(10))
    n = np.arange(1, width + 1)  # rows of W that stay on; that none does has probability 2^−width
    mean = stats.binom.pmf(n, width, 0.5) @ digamma(n / 2)
    return float(mean + digamma(width / 2) + 2 * math.log(2 / width)) / (2 * math.log(10))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("skip", [1.0, 0.0], ids=["linear-residual", "relu-feed-forward"])
def test_explosion_and_collapse_are_numbers(skip: float, dtype: torch.dtype) -> None:
    block = SingleLayer(LINEAR) if skip else TwoLayer(RELU)
    model = Model(block, WhiteNoise(), width=30, beta=0.0, skip=skip)
    depth, samples = 1000, 300
    out = simulate(
        model,
        torch.ones(1, 3, dtype=dtype),
        depth=depth,
        samples=samples,
        observe=[log10_growth, log10_displacement, log10_gradient_growth],
    )
    exact = depth * mean_log10_growth(skip, 30)
    assert abs(exact) > 140, "beyond float32 by far"
    for name in ("log10_growth", "log10_gradient_growth"):
        values = out[name].flatten()
        assert bool(values.isfinite().all())
        # The gradient of the feed-forward network has this mean too: ‖DWᵀVᵀp‖ and ‖VDWh‖ have one law.
        z = float((values.mean() - exact) / values.std()) * math.sqrt(samples)
        assert abs(z) < 4.42, f"{name}: z = {z} (false alarm 1e-5)"
    if skip:
        torch.testing.assert_close(out["log10_displacement"], out["log10_growth"], rtol=1e-12, atol=1e-12)
    else:
        assert float(out["log10_displacement"].abs().max()) < 1e-12


@pytest.mark.parametrize("skip", [1.0, 0.0])
def test_float32_is_float64_to_its_rounding(skip: float) -> None:
    block, depth = TwoLayer(RELU), 1000
    wide = dense_layers(block, depth)
    narrow = [x.changed(lambda matrix: Dense(matrix.entries.float())) for x in wide]
    h, top = states("h"), states("top")
    t64 = trajectory(block, h, wide, 1.0, skip, top=top)
    t32 = trajectory(block, h.float(), narrow, 1.0, skip, top=top.float())
    for observe in (log10_growth, log10_gradient_growth):
        ratio = observe(t64)
        assert float(ratio.abs().min()) > 38
        # A thousand layers, each with an error below some 1e-6 of the norm.
        torch.testing.assert_close(observe(t32), ratio, rtol=0, atol=5e-4)


@every_homogeneous_block
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tiny_variances_do_not_underflow(block: Block, dtype: torch.dtype) -> None:
    if any(getattr(block, name, 0.0) > 0 for name in ("sigma_b2", "sigma_a2")):
        return
    depth, tiny = 300, 1e-10
    small = type(block)(block.activation, sigma_w2=tiny)
    unit = type(block)(block.activation)

    def growth(b: Block, deferred: bool) -> Tensor:
        shape = (SAMPLES, 20, 20)
        source = stream(5)
        if deferred:
            layers = deferred_layers(b, depth, source, 20)
        else:
            weights = [
                {n: Dense(source.normal_(torch.empty(shape, dtype=dtype))) for n in b.shapes(20)}
                for _ in range(depth)
            ]
            layers = [Layer(m) for m in weights]
        return log10_growth(trajectory(b, states("h", inputs=1, width=20).to(dtype), layers, 1.0, 0.0))

    for deferred in (True, False):
        difference = growth(small, deferred) - growth(unit, deferred)
        expected = torch.full_like(difference, depth * 0.5 * math.log10(tiny))
        torch.testing.assert_close(difference, expected, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("deferred", [True, False], ids=["deferred", "dense"])
def test_the_negative_orthant_absorbs(deferred: bool) -> None:
    block = SingleLayer(RELU)
    h = -states("h", inputs=1).abs()
    layers = deferred_layers(block, DEPTH, stream(6)) if deferred else dense_layers(block)
    t = trajectory(block, h, layers, 1.0, top=h)
    assert t.adjoint is not None
    for k in range(DEPTH + 1):
        assert torch.equal(t.hidden.natural(k), h)
        assert torch.equal(t.adjoint.natural(k), h)


@pytest.mark.parametrize("block", [TwoLayer(RELU), SingleLayer(RELU, 1.0, 0.5), TwoLayer(TANH)], ids=str)
@pytest.mark.parametrize("deferred", [True, False], ids=["deferred", "dense"])
def test_ends_alone_are_the_ends(block: Block, deferred: bool) -> None:
    def run(every_layer: bool, top: Tensor | None) -> Trajectory:
        layers = deferred_layers(block, 30, stream(7)) if deferred else dense_layers(block, 30)
        return trajectory(block, states("h"), layers, 0.7, top=top, every_layer=every_layer)

    for top in (None, states("top")):
        ends, full = run(False, top), run(True, top)
        assert len(ends.hidden.scaled) == 2
        assert len(full.hidden.scaled) == 31
        pairs = [(ends.hidden, full.hidden)]
        if top is not None:
            assert ends.adjoint is not None
            assert full.adjoint is not None
            assert len(ends.adjoint.scaled) == 2
            pairs.append((ends.adjoint, full.adjoint))
        for some, every in pairs:
            for k in (0, -1):
                assert torch.equal(some.natural(k), every.natural(k))


@pytest.mark.parametrize("block", [TwoLayer(RELU, 1.0, 0.5, 1.0, 0.5), SingleLayer(TANH)], ids=str)
def test_reused_memory_changes_no_number(block: Block) -> None:
    workspace = Workspace()
    fresh = trajectory(block, states("a"), dense_layers(block), ALPHA, top=states("top"))
    for key in ("b", "a"):
        reused = trajectory(
            block, states(key), dense_layers(block), ALPHA, top=states("top"), workspace=workspace
        )
    assert workspace.buffers
    assert reused.adjoint is not None
    assert fresh.adjoint is not None
    for k in range(DEPTH + 1):
        assert torch.equal(reused.hidden.natural(k), fresh.hidden.natural(k))
        assert torch.equal(reused.adjoint.natural(k), fresh.adjoint.natural(k))


def test_workspace_gives_memory_by_name_shape_and_dtype() -> None:
    workspace, like = Workspace(), torch.empty(0)
    first = workspace.take("a", (2, 3), like)
    assert workspace.take("a", (2, 3), like) is first
    assert workspace.take("b", (2, 3), like) is not first
    assert workspace.take("a", (2, 4), like).shape == (2, 4)
    assert workspace.take("a", (2, 4), like.float()).dtype == torch.float32


def test_layers_may_come_one_by_one() -> None:
    block, layers = TwoLayer(RELU), dense_layers(TwoLayer(RELU))
    assert torch.equal(
        forward(block, states("h"), iter(layers), ALPHA), forward(block, states("h"), layers, ALPHA)
    )
    t = trajectory(block, states("h"), iter(layers), ALPHA, top=states("top"))
    assert t.adjoint is not None
    assert torch.equal(
        t.adjoint.natural(0),
        trajectory(block, states("h"), layers, ALPHA, top=states("top")).adjoint.natural(0),
    )


@pytest.mark.parametrize("observe", [log10_growth, log10_gradient_growth])
def test_period_keeps_states_in_range(observe: Callable[[Trajectory], Tensor]) -> None:
    for alpha, skip, width in product((1e-3, 1.0, 1e3), (0.0, 1.0), (1, 4)):
        block = TwoLayer(LINEAR)
        layers = dense_layers(block, 200, width=width)
        h = states("h", width=width).float()
        narrow = [x.changed(lambda matrix: Dense(matrix.entries.float())) for x in layers]
        assert bool(observe(trajectory(block, h, narrow, alpha, skip, top=h)).isfinite().all())
