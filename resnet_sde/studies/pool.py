"""Pieces of work, done here or by local processes; what comes out is the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import Any

import torch
from torch import Tensor

from resnet_sde.propagate import Store
from resnet_sde.simulate import Ensemble, simulate_grains
from resnet_sde.studies.cells import Results, as_arrays

Task = tuple[int, int, Ensemble, range]
"""Number of the cell, number of the part in it, what is simulated, and the grains of this part."""


def run_tasks(
    tasks: Sequence[Task], x: Tensor, observe: Sequence[object], workers: int
) -> Iterator[tuple[int, int, list[Results]]]:
    """(cell, part, results of its grains), as they are finished."""
    if workers == 1 or len(tasks) < 2:
        store = Store()
        for cell, part, ensemble, grains in tasks:
            yield cell, part, _compute(ensemble, x, observe, grains, store)
        return
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(tasks)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(x.cpu().numpy(), str(x.device), tuple(observe), stop),
    )
    try:
        futures: dict[Future[list[Results]], tuple[int, int]] = {
            pool.submit(_work, ensemble, grains): (cell, part) for cell, part, ensemble, grains in tasks
        }
        for future in as_completed(futures):
            yield *futures[future], future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process ended before its work was done, perhaps for lack of memory; give fewer workers"
        ) from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _compute(
    ensemble: Ensemble,
    x: Tensor,
    observe: Sequence[object],
    grains: range,
    store: Store,
    stop: Event | None = None,
) -> list[Results]:
    """Results of some grains of a cell; nobody reads them if `stop` is set meanwhile."""
    results = []
    for part in simulate_grains(ensemble, x, observe, grains, store):
        results.append(as_arrays(part))
        if stop is not None and stop.is_set():
            break
    return results


_worker: dict[str, Any] = {}


def _start_worker(x: object, device: str, observe: tuple[object, ...], stop: Event) -> None:
    """Set up a worker process: it leaves interrupts to its parent, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _worker.update(x=torch.as_tensor(x, device=device), observe=observe, store=Store(), stop=stop)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(ensemble: Ensemble, grains: range) -> list[Results]:
    return _compute(ensemble, grains=grains, **_worker)
