"""Branches of two matrices whose hidden width is not that of the state."""

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde import observables as ob
from resnet_sde.estimate import mean
from resnet_sde.finite_width import homogeneous_moments
from resnet_sde.limits.sde import ItoSDEInLaw
from resnet_sde.networks import ResNet, StackedResNets, load, save
from resnet_sde.propagate import Dropout
from resnet_sde.runs.identity import digest
from resnet_sde.streams import stream

WHITE, WIDTH = rs.WhiteNoise(), 6
FULL = rs.TwoLayer(rs.TANH, 1.5, 0.3, 0.8, 0.2)
EXPANSIONS = [0.1, 5 / 6, 7 / 6, 3.0]  # hidden 1, one less and one more than the width, and many
every_expansion = pytest.mark.parametrize("expansion", EXPANSIONS, ids=str)
blocks = pytest.mark.parametrize("block", [FULL, rs.TwoLayer(rs.RELU, 1.3, 0.0, 0.7)], ids=["full", "bare"])


def hidden(expansion: float) -> int:
    return {0.1: 1, 5 / 6: 5, 7 / 6: 7, 3.0: 18}[expansion]


def plain(block: rs.TwoLayer, h: Tensor, layers: list[rs.Layer], alpha: float) -> Tensor:
    """h_L in operations of torch; a bias is the last row of the entries."""
    for layer in layers:
        w, v = layer["inner"].entries, layer["outer"].entries
        met = hidden(block.expansion)
        pre = h @ w[:, :WIDTH] * (block.sigma_w2 / WIDTH) ** 0.5
        pre = pre + (w[:, WIDTH:] * block.sigma_b2**0.5 if block.sigma_b2 else 0.0)
        branch = block.activation(pre) @ v[:, :met] * (block.sigma_v2 / met) ** 0.5
        h = h + alpha * (branch + (v[:, met:] * block.sigma_a2**0.5 if block.sigma_a2 else 0.0))
    return h


@every_expansion
@blocks
def test_loops_are_those_of_torch(block: rs.TwoLayer, expansion: float) -> None:
    block = replace(block, expansion=expansion)
    h, top = (torch.randn(3, 2, WIDTH, generator=rs.generator(0, each)) for each in "ht")
    layers = rs.Model(block, WHITE, WIDTH).draw(4, samples=3).layers(4)
    found = rs.trajectory(block, h, layers, 0.5, top=top, parameters=True, preactivations=True)
    entries = [{n: m.entries.requires_grad_() for n, m in layer.matrices.items()} for layer in layers]
    start = h.clone().requires_grad_()
    state = plain(block, start, layers, 0.5)
    back, *parts = torch.autograd.grad(state[:, :1], (start, *entries[1].values()), top[:, :1])
    assert found.adjoint is not None
    assert found.parameters is not None
    assert found.preactivations is not None
    torch.testing.assert_close(found.hidden.natural(-1), state.detach(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(found.adjoint.natural(0)[:, :1], back[:, :1], rtol=1e-10, atol=1e-10)
    assert found.preactivations.scaled[0].shape == (3, 2, hidden(expansion))
    for name, gradient, fan_in in zip(entries[1], parts, (WIDTH, hidden(expansion)), strict=True):
        norms = found.parameters[name].natural(1)[:, 0, 0]
        torch.testing.assert_close(norms, gradient[:, :fan_in].norm(dim=(1, 2)), rtol=1e-9, atol=0)
        assert (f"{name}_bias" in found.parameters) == (gradient.shape[1] == fan_in + 1)


@every_expansion
@pytest.mark.parametrize("skip", [1.0, 0.0])
def test_networks_are_trained_with_any_hidden_width(expansion: float, skip: float, tmp_path) -> None:
    model = rs.Model(replace(FULL, expansion=expansion), WHITE, WIDTH, beta=0.5, skip=skip)
    net = ResNet(model, 3, 4, 2, seed=1, dtype=torch.float64)
    x = torch.randn(5, 4, generator=rs.generator(0, "x"))
    weights = {name: value.detach().clone().requires_grad_() for name, value in net.named_parameters()}
    h = x @ weights["embed"] + weights["embed_bias"]
    for k in range(3):
        a = torch.tanh(h @ weights["inner"][k] + weights["inner_bias"][k])
        h = skip * h + net.alpha * (a @ weights["outer"][k] + weights["outer_bias"][k])
    h = torch.tanh(h) if net.activated else h
    expected = h @ weights["readout"] + weights["readout_bias"]
    top = torch.randn(5, 2, generator=rs.generator(0, "top"))
    for _ in range(2):  # the second time in memory of the first
        net.zero_grad()
        found = net(x)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
        found.backward(top)
    gradients = torch.autograd.grad(expected, tuple(weights.values()), top)
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-11)
    path = model.draw(3, samples=1, seed=1, dtype=torch.float64).matrices["outer"]
    met = hidden(expansion)
    torch.testing.assert_close(
        net.outer.detach(), path.weights(3)[:, 0, :met] * (0.8 / met) ** 0.5, rtol=1e-12, atol=0
    )
    save(net, tmp_path / "net.npz")
    assert torch.equal(load(tmp_path / "net.npz")(x), net(x))
    stack = StackedResNets([model, model], 3, 4, 2, seeds=[1, 2], dtype=torch.float64)
    torch.testing.assert_close(stack(x)[0], net(x), rtol=1e-11, atol=1e-12)
    handle = net.blocks[1].register_forward_hook(lambda module, given, out: None)
    torch.testing.assert_close(net(x), expected.detach(), rtol=1e-11, atol=1e-12)
    handle.remove()
    assert f"hidden_width={met}" in repr(net)


SEEN = [ob.kernel, ob.log10_gradient_growth, ob.tangent_kernel]


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("expansion", [0.5, 4.0])
def test_means_are_those_of_infinite_width(width: int, expansion: float) -> None:
    """Within intervals of 1e-5 and of finite width; the control has 20 % more in its outer matrix."""
    depth, samples = 8, 600
    model = rs.Model(replace(FULL, expansion=expansion), WHITE, width, gain=1.5)
    k0 = torch.tensor([[1.0, 0.4], [0.4, 2.0]])
    x = torch.cat([torch.linalg.cholesky(k0), torch.zeros(2, width - 2)], 1) * width**0.5
    out = rs.simulate(model, x, depth=depth, samples=samples, observe=SEEN)
    wrong = replace(model, block=replace(model.block, sigma_v2=0.96))
    missed = 0
    for kernel, of, room in (
        ("kernel", lambda m: mf.kernel(m, k0, depth=depth)[-1], 3.0 / width),
        ("tangent_kernel", lambda m: mf.tangent_kernel(m, k0, depth=depth), 6.0 / width),
    ):
        expected, control = of(model), of(wrong)
        for i, j in ((0, 0), (0, 1), (1, 1)):
            found = mean(out[kernel][:, i, j], level=1 - 1e-5)
            assert found.low - room < float(expected[i, j]) < found.high + room
            missed += not found.low - room < float(control[i, j]) < found.high + room
    assert missed or width < 64, "another variance would be noticed"


@pytest.mark.parametrize("expansion", [0.25, 4.0])
def test_spreads_at_finite_width_are_exact(expansion: float) -> None:
    """The standard deviation of a homogeneous network, which the hidden width decides; control: M = d."""
    width, depth, samples = 4, 2, 40_000
    model = rs.Model(rs.TwoLayer(rs.RELU, expansion=expansion), WHITE, width, gain=1.0)
    out = rs.simulate(
        model, torch.ones(1, width), depth=depth, samples=samples, observe=[ob.displacement], seed=3
    )
    squares = out["displacement"][:, 0].square()
    expected = homogeneous_moments(model, depth)
    second = expected.std_square_displacement**2 + expected.mean_square_displacement**2
    found = mean(squares.square(), level=1 - 1e-5)
    assert found.low < second < found.high
    control = homogeneous_moments(replace(model, block=rs.TwoLayer(rs.RELU)), depth)
    other = control.std_square_displacement**2 + control.mean_square_displacement**2
    assert not found.low < other < found.high, "the width of the state in its place would be noticed"


class OtherDrift(ItoSDEInLaw):
    """With the hidden width where that of the state belongs."""

    def drift(self, h: Tensor) -> Tensor:
        return super().drift(h) / self.model.block.expansion


@pytest.mark.parametrize(
    ("law", "phi", "expansion"),
    [(rs.FractionalNoise(0.35), rs.RELU, 0.5), (rs.AutoregressiveNoise(0.5), rs.TANH, 0.5)],
    ids=str,
)
def test_limits_in_law_do_not_depend_on_the_hidden_width(
    law: rs.PathLaw, phi: rs.Activation, expansion: float
) -> None:
    """E‖h_L‖²/‖h_0‖² of deep networks; drifts have the size 1/width, whatever the hidden width."""
    width, depth, samples = 2, 128, 8000
    model = rs.Model(rs.TwoLayer(phi, expansion=expansion), law, width)
    x = torch.randn(samples, 1, width, generator=rs.generator(0, "start"))
    path = model.draw(depth, samples=samples, seed=1)
    states = rs.forward(model.block, x, path.layers(depth, shared=True), model.alpha(depth))
    networks = mean(_growth(states[-1], x), level=1 - 1e-3)
    ends = [kind(model, depth).solve(x, steps=64, seed=1) for kind in (ItoSDEInLaw, OtherDrift)]
    limit, control = (mean(_growth(end, x), level=1 - 1e-3) for end in ends)
    assert networks.low < limit.high
    assert limit.low < networks.high
    assert not (networks.low < control.high and control.low < networks.high)


def _growth(end: Tensor, start: Tensor) -> Tensor:
    return (end.square().sum(-1) / start.square().sum(-1))[:, 0].log()


def test_young_equations_know_the_hidden_width() -> None:
    """The network nears the equation on its path, and not that with the width of the state in its factor."""
    block = rs.TwoLayer(rs.RELU, expansion=4.0)
    model = rs.Model(block, rs.FractionalNoise(0.75), 3)
    said = rs.limit(model)
    assert "(σ_v/√M) m(q) dX 1" in said.formula()[0]
    assert "M = 12" in "".join(said.lines())
    h = torch.randn(100, 1, 3, generator=rs.generator(0, "h"))
    path = model.draw(1024, samples=100)
    other = rs.limit(replace(model, block=replace(block, sigma_v2=4.0)))
    ends = [equation.solve(h, path, steps=1024) for equation in (said, other)]
    errors = []
    for depth in (16, 256):
        network = rs.forward(block, h, path.layers(depth), model.alpha(depth))[-1]
        errors.append([float((network - end).square().mean().sqrt()) for end in ends])
    assert errors[1][0] < 0.7 * errors[0][0]
    assert errors[1][1] > 0.7 * errors[0][1]


def test_nothing_that_was_has_another_name() -> None:
    """Names of streams, reprs, digests and pickles of blocks without the field are as they were."""
    said = "TwoLayer(activation=ReLU(), sigma_w2=1.0, sigma_b2=0.0, sigma_v2=1.0, sigma_a2=0.0)"
    block = rs.TwoLayer(rs.RELU, expansion=1.0)
    assert repr(block) == said
    assert "expansion" not in vars(block)
    assert block.expansion == 1.0
    assert digest(block) == digest(rs.TwoLayer(rs.RELU))
    wide = rs.TwoLayer(rs.RELU, expansion=2)
    assert repr(wide) == f"{said[:-1]}, expansion=2.0)"
    assert digest(wide) != digest(block)
    assert wide != block
    assert hash(wide) != hash(block)
    assert pickle.loads(pickle.dumps(wide)) == wide
    assert replace(wide, expansion=1.0) == block
    numbers = [stream(0, "x", each).normal(2) for each in (block, wide)]
    assert not torch.equal(*numbers)
    key = hashlib.sha256(f"(0, 'x', {said})".encode()).digest()
    expected = rs.streams.Stream(np.random.SeedSequence(np.frombuffer(key, dtype=np.uint32).tolist()))
    assert torch.equal(expected.normal(2), numbers[0])


def test_refusals() -> None:
    for wrong in (0, -1.0, float("nan"), float("inf"), "2", None, True):
        with pytest.raises(ValueError, match="expansion must be a positive number"):
            rs.TwoLayer(rs.RELU, expansion=wrong)
    model = rs.Model(rs.TwoLayer(rs.RELU, expansion=7 / 6), WHITE, WIDTH)
    layers = model.draw(2, samples=1).layers(2)
    with pytest.raises(
        ValueError, match=r"dropout acts on as many numbers as a state has, 6, .* multiplies 7"
    ):
        rs.forward(model.block, torch.ones(1, 1, WIDTH), layers, 0.1, dropout=Dropout(0.5, stream(0)))
    net = ResNet(model, 2, 3, 2)
    with pytest.raises(ValueError, match="masks act on as many numbers as a state has, 6, and φ meets 7"):
        net(torch.ones(1, 3), masks=torch.ones(3, WIDTH, 1))
    other = rs.Model(rs.TwoLayer(rs.RELU), WHITE, WIDTH)
    with pytest.raises(ValueError, match="different shapes or forms"):
        StackedResNets([model, other], 2, 3, 2, seeds=[0, 0])
