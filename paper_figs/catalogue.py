"""The figures by name, in the order of the gallery."""

from __future__ import annotations

from types import ModuleType

from experiments.command import PAPERS, module, names_in

PICTURES = names_in("paper_figs")


def figure(name: str) -> ModuleType:
    """The module of a figure."""
    return module("paper_figs", name)


def sections() -> dict[str, tuple[str, ...]]:
    """The figures by the title of their paper, which is the docstring of the folder."""
    titles = {paper: str(figure(paper).__doc__).removesuffix(".") for paper in PAPERS}
    return {
        title: tuple(name for name in PICTURES if name.startswith(f"{paper}/"))
        for paper, title in titles.items()
    }
