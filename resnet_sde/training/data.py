"""Images in three parts: to train on, to choose learning rates on, and to test on, once.

Whatever a scaling estimates, it estimates from the training part, and applies to all three.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from resnet_sde._random import stream
from resnet_sde.datasets import Images, load_images, standardize

_DIGITS_TEST = 397
_VALIDATION_SHARE = 6  # one training image in six is held out, at most so many:
_VALIDATION_AT_MOST = 5000


class Examples(NamedTuple):
    """Inputs, (example, n_in), and targets: classes, (example,), or numbers, (example, n_out)."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Data:
    """Examples for training, validation and test.

    name: what they are, with their scaling.
    classes: number of classes, or of outputs.
    """

    name: str
    train: Examples
    validation: Examples
    test: Examples
    classes: int

    @property
    def n_in(self) -> int:
        """Dimension of an input."""
        return self.train.x.shape[1]

    @property
    def digest(self) -> str:
        """A name of the content, the same on every machine."""
        found = hashlib.sha256(repr((self.name, self.classes)).encode())
        for tensor in (*self.train, *self.validation, *self.test):
            found.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
            found.update(tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def to(self, device: torch.device | str) -> Data:
        """The same examples on a device."""
        train, validation, test = (
            Examples(part.x.to(device), part.y.to(device))
            for part in (self.train, self.validation, self.test)
        )
        return Data(self.name, train, validation, test, self.classes)


def load_data(
    source: str,
    *,
    scaling: str = "image",
    validation: int | None = None,
    test: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Data:
    """Images of `digits`, `fashion-mnist:DIR`, `mnist:DIR` or `cifar10:DIR` as inputs of a network.

    Args:
        source: as in `datasets.load_images`. Digits have no test images of their own; some are held out.
        scaling: "image", every image minus its mean, divided by its standard deviation; "pixels", in [0, 1];
            "centred", minus the mean training image, then divided by one number, so that squares of the
            training inputs are 1 on average; "sphere", minus the mean training image, then every image
            divided by its own root mean square.
        validation: training images held out to choose learning rates on; a sixth of them, 5000 at most, if
            None.
        test: test images of digits; 397 if None.
        limit: training images to keep after that.
        seed: of the permutation before images are held out, the same for every network.
        dtype: of the inputs.

    Raises:
        DatasetError: there are no such images.
        ValueError: the scaling is unknown, or no training images are left.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"unknown scaling {scaling!r}; give one of {', '.join(SCALINGS)}")
    images = load_images(source)
    order = torch.from_numpy(stream(seed, "split", len(images.pixels)).numpy.permutation(len(images.pixels)))
    if source == "digits":
        held = _DIGITS_TEST if test is None else test
        tested, order = _part(images, order[:held]), order[held:]
    elif test is None:
        every = load_images(source, split="test")
        tested = (every.pixels, every.labels)
    else:
        raise ValueError("only digits have a number of test images to choose; leave out test")
    if validation is None:
        validation = min(len(order) // _VALIDATION_SHARE, _VALIDATION_AT_MOST)
    trained, validated = _part(images, order[validation:][:limit]), _part(images, order[:validation])
    if not len(trained[0]) or not len(validated[0]) or not len(tested[0]):
        raise ValueError(f"{source} has {len(images.pixels)} images; leave some for each of the three parts")
    scale = SCALINGS[scaling](trained[0].double())
    train, validated_on, tested_on = (
        Examples(scale(x.double()).to(dtype), y) for x, y in (trained, validated, tested)
    )
    name = f"{source.partition(':')[0]} {scaling}"
    return Data(name, train, validated_on, tested_on, classes=int(images.labels.max()) + 1)


def _part(images: Images, rows: Tensor) -> tuple[Tensor, Tensor]:
    return images.pixels[rows], images.labels[rows]


def _per_image(train: Tensor) -> Callable[[Tensor], Tensor]:
    return standardize


def _pixels(train: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x / train.max()


def _centred(train: Tensor) -> Callable[[Tensor], Tensor]:
    mean = train.mean(0)
    size = math.sqrt(float((train - mean).square().mean()))
    return lambda x: (x - mean) / size


def _sphere(train: Tensor) -> Callable[[Tensor], Tensor]:
    mean = train.mean(0)
    return lambda x: (x - mean) / (x - mean).square().mean(1, keepdim=True).sqrt()


SCALINGS: dict[str, Callable[[Tensor], Callable[[Tensor], Tensor]]] = {
    "image": _per_image,
    "pixels": _pixels,
    "centred": _centred,
    "sphere": _sphere,
}
