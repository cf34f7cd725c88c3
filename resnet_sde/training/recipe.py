"""What is trained, and how: values that name a training run completely, together with the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_sde.checks import positive_integer
from resnet_sde.model import Model
from resnet_sde.networks import Ends, check_block, structure
from resnet_sde.streams import check_seed

OPTIMIZERS = ("adam", "sgd", "rmsprop")
LOSSES = ("cross-entropy", "mse")


@dataclass(frozen=True)
class Member:
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
class Recipe:
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
    ends: variances around the layers; those of `Ends.of` if None.
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
    ends: Ends | None = None
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
        if self.entries != 0 or isinstance(self.entries, bool):
            entries = positive_integer("entries", self.entries, "give for example 10, or 0 for none")
            object.__setattr__(self, "entries", entries)
        if not isinstance(self.biases, bool):
            raise ValueError(f"biases must be True or False, got {self.biases!r}; give True for biases")
        if self.ends is not None and not isinstance(self.ends, Ends):
            raise ValueError(f"ends must be None or Ends, got {type(self.ends).__name__}; give networks.Ends")
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
        if isinstance(value, bool | str):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be {what}, got {value!r}; give for example {example}") from None


def check_members(members: object, recipe: Recipe) -> None:
    """Refuse what is no list of members, or what no recipe of this kind trains. Raises ValueError."""
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe must be a Recipe, got {type(recipe).__name__}; give for example Recipe()")
    if not isinstance(members, Sequence) or not all(isinstance(member, Member) for member in members):
        raise ValueError(
            f"members must be a list of Member, got {type(members).__name__}; give [Member(...)]"
        )
    if not members:
        raise ValueError("there is no network to train; give at least one member")
    for block in {id(member.model.block): member.model.block for member in members}.values():
        check_block(block)
    if recipe.keep_rate < 1 and any(member.model.skip != 0 for member in members):
        raise ValueError("dropout is for feed-forward networks; give models with skip=0, or keep_rate=1")


def kind(member: Member, recipe: Recipe) -> tuple[object, ...]:
    """What the members of a stack must share."""
    return (member.depth, *structure(member.model, recipe.biases))
