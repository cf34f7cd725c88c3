"""The catalogue that `resnet-sde list` shows without importing the theorems, and what is in the package."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from places import ROOT

from resnet_sde.theorems import catalogue, registry

LISTS = """
import contextlib, io, json, sys
from resnet_sde.cli import main

def shown(*words):
    output, errors, status = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main(["list", *words])
        except SystemExit as left:
            status = left.code
    imported = bool({"torch", "numpy", "scipy"} & sys.modules.keys())
    return status, output.getvalue(), errors.getvalue(), imported

print(json.dumps([shown(*words) for words in json.loads(sys.argv[1])]))
"""


def fresh(*lists: tuple[str, ...]) -> list[tuple[int, str, str, bool]]:
    """Status, output, errors of lists in a new process, and whether torch was imported by then."""
    command = [sys.executable, "-c", LISTS, json.dumps(lists)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)


def test_what_is_kept_is_what_the_theorems_say(tmp_path: Path) -> None:
    catalogue.write(tmp_path / "now.json")
    now = (tmp_path / "now.json").read_text(encoding="utf-8")
    assert catalogue.KEPT.read_text(encoding="utf-8") == now, (
        "the theorems have changed: run python -m resnet_sde.theorems.catalogue"
    )
    own = [id for id, t in registry.items() if t.check.__module__.startswith("resnet_sde.")]
    assert [record["id"] for record in json.loads(now)] == own
    assert len(own) > 50


def test_a_change_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(iter(registry))
    changed = registry[first].__class__(**{**vars(registry[first]), "words": "Another sentence."})
    monkeypatch.setitem(registry, first, changed)
    catalogue.write(tmp_path / "now.json")
    assert catalogue.KEPT.read_text(encoding="utf-8") != (tmp_path / "now.json").read_text(encoding="utf-8")


def test_the_list_is_the_same_without_importing_and_an_unknown_name_is_helped() -> None:
    """In one process, in this order: the unknown name is what imports the theorems."""
    asked = [(), ("sde-limit", "yang", "sde-limit", "--json")]
    heavy = [(*words, "--import", "resnet_sde.theorems") for words in asked]
    found = fresh(*asked, ("sde-limits",), *heavy)
    assert [imported for *_, imported in found] == [False, False, True, True, True]
    status, output, errors, _ = found.pop(2)
    assert (status, output) == (2, "")
    assert "there are for example sde-limit" in errors
    assert [(status, errors) for status, _, errors, _ in found] == [(0, "")] * 4
    outputs = [output for _, output, _, _ in found]
    assert outputs[:2] == outputs[2:]
    assert all(outputs)


def test_the_wheel_has_what_is_read(tmp_path: Path) -> None:
    """Types, catalogue and the style of the report are package data."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("the package is built by setuptools 77 or newer")
    shutil.copytree(
        ROOT / "resnet_sde", tmp_path / "resnet_sde", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    code = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    built = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    data = (
        "py.typed",
        "__init__.pyi",
        "theorems/catalogue.json",
        "report/templates/page.html",
        "report/templates/page.css",
    )
    assert {f"resnet_sde/{name}" for name in data} <= inside
    others = {p.relative_to(ROOT).as_posix() for p in (ROOT / "resnet_sde").rglob("*") if p.suffix in {".py"}}
    assert others <= inside
