"""What a nonlinearity must know about Gaussian variables, and the few functions that several of them need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = torch.finfo(torch.float64).tiny
_ARC_SERIES = tuple(1 / (2 * k * (2 * k + 3)) for k in range(1, 8))  # ratios of successive terms
_SINE_SERIES = tuple(1 / ((2 * k + 2) * (2 * k + 3)) for k in range(1, 9))
_ARC_SWITCH = 0.5


class Moments(ABC):
    """The Gaussian moments of one nonlinearity φ.

    (u, v) are centred Gaussian with variances q1, q2 and correlation 1 − gap. All arguments broadcast.
    """

    @abstractmethod
    def dual(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        """E φ(u) φ(v)."""

    @abstractmethod
    def difference(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        """E (φ(u) − φ(v))² / 2."""

    @abstractmethod
    def dual_prime(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        """E φ'(u) φ'(v)."""

    @abstractmethod
    def mean_curvature(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        """E φ''(u) φ(v)."""

    @abstractmethod
    def mean(self, q: Tensor) -> Tensor:
        """E φ(u)."""

    @abstractmethod
    def second_moment_second(self, q: Tensor) -> Tensor:
        """E φ''(u)²."""

    def second_moment(self, q: Tensor) -> Tensor:
        """E φ(u)²."""
        return self.dual(q, q, torch.zeros_like(q))

    def second_moment_prime(self, q: Tensor) -> Tensor:
        """E φ'(u)²."""
        return self.dual_prime(q, q, torch.zeros_like(q))

    def share(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """E φ(u)² / q in two parts: its limit at q → 0 (if q < 1) or q → ∞, and what is left, accurately.

        Where this limit is 0, or infinite, the first part is 0.
        """
        return torch.zeros_like(q), self.second_moment(q) / q


def horner(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """Σ coefficients[k] x^k."""
    total = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def arc(x: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """Sin x − x cos x for x in [0, π], to full relative accuracy; the caller has both at hand."""
    direct = sine - x * cosine
    # A shortcut, where asking for the smallest number is not to wait for a device.
    if x.numel() == 0 or (x.device.type == "cpu" and x.min().item() >= _ARC_SWITCH):
        return direct
    small = x < _ARC_SWITCH
    square = x.square()
    series = torch.ones_like(x)
    for ratio in reversed(_ARC_SERIES):
        series = 1 - ratio * square * series
    return torch.where(small, square * x / 3 * series, direct)


def past_sine(x: Tensor) -> Tensor:
    """X − sin x for x in [0, π], to full relative accuracy."""
    square = x.square()
    series = torch.ones_like(x)
    for step in reversed(_SINE_SERIES):
        series = 1 - step * square * series
    return torch.where(x < _ARC_SWITCH, square * x / 6 * series, x - torch.sin(x))


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """A quotient of non-negative numbers in which 0 / 0 is 0."""
    return numerator / denominator.clamp_min(_TINY)


def root_step(q1: Tensor, q2: Tensor) -> Tensor:
    """√q1 − √q2 in absolute value, without cancellation."""
    return ratio((q1 - q2).abs(), q1.sqrt() + q2.sqrt())


def clip(gap: Tensor) -> Tensor:
    """The gap, brought back into [0, 2] from where rounding may have taken it."""
    return gap.clamp(0, 2)
