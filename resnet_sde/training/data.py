"""Images in three parts: to train on, to choose learning rates on, and to test on, once.

Whatever a scaling estimates, it estimates from the training part, and applies to all three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from resnet_sde.checks import positive_integer
from resnet_sde.datasets import DatasetError, Images, load_images, standardize
from resnet_sde.runs import identity
from resnet_sde.streams import stream

_DIGITS_TEST = 397
_VALIDATION_SHARE = 6  # one training image in six is held out, at most so many:
_VALIDATION_AT_MOST = 5000
_NUMBERS = (torch.float32, torch.float64)
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_Scale = Callable[[Tensor, Sequence[str]], Tensor]


class Examples(NamedTuple):
    """Inputs, (example, n_in), and targets: classes, (example,), or numbers, (example, n_out).

    Inputs are float32 or float64, classes integers, and other targets any of these.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Data:
    """Examples for training, validation and test.

    name: what they are, with their scaling.
    classes: number of classes, or of outputs.

    Raises:
        ValueError: a part is empty, or not of the shapes and types of `Examples`, or holds a value that is
            not finite; or inputs of the parts have different dimensions.
    """

    name: str
    train: Examples
    validation: Examples
    test: Examples
    classes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", positive_integer("classes", self.classes, "give for example 10"))
        for part in ("train", "validation", "test"):
            examples = _checked(part, getattr(self, part))
            object.__setattr__(self, part, examples)
            if examples.x.shape[1] != self.n_in:
                raise ValueError(
                    f"inputs have dimension {self.n_in} in the train examples and "
                    f"{examples.x.shape[1]} in the {part} examples; give all parts the same"
                )

    @property
    def n_in(self) -> int:
        """Dimension of an input."""
        return self.train.x.shape[1]

    @property
    def digest(self) -> str:
        """A name of the content, the same on every machine."""
        parts = (self.train, self.validation, self.test)
        return identity.digest(self.name, self.classes, [tensor.cpu() for part in parts for tensor in part])

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
        limit: training images to keep at most after that.
        seed: of the permutation before images are held out, the same for every network.
        dtype: of the inputs, float32 or float64.

    Raises:
        DatasetError: there are no such images, training and test images do not fit together, or images
            cannot be scaled.
        ValueError: the scaling or the dtype is unknown, a number is not a positive integer, or no images are
            left for a part.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"unknown scaling {scaling!r}; give one of {', '.join(SCALINGS)}")
    if dtype not in _NUMBERS:
        raise ValueError(f"inputs are float32 or float64, got {dtype}; give for example torch.float32")
    for number, value in (("validation", validation), ("test", test), ("limit", limit)):
        if value is not None:
            positive_integer(number, value, "leave some images for each of the three parts")
    images = load_images(source)
    order = torch.from_numpy(stream(seed, "split", len(images.pixels)).numpy.permutation(len(images.pixels)))
    if source == "digits":
        held = _DIGITS_TEST if test is None else int(test)
        tested, order = _part(images, order[:held]), order[held:]
    elif test is None:
        every = load_images(source, split="test")
        _check_alike(source, images, every)
        tested = _part(every, torch.arange(len(every.pixels)), "Test image")
    else:
        raise ValueError("only digits have a number of test images to choose; leave out test")
    if validation is None:
        validation = min(len(order) // _VALIDATION_SHARE, _VALIDATION_AT_MOST)
    validated = _part(images, order[: int(validation)])
    trained = _part(images, order[int(validation) :][: None if limit is None else int(limit)])
    if not len(trained.pixels) or not len(validated.pixels) or not len(tested.pixels):
        raise ValueError(f"{source} has {len(images.pixels)} images; leave some for each of the three parts")
    scale = SCALINGS[scaling](trained.pixels.double())
    train, validated_on, tested_on = (
        Examples(scale(part.pixels.double(), part.names).to(dtype), part.labels)
        for part in (trained, validated, tested)
    )
    name = f"{source.partition(':')[0]} {scaling}"
    return Data(name, train, validated_on, tested_on, classes=int(images.labels.max()) + 1)


def _checked(part: str, given: object) -> Examples:
    """The examples of a part without their graph, and row by row, as sums are rounded alike only then."""
    if isinstance(given, Tensor) or not isinstance(given, Sequence) or len(given) != 2:
        raise ValueError(f"the {part} examples must be inputs and targets; give Examples(x, y)")
    for name, value in zip(("inputs", "targets"), given, strict=True):
        if not isinstance(value, Tensor) or value.layout is not torch.strided or value.is_meta:
            kind = value.layout if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name} of the {part} examples must be a dense tensor, got {kind}; convert it")
    x, y = given
    _check_shapes(part, x, y)
    for name, value in (("input", x), ("target", y)):
        if not bool(value.isfinite().all()):
            bad = int((~value.isfinite()).reshape(len(x), -1).any(1).int().argmax())
            raise ValueError(
                f"{name} {bad} of the {part} examples holds a value that is not finite; remove or replace it"
            )
    return Examples(x.detach().contiguous(), y.detach().contiguous())


def _check_shapes(part: str, x: Tensor, y: Tensor) -> None:
    if x.dtype not in _NUMBERS or y.dtype not in _NUMBERS + _INTEGERS:
        raise ValueError(
            f"the {part} examples have inputs of {x.dtype} and targets of {y.dtype}; give inputs in float32 "
            "or float64 and targets in these or integers"
        )
    if x.dim() != 2:
        raise ValueError(
            f"inputs of the {part} examples must have shape (example, n_in), got {tuple(x.shape)}; give "
            f"{'x[:, None]' if x.dim() == 1 else 'x.flatten(1)'}"
        )
    if y.dim() == 0 or len(y) != len(x) or x.numel() == 0 or y.numel() == 0:
        raise ValueError(
            f"the {part} examples have inputs of shape {tuple(x.shape)} and targets of shape "
            f"{tuple(y.shape)}; give at least one example, and one target for each input"
        )


class _Part(NamedTuple):
    """Some images of a source, with what messages call them."""

    pixels: Tensor
    labels: Tensor
    names: list[str]


def _part(images: Images, rows: Tensor, word: str = "Image") -> _Part:
    names = [f"{word} {row} of {images.name}" for row in rows.tolist()]
    return _Part(images.pixels[rows], images.labels[rows], names)


def _check_alike(source: str, images: Images, tested: Images) -> None:
    """Refuse test images that networks for the training images cannot take, or answer."""
    if tested.pixels.shape[1] != images.pixels.shape[1]:
        raise DatasetError(
            f"{source} has training images of {images.pixels.shape[1]} pixels and test images of "
            f"{tested.pixels.shape[1]}: give files that belong together."
        )
    if tested.labels.max() > images.labels.max():
        raise DatasetError(
            f"{source} has test labels up to {int(tested.labels.max())} where those of training end at "
            f"{int(images.labels.max())}: give files that belong together."
        )


def _per_image(train: Tensor) -> _Scale:
    return lambda x, names: standardize(x, names=names)


def _pixels(train: Tensor) -> _Scale:
    top = train.max()
    if top == 0:
        raise DatasetError("All training images are black: give images with a pixel above 0.")
    return lambda x, names: x / top


def _centred(train: Tensor) -> _Scale:
    mean = train.mean(0)
    size = math.sqrt(float((train - mean).square().mean()))
    if bool((train == train[0]).all()):
        raise DatasetError(
            f"All {len(train)} training images are the same, and nothing is left of them without their mean: "
            "give images that differ, or another scaling."
        )
    return lambda x, names: (x - mean) / size


def _sphere(train: Tensor) -> _Scale:
    mean = train.mean(0)

    def scale(x: Tensor, names: Sequence[str]) -> Tensor:
        same = (x == mean).all(1)
        if bool(same.any()):
            raise DatasetError(
                f"{names[int(same.int().argmax())]} is the mean of the training images, and nothing is left "
                "of it to scale: leave it out, or give another scaling."
            )
        return (x - mean) / (x - mean).square().mean(1, keepdim=True).sqrt()

    return scale


SCALINGS: dict[str, Callable[[Tensor], _Scale]] = {
    "image": _per_image,
    "pixels": _pixels,
    "centred": _centred,
    "sphere": _sphere,
}
