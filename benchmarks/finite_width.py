"""The 1/width theory of deep networks, beside sources by Owen's T function."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import owens_t

from resnet_sde import Activation, Model, SingleLayer, WhiteNoise
from resnet_sde.finite_width import FiniteSize, finite_size
from resnet_sde.meanfield import lengths

Q0 = 0.05
POINTS = np.linspace(-9.5, 9.5, 1601)


def model(phi: Activation) -> Model:
    return Model(SingleLayer(phi, 1.0, 0.05), WhiteNoise(), 100)


def theory(phi: Activation, depth: int) -> FiniteSize:
    """Covariances between all layers, shifts and responses."""
    return finite_size(model(phi), Q0, depth=depth)


def sources_by_owen(phi: Activation, depth: int) -> np.ndarray:
    """Covariances of erf² between layers alone, a trapezoidal rule of 1601 points for each pair of layers."""
    kernel = lengths(model(phi), Q0, depth=depth).q.numpy()
    density = np.exp(-(POINTS**2) / 2) / math.sqrt(2 * math.pi) * (POINTS[1] - POINTS[0])
    found = np.zeros((depth + 1, depth + 1))
    for early, k in enumerate(kernel):
        h = math.sqrt(k) * POINTS
        own = 1 - 8 * owens_t(math.sqrt(2) * h, 1)
        for late in range(early, depth + 1):
            s = kernel[late] - k
            mean = 1 - 8 * owens_t(math.sqrt(2) * h / math.sqrt(1 + 2 * s), 1 / math.sqrt(1 + 4 * s))
            found[late, early] = density @ (mean * (own - density @ own))
    return found
