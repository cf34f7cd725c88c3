"""One realised weight path, seen by networks of different depths.

A shallower network is not a new draw, it is another look at the same path: a rough path is summed over the
layers that one coarse layer replaces, a smooth path is evaluated at other times.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from typing_extensions import override

from resnet_sde._threads import one_thread
from resnet_sde.checks import check_memory

_BLOCK = 64  # times whose smooth features are computed at once


class OffGrid(ValueError):
    """A path was asked for a depth that it cannot show exactly."""


class Path(ABC):
    """One realised weight path."""

    @abstractmethod
    def weights(self, depth: int) -> Tensor:
        """Unit-variance weights as a network of `depth` layers meets them, a copy; shape (depth, *shape).

        Raises:
            OffGrid: this depth cannot be seen exactly from the stored path.
        """

    def shared(self, depth: int) -> Tensor:
        """As `weights`, but perhaps in the memory of the path, which is not to be written to."""
        return self.weights(depth)

    def driver(self, steps: int) -> Tensor:
        """Increments, of unit variance, of the motion that the weights sum to; shape (steps, *shape).

        Raises:
            OffGrid: this number of steps cannot be seen exactly from the stored path.
        """
        return self.weights(steps)

    def at(self, times: Tensor) -> Tensor:
        """Weights at `times` in [0, 1], of a path that is a function of time; shape (*times, *shape).

        Raises:
            OffGrid: it is none.
        """
        raise OffGrid("an ODE needs weights that are functions of time; draw the path from a smooth law")


@dataclass(frozen=True)
class GridPath(Path):
    """A rough path, stored by its unit-variance increments on the finest grid.

    fine: (depth, *shape).
    exponent: H; m increments summed and divided by m^H have unit variance again.
    stable: whether that sum has the law of one increment (true for Gaussian weights).
    otherwise: why it has not, and what to use instead.
    """

    fine: Tensor
    exponent: float
    stable: bool = True
    otherwise: str = (
        "sums of non-Gaussian weights have another law, so this path has depth {depth} only; "
        "use Gaussian entries for several depths on one path"
    )

    @override
    def weights(self, depth: int) -> Tensor:
        found = self.shared(depth)
        return found.clone() if found is self.fine else found

    @override
    def shared(self, depth: int) -> Tensor:
        finest = self.fine.shape[0]
        if depth == finest:
            return self.fine
        if depth < 1 or finest % depth:
            raise OffGrid(
                f"depth {depth} does not divide the {finest} layers of this path; ask for a divisor"
            )
        if not self.stable:
            raise OffGrid(self.otherwise.replace("{depth}", str(finest)))
        steps = finest // depth
        return self.fine.unflatten(0, (depth, steps)).sum(1).mul_(float(steps) ** -self.exponent)


@dataclass(frozen=True)
class FilteredPath(Path):
    """Weights with a short memory, made from white noise: networks of other depths see sums of that noise.

    noise: the white noise of the finest network, (depth / repeats, *shape).
    past: numbers from before the first layer, the same at all depths.
    color: from the past and the noise of a network to its weights, (depth / repeats, *shape) both.
    repeats: layers in a row that have the same weights.
    sign: of the sum of the weights, relative to that of the noise.
    """

    noise: GridPath
    past: Tensor
    color: Callable[[Tensor, Tensor], Tensor]
    depth: int
    repeats: int = 1
    sign: float = 1.0

    @override
    def weights(self, depth: int) -> Tensor:
        if depth != self.depth and (depth % self.repeats or self.depth % self.repeats):
            raise OffGrid(
                f"networks of {self.depth} and of {depth} layers see the same path only if both depths are "
                f"multiples of {self.repeats}, the layers that share their weights; ask for such depths"
            )
        steps = -(-depth // self.repeats)
        found = self.color(self.past, self.noise.weights(steps))
        return found if self.repeats == 1 else found.repeat_interleave(self.repeats, 0)[:depth]

    @override
    def driver(self, steps: int) -> Tensor:
        return self.noise.weights(steps) * self.sign


@dataclass(frozen=True)
class FunctionPath(Path):
    """A smooth path: `function` of times, (time,), to weights, (time, *shape), which get the dtype."""

    function: Callable[[Tensor], Tensor]
    dtype: torch.dtype
    device: torch.device

    @override
    def at(self, times: Tensor) -> Tensor:
        found = self.function(times.reshape(-1)).to(self.dtype)
        return found.reshape(*times.shape, *found.shape[1:])

    @override
    def weights(self, depth: int) -> Tensor:
        return self.at(torch.arange(depth, dtype=torch.float64, device=self.device) / depth)


@dataclass(frozen=True)
class SmoothPath(Path):
    """A Gaussian process with kernel exp(−(s − t)² / 2ℓ²), exact at any time from few random modes.

    modes: (rank, *shape), standard normal.
    """

    modes: Tensor
    length_scale: float

    @override
    def at(self, times: Tensor) -> Tensor:
        """Weights at `times` in [0, 1]; shape (*times, *shape), differentiable in the times."""
        features = smooth_features(times, self.length_scale).to(self.modes)
        values = features.reshape(-1, features.shape[-1]) @ self.modes.reshape(self.modes.shape[0], -1)
        return values.view(*times.shape, *self.modes.shape[1:])

    @override
    def weights(self, depth: int) -> Tensor:
        needed = depth * self.modes[0].numel() * self.modes.element_size()
        what = f"weights of shape {' × '.join(map(str, (depth, *self.modes.shape[1:])))}"
        check_memory(what, needed, "give a smaller depth, width or number", self.modes.device)
        return self.at(torch.arange(depth, dtype=torch.float64, device=self.modes.device) / depth)


@dataclass(frozen=True)
class ConstantPath(Path):
    """The same weights in every layer."""

    value: Tensor

    @override
    def at(self, times: Tensor) -> Tensor:
        return self.value.expand(*times.shape, *self.value.shape)

    @override
    def weights(self, depth: int) -> Tensor:
        return self.shared(depth).clone(memory_format=torch.contiguous_format)

    @override
    def shared(self, depth: int) -> Tensor:
        return self.value.expand(depth, *self.value.shape)


def smooth_features(times: Tensor, length_scale: float) -> Tensor:
    """k(t, nodes) U λ^{−1/2}: features whose inner products are the kernel; shape (*times, rank), float64.

    The Gram matrix of the kernel is numerically singular (rank 29 at length 0.1 whatever the depth), so the
    process is the Gaussian one that is exact at the nodes, of which there are eight per length.
    """
    nodes, factor = _smooth_factor(length_scale, times.device)
    rows = times.to(torch.float64).reshape(-1)
    # In blocks of one size: matrix products of another size round differently, and the factor of a singular
    # matrix enlarges that, so features at a time would depend on how many times were asked for.
    padded = torch.nn.functional.pad(rows, (0, -len(rows) % _BLOCK))
    with one_thread():
        blocks = [
            torch.exp(-0.5 * ((block[:, None] - nodes) / length_scale).square()) @ factor
            for block in padded.split(_BLOCK)
        ]
    return torch.cat(blocks)[: len(rows)].view(*times.shape, factor.shape[1])


@lru_cache(maxsize=16)
def _smooth_factor(length_scale: float, device: torch.device) -> tuple[Tensor, Tensor]:
    if device.type != "cpu":
        on_cpu = _smooth_factor(length_scale, torch.device("cpu"))
        return on_cpu[0].to(device), on_cpu[1].to(device)
    nodes = np.linspace(0.0, 1.0, 1 + max(16, int(np.ceil(8.0 / length_scale))))
    gram = np.exp(-0.5 * ((nodes[:, None] - nodes) / length_scale) ** 2)
    with threadpool_limits(1):  # the bits of a large factor depend on the number of threads
        eigenvalues, vectors = np.linalg.eigh(gram)
    keep = eigenvalues > 1e-12 * eigenvalues[-1]
    return torch.from_numpy(nodes), torch.from_numpy(vectors[:, keep] / np.sqrt(eigenvalues[keep]))
