"""Arguments of models and of the verbs of the kernel: refused in one sentence where they are given."""

import math

import numpy as np
import pytest
import torch
from ids import plain
from torch import nn

import resnet_sde as rs
from resnet_sde import observables as ob

X = torch.ones(1, 16, dtype=torch.float64)
WHITE = rs.WhiteNoise()


@pytest.mark.parametrize("given", ["relu", nn.ReLU(), rs.activations.ReLU, torch.relu, None], ids=plain)
@pytest.mark.parametrize("block", [rs.SingleLayer, rs.TwoLayer, rs.Reduced])
def test_an_activation_is_an_activation(block: type[rs.Block], given: object) -> None:
    with pytest.raises(ValueError, match=r"activation must be an Activation, got .*; give for example RELU"):
        block(given)
    with pytest.raises(ValueError, match="sigma_w2 is a variance"):
        block(rs.RELU, "1")
    with pytest.raises(ValueError, match="sigma_w2 is a variance"):
        block(rs.RELU, None)


BLOCK = rs.SingleLayer(rs.RELU)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"law": "white"}, "law must be a law of the weights, got 'white'"),
        ({"law": rs.WhiteNoise}, "law must be a law of the weights"),
        ({"law": None}, "law must be a law of the weights, got None"),
        ({"block": rs.SingleLayer}, "block must be a Block"),
        ({"block": "res-1"}, "block must be a Block, got 'res-1'"),
        ({"block": rs.RELU}, "block must be a Block"),
        ({"width": "8"}, "width must be a positive integer, got '8'"),
        ({"width": None}, "width must be a positive integer, got None"),
        ({"width": [8]}, "width must be a positive integer"),
        ({"beta": "0.5"}, "beta must be a finite number, got '0.5'"),
        ({"gain": None}, "gain must be a finite number, got None"),
        ({"skip": [1.0]}, "skip must be a finite number"),
        ({"beta": torch.ones(2)}, "beta must be a finite number"),
        ({"beta": True}, "beta must be a finite number, got True"),
        ({"gain": np.True_}, "gain must be a finite number"),
    ],
    ids=str,
)
def test_a_model_says_what_it_needs(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rs.Model(**{"block": BLOCK, "law": WHITE, "width": 8, **arguments})


TRUTHS = [True, np.True_, torch.tensor(True)]


@pytest.mark.parametrize("depth", [None, "10", 0, -1, 2.5, math.nan, [3], *TRUTHS], ids=repr)
def test_a_depth_is_a_whole_number(depth: object) -> None:
    model = rs.Model(BLOCK, WHITE, 8)
    for verb in (
        lambda: model.alpha(depth),
        lambda: model.draw(depth, samples=2),
        lambda: model.draw(4, samples=depth),
        lambda: model.draw(4, samples=2).layers(depth),
        lambda: WHITE.path(depth, (2,)),
        lambda: rs.simulate(model, X, depth=depth, samples=2, observe=[ob.growth]),
        lambda: rs.simulate(model, X, depth=2, samples=depth, observe=[ob.growth]),
        lambda: rs.meanfield.two_time(model, depth=depth),
        lambda: rs.meanfield.lengths(model, depth=depth),
    ):
        with pytest.raises(ValueError, match=r"(depth|samples) must be a positive integer"):
            verb()


@pytest.mark.parametrize("four", [4.0, np.int32(4), np.float32(4), torch.tensor(4)], ids=repr)
def test_four_is_four(four: object) -> None:
    model = rs.Model(BLOCK, WHITE, 8)
    assert model.alpha(four) == model.alpha(4)
    assert len(model.draw(four, samples=four).layers(four)) == 4
    assert rs.meanfield.two_time(model, depth=four).shape == (5, 5)
    out = rs.simulate(model, X, depth=four, samples=four, observe=[ob.log10_length])
    assert out["log10_length"].shape == (4, 5, 1)


@pytest.mark.parametrize(
    "h", [torch.ones(2, 8), torch.ones(2, 1, 8, dtype=torch.int64), [1.0], torch.ones(8).half()]
)
def test_states_are_a_tensor_of_networks_and_inputs(h: object) -> None:
    layers = rs.Model(BLOCK, WHITE, 8).draw(3, samples=2).layers(3)
    for verb in (rs.forward, rs.trajectory):
        with pytest.raises(ValueError, match=r"tensor of shape \(sample, input, width\), got"):
            verb(BLOCK, h, layers, 0.5)


def test_a_coupling_is_not_followed_by_autograd() -> None:
    model = rs.Model(rs.SingleLayer(rs.TANH), WHITE, 4)
    x = torch.ones(1, 4)
    request = {"depths": (2, 4), "samples": 8, "gradients": True}
    assert rs.couple(model, x.clone().requires_grad_(), **request) == rs.couple(model, x, **request)
