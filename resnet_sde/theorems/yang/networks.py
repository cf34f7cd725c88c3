"""The residual networks that these theorems look at, unscaled, and what is measured on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import RELU, TANH, AlphaReLU
from resnet_sde.blocks import Block, Reduced, TwoLayer
from resnet_sde.ensembles import simulate
from resnet_sde.laws import WhiteNoise
from resnet_sde.meanfield import asymptotics
from resnet_sde.model import Model
from resnet_sde.theorems.core import AssumptionNotMet
from resnet_sde.theorems.samples import inputs

RESIDUAL = (
    "x ← x + V φ(W x + b) + a (full) or x ← x + φ(W x + b) (reduced), not scaled with depth",
    "white Gaussian weights and biases",
)
FULL_TANH = TwoLayer(TANH, 1.0, 0.25, 1.0, 0.25)
REDUCED_TANH = Reduced(TANH, 2.0, 0.5)
FULL_RELU = TwoLayer(RELU, 1.0, 0.1, 0.5, 0.1)
FULL_POWER = TwoLayer(AlphaReLU(0.75), 1.0, 0.5, 1.0, 0.5)


def residual(block: Block, width: int = 1) -> Model:
    """The network of this block, unscaled."""
    return Model(block, WhiteNoise(), width, beta=0.0)


_Laws = TypeVar("_Laws")


def laws_of(model: Model, kind: type[_Laws]) -> _Laws:
    """The asymptotic laws of a network, which must be of this kind."""
    try:
        found = asymptotics(model)
    except ValueError as refusal:
        raise AssumptionNotMet(str(refusal)) from None
    if not isinstance(found, kind):
        raise AssumptionNotMet(f"the statement is about another kind of law than that of {model}")
    return found


@dataclass(frozen=True)
class Ends:
    """The last layer of networks, each (sample,).

    length: p^L, the mean square of a coordinate.
    apart: s^L, half the mean squared distance of the two inputs; 0 for one.
    log_growth: log χ^0/χ^L, the squared norm of the gradient at the first layer over that at the last.
    """

    length: Tensor
    apart: Tensor
    log_growth: Tensor


def ends(model: Model, c: float | None, *, depth: int, samples: int, seed: int) -> Ends:
    """Networks that see two inputs of mean square 1 and cosine c, or one input without c."""
    observe = [ob.kernel, ob.log10_gradient_growth]
    x = inputs(1.0, 1.0, c or 0.0)[: 1 if c is None else 2]
    seen = simulate(model, x, depth=depth, samples=samples, observe=observe, seed=seed)
    kernel, growth = seen["kernel"], seen["log10_gradient_growth"]
    apart = (kernel[:, 0, 0] + kernel[:, -1, -1]) / 2 - kernel[:, 0, -1]
    return Ends(kernel[:, 0, 0], apart, 2 * math.log(10) * growth[:, 0])


def log_lengths(model: Model, *, depth: int, samples: int, seed: int) -> Tensor:
    """Log p^l of every layer, for an input of mean square 1; (sample, depth + 1)."""
    return _profile(model, ob.log10_length, depth, samples, seed)


def log_gradients(model: Model, *, depth: int, samples: int, seed: int) -> Tensor:
    """Log χ^l of every layer, up to a constant; (sample, depth + 1)."""
    return _profile(model, ob.log10_gradient_length, depth, samples, seed)


def _profile(model: Model, observe: ob.Observable, depth: int, samples: int, seed: int) -> Tensor:
    x = inputs(1.0, 1.0, 0.0)[:1]
    seen = simulate(model, x, depth=depth, samples=samples, observe=[observe], seed=seed)
    return 2 * math.log(10) * seen[observe.__name__][..., 0]
