"""Kernels between layers as they follow from the network by hand: sums over all pairs of earlier layers.

Unrolled, h_k = λ^k h_0 + α Σ_{i<k} λ^{k−1−i} g_i, so that kernels of states are sums of E g_i · g_j, and
those of gradients likewise from the top. The Gaussian moments are written out, or summed by quadrature.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from resnet_sde import Model, Reduced, SingleLayer
from resnet_sde.activations import Activation, Gelu, Tanh

Matrix = list[list[float]]


@functools.cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """The trapezoidal rule, whose error on analytic functions of a normal number is exponentially small."""
    z = np.linspace(-9, 9, 181)
    weight = np.exp(-(z**2) / 2)
    return z, weight / weight.sum()


def mean_products(phi: Activation, q1: float, q2: float, k: float) -> tuple[float, float]:
    """E φ(u)φ(v) and E φ'(u)φ'(v) for variances q1, q2 and covariance k."""
    cosine = max(-1.0, min(1.0, k / math.sqrt(q1 * q2)))
    if phi.homogeneous:  # x for x > 0, s x below: ((1 + s) x + (1 − s) |x|) / 2
        s = {"Linear": 1.0, "ReLU": 0.0}.get(type(phi).__name__, getattr(phi, "slope", math.nan))
        angle = math.acos(cosine)
        kinked = math.sqrt(q1 * q2) * (math.sin(angle) + (math.pi - angle) * cosine) / (2 * math.pi)
        steps = (math.pi - angle) / (2 * math.pi)
        return s * k + (1 - s) ** 2 * kinked, s + (1 - s) ** 2 * steps
    z, weight = _nodes()
    u = math.sqrt(q1) * z[:, None]
    v = math.sqrt(q2) * (cosine * z[:, None] + math.sqrt(1 - cosine**2) * z)
    found = []
    for f in _functions(phi):
        found.append(float(weight @ (f(u) * f(v)) @ weight))
    return found[0], found[1]


def _functions(phi: Activation):
    if isinstance(phi, Tanh):
        return np.tanh, lambda x: 1 / np.cosh(x) ** 2
    assert isinstance(phi, Gelu)
    half = np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2)
    return lambda x: x * half(x), lambda x: half(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def branches(model: Model, q1: float, q2: float, c: float, share: float) -> tuple[float, float]:
    """E g · g of two layers whose weights have correlation `share`, and the factor of their gradients.

    c: covariance of the states of the two layers, whose mean squares are q1 and q2.
    """
    block, phi = model.block, model.block.activation
    if isinstance(block, SingleLayer):
        product, slope = mean_products(phi, q1, q2, c)
        return share * (block.sigma_w2 * product + block.sigma_b2), share * block.sigma_w2 * slope
    w, b = block.sigma_w2, block.sigma_b2
    product, slope = mean_products(phi, w * q1 + b, w * q2 + b, share * (w * c + b))
    if isinstance(block, Reduced):
        return product, share * w * slope
    return share * (block.sigma_v2 * product + block.sigma_a2), share**2 * block.sigma_v2 * w * slope


def two_kernels(model: Model, q0: float, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The kernels of states and of gradients between all layers."""
    skip, a2 = model.skip, model.alpha(depth) ** 2
    shares = model.law.covariance(depth).tolist()
    states, back = np.zeros((depth + 1, depth + 1)), np.zeros((depth + 1, depth + 1))
    added, factor = np.zeros((depth, depth)), np.zeros((depth, depth))
    for k in range(depth + 1):
        for l in range(k + 1):  # noqa: E741
            total = skip ** (k + l) * q0
            for i in range(k):
                for j in range(l):
                    total += a2 * skip ** (k - 1 - i + l - 1 - j) * added[i, j]
            states[k, l] = states[l, k] = total
        for l in range(k + 1 if k < depth else 0):  # noqa: E741
            found = branches(model, states[k, k], states[l, l], states[k, l], shares[k][l])
            added[k, l], factor[k, l] = added[l, k], factor[l, k] = found
    for k in range(depth, -1, -1):
        for l in range(depth, k - 1, -1):  # noqa: E741
            total = skip ** (2 * depth - k - l)
            for i in range(k, depth):
                for j in range(l, depth):
                    total += a2 * skip ** (i - k + j - l) * factor[i, j] * back[i + 1, j + 1]
            back[k, l] = back[l, k] = total
    return states, back
