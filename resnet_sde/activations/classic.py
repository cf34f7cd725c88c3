"""The nonlinearities whose Gaussian moments are closed, or sums of closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde import _gaussian
from resnet_sde._gaussian import Moments
from resnet_sde.activations.base import Activation


@dataclass(frozen=True)
class Linear(Activation):
    """φ(x) = x."""

    homogeneous = True
    odd = True
    smooth = True

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
        return _gaussian.IdentityMoments()


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
        return _gaussian.IdentityMoments() if self.slope == 1 else _gaussian.Rectified(self.slope)


@dataclass(frozen=True)
class Tanh(Activation):
    """φ(x) = tanh(x)."""

    odd = True
    smooth = True

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
    smooth = True

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

    smooth = True

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
        return _gaussian.GeluMoments()


@dataclass(frozen=True)
class Sigmoid(Activation):
    """φ(x) = 1 / (1 + e^{−x})."""

    smooth = True

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
