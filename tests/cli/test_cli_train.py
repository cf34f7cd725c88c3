"""`resnet-sde train`: cells, choice of the rate, resuming, refusals."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run
from waiting import PATIENCE

import resnet_sde as rs
from resnet_sde.training import TrainingConfig, TrainingJob, load_data, train

TINY = ("--width", 8, "--depth", 4, "--epochs", 1, "--limit", 256)
KEYS = {"test_accuracy", "train_loss", "roughness_before", "roughness_after", "lr", "diverged"}


def document(*words: object) -> dict:
    status, output, errors = run(*words, "--json", command="train")
    assert status == 0, errors
    return json.loads(output)


def test_a_cell_is_what_the_library_trains() -> None:
    found = document(
        *TINY, "--block", "full", "--activation", "tanh", "--sb2", 0.3, "--beta", 0.5, "--lr", 0.02
    )
    (cell,) = found["cells"]
    model = rs.Model(rs.TwoLayer(rs.TANH, sigma_b2=0.3), rs.WhiteNoise(), 8, beta=0.5)
    (expected,) = train(
        [TrainingJob(model, 4, 0.02)], TrainingConfig(epochs=1), load_data("digits", limit=256)
    )
    assert cell["test_accuracy"] == expected.test_accuracy
    assert cell["train_loss"] == expected.train_loss
    assert cell["roughness_before"] == expected.roughness_before["outer"]
    assert cell["roughness_after"] == expected.roughness_after["outer"]
    assert (cell["depth"], cell["lr"], cell["diverged"]) == (4, 0.02, 0)
    assert (found["model"]["block"], found["model"]["sb2"], found["data"]["train"]) == ("full", 0.3, 256)
    assert {"seed", "versions"} <= found.keys()


def test_a_grid_has_its_cells_in_order_and_rates_of_their_own() -> None:
    grid = ("--block", "res-1", "--law", "white", "--law", "fractional", "--hurst", 0.3, "--hurst", 0.8)
    words = (*TINY, *grid, "--depth", 6, "--lr", 1e-5, "--lr", 0.02, "--samples", 2)
    found = document(*words)["cells"]
    coordinates = [(c["law"], c.get("hurst"), c["depth"]) for c in found]
    laws = [("white", None), ("fractional", 0.3), ("fractional", 0.8)]
    assert coordinates == [(*law, depth) for law in laws for depth in (4, 6)]
    assert {c["lr"] for c in found} == {0.02}
    assert all(c["test_accuracy_se"] >= 0 and set(c) >= KEYS for c in found)
    slow = document(*TINY, "--block", "res-1", "--lr", 1e-5, "--samples", 2)["cells"][0]
    assert slow["validation_accuracy"] < found[0]["validation_accuracy"]


def test_the_table_shows_what_tells_cells_apart() -> None:
    words = (*TINY, "--block", "res-1", "--law", "white", "--law", "smooth", "--beta", 1, "--lr", 0.01)
    status, output, _ = run(*words, command="train")
    assert status == 0
    header, white, smooth = output.splitlines()
    assert header.split()[:4] == ["law", "beta", "length_scale", "depth"]
    assert "width" not in header
    assert "→" in white
    assert smooth.split()[0] == "smooth"


def test_results_are_kept_and_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*TINY, "--block", "res-1", "--lr", 0.01, "--out", tmp_path)
    first = document(*words)
    kept = json.loads((tmp_path / "train.json").read_text())
    assert kept == first
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert (folders[0] / "log.jsonl").read_text().count("\n") == 1
    monkeypatch.setattr("resnet_sde.training.grid.fit", None)
    assert document(*words) == first
    shutil.rmtree(folders[0])
    with pytest.raises(TypeError):
        run(*words, command="train")


def test_a_diverged_network_is_told() -> None:
    small = ("--width", 8, "--depth", 4, "--limit", 256)
    words = (*small, "--block", "res-1", "--beta", -9, "--optimizer", "sgd", "--lr", 1e6, "--epochs", 4)
    (cell,) = document(*words)["cells"]
    assert (cell["diverged"], cell["train_loss"], cell["test_accuracy"]) == (1, None, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--keep-rate", 0.9), "--block feed-forward"),
        (("--batch-size", 300), "--batch-size 300 is more than the 256 training images"),
        (("--data", "letters"), "Unknown images 'letters'"),
        (("--data", "fashion-mnist:/no/such/folder"), "There is no folder"),
        (("--momentum", 0.9), "momentum is of sgd"),
        (("--lr", 0), "--lr"),
        (("--tensorboard",), "--tensorboard writes into --out"),
        (("--out", ""), "--out needs the name of a folder"),
        (("--block", "res-1", "--sv2", 2), "has one matrix"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_request_is_refused(words: tuple, message: str) -> None:
    status, output, errors = run(*TINY, *words, command="train")
    assert (status, output) == (2, "")
    assert errors.startswith("resnet-sde: ")
    assert errors.count("\n") == 1
    assert message in errors


def test_workers_leave_nothing_behind(tmp_path: Path) -> None:
    """A process that is ended instead of ending leaves semaphores, of which Python complains at the end."""
    words = [
        *map(str, TINY),
        "--block",
        "res-1",
        "--lr",
        "0.01",
        "--lr",
        "0.02",
        "--stack",
        "1",
        "--workers",
        "2",
    ]
    command = [sys.executable, "-m", "resnet_sde", "train", *words, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["table", "json"])
def test_what_was_found_is_printed_before_the_disk_can_refuse_it(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes, **_: object) -> None:
        if path.name == "train.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("resnet_sde.runs.store.write_whole", full)
    status, output, errors = run(*TINY, "--lr", 0.01, "--out", tmp_path, *words, command="train")
    assert status != 0
    assert "0.01" in output
    assert "No space left on device" in errors
    assert "Traceback" not in errors
