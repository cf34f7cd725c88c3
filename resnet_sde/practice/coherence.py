"""Whether branches add up like independent steps or in one direction.

With v_k = u_k / |h_k| for k ≥ 1 (block 0, whose input is unlike that of all others, is left out), V(m) is the
mean of |Σ v|² over disjoint groups of m consecutive blocks, m = 1, 2, 4, … ≤ (L − 1)/4. It grows like
m^{2H}: H = 1/2 for independent blocks, 1 for copies of one block, for loops and for smooth weights. A stream
with independent branches has the critical scaling β* = 1/2, one with coherent branches β* = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor

FEWEST_BLOCKS = 9
INDEPENDENT_BELOW = 0.65
COHERENT_ABOVE = 0.85


class Groups:
    """Mean squares of sums over disjoint groups of 1, 2, 4, … consecutive vectors."""

    def __init__(self, largest: int) -> None:
        self.sizes = [2**j for j in range(largest.bit_length())] if largest >= 1 else []
        self.sums: list[Tensor | None] = [None] * len(self.sizes)
        self.squares: list[list[float]] = [[] for _ in self.sizes]
        self.count = 0

    def add(self, vector: Tensor) -> None:
        """Take the next vector."""
        self.count += 1
        for j, size in enumerate(self.sizes):
            held = self.sums[j]
            total = vector if held is None else held + vector
            done = self.count % size == 0
            self.sums[j] = None if done else total
            if done:
                self.squares[j].append(float(total.square().sum()))

    def means(self) -> dict[int, float]:
        """V by the size of the groups."""
        return {m: float(np.mean(found)) for m, found in zip(self.sizes, self.squares, strict=True) if found}


def coherence(sums: Mapping[int, float]) -> float:
    """Half the slope of log V on log m; NaN where fewer than nine blocks say nothing."""
    sizes = [m for m, v in sums.items() if v > 0]
    if len(sizes) < 2:
        return math.nan
    slope = np.polyfit(np.log(sizes), np.log([sums[m] for m in sizes]), 1)[0]
    return float(slope) / 2


def critical_beta(coherence: float) -> float:
    """β* from the coherence; 1/2, that of independent branches, where it is not known."""
    if math.isnan(coherence) or coherence < INDEPENDENT_BELOW:
        return 0.5
    return 1.0 if coherence > COHERENT_ABOVE else coherence
