"""The table as Markdown, and the facts of the machine that it was measured on."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Row

README = Path(__file__).with_name("README.md")
START, END = "<!-- table: start -->", "<!-- table: end -->"
COLUMNS = (
    "workload",
    "unit",
    "ours",
    "usual way",
    "times faster",
    "floor",
    "ours / floor",
    "target",
    "met",
    "memory",
    "GPU",
    "CPU / GPU",
)


def header() -> str:
    rule = ["---" if name in ("workload", "unit", "target", "met") else "---:" for name in COLUMNS]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (COLUMNS, rule))


def line(row: Row) -> str:
    cells = [
        row.workload,
        row.unit,
        duration(row.ours),
        "" if row.usual is None else duration(row.usual),
        "" if row.speedup is None else f"{row.speedup:.3g}",
        "" if row.floor is None else duration(row.floor),
        "" if row.over_floor is None else f"{row.over_floor:.2f}",
        target(row),
        "" if row.met is None else ("yes" if row.met else "no"),
        "" if row.memory is None else f"{row.memory:.0f} MB",
        "" if row.gpu is None else duration(row.gpu),
        "" if row.gpu is None else f"{row.ours / row.gpu:.3g}",
    ]
    return f"| {' | '.join(cells)} |"


def target(row: Row) -> str:
    parts = [
        None if row.faster is None else f"≥ {row.faster:g} times",
        None if row.floors is None or row.floor is None else f"≤ {row.floors:g} floors",
        None if row.seconds is None else f"≤ {row.seconds:g} s",
    ]
    return ", ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """Three digits and a unit that a reader can compare by eye."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= (2 if size > 1 else 1) * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def machine() -> str:
    """One line on the machine, the versions and the date."""
    facts = [
        f"{_cpu()}, {os.cpu_count()} cores",
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        "one thread a process",
        datetime.date.today().isoformat(),
    ]
    if hasattr(os, "getloadavg"):
        facts.append(f"load {os.getloadavg()[0]:.1f} at the end")
    return "; ".join(facts) + "."


def write(lines: list[str]) -> None:
    """Put the table between the markers of the README."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    table = "\n".join([header(), *lines])
    README.write_text(f"{before}{START}\n\n{table}\n\n{machine()}\n\n{END}{after}", encoding="utf-8")


def _cpu() -> str:
    try:
        for entry in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if entry.startswith("model name"):
                return entry.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
