"""The other end of `processes`: what is handed work through a socket, and ends when that is closed."""

from __future__ import annotations

import atexit
import fcntl
import io
import mmap
import multiprocessing.spawn
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import FrameType
from typing import Any, NoReturn

from resnet_sde.runs.agreement import Changed, Packing, packed_error, set_as_there, text_of

NO_MORE = b""  # the last message to a worker
_LOOK = 1.0  # seconds between two looks whether the parent is there

# What a worker answers: (DONE, result), or a reason, with the error packed, its text, or a name.
DONE, FAILED, UNGUARDED, UNPREPARED, CHANGED = "done", "failed", "unguarded", "unprepared", "changed"


def main(preparation: Mapping[str, Any], content: mmap.mmap) -> None:
    """What a worker does.

    Args:
        preparation: what `multiprocessing.spawn.prepare` takes; "parent", the id of that process; "grace",
            the seconds that work which nobody waits for any more may take to put things in order; "torch",
            the default dtype there and the precision of its products in float32.
        content: holds the work and what its tasks share, pickled.
    """
    connection = _standard_input()
    state = _State()
    signal.signal(signal.SIGINT, state.interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_receive, args=(connection, state, preparation), daemon=True).start()
    try:
        _serve(connection, state, preparation, content)
    except BaseException:
        if not state.abandoned:
            raise
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # nobody may be reading it
            stream.flush()
    os._exit(0)  # taking all modules apart would take longer than to import them


class _State:
    """What both threads know: `_receive` fills it, the main thread works."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[bytes] = SimpleQueue()
        self.working = False
        self.abandoned = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Interrupts from the keyboard are the parent's, which abandons its workers if it wants to."""
        if self.abandoned:
            raise KeyboardInterrupt


def _standard_input() -> Connection:
    """The socket that came as standard input, which is empty from now on."""
    connection = Connection(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3))
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.register_at_fork(after_in_child=connection.close)  # the parent must see this process end
    return connection


def _receive(connection: Connection, state: _State, preparation: Mapping[str, Any]) -> NoReturn:
    """Take in tasks until the parent closes its end, or is no more; then interrupt what is under way."""
    try:
        while os.getppid() == preparation["parent"]:
            if connection.poll(_LOOK):
                state.tasks.put(connection.recv_bytes())
    except (EOFError, OSError):
        pass
    if not state.working:
        os._exit(1)
    state.abandoned = True
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # how it ends interests nobody
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(preparation["grace"])
    os._exit(1)


def _serve(connection: Connection, state: _State, preparation: Mapping[str, Any], content: mmap.mmap) -> None:
    packing = Packing()
    try:
        work, shared = _load(preparation, content, packing)
    except Changed as error:
        _tell(connection, pickle.dumps((CHANGED, str(error))))
        return
    except SystemExit:
        _tell(connection, pickle.dumps((UNGUARDED, None)))
        return
    except Exception as error:
        _tell(connection, pickle.dumps((UNPREPARED, text_of(error))))
        return
    while task := state.tasks.get():
        state.working = True
        if "torch" in sys.modules:  # work that needs it has imported it by now
            set_as_there(sys.modules["torch"], preparation.get("torch"))
        _tell(connection, _answer(work, task, shared, packing, state))
        state.working = False


def _tell(connection: Connection, answer: bytes) -> None:
    try:
        connection.send_bytes(answer)
    except OSError:  # nobody is there to hear it
        os._exit(1)


def _load(
    preparation: Mapping[str, Any], content: mmap.mmap, packing: Packing
) -> tuple[Callable[[Any, Any], Any], Any]:
    """The work and what its tasks share. The script of the parent is imported first, as is usual."""
    process = multiprocessing.current_process()
    process._inheriting = True  # type: ignore[attr-defined]  # no processes are started by an import
    try:
        multiprocessing.spawn.prepare({**preparation})
    finally:
        del process._inheriting  # type: ignore[attr-defined]
    work, shared = packing.unpack(content)
    content.close()
    return work, shared


def _answer(
    work: Callable[[Any, Any], Any], task: bytes, shared: Any, packing: Packing, state: _State
) -> bytes:
    """What work makes of a task, pickled."""
    try:
        result = work(packing.unpack(io.BytesIO(task)), shared)
        try:
            return pickle.dumps((DONE, result), protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # pickle raises whatever the object raises
            raise ValueError(
                f"a result cannot be sent back by a worker process: {error}; give workers=1"
            ) from error
    except Changed as error:
        return pickle.dumps((CHANGED, str(error)))
    except BaseException as error:
        if state.abandoned:
            raise
        return pickle.dumps((FAILED, packed_error(error)))
