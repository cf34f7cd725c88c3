"""Requests that the program refuses: one sentence, status 2, and nothing lost."""

import errno
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import TINY, idx_folder, refusal, run
from hypothesis import given
from hypothesis import strategies as st

from resnet_sde.runs import store as stored


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("--depth", 0), "from 1 to 10000000; give for example 100"),
        (("--depth", 2.5), "give for example 100"),
        (("--width", -3), "give for example 40"),
        (("--samples", "many"), "give for example 200"),
        (("--seed", -1), "from 0 to"),
        (("--beta", "nan"), "from -20 to 20"),
        (("--beta", "inf"), "from -20 to 20"),
        (("--gain", -1), "give for example 1"),
        (("--skip", "1e9"), "from -1000 to 1000"),
        (("--workers", 0), "give for example 2"),
        (("--sw2", -1), "give for example 1"),
        (("--law", "fractional"), "give for example --hurst 0.7"),
        (("--law", "fractional", "--hurst", 1), "strictly between 0 and 1"),
        (("--hurst", 0.7), "give --law fractional"),
        (("--length-scale", 0.1), "give --law smooth"),
        (("--law", "smooth", "--length-scale", 0), "give for example 0.1"),
        (("--law", "smooth", "--entries", "uniform"), "give --law white"),
        (("--law", "pink"), "is not one of 'white', 'fractional', 'smooth', 'constant'"),
        (("--block", "res-4"), "is not one of"),
        (("--entries", "cauchy"), "is not one of"),
        (("--method", "fast"), "is not one of"),
        (("--dtype", "float16"), "is not one of 'float32', 'float64'"),
        (("--device", "tpu"), "is not one of 'cpu', 'cuda'"),
        (("--activation", "swish"), "give one of linear, relu"),
        (("--activation", "leaky-relu"), "leaky-relu:0.8"),
        (("--activation", "leaky-relu:7"), "give for example 0.1"),
        (("--activation", "alpha-relu:0.2"), "give for example 0.75"),
        (("--activation", "tanh", "--block", "res-3"), "give --block res-2"),
        (("--seed", 1, "--seed", 1), "--seed was given 2 times and means one value; give it once"),
        (("--samples", 1), "--samples was given 2 times"),
        (("--workers", 1, "--device", "cpu", "--device", "cpu"), "--device was given 2 times"),
        (("--block", "res-1", "--sv2", 1), "give its variances as --sw2 and --sb2"),
        (("--block", "reduced", "--sa2", 0), "give its variances as --sw2 and --sb2"),
        (("--block", "feed-forward", "--sv2", 1), "give its variances as --sw2 and --sb2"),
        (("--block", "feed-forward", "--beta", 0), "leave out --beta, --gain and --skip"),
        (("--block", "feed-forward", "--gain", 1), "leave out --beta, --gain and --skip"),
        (("--block", "feed-forward", "--skip", 0), "leave out --beta, --gain and --skip"),
        (("--skip", 0), "give beta"),
        (("--method", "deferred", "--law", "constant"), "give method dense"),
        (("--method", "deferred", "--entries", "uniform"), "give method dense"),
        (("--input", "imagenet"), "give digits[:i]"),
        (("--input", "digits:1797"), "give an index from 0 to 1796"),
        (("--input", "digits:-1"), "give an index from 0 to 1796"),
        (("--input", "mnist"), "give mnist:DIR"),
        (("--input", "cifar10:/no/such/folder"), "give the folder that holds the image files"),
        (("--input", "mnist:" + "x" * 300), "give a folder that can be read"),
        (("--out", ""), "give for example --out results"),
        (("--beta", -20, "--depth", 10**6), "give a larger beta"),
        (("--depth", 10**7, "--width", 10**6), "give a smaller width or depth"),
        (("--law", "smooth", "--depth", 10**6, "--width", 1000), "give a smaller width or depth"),
        (("--bogus", 1), "see resnet-sde study --help"),
        (("digits",), "see resnet-sde study --help"),
        (("--depth",), "requires an argument"),
    ],
    ids=str,
)
def test_bad_words_are_refused(tmp_path: Path, words: tuple[object, ...], advice: str) -> None:
    small = ("--samples", 2, "--depth", 2, "--width", 3)
    assert advice in refusal(*small, *words)
    assert advice in refusal(*small, "--json", *words)


def test_an_unknown_command() -> None:
    status, output, errors = run(command="studdy")
    assert (status, output) == (2, "")
    assert errors.startswith("resnet-sde: No such command 'studdy'")
    assert errors.count("\n") == 1


def test_a_machine_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "give --device cpu" in refusal(*TINY, "--device", "cuda")


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-1],
    "too long": lambda content: content + b"\0",
    "no IDX file": lambda content: b"PNG" + content,
    "other elements": lambda content: content[:2] + b"\x0d" + content[3:],
    "damaged gzip": lambda content: b"\x1f\x8b" + content[2:],
    "a constant image": lambda content: content[:16] + bytes(len(content) - 16),
}


@pytest.mark.parametrize("damage", MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_images(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    folder = idx_folder(tmp_path / "images", np.arange(32, dtype=np.uint8).reshape(2, 4, 4))
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    sentence = refusal(*TINY[:-2], "--input", f"mnist:{folder}", "--out", tmp_path / "out")
    assert ": give" in sentence or ": fetch" in sentence or ": leave" in sentence
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("occupied")
    assert "give a folder that can be written to" in refusal(*TINY, "--out", tmp_path / "file")
    assert "give a folder that can be written to" in refusal(*TINY, "--out", tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "occupied"


def test_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **rest: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(rest["dir"]))

    for name in ("TemporaryFile", "mkstemp"):
        monkeypatch.setattr(stored.tempfile, name, refused)
    sentence = refusal(*TINY, "--out", tmp_path)
    assert f"{tmp_path / 'cells'}: Read-only file system; give a folder" in sentence


def test_a_full_folder_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*TINY, "--depth", 3, "--depth", 4, "--out", tmp_path)
    room = iter(range(3))  # the manifest and two cells
    with monkeypatch.context() as disk:

        def fsync(_: int) -> None:
            if next(room, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        disk.setattr(os, "fsync", fsync)
        status, output, errors = run(*words)
    assert status == 2
    assert output == run(*words[:-2])[1], "all that was computed is printed"
    assert "No space left on device; the work goes on, and this result is not kept" in errors
    assert "No space left on device; give a folder" in errors.splitlines()[-1]
    status, _, errors = run(*words)
    assert (status, errors) == (0, "resnet-sde: 6 of 9 networks were there already\n")


def test_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory:\nyou tried to allocate 1 byte"),
        RuntimeError("CUDA out of memory. Tried to allocate 1 GiB."),
    ):

        def failing(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("resnet_sde.monte_carlo._run_chunk", failing)
        assert "out of memory; give a smaller --width, --depth or --samples" in refusal(*TINY)


def test_a_scale_that_rounding_swallows_is_noted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status, output, errors = run(*TINY, "--beta", 15, "--beta", 16, "--depth", 5, "--json")
    assert status == 0
    assert len(json.loads(output)["cells"]) == 4
    assert {line.split(";")[1] for line in errors.splitlines()} == {" give float64 inputs"}


def test_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("resnet_sde.monte_carlo._run_chunk", interrupted)
    status, output, errors = run(*TINY)
    assert (status, output) == (130, "")
    assert errors == "resnet-sde: interrupted; what was finished under --out is kept\n"


# Any words at all

NUMBERS = st.one_of(
    st.integers(-2, 4),
    st.floats(-25, 25),
    st.sampled_from(["", "nan", "inf", "-inf", "1e400", "0x2", "one", "--", "1;2", "½", "1e7", "-0.0"]),
)
VALUES: dict[str, st.SearchStrategy[object]] = {
    **{name: NUMBERS for name in ("hurst", "beta", "gain", "skip", "sw2", "sb2", "sv2", "sa2", "seed")},
    "length-scale": st.one_of(st.floats(0.1, 2), NUMBERS),
    "block": st.sampled_from(["res-1", "res-2", "res-3", "full", "reduced", "feed-forward", "res"]),
    "activation": st.sampled_from(
        [
            "linear",
            "relu",
            "leaky-relu:0.3",
            "leaky-relu:x",
            "tanh",
            "erf",
            "gelu",
            "sigmoid",
            "alpha-relu:0.6",
            ":",
        ]
    ),
    "law": st.sampled_from(["white", "fractional", "smooth", "constant", "red"]),
    "entries": st.sampled_from(["gaussian", "uniform", "rademacher", ""]),
    "width": st.one_of(st.integers(1, 4), st.integers(-1, 4)),
    "depth": st.one_of(st.integers(1, 5), st.integers(-1, 5)),
    "input": st.sampled_from(["digits:3", "gaussian", "digits", "digits:x", "mnist:", "mnist:/:1", "\0"]),
    "dtype": st.sampled_from(["float32", "float64", "int8"]),
    "method": st.sampled_from(["auto", "dense", "deferred", "x"]),
    "device": st.sampled_from(["cpu", "cpu", "gpu"]),
    "workers": st.sampled_from([1, 1, 0]),
}
WORDS = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: VALUES[name].map(lambda value: [f"--{name}", str(value)])
)


@given(words=st.lists(WORDS, max_size=6), json_too=st.booleans(), loose=st.sampled_from([[], [], [], ["-x"]]))
def test_any_words_are_served_or_refused(words: list[list[str]], json_too: bool, loose: list[str]) -> None:
    base = ("--samples", 2, "--depth", 2, "--width", 3)
    line = (*base, *(word for pair in words for word in pair), *loose, *["--json"] * json_too)
    status, output, errors = run(*line)
    if status == 0:
        assert all(note.endswith("give float64 inputs") for note in errors.splitlines())
        assert not json_too or json.loads(output)["cells"]
    else:
        assert (status, output) == (2, "")
        assert errors.startswith("resnet-sde: ")
        assert errors.count("\n") == 1
