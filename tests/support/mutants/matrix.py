"""Every planted bug against every theorem at the quick budget: which theorems catch which.

Run `python tests/support/mutants/matrix.py FOLDER` in the root of the checkout. It takes minutes, works
through the pairs in parts, and goes on where it was stopped. A theorem that never calls what a bug replaces
is not run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent.parent)]

import torch
from first_failure import until_a_claim_fails

from mutants import MUTANTS, Mutant, forget, planted, reached
from resnet_sde.theorems import registry, verify

NOT_REACHED = "not reached"


def called(id: str) -> set[CodeType]:
    """The functions that the check of a theorem calls."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found.add(frame.f_code)

    few = {name: 20 for name in registry[id].budgets["quick"] if name == "samples"}
    forget()
    sys.setprofile(note)
    try:
        verify(id, **few)
    finally:
        sys.setprofile(None)
    return found


def outcome(mutant: Mutant, id: str, **settings: int) -> str:
    """What the theorem says of the library with the bug in it; an error is the name of its class."""
    with planted(mutant):
        try:
            return verify(until_a_claim_fails(id), seed=0, **settings).status
        except Exception as error:  # a bug may break anything
            return type(error).__name__


def matrix(mutants: Sequence[str], folder: Path | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """The outcomes of all theorems, for one bug after the other; `folder` keeps and gives what is done."""
    calls: dict[str, set[CodeType]] = {}
    for name in mutants:
        mutant, kept = MUTANTS[name], folder / f"{name}.json" if folder is not None else None
        found = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
        codes = reached(mutant)
        for id in registry:
            if id in found:
                continue
            if codes is not None and id not in calls:
                calls[id] = called(id)
            found[id] = NOT_REACHED if codes is not None and not codes & calls[id] else outcome(mutant, id)
            if kept is not None:
                kept.write_text(json.dumps(found, indent=1, ensure_ascii=False))
        yield name, found


def table(found: dict[str, dict[str, str]]) -> str:
    """A Markdown table: each bug, what it is, and the theorems that fail, in the order of the catalogue."""
    lines = ["| bug | what went wrong | theorems that fail |", "| --- | --- | --- |"]
    for name, outcomes in found.items():
        words = " ".join((MUTANTS[name].plant.__doc__ or "").split())
        failed = ", ".join(id for id, status in outcomes.items() if status == "fails")
        tests = ", ".join(f"`{test}`" for test in MUTANTS[name].tests)
        lines.append(f"| {name} | {words} | {failed or 'none'}{f' (caught by {tests})' if tests else ''} |")
    return "\n".join(lines) + "\n"


def main(folder: Path, names: Sequence[str]) -> None:
    """Fill the folder, and write the table of what it holds."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in matrix(names or list(MUTANTS), folder):
        print(name, *(id for id, status in found.items() if status == "fails"), flush=True)
    done = {name: json.loads((folder / f"{name}.json").read_text()) for name in MUTANTS}
    (folder / "table.md").write_text(table(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
