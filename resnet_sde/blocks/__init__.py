"""Residual branches: everything about a layer except the entries of its matrices.

A layer is h ← λh + α V g(h). Constants of the branch (its biases) are one more column of the matrices, whose
input is the number `unit`: 1 for a state in natural units, 2^{−e} for a state that is carried as 2^e h. A
homogeneous branch is therefore the same function at any scale, biases included.
"""

from resnet_sde.blocks.base import Block, NotKnown, Variances, known_by_positions, known_without_mean
from resnet_sde.blocks.convolution import Convolution
from resnet_sde.blocks.gated import GatedLinearUnit
from resnet_sde.blocks.normalized import PreNorm, check_norm, normalize, normalize_back
from resnet_sde.blocks.pointwise import Reduced, SingleLayer, TwoLayer, affine, affine_back
from resnet_sde.matrices import Layer

__all__ = [
    "Block",
    "Convolution",
    "GatedLinearUnit",
    "Layer",
    "NotKnown",
    "PreNorm",
    "Reduced",
    "SingleLayer",
    "TwoLayer",
    "Variances",
    "affine",
    "affine_back",
    "check_norm",
    "known_by_positions",
    "known_without_mean",
    "normalize",
    "normalize_back",
]
