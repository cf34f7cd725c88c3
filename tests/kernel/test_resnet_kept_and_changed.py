"""A `ResNet` in other arithmetic, copied, kept, pruned, parametrized, and with blocks of one's own."""

import copy
import io
import pickle
from dataclasses import dataclass

import pytest
import torch
from plain_resnet import (
    ALL,
    BLOCKS,
    DEPTH,
    INPUTS,
    N_IN,
    N_OUT,
    WIDTH,
    Doubled,
    Plain,
    assert_same,
    both,
    inputs,
    model,
    network,
)
from torch import Tensor
from torch.func import jacrev, vmap
from torch.nn.utils import parametrize, prune
from torch.utils.checkpoint import checkpoint

import resnet_sde as rs
from resnet_sde.networks import ReadInOut, ResNet, StackedResNets

# Other arithmetic


@both
def test_autocast(block: rs.Block) -> None:
    """bfloat16 products: near the numbers of float32, gradients too, and those of plain operations."""
    net = network(block).float()
    reference, x = Plain(net).float(), inputs().float()
    exact = net(x)
    exact_gradients = torch.autograd.grad(exact.square().sum(), list(net.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = net(x), reference(x)
        with torch.no_grad():
            assert_same(net(x).float(), found.float().detach(), 0.03)
    assert found.dtype == torch.bfloat16
    assert not torch.equal(found.float(), exact)
    assert (found.float() - exact).norm() < 0.03 * exact.norm()
    assert (expected.float() - exact).norm() < 0.03 * exact.norm()
    gradients = torch.autograd.grad(found.float().square().sum(), list(net.parameters()))
    for one, other in zip(gradients, exact_gradients, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.05 * other.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@both
def test_half_precision(block: rs.Block, dtype: torch.dtype) -> None:
    net = network(block)
    x, exact = inputs(), net(inputs())
    exact_gradients = torch.autograd.grad(exact.square().sum(), list(net.parameters()))
    half = copy.deepcopy(net).to(dtype)
    found = half(x.to(dtype))
    assert found.dtype == dtype
    assert (found.double() - exact).norm() < 0.03 * exact.norm()
    gradients = torch.autograd.grad(found.square().sum(), list(half.parameters()))
    for one, other in zip(gradients, exact_gradients, strict=True):
        assert (one.double() - other).norm() < 0.06 * other.norm()
    assert_same(half.double()(x), net(x), 0.05)


def test_a_compiler_may_follow() -> None:
    net, x = network(), inputs()
    compiled = torch.compile(net, backend="aot_eager")
    found, expected = compiled(x), net(x)
    assert_same(found, expected)
    gradients = [torch.autograd.grad(end.square().sum(), list(net.parameters())) for end in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        assert_same(one, other)


def test_tracing_and_checkpointing() -> None:
    net, x = network(), inputs().requires_grad_()
    expected = torch.autograd.grad(net(x).square().sum(), [x, *net.parameters()])
    for again in (False, True):
        end = checkpoint(net, x, use_reentrant=again)
        found = torch.autograd.grad(end.square().sum(), [x]) if not again else None
        if found is None:
            net.zero_grad()
            end.square().sum().backward()
            assert_same(x.grad, expected[0])
        else:
            assert_same(found[0], expected[0])
    with torch.autograd.graph.save_on_cpu():
        end = net(x)
    for one, other in zip(
        torch.autograd.grad(end.square().sum(), [x, *net.parameters()]), expected, strict=True
    ):
        assert_same(one, other)


def test_inference_mode_leaves_nothing_behind() -> None:
    net, x = network(), inputs()
    expected = net(x)
    with torch.inference_mode():
        assert_same(net(x), expected.detach())
        with torch.enable_grad():
            assert_same(net(x), expected.detach())
    net(x).square().sum().backward()
    assert net.outer.grad.abs().max() > 0


# As modules are kept, copied and changed


def test_copies() -> None:
    net, x = network(), inputs()
    net(x).sum().backward()
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    other = network(seed=9)
    other.load_state_dict(net.state_dict())
    for twin in (
        copy.deepcopy(net),
        copy.copy(net),
        pickle.loads(pickle.dumps(net)),
        torch.load(buffer, weights_only=False),
        other,
    ):
        assert torch.equal(twin(x), net(x))
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin.outer.add_(1.0)
    assert not torch.allclose(twin(x), net(x))


def test_copies_share_no_memory_of_passes() -> None:
    net, x = network(), inputs()
    twin, expected = (
        copy.deepcopy(net),
        torch.autograd.grad(net(inputs()).square().sum(), list(net.parameters())),
    )
    end = net(x)
    twin(2 * x).sum().backward()
    for one, other in zip(
        torch.autograd.grad(end.square().sum(), list(net.parameters())), expected, strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["embed", "inner", "inner_bias", "outer", "outer_bias", "readout"])
def test_parameters_that_are_functions_of_others(name: str) -> None:
    net, x = network(), inputs()
    with torch.no_grad():
        net.get_parameter(name).add_(0.1)
    expected = copy.deepcopy(net)
    with torch.no_grad():
        expected.get_parameter(name).mul_(2)
    parametrize.register_parametrization(net, name, Doubled())
    assert_same(net(x), expected(x))
    net(x).square().sum().backward()
    expected(x).square().sum().backward()
    found = net.parametrizations[name].original.grad
    assert_same(found, 2 * expected.get_parameter(name).grad)


def test_pruning_and_shared_weights(global_random: None) -> None:
    net, x = network(BLOCKS["res-2"], biases=False), inputs()
    zeroed, shared = copy.deepcopy(net), copy.deepcopy(net)
    with torch.no_grad():
        zeroed.outer.zero_()
        zeroed.embed.copy_(net.embed)
    prune.random_unstructured(net, "outer", amount=DEPTH * WIDTH * WIDTH)
    assert_same(net(x), zeroed(x))
    shared.inner = shared.outer
    twin = copy.deepcopy(zeroed)
    with torch.no_grad():
        twin.outer.copy_(shared.outer)
        twin.inner.copy_(shared.outer)
    assert_same(shared(x), twin(x))
    shared(x).square().sum().backward()
    twin(x).square().sum().backward()
    assert_same(shared.outer.grad, twin.outer.grad + twin.inner.grad)


def test_what_was_removed() -> None:
    net, x = network(), inputs()
    zero = copy.deepcopy(net)
    with torch.no_grad():
        zero.outer_bias.zero_()
        zero.readout_bias.zero_()
    net.outer_bias = net.readout_bias = None
    assert_same(net(x), zero(x))
    net.outer = None
    with pytest.raises(ValueError, match="parameter outer was removed"):
        net(x)


def test_inputs_have_any_axes_before_the_last() -> None:
    net, x = network(), inputs(2, INPUTS, N_IN)
    expected = torch.stack([net(part) for part in x])
    assert_same(net(x), expected)
    assert_same(net(x[0, 0]), expected[0, 0])
    assert_same(vmap(net)(x[0]), expected[0])
    assert net(x[:, :0]).shape == (2, 0, N_OUT)


@pytest.mark.parametrize("shape", [(N_IN,), (1, INPUTS, N_IN), (2, 2, INPUTS, N_IN)], ids=str)
def test_a_stack_takes_inputs_for_all_or_for_each(shape: tuple[int, ...]) -> None:
    stack = StackedResNets([model()] * 2, DEPTH, N_IN, N_OUT, seeds=[0, 1])
    assert stack(inputs(2, INPUTS, N_IN)).shape == stack(inputs()).shape == (2, INPUTS, N_OUT)
    with pytest.raises(ValueError, match="a stack of 2 networks takes inputs"):
        stack(inputs(*shape))


def test_a_stack_under_transforms() -> None:
    stack, x = StackedResNets([model()] * 2, DEPTH, N_IN, N_OUT, seeds=[0, 1]), inputs()
    alone = [network(seed=seed, biases=False) for seed in (0, 1)]
    found = jacrev(stack)(x[:1])
    for i, net in enumerate(alone):
        assert_same(found[i], jacrev(net)(x[:1]))
    loss = stack(x).square().sum()
    for _ in "ab":
        stack.zero_grad()
        loss.backward(retain_graph=True)
        for i, net in enumerate(alone):
            (expected,) = torch.autograd.grad(net(x).square().sum(), net.outer)
            assert_same(stack.outer.grad[i], expected)


def test_without_an_input_layer_inputs_may_change_in_place_only_if_noticed() -> None:
    read_in_out = ReadInOut(embed_w2=None)
    net = ResNet(model(), DEPTH, WIDTH, N_OUT, read_in_out=read_in_out)
    x = inputs(INPUTS, WIDTH)
    loss = net(x).square().sum()
    x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# Activations and blocks of one's own


@dataclass(frozen=True)
class Cubic(rs.Activation):
    """φ(x) = x³ / 3, with something wrong."""

    fault: str = ""

    def __call__(self, x: Tensor) -> Tensor:
        if self.fault == "in place":
            return x.pow_(3).div_(3)
        if self.fault == "not pointwise":
            return x**3 / 3 - (x**3 / 3).mean()
        if self.fault == "dtype":
            return (x**3 / 3).float()
        return torch.from_numpy(x.detach().numpy() ** 3 / 3) if "numpy" in self.fault else x**3 / 3

    def prime(self, x: Tensor) -> Tensor:
        return x if "prime" in self.fault else x.square()


@dataclass(frozen=True)
class Steep(type(rs.TANH)):  # type: ignore[misc]
    """φ(x) = tanh(2x), a kind of tanh to isinstance."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(2 * x)

    def prime(self, x: Tensor) -> Tensor:
        return 2 * (1 - torch.tanh(2 * x).square())


@pytest.mark.parametrize("phi", [Cubic(), Steep(), rs.LeakyReLU(0.3), rs.AlphaReLU(0.75), rs.LINEAR], ids=str)
def test_activations_of_any_kind(phi: rs.Activation) -> None:
    net = network(rs.TwoLayer(phi, **ALL))
    reference, x = Plain(net), inputs()
    found, expected = (
        torch.autograd.grad(f(x).square().sum(), list(f.parameters())) for f in (net, reference)
    )
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other, 1e-7)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("prime", "prime of activation Cubic is not its derivative"),
        ("numpy prime", "derivative of"),
        ("in place", "writes into what it is given"),
        ("not pointwise", "not elementwise"),
        ("dtype", r"returned .* torch.float32; it must return .* torch.float64"),
    ],
)
def test_activations_that_are_refused(fault: str, message: str) -> None:
    for make in (network, lambda block: StackedResNets([model(block)], DEPTH, N_IN, N_OUT, seeds=[0])):
        with pytest.raises(ValueError, match=message):
            make(rs.TwoLayer(Cubic(fault)))


def test_an_activation_that_autograd_cannot_follow_is_followed_by_its_derivative() -> None:
    found, expected = (
        torch.autograd.grad(net(inputs()).square().sum(), list(net.parameters()))
        for net in (network(rs.TwoLayer(Cubic(fault))) for fault in ("numpy", ""))
    )
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@dataclass(frozen=True)
class Normalized(rs.TwoLayer):
    """V φ(W h / rms(h)): a branch of one's own that says nothing of it elsewhere."""

    def branch(self, h: Tensor, layer: object) -> Tensor:
        return super().branch(h / h.square().mean(-1, keepdim=True).sqrt(), layer)


@dataclass(frozen=True)
class Gated(rs.TwoLayer):
    """A third matrix."""

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {**super().shapes(width), "gate": (width, width)}


@dataclass(frozen=True)
class Named(rs.TwoLayer):
    """The same branch under another name."""


@pytest.mark.parametrize("block", [Normalized(rs.TANH), Gated(rs.TANH), rs.RELU, None], ids=str)
def test_blocks_that_are_not_those_of_the_layers_are_refused(block: object) -> None:
    of = model()
    object.__setattr__(of, "block", block)
    for make in (
        lambda: ResNet(of, DEPTH, N_IN, N_OUT),
        lambda: StackedResNets([of], DEPTH, N_IN, N_OUT, seeds=[0]),
    ):
        with pytest.raises(ValueError, match=r"the branch of|no block with an activation"):
            make()


def test_blocks_of_ones_own_with_the_same_branch_are_taken() -> None:
    fields = {"sigma_w2": 1.3, "sigma_b2": 0.4, "sigma_v2": 0.8, "sigma_a2": 0.2}
    own, known = (network(kind(rs.TANH, **fields)) for kind in (Named, rs.TwoLayer))
    assert torch.equal(own(inputs()), known(inputs()))
