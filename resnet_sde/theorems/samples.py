"""Ensembles that checks of theorems look at, with or without an error planted in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde._random import generator, stream
from resnet_sde.blocks import Layer
from resnet_sde.ensembles import simulate
from resnet_sde.laws import PathLaw, WhiteNoise
from resnet_sde.limits import NoLimit
from resnet_sde.limits import limit as find_limit
from resnet_sde.limits.base import Limit
from resnet_sde.model import Model, WeightPaths
from resnet_sde.paths import GridPath
from resnet_sde.propagate import forward, trajectory
from resnet_sde.theorems.lab import AssumptionNotMet

_INPUT = 8  # dimension of the input of networks that are started at random
_SQUARE = 2 * math.log(10)  # from log₁₀ of a ratio to the natural logarithm of its square
_HELD = 2**24  # numbers in the weights held at once

WRONG = {
    "variance 5 % too large": {"variance": 1.05},
    "variance 5 % too small": {"variance": 0.95},
}
"""Controls of checks whose keyword `variance` goes to `planted`."""


def planted(
    model: Model, *, beta: float | None = None, variance: float = 1.0, law: PathLaw | None = None
) -> Model:
    """The networks that are really looked at: those of the statement, but for an error if one is given.

    beta: another scaling.
    variance: factor on the variance of the outer weights.
    law: another law of the weights along depth.
    """
    gain = model.gain * math.sqrt(variance)
    return replace(model, beta=model.beta if beta is None else beta, gain=gain, law=law or model.law)


def inputs(q1: float, q2: float, c: float) -> Tensor:
    """Two inputs whose states h_0 have these mean squares and this correlation, (input, n_in), float32."""
    directions = torch.tensor([[1.0, 0.0], [c, math.sqrt(1.0 - c * c)]])
    return (directions * torch.tensor([[2 * q1], [2 * q2]]).sqrt()).float()


def kernels(
    model: Model, start: tuple[float, float, float], *, depth: int, samples: int, seed: int
) -> Tensor:
    """Kernels of two inputs at the last layer of networks, (sample, 2, 2); `start` as in `inputs`."""
    return simulate(model, inputs(*start), depth=depth, samples=samples, observe=[ob.kernel], seed=seed)[
        "kernel"
    ]


def gap(kernel: Tensor) -> Tensor:
    """1 − correlation of the two inputs of each kernel; (sample,)."""
    return 1 - kernel[:, 0, 1] / (kernel[:, 0, 0] * kernel[:, 1, 1]).sqrt()


def log_ratios(model: Model, *, depth: int, samples: int, seed: int, method: str = "auto") -> list[Tensor]:
    """Natural logarithms of ‖h_L − h_0‖² / ‖h_0‖² and ‖h_L‖² / ‖h_0‖²; two of shape (sample,)."""
    return _log_ratios(model, [ob.log10_displacement, ob.log10_growth], depth, samples, seed, method)


def gradient_log_ratios(
    model: Model, *, depth: int, samples: int, seed: int, method: str = "auto"
) -> list[Tensor]:
    """The same of ‖p_0 − p_L‖² / ‖p_L‖² and ‖p_0‖² / ‖p_L‖², with p_L ~ N(0, I) of its own."""
    observe = [ob.log10_gradient_displacement, ob.log10_gradient_growth]
    return _log_ratios(model, observe, depth, samples, seed, method)


def _log_ratios(
    model: Model, observe: list[ob.Observable], depth: int, samples: int, seed: int, method: str
) -> list[Tensor]:
    x = torch.ones(1, _INPUT)
    found = simulate(model, x, depth=depth, samples=samples, observe=observe, method=method, seed=seed)
    return [_SQUARE * found[o.__name__][:, 0] for o in observe]


def starts(samples: int, width: int, seed: int, *key: object) -> Tensor:
    """Gaussian h_0 of independent networks, or other states named by a key; (sample, 1, width)."""
    return torch.randn(samples, 1, width, generator=generator(seed, "starts", samples, width, *key))


def child(seed: int, *key: object) -> int:
    """A seed for numbers that are independent of those of this seed."""
    return int(generator(seed, "child", *key).initial_seed())


def paths(model: Model, depth: int, samples: int, seed: int) -> Iterator[tuple[slice, WeightPaths]]:
    """Weight paths of independent networks, so many at a time that they fit into memory."""
    held = depth * sum(a * b for a, b in model.block.shapes(model.width).values())
    grain = max(1, min(samples, _HELD // held))
    for k, first in enumerate(range(0, samples, grain)):
        networks = slice(first, min(first + grain, samples))
        yield networks, model.draw(depth, samples=networks.stop - first, seed=child(seed, "paths", k))


def end(model: Model, h: Tensor, path: WeightPaths, depth: int) -> Tensor:
    """h_L of networks of this depth on a path; shape of h."""
    return forward(model.block, h, path.layers(depth), model.alpha(depth))[-1]


def mirrored(path: WeightPaths) -> WeightPaths:
    """The same path with −V in place of V, of the same law: averages over both lose their odd parts."""
    outer = path.matrices["outer"]
    assert isinstance(outer, GridPath)
    return WeightPaths({**path.matrices, "outer": replace(outer, fine=-outer.fine)})


def ends(model: Model, h: Tensor, depth: int, seed: int) -> Tensor:
    """h_L of independent networks that start at h, (sample, 1, width), on weights of their own."""
    if model.law == WhiteNoise():
        source = stream(seed, "ends", model, depth, tuple(h.shape))
        layers = (Layer.revealed(model.block.shapes(model.width), source) for _ in range(depth))
        seen = trajectory(model.block, h, layers, model.alpha(depth), every_layer=False)
        return seen.hidden.natural(-1)
    found = [end(model, h[part], path, depth) for part, path in paths(model, depth, len(h), seed)]
    return torch.cat(found)


def square(x: Tensor) -> Tensor:
    """Squared norms of states of one input; (sample,)."""
    return x.square().sum((1, 2))


def limit_of(model: Model, kind: str, *, coupled: bool = True) -> Limit:
    """The limit of a model, at its critical scaling whatever its own is.

    Raises:
        AssumptionNotMet: it has none, or one of another kind.
    """
    try:
        found = find_limit(replace(model, beta=None))
    except (NoLimit, ValueError) as refusal:
        raise AssumptionNotMet(str(refusal)) from None
    if found.kind != kind or (coupled and not found.coupled):
        path = ", on the weights themselves" if coupled else ""
        raise AssumptionNotMet(f"the statement is about a limit of kind {kind}{path}, not {found.kind}")
    return found
