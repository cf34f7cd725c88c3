"""Whoever follows docs/extending.md has what it shows, and is told what is wrong."""

import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import run
from places import DOCS
from readme import examples, unlike

import resnet_sde as rs
from resnet_sde.theorems import registry

PAGE = (DOCS / "extending.md").read_text(encoding="utf-8")
*PARTS, TESTS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
MINE = "\n\n".join(PARTS)
WRONG = re.findall(r"^\| `(.*?)` \| `(.*?)` \| (.*?) \|$", PAGE, flags=re.MULTILINE)


@pytest.fixture
def _space(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a reader has it, without what a module registers afterwards."""
    torch.set_default_dtype(torch.float32)
    monkeypatch.setitem(sys.modules, "mine", types.ModuleType("mine"))
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


def made(code: str) -> Any:
    exec(compile(code, "mine.py", "exec"), vars(sys.modules["mine"]))
    return sys.modules["mine"]


@pytest.mark.usefixtures("_space")
def test_parts_are_short_and_pass_their_tests() -> None:
    made(MINE)
    assert all(len(part.splitlines()) < 20 for part in PARTS)
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(TESTS, "test_mine.py", "exec"), names)
    (mark,) = names["test_mine"].pytestmark
    assert len(mark.args[1]) > 20
    for case in mark.args[1]:
        names["test_mine"](*case.values)


@pytest.mark.usefixtures("_space")
def test_commands_print_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "mine")
    monkeypatch.syspath_prepend(tmp_path)
    for example in examples(PAGE):
        command, *words = shlex.split(example.command)[1:]
        status, output, errors = run(*words, command=command)
        assert (status, errors) == (0, "")
        assert unlike(example.lines, output) == []


@pytest.mark.usefixtures("_space")
@pytest.mark.parametrize(("right", "wrong", "sentence"), WRONG, ids=[row[1] for row in WRONG])
def test_what_is_wrong_is_said(right: str, wrong: str, sentence: str) -> None:
    assert MINE.count(right) == 1

    def use() -> None:
        mine = made(MINE.replace(right, wrong))  # which simulates with block, law and observable
        rs.Activation.of(mine.bump)
        rs.verify("relu-growth", samples=100)

    with pytest.raises((ValueError, RuntimeError), match=re.escape(sentence)):
        use()


def test_there_are_wrong_parts_of_every_kind() -> None:
    assert len(WRONG) == 7
