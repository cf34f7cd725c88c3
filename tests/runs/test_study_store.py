"""Results of `study` that outlive the process: stores, full disks, interrupts and kills."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from small_study import X, small, white
from waiting import PATIENCE, members, wait_until

from resnet_sde import monte_carlo
from resnet_sde import observables as ob
from resnet_sde.cli import main
from resnet_sde.monte_carlo import Ensemble
from resnet_sde.observables import observable
from resnet_sde.propagate import Trajectory
from resnet_sde.runs.store import Record, Store
from resnet_sde.studies import cells, pool

# The store


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[pool.Task]:
    """Everything that is computed, as it is computed."""
    seen: list[pool.Task] = []

    def recorded(todo: list[pool.Task], *rest: object) -> Iterator[object]:
        seen.extend(todo)
        return pool.run_tasks(todo, *rest)

    monkeypatch.setattr(sys.modules["resnet_sde.studies.study"], "run_tasks", recorded)
    return seen


def files(store: Path) -> list[Path]:
    return sorted((store / "cells").iterdir())


def test_a_second_run_computes_nothing(tmp_path: Path, tasks: list[pool.Task]) -> None:
    first = small(store=tmp_path)
    assert len(tasks) == len(files(tmp_path)) == 4
    xr.testing.assert_identical(small(store=tmp_path), first)
    xr.testing.assert_identical(small(), first)
    assert len(tasks) == 8  # of the first and of the one without a store


def test_a_larger_grid_computes_what_is_new(tmp_path: Path, tasks: list[pool.Task]) -> None:
    small(store=str(tmp_path))
    tasks.clear()
    ds = small(store=tmp_path, over={"depth": [5, 3, 2], "beta": [1.0, 0.5]})
    assert [task[2].depth for task in tasks] == [3, 3]
    xr.testing.assert_identical(ds, small(over={"depth": [5, 3, 2], "beta": [1.0, 0.5]}))


def test_more_networks_are_added_to_those_that_are_there(
    tmp_path: Path, tasks: list[pool.Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With chunks of 2 and records of 4 networks: the last record of the first study is not whole."""
    monkeypatch.setattr(monte_carlo, "_CHUNK_NETWORKS", 2)
    monkeypatch.setattr(cells, "KEPT", 4)
    own = torch.linspace(-1.0, 2.0, 5 * 11, dtype=torch.float64).reshape(11, 1, 5)
    for x, of_each in ((X, lambda n: X), (own, lambda n: own[:n])):
        tasks.clear()
        few = small(store=tmp_path, samples=9, x=of_each(9), over={"depth": [2]})
        assert [list(task[3]) for task in tasks] == [[0, 1], [2, 3], [4]]
        tasks.clear()
        more = small(store=tmp_path, samples=11, x=of_each(11), over={"depth": [2]})
        assert [list(task[3]) for task in tasks] == [[4, 5]]
        xr.testing.assert_identical(more, small(samples=11, x=x[:11] if x is own else x, over={"depth": [2]}))
        xr.testing.assert_identical(
            more.isel(sample=slice(8)), few.isel(sample=slice(8)).assign_attrs(more.attrs)
        )
        tasks.clear()
        small(store=tmp_path, samples=4, x=of_each(4), over={"depth": [2]})
        assert not tasks


def test_stored_numbers_are_believed(tmp_path: Path) -> None:
    """What comes back is what lies in the folder: nothing was computed again."""
    first = small(store=tmp_path, over={"depth": [2]})
    (path,) = files(tmp_path)
    with np.load(path) as file:
        identity = json.loads(file["record"].tobytes())["identity"]
    changed = Record({"displacement": first.displacement.values[0] + 100.0})
    assert Store(tmp_path, "cells/{key}.npz").save(identity, changed)
    assert files(tmp_path) == [path]
    second = small(store=tmp_path, over={"depth": [2]})
    np.testing.assert_array_equal(second.displacement, first.displacement + 100.0)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-30],
    "head only": lambda content: content[:40],
    "no archive": lambda content: b"nothing to be unpacked",
    "a single array": lambda content: content[content.index(b"\x93NUMPY") :],
    "a flipped bit": lambda content: content[:150] + bytes([content[150] ^ 4]) + content[151:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_cell_is_computed_again(
    tmp_path: Path, tasks: list[pool.Task], damage: Callable[[bytes], bytes]
) -> None:
    first = small(store=tmp_path)
    broken = files(tmp_path)[2]
    whole = broken.read_bytes()
    broken.write_bytes(damage(whole))
    tasks.clear()
    xr.testing.assert_identical(small(store=tmp_path), first)
    assert len(tasks) == 1
    assert broken.read_bytes() == whole


def test_a_cell_with_any_damaged_byte_is_whole_or_refused(tmp_path: Path) -> None:
    first = small(store=tmp_path, over={}, depth=2, build=white)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    identity = json.loads(np.load(path)["record"].tobytes())["identity"]
    store = Store(tmp_path, "cells/{key}.npz")
    found = store.load(identity)
    assert found is not None
    np.testing.assert_array_equal(found.arrays["displacement"], first.displacement)
    ends = [at for at in range(len(whole)) if at < 100 or at > len(whole) - 500]
    for position in sorted({*ends, *range(0, len(whole), 5)}):  # between them every fifth
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        assert store.load(identity) is None


def test_a_cell_of_other_samples_or_names_is_not_taken(tmp_path: Path, tasks: list[pool.Task]) -> None:
    first = small(store=tmp_path, over={"depth": [2]})
    for wrong in ({"displacement": first.displacement.values[0, :2]}, {"growth": np.ones((3, 1))}, {}):
        np.savez(files(tmp_path)[0], **wrong)
        xr.testing.assert_identical(small(store=tmp_path, over={"depth": [2]}), first)
    assert len(tasks) == 4


@pytest.mark.parametrize("fails_at", [0, 2])
def test_a_full_disk_keeps_what_is_finished(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tasks: list[pool.Task],
    fails_at: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And costs nothing of what is computed: all of it is given back, with a warning."""
    Store(tmp_path, "cells/{key}.npz", manifest={})
    whole = small()
    tasks.clear()
    left = iter(range(fails_at + 1))  # the manifest is one more file
    real = os.fsync

    def fsync(handle: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", fsync)
        xr.testing.assert_identical(small(store=tmp_path), whole)
    assert len([line for line in caplog.messages if "No space left on device" in line]) == 1
    assert len(files(tmp_path)) == fails_at  # and no file that is not whole
    tasks.clear()
    xr.testing.assert_identical(small(store=tmp_path), whole)
    assert len(tasks) == 4 - fails_at
    monkeypatch.setattr(os, "fsync", fsync)  # full from the first file on
    with pytest.raises(OSError, match="No space left"):
        small(store=tmp_path / "other")


def test_what_else_makes_another_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks: list[pool.Task]
) -> None:
    def edited(power: int) -> Callable[[Trajectory], torch.Tensor]:
        @observable("input")
        def strength(t: Trajectory) -> torch.Tensor:
            return (t.hidden.natural(-1).abs() ** power).sum(-1)

        return strength

    @observable("input")
    def constant(t: Trajectory) -> torch.Tensor:
        return t.hidden.natural(-1).abs().sum(-1) * 2

    before = constant

    @observable("input")
    def constant(t: Trajectory) -> torch.Tensor:  # the same names and bytecode, another number
        return t.hidden.natural(-1).abs().sum(-1) * 3

    assert before.__code__.co_code == constant.__code__.co_code
    variants: list[dict[str, object]] = [
        {},
        {"seed": 2},
        {"samples": 4},
        {"gradients": True},
        {"method": "dense"},
        {"x": X.float()},
        {"x": X * 2},
        {"observe": [ob.growth]},
        {"observe": [edited(1)]},
        {"observe": [edited(2)]},
        {"observe": [before]},
        {"observe": [constant]},
    ]
    one = {"over": {"depth": [2]}, "store": tmp_path}
    for number, variant in enumerate(variants, start=1):
        small(**one, **variant)
        assert len(tasks) == len(files(tmp_path)) == number
    small(**one, observe=[edited(2)])
    assert len(tasks) == len(variants)
    monkeypatch.setattr(torch, "__version__", "0.0.0")
    small(**one)
    assert len(tasks) == len(variants) + 1


def test_a_folder_removed_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, whole = tmp_path / "kept", small()
    save, saved = Store.save, []

    def remove_first(self: Store, *what: object) -> bool:
        if len(saved) == 2:
            shutil.rmtree(store)
        saved.append(save(self, *what))
        return saved[-1]

    monkeypatch.setattr(Store, "save", remove_first)
    xr.testing.assert_identical(small(store=store), whole)
    assert saved == [True] * 4
    assert len(files(store)) == 2
    xr.testing.assert_identical(small(store=store), whole)


def test_the_manifest(tmp_path: Path) -> None:
    for _ in range(2):
        small(store=tmp_path)
    (path,) = tmp_path.glob("manifest-*.json")
    manifest = json.loads(path.read_text())
    assert manifest["study"]["over"] == {"beta": [0.5, 1.0], "depth": [2, 5]}
    assert manifest["study"]["samples"] == 3
    assert {"torch", "numpy", "resnet_sde", "python", "instructions"} <= manifest["environment"].keys()


def test_a_store_that_is_a_file(tmp_path: Path, tasks: list[pool.Task]) -> None:
    (tmp_path / "file").write_text("occupied")
    with pytest.raises(OSError, match="Not a directory"):
        small(store=tmp_path / "file")
    assert not tasks


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(OSError, match="Permission denied"):
        small(store=tmp_path)


# Workers that die, and studies that are killed


def kill_the_worker(t: Trajectory) -> torch.Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return t.hidden.scaled[-1]


def test_a_dead_worker_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="give fewer workers"):
        small(observe=[kill_the_worker], workers=2, store=tmp_path)
    assert not files(tmp_path)


STUDY = [
    *("study", "--input", "digits:3", "--width", "3", "--samples", "4", "--seed", "5", "--dtype", "float64"),
    *("--beta", "0.5", "--beta", "1"),
]
SIX_CELLS = [*STUDY, *(word for depth in range(10, 13) for word in ("--depth", str(depth)))]
SLOW = [*STUDY, *(word for depth in range(1000, 1003) for word in ("--depth", str(depth)))]


PAUSES = """
import threading
from resnet_sde.runs.store import Store
save, saved = Store.save, []
def save_two(*what):
    kept = save(*what)
    saved.append(what)
    if len(saved) == 2:
        threading.Event().wait()
    return kept
Store.save = save_two
from resnet_sde.__main__ import main
main()
"""


def start(out: Path, *words: str) -> subprocess.Popen[str]:
    """A study with two workers, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, *words, "--workers", "2", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_here(out: Path) -> None:
    """The same study, with one worker."""
    with pytest.raises(SystemExit) as exit:
        main([*SIX_CELLS, "--out", str(out)])
    assert exit.value.code == 0


def dawdle(t: Trajectory) -> torch.Tensor:
    """An observable that never ends on networks of three layers."""
    if len(t.hidden.scaled) == 4:
        time.sleep(2 * PATIENCE)
    return t.hidden.scaled[-1]


def finished(out: Path) -> dict[str, int]:
    """Names of the cells in a folder, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "cells").glob("*.npz")}


def test_what_nobody_waits_for_is_given_up() -> None:
    short, long = (Ensemble(white(), depth, 2, 1, 5, False, True, "deferred", 0) for depth in (2, 3))
    results = pool.run_tasks([(0, 0, short, range(1)), (1, 0, long, range(1))], X, [dawdle], 2)
    assert next(results)[0] == 0
    begin = time.monotonic()
    results.close()
    assert time.monotonic() - begin < PATIENCE


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_an_interrupt_while_workers_start(tmp_path: Path) -> None:
    with start(tmp_path, "-m", "resnet_sde", *SLOW) as process:
        wait_until(lambda: len(members(process.pid)) >= 2, "no worker was started")
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert stderr.strip() == "resnet-sde: interrupted; what was finished under --out is kept"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed")
    run_here(out)
    return out


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_study_that_is_stopped_goes_on(
    undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    with start(tmp_path, "-c", PAUSES, *SIX_CELLS) as process:
        wait_until(lambda: len(finished(tmp_path)) == 2, "no cell was finished")
        if number == signal.SIGKILL:
            process.kill()  # the parent alone: its workers have to notice
        else:
            os.killpg(process.pid, number)  # as a terminal does
        wait_until(lambda: not members(process.pid), "a process outlives the study")
        stdout, stderr = process.communicate(timeout=PATIENCE)
    before = finished(tmp_path)
    assert len(before) == 2
    assert stdout == ""
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert stderr.strip() == "resnet-sde: interrupted; what was finished under --out is kept"
        assert len(files(tmp_path)) == len(before)

    run_here(tmp_path)
    assert f"{len(before) * 4} of 24 networks were there already" in capsys.readouterr().err
    after = finished(tmp_path)
    assert {name: after[name] for name in before} == before
    for name in ("study.nc", "study.png"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes()
    whole = xr.load_dataset(undisturbed / "study.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "study.nc"), whole)
