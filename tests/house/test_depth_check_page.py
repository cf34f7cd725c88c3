"""The code of docs/depth-check.md runs, its red test is red, its green one green, and prints what it says."""

import contextlib
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from places import DOCS

from resnet_sde.practice import DepthMismatch, assert_depth_law

PAGE = (DOCS / "depth-check.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\b\d+(\.\d+)?(e-?\d+)?\b")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)


def words(text: str) -> list[str]:
    """Without numbers and order: which of two writers is the larger is chance."""
    return sorted(NUMBER.sub("#", text).split())


@pytest.fixture(scope="module")
def answers() -> list[str]:
    return blocks("text")


@pytest.mark.usefixtures("global_random")
def test_the_page(answers: list[str]) -> None:
    names: dict[str, Any] = {}
    printed, tests = [], []
    for source in blocks("python"):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(source, "depth-check.md", "exec"), names)
        if output.getvalue():
            printed.append(output.getvalue())
        if "def test_" in source:
            tests.append(names["test_the_branches_know_the_depth"])
    red, green = tests
    printed.insert(1, sentences(red))
    assert [words(p) for p in printed] == [words(a) for a in answers]
    green(assert_depth_law)
    exponents = [float(n) for n in re.findall(r"L\^(-?\d\.\d+)", printed[2])]
    assert exponents == pytest.approx([-1.0, -1.0, -0.5, 0.0], abs=0.15)
    assert names["rate"] == pytest.approx(1e-4, rel=0.3)


def sentences(red: Callable[[Any], None]) -> str:
    with pytest.raises(DepthMismatch) as wrong:
        red(assert_depth_law)
    return str(wrong.value)
