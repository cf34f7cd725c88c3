"""What networks are drawn from: the numbers of a model, and what surrounds its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from resnet_sde.checks import positive_integer
from resnet_sde.model import Model
from resnet_sde.networks.claims import MATRICES, check_block, scaled, variances_of
from resnet_sde.streams import stream


@dataclass(frozen=True)
class ReadInOut:
    """What surrounds the layers: h_0 = A x + a, and the outputs B h_L + b or B φ(h_L) + b.

    embed_w2, embed_b2: variances of A (times n_in) and of a; embed_w2 None for no such layer, h_0 = x.
    readout_w2, readout_b2: the same for B (times the width) and b.
    activated: whether the readout reads φ(h_L).

    Raises:
        ValueError: a variance is no finite number from 0 on.
    """

    embed_w2: float | None = 1.0
    embed_b2: float = 0.0
    readout_w2: float = 1.0
    readout_b2: float = 0.0
    activated: bool = False

    def __post_init__(self) -> None:
        for name in ("embed_w2", "embed_b2", "readout_w2", "readout_b2"):
            value = getattr(self, name)
            if name == "embed_w2" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
                raise ValueError(
                    f"{name} is a variance: it must be finite and not negative, got {value!r}; give for "
                    "example 1"
                )
        if not isinstance(self.activated, bool):
            raise ValueError(f"activated must be True or False, got {self.activated!r}; give True for φ(h_L)")

    @classmethod
    def of(cls, model: Model) -> ReadInOut:
        """What surrounds the layers of a model.

        Those of feed-forward networks are like their layers. Those of residual networks have A and B of
        variance 1 and biases that start at 0, and the readout reads h_L itself.
        """
        if model.skip != 0.0:
            return cls()
        weight, bias = variances_of(model.block)["outer" if "outer" in model.block.shapes(1) else "inner"]
        return cls(weight, bias, weight, bias, activated=True)


def draw_parameters(
    model: Model,
    depth: int,
    n_in: int,
    n_out: int,
    *,
    seed: int,
    read_in_out: ReadInOut | None,
    biases: bool,
    dtype: torch.dtype,
    device: torch.device | str,
) -> dict[str, Tensor]:
    """The parameters of one network by name, in a fixed order."""
    read_in_out = read_in_out or ReadInOut.of(model)
    width, drawn = model.width, {}
    source = stream(seed, "ends", n_in, width, n_out, device=device)

    def end(name: str, rows: int, columns: int, weight: float, bias: float) -> None:
        numbers = source.normal_(torch.empty(rows + 1, columns, dtype=dtype, device=device))
        drawn[name], drawn[f"{name}_bias"] = (
            numbers[:rows] * math.sqrt(weight / rows),
            numbers[rows] * bias**0.5,
        )

    if read_in_out.embed_w2 is not None:
        end("embed", n_in, width, read_in_out.embed_w2, read_in_out.embed_b2)
    elif n_in != width:
        raise ValueError(f"without an input layer n_in is the width, got {n_in} and {width}; give embed_w2")
    paths = model.draw(depth, samples=1, seed=seed, dtype=dtype, device=device).matrices
    for name in (name for name in MATRICES if name in paths):
        path = paths[name].weights(depth)[:, 0]
        drawn |= scaled(name, path, variances_of(model.block)[name], biases)
    end("readout", width, n_out, read_in_out.readout_w2, read_in_out.readout_b2)
    return drawn


def checked_dtype(
    models: Sequence[Model], read_in_out: ReadInOut | None, dtype: torch.dtype | None
) -> torch.dtype:
    """The dtype of networks, once it is known that they are some."""
    for model in models:
        if not isinstance(model, Model):
            raise ValueError(f"a network is drawn from a Model, got {type(model).__name__}; give one")
    for block in {id(model.block): model.block for model in models}.values():
        check_block(block)
    if read_in_out is not None and not isinstance(read_in_out, ReadInOut):
        raise ValueError(
            f"read_in_out must be None or ReadInOut, got {type(read_in_out).__name__}; give "
            "networks.ReadInOut"
        )
    dtype = dtype or torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"weights are real numbers, got dtype {dtype}; give for example torch.float32")
    return dtype


def checked_sizes(depth: int, n_in: int, n_out: int) -> tuple[int, int, int]:
    """The sizes as integers. Raises ValueError where they are none."""
    given = {"depth": depth, "n_in": n_in, "n_out": n_out}
    found = [positive_integer(name, value, "give for example 10") for name, value in given.items()]
    return found[0], found[1], found[2]
