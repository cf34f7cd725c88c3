"""A program in a process of its own, a copy of this one, with what is to happen to it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from injected_moments import Events
from injected_programs import PROGRAMS
from injected_workers import use_copies
from waiting import members, wait_until

from resnet_sde.runs import interrupts

PATIENCE = 300.0  # seconds after which a program hangs, whatever else the machine does
AFTERWARDS = 30.0  # seconds that its processes may take to notice that it has ended


@dataclass(frozen=True)
class Request:
    """A program, its folder, and what happens to it.

    at: the event of the disk at which `what` happens.
    prepare: is called in its process before anything else, for what else is to go wrong.
    address: of a cluster that works in place of workers.
    """

    program: str
    store: Path
    workers: int = 1
    at: int | None = None
    what: Callable[[Events], None] = lambda _: None
    prepare: Callable[[], None] = lambda: None
    copies: bool = True
    address: str | None = None


@dataclass
class Ended:
    """How a program ended.

    status: as in `subprocess`.
    result: what it gave; None if it gave none.
    reached: "opening" or "later", if what was to happen did, before or after records were looked for.
    left: how many of its processes did not end with it.
    """

    status: int
    stderr: str
    result: bytes | None = None
    loaded: list[str] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    events: int = 0
    reached: str = ""
    left: int = 0
    seconds: float = 0.0

    @property
    def lines(self) -> list[str]:
        return self.stderr.splitlines()

    @property
    def taken(self) -> set[str]:
        """Records that were believed, and not computed again."""
        return set(self.loaded) - set(self.saved)


class Running:
    """A program that is under way.

    Args:
        scratch: new folder for what it leaves besides its results.
    """

    def __init__(self, request: Request, scratch: Path) -> None:
        scratch.mkdir(parents=True)
        self.scratch, self.started = scratch, time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(request, scratch)
        self._handle = os.pidfd_open(self.pid)

    @property
    def mark(self) -> Path:
        return self.scratch / "reached"

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send it a signal, if it has not ended."""
        with suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def wait_until_it_works(self) -> None:
        """Until it answers signals as programs do."""
        wait_until(lambda: (self.scratch / "works").exists() or self.ended_within(0), "it does not start")

    def ended_within(self, seconds: float) -> bool:
        return bool(select.select([self._handle], [], [], seconds)[0])

    def wait(self) -> Ended:
        """How it ended, when all of its processes have."""
        hangs = not self.ended_within(PATIENCE)
        if hangs:
            self.signal(signal.SIGKILL, group=True)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._handle)
        seconds = time.monotonic() - self.started
        end = time.monotonic() + AFTERWARDS
        while (left := members(self.pid)) and time.monotonic() < end:
            time.sleep(0.01)
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        answer = self.scratch / "answer"
        told = pickle.loads(answer.read_bytes()) if answer.exists() else {}
        return Ended(
            os.waitstatus_to_exitcode(status),
            (self.scratch / "stderr").read_text(errors="replace") + ("\nit hangs" if hangs else ""),
            **told,
            reached=self.mark.read_text() if self.mark.exists() else "",
            left=len(left),
            seconds=seconds,
        )


def run(request: Request, scratch: Path) -> Ended:
    """Run a program, and wait for its end."""
    return Running(request, scratch).wait()


def _become(request: Request, scratch: Path) -> NoReturn:
    """Be that program, in a session of its own, and end."""
    status: Any = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, file in ((0, os.devnull), (1, scratch / "stdout"), (2, scratch / "stderr")):
            handle = os.open(file, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
            os.dup2(handle, number)
            os.close(handle)
        if request.copies:
            use_copies()
        request.prepare()
        events = Events(request.at, request.what, scratch / "reached")
        events.hook()
        sys.modules["injected_main"] = SimpleNamespace(main=lambda: _main(request, events, scratch))  # type: ignore[assignment]
        interrupts.run("injected_main", "injected")
    except SystemExit as leaving:
        status = leaving.code
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0 if status is None else 1)


def _main(request: Request, events: Events, scratch: Path) -> int:
    """As the command line does: an error that a request can meet is a line, and status 2."""
    (scratch / "works").touch()
    how: dict[str, Any] = {"workers": request.workers}
    try:
        if request.address is not None:
            from resnet_sde.runs.cluster import Cluster

            how = {"executor": Cluster(request.address)}
        result = PROGRAMS[request.program].run(request.store, **how)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"injected: {error}", file=sys.stderr)
        return 2
    told = {"result": result, "loaded": events.loaded, "saved": events.saved, "events": events.count}
    events.at, events.full = None, 0
    with open(scratch / "answer.new", "wb") as file:
        pickle.dump(told, file)
    os.rename(scratch / "answer.new", scratch / "answer")
    return 0
