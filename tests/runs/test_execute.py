"""`runs.execute`: the same results by any way of working, and no way to end that is not a sentence."""

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import small_work
import torch
from waiting import PATIENCE, alive, wait_until

from resnet_sde.runs import processes
from resnet_sde.runs.execute import execute

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


class Recorded(processes._Process):
    """Remembers what was started."""

    started: list["Recorded"]

    def __init__(self, content: int) -> None:
        super().__init__(content)
        self.started.append(self)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Recorded]]:
    """The processes of a test, all of which have ended when it is over."""
    Recorded.started = []
    monkeypatch.setattr(processes, "_Process", Recorded)
    yield Recorded.started
    assert all(process.popen.returncode is not None for process in Recorded.started)
    assert all(process.connection.closed for process in Recorded.started)


class Reversed(Executor):
    """Works one after the other, from the last to the first, and sends everything through pickle."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future, bytes]] = []

    def submit(self, *what: object) -> Future:
        self.waiting.insert(0, (Future(), pickle.dumps(what)))
        if len(self.waiting) == len(TASKS):
            threading.Thread(target=self.work).start()
        return self.waiting[0][0]

    def work(self) -> None:
        for future, what in self.waiting:
            function, *arguments = pickle.loads(what)
            future.set_result(function(*arguments))


TASKS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.mark.parametrize("workers", [1, 2, 3, 20])
def test_results_do_not_depend_on_the_number_of_processes(workers: int, started: list[Recorded]) -> None:
    found = list(execute(TASKS, small_work.square, 7, workers=workers))
    assert sorted(found) == sorted((task, task**2 + 7) for task in TASKS)
    assert len(started) == (0 if workers == 1 else min(workers, len(TASKS)))
    assert all(process.popen.returncode == 0 for process in started), "they end by themselves"


def test_results_do_not_depend_on_the_executor(started: list[Recorded]) -> None:
    right = sorted((task, task**2 + 7) for task in TASKS)
    assert sorted(execute(TASKS, small_work.square, 7, executor=Reversed())) == right
    with ThreadPoolExecutor(2) as pool:
        assert sorted(execute(TASKS, small_work.square, 7, workers=5, executor=pool)) == right
        assert pool.submit(int).result() == 0, "it is not shut down"
    assert not started


def test_a_single_task_or_none_needs_no_process(started: list[Recorded]) -> None:
    assert list(execute([5], small_work.who, None, workers=8)) == [(5, os.getpid())]
    assert list(execute([], small_work.who, None, workers=8)) == []
    assert not started


def test_work_is_done_elsewhere() -> None:
    found = dict(execute([1, 2], small_work.who, None, workers=2))
    assert len({os.getpid(), *found.values()}) == 3


def test_what_torch_is_told_is_told_there_too() -> None:
    """A default dtype of float64, that of these tests, which an observable may compute with."""
    torch.set_float32_matmul_precision("medium")
    try:
        found = dict(execute([1, 2], small_work.of_torch, torch.ones(1), workers=2))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(found.values()) == {("torch.float64", "medium")}


# How a process may end


ENDS = {
    "SIGKILL": r"a worker process was killed \(SIGKILL\), for lack of memory perhaps; give fewer workers",
    "SIGSEGV": r"a worker process was ended by a signal \(SIGSEGV\)",
    "SIGABRT": r"a worker process was ended by a signal \(SIGABRT\)",
    "SIGTERM": r"a worker process was ended by a signal \(SIGTERM\)",
    "3": "a worker process left with status 3 before its work was done",
    "0": "a worker process left with status 0 before its work was done",
}


@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_ends_early_is_a_sentence(how: str) -> None:
    found = []
    with pytest.raises(RuntimeError, match=ENDS[how]):
        found.extend(execute(range(6), small_work.end_by, (4, how), workers=2))


@pytest.mark.parametrize("how", ENDS)
def test_a_process_that_ends_while_it_starts_is_a_sentence(how: str) -> None:
    """Whether it has been sent its task or not, and however large that is."""
    shared = (small_work.LeavesWhenRead(how), bytes(10**7))
    with pytest.raises(RuntimeError, match=ENDS[how]):
        list(execute([bytes(10**7)] * 3, small_work.who, shared, workers=2))


def test_a_process_killed_before_it_does_anything(
    monkeypatch: pytest.MonkeyPatch, started: list[Recorded]
) -> None:
    """Its parent is about to send it more than a socket holds."""
    monkeypatch.setattr(processes, "_START", "import time; time.sleep(1e6)")
    results = execute([bytes(10**7)] * 3, small_work.who, None, workers=2)
    killers = []

    def kill_what_starts() -> None:
        for number in range(2):
            wait_until(lambda number=number: len(started) > number, "no process was started")
            started[number].popen.send_signal(signal.SIGKILL)

    killers.append(threading.Thread(target=kill_what_starts))
    killers[0].start()
    with pytest.raises(RuntimeError, match="was killed"):
        next(results)
    killers[0].join(PATIENCE)


@linux
def test_a_process_killed_while_it_sends_a_large_result(started: list[Recorded], tmp_path: Path) -> None:
    """Which is in the socket in part; nobody else can be waiting for the rest."""
    now = tmp_path / "now"
    with closing(execute([0, 10**8, 0, 0], small_work.zeros_when_told, now, workers=2)) as results:
        assert next(results) == (0, b"")
        now.touch()
        sender = started[1]
        wait_until(sender.connection.poll, "it does not send")
        sender.popen.send_signal(signal.SIGKILL)
        with pytest.raises(RuntimeError, match="was killed"):
            list(results)


def test_large_tasks_and_results() -> None:
    sizes = [10**8, 3 * 10**7, 5]
    found = list(execute(sizes, small_work.zeros, None, workers=2))
    assert sorted((task, len(result)) for task, result in found) == sorted((n, n) for n in sizes)


@linux
def test_what_is_finished_comes_before_the_error(started: list[Recorded], tmp_path: Path) -> None:
    results = execute(range(3), small_work.end_when_told, tmp_path / "now", workers=2)
    assert next(results) == (0, 0)  # so the third task is under way, or finished
    with closing(results):
        wait_until(started[0].connection.poll, "the third task is not finished")
        (tmp_path / "now").touch()
        wait_until(lambda: started[1].popen.poll() is not None, "the process is not killed")
        assert next(results) == (2, 2)
        with pytest.raises(RuntimeError, match="was killed"):
            next(results)


# Errors


@pytest.mark.parametrize("error", [ValueError("too wide"), KeyError("x"), SystemExit(4), KeyboardInterrupt()])
def test_errors_are_those_of_the_work(error: BaseException) -> None:
    with pytest.raises(type(error)) as here:
        list(execute(range(4), small_work.raise_error, error, workers=1))
    with pytest.raises(type(error)) as there:
        list(execute(range(4), small_work.raise_error, error, workers=2))
    assert there.value.args == here.value.args
    assert "in raise_error" in str(there.value.__cause__), "where it was raised"


@pytest.mark.parametrize(
    ("work", "kind", "sentence"),
    [
        (small_work.raise_picky, RuntimeError, "Picky: 3 words"),
        (small_work.raise_unpicklable, RuntimeError, "ValueError: in use"),
        (small_work.lock, ValueError, "a result cannot be sent back by a worker process: .*workers=1"),
        (lambda task, shared: task, ValueError, "this work cannot be sent to a worker process: .*workers=1"),
    ],
)
def test_what_cannot_be_pickled_is_a_sentence(work: object, kind: type, sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        list(execute(range(4), work, None, workers=2))


@pytest.mark.parametrize("position", [0, 3])
def test_a_task_that_cannot_be_pickled_is_a_sentence(position: int) -> None:
    tasks: list[object] = [1, 2, 3, 4]
    tasks[position] = threading.Lock()
    with pytest.raises(ValueError, match="cannot be sent to a worker process"):
        list(execute(tasks, small_work.who, None, workers=2))


# Giving up


@linux
@pytest.mark.parametrize("how", ["close", "error", "forget"])
def test_what_nobody_waits_for_is_given_up_in_order(
    tmp_path: Path, started: list[Recorded], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(processes, "_GRACE", PATIENCE)
    results = execute([0, 1, 2], small_work.linger, str(tmp_path), workers=2)
    assert next(results) == (0, 0)
    wait_until(lambda: {f.name for f in tmp_path.iterdir()} >= {"1", "2"}, "they are not at work")
    if how == "close":
        results.close()
    elif how == "error":
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt())
    del results
    assert {f.name for f in tmp_path.iterdir()} == {"1", "2", "1 in order", "2 in order"}
    assert not any(alive(process.popen.pid) for process in started)


def test_work_in_a_thread() -> None:
    found: list[object] = []
    thread = threading.Thread(
        target=lambda: found.extend(execute(TASKS, small_work.square, 0, workers=2)),
    )
    thread.start()
    thread.join(PATIENCE)
    assert sorted(found) == sorted((task, task**2) for task in TASKS)


def test_work_within_work() -> None:
    found = dict(execute([10, 20], small_work.nested, 1, workers=2))
    assert found == {10: [101, 122], 20: [401, 442]}


class Waiting(Executor):
    """Works never, and takes only so many tasks."""

    def __init__(self, most: int) -> None:
        self.most, self.futures = most, list[Future]()

    def submit(self, *what: object) -> Future:
        if len(self.futures) == self.most:
            raise RuntimeError("no more")
        self.futures.append(Future())
        return self.futures[-1]


def test_tasks_that_an_executor_has_are_given_up_when_it_takes_no_more() -> None:
    executor = Waiting(3)
    with pytest.raises(RuntimeError, match="no more"):
        list(execute(TASKS, small_work.square, 0, executor=executor))
    assert [future.cancelled() for future in executor.futures] == [True] * 3


def test_an_executor_that_is_shut_down_is_a_sentence() -> None:
    with ThreadPoolExecutor(1) as threads:
        results = execute([0.0, 1.0, 1.0], small_work.sleep, None, executor=threads)
        assert next(results) == (0.0, 0.0)
        threads.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(RuntimeError, match="the executor gave this work up"):
            list(results)


def test_no_more_processes_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(processes.subprocess, "Popen", refused)
    with pytest.raises(RuntimeError, match=r"could not be started: Resource .*; give fewer workers"):
        list(execute([1, 2], small_work.who, None, workers=2))
