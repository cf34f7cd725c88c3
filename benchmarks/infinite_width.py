"""Recursions of infinite width beside plain loops in NumPy and in Python."""

from __future__ import annotations

import math

import numpy as np
import torch

from resnet_sde import RELU, TANH, FractionalNoise, Model, SingleLayer, TwoLayer, WhiteNoise
from resnet_sde.meanfield import displacements, lengths

LAW, BLOCK = FractionalNoise(0.8), TwoLayer(RELU)
BETAS = tuple(0.2 + 0.0125 * i for i in range(70))  # the scalings of one line of a heat map
_Z, _WEIGHT = np.polynomial.hermite_e.hermegauss(200)
_WEIGHT = _WEIGHT / _WEIGHT.sum()
_FUNCTIONS = {
    "relu": (RELU, lambda u: np.maximum(u, 0), lambda u: (u > 0).astype(float)),
    "tanh": (TANH, np.tanh, lambda u: 1 - np.tanh(u) ** 2),
}

Ends = tuple[float, float]
"""Mean squared displacement of the states; and of the gradients, or their logarithmic growth."""


def one_time(name: str, depth: int) -> Ends:
    """Ours: all layers, and log growth of gradients."""
    found = lengths(Model(SingleLayer(_FUNCTIONS[name][0]), WhiteNoise(), 1), depth=depth)
    return float(found.displacement2[-1]), float(found.log_gradient_growth[-1])


def one_time_by_quadrature(name: str, depth: int, layers: int) -> Ends:
    """The same in a loop, by Gauss–Hermite quadrature with 200 points; the first so many layers."""
    _, phi, prime = _FUNCTIONS[name]
    a2, q, growth = 1 / depth, 1.0, 0.0
    for _ in range(layers):
        u = math.sqrt(q) * _Z
        growth += math.log1p(a2 * float(_WEIGHT @ prime(u) ** 2))
        q += a2 * float(_WEIGHT @ phi(u) ** 2)
    return q - 1, growth


def two_time(depth: int, betas: tuple[float, ...]) -> list[Ends]:
    """Ours: displacements of several scalings at once."""
    alphas = float(depth) ** -torch.tensor(betas, dtype=torch.float64)
    found = displacements(BLOCK, LAW, depth, alphas)
    squares = (100.0**found.log10_forward).tolist(), (100.0**found.log10_gradient).tolist()
    return list(zip(*squares, strict=True))


def two_time_by_rows(depth: int, beta: float) -> Ends:
    """One scaling, row by row, with a cumulative sum along each."""
    covariance, a2 = LAW.covariance(depth)[0].numpy(), float(depth) ** (-2 * beta)
    states, back, squares = np.ones(1), np.ones(1), np.ones(depth + 1)
    for k in range(depth):
        share = covariance[k::-1]
        lengths = np.sqrt(squares[k] * squares[: k + 1])
        cosine = np.clip(share * states / lengths, -1, 1)
        angle = np.pi - np.arccos(cosine)
        source = share * lengths * (np.sqrt(1 - cosine**2) + cosine * angle) / (2 * np.pi)
        factor = share**2 * back * angle / (2 * np.pi)
        states, back = (
            _next_row(row, a2 * step.cumsum()) for row, step in ((states, source), (back, factor))
        )
        squares[k + 1] = states[-1]
    return states[-1] - 1, back[-1] - 1


def _next_row(row: np.ndarray, step: np.ndarray) -> np.ndarray:
    new = np.concatenate([row[:1], row[1:] + step[:-1], [0.0]])
    new[-1] = new[-2] + step[-1]
    return new


def two_time_by_entries(depth: int, beta: float) -> Ends:
    """One scaling, entry by entry."""
    covariance, a2 = LAW.covariance(depth)[0].tolist(), float(depth) ** (-2 * beta)
    states = [[1.0] * (depth + 1) for _ in range(depth + 1)]
    back = [[1.0] * (depth + 1) for _ in range(depth + 1)]
    for k in range(depth):
        for i in range(k + 1):
            share, length = covariance[k - i], math.sqrt(states[k][k] * states[i][i])
            cosine = max(-1.0, min(1.0, share * states[k][i] / length))
            angle = math.pi - math.acos(cosine)
            source = share * length * (math.sqrt(1 - cosine**2) + cosine * angle) / (2 * math.pi)
            factor = share**2 * back[k][i] * angle / (2 * math.pi)
            for kernel, step in ((states, source), (back, factor)):
                new = kernel[k + 1][i] + kernel[k][i + 1] - kernel[k][i] + a2 * step
                kernel[k + 1][i + 1] = kernel[i + 1][k + 1] = new
    return states[-1][-1] - 1, back[-1][-1] - 1
