"""Branches behind a normalization of the state, as in pre-norm transformers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.activations import Activation
from resnet_sde.blocks.base import (
    Block,
    NotKnown,
    Variances,
    gaps_of,
    known_by_dual,
    known_by_positions,
    known_without_mean,
    runs_as,
)
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Layer
from resnet_sde.parts import NORMS


def check_norm(norm: object) -> None:
    """Raises ValueError unless there is a normalization of this name."""
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def normalize(h: Tensor, norm: str, dim: int = -1) -> tuple[Tensor, Tensor]:
    """States of mean square 1, and what they were divided by; zero stays zero, and NaN or infinity is NaN.

    norm: "rms", or "layer", which takes off the mean over coordinates first; rounding that is left of a state
        that is its mean counts as zero.
    """
    noise: Tensor | float = 0.0
    if norm == "layer":
        mean = h.mean(dim, keepdim=True)
        h, noise = h - mean, 4 * torch.finfo(h.dtype).eps * mean.detach().abs()  # of rounding alone
    largest = h.detach().abs().amax(dim, keepdim=True)
    gone = largest <= noise  # what is no number is not
    scale = largest.clamp(min=torch.finfo(h.dtype).tiny)  # squares of h may overflow
    size = torch.where(gone, 1.0, h / scale).square().mean(dim, keepdim=True).sqrt() * scale
    return torch.where(gone, 0.0, h / size), torch.where(gone, 0.0, size)


def normalize_back(p: Tensor, x: Tensor, size: Tensor, norm: str) -> Tensor:
    """(∂x/∂h)ᵀ p of ``x, size = normalize(h, norm)``, for states along the last axis."""
    back = p - x * (p * x).mean(-1, keepdim=True)
    back = back - back.mean(-1, keepdim=True) if norm == "layer" else back
    return torch.where(size == 0, 0.0, back / size)


@dataclass(frozen=True)
class PreNorm(Block):
    """V g(h √d / |h|): a block behind a normalization of the state without parameters or an ε.

    A branch has the same size whatever the state, so that a deep network is a random walk: its mean square
    grows like S = Σ α² c over that at the start, and inputs come together in the time log(1 + S).

    Args:
        block: of the package or of one's own.
        norm: "rms" divides a state by its root mean square over coordinates, "layer" takes off the mean
            first. At infinite width both are one for states without a mean, as random weights make them.
    """

    block: Block
    norm: Literal["rms", "layer"] = "rms"

    def __post_init__(self) -> None:
        if not isinstance(self.block, Block):
            raise ValueError(f"block must be a Block, got {self.block!r}; give for example TwoLayer(RELU)")
        check_norm(self.norm)

    @property
    def parts(self) -> tuple[Block, ...]:
        """What it is made of."""
        return (self.block,)

    @property
    def activation(self) -> Activation:  # type: ignore[override]
        """That of the block."""
        return self.block.activation

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return self.block.shapes(width)

    @override
    def _weights(self, width: int) -> dict[str, int]:
        return self.block._weights(width) if self._ours else super()._weights(width)

    @override
    def branch(self, h: Tensor, layer: Layer) -> Tensor:
        return self.block.branch(normalize(h, self.norm)[0], replace(layer, unit=None))

    @override
    def _branch_and_pre(self, h: Tensor, layer: Layer, unit: Tensor | None = None) -> tuple[Tensor, Any]:
        if not self._ours:
            return super()._branch_and_pre(h, layer, unit)
        x, size = normalize(h, self.norm)
        found, pre = self.block._branch_and_pre(x, layer)
        return found, (pre, x, size)

    @override
    def _adjoint_at(self, pre: Any, p: Tensor, layer: Layer) -> Tensor:
        if not self._ours:
            return super()._adjoint_at(pre, p, layer)
        inside, x, size = pre
        return normalize_back(self.block._adjoint_at(inside, p, layer), x, size, self.norm)

    @property
    def _ours(self) -> bool:
        return runs_as(self, PreNorm)

    @override
    def dual(
        self,
        q1: Tensor,
        q2: Tensor,
        *,
        gap: Tensor,
        inner: float | Tensor = 1.0,
        unit: float | Tensor = 1.0,
    ) -> Tensor:
        one, gap = self._pair(q1, q2, gap)
        return self.block.dual(one, one, gap=gap, inner=inner)

    @override
    def difference(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        one, gap = self._pair(q1, q2, gap)
        return self.block.difference(one, one, gap=gap)

    @override
    def dual_prime(
        self,
        q1: Tensor,
        q2: Tensor,
        *,
        gap: Tensor,
        inner: float | Tensor = 1.0,
        unit: float | Tensor = 1.0,
    ) -> Tensor:
        one, gap = self._pair(q1, q2, gap)
        return self.block.dual_prime(one, one, gap=gap, inner=inner) / (q1 * q2).sqrt()

    def _pair(self, q1: Tensor, q2: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        """Mean square and gap of two normalized states, of the shape of all three.

        Raises:
            NotKnown: branches have a mean over coordinates, which moves what is normalized.
        """
        if self.sharing > 1:
            raise known_by_positions(self)
        if "outer" not in self.block.shapes(1) and not self.activation.odd:
            raise known_without_mean(self.block)
        gap = gap + 0 * (q1 + q2)
        return torch.ones_like(gap), gap

    @override
    @property
    def scale_free(self) -> bool:
        return self._ours

    @override
    @property
    def one_matrix(self) -> bool:
        return self._ours and self.block.one_matrix

    @override
    @property
    def inside(self) -> Block:
        return self.block.inside if self._ours else self

    @override
    @property
    def least_width(self) -> int:
        """In fewer dimensions, what is normalized passes through 0, where its direction jumps."""
        return max(self.block.least_width, 2 if self.norm == "rms" else 3)

    @override
    @property
    def states_covariance(self) -> bool:
        return self._ours and self.block.states_covariance

    @override
    def covariance(self, h: Tensor) -> Tensor:
        if not self._ours:
            return super().covariance(h)
        x = normalize(h, self.norm)[0]
        if not self.block.averages:
            return self.block.covariance(x)
        q1, q2, gap = gaps_of(x @ x.mT / h.shape[-1])
        here = (q1 * q2 > 0).to(gap.dtype)  # mean squares are 1 but for rounding, or 0 where nothing is left
        return self.block.dual(here, here, gap=gap)

    @override
    def size_moments(self, q: float, width: int) -> tuple[float, float]:
        if not self._ours:
            return super().size_moments(q, width)
        if self.norm == "layer" and width == 1:
            raise NotKnown("a state of one coordinate is its mean, and nothing is left of it; give norm rms")
        return self.block.size_moments(1.0, width)

    @override
    @property
    def variances(self) -> Variances:
        raise known_by_dual(self)

    @override
    def critical_beta(self, law: PathLaw) -> float | None:
        return self.block.critical_beta(law) if self._ours else None
