"""A share of the injections of `faults.py`, and planted errors, which they must find."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faults import code, keep, known
from injected_errors import PLANTED
from injected_faults import CHEAP, DEAR, OF_FIGURES, SCHEDULE, Injection
from places import ROOT, SUPPORT
from waiting import PATIENCE

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
COMMAND = SUPPORT / "faults.py"
SHARE = len(CHEAP)  # the first injections are one of each fault


def inject(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(COMMAND), str(folder), *words],
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        cwd=ROOT,
        check=False,
    )


def kept(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "injections.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


@pytest.fixture(scope="module")
def injected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One fault of each kind, then every planted error; the folder, and what was said."""
    folder = tmp_path_factory.mktemp("faults")
    answer = inject(folder, "--injections", str(SHARE), "--planted")
    assert answer.returncode in (0, 1), answer.stderr
    return folder, answer.stdout


def test_each_fault_is_injected_and_nothing_is_wrong_afterwards(injected: tuple[Path, str]) -> None:
    folder, _ = injected
    lines = kept(folder)
    assert [line["fault"] for line in lines] == list(CHEAP)
    assert not [line for line in lines if line["wrong"]]
    assert sum(line["reached"] for line in lines) > SHARE / 2  # a signal at a time may come too late


@pytest.mark.parametrize("error", list(PLANTED), ids=list(PLANTED))
def test_a_planted_error_is_found(error: str, injected: tuple[Path, str]) -> None:
    (line,) = [line for line in injected[1].splitlines() if line.startswith(f"planted: {error}: ")]
    assert "NOT FOUND" not in line


def test_what_is_there_is_not_injected_again(injected: tuple[Path, str], tmp_path: Path) -> None:
    lines = kept(injected[0])
    (digest,) = {line["code"] for line in lines}
    assert digest == code()
    shutil.copy(injected[0] / "injections.jsonl", tmp_path)
    with (tmp_path / "injections.jsonl").open("a") as file:
        file.write('{"number": 7, "pro')  # as a killed run leaves it
    assert list(known(tmp_path, digest)) == list(range(SHARE))
    keep(tmp_path, Injection(SHARE, "study", "kill -9"), digest)
    assert list(known(tmp_path, digest)) == list(range(SHARE + 1))
    assert not known(tmp_path, "other code")


def test_the_schedule_has_every_fault_of_every_program() -> None:
    assert len(set(SCHEDULE)) == len(SCHEDULE) == 3 * len(CHEAP) + len(OF_FIGURES) + len(DEAR)


@pytest.mark.full
def test_a_scheduler_and_real_workers_are_killed(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    for number, (_, fault) in enumerate(SCHEDULE):
        if fault in DEAR:
            answer = inject(tmp_path, "--first", str(number), "--injections", str(number + 1))
            assert answer.returncode == 0, answer.stdout
    assert {line["fault"] for line in kept(tmp_path)} == set(DEAR)
