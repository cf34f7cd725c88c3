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


def exponent(depths: Sequence[int], sizes: Sequence[Sequence[float]], level: float) -> Estimate:
    """Minus the slope of log size on log depth, over seeds; undefined for one depth or for sizes of zero.

    Shape: sizes (depth, seed).
    """
    values = np.array(sizes, dtype=float)
    if len(depths) < 2 or not (values > 0).all():
        return Estimate(math.nan, -math.inf, math.inf)
    slopes = -np.polyfit(np.log(depths), np.log(values), 1)[0]
    return over_seeds(slopes, level)


def depends(law: Estimate) -> bool:
    """Whether an exponent shows that something depends on the depth: beyond .05, 0 outside its interval."""
    return abs(law.value) > 0.05 and (law.low > 0 or law.high < 0)
