"""The head of a network: the blocks at which depth alone changes the branches, and what hides that.

Later blocks feel what earlier ones have added. Where blocks add up in one direction, the second one does so
already: the head is then the first block that is like all others, or, where branches share a direction in
part, what comes before that outweighs the rest. Behind a normalization of the sum that is not block 0, whose
input is not normalized; block 1 is given what block 0 has made, which depends on the depth, and is therefore
run again on the stream of the shallowest network.

Behind a normalization branches larger than the stream show no exponent where they are not orthogonal to it:
of a branch f times c times the stream and an orthogonal part, the angle shows f / (1 + f c).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from resnet_sde.estimate import Estimate
from resnet_sde.practice.coherence import Addition, Dependence
from resnet_sde.practice.over_seeds import exponent
from resnet_sde.practice.profile import Profile
from resnet_sde.practice.record import HEAD, StreamRecord
from resnet_sde.practice.replay import replays

_LARGE = 0.5  # of the tangent of an angle
_SEEN = 0.05  # an exponent below it is none, whatever the size of branches
_APART = 0.3  # exponents at single positions that differ by more


def blocks_in_head(layers: Dependence) -> int:
    """Blocks before what branches share outweighs the rest, at most eight."""
    if layers.addition is Addition.COMMON_PART:
        return min(max(round(layers.crossover), 1), HEAD)
    return 1 if layers.addition is Addition.COHERENT else HEAD


def turning_of_block_1(record: StreamRecord, state: Tensor) -> float:
    """The tangent of the angle by which block 1 turns this state; NaN where it cannot be run on it."""
    found = next(replays(record, [1]), None)
    if found is None or found.input.shape != state.shape:
        return math.nan
    output = replace(found, kept=replace(found.kept, stream=state))()
    along = float((output * state).sum() / state.square().sum())
    across = float((output - along * state).norm() / state.norm())
    return across / abs(along) if along else math.nan


def head_sizes(profile: Profile, first: int, of_block_1: float) -> float:
    """The size of the branches in the head of a network."""
    if profile.kind == "post-norm" and first == 1 and math.isfinite(of_block_1):
        return of_block_1
    start = int(profile.kind == "post-norm") if first < HEAD else 0
    return median(profile.sizes[start : start + first])


def median(sizes: Tensor) -> float:
    """Of what is finite."""
    finite = sizes[torch.isfinite(sizes)]
    return float(np.median(finite)) if finite.numel() else math.nan


def too_large(
    depths: Sequence[int],
    profiles: Sequence[Sequence[Profile]],
    sizes: Sequence[Sequence[float]],
    first: int,
    level: float,
) -> str | None:
    """Why the exponent of the head says nothing, if branches behind a norm are too large to show it."""
    if profiles[-1][0].kind != "post-norm" or not max(np.median(row) for row in sizes) > _LARGE:
        return None
    if first < HEAD:
        seen = abs(exponent(depths, sizes, level).value) > _SEEN
    else:
        early, late = (
            exponent(depths, [[float(p.sizes[k]) for p in row] for row in profiles], level)
            for k in (1, min(HEAD, len(profiles[0][0].names)) - 1)
        )
        seen = abs(early.value - late.value) > _APART and _disjoint(early, late)
    if not seen:
        return None
    return (
        "branches are as large as the stream, and the norm behind their sum hides how they fall with depth: "
        "β cannot be read off. Divide them by a constant, or give larger depths"
    )


def _disjoint(one: Estimate, other: Estimate) -> bool:
    return one.high < other.low or other.high < one.low
