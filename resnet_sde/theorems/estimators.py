"""Numbers with intervals, as checks of theorems need them.

All are total: values that overflow or are undefined make an estimate that fails its claim, never one
that leaves it open.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.stats
from torch import Tensor

from resnet_sde.estimate import Estimate, exactly, mean


def average(values: Tensor, level: float, *, unit: float = 1.0) -> Estimate:
    """The mean of independent values, any shape, in the given unit, with Student's interval."""
    flat = values.double().flatten() / unit
    if not bool(flat.isfinite().all()):
        return exactly(float(flat.sum()))
    return mean(flat, level)


def spread(values: Tensor, level: float, *, unit: float = 1.0) -> Estimate:
    """The variance of independent values, in the given unit."""
    flat = values.double().flatten()
    return average((flat - flat.mean()).square() * (len(flat) / max(1, len(flat) - 1)), level, unit=unit)


def median(values: Tensor, level: float) -> Estimate:
    """The median of the law of independent values, any shape; its interval is that of order statistics.

    It has its level at every sample size and for every law: no value counts by its size.
    """
    return _quantile(values, level, 0.5)


def interdecile_range(values: Tensor, level: float) -> Estimate:
    """Distance of the first from the last decile of a law, each as in `median`, with half of the chance."""
    first, last = (_quantile(values, 1.0 - (1.0 - level) / 2, p) for p in (0.1, 0.9))
    low, high = max(0.0, last.low - first.high), last.high - first.low
    return Estimate(last.value - first.value, low, high)


def _quantile(values: Tensor, level: float, p: float) -> Estimate:
    """With an interval that has no end where there are too few values for one."""
    found = values.double().flatten().numpy()
    if not np.isfinite(found).all():
        return exactly(math.nan)
    low, high = scipy.stats.quantile_test(found, p=p).confidence_interval(level)
    low, high = (end if math.isfinite(end) else far for end, far in ((low, -math.inf), (high, math.inf)))
    return Estimate(float(np.quantile(found, p)), float(low), float(high))


def shift(first: Tensor, second: Tensor, level: float) -> Estimate:
    """The difference of the means of two independent samples, with Welch's interval."""
    parts = [average(values, level) for values in (first, second)]
    centre = parts[0].value - parts[1].value
    if not math.isfinite(centre):
        return exactly(centre)
    half = math.hypot(*(0.5 * (part.high - part.low) for part in parts))
    return Estimate(centre, centre - half, centre + half, parts[0].reason or parts[1].reason)


def share(events: Tensor, level: float) -> Estimate:
    """The probability of an event, from independent booleans; interval of Clopper and Pearson."""
    count, hits = events.numel(), int(events.sum())
    interval = scipy.stats.binomtest(hits, count).proportion_ci(level, method="exact")
    return Estimate(hits / count, float(interval.low), float(interval.high))


def distance(values: Tensor, cdf: Callable[[np.ndarray], np.ndarray], level: float) -> Estimate:
    """Kolmogorov's distance from the law of independent values to one that is given, continuous.

    The interval is that of Dvoretzky, Kiefer and Wolfowitz with Massart's constant, valid for every
    sample size.
    """
    found = _sorted(values)
    steps = np.arange(len(found) + 1) / len(found)
    at = cdf(found)
    furthest = float(max((steps[1:] - at).max(), (at - steps[:-1]).max()))
    return _kolmogorov(furthest, _band(len(found), level))


def distance_between(first: Tensor, second: Tensor, level: float) -> Estimate:
    """Kolmogorov's distance between the laws of two independent samples."""
    a, b = _sorted(first), _sorted(second)
    both = np.concatenate([a, b])
    counts = [np.searchsorted(sample, both, side="right") / len(sample) for sample in (a, b)]
    error = (1.0 - level) / 2  # shared out between the two samples
    half = _band(len(a), 1 - error) + _band(len(b), 1 - error)
    return _kolmogorov(float(np.abs(counts[0] - counts[1]).max()), half)


def _sorted(values: Tensor) -> np.ndarray:
    found = values.double().flatten().numpy()
    return np.sort(np.where(np.isnan(found), np.inf, found))


def _band(count: int, level: float) -> float:
    return math.sqrt(math.log(2.0 / (1.0 - level)) / (2 * count))


def _kolmogorov(furthest: float, half: float) -> Estimate:
    return Estimate(furthest, max(0.0, furthest - half), min(1.0, furthest + half))
