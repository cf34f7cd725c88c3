"""Bugs that a person could make, planted in the library at run time, one at a time.

A mutant is a function that patches the library; its docstring says what went wrong. It names the cheapest
theorems that catch it at the quick budget, or the tests that do where no theorem can.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import CodeType
from typing import Any

import pytest

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """A planted bug, the theorems that catch it, and tests ("module.function") where none does."""

    plant: Callable[[Patch], None]
    theorems: tuple[str, ...]
    tests: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the function that plants it."""
        return self.plant.__name__


MUTANTS: dict[str, Mutant] = {}


def caught_by(*theorems: str, tests: tuple[str, ...] = ()) -> Callable[[Callable[[Patch], None]], Any]:
    """Register the function that plants a bug."""

    def register(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        assert plant.__name__ not in MUTANTS, f"two mutants are called {plant.__name__}"
        assert theorems or tests, f"{plant.__name__} escapes"
        MUTANTS[plant.__name__] = Mutant(plant, theorems, tests)
        return plant

    return register


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The library with this bug in it, and none of what it had computed before."""
    with Patch.context() as patch:
        forget()
        mutant.plant(patch)
        try:
            yield
        finally:
            patch.undo()
            forget()


def forget() -> None:
    """Empty the caches of all functions of the library."""
    for name, module in list(sys.modules.items()):
        if name.startswith("resnet_sde"):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear") and value.__module__ == name:
                    value.cache_clear()


def reached(mutant: Mutant) -> set[CodeType] | None:
    """The functions in whose place a mutant puts others; None where it replaces something else too."""
    codes: set[CodeType] = set()

    class Recorder(Patch):
        unknown = False

        def setattr(self, target: Any, name: Any, value: Any = None, raising: bool = True) -> None:
            old = vars(target).get(name, getattr(target, name, None))
            for wrapped in (getattr(old, "fget", None), getattr(old, "__func__", None), old):
                code = getattr(wrapped, "__code__", None)
                if code is not None:
                    codes.add(code)
                    return
            self.unknown = True

    recorder = Recorder()
    mutant.plant(recorder)
    return None if recorder.unknown else codes


for _name in ("laws", "layers", "seeds", "duals", "theory", "solvers", "training"):
    import_module(f"mutants.{_name}")
