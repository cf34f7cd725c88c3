"""Records on disk: what is damaged is seen, and what the disk refuses costs no result."""

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resnet_sde.runs import store as module
from resnet_sde.runs.store import PART, Record, Store, remove_parts, sealed, write_whole

ASKED = {"what": "squares", "up to": [1, 2], "name": "été"}
KINDS = {
    "cells/{key}.npz": Record(
        {"values": np.arange(3.0), "names": np.array(["a", "bé"])}, {"steps": 3, "losses": [0.5, None]}
    ),
    "{key}/outcome.json": Record({}, {"steps": 3, "losses": [0.5, None], "name": "é"}),
}


@pytest.fixture(params=list(KINDS), ids=["archive", "json"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, Record, Path]:
    """A store with one record, and where it is."""
    store, record = Store(tmp_path, request.param), KINDS[request.param]
    assert store.load(ASKED) is None
    assert store.save(ASKED, record)
    return store, record, store.path(ASKED)


def same(one: Record | None, other: Record) -> bool:
    return (
        one is not None
        and one.content == other.content
        and one.arrays.keys() == other.arrays.keys()
        and all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
    )


def test_a_record_comes_back(kept: tuple[Store, Record, Path], tmp_path: Path) -> None:
    store, record, path = kept
    assert same(store.load(ASKED), record)
    assert same(store.load(json.loads(json.dumps(ASKED))), record)
    assert same(Store(str(tmp_path), store._name).load(ASKED), record)
    assert store.load({**ASKED, "up to": [1, 3]}) is None
    store.remove(ASKED)
    store.remove(ASKED)
    assert store.load(ASKED) is None
    assert not path.exists()


def test_records_are_open_to_other_programs(kept: tuple[Store, Record, Path]) -> None:
    _, record, path = kept
    if path.suffix == ".json":
        assert json.loads(path.read_text(encoding="utf-8"))["content"] == record.content
        return
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["values"], record.arrays["values"])
        assert json.loads(file["record"].tobytes())["identity"] == ASKED


def test_the_same_results_make_the_same_file(kept: tuple[Store, Record, Path], tmp_path: Path) -> None:
    store, record, path = kept
    other = Store(tmp_path / "other", store._name)
    other.save(dict(reversed(ASKED.items())), record)
    assert other.path(ASKED).relative_to(tmp_path / "other") == path.relative_to(tmp_path)
    assert other.load(ASKED) is not None


def test_every_flipped_bit_and_every_cut_is_seen(
    kept: tuple[Store, Record, Path], caplog: pytest.LogCaptureFixture
) -> None:
    store, record, path = kept
    whole = path.read_bytes()
    flipped = (
        whole[:at] + bytes([whole[at] ^ (1 << (at % 8))]) + whole[at + 1 :] for at in range(len(whole))
    )
    cut = (whole[:at] for at in range(0, len(whole), 7))
    more = (whole + b"0", b"0" + whole, whole * 2, whole[:100] + whole[101:], bytes(len(whole)))
    tried = 0
    for content in (*flipped, *cut, *more):
        caplog.clear()
        path.write_bytes(content)
        assert store.load(ASKED) is None
        (line,) = caplog.messages
        assert line.startswith(f"{path} is not taken, because it")
        assert line.endswith("computed anew")
        tried += 1
    assert tried > len(whole)
    path.write_bytes(whole)
    assert same(store.load(ASKED), record)


@pytest.mark.parametrize("what", ["another request", "newer", "no record", "text", "folder"])
def test_foreign_files_are_seen(
    what: str,
    kept: tuple[Store, Record, Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, record, path = kept
    other = {**ASKED, "what": "cubes"}
    if what == "another request":
        store.save(other, record)
        shutil.copy(store.path(other), path)
    elif what == "newer":
        with monkeypatch.context() as newer:
            newer.setattr(module, "FORMAT", 2)
            store.save(ASKED, record)
    elif what == "no record":
        at = 12 if path.suffix == ".json" else -1
        path.write_bytes(sealed(b'{"sha256": "",\n"a": 1}' if at == 12 else b"PK", at))
    elif what == "text":
        path.write_text("nothing to be unpacked")
    else:
        path.unlink()
        path.mkdir()
    reasons = {
        "another request": "it answers another request",
        "newer": "it has format 2, of another version of the package",
        "no record": "it is no record",
        "text": "its content does not fit its checksum",
        "folder": "Is a directory",
    }
    assert store.load(ASKED) is None
    assert caplog.messages == [f"{path} is not taken, because {reasons[what]}; it is computed anew"]
    caplog.clear()
    if what == "folder":
        assert not store.save(ASKED, record)
        assert "this result is not kept" in caplog.text
    else:
        assert store.save(ASKED, record)
        assert same(store.load(ASKED), record)


def test_what_has_no_identity_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, "{key}.json")
    assert not store.save(None, Record())
    assert store.load(None) is None
    store.remove(None)
    assert not list(tmp_path.iterdir())


def test_infinite_numbers_and_arrays_have_their_places(tmp_path: Path) -> None:
    store = Store(tmp_path, "{key}.json")
    for record in (Record({}, float("nan")), Record({"a": np.ones(1)})):
        with pytest.raises(ValueError, match=r"JSON|arrays"):
            store.save(ASKED, record)
    with pytest.raises(ValueError, match="pickle"):
        Store(tmp_path, "{key}.npz").save(ASKED, Record({"a": np.array([{}], dtype=object)}))
    assert not list(tmp_path.iterdir())


def test_a_manifest_says_what_was_computed(tmp_path: Path) -> None:
    for manifest in ({"verb": "study", "samples": 3}, {"verb": "study", "samples": 4}) * 2:
        Store(tmp_path, "{key}.json", manifest=manifest)
    found = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("manifest-*.json"))]
    assert sorted(each["samples"] for each in found) == [3, 4]


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert Store("~/kept", "{key}.json").folder == tmp_path / "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


# Disks


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_warning(
    kept: tuple[Store, Record, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, record, path = kept
    others = [{**ASKED, "number": n} for n in range(3)]
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", no_room)
        assert [store.save(other, record) for other in others] == [False] * 3
    assert len(caplog.messages) == 1
    assert "No space left on device; the work goes on, and this result is not kept" in caplog.text
    assert same(store.load(ASKED), record)
    assert not list(path.parent.parent.rglob(f"*{PART}"))
    assert store.save(others[0], record)
    assert store.load(others[0]) is not None


def test_a_folder_that_is_removed_is_made_again(kept: tuple[Store, Record, Path]) -> None:
    store, record, _ = kept
    shutil.rmtree(store.folder)
    assert store.load(ASKED) is None
    assert store.save(ASKED, record)
    assert same(store.load(ASKED), record)


def test_a_file_in_place_of_the_folder_costs_no_result(
    kept: tuple[Store, Record, Path], caplog: pytest.LogCaptureFixture
) -> None:
    store, record, _ = kept
    shutil.rmtree(store.folder)
    store.folder.write_text("occupied")
    assert not store.save(ASKED, record)
    assert "this result is not kept" in caplog.text
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        Store(store.folder, "{key}.json")


# Files that are not whole


def test_abandoned_parts_are_removed_and_living_ones_are_not(tmp_path: Path) -> None:
    """Whatever their dates say: a clock may jump."""
    wanted = tmp_path / "cells" / "a.npz"
    wanted.parent.mkdir()
    abandoned = wanted.with_name(f"b.npz.1234{PART}")
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (2e9, 2e9))
    others = [tmp_path / "cells" / "download.part", tmp_path / f"c.npz.1{PART}"]
    for other in others:
        other.write_bytes(b"of somebody else")
    handle, living = module._part_of(wanted)
    os.utime(living, (1.0, 1.0))
    Store(tmp_path, "cells/{key}.npz")
    assert not abandoned.exists()
    assert Path(living).exists() or module.fcntl is None
    assert all(other.exists() for other in others)
    os.close(handle)
    remove_parts(tmp_path, "cells/*.npz")
    assert not Path(living).exists()


def test_who_writes_a_file_removes_what_was_left_of_it(tmp_path: Path) -> None:
    """Of results that are no records, such as pictures and logs, no store knows the names."""
    path = tmp_path / "results" / "[a].png"
    write_whole(path, b"old")
    left = [path.with_name(f"{path.name}.{number}{PART}") for number in range(2)]
    others = [path.with_name(f"{name}.1{PART}") for name in ("a.png", "b.png")]
    for part in (*left, *others):
        part.write_bytes(b"half")
    handle, living = module._part_of(path)
    write_whole(path, b"whole", sweep=False)
    assert all(part.exists() for part in left)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert not any(part.exists() for part in left)
    assert all(other.exists() for other in others)
    assert Path(living).exists() or module.fcntl is None
    os.close(handle)


def test_a_part_that_was_removed_at_once_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its lock another program may take it for abandoned."""
    locked, seen = module._locked, []

    def late(handle: int, name: str) -> bool:
        seen.append(name)
        if len(seen) == 1:
            os.unlink(name)
        return locked(handle, name)

    monkeypatch.setattr(module, "_locked", late)
    write_whole(tmp_path / "a.json", b"whole")
    assert (tmp_path / "a.json").read_bytes() == b"whole"
    assert len(seen) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


WRITER = """
import os, sys, time
from pathlib import Path
from resnet_sde.runs.store import Record, Store
store = Store(sys.argv[1], "cells/{key}.json")
os.fsync = lambda handle: (print("writing", flush=True), time.sleep(10**6))
store.save({"number": 1}, Record({}, 1))
"""


@pytest.mark.skipif(module.fcntl is None, reason="needs file locks")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_two_programs_and_a_kill(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "writing\n"
        store = Store(tmp_path, "cells/{key}.json")
        assert len(list(tmp_path.rglob(f"*{PART}"))) == 1  # it is being written, and left alone
        assert store.save({"number": 1}, Record({}, 1))
        assert store.load({"number": 1}) == Record({}, 1)
        one.send_signal(number)
        one.wait()
    assert len(list(tmp_path.rglob(f"*{PART}"))) == 1
    Store(tmp_path, "cells/{key}.json")
    assert [path.suffix for path in (tmp_path / "cells").iterdir()] == [".json"]
    assert store.load({"number": 1}) == Record({}, 1)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_files_have_the_mode_of_the_user(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_warnings_are_of_the_package(
    kept: tuple[Store, Record, Path], caplog: pytest.LogCaptureFixture
) -> None:
    store, _, path = kept
    path.write_bytes(b"")
    store.load(ASKED)
    assert [(record.name, record.levelno) for record in caplog.records] == [("resnet_sde", logging.WARNING)]
