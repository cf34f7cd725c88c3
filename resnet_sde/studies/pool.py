"""Pieces of work, done here or by local processes; what comes out is the same."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from resnet_sde.ensembles import Ensemble, simulate_grains
from resnet_sde.propagate import Store
from resnet_sde.runs.execute import work_on
from resnet_sde.studies.cells import Results, as_arrays

Task = tuple[int, int, Ensemble, range]
"""Number of the cell, number of the part in it, what is simulated, and the grains of this part."""


def run_tasks(
    tasks: Sequence[Task], x: Tensor, observe: Sequence[object], workers: int
) -> Iterator[tuple[int, int, list[Results]]]:
    """(cell, part, results of its grains), as they are finished.

    Raises:
        RuntimeError: a worker process died.
    """
    if workers == 1 or len(tasks) < 2:
        store = Store()
        for cell, part, ensemble, grains in tasks:
            yield cell, part, _compute(ensemble, x, observe, grains, store)
        return
    finished = work_on(
        tasks,
        _work,
        workers=workers,
        prepare=_prepare,
        prepared_with=(x.detach().cpu().numpy(), str(x.device), tuple(observe)),
        lost="for lack of memory perhaps, or because it could not import an observable; give fewer workers, "
        "or define observables in a module",
    )
    for (cell, part, _, _), results in finished:
        yield cell, part, results


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


def _compute(
    ensemble: Ensemble, x: Tensor, observe: Sequence[object], grains: range, store: Store
) -> list[Results]:
    """Results of some grains of a cell."""
    return [as_arrays(part) for part in simulate_grains(ensemble, x, observe, grains, store)]


_worker: dict[str, Any] = {}


def _prepare(x: object, device: str, observe: tuple[object, ...]) -> None:
    """What a worker process needs for every part."""
    _worker.update(x=torch.as_tensor(x, device=device), observe=observe, store=Store())


def _work(task: Task) -> list[Results]:
    _, _, ensemble, grains = task
    return _compute(ensemble, grains=grains, **_worker)
