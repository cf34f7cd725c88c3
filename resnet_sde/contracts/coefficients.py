"""What blocks of one's own say of their branches at a finite width, beside many small random layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from resnet_sde.blocks import Block, Layer, NotKnown
from resnet_sde.contracts.asked import Broken, close, once, ours
from resnet_sde.matrices import Dense
from resnet_sde.streams import stream

_WIDTH, _LAYERS = 6, 8192
_SIGMAS = 7.0  # of a mean over layers, by its spread: a false alarm below 1e-9
_F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


def check_coefficients(block: Block) -> None:
    """Check the facts of a block of one's own that limits and walks are made of. Raises ValueError."""
    if not ours(block):
        once(_check, block)


@torch.no_grad()
def _check(block: Block) -> None:
    name, source = f"block {type(block).__name__}", stream(0, "contract", "coefficients")
    h = source.normal_(torch.empty(1, 2, _WIDTH, **_F64)) * torch.tensor([[[0.5], [2.0]]], **_F64)
    first, second = (
        {n: source.normal_(torch.empty(_LAYERS, *s, **_F64)) for n, s in block.shapes(_WIDTH).items()}
        for _ in range(2)
    )
    states = h.expand(_LAYERS, -1, -1).contiguous()

    def branch(weights: dict[str, Tensor], scale: float = 1.0) -> Tensor:
        return block.branch(scale * states, Layer({n: Dense(w) for n, w in weights.items()})).clone()

    found = branch(first)
    if block.one_matrix:
        total = {n: w + second[n] for n, w in first.items()}
        if first.keys() != {"outer"} or not close(branch(total), found + branch(second)):
            raise Broken(
                f"{name} says one_matrix, and its branch is not linear in a matrix named outer alone"
            )
    if block.scale_free and not all(close(branch(first, c), found) for c in (2.0**-10, 3.0)):
        raise Broken(f"{name} says scale_free, and its branch at 3h is not that at h")
    if block.states_covariance:
        _check_covariance(name, found, block.covariance(h)[0])
    _check_sizes(name, block, found[:, 0], float(h[0, 0].square().mean()))


def _check_covariance(name: str, found: Tensor, said: Tensor) -> None:
    if not (_near(found, torch.zeros_like(found[0])) and _near(found * found.roll(1, -1), torch.zeros(()))):
        raise Broken(f"{name} states a covariance, and its coordinates have a mean, or go together")
    for i, j in ((0, 0), (0, 1), (1, 1)):
        products = found[:, i] * found[:, j]
        if not _near(products, said[i, j]):
            raise Broken(
                f"covariance of {name} is {float(said[i, j]):.4g} at two states, and random layers give "
                f"{float(products.mean()):.4g}; mend it, or leave it out"
            )


def _check_sizes(name: str, block: Block, found: Tensor, q: float) -> None:
    try:
        mean, variance = block.size_moments(q, _WIDTH)
    except NotKnown:
        return
    size = found.square().mean(-1)
    for values, said in ((size, mean), (size.square(), (1 + 2 / _WIDTH) * (mean**2 + variance))):
        if not _near(values, torch.tensor(said, **_F64)):
            raise Broken(
                f"size_moments of {name} are {mean:.4g} and {variance:.4g}, and random layers give others"
            )


def _near(values: Tensor, said: Tensor) -> bool:
    """Whether means over layers, the first axis, are what is said."""
    spread = values.std(0) / math.sqrt(len(values))
    return bool(((values.mean(0) - said).abs() <= _SIGMAS * spread + 1e-12).all())
