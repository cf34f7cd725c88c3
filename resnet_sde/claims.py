"""What is claimed of a number, and what its interval says: one type for theorems and figures alike.

A claim is an equivalence test. What was measured comes as an interval, and the claim holds if the whole
interval lies within its tolerance of what is predicted, fails if none of it does, and is undecided
otherwise. So a check that is too weak to decide says so, and both wrong answers are rare: a claim that is
true within its tolerance fails, and one that is not holds, with probability (1 − level) / 2 at most.

A number that involves no chance has an interval of no length, and is never undecided:

    >>> print(at_most("largest distance", 0.02, 0.01).outcome.value)
    fails
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat

from resnet_sde._json import json_number
from resnet_sde.estimate import Estimate, Outcome, exactly


@dataclass(frozen=True)
class Claim:
    """One measured number and what it should be.

    name: of the quantity, for people.
    measured: with its interval; a number that involves no chance has one of no length.
    predicted, tolerance: the claim is |measured − predicted| ≤ tolerance.
    relation: "=", or "<=" and ">=" for claims on one side only, measured ≤ predicted + tolerance and
        the like.
    unmet: a sentence that says which assumption is not met; such a claim is shown and decides nothing.
    known: a sentence that says why it is known to fail; it is shown if it does.
    """

    name: str
    measured: Estimate
    predicted: float
    tolerance: float = 0.0
    relation: str = "="
    unmet: str | None = None
    known: str = ""

    def __post_init__(self) -> None:
        if self.relation not in ("=", "<=", ">="):
            raise ValueError(f"unknown relation {self.relation!r}; give one of =, <=, >=")

    @property
    def outcome(self) -> Outcome:
        """What the interval says. A number that is not one fails: divergence is no reason for doubt."""
        if self.unmet is not None:
            return Outcome.NOT_MET
        if self.relation == "=":
            return self.measured.within(self.predicted, self.tolerance)
        if self.measured.reason is not None:
            return Outcome.UNDECIDED
        sign = 1.0 if self.relation == "<=" else -1.0
        near, far = sorted(sign * end for end in (self.measured.low, self.measured.high))
        bound = sign * self.predicted + self.tolerance
        if math.isnan(self.measured.value) or near > bound:
            return Outcome.FAILS
        return Outcome.HOLDS if far <= bound else Outcome.UNDECIDED

    @property
    def holds(self) -> bool:
        """Whether the whole interval is where it should be."""
        return self.outcome is Outcome.HOLDS

    def __str__(self) -> str:
        found = self.measured
        interval = f"{found.value:.4g}"
        if found.low != found.high:
            interval += f" [{found.low:.4g}, {found.high:.4g}]"
        sign = {"=": "vs", "<=": "≤", ">=": "≥"}[self.relation]
        within = f" ± {self.tolerance:.2g}" if self.tolerance else ""
        line = f"{self.name}: {interval} {sign} {self.predicted:.4g}{within}"
        note = self.unmet or found.reason or (not self.holds and self.known)
        return f"{line} ({note})" if note else line

    def to_json(self) -> dict[str, Any]:
        """As JSON: infinite numbers are the strings "inf" and "-inf", undefined ones null."""
        found = self.measured
        numbers = {"value": found.value, "low": found.low, "high": found.high, "predicted": self.predicted}
        return {
            "name": self.name,
            "status": self.outcome.value,
            **{name: json_number(value) for name, value in numbers.items()},
            "tolerance": self.tolerance,
            "relation": self.relation,
            "unmet": self.unmet,
            "reason": found.reason,
            **({"known": self.known} if self.known else {}),
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Claim:
        """The claim that a record was made of."""
        value, low, high, predicted = (
            math.nan if given[name] is None else float(given[name])
            for name in ("value", "low", "high", "predicted")
        )
        measured = Estimate(value, low, high, given.get("reason"))
        rest = {name: given[name] for name in ("name", "tolerance", "relation", "unmet")}
        return cls(measured=measured, predicted=predicted, **rest, known=given.get("known", ""))


def equal(
    name: str, measured: SupportsFloat, predicted: SupportsFloat, tolerance: SupportsFloat = 0.0
) -> Claim:
    """A number without chance is within the tolerance of what is predicted."""
    return Claim(name, exactly(measured), float(predicted), float(tolerance))


def between(name: str, measured: SupportsFloat, low: SupportsFloat, high: SupportsFloat) -> Claim:
    """A number without chance lies between two finite ones, up to rounding."""
    low, high = float(low), float(high)
    return equal(name, measured, (low + high) / 2, (high - low) / 2)


def at_most(name: str, measured: SupportsFloat, bound: SupportsFloat, known: str = "") -> Claim:
    """A number without chance is no larger than the bound; `known` says why that is known to fail."""
    return Claim(name, exactly(measured), float(bound), relation="<=", known=known)


def at_least(name: str, measured: SupportsFloat, bound: SupportsFloat, known: str = "") -> Claim:
    """A number without chance is no smaller than the bound; `known` says why that is known to fail."""
    return Claim(name, exactly(measured), float(bound), relation=">=", known=known)
