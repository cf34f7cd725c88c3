"""Feed-forward networks and the tabulated values of their theory, as the tests of them need both."""

import json

import torch
from places import TABLES
from torch import Tensor

from resnet_sde import Model, SingleLayer, WhiteNoise
from resnet_sde.activations import Activation

FOLDER = TABLES
ORACLES = json.loads((FOLDER / "schoenholz.json").read_text(encoding="utf-8"))


def feed_forward(phi: Activation, sigma_w2: float, sigma_b2: float, width: int = 1) -> Model:
    return Model(SingleLayer(phi, sigma_w2, sigma_b2), WhiteNoise(), width, beta=0.0, skip=0.0)


def pair_kernel(q1: float, q2: float, c: float) -> Tensor:
    off = c * (q1 * q2) ** 0.5
    return torch.tensor([[q1, off], [off, q2]])


def row_id(row: dict) -> str:
    """The same in every process, and short."""
    names = ("kind", "activation", "sw2", "sb2", "rho", "alpha2", "q0", "c0")
    return "-".join(str(row[name])[:8] for name in names if row.get(name) is not None)
