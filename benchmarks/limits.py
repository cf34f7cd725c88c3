"""Deep networks as schemes for their limits, beside torchsde and torchdiffeq; many depths on one path."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torchsde
from torch import Tensor, nn

from resnet_sde import TANH, Model, SingleLayer, SmoothNoise, WhiteNoise, couple, limit, simulate
from resnet_sde.model import WeightPaths
from resnet_sde.propagate import Trajectory, forward
from resnet_sde.streams import generator

DTYPE = torch.float32
REFERENCE = 1024
DEPTHS = (16, 32, 64, 128, 256)
"""Six depths with the reference."""


def white(width: int) -> Model:
    return Model(SingleLayer(TANH), WhiteNoise(), width=width)


def smooth(width: int) -> Model:
    return Model(SingleLayer(TANH), SmoothNoise(), width=width)


@lru_cache
def start(width: int, batch: int) -> Tensor:
    """Initial states, independent standard normal numbers; shape (batch, input, width)."""
    return torch.randn(batch, 1, width, dtype=DTYPE, generator=generator(0, "start", width, batch))


def sde_on_a_path(width: int, depth: int, batch: int) -> Tensor:
    """States at time 1, (batch, width), from weights that are drawn in full."""
    model = white(width)
    layers = model.draw(depth, samples=batch, dtype=DTYPE).layers(depth)
    return forward(model.block, start(width, batch), layers, model.alpha(depth))[-1, :, 0]


def sde_deferred(width: int, depth: int, batch: int) -> Tensor:
    """The same in law: deferred matrices, and initial states that `simulate` draws."""
    x = torch.ones(1, width, dtype=DTYPE)
    return simulate(white(width), x, depth=depth, samples=batch, observe=[_end])["_end"]


def _end(seen: Trajectory) -> Tensor:
    return seen.hidden.natural(-1)[:, 0]


_end.every_layer = False  # type: ignore[attr-defined]


class Diffusion(nn.Module):
    """dH = dB tanh(H) / √d as torchsde's manual writes a general noise: a matrix d × d² for each sample."""

    noise_type, sde_type = "general", "ito"

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.zeros_like(y)

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        batch, width = y.shape
        rows = torch.einsum("ij,bk->bikj", torch.eye(width, dtype=y.dtype), torch.tanh(y) * width**-0.5)
        return rows.reshape(batch, width, width**2)


class DiffusionProduct(nn.Module):
    """The same by its product with the noise alone, without that matrix."""

    noise_type, sde_type = "general", "ito"

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.zeros_like(y)

    def g_prod(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        batch, width = y.shape
        inner = torch.tanh(y)[:, None] * width**-0.5
        return torch.bmm(inner, v.view(batch, width, width))[:, 0]


def torchsde_documented(width: int, depth: int, batch: int) -> Tensor:
    """As in torchsde's manual, with the Brownian motion that it makes itself."""
    return _torchsde(Diffusion(), None, width, depth, batch)


def torchsde_at_best(width: int, depth: int, batch: int) -> Tensor:
    """With g_prod alone, and a Brownian motion that is told the step."""
    size = (batch, width**2)
    entropy = int(torch.randint(2**31, ()))
    bm = torchsde.BrownianInterval(0.0, 1.0, size=size, dtype=DTYPE, dt=1.0 / depth, entropy=entropy)
    return _torchsde(DiffusionProduct(), bm, width, depth, batch)


def _torchsde(
    equation: nn.Module, bm: torchsde.BrownianInterval | None, width: int, depth: int, batch: int
) -> Tensor:
    times = torch.tensor([0.0, 1.0], dtype=DTYPE)
    with torch.no_grad(), torch.random.fork_rng([]):
        y = start(width, batch)[:, 0]
        return torchsde.sdeint(equation, y, times, bm=bm, method="euler", dt=1.0 / depth)[-1]


def coupled(width: int, reference: int, samples: int, method: str) -> tuple[float, ...]:
    """Strong errors of six depths on the same paths, the deepest one the reference."""
    depths = [depth for depth in DEPTHS if depth < reference]
    x = torch.ones(1, width, dtype=DTYPE)
    found = couple(white(width), x, depths=depths, samples=samples, reference=reference, method=method)
    assert found.strong_errors is not None
    return found.strong_errors


@lru_cache
def ode_path(width: int, depth: int, batch: int) -> WeightPaths:
    return smooth(width).draw(depth, samples=batch, dtype=DTYPE)


def ode_network(width: int, depth: int, batch: int) -> Tensor:
    model = smooth(width)
    layers = ode_path(width, depth, batch).layers(depth)
    return forward(model.block, start(width, batch), layers, model.alpha(depth))[-1]


def ode_torchdiffeq(width: int, depth: int, batch: int) -> Tensor:
    path = ode_path(width, depth, batch)
    solution = limit(smooth(width)).solve(start(width, batch), path, steps=depth, method="euler")
    assert math.isfinite(float(solution.sum()))
    return solution
