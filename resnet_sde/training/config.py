"""What is trained, and how: values that name a training run completely, together with the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_sde.checks import is_truth, positive_integer
from resnet_sde.model import Model
from resnet_sde.networks import ReadInOut, check_block, structure
from resnet_sde.streams import check_seed

OPTIMIZERS = ("adam", "sgd", "rmsprop")
LOSSES = ("cross-entropy", "mse")


@dataclass(frozen=True)
class TrainingJob:
    """One network to train.

    seed: of its initial weights, of the order of its examples and of its dropout masks.
    lr: learning rate, that of every parameter.

    Raises:
        ValueError: depth or seed is no positive or no non-negative integer, or the rate is not positive.
    """

    model: Model
    depth: int
    lr: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.model, Model):
            raise ValueError(f"model must be a Model, got {type(self.model).__name__}; give resnet_sde.Model")
        object.__setattr__(self, "depth", positive_integer("depth", self.depth, "give for example 100"))
        object.__setattr__(self, "seed", check_seed(self.seed))
        object.__setattr__(self, "lr", _number("lr", self.lr, "positive and finite", "0.001"))
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be positive and finite, got {self.lr}; give for example 0.001")


@dataclass(frozen=True)
class TrainingConfig:
    """How networks are trained.

    epochs: passes over the training examples, each in an order of its own.
    steps: number of steps, which then counts instead of the epochs; None for whole epochs.
    batch_size: examples in every step. What an epoch has beyond whole batches is left out of that epoch.
    optimizer: "adam", "sgd" or "rmsprop", those of `torch.optim` with its defaults.
    momentum: of sgd.
    loss: "cross-entropy" of classes, or "mse", the mean square of the differences.
    decay_every, decay: after so many epochs, and again after as many, rates are multiplied by `decay`.
    keep_rate: share of the φ of every layer that dropout keeps in training; for feed-forward networks.
    biases: give every layer biases, which start at 0 where the block has none.
    read_in_out: variances around the layers; those of `ReadInOut.of` if None.
    entries: how many entries of each matrix are kept as paths along depth, before and after.
    dtype: "float32" or "float64".

    Raises:
        ValueError: a field is out of range.
    """

    epochs: int = 10
    steps: int | None = None
    batch_size: int = 128
    optimizer: str = "adam"
    momentum: float = 0.0
    loss: str = "cross-entropy"
    decay_every: int | None = None
    decay: float = 0.1
    keep_rate: float = 1.0
    biases: bool = False
    read_in_out: ReadInOut | None = None
    entries: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "steps", "decay_every"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, positive_integer(name, value, "give for example 10"))
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("loss", LOSSES),
            ("dtype", ("float32", "float64")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; give one of {', '.join(choices)}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("keep_rate", "momentum", "decay"):
            value = _number(name, getattr(self, name), "a number", "0.9")
            object.__setattr__(self, name, value)
        if self.entries != 0 or is_truth(self.entries):
            entries = positive_integer("entries", self.entries, "give for example 10, or 0 for none")
            object.__setattr__(self, "entries", entries)
        if not isinstance(self.biases, bool):
            raise ValueError(f"biases must be True or False, got {self.biases!r}; give True for biases")
        if self.read_in_out is not None and not isinstance(self.read_in_out, ReadInOut):
            raise ValueError(
                f"read_in_out must be None or ReadInOut, got {type(self.read_in_out).__name__}; give "
                "networks.ReadInOut"
            )
        if not 0 < self.keep_rate <= 1:
            raise ValueError(f"keep_rate must lie in (0, 1], got {self.keep_rate}; give for example 0.9")
        if not 0 <= self.momentum < 1 or (self.momentum > 0 and self.optimizer != "sgd"):
            raise ValueError(
                f"momentum is of sgd and lies in [0, 1), got {self.momentum}; give for example 0.9"
            )
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must lie in (0, 1], got {self.decay}; give for example 0.1")

    def rate(self, lr: float, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        return lr if self.decay_every is None else lr * self.decay ** (epoch // self.decay_every)


def _number(name: str, value: object, what: str, example: str) -> float:
    """The value as a float; truth values and words are none."""
    try:
        if isinstance(value, str) or is_truth(value):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be {what}, got {value!r}; give for example {example}") from None


def check_jobs(jobs: object, config: TrainingConfig) -> None:
    """Refuse what is no list of jobs, or what no config of this kind trains. Raises ValueError."""
    if not isinstance(config, TrainingConfig):
        raise ValueError(
            f"config must be a TrainingConfig, got {type(config).__name__}; give for example TrainingConfig()"
        )
    if not isinstance(jobs, Sequence) or not all(isinstance(job, TrainingJob) for job in jobs):
        raise ValueError(
            f"jobs must be a list of TrainingJob, got {type(jobs).__name__}; give [TrainingJob(...)]"
        )
    if not jobs:
        raise ValueError("there is no network to train; give at least one job")
    for block in {id(job.model.block): job.model.block for job in jobs}.values():
        check_block(block)
    if config.keep_rate < 1 and any(job.model.skip != 0 for job in jobs):
        raise ValueError("dropout is for feed-forward networks; give models with skip=0, or keep_rate=1")


def kind(job: TrainingJob, config: TrainingConfig) -> tuple[object, ...]:
    """What the jobs of a stack must share."""
    return (job.depth, *structure(job.model, config.biases))
