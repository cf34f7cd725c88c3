"""Folders and files that results are left in, as the words of a command line name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class Folder(click.ParamType):
    """A folder for results; it need not be there yet. `~` is the home folder."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, or a failure that says what to give."""
        if value == "":
            raise click.UsageError("--out needs the name of a folder; give for example --out results.")
        place = home(value)
        if place.exists() and not place.is_dir():
            self.fail(f"{value!r} is no folder; give a folder that can be written to.", param, ctx)
        return place

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The word that stands for the value on the help page."""
        return "DIR"


class ResultFile(click.ParamType):
    """A file for a result, in a folder that is there. `~` is the home folder, links are followed."""

    name = "file"

    def __init__(self, example: str) -> None:
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, or a failure that says what to give."""
        place = home(value)
        if not (place.name and place.resolve().parent.is_dir()):
            self.fail(
                f"{str(value)!r} needs a file in a folder that is there; give for example {self.example}.",
                param,
                ctx,
            )
        if place.is_dir():
            self.fail(f"{str(value)!r} is a directory; give for example {self.example}.", param, ctx)
        if (place.exists() and not place.is_file()) or _leads_to_a_process(place):
            self.fail(f"{str(value)!r} is no ordinary file; give for example {self.example}.", param, ctx)
        return place

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The word that stands for the value on the help page."""
        return f"FILE{Path(self.example).suffix}"


def _leads_to_a_process(place: Path) -> bool:
    """Whether this names an open file, as /dev/stdout does, behind which a file must not be replaced."""
    where = place.absolute().parent.resolve()
    return Path("/proc") in where.parents or (where == Path("/dev") and place.is_symlink())


def home(value: str | Path) -> Path:
    """The path, with `~` and `~name` as a shell reads them, which leaves them alone behind `--out=`.

    Raises:
        ValueError: there is no such user.
    """
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"{value}: there is no such home folder; give the path in full") from None
