"""Gauss rules on pieces of a line, and the density of a Gaussian variable at their nodes."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ROOT_TURN = math.sqrt(2 * math.pi)


class Rule(NamedTuple):
    """Ends of pieces, and nodes and weights on them, the last axis of each."""

    ends: Tensor
    x: Tensor
    w: Tensor


@functools.cache
def gauss(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [−1, 1]."""
    x, w = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy(x), torch.from_numpy(w)


def on(ends: Tensor, nodes: int) -> Rule:
    """The Gauss rule on pieces between these ends, (..., piece + 1)."""
    x, w = gauss(nodes)
    half, middle = ends.diff() / 2, (ends[..., 1:] + ends[..., :-1]) / 2
    shape = (*half.shape[:-1], -1)
    return Rule(
        ends, (middle[..., None] + half[..., None] * x).reshape(shape), (half[..., None] * w).reshape(shape)
    )


def groups(*keys: Tensor) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Places where integers of several tensors are the same, and these integers."""
    found, which = torch.unique(torch.stack(keys), dim=1, return_inverse=True)
    for i, key in enumerate(found.unbind(1)):
        yield tuple(key.tolist()), torch.nonzero(which == i)[:, 0]


def octave(q: Tensor) -> Tensor:
    """The power of two below a positive number."""
    return torch.log2(q).floor().long()


def density(rule: Rule, q: Tensor) -> Tensor:
    """Weights of a rule times the density of a variable of variance q, (element, node)."""
    return rule.w * torch.exp(-0.5 * rule.x.square() / q) / (ROOT_TURN * q.sqrt())
