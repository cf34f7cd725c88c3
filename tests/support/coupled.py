"""What the tests of coupled networks share."""

import math

import torch
from torch import Tensor

from resnet_sde import Model, generator, limit
from resnet_sde.coupling import Comparison


def states(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, "states", shape))


def request(
    model: Model, x: Tensor, depths: tuple[int, ...], reference: int | str, method: str = "dense"
) -> Comparison:
    return Comparison(model, limit(model), x, depths, reference, method, gradients=False)


def z_score(values: Tensor, exact: float) -> float:
    return float((values.mean() - exact) / values.std()) * math.sqrt(len(values))


def growth(depth: int) -> float:
    """E ‖h_L‖² / ‖h_0‖² of the linear network with one white matrix."""
    return (1 + 1 / depth) ** depth
