"""Workers that faults are injected into: copies of a process, which are there at once.

Local processes of the package are new interpreters, and take seconds to import what they need. A copy speaks
the same protocol through the same sockets, and its end is that of a process. A share of the injections is
into real ones.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from injected_moments import Events

from resnet_sde.runs import processes, worker

ON_DISK = "asks the disk"
MOMENTS = ("reads what it shares", "has read it", "takes a task", "has an answer", "sends it", "has sent it")


class Copy:
    """Stands in for `subprocess.Popen` of an interpreter that is to work."""

    disturb: Callable[[int], None] = staticmethod(lambda number: None)  # type: ignore[assignment]
    started = 0

    def __init__(self, command: Sequence[str], *, stdin: int, pass_fds: Sequence[int]) -> None:
        self.returncode: int | None = None
        number, Copy.started = Copy.started, Copy.started + 1
        self.pid = os.fork()
        if self.pid == 0:
            _work(command, stdin, pass_fds[0], number)

    def poll(self) -> int | None:
        if self.returncode is None:
            process, status = os.waitpid(self.pid, os.WNOHANG)
            if process:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            time.sleep(0.002)
        return status

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _work(command: Sequence[str], stdin: int, content: int, number: int) -> None:
    """What the interpreter would do, with what it would have been given open."""
    try:
        os.dup2(stdin, 0)
        os.closerange(3, content)
        os.closerange(content + 1, 1024)
        sys.argv = ["-c", command[-1]]
        Copy.disturb(number)
        exec(command[-2], {"__name__": "__worker__"})
    finally:
        os._exit(1)


def use_copies() -> None:
    """Local processes are copies of this one from now on."""
    given = SimpleNamespace(Popen=Copy, TimeoutExpired=subprocess.TimeoutExpired)
    processes.subprocess = given  # type: ignore[attr-defined]


def ends(which: int, moment: str, after: int, how: str, mark: Path) -> Callable[[int], None]:
    """What ends one of the workers, by a signal or by leaving.

    moment: one of MOMENTS, of the task after so many; or ON_DISK, at the event `after`.
    """
    left = [0 if moment == ON_DISK else after]

    def reach(here: str, begin: Callable[[], object] = lambda: None) -> None:
        left[0] -= here == moment
        if here == moment and left[0] < 0:
            mark.write_bytes(b"later")
            begin()
            if how == "leaves":
                os._exit(3)
            os.kill(os.getpid(), getattr(signal, how))
            time.sleep(10**6)

    def disturb(number: int) -> None:
        if number == which and moment == ON_DISK:
            Events.current.take_over(after, lambda _: reach(moment))
        elif number == which:
            worker._load = _around(worker._load, reach, "reads what it shares", "has read it")
            worker._answer = _around(worker._answer, reach, "takes a task", "has an answer")
            worker._tell = _telling(worker._tell, reach)

    return disturb


def _around(function: Callable[..., Any], reach: Callable[..., None], before: str, after: str) -> Any:
    def hooked(*args: Any) -> Any:
        reach(before)
        found = function(*args)
        reach(after)
        return found

    return hooked


def _telling(tell: Callable[..., None], reach: Callable[..., None]) -> Any:
    """Half of an answer is on its way when its sender ends."""

    def hooked(connection: Any, answer: bytes) -> None:
        half = struct.pack("!i", len(answer)) + answer[: len(answer) // 2]
        reach("sends it", lambda: os.write(connection.fileno(), half))
        tell(connection, answer)
        reach("has sent it")

    return hooked


# A cluster of Dask, as somebody else would have started it


def scheduler(place: Path) -> None:
    """Be a scheduler, and leave its address in a file."""

    async def run() -> None:
        from distributed import Scheduler

        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as one:
            place.with_suffix(".new").write_text(one.address)
            place.with_suffix(".new").rename(place)
            await one.finished()

    with suppress(KeyboardInterrupt):
        asyncio.run(run())


def worker_of(address: str, place: Path) -> None:
    """Be a worker of a scheduler."""

    async def run() -> None:
        from distributed import Worker

        async with Worker(address, nthreads=1, local_directory=str(place), dashboard=False) as one:
            await one.finished()

    with suppress(KeyboardInterrupt):
        asyncio.run(run())
