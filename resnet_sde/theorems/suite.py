"""Many checks: here or by local processes, with what is finished kept in a folder.

What comes out is a list of verdicts, plain data; a report is a function of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from resnet_sde.claims import Claim
from resnet_sde.runs.agreement import Changed, code_digest
from resnet_sde.runs.execute import Executor, execute
from resnet_sde.runs.identity import digests, environment
from resnet_sde.runs.store import Identity, Record, Store
from resnet_sde.theorems.core import Verdict, find, registry, verify


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
    tasks: Sequence[Task], *, workers: int = 1, executor: Executor | None = None, store: Path | None = None
) -> Iterator[tuple[Task, Verdict]]:
    """Every check with its verdict, as they are finished; first those that the folder has.

    Args:
        tasks: what to check.
        workers: local processes.
        executor: works in their place; it is not shut down.
        store: folder for finished verdicts, which are not computed again; made if it is not there. Those of
            theorems of which it cannot be told what decides them are not kept, with a warning.

    Raises:
        RuntimeError: a worker process died.
        OSError: the folder cannot be made or written to.
    """
    kept = None if store is None else Store(store, "verdicts/{key}.json", manifest=_manifest(tasks))
    known = dict(zip(tasks, identities(tasks), strict=True)) if kept is not None else {}
    missing = []
    for task in tasks:
        found = kept.load(known[task]) if kept is not None else None
        if found is None:
            missing.append(task)
        else:
            yield task, verdict_of(found.content)
    modules = sorted({find(task.id).check.__module__ for task in missing})
    codes = {task.id: code_digest(find(task.id)) for task in missing} if workers > 1 or executor else {}
    for task, verdict in execute(missing, _work, (modules, codes), workers=workers, executor=executor):
        if kept is not None:
            kept.save(known[task], Record({}, record_of(verdict)))
        yield task, verdict


def _work(task: Task, shared: tuple[Sequence[str], Mapping[str, str]]) -> Verdict:
    """Check a theorem, in a process that may not know it yet, if it is that of the process that asks."""
    modules, codes = shared
    for module in modules:
        import_module(module)
    if task.id in codes and code_digest(find(task.id)) != codes[task.id]:
        raise Changed(f"the theorem {task.id}")
    return task.run()


def identities(tasks: Sequence[Task]) -> list[Identity | None]:
    """What decides each verdict, code included; None, after a warning, where that cannot be told."""
    codes = digests(find(task.id) for task in tasks)
    shared = {"environment": environment()}
    return [
        None if code is None else {"check": asdict(task), "theorem": code, **shared}
        for task, code in zip(tasks, codes, strict=True)
    ]


def _manifest(tasks: Sequence[Task]) -> dict[str, Any]:
    asked = {
        "budgets": sorted({task.budget for task in tasks}),
        "seeds": sorted({task.seed for task in tasks}),
    }
    return {"verify": {"checks": len(tasks), **asked}, "environment": environment()}


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
        "claims": [claim.to_json() for claim in verdict.claims],
    }


def verdict_of(record: Mapping[str, Any]) -> Verdict:
    """The verdict that a record was made of."""
    claims = tuple(map(Claim.from_json, record["claims"]))
    rest = (record[name] for name in ("budget", "seed", "seconds", "control", "settings"))
    return Verdict(record["id"], claims, *rest)
