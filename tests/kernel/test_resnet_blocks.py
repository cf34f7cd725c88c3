"""The blocks of a `ResNet`: hooks, other blocks, copies, what it shows, and the stream through it."""

import copy
import gc
import pickle
import re
import weakref
from typing import Any

import pytest
import torch
from places import ROOT
from plain_resnet import (
    BLOCKS,
    DEPTH,
    INPUTS,
    N_IN,
    N_OUT,
    SKIPS,
    WIDTH,
    Doubled,
    Plain,
    assert_same,
    both,
    inputs,
    masks_for,
    model,
    network,
    of_both,
)
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap
from torch.nn.utils import parametrize

import resnet_sde as rs
from resnet_sde.networks import ReadInOut, ResNet, StackedResNets

# torch uses it itself when it loads its formulas of forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def watched(net: nn.Module) -> list[Tensor]:
    """What leaves the blocks, from now on."""
    seen: list[Tensor] = []
    for block in net.blocks:
        block.register_forward_hook(lambda block, given, out: seen.append(out))
    return seen


def states(net: ResNet, x: Tensor) -> list[Tensor]:
    """h_1 … h_L by a plain loop."""
    p, phi = dict(net.named_parameters()), net.activation
    h, found = x @ p["embed"] + p["embed_bias"], []
    for k in range(DEPTH):
        a = phi(h if "inner" not in p else h @ p["inner"][k] + p.get("inner_bias", torch.zeros(DEPTH, 1))[k])
        branch = a if "outer" not in p else a @ p["outer"][k] + p.get("outer_bias", torch.zeros(DEPTH, 1))[k]
        h = net.skip * h + net.alpha * branch
        found.append(h)
    return found


@both
@of_both
def test_hooks_see_the_states_and_change_no_number(block: rs.Block, skip: float) -> None:
    net, x = network(block, skip), inputs(2, INPUTS, N_IN)
    expected = net(x)
    gradients = torch.autograd.grad(expected.square().sum(), list(net.parameters()))
    seen = watched(net)
    found = net(x)
    assert_same(found, expected)
    for one, other in zip(seen, states(net, x), strict=True):
        assert one.shape == (2, INPUTS, WIDTH)
        assert_same(one, other)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), list(net.parameters())), gradients, strict=True
    ):
        assert_same(one, other)


def test_hooks_that_change_the_stream_do() -> None:
    """Patched states, as in studies of what a layer does; and once the hook is gone all is as before."""
    net, x = network(), inputs()
    before = net(x)
    handle = net.blocks[1].register_forward_hook(lambda block, given, out: 0 * out)
    patched = net(x)
    handle.remove()
    pre = net.blocks[2].register_forward_pre_hook(lambda block, given: (0 * given[0],))
    assert_same(net(x), patched)
    assert not torch.allclose(patched, before, rtol=1e-3)
    pre.remove()
    assert torch.equal(net(x), before)


def test_hooks_of_the_way_back_see_the_gradients() -> None:
    net, x = network(), inputs()
    seen: dict[int, Tensor] = {}
    for k, block in enumerate(net.blocks):
        block.register_full_backward_hook(lambda block, at_h, at_out, k=k: seen.update({k: at_out[0]}))
    net(x).square().sum().backward()
    net.zero_grad()
    out = watched(net)
    expected = torch.autograd.grad(net(x).square().sum(), out)
    assert seen.keys() == set(range(DEPTH))
    for k, gradient in enumerate(expected):
        assert_same(seen[k], gradient)
        assert gradient.abs().max() > 1e-3


def test_hooks_on_all_modules_see_the_blocks() -> None:
    net, x, seen = network(), inputs(), []
    expected = net(x)
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, given, out: seen.append(type(module).__name__)
    )
    try:
        assert_same(net(x), expected)
    finally:
        handle.remove()
    assert seen == ["ResidualBlock"] * DEPTH + ["ResNet"]


def test_blocks_that_are_replaced_taken_out_and_reordered() -> None:
    net, x = network(skip=1.0), inputs()
    without = copy.deepcopy(net)
    with torch.no_grad():
        without.outer[1] = 0
        without.outer_bias[1] = 0
    replaced, removed, ordered, wrapped = (copy.deepcopy(net) for _ in range(4))
    replaced.blocks[1] = nn.Identity()
    del removed.blocks[1]
    assert_same(replaced(x), without(x))
    assert_same(removed(x), without(x))
    order = [2, 0, 3, 1]
    ordered.blocks = nn.ModuleList(ordered.blocks[k] for k in order)
    other = copy.deepcopy(net)
    with torch.no_grad():
        for name in ("inner", "inner_bias", "outer", "outer_bias"):
            other.get_parameter(name).copy_(net.get_parameter(name)[order])
    assert_same(ordered(x), other(x))
    wrapped.blocks[1] = nn.Sequential(wrapped.blocks[1], nn.Tanh())
    patched = copy.deepcopy(net)
    patched.blocks[1].register_forward_hook(lambda block, given, out: out.tanh())
    assert_same(wrapped(x), patched(x))
    shadowed = copy.deepcopy(net)
    shadowed.blocks[1].forward = lambda h: h
    assert_same(shadowed(x), without(x))
    for changed in (replaced, removed, ordered, wrapped, shadowed):
        assert not torch.allclose(changed(x), net(x), rtol=1e-3)


def test_a_block_runs_alone() -> None:
    net, x = network(), inputs()
    h = x @ net.embed + net.embed_bias
    expected = states(net, x)
    for block, state in zip(net.blocks, expected, strict=True):
        h = block(h)
        assert_same(h, state)
    (slope,) = torch.autograd.grad(net.blocks[0](h.detach()).sum(), [net.outer])
    assert slope[0].abs().max() > 0
    assert not slope[1:].any()


@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
def test_dropout_passes_through_blocks(skip: float) -> None:
    net, x = network(skip=skip), inputs()
    masks = masks_for(x)
    expected = net(x, masks=masks)
    watched(net)
    assert_same(net(x, masks=masks), expected)
    assert_same(net(x, masks=masks), Plain(net)(x, masks))


def test_a_stack_has_blocks_too() -> None:
    stack, x = StackedResNets([model()] * 2, DEPTH, N_IN, N_OUT, seeds=[0, 1]), inputs()
    masks = torch.stack([masks_for(x), 2 * masks_for(x)], 1)
    expected, masked = stack(x), stack(x, masks=masks)
    seen = watched(stack)
    assert_same(stack(x), expected)
    assert_same(stack(x, masks=masks), masked)
    net = network(seed=1, biases=False)
    for state, other in zip(seen[:DEPTH], states(net, x), strict=True):
        assert state.shape == (2, INPUTS, WIDTH)
        assert_same(state[1], other)
    assert_same(stack.network(1)(x), expected[1])


@both
def test_transforms_follow_hooks(block: rs.Block) -> None:
    net, reference, x = network(block), None, inputs(N_IN)
    reference = Plain(net)
    seen = watched(net)
    assert_same(jacrev(net)(x), jacrev(reference)(x))
    assert_same(jvp(net, (x,), (x,)), jvp(reference, (x,), (x,)))
    assert_same(hessian(lambda y: net(y).sum())(x), hessian(lambda y: reference(y).sum())(x))
    found, expected = (
        vmap(grad(lambda p, y, f=f: functional_call(f, p, (y,)).square().sum()), in_dims=(None, 0))(
            {name: 1.1 * value.detach() for name, value in f.named_parameters()}, inputs()
        )
        for f in (net, reference)
    )
    for name, value in found.items():
        assert_same(value, expected[name])
    assert len(seen) >= 4 * DEPTH


def test_second_derivatives_retained_graphs_and_autocast_with_hooks() -> None:
    net, reference, x = network(), None, inputs()
    reference = Plain(net)
    watched(net)
    found = []
    for f in (net, reference):
        y = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(f(y).sum(), y, create_graph=True)
        found.append(torch.autograd.grad(slope.square().mean() + f(y).square().mean(), list(f.parameters())))
    for one, other in zip(*found, strict=True):
        assert_same(one, other)
    loss = net(x).square().sum()
    first = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
    loss.backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(first, net.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()
    single, exact = net.float(), net(x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = single(x.float())
    assert half.dtype == torch.bfloat16
    assert 0 < (half.float() - exact).norm() < 0.03 * exact.norm()


def test_parameters_that_are_functions_of_others_are_computed_once_a_pass() -> None:
    net, x = network(), inputs()
    calls = []

    class Counted(Doubled):
        def forward(self, weights: Tensor) -> Tensor:
            calls.append(1)
            return super().forward(weights)

    parametrize.register_parametrization(net, "outer", Counted())
    expected = net(x)
    watched(net)
    calls.clear()
    assert_same(net(x), expected)
    assert len(calls) == 1


# Kept, copied, shown


def test_blocks_have_no_state() -> None:
    net = network()
    assert set(net.state_dict()) == {*dict(net.named_parameters()), "alpha"}
    assert all("." not in name for name in net.state_dict())
    assert not list(net.blocks.parameters())
    other = network(seed=5)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(inputs()), net(inputs()))


@pytest.mark.parametrize("kept", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_have_blocks_of_their_own(kept: object) -> None:
    net, x = network(), inputs()
    twin = kept(net)
    with torch.no_grad():
        twin.outer.mul_(2)
    expected = twin(x)
    twin.blocks[0].register_forward_hook(_unchanged)
    assert_same(twin(x), expected)
    h = x @ net.embed + net.embed_bias
    assert not torch.allclose(twin.blocks[0](h), net.blocks[0](h), rtol=1e-3)
    again = kept(twin)  # with its hook
    assert again.blocks[0]._forward_hooks
    assert_same(again(x), expected)
    shallow = copy.copy(net)
    assert shallow.blocks is net.blocks
    assert_same(net.blocks[0](h), states(net, x)[0])


def _unchanged(block: nn.Module, given: object, out: Tensor) -> None:
    """A hook that does nothing, and that pickle knows."""


def test_a_network_goes_with_its_last_name() -> None:
    """Nothing of it waits for the garbage collector; and a block without its network says so."""
    gc.collect()
    gc.disable()
    try:
        net = network()
        watched(net)
        net(inputs())
        gone, block = weakref.ref(net), net.blocks[0]
        del net
        assert gone() is None
    finally:
        gc.enable()
    with pytest.raises(RuntimeError, match="its network is gone"):
        block(torch.zeros(1, WIDTH))


def test_a_network_shows_what_it_is() -> None:
    shown = repr(network())
    for part in ("block=TwoLayer", "activation=Gelu()", f"depth={DEPTH}", f"width={WIDTH}", "skip=1"):
        assert part in shown
    assert f"n_in={N_IN}, n_out={N_OUT}" in shown
    assert "alpha=0.5938" in shown  # 0.9 · 4^(−0.3)
    assert f"(0-{DEPTH - 1}): {DEPTH} x ResidualBlock()" in shown
    for name, kind in (("res-1", "SingleLayer"), ("res-2", "TwoLayer"), ("reduced", "Reduced")):
        assert f"block={kind}," in repr(network(BLOCKS[name]))
    betas = [rs.Model(BLOCKS["res-1"], rs.WhiteNoise(), WIDTH, beta=beta) for beta in (0.0, 0.5)]
    stack = repr(StackedResNets(betas, DEPTH, N_IN, N_OUT, seeds=[0, 1]))
    assert "members=2" in stack
    assert "alpha=0.5 … 1," in stack
    bare = ResNet(model(), DEPTH, WIDTH, N_OUT, read_in_out=ReadInOut(embed_w2=None))
    assert f"n_in={WIDTH}, n_out={N_OUT}" in repr(bare)
    parametrize.register_parametrization(bare, "outer", Doubled())
    assert f"depth={DEPTH}" in repr(bare)
    bare.readout = bare.inner = None
    assert "n_out=None" in repr(bare)


@pytest.mark.parametrize(("name", "strict"), [("res-1", False), ("reduced bias", False), ("full", True)])
def test_export(name: str, strict: bool) -> None:
    """A graph of plain operations for any number of inputs."""
    net = network(BLOCKS[name])
    free = {"x": {0: torch.export.Dim("inputs")}, "masks": None}
    graph = torch.export.export(net, (inputs(),), {"masks": None}, dynamic_shapes=free, strict=strict)
    for x in (inputs(), inputs(9, N_IN)):
        assert_same(graph.module()(x, masks=None), net(x))
    assert not torch.allclose(graph.module()(inputs(), masks=None), network(BLOCKS[name], seed=1)(inputs()))


# The stream


@pytest.mark.parametrize(
    ("block", "beta"),
    [(rs.TwoLayer(rs.RELU), 0.5), (rs.SingleLayer(rs.TANH), 0.5), (rs.SingleLayer(rs.TANH), 1.0)],
)
def test_depth_check_finds_the_exponent(block: rs.Block, beta: float) -> None:
    """White weights: branches of size L^−β that add up like L^(1/2).

    The interval covers β with probability 0.95 for each of three fixed cases; 0.25 off is far outside of it.
    """
    of, seeds = rs.Model(block, rs.WhiteNoise(), 32, beta=beta), iter(range(100))
    check = rs.depth_check(lambda depth: ResNet(of, depth, 8, N_OUT, seed=next(seeds)), inputs(16, 8))
    low, high = check.beta.low, check.beta.high
    assert low < beta < high
    assert not low < beta + 0.25 < high
    assert check.critical_beta == 0.5


def test_probe_finds_the_stream_and_leaves_the_network_as_it_was() -> None:
    net, x = network(), inputs()
    before = net(x)
    profile = rs.probe(net, x)
    assert profile.names == tuple(f"blocks.{k}" for k in range(DEPTH))
    expected = [(x @ net.embed + net.embed_bias).norm(), *(h.norm() for h in states(net, x))]
    torch.testing.assert_close(profile.norms, torch.stack(expected).detach(), rtol=1e-6, atol=0)
    assert torch.equal(net(x), before)
    assert rs.probe(net, x, blocks="blocks.*").names == profile.names


def test_the_page_on_networks(capsys: pytest.CaptureFixture[str]) -> None:
    """The code of docs/networks.md runs, and prints what it says."""
    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    torch.set_default_dtype(torch.float32)  # as a reader has it
    names: dict[str, Any] = {}
    for code in blocks:
        exec(compile(code, "networks.md", "exec"), names)
    said = re.findall(r"print\(.*\)  # (.*)", page)
    assert said
    assert capsys.readouterr().out.splitlines() == said
