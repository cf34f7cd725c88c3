"""Refusals: each says in one sentence what is the case, why nothing follows from it, and what to do."""

from __future__ import annotations

from collections.abc import Sequence


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


def not_a_chain(fact: str) -> NotAStream:
    """The refusal of blocks that do not hand on one stream."""
    remedy = 'Name the blocks of one stream, as in blocks="encoder.layers.*"'
    return NotAStream(fact, "the blocks are not a chain", remedy)


def no_tensor(fact: str) -> NotAStream:
    """The refusal of a block whose stream is hidden in an object."""
    return NotAStream(
        f"{fact} no tensor of real numbers",
        "the stream is not seen",
        "Hand it on as an argument and an output of its own, not within a tuple or a mapping of arguments",
    )


def behind_another(name: str, does: str) -> NotAStream:
    """The refusal of a block whose stream is not the first tensor that it "is given" or "returns"."""
    place = "Return the stream first" if does == "returns" else "Make the stream its first argument"
    return NotAStream(f"{name} {does} another tensor before its stream", "the first one is followed", place)


def changed_shape(k: int, before: Sequence[int], after: Sequence[int]) -> NotAStream:
    """The refusal of blocks that reshape their stream."""
    return NotAStream(
        f"the stream changes shape at block {k}, {tuple(before)} → {tuple(after)}",
        "there is no one residual stream",
        'Name one stage, as in blocks="stages.2.*"',
    )


class DepthMismatch(AssertionError):
    """A network does not scale with depth as expected.

    Attributes:
        failures: one sentence for each thing that is wrong.
    """

    def __init__(self, failures: tuple[str, ...]) -> None:
        super().__init__("\n".join(failures))
        self.failures = failures
