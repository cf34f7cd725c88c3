"""Where results go: the home folder, links, and what is no ordinary file."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import TINY, run

from resnet_sde.runs.store import write_whole

VERIFY = ("gradient-invariant",)
TRAIN = ("--width", 2, "--depth", 2, "--epochs", 1, "--limit", 128, "--lr", 0.01)
posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(path))  # names of sockets are short


SPECIAL: dict[str, Callable[[Path], object]] = {
    "a pipe": lambda path: os.mkfifo(path),
    "a socket": socket_at,
    "a link to a device": lambda path: path.symlink_to("/dev/null"),
    "a folder": lambda path: path.mkdir(),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, in which no folder is named ~."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("command", "words", "left"),
    [
        ("study", (*TINY, "--out=~/x"), "x/study.nc"),
        ("train", (*TRAIN, "--out=~/x/y"), "x/y/train.json"),
        ("verify", (*VERIFY, "--out=~/x"), "x"),
        ("verify", (*VERIFY, "--report=~/page.html", "--table", "~/table.md"), "page.html"),
    ],
)
def test_the_home_folder(command: str, words: tuple[object, ...], left: str, home: Path) -> None:
    status, _, errors = run(*words, command=command)
    assert status == 0, errors
    assert (home / left).exists()


def test_the_home_folder_of_nobody(home: Path) -> None:
    status, output, errors = run(*TINY, "--out=~no-such-user-here/x")
    assert (status, output) == (2, "")
    assert "there is no such home folder; give the path in full" in errors


@posix
@pytest.mark.parametrize("make", SPECIAL.values(), ids=list(SPECIAL))
def test_what_is_no_ordinary_file_is_refused_at_once(
    make: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "place"
    make(place)
    before = place.lstat()
    for option, example in (("--report", "report.html"), ("--table", "table.md")):
        status, output, errors = run(*VERIFY, option, place, command="verify")
        assert (status, output) == (2, ""), "nothing was computed"
        assert ("is a directory" if place.is_dir() else "is no ordinary file") in errors
        assert f"give for example {example}" in errors
    with pytest.raises(OSError, match="no ordinary file"):
        write_whole(place, b"text")
    if not place.is_dir():
        for command, words in (("study", TINY), ("train", TRAIN), ("verify", VERIFY)):
            status, output, errors = run(*words, "--out", place, command=command)
            assert (status, output) == (2, "")
            assert "give a folder that can be written to" in errors
    after = place.lstat()
    assert (before.st_mode, before.st_ino) == (after.st_mode, after.st_ino)


@posix
def test_the_device_of_the_case(tmp_path: Path) -> None:
    for device in ("/dev/full", "/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        if Path(device).exists():
            mode = Path(device).lstat().st_mode
            status, output, errors = run(*VERIFY, "--report", device, command="verify")
            assert (status, output) == (2, ""), errors
            assert Path(device).lstat().st_mode == mode


@posix
def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "page.html", tmp_path / "there" / "real.html"
    link.symlink_to(target)  # to nothing yet
    for text in (b"old", b"new"):
        target.write_bytes(text)
        assert run(*VERIFY, "--report", link, command="verify")[0] == 0
        assert link.is_symlink()
        assert target.read_bytes().startswith(b"<!")
    folder = tmp_path / "folder"
    folder.symlink_to(tmp_path / "there")
    (tmp_path / "there" / "study.nc").symlink_to(tmp_path / "elsewhere.nc")
    assert run(*TINY, "--out", folder)[0] == 0
    assert folder.is_symlink()
    assert (tmp_path / "there" / "study.nc").is_symlink()
    assert (tmp_path / "elsewhere.nc").read_bytes().startswith(b"CDF")


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    status, output, errors = run(*VERIFY, "--report", tmp_path / "loop", command="verify")
    assert (status, output, errors.count("\n")) == (2, "", 1)
