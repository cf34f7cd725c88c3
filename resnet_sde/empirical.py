"""Laws whose weights have heavy tails, or are those of a network that was trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.checks import finite_number
from resnet_sde.laws import Kind, Noise, PathLaw
from resnet_sde.paths import FunctionPath, GridPath, OffGrid, Path
from resnet_sde.streams import Stream


@dataclass(frozen=True)
class StudentNoise(PathLaw):
    """White noise whose entries have Student's t law, scaled to unit variance: heavy tails.

    degrees: of freedom, above 2, where the variance is finite; moments from that order on are not.
    """

    degrees: float
    noise: ClassVar[Noise] = "white"  # type: ignore[misc]
    symmetric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "degrees", finite_number("degrees", self.degrees))
        if self.degrees <= 2:
            raise ValueError(
                f"Student's t law of {self.degrees:g} degrees of freedom has no finite variance, which the "
                "scaling of a branch needs; give more than 2, for example 5"
            )

    def __str__(self) -> str:
        return f"student:{self.degrees:g}"

    def filler(self, source: Stream) -> Callable[[Tensor], Tensor]:
        """The function that fills a tensor with entries of this law.

        One coordinate of a point of random direction and of length √(ν (u^{−2/ν} − 1)) (Bailey, 1994).
        """

        def fill(out: Tensor) -> Tensor:
            source.exponential_(out)
            angle = source.uniform_(torch.empty_like(out)).mul_(math.pi / math.sqrt(3.0))
            out.mul_(2 / self.degrees).expm1_().mul_(self.degrees - 2).sqrt_()
            return out.mul_(angle.cos_())

        return fill

    @override
    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return self.filler(stream)(stream.empty(depth, *shape))


@dataclass(frozen=True, eq=False)
class EmpiricalNoise(PathLaw):
    """Weights like those of a network that was trained, seen at any depth.

    Every entry goes the way through the layers of an entry of that network, chosen at random, up to a random
    sign. So entries are independent, and covariances along depth are those of the network.

    paths: the weights of the network, (depth, …); the law has the variance 1 on average over its layers.
    regularity: "smooth", functions of the time k / depth with straight lines between layers, or "rough", sums
        over layers for networks whose depth divides that of the paths.
    exponent: half the growth exponent of the variance of sums; 1 of smooth weights; give it for rough ones.
    """

    paths: Tensor
    regularity: Kind
    exponent: float = None  # type: ignore[assignment]
    symmetric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_paths(self.paths)
        if self.regularity not in ("rough", "smooth"):
            raise ValueError(f"regularity must be rough or smooth, got {self.regularity!r}")
        growth = 1.0 if self.exponent is None and self.kind == "smooth" else self.exponent
        growth = finite_number("exponent", growth)
        if not (growth == 1 or (0 < growth < 1 and self.kind == "rough")):
            allowed = "1" if self.kind == "smooth" else "above 0 and at most 1"
            raise ValueError(f"exponent of {self.kind} weights must be {allowed}, got {growth:g}")
        flat = self.paths.detach().cpu().double().flatten(1)
        object.__setattr__(self, "paths", flat / flat.square().mean().sqrt())
        object.__setattr__(self, "exponent", growth)

    @property
    @override
    def kind(self) -> Kind:
        return self.regularity

    def __str__(self) -> str:
        return f"empirical:{self.kind}:{len(self.paths)}"

    @override
    def covariance(self, depth: int) -> Tensor:
        seen = self._seen(self.paths, depth)
        return seen @ seen.mT / seen.shape[1]

    @override
    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        if self.kind == "rough" and len(self.paths) % depth:
            raise OffGrid(
                f"depth {depth} does not divide the {len(self.paths)} layers of these paths; give a divisor"
            )
        count = math.prod(shape)
        uniform = source.uniform_(torch.empty(count, dtype=torch.float64, device=source.device))
        share = (uniform / (2 * math.sqrt(3.0)) + 0.5).clamp(0, 1)
        which = (share * self.paths.shape[1]).long().clamp(max=self.paths.shape[1] - 1)
        signs = source.rademacher_(source.empty(count))
        chosen = self.paths.to(which.device)[:, which].to(dtype) * signs
        fine = chosen.view(len(chosen), *shape)
        if self.kind == "rough":
            return GridPath(fine, self.exponent)
        return FunctionPath(lambda times: _between(fine, times), dtype, fine.device)

    def _seen(self, fine: Tensor, depth: int) -> Tensor:
        if self.kind == "rough":
            return GridPath(fine, self.exponent).weights(depth)
        return _between(fine, torch.arange(depth, dtype=torch.float64) / depth)


def _between(fine: Tensor, times: Tensor) -> Tensor:
    """Values at `times` of the lines through those at the times k / depth; constant after the last."""
    place = (times.double() * len(fine)).clamp(0, len(fine) - 1)
    left = place.floor().long().clamp(max=max(len(fine) - 2, 0))
    right = (left + 1).clamp(max=len(fine) - 1)
    part = (place - left).to(fine)[(..., *(None,) * (fine.ndim - 1))]
    return torch.lerp(fine[left], fine[right], part)


def _check_paths(paths: object) -> None:
    if not isinstance(paths, Tensor) or not paths.is_floating_point() or paths.ndim < 2 or 0 in paths.shape:
        kind = f"shape {tuple(paths.shape)}" if isinstance(paths, Tensor) else type(paths).__name__
        raise ValueError(f"paths must be a tensor of weights, (depth, …), of floating point, got {kind}")
    if not bool(paths.isfinite().all()) or not bool(paths.any()):
        raise ValueError("paths hold numbers that are not finite, or zeros alone; give trained weights")
