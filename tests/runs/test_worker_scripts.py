"""Scripts that hand work to processes: guards, imports, places, signals, and what is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from places import SUPPORT
from waiting import PATIENCE, members, wait_until

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
TESTS = str(SUPPORT)
GUARD = '`if __name__ == "__main__":`'


def start(folder: Path, *words: str, shell: str = "", **more: object) -> subprocess.Popen[str]:
    """Python in a session of its own, whose temporary files lie in a folder of their own."""
    (folder / "tmp").mkdir(exist_ok=True)
    path = os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHONPATH": path},
        start_new_session=True,
        **more,
    )


def run(folder: Path, *words: str, given: str | None = None, **more: object) -> tuple[int, str, str]:
    """Status, output and errors; nothing may be left behind."""
    with start(folder, *words, stdin=subprocess.PIPE, **more) as process:
        output, errors = process.communicate(given, timeout=PATIENCE)
        wait_until(lambda: not members(process.pid), "a process outlives the script")
    assert not list((folder / "tmp").iterdir())
    return process.returncode, output, errors


def written(folder: Path, text: str, name: str = "script.py") -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


# The script that workers import

OWN = """
from resnet_sde.runs.execute import execute

def work(task, shared):
    return task + len(shared)

"""
SUM = "print(sum(found for _, found in execute(range(4), {work}, bytes({size}), workers=2)))\n"
LIBRARY = "import os.path\nimport small_work\nfrom resnet_sde.runs.execute import execute\n"


@linux
@pytest.mark.parametrize(
    ("head", "work", "size"), [(OWN, "work", 10), (LIBRARY, "small_work.who", 10**6)], ids=["own", "library"]
)
def test_a_missing_guard_is_named(tmp_path: Path, head: str, work: str, size: int) -> None:
    script = written(tmp_path, head + SUM.format(work=work, size=size))
    status, output, errors = run(tmp_path, script)
    assert (status, output) == (1, "")
    assert GUARD in errors.splitlines()[-1]
    assert errors.count("Traceback") == 1, "of the parent alone"


STUDY = """
import torch, resnet_sde as rs
model = rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), width=8)
rs.study(lambda: model, torch.ones(1, 10_000, dtype=torch.float64), over={}, depth=3, samples=600,
         observe=[rs.observables.displacement], workers=2)
"""


@linux
def test_a_missing_guard_of_a_study_is_named(tmp_path: Path) -> None:
    status, _, errors = run(tmp_path, written(tmp_path, STUDY))
    assert status == 1
    assert GUARD in errors.splitlines()[-1]


@linux
@pytest.mark.parametrize(
    ("line", "cause", "size"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'", 10),
        ("raise ValueError('not here')", "ValueError: not here", 10**6),
    ],
)
def test_a_failed_import_is_named(tmp_path: Path, line: str, cause: str, size: int) -> None:
    guarded = 'if __name__ == "__main__":\n    ' + SUM.format(work="work", size=size)
    text = f'if __name__ != "__main__":\n    {line}\n' + OWN + guarded
    status, output, errors = run(tmp_path, written(tmp_path, text))
    assert (status, output) == (1, "")
    assert "a worker process could not import what it needs: " + cause in errors.splitlines()[-1]


@linux
def test_what_is_defined_under_the_guard_is_not_found(tmp_path: Path) -> None:
    body = (OWN + SUM.format(work="work", size=3)).replace("\n", "\n    ")
    status, _, errors = run(tmp_path, written(tmp_path, 'if __name__ == "__main__":\n    ' + body))
    assert status == 1
    assert "Can't get attribute 'work'" in errors.splitlines()[-1]
    assert "at the top level of a module" in errors.splitlines()[-1]


@linux
@pytest.mark.parametrize(
    "name", ["script.py", "a folder/script.py", "Übung β/skript α.py", "package/module.py"]
)
def test_places_of_a_script(tmp_path: Path, name: str) -> None:
    text = OWN + 'if __name__ == "__main__":\n    ' + SUM.format(work="work", size=100)
    script = written(tmp_path, text, name)
    words = ["-m", "package.module"] if name.startswith("package") else [script]
    assert run(tmp_path, *words) == (0, "406\n", "")


SESSIONS = {
    "-c": (["-c", "{text}"], None),
    "standard input": (["-"], "{text}"),
    "exec": (["-c", "import sys; exec(compile(sys.stdin.read(), '<cell>', 'exec'))"], "{text}"),
}


@linux
@pytest.mark.parametrize("how", SESSIONS)
@pytest.mark.parametrize("own", [False, True])
def test_sessions_without_a_file(tmp_path: Path, how: str, own: bool) -> None:
    """What a module defines is found; what the session defines cannot be, and that is a sentence."""
    words, given = SESSIONS[how]
    text = (OWN if own else LIBRARY) + SUM.format(work="work" if own else "small_work.who", size=10)
    given = None if given is None else given.format(text=text)
    status, _, errors = run(tmp_path, *(word.format(text=text) for word in words), given=given)
    assert status == int(own), errors
    if own:
        assert "Can't get attribute 'work'" in errors.splitlines()[-1]
    else:
        assert errors == ""


@linux
def test_many_words_on_the_command_line(tmp_path: Path) -> None:
    """More than a pipe holds: workers know them too."""
    text = LIBRARY + 'if __name__ == "__main__":\n    ' + SUM.format(work="small_work.square", size=0)
    script = written(tmp_path, text.replace("bytes(0)", "0"))
    assert run(tmp_path, script, *["word" * 1000] * 50) == (0, "14\n", "")


# Where it runs

DAEMON = """
import multiprocessing, small_work
from resnet_sde.runs.execute import execute

def inside(connection):
    connection.send(sorted(execute(range(4), small_work.square, 1, workers=2)))

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    here, there = context.Pipe()
    process = context.Process(target=inside, args=(there,), daemon=True)
    process.start()
    there.close()
    print(here.recv())
    process.join()
"""


@linux
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_work_within_a_daemonic_process(tmp_path: Path, method: str) -> None:
    script = written(tmp_path, DAEMON.format(method=method))
    assert run(tmp_path, script) == (0, "[(0, 1), (1, 2), (2, 5), (3, 10)]\n", "")


METHOD = """
import multiprocessing, small_work
from resnet_sde.runs.execute import execute
from resnet_sde.runs.progress import progress_bar

if __name__ == "__main__":
    with progress_bar(total=4), progress_bar(shown=False):
        list(execute(range(4), small_work.square, 1, workers=2))
    print(multiprocessing.get_start_method(allow_none=True))
    multiprocessing.set_start_method("spawn")
    print(sorted(execute(range(3), small_work.square, 1, workers=2)))
"""


@linux
def test_the_start_method_is_left_to_the_caller(tmp_path: Path) -> None:
    assert run(tmp_path, written(tmp_path, METHOD)) == (0, "None\n[(0, 1), (1, 2), (2, 5)]\n", "")


FILE = """
import small_work
from resnet_sde.runs.execute import execute

if __name__ == "__main__":
    found = sorted(execute(range(4), small_work.square, 1, workers=2))
    open("found", "w").write(str(found))
"""


@linux
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(tmp_path: Path, closed: str) -> None:
    assert run(tmp_path, written(tmp_path, FILE), shell=closed) == (0, "", "")
    assert (tmp_path / "found").read_text() == "[(0, 1), (1, 2), (2, 5), (3, 10)]"


TELL = """
import os
from resnet_sde.runs.execute import execute

def tell(task, shared):
    print("told", flush=True)
    return task

if __name__ == "__main__":
    print(sorted(execute(range(4), tell, None, workers=2)), flush=True)
"""


@linux
def test_what_work_prints_is_printed(tmp_path: Path) -> None:
    status, output, errors = run(tmp_path, written(tmp_path, TELL))
    assert (status, errors) == (0, "")
    assert output.count("told") == 4  # in lines, or one in the other
    assert output.endswith(f"{[(n, n) for n in range(4)]}\n")


@linux
def test_a_reader_that_has_gone(tmp_path: Path) -> None:
    """As a print in this process would, it raises an error."""
    with start(tmp_path, written(tmp_path, TELL)) as process:
        process.stdout.close()
        assert "BrokenPipeError" in process.stderr.read().splitlines()[-1]
        assert process.wait(PATIENCE) == 1
        wait_until(lambda: not members(process.pid), "a process is left behind")


# Signals

STARTING = """
import pathlib, time
from resnet_sde.runs.execute import execute

if __name__ != "__main__":
    pathlib.Path("1").touch()
    time.sleep(1e6)

def work(task, shared):
    return task

if __name__ == "__main__":
    list(execute(range(4), work, None, workers=2))
"""
WORKING = """
import small_work
from resnet_sde.runs.execute import execute

if __name__ == "__main__":
    list(execute([1, 2], small_work.linger, ".", workers=2))
"""
CONSUMING = """
import pathlib, small_work, time
from resnet_sde.runs.execute import execute

if __name__ == "__main__":
    for task, _ in execute([0, 1, 2], small_work.linger, ".", workers=2):
        time.sleep(1e6)
"""
FORKED = CONSUMING.replace(
    "        time.sleep",
    "        __import__('os').fork() and pathlib.Path('copy').touch()\n        time.sleep",
)


@linux
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("text", [STARTING, WORKING, CONSUMING], ids=["starting", "working", "consuming"])
def test_an_interrupt_is_one_of_the_parent(tmp_path: Path, text: str, times: int) -> None:
    with start(tmp_path, written(tmp_path, text)) as process:
        wait_until((tmp_path / "1").exists, "no worker is at work")
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        output, errors = process.communicate(timeout=PATIENCE)
        wait_until(lambda: not members(process.pid), "a process is left behind")
    assert process.returncode == -signal.SIGINT
    assert output == ""
    assert errors.splitlines()[-1].startswith("KeyboardInterrupt")
    assert errors.count("Traceback") <= times, "of the parent alone"
    assert not list((tmp_path / "tmp").iterdir())


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("text", [STARTING, WORKING, CONSUMING], ids=["starting", "working", "consuming"])
def test_workers_end_with_their_parent(tmp_path: Path, text: str, number: signal.Signals) -> None:
    with start(tmp_path, written(tmp_path, text)) as process:
        wait_until((tmp_path / "1").exists, "no worker is at work")
        process.send_signal(number)  # to the parent alone
        wait_until(lambda: not members(process.pid), "a worker outlives its parent")
        assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == -number
    assert not list((tmp_path / "tmp").iterdir())


@linux
def test_workers_end_with_a_parent_that_left_a_copy(tmp_path: Path) -> None:
    """A process that was forked holds the parent's end of the sockets open."""
    with start(tmp_path, written(tmp_path, FORKED)) as process:
        wait_until((tmp_path / "2").exists, "no worker is at work")
        wait_until((tmp_path / "copy").exists, "there is no copy")
        process.kill()
        wait_until(lambda: len(members(process.pid)) == 1, "a worker outlives its parent")
        (copy,) = members(process.pid)
        os.kill(copy, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)


GRANDCHILD = """
import os, signal, time
from resnet_sde.runs.execute import execute

def work(task, shared):
    child = os.fork()
    if not child:
        time.sleep(1e6)
    open("child", "a").write(f"{child} ")
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    list(execute([1, 2], work, None, workers=2))
"""


@linux
def test_a_killed_worker_that_left_a_copy_is_noticed(tmp_path: Path) -> None:
    with start(tmp_path, written(tmp_path, GRANDCHILD)) as process:
        assert process.wait(PATIENCE) == 1
        for child in members(process.pid):
            os.kill(child, signal.SIGKILL)
        assert "was killed (SIGKILL)" in process.stderr.read()
