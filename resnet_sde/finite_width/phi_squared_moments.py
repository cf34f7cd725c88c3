r"""Gaussian moments of φ²: everything that the 1/width theory of one input asks of an activation.

With f(K) = E φ(√K z)² the kernels need a = f' and f'', and their fluctuations need two functions of the
states (u, v) of one coordinate in two layers, centred Gaussian with variances K, K' and covariance κ,

    source = Cov(φ(u)², φ(v)²),     feedback = ½ Cov((φ²)''(u), φ(v)²) = ∂ source / ∂K at fixed K', κ.

The squares of erf and tanh are 1 minus a sum of Gaussian functions, Σ w exp(−r x²): for erf because

    erf(x)² = 1 − (4/π) ∫₀¹ exp(−x² (1 + t²)) dt / (1 + t²),

which is Owen's integral, and for tanh because 1 − tanh² is a logistic density, hence a mixture of normal
ones. So the integral over x can be done first, in closed form, and a dozen nodes give all moments to
rounding error at any variance and any correlation, where a rule in x needs more and more nodes.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde._gaussian import logistic
from resnet_sde.activations import Activation, AlphaReLU, Erf, Tanh
from resnet_sde.meanfield.one_time import check_activation

_ERF_NODES = 12  # rounding error; 10 give 1e-12
_TANH_NODES = 16  # rounding error; 12 give 1e-12
_AT_ONCE = 2**15  # numbers in a temporary: so few that the temporaries stay in the cache
_POLYNOMIALS = 400
_UNRESOLVED = 1e-9


def cross_kernel(kernel: Tensor, skip: float) -> Tensor:
    """κ_lm = λ^|l−m| K^min(l,m): covariance of a coordinate at layers l and m.

    Shape: kernel (depth + 1, ...) to (depth + 1, depth + 1, ...).
    """
    layers = torch.arange(len(kernel))
    first = torch.minimum(layers[:, None], layers)
    weight = torch.pow(torch.tensor(skip, dtype=kernel.dtype), (layers[:, None] - layers).abs())
    return kernel[first] * weight.reshape(*weight.shape, *[1] * (kernel.ndim - 1))


class PhiSquaredMoments(ABC):
    """The Gaussian moments of φ² along the layers of a network."""

    @abstractmethod
    def slope(self, k: Tensor) -> Tensor:
        """f'(K) = E φ'² + φ φ''."""

    @abstractmethod
    def curvature(self, k: Tensor) -> Tensor:
        """f''(K)."""

    @abstractmethod
    def sources(self, kernel: Tensor, skip: float) -> tuple[Tensor, Tensor]:
        """Covariance of φ² at layers l and m, and the feedback on the later layer l of the earlier layer m.

        Shape: kernel (depth + 1,); both results (depth + 1, depth + 1), the first symmetric, the second
        zero for m ≥ l.
        """


class _Pairwise(PhiSquaredMoments):
    """Moments that are a closed form of two variances and a covariance."""

    @abstractmethod
    def pair(self, late: Tensor, early: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        """Source and feedback of pairs of layers; all (pairs,)."""

    @override
    def sources(self, kernel: Tensor, skip: float) -> tuple[Tensor, Tensor]:
        size = len(kernel)
        late, early = torch.tril_indices(size, size)
        source, feedback = self.pair(kernel[late], kernel[early], cross_kernel(kernel, skip)[late, early])
        covariance, back = kernel.new_zeros(size, size), kernel.new_zeros(size, size)
        covariance[late, early] = covariance[early, late] = source
        back[late, early] = feedback
        return covariance, back.tril(-1)


@dataclass(frozen=True)
class GaussianSum(_Pairwise):
    """φ(x)² = a constant − Σ weights[i] exp(−rates[i] x²)."""

    weights: tuple[float, ...]
    rates: tuple[float, ...]

    @override
    def slope(self, k: Tensor) -> Tensor:
        weight, rate = self._rule()
        return (1 + 2 * rate * k[..., None]).pow(-1.5) @ (weight * rate)

    @override
    def curvature(self, k: Tensor) -> Tensor:
        weight, rate = self._rule()
        return -3 * (1 + 2 * rate * k[..., None]).pow(-2.5) @ (weight * rate.square())

    @override
    def pair(self, late: Tensor, early: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        step = max(1, _AT_ONCE // len(self.weights) ** 2)
        source, feedback = torch.empty_like(late), torch.empty_like(late)
        pieces = zip(*(x.split(step) for x in (source, feedback, late, early, cross)), strict=True)
        for to_source, to_feedback, *arguments in pieces:
            found, back = self._piece(*arguments)
            to_source.copy_(found)
            to_feedback.copy_(back)
        return source, feedback

    def _piece(self, late: Tensor, early: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        """E exp(−r u² − s v²) = D^{−1/2}, with D = P at covariance 0; only differences of the two."""
        weight, rate = self._rule()
        n = len(weight)
        r, s = rate.repeat_interleave(n), rate.repeat(n)
        weights = weight.repeat_interleave(n) * weight.repeat(n)
        late, early, cross = late[:, None], early[:, None], cross[:, None]
        wide, product = 1 + 2 * s * early, 4 * r * s
        apart = (1 + 2 * r * late) * wide
        joint = 1 + 2 * r * late + 2 * s * early + product * (late * early - cross.square()).clamp_min(0)
        root = (joint / apart).sqrt()
        lost = product * cross.square() / apart / (1 + root)  # 1 − root
        inverse = apart.rsqrt()
        source = (inverse * lost / root) @ weights
        feedback = (wide * inverse.pow(3) * lost * (1 + root + root.square()) / root.pow(3)) @ (weights * r)
        return source, -feedback

    def _rule(self) -> Tensor:
        return torch.tensor([self.weights, self.rates], dtype=torch.float64)


@dataclass(frozen=True)
class HalfLines(_Pairwise):
    """φ(x)² = right · x² for x > 0, else left · x²: a sum of x² and x|x|."""

    right: float
    left: float

    @override
    def slope(self, k: Tensor) -> Tensor:
        return torch.full_like(k, (self.right + self.left) / 2)

    @override
    def curvature(self, k: Tensor) -> Tensor:
        return torch.zeros_like(k)

    @override
    def pair(self, late: Tensor, early: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        even, odd = ((self.right + self.left) / 2) ** 2, ((self.right - self.left) / 2) ** 2
        size = late * early
        sine = ((size - cross.square()).clamp_min(0) / size).sqrt()
        cosine = cross / size.sqrt()
        angle = torch.atan2(cosine, sine)
        bent = 3 * sine * cosine + (1 + 2 * cosine.square()) * angle
        source = 2 * even * cross.square() + odd * 2 / math.pi * size * bent
        return source, odd * 2 / math.pi * early * (sine * cosine + angle)


@dataclass(frozen=True)
class Hermite(PhiSquaredMoments):
    """Any smooth φ, by Mehler's series Σ c_n(K) c_n(K') (κ / √(KK'))ⁿ.

    The c_n are the coefficients of φ(√K z)² in normalized Hermite polynomials. The series is slow where φ
    saturates well within the range of its argument.
    """

    activation: Activation

    @override
    def slope(self, k: Tensor) -> Tensor:
        zero = torch.zeros_like(k)
        return self.activation.second_moment_prime(k) + self.activation.mean_curvature(k, k, gap=zero)

    @override
    def curvature(self, k: Tensor) -> Tensor:
        at = k if k.requires_grad else k.detach().requires_grad_()
        with torch.enable_grad():
            slope = self.slope(at).sum()
            if not slope.requires_grad:
                return torch.zeros_like(k)
            (found,) = torch.autograd.grad(slope, at, create_graph=True)
        return found if k.requires_grad else found.detach()

    @override
    def sources(self, kernel: Tensor, skip: float) -> tuple[Tensor, Tensor]:
        found = self._coefficients(kernel)
        cosine = cross_kernel(kernel, skip) / (kernel[:, None] * kernel).sqrt()
        covariance, feedback = torch.zeros_like(cosine), torch.zeros_like(cosine)
        for n in range(_POLYNOMIALS - 2, 0, -1):
            weight = math.sqrt((n + 1) * (n + 2))
            covariance = (covariance + found[:, n, None] * found[:, n]) * cosine
            feedback = (feedback + weight * found[:, n + 2, None] * found[:, n]) * cosine
        return covariance, (feedback / (2 * kernel[:, None])).tril(-1)

    def _coefficients(self, k: Tensor) -> Tensor:
        """Of every variance; shape (variances, polynomials + 1)."""
        z = torch.arange(-13, 13, 1 / 32, dtype=torch.float64)
        density = torch.exp(-z.square() / 4) / (2 * math.pi) ** 0.25
        values = self.activation(k.sqrt()[:, None] * z).square() * density / 32
        before, now, rows = torch.zeros_like(z), density, []
        for n in range(_POLYNOMIALS + 1):
            rows.append(values @ now)
            after = (z * now - math.sqrt(n) * before) / math.sqrt(n + 1)
            before, now = now, after
        found = torch.stack(rows, 1)
        squares = found[:, 1:].square()
        tail = squares[:, -8:].sum(1) * _POLYNOMIALS
        if not bool((tail <= _UNRESOLVED * squares.sum(1)).all()):
            raise ValueError(
                f"the square of {self.activation} needs more than {_POLYNOMIALS} Hermite polynomials at mean "
                f"squares up to {float(k.max()):.3g}; give a smaller gain, depth or variance, or take erf, "
                "tanh, relu, leaky-relu or linear, which have closed forms"
            )
        return found


def phi_squared_moments(activation: Activation) -> PhiSquaredMoments:
    """The moments of the square of this activation.

    Raises:
        ValueError: the activation is a power of a half-line, whose moments are not known here.
    """
    check_activation(activation)
    if type(activation) is Erf:
        return _of_erf()
    if type(activation) is Tanh:
        return _of_tanh()
    if type(activation) is AlphaReLU and activation.alpha < 1:
        raise ValueError(
            f"the 1/width theory of {activation} is not known; give erf, tanh, relu, leaky-relu, linear or "
            "any smooth activation"
        )
    if activation.homogeneous:
        right, left = activation(torch.tensor([1.0, -1.0], dtype=torch.float64)).square().tolist()
        return HalfLines(right, left)
    return Hermite(activation)


@functools.cache
def _of_erf() -> GaussianSum:
    t, weight = np.polynomial.legendre.leggauss(_ERF_NODES)
    rates = 1 + ((t + 1) / 2) ** 2
    return GaussianSum(tuple((2 / math.pi * weight / rates).tolist()), tuple(rates.tolist()))


@functools.cache
def _of_tanh() -> GaussianSum:
    rule = logistic(1.0, shifted=False, size=_TANH_NODES)
    variances = np.array(rule.variances)
    weights = np.array(rule.weights) * np.sqrt(2 / math.pi / variances)
    return GaussianSum(tuple(weights.tolist()), tuple((1 / (2 * variances)).tolist()))
