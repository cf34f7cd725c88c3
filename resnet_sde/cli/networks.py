"""Networks and batches of one's own, as the words of `probe` and `depth-check` name them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from resnet_sde.cli.options import emit
from resnet_sde.cli.own import named_object
from resnet_sde.cli.places import Folder

_SHAPES = {
    "tokens": "VOCABULARY,BATCH,LENGTH",
    "images": "BATCH,CHANNELS,HEIGHT,WIDTH",
    "vectors": "BATCH,SIZE",
}

BATCH_OPTIONS = (
    click.option(
        "--batch", metavar="MODULE:NAME", help="A batch, or a function (of a generator) that draws it."
    ),
    click.option(
        "--random",
        "drawn",
        metavar="KIND:N,…",
        help="A random batch: tokens:97,4,16 (vocabulary, batch, length), images:4,3,32,32 or vectors:16,20.",
    ),
    click.option("--key", help="Keyword that the network takes the random batch by, as input_ids."),
    click.option(
        "--blocks", metavar="PATTERN", help="Where the stream runs, as encoder.layers.*; else found."
    ),
    click.option("--out", type=Folder(), help="Folder for the JSON and the figure."),
)


def batch_of(given: Mapping[str, Any]) -> Any:
    """A batch, or a function of a generator that draws one.

    Raises:
        UsageError: none is named, or two are.
    """
    if (given["batch"] is None) == (given["drawn"] is None):
        raise click.UsageError("a batch is needed, once; give --batch MODULE:NAME or --random vectors:16,20.")
    if given["batch"] is not None:
        if given["key"] is not None:
            raise click.UsageError("--key names the keyword of a random batch; give it with --random.")
        found = named_object("--batch", given["batch"])
        if callable(found) and not hasattr(found, "shape") and not inspect.signature(found).parameters:
            return found()
        return found
    draw = _drawn(given["drawn"])
    key = given["key"]
    return draw if key is None else lambda generator: {key: draw(generator)}


def _drawn(words: str) -> Callable[[Any], Any]:
    import torch

    kind, _, sizes = words.partition(":")
    try:
        numbers = [int(n) for n in sizes.split(",")]
    except ValueError:
        numbers = []
    if kind not in _SHAPES or len(numbers) != _SHAPES[kind].count(",") + 1 or min(numbers) < 1:
        forms = " or ".join(f"{k}:{v}" for k, v in _SHAPES.items())
        raise click.UsageError(f"--random {words}: give {forms}, as in tokens:97,4,16.")
    if kind == "tokens":
        return lambda generator: torch.randint(0, numbers[0], numbers[1:], generator=generator)
    return lambda generator: torch.randn(*numbers, generator=generator)


def leave_results(out: Path | None, name: str, document: Mapping[str, Any], figure: Any) -> None:
    """The JSON and the figure, in a folder."""
    if out is None:
        return
    from resnet_sde.plots import figure_bytes
    from resnet_sde.runs.store import write_whole

    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / f"{name}.json", json.dumps(document, allow_nan=False, ensure_ascii=False).encode())
    write_whole(out / f"{name}.png", figure_bytes(figure))


def show(document: Mapping[str, Any], text: str, as_json: bool) -> None:
    """The answer, for a program or for people."""
    emit(json.dumps(document, allow_nan=False, ensure_ascii=False) if as_json else text)
