"""Folders that hold a part of the images twice, under two of its names."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from resnet_sde.datasets import DatasetError, cifar10, idx_folder


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def ramp(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def refused(message: str, read: Callable, folder: Path) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def cifar_bytes(labels: list[int]) -> bytes:
    return b"".join(bytes([label]) + ramp(3072).tobytes() for label in labels)


@pytest.mark.parametrize("part", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize(
    ("dot", "end", "pack"), [("-", ".gz", gzip.compress), (".", "", bytes), (".", ".gz", gzip.compress)]
)
@pytest.mark.parametrize("at", [0, -1])
def test_two_files_of_one_part_hold_the_same(
    tmp_path: Path, part: str, dot: str, end: str, pack: Callable, at: int
) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(ramp(3, 2, 2)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(ramp(3)))
    array = ramp(3, 2, 2) if part.startswith("images") else ramp(3)
    other = tmp_path / f"train-{part.replace('-', dot)}-ubyte{end}"
    other.write_bytes(pack(idx(array)))
    assert np.array_equal(idx_folder(tmp_path).pixels.numpy(), ramp(3, 4))
    array.reshape(-1)[at] = 99
    other.write_bytes(pack(idx(array)))
    refused(f"{part}-ubyte and .*{end} hold different images or labels", idx_folder, tmp_path)
    other.write_bytes(pack(idx(array[:2])))
    refused("hold different images or labels", idx_folder, tmp_path)
    other.write_bytes(pack(idx(array))[:-2])
    refused("damaged gzip" if end else "bytes of data", idx_folder, tmp_path)
    other.unlink()
    assert idx_folder(tmp_path).labels.tolist() == [0, 1, 2]


def test_cifar10_in_a_folder_and_its_sub_folder(tmp_path: Path) -> None:
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    for folder in (tmp_path, inner):
        for i in range(1, 6):
            (folder / f"data_batch_{i}.bin").write_bytes(cifar_bytes([i, i + 1]))
        (folder / "test_batch.bin").write_bytes(cifar_bytes([9]))
    expected = cifar10(inner).labels
    assert torch.equal(cifar10(tmp_path).labels, expected)
    (tmp_path / "data_batch_2.bin").write_bytes(cifar_bytes([2, 4]))
    refused("data_batch_2.bin and .*batches-bin.* hold different images", cifar10, tmp_path)
    assert cifar10(tmp_path, split="test").labels.tolist() == [9]
    assert torch.equal(cifar10(inner).labels, expected)
