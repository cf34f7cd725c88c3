"""Readers of image files: what they read, and that everything else gives one clear error."""

import gzip
import os
import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnet_sde.datasets import (
    DatasetError,
    cifar10,
    digits,
    idx_folder,
    load_images,
    parse_input,
    read_idx,
    standardize,
)

FASHION = Path("/usr/share/datasets/fashion-mnist")
needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file, written independently of the reader."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # no time stamp, so that every run meets the same bytes


def ramp(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def write_idx_folder(
    folder: Path, images: np.ndarray, labels: np.ndarray, stem: str = "train", dot: str = "-"
) -> None:
    (folder / f"{stem}-images{dot}idx3-ubyte").write_bytes(idx(images))
    (folder / f"{stem}-labels{dot}idx1-ubyte").write_bytes(idx(labels))


def cifar_bytes(labels: list[int]) -> bytes:
    return b"".join(bytes([label]) + ramp(3072).tobytes() for label in labels)


def write_cifar(folder: Path) -> None:
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(cifar_bytes([i, i + 1]))
    (folder / "test_batch.bin").write_bytes(cifar_bytes([9]))


def read_or_refuse(file: Path) -> torch.Tensor | None:
    """What a file holds, or nothing where it is refused by its name."""
    try:
        return read_idx(file)
    except DatasetError as error:
        if str(file) not in str(error):
            raise
        return None


def assert_refused(message: str, call, *args, **kwargs) -> None:
    """The call raises one sentence, which matches the message and says what to do."""
    with pytest.raises(DatasetError, match=message) as caught:
        call(*args, **kwargs)
    assert re.fullmatch(r"[^\n]+: [^\n]+\.", str(caught.value))


# IDX files


@pytest.mark.parametrize("pack", [bytes, zipped], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [(3,), (2, 5), (4, 3, 2), (2, 3, 4, 5)], ids=str)
def test_idx_is_read(tmp_path: Path, shape, pack) -> None:
    file = tmp_path / "data"
    file.write_bytes(pack(idx(ramp(*shape))))
    data = read_idx(file)
    assert data.dtype == torch.uint8
    assert np.array_equal(data.numpy(), ramp(*shape))


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6)),
    st.sampled_from([bytes, zipped]),
)
def test_idx_round_trip(array, pack) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data"
        file.write_bytes(pack(idx(array)))
        assert np.array_equal(read_idx(file).numpy(), array)


HEADERS = st.sampled_from(
    [b"", b"\0\0", b"\0\0\x08", b"\0\0\x08\x01\0\0\0", b"\0\0\x08\x02\0\0\0\x02", b"\x1f\x8b\x08\0"]
)


@given(HEADERS, st.binary(max_size=64), st.sampled_from([bytes, zipped]))
def test_random_bytes_are_read_or_refused(header, tail, pack) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data"
        file.write_bytes(pack(header + tail))
        assert (data := read_or_refuse(file)) is None or data.numel() > 0


@given(draws=st.data())
def test_a_damaged_gzip_is_refused_or_unharmed(draws) -> None:
    packed = bytearray(zipped(idx(ramp(20, 7, 7))))
    where = draws.draw(st.integers(0, len(packed) - 1))
    packed[where] ^= draws.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data"
        file.write_bytes(packed)
        data = read_or_refuse(file)  # a flipped time stamp, say, harms nothing
        assert data is None or np.array_equal(data.numpy(), ramp(20, 7, 7))


GOOD = idx(ramp(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not start like an IDX file"),
        (b"\0\0\x08", "does not start like an IDX file"),
        (b"GIF89a", "does not start like an IDX file"),
        (b"\0\0\x0d" + GOOD[3:], "type 0x0d"),
        (b"\0\0\x08\0", "states 0 dimensions"),
        (b"\0\0\x08\x05" + b"\0\0\0\x01" * 5 + b"x", "states 5 dimensions"),
        (b"\0\0\x08\xff", "states 255 dimensions"),
        (GOOD[:10], "ends within its header"),
        (GOOD[:-1], "23 bytes of data where its header states 24"),
        (GOOD + b"x", "25 bytes of data where its header states 24"),
        (b"\0\0\x08\x04" + b"\xff" * 16, f"0 bytes of data where its header states {(2**32 - 1) ** 4}"),
        (idx(ramp(0, 3)), "empty shape"),
        (b"\0\0\x08\x03" + b"\xff" * 8 + b"\0" * 4, "empty shape"),
        (zipped(GOOD)[:-9], "damaged gzip"),
        (zipped(GOOD)[:5], "damaged gzip"),
        (zipped(GOOD)[:-8] + b"\0" * 8, "damaged gzip"),
        (zipped(GOOD) + b"tail", "damaged gzip"),
        (zipped(GOOD[:-1]), "23 bytes of data where its header states 24"),
        (b"\x1f\x8b", "damaged gzip"),
    ],
    ids=[
        "empty",
        "short",
        "GIF",
        "float64",
        "0 dimensions",
        "5 dimensions",
        "255 dimensions",
        "half a header",
        "cut short",
        "too long",
        "huge",
        "no rows",
        "no columns",
        "zipped, cut short",
        "zipped, only its header",
        "zipped, no checksum",
        "zipped, with a tail",
        "zipped and cut short",
        "zipped, two bytes",
    ],
)
def test_malformed_idx_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "train-images"
    file.write_bytes(content)
    assert_refused(f"{re.escape(str(file))} .*{re.escape(message)}", read_idx, file)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    assert_refused("absent cannot be read", read_idx, tmp_path / "absent")
    assert_refused("cannot be read", read_idx, tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(GOOD)
    file.chmod(0)
    assert_refused("secret cannot be read", read_idx, file)


# Folders of IDX files


@pytest.mark.parametrize("dot", "-.")
@pytest.mark.parametrize(("split", "stem"), [("train", "train"), ("test", "t10k")])
def test_idx_folder(tmp_path: Path, split, stem, dot) -> None:
    write_idx_folder(tmp_path, ramp(3, 4, 5), np.uint8([7, 0, 255]), stem, dot)
    images = idx_folder(tmp_path, split=split)
    assert images.name == tmp_path.name
    assert images.pixels.dtype == torch.uint8
    assert np.array_equal(images.pixels.numpy(), ramp(3, 20))
    assert images.labels.dtype == torch.int64
    assert images.labels.tolist() == [7, 0, 255]


def test_idx_folder_takes_gzipped_and_plain_together(tmp_path: Path) -> None:
    write_idx_folder(tmp_path, ramp(2, 2, 2), ramp(2))
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.rename(tmp_path / "moved")
    (tmp_path / "train-labels.idx1-ubyte.gz").write_bytes(zipped(idx(ramp(2))))
    assert idx_folder(str(tmp_path)).labels.tolist() == [0, 1]


def test_idx_folder_refusals(tmp_path: Path) -> None:
    assert_refused("no folder '.*absent'", idx_folder, tmp_path / "absent")
    assert_refused("no train-images-idx3-ubyte, plain or gzipped", idx_folder, tmp_path)
    write_idx_folder(tmp_path, ramp(3, 2, 2), ramp(2))
    assert_refused("has 3 images but .* has 2 labels", idx_folder, tmp_path)
    write_idx_folder(tmp_path, ramp(3, 4), ramp(3))
    assert_refused("images-idx3-ubyte has 2 dimensions.* with 3", idx_folder, tmp_path)
    write_idx_folder(tmp_path, ramp(3, 2, 2), ramp(3, 1))
    assert_refused("labels-idx1-ubyte has 2 dimensions.* with 1", idx_folder, tmp_path)
    assert_refused("no split 'valid'", idx_folder, tmp_path, split="valid")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert_refused("no train-labels-idx1-ubyte", idx_folder, tmp_path)
    assert_refused("no folder", idx_folder, tmp_path / "train-images-idx3-ubyte")


@needs_fashion
@pytest.mark.parametrize(("split", "count"), [("train", 60000), ("test", 10000)])
def test_fashion_mnist(split, count) -> None:
    images = load_images(f"fashion-mnist:{FASHION}", split=split)
    assert images.name == "fashion-mnist"
    assert images.pixels.shape == (count, 784)
    assert images.labels.bincount().tolist() == [count // 10] * 10
    assert (images.pixels.min(), images.pixels.max()) == (0, 255)


@needs_fashion
def test_fashion_mnist_as_input() -> None:
    one, some = parse_input(f"fashion-mnist:{FASHION}:2"), parse_input(f"fashion-mnist:{FASHION}", at_most=5)
    assert some.shape == (5, 784)
    assert torch.equal(one, some[2:3])
    assert_refused(
        "no image 60000: give an index from 0 to 59999", parse_input, f"fashion-mnist:{FASHION}:60000"
    )


# CIFAR-10


@pytest.mark.parametrize("sub", [".", "cifar-10-batches-bin"])
def test_cifar10(tmp_path: Path, sub) -> None:
    (tmp_path / sub).mkdir(exist_ok=True)
    write_cifar(tmp_path / sub)
    train, test = cifar10(tmp_path), cifar10(tmp_path, split="test")
    assert train.labels.tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert test.labels.tolist() == [9]
    assert np.array_equal(train.pixels.numpy(), np.tile(ramp(3072), (10, 1)))
    assert parse_input(f"cifar10:{tmp_path}:9").shape == (1, 3072)


def test_cifar10_refusals(tmp_path: Path) -> None:
    assert_refused("no folder", cifar10, tmp_path / "absent")
    assert_refused("data_batch_1.bin does not exist", cifar10, tmp_path)
    assert_refused("no split 'valid'", cifar10, tmp_path, split="valid")
    write_cifar(tmp_path)
    file = tmp_path / "data_batch_4.bin"
    for content, message in [
        (b"", "holds 0 bytes"),
        (cifar_bytes([1])[:-1], "holds 3072 bytes"),
        (cifar_bytes([1, 10]), "label above 9"),
    ]:
        file.write_bytes(content)
        assert_refused(f"data_batch_4.bin .*{message}", cifar10, tmp_path)
    file.unlink()
    assert_refused("data_batch_4.bin does not exist", cifar10, tmp_path)


# Digits, standardization and the forms of the command line


def test_digits() -> None:
    images = digits()
    assert images.pixels.shape == (1797, 64)
    assert (images.pixels.min(), images.pixels.max()) == (0, 16)
    assert images.labels[:12].tolist() == [*range(10), 0, 1]


@given(hnp.arrays(np.uint8, (3, 10)).filter(lambda a: (a.min(1) < a.max(1)).all()))
def test_standardized_images_have_mean_0_and_deviation_1(array) -> None:
    x = standardize(torch.from_numpy(array)).numpy()
    expected = (array - array.mean(1, keepdims=True)) / array.std(1, keepdims=True)
    assert x.dtype == np.float64
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-13)  # |x| ≤ 3 and a few roundings
    # An image with one pixel off by 1 has a mean up to 850 times its deviation: so much are roundings.
    np.testing.assert_allclose(x.mean(1), 0, atol=850 * 2.2e-16)
    np.testing.assert_allclose(np.square(x).mean(1), 1, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-300, 1e-8, 1.0, 1e150, 1e300])
def test_contrast_does_not_matter(scale: float) -> None:
    image = torch.tensor([[0.0, 1.0, 2.0, 5.0]])
    torch.testing.assert_close(standardize(scale * image), standardize(image), rtol=1e-14, atol=0)


def test_standardize_leaves_its_argument_alone() -> None:
    pixels = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    standardize(pixels)
    assert pixels.tolist() == [[0.0, 1.0, 2.0]]


def test_standardize_refusals() -> None:
    good = torch.arange(12.0).reshape(3, 4)
    for value in (torch.nan, torch.inf, -torch.inf):
        bad = good.clone()
        bad[1, 2] = value
        assert_refused("Image 1 has a value that is not finite", standardize, bad)
    bad = good.clone()
    bad[2] = 0.1  # the rounded mean of ten 0.1 need not be 0.1
    assert_refused("Image 2 is constant", standardize, bad)
    assert_refused("Image 7 is constant", standardize, torch.full((1, 10), 0.1), names=["Image 7"])
    for shape in [(4,), (0, 4), (4, 0), (1, 2, 3)]:
        assert_refused(re.escape(f"shape {shape}"), standardize, torch.zeros(shape))


def test_digits_as_input() -> None:
    every = parse_input("digits")
    assert every.shape == (1797, 64)
    assert every.dtype == torch.float64
    assert torch.equal(parse_input("digits:1796"), every[1796:])
    assert torch.equal(parse_input("digits", at_most=7), every[:7])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digits:1797", "digits has no image 1797: give an index from 0 to 1796"),
        ("digits:-1", "no image -1: give an index from 0 to 1796"),
        ("digits:" + "9" * 18, "no image 9"),
        ("digits:" + "9" * 5000, "Unknown images"),
        ("digits:", "Unknown images 'digits:'"),
        ("digits:one", "Unknown images 'digits:one': give digits"),
        ("digits:1:2", "Unknown images 'digits:1'"),
        ("Digits", "Unknown images 'Digits'"),
        ("", "Unknown images ''"),
        (":3", "Unknown images ':3'|Unknown images ''"),
        ("imagenet:folder", "give digits.*, fashion-mnist:DIR.*, mnist:DIR.* or cifar10:DIR"),
        ("mnist", "mnist needs the folder of its files: give mnist:DIR"),
        ("mnist:", "mnist needs the folder"),
        ("mnist:3", "mnist needs the folder"),
        ("cifar10::3", "cifar10 needs the folder"),
        ("fashion-mnist:no/such/folder:3", "no folder 'no/such/folder'"),
    ],
)
def test_wrong_inputs_are_refused(text: str, message: str) -> None:
    assert_refused(message, parse_input, text)


@given(st.text(max_size=20) | st.from_regex(r"(digits|mnist|cifar10)(:[a-z0-9:\-]{0,6})?", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert parse_input(text, at_most=1).shape == (1, 64)
    except DatasetError:
        pass


def test_a_folder_may_hold_a_colon(tmp_path: Path) -> None:
    folder = tmp_path / "a:1:b"
    folder.mkdir()
    write_idx_folder(folder, ramp(3, 2, 2), ramp(3))
    assert parse_input(f"mnist:{folder}").shape == (3, 4)
    assert torch.equal(parse_input(f"mnist:{folder}:2"), parse_input(f"mnist:{folder}")[2:])
    assert_refused("has no image 3", parse_input, f"mnist:{folder}:3")
    write_idx_folder(folder, ramp(3, 2, 2) // 8, ramp(3))
    assert_refused("Image 1 is constant", parse_input, f"mnist:{folder}:1")


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_idx_folder(tmp_path, ramp(3, 2, 2), ramp(3))
    assert load_images("mnist:~").pixels.shape == (3, 4)


def test_digits_have_one_split() -> None:
    assert_refused("no split 'test'", load_images, "digits", split="test")
