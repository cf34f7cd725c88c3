"""`resnet-sde train`: networks trained together over a grid."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

import resnet_sde as rs
from resnet_sde._json import json_number
from resnet_sde.cli.options import (
    KEEP_RATE_OPTION,
    MODEL_OPTIONS,
    NUMBERS_OF_LAWS,
    RUN_OPTION,
    Command,
    Number,
    coordinates,
    device_of,
    emit,
    in_table,
    make_model,
    model_axes,
    names_of,
    with_options,
)
from resnet_sde.cli.places import Folder
from resnet_sde.runs.cluster import engine

if TYPE_CHECKING:
    from resnet_sde.training import Data, TrainingConfig, TrainingJob, TrainingResult

_RATE = Number(float, 1e-12, 1e6, "0.01")
_COUNT = Number(int, 1, 10**9, "10")
_ALWAYS = ("law", "beta", "depth", "lr")
_RESULTS = (
    *("test_accuracy", "test_accuracy_se", "validation_accuracy", "train_loss"),
    *("roughness_before", "roughness_after", "relative_change", "diverged", "networks"),
)


@click.command("train", cls=Command)
@with_options(MODEL_OPTIONS)
@click.option(
    "--depth", type=_COUNT, multiple=True, default=[100], show_default=True, help="Of layers. Repeatable."
)
@click.option(
    "--data",
    "source",
    default="digits",
    show_default=True,
    help="digits, fashion-mnist:DIR, mnist:DIR or cifar10:DIR.",
)
@click.option(
    "--scaling",
    type=click.Choice(("image", "pixels", "centred", "sphere")),
    default="image",
    show_default=True,
    help="Every image to mean 0 and variance 1; pixels in [0, 1]; minus the mean training image, with one "
    "factor for all; the same, with a factor for each.",
)
@click.option("--limit", type=_COUNT, help="Training images to use; all if left out.")
@click.option(
    "--lr",
    type=_RATE,
    multiple=True,
    default=[0.001, 0.01],
    show_default=True,
    help="Learning rate; of several the best on the validation split is taken. Repeatable.",
)
@click.option("--epochs", type=_COUNT, default=10, show_default=True, help="Passes over the training images.")
@click.option("--batch-size", type=_COUNT, default=128, show_default=True, help="Images of a step.")
@click.option("--optimizer", type=click.Choice(("adam", "sgd", "rmsprop")), default="adam", show_default=True)
@click.option("--momentum", type=Number(float, 0, 0.9999, "0.9"), default=0.0, help="Of sgd; 0 if left out.")
@click.option("--decay-every", type=_COUNT, help="Epochs after which rates fall tenfold, each time.")
@KEEP_RATE_OPTION
@click.option("--biases", is_flag=True, help="Biases in every layer, from 0 where the block has none.")
@click.option("--samples", type=_COUNT, default=1, show_default=True, help="Networks in each cell.")
@click.option("--stack", type=_COUNT, default=16, show_default=True, help="Networks trained at once.")
@click.option("--out", type=Folder(), help="Folder for results, networks, logs and checkpoints; resumes.")
@click.option("--tensorboard", is_flag=True, help="Write the logs for TensorBoard too, into --out.")
@with_options([RUN_OPTION[name] for name in ("seed", "dtype", "device", "workers", "cluster", "json")])
def train_command(**given: Any) -> None:
    """Train stacks of networks over a grid of models.

    Every cell has one network for each seed, from --seed on, and for each learning rate. The rate is chosen
    by the mean accuracy on validation images, held out from the training images; test images are looked at
    once. Roughness is half the mean square increment of the weights along depth over their variance: 1 on
    average for independent weights, near 0 for smooth ones.
    """
    from resnet_sde.training import TrainingConfig, load_data, train
    from resnet_sde.training.memory import check_count

    device_of(given["device"])
    if given["tensorboard"] and given["out"] is None:
        raise click.UsageError("--tensorboard writes into --out; give for example --out results.")
    axes = _axes(given)
    networks = math.prod(map(len, axes.values())) * len(set(given["lr"])) * given["samples"]
    check_count(networks, "give fewer --samples, --lr or cells")
    points = list(_points(given, axes))
    fields = ("epochs", "batch_size", "optimizer", "momentum", "decay_every", "keep_rate", "biases", "dtype")
    config = TrainingConfig(**{name: given[name] for name in fields})
    data = load_data(given["source"], scaling=given["scaling"], limit=given["limit"])
    _check(points, config, data)
    jobs = [job for _, _, some in points for each in some.values() for job in each]
    out = given["out"]
    options = {name: given[name] for name in ("stack", "device", "tensorboard")}
    keep = {"store": out, "keep_networks": out is not None}
    with engine(given["cluster"], given["workers"]) as how:
        outcomes = iter(train(jobs, config, data, progress=True, **keep, **options, **how))
    cells = [
        _cell(label, {lr: [next(outcomes) for _ in each] for lr, each in some.items()})
        for label, _, some in points
    ]
    document = json.dumps({**_header(cells, given, config, data), "cells": cells}, allow_nan=False)
    emit(document if given["as_json"] else "\n".join(_table(cells)))  # before the disk can refuse it
    if out is not None:
        from resnet_sde.runs.store import write_whole

        write_whole(out / "train.json", document.encode())


def _axes(given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of the grid, by option."""
    return {**model_axes(given), "depth": list(dict.fromkeys(given["depth"]))}


def _points(
    given: Mapping[str, Any], axes: Mapping[str, list[Any]]
) -> Iterator[tuple[dict[str, Any], rs.Model, dict[float, list[TrainingJob]]]]:
    """Label, model, and jobs by learning rate, of every cell of the grid."""
    from resnet_sde.training import TrainingJob

    rates, seeds = list(dict.fromkeys(given["lr"])), range(given["seed"], given["seed"] + given["samples"])
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        model, depth = make_model(point), point["depth"]
        label = {**names_of(point), **dict(coordinates(point["law"], model)), "depth": depth}
        yield label, model, {lr: [TrainingJob(model, depth, lr, seed) for seed in seeds] for lr in rates}


def _check(points: list[tuple[dict[str, Any], rs.Model, Any]], config: TrainingConfig, data: Data) -> None:
    """Refuse what would be refused after hours."""
    if config.keep_rate < 1 and any(model.skip != 0 for _, model, _ in points):
        raise click.UsageError("--keep-rate is for feed-forward networks; give --block feed-forward.")
    if config.batch_size > len(data.train.x):
        raise click.UsageError(
            f"--batch-size {config.batch_size} is more than the {len(data.train.x)} training images; "
            "give fewer."
        )


def _cell(label: dict[str, Any], found: dict[float, list[TrainingResult]]) -> dict[str, Any]:
    """The record of one cell: means over the networks of the chosen rate."""
    from resnet_sde.training import best_rate

    lr = best_rate(found)
    chosen = found[lr]
    accuracies = [outcome.test_accuracy for outcome in chosen]
    values = {
        "test_accuracy": _mean(accuracies),
        "test_accuracy_se": _error(accuracies),
        "validation_accuracy": _mean([outcome.validation_accuracy for outcome in chosen]),
        "train_loss": _mean([outcome.train_loss for outcome in chosen]),
        "roughness_before": _mean([_outermost(outcome.roughness_before) for outcome in chosen]),
        "roughness_after": _mean([_outermost(outcome.roughness_after) for outcome in chosen]),
        "relative_change": _mean([_outermost(outcome.relative_change) for outcome in chosen]),
    }
    numbers = {name: json_number(value) for name, value in values.items()}
    cell = {**label, "lr": lr, **numbers, "diverged": sum(outcome.diverged for outcome in chosen)}
    kept = [outcome.network for outcome in chosen if outcome.network is not None]
    return {**cell, "networks": kept} if kept else cell


def _outermost(values: Mapping[str, float]) -> float:
    """The value of the matrix that writes into the state."""
    return values["outer" if "outer" in values else "inner"]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _error(values: list[float]) -> float:
    """The standard error of the mean."""
    count, mean = len(values), _mean(values)
    if count == 1:
        return math.nan
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)


def _header(
    cells: list[dict[str, Any]], given: Mapping[str, Any], config: TrainingConfig, data: Data
) -> dict[str, Any]:
    """What the cells have in common."""
    from resnet_sde.runs.versions import current_versions

    shared = {name: value for name, value in cells[0].items() if all(c.get(name) == value for c in cells)}
    hidden = (*_RESULTS, "lr", "depth")
    return {
        "model": {name: value for name, value in shared.items() if name not in hidden},
        "seed": given["seed"],
        "samples": given["samples"],
        "data": {
            "source": given["source"],
            "scaling": given["scaling"],
            "train": len(data.train.x),
            "validation": len(data.validation.x),
            "test": len(data.test.x),
        },
        "training": {name: given[name] for name in ("epochs", "batch_size", "optimizer", "decay_every")},
        "versions": current_versions(),
    }


def _table(cells: list[dict[str, Any]]) -> Iterator[str]:
    """A row for each cell; of the coordinates those that tell cells apart."""
    every = dict.fromkeys(name for cell in cells for name in cell)
    names = sorted((n for n in every if _is_coordinate(n, cells)), key=lambda n: n in ("depth", "lr"))
    rows = [[*names, "test accuracy", "train loss", "roughness", "change", "diverged"]]
    for cell in cells:
        accuracy, error = cell["test_accuracy"], cell["test_accuracy_se"]
        rows.append(
            [
                *(in_table(cell.get(name)) for name in names),
                in_table(accuracy) if error is None else f"{accuracy:.4f} ± {error:.4f}",
                in_table(cell["train_loss"]),
                f"{in_table(cell['roughness_before'])} → {in_table(cell['roughness_after'])}",
                in_table(cell["relative_change"]),
                str(cell["diverged"]),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(entry.rjust(width) for entry, width in zip(row, widths, strict=True))


def _is_coordinate(name: str, cells: list[dict[str, Any]]) -> bool:
    values = [cell[name] for cell in cells if name in cell]
    of_some = name in NUMBERS_OF_LAWS and len(values) < len(cells)
    return name in _ALWAYS or of_some or (name not in _RESULTS and len(set(values)) > 1)
