"""The command: python -m benchmarks [name ...] [--quick] [--write]."""

from __future__ import annotations

import argparse

import torch

from benchmarks import report
from benchmarks.workloads import WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, in less than a minute")
    parser.add_argument("--write", action="store_true", help="put the whole table into benchmarks/README.md")
    given = parser.parse_args()
    unknown = set(given.names) - set(WORKLOADS)
    if unknown:
        parser.error(f"unknown name {', '.join(sorted(unknown))}; give some of {', '.join(WORKLOADS)}")
    if given.write and (given.names or given.quick):
        parser.error("--write is for the whole table; leave out names and --quick")
    torch.manual_seed(0)  # of the usual way
    lines = []
    print(report.header(), flush=True)
    for name in given.names or WORKLOADS:
        for row in WORKLOADS[name]("quick" if given.quick else "full"):
            lines.append(report.line(row))
            print(lines[-1], flush=True)
    print(f"\n{report.machine()}")
    if given.write:
        report.write(lines)
