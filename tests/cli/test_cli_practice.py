"""The commands probe, depth-check and advise."""

import json
from pathlib import Path

import pytest
from command_line import run

NETWORK = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.norm, self.w = nn.LayerNorm(16), nn.Linear(16, 16)
        self.v, self.factor = nn.Linear(16, 16), factor
        with torch.no_grad():
            self.v.weight.mul_(factor)
            self.v.bias.mul_(factor)

    def forward(self, x):
        return x + self.v(torch.relu(self.w(self.norm(x))))

def sound(depth):
    return nn.Sequential(*[Block(depth ** -0.5) for _ in range(depth)])

def unscaled(depth):
    return nn.Sequential(*[Block(1.0) for _ in range(depth)])

def one():
    return sound(12)

def broken(depth):
    return {}["nothing"]

class Keyed(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.embedding, self.body = nn.Embedding(11, 16), sound(depth)

    def forward(self, input_ids):
        return self.body(self.embedding(input_ids))

def batch():
    return torch.ones(4, 16)

def drawn(generator):
    return torch.randn(4, 16, generator=generator)
"""
SMALL = ("--depth", 4, "--depth", 12)
KEYS = {
    *(
        "target",
        "seed",
        "versions",
        "level",
        "depths",
        "seeds",
        "container",
        "mode",
        "kind",
        "degree",
        "skip",
    ),
    *("out_degree", "beta", "beta_all", "critical_beta", "coherence", "copies", "fate", "action"),
    *("logarithmic_time", "predicted_growth", "growth", "writers", "roles", "rates", "expected", "notes"),
}


@pytest.fixture(autouse=True)
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "network_of_ones_own.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def check(*words: object) -> tuple[int, str, str]:
    return run(*words, command="depth-check")


def test_a_sound_network_and_what_is_written() -> None:
    status, out, err = check(
        "network_of_ones_own:sound",
        "--random",
        "vectors:8,16",
        *SMALL,
        "--expect-beta",
        0.5,
        "--json",
        "--out",
        "r",
    )
    assert status == 0, err
    found = json.loads(out)
    assert found.keys() >= KEYS
    assert found["expected"] == {"beta": 0.5, "met": True, "failures": []}
    assert found["beta"]["value"] == pytest.approx(0.5, abs=0.06)
    assert found["beta"].keys() == {"value", "low", "high"}
    assert found["writers"][0].keys() == {"name", "beta", "size", "coefficient", "parameters"}
    assert json.loads(Path("r/depth-check.json").read_text()) == found
    assert Path("r/depth-check.png").read_bytes()[1:4] == b"PNG"
    status, out, err = run("--depth", 64, "--measured", "r/depth-check.json", "--json", command="advise")
    assert status == 0, err
    assert json.loads(out)["beta"] == found["critical_beta"]


def test_an_unscaled_network_leaves_with_one() -> None:
    words = ("network_of_ones_own:unscaled", "--random", "vectors:8,16", *SMALL)
    status, out, _ = check(*words, "--expect-beta", 0.5)
    assert status == 1
    assert "wrong    *.v falls like L^" in out
    assert check(*words)[0] == 0
    assert check(*words, "--expect-beta", 0)[0] == 0


def test_rates_and_keywords_and_batches_of_ones_own() -> None:
    words = ("--depth", 4, "--depth", 6, "--seeds", 1, "--optimizer", "adamw", "--json")
    status, out, err = check(
        "network_of_ones_own:Keyed", "--random", "tokens:11,4,5", "--key", "input_ids", *words
    )
    assert status == 0, err
    assert {rate["group"] for rate in json.loads(out)["rates"]} == {"blocks", "writers", "inner", "rest"}
    for batch in ("drawn", "batch"):
        status, out, err = run(
            "network_of_ones_own:one", "--batch", f"network_of_ones_own:{batch}", "--json", command="probe"
        )
        assert status == 0, err
        found = json.loads(out)
        assert found["kind"] == "residual"
        assert len(found["norms"]) == 13
    status, out, _ = run("network_of_ones_own:one", "--random", "vectors:4,16", command="probe")
    assert status == 0
    assert "writers  1 v" in out


def test_advice_in_words() -> None:
    status, out, _ = run("--depth", 64, "--sw2", 2, command="advise")
    assert status == 0
    assert "multiply every branch by 0.125" in out
    status, out, _ = run(
        "--depth", 64, "--sw2", 2, "--law", "copied", "--optimizer", "sgd", "--json", command="advise"
    )
    found = json.loads(out)
    assert found["scale"] == pytest.approx(1 / 64)
    assert found["expected_growth"] is None
    assert found["rate_exponents"]["sgd"]["multiplier"] == 1.0
    status, out, _ = run("--depth", 64, "--law", "fractional", "--hurst", 0.75, "--json", command="advise")
    assert json.loads(out)["beta"] == 0.75
    own, ours = (
        run("--depth", 64, "--activation", name, command="advise")
        for name in ("torch.nn.functional:silu", "silu")
    )
    assert own == ours
    assert own[0] == 0


REFUSED = {
    "no batch": (("network_of_ones_own:sound",), "a batch is needed"),
    "no module": (("nowhere:sound", "--random", "vectors:8,16"), "nowhere"),
    "no name": (("network_of_ones_own:other", "--random", "vectors:8,16"), "has no other"),
    "no colon": (("network_of_ones_own", "--random", "vectors:8,16"), "names no object"),
    "a bad batch": (("network_of_ones_own:sound", "--random", "vectors:8"), "--random vectors:8"),
    "code that fails": (("network_of_ones_own:broken", "--random", "vectors:8,16"), "KeyError: 'nothing'"),
    "shapes that do not fit": (("network_of_ones_own:sound", "--random", "vectors:8,5"), "normalized_shape"),
    "no stream": (
        ("network_of_ones_own:sound", "--random", "vectors:8,16", "--blocks", "h.*"),
        "no module is named",
    ),
    "an optimizer": (
        ("network_of_ones_own:sound", "--random", "vectors:8,16", "--optimizer", "lion"),
        "--optimizer lion: give sgd, adam, adamw",
    ),
    "copies of nothing": (
        ("network_of_ones_own:sound", "--random", "vectors:8,16", "--copied-is-fine"),
        "--copied-is-fine says what is not expected",
    ),
    "one seed": (
        (
            "network_of_ones_own:sound",
            "--random",
            "vectors:8,16",
            *SMALL,
            "--seeds",
            1,
            "--expect-beta",
            0.5,
        ),
        "one seed has no interval",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_are_wrong(name: str) -> None:
    words, sentence = REFUSED[name]
    status, out, err = check(*words)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_measured_file_must_be_one(tmp_path: Path) -> None:
    Path("no.json").write_text("{}")
    Path("words.json").write_text("hello")
    for file, sentence in (("no.json", "is no document"), ("words.json", "this is no JSON")):
        status, _, err = run("--depth", 8, "--measured", file, command="advise")
        assert status == 2
        assert sentence in err
