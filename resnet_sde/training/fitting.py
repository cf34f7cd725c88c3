"""Runs from beginning to end: checkpoints, log, progress, and what is told of every job afterwards."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_sde.checks import check_device
from resnet_sde.networks import StackedResNets
from resnet_sde.propagate import one_thread
from resnet_sde.runs.progress import Bar, progress_bar
from resnet_sde.training.config import TrainingConfig, TrainingJob
from resnet_sde.training.data import Data
from resnet_sde.training.events import Events
from resnet_sde.training.kept import (
    Identities,
    checkpoints_in,
    job_folder,
    load_checkpoint,
    parsed,
    plain,
    save_checkpoint,
    write_log,
)
from resnet_sde.training.kept import identities as find_identities
from resnet_sde.training.run import Run, own_arithmetic
from resnet_sde.training.statistics import relative_change, roughness

log = logging.getLogger("resnet_sde")

_SHARE = 20  # of the time goes at most one part into checkpoints
MATRICES = ("inner", "outer")


@dataclass(frozen=True)
class TrainingResult:
    """What became of one job.

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
        return plain(asdict(self))

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> TrainingResult:
        """What `to_json` gave. Raises TypeError or ValueError if it is something else."""
        return cls(**parsed(given))


def fit(
    jobs: Sequence[TrainingJob],
    config: TrainingConfig,
    data: Data,
    *,
    device: torch.device | str = "cpu",
    folder: Path | None = None,
    identities: Identities | None = None,
    checkpoint_every: float = 10.0,
    progress: bool = False,
    label: str = "training",
    tensorboard: bool = False,
) -> tuple[StackedResNets, list[TrainingResult]]:
    """Train a stack, or go on with it from checkpoints in a folder; the result is the same, bit for bit.

    Args:
        jobs: networks of one shape.
        config: how they are trained.
        data: the examples.
        device: where they are trained; on a CPU with one thread, so that no result depends on how many
            there are.
        folder: keeps, in a folder for each job, its checkpoint and its log, one line of JSON for each
            epoch. None for neither.
        identities: what decides the bits of each job, if it is known already; see `kept.identities`.
        checkpoint_every: seconds between two checkpoints, if writing them takes a small share of that; 0 for
            one after every step. An interrupt from the keyboard leaves another one.
        progress: draw a bar on standard error if that is a terminal.
        label: of the bar.
        tensorboard: write the log for TensorBoard too, into the folder.

    Returns:
        The trained stack, and the outcome of every job.

    Raises:
        ValueError: see `Run`; or tensorboard is asked for without a folder, or not installed.
        OSError: the folder cannot be written to.
    """
    on_cpu = check_device(device).type == "cpu"
    arithmetic: AbstractContextManager[None] = one_thread() if on_cpu else nullcontext()
    with own_arithmetic(device), arithmetic:
        run = Run(jobs, config, data, device=device)
        keeper = None
        if folder is not None:
            known = identities or find_identities(jobs, config, data, device=str(device))
            opened = identities is not None  # by those who know them
            keeper = _Keeper(run, folder, known, checkpoint_every, tensorboard=tensorboard, opened=opened)
        elif tensorboard:
            raise ValueError("TensorBoard needs a folder to look at; give one that keeps the results")
        with progress_bar(shown=progress, total=run.steps, initial=run.step, desc=label, unit="step") as bar:
            with nullcontext() if keeper is None else keeper:
                while not run.finished:
                    run.advance()
                    bar.update()
                    _show(bar, run)
                    if keeper is not None:
                        keeper.after_a_step()
        return run.stack, outcomes(run)


class _Keeper:
    """Keeps checkpoints and logs of a run while it goes on, and a last one when it is interrupted."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        identities: Identities,
        every: float,
        *,
        tensorboard: bool,
        opened: bool,
    ) -> None:
        self._run, self._folder, self._identities, self._every = run, folder.expanduser(), identities, every
        self._store = checkpoints_in(folder, opened=opened)
        self._lines, self._events = 0, None
        if load_checkpoint(run, self._store, identities) and run.log:
            self._write_log()  # it may have ended between its last checkpoint and the log of that
        if tensorboard:
            places = [job_folder(self._folder, each) if each else None for each in identities]
            self._events = Events(places, run.step + 1)
        self._due = time.monotonic() + every

    def after_a_step(self) -> None:
        """Keep what is due."""
        run = self._run
        if time.monotonic() >= self._due:
            self._save()
        if len(run.log) > self._lines:
            if self._events is not None:
                self._events.write(run.log[self._lines :])
            self._write_log()

    def _write_log(self) -> None:
        try:
            write_log(self._run, self._folder, self._identities)
        except OSError as error:  # it is written anew after the next epoch
            log.warning("%s: %s; the log is not written", self._folder, error.strerror or error)
        self._lines = len(self._run.log)

    def _save(self) -> None:
        begun = time.monotonic()
        save_checkpoint(self._run, self._store, self._identities)
        end = time.monotonic()
        self._due = end + (max(self._every, _SHARE * (end - begun)) if self._every else 0.0)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit):
            self._save()
        if self._events is not None:
            self._events.close()


def outcomes(run: Run) -> list[TrainingResult]:
    """What has become of every job so far."""
    parts = {"train": run.data.train, "validation": run.data.validation, "test": run.data.test}
    scores: dict[str, Any] = {}
    for name, examples in parts.items():
        loss, accuracy = run.evaluate(examples)
        scores |= {f"{name}_loss": loss.tolist(), f"{name}_accuracy": accuracy.tolist()}
    found = []
    for i, job in enumerate(run.jobs):
        before = run.draw([job], run.stack.alpha.device).member_state(0)
        at = run.diverged_at[i]
        found.append(
            TrainingResult(
                steps=run.step if at is None else at,
                diverged=at is not None,
                **{name: values[i] for name, values in scores.items()},
                **_of_weights(before, run.stack.member_state(i), run.config.entries),
            )
        )
    return found


def _show(bar: Bar, run: Run) -> None:
    """Median loss and accuracy of the jobs that have not diverged, when the bar is drawn again."""
    if bar.disable or bar.last_print_n != bar.n:
        return
    loss, accuracy = (
        sorted(value for value in values if math.isfinite(value)) or [math.nan] for values in run.running()
    )
    facts = {"loss": f"{loss[len(loss) // 2]:.3g}", "accuracy": f"{accuracy[len(accuracy) // 2]:.3f}"}
    if not all(run.alive):
        facts["diverged"] = f"{run.alive.count(False)} of {len(run.jobs)}"
    bar.set_postfix(facts, refresh=False)


def _of_weights(before: dict[str, Tensor], after: dict[str, Tensor], entries: int) -> dict[str, Any]:
    """Statistics of the matrices of one job, by their names."""
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
