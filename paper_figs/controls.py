"""Controls of a figure: how its networks would be wrong, and which of its claims must notice.

They are to a figure what false neighbours are to a theorem, and have the same verdicts: none of them may
hold. A figure declares them by name, as `CONTROLS`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr

from paper_figs.catalogue import figure as module_of
from resnet_sde.claims import Claim
from resnet_sde.estimate import Outcome
from resnet_sde.theorems.core import NOTHING, Verdict

Change = Callable[[xr.Dataset], xr.Dataset]


class Control:
    """A planted violation.

    Attributes:
        change: gives the dataset of wrong networks from that of the right ones, which it may change.
        noticed: parts of names of claims: of each one claim has to fail, if any is made at the budget.
    """

    def __init__(self, change: Change, *noticed: str) -> None:
        self.change, self.noticed = change, noticed


def other(budgets: Mapping[str, Any], change: Callable[[Any], Any]) -> Change:
    """Networks of another experiment, under the labels of the right one."""

    def wrong(ds: xr.Dataset) -> xr.Dataset:
        found = change(budgets[ds.attrs["budget"]]).run(seed=int(ds.attrs["seed"]))
        return found.assign_coords(ds.coords).assign_attrs(ds.attrs)

    return wrong


def verify(name: str, control: str, ds: xr.Dataset) -> Verdict:
    """What the claims of a figure say of a control, given the figure's dataset.

    It holds if a claim that should notice it does not, and fails if all do; the claims of the verdict are
    those that decide.
    """
    figure, started = module_of(name), time.perf_counter()
    planted = figure.CONTROLS[control]
    claims = _decisive(planted.noticed, figure.check(planted.change(ds.copy(deep=True))))
    seconds = time.perf_counter() - started
    return Verdict(name, claims, ds.attrs["budget"], int(ds.attrs["seed"]), seconds, control)


def _decisive(noticed: Sequence[str], claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """What fails for a known reason fails without a control too, and notices nothing."""
    claims = [claim for claim in claims if claim.holds or not claim.known]
    named = [some for part in noticed if (some := [claim for claim in claims if part in claim.name])]
    for some in named:
        if all(claim.outcome is not Outcome.FAILS for claim in some):
            return tuple(some)
    if not named:
        unmet = "no claim that could notice it is made at this budget"
        return (Claim(", ".join(noticed), NOTHING, math.nan, unmet=unmet),)
    return tuple(claim for claim in claims if claim.outcome is Outcome.FAILS)
