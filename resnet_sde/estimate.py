"""Numbers with intervals, orders of convergence, and what an interval says about a target."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.stats
from torch import Tensor

from resnet_sde._random import check_seed

LEVEL = 0.999
"""Confidence of every interval, unless a caller says otherwise."""


class Status(enum.Enum):
    """What an interval says about a claim; a sample too small says nothing."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Estimate:
    """A value with a confidence interval."""

    value: float
    low: float
    high: float

    def within(self, target: float, tolerance: float) -> Status:
        """HOLDS if the whole interval lies in target ± tolerance, FAILS if none of it does, else UNDECIDED.

        An estimate that is not a number fails: a divergent quantity is no reason for doubt.
        """
        if math.isnan(self.value):
            return Status.FAILS
        if target - tolerance <= self.low and self.high <= target + tolerance:
            return Status.HOLDS
        outside = self.low > target + tolerance or self.high < target - tolerance
        return Status.FAILS if outside else Status.UNDECIDED

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def quantile(level: float, samples: int) -> float:
    """Two-sided quantile of Student's t for the standard error of this many samples; infinite for one."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; give for example 0.999")
    return float(scipy.stats.t.ppf(0.5 + level / 2, samples - 1)) if samples > 1 else math.inf


def mean(values: Tensor, level: float = LEVEL) -> Estimate:
    """The mean of independent values, with Student's interval.

    Shape: values (sample,).

    Example:
        >>> import torch
        >>> print(mean(torch.tensor([1.0, 2.0, 3.0, 2.0]), level=0.95))
        2.000 [0.701, 3.299]
    """
    found = _samples(values, 1)
    deviation = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
    return _estimate(float(np.mean(found)), deviation / math.sqrt(len(found)), level, len(found))


def order(
    depths: Sequence[int],
    errors: Tensor,
    *,
    reference: int | None = None,
    power: int = 1,
    level: float = LEVEL,
    resamples: int = 300,
    seed: int = 0,
) -> Estimate:
    """Rate p of an error that decays like L^{−p}, with a bootstrap interval over networks.

    The interval is the bootstrap's standard error times a quantile of Student's t; a percentile interval
    could not reach the level. The error of a finite reference is part of what is measured, and is taken out
    by fitting a (L^{−kp} − R^{−kp})^{1/k}, with k the power in which errors add. Errors that overflow have
    the rate −∞; errors that are zero say nothing.

    Args:
        depths: two or more, increasing.
        errors: squared errors of every network.
        reference: depth R of the reference; None where it is exact.
        power: 1 where errors of one sign add, 2 where those of a martingale do.
        level: confidence.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Shape: errors (sample, depth).

    Raises:
        ValueError: depths, errors, reference and level do not go together.
    """
    fit = _fit(depths, errors, reference, power)
    return _bootstrap(lambda v: fit.order(np.sqrt(v.mean(0))), errors, level, resamples, seed)


def weak_order(
    depths: Sequence[int],
    differences: Tensor,
    *,
    reference: int | None = None,
    level: float = LEVEL,
    resamples: int = 300,
    seed: int = 0,
) -> Estimate:
    """Rate of |E difference|, as in `order`; shape of the signed differences (sample, depth)."""
    fit = _fit(depths, differences, reference, power=1)
    return _bootstrap(lambda v: fit.order(np.abs(v.mean(0))), differences, level, resamples, seed)


def _bootstrap(
    statistic: Callable[[np.ndarray], float], samples: Tensor, level: float, resamples: int, seed: int
) -> Estimate:
    values = _samples(samples, 2)
    count = len(values)
    centre = statistic(values)
    if not math.isfinite(centre):
        return Estimate(centre, -math.inf, centre)
    pick = np.random.Generator(np.random.PCG64(check_seed(seed))).integers(0, count, (resamples, count))
    found = np.array([statistic(values[rows]) for rows in pick])
    spread = float(np.std(found, ddof=1)) if np.isfinite(found).all() else math.inf
    return _estimate(centre, spread * math.sqrt(count / max(1, count - 1)), level, count)


def _estimate(centre: float, error: float, level: float, samples: int) -> Estimate:
    """From a standard error; one sample has none."""
    half = quantile(level, samples) * error if samples > 1 else math.inf
    return Estimate(centre, centre - half, centre + half)


def _samples(values: Tensor, axes: int) -> np.ndarray:
    if values.ndim != axes or not len(values):
        names = ("sample", "depth")[:axes]
        raise ValueError(f"give values of shape ({', '.join(names)}), not {tuple(values.shape)}")
    return values.detach().double().cpu().numpy()


def _fit(depths: Sequence[int], values: Tensor, reference: int | None, power: int) -> _Fit:
    found = np.asarray(depths, dtype=float)
    if found.ndim != 1 or len(found) < 2 or found[0] < 1 or not (np.diff(found) > 0).all():
        raise ValueError(f"depths must be two or more increasing positive integers, got {list(depths)}")
    if values.ndim != 2 or values.shape[1] != len(found):
        raise ValueError(f"give values of shape (sample, {len(found)} depths), not {tuple(values.shape)}")
    if reference is not None and not reference > found[-1]:
        raise ValueError(f"reference must be deeper than {found[-1]:g}, got {reference}; give None if exact")
    return _Fit(found, math.inf if reference is None else float(reference), power)


@dataclass(frozen=True)
class _Fit:
    """Least squares in logarithms of errors against depth; −∞ if an error overflows, else ∞ if one is 0."""

    depths: np.ndarray
    reference: float
    power: int

    def order(self, errors: np.ndarray) -> float:
        """The rate p."""
        if not np.isfinite(errors).all():
            return -math.inf
        if not errors.all():
            return math.inf
        logs = np.log(errors)
        if math.isinf(self.reference):
            return -float(np.polyfit(np.log(self.depths), logs, 1)[0])
        found = scipy.optimize.minimize_scalar(
            lambda p: self._spread(p, logs), bounds=(-2.0, 4.0), method="bounded"
        )
        return float(found.x)

    def _spread(self, rate: float, logs: np.ndarray) -> float:
        """Variance of log(error / shape) at this rate; the shape is log(L / R) in the middle, at rate 0."""
        added = self.power * rate
        if abs(added) < 1e-9:
            shape = np.log(self.reference / self.depths)
        else:
            shape = (self.depths**-added - self.reference**-added) / added
        return float(np.var(logs - np.log(shape) / self.power))
