"""Quantiles with intervals of order statistics: they keep their level for every law, and decide."""

import math

import pytest
import scipy.stats
import torch

from resnet_sde.estimate import Estimate, Outcome
from resnet_sde.theorems import Lab, verify
from resnet_sde.theorems.estimators import interdecile_range, median

LAWS = {
    "Cauchy": scipy.stats.cauchy(),
    "exponential": scipy.stats.expon(),
    "two values": scipy.stats.bernoulli(0.3),
}


def misses(found: list[Estimate], true: float, wider: float = 1.0) -> int:
    """How many intervals, made so much wider around their values, do not have the true number in them."""
    return sum(
        not e.value - wider * (e.value - e.low) <= true <= e.value + wider * (e.high - e.value) for e in found
    )


@pytest.mark.parametrize("name", LAWS)
def test_intervals_keep_their_level(name: str) -> None:
    """Of 200 at level 0.9; the bound is exceeded by chance in one of a million cases at most.

    The planted error is an interval of half the length, which continuous laws show.
    """
    law = LAWS[name]
    values = torch.from_numpy(law.rvs((200, 80), random_state=1)).double()
    bound = scipy.stats.binom.isf(1e-6, 200, 0.1)
    for estimate, true in (
        (median, law.ppf(0.5)),
        (interdecile_range, law.ppf(0.9) - law.ppf(0.1)),
    ):
        found = [estimate(row, 0.9) for row in values]
        assert misses(found, true) <= bound
        if name != "two values" and estimate is median:
            assert misses(found, true, wider=0.5) > bound


def test_no_single_value_decides() -> None:
    """A variance is not told where one value makes up most of it; quantiles stay where they are."""
    values = torch.randn(600, generator=torch.Generator().manual_seed(0))
    lab = Lab(0, 0.9999)
    wild = torch.cat([values[:-1], torch.tensor([1e3])])
    assert lab.at_least("variance", lab.spread(wild), 0.1).outcome is Outcome.UNDECIDED
    for of in (lab.interdecile_range, lab.median):
        calm, found = of(values), of(wild)
        assert found.low == pytest.approx(calm.low, abs=0.05)
        assert found.high == pytest.approx(calm.high, abs=0.05)
    assert lab.at_least("range", lab.interdecile_range(wild), 1.5).holds
    assert lab.at_least("range", lab.interdecile_range(wild / 3), 1.5).outcome is Outcome.FAILS


def test_too_few_values_leave_ends_open_and_undefined_ones_fail() -> None:
    few = Lab(0, 0.9999).interdecile_range(torch.arange(5.0))
    assert (few.low, few.high) == (0.0, math.inf)
    assert median(torch.tensor([1.0]), 0.99).low == -math.inf
    for bad in (math.nan, math.inf):
        values = torch.cat([torch.arange(500.0), torch.tensor([bad])])
        lab = Lab(0, 0.99)
        for estimate in (lab.interdecile_range(values), lab.median(values)):
            assert lab.at_least("range", estimate, 0.1).outcome is Outcome.FAILS


def test_stability_tells_a_degenerate_limit_by_the_range_alone() -> None:
    """At β* + 0.5 all states and gradients come to rest, and each of the six ranges says so."""
    ranges = [c for c in verify("stability", beta_off=0.5).claims if c.name.startswith("interdecile")]
    assert len(ranges) == 6
    assert all(claim.outcome is Outcome.FAILS for claim in ranges)
