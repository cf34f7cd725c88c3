"""What one instrumented run of a module leaves: norms at the boundaries of blocks, and arguments of a few."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnet_sde.practice.coherence import Directions, Pairs
from resnet_sde.practice.find_stream import Blocks

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

HEAD = 8  # the blocks on which exponents are fitted: later ones feel what earlier ones added


@dataclass(frozen=True)
class KeptCall:
    """The arguments that a block was given, for replays."""

    arguments: Arguments
    place: int | str
    stream: Tensor
    autocast: tuple[str, torch.dtype] | None


@dataclass
class StreamRecord:
    """What the boundaries of L blocks showed; entries beyond a state that is not finite are undefined.

    Attributes:
        norms, displacements, gradients: |h_k|, |h_k − h_0| / |h_0|, |p_k|, of length L + 1.
        updates, turning, alignment: |u_k|, ρ_k, cos ∠(u_k, h_k), of length L.
        negative, zero: whether some h_k, k ≥ 1, has a negative entry, or one that is zero.
        scales: what the module multiplies outputs of blocks with, empty where blocks add to the stream.
        sums: by number m of consecutive blocks, the mean of |Σ u/|h||² over groups of m.
        pairs: what pairs of branches have in common.
    """

    blocks: Blocks
    norms: np.ndarray
    displacements: np.ndarray
    gradients: np.ndarray
    updates: np.ndarray
    turning: np.ndarray
    alignment: np.ndarray
    negative: bool = False
    zero: bool = False
    first_nonfinite: int | None = None
    scales: list[float] = field(default_factory=list)
    sums: dict[int, float] = field(default_factory=dict)
    pairs: Pairs = field(default_factory=lambda: Directions(0).pairs())
    kept: dict[int, KeptCall] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def rectified(self) -> bool:
        """Whether the stream leaves a rectifier: it is nowhere negative, and zero where that is closed."""
        return self.zero and not self.negative

    @property
    def mode(self) -> str:
        """Whether blocks add to the stream themselves ("block"), are one ("loop") or are added ("branch")."""
        return "branch" if self.scales else "loop" if self.blocks.loop else "block"
