"""The sine, whose Gaussian moments are those of characteristic functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde._gaussian.moments import Moments, clip, horner, root_step

_SMALL = 0.25  # of 2q: below, (1 − e^{−2q}) / 2q − 1 by its series


@dataclass(frozen=True)
class Sine(Moments):
    """φ(x) = sin(x), with u ± v of variances P and M: E sin u sin v = (e^{−M/2} − e^{−P/2}) / 2."""

    @override
    def dual(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        less, more = _variances(q1, q2, gap)
        apart = 2 * (q1 * q2).sqrt() * (1 - clip(gap))  # (P − M) / 2
        near = -torch.exp(-torch.minimum(less, more) / 2) * torch.expm1(-apart.abs())
        return torch.sign(apart) * near / 2

    @override
    def difference(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        less, more = _variances(q1, q2, gap)
        small, large = torch.minimum(q1, q2), torch.maximum(q1, q2)
        lengths = torch.exp(-small) * torch.expm1(small - large)  # e^{−large} − e^{−small}
        return (-torch.expm1(-less / 2) * (1 + torch.exp(-more / 2)) - lengths.square() / 2) / 2

    @override
    def dual_prime(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        less, more = _variances(q1, q2, gap)
        return (torch.exp(-less / 2) + torch.exp(-more / 2)) / 2

    @override
    def mean_curvature(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return -self.dual(q1, q2, gap)

    @override
    def mean(self, q: Tensor) -> Tensor:
        return torch.zeros_like(q)

    @override
    def second_moment(self, q: Tensor) -> Tensor:
        return -torch.expm1(-2 * q) / 2

    @override
    def share(self, q: Tensor) -> tuple[Tensor, Tensor]:
        small, x = q < 1, 2 * q
        series = -x / 2 * horner(_LOST, x.clamp_max(_SMALL))
        near = torch.where(x < _SMALL, series, -torch.expm1(-x) / x - 1)
        return torch.where(small, 1.0, 0.0).to(q), torch.where(small, near, self.second_moment(q) / q)

    @override
    def second_moment_second(self, q: Tensor) -> Tensor:
        return self.second_moment(q)


def _factors() -> tuple[float, ...]:
    """1 − x/3 + x²/12 − …, the coefficients 2 (−1)^k / (k + 2)!."""
    found, now = [], 1.0
    for k in range(14):
        found.append(now)
        now = -now / (k + 3)
    return tuple(found)


_LOST = _factors()


def _variances(q1: Tensor, q2: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """Those of u − v and of u + v."""
    gap, k = clip(gap), 2 * (q1 * q2).sqrt()
    apart = root_step(q1, q2).square()
    return apart + k * gap, apart + k * (2 - gap)
