r"""Gradients of the matrices of any block, noted while it runs: all that the layer loop puts on to see them.

The gradient of V x · p in the entries of V is x pᵀ. So a matrix that notes the lengths of what it meets and
of what comes back knows the norm of its gradient, and one that notes products of what inputs bring knows the
products of their gradients, ⟨x_a, x_b⟩ ⟨p_a, p_b⟩, of which sums are tangent kernels. No gradient is formed,
and the matrix may be one that is not drawn in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.matrices import ROUNDING, Layer, Masked, Matrix, NotDrawn

_UNSEEN = (
    "gradients of parameters are seen of blocks that call matvec of each matrix once, or affine for one with "
    "a bias, and rmatvec or autograd once, and this one does not; leave parameters out"
)


class Watched(Matrix):
    """A matrix that notes its gradient: of every input the norm, or of all pairs of inputs the products.

    What came back is what `rmatvec` is given, or what autograd finds if a block goes back by autograd.

    Args:
        matrix: the matrix.
        weights: how many of its columns are weights; those of biases come after them.
        pairs: whether products are noted, (sample, input, input), and not norms, (sample, input, 1).
        sharing: vectors of each input that the matrix meets.
    """

    def __init__(self, matrix: Matrix, weights: int, *, pairs: bool = False, sharing: int = 1) -> None:
        self.matrix, self.pairs, self._weights, self._sharing = matrix, pairs, weights, sharing
        self._met: list[list[Tensor]] = []
        self._followed: list[list[Tensor]] = []  # the same of what autograd follows
        self._probe: Tensor | None = None  # that was met
        self._back: list[Tensor] = []

    @property
    def entries(self) -> Tensor:
        """Refused: what becomes of them is not seen."""
        raise NotDrawn(_UNSEEN)

    @property
    def gradient(self) -> tuple[Tensor, ...]:
        """Norms or products of the gradients of weights, and of biases if any; float64.

        They are in the unit of x times that of p, and in that of p; products in those of both inputs.
        """
        met = self._followed or self._met
        if (len(self._met), len(met), len(self._back)) != (1, 1, 1):
            raise NotDrawn(_UNSEEN)
        found = tuple(size * self._back[0] for size in met[0])
        return found if self._sharing == 1 else tuple(map(self._summed, found))

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        if x.shape[-1] != self._weights:
            raise NotDrawn(_UNSEEN)
        return self._noted(x, [self._size(x) * self._factor(scale)], self.matrix.matvec(x, scale))

    @override
    def affine(self, x: Tensor, scale: float, bias: float, unit: Tensor | None) -> Tensor:
        size = self._size(x)
        sizes = [size * self._factor(scale), torch.full_like(size, self._factor(bias))]
        return self._noted(x, sizes, self.matrix.affine(x, scale, bias, unit))

    @override
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        self._back.append(self._size(p))
        return self.matrix.rmatvec(p, scale)

    def _size(self, x: Tensor) -> Tensor:
        x = x.detach()
        if not self.pairs and self._sharing == 1:
            return torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float64)
        x = x.double() if self.pairs else x.double().unflatten(1, (-1, self._sharing))
        return x @ x.mT

    def _factor(self, scale: float) -> float:
        return abs(scale) if not self.pairs and self._sharing == 1 else scale * scale

    def _summed(self, products: Tensor) -> Tensor:
        """What the vectors of an input, or of two, make of a gradient together."""
        if not self.pairs:
            return products.sum((-1, -2))[..., None].clamp(min=0).sqrt()
        return products.unflatten(2, (-1, self._sharing)).unflatten(1, (-1, self._sharing)).sum((2, 4))

    def _noted(self, x: Tensor, sizes: list[Tensor], answer: Tensor) -> Tensor:
        if answer.requires_grad:
            self._followed.append(sizes)
            answer.register_hook(lambda p: self._back.append(self._size(p)))
        elif self._probe is None or not _same(x, self._probe):  # on the way back it may be repeated
            self._probe = x
            self._met.append(sizes)
        return answer


def watched(layer: Layer, weights: Mapping[str, int], *, pairs: bool = False, sharing: int = 1) -> Layer:
    """The layer with every matrix watched that has so many inputs beside a bias."""
    own = {name: Watched(layer[name], n, pairs=pairs, sharing=sharing) for name, n in weights.items()}
    return Layer({**layer.matrices, **own}, layer.unit)


def gradients(layer: Layer, *, pairs: bool = False) -> dict[str, Tensor]:
    """What was noted of the matrices that are watched, and of their biases, by name."""
    found: dict[str, Tensor] = {}
    for name, matrix in sorted(layer.matrices.items(), key=lambda named: named[0] != "outer"):
        while isinstance(matrix, (Masked, Watched)):
            if isinstance(matrix, Watched) and matrix.pairs == pairs:
                found |= zip((name, f"{name}_bias"), matrix.gradient, strict=False)
            matrix = matrix.matrix
    return found


def along_depth(
    layers: Sequence[Layer],
    alpha: float | Tensor,
    hidden: Sequence[Tensor] | Tensor,
    adjoint: Sequence[Tensor] | Tensor,
    *,
    pairs: bool = False,
) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
    """What was noted in all layers times α, and the exponents of it, by name.

    Args:
        layers: that were watched on both ways.
        alpha: the factor on the branch.
        hidden, adjoint: exponents of h_0 … h_L and of p_0 … p_L.
        pairs: products and not norms.
    """
    factor: Any = alpha.double() if isinstance(alpha, Tensor) else alpha
    factor = abs(factor) if not pairs else factor * (factor.mT if isinstance(factor, Tensor) else factor)

    def both(exponent: Tensor) -> Tensor:
        return exponent + exponent.mT if pairs else exponent

    biases = [both(back) for back in adjoint[1:]]
    weights = [both(up) + back for up, back in zip(hidden[:-1], biases, strict=True)]
    noted = [gradients(layer, pairs=pairs) for layer in layers]
    return {
        name: ([each[name] * factor for each in noted], biases if name.endswith("_bias") else weights)
        for name in noted[0]
    }


def _same(x: Tensor, y: Tensor) -> bool:
    """Whether two stacks of vectors are the same, up to rounding."""
    if x.shape != y.shape:
        return False
    apart = torch.linalg.vector_norm(x - y, dim=-1)
    return bool((apart <= ROUNDING * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(y, dim=-1)).all())
