"""The verdicts as a table in Markdown, to be kept in a repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from resnet_sde.report.words import circumstances
from resnet_sde.theorems.core import Verdict, find
from resnet_sde.theorems.results import Result, grouped, tally


def markdown(verdicts: Sequence[Verdict], *, versions: Mapping[str, str]) -> str:
    """A section for each catalogue, with a row for each theorem.

    Two runs with the same seeds and versions differ in the seconds only.

    Args:
        verdicts: theorems, each followed by its controls.
        versions: of the packages, by name.

    Raises:
        ValueError: a theorem is not registered, or a control does not follow its theorem.
    """
    return "\n".join(_lines(verdicts, versions)) + "\n"


def _lines(verdicts: Sequence[Verdict], versions: Mapping[str, str]) -> Iterator[str]:
    results = grouped(verdicts)
    yield "# Theorems, checked"
    yield ""
    yield "Written by `resnet-sde verify` with the option `--table`; not to be edited."
    yield ""
    yield f"- {tally('theorem', [result.verdict for result in results])}"
    controls = [control for result in results for control in result.controls]
    if controls:
        yield f"- {tally('control', controls)}; none of them should hold"
    for name, value in circumstances(verdicts).items():
        yield f"- {name}: {value}"
    yield f"- versions: {', '.join(_escaped(f'{name} {version}') for name, version in versions.items())}"
    catalogues = dict.fromkeys(find(result.verdict.id).catalogue for result in results)
    for catalogue in catalogues:
        yield ""
        yield f"## {catalogue}"
        yield ""
        yield "| theorem | statement | verdict | controls | seconds |"
        yield "| --- | --- | --- | --- | ---: |"
        yield from (_row(result) for result in results if find(result.verdict.id).catalogue == catalogue)


def _row(result: Result) -> str:
    verdict = result.verdict
    controls = [f"{_escaped(c.control or '')}: {c.status}" for c in result.controls]
    seconds = sum(checked.seconds for checked in (verdict, *result.controls))
    cells = [
        _escaped(verdict.id),
        _escaped(find(verdict.id).words),
        verdict.status,
        "; ".join(controls) or "not checked",
        f"{seconds:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text of which Markdown takes nothing for a sign, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))
