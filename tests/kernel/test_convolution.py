"""Convolutional branches, against plain loops of torch and their theory of many channels."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv2d, pad

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde import observables as ob
from resnet_sde.contracts.theory import wrong_scaling
from resnet_sde.estimate import mean
from resnet_sde.propagate import Dropout
from resnet_sde.streams import stream

WHITE = rs.WhiteNoise()
ONE, TWO = rs.SingleLayer(rs.RELU, 1.5, 0.3), rs.TwoLayer(rs.TANH, 1.5, 0.2, 0.8, 0.1)
BIASED = {"outer": (1.5, 0.3)}, {"inner": (1.5, 0.2), "outer": (0.8, 0.1)}
PADDED = {"periodic": "circular", "zero": "constant"}
every_shape = pytest.mark.parametrize("positions", [(5,), (4, 3)], ids=str)
every_padding = pytest.mark.parametrize("padding", PADDED)


def plain(block: rs.Convolution, h: Tensor, layer: rs.Layer) -> Tensor:
    """The branch by torch's own convolutions of images, network by network."""
    axes = len(block.positions)
    image = h.unflatten(-1, (-1, *block.positions))
    for name, (weight, bias) in BIASED[isinstance(block.block, rs.TwoLayer)].items():
        image = block.activation(image) if name == "outer" else image
        channels, reach = image.shape[2], block.kernel // 2
        outs = []
        for x, entries in zip(image, layer[name].entries, strict=True):
            fan_in = len(entries) - 1
            kernels = entries[:-1].T.reshape(-1, channels, *[block.kernel] * axes) * (weight / fan_in) ** 0.5
            around = pad(x, [reach] * (2 * axes), mode=PADDED[block.padding])
            outs.append((conv1d, conv2d)[axes - 1](around, kernels, entries[-1] * bias**0.5))
        image = torch.stack(outs)
    return image.reshape(h.shape)


@every_shape
@every_padding
@pytest.mark.parametrize("inside", [ONE, TWO], ids=["one", "two"])
def test_loops_are_those_of_torch(inside: rs.Block, positions: tuple[int, ...], padding: str) -> None:
    """States, gradients, and norms and products of the gradients of kernels and biases."""
    block, samples, depth = rs.Convolution(inside, positions, 3, padding), 2, 3
    width = 2 * block.sharing
    h, top = (torch.randn(samples, 2, width, generator=rs.generator(0, name)) for name in "ht")
    layers = rs.Model(block, WHITE, width, beta=0.5).draw(depth, samples=samples).layers(depth)
    found = rs.trajectory(block, h, layers, 0.7, top=top, parameters=True, tangents=True)
    for layer in layers:
        _ = [matrix.entries.requires_grad_() for matrix in layer.matrices.values()]
    state = start = h.clone().requires_grad_()
    for layer in layers:
        state = state + 0.7 * plain(block, state, layer)
    (expected,) = torch.autograd.grad(state, start, top, retain_graph=True)
    assert found.adjoint is not None
    assert found.parameters is not None
    assert found.tangents is not None
    torch.testing.assert_close(found.hidden.natural(-1), state.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.adjoint.natural(0), expected, rtol=1e-12, atol=1e-12)
    end = rs.forward(block, start, layers, 0.7)[-1]
    by_autograd = torch.autograd.grad(end, start, top, retain_graph=True)[0]
    torch.testing.assert_close(by_autograd, expected, rtol=1e-12, atol=1e-12)
    for name in layers[0].matrices:
        entries = [layer[name].entries for layer in layers]
        one, other = (
            torch.stack(torch.autograd.grad(state[:, i], entries, top[:, i], retain_graph=True))
            for i in (0, 1)
        )
        for part, rows in ((name, slice(-1)), (f"{name}_bias", slice(-1, None))):
            norms = torch.stack([found.parameters[part].natural(k)[:, 0, 0] for k in range(depth)])
            torch.testing.assert_close(norms, one[:, :, rows].norm(dim=(2, 3)), rtol=1e-10, atol=0)
            product = torch.stack([found.tangents[part].natural(k)[:, 0, 1] for k in range(depth)])
            expected = (one * other)[:, :, rows].sum((2, 3))
            torch.testing.assert_close(product, expected, rtol=1e-9, atol=1e-10)


@dataclass(frozen=True)
class Gate(rs.Block):
    """One of one's own, with matrices of other shapes."""

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"gate": (width, 3), "value": (width, 3), "outer": (3, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        size = h.shape[-1] ** -0.5
        gated = torch.tanh(layer["gate"].matvec(h, size)) * layer["value"].matvec(h, size)
        return layer["outer"].matvec(gated, 3**-0.5)


@dataclass(frozen=True)
class Wrong(Gate):
    """With an adjoint that is 2 % off."""

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        return 1.02 * super().adjoint(h, p, layer)


@pytest.mark.parametrize("width", [24, 600])  # a block is asked at 512 at most, and 512 is not made of 3
@pytest.mark.parametrize("normalized", [False, True])
def test_what_is_inside_is_checked(normalized: bool, width: int) -> None:
    def gradients(inside: rs.Block) -> Tensor:
        block: rs.Block = rs.PreNorm(inside) if normalized else rs.Convolution(inside, 3)
        model, x = rs.Model(block, WHITE, width, beta=0.5), torch.eye(2)
        return rs.simulate(model, x, depth=2, samples=2, observe=[ob.gradient_growth])["gradient_growth"]

    assert bool((gradients(Gate()) > 0).all())
    with pytest.raises(ValueError, match=r"is not .∂ V g / ∂h.ᵀ p as autograd finds it"):
        gradients(Wrong())


SILU = rs.activation("silu")
INSIDE = [ONE, TWO, rs.Reduced(rs.TANH), rs.GatedLinearUnit(SILU, expansion=1.5), Gate(), rs.PreNorm(TWO)]


@pytest.mark.parametrize("inside", INSIDE, ids=lambda block: type(block).__name__)
@pytest.mark.parametrize("normalized", [False, True])
def test_any_block_is_convolved(inside: rs.Block, normalized: bool) -> None:
    """With gradients by our own formula and by autograd, and in revealed matrices of the same law."""
    block: rs.Block = rs.Convolution(inside, (2, 2), padding="zero")
    block = rs.PreNorm(block) if normalized else block
    h, p = (torch.randn(3, 2, 8, generator=rs.generator(0, name)) for name in "hp")
    model = rs.Model(block, WHITE, 8, beta=0.5)
    (layer,) = model.draw(1, samples=3).layers(1)
    branch, pre = block._branch_and_pre(h, layer)
    torch.testing.assert_close(branch, block.branch(h, layer), rtol=1e-12, atol=1e-12)
    back = block._adjoint_at(pre, p, layer)
    torch.testing.assert_close(back, block.adjoint(h, p, layer), rtol=1e-11, atol=1e-11)
    x, watched = torch.eye(2, dtype=torch.float32), [ob.kernel, ob.log10_gradient_growth]
    both = [
        rs.simulate(model, x, depth=4, samples=400, observe=watched, method=method)
        for method in ("dense", "deferred")
    ]
    for name in ("kernel", "log10_gradient_growth"):
        first, second = (out[name].flatten(1)[:, 0].double() for out in both)
        apart = float(first.mean() - second.mean())
        assert abs(apart) < 5 * math.sqrt(float(first.var() + second.var()) / 400), "one in a million"


def covariance(h: Tensor, positions: int) -> Tensor:
    v = h.unflatten(-1, (-1, positions))
    return torch.einsum("sacp,sbcr->sapbr", v, v) / v.shape[2]


def start_of(inputs: int, positions: int) -> Tensor:
    a = torch.randn(inputs * positions, 2 * inputs * positions, generator=rs.generator(0, "start"))
    return (a @ a.T / a.shape[1]).view(inputs, positions, inputs, positions)


def block_of(variance: float, padding: str, positions: tuple[int, ...]) -> rs.Convolution:
    two = rs.TwoLayer(rs.TANH, 1.5, 0.2, variance, 0.1)
    return rs.Convolution(
        two if len(positions) == 1 else rs.SingleLayer(rs.RELU, variance, 0.3), positions, 3, padding
    )


@pytest.mark.parametrize(
    ("padding", "positions", "room"),
    [("zero", (4,), 1.0), ("periodic", (3, 2), 3.0)],
    ids=["zero", "periodic"],
)
@pytest.mark.parametrize("channels", [8, 16, 32])
def test_networks_agree_with_their_mean_field(
    padding: str, positions: tuple[int, ...], room: float, channels: int
) -> None:
    """States and gradients, within intervals of 1e-5 and of finitely many channels.

    Looked at is the sum over pairs of positions that shows each control best: a variance that is 5 % larger,
    and the other padding.
    """
    samples, block = 1200, block_of(1.5, padding, positions)
    places = block.sharing
    k0 = start_of(1, places)
    model = model_of(block, channels)
    root = torch.linalg.cholesky(k0.reshape(places, -1))
    z = torch.randn(samples, channels, places, generator=rs.generator(1, "channels")) @ root.T
    top = torch.randn(samples, 1, model.width, generator=rs.generator(1, "top")).float()
    layers = model.draw(DEPTH, samples=samples, dtype=torch.float32).layers(DEPTH)
    found = rs.trajectory(block, z.reshape(samples, 1, -1).float(), layers, model.alpha(DEPTH), top=top)
    assert found.adjoint is not None
    seen = [covariance(h, places) for h in (found.hidden.natural(-1), found.adjoint.natural(0))]
    expected, noticed = theory(block, k0), []
    for other in (block_of(1.575, padding, positions), block_of(1.5, *PADDED.keys() - {padding}, positions)):
        for measured, ours, wrong in zip(seen, expected, theory(other, k0), strict=True):
            off = upper(measured) - upper(ours)
            change = upper(wrong) - upper(ours)
            along = torch.linalg.solve(torch.cov(off.T), change)
            along = along / along.norm()
            interval = mean(off @ along, level=1 - 1e-5)
            low, high = interval.low - room / channels, interval.high + room / channels
            assert low < 0 < high
            noticed.append(not low < float(change @ along) < high)
    assert channels < 32 or (noticed[0] and all(noticed[2:])), "controls that would not be noticed"


def upper(covariances: Tensor) -> Tensor:
    """The pairs of positions of one input."""
    rows, columns = torch.triu_indices(*covariances.shape[-1:] * 2)
    return covariances[..., 0, :, 0, :][..., rows, columns].double()


DEPTH = 4


def model_of(block: rs.Block, channels: int = 4) -> rs.Model:
    return rs.Model(block, WHITE, channels * block.sharing, beta=0.5, gain=2.0)


def theory(block: rs.Block, k0: Tensor) -> tuple[Tensor, Tensor]:
    model = model_of(block)
    return (
        mf.convolution_kernel(model, k0, depth=DEPTH)[-1],
        mf.convolution_gradients(model, k0, depth=DEPTH)[0],
    )


def circulant(numbers: Tensor) -> Tensor:
    """The covariance of one input that depends on how far apart positions are."""
    places = torch.arange(len(numbers))
    return numbers[(places - places[:, None]) % len(numbers)][None, :, None]


NUMBERS = torch.tensor([1.3, 0.7, 0.2, 0.1, 0.2, 0.7], dtype=torch.float64)


@pytest.mark.parametrize("inside", [ONE, TWO, rs.Reduced(rs.TANH, 1.4)], ids=str)
def test_what_is_the_same_everywhere_moves_as_without_convolutions(inside: rs.Block) -> None:
    """And a mode e^{iθp} of the covariances at one distance changes by λ² + α² λ(θ)^n Φ' in a layer of n
    convolutions, where Φ' is the slope of the dual at that distance."""
    block, depth = rs.Convolution(inside, (6,), 3), 5
    model = rs.Model(block, WHITE, 12, beta=0.5, gain=1.3, skip=0.9)
    start = circulant(NUMBERS)
    found = mf.convolution_kernel(model, start, depth=depth)
    plain = mf.kernel(rs.Model(inside, WHITE, 12, beta=0.5, gain=1.3, skip=0.9), start[0, :, 0], depth=depth)
    torch.testing.assert_close(found[:, 0, :, 0], plain, rtol=1e-10, atol=1e-10)
    distance, step, places = 2, 1e-6, torch.arange(6)
    for wave in (1, 2, 3):
        theta = 2 * math.pi * wave / 6
        mode = torch.zeros(6, 6, dtype=torch.float64)
        mode[places, (places + distance) % 6] = torch.cos(theta * places).double()
        mode = (mode + mode.T)[None, :, None]
        ahead, behind = (mf.convolution_kernel(model, start + e * mode, depth=depth) for e in (step, -step))
        sizes = ((ahead - behind) / (2 * step) * mode).sum((1, 2, 3, 4)) / mode.square().sum()
        of_offsets = (1 + 2 * math.cos(theta)) / 3
        q, near = plain[:-1, 0, 0], plain[:-1, 0, distance]
        slope = inside.dual_prime(q, q, gap=1 - near / q)
        factor = 0.81 + model.alpha(depth) ** 2 * of_offsets ** len(inside.shapes(2)) * slope
        torch.testing.assert_close(sizes[1:] / sizes[:-1], factor, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("block", [block_of(1.5, "zero", (3,)), block_of(1.5, "periodic", (2, 2))], ids=str)
def test_depth_tends_to_its_flow(block: rs.Convolution) -> None:
    """With an error that is halved as the depth doubles."""
    model, k0 = rs.Model(block, WHITE, 12, gain=1.3), start_of(2, block.sharing)
    flow = mf.convolution_flow(model, k0, [0.0, 0.5, 1.0])
    torch.testing.assert_close(flow[0], k0.double(), rtol=1e-12, atol=1e-12)
    errors = [
        float((mf.convolution_kernel(model, k0, depth=depth)[:: depth // 2] - flow).abs().amax())
        for depth in (32, 64)
    ]
    assert 1.8 < errors[0] / errors[1] < 2.2
    assert 0 < errors[1] < 0.1


def test_inputs_of_simulate_have_independent_positions() -> None:
    block = rs.PreNorm(rs.Convolution(rs.GatedLinearUnit(SILU, 1.5, 0.7, 1.2), (4,), padding="zero"))
    model = rs.Model(block, WHITE, 32 * 4)
    x = torch.tensor([[1.0, 0.5], [0.0, 2.0]])
    out = rs.simulate(model, x, depth=4, samples=300, observe=[ob.kernel])["kernel"]
    expected = mf.convolution_kernel(model, x @ x.T / 2, depth=4)[-1].diagonal(dim1=1, dim2=3).mean(-1)
    for i, j in ((0, 0), (0, 1), (1, 1)):
        interval = mean(out[:, i, j], level=1 - 1e-5)
        assert interval.low - 2 / 32 < float(expected[i, j]) < interval.high + 2 / 32


@pytest.mark.parametrize("law", [WHITE, rs.FractionalNoise(0.9), rs.SmoothNoise(0.3)], ids=str)
@pytest.mark.parametrize("inside", [ONE, TWO, rs.TwoLayer(rs.RELU)], ids=str)
def test_exponents_are_how_branches_add_up(inside: rs.Block, law: rs.PathLaw) -> None:
    block = rs.Convolution(inside, (4,))
    beta = block.critical_beta(law)
    assert beta is not None
    assert wrong_scaling(block, law, 16, beta) is None
    assert wrong_scaling(block, law, 16, beta + 0.7) is not None


def test_homogeneous_branches_are_carried_at_any_scale() -> None:
    block = rs.Convolution(ONE, (2, 2), padding="zero")
    h = torch.randn(2, 2, 8, generator=rs.generator(0, "h"))
    (layer,) = rs.Model(block, WHITE, 8, beta=0.5).draw(1, samples=2).layers(1)
    unit = torch.exp2(torch.tensor([[-3.0, 5.0], [2.0, 0.0]]))[..., None]
    scaled = block._branch_and_pre(h * unit, layer, unit)[0]
    torch.testing.assert_close(scaled, unit * block.branch(h, layer), rtol=1e-12, atol=0)


def test_refusals() -> None:
    for wrong, message in (
        ({"positions": ()}, "one to three numbers"),
        ({"positions": (2, 0)}, "positions must be a positive integer"),
        ({"positions": (1, 1)}, "two positions or more"),
        ({"positions": "8"}, "positions must be a positive integer"),
        ({"positions": 4, "kernel": 4}, "kernel must be odd"),
        ({"positions": 4, "padding": "same"}, "periodic, zero"),
        ({"positions": 4, "block": rs.Convolution(TWO, 4)}, "has positions already"),
        ({"positions": 4, "block": rs.RELU}, "must be a Block"),
    ):
        with pytest.raises(ValueError, match=message):
            rs.Convolution(**{"block": TWO, **wrong})
    block = rs.Convolution(TWO, 4)
    model, h = rs.Model(block, WHITE, 8), torch.ones(1, 1, 8)
    behind = rs.Model(rs.PreNorm(block), WHITE, 8)
    layers = model.draw(2, samples=1).layers(2)
    own, k0 = rs.Model(rs.Convolution(Gate(), 4), WHITE, 8, beta=0.5), torch.eye(1)
    shifted = rs.Model(rs.Convolution(rs.Reduced(rs.RELU), 4), WHITE, 8)
    for ask, message in (
        (lambda: rs.Model(block, WHITE, 10), "not made of 4 positions"),
        (lambda: rs.forward(block, torch.ones(1, 1, 10), layers, 0.5), "not made of 4 positions"),
        (lambda: rs.trajectory(block, h, layers, 0.5, dropout=Dropout(0.5, stream(0))), "meet 4; leave it"),
        (lambda: mf.lengths(model, depth=3), "use meanfield.convolution_kernel"),
        (lambda: mf.gaps(behind, depth=3), "use meanfield.convolution_kernel"),
        (lambda: mf.flow(model), "use meanfield.convolution_kernel"),
        (lambda: mf.two_time(behind, depth=3), "use meanfield.convolution_kernel"),
        (lambda: mf.tangent_kernel(model, k0, depth=3), "use meanfield.convolution_kernel"),
        (lambda: block.dual(h, h, gap=h), "use meanfield.convolution_kernel"),
        (lambda: rs.networks.ResNet(model, 3, 4, 2, seed=0), "networks that are trained have"),
        (lambda: mf.convolution_kernel(rs.Model(TWO, WHITE, 8), k0, depth=3), "use meanfield.kernel"),
        (lambda: mf.convolution_kernel(own, k0, depth=3), "not of Gate"),
        (lambda: mf.convolution_kernel(shifted, k0, depth=3), "give an odd activation"),
        (lambda: mf.convolution_kernel(rs.Model(block, rs.SmoothNoise(0.3), 8), k0, depth=3), "independent"),
        (lambda: mf.convolution_kernel(model, torch.eye(3)[None, :, None], depth=3), "with 4 positions"),
        (lambda: mf.convolution_kernel(model, -k0, depth=3), "positive diagonal"),
        (lambda: mf.convolution_flow(rs.Model(block, WHITE, 8, beta=0.0), k0, [1.0]), "beta 1/2"),
        (lambda: mf.convolution_flow(model, k0, [0.5, 0.5]), "times must increase"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)
