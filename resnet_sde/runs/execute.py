"""Work on many tasks: here, in local processes, or by any executor. What comes out is the same."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Executor, Future
from queue import SimpleQueue
from typing import Any, TypeVar

from resnet_sde.runs.cluster import Answer, Cluster

__all__ = ["Executor", "check_executor", "execute"]

_Task = TypeVar("_Task")
_Shared = TypeVar("_Shared")
_Result = TypeVar("_Result")

_BATCHES = 1000  # that tasks are put into at most, where sending one costs more than a small task
_PER_THREAD = 20  # of a cluster: batches that each of its threads gets, so that none is left with much alone


def execute(
    tasks: Sequence[_Task],
    work: Callable[[_Task, _Shared], _Result],
    shared: _Shared,
    *,
    workers: int = 1,
    executor: Executor | None = None,
) -> Generator[tuple[_Task, _Result]]:
    """Every task with what `work` makes of it, as they are finished.

    Args:
        tasks: with more than one worker, they and their results are pickled.
        work: from a task and `shared` to a result; a function at the top level of a module.
        shared: what all tasks need, sent once to each local process.
        workers: local processes, of one thread each; 1 works in this process, as is done for a single task.
        executor: works in their place; it is the caller's to shut down.

    Returns:
        A generator; when it is closed, what is not finished is given up.

    Raises:
        ValueError: something cannot be pickled.
        RuntimeError: a process could not start, or ended before its work was done; the message says why.
        Exception: what `work` raises.
    """
    if executor is not None:
        return _by_executor(executor, tasks, work, shared)
    if workers == 1 or len(tasks) < 2:
        return ((task, work(task, shared)) for task in tasks)
    if sys.platform == "win32":
        raise RuntimeError("local processes need a POSIX system; give workers=1, or an executor")
    from resnet_sde.runs.processes import in_processes

    return in_processes(tasks, work, shared, min(workers, len(tasks)))


def check_executor(executor: object) -> None:
    """Raise ValueError unless this is an executor, or None."""
    if executor is not None and not isinstance(executor, Executor):
        raise ValueError(
            f"executor must be a concurrent.futures.Executor, got {type(executor).__name__}; give for "
            "example ThreadPoolExecutor(2), or workers=2"
        )


def _by_executor(
    executor: Executor,
    tasks: Sequence[_Task],
    work: Callable[[_Task, _Shared], _Result],
    shared: _Shared,
) -> Generator[tuple[_Task, _Result]]:
    submit: Callable[[Sequence[_Task]], Future[Answer]]
    if isinstance(executor, Cluster):
        submit, most = executor.shared(work, shared), max(_BATCHES, _PER_THREAD * executor.size)
    else:
        submit, most = lambda batch: executor.submit(_each, batch, work, shared), _BATCHES
    size = max(1, math.ceil(len(tasks) / most))
    futures: dict[Future[Answer], Sequence[_Task]] = {}
    try:
        for first in range(0, len(tasks), size):
            batch = tasks[first : first + size]
            futures[submit(batch)] = batch
        done: SimpleQueue[Future[Answer]] = SimpleQueue()  # as_completed waits for ever for cancelled ones
        for future in futures:
            future.add_done_callback(done.put)
        while futures:
            future = done.get()
            batch = futures.pop(future)  # with its results, which nothing else holds any more
            results, failure = _of(future)
            yield from zip(batch, results, strict=False)
            if failure is not None:
                raise failure
    finally:
        for future in futures:
            future.cancel()


def _of(future: Future[Answer]) -> Answer:
    try:
        return future.result()
    except CancelledError:
        error: Exception = RuntimeError("the executor gave this work up; give one that is not shut down")
    except Exception as raised:
        error = raised
    return [], error


def _each(batch: Sequence[_Task], work: Callable[[_Task, _Shared], Any], shared: _Shared) -> Answer:
    """What work makes of each task, up to one that fails, and that failure."""
    results = []
    for task in batch:
        try:
            results.append(work(task, shared))
        except Exception as error:
            return results, error
    return results, None
