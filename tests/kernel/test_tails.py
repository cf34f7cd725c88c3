"""Intervals that a sample does not carry say so, and decide nothing; those of normal samples hardly do."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from resnet_sde.estimate import Estimate, Outcome, mean, order, uncarried, weak_order

DEPTHS = (16, 32, 64, 128)
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

LAWS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda g, s: g.standard_normal(s), 0.0),
    "t3": (lambda g, s: g.standard_t(3, s), 0.0),
    "exponential": (lambda g, s: g.exponential(size=s), 1.0),
    **{
        f"log-normal {k}": (lambda g, s, k=k: np.exp(k * g.standard_normal(s)), math.exp(k * k / 2))  # type: ignore[misc]
        for k in (1, 2, 3)
    },
    "rare": (lambda g, s: (g.random(s) < 0.01) * 1.0, 0.01),
}


def misses(law: str, count: int, trials: int) -> tuple[int, int, int]:
    """Of so many samples: those that say nothing and miss, those that miss, and those that speak."""
    draw, exact = LAWS[law]
    silent = missed = spoke = 0
    for row in draw(np.random.default_rng([count, trials]), (trials, count)):
        found = mean(torch.from_numpy(row))
        outside = not found.low <= exact <= found.high
        missed += outside
        spoke += found.reason is not None
        silent += outside and found.reason is None
    return silent, missed, spoke


@pytest.mark.parametrize(
    ("law", "count", "most"),
    [
        ("normal", 10, 0.002),
        ("normal", 100, 0.002),
        ("normal", 2000, 0.002),
        ("t3", 100, 0.002),
        ("exponential", 100, 0.006),
        ("log-normal 1", 100, 0.011),
        *(("log-normal 2", n, m) for n, m in ((2, 0.0), (3, 0.0), (30, 0.03), (100, 0.015), (2000, 0.004))),
        *(("log-normal 3", n, m) for n, m in ((2, 0.0), (3, 0.0), (10, 0.12), (100, 0.003), (2000, 0.003))),
        *(("rare", n, 0.0) for n in (2, 10, 100)),
    ],
)
def test_few_intervals_miss_in_silence(law: str, count: int, most: float) -> None:
    """A false alarm in 10,000 runs, if the share of silent misses is `most`."""
    trials = 200 if count == 2000 else 600
    silent, missed, spoke = misses(law, count, trials)
    assert silent <= stats.binom.ppf(1 - 1e-4, trials, most)
    if law.startswith("log-normal") and law != "log-normal 1":
        assert missed > stats.binom.ppf(1 - 1e-4, trials, most), "Student's interval alone must fail"
    if law == "normal":
        assert spoke <= stats.binom.ppf(1 - 1e-4, trials, 1 / 5000)


@pytest.mark.parametrize("count", [5, 10, 50, 300])
@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_normal_samples_are_hardly_ever_spoilt(count: int, shift: float) -> None:
    rows = shift + np.random.default_rng(count).standard_normal((2000, count))
    spoke = sum(uncarried(row) is not None for row in rows)
    assert spoke <= stats.binom.ppf(1 - 1e-4, 2000, 1e-3 if count < 10 else 1 / 5000)


def test_what_is_not_carried_decides_nothing() -> None:
    heavy = torch.tensor([1.0] * 30 + [1e6])
    found = mean(heavy)
    assert found.reason == "one of 31 values makes up 97 % of their variance"
    assert str(found).endswith(f"(undecided: {found.reason})")
    for target in (0.0, found.value, 1e9):
        assert found.within(target, 0.1) is Outcome.UNDECIDED
    assert mean(torch.tensor([2.0, 2.0, 2.0, 2.0])).within(2.0, 0.1) is Outcome.UNDECIDED
    assert mean(torch.tensor([1.0, 2.0, 3.0])).within(1e9, 1.0) is Outcome.UNDECIDED
    assert mean(torch.tensor([2.0])).within(1e9, 1.0) is Outcome.UNDECIDED


@pytest.mark.parametrize(
    ("extra", "value"), [([math.inf], math.inf), ([-math.inf], -math.inf), ([math.nan], math.nan)]
)
def test_values_that_are_no_numbers_fail(extra: list[float], value: float) -> None:
    found = mean(torch.tensor([*range(40), *extra]))
    assert found.value == value or (math.isnan(value) and math.isnan(found.value))
    assert found.within(1.0, 1e6) is Outcome.FAILS
    both = mean(torch.tensor([1.0, math.inf, -math.inf, 2.0]))
    assert math.isnan(both.value)
    assert both.within(1.0, 1.0) is Outcome.FAILS


@pytest.mark.parametrize("unit", [1e200, 1e-200, 1e300])
def test_intervals_of_huge_and_tiny_values(unit: float) -> None:
    values = torch.from_numpy(np.random.default_rng(0).standard_normal(50) + 3)
    plain, found = mean(values), mean(values * unit)
    assert (found.low / unit, found.high / unit) == pytest.approx((plain.low, plain.high), rel=1e-12)


def test_a_weak_error_that_is_not_told_from_zero_has_no_order() -> None:
    source = np.random.default_rng(1)
    noise = torch.from_numpy(source.standard_normal((400, 4)))
    sizes = torch.tensor(DEPTHS) ** -1.0
    hidden = weak_order(DEPTHS, 0.01 * sizes + noise, reference=1024)
    assert hidden.reason is not None
    assert "is not told from 0 by 400 networks" in hidden.reason
    assert hidden.within(1.0, 10.0) is Outcome.UNDECIDED
    clear = weak_order(DEPTHS, sizes * (1 + 0.2 * noise))
    assert clear.reason is None
    assert clear.within(1.0, 0.1) is Outcome.HOLDS


def test_the_end_of_what_a_fit_looks_at_is_no_measurement() -> None:
    growing = torch.tensor(DEPTHS).double().pow(8.0).expand(40, -1) * torch.linspace(1, 2, 40)[:, None]
    found = order(DEPTHS, growing, reference=1024)
    assert found.low == -math.inf
    assert found.within(0.5, 0.1) is Outcome.FAILS
    unseen = weak_order(
        DEPTHS, torch.from_numpy(np.random.default_rng(0).standard_normal((50, 4))), reference=256
    )
    assert unseen.reason is not None
    if math.isnan(unseen.value):
        assert (unseen.low, unseen.high) == (-math.inf, math.inf)


def test_an_order_that_one_network_makes_up_is_not_carried() -> None:
    sizes = torch.tensor(DEPTHS).double() ** -1.0
    usual = sizes.expand(60, -1) * torch.linspace(1, 2, 60)[:, None]
    assert order(DEPTHS, usual).reason is None
    one = torch.cat([usual, 1e4 * torch.tensor(DEPTHS).double()[None] ** -0.2])
    found = order(DEPTHS, one)
    assert found.reason is not None
    assert "one of 61 networks makes up" in found.reason
    assert found.within(0.5, 0.5) is Outcome.UNDECIDED


def test_an_estimate_without_a_reason_is_as_before() -> None:
    assert Estimate(0.5, 0.4, 0.6) == Estimate(0.5, 0.4, 0.6, None)
    assert str(Estimate(0.5, 0.4, 0.6)) == "0.500 [0.400, 0.600]"
