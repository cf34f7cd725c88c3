"""Interrupts from the keyboard: kept back for a moment, or answered by a program at any moment.

Nothing heavy is imported here: a program calls `run` before anything else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
_IMPORTS = "<frozen importlib._bootstrap>"  # where Python's own import system runs


def run(module: str, program: str, *, keeps: bool = True) -> NoReturn:
    """Import a module and leave with the status of its `main`; an interrupt is one line and status 130.

    Args:
        module: full name; it may take seconds to import.
        program: its name in that line.
        keeps: whether it has an option --out, whose folder keeps what is finished.
    """
    signal.signal(signal.SIGINT, _Answer(_sentence(program, keeps)))
    try:
        status = import_module(module).main()
    except KeyboardInterrupt:
        leave(program, keeps=keeps)
    sys.exit(status)


def leave(program: str, *, keeps: bool = True) -> NoReturn:
    """Answer an interrupt; once `run` has been called, further ones are ignored."""
    if isinstance(signal.getsignal(signal.SIGINT), _Answer):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(_sentence(program, keeps), file=sys.stderr, flush=True)
    sys.exit(INTERRUPTED)


def _sentence(program: str, keeps: bool) -> str:
    return f"{program}: interrupted{'; what was finished under --out is kept' if keeps else ''}"


class _Answer:
    """Raises KeyboardInterrupt, except where that may be lost or turned into another error.

    Imports and the start of compiled modules are no places for exceptions out of nowhere, and have nothing
    that needs to be put in order: the program ends there and then. So it does on a second interrupt.
    """

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._seen = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._seen and not _importing(frame):
            self._seen = True
            raise KeyboardInterrupt
        try:
            sys.stdout.flush()
        except Exception:  # it may be closed, or be in the middle of writing
            pass
        os.write(2, f"{self._sentence}\n".encode())
        os._exit(INTERRUPTED)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False


@contextmanager
def held_back() -> Iterator[None]:
    """Keep interrupts back meanwhile; processes started inside never get any, unless they ask for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with _recorded():  # another thread may take the signal, and then it is this one that is interrupted
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _recorded() -> Iterator[None]:
    """Interrupts are answered afterwards. Only the main thread answers any."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    seen: list[int] = []
    try:
        signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if seen:
            signal.raise_signal(signal.SIGINT)
