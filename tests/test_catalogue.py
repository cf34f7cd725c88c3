"""The catalogue that `resnet-sde list` shows without importing the theorems, and what is in the package."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from resnet_sde.theorems import catalogue, registry

ROOT = Path(__file__).parent.parent


def fresh(*words: str) -> tuple[list[str], bool]:
    """Lines that a new process prints, and whether it imported torch."""
    code = (
        "import sys; from resnet_sde.cli import main\n"
        f"try: main(['list', *{words!r}])\n"
        "finally: print(bool({'torch', 'numpy', 'scipy'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    *lines, imported = shown.stdout.splitlines()
    return lines, imported == "True"


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


@pytest.mark.parametrize("words", [(), ("sde-limit", "yang", "sde-limit", "--json")], ids=str)
def test_the_list_is_the_same_without_importing(words: tuple[str, ...]) -> None:
    light, imported = fresh(*words)
    assert not imported
    heavy, imported = fresh(*words, "--import", "resnet_sde.theorems")
    assert imported
    assert light == heavy
    assert len(light) >= 1


def test_an_unknown_name_is_still_helped() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "resnet_sde", "list", "sde-limits"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert "there are for example sde-limit" in process.stderr


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
    data = ("py.typed", "theorems/catalogue.json", "theorems/report/page.css", "theorems/report/page.js")
    assert {f"resnet_sde/{name}" for name in data} <= inside
    others = {p.relative_to(ROOT).as_posix() for p in (ROOT / "resnet_sde").rglob("*") if p.suffix in {".py"}}
    assert others <= inside
