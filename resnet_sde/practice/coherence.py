r"""Whether branches add up like independent steps, in one direction, or in part.

With v_k = u_k / |h_k| for k ≥ 1 (block 0, whose input is unlike that of all others, is left out), V(m) is the
mean of |Σ v|² over disjoint groups of m consecutive blocks, m = 1, 2, 4, … ≤ (L − 1)/4. It grows like
m^{2H}: H = 1/2 for independent blocks, 1 for copies of one block, for loops and for smooth weights. A stream
with independent branches has the critical scaling β* = 1/2, one with coherent branches β* = 1.

Branches that share a direction, such as those that end in a ReLU, follow no power: V(m) = s m + c m², with s
of what is their own and c of what they share, so that β* = 1 as soon as c > 0, and below m* = s / c blocks
they add up like independent ones. With e_k = u_k / |u_k|, c is the mean cosine of pairs and s = 1 − c.

*Whether* branches are alike is seen by w_k = ⟨e_k, E_k⟩ / |E_k|, E_k = e_1 + … + e_{k−1}. What writes to the
stream in an independent layer has a symmetric law whatever came before, so that the w_k are differences of a
martingale of symmetric law, and Σw / √Σw² ≥ x has a probability of at most exp(−x²/2) (de la Peña, 1999),
over networks too. *How* they are alike is seen by the cosine within groups of m ≈ √n of n blocks: a direction
that all share gives that of all pairs, one that fades like distance^{2H − 2} gives (m^{2H − 1} − 1)/(m − 1).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from resnet_sde._json import json_number

FEWEST_BLOCKS = 9
INDEPENDENT_BELOW = 0.65
COHERENT_ABOVE = 0.85
FALSE_ALARMS = 1e-3  # at most this share of sound checks may read that branches are alike
ALIKE_ABOVE = math.sqrt(2 * math.log(1 / FALSE_ALARMS))


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


@dataclass(frozen=True)
class Pairs:
    """What pairs of branches of one network have in common.

    Attributes:
        count: n, the branches that are not zero, from block 1 on.
        cosine: mean over all pairs.
        group: m, about √n.
        near: mean cosine of pairs within disjoint groups of m consecutive branches.
        pairs: of that kind.
        steps, squares: Σ w_k and Σ w_k², of cosines between a branch and the sum of those before.
    """

    count: int
    cosine: float
    group: int
    near: float
    pairs: int
    steps: float
    squares: float


class Directions:
    """Takes branches one after the other, and keeps two sums of their directions."""

    def __init__(self, expected: int) -> None:
        self.group = 2 ** round(math.log2(max(expected, FEWEST_BLOCKS - 1)) / 2)
        self.total: Tensor | None = None
        self.held: Tensor | None = None
        self.count = 0
        self.squares: list[float] = []
        self.steps: list[float] = []

    def add(self, branch: Tensor) -> None:
        """Take the next branch; one of zero has no direction."""
        size = float(branch.norm())
        if not size:
            return
        unit, before = branch / size, self.total
        if before is not None and (length := float(before.norm())):
            self.steps.append(float((before * unit).sum()) / length)
        self.total = unit if before is None else before + unit
        self.held = unit if self.held is None else self.held + unit
        self.count += 1
        if self.count % self.group == 0:
            self.squares.append(float(self.held.square().sum()))
            self.held = None

    def pairs(self) -> Pairs:
        """Of all that were taken."""
        n, m, groups = self.count, self.group, len(self.squares)
        whole = float(self.total.square().sum()) if self.total is not None else math.nan
        steps = np.array(self.steps)
        return Pairs(
            count=n,
            cosine=(whole - n) / (n * (n - 1)) if n > 1 else math.nan,
            group=m,
            near=(float(np.mean(self.squares)) - m) / (m * (m - 1)) if groups else math.nan,
            pairs=groups * m * (m - 1) // 2,
            steps=float(steps.sum()),
            squares=float((steps**2).sum()),
        )


class Addition(enum.Enum):
    """How branches add up."""

    UNKNOWN = "unknown"
    INDEPENDENT = "independent"
    COMMON_PART = "common part"
    PARTLY_COHERENT = "partly coherent"
    COHERENT = "coherent"


@dataclass(frozen=True)
class Dependence:
    """How the branches of a network add up.

    Attributes:
        addition: in a word.
        critical_beta: β*; 1/2, that of independent branches, where it is not known.
        cosine: mean over all pairs of branches.
        coherence: Ĥ.
        blocks: that were seen, block 0 left out.
        alike: whether branches point the same way more often than chance lets independent ones.
        sure: whether what they share can be told from what fades with distance.
    """

    addition: Addition
    critical_beta: float
    cosine: float
    coherence: float
    blocks: int
    alike: bool = False
    sure: bool = True

    @property
    def crossover(self) -> float:
        """m*, the number of blocks beyond which what they share outweighs what is their own."""
        return (1 - self.cosine) / self.cosine if self.cosine > 0 else math.inf

    def sum_of(self, blocks: int) -> float:
        """How much larger the sum of so many branches is than one of them."""
        return sum_of(
            blocks, self.critical_beta, self.cosine if self.addition is Addition.COMMON_PART else 0.0
        )

    def document(self) -> dict[str, float | str | None]:
        """Ready for JSON."""
        beta, cosine = json_number(self.critical_beta), json_number(self.cosine)
        return {"layers": self.addition.value, "critical_beta": beta, "cosine": cosine}

    def notes(self) -> list[str]:
        """What a reader should know of layers that are neither independent nor copies."""
        if not self.alike or self.addition is Addition.COHERENT:
            return []
        shared = self.addition is Addition.COMMON_PART
        fading = f"{max(self.coherence, 0.5):.2f}"
        if shared:
            found = f"{self.sentence()}, and β* is 1"
        else:
            found = (
                f"branches are alike, and more so near each other (mean cosine {self.cosine:.2g}): weights "
                f"depend on those of blocks before; β* is {fading} if they do so at any distance, else 0.5"
            )
        if shared and self.crossover > self.blocks:
            found += f"; {self.blocks} blocks still add up nearly like independent ones, for which β* is 0.5"
        if self.sure:
            return [found]
        other = f"fades with distance, and β* is {fading}" if shared else "does not fade, and β* is 1"
        return [found, f"{self.blocks} blocks are too few to tell whether what branches share {other}"]

    def sentence(self) -> str:
        """That branches share a direction, and beyond how many blocks it matters."""
        return (
            f"branches share a direction (mean cosine {self.cosine:.2g}): beyond {self.crossover:.0f} blocks "
            "it outweighs the rest"
        )


def sum_of(blocks: int, critical_beta: float, shared: float) -> float:
    """How much larger the sum of branches is than one of them; `shared` is the cosine of a common part."""
    if shared:
        return math.sqrt(blocks * (1 + shared * (blocks - 1)))
    return float(blocks**critical_beta)


def coherence(sums: Mapping[int, float]) -> float:
    """Half the slope of log V on log m; NaN where fewer than nine blocks say nothing."""
    sizes = [m for m, v in sums.items() if v > 0]
    if len(sizes) < 2:
        return math.nan
    slope = np.polyfit(np.log(sizes), np.log([sums[m] for m in sizes]), 1)[0]
    return float(slope) / 2


def how_layers_add(coherence: float, networks: Sequence[Pairs]) -> Dependence:
    """Of networks of one depth, from their mean coherence and from their pairs of branches."""
    cosine = float(np.mean([p.cosine for p in networks]))
    blocks = min(p.count for p in networks)

    def layers(addition: Addition, beta: float, alike: bool = False, sure: bool = True) -> Dependence:
        return Dependence(addition, beta, cosine, coherence, blocks, alike, sure)

    if math.isnan(coherence):
        return layers(Addition.UNKNOWN, 0.5)
    squares = sum(p.squares for p in networks)
    alike = sum(p.steps for p in networks) > ALIKE_ABOVE * math.sqrt(squares) and cosine > 0
    if coherence > COHERENT_ABOVE:
        return layers(Addition.COHERENT, 1.0, alike)
    fading, doubt = _fading(cosine, networks) if alike else (math.inf, 0.0)
    sure = abs(fading - 0.5) > doubt
    if fading < 0.5:
        return layers(Addition.COMMON_PART, 1.0, alike, sure)
    if coherence < INDEPENDENT_BELOW:
        return layers(Addition.INDEPENDENT, 0.5, alike, sure)
    return layers(Addition.PARTLY_COHERENT, coherence, alike, sure)


def _fading(cosine: float, networks: Sequence[Pairs]) -> tuple[float, float]:
    """Where the cosine of near pairs lies between that of all (0) and that of a power law (1); its doubt."""
    n, m = networks[0].count, networks[0].group
    near = float(np.mean([p.near for p in networks]))
    excess = math.log(1 + cosine * (n - 1)) / math.log(n)  # 2H − 1 of the power law with this sum of all
    gap = max((m**excess - 1) / (m - 1) - cosine, 1e-9)
    steps = sum(p.count - 1 for p in networks)
    mean = sum(p.steps for p in networks) / steps
    spread = max(sum(p.squares for p in networks) / steps - mean**2, 0.0)
    doubt = 2 * math.sqrt(spread / max(sum(p.pairs for p in networks), 1))
    return (near - cosine) / gap, doubt / gap
