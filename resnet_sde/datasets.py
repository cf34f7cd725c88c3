"""Images as network inputs: scikit-learn's digits, IDX folders and the binary version of CIFAR-10.

Files are read byte by byte, without pickles. An IDX file is two zero bytes, the type of an element (0x08:
unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit integer, then the
elements. A CIFAR-10 file is a row of records of 3073 bytes: one label, then the red, the green and the
blue plane of a 32 × 32 image.
"""

import gzip
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from resnet_sde.checks import memory_of

_FORMS = "digits[:i], fashion-mnist:DIR[:i], mnist:DIR[:i] or cifar10:DIR[:i]"
_IDX_STEM = {"train": "train", "test": "t10k"}
_CIFAR_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_CIFAR_RECORD = 1 + 3 * 32 * 32
_INFLATED_AT_MOST = 1032  # bytes that one byte of a gzip file can become


class DatasetError(ValueError):
    """A file, folder or name that does not give images; the message names it and says what would."""


@dataclass(frozen=True)
class Images:
    """Labelled images as their source stores them.

    Shape:
        pixels: (image, n_in), unsigned bytes; `standardize` makes network inputs of them.
        labels: (image,), int64.
    """

    name: str
    pixels: Tensor
    labels: Tensor


def load_images(source: str, *, split: str = "train") -> Images:
    """The images that `digits`, `fashion-mnist:DIR`, `mnist:DIR` or `cifar10:DIR` names.

    Raises:
        DatasetError: the name is unknown, the files do not hold the images, or there is no such split.

    Example:
        >>> load_images("digits").pixels.shape
        torch.Size([1797, 64])
    """
    if not isinstance(source, str):
        raise DatasetError(f"Images are named by a string, got {source!r}: give {_FORMS}.")
    name, _, folder = source.partition(":")
    if source == "digits":
        if split != "train":
            raise DatasetError(f"digits have no split {split!r}: give 'train' (all 1797) and hold some out.")
        return digits()
    if name not in ("fashion-mnist", "mnist", "cifar10"):
        raise DatasetError(f"Unknown images {source!r}: give {_FORMS}.")
    if not folder:
        raise DatasetError(f"{name} needs the folder of its files: give {name}:DIR.")
    if name == "cifar10":
        return cifar10(folder, split=split)
    return replace(idx_folder(folder, split=split), name=name)


def parse_input(text: str, *, at_most: int | None = None) -> Tensor:
    """The standardized training images that a command-line input names, or the one at index `i`.

    `text` is digits[:i], fashion-mnist:DIR[:i], mnist:DIR[:i] or cifar10:DIR[:i]; a colon and digits at
    the end are always the index. Without an index, `at_most` keeps the first so many images.

    Shape:
        (image, n_in), float64; one row where there is an index.

    Raises:
        DatasetError: as `load_images`, or the index is out of range, or the images cannot be standardized.

    Example:
        >>> parse_input("digits:3").shape
        torch.Size([1, 64])
    """
    source, index = _split_index(text)
    images = load_images(source)
    if index is None:
        return standardize(images.pixels[:at_most])
    count = len(images.pixels)
    if not 0 <= index < count:
        raise DatasetError(f"{source} has no image {index}: give an index from 0 to {count - 1}.")
    return standardize(images.pixels[index : index + 1], names=[f"Image {index}"])


def standardize(pixels: Tensor, *, names: Sequence[str] | None = None) -> Tensor:
    """Each image minus its mean, divided by its (population) standard deviation.

    Args:
        names: of the images in the messages, such as "Image 3"; by their place among these if None.

    Shape:
        (image, n_in) → (image, n_in), float64.

    Raises:
        DatasetError: an image is constant or has a value that is not finite.
    """
    if pixels.dim() != 2 or pixels.numel() == 0:
        raise DatasetError(
            f"Images of shape {tuple(pixels.shape)} cannot be standardized: give (image, n_in)."
        )
    x = pixels.to(torch.float64)
    if (bad := _first(~x.isfinite().all(dim=1))) is not None:
        raise DatasetError(f"{_name(names, bad)} has a value that is not finite: give finite pixels only.")
    # Not "standard deviation 0": rounding of the mean can leave a constant image a tiny one.
    if (bad := _first(x.amin(dim=1) == x.amax(dim=1))) is not None:
        raise DatasetError(
            f"{_name(names, bad)} is constant and has no standard deviation to divide by: leave it out."
        )
    x = x - x.mean(dim=1, keepdim=True)
    x /= x.abs().amax(dim=1, keepdim=True)  # squares of any contrast then neither overflow nor vanish
    return x / x.square().mean(dim=1, keepdim=True).sqrt()


def digits() -> Images:
    """The 1797 handwritten digits of scikit-learn: 8 × 8 pixels with values 0 to 16."""
    with _environment_kept():
        from sklearn.datasets import load_digits
    data = load_digits()
    return Images(
        "digits", torch.from_numpy(data.data.astype(np.uint8)), torch.from_numpy(data.target).long()
    )


def idx_folder(folder: str | os.PathLike[str], *, split: str = "train") -> Images:
    """The images and labels of a folder in the format of MNIST, plain or gzipped.

    A file may be there under several of its names, such as plain and gzipped, if all hold the same.

    Raises:
        DatasetError: a file is missing or malformed, two of one part differ, or images and labels differ in
            number.
    """
    root, stem = _folder(folder, split), _IDX_STEM[split]
    image_file, label_file = _idx_file(root, f"{stem}-images", 3), _idx_file(root, f"{stem}-labels", 1)
    shapes = []
    for file, dims in ((image_file, 3), (label_file, 1)):  # both headers before any data
        with _opened(file) as content:
            shapes.append(_idx_shape(file, content))
        if len(shapes[-1]) != dims:
            raise DatasetError(f"{file} has {len(shapes[-1])} dimensions: give a file with {dims}.")
    if shapes[0][0] != shapes[1][0]:
        raise DatasetError(
            f"{image_file} has {shapes[0][0]} images but {label_file} has {shapes[1][0]} labels: "
            "give files that belong together."
        )
    return Images(root.name, read_idx(image_file).flatten(1), read_idx(label_file).long())


def read_idx(path: str | os.PathLike[str]) -> Tensor:
    """The bytes of one IDX file, plain or gzipped, in the shape that its header states.

    No more is read, or inflated, than the header states.

    Shape:
        One to four dimensions, none of them empty, uint8.

    Raises:
        DatasetError: the file cannot be read, is not an IDX file of unsigned bytes, or has the wrong size.
    """
    with _opened(path) as content:
        shape = _idx_shape(path, content)
        size = math.prod(shape)
        _check_idx_size(path, content, size, header=4 + 4 * len(shape))
        data = content.read(size)
        if len(data) < size or content.read(1):
            found = f"{len(data)}" if len(data) < size else f"more than {size}"
            raise DatasetError(
                f"{path} has {found} bytes of data where its header states {size}: fetch it again."
            )
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).copy())


def _check_idx_size(path: str | os.PathLike[str], content: BinaryIO, size: int, header: int) -> None:
    """Refuse, before any data are read, what cannot be as large as its header states."""
    stored = Path(path).stat().st_size
    if not isinstance(content, gzip.GzipFile):
        if stored - header != size:
            raise DatasetError(
                f"{path} has {stored - header} bytes of data where its header states {size}: fetch it again."
            )
    elif size > _INFLATED_AT_MOST * stored:
        raise DatasetError(f"{path} cannot hold the {size} bytes that its header states: fetch it again.")
    if size > memory_of():
        raise DatasetError(f"{path} states {size} bytes, which do not fit into memory: give a smaller file.")


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to read from, inflated on the way if it is a gzip file."""
    try:
        with open(path, "rb") as file:
            if file.read(2) == b"\x1f\x8b":
                file.seek(0)
                with gzip.GzipFile(fileobj=file) as content:
                    yield content  # type: ignore[misc]
            else:
                file.seek(0)
                yield file
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DatasetError(f"{path} is a damaged gzip file: fetch it again.") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}): give a readable file.") from None


def _idx_shape(path: str | os.PathLike[str], content: BinaryIO) -> tuple[int, ...]:
    """The shape that the header of an IDX file states, which is read."""
    start = content.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DatasetError(f"{path} does not start like an IDX file: give an IDX file, plain or gzipped.")
    if start[2] != 0x08:
        raise DatasetError(
            f"{path} has elements of type 0x{start[2]:02x}: give a file of unsigned bytes (0x08)."
        )
    dims = start[3]
    if not 1 <= dims <= 4:
        raise DatasetError(f"{path} states {dims} dimensions: give a file with 1 to 4.")
    sizes = content.read(4 * dims)
    if len(sizes) < 4 * dims:
        raise DatasetError(f"{path} ends within its header: fetch it again.")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    if 0 in shape:
        raise DatasetError(f"{path} states the empty shape {shape}: give a file that holds data.")
    return shape


def cifar10(folder: str | os.PathLike[str], *, split: str = "train") -> Images:
    """CIFAR-10 from its binary version, in a folder or in its sub-folder cifar-10-batches-bin.

    Raises:
        DatasetError: a file is missing or malformed, or the folder has another one than its sub-folder.
    """
    outer, files = _folder(folder, split), _CIFAR_FILES[split]
    inner = outer / "cifar-10-batches-bin"
    root = inner if inner.is_dir() else outer
    records = torch.cat([_cifar_records(root / name) for name in files])
    for name in files:
        if (outer / name).is_file() and _read(outer / name) != _read(root / name):
            raise DatasetError(f"{outer / name} and {root / name} hold different images: leave one there.")
    return Images("cifar10", records[:, 1:].contiguous(), records[:, 0].long())


def _cifar_records(file: Path) -> Tensor:
    """The records of one file, (image, 3073), with their labels checked."""
    if not file.is_file():
        raise DatasetError(f"{file} does not exist: give the folder of CIFAR-10's binary version.")
    stored = file.stat().st_size
    if not stored or stored % _CIFAR_RECORD:
        raise DatasetError(f"{file} holds {stored} bytes: give a file of records of {_CIFAR_RECORD} bytes.")
    if stored > memory_of():
        raise DatasetError(f"{file} holds {stored} bytes, which do not fit into memory: give a smaller file.")
    data = _read(file)
    records = np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise DatasetError(f"{file} has a label above 9: give the binary version of CIFAR-10.")
    return torch.from_numpy(records.copy())


def _idx_file(root: Path, stem: str, dims: int) -> Path:
    """The file of one part of an IDX folder, under any of the four names in use.

    Raises:
        DatasetError: there is none, or there are several that do not hold the same.
    """
    names = [f"{stem}{dot}idx{dims}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    found = [root / name for name in names if (root / name).is_file()]
    if not found:
        raise DatasetError(f"{root} has no {names[0]}, plain or gzipped: give the folder that holds it.")
    first, *others = found
    for other in others:
        if not torch.equal(read_idx(first), read_idx(other)):
            raise DatasetError(f"{first} and {other} hold different images or labels: leave one there.")
    return first


def _folder(folder: str | os.PathLike[str], split: str) -> Path:
    """The folder as a path, with ~ for the home folder, once there is such a folder and such a split."""
    if split not in ("train", "test"):
        raise DatasetError(f"There is no split {split!r}: give 'train' or 'test'.")
    root = Path(os.path.expanduser(folder))
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(folder)!r}: give the folder that holds the image files.")
    return root


def _read(path: str | os.PathLike[str]) -> bytes:
    """The content of a file."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}): give a readable file.") from None


def _split_index(text: str) -> tuple[str, int | None]:
    """The source and the index of `SOURCE[:i]`; a negative one is read, to be refused as out of range."""
    match = re.fullmatch(r"(.+):(-?[0-9]{1,18})", text, flags=re.DOTALL)
    return (match[1], int(match[2])) if match else (text, None)


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Take back what the import of a package writes into the environment of this process."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _name(names: Sequence[str] | None, place: int) -> str:
    return f"Image {place}" if names is None else names[place]


def _first(mask: Tensor) -> int | None:
    """The first position where a mask is true."""
    return int(mask.int().argmax()) if bool(mask.any()) else None
