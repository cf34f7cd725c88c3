"""What networks that are trained rely on, tried on a few numbers before the first of them is drawn.

Their loop over layers knows no blocks: it computes V φ(W h + b) + c, and gradients by the derivative that the
activation states.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from resnet_sde.activations import Activation
from resnet_sde.blocks import Block, Layer, NotKnown, Reduced, SingleLayer, TwoLayer
from resnet_sde.matrices import Dense
from resnet_sde.networks.residual import Layers, Weights
from resnet_sde.streams import stream

MATRICES = ("inner", "outer")
_CPU64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}  # whatever the defaults of torch are


def check_block(block: Block) -> None:
    """Refuse a block of one's own whose branch is not V φ(W h + b) + c, V or W left out perhaps.

    Raises:
        ValueError: it is another, which networks that are trained do not have.
    """
    if not isinstance(block, Block) or not isinstance(getattr(block, "activation", None), Activation):
        raise ValueError(
            f"{block!r} is no block with an activation: networks that are trained have branches "
            "V φ(W h + b) + a alone; give for example SingleLayer(RELU), or use simulate"
        )
    if type(block) in (SingleLayer, TwoLayer, Reduced):
        return
    if not _alike(block):
        raise ValueError(
            f"the branch of {block} is not V φ(W h + b) + c with its activation and variances, which is what "
            "networks that are trained have; give SingleLayer, TwoLayer or Reduced, or simulate it"
        )


def _alike(block: Block) -> bool:
    """Whether the branch of a block, on a few numbers, is what the loop over layers computes."""
    width, inputs, source = 5, 3, stream(0, "probe")
    try:
        variances = variances_of(block)
    except NotKnown:  # it does not say what they are
        return False
    shapes = block.shapes(width)
    if not shapes or not shapes.keys() <= set(MATRICES):
        return False
    drawn = {name: source.normal_(torch.empty(s, **_CPU64)) for name, s in shapes.items()}
    matrices = {name: Dense(value[None]) for name, value in drawn.items()}
    h = source.normal_(torch.empty(1, inputs, width, **_CPU64))
    theirs = block.branch(h, Layer(matrices))
    parts: dict[str, Tensor] = {}
    for name, value in drawn.items():
        parts |= scaled(name, value[None], variances[name])
    weights = Weights(*(None if name not in parts else parts[name][None] for name in Weights._fields))
    ours = Layers(block.activation, 0.0)(h.mT, torch.ones(1, **_CPU64), weights).mT
    return theirs.shape == ours.shape and torch.allclose(theirs, ours, rtol=1e-9, atol=1e-9)


def scaled(
    name: str, path: Tensor, variances: tuple[float, float], biases: bool = False
) -> dict[str, Tensor]:
    """Weights and biases as layers use them, from unit numbers (depth, in, out)."""
    weight, bias = variances
    width = path.shape[1] - (bias > 0)
    found = {name: path[:, :width] * math.sqrt(weight / width)}
    if bias > 0:
        found[f"{name}_bias"] = path[:, width] * math.sqrt(bias)
    elif biases:
        found[f"{name}_bias"] = torch.zeros_like(path[:, 0])
    return found


def variances_of(block: Block) -> dict[str, tuple[float, float]]:
    """Variances of the matrices of a block and of their biases, by the names of the matrices."""
    of = block.variances
    return {"inner": (of.inner_weight, of.inner_bias), "outer": (of.outer_weight, of.outer_bias)}
