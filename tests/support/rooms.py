"""Writes the page that says where things are, from the layers and the first sentences of their modules."""

import ast
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/house.md"
HEAD = """# Where things are

Written by `make rooms`, not to be edited. A module imports from layers above it in this list only, a package
also from itself. Tests hold files to 400 lines, functions to 40, and every part of the project to a number of
lines; they say which module may import which foreign package.

An experiment is run and gives a labelled dataset; claims are made of it, by a theorem or a figure, each with
violations that it must catch; a picture or a table shows it.

"""
BESIDE = """
Beside the library:

- `experiments/`: what is simulated or trained for figures, by paper.
- `paper_figs/`: figures, by paper: budgets, the picture, its claims and its controls; `paper_figs/data` has
  their datasets.
- `benchmarks/`: speed and memory beside peers, the naive way and the floor.
- `tests/`: by room; `tests/support` has bugs that are planted, faults that are injected and modules that are
  drawn at random.
"""


def sentence(module: str) -> str:
    """The first sentence of the docstring of a module of the library."""
    place = ROOT / "resnet_sde" / module
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def page(layers: Sequence[Iterable[str]]) -> str:
    """The page, for layers from the lowest to the highest."""
    lines = ["| layer | module | what it is |", "| ---: | --- | --- |"]
    for level, modules in enumerate(layers, 1):
        lines += [f"| {level} | `{module}` | {sentence(module)} |" for module in sorted(modules)]
    return HEAD + "\n".join(lines) + "\n" + BESIDE


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests/house"), str(ROOT / "tests/support")]
    from test_architecture import LAYERS

    PAGE.write_text(page(LAYERS), encoding="utf-8")
