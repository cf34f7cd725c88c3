"""Covariances of weights along depth, written out from their definitions, apart from the laws themselves."""

from __future__ import annotations

import numpy as np

from resnet_sde.laws import PathLaw, SmoothNoise


def covariance(law: PathLaw, depth: int) -> np.ndarray:
    """γ(k, l) of the weights of a network of so many layers; (depth, depth)."""
    k = np.arange(depth)
    lag = np.abs(k[:, None] - k).astype(float)
    if law.noise == "fractional":
        power = 2 * law.exponent
        return 0.5 * (np.abs(lag - 1) ** power - 2 * lag**power + (lag + 1) ** power)
    if isinstance(law, SmoothNoise):
        return np.exp(-0.5 * (lag / depth / law.length_scale) ** 2)
    return np.ones_like(lag) if law.noise == "constant" else np.eye(depth)
