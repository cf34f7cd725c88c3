"""Trainable networks: the numbers of the layer loop, the gradients of autograd, stacked or alone."""

import copy
import math

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde.networks import ReadInOut, ResNet, StackedResNets, dropout_masks
from resnet_sde.networks.residual import Layers, Pool, Weights
from resnet_sde.streams import stream

DEPTH, WIDTH, N_IN, N_OUT, INPUTS = 7, 9, 6, 3, 5
VARIANCES = {"sigma_w2": 1.3, "sigma_b2": 0.4}
OUTER = {"sigma_v2": 0.8, "sigma_a2": 0.2}
BLOCKS = {
    "res-1": rs.SingleLayer(rs.RELU),
    "res-1 bias tanh": rs.SingleLayer(rs.TANH, **VARIANCES),
    "res-3": rs.TwoLayer(rs.RELU, sigma_w2=1.7),
    "full": rs.TwoLayer(rs.GELU, **VARIANCES, **OUTER),
    "reduced": rs.Reduced(rs.TANH, **VARIANCES),
    "reduced relu": rs.Reduced(rs.RELU),
}
SKIPS = {"skip 1": 1.0, "skip 0.7": 0.7, "skip 0": 0.0}


def model(block: rs.Block, skip: float = 1.0, **changes: object) -> rs.Model:
    given = {"law": rs.WhiteNoise(), "width": WIDTH, "beta": 0.4, "gain": 0.9, "skip": skip}
    return rs.Model(block, **{**given, **changes})


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=rs.generator(0, "inputs", shape))


def plain(net: ResNet, x: Tensor, masks: Tensor | None = None) -> Tensor:
    """The same network, operation by operation under autograd, with the inputs on the first axis."""
    p, phi, skip = dict(net.named_parameters()), net._layers.activation, net._layers.skip
    h = x @ p["embed"] + p["embed_bias"]
    for k in range(DEPTH):
        pre = h if "inner" not in p else h @ p["inner"][k] + p.get("inner_bias", torch.zeros(DEPTH, 1))[k]
        a = phi(pre) if masks is None else phi(pre) * masks[k].mT
        branch = a if "outer" not in p else a @ p["outer"][k] + p.get("outer_bias", torch.zeros(DEPTH, 1))[k]
        h = skip * h + net.alpha * branch
    if net._activated:
        h = phi(h) if masks is None else phi(h) * masks[-1].mT
    return h @ p["readout"] + p["readout_bias"]


def gradients(net: torch.nn.Module, outputs: Tensor, top: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(outputs, list(net.parameters()), top))


@pytest.mark.parametrize("skip", SKIPS.values(), ids=SKIPS)
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("dropout", [False, True], ids=["whole", "dropout"])
def test_outputs_and_gradients_are_those_of_autograd(block: rs.Block, skip: float, dropout: bool) -> None:
    net = ResNet(model(block, skip), DEPTH, N_IN, N_OUT, seed=3)
    x, top = inputs(INPUTS, N_IN), inputs(INPUTS, N_OUT)
    masks = dropout_masks((DEPTH + 1, WIDTH, INPUTS), 0.6, stream(1, "masks"), x) if dropout else None
    ours, expected = net(x, masks=masks), plain(net, x, masks)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    found = gradients(net, ours, top)
    for one, other in zip(found, gradients(net, expected, top), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert all(g.abs().max() > 0 for g in found)


def test_the_gradient_at_the_inputs_is_that_of_autograd() -> None:
    net = ResNet(model(BLOCKS["full"]), DEPTH, N_IN, N_OUT)
    x = inputs(INPUTS, N_IN).requires_grad_()
    ours, expected = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (net, lambda y: plain(net, y)))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("law", [rs.WhiteNoise(), rs.FractionalNoise(0.8), rs.SmoothNoise()], ids=str)
@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_a_network_is_the_layer_loop_on_the_drawn_weights(block: rs.Block, law: rs.PathLaw) -> None:
    of = model(block, law=law)
    net = ResNet(of, DEPTH, WIDTH, N_OUT, seed=5, read_in_out=ReadInOut(embed_w2=None, readout_w2=1.0))
    x = inputs(INPUTS, WIDTH)
    layers = of.draw(DEPTH, samples=1, seed=5).layers(DEPTH)
    hidden = rs.forward(block, x[None], layers, of.alpha(DEPTH))[-1, 0]
    torch.testing.assert_close(net(x), hidden @ net.readout + net.readout_bias, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(net(x), net(x))
        net.get_parameter("outer" if hasattr(net, "outer") else "inner")[DEPTH // 2] *= 1.01
        assert not torch.allclose(net(x), hidden @ net.readout + net.readout_bias, rtol=1e-6)


def test_a_readout_of_activated_states_is_asked_for_or_comes_with_feed_forward_networks() -> None:
    x, of = inputs(INPUTS, N_IN), model(BLOCKS["res-1 bias tanh"])
    plain_ends, activated = (
        ResNet(of, DEPTH, N_IN, N_OUT),
        ResNet(of, DEPTH, N_IN, N_OUT, read_in_out=ReadInOut(activated=True)),
    )
    torch.testing.assert_close(activated(x), plain(activated, x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(activated(x), plain_ends(x), rtol=1e-2)
    assert ReadInOut.of(model(BLOCKS["res-1"], 0.0)).activated
    assert not ReadInOut.of(of).activated


def test_a_member_is_the_network_of_its_seed_and_loads_into_one() -> None:
    models = [
        model(BLOCKS["full"], law=law, beta=b) for law, b in ((rs.WhiteNoise(), 0.5), (rs.SmoothNoise(), 1))
    ]
    stack = StackedResNets([*models, models[0]], DEPTH, N_IN, N_OUT, seeds=[1, 2, 3])
    x = inputs(INPUTS, N_IN)
    outputs = stack(x)
    for i, (of, seed) in enumerate(zip([*models, models[0]], [1, 2, 3], strict=True)):
        alone = ResNet(of, DEPTH, N_IN, N_OUT, seed=seed)
        torch.testing.assert_close(outputs[i], alone(x), rtol=1e-12, atol=1e-12)
        other = ResNet(models[i % 2 - 1], DEPTH, N_IN, N_OUT, seed=99)
        assert not torch.allclose(outputs[i], other(x), rtol=1e-3)
        other.load_state_dict(stack.member_state(i))
        assert torch.equal(alone(x), other(x))


def test_inputs_of_their_own_for_every_member() -> None:
    stack = StackedResNets([model(BLOCKS["res-1"])] * 3, DEPTH, N_IN, N_OUT, seeds=[1, 1, 2])
    x = inputs(3, INPUTS, N_IN)
    for i in range(3):
        torch.testing.assert_close(stack(x)[i], stack(x[i])[i], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(stack(x)[0], stack(x)[1])


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_neighbours_keep_their_bits_whatever_a_member_does(block: rs.Block) -> None:
    """Infinite weights in one member, and NaN in another, change no bit of the third and the fourth."""
    stacks = [
        StackedResNets([model(block)] * 4, DEPTH, N_IN, N_OUT, seeds=range(4), dtype=torch.float32)
        for _ in "ab"
    ]
    with torch.no_grad():
        for parameter in stacks[1].parameters():
            parameter[0], parameter[2] = math.inf, math.nan
    x = inputs(4, INPUTS, N_IN).float()
    ends = [stack(x) for stack in stacks]
    for end in ends:
        end.square().sum().backward()
    assert not ends[1][0].isfinite().any()
    for i in (1, 3):
        assert torch.equal(ends[0][i], ends[1][i])
        for one, other in zip(stacks[0].parameters(), stacks[1].parameters(), strict=True):
            assert torch.equal(one.grad[i], other.grad[i])


def test_memory_is_used_again_and_steps_do_not_disturb_each_other() -> None:
    stack = StackedResNets([model(BLOCKS["full"])] * 2, DEPTH, N_IN, N_OUT, seeds=[0, 1])
    x = inputs(INPUTS, N_IN)

    def step() -> list[Tensor]:
        stack(x).square().sum().backward()
        return [p.grad for p in stack.parameters()]

    first = [gradient.clone() for gradient in step()]
    stack.recycle()
    second, third = stack(x), stack(2 * x)  # two passes under way at once
    third.sum().backward()
    stack.zero_grad()
    second.square().sum().backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(first, stack.parameters(), strict=True))
    addresses = {p.grad.data_ptr() for p in (stack.inner, stack.outer)}
    stack.recycle()
    step()
    assert {p.grad.data_ptr() for p in (stack.inner, stack.outer)} & addresses


def test_a_pass_is_differentiated_as_often_as_its_graph_is_kept() -> None:
    net = ResNet(model(BLOCKS["res-1"]), DEPTH, N_IN, N_OUT)
    loss = net(inputs(INPUTS, N_IN)).square().sum()
    first = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
    loss.backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(first, net.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_copies_leave_the_memory_behind() -> None:
    net = ResNet(model(BLOCKS["res-1"]), DEPTH, N_IN, N_OUT)
    net(inputs(INPUTS, N_IN)).sum().backward()
    assert any(net._layers.pool.free.values())
    twin = copy.deepcopy(net)
    assert twin._layers.pool.free == {}
    assert torch.equal(twin(inputs(INPUTS, N_IN)), net(inputs(INPUTS, N_IN)))


def test_biases_on_request_start_at_zero_and_are_trained() -> None:
    net = ResNet(model(BLOCKS["res-3"]), DEPTH, N_IN, N_OUT, biases=True)
    x = inputs(INPUTS, N_IN)
    bare = ResNet(model(BLOCKS["res-3"]), DEPTH, N_IN, N_OUT)
    assert not net.inner_bias.any()
    assert not net.outer_bias.any()
    assert not hasattr(bare, "outer_bias")
    torch.testing.assert_close(net(x), bare(x), rtol=1e-12, atol=1e-12)
    net(x).sum().backward()
    assert net.inner_bias.grad.abs().max() > 0
    assert net.outer_bias.grad.abs().max() > 0


def test_feed_forward_networks_are_alike_from_end_to_end() -> None:
    """Variances of all weights and biases, embedding and readout included; 2000 numbers or more for each."""
    of = model(rs.SingleLayer(rs.TANH, sigma_w2=1.7, sigma_b2=0.3), skip=0.0, width=200, beta=0.0, gain=1.0)
    net = ResNet(of, 10, 100, 200)
    for name, expected in {
        "embed": 1.7 / 100,
        "outer": 1.7 / 200,
        "readout": 1.7 / 200,
        "outer_bias": 0.3,
    }.items():
        values = net.get_parameter(name)
        tolerance = 4.5 * math.sqrt(2 / values.numel())  # four comparisons: chance below 1e-4
        assert abs(values.square().mean() / expected - 1) < tolerance
        assert abs(values.square().mean() / (1.2 * expected) - 1) > tolerance


def test_dropout_masks_keep_their_share() -> None:
    masks = dropout_masks((50, 40, 10), 0.8, stream(0, "masks"), torch.zeros(()))
    assert set(masks.unique().tolist()) == {0.0, 1 / 0.8}
    error = math.sqrt(0.8 * 0.2 / masks.numel())
    assert abs((masks > 0).double().mean() - 0.8) < 4.5 * error  # chance below 1e-5
    assert abs((masks > 0).double().mean() - 0.82) > 4.5 * error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 0}, "depth must be a positive integer"),
        ({"n_out": 1.5}, "n_out must be a positive integer"),
        ({"read_in_out": ReadInOut(embed_w2=None)}, "give embed_w2"),
    ],
    ids=["depth", "outputs", "no input layer"],
)
def test_a_network_is_refused(changes: dict, message: str) -> None:
    given = {"model": model(BLOCKS["res-1"]), "depth": DEPTH, "n_in": N_IN, "n_out": N_OUT}
    with pytest.raises(ValueError, match=message):
        ResNet(**{**given, **changes})


@pytest.mark.parametrize(
    ("models", "seeds", "message"),
    [
        ([], [], "at least one"),
        ([model(BLOCKS["res-1"])], [1, 2], "1 models and 2 seeds"),
        ([model(BLOCKS["res-1"]), model(BLOCKS["res-3"])], [1, 2], "same kind of block"),
        ([model(BLOCKS["res-1"]), model(BLOCKS["res-1"], 0.5)], [1, 2], "skip"),
        ([model(BLOCKS["res-1"]), model(BLOCKS["res-1"], width=8)], [1, 2], "width"),
    ],
    ids=["none", "seeds", "blocks", "skips", "widths"],
)
def test_a_stack_is_refused(models: list, seeds: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StackedResNets(models, DEPTH, N_IN, N_OUT, seeds=seeds)


def test_masks_of_another_shape_are_refused() -> None:
    net = ResNet(model(BLOCKS["res-1"]), DEPTH, N_IN, N_OUT)
    with pytest.raises(ValueError, match=r"give shape \(8, 1, 9, 5\)"):
        net(inputs(INPUTS, N_IN), masks=torch.ones(DEPTH, WIDTH, INPUTS))


def test_the_pool_tells_shapes_and_types_apart() -> None:
    pool, tensor = Pool(), torch.zeros(2, 3)
    pool.give(tensor)
    assert pool.take((3, 2), tensor) is not tensor
    assert pool.take((2, 3), tensor.float()) is not tensor
    assert pool.take((2, 3), tensor) is tensor
    assert pool.take((2, 3), tensor) is not tensor


def test_layers_run_in_place_of_autograd_on_weights_of_ones_own() -> None:
    """The closed form of a linear network with one matrix: h_L = (I + α V_L) … (I + α V_1) h_0."""
    weights, h = inputs(2, DEPTH, WIDTH, WIDTH), inputs(2, WIDTH, INPUTS)
    end = Layers(rs.LINEAR, 1.0)(h, torch.tensor([0.1, 0.2]), Weights(None, None, weights, None))
    for i, alpha in enumerate((0.1, 0.2)):
        product = torch.eye(WIDTH)
        for k in range(DEPTH):
            product = (torch.eye(WIDTH) + alpha * weights[i, k].mT) @ product
        torch.testing.assert_close(end[i], product @ h[i], rtol=1e-12, atol=1e-12)


@pytest.mark.gpu
def test_a_stack_on_a_gpu_is_the_same_network() -> None:
    given = {"depth": DEPTH, "n_in": N_IN, "n_out": N_OUT, "seeds": [1, 2]}
    here = StackedResNets([model(BLOCKS["full"])] * 2, **given)
    there = StackedResNets([model(BLOCKS["full"])] * 2, **given, device="cuda")
    there.load_state_dict(here.state_dict())
    x = inputs(INPUTS, N_IN)
    ends = [here(x), there(x.cuda())]
    for end in ends:
        end.square().sum().backward()
    torch.testing.assert_close(ends[1].cpu(), ends[0], rtol=1e-10, atol=1e-10)
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(other.grad.cpu(), one.grad, rtol=1e-10, atol=1e-10)
