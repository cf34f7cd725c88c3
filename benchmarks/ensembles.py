"""Random residual networks in three ways: ours, the usual way, and no more than the floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from resnet_sde import RELU, Model, TwoLayer, WhiteNoise, observables, simulate
from resnet_sde.monte_carlo import Ensemble, plan
from resnet_sde.streams import stream

N_IN = 64
FORWARD = (observables.displacement, observables.growth)
BOTH = (*FORWARD, observables.gradient_displacement, observables.gradient_growth)


@dataclass(frozen=True)
class Work:
    """Res-3 networks with one input, at the critical scaling.

    entries: law of the weights, "gaussian" or "uniform".
    gradients: backward too, not only forward.
    device: where ours computes.
    """

    width: int
    depth: int
    dtype: torch.dtype = torch.float32
    entries: str = "gaussian"
    gradients: bool = True
    device: str = "cpu"

    @property
    def model(self) -> Model:
        return Model(TwoLayer(RELU), WhiteNoise(self.entries), width=self.width)

    @property
    def observe(self) -> Sequence[object]:
        return BOTH if self.gradients else FORWARD

    @property
    def x(self) -> Tensor:
        return torch.linspace(-1.0, 1.0, N_IN, dtype=self.dtype, device=self.device)[None]

    def chunk(self, samples: int) -> int:
        """Networks that are computed at a time."""
        return min(samples, self._plan(samples).chunk)

    def _plan(self, samples: int) -> Ensemble:
        request = {"depth": self.depth, "samples": samples, "observe": self.observe, "seed": 0}
        return plan(self.model, self.x, **request, gradients=self.gradients, method="auto")


def ours(work: Work, samples: int) -> dict[str, Tensor]:
    return simulate(work.model, work.x, depth=work.depth, samples=samples, observe=work.observe)


def ours_in_processes(work: Work, samples: int, workers: int) -> object:
    from resnet_sde import study  # not loaded where memory is measured

    over = {"depth": [work.depth]}
    return study(
        lambda: work.model, work.x, over=over, samples=samples, observe=work.observe, workers=workers
    )


class Branch(nn.Module):
    """A residual branch as one writes it with torch.nn."""

    def __init__(self, width: int, dtype: torch.dtype, entries: str) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width, bias=False, dtype=dtype)
        self.outer = nn.Linear(width, width, bias=False, dtype=dtype)
        for matrix in (self.inner, self.outer):
            if entries == "gaussian":
                nn.init.normal_(matrix.weight, std=width**-0.5)
            else:
                nn.init.uniform_(matrix.weight, -math.sqrt(3 / width), math.sqrt(3 / width))

    def forward(self, h: Tensor) -> Tensor:
        return self.outer(torch.relu(self.inner(h)))


def usual(work: Work, samples: int) -> dict[str, Tensor]:
    """Network by network, a module for every layer, gradients of the first state alone by autograd."""
    results = [_usual_network(work) for _ in range(samples)]
    names = [o.__name__ for o in BOTH]
    return {name: torch.stack(values) for name, values in zip(names, zip(*results, strict=True), strict=True)}


def _usual_network(work: Work) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first = nn.Linear(N_IN, work.width, bias=False, dtype=work.dtype)
    nn.init.normal_(first.weight, std=N_IN**-0.5)
    branches = [Branch(work.width, work.dtype, work.entries) for _ in range(work.depth)]
    alpha = work.model.alpha(work.depth)
    start = end = first(work.x)
    for branch in branches:
        end = end + alpha * branch(end)
    top = torch.randn_like(end)
    (bottom,) = torch.autograd.grad(end, start, top)
    with torch.no_grad():
        return (
            (end - start).norm(dim=-1) / start.norm(dim=-1),
            end.norm(dim=-1) / start.norm(dim=-1),
            (bottom - top).norm(dim=-1) / top.norm(dim=-1),
            bottom.norm(dim=-1) / top.norm(dim=-1),
        )


class DeferredFloor:
    """The normal numbers that deferred matrices need, and nothing else: one for each entry of each answer."""

    def __init__(self, work: Work, samples: int) -> None:
        self.looks = work.depth * (4 if work.gradients else 2)
        chunk = work.chunk(samples)
        self.numbers = torch.empty(chunk, 1, work.width, dtype=work.dtype)
        self.chunks = samples / chunk
        self.source = stream(0, "floor")

    def __call__(self) -> None:
        for _ in range(math.ceil(self.looks * self.chunks)):
            self.source.normal_(self.numbers)


class DenseFloor:
    """Uniform numbers for all weights and the batched products with them, up and down, over one chunk."""

    def __init__(self, work: Work, samples: int) -> None:
        self.samples = work.chunk(samples)
        shape = (2 * work.depth, self.samples, work.width, work.width)
        self.weights = torch.empty(shape, dtype=work.dtype).unbind()
        self.h = torch.randn(self.samples, 1, work.width, dtype=work.dtype, generator=torch.Generator())
        self.out = torch.empty_like(self.h)
        self.random = np.random.Generator(np.random.SFC64(0))

    def __call__(self) -> None:
        for entries in self.weights:
            self.random.random(out=entries.numpy(), dtype=entries.numpy().dtype)
            torch.bmm(self.h, entries, out=self.out)
        for entries in reversed(self.weights):
            torch.bmm(self.h, entries.mT, out=self.out)
