"""Refusals: each says in one sentence what is the case, why nothing follows from it, and what to do."""

from __future__ import annotations


class _Refusal(Exception):
    """A refusal.

    Attributes:
        fact: what is the case.
        reason: why there is no answer; may be empty where the fact says it.
        remedy: what to do instead.
    """

    def __init__(self, fact: str, reason: str = "", remedy: str = "") -> None:
        because = f": {reason}" if reason else ""
        super().__init__(f"{fact}{because}. {remedy}".strip())
        self.fact, self.reason, self.remedy = fact, reason, remedy


class NoStream(_Refusal, ValueError):
    """A module repeats no block, so that there is no residual stream to follow."""


class NotAStream(_Refusal, ValueError):
    """Blocks that are repeated, but do not carry one residual stream of one shape."""


def mixed(skip: float) -> NotAStream:
    """The refusal of blocks that do not carry their input on with weight 1."""
    return NotAStream(
        f"the blocks carry their input on with weight {skip:.2f}",
        "they mix several streams or scale the skip",
        "Nothing here holds for them",
    )


class DepthMismatch(AssertionError):
    """A network does not scale with depth as expected.

    Attributes:
        failures: one sentence for each thing that is wrong.
    """

    def __init__(self, failures: tuple[str, ...]) -> None:
        super().__init__("\n".join(failures))
        self.failures = failures
