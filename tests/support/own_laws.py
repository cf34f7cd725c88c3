"""Laws of one's own as someone writes them, with what may be wrong with them."""

from typing import Any

import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde.streams import Stream


class Remembering(rs.PathLaw):
    """V_k = a V_{k−1} + √(1 − a²) ξ_k."""

    noise: Any = "short-memory"
    gaussian: Any = True

    def __init__(self, a: float = 0.5, **changed: Any) -> None:
        self.a, self.changed = a, changed

    def autocovariance(self, depth: int) -> Tensor:
        return self.changed.get("stated", self.a) ** torch.arange(depth, dtype=torch.float64)

    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        v = stream.normal(depth, *shape)
        for k in range(1, depth):
            v[k] = self.a * v[k - 1] + (1 - self.a**2) ** 0.5 * v[k]
        return v * self.changed.get("size", 1.0)


class Waves(rs.PathLaw):
    """a cos 3t + b sin 3t."""

    noise: Any = "smooth"
    gaussian: Any = True

    def correlation(self, lag: Tensor) -> Tensor:
        return torch.cos(3 * lag)

    def value(self, shape: tuple[int, ...], stream: Stream) -> Any:
        both = stream.normal(2, *shape)
        return lambda t: torch.tensordot(
            torch.stack([torch.cos(3 * t), torch.sin(3 * t)], -1).to(both), both, 1
        )


class Signs(rs.PathLaw):
    """White weights ±1: nothing more needs to be said."""

    noise: Any = "white"

    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return stream.normal(depth, *shape).sign()


class Ramp(rs.PathLaw):
    """a (1/2 + t): smooth, of another variance at every time."""

    kind: Any = "smooth"

    def covariance(self, depth: int) -> Tensor:
        size = 0.5 + torch.arange(depth, dtype=torch.float64) / depth
        return size[:, None] * size

    def value(self, shape: tuple[int, ...], stream: Stream) -> Any:
        a = stream.normal(*shape)
        return lambda t: (0.5 + t).to(a)[(..., *(None,) * a.ndim)] * a
