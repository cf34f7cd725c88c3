"""What training keeps, it keeps for each network alone: interrupts, more rates, damage, and edits of code."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
import torch
from command_line import run
from waiting import PATIENCE, wait_until

import resnet_sde as rs
from resnet_sde.runs.store import Store
from resnet_sde.training import (
    Data,
    Examples,
    Run,
    TrainingConfig,
    TrainingJob,
    TrainingResult,
    fit,
    kept,
    train,
)
from resnet_sde.training.fitting import _Keeper

RATES = (0.01, 0.03, 0.1)


def data(examples: int = 90, dtype: torch.dtype = torch.float64) -> Data:
    """Two classes on either side of a plane."""
    x = torch.randn(examples, 6, generator=rs.generator(3, "x"), dtype=dtype)
    part = Examples(x, (x[:, 0] + 0.3 * x[:, 1] > 0).long())
    return Data("plane", part, part, part, 2)


CONFIG = TrainingConfig(epochs=2, batch_size=18, dtype="float64")


def job(lr: float = 0.01, seed: int = 0, activation: rs.Activation = rs.RELU, width: int = 5) -> TrainingJob:
    return TrainingJob(rs.Model(rs.SingleLayer(activation), rs.WhiteNoise(), width, beta=0.5), 4, lr, seed)


GRID = [job(lr, seed) for lr in RATES for seed in (0, 1)]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainingJob]:
    """All jobs that are trained, as they are."""
    seen: list[TrainingJob] = []

    def recorded(jobs: list[TrainingJob], *rest: object, **options: object) -> object:
        seen.extend(jobs)
        return fit(jobs, *rest, **options)

    monkeypatch.setattr("resnet_sde.training.grid.fit", recorded)
    return seen


@pytest.mark.parametrize(
    ("optimizer", "dtype"), [("adam", "float32"), ("sgd", "float64"), ("rmsprop", "float32")]
)
def test_no_bit_depends_on_the_neighbours(
    optimizer: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of weights nor of losses, also where examples are evaluated in several parts."""
    monkeypatch.setattr("resnet_sde.training.run._EVALUATED", 2**14)
    how = TrainingConfig(epochs=2, batch_size=50, optimizer=optimizer, dtype=dtype)
    width, examples = 20, data(120, getattr(torch, dtype))
    jobs = [job(lr, seed, width=width) for lr in RATES for seed in (0, 1)]
    _, alone = fit([jobs[3]], how, examples)
    for some in (jobs, jobs[2:4], jobs[3:]):
        _, found = fit(some, how, examples)
        assert found[some.index(jobs[3])] == alone[0]


def test_one_more_rate_trains_the_new_one_alone(tmp_path: Path, trained: list[TrainingJob]) -> None:
    found = train(GRID[:4], CONFIG, data(), store=tmp_path)
    trained.clear()
    assert train(GRID, CONFIG, data(), store=tmp_path) == train(GRID, CONFIG, data())
    assert trained == [*GRID[4:], *GRID]
    trained.clear()
    assert train(GRID[1:3][::-1], CONFIG, data(), stack=1, store=tmp_path) == found[1:3][::-1]
    assert not trained


def test_where_bits_may_depend_on_the_neighbours_stacks_are_kept_whole(
    tmp_path: Path, trained: list[TrainingJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU."""
    for module in (kept, sys.modules["resnet_sde.training.grid"]):
        monkeypatch.setattr(module, "on_its_own", lambda device: False)
    train(GRID[:3], CONFIG, data(), stack=2, store=tmp_path)
    trained.clear()
    found = train(GRID[:4], CONFIG, data(), stack=2, store=tmp_path)
    assert trained == GRID[2:4], "the third has another neighbour now"
    trained.clear()
    names = kept.identities(GRID[:4], CONFIG, data(), device="cpu", stacks=[(0, 1), (2, 3)])
    kept.outcomes_in(tmp_path).path(names[1]).unlink()
    assert train(GRID[:4], CONFIG, data(), stack=2, store=tmp_path) == found
    assert trained == GRID[:2]


@dataclass(frozen=True)
class Bent(rs.Activation):
    """An activation of one's own that reads a global."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * SLOPE

    def prime(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).to(x.dtype) * SLOPE


SLOPE = 1.0


def test_edited_code_is_trained_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(activation=Bent())]
    first = train(jobs, CONFIG, data(), store=tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "SLOPE", 0.1)
    second = train(jobs, CONFIG, data(), store=tmp_path)
    assert second == train(jobs, CONFIG, data())
    assert second[0].train_loss != first[0].train_loss


def test_what_no_key_covers_is_trained_anew(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained: list[TrainingJob],
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stubborn(float):
        def __reduce_ex__(self, protocol: object) -> object:
            raise TypeError("no")

    monkeypatch.setattr(sys.modules[__name__], "SLOPE", Stubborn(1.0))
    jobs = [job(activation=Bent()), job()]
    for number in (1, 2):
        caplog.clear()
        found = train(jobs, CONFIG, data(), stack=1, store=tmp_path)
        assert found == train(jobs, CONFIG, data())
        assert caplog.text.count("SLOPE is an object of type") == 1
        assert len(list(tmp_path.glob(f"*/{kept.OUTCOME}"))) == 1, number
    assert [one.model.block.activation for one in trained].count(Bent()) == 4


def test_damaged_outcomes_are_computed_anew(
    tmp_path: Path, trained: list[TrainingJob], caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(GRID, CONFIG, data(), store=tmp_path)
    for path in sorted(tmp_path.glob(f"*/{kept.OUTCOME}"))[:3]:
        content = path.read_bytes()
        at = content.index(b'"test_loss": 0.') + 16
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])  # another digit
        json.loads(path.read_text())
        trained.clear()
        caplog.clear()
        assert train(GRID, CONFIG, data(), store=tmp_path) == whole
        assert len(trained) == 1
        assert f"{path} is not taken, because its content does not fit its checksum" in caplog.text
        assert path.read_bytes() == content


def test_a_full_disk_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(GRID[:2], CONFIG, data(), store=tmp_path / "whole", keep_networks=True)

    def full(*_: object, **options: object) -> IO[bytes] | None:
        if opened:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return tried(dir=options["dir"]) if options else None

    opened: list[bool] = []
    run_one, tried = Run.advance, tempfile.TemporaryFile
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(Run, "advance", lambda self: opened.append(True) or run_one(self))
    found = train(GRID[:2], CONFIG, data(), store=tmp_path / "full", keep_networks=True)
    assert [one.test_loss for one in found] == [one.test_loss for one in whole]
    assert [one.network for one in found] == [None, None]
    assert "No space left on device" in caplog.text
    assert not list((tmp_path / "full").glob("*/*"))


@pytest.mark.parametrize("ended", ["before the last log", "before checkpoints are removed"])
def test_what_an_end_leaves_undone_is_done_by_the_next_run(
    ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(GRID[:2], CONFIG, data(), store=tmp_path / "whole")
    write = kept.write_log

    def end(run: Run, *rest: object) -> None:
        if run.finished:
            raise KeyboardInterrupt
        write(run, *rest)

    def end_there(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        if ended == "before the last log":
            context.setattr("resnet_sde.training.fitting.write_log", end)
        else:
            interrupted_after(5, tmp_path / "kept", context, GRID[:2])
            context.setattr(Store, "remove", end_there)
        with pytest.raises(KeyboardInterrupt):
            train(GRID[:2], CONFIG, data(), store=tmp_path / "kept")
    assert list((tmp_path / "kept").glob(f"*/{kept.CHECKPOINT}"))
    assert train(GRID[:2], CONFIG, data(), store=tmp_path / "kept") == whole
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.json*")}
        for folder in (tmp_path / "whole", tmp_path / "kept")
    ]
    assert contents[0] == contents[1]
    assert not list(tmp_path.glob(f"*/*/{kept.CHECKPOINT}"))


def test_a_folder_removed_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, run_one = tmp_path / "kept", Run.advance

    def advance(self: Run) -> None:
        if self.step == 4:
            shutil.rmtree(store)
        run_one(self)

    monkeypatch.setattr(Run, "advance", advance)
    found = train(GRID[:2], CONFIG, data(), store=store)
    monkeypatch.setattr(Run, "advance", run_one)
    assert found == train(GRID[:2], CONFIG, data())
    assert len(list(store.glob(f"*/{kept.OUTCOME}"))) == 2


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    train(GRID[:1], CONFIG, data(), store="~/kept", keep_networks=True)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert len(list((tmp_path / "kept").glob("*/*"))) == 3


# Interrupts


def interrupted_after(
    steps: int, store: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[TrainingJob]
) -> None:
    run_one = Run.advance

    def advance(self: Run) -> None:
        if self.step == steps:
            raise KeyboardInterrupt
        run_one(self)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(Run, "advance", advance)
        with pytest.raises(KeyboardInterrupt):
            train(jobs, CONFIG, data(), store=store)


@pytest.mark.parametrize("steps", [1, 5, 7])
def test_an_interrupt_leaves_a_checkpoint(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the next one is due; and one more rate starts beside those that go on."""
    whole = train(GRID, CONFIG, data(), store=tmp_path / "whole")
    interrupted_after(steps, tmp_path, monkeypatch, GRID[:4])
    assert len(list(tmp_path.glob(f"*/{kept.CHECKPOINT}"))) == 4
    started: list[int] = []
    before = _Keeper.__init__

    def recorded(self: _Keeper, run: Run, *rest: object, **options: object) -> None:
        before(self, run, *rest, **options)
        started.extend([run.step] * len(run.jobs))

    monkeypatch.setattr(_Keeper, "__init__", recorded)
    assert train(GRID, CONFIG, data(), store=tmp_path) == whole
    assert sorted(started) == [0, 0, *[steps] * 4]
    assert not list(tmp_path.glob(f"*/{kept.CHECKPOINT}"))
    for path in (tmp_path / "whole").glob(f"*/{kept.LOG}"):
        assert (tmp_path / path.parent.name / kept.LOG).read_text() == path.read_text()


def test_an_interrupt_in_the_middle_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real signal, in the middle of what must not be left half done: the step is done first."""
    whole = train(GRID[:2], CONFIG, data())
    close = Run._close_epoch

    def interrupted(self: Run, *rest: int) -> None:
        close(self, *rest)
        if self.step == 5:
            signal.raise_signal(signal.SIGINT)
            seen.append(self)

    seen: list[Run] = []
    with monkeypatch.context() as context:
        context.setattr(Run, "_close_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(GRID[:2], CONFIG, data(), store=tmp_path)
    assert [one.step for one in seen] == [5], "the interrupt waited"
    names = kept.identities(GRID[:2], CONFIG, data(), device="cpu")
    assert [kept.step_of(kept.checkpoints_in(tmp_path), name) for name in names] == [5, 5]
    assert train(GRID[:2], CONFIG, data(), store=tmp_path) == whole


def test_checkpoints_take_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock, saves = [0.0], []
    monkeypatch.setattr("resnet_sde.training.fitting.time.monotonic", lambda: clock[0])

    def slow(*_: object) -> None:
        saves.append(clock[0])
        clock[0] += 3.0

    monkeypatch.setattr("resnet_sde.training.fitting.save_checkpoint", slow)
    long = TrainingConfig(steps=150, batch_size=90, dtype="float64")
    run_one = Run.advance

    def advance(self: Run) -> None:
        run_one(self)
        clock[0] += 1.0

    monkeypatch.setattr(Run, "advance", advance)
    fit(GRID[:1], long, data(), folder=tmp_path)
    assert saves[0] == 10.0
    assert saves[1:] == [10.0 + 63.0 * n for n in range(1, 3)]


TINY = ("--width", 8, "--depth", 300, "--limit", 400, "--block", "res-1", "--lr", 0.01, "--epochs", 40)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_the_program_goes_on_after_an_interrupt(tmp_path: Path) -> None:
    words = [*map(str, TINY), "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "resnet_sde", "train", *words], stderr=subprocess.PIPE, text=True
    )
    with process:
        wait_until(lambda: list(tmp_path.glob(f"*/{kept.LOG}")), "nothing was trained")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    (path,) = tmp_path.glob(f"*/{kept.CHECKPOINT}")
    assert path.stat().st_size > 0
    record = kept.Store(tmp_path, "{key}/checkpoint.npz")
    assert record.folder == tmp_path
    status, output, _ = run(*TINY[:-1], 1, "--out", tmp_path, "--json", command="train")
    assert status == 0, "another config has nothing to do with it"
    assert path.exists()
    assert json.loads(output)["cells"][0]["test_accuracy"] > 0


def test_an_outcome_is_the_same_from_json() -> None:
    (found,) = train(GRID[:1], CONFIG, data())
    assert TrainingResult.from_json(json.loads(json.dumps(found.to_json()))) == found
