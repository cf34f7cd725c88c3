"""Injects faults into programs: ``python tests/support/faults.py FOLDER --injections 1000``.

Each has a number, which decides the program, the fault and its moment. What came of it is one line in FOLDER,
so that the same command goes on from there; lines of other code count no more. The exit status is 1 if
anything was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from places import ROOT

os.environ["OMP_NUM_THREADS"] = "1"  # what is forked has one thread
sys.path.insert(0, str(ROOT))

import injected_runs
import torch
from injected_errors import PLANTED
from injected_faults import SCHEDULE, Harness, Injection
from injected_programs import PROGRAMS

LINES = "injections.jsonl"
TRIES = 12  # injections among which a planted error must be found; most are found by the first


def code() -> str:
    """A digest of what is tried, and of what tries it."""
    paths = [
        *ROOT.glob("resnet_sde/**/*.py"),
        *ROOT.glob("experiments/**/*.py"),
        *ROOT.glob("paper_figs/**/*.py"),
        *ROOT.glob("tests/support/injected_*.py"),
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()[:16]


def known(folder: Path, digest: str) -> dict[int, Injection]:
    """Injections of this code that are there; a line that a killed run has not finished is none."""
    found: dict[int, Injection] = {}
    file = folder / LINES
    text = file.read_text() if file.exists() else ""
    if text and not text.endswith("\n"):
        file.write_text(text + "\n")
    for line in text.splitlines():
        try:
            plain = json.loads(line)
            if plain.pop("code") == digest:
                found[plain["number"]] = Injection(**plain)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def keep(folder: Path, found: Injection, digest: str) -> None:
    """Add a line."""
    with (folder / LINES).open("a") as file:
        file.write(json.dumps({**asdict(found), "code": digest}) + "\n")


def table(found: Iterable[Injection]) -> list[str]:
    """How many were injected, for each program and fault, and how many of them went wrong."""
    rows: dict[str, Counter[str]] = {}
    for each in found:
        row = rows.setdefault(each.fault, Counter())
        row[each.program] += each.reached
        row["late"] += not each.reached
        row["wrong"] += bool(each.wrong)
    columns = [*PROGRAMS, "late", "wrong"]
    rows["in all"] = Counter({name: sum(row[name] for row in rows.values()) for name in columns})
    head = f"| {'fault':33} | " + " | ".join(f"{name:>7}" for name in columns) + " |"
    rule = "|" + "|".join("-" * len(part) for part in head.split("|")[1:-1]) + "|"
    lines = [
        f"| {fault:33} | " + " | ".join(f"{row[name]:7}" for name in columns) + " |"
        for fault, row in rows.items()
    ]
    return [head, rule, *lines]


def plant(harness: Harness) -> list[str]:
    """Plant every error; the names of those that nothing shows."""
    missed, injected_runs.AFTERWARDS = [], 1.0  # what is planted on purpose is not waited for
    for name, (error, program, faults) in PLANTED.items():
        numbers = [
            cycle * len(SCHEDULE) + SCHEDULE.index((program, fault))
            for cycle in range(TRIES)
            for fault in faults
        ]
        harness.plant = error
        shown = next((found for number in numbers if (found := harness.inject(number)).wrong), None)
        print(f"planted: {name}: {shown.wrong[0] if shown else 'NOT FOUND'}", flush=True)
        missed += [] if shown else [name]
        for left in Path("/dev/shm").glob("sem.mp-planted*"):
            left.unlink()
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="keeps a line for each injection")
    parser.add_argument("--injections", type=int, default=1000, help="numbers below this one (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="and from this one on (default: 0)")
    parser.add_argument("--planted", action="store_true", help="plant errors too, which must be found")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    folder, digest, started = options.folder.resolve(), code(), time.perf_counter()
    work = folder / f"work-{os.getpid()}"
    harness, found = Harness(work), known(folder, digest)
    for number in range(options.first, options.injections):
        if number not in found:
            found[number] = harness.inject(number)
            keep(folder, found[number], digest)
            for line in found[number].wrong:
                print(number, found[number].program, found[number].fault, line, sep=": ", flush=True)
    missed = plant(harness) if options.planted else []
    found = {number: each for number, each in found.items() if number < options.injections}
    seconds, used = time.perf_counter() - started, sum(os.times()[:4])
    print(*table(found.values()), f"{seconds:.0f} s, of processors {used:.0f} s", sep="\n")
    wrong = sum(bool(each.wrong) for each in found.values())
    if not wrong:
        shutil.rmtree(work, ignore_errors=True)
    return int(bool(wrong or missed))


if __name__ == "__main__":
    sys.exit(main())
