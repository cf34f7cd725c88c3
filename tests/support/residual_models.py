"""The residual networks of the tables for Yang & Schoenholz (2017), by their names there."""

import functools
import json
from typing import TypeVar

import torch
from places import TABLES
from torch import Tensor

from resnet_sde import LINEAR, RELU, TANH, AlphaReLU, Block, Model, Reduced, TwoLayer, WhiteNoise
from resnet_sde.activations import ERF, Activation
from resnet_sde.meanfield import gaps
from resnet_sde.meanfield.asymptotics import asymptotics

ORACLES = json.loads((TABLES / "yang.json").read_text(encoding="utf-8"))

Laws = TypeVar("Laws")
COSINES = (0.5, 0.999, -0.5, 0.0)  # of the inputs

_SMALL, _WIDE, _FULL = AlphaReLU(0.6), AlphaReLU(0.9), AlphaReLU(0.75)
BLOCKS: dict[str, Block] = {
    "RT1": Reduced(TANH, 1.0, 0.0),
    "RT2": Reduced(TANH, 2.0, 0.5),
    "RT3": Reduced(TANH, 0.1, 0.0),
    "FT1": TwoLayer(TANH, 1.0, 0.25, 1.0, 0.25),
    "FT2": TwoLayer(TANH, 2.0, 0.5, 0.5, 1.0),
    "FT3": TwoLayer(TANH, 1.69, 0.49, 1.5, 0.5),
    "RE1": Reduced(ERF, 1.0, 0.0),
    "FR1": TwoLayer(RELU, 1.0, 0.0, 1.0, 0.0),
    "FR2": TwoLayer(RELU, 0.1, 0.1, 1.0, 0.1),
    "FR3": TwoLayer(RELU, 2.0, 1.0, 1.0, 1.0),
    "RR1": Reduced(RELU, 0.1, 0.0),
    "RR2": Reduced(RELU, 0.5, 0.1),
    "FA1": TwoLayer(_FULL, 1.0, 0.5, 1.0, 0.5),
    "FA2": TwoLayer(_FULL, 1.0, 0.0, 1.0, 0.0),
    "FA4": TwoLayer(_SMALL, 1.0, 0.5, 1.0, 0.5),
    "FA5": TwoLayer(_WIDE, 1.0, 0.5, 1.0, 0.5),
}


def residual(block: Block, width: int = 1) -> Model:
    """The network of this block, unscaled."""
    return Model(block, WhiteNoise(), width, beta=0.0)


def named(name: str, width: int = 1) -> Model:
    return residual(BLOCKS[name], width)


def laws_of(model: Model, kind: type[Laws]) -> Laws:
    """The asymptotic laws of a network, of the kind that is expected."""
    found = asymptotics(model)
    assert isinstance(found, kind)
    return found


def model_of(row: dict) -> Model:
    """The network of a row of the oracle file, from its numbers."""
    phi = _activation(row["activation"], row.get("alpha"))
    inner = row["sigma_w2"], row["sigma_b2"]
    if row.get("arch") == "FRN":
        return residual(TwoLayer(phi, *inner, row["sigma_v2"], row["sigma_a2"]))
    return residual(Reduced(phi, *inner))


def _activation(name: str, alpha: float | None) -> Activation:
    if name == "arelu":
        assert alpha is not None
        return AlphaReLU(alpha)
    return {"tanh": TANH, "erf": ERF, "id": LINEAR}.get(name, RELU)


@functools.cache
def thousand_gaps(model: Model, p0: float = 1.0) -> Tensor:
    """1 − cosine through a thousand layers, from each of COSINES: shape (1001, 4)."""
    return gaps(model, p0, 1 - torch.tensor(COSINES, dtype=torch.float64), depth=1000)


def layers_up_to(depth: int) -> Tensor:
    """The numbers of the layers; 1 stands for 0, whose logarithm nobody looks at."""
    return torch.arange(depth + 1, dtype=torch.float64).clamp_min(1)


def slope(x: Tensor, y: Tensor, layer: int) -> float:
    """Of y against x, between half the layer and the layer."""
    return float((y[layer] - y[layer // 2]) / (x[layer] - x[layer // 2]))
