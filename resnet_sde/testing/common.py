"""What checks of all parts share."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor

from resnet_sde._names import stable_name


def require(holds: bool, sentence: str) -> None:
    """Raise AssertionError with a sentence: `assert` may be turned off, and pytest adds lines to it."""
    if not holds:
        raise AssertionError(sentence)


def same_names(part: Any, use: Callable[[Any], Tensor]) -> None:
    """Raise AssertionError unless copies of a part have its name and give its numbers."""
    name, found = stable_name(part), use(part)

    def same(what: str, other: Any) -> None:
        require(
            stable_name(other) == name,
            f"{what} is called {stable_name(other)!r} and not {name!r}, which names its random numbers; give "
            "it a __repr__ that says what it is",
        )
        require(torch.equal(use(other), found), f"{what} gives other numbers")

    same("a copy", copy.deepcopy(part))
    try:
        pickled = pickle.dumps(part)
    except (pickle.PicklingError, AttributeError, TypeError) as reason:
        raise SkipTest(f"it cannot go to other processes: {reason}") from None
    same("a pickled copy", pickle.loads(pickled))
