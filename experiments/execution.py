"""By whom work is done, and where it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resnet_sde.runs.execute import Executor


@dataclass(frozen=True)
class Execution:
    """How an experiment is carried out; no number depends on it.

    Attributes:
        workers: local processes.
        executor: works in their place; it is the caller's to shut down.
        store: folder of what is finished, from which the same experiment goes on; None for none.
        stack: networks that are trained together at most.
        progress: draw progress bars.
    """

    workers: int = 1
    executor: Executor | None = None
    store: Path | None = None
    stack: int = 16
    progress: bool = False


HERE = Execution()
