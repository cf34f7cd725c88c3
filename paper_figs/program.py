"""Compute, store, draw and check the figures: ``python -m paper_figs marion/fig1 yang --budget cpu``.

Every figure leaves a dataset, a PDF, a PNG and a record of its claims in the folder of the results, and all
that are there make a gallery, index.html. What is stored there for the same request is not computed again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments import command
from paper_figs import gallery
from paper_figs.catalogue import PICTURES
from paper_figs.making import Record, Request, make_all
from paper_figs.stored import KEPT
from resnet_sde.runs.progress import progress_bar
from resnet_sde.theorems.core import Verdict
from resnet_sde.theorems.results import tally


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a claim fails for no known reason or a control holds, 2 for a bad request."""
    return command.served("paper_figs", _serve, parser().parse_args(arguments))


def _serve(options: argparse.Namespace) -> int:
    names, started, wrong = command.chosen(options, PICTURES), time.perf_counter(), False
    request = Request(
        options.budget,
        options.seed,
        options.out,
        options.training,
        options.redraw,
        options.keep,
        options.controls,
    )
    with command.execution(options) as how, progress_bar(total=len(names), unit="figure") as bar:
        for folder in [options.out, *([KEPT] if options.keep else [])]:
            folder.mkdir(parents=True, exist_ok=True)
        for records in make_all(names, request, how):
            bar.update(len(records))
            for record in records:
                bar.write("\n".join(report(record, options.out)), file=sys.stdout)
                wrong |= record.wrong
    page = gallery.write(options.out)
    print(f"{page}: {len(names)} figures in {time.perf_counter() - started:.0f} s", flush=True)
    return int(wrong)


def report(record: Record, out: Path) -> list[str]:
    """A line for the figure, one for each claim and each control, and sums."""
    how = "stored before" if record.taken else f"{record.seconds:.1f} s"
    return [
        f"{record.name}: {how}, {out / record.name}.pdf, {out / record.name}.png",
        *(f"  {claim.outcome.value}  {claim}" for claim in record.claims),
        f"  {sum(c.holds for c in record.claims)} of {len(record.claims)} claims hold",
        *(line for verdict in record.controls for line in control_lines(verdict)),
        *([f"  {tally('control', record.controls)} (none should hold)"] if record.controls else []),
    ]


def control_lines(verdict: Verdict) -> list[str]:
    """The outcome of a control, and the claims that did not notice it."""
    line = f"    {verdict.status:<9}  control: {verdict.control}  ({verdict.seconds:.1f} s)"
    return [line, *(f"      {claim}" for claim in verdict.claims if verdict.holds)]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = command.parser("paper_figs", str(__doc__), PICTURES, "results/figures")
    result.add_argument(
        "--budget",
        choices=["smoke", "cpu", "paper"],
        default="cpu",
        help="how much to compute; figures without a budget cpu take paper (default: cpu)",
    )
    result.add_argument(
        "--training",
        type=Path,
        default=Path("results/training"),
        help="folder of trained networks, shared with python -m experiments (default: results/training)",
    )
    result.add_argument(
        "--redraw",
        action="store_true",
        help="draw and check what is stored, or else what comes with the code, whatever its budget",
    )
    result.add_argument("--keep", action="store_true", help="store the datasets with the code too")
    result.add_argument(
        "--controls",
        action="store_true",
        help="put wrong networks to the claims too, of which some are computed; status 1 if all claims hold",
    )
    return result
