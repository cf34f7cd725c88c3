"""Branches whose matrices are convolutions, shared by all positions of a signal or an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import override

from resnet_sde.activations import Activation
from resnet_sde.blocks.base import Block, Variances, known_by_positions, runs_as
from resnet_sde.checks import positive_integer
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Layer, Matrix, NotDrawn

_PADDINGS = ("periodic", "zero")
_SIZES = "give for example 16, or (8, 8)"


@dataclass(frozen=True)
class Convolution(Block):
    """A block at every position of a state, with convolutions in the place of its matrices.

    A state of width d holds channels × positions numbers, in the order of ``x.flatten()`` of a tensor
    (channel, *positions). A matrix (in, out) of the block becomes one of shape (in · K, out), K being the
    entries of the kernel: with the weight ``entries[sample].T.view(out, in, *kernel)`` it is torch's
    convolution of stride 1, and its variance is that of the block over K. There are as many positions after
    it as before. Biases are one number for each channel.

    Args:
        block: of the package or of one's own, seen as one of channels: `SingleLayer` makes one convolution of
            a branch, `TwoLayer` two with the activation between them.
        positions: their number, or the sizes of an image, as in (8, 8).
        kernel: entries along each axis; an odd number.
        padding: "periodic", or "zero" outside of the image.
    """

    block: Block
    positions: tuple[int, ...]
    kernel: int = 3
    padding: Literal["periodic", "zero"] = "periodic"

    def __post_init__(self) -> None:
        if not isinstance(self.block, Block):
            raise ValueError(f"block must be a Block, got {self.block!r}; give for example TwoLayer(RELU)")
        if self.block.sharing > 1:
            raise ValueError(f"{self.block} has positions already; give the block that is at each of them")
        given = self.positions
        several = isinstance(given, Sequence) and not isinstance(given, str)
        sizes = [positive_integer("positions", n, _SIZES) for n in (given if several else (given,))]
        if not 1 <= len(sizes) <= 3:
            raise ValueError(f"positions must be one to three numbers, got {given!r}; {_SIZES}")
        if math.prod(sizes) == 1:
            raise ValueError(f"a convolution has two positions or more, got {given!r}; give the block itself")
        kernel = positive_integer("kernel", self.kernel, "give for example 3")
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}; give for example {kernel + 1}")
        if self.padding not in _PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(_PADDINGS)}, got {self.padding!r}")
        object.__setattr__(self, "positions", tuple(sizes))
        object.__setattr__(self, "kernel", kernel)

    @property
    def parts(self) -> tuple[Block, ...]:
        """What it is made of."""
        return (self.block,)

    @override
    @property
    def sharing(self) -> int:
        return math.prod(self.positions)

    @property
    def activation(self) -> Activation:  # type: ignore[override]
        """That of the block."""
        return self.block.activation

    @property
    def neighbours(self) -> Tensor:
        """Which positions each one sees, (position, kernel entry); their number stands for the outside."""
        return _neighbours(self.positions, self.kernel, self.padding, torch.device("cpu"))

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        weights, channels = self._weights(width), width // self.sharing
        of_block = self.block._weights(channels)
        return {
            name: (weights[name] + rows - of_block[name], out)
            for name, (rows, out) in self.block.shapes(channels).items()
        }

    @override
    def _weights(self, width: int) -> dict[str, int]:
        if width % self.sharing:
            raise ValueError(
                f"a state of width {width} is not made of {self.sharing} positions; give a multiple of "
                f"{self.sharing}, the number of channels times positions"
            )
        of_block, entries = self.block._weights(width // self.sharing), self.kernel ** len(self.positions)
        return {name: entries * weights for name, weights in of_block.items()}

    @override
    def branch(self, h: Tensor, layer: Layer) -> Tensor:
        return self._states(self.block.branch(self._vectors(h), self._convolved(layer)), h)

    @override
    def _branch_and_pre(self, h: Tensor, layer: Layer, unit: Tensor | None = None) -> tuple[Tensor, Any]:
        if not self._ours:
            return super()._branch_and_pre(h, layer, unit)
        inside = self._convolved(layer if unit is None else replace(layer, unit=unit))
        found, pre = self.block._branch_and_pre(self._vectors(h), inside, inside.unit)
        return self._states(found, h), pre

    @override
    def _adjoint_at(self, pre: Any, p: Tensor, layer: Layer) -> Tensor:
        if not self._ours:
            return super()._adjoint_at(pre, p, layer)
        return self._states(self.block._adjoint_at(pre, self._vectors(p), self._convolved(layer)), p)

    @property
    def _ours(self) -> bool:
        return runs_as(self, Convolution)

    def _vectors(self, h: Tensor) -> Tensor:
        """The channels at every position, (sample, input · position, channel)."""
        self._weights(h.shape[-1])  # refuses what is not made of positions
        channels = h.unflatten(-1, (-1, self.sharing))
        return channels.transpose(-1, -2).flatten(1, 2)

    def _states(self, x: Tensor, like: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.sharing)).transpose(-1, -2).reshape(like.shape)

    def _convolved(self, layer: Layer) -> Layer:
        unit = None if layer.unit is None else layer.unit.repeat_interleave(self.sharing, 1)
        where = (self.positions, self.kernel, self.padding)
        changed = {name: _Convolved(matrix, where) for name, matrix in layer.matrices.items()}
        return Layer(changed, unit)

    @override
    @property
    def variances(self) -> Variances:
        raise known_by_positions(self)

    @override
    def preactivations(
        self,
        q1: Tensor,
        q2: Tensor,
        gap: Tensor,
        inner: float | Tensor = 1.0,
        unit: float | Tensor = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        raise known_by_positions(self)

    @override
    def difference(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        raise known_by_positions(self)

    @override
    def critical_beta(self, law: PathLaw) -> float | None:
        return self.block.critical_beta(law) if self._ours else None

    @override
    @property
    def strength(self) -> float | None:
        return self.block.strength if self._ours else None

    @override
    @property
    def homogeneous(self) -> bool:
        return self._ours and self.block.homogeneous


_Where = tuple[tuple[int, ...], int, str]  # positions, kernel and padding of a convolution


class _Convolved(Matrix):
    """A matrix of patches as one of channels: it puts together what each position sees."""

    def __init__(self, matrix: Matrix, where: _Where) -> None:
        self._matrix, self._where = matrix, where
        self._positions, self._entries = _neighbours(*where, torch.device("cpu")).shape

    @property
    def entries(self) -> Tensor:
        """Refused: they are those of a kernel."""
        raise NotDrawn(
            "a block that reads the entries of its matrices has no convolution; let it call matvec"
        )

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return self._matrix.matvec(self._patches(x), scale * self._entries**-0.5)

    @override
    def affine(self, x: Tensor, scale: float, bias: float, unit: Tensor | None) -> Tensor:
        return self._matrix.affine(self._patches(x), scale * self._entries**-0.5, bias, unit)

    @override
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        back = self._matrix.rmatvec(p, scale * self._entries**-0.5)
        weights = back.shape[-1] - back.shape[-1] % self._entries
        found = self._folded(back[..., :weights])
        if weights == back.shape[-1]:
            return found
        return torch.cat([found, back[..., weights:] * self._entries**0.5], -1)

    def _patches(self, x: Tensor) -> Tensor:
        """What every position sees, (sample, input · position, channel · kernel entry)."""
        there = pad(x.unflatten(1, (-1, self._positions)), (0, 0, 0, 1))
        seen = there[:, :, _neighbours(*self._where, x.device)]
        return seen.transpose(-1, -2).flatten(3).flatten(1, 2)

    def _folded(self, y: Tensor) -> Tensor:
        """The sum of what every position was seen as: the transpose of `_patches`."""
        seen = y.unflatten(-1, (-1, self._entries)).unflatten(1, (-1, self._positions)).transpose(-1, -2)
        of_all = pad(seen.flatten(2, 3), (0, 0, 0, 1))
        return of_all[:, :, _sources(*self._where, y.device)].sum(3).flatten(1, 2)


@lru_cache(maxsize=64)
def _sources(positions: tuple[int, ...], kernel: int, padding: str, device: torch.device) -> Tensor:
    """Where each position was seen from, of positions and entries of the kernel together."""
    from_where = _neighbours(positions, kernel, padding, torch.device("cpu"))
    count, entries = from_where.shape
    place = from_where.flip(1) * entries + torch.arange(entries)  # kernels are symmetric about their centre
    return place.clamp(max=count * entries).to(device)


@lru_cache(maxsize=64)
def _neighbours(positions: tuple[int, ...], kernel: int, padding: str, device: torch.device) -> Tensor:
    if device.type != "cpu":  # kept there, because a copy in every layer would be waited for
        return _neighbours(positions, kernel, padding, torch.device("cpu")).to(device)
    axes, offsets = (
        torch.cartesian_prod(*map(torch.arange, positions)).view(-1, len(positions)),
        kernel // 2,
    )
    steps = torch.tensor(list(product(range(-offsets, offsets + 1), repeat=len(positions))))
    sizes = torch.tensor(positions)
    places = axes[:, None] + steps
    wrapped, found = places % sizes, torch.zeros(places.shape[:2], dtype=torch.long)
    for axis, size in enumerate(positions):
        found = found * size + wrapped[..., axis]
    outside = (wrapped != places).any(-1) & (padding == "zero")
    return found.masked_fill(outside, len(axes))
