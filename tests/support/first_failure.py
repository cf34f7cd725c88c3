"""Checks that end as soon as they have found what is false, for tests that ask whether they do."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from resnet_sde.theorems import Claim, Lab, Outcome, Theorem, Verdict, registry, verify


def until_a_claim_fails(id: str) -> Theorem:
    """The theorem of this id: one claim that fails decides the verdict, and the others need not be made."""
    theorem = registry[id]

    @functools.wraps(theorem.check)
    def check(lab: Lab, **settings: Any) -> Iterator[Claim]:
        for claim in theorem.check(lab, **settings):
            yield claim
            if claim.outcome is Outcome.FAILS:
                return

    return replace(theorem, check=check)


def few_samples_first(id: str, control: str | None = None) -> list[dict[str, int]]:
    """Settings to try in turn: what fails with a quarter of the quick samples need not be run with all.

    Both intervals have the level of the suite, so that a true claim is as safe from either.
    """
    theorem = registry[id]
    given = theorem.budgets["quick"] | theorem.controls.get(control or "", {})
    return [{"samples": given["samples"] // 4}, {}] if "samples" in given else [{}]


def verify_false(id: str, control: str) -> Verdict:
    """The verdict on a control, of as few samples as decide it."""
    theorem = until_a_claim_fails(id)
    for settings in few_samples_first(id, control):
        verdict = verify(theorem, control=control, **settings)
        if verdict.status == "fails":
            break
    return verdict
