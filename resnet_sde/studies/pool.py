"""Pieces of work, done here or by local processes; what comes out is the same."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from resnet_sde.ensembles import Ensemble, simulate_grains
from resnet_sde.propagate import Store
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
    context = multiprocessing.get_context("spawn")
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(tasks)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(x.detach().cpu().numpy(), str(x.device), tuple(observe), lifeline),
    )
    try:
        with interrupts_held_back():
            futures: dict[Future[list[Results]], tuple[int, int]] = {
                pool.submit(_work, ensemble, grains): (cell, part) for cell, part, ensemble, grains in tasks
            }
        for future in as_completed(futures):
            yield *futures[future], future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process ended before its work was done, for lack of memory perhaps, or because it "
            "could not import an observable; give fewer workers, or define observables in a module"
        ) from error
    finally:
        held.close()
        pool.shutdown(wait=True, cancel_futures=True)
        lifeline.close()


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


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Keep interrupts from the keyboard back meanwhile; processes started inside never get any."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: dict[str, Any] = {}


def _start_worker(x: object, device: str, observe: tuple[object, ...], lifeline: Connection) -> None:
    """Set up a worker process, which leaves interrupts to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(lifeline,), daemon=True).start()
    torch.set_num_threads(1)
    _worker.update(x=torch.as_tensor(x, device=device), observe=observe, store=Store())


def end_with(lifeline: Connection) -> None:
    """End this process when the parent closes its end of the pipe, or is no more."""
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _work(ensemble: Ensemble, grains: range) -> list[Results]:
    return _compute(ensemble, grains=grains, **_worker)
