"""`resnet-sde advise`: how to scale a network of a given depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from resnet_sde.cli.networks import show
from resnet_sde.cli.options import RUN_OPTION, VARIANCE, Command, Number, activation, with_options
from resnet_sde.runs.versions import current_versions


@click.command("advise", cls=Command)
@click.option("--depth", type=Number(int, 1, 10**9, "64"), required=True, help="Number of residual branches.")
@click.option(
    "--kind",
    type=click.Choice(("plain", "pre-norm", "post-norm")),
    default="plain",
    show_default=True,
    help="Where the branch is normalized.",
)
@click.option(
    "--activation",
    default="relu",
    show_default=True,
    help="Between the two matrices of a branch, or MODULE:NAME.",
)
@click.option(
    "--law",
    type=click.Choice(("white", "copied", "smooth", "fractional")),
    default="white",
    show_default=True,
    help="Of the weights along depth.",
)
@click.option("--hurst", type=Number(float, 0, 1, "0.7", open=True), help="Of the fractional law.")
@click.option("--sw2", type=VARIANCE, default=1.0, show_default=True, help="Variance of the inner matrix.")
@click.option("--sv2", type=VARIANCE, default=1.0, show_default=True, help="Variance of the outer matrix.")
@click.option("--optimizer", type=click.Choice(("sgd", "adam", "adamw")), help="All of them if left out.")
@click.option(
    "--measured",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON of probe or depth-check, instead of the options about the branch.",
)
@with_options([RUN_OPTION["seed"], RUN_OPTION["json"]])
def advise_command(**given: Any) -> None:
    """Advise on the factor of residual branches and on rates, for a network of this depth.

    Nothing is random here: the seed is only passed on to the answer.
    """
    from resnet_sde.practice import advise

    if (given["law"] == "fractional") != (given["hurst"] is not None):
        raise click.UsageError(
            "--law fractional needs --hurst, and no other law has one; give both or neither."
        )
    advice = advise(
        given["depth"],
        activation=activation(given["activation"]),
        sigma_w2=given["sw2"],
        sigma_v2=given["sv2"],
        kind=given["kind"],
        law=given["law"] if given["hurst"] is None else given["hurst"],
        optimizer=given["optimizer"],
        measured=None if given["measured"] is None else _read(given["measured"]),
    )
    header = {"target": None, "seed": given["seed"], "versions": current_versions()}
    show({**header, **advice.document()}, str(advice), given["as_json"])


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.UsageError(
            f"--measured {file}: this is no JSON of probe or depth-check; give what --json wrote."
        )
    return found
