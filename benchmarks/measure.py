"""Clocks and scales: times of actions that take turns, peak memory of an action in a process of its own."""

from __future__ import annotations

import math
import multiprocessing
import multiprocessing.connection
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

Action = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds for one `unit` of the workload.

    usual: the usual way, None where there is none.
    floor: the random numbers and the products or transforms alone, None where it is not measured.
    faster, floors, seconds: the targets, at least so many times faster than the usual way, at most so many
        floors and at most so long; None for no target.
    memory: peak resident memory of ours, in megabytes, the imported libraries included.
    gpu: time of ours on a CUDA device; None where there was none.
    """

    workload: str
    unit: str
    ours: float
    floor: float | None = None
    usual: float | None = None
    faster: float | None = None
    floors: float | None = 2.0
    seconds: float | None = None
    memory: float | None = None
    gpu: float | None = None

    @property
    def speedup(self) -> float | None:
        return None if self.usual is None else self.usual / self.ours

    @property
    def over_floor(self) -> float | None:
        return None if self.floor is None else self.ours / self.floor

    @property
    def met(self) -> bool | None:
        """Whether every target is met; None where there is no target."""
        checks = [
            self.speedup >= self.faster if self.faster is not None and self.speedup is not None else None,
            self.over_floor <= self.floors
            if self.floors is not None and self.over_floor is not None
            else None,
            self.ours <= self.seconds if self.seconds is not None else None,
        ]
        known = [check for check in checks if check is not None]
        return all(known) if known else None


def best(repeats: int, **actions: Action) -> dict[str, float]:
    """Best wall time of each action, on one thread. They take turns, so that a busy spell hits them all."""
    times = dict.fromkeys(actions, math.inf)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(repeats):
            for name, action in actions.items():
                start = time.perf_counter()
                action()
                times[name] = min(times[name], time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return times


def gpu_time(action: Action, repeats: int = 3) -> float | None:
    """Best wall time of an action that computes on a CUDA device; None where there is none."""
    if not torch.cuda.is_available():
        return None
    times = []
    for _ in range(repeats + 1):  # the first one starts the device
        torch.cuda.synchronize()
        start = time.perf_counter()
        action()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def peak_memory(action: Action) -> float:
    """Peak resident memory, in megabytes, of a fresh process that runs the action, a picklable one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resnet_sde"])
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_run_and_tell, args=(action, send))
    child.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:
        raise RuntimeError("the process that measures memory ended early, perhaps for lack of it") from None
    finally:
        child.join()


def _run_and_tell(action: Action, send: multiprocessing.connection.Connection) -> None:
    import resource

    torch.set_num_threads(1)
    action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    send.send(peak / (2**20 if sys.platform == "darwin" else 2**10))
