"""A block is one method: gradients, revealed matrices, and what each verb says it would have to know."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import finite_width as fw
from resnet_sde import meanfield as mf
from resnet_sde import observables as ob
from resnet_sde.blocks import affine, affine_back
from resnet_sde.matrices import Deferred, NotDrawn
from resnet_sde.streams import stream

WHITE, DEPTH, WIDTH = rs.WhiteNoise(), 5, 6
X = torch.eye(2, WIDTH, dtype=torch.float64) + 0.3


@dataclass(frozen=True)
class Gate(rs.Block):
    """V (tanh(W h) ⊙ U h), with three matrices of names of its own, and nothing else."""

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"gate": (width, 3), "value": (width, 3), "back": (3, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        size = h.shape[-1] ** -0.5
        gated = torch.tanh(layer["gate"].matvec(h, size)) * layer["value"].matvec(h, size)
        return layer["back"].matvec(gated, 3**-0.5)


@dataclass(frozen=True)
class Written(rs.Block):
    """V relu(W h + b), whose adjoint meets W again."""

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"inner": (width + 1, width), "outer": (width, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return affine(layer["outer"], torch.relu(affine(layer["inner"], h, 1.0, 0.5)), 1.0, 0.0)

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        pre = affine(layer["inner"], h, 1.0, 0.5)
        return affine_back(layer["inner"], (pre > 0) * affine_back(layer["outer"], p, 1.0, 0.0), 1.0, 0.5)


class Followed(Written):
    """The same by autograd."""

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        return rs.Block.adjoint(self, h, p, layer)


def test_gradients_are_those_of_a_plain_loop() -> None:
    model = rs.Model(Gate(), WHITE, WIDTH, beta=0.5)
    layers = model.draw(DEPTH, samples=3, seed=1).layers(DEPTH)
    h, top = (torch.randn(3, 2, WIDTH, generator=rs.generator(0, name)) for name in "ht")
    found = rs.trajectory(model.block, h, layers, 0.5, top=top)
    start = h.clone().requires_grad_()
    state = start
    for layer in layers:
        w, u, v = (layer[name].entries for name in ("gate", "value", "back"))
        state = state + 0.5 * (torch.tanh(state @ w / WIDTH**0.5) * (state @ u / WIDTH**0.5)) @ v / 3**0.5
    (expected,) = torch.autograd.grad(state, start, top)
    assert found.adjoint is not None
    torch.testing.assert_close(found.hidden.natural(-1), state.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.adjoint.natural(0), expected, rtol=1e-12, atol=1e-12)


def test_dense_and_revealed_matrices_have_one_law() -> None:
    """Second moments of states and gradients, which an autograd of the numbers drawn would miss by far."""
    model, n = rs.Model(Gate(), WHITE, WIDTH, beta=0.25), 4000
    watched = [ob.growth, ob.gradient_growth]
    for inputs in (1, 2):
        request = {"depth": DEPTH, "samples": n, "observe": watched}
        dense, revealed = (rs.simulate(model, X[:inputs], method=m, **request) for m in ("dense", "deferred"))
        for name in dense:
            a, b = dense[name].square()[:, 0], revealed[name].square()[:, 0]
            error = math.sqrt((a.var() + b.var()) / n)
            assert abs(float(a.mean() - b.mean())) < 4.9 * error, f"{name}, a false alarm of 1e-6"


@pytest.mark.parametrize("inputs", [1, 3])
def test_an_adjoint_may_look_again(inputs: int) -> None:
    """On the same numbers, one that is written and that of autograd are one, and see the same matrices."""
    h, p = (torch.randn(4, inputs, WIDTH, generator=rs.generator(0, name)) for name in "hp")
    found = []
    for block in (Written(), Followed()):
        layer = rs.Layer.revealed(block.shapes(WIDTH), stream(0, "again", inputs))
        found.append(rs.trajectory(block, h, [layer], 1.0, top=p, parameters=True))
    one, other = found
    assert one.adjoint is not None
    assert other.adjoint is not None
    torch.testing.assert_close(one.adjoint.natural(0), other.adjoint.natural(0), rtol=1e-9, atol=1e-9)
    assert one.parameters is not None
    assert other.parameters is not None
    assert one.parameters.keys() == {"outer", "inner", "inner_bias"}
    for name, norms in one.parameters.items():
        torch.testing.assert_close(norms.natural(0), other.parameters[name].natural(0), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("inputs", [1, 3])
def test_what_was_revealed_is_told_again(inputs: int, dtype: torch.dtype) -> None:
    x = torch.randn(2, inputs, 8, generator=rs.generator(0, "again")).to(dtype)
    matrix = Deferred(stream(0, "matrix"), 5)
    first = matrix.matvec(x, 0.5)
    tolerance = {"rtol": 64 * torch.finfo(dtype).eps, "atol": 64 * torch.finfo(dtype).eps}
    torch.testing.assert_close(matrix.matvec(x, 0.5), first, **tolerance)
    torch.testing.assert_close(matrix.matvec(-3 * x.flip(1), 2.0), -12 * first.flip(1), **tolerance)
    with pytest.raises(NotDrawn, match="looks twice"):
        matrix.matvec(x + 1e-3, 0.5)
    with pytest.raises(NotDrawn, match="autograd is to follow"):
        matrix.rmatvec(first.clone().requires_grad_())


class Hidden(Gate):
    """What autograd does not see, in one way or another."""

    how = "numpy"

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        x = layer["value"].matvec(h, h.shape[-1] ** -0.5)
        if self.how == "numpy":
            x = torch.from_numpy(np.tanh(x.detach().numpy()))
        if self.how == "detach":
            x = x / x.detach().norm(dim=-1, keepdim=True)
        return layer["back"].matvec(x)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("numpy", "autograd cannot follow"),
        ("detach", "by differences"),
    ],
)
def test_what_hides_from_autograd_is_refused_on_the_way_back(how: str, message: str) -> None:
    block = type("Hidden", (Hidden,), {"how": how})()
    model, request = rs.Model(block, WHITE, WIDTH, beta=0.5), {"depth": 3, "samples": 4}
    assert rs.simulate(model, X, **request, observe=[ob.growth])["growth"].shape == (4, 2)
    with pytest.raises(ValueError, match=message) as caught:
        rs.simulate(model, X, **request, observe=[ob.gradient_growth])
    assert "\n" not in str(caught.value)


def test_kinks_are_no_fault_of_a_branch() -> None:
    for width in (2, 40, 512):
        block = type("Kinked", (Followed,), {})()
        layers = rs.Model(block, WHITE, width, beta=0.5).draw(1, samples=1).layers(1)
        h = torch.ones(1, 1, width)
        assert rs.trajectory(block, h, layers, 1.0, top=h).adjoint is not None


def test_a_matrix_that_is_not_there_is_named() -> None:
    class Misspelt(Gate):
        def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
            return layer["bakc"].matvec(h)

    with pytest.raises(ValueError, match="a layer has no bakc matrix, only 'gate', 'value', 'back'"):
        rs.Model(Misspelt(), WHITE, WIDTH, beta=0.5)


VERBS: dict[str, tuple[Callable[[rs.Model], object], str]] = {
    "model": (lambda m: rs.Model(m.block, WHITE, 4), "no critical scaling; give beta"),
    "limit": (rs.limit, "limits are derived for"),
    "couple": (lambda m: rs.couple(m, X, depths=(4, 8), samples=10, reference=16), "limits are derived for"),
    "lengths": (lambda m: mf.lengths(m, depth=3), "give it a property variances"),
    "kernel": (lambda m: mf.kernel(m, torch.eye(2), depth=3), "give it a property variances"),
    "two_time": (lambda m: mf.two_time(m, depth=3), "give it a property variances"),
    "displacement": (lambda m: mf.displacement(m, depth=3), "give it a property variances"),
    "parameters": (lambda m: mf.parameter_gradients(m, depth=3), "give it a property variances"),
    "finite_size": (lambda m: fw.finite_size(m, 1.0, depth=3), "give"),
    "ResNet": (lambda m: rs.networks.ResNet(m, 3, 4, 2, seed=0), "no block with an activation"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_that_ask_for_more_say_what(verb: str) -> None:
    ask, message = VERBS[verb]
    with pytest.raises(ValueError, match=message) as caught:
        ask(rs.Model(Gate(), WHITE, WIDTH, beta=0.5))
    assert "\n" not in str(caught.value)


def test_a_study_simulates_it_and_has_no_theory_for_it() -> None:
    found = rs.study(
        lambda beta: rs.Model(Gate(), WHITE, WIDTH, beta=beta),
        X,
        over={"beta": [0.5, 1.0], "depth": [3]},
        samples=5,
        observe=[ob.displacement, ob.gradient_displacement],
    )
    assert bool(np.isfinite(found.displacement.values).all() & np.isfinite(found.gradient_displacement).all())
