"""Images of one's own: what does not fit together, cannot be scaled or is not what it says is refused."""

import gzip
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from places import ROOT

from resnet_sde.datasets import DatasetError, load_images, read_idx
from resnet_sde.training import load_data


def write_images(folder: Path, pixels: np.ndarray, labels: object, stem: str = "train") -> None:
    labels = np.asarray(labels, np.uint8)
    for name, array in (("images-idx3", pixels.astype(np.uint8)), ("labels-idx1", labels)):
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / f"{stem}-{name}-ubyte").write_bytes(header + array.tobytes())


def images(folder: Path, change=lambda pixels, labels: None, **test: object) -> str:
    """A folder of 24 images of 3 × 3 pixels in three classes, and of four for the test; the source's name."""
    pixels = np.random.Generator(np.random.PCG64(0)).integers(1, 255, (24, 3, 3))
    labels = np.arange(24) % 3
    change(pixels, labels)
    write_images(folder, pixels, labels)
    given = {"pixels": np.array([5, 0, 9] * 12).reshape(4, 3, 3), "labels": [0, 1, 2, 0], **test}
    write_images(folder, given["pixels"], given["labels"], "t10k")
    return f"mnist:{folder}"


def test_test_images_that_do_not_belong_to_the_training_images(tmp_path: Path) -> None:
    assert load_data(images(tmp_path)).classes == 3
    with pytest.raises(DatasetError, match="test labels up to 3 where those of training end at 2"):
        load_data(images(tmp_path, labels=[0, 1, 2, 3]))
    with pytest.raises(DatasetError, match="training images of 9 pixels and test images of 16"):
        load_data(images(tmp_path, pixels=np.arange(64).reshape(4, 4, 4)))


@pytest.mark.parametrize("bad", [0, 3, 23], ids=str)
def test_a_constant_image_is_named_by_its_place_in_the_file(tmp_path: Path, bad: int) -> None:
    def change(pixels: np.ndarray, labels: np.ndarray) -> None:
        pixels[bad] = 7

    source = images(tmp_path, change)
    with pytest.raises(DatasetError, match=f"Image {bad} of mnist is constant"):
        load_data(source)
    for scaling in ("pixels", "centred", "sphere"):
        assert load_data(source, scaling=scaling).train.x.isfinite().all()
    flat = np.array([5, 0, 9] * 12).reshape(4, 3, 3)
    flat[2] = 1
    with pytest.raises(DatasetError, match="Test image 2 of mnist is constant"):
        load_data(images(tmp_path, pixels=flat))


def test_a_constant_image_that_is_not_used_is_no_fault(tmp_path: Path) -> None:
    source = images(tmp_path)
    unused = sorted(set(range(24)) - used(source, tmp_path, limit=5))
    assert len(unused) == 24 - 5 - 4

    def change(pixels: np.ndarray, labels: np.ndarray) -> None:
        pixels[unused] = 7

    expected = load_data(source, limit=5)
    found = load_data(images(tmp_path, change), limit=5)
    assert torch.equal(found.train.x, expected.train.x)
    assert torch.equal(found.validation.x, expected.validation.x)


def used(source: str, folder: Path, **options: object) -> set[int]:
    """The places in the file of the images of training and validation."""
    every = load_images(source).pixels.double()
    found = load_data(source, scaling="pixels", dtype=torch.float64, **options)
    rows = torch.cat([found.train.x, found.validation.x])
    scaled = every / (every.max() if not options else every[:, :].max())
    distances = torch.cdist(rows / rows.norm(dim=1, keepdim=True), scaled / scaled.norm(dim=1, keepdim=True))
    return set(distances.argmin(1).tolist())


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ("image", "is constant"),
        ("pixels", "All training images are black"),
        ("centred", "All 20 training images are the same"),
        ("sphere", "is the mean of the training images"),
    ],
)
def test_black_images(tmp_path: Path, scaling: str, message: str) -> None:
    def change(pixels: np.ndarray, labels: np.ndarray) -> None:
        pixels[:] = 0

    with pytest.raises(DatasetError, match=message):
        load_data(images(tmp_path, change), scaling=scaling)


@pytest.mark.parametrize("scaling", ["centred", "sphere"])
def test_one_training_image_has_nothing_beside_its_mean(scaling: str) -> None:
    with pytest.raises(DatasetError, match="mean"):
        load_data("digits", scaling=scaling, limit=1)
    for other in ("image", "pixels"):
        assert load_data("digits", scaling=other, limit=1).train.x.isfinite().all()


def test_an_image_that_is_the_mean_is_named(tmp_path: Path) -> None:
    """The mean of images in pairs around 100 is 100, a constant image, which is no fault by itself."""
    pixels = np.full((24, 3, 3), 100) + np.arange(9).reshape(3, 3) * (-1) ** np.arange(24)[:, None, None]
    flat = np.array([5, 0, 9] * 12).reshape(4, 3, 3)
    flat[3] = 100
    write_images(tmp_path, pixels, np.arange(24) % 3)
    write_images(tmp_path, flat, [0, 1, 2, 0], "t10k")
    source = f"mnist:{tmp_path}"
    signs = load_data(source, scaling="pixels", dtype=torch.float64).train.x[:, 8] > 100 / 108
    even = min(int(signs.sum()), int((~signs).sum()))
    assert even > 0
    found = [seed for seed in range(60) if balanced(source, seed)]
    assert found
    with pytest.raises(DatasetError, match="Test image 3 of mnist is the mean"):
        load_data(source, scaling="sphere", seed=found[0])


def balanced(source: str, seed: int) -> bool:
    """Whether as many training images are above 100 as below it."""
    x = load_data(source, scaling="pixels", dtype=torch.float64, seed=seed).train.x[:, 8]
    return int((x > x.mean()).sum()) * 2 == len(x)


@pytest.mark.parametrize("name", ["validation", "limit", "test"])
@pytest.mark.parametrize("value", [-3, 0, 2.5, True, "5"], ids=repr)
def test_numbers_of_images_are_positive_integers(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a positive integer"):
        load_data("digits", **{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": torch.int64}, "float32 or float64"),
        ({"dtype": torch.float16}, "float32 or float64"),
        ({"dtype": "float32"}, "float32 or float64"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1.5}, "seed must be"),
        ({"validation": 1400}, "each of the three parts"),
        ({"test": 1797}, "each of the three parts"),
        ({"source": None}, "named by a string"),
        ({"source": Path("digits")}, "named by a string"),
    ],
    ids=str,
)
def test_requests_for_images_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_data(**{"source": "digits", **options})


def test_whole_numbers_of_any_type_and_limits_beyond_the_set() -> None:
    found = load_data("digits", validation=np.int64(100), limit=10.0)
    assert (len(found.validation.x), len(found.train.x)) == (100, 10)
    assert len(load_data("digits", limit=10**9).train.x) == 1167


def test_digits_leave_the_environment_alone() -> None:
    code = (
        "import os; before = dict(os.environ)\n"
        "from resnet_sde.training import load_data\n"
        "load_data('digits')\n"
        "print(sorted(os.environ.items() ^ before.items()))\n"
        "import sys; print('sklearn' in sys.modules)"
    )
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


# Files that inflate


def bomb(file: Path, stated: tuple[int, ...], megabytes: int) -> None:
    header = struct.pack(f">BBBB{len(stated)}I", 0, 0, 8, len(stated), *stated)
    with gzip.open(file, "wb", compresslevel=9) as packed:
        packed.write(header)
        for _ in range(megabytes):
            packed.write(bytes(2**20))


def test_no_more_is_inflated_than_the_header_states(tmp_path: Path) -> None:
    """A file of 0.1 MB that becomes 100 MB, and says that it holds 100 bytes, or more than it can hold."""
    for stated, message in (((100,), "more than 100 bytes of data"), ((2**31, 2**20), "cannot hold the")):
        bomb(tmp_path / "bomb", stated, 100)
        tracemalloc.start()
        with pytest.raises(DatasetError, match=message):
            read_idx(tmp_path / "bomb")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10 * 2**20


def test_memory_that_is_inflated_is_measured(tmp_path: Path) -> None:
    bomb(tmp_path / "honest", (20, 2**20), 20)
    tracemalloc.start()
    assert read_idx(tmp_path / "honest").numel() == 20 * 2**20
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak > 20 * 2**20


def test_sizes_beyond_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb(tmp_path / "large", (2**20,), 1)
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073 * 200))
    monkeypatch.setattr("resnet_sde.datasets.memory_of", lambda: 5e5)
    with pytest.raises(DatasetError, match="states 1048576 bytes, which do not fit into memory"):
        read_idx(tmp_path / "large")
    with pytest.raises(DatasetError, match="holds 614600 bytes, which do not fit into memory"):
        load_images(f"cifar10:{tmp_path}", split="test")


def test_headers_are_compared_before_data_are_read(tmp_path: Path) -> None:
    bomb(tmp_path / "train-images-idx3-ubyte.gz", (20 * 2**20, 1, 1), 20)
    labels = struct.pack(">BBBBI", 0, 0, 8, 1, 10) + bytes(10)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(DatasetError, match=f"{20 * 2**20} images but .* 10 labels"):
        load_images(f"mnist:{tmp_path}")


def test_a_file_that_holds_what_it_states_is_read(tmp_path: Path) -> None:
    bomb(tmp_path / "zeros", (1024, 1024), 1)
    assert read_idx(tmp_path / "zeros").shape == (1024, 1024)
    if os.path.exists("/dev/zero"):
        with pytest.raises(DatasetError, match="type 0x00"):
            read_idx("/dev/zero")
