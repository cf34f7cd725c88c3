"""Intervals and orders: exact on power laws, honest on noisy ones, and undecided where they know nothing."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from resnet_sde.estimate import LEVEL, Estimate, Outcome, mean, order, quantile, weak_order

DEPTHS = (16, 32, 64, 128)
REFERENCE = 512

numbers = st.floats(-3, 3)
rates = st.floats(-1.0, 2.0).filter(lambda p: abs(p) > 1e-3)


def shape(rate: float, reference: int | None, power: int = 1) -> Tensor:
    """Errors of rate `rate` against an exact reference, or against a network with an error of its own."""
    depths = torch.tensor(DEPTHS, dtype=torch.float64)
    tail = 0.0 if reference is None else float(reference) ** -(power * rate)
    return (depths ** -(power * rate) - tail).abs() ** (1 / power)


def noisy(rate: float, samples: int, seed: int, reference: int | None = None, power: int = 1) -> Tensor:
    """Squared errors of networks: log-normal, with a factor common to all depths and one for each."""
    source = np.random.default_rng(seed)
    common, own = source.standard_normal((samples, 1)), source.standard_normal((samples, len(DEPTHS)))
    return torch.from_numpy(np.exp(0.8 * common + 0.5 * own)) * shape(rate, reference, power) ** 2


@given(value=numbers, left=st.floats(0, 2), right=st.floats(0, 2), target=numbers, tolerance=st.floats(0, 2))
def test_verdicts_follow_the_interval(
    value: float, left: float, right: float, target: float, tolerance: float
) -> None:
    found = Estimate(value, value - left, value + right).within(target, tolerance)
    inside = [target - tolerance <= end <= target + tolerance for end in (value - left, value + right)]
    if all(inside):
        assert found is Outcome.HOLDS
    elif any(inside) or value - left < target < value + right:
        assert found is Outcome.UNDECIDED
    else:
        assert found is Outcome.FAILS


def test_what_is_not_a_number_fails_and_what_is_not_known_does_not() -> None:
    assert Estimate(math.nan, math.nan, math.nan).within(0.5, 0.1) is Outcome.FAILS
    assert Estimate(-math.inf, -math.inf, -math.inf).within(0.5, 0.1) is Outcome.FAILS
    assert Estimate(0.5, -math.inf, math.inf).within(0.5, 0.1) is Outcome.UNDECIDED
    assert str(Estimate(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), level=st.sampled_from([0.9, 0.999]))
def test_mean_is_the_interval_of_student(values: list[float], level: float) -> None:
    found = mean(torch.tensor(values), level)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * error
    assert [found.value, found.low, found.high] == pytest.approx(
        [np.mean(values), np.mean(values) - half, np.mean(values) + half], abs=1e-9
    )


def test_one_sample_says_nothing() -> None:
    assert mean(torch.tensor([2.0])) == Estimate(2.0, -math.inf, math.inf)
    found = order(DEPTHS, noisy(0.5, 1, seed=0))
    assert math.isfinite(found.value)
    assert found.within(found.value, 10.0) is Outcome.UNDECIDED


def test_the_default_level_of_many_samples_is_normal() -> None:
    assert LEVEL == 0.999
    assert quantile(LEVEL, 10**6) == pytest.approx(stats.norm.ppf(0.9995), abs=1e-4)


@given(rate=rates, scale=st.floats(1e-3, 1e3), reference=st.sampled_from([None, REFERENCE]))
def test_exact_power_laws_are_read_off_exactly(rate: float, scale: float, reference: int | None) -> None:
    for power in (1, 2, 4):
        errors = scale * shape(rate, reference, power).expand(7, -1) ** 2
        found = order(DEPTHS, errors, reference=reference, power=power, resamples=3)
        # The minimum of a least square is known to the root of the rounding.
        assert found.value == pytest.approx(rate, abs=1e-9 if reference is None else 1e-4)
        assert found.high - found.low < (1e-9 if reference is None else 1e-3)
    signed = -scale * shape(rate, reference).expand(7, -1)
    assert weak_order(DEPTHS, signed, reference=reference, resamples=3).value == pytest.approx(rate, abs=1e-4)


@pytest.mark.parametrize(("rate", "power"), [(0.2, 1), (0.5, 1), (0.5, 2), (1.0, 1), (0.25, 4)])
def test_the_error_of_the_reference_is_taken_out(rate: float, power: int) -> None:
    errors = noisy(rate, 600, 0, REFERENCE, power)
    found = order(DEPTHS, errors, reference=REFERENCE, power=power)
    assert found.within(rate, 0.1) is Outcome.HOLDS, found
    naive = order(DEPTHS, errors)
    assert naive.value > found.value + 0.015, "the plain slope must be off, or this test shows nothing"
    other = order(DEPTHS, errors, reference=REFERENCE, power=1 if power > 1 else 2)
    assert abs(other.value - rate) > 0.02, "how errors add matters"


def binomial_limit(trials: int, rate: float) -> int:
    """The most false alarms in so many trials, exceeded with probability 1e-5."""
    return int(stats.binom.ppf(1 - 1e-5, trials, rate))


@pytest.mark.parametrize(("samples", "nominal", "real"), [(10, 0.1, 0.17), (40, 0.1, 0.13), (300, 0.1, 0.13)])
def test_intervals_miss_as_rarely_as_they_say(samples: int, nominal: float, real: float) -> None:
    """Log-normal errors are skewed and 60 resamples few: over 1500 trials 0.165, 0.113 and 0.124 missed."""
    trials, missed, resolved = 300, 0, 0
    for seed in range(trials):
        found = order(DEPTHS, noisy(0.5, samples, seed), level=1 - nominal, resamples=60, seed=seed)
        missed += not found.low <= 0.5 <= found.high
        resolved += not found.low <= 0.5 + 4 / samples**0.5 <= found.high
    assert missed <= binomial_limit(trials, real)
    assert resolved > 0.9 * trials, "a rate that is wrong by this much must be missed"


def test_verdicts_on_right_and_wrong_rates() -> None:
    right = [order(DEPTHS, noisy(0.5, 600, s), resamples=100).within(0.5, 0.15) for s in range(10)]
    wrong = [order(DEPTHS, noisy(0.15, 600, s), resamples=100).within(0.5, 0.15) for s in range(10)]
    few = [order(DEPTHS, noisy(0.5, 8, s), resamples=100).within(0.5, 0.15) for s in range(10)]
    assert set(right) == {Outcome.HOLDS}
    assert set(wrong) == {Outcome.FAILS}
    assert set(few) == {Outcome.UNDECIDED}


@pytest.mark.parametrize("verb", [order, weak_order])
def test_divergence_fails_and_zero_errors_are_undecided(verb: Callable[..., Estimate]) -> None:
    for reference in (None, REFERENCE):
        for bad in (math.inf, math.nan):
            errors = noisy(0.5, 50, 0)
            errors[3, 2] = bad
            found = verb(DEPTHS, errors, reference=reference)
            assert found.value == -math.inf
            assert found.within(0.5, 0.1) is Outcome.FAILS
        found = verb(DEPTHS, torch.zeros(50, 4), reference=reference)
        assert found.within(0.5, 0.1) is Outcome.UNDECIDED
    single = torch.zeros(50, 4)
    single[7] = noisy(0.5, 1, 0)
    assert verb(DEPTHS, single).within(0.5, 0.1) is Outcome.UNDECIDED, "most resamples see no error at all"


def test_a_mean_that_is_not_resolved_has_no_order() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((200, 4)))
    signal = shape(1.0, REFERENCE)
    weak = weak_order(DEPTHS, signal + noise, reference=REFERENCE)
    assert weak.within(1.0, 0.3) is Outcome.UNDECIDED
    clear = weak_order(DEPTHS, signal + 0.01 * signal * noise, reference=REFERENCE)
    assert clear.within(1.0, 0.1) is Outcome.HOLDS
    assert clear.within(0.5, 0.3) is Outcome.FAILS


def test_the_seed_decides() -> None:
    errors = noisy(0.5, 50, 0)
    assert order(DEPTHS, errors, seed=1) == order(DEPTHS, errors, seed=1)
    assert order(DEPTHS, errors, seed=1) != order(DEPTHS, errors, seed=2)
    assert order(DEPTHS, errors.clone().requires_grad_()) == order(DEPTHS, errors)


@pytest.mark.parametrize("verb", [order, weak_order])
@pytest.mark.parametrize(
    ("depths", "errors", "options", "phrase"),
    [
        ((16,), torch.ones(5, 1), {}, "two or more increasing"),
        ((16, 16), torch.ones(5, 2), {}, "two or more increasing"),
        ((32, 16), torch.ones(5, 2), {}, "two or more increasing"),
        ((0, 16), torch.ones(5, 2), {}, "two or more increasing"),
        ((16, 32), torch.ones(5, 3), {}, r"shape \(sample, 2 depths\)"),
        ((16, 32), torch.ones(2), {}, r"shape \(sample, 2 depths\)"),
        ((16, 32), torch.ones(0, 2), {}, r"shape \(sample, depth\)"),
        ((16, 32), torch.ones(5, 2), {"reference": 32}, "deeper than 32"),
        ((16, 32), torch.ones(5, 2), {"level": 1.0}, "level must lie"),
        ((16, 32), torch.ones(5, 2), {"seed": -1}, "seed must be"),
    ],
)
def test_bad_arguments(
    verb: Callable[..., Estimate],
    depths: tuple[int, ...],
    errors: Tensor,
    options: dict[str, float],
    phrase: str,
) -> None:
    with pytest.raises(ValueError, match=phrase):
        verb(depths, errors, **options)


def test_a_mean_needs_values() -> None:
    with pytest.raises(ValueError, match="give values of shape"):
        mean(torch.zeros(0))
    with pytest.raises(ValueError, match="give values of shape"):
        mean(torch.zeros(3, 2))
