"""A theorem's verdict next to those of its controls, and how many there are of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from resnet_sde.estimate import Outcome
from resnet_sde.theorems.core import Verdict


@dataclass
class Result:
    """The verdict of a theorem and those of its controls."""

    verdict: Verdict
    controls: list[Verdict] = field(default_factory=list)

    @property
    def control_status(self) -> str | None:
        """That of the control which does best, as none of them should hold; None if none was checked."""
        for outcome in (Outcome.HOLDS, Outcome.UNDECIDED, Outcome.NOT_MET, Outcome.FAILS):
            if any(control.outcome is outcome for control in self.controls):
                return outcome.value
        return None

    @property
    def failed(self) -> bool:
        """Whether the theorem fails or a control holds."""
        return self.verdict.outcome is Outcome.FAILS or self.control_status == Outcome.HOLDS.value

    @property
    def open(self) -> bool:
        """Whether there is a doubt about the theorem or about a control."""
        return Outcome.UNDECIDED.value in (self.verdict.status, self.control_status)


def grouped(verdicts: Iterable[Verdict]) -> list[Result]:
    """The controls put beside their theorems, which they follow.

    Raises:
        ValueError: a control does not follow its theorem.
    """
    results: list[Result] = []
    for verdict in verdicts:
        if verdict.control is None:
            results.append(Result(verdict))
        elif results and results[-1].verdict.id == verdict.id:
            results[-1].controls.append(verdict)
        else:
            raise ValueError(
                f"the control {verdict.control!r} does not follow its theorem; give the verdict of "
                f"{verdict.id} first"
            )
    return results


def tally(what: str, verdicts: Sequence[Verdict]) -> str:
    """For example "3 theorems: 2 hold, 1 undecided"; the noun without its number if there are none."""
    if not verdicts:
        return f"no {what}s"
    counts = Counter(verdict.status for verdict in verdicts)
    plurals = {"holds": "hold", "fails": "fail"}
    words = [(n, status if n == 1 else plurals.get(status, status)) for status, n in counts.most_common()]
    return f"{plural(len(verdicts), what)}: {', '.join(f'{number} {word}' for number, word in words)}"


def plural(count: int, what: str) -> str:
    """The number and the noun: "1 claim", "2 claims"."""
    return f"{count} {what}{'' if count == 1 else 's'}"
