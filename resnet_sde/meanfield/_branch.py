"""What recursions ask of a branch: moments of φ for V φ(W h + b) + a, for others the dual that they state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_sde.blocks import Block, Variances
from resnet_sde.checks import states


@dataclass(frozen=True)
class BranchMoments:
    """Moments of what a branch applies to pre-activations of variance r, and the variances around it.

    shifted: whether branches have a mean that adds up along the skip connection.
    homogeneous: whether second_moment(r) / r and second_moment_prime(r) are constants.
    """

    variances: Variances
    shifted: bool
    homogeneous: bool
    second_moment: Callable[[Tensor], Tensor]
    second_moment_prime: Callable[[Tensor], Tensor]
    mean: Callable[[Tensor], Tensor]


def has_dual(block: Block) -> bool:
    """Whether a block states what its branch is at infinite width by a dual of its own."""
    return states(block, "dual", "branch", "shapes")


def moments_of(block: Block) -> BranchMoments:
    """The moments of a block of which theory knows something."""
    if has_dual(block):
        return BranchMoments(
            Variances(1.0, 0.0, 1.0, 0.0),
            False,
            False,
            lambda r: block.dual(r, r, gap=torch.zeros_like(r)),
            lambda r: block.dual_prime(r, r, gap=torch.zeros_like(r)),
            torch.zeros_like,
        )
    phi = block.activation
    shifted = "outer" not in block.shapes(1) and not phi.odd
    moments = phi.second_moment, phi.second_moment_prime, phi.mean
    return BranchMoments(block.variances, shifted, phi.homogeneous, *moments)
