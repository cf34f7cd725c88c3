"""Worker processes compute with the code and the values of the process that asks, or refuse in a sentence."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from places import SUPPORT

import resnet_sde as rs
from resnet_sde.runs.agreement import code_digest
from resnet_sde.runs.execute import execute
from resnet_sde.theorems import suite
from resnet_sde.theorems.core import registry
from resnet_sde.training import Data, Examples, TrainingConfig, TrainingJob, train

NAMES = itertools.count()
MODULE = """
import functools, threading
import {helper}

SCALE, LOCK, TABLE = 2.0, threading.Lock(), {{"a": [1, 2]}}

class Rule:
    factor = 3
    def __init__(self, power=1):
        self.power = power
        self._seen = None
    def __getstate__(self):
        return {{"power": self.power, "_seen": None}}
    def __call__(self, task, shared):
        return task ** self.power * self.factor

class Plain:
    def __init__(self):
        self.power = 2

def raised(task, shared):
    return task ** shared.power

def scaled(task, shared):
    return task * SCALE + len(TABLE["a"])

def helped(task, shared):
    return {helper}.helping(task)

@functools.lru_cache
def kept(task, shared):
    return task * SCALE

def locked(task, shared):
    with LOCK:
        return task

def of_task(task, shared):
    return task.power * task.factor

def of_shared(task, shared):
    return shared(task, None)
"""
HELPER = "def helping(task):\n    return task + 1\n"
SENTENCE = r"{name} is not the same in a worker process as in this one: .* was edited .* workers=1"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of a user, with one that it imports as `helper`."""
    name = f"mine_{next(NAMES)}"
    (tmp_path / f"{name}_helper.py").write_text(HELPER)
    (tmp_path / f"{name}.py").write_text(MODULE.format(helper=f"{name}_helper"))
    monkeypatch.syspath_prepend(tmp_path)
    found = import_module(name)
    found.helper = sys.modules[f"{name}_helper"]
    return found


def edit(module: ModuleType, old: str, new: str) -> None:
    file = Path(str(module.__file__))
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


CHANGES: dict[str, tuple[str, Callable[[ModuleType], None]]] = {
    "its file is edited": ("scaled", lambda m: edit(m, "task * SCALE + len", "task * SCALE - 2 * len")),
    "a value in its file is edited": ("scaled", lambda m: edit(m, "TABLE = 2.0", "TABLE = 2.50")),
    "a file that it imports is edited": ("helped", lambda m: edit(m.helper, "task + 1", "task + 100")),
    "a value of its module is changed": ("scaled", lambda m: setattr(m, "SCALE", 5.0)),
    "a value within a value is changed": ("scaled", lambda m: m.TABLE["a"].append(3)),
    "a function of another module is replaced": ("helped", lambda m: setattr(m.helper, "helping", abs)),
    "an attribute of a function is set": ("scaled", lambda m: setattr(m.scaled, "unit", "m")),
    "a default is changed": ("scaled", lambda m: setattr(m.scaled, "__defaults__", (1,))),
    "what a cached function reads is changed": ("kept", lambda m: setattr(m, "SCALE", 5.0)),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_work_that_is_another_in_a_worker_is_refused(mine: ModuleType, change: str) -> None:
    name, apply = CHANGES[change]
    work = getattr(mine, name)
    before = sorted(execute([1, 2, 3], work, None, workers=2))
    assert before == [(task, work(task, None)) for task in (1, 2, 3)]
    apply(mine)
    with pytest.raises(RuntimeError, match=SENTENCE.format(name=rf"{mine.__name__}\.{name}")):
        list(execute([1, 2, 3], work, None, workers=2))
    assert len(list(execute([1, 2, 3], work, None, workers=1))) == 3


@pytest.mark.parametrize(
    ("place", "change"),
    [("work", "attribute"), ("work", "method"), ("work", "file"), ("shared", "attribute"), ("task", "file")],
)
def test_a_class_that_is_another_in_a_worker_is_refused(mine: ModuleType, place: str, change: str) -> None:
    """Whether its objects work, are shared, or are tasks."""
    rule = mine.Rule(2)
    tasks, work, shared = {
        "work": ([1, 2, 3], rule, None),
        "shared": ([1, 2, 3], mine.of_shared, rule),
        "task": ([rule, mine.Rule(3)], mine.of_task, None),
    }[place]
    assert [found for _, found in sorted(execute(tasks, work, shared, workers=2), key=lambda pair: pair[1])]
    if change == "attribute":
        mine.Rule.factor = 4
    elif change == "method":
        mine.Rule.__call__ = mine.scaled
    else:
        edit(mine, "factor = 3", "factor = 30")
    with pytest.raises(RuntimeError, match=SENTENCE.format(name=rf"{mine.__name__}\.Rule")):
        list(execute(tasks, work, shared, workers=2))


def test_what_travels_by_content_may_have_changed(mine: ModuleType) -> None:
    """Objects may leave out what they remember, be given other values, or hold what cannot be read."""
    rule = mine.Rule(1)
    rule.power, rule._seen = 3, {mine.Rule: lambda: None}
    assert sorted(execute([1, 2], rule, None, workers=2)) == [(1, 3), (2, 24)]
    assert sorted(execute([1, 2], mine.locked, None, workers=2)) == [(1, 1), (2, 2)]


def test_what_pickle_notes_in_a_class_is_no_change(mine: ModuleType) -> None:
    before = code_digest(mine.Plain)
    assert sorted(execute([1, 2], mine.raised, mine.Plain(), workers=2)) == [(1, 1), (2, 4)]
    assert "__slotnames__" in vars(mine.Plain)
    assert code_digest(mine.Plain) == before


# Scripts

SCRIPT = """
import logging
import small_work
from resnet_sde.runs.execute import execute

POWER, log = 1, logging.getLogger(__name__)

def work(task, shared):
    log.debug(__name__)
    return task ** POWER

if __name__ == "__main__":
    {under}
    print(sorted(execute([1, 2, 3], {work}, 0, workers=2)))
"""


@pytest.mark.parametrize(("how", "work"), [("file", "work"), ("words", "small_work.square")])
def test_scripts_that_change_nothing(tmp_path: Path, how: str, work: str) -> None:
    """What `python -c` defines is found by no worker, but it may send what is in modules."""
    text = SCRIPT.format(under="call = lambda: None", work=work)
    (tmp_path / "script.py").write_text(text)
    power = 1 if work == "work" else 2
    words = ["script.py"] if how == "file" else ["-c", text]
    assert run_python(tmp_path, *words) == (0, f"{[(n, n**power) for n in (1, 2, 3)]}\n", "")


def test_a_script_that_changes_what_its_workers_import(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(under="POWER = 2", work="work"))
    status, output, errors = run_python(tmp_path, "script.py")
    assert (status, output) == (1, "")
    assert "RuntimeError: __main__.work is not the same in a worker" in errors.splitlines()[-1]


def run_python(folder: Path, *words: str) -> tuple[int, str, str]:
    path = os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    found = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, env=environment
    )
    return found.returncode, found.stdout, found.stderr


# What is computed with workers

ACTIVATION = """
import resnet_sde as rs
SLOPE = 1.0

class Bent(type(rs.TANH)):
    def __call__(self, x):
        return super().__call__(x) * SLOPE

    def pullback(self, x, p):
        return super().pullback(x, p) * SLOPE
"""


def test_training_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a store as with one."""
    name = f"mine_{next(NAMES)}"
    (tmp_path / f"{name}.py").write_text(ACTIVATION)
    monkeypatch.syspath_prepend(tmp_path)
    mine = import_module(name)
    part = Examples(torch.ones(6, 3), torch.tensor([0, 1, 0, 1, 0, 1]))
    model = rs.Model(rs.SingleLayer(mine.Bent()), rs.WhiteNoise(), 4, beta=0.5)
    jobs = [TrainingJob(model, depth, lr=0.1, seed=0) for depth in (2, 3)]
    monkeypatch.setattr(mine, "SLOPE", 2.0)
    with pytest.raises(RuntimeError, match=SENTENCE.format(name=rf"{name}\.Bent")):
        train(jobs, TrainingConfig(epochs=1, batch_size=3), Data("ones", part, part, part, 2), workers=2)


def test_a_study_is_refused_before_anything_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"mine_{next(NAMES)}"
    text = "SLOPE = 0.5\ndef size(t):\n    return t.hidden[-1][..., 0] * SLOPE\n"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    mine = import_module(name)
    model = rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), width=4)
    request = {"over": {"depth": [2, 3]}, "samples": 4, "observe": [mine.size]}
    monkeypatch.setattr(mine, "SLOPE", 0.25)
    store = tmp_path / "store"
    with pytest.raises(RuntimeError, match=SENTENCE.format(name=rf"{name}\.size")):
        rs.study(lambda: model, torch.ones(1, 4), **request, workers=2, store=store)
    assert not [file for file in store.rglob("*") if file.suffix == ".npz"]


def test_a_theorem_that_is_another_in_a_worker_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"mine-{next(NAMES)}"
    module = tmp_path / f"{name.replace('-', '_')}.py"
    module.write_text(
        "from resnet_sde.theorems import Claim, theorem\n"
        "from resnet_sde.estimate import Estimate\n"
        "sizes = {'quick': {'a': 1}, 'full': {'a': 1}}\n"
        f"@theorem('{name}', words='', claims=1, budgets=sizes, controls={{}})\n"
        "def check(lab, *, a):\n"
        "    yield Claim('a', Estimate(a, a, a), 1.0, tolerance=0.5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import_module(module.stem)
    monkeypatch.setitem(registry, name, registry[name])
    module.write_text(module.read_text().replace("(a, a, a)", "(a - 9, a, a)"))
    tasks = [suite.Task(name, None, "quick", seed) for seed in (0, 1)]
    with pytest.raises(RuntimeError, match=SENTENCE.format(name=f"the theorem {name}")):
        list(suite.run_suite(tasks, workers=2))
    other = replace(registry[name], budgets={"quick": {"a": 2}, "full": {"a": 1}})
    assert code_digest(other) != code_digest(registry[name]), "settings count too"
