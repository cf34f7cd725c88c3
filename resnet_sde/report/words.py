"""Numbers and claims as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_sde.claims import Claim
from resnet_sde.theorems.core import FAMILY, Verdict, confidence


def number(value: float) -> str:
    """Four digits, with a true minus sign."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.4g}".replace("-", "−")


def measured(claim: Claim) -> str:
    """The number and its interval."""
    found = claim.measured
    if math.isnan(found.value) or found.low == found.high:
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def claimed(claim: Claim) -> str:
    """What the number should be: "= 1 ± 0.1", "≤ 1 + 0.1" or "≥ 1 − 0.1"."""
    sign, give = {"=": ("=", "±"), "<=": ("≤", "+"), ">=": ("≥", "−")}[claim.relation]
    tolerance = f" {give} {number(claim.tolerance)}" if claim.tolerance else ""
    return f"{sign} {number(claim.predicted)}{tolerance}"


def circumstances(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Budgets, seeds, the level of the intervals and the chance of a wrong answer."""
    budgets = list(dict.fromkeys(verdict.budget for verdict in verdicts))
    seeds = list(dict.fromkeys(verdict.seed for verdict in verdicts))
    if not budgets:
        return {}
    return {
        "budget": ", ".join(budgets),
        "seed": ", ".join(map(str, seeds)),
        "level of an interval": ", ".join(f"{100 * confidence(budget):.6g} %" for budget in budgets),
        "chance of a wrong answer in the suite": ", ".join(f"{FAMILY[b]:g} or less" for b in budgets),
    }


def duration(seconds: float) -> str:
    """Minutes, if there are any, and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
