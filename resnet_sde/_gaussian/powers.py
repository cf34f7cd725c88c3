"""Powers of a half-line, x^α for x > 0, by the hypergeometric forms of their kernel J (Cho & Saul, 2009)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gamma, poch
from torch import Tensor
from typing_extensions import override

from resnet_sde._gaussian.moments import Moments, clip, horner, ratio

_TERMS = 52  # of series in x ≤ 1/2


@dataclass(frozen=True)
class Kernel:
    """J(c) = E ψ(u)ψ(v) / E ψ(u)² for ψ(x) = x^a on x > 0, at correlation c = 1 − 2x.

    Near c = −1, a positive series in 1 − x; near c = 1 its continuation, in which nothing cancels as x → 0.
    Both use f(y) = ₂F₁(1/2, 1/2; a + 3/2; y), with y = min(x, 1 − x).

    Args:
        regular: coefficients of the part of J that is analytic in x at c = 1.
        f: coefficients of f.
        near, far: the constants before f in the two forms.
    """

    exponent: float
    regular: tuple[float, ...]
    f: tuple[float, ...]
    near: float
    far: float

    @classmethod
    @functools.cache
    def of(cls, a: float) -> Kernel:
        """The kernel of x^a: a > −1/2 and a + 1/2 not an integer other than 0."""
        k = np.arange(_TERMS)
        f = poch(0.5, k) ** 2 / (poch(a + 1.5, k) * poch(1.0, k))
        regular = poch(-a, k) ** 2 / (poch(0.5 - a, k) * poch(1.0, k))
        far = gamma(a + 1) ** 2 / (gamma(a + 0.5) * gamma(a + 1.5))
        near = gamma(a + 1) ** 2 * gamma(-a - 0.5) / (math.pi * gamma(a + 0.5))
        return cls(a, tuple(regular.tolist()), tuple(f.tolist()), float(near), float(far))

    def __call__(self, gap: Tensor) -> Tensor:
        """J."""
        return torch.where(gap <= 1, 1 - self._lost(gap), self._left(gap))

    def complement(self, gap: Tensor) -> Tensor:
        """1 − J."""
        return torch.where(gap <= 1, self._lost(gap), 1 - self._left(gap))

    def _lost(self, gap: Tensor) -> Tensor:
        """1 − J, for gap ≤ 1."""
        x = gap / 2
        series = horner(self.regular[1:], x.clamp_max(0.5))
        return -x * series - self.near * x.pow(self.exponent + 0.5) * self._f(x)

    def _left(self, gap: Tensor) -> Tensor:
        """J, for gap ≥ 1."""
        z = (2 - gap) / 2
        return self.far * z.pow(self.exponent + 0.5) * self._f(z)

    def _f(self, y: Tensor) -> Tensor:
        return horner(self.f, torch.minimum(y, 1 - y))


@dataclass(frozen=True)
class HalfPower(Moments):
    """φ(x) = x^α for x > 0, else 0, with α in (1/2, 1)."""

    alpha: float

    @override
    def dual(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        a = self.alpha
        return _size(a) * (q1 * q2).pow(a / 2) * Kernel.of(a)(clip(gap))

    @override
    def difference(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        a = self.alpha
        larger, smaller = torch.maximum(q1, q2), torch.minimum(q1, q2)
        share = ratio(smaller, larger)
        near = -torch.expm1(a / 2 * torch.log1p(-ratio(larger - smaller, larger)))
        shrunk = torch.where(share > 0.5, near, 1 - share.pow(a / 2))
        of_lengths = larger.pow(a) * shrunk.square() / 2
        return _size(a) * (of_lengths + (q1 * q2).pow(a / 2) * Kernel.of(a).complement(clip(gap)))

    @override
    def dual_prime(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        a = self.alpha
        return a**2 * _size(a - 1) * (q1 * q2).pow((a - 1) / 2) * Kernel.of(a - 1)(clip(gap))

    @override
    def mean_curvature(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        # φ'' is no function, so by way of 2 ∂dual/∂q1 at fixed covariance.
        a, gap = self.alpha, clip(gap)
        slope = a**2 / (2 * a - 1) * Kernel.of(a - 1)(gap)
        return _size(a) * (q1 * q2).pow(a / 2) / q1 * (a * Kernel.of(a)(gap) - (1 - gap) * slope)

    @override
    def mean(self, q: Tensor) -> Tensor:
        return _size(self.alpha / 2) * q.pow(self.alpha / 2)

    @override
    def second_moment(self, q: Tensor) -> Tensor:
        return _size(self.alpha) * q.pow(self.alpha)

    @override
    def second_moment_prime(self, q: Tensor) -> Tensor:
        return self.alpha**2 * _size(self.alpha - 1) * q.pow(self.alpha - 1)

    @override
    def second_moment_second(self, q: Tensor) -> Tensor:
        return torch.full_like(q, math.inf)


def _size(a: float) -> float:
    """E x^{2a} over x > 0 for x standard normal."""
    return 2 ** (a - 1) * math.gamma(a + 0.5) / math.sqrt(math.pi)
