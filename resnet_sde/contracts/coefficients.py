"""What blocks of one's own say of their branches at a finite width, beside many small random layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from resnet_sde.blocks import Block, Layer, NotKnown
from resnet_sde.contracts.asked import Broken, close, once, ours
from resnet_sde.matrices import Dense
from resnet_sde.streams import Stream, stream

_WIDTH = 6
_SIGMAS = 7.0  # of a mean over layers, by its spread: a false alarm below 1e-9
_AT_ONCE, _FEWEST = 2048, 8192  # layers that are drawn together, and whose spread is relied on
_MOST, _SEEN = 2**15, 0.05  # layers at the first use, and the error at which fewer do
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
_F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


def check_coefficients(block: Block) -> None:
    """Check the facts of a block of one's own that limits and walks are made of. Raises ValueError."""
    if not ours(block):
        once(_check, block)


def _check(block: Block) -> None:
    source = stream(0, "contract", "coefficients")
    if block.one_matrix:
        try_one_matrix(block, _WIDTH, source)
    if block.scale_free:
        try_scale_free(block, _WIDTH, source)
    if block.states_covariance:
        try_covariance(block, _WIDTH, source)
    if states_sizes(block):
        try_sizes(block, _WIDTH, source)


@torch.no_grad()
def try_one_matrix(block: Block, width: int, source: Stream) -> None:
    """Raise Broken unless the branch is linear in a matrix named outer, the only one."""
    h = _states(width, source)
    first, second = _drawn(block, width, source, 64), _drawn(block, width, source, 64)
    total = {n: w + second[n] for n, w in first.items()}
    apart = _branch(block, h, first) + _branch(block, h, second)
    if first.keys() != {"outer"} or not close(_branch(block, h, total), apart):
        raise Broken(
            f"block {type(block).__name__} says one_matrix, and its branch is not linear in a matrix named "
            "outer alone"
        )


@torch.no_grad()
def try_scale_free(block: Block, width: int, source: Stream) -> None:
    """Raise Broken unless the branch is the same at all positive multiples of a state."""
    h, weights = _states(width, source), _drawn(block, width, source, 64)
    found = _branch(block, h, weights)
    if not all(close(_branch(block, c * h, weights), found) for c in (2.0**-10, 3.0)):
        raise Broken(f"block {type(block).__name__} says scale_free, and its branch at 3h is not that at h")


@torch.no_grad()
def try_covariance(block: Block, width: int, source: Stream, most: int = _MOST, seen: float = _SEEN) -> float:
    """Raise Broken unless `covariance` is that of the branches, of all coordinates together and of each.

    Args:
        block: which states one.
        width: of its states.
        source: of states and weights.
        most: layers that are drawn at most.
        seen: the error at which they are enough, as a share of the sizes of both branches.

    Returns:
        The error that they show.
    """
    name, h = f"block {type(block).__name__}", _states(width, source)
    i, j = (list(places) for places in zip(*_PAIRS, strict=True))
    said = block.covariance(h)[0][i, j]
    size = said[[_PAIRS.index((k, k)) for k in i]] * said[[_PAIRS.index((k, k)) for k in j]]

    def compared(b: Tensor) -> Tensor:
        off = b[:, i] * b[:, j] - said[:, None]
        return torch.cat([off.mean(-1), off.flatten(1), torch.cat([b, b * b.roll(1, -1)], 1).flatten(1)], 1)

    off, allowed = _means(block, h, source, compared, most, seen * size.clamp(min=0).sqrt())
    wrong, count = ~(off.abs() <= allowed), len(_PAIRS) * (width + 1)
    if bool(wrong[count:].any()):
        raise Broken(f"{name} states a covariance, and its coordinates have a mean, or go together")
    if bool(wrong[:count].any()):
        worst = int((off.abs() / allowed)[:count].argmax())
        pair = worst if worst < len(_PAIRS) else (worst - len(_PAIRS)) // width
        raise Broken(
            f"covariance of {name} is {float(said[pair]):.4g} at two states, and random layers give "
            f"{float(said[pair] + off[worst]):.4g}; mend it, or leave it out"
        )
    return float((allowed[: len(_PAIRS)] / size.sqrt()).max())


def states_sizes(block: Block) -> bool:
    """Whether a block says what the sizes of its branches are at a finite width."""
    try:
        block.size_moments(1.0, _WIDTH)
    except NotKnown:
        return False
    return True


@torch.no_grad()
def try_sizes(block: Block, width: int, source: Stream, most: int = _MOST, seen: float = _SEEN) -> float:
    """Raise Broken unless `size_moments` are those of the branches; arguments and result as before."""
    h = _states(width, source)[:, :1]
    mean, variance = block.size_moments(float(h.square().mean()), width)
    said = torch.tensor([mean, (1 + 2 / width) * (mean**2 + variance)], **_F64)

    def compared(b: Tensor) -> Tensor:
        size = b[:, 0].square().mean(-1)
        return torch.stack([size, size.square()], 1) - said

    off, allowed = _means(block, h, source, compared, most, seen * said[:1])
    if not bool((off.abs() <= allowed).all()):
        raise Broken(
            f"size_moments of block {type(block).__name__} are {mean:.4g} and {variance:.4g}, and random "
            "layers give others"
        )
    return float(allowed[0] / said[0])


def _states(width: int, source: Stream) -> Tensor:
    """Three states, (1, 3, width), of cosines 0.8, −0.6 and −0.48: covariances of all of them are large."""
    axes = torch.linalg.qr(source.normal_(torch.empty(width, 3, **_F64)))[0].T
    mixed = torch.tensor([[0.5, 0.0, 0.0], [0.8, 0.6, 0.0], [-1.2, 0.0, 1.6]], **_F64)
    return math.sqrt(width) * (mixed @ axes)[None]


def _drawn(block: Block, width: int, source: Stream, layers: int) -> dict[str, Tensor]:
    return {n: source.normal_(torch.empty(layers, *s, **_F64)) for n, s in block.shapes(width).items()}


def _branch(block: Block, h: Tensor, weights: dict[str, Tensor]) -> Tensor:
    layers = len(next(iter(weights.values())))
    states = h.expand(layers, -1, -1).contiguous()
    return block.branch(states, Layer({n: Dense(w) for n, w in weights.items()})).clone()


def _means(
    block: Block, h: Tensor, source: Stream, compared: Callable[[Tensor], Tensor], most: int, enough: Tensor
) -> tuple[Tensor, Tensor]:
    """Means over random layers of what is to be 0, (layer, quantity), and how far off they may be.

    Layers are drawn until the first quantities may be off by no more than `enough`, or `most` are drawn.
    """
    total, squares, drawn = torch.zeros(()), torch.zeros(()), 0
    while True:
        values = compared(_branch(block, h, _drawn(block, h.shape[-1], source, _AT_ONCE)))
        total, squares, drawn = total + values.sum(0), squares + values.square().sum(0), drawn + _AT_ONCE
        mean = total / drawn
        allowed = _SIGMAS * ((squares / drawn - mean.square()).clamp(min=0) / drawn).sqrt() + 1e-12
        if drawn >= most or (drawn >= _FEWEST and bool((allowed[: len(enough)] <= enough).all())):
            return mean, allowed
