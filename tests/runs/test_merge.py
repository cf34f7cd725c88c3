"""Stores of several machines put together: what is whole is taken once, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from small_study import small

import resnet_sde as rs
from resnet_sde.cli import main
from resnet_sde.networks import load
from resnet_sde.runs.merge import Merged, merge
from resnet_sde.runs.store import Record, Store
from resnet_sde.training import TrainingConfig, TrainingJob, load_data, train


def test_a_study_in_two_halves(tmp_path: Path) -> None:
    small(store=tmp_path / "a", over={"beta": [0.5], "depth": [2, 5]})
    small(store=tmp_path / "b", over={"beta": [1.0, 0.5], "depth": [5]})
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all") == Merged(taken=3, there=1, damaged=0)
    before = {path.name for path in (tmp_path / "all" / "cells").iterdir()}
    xr.testing.assert_identical(small(store=tmp_path / "all"), small())
    assert len({path.name for path in (tmp_path / "all" / "cells").iterdir()} - before) == 1
    assert len(list((tmp_path / "all").glob("manifest-*.json"))) == 3  # of both halves, and of the whole


def test_networks_and_outcomes(tmp_path: Path) -> None:
    model = rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), width=6, beta=0.5)
    jobs = [TrainingJob(model, depth=3, lr=0.01, seed=seed) for seed in (0, 1)]
    how = {"config": TrainingConfig(steps=5), "data": load_data("digits", limit=200)}
    for name, job in zip("ab", jobs, strict=True):
        train([job], store=tmp_path / name, keep_networks=True, **how)
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all") == Merged(taken=4, there=0, damaged=0)
    outcomes = train(jobs, store=tmp_path / "all", keep_networks=True, **how)
    assert not list((tmp_path / "all").rglob("log.jsonl")), "nothing was trained"
    networks = [load(tmp_path / "all" / str(outcome.network)) for outcome in outcomes]
    assert not torch.equal(*(network(torch.ones(1, 64, dtype=torch.float32)) for network in networks))


def test_what_is_damaged_or_misnamed_is_left_and_what_is_damaged_there_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        store = Store(tmp_path / name, "cells/{key}.npz")
        for n in range(3):
            store.save({"n": n}, Record({"x": np.full(4, n)}))
    first, second, third = (store.path({"n": n}) for n in range(3))
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    other = second.with_name(f"{'0' * 32}.npz")
    second.rename(other)
    (third.parent / "notes.npz").write_bytes(b"of somebody else")
    goal = Store(tmp_path / "all", "cells/{key}.npz")
    assert merge([tmp_path / "b"], tmp_path / "all") == Merged(taken=1, there=0, damaged=2)
    assert "its content does not fit its checksum" in caplog.text
    assert "it answers another request" in caplog.text
    assert [goal.load({"n": n}) is None for n in range(3)] == [True, True, False]
    goal.path({"n": 2}).write_bytes(b"")
    assert merge([tmp_path / "a"], tmp_path / "all") == Merged(taken=3, there=0, damaged=0)
    assert not any(goal.load({"n": n}) is None for n in range(3))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small(store=tmp_path / "a")
    words = ["merge", str(tmp_path / "a"), "--out", str(tmp_path / "all")]
    assert _status(words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'all'}: 4 records taken, 0 there already, 0 damaged\n"
    assert _status([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": words[-1], "taken": 0, "there": 4, "damaged": 0}


@pytest.mark.parametrize(
    ("name", "sentence"), [("nowhere", "there is no folder"), ("empty", "has no records")]
)
def test_refusals(name: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert _status(["merge", str(tmp_path / name), "--out", str(tmp_path / "all")]) == 2
    assert sentence in capsys.readouterr().err


def _status(words: list[str]) -> object:
    with pytest.raises(SystemExit) as exit:
        main(words)
    return exit.value.code


@pytest.mark.parametrize("other", [[1.0, 3.0], [1, 2], [1.0]], ids=str)
def test_other_numbers_under_one_name_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: list
) -> None:
    for name, numbers in {"a": [1.0, 2.0], "b": other, "c": [1.0, 2.0]}.items():
        Store(tmp_path / name, "cells/{key}.npz").save({"n": 0}, Record({"x": np.array(numbers)}))
    goal = tmp_path / "all"
    assert merge([tmp_path / "a", tmp_path / "c"], goal) == Merged(taken=1, there=1, damaged=0)
    assert not caplog.text
    assert merge([tmp_path / "b"], goal) == Merged(taken=0, there=0, damaged=1)
    assert "answers the same request with other numbers" in caplog.text
    found = Store(goal, "cells/{key}.npz").load({"n": 0})
    assert found is not None
    assert found.arrays["x"].tolist() == [1.0, 2.0]


def test_what_a_killed_merge_has_left_is_removed(tmp_path: Path) -> None:
    Store(tmp_path / "a", "cells/{key}.npz").save({"n": 0}, Record({"x": np.ones(1)}))
    merge([tmp_path / "a"], tmp_path / "all")
    left = tmp_path / "all" / "cells" / "0123456789abcdef.npz.1234.part"
    other = left.with_name("download.part")
    for path in (left, other):
        path.write_bytes(b"half")
    assert merge([tmp_path / "a"], tmp_path / "all") == Merged(taken=0, there=1, damaged=0)
    assert not left.exists()
    assert other.exists()
