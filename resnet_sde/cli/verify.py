"""`resnet-sde verify`: theorems, checked."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resnet_sde.cli.list import IMPORT_OPTION, named
from resnet_sde.cli.options import RUN_OPTION, Command, emit, with_options
from resnet_sde.cli.places import Folder, ResultFile
from resnet_sde.runs.cluster import engine
from resnet_sde.runs.versions import current_versions

if TYPE_CHECKING:
    from resnet_sde.theorems import Verdict
    from resnet_sde.theorems.results import Result
    from resnet_sde.theorems.suite import Task

log = logging.getLogger("resnet_sde")


@click.command("verify", cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--budget",
    type=click.Choice(("quick", "full")),
    default="quick",
    show_default=True,
    help="How much a check may cost: about a second each, or up to twenty.",
)
@with_options([RUN_OPTION["seed"]])
@click.option("--controls", is_flag=True, help="Check the false neighbours of each theorem too.")
@click.option("--strict", is_flag=True, help="Take doubt for failure.")
@click.option("--verbose", "-v", is_flag=True, help="Print all claims, not only those in doubt.")
@click.option("--out", type=Folder(), help="Folder for finished verdicts; resumes.")
@click.option("--report", type=ResultFile("report.html"), help="Page with all numbers, drawn, for a browser.")
@click.option("--table", type=ResultFile("table.md"), help="Table of the verdicts in Markdown.")
@IMPORT_OPTION
@with_options([RUN_OPTION[name] for name in ("workers", "cluster", "json")])
def verify_command(**given: Any) -> int:
    """Check theorems: all of them, or those that are named by their ids or by their catalogues.

    The exit status is 1 if a theorem fails or a control holds. Theorems that are undecided leave it at
    0, with a warning, unless --strict is given.
    """
    from resnet_sde.report import markdown, page
    from resnet_sde.runs.store import write_whole
    from resnet_sde.theorems.results import grouped
    from resnet_sde.theorems.suite import plan

    ids = named(given["ids"], given["modules"])
    tasks = plan(ids, budget=given["budget"], seed=given["seed"], controls=given["controls"])
    with engine(given["cluster"], given["workers"]) as how:
        verdicts = _run(tasks, how, given["out"])
    results = grouped(verdicts)
    if given["as_json"]:
        emit(_document(results, given["budget"], given["seed"]))
    else:
        emit("\n".join(_table(results, given["budget"], given["verbose"])))
    for file, write in ((given["report"], page), (given["table"], markdown)):
        if file is not None:
            write_whole(file, write(verdicts, versions=current_versions()).encode())
    doubts = [result.verdict.id for result in results if result.open and not result.failed]
    if doubts:
        log.warning("undecided: %s; give --budget full, or another --seed", ", ".join(doubts))
    return int(any(result.failed or (given["strict"] and result.open) for result in results))


def _run(tasks: Sequence[Task], how: Mapping[str, Any], out: Path | None) -> list[Verdict]:
    """Verdicts in the order of the catalogue, with a bar on a terminal."""
    from resnet_sde.runs.progress import progress_bar
    from resnet_sde.theorems.suite import run_suite

    verdicts: dict[Task, Verdict] = {}
    with progress_bar(total=len(tasks), unit="check", delay=2) as bar:
        for task, verdict in run_suite(tasks, **how, store=out):
            verdicts[task] = verdict
            bar.update()
    return [verdicts[task] for task in tasks]


def _document(results: Sequence[Result], budget: str, seed: int) -> str:
    from resnet_sde.theorems.core import FAMILY, confidence
    from resnet_sde.theorems.suite import record_of

    header = {"model": None, "seed": seed, "versions": current_versions(), "budget": budget}
    level = {"family": FAMILY[budget], "level": confidence(budget)}
    records = [
        {
            **record_of(result.verdict),
            "control_status": result.control_status,
            "controls": [record_of(control) for control in result.controls],
        }
        for result in results
    ]
    return json.dumps({**header, **level, "verdicts": records}, allow_nan=False, ensure_ascii=False)


def _table(results: Sequence[Result], budget: str, verbose: bool) -> Iterator[str]:
    """A line for each theorem and each control, the claims that are in doubt, and a summary."""
    from resnet_sde.theorems.core import FAMILY
    from resnet_sde.theorems.results import plural, tally

    for result in results:
        verdict = result.verdict
        size = plural(len(verdict.claims), "claim")
        yield f"{verdict.status:<9}  {verdict.id}  ({size}, {verdict.seconds:.1f} s)"
        if verbose or not verdict.holds:
            yield from str(verdict).splitlines()[1:]
        for control in result.controls:
            yield f"    {control.status:<9}  control: {control.control}  ({control.seconds:.1f} s)"
            if verbose or control.holds:
                yield from ("  " + line for line in str(control).splitlines()[1:])
    yield ""
    yield tally("theorem", [result.verdict for result in results])
    controls = [control for result in results for control in result.controls]
    if controls:
        yield f"{tally('control', controls)} (none should hold)"
    yield f"Chance of a wrong answer anywhere in the suite: {FAMILY[budget]:g} or less."
