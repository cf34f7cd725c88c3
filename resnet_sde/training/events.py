"""Losses and accuracies of every epoch, for those who watch them in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
SCALARS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr")


def summary_writer() -> type[Any]:
    """What writes events. Raises ValueError if the package tensorboard is not installed."""
    try:
        return import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise ValueError(
            "the package tensorboard is not installed; leave its option out, or install it with "
            "pip install tensorboard"
        ) from error


class Events:
    """The log of a stack as runs of TensorBoard, one for each member.

    Args:
        folder: of the stack; the runs are in its folder tensorboard.
        first: the first step to come; what an interrupted process wrote of later ones is not shown.

    Raises:
        ValueError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._kind, self._folder, self._first = summary_writer(), folder / FOLDER, first
        self._writers: dict[int, Any] = {}

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add lines of the log, and leave them on disk."""
        for line in lines:
            writer = self._writer(line["member"])
            for name in SCALARS:
                writer.add_scalar(name, line[name], line["step"])
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """End what is open."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, member: int) -> Any:
        if member not in self._writers:
            run = str(self._folder / f"member-{member}")
            self._writers[member] = self._kind(run, purge_step=self._first)
        return self._writers[member]
