"""GELU, all of whose Gaussian moments are elementary.

By Stein's lemma they follow from E Φ(u) Φ(v) = 1/4 + asin(ρ) / 2π, ρ = k / √(AC), A = 1 + q1, C = 1 + q2,
with k the covariance of u and v. Below, Δ = AC − k², ψ = π − acos ρ and arc(x) = sin x − x cos x; then

    2π E φ(u)φ(v) = kψ + (q1 q2 Δ + k²) / (AC √Δ)
                  = √(AC) arc(ψ) + 1/√Δ − √Δ (1/A + 1/C),

of which the first cancels nothing for k > 0, the second nothing for large variances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde._gaussian.moments import Moments, arc, clip, past_sine, ratio, root_step

_TURN = 2 * math.pi


@dataclass(frozen=True)
class GeluMoments(Moments):
    """φ(x) = x Φ(x), with Φ the normal distribution function."""

    @override
    def dual(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        gap = clip(gap)
        k, delta = (q1 * q2).sqrt() * (1 - gap), _delta(q1, q2, gap)
        ac, root = (1 + q1) * (1 + q2), delta.sqrt()
        psi = torch.atan2(root, -k)
        first = k * psi + (q1 / (1 + q1)) * (q2 / (1 + q2)) * (root + (1 - gap).square() / root)
        second = ac.sqrt() * arc(psi, torch.sin(psi), torch.cos(psi)) + 1 / root - root * (2 + q1 + q2) / ac
        return torch.where((k < 0) & (4 * k.square() > ac), second, first) / _TURN

    @override
    def difference(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return _of_gap(q1, q2, clip(gap)) + _of_lengths(q1, q2)

    @override
    def dual_prime(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        gap = clip(gap)
        k, delta = (q1 * q2).sqrt() * (1 - gap), _delta(q1, q2, gap)
        root = delta.sqrt()
        rest = 1 / delta + (2 + q1 + q2) / ((1 + q1) * (1 + q2))
        return (torch.atan2(root, -k) + k / root * rest) / _TURN

    @override
    def mean_curvature(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        # 2 ∂dual/∂q1 at fixed k; s = q1 q2 − k².
        gap = clip(gap)
        s, delta, a = q1 * q2 * gap * (2 - gap), _delta(q1, q2, gap), 1 + q1
        numerator = s * (a * delta + 2 * delta + a + 2 * q2) + q2 * (2 + q1 + 2 * q2 - q1.square())
        return numerator / (_TURN * a.square() * delta.pow(1.5))

    @override
    def mean(self, q: Tensor) -> Tensor:
        return q / (_TURN * (1 + q)).sqrt()

    @override
    def share(self, q: Tensor) -> tuple[Tensor, Tensor]:
        root = (1 + 2 * q).sqrt()
        angle = torch.atan2(root, q)
        twice = torch.cos(angle) * past_sine(angle) + past_sine(2 * angle) / 2
        far = -twice / (_TURN * (1 + torch.cos(angle)))
        near = (torch.atan2(q, root) + 2 * q / ((1 + q) * root)) / _TURN
        return torch.where(q < 1, 0.25, 0.5).to(q), torch.where(q < 1, near, far)

    @override
    def second_moment_second(self, q: Tensor) -> Tensor:
        # φ''(x) = (2 − x²) times the normal density, whose square narrows the variance to v.
        v = q / (1 + 2 * q)
        return (4 - 4 * v + 3 * v.square()) / (_TURN * (1 + 2 * q).sqrt())


def _delta(q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
    return 1 + q1 + q2 + q1 * q2 * (gap * (2 - gap))


def _of_gap(q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
    """The dual at gap 0 minus the dual at this gap."""
    k0, ac = (q1 * q2).sqrt(), (1 + q1) * (1 + q2)
    root0, root = (1 + q1 + q2).sqrt(), _delta(q1, q2, gap).sqrt()
    step = q1 * q2 * gap * (2 - gap) / (root + root0)  # root − root0
    angle0 = torch.atan2(root0, k0)
    half = torch.atan2(k0 * (step + gap * root0), root * root0 + k0.square() * (1 - gap)) / 2
    middle = angle0 + half
    sine = torch.sin(half)
    arcs = 2 * (torch.cos(middle) * arc(half, sine, torch.cos(half)) + middle * torch.sin(middle) * sine)
    return k0 * gap / 2 + (step * (1 / (root * root0) + (2 + q1 + q2) / ac) - ac.sqrt() * arcs) / _TURN


def _of_lengths(q1: Tensor, q2: Tensor) -> Tensor:
    """E (φ(√q1 z) − φ(√q2 z))² / 2, every term with its factor (q1 − q2)²."""
    w1, w2 = (1 + 2 * q1).sqrt(), (1 + 2 * q2).sqrt()
    a, c, k = 1 + q1, 1 + q2, (q1 * q2).sqrt()
    middle = (1 + q1 + q2).sqrt()
    apart = (q1 - q2).square()
    # Angles: those of the two second moments, against the one between them.
    y1, y2 = 2 * q1 / (1 + w1), 2 * q2 / (1 + w2)
    x, y = w1 + w2, y1 + y2 + y1 * y2
    cross = 4 * apart / x.square() * (y / (x + 2 * middle) + ratio(x, y + 2 * k))
    excess = torch.atan2(cross, 2 * x * middle + 2 * y * k)
    turn = (q1 - q2) * torch.atan2(2 * (q1 - q2) / x, 1 + w1 * w2)
    angles = root_step(q1, q2).square() * torch.atan2(middle, -k) + (q1 + q2) * excess + turn
    # What is left is algebraic.
    s1, s2 = 1 / (w1 * (middle + w1)), 1 / (w2 * (middle + w2))
    bent = (q1 + q2 + q1 * q2) * s1 / (a * c) - 2 * q2.square() / c * (middle + x) * s1 * s2 / x
    return (angles / 2 + apart / middle * (1 / (a * c) - bent)) / _TURN
