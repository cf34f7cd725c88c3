"""Gaussian duals in 60-digit arithmetic, cancellation and all, and what the tests of duals share."""

import functools
import math
from collections.abc import Callable

import mpmath as mp
import torch
from torch import Tensor

from resnet_sde._gaussian import ErfMixture, Moments
from resnet_sde.activations import ERF, GELU, LINEAR, RELU, SIGMOID, TANH, Activation, AlphaReLU, LeakyReLU

ALPHA, STEEP, LEAKY = AlphaReLU(0.75), AlphaReLU(0.51), LeakyReLU(0.3)
ACTIVATIONS = [LINEAR, RELU, LEAKY, ERF, GELU, ALPHA, STEEP, TANH, SIGMOID]
SMOOTH = [LINEAR, ERF, GELU, TANH, SIGMOID]
FINE = 32  # nodes, twice those in use
TOLERANCE = 1e-12  # two hundred times what is seen; the contract is 1e-10

LENGTHS = [1e-8, 1e-4, 0.1, 1.0, 10.0, 1e4, 1e8]
PAIRS = [(1e-8, 1e8), (1.0, 2.0), (1.0, 1.0 + 1e-6), (1e4, 1e4 + 1e-6), (3.0, 1e8), (1e-8, 2e-8), (1e6, 2e6)]
VARIANCES = [(q, q) for q in LENGTHS] + PAIRS
GAPS = [1e-14, 1e-8, 1e-3, 0.5, 1.0, 1.5, 1.999, 2 - 1e-10]


def tensors(*values: float) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(v, dtype=torch.float64) for v in values)


def check(measured: Tensor, expected: Tensor | float | list[float], tolerance: float = TOLERANCE) -> None:
    """Every number within a relative tolerance; where 0 is expected, 0."""
    expected = torch.as_tensor(expected)
    assert measured.shape == expected.shape
    error = (measured - expected).abs()
    assert (error <= tolerance * expected.abs()).all(), (error / expected.abs()).max()


class Mixture(Activation):
    """Two error functions: the double sum of tanh with terms few enough for 60 digits."""

    def __call__(self, x: Tensor) -> Tensor:
        return 0.3 * torch.erf(x / math.sqrt(0.4)) + 0.7 * torch.erf(x / math.sqrt(6))

    def prime(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _moments(self) -> Moments:
        return ErfMixture((0.3, 0.7), (0.2, 3.0))


# --- 60-digit references: dual(q1, q2, c) and its derivative in the covariance, cancellation and all.


@functools.cache
def half_power(a: float, c: mp.mpf) -> mp.mpf:
    """E ψ(u)ψ(v) for ψ(x) = x^a over x > 0 at unit variances, in polar coordinates."""
    angle = mp.acos(c)
    integral = mp.quad(
        lambda t: (mp.cos(t) * mp.cos(t - angle)) ** a, [angle - mp.pi / 2, angle / 2, mp.pi / 2]
    )
    return 2**a * mp.gamma(a + 1) / (2 * mp.pi) * integral


def alpha_reference(a: float) -> Callable[..., tuple[mp.mpf, mp.mpf]]:
    a = mp.mpf(a)

    def reference(q1: mp.mpf, q2: mp.mpf, c: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
        return (q1 * q2) ** (a / 2) * half_power(a, c), a**2 * (q1 * q2) ** ((a - 1) / 2) * half_power(
            a - 1, c
        )

    return reference


def leaky_reference(slope: float) -> Callable[..., tuple[mp.mpf, mp.mpf]]:
    def reference(q1: mp.mpf, q2: mp.mpf, c: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
        angle, s = mp.acos(c), mp.mpf(slope)
        kinked = (mp.sin(angle) + (mp.pi - angle) * c) / (2 * mp.pi)
        prime = s + (1 - s) ** 2 * (mp.pi - angle) / (2 * mp.pi)
        return mp.sqrt(q1 * q2) * (s * c + (1 - s) ** 2 * kinked), prime

    return reference


def erf_reference(terms: dict[float, float], shift: float = 0.0) -> Callable[..., tuple[mp.mpf, mp.mpf]]:
    def reference(q1: mp.mpf, q2: mp.mpf, c: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
        k, dual, prime = c * mp.sqrt(q1 * q2), mp.mpf(shift), mp.mpf(0)
        for s, v in terms.items():
            for t, w in terms.items():
                product = (mp.mpf(s) + q1) * (mp.mpf(t) + q2)
                dual += mp.mpf(v) * mp.mpf(w) * 2 / mp.pi * mp.asin(k / mp.sqrt(product))
                prime += mp.mpf(v) * mp.mpf(w) * 2 / mp.pi / mp.sqrt(product - k**2)
        return dual, prime

    return reference


def gelu_reference(q1: mp.mpf, q2: mp.mpf, c: mp.mpf) -> tuple[mp.mpf, mp.mpf]:
    k = c * mp.sqrt(q1 * q2)
    orthant = mp.mpf(1) / 4 + mp.asin(k / mp.sqrt((1 + q1) * (1 + q2))) / (2 * mp.pi)
    root, inverses = mp.sqrt((1 + q1) * (1 + q2) - k**2), 1 / (1 + q1) + 1 / (1 + q2)
    dual = k * orthant + (q1 * q2 + k**2 * (inverses - 1)) / (2 * mp.pi * root)
    return dual, orthant + k * (1 / root**3 + inverses / root) / (2 * mp.pi)


EXACT = {
    "linear": (LINEAR, leaky_reference(1.0)),
    "relu": (RELU, leaky_reference(0.0)),
    "relu-polar": (RELU, alpha_reference(1.0)),
    "leaky": (LEAKY, leaky_reference(0.3)),
    "erf": (ERF, erf_reference({0.5: 1.0})),
    "mixture": (Mixture(), erf_reference({0.2: 0.3, 3.0: 0.7})),
    "gelu": (GELU, gelu_reference),
    "alpha": (ALPHA, alpha_reference(0.75)),
    "steep": (STEEP, alpha_reference(0.51)),
}
