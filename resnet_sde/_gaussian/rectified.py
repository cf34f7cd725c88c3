"""The identity, and the nonlinearities made of two half-lines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde._gaussian.moments import Moments, arc, clip, root_step


@dataclass(frozen=True)
class IdentityMoments(Moments):
    """φ(x) = x."""

    @override
    def dual(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return (q1 * q2).sqrt() * (1 - clip(gap))

    @override
    def difference(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return root_step(q1, q2).square() / 2 + (q1 * q2).sqrt() * clip(gap)

    @override
    def dual_prime(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return torch.ones_like(q1 * q2 * gap)

    @override
    def mean_curvature(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return torch.zeros_like(q1 * q2 * gap)

    @override
    def mean(self, q: Tensor) -> Tensor:
        return torch.zeros_like(q)

    @override
    def second_moment_second(self, q: Tensor) -> Tensor:
        return torch.zeros_like(q)


@dataclass(frozen=True)
class Rectified(Moments):
    """φ(x) = x for x > 0, else slope · x: slope times the identity plus 1 − slope times a ReLU.

    With θ the angle between u and v, a ReLU has E φ(u)φ(v) = √(q1 q2) (sin ψ − ψ cos ψ) / 2π, ψ = π − θ, and
    E φ'(u)φ'(v) = ψ / 2π; its product with the identity is half of the identity's dual.
    """

    slope: float = 0.0

    @property
    def _bend(self) -> float:
        """The weight of the ReLU's own dual."""
        return (1 - self.slope) ** 2

    @override
    def dual(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        gap = clip(gap)
        sine, cosine = _sine(gap), gap - 1
        kinked = arc(torch.atan2(sine, cosine), sine, cosine).mul_(self._bend / (2 * math.pi))
        return (q1 * q2).sqrt() * (kinked + self.slope * (1 - gap) if self.slope else kinked)

    @override
    def difference(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        gap = clip(gap)
        sine = _sine(gap)
        angle = arc(torch.atan2(sine, 1 - gap), sine, 1 - gap)
        of_gap = (self.slope + self._bend / 2) * gap - self._bend / (2 * math.pi) * angle
        of_lengths = (1 + self.slope**2) / 4
        return of_lengths * root_step(q1, q2).square() + (q1 * q2).sqrt() * of_gap

    @override
    def dual_prime(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        kinked = self._bend / (2 * math.pi) * _supplement(clip(gap)) + self.slope
        return kinked * torch.ones_like(q1 * q2)

    @override
    def mean_curvature(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        # φ'' is 1 − slope times the Dirac mass: the density of u at 0 times E φ(v) given u = 0.
        return self._bend / (2 * math.pi) * (q2 / q1).sqrt() * _sine(clip(gap))

    @override
    def mean(self, q: Tensor) -> Tensor:
        return (1 - self.slope) * (q / (2 * math.pi)).sqrt()

    @override
    def second_moment(self, q: Tensor) -> Tensor:
        return (1 + self.slope**2) / 2 * q

    @override
    def second_moment_prime(self, q: Tensor) -> Tensor:
        return torch.full_like(q, (1 + self.slope**2) / 2)

    @override
    def second_moment_second(self, q: Tensor) -> Tensor:
        return torch.full_like(q, math.inf if self._bend else 0.0)


def _sine(gap: Tensor) -> Tensor:
    """The sine of the angle between u and v."""
    return torch.rsub(gap, 2.0).mul_(gap).sqrt_()


def _supplement(gap: Tensor) -> Tensor:
    """π minus the angle between u and v."""
    return torch.atan2(_sine(gap), gap - 1)
