"""One stream for networks of several depths: what grows with the depth is where the blocks are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import nn

from resnet_sde.practice.calling import Call, preserved
from resnet_sde.practice.errors import NotAStream
from resnet_sde.practice.find_stream import (
    BlockChoice,
    Blocks,
    candidates,
    covered,
    loops,
    named,
    nothing_repeated,
)
from resnet_sde.practice.profile import follow, tried

Finder = Callable[[nn.Module], Iterable[Blocks]]

FEWEST_BLOCKS = 3


def one_stream(
    depths: Sequence[int], build: Callable[[int], nn.Module], call: Call, blocks: BlockChoice
) -> tuple[Finder, list[str]]:
    """How to find the stream at every depth, and notes on what varies with the depth beside it.

    Raises:
        NoStream: nothing is repeated.
        NotAStream: what grows with the depth carries no stream.
        ValueError: nothing grows with the depth.
    """
    if blocks is not None:
        return (lambda net: [named(net, blocks, call)]), []
    if len(depths) == 1:
        return (lambda net: tried(net, call, None)), []
    small, large = build(depths[0]), build(depths[1])
    growing = _growing(small, large)
    refusal: NotAStream | None = None
    for i, container in enumerate(growing):
        finder = _inside(container)
        try:
            with preserved(small, initial=True):
                follow(small, call, finder(small), fewest=FEWEST_BLOCKS, gradients=False)
        except NotAStream as error:
            refusal = refusal or error
            continue
        others = [c for j, c in enumerate(growing) if j != i]
        notes = [f"{c} grows with the depth too, and is not followed" for c in others]
        return finder, notes
    if refusal is not None:
        raise refusal
    return _loop(small, large, call, depths), []


def _growing(small: nn.Module, large: nn.Module) -> list[str]:
    """Containers that hold more blocks in the deeper network, those with the most parameters first."""
    few, many = candidates(small), candidates(large)
    names = {c.container: {n for d in few if d.container == c.container for n in d.names} for c in few}
    sizes: dict[str, int] = {}
    for found in many:
        if found.container in names and set(found.names) - names[found.container]:
            size = covered(found.modules)
            sizes[found.container] = max(size, sizes.get(found.container, 0))
    return sorted(sizes, key=lambda c: -sizes[c])


def _inside(container: str) -> Finder:
    def find(net: nn.Module) -> list[Blocks]:
        found = [c for c in candidates(net) if c.container == container]
        return [choice for c in found for choice in (c, c.trimmed())]

    return find


def _loop(small: nn.Module, large: nn.Module, call: Call, depths: Sequence[int]) -> Finder:
    with preserved(small, initial=True), preserved(large, initial=True):
        few = {loop.container: len(loop.names) for loop in loops(small, call)}
        many = {loop.container: len(loop.names) for loop in loops(large, call)}
    growing = [name for name in few if many.get(name, 0) > few[name]]
    if growing:
        return lambda net: [loop for loop in loops(net, call) if loop.container == growing[0]]
    if not few and not candidates(small):
        raise nothing_repeated()
    raise ValueError(
        f"factory({depths[0]}) and factory({depths[1]}) have the same blocks: depth has no effect; use the "
        "argument as the number of blocks"
    )
