"""Every law, block and activation that has a name, at what it is if nothing is chosen, and at each word."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

import resnet_sde as rs
from resnet_sde.parts import ACTIVATIONS, BLOCKS, LAWS, Choice, Part


def _values(choice: Choice) -> tuple[object, ...]:
    return choice.words or ((choice.kind(choice.example) if choice.default is None else choice.default),)


def examples(part: Part, *first: object) -> Iterator[Any]:
    """Parts of this name: one, or as many as there are words to choose."""
    if not part.choices and not first:
        made = part.made_of
        yield made() if isinstance(made, type) else made
        return
    for values in itertools.product(*map(_values, part.choices)):
        yield part.make(*first, **dict(zip((c.option for c in part.choices), values, strict=True)))


EVERY_LAW: list[rs.PathLaw] = [law for part in LAWS.values() for law in examples(part)]
EVERY_ACTIVATION: list[rs.Activation] = [phi for part in ACTIVATIONS.values() for phi in examples(part)]


def blocks_of(phi: rs.Activation) -> list[rs.Block]:
    """One block of each class, with this activation."""
    made = [b for part in BLOCKS.values() if part.activation is None for b in examples(part, phi)]
    return list(dict.fromkeys(made))


def pointwise_of(phi: rs.Activation) -> list[rs.Block]:
    """Those of them that are V φ(W h + b) + a."""
    return [block for block in blocks_of(phi) if not isinstance(block, rs.GatedLinearUnit)]


every_law = pytest.mark.parametrize("law", EVERY_LAW, ids=str)
every_activation = pytest.mark.parametrize("phi", EVERY_ACTIVATION, ids=str)
