r"""Single blocks, run again on the arguments they were given, with another stream.

With B the map of a block on the stream, u⊥ the part of a vector orthogonal to h,

.. math::
    skip = ⟨B(8h) − B(h), h⟩ / (7|h|²), \quad degree = \log_2(|B(2h)_⊥| / |B(h)_⊥|) ∈ [0, 1], \quad
    out = \log_2(|B(2h)| / |B(h)|), \quad mixing = |B(8h) − B(h) − 7h| / (7|h|).

The secant from h to 8h gives the weight of the skip exactly for a normalized branch, where random probes of
the Jacobian are off by more than its size. Degree 1 is a homogeneous branch, 0 a normalized one; an out
degree of 0 means that the output is normalized. Medians over four blocks, never block 0, whose normalization
may be ruled by its ε.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_sde.practice.calling import first_tensor, with_stream
from resnet_sde.practice.errors import NotAStream
from resnet_sde.practice.record import KeptCall, StreamRecord
from resnet_sde.streams import seed_torch


@dataclass(frozen=True)
class Replay:
    """A block with the arguments it was given.

    Attributes:
        index: its place among the blocks.
        module: the block.
        scale: what its output is multiplied with when it is added; None where it adds itself.
    """

    index: int
    module: nn.Module
    kept: KeptCall
    scale: float | None

    @property
    def input(self) -> Tensor:
        """The stream that it was given, float64."""
        return self.kept.stream

    def __call__(self, factor: float = 1.0, *, bare: bool = False) -> Tensor:
        """What leaves the block when the stream that enters is multiplied, in float64.

        Args:
            factor: of the stream.
            bare: whether all parameters of the block are zero while it runs.
        """
        place = self.kept.place
        given = self.kept.arguments[0][place] if isinstance(place, int) else self.kept.arguments[1][place]
        entering = (factor * self.kept.stream).to(given.dtype)
        args, kwargs = with_stream(*self.kept.arguments, place, entering)
        seed_torch(0)  # the same dropout in every call; the caller puts random states back
        with torch.no_grad(), _cast(self.kept):
            output = first_tensor(self._run(args, kwargs, bare))
        if output is None or output.shape != self.kept.stream.shape:
            raise _another_output(self.kept.stream, output)
        leaving = output.detach().to(torch.float64, copy=True)
        return leaving if self.scale is None else factor * self.kept.stream + self.scale * leaving

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any], bare: bool) -> Any:
        if not bare:
            return self.module(*args, **kwargs)
        zeros = {name: torch.zeros_like(p) for name, p in self.module.named_parameters()}
        return torch.func.functional_call(self.module, zeros, args, kwargs)

    def is_identity_without_parameters(self) -> bool:
        """Whether the block hands its input on as it is where all of its parameters are zero."""
        try:
            rest = self(bare=True) - self.input
        except (RuntimeError, NotAStream):  # such as a scripted block: it shows nothing
            return False
        return float(rest.norm()) <= 1e-5 * float(self.input.norm())


def _another_output(stream: Tensor, output: Tensor | None) -> NotAStream:
    now = "no tensor of real numbers" if output is None else f"shape {tuple(output.shape)}"
    return NotAStream(
        f"a block that is run again on its input returns {now}, and returned {tuple(stream.shape)} before",
        "its output depends on more than its arguments",
        "Give replays=False, or blocks that repeat themselves",
    )


def _cast(kept: KeptCall) -> contextlib.AbstractContextManager[Any]:
    if kept.autocast is None:
        return contextlib.nullcontext()
    device, dtype = kept.autocast
    return torch.autocast(device, dtype=dtype)


def replays(record: StreamRecord, indices: Sequence[int]) -> Iterator[Replay]:
    """Replays of the blocks whose arguments were kept."""
    for k in indices:
        if k in record.kept:
            scale = record.scales[k] if record.scales else None
            yield Replay(k, record.blocks.modules[k], record.kept[k], scale)


def secant_places(length: int) -> list[int]:
    """The blocks that are asked for degree and skip."""
    return sorted({k for k in (length // 4, length // 2, 3 * length // 4, length - 1) if k > 0})


@dataclass(frozen=True)
class Secants:
    """Skip, degree, out degree and mixing of the blocks; NaN where none was replayed."""

    skip: float
    degree: float
    out_degree: float
    mixing: float


def secants(record: StreamRecord) -> Secants:
    """Medians over the blocks that were kept for it."""
    places = [k for k in secant_places(len(record.blocks.modules)) if k in record.kept]
    places = places or [k for k in record.kept if k > 0]  # the stream overflows early
    found = [_secants(r) for r in replays(record, places)]
    skip, degree, out, mixing = (
        (
            float(np.median(finite)) if (finite := [v for v in column if math.isfinite(v)]) else math.nan
            for column in zip(*found, strict=True)
        )
        if found
        else (math.nan,) * 4
    )
    return Secants(skip, min(max(degree, 0.0), 1.0) if math.isfinite(degree) else degree, out, mixing)


def _secants(replay: Replay) -> tuple[float, float, float, float]:
    h = replay.input
    square = float(h.square().sum())
    if square == 0.0:
        return (math.nan,) * 4
    one, two, eight = replay(), replay(2.0), replay(8.0)
    secant = eight - one
    skip = float((secant * h).sum()) / (7 * square)
    mixing = float((secant - 7 * h).norm()) / (7 * math.sqrt(square))
    return skip, _log2_ratio(_across(two, h), _across(one, h)), _log2_ratio(two, one), mixing


def _across(vector: Tensor, h: Tensor) -> Tensor:
    return vector - (float((vector * h).sum()) / float(h.square().sum())) * h


def _log2_ratio(above: Tensor, below: Tensor) -> float:
    top, bottom = float(above.norm()), float(below.norm())
    return math.log2(top / bottom) if top > 0 and bottom > 0 else math.nan
