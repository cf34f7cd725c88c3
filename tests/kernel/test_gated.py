"""Gated branches, against plain loops of torch and their theory of infinite width."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde import observables as ob
from resnet_sde.contracts.theory import wrong_recursion, wrong_scaling
from resnet_sde.estimate import mean
from resnet_sde.propagate import Dropout
from resnet_sde.streams import stream

WHITE, SILU = rs.WhiteNoise(), rs.activation("silu")
PHIS = {"swish": (SILU, silu), "sigmoid": (rs.SIGMOID, torch.sigmoid), "tanh": (rs.TANH, torch.tanh)}
WIDTH = 6


def block_of(phi: rs.Activation, expansion: float = 2.0) -> rs.GatedLinearUnit:
    return rs.GatedLinearUnit(phi, 1.5, 0.7, 1.2, expansion)


@pytest.mark.parametrize("name", PHIS)
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("expansion", [0.5, 2.0])
def test_loops_are_those_of_torch(name: str, normalized: bool, expansion: float) -> None:
    phi, of_torch = PHIS[name]
    block, hidden = block_of(phi, expansion), round(expansion * WIDTH)
    block = rs.PreNorm(block) if normalized else block
    h, top = (torch.randn(3, 2, WIDTH, generator=rs.generator(0, each)) for each in "ht")
    layers = rs.Model(block, WHITE, WIDTH, beta=0.5).draw(4, samples=3).layers(4)
    found = rs.trajectory(block, h, layers, 0.5, top=top, parameters=True)
    state = start = h.clone().requires_grad_()
    for layer in layers:
        x = rms_norm(state, (WIDTH,), eps=1e-300) if normalized else state
        w, u, v = (layer[each].entries for each in ("gate", "value", "outer"))
        gated = of_torch(x @ w * (1.5 / WIDTH) ** 0.5) * (x @ u * (0.7 / WIDTH) ** 0.5)
        state = state + 0.5 * gated @ v * (1.2 / hidden) ** 0.5
    (expected,) = torch.autograd.grad(state, start, top)
    assert found.adjoint is not None
    torch.testing.assert_close(found.hidden.natural(-1), state.detach(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(found.adjoint.natural(0), expected, rtol=1e-10, atol=1e-10)
    assert found.parameters is not None
    assert found.parameters.keys() == {"gate", "value", "outer"}
    back = block._adjoint_at(block._branch_and_pre(h, layers[0])[1], top, layers[0])
    torch.testing.assert_close(back, block.adjoint(h, top, layers[0]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PHIS)
def test_what_it_says_of_infinite_width_is_that_of_wide_layers(name: str) -> None:
    block = block_of(PHIS[name][0])
    assert wrong_recursion(block) is None
    assert wrong_recursion(rs.PreNorm(block)) is None


@pytest.mark.parametrize("name", PHIS)
def test_differences_are_those_of_duals_and_keep_their_digits(name: str) -> None:
    block = block_of(PHIS[name][0])
    q1, q2 = torch.tensor([1.0, 0.5, 4.0]), torch.tensor([1.0, 2.0, 4.0])
    for gap in (0.3, 1.4):
        apart, none = torch.full_like(q1, gap), torch.zeros_like(q1)
        expected = (block.dual(q1, q1, gap=none) + block.dual(q2, q2, gap=none)) / 2
        expected = expected - block.dual(q1, q2, gap=apart)
        torch.testing.assert_close(block.difference(q1, q2, gap=apart), expected, rtol=1e-9, atol=1e-9)
    small = [block.difference(q1[:1], q2[:1], gap=torch.tensor([gap])) / gap for gap in (1e-13, 1e-7)]
    torch.testing.assert_close(*small, rtol=1e-5, atol=0)


@pytest.mark.parametrize("width", [32, 64, 128])
def test_networks_agree_with_their_mean_field(width: int) -> None:
    """Within intervals of 1e-5 and of finite width; the control is a gate of another variance."""
    depth, samples = 8, 300
    block = block_of(SILU)
    model = rs.Model(rs.PreNorm(block), WHITE, width, gain=2.0)
    k0 = torch.tensor([[1.0, 0.4], [0.4, 2.0]])
    x = torch.cat([torch.linalg.cholesky(k0), torch.zeros(2, width - 2)], 1) * math.sqrt(width)
    watched = [ob.kernel, ob.log10_gradient_growth]
    out = rs.simulate(model, x, depth=depth, samples=samples, observe=watched)
    other = rs.Model(rs.PreNorm(rs.GatedLinearUnit(SILU, 3.0, 0.7, 1.2, 2.0)), WHITE, width, gain=2.0)
    by_theory, control = (mf.kernel(each, k0, depth=depth)[-1] for each in (model, other))
    missed = []
    for i, j in ((0, 0), (0, 1), (1, 1)):
        found, room = mean(out["kernel"][:, i, j], level=1 - 1e-5), 4.0 / width
        assert found.low - room < float(by_theory[i, j]) < found.high + room
        missed.append(not found.low - room < float(control[i, j]) < found.high + room)
    assert any(missed), "another gate would be noticed"
    growth = mean(10 ** (2 * out["log10_gradient_growth"][:, 0]), level=1 - 1e-5)
    of_theory = math.exp(float(mf.lengths(model, depth=depth).log_gradient_growth[-1]))
    assert growth.low - 8.0 / width < of_theory < growth.high + 8.0 / width


LAWS = [WHITE, rs.FractionalNoise(0.9), rs.SmoothNoise(0.3)]


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("phi", [SILU, rs.TANH], ids=str)
def test_exponents_are_how_branches_add_up(law: rs.PathLaw, phi: rs.Activation) -> None:
    block = block_of(phi)
    beta = block.critical_beta(law)
    assert beta is not None
    assert wrong_scaling(block, law, 8, beta) is None
    assert wrong_scaling(block, law, 8, beta + 0.7) is not None


def test_refusals() -> None:
    for wrong, message in (
        ({"expansion": 0}, "expansion must"),
        ({"sigma_u2": -1.0}, "sigma_u2 is a variance"),
    ):
        with pytest.raises(ValueError, match=message):
            rs.GatedLinearUnit(SILU, **wrong)
    block = block_of(SILU)
    model = rs.Model(block, WHITE, WIDTH)
    h = torch.ones(1, 1, WIDTH)
    layers = model.draw(2, samples=1).layers(2)
    for ask, message in (
        (lambda: rs.trajectory(block, h, layers, 0.5, dropout=Dropout(0.5, stream(0))), "multiplies 12"),
        (lambda: rs.limit(model), "grow faster than the state"),
        (lambda: mf.parameter_gradients(model, depth=3), "meanfield.lengths, kernel"),
        (lambda: rs.networks.ResNet(model, 3, 4, 2, seed=0), "networks that are trained have"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)


class Doubled(rs.GatedLinearUnit):
    """Another branch, of which nothing that its class says is true."""

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return 2 * super().branch(h, layer)


def test_what_is_made_from_it_has_no_theory_of_it() -> None:
    block = Doubled(SILU)
    assert block.critical_beta(WHITE) is None
    with pytest.raises(ValueError, match="not for"):
        mf.lengths(rs.Model(block, WHITE, 6, beta=0.5), depth=3)
