"""`pytest --theorems` in a repository of somebody else."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from places import ROOT

from resnet_sde import pytest_plugin
from resnet_sde.theorems.core import registry

pytest_plugins = ["pytester"]
Run = Callable[..., tuple[int, str]]
CONFTEST = """
import sys
{theorem}
def pytest_unconfigure():
    print("torch was imported:", "torch" in sys.modules)
"""
THEOREM = """
from resnet_sde.estimate import Estimate
from resnet_sde.theorems import AssumptionNotMet, Claim, theorem

def toy(name, value, half, control=1.0):
    budgets, controls = {"quick": {}, "full": {}}, {"other": {"value": control}}
    @theorem(name, words=".", claims=1, budgets=budgets, controls=controls)
    def check(lab, *, value=value):
        yield Claim("value", Estimate(value, value - half, value + half), 0.0, 0.1)
    check.__qualname__ = name

toy("toy-true", 0.0, 0.01)
toy("toy-false", 1.0, 0.01)
toy("toy-open", 0.0, 1.0)
toy("toy-weak", 0.0, 0.01, control=0.02)
"""


@pytest.fixture
def repository(pytester: pytest.Pytester) -> Path:
    """One test, and a conftest.py that registers theorems where it is asked to."""
    pytester.makepyfile(test_own="def test_own():\n    pass\n")
    pytester.makeconftest(CONFTEST.format(theorem=""))
    pytester.makeini("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    return pytester.path


@pytest.fixture
def here(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """pytest in this process, which has imported torch: where more than what it has found is not asked."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    known = dict(registry)

    def run_here(*words: str) -> tuple[int, str]:
        registry.clear()
        registry.update(known)
        done = pytester.runpytest_inprocess("-rA", *words, plugins=[pytest_plugin])
        return int(done.ret), f"{done.stdout}\n{done.stderr}"

    yield run_here
    registry.clear()
    registry.update(known)


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Exit status and output of pytest in a process of its own."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "resnet_sde.pytest_plugin", "-rA", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def outcomes(output: str) -> dict[str, str]:
    """Outcome of every item, from pytest's summary."""
    lines = re.findall(r"^(PASSED|FAILED) (?:\S*::)?(.*?)(?: - .*)?$", output, re.MULTILINE)
    return {name: outcome for outcome, name in lines}


def test_it_sleeps_unless_it_is_asked(repository: Path) -> None:
    status, output = run(repository)
    assert status == 0, output
    assert "1 passed" in output
    assert "torch was imported: False" in output


def test_theorems_are_collected_beside_the_tests(repository: Path) -> None:
    (repository / "conftest.py").write_text(CONFTEST.format(theorem=THEOREM))
    status, output = run(repository, "--theorems", "-k", "own or toy or one-path")
    assert status == 1, output
    assert outcomes(output) == {
        "test_own": "PASSED",
        "theorem[one-path-many-depths]": "PASSED",
        "theorem[toy-true]": "PASSED",
        "theorem[toy-weak]": "PASSED",
        "theorem[toy-false]": "FAILED",
    }
    assert "value: 1 [0.99, 1.01] vs 0 ± 0.1" in output
    assert "SKIPPED [1]" in output
    assert "toy-open: undecided" in output


def test_controls_are_collected_too(repository: Path, here: Run) -> None:
    (repository / "conftest.py").write_text(CONFTEST.format(theorem=THEOREM))
    words = ("--theorems", "--theorems-controls", "--theorems-budget", "full", "--theorems-seed", "3")
    status, output = here(*words, "-k", "toy and control")
    assert status == 1, output
    found = outcomes(output)
    assert found["theorem[toy-true, control (other)]"] == "PASSED"
    assert found["theorem[toy-weak, control (other)]"] == "FAILED"
    assert "a false neighbour holds" in output
    assert "(full, value = 0.02, seed 3, " in output


def test_a_folder_without_tests_is_enough(here: Run) -> None:
    status, output = here("--theorems", "-m", "theorem", "-k", "gradient-invariant")
    assert status == 0, output
    assert outcomes(output) == {"theorem[gradient-invariant]": "PASSED"}


def printed(output: str) -> list[str]:
    """The names of theorems in pytest's summary, as they are printed."""
    return re.findall(r"^(?:PASSED|FAILED) (\S*::theorem\[.*?\])(?: - .*)?$", output, re.MULTILINE)


def test_a_printed_name_given_back_runs_it(repository: Path, here: Run) -> None:
    """Of the package, of a conftest.py, of a test module, of a control; with and without --theorems."""
    (repository / "conftest.py").write_text(CONFTEST.format(theorem=THEOREM))
    (repository / "test_theirs.py").write_text(
        THEOREM.replace("toy-", "their-").replace("def toy", "def toy_").replace("\ntoy(", "\ntoy_(")
    )
    words = ("--theorems", "--theorems-controls", "-k", "gradient-invariant or toy-weak or their-true")
    names = printed(here(*words)[1])
    assert len(names) >= 6
    status, output = here(*names)
    assert printed(output) == names
    assert status == 1
    for name in names[:2]:
        status, output = here(name)
        assert (status, printed(output)) == (0, [name]), output
        assert outcomes(output) == {name.removeprefix("::"): "PASSED"}
    status, output = here("--theorems", "test_own.py", names[0])
    assert outcomes(output) == {"test_own": "PASSED", names[0].removeprefix("::"): "PASSED"}


def test_a_name_that_no_theorem_has(repository: Path, here: Run) -> None:
    for words in (["::theorem[no-such]"], ["--theorems", "test_own.py", "::theorem[no-such]"]):
        status, output = here(*words)
        assert status == pytest.ExitCode.USAGE_ERROR
        assert "there is no theorem[no-such]; `resnet-sde list` has the theorems" in output
