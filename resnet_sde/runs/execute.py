"""Local processes that work for this one: they end with it, and interrupts from the keyboard are its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

import torch

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def work_on(
    tasks: Sequence[_Task],
    work: Callable[[_Task], _Result],
    *,
    workers: int,
    prepare: Callable[..., None] | None = None,
    prepared_with: tuple[object, ...] = (),
    lost: str,
) -> Iterator[tuple[_Task, _Result]]:
    """Every task with what `work` makes of it in a process of one thread, as they are finished.

    Args:
        tasks: at least one; they, `work` and its results are pickled.
        work: a function at the top level of a module.
        workers: processes at most.
        prepare: called once in each process before its first task; at the top level of a module.
        prepared_with: its arguments.
        lost: why a process may have ended before its work was done, and what to do.

    Raises:
        RuntimeError: a process died; the message ends with `lost`.
    """
    context = multiprocessing.get_context("spawn")
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(tasks)),
        mp_context=context,
        initializer=_start,
        initargs=(lifeline, prepare, prepared_with),
    )
    try:
        with _interrupts_held_back():
            futures = {pool.submit(work, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
        pool.shutdown()  # with nothing left to do they end by themselves, and leave nothing behind
    except BrokenProcessPool as error:
        raise RuntimeError(f"a worker process ended before its work was done, {lost}") from error
    finally:
        held.close()
        pool.shutdown(wait=True, cancel_futures=True)
        lifeline.close()


def _start(
    lifeline: Connection, prepare: Callable[..., None] | None, prepared_with: tuple[object, ...]
) -> None:
    """Set up a process, which leaves interrupts to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    torch.set_num_threads(1)
    if prepare is not None:
        prepare(*prepared_with)


def _end_with(lifeline: Connection) -> None:
    """End this process when the parent closes its end of the pipe, or is no more."""
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Keep interrupts from the keyboard back meanwhile; processes started inside never get any."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
