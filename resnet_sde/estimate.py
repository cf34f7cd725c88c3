"""Numbers with intervals, orders of convergence, and what an interval says about a target.

An interval for a mean holds if the mean is nearly normal, which no sample can prove: whatever is rarer than
one in n is not in it (Bahadur & Savage, 1956). But a sample can show that it does not carry an interval. Then
the estimate says so in its `reason`, and decides nothing. A mean is not carried

- by three values or fewer, or by fewer than 10,000 that are all equal;
- if one value makes up more than a fifth of their variance, or more than Grubbs's test allows among so few;
- if all have one sign and the largest is 10 times their median, among fewer than 100; or 100 times, among
  more, if it makes up a twentieth of the variance.

How many of 1,000 samples of n values have an interval of level 99.9 % that misses the mean and say nothing,
as measured; in brackets those of Student's intervals, which say nothing ever. Of each law 200,000 samples
were drawn, for n = 2000 only 30,000; the second digit of a small number is chance. Two values are as three.

    n                  3         10           30           100          300          2000
    normal             0 (1.1)   0.96 (0.96)  0.99 (0.99)  0.97 (0.97)  1.1 (1.1)    1.0 (1.0)
    Student's t3       0 (0.82)  0.47 (0.47)  0.53 (0.53)  0.55 (0.65)  0.60 (0.69)  1.0 (1.0)
    exponential        0 (5.1)   16 (16)      8.8 (9.2)    3.3 (3.9)    1.9 (1.9)    1.0 (1.0)
    log-normal, σ = 1  0 (7.0)   39 (39)      26 (28)      7.7 (13)     5.1 (6.0)    1.5 (1.5)
    log-normal, σ = 2  0 (110)   170 (260)    17 (200)     13 (130)     14 (79)      0 (31)
    log-normal, σ = 3  0 (450)   87 (600)     0.40 (530)   0.63 (430)   0 (340)      0 (200)

Of samples of normal values 1 in 1,200 of 4 or 5 and 1 in 10,000 of 10 or more are said not to carry an
interval.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import SupportsFloat

import numpy as np
import scipy.optimize
import scipy.stats
from torch import Tensor

from resnet_sde.checks import positive_integer
from resnet_sde.streams import check_seed

LEVEL = 0.999
"""Confidence of every interval, unless a caller says otherwise."""

_TOO_FEW, _MANY, _SO_MANY = 3, 100, 10_000  # values
_SHARE = 0.2  # of one value in the variance
_RATES = -2.0, 4.0  # that a fit against a finite reference is looked for in


class Outcome(enum.Enum):
    """What the numbers say about a claim or a theorem; the last one says that it does not apply."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NOT_MET = "assumption not met"


@dataclass(frozen=True)
class Estimate:
    """A value with a confidence interval.

    reason: why the sample does not carry the interval, a sentence; None where nothing speaks against it.
    """

    value: float
    low: float
    high: float
    reason: str | None = None

    def within(self, target: float, tolerance: float) -> Outcome:
        """HOLDS if the whole interval lies in target ± tolerance, FAILS if none of it does, else UNDECIDED.

        An estimate that is not a number fails: a divergent quantity is no reason for doubt. One that its
        sample does not carry is UNDECIDED.
        """
        if self.reason is not None:
            return Outcome.UNDECIDED
        if math.isnan(self.value):
            return Outcome.FAILS
        if target - tolerance <= self.low and self.high <= target + tolerance:
            return Outcome.HOLDS
        outside = self.low > target + tolerance or self.high < target - tolerance
        return Outcome.FAILS if outside else Outcome.UNDECIDED

    def __str__(self) -> str:
        interval = f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return interval if self.reason is None else f"{interval} (undecided: {self.reason})"


def exactly(value: SupportsFloat) -> Estimate:
    """A number that involves no chance."""
    return Estimate(float(value), float(value), float(value))


def quantile(level: float, samples: int) -> float:
    """Two-sided quantile of Student's t for the standard error of this many samples; infinite for one."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; give for example 0.999")
    return float(scipy.stats.t.ppf(0.5 + level / 2, samples - 1)) if samples > 1 else math.inf


def mean(values: Tensor, level: float = LEVEL) -> Estimate:
    """The mean of independent values, with Student's interval, and with a reason if they do not carry it.

    Infinite values have an infinite mean, and it is none if there are some of both signs, or undefined ones.

    Shape: values (sample,).

    Example:
        >>> import torch
        >>> print(mean(torch.tensor([1.0, 2.0, 3.0, 2.0]), level=0.95))
        2.000 [0.701, 3.299]
    """
    found = _samples(values, 1)
    quantile(level, len(found))  # refuses a level that is none
    if not np.isfinite(found).all():
        undefined = np.isnan(found).any() or (np.isposinf(found).any() and np.isneginf(found).any())
        value = math.nan if undefined else math.copysign(math.inf, found[~np.isfinite(found)][0])
        return Estimate(value, value, value)
    unit = _unit(found)
    found = found / unit
    deviation = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
    estimate = _estimate(float(np.mean(found)), deviation / math.sqrt(len(found)), level, len(found))
    value, low, high = (unit * end for end in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, _equal(found) or uncarried(found))


def _unit(found: np.ndarray) -> float:
    """A power of two by which the values are divided where their squares would leave the range of floats."""
    largest = float(np.abs(found).max())
    return 1.0 if largest == 0 or 1e-100 < largest < 1e100 else 2.0 ** (math.frexp(largest)[1] - 1)


def _equal(found: np.ndarray) -> str | None:
    if 1 < len(found) < _SO_MANY and np.ptp(found) == 0:
        return f"all {len(found)} values are equal, which says nothing of rarer ones"
    return None


def uncarried(found: np.ndarray) -> str | None:
    """Why a sample does not carry an interval for its mean, by the rules of the module; None if it may.

    Shape: found (sample,); of one value, whose interval is infinite, nothing is said.
    """
    count = len(found)
    if count < 2:
        return None
    if count <= _TOO_FEW:
        return f"{count} values are too few to show how heavy their tail is"
    squares = np.square(found - found.mean())
    total = float(squares.sum())
    share = float(squares.max()) / total if total > 0 else 0.0
    if share > max(_SHARE, _largest_normal_share(count)):
        return f"one of {count} values makes up {100 * share:.0f} % of their variance"
    sizes = np.abs(found)
    most, typical = float(sizes.max()), float(np.median(sizes))
    span = 10 if count < _MANY else 100
    if (found.min() >= 0 or found.max() <= 0) and most > span * typical and (count < _MANY or share > 0.05):
        return f"the largest of {count} values is {most / max(typical, 1e-300):.2g} times their median"
    return None


def _dominated(errors: np.ndarray) -> str | None:
    """Why networks do not carry an order: they are too few, or one makes up half of the error at a depth."""
    count, sizes = len(errors), np.abs(errors)
    if 1 < count <= _TOO_FEW:
        return f"{count} networks are too few to show how much their errors scatter"
    total = sizes.sum(0)
    if count < 2 or not np.isfinite(total).all() or not total.all():
        return None
    share = float((sizes.max(0) / total).max())
    return f"one of {count} networks makes up {100 * share:.0f} % of an error" if share > 0.5 else None


@functools.cache
def _largest_normal_share(count: int) -> float:
    """The share of one of so many normal values in their variance, exceeded in 1 of 10,000 (Grubbs)."""
    t2 = float(scipy.stats.t.ppf(1 - 1e-4 / (2 * count), count - 2)) ** 2
    return t2 / (count - 2 + t2) * (count - 1) / count


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
    the rate −∞; errors that are zero say nothing. Three networks or fewer do not carry an order, nor do any
    of which one makes up half of an error; and where the reference is finite, a rate outside −2 … 4 is known
    by its bound only.

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
    found = _bootstrap(lambda v: fit.order(np.sqrt(v.mean(0))), errors, level, resamples, seed)
    return fit.bounded(replace(found, reason=_dominated(_samples(errors, 2))))


def weak_order(
    depths: Sequence[int],
    differences: Tensor,
    *,
    reference: int | None = None,
    level: float = LEVEL,
    resamples: int = 300,
    seed: int = 0,
) -> Estimate:
    """Rate of |E difference|, as in `order`; shape of the signed differences (sample, depth).

    There is no rate where a mean difference is not told from 0: then a reason says at which depth.
    """
    fit = _fit(depths, differences, reference, power=1)
    found = _bootstrap(lambda v: fit.order(np.abs(v.mean(0))), differences, level, resamples, seed)
    hidden = [
        f"the weak error at depth {depth} is not told from 0 by {len(differences)} networks"
        for depth, column in zip(depths, differences.unbind(1), strict=True)
        if (one := mean(column, level)).low <= 0 <= one.high and one.low < one.high
    ]
    reason = hidden[0] if hidden else _dominated(_samples(differences, 2))
    return fit.bounded(replace(found, reason=reason))


def _bootstrap(
    statistic: Callable[[np.ndarray], float], samples: Tensor, level: float, resamples: int, seed: int
) -> Estimate:
    values = _samples(samples, 2)
    if positive_integer("resamples", resamples, "give for example 300") < 2:
        raise ValueError("one bootstrap sample has no spread; give for example resamples=300")
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
    if not isinstance(values, Tensor) or values.is_complex():
        given = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"values must be a tensor of real numbers, got {given}; convert them")
    if values.ndim != axes or not len(values):
        names = ("sample", "depth")[:axes]
        raise ValueError(f"give values of shape ({', '.join(names)}), not {tuple(values.shape)}")
    return values.detach().double().cpu().numpy()


def _increasing(depths: np.ndarray) -> bool:
    return bool((np.diff(depths) > 0).all() and np.isfinite(depths).all() and (depths % 1 == 0).all())


def _fit(depths: Sequence[int], values: Tensor, reference: int | None, power: int) -> _Fit:
    found = np.asarray(depths, dtype=float)
    if found.ndim != 1 or len(found) < 2 or found[0] < 1 or not _increasing(found):
        raise ValueError(f"depths must be two or more increasing positive integers, got {list(depths)}")
    if values.ndim != 2 or values.shape[1] != len(found):
        raise ValueError(f"give values of shape (sample, {len(found)} depths), not {tuple(values.shape)}")
    if reference is not None and not reference > found[-1]:
        raise ValueError(f"reference must be deeper than {found[-1]:g}, got {reference}; give None if exact")
    positive_integer("power", power, "give 1 or 2")
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
            lambda p: self._spread(p, logs), bounds=_RATES, method="bounded"
        )
        return float(found.x)

    def bounded(self, found: Estimate) -> Estimate:
        """A rate that the fit found at the end of what it looks at is at least, or at most, that."""
        low, high = (abs(found.value - end) < 0.01 and math.isfinite(self.reference) for end in _RATES)
        if (low or high) and found.reason is not None:
            return Estimate(math.nan, -math.inf, math.inf, found.reason)
        found = replace(found, low=-math.inf) if low else found
        return replace(found, high=math.inf) if high else found

    def _spread(self, rate: float, logs: np.ndarray) -> float:
        """Variance of log(error / shape) at this rate; the shape is log(L / R) in the middle, at rate 0."""
        added = self.power * rate
        if abs(added) < 1e-9:
            shape = np.log(self.reference / self.depths)
        else:
            shape = (self.depths**-added - self.reference**-added) / added
        return float(np.var(logs - np.log(shape) / self.power))
