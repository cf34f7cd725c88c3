"""What every residual branch must satisfy, with explicit matrices and autograd as the judges."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from every import EVERY_ACTIVATION
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnet_sde import (
    LINEAR,
    RELU,
    TANH,
    AlphaReLU,
    Block,
    ConstantNoise,
    FractionalNoise,
    Layer,
    LeakyReLU,
    Model,
    PathLaw,
    Reduced,
    Regime,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
)
from resnet_sde.matrices import Deferred, Dense, Identity
from resnet_sde.streams import Stream, stream

BLOCKS: list[Block] = [
    *(SingleLayer(phi, sigma_w2=1.5, sigma_b2=b) for phi, b in product(EVERY_ACTIVATION, (0.0, 0.4))),
    *(Reduced(phi, sigma_w2=1.5, sigma_b2=b) for phi, b in product(EVERY_ACTIVATION, (0.0, 0.4))),
    *(TwoLayer(phi, 1.5, b, 0.7, a) for phi, a, b in product(EVERY_ACTIVATION, (0.0, 0.2), (0.0, 0.4))),
]
WIDTH, SAMPLES, INPUTS = 5, 3, 2

every_block = pytest.mark.parametrize("block", BLOCKS, ids=str)


def layer_of(block: Block, source: Stream, width: int = WIDTH, samples: int = SAMPLES) -> Layer:
    matrices = {
        name: Dense(source.normal_(torch.empty(samples, *shape)))
        for name, shape in block.shapes(width).items()
    }
    return Layer(matrices)


def states(source: Stream, width: int = WIDTH) -> Tensor:
    return source.normal_(torch.empty(SAMPLES, INPUTS, width))


def with_column(x: Tensor, constant: float) -> Tensor:
    return torch.cat([x, torch.full_like(x[..., :1], constant)], dim=-1)


def affine(x: Tensor, entries: Tensor, weight: float, bias: float) -> Tensor:
    """σ_w V x / √d + σ_b v, entry by entry; row `width` of the stored matrix is v."""
    v = entries[:, : x.shape[-1]] * math.sqrt(weight / x.shape[-1])
    constant = entries[:, x.shape[-1] :].sum(1, keepdim=True) * math.sqrt(bias)
    return torch.einsum("sxi,sio->sxo", x, v) + constant


def expected_branch(block: Block, h: Tensor, layer: Layer) -> Tensor:
    phi = block.activation
    if isinstance(block, SingleLayer):
        return affine(phi(h), layer["outer"].entries, block.sigma_w2, block.sigma_b2)
    pre = affine(h, layer["inner"].entries, block.sigma_w2, block.sigma_b2)
    if isinstance(block, Reduced):
        return phi(pre)
    return affine(phi(pre), layer["outer"].entries, block.sigma_v2, block.sigma_a2)


@every_block
def test_branch_is_the_formula(block: Block) -> None:
    source = stream(0, "branch")
    h, layer = states(source), layer_of(block, source)
    branch = block.branch(h, layer)
    torch.testing.assert_close(branch, expected_branch(block, h, layer), rtol=1e-12, atol=1e-12)


@every_block
def test_adjoint_is_the_gradient(block: Block) -> None:
    source = stream(0, "adjoint")
    h, layer = states(source).requires_grad_(), layer_of(block, source)
    p = states(source)
    branch, pre = block._branch_and_pre(h, layer)
    (gradient,) = torch.autograd.grad(branch, h, p)
    for found in (block._adjoint_at(pre.detach(), p, layer), block.adjoint(h.detach(), p, layer)):
        torch.testing.assert_close(found, gradient, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(Block.adjoint(block, h, p, layer), gradient, rtol=1e-11, atol=1e-12)


@every_block
@pytest.mark.parametrize("scale", [2.0**-7, 3.0, 1e8])
def test_homogeneous_branches_scale_with_state_and_constant(block: Block, scale: float) -> None:
    source = stream(0, "scale")
    h, layer = states(source), layer_of(block, source)
    one = torch.full((SAMPLES, INPUTS, 1), scale)
    scaled = block.branch(scale * h, replace(layer, unit=one))
    plain = block.branch(h, layer)
    same = torch.allclose(scaled, scale * plain, rtol=1e-12, atol=1e-12 * scale)
    assert same == block.homogeneous


@every_block
def test_none_is_one(block: Block) -> None:
    source = stream(0, "none")
    h, layer = states(source), layer_of(block, source)
    one = torch.ones(SAMPLES, INPUTS, 1)
    assert torch.equal(block.branch(h, layer), block.branch(h, replace(layer, unit=one)))
    pairs = zip(block._branch_and_pre(h, layer), block._branch_and_pre(h, layer, one), strict=True)
    assert all(torch.equal(first, second) for first, second in pairs)


@every_block
@pytest.mark.parametrize("inputs", [1, 2])
def test_adjoint_of_deferred_layers_has_the_right_shape_and_is_finite(block: Block, inputs: int) -> None:
    source = stream(0, "deferred", inputs)
    matrices = {n: Deferred(source, fan_out) for n, (_, fan_out) in block.shapes(WIDTH).items()}
    layer = Layer(matrices)
    h, p = states(source)[:, :inputs].contiguous(), states(source)[:, :inputs].contiguous()
    branch, pre = block._branch_and_pre(h, layer)
    back = block._adjoint_at(pre, p, layer)
    assert branch.shape == back.shape == h.shape
    assert bool(branch.isfinite().all() & back.isfinite().all())
    if block.homogeneous and not biased(block):
        # Euler's identity ⟨p, V g(h)⟩ = ⟨∂(V g)ᵀ p, h⟩, layer by layer what keeps ⟨p_k, h_k⟩ constant.
        torch.testing.assert_close((p * branch).sum(-1), (back * h).sum(-1), rtol=1e-11, atol=1e-11)


def biased(block: Block) -> bool:
    return any(getattr(block, name, 0) > 0 for name in ("sigma_b2", "sigma_a2"))


@every_block
def test_columns_of_constants_only_where_there_is_a_bias(block: Block) -> None:
    names = {"outer": "sigma_a2" if isinstance(block, TwoLayer) else "sigma_b2", "inner": "sigma_b2"}
    shapes = block.shapes(7)
    expected = {SingleLayer: {"outer"}, Reduced: {"inner"}, TwoLayer: {"inner", "outer"}}
    assert set(shapes) == expected[type(block)]
    for name, shape in shapes.items():
        assert shape == (7 + (getattr(block, names[name]) > 0), 7)


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_strength_follows_the_size_of_the_branch(factor: float) -> None:
    for small, large in [
        (SingleLayer(LINEAR), SingleLayer(LINEAR, factor)),
        (Reduced(LINEAR), Reduced(LINEAR, factor)),
        (TwoLayer(LINEAR), TwoLayer(LINEAR, sigma_w2=factor)),
        (TwoLayer(LINEAR), TwoLayer(LINEAR, sigma_v2=factor)),
    ]:
        source = stream(0, "strength")
        h, layer = states(source), layer_of(small, source)
        ratio = large.branch(h, layer).norm() / small.branch(h, layer).norm()
        assert large.strength / small.strength == pytest.approx(float(ratio))


def test_a_matrix_of_variance_zero_is_off() -> None:
    source = stream(0, "off")
    block = TwoLayer(TANH, sigma_v2=0.0)
    assert not block.branch(states(source), layer_of(block, source)).any()


WHITE, ROUGH, FAIR, LONG = WhiteNoise(), FractionalNoise(0.3), FractionalNoise(0.7), FractionalNoise(0.9)


@pytest.mark.parametrize(
    ("block", "law", "expected"),
    [
        (SingleLayer(RELU), WHITE, 0.5),
        (SingleLayer(RELU), WhiteNoise("uniform"), 0.5),
        (SingleLayer(TANH), FractionalNoise(0.1), 0.25),
        (SingleLayer(TANH), ROUGH, 0.3),
        (SingleLayer(TANH), LONG, 0.9),
        (SingleLayer(RELU), SmoothNoise(), 1.0),
        (SingleLayer(RELU), ConstantNoise(), 1.0),
        (TwoLayer(RELU), WHITE, 0.5),
        (TwoLayer(RELU), ROUGH, 0.5),
        (TwoLayer(RELU), FAIR, 0.7),
        (TwoLayer(TANH), FAIR, 0.5),
        (TwoLayer(TANH), LONG, 0.8),
        (TwoLayer(TANH, sigma_a2=0.1), LONG, 0.9),
        (TwoLayer(RELU), SmoothNoise(), 1.0),
        (Reduced(TANH), WHITE, 0.5),
        (Reduced(RELU), WHITE, 1.0),
        (Reduced(TANH), SmoothNoise(), None),
    ],
    ids=str,
)
def test_critical_beta_is_the_card(block: Block, law: PathLaw, expected: float | None) -> None:
    if expected is None:
        assert block.critical_beta(law) is None
    else:
        assert block.critical_beta(law) == pytest.approx(expected, abs=1e-15)


def test_model_fills_in_the_critical_beta() -> None:
    model = Model(SingleLayer(TANH), FractionalNoise(0.7), width=4)
    assert model.beta == 0.7
    assert model.regime is Regime.CRITICAL
    regimes = [Model(TwoLayer(RELU), WHITE, 4, beta=b).regime for b in (0.4, 0.5, 0.6)]
    assert regimes == [Regime.EXPLOSION, Regime.CRITICAL, Regime.IDENTITY]
    assert Model(SingleLayer(TANH), WHITE, 4, beta=0.0, skip=0.0).regime is None
    assert Model(TwoLayer(RELU), WHITE, 4, gain=2.0).alpha(64) == 0.25


@pytest.mark.parametrize(
    "make",
    [
        lambda: Model(SingleLayer(TANH), WHITE, 4, skip=0.0),
        lambda: Model(Reduced(TANH), SmoothNoise(), 4),
        lambda: Model(SingleLayer(TANH), WHITE, 0),
        lambda: Model(SingleLayer(TANH), WHITE, 2.5),
        lambda: Model(SingleLayer(TANH), WHITE, math.inf),
        lambda: Model(SingleLayer(TANH), WHITE, math.nan),
        lambda: Model(SingleLayer(TANH), WHITE, True),
        lambda: Model(SingleLayer(TANH), WHITE, 4, beta=math.nan),
        lambda: Model(SingleLayer(TANH), WHITE, 4, gain=-1.0),
        lambda: Model(SingleLayer(TANH), WHITE, 4, skip=math.inf),
    ],
)
def test_impossible_models_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"give beta|must"):
        make()


@given(
    kind=st.sampled_from([SingleLayer, Reduced]),
    first=st.one_of(st.floats(), st.integers()),
    second=st.floats(),
)
def test_variances_are_valid_or_refused(kind: type[Block], first: float, second: float) -> None:
    valid = all(0 <= v < math.inf for v in (first, second))
    if valid:
        assert isinstance(kind(RELU, first, second).sigma_w2, float)
        return
    with pytest.raises(ValueError, match="is a variance"):
        kind(RELU, first, second)


@given(width=st.one_of(st.floats(), st.integers(-3, 10**6)), numbers=st.tuples(*[st.floats()] * 3))
def test_models_are_valid_or_refused(width: float, numbers: tuple[float, float, float]) -> None:
    beta, gain, skip = numbers
    valid = math.isfinite(width) and width >= 1 and width == int(width)
    if valid and all(map(math.isfinite, numbers)) and gain >= 0:
        assert Model(TwoLayer(RELU), WHITE, width, beta, gain, skip).width == width
        return
    with pytest.raises(ValueError, match="must"):
        Model(TwoLayer(RELU), WHITE, width, beta, gain, skip)


def test_equal_models_have_one_name() -> None:
    """Streams are named by the representation, so equal models must have equal ones."""
    pairs = [
        (SingleLayer(RELU, 1), SingleLayer(RELU, 1.0)),
        (SingleLayer(LeakyReLU(1)), SingleLayer(LeakyReLU(1.0))),
        (SingleLayer(AlphaReLU(1)), SingleLayer(AlphaReLU(1.0))),
    ]
    for first, second in pairs:
        assert first == second
        assert repr(first) == repr(second)
    assert repr(Model(TwoLayer(RELU), WHITE, 4, 1)) == repr(Model(TwoLayer(RELU), WHITE, 4, 1.0))
    assert repr(FractionalNoise(torch.tensor(0.5).item())) == repr(FractionalNoise(0.5))


def test_draw_gives_the_paths_of_every_matrix() -> None:
    model = Model(TwoLayer(TANH, sigma_a2=0.1), FractionalNoise(0.7), width=4)
    paths = model.draw(12, samples=3, seed=0)
    assert {n: tuple(p.weights(6).shape) for n, p in paths.matrices.items()} == {
        "inner": (6, 3, 4, 4),
        "outer": (6, 3, 5, 4),
    }
    again = model.draw(12, samples=3, seed=0)
    assert torch.equal(again.matrices["inner"].weights(12), paths.matrices["inner"].weights(12))
    assert not torch.equal(paths.matrices["inner"].weights(12), paths.matrices["outer"].weights(12)[:, :, :4])
    assert len(paths.layers(4)) == 4
    alone = Model(Reduced(TANH), WHITE, 4).draw(3, samples=2).layers(3)[0]
    assert isinstance(alone.get("outer"), Identity)
    with pytest.raises(ValueError, match="a layer has no outer matrix, only 'inner'"):
        alone["outer"]
