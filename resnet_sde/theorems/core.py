r"""What a theorem is here: a statement, its claims, and a verdict from their confidence intervals.

One level serves the whole suite. Its claims are counted before anything runs, since every theorem
declares how many it makes, and together they may be ROOM at most. A claim's interval has the level 1 −
FAMILY[budget] / ROOM, so that by Bonferroni's inequality the chance of any wrong answer in the whole
suite is below FAMILY[budget]: 1/20 at the quick budget, 1/1000 at the full one. No verdict depends on
which other theorems there are. Intervals of shares and of distances between laws keep their level at every
sample size; those of means and of orders up to what the central limit theorem leaves.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from resnet_sde.checks import positive_integer
from resnet_sde.claims import Claim
from resnet_sde.estimate import Estimate, Outcome
from resnet_sde.propagate import default_dtype, one_thread
from resnet_sde.streams import check_seed
from resnet_sde.theorems.lab import AssumptionNotMet as AssumptionNotMet
from resnet_sde.theorems.lab import Lab

FAMILY = {"quick": 1 / 20, "full": 1e-3}
"""Chance of a wrong answer anywhere in the suite, by budget."""

ROOM = 512
"""How many claims the suite may make, those of other people's theorems included."""

_ID = re.compile(r"[^\s./\\-][^/\\\x00-\x1f\x7f]{0,99}")  # it is part of the names of files

NOTHING = Estimate(math.nan, math.nan, math.nan)

_OF_LAB = tuple(f.name for f in fields(Lab) if f.name not in ("seed", "level"))

Check = Callable[..., Iterable[Claim]]
"""Of a theorem: check(lab, *, …) yields claims."""

registry: dict[str, Theorem] = {}
"""All theorems by their ids, in the order in which they were registered."""


@dataclass(frozen=True)
class Theorem:
    """A statement that can be run.

    id: its short name; up to 100 characters, without slashes, of which the first is no dot, dash or space.
    words: the statement in one plain sentence.
    statement: the same in LaTeX.
    assumptions: what it asks for.
    source: where it is from.
    claims: how many claims it makes, at most.
    budgets: settings of the budgets "quick" and "full".
    controls: false neighbours by name, as settings that differ; none of them may hold.
    check: makes the claims, check(lab, **settings). Settings that it does not take itself, such as samples
        and planted errors, go to the lab.
    own_models: whether a model of the caller's own may take the place of those of the statement.
    """

    id: str
    words: str
    statement: str
    assumptions: tuple[str, ...]
    source: str
    claims: int
    budgets: Mapping[str, Mapping[str, Any]]
    controls: Mapping[str, Mapping[str, Any]]
    check: Check
    own_models: bool = False

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(
                f"a theorem cannot have the id {self.id!r}, for files are named by it; give up to 100 "
                "characters without slashes, of which the first is no dot, dash or space, as in 'fair-coin'"
            )
        if set(self.budgets) != set(FAMILY):
            raise ValueError(f"theorem {self.id}: give budgets named {' and '.join(FAMILY)}")
        if self.claims < 1:
            raise ValueError(f"theorem {self.id}: claims counts what it asserts; give a positive integer")
        _check_shape(self.id, self.check)
        named = {name: None for part in (*self.budgets.values(), *self.controls.values()) for name in part}
        self._refuse_unknown(named, [name for name in named if name in _OF_LAB] + self._own_settings)

    @property
    def catalogue(self) -> str:
        """Name of the catalogue it is in: of the module, or of the package of modules, that has its check."""
        parts = self.check.__module__.split(".")
        return parts[2] if parts[:2] == ["resnet_sde", "theorems"] else parts[0]

    @property
    def _own_settings(self) -> list[str]:
        return list(inspect.signature(self.check).parameters)[1:]

    @property
    def settings(self) -> tuple[str, ...]:
        """What may be set: what the check takes, and what its budgets and its controls set in the lab."""
        used = {name: None for part in (*self.budgets.values(), *self.controls.values()) for name in part}
        return tuple(dict.fromkeys([*used, *(["model"] if self.own_models else []), *self._own_settings]))

    def accept(self, settings: Mapping[str, Any]) -> None:
        """Raise ValueError unless all of these may be set."""
        self._refuse_unknown(settings, self.settings)

    def _refuse_unknown(self, names: Iterable[str], known: Sequence[str]) -> None:
        for name in names:
            if name not in known:
                listed = ", ".join(known) or "none"
                raise ValueError(f"theorem {self.id} has no setting {name!r}; its settings are: {listed}")

    def claims_of(self, seed: int, level: float, settings: Mapping[str, Any]) -> Iterable[Claim]:
        """What the check claims, handed a lab."""
        own = {name: value for name, value in settings.items() if name in self._own_settings}
        lab = Lab(seed, level, **{name: value for name, value in settings.items() if name not in own})
        return self.check(lab, **own)


def _check_shape(id: str, check: Check) -> None:
    """Raise ValueError unless a check can be handed a lab, and its settings by name."""
    if not callable(check):
        raise ValueError(f"the check of theorem {id} must be a function of a lab, got {check!r}")
    first, *rest = inspect.signature(check).parameters.values() or (None,)
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    by_name = all(p.kind in kinds and p.name not in ("seed", "level") for p in rest)
    if first is None or first.name != "lab" or first.kind in kinds[1:] or not by_name:
        raise ValueError(
            f"the check of theorem {id} must take a lab, and its own settings by name: write def "
            f"{getattr(check, '__name__', 'check')}(lab, *, …), and in it lab.seed, lab.level and lab.samples"
        )


@dataclass(frozen=True)
class Verdict:
    """What came out of the check of a theorem.

    control: name of the false neighbour that was checked, None for the theorem itself.
    settings: what differed from the budget, as strings.
    seconds: it took.
    """

    id: str
    claims: tuple[Claim, ...]
    budget: str
    seed: int
    seconds: float
    control: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """FAILS if a claim fails, else UNDECIDED if one is; NOT_MET where none applies."""
        found = [claim.outcome for claim in self.claims]
        for outcome in (Outcome.FAILS, Outcome.UNDECIDED, Outcome.HOLDS):
            if outcome in found:
                return outcome
        return Outcome.NOT_MET

    @property
    def status(self) -> str:
        """The outcome as a word: holds, fails, undecided or assumption not met."""
        return self.outcome.value

    @property
    def holds(self) -> bool:
        """Whether at least one claim was made, and all hold."""
        return self.outcome is Outcome.HOLDS

    def __str__(self) -> str:
        what = self.id if self.control is None else f"{self.id}, control ({self.control})"
        changed = "".join(f", {name} = {value}" for name, value in self.settings.items())
        lines = [f"{what}: {self.status} ({self.budget}{changed}, seed {self.seed}, {self.seconds:.1f} s)"]
        widest = max(len(claim.outcome.value) for claim in self.claims)
        lines += [f"  {claim.outcome.value:<{widest}}  {claim}" for claim in self.claims]
        return "\n".join(lines)


def theorem(
    id: str,
    *,
    words: str,
    claims: int,
    budgets: Mapping[str, int | Mapping[str, Any]],
    controls: Mapping[str, Mapping[str, Any]],
    statement: str = "",
    assumptions: tuple[str, ...] = (),
    source: str = "",
    own_models: bool = False,
) -> Callable[[Check], Check]:
    """Register the check of a theorem; the arguments are the fields of `Theorem`.

    A budget that is a number is that of samples.

    Raises: ValueError: the id is taken, the suite has no room for so many claims, a budget is missing,
    budgets and controls speak of settings that there are not, or the check does not take a lab.
    """

    def register(check: Check) -> Check:
        sizes = {
            name: b
            if isinstance(b, Mapping)
            else {
                "samples": positive_integer(f"budget {name} of theorem {id}", b, "give a number of samples")
            }
            for name, b in budgets.items()
        }
        new = Theorem(id, words, statement, assumptions, source, claims, sizes, controls, check, own_models)
        old = registry.get(id)
        if old is not None and (old.check.__module__, old.check.__qualname__) != (
            check.__module__,
            check.__qualname__,
        ):
            raise ValueError(f"there is a theorem {id!r} already, in {old.check.__module__}; give another id")
        others = sum(t.claims for t in registry.values() if t.id != id)
        if others + claims > ROOM:
            raise ValueError(
                f"theorem {id} makes {claims} claims and the others {others}, which is more than the {ROOM} "
                "that the level of the suite is made for; make fewer claims"
            )
        registry[id] = new
        return check

    return register


def find(name: str | Theorem) -> Theorem:
    """The theorem of this id. Raises ValueError, naming similar ones, if there is none."""
    if isinstance(name, Theorem):
        return name
    if name not in registry:
        near = difflib.get_close_matches(name, registry, n=3) or list(registry)[:3]
        raise ValueError(f"there is no theorem {name!r}; there are for example {', '.join(near)}")
    return registry[name]


def confidence(budget: str) -> float:
    """Level of the interval of one claim. Raises ValueError for an unknown budget."""
    if budget not in FAMILY:
        raise ValueError(f"unknown budget {budget!r}; give one of {', '.join(FAMILY)}")
    return 1.0 - FAMILY[budget] / ROOM


def verify(
    theorem: str | Theorem,
    *,
    budget: str = "quick",
    seed: int = 0,
    control: str | None = None,
    **overrides: Any,
) -> Verdict:
    """Check a theorem.

    Args:
        theorem: its id, or the theorem.
        budget: "quick" (a second or so) or "full" (up to half a minute).
        seed: of all random numbers; the verdict is a function of it.
        control: name of one of the theorem's false neighbours, to check that instead.
        overrides: other settings of the check, such as a model of one's own.

    Raises:
        ValueError: an argument is unknown or out of range.

    Example:
        >>> verdict = verify("gradient-invariant")
        >>> verdict.status
        'holds'
        >>> verify("gradient-invariant", control="a bias").status
        'fails'
    """
    found = find(theorem)
    level = confidence(budget)
    if control is not None and control not in found.controls:
        known = ", ".join(map(repr, found.controls)) or "none"
        raise ValueError(f"theorem {found.id} has no control {control!r}; its controls are: {known}")
    changed = {**(found.controls[control] if control is not None else {}), **overrides}
    found.accept(changed)
    start = time.perf_counter()
    with one_thread(), default_dtype(torch.float64):
        claims = _claims(found, {**found.budgets[budget], **changed}, check_seed(seed), level)
    seconds = time.perf_counter() - start
    shown = {name: str(value) for name, value in changed.items()}
    return Verdict(found.id, claims, budget, check_seed(seed), seconds, control, shown)


def assert_holds(theorem: str | Theorem, **arguments: Any) -> Verdict:
    """Verify, for use in a test; arguments as for `verify`.

    Raises:
        AssertionError: the verdict is anything else than that it holds; the message shows its claims.
    """
    verdict = verify(theorem, **arguments)
    if not verdict.holds:
        raise AssertionError(str(verdict))
    return verdict


def _claims(found: Theorem, settings: Mapping[str, Any], seed: int, level: float) -> tuple[Claim, ...]:
    try:
        made = found.claims_of(seed, level, settings)
        claims = tuple(made) if isinstance(made, Iterable) else (made,)
    except AssumptionNotMet as reason:
        return (Claim("assumptions", NOTHING, math.nan, unmet=str(reason)),)
    for claim in claims:
        if not isinstance(claim, Claim):
            raise RuntimeError(
                f"the check of theorem {found.id} makes {claim!r}, which is no claim; let it yield or return "
                "claims, such as lab.equal(…)"
            )
    if len(claims) > found.claims:
        raise RuntimeError(
            f"theorem {found.id} declares {found.claims} claims and makes {len(claims)}: the level of the "
            "suite counts on the declared number; correct it"
        )
    if not claims:
        raise RuntimeError(f"theorem {found.id} makes no claim; let its check yield at least one")
    return claims
