"""Pieces of work, done here, by local processes or by any executor; what comes out is the same."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Generator, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.monte_carlo import Ensemble, simulate_chunks
from resnet_sde.propagate import Workspace
from resnet_sde.runs.execute import Executor, execute
from resnet_sde.studies.cells import Results, as_arrays

Task = tuple[int, int, Ensemble, range]
"""Number of the cell, number of the part in it, what is simulated, and the chunks of this part."""


class _Memory(threading.local):
    """Memory for states, used again by the next task of the same thread; nothing of it is pickled."""

    def __init__(self) -> None:
        self.workspace = Workspace()

    @override
    def __reduce__(self) -> tuple[type[_Memory], tuple[()]]:
        return _Memory, ()


_Shared = tuple[Tensor, tuple[object, ...], _Memory]


def run_tasks(
    tasks: Sequence[Task],
    x: Tensor,
    observe: Sequence[object],
    workers: int,
    executor: Executor | None = None,
) -> Generator[tuple[int, int, list[Results]]]:
    """(cell, part, results of its chunks), as they are finished; see `execute`.

    Raises:
        RuntimeError: a worker process died.
    """
    shared = (x.detach().clone(), tuple(observe), _Memory())  # a view would be sent with all that it is of
    try:
        for (cell, part, _, _), results in execute(tasks, _work, shared, workers=workers, executor=executor):
            yield cell, part, results
    finally:
        # Threads that work on one thread each may leave that to threads which are started later.
        torch.set_num_threads(torch.get_num_threads())


def _work(task: Task, shared: _Shared) -> list[Results]:
    """Results of some chunks of a cell."""
    (_, _, ensemble, chunks), (x, observe, memory) = task, shared
    return [as_arrays(part) for part in simulate_chunks(ensemble, x, observe, chunks, memory.workspace)]


def check_picklable(observe: Sequence[object], ensembles: Sequence[Ensemble]) -> None:
    """Raise ValueError unless all this can be sent to a worker process."""
    for thing in (*observe, *ensembles):
        try:
            pickle.dumps(thing)
        except Exception:  # pickle raises whatever the object raises
            name = getattr(thing, "__qualname__", type(thing).__qualname__)
            raise ValueError(
                f"{name} cannot be sent to a worker process; define it at the top level of a module, "
                "or give workers=1"
            ) from None
