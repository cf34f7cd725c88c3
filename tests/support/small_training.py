"""A small training problem: points of three classes, networks that learn them in a few steps."""

import torch

import resnet_sde as rs
from resnet_sde.training import Data, Examples, TrainingConfig, TrainingJob

N_IN, CLASSES = 6, 3
CONFIG = TrainingConfig(epochs=2, batch_size=16, dtype="float64")


def points(count: int, *key: object) -> Examples:
    """Gaussian clouds around three corners."""
    source = rs.generator(0, "points", count, *key)
    y = torch.randint(CLASSES, (count,), generator=source)
    return Examples(torch.randn(count, N_IN, generator=source) + 3 * torch.eye(CLASSES, N_IN)[y], y)


def data(dtype: torch.dtype = torch.float64) -> Data:
    parts = [points(*key) for key in ((90, "train"), (40, "validation"), (50, "test"))]
    return Data("points", *(Examples(x.to(dtype), y) for x, y in parts), CLASSES)


def job(lr: float = 0.01, seed: int = 0, depth: int = 6, **changes: object) -> TrainingJob:
    given = {"block": rs.SingleLayer(rs.RELU), "law": rs.WhiteNoise(), "width": 8, "beta": 0.5}
    return TrainingJob(rs.Model(**{**given, **changes}), depth, lr, seed)
