"""What a loss makes of examples: every shape and type is settled, or refused, before the first step."""

from __future__ import annotations

import torch
from torch import Tensor

from resnet_sde.training.config import TrainingConfig
from resnet_sde.training.data import Data, Examples

PARTS = ("train", "validation", "test")


def ready(data: Data, config: TrainingConfig) -> Data:
    """The examples in the shapes and types that the losses of `Run` take them in.

    Cross-entropy takes classes, integers (example,) from 0 to classes − 1. The mean square takes numbers
    (example, classes), of any type, or (example,) for one output. Inputs get the dtype of the config.

    Raises:
        ValueError: targets do not fit the loss or the number of classes, inputs are lost in the dtype, or a
            batch has more examples than there are to train on.
    """
    if not isinstance(data, Data):
        raise ValueError(
            f"data must be Data, got {type(data).__name__}; give training.Data or load_data(...)"
        )
    if len(data.train.x) < config.batch_size:
        raise ValueError(
            f"a batch of {config.batch_size} is more than the {len(data.train.x)} training examples; "
            "give a smaller batch_size"
        )
    if config.loss == "cross-entropy" and data.classes < 2:
        raise ValueError(
            "cross-entropy of one class is 0 whatever the network does; give at least two classes, or "
            "loss='mse' for numbers"
        )
    of_loss = _numbers if config.loss == "mse" else _classes
    dtype: torch.dtype = getattr(torch, config.dtype)
    train, validation, test = (
        Examples(_inputs(part, examples.x, dtype), of_loss(part, examples.y, data.classes, dtype))
        for part, examples in zip(PARTS, (data.train, data.validation, data.test), strict=True)
    )
    return Data(data.name, train, validation, test, data.classes)


def _inputs(part: str, x: Tensor, dtype: torch.dtype) -> Tensor:
    found = x.to(dtype)
    if found is x:
        return x
    lost = ~found.isfinite().all(1) | ((found == 0) & (x != 0)).any(1) & (found == 0).all(1)
    if bool(lost.any()):
        raise ValueError(
            f"input {int(lost.int().argmax())} of the {part} examples is too large or too small for "
            f"{dtype}; rescale it, or give dtype='float64'"
        )
    return found


def _classes(part: str, y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    if y.dim() != 1 or y.is_floating_point():
        remedy = "give loss='mse' for numbers"
        if y.dim() == 2 and y.shape[1] == classes:
            remedy = "give y.argmax(1) if they are one-hot"
        elif y.dim() == 1:
            remedy = "give y.long() if they are whole numbers"
        raise ValueError(
            f"cross-entropy takes classes, integers of shape (example,), but the {part} targets are "
            f"{y.dtype} of shape {tuple(y.shape)}; {remedy}"
        )
    found = y.long()
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"the {part} targets run from {low} to {high}, but {classes} classes are numbered from 0 to "
            f"{classes - 1}; renumber them, or give classes={high + 1 if low >= 0 else 'their number'}"
        )
    return found


def _numbers(part: str, y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    if y.dim() == 1 and classes == 1:
        y = y[:, None]
    if y.dim() != 2 or y.shape[1] != classes:
        remedy = f"give classes={y.shape[1]}" if y.dim() == 2 else f"give shape (example, {classes})"
        if y.dim() == 1 and not y.is_floating_point():
            remedy = f"give torch.nn.functional.one_hot(y, {classes}), or loss='cross-entropy' for classes"
        raise ValueError(
            f"loss='mse' with {classes} outputs takes targets of shape (example, {classes}), but the {part} "
            f"targets have shape {tuple(y.shape)}; {remedy}"
        )
    return y if y.dtype == torch.float64 else y.to(dtype)  # a target keeps digits that it has beyond float32
