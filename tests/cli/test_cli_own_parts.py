"""Blocks, laws and activations of one's own on the command line: MODULE:NAME."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import refusal, run

MODULE = """
import os
from dataclasses import dataclass
import torch
import resnet_sde as rs
from resnet_sde.paths import GridPath

@dataclass(frozen=True)
class Wide(rs.TwoLayer):
    activation: rs.Activation = rs.TANH
    sigma_w2: float = 2.0

WIDE = Wide()
SMOOTH = rs.SmoothNoise(0.3)
NUMBER = 3

def one_matrix():
    return rs.SingleLayer(rs.TANH, 2.0)

@dataclass(frozen=True)
class Remembering(rs.PathLaw):
    exponent = 0.5
    strong_order = None
    def covariance(self, depth):
        lag = torch.arange(depth, dtype=torch.float64)
        return 0.5 ** (lag[:, None] - lag).abs()
    def _draw(self, depth, shape, source, dtype):
        e = source.normal_(torch.empty((depth, *shape), dtype=dtype))
        for k in range(1, depth):
            e[k] = 0.5 * e[k - 1] + 0.75**0.5 * e[k]
        return GridPath(e, 0.5)

@dataclass(frozen=True)
class Softplus(rs.Activation):
    def __call__(self, x):
        return torch.nn.functional.softplus(x)
    def prime(self, x):
        return torch.sigmoid(x)

@dataclass(frozen=True)
class Failing(Wide):
    def branch(self, h, layer):
        return self.nothing

@dataclass(frozen=True)
class Changing(Wide):
    def branch(self, h, layer):
        branch = super().branch(h, layer)
        return branch + 0 * PROCESS
PROCESS = os.getpid()

def needs(sigma, bias=0.0):
    return rs.SingleLayer(rs.TANH, sigma, bias)
def tanh(x):
    return torch.tanh(x)
def writing(x):
    return x.add_(1)
def number():
    return 3
def fails():
    raise KeyError("here")
class Other:
    pass
"""
SMALL = ("--samples", 30, "--width", 8, "--input", "gaussian")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def cells(*words: object) -> list[dict[str, Any]]:
    status, output, errors = run(*words, "--json")
    assert status == 0, errors
    return json.loads(output)["cells"]


def ratios(cell: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if isinstance(value, dict)}


def test_an_instance_a_class_and_a_function_are_blocks(mine: str) -> None:
    blocks = [f"{mine}:{name}" for name in ("Wide", "WIDE", "one_matrix")]
    given = [word for block in blocks for word in ("--block", block)]
    found = cells(*given, "--depth", 5, *SMALL)
    assert [cell["block"] for cell in found] == blocks
    assert {cell["activation"] for cell in found} == {None}
    assert [cell["sw2"] for cell in found] == [2.0, 2.0, 2.0]
    assert ratios(found[0]) == ratios(found[1])
    (ours,) = cells("--block", "res-1", "--activation", "tanh", "--sw2", 2, "--depth", 5, *SMALL)
    assert ratios(found[2]) == ratios(ours)


def test_what_a_module_prints_is_no_result(mine: str) -> None:
    file = Path(f"{mine}.py")
    file.write_text(f"print('imported')\n{MODULE}".replace("():\n", "():\n    print('made')\n"))
    status, output, errors = run("--block", f"{mine}:one_matrix", "--depth", 5, *SMALL, "--json")
    assert status == 0
    assert len(json.loads(output)["cells"]) == 1
    assert errors.splitlines()[:2] == ["imported", "made"]


def test_laws_of_ones_own_stand_beside_ours(mine: str) -> None:
    laws = [f"{mine}:SMOOTH", f"{mine}:Remembering", "smooth"]
    given = [word for law in laws for word in ("--law", law)]
    words = (*given, "--length-scale", 0.3, "--beta", 0.5, "--depth", 5, *SMALL)
    found = cells(*words)
    assert [cell["law"] for cell in found] == laws
    assert ratios(found[0]) == ratios(found[2]) != ratios(found[1])
    assert "length_scale" not in found[0]
    table = run(*words)[1].splitlines()
    assert any(line.split()[:2] == [f"{mine}:Remembering", "0.5"] for line in table)


def test_an_activation_of_ones_own_picks_the_block(mine: str) -> None:
    (cell,) = cells("--activation", f"{mine}:Softplus", "--depth", 5, "--beta", 1, *SMALL)
    assert cell["activation"] == f"{mine}:Softplus"
    assert ratios(cell) == ratios(
        *cells("--activation", f"{mine}:Softplus", "--block", "res-2", "--depth", 5, "--beta", 1, *SMALL)
    )


@pytest.mark.parametrize(
    "words", [["limit"], ["kernel", "--depth", 4], ["converge", "--depth", 4, "--depth", 8]]
)
def test_commands_for_one_model_know_them(mine: str, words: list[object]) -> None:
    command, *rest = words
    parts = ("--block", f"{mine}:one_matrix", "--law", f"{mine}:SMOOTH")
    samples = ("--samples", 8, "--input", "gaussian", "--width", 4) if command == "converge" else ()
    status, output, errors = run(*rest, *parts, *samples, "--json", command=str(command))
    assert status == 0, errors
    model = json.loads(output)["model"]
    assert (model["block"], model["law"]) == (f"{mine}:one_matrix", f"{mine}:SMOOTH")
    assert model["activation"] is None


def test_networks_of_ones_own_block_are_trained(mine: str) -> None:
    words = ("--depth", 3, "--width", 8, "--samples", 1, "--epochs", 1, "--limit", 200, "--lr", 0.01)
    status, output, errors = run("--block", f"{mine}:Wide", *words, "--json", command="train")
    assert status == 0, errors
    assert json.loads(output)["model"]["block"] == f"{mine}:Wide"


@pytest.mark.parametrize("how", [("--workers", 2), ("--cluster", "local")], ids=["processes", "cluster"])
@pytest.mark.filterwarnings("default")  # Dask and its loops have warnings of their own
def test_workers_find_the_same(mine: str, how: tuple[object, ...]) -> None:
    if "--cluster" in how:
        pytest.importorskip("distributed")
    parts = ("--block", f"{mine}:Wide", "--law", f"{mine}:Remembering", "--beta", 0.5)
    words = (*parts, "--depth", 4, "--depth", 5, *SMALL)
    assert cells(*words, *how) == cells(*words)


def test_a_part_that_is_another_in_a_worker_is_refused(mine: str) -> None:
    words = ("--block", f"{mine}:Changing", "--beta", 0.5, "--depth", 4, "--depth", 5, *SMALL)
    assert run(*words)[0] == 0
    assert f"{mine}.Changing is not the same in a worker process" in refusal(*words, "--workers", 2)


def test_a_store_knows_what_was_edited(mine: str, tmp_path: Path) -> None:
    """Run by itself, as an edited module is imported anew by a process that starts."""
    module = tmp_path / f"{mine}.py"
    module.write_text(MODULE.replace("PROCESS = os.getpid()", "PROCESS = 1.0"))
    model = ["--block", f"{mine}:Changing", "--beta", "0.5", "--depth", "4"]
    words = ["study", *model, "--out", "out", *map(str, SMALL)]

    def again() -> str:
        found = subprocess.run([sys.executable, "-m", "resnet_sde", *words], capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
        return found.stderr

    assert "there already" not in again()
    assert "30 of 30 networks were there already" in again()
    module.write_text(module.read_text().replace("0 * PROCESS", "1e-3 * PROCESS"))
    assert "there already" not in again()


@pytest.mark.parametrize("name", ["torch:tanh", "torch.nn.functional:tanh", "{}:tanh"])
def test_a_plain_function_is_an_activation(mine: str, name: str) -> None:
    name = name.format(mine)
    found = cells("--activation", name, "--activation", "tanh", "--depth", 5, *SMALL)
    assert [cell["activation"] for cell in found] == [name, "tanh"]
    assert [cell["block"] for cell in found] == ["res-2", "res-2"]
    means = [cell["displacement"]["mean"] for cell in found]
    errors = sum(cell["displacement"]["se"] ** 2 for cell in found) ** 0.5
    assert abs(means[0] - means[1]) < 5 * errors  # other networks of the same law


MAKES = "class or function that makes one and takes no arguments"


@pytest.mark.parametrize(
    ("option", "name", "sentence"),
    [
        ("--block", "needs", f"this needs sigma; give a resnet_sde.Block, or a {MAKES}"),
        ("--block", "number", f"this makes an object of type int; give a resnet_sde.Block, or a {MAKES}"),
        ("--block", "fails", f"KeyError: 'here'; give a resnet_sde.Block, or a {MAKES}"),
        ("--block", "NUMBER", "this is an object of type int; give"),
        ("--block", "Other", "this is another class; give"),
        ("--block", "SMOOTH", "this is an object of type SmoothNoise; give a resnet_sde.Block"),
        ("--block", "nothing", "has no nothing; give a name that it has"),
        ("--law", "WIDE", "this is an object of type Wide; give a resnet_sde.PathLaw"),
        ("--law", "Other", "this is another class; give a resnet_sde.PathLaw"),
        (
            "--activation",
            "one_matrix",
            "this makes an object of type SingleLayer; give a resnet_sde.Activation",
        ),
        ("--activation", "writing", "writes into what it is given; let it work on a copy"),
        ("--activation", "Other", "this is another class; give a resnet_sde.Activation"),
        ("--activation", "number", "this makes an object of type int; give a resnet_sde.Activation"),
        ("--activation", "NUMBER", "this is an object of type int; give a resnet_sde.Activation"),
    ],
)
def test_what_is_no_part_is_refused(mine: str, option: str, name: str, sentence: str) -> None:
    found = refusal(option, f"{mine}:{name}", "--beta", 0.5, "--depth", 4, *SMALL)
    assert sentence in found
    assert f"{mine}:{name}" in found


def test_a_block_that_fails_is_named(mine: str) -> None:
    found = refusal("--block", f"{mine}:Failing", "--beta", 0.5, "--depth", 4, *SMALL)
    assert "block Failing fails" in found
    assert "AttributeError: 'Failing' object has no attribute 'nothing'; let it take states" in found


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--block", "no_such_module:X"), "--block no_such_module: No module named 'no_such_module'"),
        (("--law", "breaks:X"), "--law breaks: ZeroDivisionError: division by zero; give a module that can"),
        (("--law", "asks:X"), "--law asks: No module named 'nowhere'; give a module that can be imported"),
        (("--law", "leaves:X"), "--law leaves: SystemExit: 3; give a module that can be imported"),
        (("--block", ":X"), "this names no object"),
        (("--block", "a b:X"), "this is no dotted name"),
        (("--block", "res-9"), "give one of them, or MODULE:NAME of your own"),
        (("--block", "{}:Wide", "--activation", "relu"), "block {}:Wide has its own; leave it out"),
        (("--block", "{}:Wide", "--sw2", 1), "--sw2: block {}:Wide has variances of its own; leave it out"),
        (
            ("--law", "{}:SMOOTH", "--length-scale", 1),
            "--length-scale is of the smooth law; give --law smooth",
        ),
    ],
)
def test_words_that_name_nothing_are_refused(
    mine: str, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    for name, text in {"breaks": "1 / 0", "asks": "import nowhere", "leaves": "raise SystemExit(3)"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    given = [word.format(mine) if isinstance(word, str) else word for word in words]
    assert sentence.format(mine) in refusal(*given, "--depth", 4, *SMALL)
