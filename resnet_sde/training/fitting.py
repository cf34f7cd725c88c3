"""Runs from beginning to end: checkpoints, log, progress, and what is told of every member afterwards."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_sde._checks import check_device
from resnet_sde.networks import Stack
from resnet_sde.propagate import one_thread
from resnet_sde.runs.progress import Bar, progress_bar
from resnet_sde.runs.store import write_whole
from resnet_sde.training.data import Data
from resnet_sde.training.events import Events
from resnet_sde.training.recipe import Member, Recipe
from resnet_sde.training.run import Run, own_arithmetic
from resnet_sde.training.statistics import relative_change, roughness

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"
MATRICES = ("inner", "outer")


@dataclass(frozen=True)
class Outcome:
    """What became of one member.

    steps: steps that moved it.
    diverged: whether its loss stopped being a finite number.
    train_loss, …, test_accuracy: over all examples of a part, after training, without dropout.
    roughness_before, roughness_after: of each matrix, see `roughness`.
    roughness_of_change, relative_change: of what training has added.
    paths: some entries of each matrix along depth: "before" and "after", (entry, depth).
    network: file of the trained network in the store, for `networks.load`; None where none is kept.
    """

    steps: int
    diverged: bool
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    test_loss: float
    test_accuracy: float
    roughness_before: dict[str, float]
    roughness_after: dict[str, float]
    roughness_of_change: dict[str, float]
    relative_change: dict[str, float]
    paths: dict[str, dict[str, list[list[float]]]]
    network: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and strings; numbers that are not finite as strings."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Outcome:
        """What `to_json` gave. Raises TypeError or ValueError if it is something else."""
        return cls(**_parsed(plain))


def fit(
    members: Sequence[Member],
    recipe: Recipe,
    data: Data,
    *,
    device: torch.device | str = "cpu",
    folder: Path | None = None,
    checkpoint_every: float = 120.0,
    progress: bool = False,
    label: str = "training",
    tensorboard: bool = False,
) -> tuple[Stack, list[Outcome]]:
    """Train a stack, or go on with it from the checkpoint in its folder; the result is the same, bit for bit.

    Args:
        members: networks of one shape.
        recipe: how they are trained.
        data: the examples.
        device: where they are trained; on a CPU with one thread, so that no result depends on how many
            there are.
        folder: keeps the checkpoint, for the same members, recipe and data only, and the log: one line of
            JSON for each member and epoch. None for neither.
        checkpoint_every: seconds between two checkpoints.
        progress: draw a bar on standard error if that is a terminal.
        label: of the bar.
        tensorboard: write the log for TensorBoard too, into the folder.

    Returns:
        The trained stack, and the outcome of every member.

    Raises:
        ValueError: see `Run`; or tensorboard is asked for without a folder, or not installed.
        OSError: the folder cannot be written to.
    """
    on_cpu = check_device(device).type == "cpu"
    arithmetic: AbstractContextManager[None] = one_thread() if on_cpu else nullcontext()
    with own_arithmetic(device), arithmetic:
        run = Run(members, recipe, data, device=device)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            load_checkpoint(run, folder)
        events = _events(run, folder) if tensorboard else None
        with progress_bar(shown=progress, total=run.steps, initial=run.step, desc=label, unit="step") as bar:
            saved = time.monotonic()
            while not run.finished:
                lines = len(run.log)
                run.advance()
                bar.update()
                _show(bar, run)
                if folder is not None and time.monotonic() - saved >= checkpoint_every:
                    save_checkpoint(run, folder)
                    saved = time.monotonic()
                if folder is not None and len(run.log) > lines:
                    _write_log(run, folder)
                    if events is not None:
                        events.write(run.log[lines:])
        if events is not None:
            events.close()
        return run.stack, outcomes(run)


def outcomes(run: Run) -> list[Outcome]:
    """What has become of every member so far."""
    parts = {"train": run.data.train, "validation": run.data.validation, "test": run.data.test}
    scores: dict[str, Any] = {}
    for name, examples in parts.items():
        loss, accuracy = run.evaluate(examples)
        scores |= {f"{name}_loss": loss.tolist(), f"{name}_accuracy": accuracy.tolist()}
    found = []
    for i, member in enumerate(run.members):
        before = run.draw([member], run.stack.alpha.device).member_state(0)
        at = run.diverged_at[i]
        found.append(
            Outcome(
                steps=run.step if at is None else at,
                diverged=at is not None,
                **{name: values[i] for name, values in scores.items()},
                **_of_weights(before, run.stack.member_state(i), run.recipe.entries),
            )
        )
    return found


def save_checkpoint(run: Run, folder: Path) -> None:
    """Keep the state of a run; the file appears whole or not at all."""
    buffer = io.BytesIO()
    torch.save(run.state_dict(), buffer)
    write_whole(folder / CHECKPOINT, buffer.getvalue())


def load_checkpoint(run: Run, folder: Path) -> bool:
    """Let a run go on from the checkpoint of a folder; False if there is none, or it is damaged."""
    try:
        state = torch.load(folder / CHECKPOINT, weights_only=True, map_location=run.stack.alpha.device)
    except Exception:  # a damaged archive can raise nearly anything
        return False
    run.load_state_dict(state)
    return True


def _write_log(run: Run, folder: Path) -> None:
    """The whole log anew, so that a resumed run has no line twice."""
    lines = (json.dumps(_plain(line), allow_nan=False) + "\n" for line in run.log)
    write_whole(folder / LOG, "".join(lines).encode())


def _events(run: Run, folder: Path | None) -> Events:
    """What TensorBoard is to see from the next step on."""
    if folder is None:
        raise ValueError("TensorBoard needs a folder to look at; give one that keeps the results")
    return Events(folder, run.step + 1)


def _show(bar: Bar, run: Run) -> None:
    """Median loss and accuracy of the members that have not diverged, when the bar is drawn again."""
    if bar.disable or bar.last_print_n != bar.n:
        return
    loss, accuracy = (
        sorted(value for value in values if math.isfinite(value)) or [math.nan] for values in run.running()
    )
    facts = {"loss": f"{loss[len(loss) // 2]:.3g}", "accuracy": f"{accuracy[len(accuracy) // 2]:.3f}"}
    if not all(run.alive):
        facts["diverged"] = f"{run.alive.count(False)} of {len(run.members)}"
    bar.set_postfix(facts, refresh=False)


def _of_weights(before: dict[str, Tensor], after: dict[str, Tensor], entries: int) -> dict[str, Any]:
    """Statistics of the matrices of one member, by their names."""
    names = [name for name in MATRICES if name in before]
    return {
        "roughness_before": {name: roughness(before[name]) for name in names},
        "roughness_after": {name: roughness(after[name]) for name in names},
        "roughness_of_change": {
            name: roughness(after[name].double() - before[name].double()) for name in names
        },
        "relative_change": {name: relative_change(after[name], before[name]) for name in names},
        "paths": {
            name: {"before": _entries(before[name], entries), "after": _entries(after[name], entries)}
            for name in names
        },
    }


def _entries(weights: Tensor, entries: int) -> list[list[float]]:
    """The first entries of the matrices along depth; weights are exchangeable before training."""
    paths: list[list[float]] = weights.flatten(1)[:, :entries].double().T.tolist()
    return paths


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _parsed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _parsed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_parsed(part) for part in value]
    return float(value) if value in ("nan", "inf", "-inf") else value
