"""`runs.interrupts`: Ctrl-C is one line and status 130, whatever a program is doing."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT
from waiting import PATIENCE, members, wait_until

from resnet_sde.runs import interrupts

KEPT = "; what was finished under --out is kept"

# Runs a program as `python -m` does, and interrupts it when it imports a module.
AT_IMPORT = """
import os, runpy, signal, sys
module, program = sys.argv[1:3]
sys.argv[:3] = [program]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
runpy.run_module(program, run_name="__main__", alter_sys=True)
"""
STUDY = ("resnet_sde", "study", "--input", "digits:0", "--depth", "2", "--width", "2", "--samples", "2")


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def answered(process: subprocess.Popen[str], line: str) -> None:
    """The program says this line alone, and leaves with status 130 and no process behind."""
    with process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output, errors) == (130, "", line + "\n")
    if Path("/proc/self/stat").exists():
        wait_until(lambda: not members(process.pid), "a process is left behind")


@pytest.mark.parametrize(
    ("module", "words", "line"),
    [
        ("click", STUDY, f"resnet-sde: interrupted{KEPT}"),
        ("resnet_sde.cli.study", STUDY, f"resnet-sde: interrupted{KEPT}"),
        ("torch._C", STUDY, f"resnet-sde: interrupted{KEPT}"),
        ("torch.nn.modules", STUDY, f"resnet-sde: interrupted{KEPT}"),
        ("xarray", STUDY, f"resnet-sde: interrupted{KEPT}"),
        ("torch", ("paper_figs", "marion/fig1"), f"paper_figs: interrupted{KEPT}"),
        ("torch", ("experiments", "all"), f"experiments: interrupted{KEPT}"),
        ("torch", ("benchmarks",), "benchmarks: interrupted"),
    ],
)
def test_an_interrupt_while_a_program_imports(module: str, words: tuple[str, ...], line: str) -> None:
    answered(start("-c", AT_IMPORT, module, *words), line)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "words",
    [
        ("paper_figs", "marion/fig1", "yang/alpha", "--budget", "smoke"),
        pytest.param(("experiments", "marion/accuracy_plane", "--budget", "smoke"), marks=pytest.mark.full),
    ],
    ids=["paper_figs", "experiments"],
)
def test_an_interrupt_while_workers_start(tmp_path: Path, words: tuple[str, ...]) -> None:
    """That of a study is in test_study_store.py."""
    process = start("-m", *words, "--workers", "2", "--out", str(tmp_path))
    wait_until(lambda: len(members(process.pid)) >= 2, "no worker was started")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    answered(process, f"{words[0]}: interrupted{KEPT}")


TWICE = """
import os, signal, sys, threading, types
from resnet_sde.runs import interrupts

def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait()
    finally:
        print("in order", file=sys.stderr, flush=True)
        for _ in range({times}):
            os.kill(os.getpid(), signal.SIGINT)

sys.modules["toy"] = types.SimpleNamespace(main=main)
interrupts.run("toy", "toy", keeps=False)
"""


@pytest.mark.parametrize("times", [0, 1, 2])
def test_further_interrupts(times: int) -> None:
    """The first one unwinds what is under way; another one does not wait for that."""
    answered(start("-c", TWICE.format(times=times)), "in order\ntoy: interrupted")


AT_THE_END = """
import atexit, os, signal
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
"""


def test_an_interrupt_at_the_end() -> None:
    answered(start("-c", AT_THE_END + TWICE.format(times=0)), "in order\ntoy: interrupted")


def test_a_program_leaves_with_the_status_of_its_main() -> None:
    text = TWICE[: TWICE.index("    try")] + "    return 3\n" + TWICE[TWICE.index("\nsys.modules") :]
    with start("-c", text) as process:
        assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 3


def test_without_a_program_the_handler_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as left:
        interrupts.leave("toy")
    assert left.value.code == 130
    assert capsys.readouterr().err == f"toy: interrupted{KEPT}\n"
    assert signal.getsignal(signal.SIGINT) is before


# Held back


@pytest.fixture(autouse=True)
def nothing_changed() -> Iterator[None]:
    state = signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    assert state == (signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ()))


class Interrupts:
    """Come to this thread, or to another one: for those of a process the system chooses, and when is open."""

    def __init__(self, by_another_thread: bool) -> None:
        self.wanted = threading.Event()
        self.thread = threading.Thread(target=self.raise_one)
        if by_another_thread:
            self.thread.start()  # before any are held back: its own are not

    def raise_one(self) -> None:
        self.wanted.wait()
        signal.raise_signal(signal.SIGINT)

    def come(self) -> None:
        self.wanted.set()
        if self.thread.is_alive():
            self.thread.join()
        else:
            self.raise_one()


def hold_back(done: list[str], interrupt: Interrupts | None, error: Exception | None) -> None:
    with interrupts.held_back():
        if interrupt is not None:
            interrupt.come()
        done.append("went on")
        if error is not None:
            raise error


@pytest.mark.parametrize("by_another_thread", [False, True])
def test_an_interrupt_is_held_back(by_another_thread: bool) -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        hold_back(done, Interrupts(by_another_thread), None)
    assert done == ["went on"]


def test_an_error_in_the_meantime_is_kept() -> None:
    with pytest.raises(ValueError, match="own"):
        hold_back([], None, ValueError("own"))
    with pytest.raises(KeyboardInterrupt) as error:
        hold_back([], Interrupts(True), ValueError("own"))
    assert isinstance(error.value.__context__, ValueError)


def test_an_interrupt_before_it_leaves_nothing_behind() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # another thread would take that of a process
    with pytest.raises(KeyboardInterrupt):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with interrupts.held_back():
        pass


def test_processes_started_meanwhile_get_none() -> None:
    with interrupts.held_back():
        child = start("-c", "import signal; print(signal.SIGINT in signal.pthread_sigmask(0, ()))")
    with child:
        assert child.communicate(timeout=PATIENCE) == ("True\n", "")


def test_other_threads_hold_nothing_back() -> None:
    states = []

    def hold() -> None:
        with interrupts.held_back():
            states.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert states == [signal.getsignal(signal.SIGINT)]
