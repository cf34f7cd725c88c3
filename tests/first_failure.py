"""Theorems whose check ends at the first claim that fails, for tests that ask whether any does."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from resnet_sde.theorems import Claim, Outcome, Theorem, registry


def until_a_claim_fails(id: str) -> Theorem:
    """The theorem of this id: one claim that fails decides the verdict, and the others need not be made."""
    theorem = registry[id]

    @functools.wraps(theorem.check)
    def check(**settings: Any) -> Iterator[Claim]:
        for claim in theorem.check(**settings):
            yield claim
            if claim.outcome is Outcome.FAILS:
                return

    return replace(theorem, check=check)
