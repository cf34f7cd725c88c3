"""The residual networks that these theorems look at, unscaled, and what is measured on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import RELU, TANH, AlphaReLU
from resnet_sde.blocks import Block, Reduced, TwoLayer
from resnet_sde.laws import WhiteNoise
from resnet_sde.meanfield import asymptotics
from resnet_sde.model import Model
from resnet_sde.theorems.lab import AssumptionNotMet, Lab, ask, inputs

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
    found = ask(asymptotics, model)
    if not isinstance(found, kind):
        raise AssumptionNotMet(f"the statement is about another kind of law than that of {model}")
    return found


@dataclass(frozen=True)
class LastLayer:
    """The last layer of networks, each (sample,).

    length: p^L, the mean square of a coordinate.
    apart: s^L, half the mean squared distance of the two inputs; 0 for one.
    log_growth: log χ^0/χ^L, the squared norm of the gradient at the first layer over that at the last.
    """

    length: Tensor
    apart: Tensor
    log_growth: Tensor


def last_layer(
    lab: Lab, model: Model, c: float | None, *, depth: int, samples: int | None = None
) -> LastLayer:
    """Networks that see two inputs of mean square 1 and cosine c, or one input without c."""
    x = inputs(1.0, 1.0, c or 0.0)[: 1 if c is None else 2]
    seen = lab.simulate(model, x, ob.kernel, ob.log10_gradient_growth, depth=depth, samples=samples)
    kernel, growth = seen["kernel"], seen["log10_gradient_growth"]
    apart = (kernel[:, 0, 0] + kernel[:, -1, -1]) / 2 - kernel[:, 0, -1]
    return LastLayer(kernel[:, 0, 0], apart, 2 * math.log(10) * growth[:, 0])


def logs_along(lab: Lab, model: Model, observe: ob.Observable, depth: int) -> Tensor:
    """Natural logarithms of squares whose log₁₀ is observed, of every layer; (sample, depth + 1)."""
    seen = lab.simulate(model, inputs(1.0, 1.0, 0.0)[:1], observe, depth=depth)
    return 2 * math.log(10) * seen[observe.__name__][..., 0]
