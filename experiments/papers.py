"""Experiments and figures by paper: a name says in which folder its module is, as ``marion/fig1`` does."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

PAPERS = ("marion", "schoenholz", "yang", "fischer", "own")


def names_in(package: str) -> tuple[str, ...]:
    """The modules in the folders of a package: paper by paper, first those of a figure's number.

    Modules that begin with an underscore are parts of others.
    """
    root = Path(str(import_module(package).__file__)).parent
    return tuple(
        f"{paper}/{stem}"
        for paper in PAPERS
        for stem in sorted(
            (file.stem for file in (root / paper).glob("[a-z]*.py")),
            key=lambda stem: (not stem.startswith("fig"), stem),
        )
    )


def module(package: str, name: str) -> ModuleType:
    """The module of a name."""
    return import_module(f"{package}.{name.replace('/', '.')}")


def chosen(words: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The names that words of a command stand for: themselves, those of a paper, or all."""
    found = (name for word in words for name in names if word in (name, name.partition("/")[0], "all"))
    return tuple(dict.fromkeys(found))
