"""Faults of workers that are interpreters of their own, and of a Dask cluster."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from injected_runs import PATIENCE, Running
from injected_workers import scheduler, worker_of
from waiting import members, wait_until

if TYPE_CHECKING:
    from injected_faults import Case

_UNTIL_IT_WORKS = 4.0  # seconds in which a worker or a scheduler is killed


def disturb(case: Case) -> None:
    """Kill a worker that was started as ever, or the scheduler or a worker of a cluster."""
    if "real" in case.found.fault:
        _real_worker(case)
        return
    place = case.place / "cluster"
    place.mkdir(parents=True)
    address = place / "address"
    started = [_process(lambda: scheduler(address))]
    try:
        wait_until(address.exists, "there is no scheduler")
        started += [_process(lambda: worker_of(address.read_text(), place)) for _ in range(2)]
        running = Running(case.request(address=address.read_text()), case.place / "disturbed")
        if not running.ended_within(case.chance.random() * _UNTIL_IT_WORKS):
            os.kill(started[0] if "scheduler" in case.found.fault else started[1], signal.SIGKILL)
            running.mark.write_text("later")
        ended = running.wait()
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
    case.found.reached = bool(ended.reached)
    ended.stderr = "\n".join(
        line for line in ended.lines if line.startswith("injected: ")
    )  # Dask has words of its own
    case.judge(ended, None)


def _real_worker(case: Case) -> None:
    running = Running(case.request(workers=2, copies=False), case.place / "disturbed")
    end = time.monotonic() + PATIENCE
    while len(members(running.pid)) < 3 and not running.ended_within(0.01) and time.monotonic() < end:
        pass
    if not running.ended_within(case.chance.random() * _UNTIL_IT_WORKS):
        for process in members(running.pid)[1:2]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                running.mark.write_text("later")
    ended = running.wait()
    case.found.reached = bool(ended.reached)
    case.judge(ended, None)


def _process(what: Callable[[], None]) -> int:
    """A copy of this process, in a session of its own."""
    process = os.fork()
    if process == 0:
        try:
            os.setsid()
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            what()
        finally:
            os._exit(0)
    return process
