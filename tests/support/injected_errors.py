"""Errors planted into a process, each of which the injections must find."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from resnet_sde.runs import store
from resnet_sde.runs.store import Record, Store


def no_checksum() -> None:
    """Records are believed, whatever has become of their bytes."""

    def trusting(content: bytes, at: int) -> bytes:
        at = len(content) - 64 + at + 1 if at < 0 else at
        return content[:at] + content[at + 64 :]

    store.unsealed = trusting
    zipfile.ZipExtFile._update_crc = lambda *_: None  # type: ignore[attr-defined]


def any_identity() -> None:
    """A record is taken for what its name says."""

    def load(self: Store, identity: Any) -> Record | None:
        path = self.path(identity)
        return store.read_record(path)[1] if path.exists() else None

    Store.load = load  # type: ignore[method-assign]


def in_place() -> None:
    """Files are written under their own names."""

    def write(path: Path, content: bytes, **_: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(handle)
        finally:
            os.close(handle)

    store.write_whole = write


def parts_stay() -> None:
    """What killed programs leave is left."""
    store.remove_parts = lambda *_: None


def counted_twice() -> None:
    """What was kept is counted twice."""
    load = Store.load

    def twice(self: Store, identity: Any) -> Record | None:
        found = load(self, identity)
        if found is None:
            return None
        return Record({name: np.concatenate([a, a]) for name, a in found.arrays.items()}, found.content)

    Store.load = twice  # type: ignore[method-assign]


def lost() -> None:
    """What was kept is computed again."""
    Store.load = lambda *_: None  # type: ignore[method-assign]


def full_is_fatal() -> None:
    """What the disk does not take ends the program."""

    def save(self: Store, identity: Any, record: Record) -> bool:
        store.write_record(self.path(identity), identity, record)
        return True

    Store.save = save  # type: ignore[method-assign]


def orphan() -> None:
    """A process outlives the program."""
    if os.fork() == 0:
        time.sleep(10**6)


def semaphore() -> None:
    """A semaphore is never unlinked."""
    Path(f"/dev/shm/sem.mp-planted{os.getpid()}").touch()


PLANTED: dict[str, tuple[Callable[[], None], str, tuple[str, ...]]] = {
    "records without checksum": (no_checksum, "verify", ("a flipped bit",)),
    "records of any identity": (any_identity, "study", ("of another request",)),
    "files written in place": (in_place, "study", ("kill -9",)),
    "temporary files stay": (parts_stay, "study", ("kill -9",)),
    "a result counted twice": (counted_twice, "study", ("kill -9",)),
    "results computed again": (lost, "study", ("kill -9",)),
    "a full disk is fatal": (full_is_fatal, "study", ("full disk",)),
    "a process is left": (orphan, "study", ("clock ahead",)),
    "a semaphore is left": (semaphore, "study", ("clock ahead",)),
}
"""What is planted, and the program and the faults that show it."""
