"""Intervals of exponents over a few seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from resnet_sde.estimate import Estimate, quantile


def over_seeds(values: Sequence[float] | np.ndarray, level: float) -> Estimate:
    """The mean with Student's interval.

    `estimate.mean` distrusts three values, since means of squares can be heavy-tailed. An exponent is the
    slope of logarithms of medians over blocks, each of which is a norm over all coordinates: it is nearly
    normal, and it is equal in all seeds where nothing random is in it.
    """
    found = np.asarray(values, dtype=float)
    if not np.isfinite(found).all():
        return Estimate(math.nan, -math.inf, math.inf)
    value = float(found.mean())
    if len(found) < 2:
        return Estimate(value, -math.inf, math.inf)
    half = quantile(level, len(found)) * float(found.std(ddof=1)) / math.sqrt(len(found))
    return Estimate(value, value - half, value + half)
