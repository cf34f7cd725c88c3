"""What the commands about a single model share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

import resnet_sde as rs
from resnet_sde.cli.options import MODEL_NAMES, coordinates, make_model, model_axes, names_of


def once(command: click.Command) -> click.Command:
    """Let the help page of a command for one model say so."""
    for option in command.params:
        if isinstance(option, click.Option) and option.name in MODEL_NAMES and option.help:
            option.help = option.help.removesuffix(" Repeatable.")
            if option.name in command.context_settings.get("default_map", {}):
                option.help = f"{option.help.partition('; res-3 if left out')[0].rstrip('.')}."
    return command


def one_model(given: Mapping[str, Any]) -> tuple[rs.Model, dict[str, Any]]:
    """The one model that the options name, and what they call its parts.

    Raises:
        UsageError: an option of the model was given twice, or the options contradict each other.
    """
    for option, values in given.items():
        if option in MODEL_NAMES and len(values) > 1:
            raise click.UsageError(
                f"--{option.replace('_', '-')} was given {len(values)} times and this command answers for "
                "one model; give it once."
            )
    point = {option: values[0] for option, values in model_axes(given).items()}
    model = make_model(point)
    return model, {**names_of(point), **dict(coordinates(point["law"], model))}


def document(label: Mapping[str, Any], seed: int, answer: Mapping[str, Any]) -> str:
    """The JSON object of a command about one model."""
    from resnet_sde.runs.versions import current_versions

    header = {"model": dict(label), "seed": seed, "versions": current_versions()}
    return json.dumps({**header, **answer}, allow_nan=False)


def share_bar(total: float = 1.0) -> Any:
    """A bar on a terminal, for what takes more than two seconds; `update` takes shares of the total."""
    from resnet_sde.runs.progress import progress_bar

    looks = "{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
    return progress_bar(total=total, delay=2, bar_format=looks)
