"""`resnet-sde merge`: one store of several."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from resnet_sde.cli.options import RUN_OPTION, Command, emit, with_options
from resnet_sde.cli.places import Folder


@click.command("merge", cls=Command)
@click.argument("stores", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@click.option("--out", type=Folder(), required=True, help="The store that takes them; made if need be.")
@with_options([RUN_OPTION["json"]])
def merge_command(stores: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Put together what several machines have kept under --out of study, train or verify.

    Every record is checked. The same command as on those machines then finds, with this --out, what was made
    on machines of the kind that it runs on.
    """
    from resnet_sde.runs.merge import merge

    found = merge(stores, out)
    if as_json:
        emit(json.dumps({"out": str(out), **asdict(found)}))
    else:
        emit(f"{out}: {found.taken} records taken, {found.there} there already, {found.damaged} damaged")
