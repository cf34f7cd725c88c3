"""The verdicts as one HTML page, which needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from resnet_sde.claims import Claim
from resnet_sde.estimate import Estimate, Outcome
from resnet_sde.report.render import render
from resnet_sde.report.words import circumstances, duration
from resnet_sde.theorems.core import Verdict, find
from resnet_sde.theorems.results import Result, grouped, tally

_LEGEND = {
    "holds: the whole interval is in the band": (1.0, 0.5),
    "fails: no part of it is": (5.0, 0.8),
    "undecided: some of it is": (2.2, 0.9),
}


def page(verdicts: Sequence[Verdict], *, versions: Mapping[str, str]) -> str:
    """A page with a part for each theorem: its statement, its claims drawn, its controls.

    Args:
        verdicts: theorems, each followed by its controls.
        versions: of the packages, by name.

    Raises:
        ValueError: a theorem is not registered, or a control does not follow its theorem.
    """
    results = grouped(verdicts)
    doubtful = [r for r in results if r.control_status not in (None, Outcome.FAILS.value)]
    catalogues: dict[str, list[Result]] = {}
    for result in results:
        catalogues.setdefault(find(result.verdict.id).catalogue, []).append(result)
    controls = [control for result in results for control in result.controls]
    others = f"{tally('control', controls)} (none should hold)" if controls else "Controls were not checked"
    return render(
        "theorems.html",
        title="Theorems, checked",
        counts=f"{tally('theorem', [result.verdict for result in results])}. {others}.",
        attention={
            "Not as it should be": [r.verdict.id for r in results if r.failed],
            "Undecided, or with a control that is": [
                r.verdict.id for r in results if r.open and not r.failed
            ],
        },
        facts={
            **circumstances(verdicts),
            "time of all checks": duration(sum(verdict.seconds for verdict in verdicts)),
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        },
        legend={
            words: Claim("example", Estimate(x, x - half, x + half), 1.0, 1.0)
            for words, (x, half) in _LEGEND.items()
        },
        choices=_choices(results, len(doubtful)),
        catalogues=catalogues,
        doubtful=doubtful,
        find=find,
    )


def _choices(results: Sequence[Result], doubtful: int) -> dict[str, str]:
    """What can be shown alone, and how many there are of it."""
    counts = {o.value: sum(r.verdict.outcome is o for r in results) for o in Outcome}
    return {
        "": f"all ({len(results)})",
        **{word: f"{word} ({count})" for word, count in counts.items()},
        "controls": f"a control that does not fail ({doubtful})",
    }
