"""`resnet-sde study` in this process: status, output and errors of a line of words."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_sde.cli import main

TINY = ("--samples", 3, "--depth", 2, "--width", 3, "--input", "digits:0")


def run(*words: object, command: str = "study") -> tuple[int, str, str]:
    """Exit status, output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        with pytest.raises(SystemExit) as left:
            main([command, *map(str, words)])
    return left.value.code, output.getvalue(), errors.getvalue()


def cells(*words: object) -> list[dict[str, Any]]:
    """The cells that a study prints with --json."""
    status, output, errors = run(*words, "--json")
    assert status == 0, errors
    return json.loads(output)["cells"]


def refusal(*words: object) -> str:
    """The one sentence with which a request is refused."""
    status, output, errors = run(*words)
    assert (status, output) == (2, "")
    assert errors.startswith("resnet-sde: ")
    assert errors.count("\n") == 1
    return errors


def idx_folder(folder: Path, pixels: np.ndarray) -> Path:
    """A folder in the format of MNIST with these images, (image, row, column)."""
    folder.mkdir()
    shape = b"".join(size.to_bytes(4, "big") for size in pixels.shape)
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + shape + pixels.tobytes())
    labels = bytes(len(pixels))
    (folder / "train-labels-idx1-ubyte").write_bytes(
        b"\0\0\x08\x01" + len(pixels).to_bytes(4, "big") + labels
    )
    return folder
