"""Theorems of one's own whose parts are of another kind."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from resnet_sde import theorems
from resnet_sde.claims import Claim
from resnet_sde.estimate import Estimate
from resnet_sde.theorems import core

CLAIM = Claim("one", Estimate(1.0, 0.5, 1.5), 1.0, 2.0)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setattr(core, "registry", dict(core.registry))

    def register(check: Any, budget: Any = 10) -> str:
        budgets = {"quick": budget, "full": budget}
        core.theorem("of-another-kind", words="it holds", claims=1, budgets=budgets, controls={})(check)
        return "of-another-kind"

    return register


@pytest.mark.parametrize("budget", [1.5, True, "many", None, 0])
def test_a_budget_that_is_none_is_refused(registered: Callable[..., str], budget: object) -> None:
    with pytest.raises(ValueError, match="budget quick of theorem of-another-kind must be") as caught:
        registered(lambda lab: [CLAIM], budget)
    assert "\n" not in str(caught.value)


def test_a_budget_may_be_a_number_of_numpy(registered: Callable[..., str]) -> None:
    seen: list[int] = []
    found = theorems.verify(registered(lambda lab: seen.append(lab.samples) or [CLAIM], np.int64(5)))
    assert found.holds
    assert seen == [5]


def test_one_claim_is_a_claim(registered: Callable[..., str]) -> None:
    assert theorems.verify(registered(lambda lab: CLAIM)).claims == (CLAIM,)


@pytest.mark.parametrize("made", [None, 1.0, [1.0], "one"])
def test_what_is_no_claim_is_named(registered: Callable[..., str], made: Any) -> None:
    with pytest.raises(RuntimeError, match=r"of-another-kind makes .* no claim"):
        theorems.verify(registered(lambda lab: made))


def test_what_is_no_function_is_refused(registered: Callable[..., str]) -> None:
    def check(seed: int, level: float) -> list[Claim]:
        return [CLAIM]

    class Old:
        def __call__(self, seed: int, level: float) -> list[Claim]:
            return [CLAIM]

    for wrong, message in (
        (3, "a function of a lab"),
        (check, "must take a lab"),
        (Old(), "take a lab"),
    ):
        with pytest.raises(ValueError, match=message):
            registered(wrong)
