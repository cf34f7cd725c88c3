"""A `ResNet` under every kind of derivative: the numbers are those of plain operations."""

import pytest
import torch
from plain_resnet import (
    BLOCKS,
    INPUTS,
    N_IN,
    N_OUT,
    Plain,
    assert_same,
    both,
    inputs,
    masks_for,
    network,
    of_both,
)
from torch import Tensor, nn
from torch.autograd import functional
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import resnet_sde as rs
from resnet_sde.networks.residual import Layers

# torch uses it itself when it loads its formulas of forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


@both
@of_both
@pytest.mark.parametrize("dropout", [False, True], ids=["whole", "dropout"])
def test_first_and_second_derivatives_are_those_of_differences(
    block: rs.Block, skip: float, dropout: bool, global_random: None
) -> None:
    """gradcheck and gradgradcheck: in the inputs and in every parameter, by finite differences."""
    net = network(block, skip)
    names, values = zip(*net.named_parameters(), strict=True)
    x = inputs(2, N_IN).requires_grad_()
    masks = masks_for(x.detach()) if dropout else None

    def f(y: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))
        return functional_call(net, given, (y,), {"masks": masks})

    moved = [(v.detach() + 0.05 * inputs(*v.shape)).requires_grad_() for v in values]
    fast = {"fast_mode": True}
    assert torch.autograd.gradcheck(f, (x, *moved), **fast)
    assert torch.autograd.gradgradcheck(f, (x, *moved), **fast)


def test_finite_differences_see_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """α forgotten in the gradient of one bias, and only there."""
    down = Layers.down

    def planted(self: Layers, p: Tensor, alpha: Tensor, *rest: object) -> object:
        at_h, found = down(self, p, alpha, *rest)
        return at_h, found._replace(outer_bias=found.outer_bias / alpha[:, 0])

    monkeypatch.setattr(Layers, "down", planted)
    net, x = network(), inputs(2, N_IN)
    bias = net.outer_bias.detach().clone().requires_grad_()
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda b: functional_call(net, {"outer_bias": b}, (x,)), (bias,))


@both
def test_jacobians_of_every_kind(block: rs.Block) -> None:
    net = network(block)
    x, one = Plain(net), inputs(N_IN)
    expected = functional.jacobian(x, one)
    assert expected.abs().max() > 0.01
    for found in (
        functional.jacobian(net, one),
        functional.jacobian(net, one, vectorize=True),
        functional.jacobian(net, one, vectorize=True, strategy="forward-mode"),
        functional.jacobian(net, one, create_graph=True).detach(),
        jacrev(net)(one),
        jacfwd(net)(one),
        vmap(jacrev(net))(one[None])[0],
    ):
        assert_same(found, expected)


@both
@of_both
def test_hessians_and_products(block: rs.Block, skip: float) -> None:
    net = network(block, skip)
    reference, x, v = Plain(net), inputs(N_IN), inputs(N_IN, 1)[:, 0]

    def of(f: nn.Module):
        return lambda y: f(y).square().sum()

    expected = functional.hessian(of(reference), x)
    assert_same(functional.hessian(of(net), x), expected)
    assert_same(hessian(of(net))(x), expected)
    assert_same(functional.vhp(of(net), x, v)[1], v @ expected)
    assert_same(functional.hvp(of(net), x, v)[1], expected @ v)
    assert_same(jvp(net, (x,), (v,)), jvp(reference, (x,), (v,)))
    assert_same(functional.jvp(net, x, v), functional.jvp(reference, x, v))
    top = inputs(N_OUT, 1)[:, 0]
    assert_same(vjp(net, x)[1](top), vjp(reference, x)[1](top))


def test_gradients_of_single_examples() -> None:
    net, x, y = network(), inputs(), inputs(INPUTS, N_OUT)

    def loss(parameters: dict[str, Tensor], f: nn.Module, one: Tensor, target: Tensor) -> Tensor:
        return (functional_call(f, parameters, (one,)) - target).square().sum()

    found, expected = (
        vmap(grad(loss), in_dims=(None, None, 0, 0), randomness="error")(
            {k: v.detach() for k, v in f.named_parameters()}, f, x, y
        )
        for f in (net, Plain(net))
    )
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.shape[0] == INPUTS
        assert_same(value, expected[name])


def test_ensembles_by_vmap() -> None:
    nets = [network(seed=seed) for seed in range(3)]
    parameters, buffers = torch.func.stack_module_state(nets)
    x = inputs()
    found = vmap(lambda p, b: functional_call(nets[0], (p, b), (x,)))(parameters, buffers)
    for one, net in zip(found, nets, strict=True):
        assert_same(one, net(x))


def test_a_penalty_on_the_gradient_is_trained_right() -> None:
    """Double backward in a loss, as in gradient penalties."""
    net = network()
    found = []
    for f in (net, Plain(net)):
        x = inputs().requires_grad_()
        (slope,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        loss = f(x).square().mean() + slope.square().mean()
        found.append(torch.autograd.grad(loss, list(f.parameters())))
    for one, other in zip(*found, strict=True):
        assert_same(one, other)


def test_two_passes_backward_through_one_forward() -> None:
    net = network()
    loss = net(inputs()).square().sum()
    twice = [torch.autograd.grad(loss, list(net.parameters()), retain_graph=True) for _ in "ab"]
    expected = torch.autograd.grad(
        Plain(net)(inputs()).square().sum() * 0, [inputs().requires_grad_()], allow_unused=True
    )
    assert expected == (None,)
    assert all(torch.equal(a, b) for a, b in zip(*twice, strict=True))
    loss.backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(twice[0], net.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_passes_that_wait_keep_their_states() -> None:
    """Graphs that are kept, dropped and run in any order, with other passes between; also of two losses."""
    net, reference = network(), None
    reference = Plain(net)
    xs = [inputs(INPUTS, N_IN) * scale for scale in (1.0, 2.0, 3.0)]
    ends = [net(x) for x in xs]
    del ends[1]
    net(xs[1]).sum().backward()
    net.zero_grad()
    for i, x in ((1, xs[2]), (0, xs[0])):
        for _ in "ab":
            found = torch.autograd.grad(ends[i].square().sum(), list(net.parameters()), retain_graph=True)
            expected = torch.autograd.grad(reference(x).square().sum(), list(reference.parameters()))
            for one, other in zip(found, expected, strict=True):
                assert_same(one, other)


def test_memory_of_a_pass_comes_back_when_its_graph_goes() -> None:
    net = network()
    pool = net._layers.pool

    def free() -> int:
        return sum(map(len, pool.free.values()))

    end = net(inputs())
    assert free() == 0
    end.sum().backward(retain_graph=True)
    assert free() == 0
    del end
    assert free() == 2  # states and pre-activations
    buffers = {id(t) for each in pool.free.values() for t in each}
    end = net(inputs())
    assert free() == 0
    del end
    assert {id(t) for each in pool.free.values() for t in each} == buffers


@pytest.mark.parametrize("name", ["alpha", "masks"])
def test_gradients_at_what_is_usually_constant(name: str) -> None:
    """A learned residual scale; masks that are functions of something."""
    net, x = network(), inputs()
    reference, masks = Plain(net), masks_for(x)
    found = []
    for f in (net, reference):
        m = masks.clone().requires_grad_(name == "masks")
        alpha = f.alpha.clone().requires_grad_(name == "alpha")
        f.alpha = alpha
        wanted = {"alpha": alpha, "masks": m}[name]
        found.append(torch.autograd.grad(f(x, masks=m).square().sum(), wanted)[0])
    assert found[1].abs().max() > 1e-3
    assert_same(*found)


def test_weights_that_are_functions_of_the_inputs_and_of_each_other() -> None:
    """Second derivatives do not count a path twice that leads from the inputs through the weights."""
    net = network(BLOCKS["res-2"], biases=False)
    reference, x = Plain(net), inputs(N_IN)
    start = {name: value.detach() for name, value in net.named_parameters()}

    def f(y: Tensor, of: nn.Module) -> Tensor:
        inner = start["inner"] * y.sum()
        given = {**start, "inner": inner, "outer": start["outer"] + inner.square()}
        return functional_call(of, given, (y[None],)).square().sum()

    for derivative in (functional.jacobian, functional.hessian):
        assert_same(derivative(lambda y: f(y, net), x), derivative(lambda y: f(y, reference), x))


def test_parts_that_are_frozen() -> None:
    net = network()
    net.inner.requires_grad_(False)
    net.embed.requires_grad_(False)
    reference = Plain(net)
    for f in (net, reference):
        f(inputs()).square().sum().backward()
    assert net.inner.grad is None
    for name, value in net.named_parameters():
        if value.requires_grad:
            assert_same(value.grad, reference.get_parameter(name).grad)


def test_a_weight_that_was_changed_in_place_is_noticed() -> None:
    net = network()
    loss = net(inputs()).square().sum()
    with torch.no_grad():
        net.outer.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
