"""Faults of workers that are interpreters of their own, and of a Dask cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from injected_runs import Running
from injected_workers import scheduler, worker_of
from waiting import members, wait_until

if TYPE_CHECKING:
    from injected_faults import Case

_UNTIL_IT_WORKS = 2.0  # seconds in which it is killed, every second time; else at an event of the disk


def disturb(case: Case) -> None:
    """Kill a worker that was started as ever, or the scheduler or a worker of a cluster."""
    if "real" in case.found.fault:
        _kill(case, lambda pid: [each for each in members(pid) if each != pid][:1], copies=False, workers=2)
        return
    place = case.place / "cluster"
    place.mkdir(parents=True)
    address = place / "address"
    started = [_process(lambda: scheduler(address))]
    try:
        wait_until(address.exists, "there is no scheduler")
        started += [_process(lambda: worker_of(address.read_text(), place)) for _ in range(2)]
        which = started[:1] if "scheduler" in case.found.fault else started[1:2]
        _kill(case, lambda _: which, address=address.read_text())
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _kill(case: Case, found: Callable[[int], list[int]], **how: Any) -> None:
    """Kill what is found, at a time when there is something, or at an event of the program."""

    def kill(pid: int) -> None:
        for process in found(pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    at = case.chance.randrange(1, case.known.events) if case.chance.random() < 0.5 else None
    what = lambda _: kill(os.getpid())  # noqa: E731
    running = Running(case.request(at=at, what=what, **how), case.place / "disturbed")
    if at is None:
        wait_until(lambda: found(running.pid) or running.ended_within(0.01), "no worker is started")
        if not running.ended_within(case.chance.random() * _UNTIL_IT_WORKS):
            kill(running.pid)
            running.mark.write_text("later")
    ended = running.wait()
    case.found.reached = bool(ended.reached)
    if "address" in how:  # Dask has words of its own
        ended.stderr = "\n".join(line for line in ended.lines if line.startswith("injected: "))
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
