"""Local processes that work for this one, and end with it.

They are started for one piece of work. `concurrent.futures.ProcessPoolExecutor` would do, but for its pipes,
which all of its processes share: one that is killed while it starts, or while it sends, leaves the others and
the parent waiting for ever. Here each has a socket of its own, whose end tells of its end, and what all of
them need lies in a file without a name.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Pipe, wait
from multiprocessing.spawn import get_executable
from typing import Any, TypeVar

from resnet_sde.runs.agreement import InWorker, Packing, settings_of, unpacked_error
from resnet_sde.runs.interrupts import held_back
from resnet_sde.runs.worker import CHANGED, DONE, NO_MORE, UNGUARDED, UNPREPARED

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_PATIENCE = 10.0  # seconds that a process may take to end when it has nothing left to do
_GRACE = 0.7  # and work that nobody waits for any more, to put things in order
_LOOK = 1.0  # seconds between two looks whether all processes are there
_START = (
    "import mmap,os,pickle,sys; handle=int(sys.argv[1]); "
    "content=mmap.mmap(handle,0,access=mmap.ACCESS_READ); os.close(handle); "
    "preparation=pickle.load(content); sys.path[:]=preparation['sys_path']; "
    "from resnet_sde.runs.worker import main; main(preparation,content)"
)
_FLAGS: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
_GUARD = (
    "a worker process ran this script from its beginning when it imported it; put what the script does under "
    '`if __name__ == "__main__":`, or give workers=1'
)
_CHANGED = (
    "is not the same in a worker process as in this one: since it was imported, its file was edited or a "
    "value that it reads was changed; start again, or give workers=1"
)


def in_processes(
    tasks: Sequence[_Task], work: Callable[[_Task, Any], _Result], shared: object, workers: int
) -> Generator[tuple[_Task, _Result]]:
    """Every task with what `work` makes of it, as they are finished; see `execute`."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(_GUARD)  # this is a worker, which imports a script
    processes: list[_Process] = []
    packing = Packing()
    try:
        with _content(_packed(packing, (work, shared))) as content:
            for _ in range(workers):
                with held_back():
                    processes.append(_Process(content))
        packed = ((task, b"".join(_packed(packing, task))) for task in tasks)
        yield from _finished(processes, packed)
        _wait(processes, _PATIENCE)  # they end by themselves, and leave nothing behind
    finally:
        with held_back():
            for process in processes:
                process.connection.close()
            _wait(processes, 2 * _GRACE)
            for process in processes:
                process.end()


def _finished(
    processes: Sequence[_Process], waiting: Iterator[tuple[_Task, bytes]]
) -> Iterator[tuple[_Task, Any]]:
    """Hand out all tasks, each with itself pickled, one at a time to each process."""
    working: dict[_Process, _Task] = {}
    for process in processes:
        _hand_out(process, waiting, working)
    while working:
        finished: list[tuple[_Task, Any]] = []
        failures: list[BaseException] = []
        for process in _answering(working):
            task, (result, failure) = working.pop(process), process.answer()
            if failure is not None:
                failures.append(failure)
                continue
            finished.append((task, result))
            try:
                _hand_out(process, waiting, working)
            except ValueError as error:
                failures.append(error)
        yield from finished  # before anything is raised: what is finished can be kept
        if failures:
            raise failures[0]


def _hand_out(
    process: _Process, waiting: Iterator[tuple[_Task, bytes]], working: dict[_Process, _Task]
) -> None:
    """Give a process its next task; one that has nothing left to do ends."""
    for task, packed in waiting:
        process.send(packed)
        working[process] = task
        return
    process.send(NO_MORE)


def _answering(working: Mapping[_Process, object]) -> list[_Process]:
    """Processes that have an answer, or have ended."""
    while True:
        ready = wait([process.connection for process in working], timeout=_LOOK)
        found = [process for process in working if process.connection in ready or process.ended]
        if found:
            return found


def _wait(processes: Sequence[_Process], seconds: float) -> None:
    """Wait until they have ended, at most so long."""
    end = time.monotonic() + seconds
    for process in processes:
        try:
            process.popen.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return


class _Process:
    """A local process that works, and the socket to it."""

    def __init__(self, content: int) -> None:
        try:
            self.connection, theirs = Pipe()
            with theirs:
                self.popen = subprocess.Popen(
                    [get_executable(), *_FLAGS, "-c", _START, str(content)],
                    stdin=theirs.fileno(),
                    pass_fds=(content,),
                )
        except OSError as error:
            raise RuntimeError(
                f"a worker process could not be started: {error.strerror}; give fewer workers"
            ) from error

    @property
    def ended(self) -> bool:
        """Whether it has ended and has not left an answer."""
        return self.popen.poll() is not None and not self.connection.poll()

    def send(self, message: bytes) -> None:
        """Send a task, or NO_MORE. If the process has ended, `answer` says so."""
        try:
            self.connection.send_bytes(message)
        except OSError:
            pass

    def answer(self) -> tuple[Any, BaseException | None]:
        """The result of its task, or what went wrong."""
        try:
            if self.ended:
                raise EOFError
            message = self.connection.recv_bytes()
        except (EOFError, OSError):
            return None, RuntimeError(self._cause())
        try:
            kind, value = pickle.loads(message)
        except Exception as error:  # pickle raises whatever the object raises
            return None, RuntimeError(f"what a worker process sent cannot be read here: {error}")
        if kind == DONE:
            return value, None
        if kind == UNGUARDED:
            return None, RuntimeError(_GUARD)
        if kind == CHANGED:
            return None, RuntimeError(f"{value} {_CHANGED}")
        if kind == UNPREPARED:
            last = value.strip().rpartition("\n")[2]
            unprepared = RuntimeError(
                f"a worker process could not import what it needs: {last}; define what it works with at the "
                "top level of a module that it can import, or give workers=1"
            )
            unprepared.__cause__ = InWorker(value)
            return None, unprepared
        return None, unpacked_error(value)

    def end(self) -> None:
        """End it now."""
        self.popen.kill()
        self.popen.wait()

    def _cause(self) -> str:
        """Why it ended, from its exit status."""
        try:
            status = self.popen.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return "a worker process closed its connection; what it works with must leave open files alone"
        if status == -signal.SIGKILL:
            return "a worker process was killed (SIGKILL), for lack of memory perhaps; give fewer workers"
        if status < 0:
            return f"a worker process was ended by a signal ({_name(-status)}); workers=1 may show where"
        return (
            f"a worker process left with status {status} before its work was done; what it wrote on standard "
            "error may say why, as may workers=1"
        )


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _content(packed: Sequence[bytes]) -> Iterator[int]:
    """A file without a name, which holds what a process needs to start; its handle is no standard one."""
    with tempfile.TemporaryFile() as file:
        file.write(pickle.dumps(_preparation()))
        file.writelines(packed)
        file.flush()
        handle = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)
    try:
        yield handle
    finally:
        os.close(handle)


def _preparation() -> dict[str, Any]:
    """What `worker.main` is told. The way of `multiprocessing` to find this would fix its start method."""
    found: dict[str, Any] = {"sys_path": list(sys.path), "sys_argv": list(sys.argv), "parent": os.getpid()}
    found["grace"] = _GRACE
    if "torch" in sys.modules:
        found["torch"] = settings_of(sys.modules["torch"])
    method = multiprocessing.get_start_method(allow_none=True)
    if method is not None:
        found["start_method"] = method
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        found["init_main_from_name"] = spec.name
    elif file is not None and os.path.isfile(file):
        found["init_main_from_path"] = os.path.abspath(file)
    return found


def _packed(packing: Packing, thing: object) -> Sequence[bytes]:
    try:
        return packing.pack(thing)
    except Exception as error:  # pickle raises whatever the object raises
        raise ValueError(
            f"this work cannot be sent to a worker process: {error}; define what it uses at the top "
            "level of a module, or give workers=1"
        ) from error
