"""Many checks: here or by local processes, with what is finished kept in a folder.

What comes out is a list of verdicts, plain data; a report is a function of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from resnet_sde._json import json_number
from resnet_sde._versions import current_versions
from resnet_sde.estimate import Estimate
from resnet_sde.runs.execute import execute
from resnet_sde.runs.store import write_whole
from resnet_sde.theorems.core import Claim, Verdict, find, registry, verify


@dataclass(frozen=True)
class Task:
    """One check, of a theorem or of one of its controls."""

    id: str
    control: str | None
    budget: str
    seed: int

    def run(self) -> Verdict:
        """Do it."""
        return verify(self.id, budget=self.budget, seed=self.seed, control=self.control)


def select(names: Sequence[str]) -> list[str]:
    """Ids of the theorems that are named, or that are in catalogues that are named; all if nothing is.

    Raises:
        ValueError: there is no theorem and no catalogue of a name.
    """
    chosen: dict[str, None] = {}
    for name in names:
        inside = [theorem.id for theorem in registry.values() if theorem.catalogue == name]
        chosen.update(dict.fromkeys(inside or [find(name).id]))
    return list(chosen) or list(registry)


def plan(ids: Sequence[str], *, budget: str, seed: int, controls: bool) -> list[Task]:
    """The checks of these theorems, each followed by those of its controls if they are asked for."""
    names = {id: [None, *(find(id).controls if controls else ())] for id in ids}
    return [Task(id, control, budget, seed) for id, all_names in names.items() for control in all_names]


def run_suite(
    tasks: Sequence[Task], *, workers: int = 1, store: Path | None = None
) -> Iterator[tuple[Task, Verdict]]:
    """Every check with its verdict, as they are finished; first those that the folder has.

    Args:
        tasks: what to check.
        workers: local processes.
        store: folder for finished verdicts, which are not computed again; made if it is not there.

    Raises:
        RuntimeError: a worker process died.
        OSError: the folder cannot be made or written to.
    """
    kept = VerdictStore(store) if store is not None else None
    missing = []
    for task in tasks:
        found = kept.load(task) if kept is not None else None
        if found is None:
            missing.append(task)
        else:
            yield task, found
    modules = sorted({find(task.id).check.__module__ for task in missing})
    for task, verdict in execute(missing, _work, modules, workers=workers):
        if kept is not None:
            kept.save(task, verdict)
        yield task, verdict


def _work(task: Task, modules: Sequence[str]) -> Verdict:
    """Check a theorem, in a process that may not know it yet."""
    for module in modules:
        import_module(module)
    return task.run()


class VerdictStore:
    """A folder with one file for each finished check, named by all that its numbers depend on.

    That is the theorem and its control, budget and seed, the versions of the packages, and the text of
    this one's sources and of the theorem's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "verdicts"
        self._folder.mkdir(parents=True, exist_ok=True)

    def load(self, task: Task) -> Verdict | None:
        """The verdict of a finished check; None if there is none, or the file is damaged."""
        try:
            return verdict_of(json.loads(self._path(task).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, task: Task, verdict: Verdict) -> None:
        """Keep the verdict of a finished check."""
        text = json.dumps(record_of(verdict), indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(self._path(task), text.encode())

    def _path(self, task: Task) -> Path:
        own = sys.modules[find(task.id).check.__module__].__file__
        parts = [
            repr(task),
            sorted(current_versions().items()),
            _sources(),
            _digest([Path(own)] if own else []),
        ]
        return self._folder / f"{task.id}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.json"


@lru_cache(maxsize=1)
def _sources() -> str:
    return _digest(sorted(Path(__file__).parent.parent.rglob("*.py")))


def _digest(files: Sequence[Path]) -> str:
    """Of the texts of files; one that is not there, of a notebook say, has none."""
    texts = [file.read_bytes() for file in files if file.is_file()]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def record_of(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON: infinite numbers are the strings "inf" and "-inf", undefined ones null."""
    return {
        "id": verdict.id,
        "status": verdict.status,
        "budget": verdict.budget,
        "seed": verdict.seed,
        "seconds": verdict.seconds,
        "control": verdict.control,
        "settings": dict(verdict.settings),
        "claims": [_claim_record(claim) for claim in verdict.claims],
    }


def _claim_record(claim: Claim) -> dict[str, Any]:
    found = claim.measured
    numbers = {"value": found.value, "low": found.low, "high": found.high, "predicted": claim.predicted}
    return {
        "name": claim.name,
        "status": claim.outcome.value,
        **{name: json_number(value) for name, value in numbers.items()},
        "tolerance": claim.tolerance,
        "relation": claim.relation,
        "unmet": claim.unmet,
        "reason": found.reason,
    }


def verdict_of(record: Mapping[str, Any]) -> Verdict:
    """The verdict that a record was made of."""
    claims = tuple(
        Claim(
            part["name"],
            _estimate(part),
            _number(part["predicted"]),
            part["tolerance"],
            part["relation"],
            part["unmet"],
        )
        for part in record["claims"]
    )
    rest = (record[name] for name in ("budget", "seed", "seconds", "control", "settings"))
    return Verdict(record["id"], claims, *rest)


def _estimate(part: Mapping[str, Any]) -> Estimate:
    value, low, high = (_number(part[end]) for end in ("value", "low", "high"))
    return Estimate(value, low, high, part.get("reason"))


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)
