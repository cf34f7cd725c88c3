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

from experiments.execution import Execution
from experiments.papers import PAPERS, chosen
from paper_figs import gallery
from paper_figs.catalogue import PICTURES
from paper_figs.making import Record, Request, make_all
from paper_figs.stored import KEPT
from resnet_sde._checks import positive_integer
from resnet_sde._random import check_seed
from resnet_sde.runs.cluster import CLUSTER, engine
from resnet_sde.runs.progress import progress_bar


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a claim fails for no known reason, 2 if the request cannot be served."""
    options = parser().parse_args(arguments)
    names = chosen(options.figures, PICTURES)
    started, wrong = time.perf_counter(), False
    try:
        workers = positive_integer("workers", options.workers, "give for example 1")
        request = Request(
            options.budget,
            check_seed(options.seed),
            options.out,
            options.training,
            options.redraw,
            options.keep,
        )
        for folder in [options.out, *([KEPT] if options.keep else [])]:
            folder.mkdir(parents=True, exist_ok=True)
        with (
            engine(options.cluster, workers) as by,
            progress_bar(total=len(names), unit="figure") as bar,
        ):
            for records in make_all(names, request, Execution(**by)):
                bar.update(len(records))
                for record in records:
                    bar.write("\n".join(report(record, options.out)), file=sys.stdout)
                    wrong |= record.wrong
        page = gallery.write(options.out)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"paper_figs: {error}", file=sys.stderr)
        return 2
    print(f"{page}: {len(names)} figures in {time.perf_counter() - started:.0f} s", flush=True)
    return int(wrong)


def report(record: Record, out: Path) -> list[str]:
    """A line for the figure, one for each claim, and a sum."""
    how = "stored before" if record.taken else f"{record.seconds:.1f} s"
    return [
        f"{record.name}: {how}, {out / record.name}.pdf, {out / record.name}.png",
        *(f"  {claim.outcome.value}  {claim}" for claim in record.claims),
        f"  {sum(c.holds for c in record.claims)} of {len(record.claims)} claims hold",
    ]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m paper_figs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "figures",
        nargs="+",
        choices=[*PICTURES, *PAPERS, "all"],
        metavar="FIGURE",
        help=f"one or more of {', '.join(PICTURES)}; a paper, which is one of {', '.join(PAPERS)}; or all",
    )
    result.add_argument(
        "--budget",
        choices=["smoke", "cpu", "paper"],
        default="cpu",
        help="how much to compute; figures without a budget cpu take paper (default: cpu)",
    )
    result.add_argument("--seed", type=int, default=0, help="a non-negative integer (default: 0)")
    result.add_argument("--workers", type=int, default=1, help="local processes (default: 1)")
    result.add_argument("--cluster", help=CLUSTER)
    result.add_argument(
        "--out",
        type=Path,
        default=Path("results/figures"),
        help="folder of the results (default: results/figures)",
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
    return result
