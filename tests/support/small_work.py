"""Work for tests of `execute`; worker processes import this, so it imports nothing that takes time."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from resnet_sde.runs.execute import execute


def square(task: int, shared: int) -> int:
    return task**2 + shared


def who(task: int, shared: object) -> int:
    return os.getpid()


def of_torch(task: int, shared: object) -> tuple[str, str]:
    """What torch is told in the process that works."""
    import torch

    return str(torch.get_default_dtype()), torch.get_float32_matmul_precision()


def end_by(task: int, shared: tuple[int, str]) -> int:
    """One task ends its process: by a signal, or by leaving with a status."""
    which, how = shared
    if task == which:
        if how.isdecimal():
            os._exit(int(how))
        os.kill(os.getpid(), getattr(signal, how))
        threading.Event().wait()  # for the signal
    return task


def end_when_told(task: int, file: Path) -> int:
    """Task 1 kills its process as soon as there is such a file."""
    while task == 1 and not file.exists():
        time.sleep(0.01)
    return end_by(task, (1, "SIGKILL"))


class LeavesWhenRead:
    """What ends the process that reads it."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> tuple[Any, ...]:
        return end_by, (0, (0, self.how))


def raise_error(task: int, shared: BaseException) -> int:
    if task == 1:
        raise shared
    return task


class Picky(Exception):
    """Can be pickled, but not read again."""

    def __init__(self, number: int, word: str) -> None:
        super().__init__(f"{number} {word}")


def raise_picky(task: int, shared: object) -> None:
    raise Picky(3, "words")


def raise_unpicklable(task: int, shared: object) -> None:
    error = ValueError("in use")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def lock(task: int, shared: object) -> object:
    return threading.Lock()


class UnreadableHere:
    """Can be sent away, but not be read by one process."""

    def __init__(self, here: int) -> None:
        self.here = here

    def __reduce__(self) -> tuple[Any, ...]:
        return unreadable_here, (1, self.here)


def unreadable_here(task: int, here: int) -> object:
    if os.getpid() == here:
        raise ValueError("not here")
    return UnreadableHere(here) if task == 1 else task


def end_other(task: int, process: int) -> int:
    """Task 3 kills another process."""
    if task == 3:
        os.kill(process, signal.SIGKILL)
    return task


def zeros(task: int, shared: object) -> bytes:
    return bytes(task)


def zeros_when_told(task: int, file: Path) -> bytes:
    """None at once; some as soon as there is such a file."""
    while task > 0 and not file.exists():
        time.sleep(0.01)
    return zeros(task, None)


def linger(task: int, shared: str) -> int:
    """The first task is done at once; the others say that they are there, and never end by themselves."""
    if task > 0:
        try:
            (Path(shared) / f"{task}").write_text(str(os.getpid()))
            time.sleep(10**6)
        finally:
            (Path(shared) / f"{task} in order").touch()
    return task


def sleep(task: float, shared: object) -> float:
    time.sleep(task)
    return task


def nested(task: int, shared: int) -> list[int]:
    return sorted(found for _, found in execute([task, task + 1], square, shared, workers=2))


def end_once(task: int, mark: Path) -> int:
    """The first process that comes to task 3 is killed, and leaves a mark."""
    if task == 3 and not mark.exists():
        mark.touch()
        return end_by(task, (3, "SIGKILL"))
    return task
