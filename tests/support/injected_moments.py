"""Moments of a process at which something happens to it: what it asks of the disk is counted.

Everything here changes functions of the process for good, and so is for processes that end with their work.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_sde.runs.store import Store

DAY = 86400.0
_GROW = {"mkstemp", "mkdir", "fsync", "replace"}  # what a full disk refuses, besides to be written to


class Events:
    """Counts events of the disk; at one of them something happens.

    at: number of that event; None for none.
    mark: file that tells others that it has come to that, and whether records had been looked for before.
    """

    current: Events

    def __init__(self, at: int | None, what: Callable[[Events], None], mark: Path) -> None:
        self.at, self.what, self.mark = at, what, mark
        self.count, self.full, self.looked = 0, 0, False
        self.loaded: list[str] = []
        self.saved: list[str] = []
        self._owner = os.getpid()

    def take_over(self, at: int, what: Callable[[Events], None]) -> None:
        """Count those of this process from now on, which is a worker."""
        self.at, self.what, self.count, self._owner = at, what, 0, os.getpid()

    def tick(self) -> None:
        """One more event; workers have none."""
        if os.getpid() != self._owner:
            return
        self.count += 1
        self.full = max(0, self.full - 1)
        if self.count == self.at:
            handle = os.open(self.mark, os.O_CREAT | os.O_WRONLY)
            os.write(handle, b"later" if self.looked else b"opening")
            os.close(handle)
            self.what(self)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with an event before it and one after it, and refused by a full disk."""
        grows = function.__name__ in _GROW

        def hooked(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            if grows and self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]) if args else "")
            try:
                return function(*args, **kwargs)
            finally:
                self.tick()

        return hooked

    def hook(self) -> None:
        """From now on."""
        Events.current = self
        for module, name in (
            *((os, name) for name in ("fsync", "replace", "chmod", "unlink", "mkdir")),
            (tempfile, "mkstemp"),
        ):
            setattr(module, name, self.around(getattr(module, name)))
        fdopen, temporary = os.fdopen, tempfile.TemporaryFile

        def in_halves(handle: int, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            file = fdopen(handle, mode, *args, **kwargs)
            return _InHalves(file, self) if mode == "wb" else file

        def in_a_folder(*args: Any, **kwargs: Any) -> Any:
            if kwargs.get("dir") is not None and self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(kwargs["dir"]))
            return temporary(*args, **kwargs)

        os.fdopen, tempfile.TemporaryFile = in_halves, in_a_folder  # type: ignore[assignment]
        self._count_records()

    def _count_records(self) -> None:
        load, save = Store.load, Store.save

        def counted_load(store: Store, identity: Any) -> Any:
            self.looked = True
            self.tick()
            found = load(store, identity)
            self.tick()
            if found is not None:
                self.loaded.append(_name(store, identity))
            return found

        def counted_save(store: Store, identity: Any, record: Any) -> bool:
            kept = save(store, identity, record)
            if kept:
                self.saved.append(_name(store, identity))
            return kept

        Store.load, Store.save = counted_load, counted_save  # type: ignore[method-assign]


def _name(store: Store, identity: Any) -> str:
    return store.path(identity).relative_to(store.folder).as_posix()


class _InHalves:
    """A file that is written in two halves, with an event between them; a full disk takes the first."""

    def __init__(self, file: Any, events: Events) -> None:
        self._file, self._events = file, events

    def __enter__(self) -> _InHalves:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, content: bytes) -> None:
        """In two halves; the system itself refuses the second one, where files may not be as long."""
        half = len(content) // 2
        self._events.tick()
        self._file.write(content[:half])
        self._file.flush()
        self._events.tick()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if self._events.full:
            resource.setrlimit(resource.RLIMIT_FSIZE, (half + 1, before[1]))
        try:
            self._file.write(content[half:])
            self._file.flush()
        except OSError:
            self._file.raw.close()  # what waits to be written is given up
            raise
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


# What happens


def signalled(number: signal.Signals, *, group: bool = False) -> Callable[[Events], None]:
    """A signal to this process, or to all of its session as from a terminal."""
    return lambda _: os.killpg(0, number) if group else os.kill(os.getpid(), number)


def full(for_events: int) -> Callable[[Events], None]:
    """No room on the disk for so many events."""

    def fill(events: Events) -> None:
        events.full = for_events

    return fill


def removed(folder: Path) -> Callable[[Events], None]:
    """Somebody removes the folder."""
    return lambda _: shutil.rmtree(folder, ignore_errors=True)


def moved(folder: Path) -> Callable[[Events], None]:
    """Somebody gives the folder another name."""

    def move(_: Events) -> None:
        if folder.exists():
            folder.rename(folder.with_name("moved away"))

    return move


def clock(seconds: float) -> Callable[[Events], None]:
    """The clocks jump; the monotonic ones go forward only, as the system promises."""

    def jump(_: Events) -> None:
        for name in ("time", "monotonic", "perf_counter"):
            ahead = seconds if name == "time" else abs(seconds)
            setattr(time, name, _later(getattr(time, name), ahead))

    return jump


def _later(now: Callable[[], float], seconds: float) -> Callable[[], float]:
    return lambda: now() + seconds
