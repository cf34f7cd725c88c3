"""Sums of error functions, which the hyperbolic tangent and the logistic function are too.

The logistic density is a mixture of centred normal ones: a logistic variable is 2KZ with Z standard normal
and K of Kolmogorov's law, that of the largest excursion of a Brownian bridge (Andrews & Mallows, 1974). Hence

    tanh(x) = E erf(x / (K √2)),

and every Gaussian moment of tanh is a positive double sum of closed forms of erf. In log K these are analytic
in the strip |Im| < π/2 at any variance and any correlation, and the law decays doubly exponentially on both
sides. So one Gauss rule in log K serves from variance 0 to infinity, where a rule in u or v would need more
and more nodes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor
from typing_extensions import override

from resnet_sde._gaussian.moments import Moments, clip, past_sine, ratio

LOGISTIC_NODES = 16  # 10 give 1e-10, 12 give 1e-12, 16 rounding
_AT_ONCE = 2**15  # numbers in a temporary: so few that the temporaries of a term stay in the cache


@dataclass(frozen=True)
class ErfMixture(Moments):
    """φ(x) = shift + Σ weights[i] erf(x / √(2 variances[i])), with shift either 0 or Σ weights[i].

    Args:
        shifted: whether there is the shift, which makes φ vanish at −∞.
    """

    weights: tuple[float, ...]
    variances: tuple[float, ...]
    shifted: bool = False

    @override
    def dual(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        def angle(s: Tensor, t: Tensor, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
            root = _determinant(s, t, q1, q2, gap).sqrt()
            k = (q1 * q2).sqrt() * (1 - gap)
            return torch.atan2(root, -k) if self.shifted else torch.atan2(k, root)

        return self._sum(angle, q1, q2, clip(gap))

    @override
    def difference(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        """One angle for the gap at geometric mean variances, and one for the unequal variances at no gap."""

        def angle(s: Tensor, t: Tensor, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
            k0 = (q1 * q2).sqrt()
            together = _determinant(s, t, q1, q2, torch.zeros_like(gap)).sqrt()
            apart = _determinant(s, t, q1, q2, gap).sqrt()
            cross = k0 * (ratio(q1 * q2 * gap * (2 - gap), apart + together) + gap * together)
            dot = together * apart + k0 * k0 * (1 - gap)
            return torch.atan2(cross, dot)

        of_gap = self._sum(angle, q1, q2, clip(gap))
        return of_gap if _same(q1, q2) else of_gap + self._sum(_unequal, q1, q2, symmetric=True)

    @override
    def dual_prime(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        def density(s: Tensor, t: Tensor, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
            return _determinant(s, t, q1, q2, gap).rsqrt()

        return self._sum(density, q1, q2, clip(gap))

    @override
    def mean_curvature(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        def term(s: Tensor, t: Tensor, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
            k = (q1 * q2).sqrt() * (1 - gap)
            return -k * _determinant(s, t, q1, q2, gap).rsqrt() / (s + q1)

        return self._sum(term, q1, q2, clip(gap), symmetric=False)

    @override
    def mean(self, q: Tensor) -> Tensor:
        return torch.full_like(q, math.fsum(self.weights) if self.shifted else 0.0)

    @override
    def share(self, q: Tensor) -> tuple[Tensor, Tensor]:
        if self.shifted:
            return super().share(q)

        def bent(s: Tensor, t: Tensor, q: Tensor) -> Tensor:
            wide, still = ((s + q) * (t + q)).sqrt(), (s * t).sqrt()
            angle = torch.atan2(q, (s * t + (s + t) * q).sqrt())
            return past_sine(angle) / q - (s + t + q) * q / (still * wide * (still + wide))

        none = torch.zeros_like(q)
        near = self._sum(bent, q, symmetric=True)
        small = q < 1
        return (
            torch.where(small, self.second_moment_prime(none), 0.0),
            torch.where(small, near, self.second_moment(q) / q),
        )

    @override
    def second_moment_second(self, q: Tensor) -> Tensor:
        return self._sum(lambda s, t, q: q * (s * t + q * (s + t)).pow(-1.5), q, symmetric=True)

    def _sum(self, term: Callable[..., Tensor], *arguments: Tensor, symmetric: bool | None = None) -> Tensor:
        """(2/π) Σ weights[i] weights[j] term(variances[i], variances[j], *arguments), many points at a time.

        Args:
            symmetric: whether the term is so in i and j; by default, whether q1 and q2 are the same.
        """
        if symmetric is None:
            symmetric = _same(*arguments[:2])
        arguments = torch.broadcast_tensors(*arguments)
        rule = _rule(tuple(self.weights), tuple(self.variances), arguments[0].device)
        n = len(self.weights)
        i, j = torch.triu_indices(n, n, device=rule.device) if symmetric else _all_pairs(n, rule.device)
        weights = (2 / math.pi) * rule[0, i] * rule[0, j]
        if symmetric:
            weights = torch.where(i == j, weights, 2 * weights)
        pieces = zip(*(x.reshape(-1, 1).split(_AT_ONCE // len(i)) for x in arguments), strict=True)
        sums = [term(rule[1, i], rule[1, j], *piece) @ weights for piece in pieces]
        return torch.cat(sums).reshape(arguments[0].shape)


@functools.lru_cache(maxsize=64)
def _rule(weights: tuple[float, ...], variances: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor([weights, variances], dtype=torch.float64, device=device)


def _same(q1: Tensor, q2: Tensor) -> bool:
    """Whether two variances are known to be equal; numbers on a GPU are not compared, as one would wait."""
    return torch.equal(q1, q2) if q1.device.type == "cpu" else q1 is q2


def _all_pairs(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    one = torch.arange(n, device=device)
    return one.repeat_interleave(n), one.repeat(n)


def _determinant(s: Tensor, t: Tensor, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
    """(s + q1)(t + q2) − k², with k the covariance of u and v."""
    return s * t + s * q2 + t * q1 + q1 * q2 * (gap * (2 - gap))


def _unequal(s: Tensor, t: Tensor, q1: Tensor, q2: Tensor) -> Tensor:
    """Half of what the angles of the two second moments have over the two between q1 and q2, at gap 0.

    That is asin √(ab / (s + a) / (t + b)) at (a, b) = (q1, q1), (q2, q2) against (q1, q2), (q2, q1). Both
    pairs add up to arguments of complex numbers of one modulus, and the tangent of half the difference of two
    such is the difference of their real parts by the sum of their imaginary ones.
    """
    zero = torch.zeros_like(q1)
    r11, r22 = _determinant(s, t, q1, q1, zero).sqrt(), _determinant(s, t, q2, q2, zero).sqrt()
    r12, r21 = _determinant(s, t, q1, q2, zero).sqrt(), _determinant(s, t, q2, q1, zero).sqrt()
    imaginary = q2 * r11 + q1 * r22 + (q1 * q2).sqrt() * (r12 + r21)
    return torch.atan(ratio(s * t * (q1 - q2).square(), (r11 * r22 + r12 * r21) * imaginary))


@functools.cache
def logistic(scale: float, *, shifted: bool, size: int = LOGISTIC_NODES) -> ErfMixture:
    """The hyperbolic tangent of x / scale, or where shifted, 1 plus it, halved.

    Gauss nodes in log K by Golub and Welsch from a fine trapezoidal rule, whose own error is at rounding.
    """
    step = 1 / 128
    t = np.arange(-2.0, 1.6, step)
    measure = step * np.exp(t) * _kolmogorov_density(np.exp(t))
    diagonal, off = _jacobi_matrix(t, measure / measure.sum(), size)
    nodes, vectors = eigh_tridiagonal(diagonal, off)
    weights = np.square(vectors[0]) * (0.5 if shifted else 1.0)
    return ErfMixture(tuple(weights.tolist()), tuple((scale**2 * np.exp(2 * nodes)).tolist()), shifted)


def _kolmogorov_density(k: np.ndarray) -> np.ndarray:
    """The density of Kolmogorov's law: one theta series for k > 1, its transform for k < 1."""
    j, k = np.arange(1, 8), k[:, None]
    right = -8 * k * ((-1.0) ** j * j**2 * np.exp(-2 * j**2 * k**2))
    m = ((2 * j - 1) * math.pi / k) ** 2 / 8
    left = math.sqrt(2 * math.pi) / k**2 * ((2 * m - 1) * np.exp(-m))
    return np.where(k[:, 0] > 1, right.sum(1), left.sum(1))


def _jacobi_matrix(x: np.ndarray, measure: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence of the polynomials orthonormal in a discrete measure, by Stieltjes' procedure."""
    before, now = np.zeros_like(x), np.ones_like(x)
    diagonal, off = np.empty(size), np.zeros(size)
    for n in range(size):
        diagonal[n] = measure @ (x * now**2)
        after = (x - diagonal[n]) * now - off[n - 1] * before
        off[n] = math.sqrt(measure @ after**2)
        before, now = now, after / off[n]
    return diagonal, off[:-1]
