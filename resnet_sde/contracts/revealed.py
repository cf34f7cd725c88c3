"""Whether a block of one's own does with matrices that are revealed where they are looked at."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.blocks import Block, Layer
from resnet_sde.contracts.asked import ours
from resnet_sde.contracts.blocks import narrowed, probe, way_back
from resnet_sde.matrices import Matrix, NotDrawn
from resnet_sde.streams import stream


def looks_once(block: Block, width: int, *, gradients: bool) -> bool:
    """Whether a matrix that is revealed where it is looked at will do: one look forward, and one back.

    What it met and what it answered it must find again, so that a block which writes into them needs another.
    """
    if ours(block):
        return True
    what = block, narrowed(block, width), gradients
    try:
        return _looks_once(*what)
    except TypeError:  # of a hash
        return bool(_looks_once.__wrapped__(*what))


def check_revealed(block: Block, width: int, *, gradients: bool) -> None:
    """Raise ValueError where `looks_once` says no."""
    if not looks_once(block, width, gradients=gradients):
        raise ValueError(
            f"block {type(block).__name__} looks twice at one matrix, reads its entries, or writes into what "
            'matvec met or answered, which works for one that is drawn in full only; give method="dense"'
        )


@lru_cache(maxsize=256)
@torch.no_grad()
def _looks_once(block: Block, width: int, gradients: bool) -> bool:
    for inputs in (1, 3):  # a single vector is not copied
        layer = Layer.revealed(block.shapes(width), stream(0, "contract", "looks")).changed(_Kept)
        h = probe(block, width)[0][:, :inputs]
        try:
            block.branch(h, layer)
            if gradients:
                way_back(block, h, torch.ones_like(h), layer)
        except NotDrawn:
            return False
        except Exception:  # what goes wrong by itself is left to its first use
            return True
        if any(isinstance(m, _Kept) and m.written for m in layer.matrices.values()):
            return False
    return True


class _Kept(Matrix):
    """A matrix that notices when what it met, or what it answered, is written into afterwards."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self._pairs: list[tuple[Tensor, Tensor]] = []

    @property
    def entries(self) -> Tensor:
        """Those of the matrix."""
        return self._matrix.entries  # type: ignore[attr-defined]

    @property
    def written(self) -> bool:
        """Whether any of it is not what it was."""
        return not all(torch.equal(now, before) for now, before in self._pairs)

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        answer = self._matrix.matvec(x, scale)
        self._pairs += [(t.detach(), t.detach().clone()) for t in (x, answer)]
        return answer

    @override
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        return self._matrix.rmatvec(p, scale)
