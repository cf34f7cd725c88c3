"""Verdicts to be reported, made up: of every theorem there is, and with every kind of number."""

import math
from collections.abc import Iterator
from typing import Any

from resnet_sde.estimate import Estimate
from resnet_sde.theorems import Claim, Lab, Theorem, Verdict, registry, theorem

INF, NAN = math.inf, math.nan
VERSIONS = {"resnet_sde": "0.1.0", "torch": "<2>"}
ODD_ID = 'a<b & "c"'

HOLDS = Claim("inside", Estimate(1.0, 0.9, 1.1), 1.0, 0.2)
FAILS = Claim("outside", Estimate(3.0, 2.9, 3.1), 1.0, 0.2)
UNDECIDED = Claim("across", Estimate(1.2, 1.1, 1.3), 1.0, 0.2)
ODD = (
    HOLDS,
    FAILS,
    UNDECIDED,
    Claim("<at most> & so on", Estimate(1.2, 1.1, 1.3), 1.0, 0.5, "<="),
    Claim("at least", Estimate(1.2, 1.1, 1.3), 1.0, 0.0, ">="),
    Claim("exact", Estimate(1e-16, 1e-16, 1e-16), 0.0, 1e-12),
    Claim("equal without tolerance", Estimate(0.0, 0.0, 0.0), 0.0),
    Claim("far away", Estimate(-3e5, -3.1e5, -2.9e5), 1.0, 0.2),
    Claim("no number", Estimate(NAN, NAN, NAN), 1.0, 0.2),
    Claim("no ends", Estimate(1.0, NAN, NAN), 1.0, 0.2),
    Claim("infinite", Estimate(INF, INF, INF), 1.0, 0.2),
    Claim("infinite below", Estimate(-INF, -INF, -INF), 1.0, 0.2),
    Claim("no bounds", Estimate(1.0, -INF, INF), 1.0, 0.2),
    Claim("no upper bound", Estimate(1.0, 0.5, INF), 1.0, 0.2, ">="),
    Claim("huge", Estimate(1.7e308, -1.7e308, 1.7e308), 1.0, 0.2),
    Claim("infinite prediction", Estimate(1.0, 0.9, 1.1), INF, 0.2),
    Claim("not counted", Estimate(1.0, 0.9, 1.1), 3.0, 0.2, unmet="a <width> below & 64"),
    Claim("assumptions", Estimate(NAN, NAN, NAN), NAN, unmet="two <matrices>"),
)


def register_odd(statement: str = r"\sum_{k<L} x_k") -> None:
    """A theorem whose texts are full of signs of HTML and of Markdown."""

    def check(lab: Lab, *, wrong: bool = False) -> Iterator[Claim]:
        yield HOLDS

    theorem(
        ODD_ID,
        words='Not <b>bold</b> & no "markup", |x| *y* z_1.',
        statement=statement,
        assumptions=("x < y & y > z",),
        source="<i>nobody</i>",
        claims=len(ODD),
        budgets={"quick": {}, "full": {}},
        controls={"x<y": {"wrong": True}},
    )(check)


def verdict(*claims: Claim, id: str = ODD_ID, control: str | None = None, **given: Any) -> Verdict:
    """A verdict at the quick budget."""
    settings = {} if control is None else {"model": "<a model>"}
    return Verdict(id, claims, "quick", given.get("seed", 3), given.get("seconds", 1.25), control, settings)


def everything() -> list[Verdict]:
    """A verdict for each theorem there is and for each of its controls, without any computation."""
    return [made for entry in registry.values() for made in _of(entry)]


def _of(entry: Theorem) -> Iterator[Verdict]:
    yield verdict(HOLDS, *(UNDECIDED,) * (entry.claims - 1), id=entry.id)
    for control in entry.controls:
        yield verdict(HOLDS, FAILS, id=entry.id, control=control)
