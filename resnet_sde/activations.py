"""Pointwise nonlinearities φ, their derivatives and their Gaussian duals."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde import _gaussian
from resnet_sde._gaussian import Moments
from resnet_sde.parts import ACTIVATIONS, spelled


class Activation(ABC):
    """A pointwise nonlinearity φ and its Gaussian dual.

    homogeneous: φ(cx) = c φ(x) for every c > 0.
    odd: φ(−x) = −φ(x).

    In the Gaussian moments (u, v) are centred with variances q1, q2 and correlation 1 − gap, gap in [0, 2]; z
    is standard normal. Their arguments are tensors in float64, and broadcast. The gap is asked for instead of
    the correlation because near two equal inputs everything depends on its digits.

    What an activation of one's own states is tried where it is first used: its derivative at arguments from
    −12 to 12, its moments at a few variances from 0.0025 to 25. What is false elsewhere alone is not seen.
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

    @property
    def _moments(self) -> Moments:
        """The formulas behind the Gaussian moments; an activation of one's own may do without."""
        raise NotImplementedError(
            f"the Gaussian moments of {self} are not known; give it a property _moments"
        )

    def dual(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        """E φ(u) φ(v)."""
        return self._moments.dual(q1, q2, gap)

    def difference(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        """E (φ(u) − φ(v))² / 2, without cancellation as gap → 0 and q1 → q2."""
        return self._moments.difference(q1, q2, gap)

    def dual_prime(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        """E φ'(u) φ'(v), which is the derivative of the dual in the covariance (Price's theorem)."""
        return self._moments.dual_prime(q1, q2, gap)

    def mean_curvature(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        """E φ''(u) φ(v), which is twice the derivative of the dual in q1 at fixed covariance.

        Where φ' jumps φ'' has a Dirac mass. For an α-ReLU, α < 1, the second reading is the definition.
        """
        return self._moments.mean_curvature(q1, q2, gap)

    def mean(self, q: Tensor) -> Tensor:
        """E φ(√q z)."""
        return self._moments.mean(q)

    def second_moment(self, q: Tensor) -> Tensor:
        """E φ(√q z)², the dual at gap 0."""
        return self._moments.second_moment(q)

    def share(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """E φ(√q z)² / q in two parts: a limit that it may have at q → 0 or q → ∞, and what is left.

        Near such a limit the second part keeps its digits. For an activation of one's own the first may be 0.
        """
        try:
            moments = self._moments
        except NotImplementedError:
            return torch.zeros_like(q), self.second_moment(q) / q
        return moments.share(q)

    def second_moment_prime(self, q: Tensor) -> Tensor:
        """E φ'(√q z)²."""
        return self._moments.second_moment_prime(q)

    def second_moment_second(self, q: Tensor) -> Tensor:
        """E φ''(√q z)²; infinite where φ has a kink."""
        return self._moments.second_moment_second(q)


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

    @property
    @override
    def _moments(self) -> Moments:
        return _gaussian.Identity()


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

    @property
    @override
    def _moments(self) -> Moments:
        return _gaussian.Rectified()


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """φ(x) = x for x > 0, else slope · x.

    Args:
        slope: in [0, 1].
    """

    slope: float = 0.01
    homogeneous = True

    @property
    def odd(self) -> bool:  # type: ignore[override]
        """Whether φ(−x) = −φ(x): only at slope 1, where it is the identity."""
        return self.slope == 1.0

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
        # Not torch.where of two numbers, which would round the slope to torch's default dtype.
        return torch.full_like(x, self.slope).masked_fill_(x > 0, 1.0)

    @property
    @override
    def _moments(self) -> Moments:
        return _gaussian.Identity() if self.slope == 1 else _gaussian.Rectified(self.slope)


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

    @property
    @override
    def _moments(self) -> Moments:
        return _gaussian.logistic(1.0, shifted=False)


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

    @property
    @override
    def _moments(self) -> Moments:
        return _gaussian.ErfMixture((1.0,), (0.5,))


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

    @property
    @override
    def _moments(self) -> Moments:
        return _gaussian.Gelu()


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

    @property
    @override
    def _moments(self) -> Moments:
        return _gaussian.logistic(2.0, shifted=True)


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

    @property
    @override
    def _moments(self) -> Moments:
        return _gaussian.Rectified() if self.alpha == 1 else _gaussian.HalfPower(self.alpha)


LINEAR = Linear()
RELU = ReLU()
TANH = Tanh()
ERF = Erf()
GELU = Gelu()
SIGMOID = Sigmoid()


def activation(name: str) -> Activation:
    """The activation of this name: one of linear, relu, tanh, erf, gelu, sigmoid, leaky-relu:S, alpha-relu:A.

    Raises:
        ValueError: the name is unknown, or its number is missing, malformed or out of range.

    Example:
        >>> activation("leaky-relu:0.8")
        LeakyReLU(slope=0.8)
    """
    family, colon, number = name.partition(":")
    part = ACTIVATIONS.get(family)
    if part is None or (colon and not part.choices):
        known = ", ".join(spelled(ACTIVATIONS.values()))
        raise ValueError(f"unknown activation {name!r}; give one of {known}")
    if not part.choices:
        return cast(Activation, part.made_of)
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"activation {name!r} needs a number after the colon, as in {family}:0.8") from None
    return cast(Activation, part.make(value))
