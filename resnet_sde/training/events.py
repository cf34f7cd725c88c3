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
    """The log of a stack as runs of TensorBoard, one for each job.

    Args:
        folders: of the jobs, in each of which the folder tensorboard has a run; None for no run.
        first: the first step to come; what an interrupted process wrote of later ones is not shown.

    Raises:
        ValueError: tensorboard is not installed.
    """

    def __init__(self, folders: Sequence[Path | None], first: int) -> None:
        self._kind, self._folders, self._first = summary_writer(), folders, first
        self._writers: dict[Path, Any] = {}

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add lines of the log, and leave them on disk."""
        for line in lines:
            folder = self._folders[line["member"]]
            if folder is not None:
                writer = self._writer(folder)
                for name in SCALARS:
                    writer.add_scalar(name, line[name], line["step"])
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """End what is open."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, folder: Path) -> Any:
        if folder not in self._writers:
            self._writers[folder] = self._kind(str(folder / FOLDER), purge_step=self._first)
        return self._writers[folder]
