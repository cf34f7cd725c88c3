"""Pointwise nonlinearities φ and their derivatives."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override


class Activation(ABC):
    """A pointwise nonlinearity φ.

    homogeneous: φ(cx) = c φ(x) for every c > 0.
    odd: φ(−x) = −φ(x).
    """

    homogeneous: bool = False
    odd: bool = False

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """φ(x), elementwise."""

    @abstractmethod
    def prime(self, x: Tensor) -> Tensor:
        """φ'(x), elementwise; at a kink the value from the left."""

    def pullback(self, x: Tensor, p: Tensor) -> Tensor:
        """φ'(x) p, the way a gradient comes back through φ."""
        return p * self.prime(x)


@dataclass(frozen=True)
class Linear(Activation):
    """φ(x) = x."""

    homogeneous = True
    odd = True

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return x

    @override
    def prime(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    @override
    def pullback(self, x: Tensor, p: Tensor) -> Tensor:
        return p


@dataclass(frozen=True)
class ReLU(Activation):
    """φ(x) = max(x, 0), with φ'(0) = 0."""

    homogeneous = True

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return torch.relu(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @override
    def pullback(self, x: Tensor, p: Tensor) -> Tensor:
        return torch.ops.aten.threshold_backward(p, x, 0.0)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """φ(x) = x for x > 0, else slope · x.

    Args:
        slope: in [0, 1].
    """

    slope: float = 0.01
    homogeneous = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "slope", float(self.slope))
        if not 0 <= self.slope <= 1:
            raise ValueError(
                f"the slope of a leaky ReLU must lie in [0, 1], got {self.slope}; give for example 0.1"
            )

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.leaky_relu(x, self.slope)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, self.slope).to(x.dtype)


@dataclass(frozen=True)
class Tanh(Activation):
    """φ(x) = tanh(x)."""

    odd = True

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return 1.0 - torch.tanh(x).square()


@dataclass(frozen=True)
class Erf(Activation):
    """φ(x) = erf(x), of slope 2/√π at 0."""

    odd = True

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return torch.erf(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return (2.0 / math.sqrt(math.pi)) * torch.exp(-x.square())


@dataclass(frozen=True)
class Gelu(Activation):
    """φ(x) = x Φ(x), with Φ the normal distribution function (the exact form)."""

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        density = torch.exp(-0.5 * x.square()) / math.sqrt(2.0 * math.pi)
        return torch.special.ndtr(x) + x * density


@dataclass(frozen=True)
class Sigmoid(Activation):
    """φ(x) = 1 / (1 + e^{−x})."""

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        return s * (1.0 - s)


@dataclass(frozen=True)
class AlphaReLU(Activation):
    """φ(x) = x^α for x > 0, else 0; a gradient law needs α > 1/2 (Yang & Schoenholz, 2017).

    Args:
        alpha: in (1/2, 1].
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", float(self.alpha))
        if not 0.5 < self.alpha <= 1:
            raise ValueError(
                f"the exponent of an α-ReLU must lie in (1/2, 1], got {self.alpha}; give for example 0.75"
            )

    @property
    def homogeneous(self) -> bool:  # type: ignore[override]
        """Whether φ(cx) = c φ(x) for c > 0: only at α = 1."""
        return self.alpha == 1.0

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return torch.relu(x).pow(self.alpha)

    @override
    def prime(self, x: Tensor) -> Tensor:
        # The power is taken away from 0, where its value is infinite and its gradient NaN.
        positive = x > 0
        inside = torch.where(positive, x, 1.0)
        return torch.where(positive, self.alpha * inside.pow(self.alpha - 1.0), 0.0)


LINEAR = Linear()
RELU = ReLU()
TANH = Tanh()
ERF = Erf()
GELU = Gelu()
SIGMOID = Sigmoid()

_PLAIN: dict[str, Activation] = {
    "linear": LINEAR,
    "relu": RELU,
    "tanh": TANH,
    "erf": ERF,
    "gelu": GELU,
    "sigmoid": SIGMOID,
}
_WITH_NUMBER = {"leaky-relu": LeakyReLU, "alpha-relu": AlphaReLU}


def activation(name: str) -> Activation:
    """The activation of this name: one of linear, relu, tanh, erf, gelu, sigmoid, leaky-relu:S, alpha-relu:A.

    Raises:
        ValueError: the name is unknown, or its number is missing, malformed or out of range.

    Example:
        >>> activation("leaky-relu:0.8")
        LeakyReLU(slope=0.8)
    """
    if name in _PLAIN:
        return _PLAIN[name]
    family, _, number = name.partition(":")
    if family not in _WITH_NUMBER:
        known = ", ".join([*_PLAIN, "leaky-relu:S", "alpha-relu:A"])
        raise ValueError(f"unknown activation {name!r}; give one of {known}")
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"activation {name!r} needs a number after the colon, as in {family}:0.8") from None
    return _WITH_NUMBER[family](value)
