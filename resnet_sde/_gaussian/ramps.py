"""What a nonlinearity is far out: two half-lines with a smooth bend between, whose moments are elementary.

A ramp is t(x) = offset + slope x + E τ(x + s Z), Z standard normal, τ(x) = bend max(x, 0) + step 1{x > 0}.
With independent noise for each of two variables, their joint moments are those of the half-lines at variances
Q = q + s² and the covariance k of the variables themselves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from resnet_sde._gaussian.moments import arc

_TURN = 2 * math.pi
_ROOT_TURN = math.sqrt(_TURN)


class Ramp(NamedTuple):
    """A line offset + slope x on the left, and one that is step + bend x above it on the right."""

    offset: float = 0.0
    slope: float = 0.0
    bend: float = 0.0
    step: float = 0.0
    s: float = 1.0

    def __call__(self, x: Tensor, variance: Tensor | float = 0.0) -> Tensor:
        """E t(x + ε) with ε of this variance."""
        width = torch.as_tensor(self.s**2 + variance, dtype=x.dtype).sqrt()
        z = x / width
        share = torch.special.ndtr(z)
        bent = x * share + width * torch.exp(-0.5 * z.square()) / _ROOT_TURN
        return self.offset + self.slope * x + self.bend * bent + self.step * share

    def mean(self, q: Tensor) -> Tensor:
        """E t(√q z)."""
        return self.offset + self.bend * (q + self.s**2).sqrt() / _ROOT_TURN + self.step / 2


def pair(f: Ramp, g: Ramp, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
    """E f(u) g(v) of two ramps of one width."""
    p1, p2, k = q1 + f.s**2, q2 + f.s**2, (q1 * q2).sqrt() * (1 - gap)
    root1, root2 = p1.sqrt(), p2.sqrt()
    angle, size = torch.atan2(_root(q1, q2, gap, f.s), -k), root1 * root2
    both = size * arc(angle, torch.sin(angle), torch.cos(angle)) / _TURN
    share = (1 + k / size) / (2 * _ROOT_TURN)
    return (
        f.offset * g.mean(q2)
        + f.slope * k * (g.slope + g.bend / 2 + g.step / (_ROOT_TURN * root2))
        + f.bend * (g.offset * root1 / _ROOT_TURN + g.slope * k / 2 + g.bend * both + g.step * root1 * share)
        + f.step
        * (
            g.offset / 2
            + g.slope * k / (_ROOT_TURN * root1)
            + g.bend * root2 * share
            + g.step * angle / _TURN
        )
    )


def difference(t: Ramp, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
    """E (t(u) − t(v))² / 2, without cancellation where u − v is not much narrower than the ramp."""
    noise, k0 = t.s**2, (q1 * q2).sqrt()
    p1, p2 = q1 + noise, q2 + noise
    root1, root2, size = p1.sqrt(), p2.sqrt(), (p1 * p2).sqrt()
    left = (q1 - q2) * q1.sqrt() / (q1.sqrt() + q2.sqrt())  # q1 − √(q1 q2)
    right = (q2 - q1) * q2.sqrt() / (q1.sqrt() + q2.sqrt())
    move1, move2 = left + k0 * gap, right + k0 * gap  # q1 − k, q2 − k
    moved = move1 + move2
    none = torch.zeros_like(gap)
    angle = torch.atan2(_root(q1, q2, gap, t.s), k0 * (1 - gap))
    angle1 = torch.atan2(_root(q1, q1, none, t.s), q1)
    angle2 = torch.atan2(_root(q2, q2, none, t.s), q2)
    arcs = size * _arc(angle) - (p1 * _arc(angle1) + p2 * _arc(angle2)) / 2
    lost = _root(q1, q2, gap, t.s).square() / (size * (size + k0 * (1 - gap)))  # 1 − correlation
    steps = root1 * (lost - noise / p1) + root2 * (lost - noise / p2)
    return (
        moved / 2 * (t.slope**2 + t.slope * t.bend)
        + t.bend**2 * (moved / 4 - arcs / _TURN)
        + t.slope * t.step / _ROOT_TURN * (move1 / root1 + move2 / root2)
        + t.bend * t.step / (2 * _ROOT_TURN) * steps
        + t.step**2 * (angle - (angle1 + angle2) / 2) / _TURN
    )


def excess(t: Ramp, q: Tensor) -> Tensor:
    """E t(√q z)² less q times the mean square of the two slopes, which is what it is at large q."""
    p = q + t.s**2
    angle = torch.atan2(_root(q, q, torch.zeros_like(q), t.s), q)
    root, right = p.sqrt(), t.offset + t.step
    return (
        t.offset * right
        + 2 * t.bend * root / _ROOT_TURN * (right - t.step * t.s**2 / (2 * p))
        + 2 * t.slope * t.step * q / (_ROOT_TURN * root)
        + t.bend**2 * p * _arc(angle) / _TURN
        + t.step**2 * (math.pi - angle) / _TURN
    )


def _arc(angle: Tensor) -> Tensor:
    return arc(angle, torch.sin(angle), torch.cos(angle))


def _root(q1: Tensor, q2: Tensor, gap: Tensor, s: float) -> Tensor:
    """√((q1 + s²)(q2 + s²) − k²)."""
    return (s**2 * (q1 + q2) + s**4 + q1 * q2 * gap * (2 - gap)).sqrt()
