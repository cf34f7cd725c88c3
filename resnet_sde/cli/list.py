"""`resnet-sde list`: the catalogue of theorems."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

import resnet_sde as rs
from resnet_sde._versions import current_versions
from resnet_sde.cli.options import RUN_OPTION, Command, emit, with_options
from resnet_sde.cli.own import imported

if TYPE_CHECKING:
    from resnet_sde.theorems import Theorem

IMPORT_OPTION = click.option(
    "--import",
    "modules",
    metavar="MODULE",
    multiple=True,
    help="A module of yours that registers theorems. Repeatable.",
)


def named(ids: Sequence[str], modules: Sequence[str]) -> list[str]:
    """Ids of the theorems that the words of the command line name.

    Raises:
        UsageError: there is none of a name, or a module cannot be imported.
    """
    from resnet_sde.theorems.suite import select

    for module in modules:
        imported("--import", module)
    try:
        return select(ids)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None


@click.command("list", cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@IMPORT_OPTION
@with_options([RUN_OPTION["json"]])
def list_command(ids: tuple[str, ...], modules: tuple[str, ...], as_json: bool) -> None:
    """The theorems that can be verified.

    All of them, or those that are named by their ids or by their catalogues.
    """
    theorems = [rs.theorems.find(id) for id in named(ids, modules)]
    if as_json:
        records = [_record(theorem) for theorem in theorems]
        emit(json.dumps({"versions": current_versions(), "theorems": records}, ensure_ascii=False))
    else:
        emit("\n".join(_page(theorems)))


def _record(theorem: Theorem) -> dict[str, object]:
    names = ("id", "catalogue", "words", "statement", "source", "claims")
    plain = {name: getattr(theorem, name) for name in names}
    return {**plain, "assumptions": list(theorem.assumptions), "controls": list(theorem.controls)}


def _page(theorems: Sequence[Theorem]) -> Iterator[str]:
    """A heading for each catalogue, and for each theorem what it says, asks for and is checked against."""
    catalogue = None
    for theorem in theorems:
        if theorem.catalogue != catalogue:
            catalogue = theorem.catalogue
            yield f"{catalogue}\n"
        yield f"  {theorem.id} ({theorem.claims} claim{'s' if theorem.claims > 1 else ''})"
        yield textwrap.fill(theorem.words, 100, initial_indent="    ", subsequent_indent="    ")
        notes = [f"assumes: {'; '.join(theorem.assumptions)}"] if theorem.assumptions else []
        notes += [f"controls: {'; '.join(theorem.controls)}"] if theorem.controls else []
        for note in notes:
            yield textwrap.fill(note, 100, initial_indent="      ", subsequent_indent="        ")
        yield ""
