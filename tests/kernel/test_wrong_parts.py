"""Wrong blocks and activations of one's own are refused in one plain sentence, and none gives a number."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.propagate import Dropout
from resnet_sde.streams import stream

WIDTH = 8
S = WIDTH**-0.5
X = torch.eye(2, WIDTH) + 0.3
TENTHS = torch.linspace(0, 0.7, WIDTH)
OWN, NUMPY, PYTHON = torch.Generator(), np.random.default_rng(0), random.Random(0)
ASKED = [0]
Shapes = dict[str, tuple[int, int]]
SQUARE: Shapes = {"inner": (WIDTH, WIDTH), "outer": (WIDTH, WIDTH)}


def block(branch: Callable[..., Any], shapes: Any = SQUARE, **other: Any) -> rs.Block:
    """A block of a class of its own."""
    own = {"branch": branch, "shapes": lambda self, width: shapes, "__repr__": lambda self: "Wrong()"}
    made: rs.Block = type("Wrong", (rs.Block,), own | other)()
    return made


def plain(self: rs.Block, h: Tensor, layer: rs.Layer) -> Tensor:
    return layer["outer"].matvec(torch.tanh(layer["inner"].matvec(h, S)), S)


def counting(self: rs.Block, h: Tensor, layer: rs.Layer) -> Tensor:
    ASKED[0] += 1
    return plain(self, h * (1 + 1e-3 * ASKED[0]), layer)


def writes_late(self: rs.Block, h: Tensor, layer: rs.Layer) -> Tensor:
    a = torch.tanh(layer["inner"].matvec(h, S))
    found = layer["outer"].matvec(a, S)
    a.mul_(3)
    return found


def writes_answers(self: rs.Block, h: Tensor, layer: rs.Layer) -> Tensor:
    return layer["outer"].matvec(layer["inner"].matvec(h, S).tanh_(), S)


def clears_answers(self: rs.Block, h: Tensor, layer: rs.Layer) -> Tensor:
    answer = layer["inner"].matvec(h, S)
    x = answer.clone()
    answer.zero_()
    return layer["outer"].matvec(torch.tanh(x), S)


TALL = {"outer": (WIDTH + 1, WIDTH)}
BLOCKS: dict[str, tuple[rs.Block, str]] = {
    "fails": (block(lambda self, h, layer: 1 / 0), "ZeroDivisionError: division by zero; let it take"),
    "two arguments": (block(lambda self, h: h), "TypeError: .*positional arguments"),
    "one network": (block(lambda self, h, layer: layer["outer"].matvec(h[0])), "fails on states of shape"),
    "float32 inside": (
        block(lambda self, h, layer: layer["outer"].matvec(h @ torch.eye(WIDTH))),
        "same dtype.*in float32 and float64",
    ),
    "another matrix": (block(lambda self, h, layer: layer["missing"].matvec(h)), "only 'inner', 'outer'"),
    "too tall": (
        block(lambda self, h, layer: layer["outer"].matvec(h, S), TALL),
        "a matrix of 9 inputs was given vectors of 8 numbers; mend its shape",
    ),
    "tall and thin": (  # one number, which broadcasts
        block(lambda self, h, layer: layer["outer"].matvec(h, S), {"outer": (WIDTH + 1, 1)}),
        "a matrix of 9 inputs was given vectors of 8",
    ),
    "thin": (
        block(lambda self, h, layer: layer["outer"].matvec(h, S), {"outer": (WIDTH, 1)}),
        r"returned shape \(2, 3, 1\)",
    ),
    "shapes of lists": (block(plain, {"outer": [8, 8]}), "must map the name of each matrix"),
    "no matrices": (block(lambda self, h, layer: h, {}), "must map the name of each matrix"),
    "a pair": (block(lambda self, h, layer: (h, h)), "returned tuple; it must return a tensor"),
    "nothing": (block(lambda self, h, layer: None), "returned NoneType"),
    "half": (block(lambda self, h, layer: plain(self, h, layer).half()), "returned shape .* torch.float16"),
    "writes into h": (block(lambda self, h, layer: plain(self, h.mul_(2), layer)), "writes into what it is"),
    "writes too late": (block(writes_late), "modified by an inplace operation"),
    "mixes networks": (
        block(lambda self, h, layer: plain(self, h - h.mean(0), layer)),
        "mixes networks: alone",
    ),
    "mixes inputs": (
        block(lambda self, h, layer: plain(self, h - h.mean(1, keepdim=True), layer)),
        "mixes inputs",
    ),
    "torch's chance": (
        block(lambda self, h, layer: plain(self, h * torch.rand(WIDTH), layer)),
        "draws random numbers",
    ),
    "its own chance": (
        block(lambda self, h, layer: plain(self, h * torch.rand(WIDTH, generator=OWN), layer)),
        "when it is asked again",
    ),
    "NumPy's chance": (
        block(lambda self, h, layer: plain(self, h * NUMPY.random(), layer)),
        "when it is asked again",
    ),
    "Python's chance": (
        block(lambda self, h, layer: plain(self, h * PYTHON.random(), layer)),
        "when it is asked again",
    ),
    "counts": (block(counting), "when it is asked again; let its branch depend on them alone"),
    "untrue homogeneous": (block(plain, homogeneous=True), "at 2h is not twice that at h"),
    "a word": (block(plain, homogeneous="yes"), "must be True or False"),
    "adjoint off by 1 %": (
        block(
            lambda self, h, layer: layer["outer"].matvec(h, S),
            adjoint=lambda self, h, p, layer: layer["outer"].rmatvec(p, 1.01 * S),
        ),
        "as autograd finds it",
    ),
    "adjoint not transposed": (
        block(
            lambda self, h, layer: layer["outer"].matvec(h, S),
            adjoint=lambda self, h, p, layer: layer["outer"].matvec(p, S),
        ),
        "as autograd finds it",
    ),
    "adjoint of one network": (block(plain, adjoint=lambda self, h, p, layer: p[:1]), "returned shape"),
    "adjoint of nothing": (block(plain, adjoint=lambda self, h, p, layer: None), "returned NoneType"),
    "adjoint fails": (block(plain, adjoint=lambda self, h, p, layer: p.nope), "AttributeError"),
    "hidden from autograd": (
        block(lambda self, h, layer: plain(self, h * h.detach().norm(dim=-1, keepdim=True), layer)),
        "by differences",
    ),
}


@pytest.mark.parametrize("method", ["auto", "dense"])
@pytest.mark.parametrize("wrong", BLOCKS)
def test_wrong_blocks_are_refused(wrong: str, method: str) -> None:
    made, sentence = BLOCKS[wrong]
    with torch.random.fork_rng(), pytest.raises(ValueError, match=sentence) as caught:
        rs.simulate(
            rs.Model(made, rs.WhiteNoise(), WIDTH, beta=0.5),
            X,
            depth=3,
            samples=4,
            observe=[ob.growth, ob.gradient_growth],
            method=method,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("branch", [writes_answers, clears_answers])
def test_a_branch_may_write_into_answers(branch: Callable[..., Tensor], inputs: int) -> None:
    """What a matrix that is revealed answered it must find again: there the branch was another one's."""
    made, right = block(branch), block(plain)
    request: dict[str, Any] = {"depth": 3, "samples": 4, "observe": [ob.growth, ob.gradient_growth]}
    model = rs.Model(made, rs.WhiteNoise(), WIDTH, beta=0.5)
    found, dense = (rs.simulate(model, X[:inputs], method=m, **request) for m in ("auto", "dense"))
    for name, values in found.items():
        assert torch.equal(values, dense[name])
    with pytest.raises(ValueError, match="writes into what matvec met or answered, which works"):
        rs.simulate(model, X[:inputs], method="deferred", **request)
    layers = model.draw(4, samples=3).layers(4)
    h = torch.ones(3, inputs, WIDTH)
    one, other = (rs.trajectory(b, h, layers, 0.5, top=h).adjoint for b in (made, right))
    assert one is not None
    assert other is not None
    torch.testing.assert_close(one.natural(0), other.natural(0))


def test_dropout_before_a_matrix_that_is_not_met_is_refused() -> None:
    made = block(lambda self, h, layer: layer["inner"].matvec(torch.tanh(h), S))
    layers = rs.Model(made, rs.WhiteNoise(), WIDTH, beta=0.5).draw(2, samples=3).layers(2)
    h, dropout = torch.ones(3, 2, WIDTH), Dropout(0.5, stream(0, "masks"))
    with pytest.raises(ValueError, match="goes past its outer matrix"):
        rs.forward(made, h, layers, 0.5, dropout=dropout)
    rs.forward(block(plain), h, layers, 0.5, dropout=dropout)


def test_a_block_with_numbers_of_a_large_width_is_tried_at_that_width() -> None:
    mask = torch.linspace(0, 1, 600, dtype=torch.float64)
    shapes = {"outer": (600, 600)}

    def masked(self: rs.Block, h: Tensor, layer: rs.Layer) -> Tensor:
        return layer["outer"].matvec(h * mask.to(h), 600**-0.5)

    def mixing(self: rs.Block, h: Tensor, layer: rs.Layer) -> Tensor:
        return masked(self, h - h.mean(0), layer)

    assert rs.Model(block(masked, shapes), rs.WhiteNoise(), 600, beta=0.5).width == 600
    with pytest.raises(ValueError, match="mixes networks"):
        rs.Model(block(mixing, shapes), rs.WhiteNoise(), 600, beta=0.5)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"kinks": "ab"}, r"kinks must be a sequence of finite numbers, got 'ab'; give for example \(0.5,\)"),
        ({"kinks": 0.5}, "kinks must be a sequence of finite numbers, got 0.5"),
        ({"kinks": [float("nan")]}, "kinks must be a sequence of finite numbers"),
        ({"odd": "yes"}, "odd must be True or False, got 'yes'"),
        ({"odd": False}, "is odd; leave odd out"),
        ({"homogeneous": True}, "is not homogeneous; leave"),
        ({"derivative": torch.cos}, "is not that of autograd; mend it or leave it out"),
    ],
)
def test_wrong_facts_of_functions_are_refused(said: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        rs.Activation.of(torch.tanh, **said)


def in_float32(x: Tensor) -> Tensor:
    return torch.tanh(x.float()).to(x.dtype)


def in_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(np.tanh(x.numpy()))


def beside_autograd(x: Tensor) -> Tensor:
    return torch.from_numpy(np.tanh(x.detach().numpy()))


def test_functions_that_lose_digits_or_gradients_are_named() -> None:
    for function, sentence in (
        (in_float32, "in_float32 keeps no more than the digits of float32.*let it compute in the dtype"),
        (in_numpy, "autograd cannot follow .*in_numpy.*requires grad.*functions of torch alone"),
        (beside_autograd, "autograd cannot follow .*beside_autograd.*or give derivative="),
    ):
        with pytest.raises(ValueError, match=sentence):
            rs.Activation.of(function)
    phi = rs.Activation.of(beside_autograd, derivative=rs.TANH.prime)
    assert phi.odd
