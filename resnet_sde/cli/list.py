"""`resnet-sde list`: the catalogue of theorems."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import click

from resnet_sde.cli.options import RUN_OPTION, Command, emit, with_options
from resnet_sde.cli.own import imported

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
    records = _kept(ids) if not (modules or "resnet_sde.theorems" in sys.modules) else None
    if records is None:
        chosen = named(ids, modules)
        from resnet_sde.theorems import catalogue

        records = catalogue.records(chosen)
    if as_json:
        versions = {name: version(name) for name in ("resnet_sde", "torch", "numpy")}
        emit(json.dumps({"versions": versions, "theorems": records}, ensure_ascii=False))
    else:
        emit("\n".join(_page(records)))


def _kept(ids: Sequence[str]) -> list[dict[str, Any]] | None:
    """Records of theorems of the package, all or those named, unimported; None if one is not there."""
    every = json.loads(files("resnet_sde").joinpath("theorems", "catalogue.json").read_text(encoding="utf-8"))
    chosen: dict[str, dict[str, Any]] = {}
    for name in ids:
        inside = [r for r in every if r["catalogue"] == name] or [r for r in every if r["id"] == name]
        if not inside:
            return None
        chosen.update({r["id"]: r for r in inside})
    return list(chosen.values()) if ids else every


def _page(theorems: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A heading for each catalogue, and for each theorem what it says, asks for and is checked against."""
    catalogue = None
    for theorem in theorems:
        if theorem["catalogue"] != catalogue:
            catalogue = theorem["catalogue"]
            yield f"{catalogue}\n"
        yield f"  {theorem['id']} ({theorem['claims']} claim{'s' if theorem['claims'] > 1 else ''})"
        yield textwrap.fill(theorem["words"], 100, initial_indent="    ", subsequent_indent="    ")
        notes = [f"assumes: {'; '.join(theorem['assumptions'])}"] if theorem["assumptions"] else []
        notes += [f"controls: {'; '.join(theorem['controls'])}"] if theorem["controls"] else []
        for note in notes:
            yield textwrap.fill(note, 100, initial_indent="      ", subsequent_indent="        ")
        yield ""
