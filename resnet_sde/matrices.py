r"""The weight matrices of one layer, for many networks at once, in three forms and a guise.

All answer the same two questions: `matvec(x, scale)` is scale · V x and `rmatvec(p, scale)` is scale · Vᵀ
p, for the vectors x and p of every input along the rows. `Dense` holds the entries. `Deferred` holds
none: a Gaussian matrix is revealed only along what it meets. Write the probes as X = C Q with orthonormal
rows Q; then V Q is standard normal, so looking draws Z and answers C Z. Looking back at p = D P with
orthonormal P, given V Q = Z, the part along Q is known and the rest fresh: Vᵀp = (p·Z) Q + D (G − (G·Q)
Q) with G standard normal. The joint law of all answers is exactly that of a dense Gaussian matrix, for
O(width) numbers a look.

`Masked` is another matrix with masks of dropout before it: all that the layer loop puts on to have them in
any block.

Shapes: dense entries (sample, in, out), so that vectors stand on the left; probes (sample, input, in or out).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from resnet_sde.checks import check_size
from resnet_sde.streams import Stream

_SHORTEST = 1e-30
ROUNDING = 64.0  # times the precision of a number: how far a vector may be from those that were met
_ONCE = 'which works for one that is drawn in full only; give method="dense"'


class Matrix(ABC):
    """One layer's matrix in every network of an ensemble."""

    @abstractmethod
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """Scale · V x: (sample, input, in) to (sample, input, out)."""

    @abstractmethod
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        """Scale · Vᵀ p: (sample, input, out) to (sample, input, in)."""

    def affine(self, x: Tensor, scale: float, bias: float, unit: Tensor | None) -> Tensor:
        """Scale · V x + bias · unit · v, v one more column of V; unit (sample, input, 1), or None for 1."""
        constant = torch.full_like(x[..., :1], bias)
        return self.matvec(torch.cat([x * scale, constant if unit is None else constant * unit], dim=-1))


@dataclass(frozen=True)
class Dense(Matrix):
    """A matrix with its entries; `entries` is (sample, in, out)."""

    entries: Tensor

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        check_size(x, self.entries.shape[-2])
        return _scaled(torch.bmm(x, self.entries), scale)

    @override
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        check_size(p, self.entries.shape[-1], "outputs")
        return _scaled(torch.bmm(p, self.entries.mT), scale)


@dataclass(frozen=True)
class Identity(Matrix):
    """The identity matrix, outside of a block that has no outer weights."""

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return x if scale == 1.0 else x * scale

    @override
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        return self.matvec(p, scale)


class NotDrawn(ValueError):
    """A deferred matrix was asked for more than it has revealed."""


class Deferred(Matrix):
    """A standard Gaussian matrix revealed where it is looked at: once forward, then once back.

    Vectors in the span of those it met get the same answer again. Any other look raises NotDrawn: what it
    should answer depends on all that came before it. Autograd goes back through `rmatvec`.

    Args:
        source: the random stream.
        width: numbers of an answer.
        answer: storage for the numbers of the forward look, (sample, input, out); allocated if None.
        rows: numbers of a vector that it meets; any if None.
    """

    def __init__(
        self, source: Stream, width: int, answer: Tensor | None = None, rows: int | None = None
    ) -> None:
        self._source, self._width, self._answer, self._rows = source, width, answer, rows
        self._seen: _Seen | None = None
        self._looked_back = False

    @property
    def entries(self) -> Tensor:
        """Refused."""
        raise NotDrawn('a matrix that is not drawn in full has no entries to read; give method="dense"')

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            return _RevealedProduct.apply(x, self, scale)
        if self._rows is not None:
            check_size(x, self._rows)
        if self._seen is not None:
            return self._seen.again(x, scale)
        samples, inputs, _ = x.shape
        z = self._answer
        if z is None:
            z = torch.empty(samples, inputs, self._width, dtype=x.dtype, device=x.device)
        self._source.normal_(z)
        if inputs == 1:
            length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            answer = z.mul_(length * scale)
            self._seen = _Seen(x, answer, scale, length)
        else:
            coefficients, basis = _orthonormal(x)
            self._seen = _Seen(basis, z)
            answer = torch.bmm(coefficients, z).mul_(scale)
        return answer

    @override
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        if self._seen is None:
            raise RuntimeError("a deferred matrix is looked at forward before it is looked at back")
        if self._looked_back:
            raise NotDrawn(f"a block looks back twice at one matrix, {_ONCE}")
        if p.requires_grad and torch.is_grad_enabled():
            raise NotDrawn(f"autograd is to follow a look back at a matrix, {_ONCE}")
        check_size(p, self._width, "outputs")
        self._looked_back = True
        if p.shape[1] == 1:
            return self._single_back(p, scale, self._seen)
        basis, answer = self._seen.probe, self._seen.answer
        coefficients, directions = _orthonormal(p)
        shape = (*directions.shape[:2], basis.shape[-1])
        fresh = self._source.normal_(torch.empty(shape, dtype=p.dtype, device=p.device))
        fresh = torch.baddbmm(fresh, torch.bmm(fresh, basis.mT), basis, alpha=-1.0)
        known = torch.bmm(torch.bmm(p, answer.mT), basis)
        return torch.baddbmm(known, coefficients, fresh).mul_(scale)

    def _single_back(self, p: Tensor, scale: float, seen: _Seen) -> Tensor:
        """The same for one input, without a basis: V was looked at along the probe itself."""
        assert seen.length is not None
        fresh = self._source.normal_(torch.empty_like(seen.probe))
        fresh.mul_(torch.linalg.vector_norm(p, dim=-1, keepdim=True).mul_(scale))
        along = (seen.answer * p).sum(-1, keepdim=True)
        if scale != seen.scale:
            along.mul_(scale / seen.scale if seen.scale else 0.0)
        along.sub_((fresh * seen.probe).sum(-1, keepdim=True))
        shortest = seen.length.clamp(min=_SHORTEST)  # a probe that is zero has revealed nothing
        return fresh.addcmul_(seen.probe, along.div_(shortest).div_(shortest))


@dataclass(frozen=True)
class _Seen:
    """What a forward look has revealed: scale · V probe = answer.

    length: norm of a single probe that is not normalized.
    """

    probe: Tensor
    answer: Tensor
    scale: float = 1.0
    length: Tensor | None = None

    def again(self, x: Tensor, scale: float) -> Tensor:
        """Scale · V x for vectors in the span of the probes. Raises NotDrawn for others."""
        if self.length is None:
            basis, answers = self.probe, self.answer
        else:
            length = self.length.clamp(min=_SHORTEST)
            basis, answers = self.probe / length, self.answer / length
        coefficients = torch.bmm(x, basis.mT)
        rest = torch.linalg.vector_norm(torch.baddbmm(x, coefficients, basis, alpha=-1.0), dim=-1)
        unseen = rest > ROUNDING * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(x, dim=-1)
        if bool(unseen.any()) or (self.scale != scale and self.scale == 0.0):
            raise NotDrawn(f"a block looks twice at one matrix, {_ONCE}")
        found = torch.bmm(coefficients, answers)
        if self.length is None:
            return found.mul_(scale)
        return found if self.scale == scale else found.mul_(scale / self.scale)


class _RevealedProduct(torch.autograd.Function):
    """V x of a matrix that is not drawn in full: autograd must not follow the numbers that it draws."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Deferred, scale: float) -> Tensor:
        ctx.matrix, ctx.scale = matrix, scale
        return matrix.matvec(x, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, p: Tensor) -> tuple[Tensor, None, None]:
        return ctx.matrix.rmatvec(p, ctx.scale), None, None


@dataclass(frozen=True)
class Masked(Matrix):
    """V diag(m) with masks m of dropout: (sample, input, in), or 1 for input if all inputs share one.

    Columns of V beyond those of the masks, of a bias, are left as they are.
    """

    matrix: Matrix
    masks: Tensor

    @property
    def entries(self) -> Tensor:
        """Refused: with masks of their own, inputs meet different matrices."""
        raise NotDrawn(
            "a block that reads the entries of its outer matrix has no dropout; let it call matvec"
        )

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return self.matrix.matvec(self._masked(x), scale)

    @override
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        return self._masked(self.matrix.rmatvec(p, scale))

    @override
    def affine(self, x: Tensor, scale: float, bias: float, unit: Tensor | None) -> Tensor:
        return self.matrix.affine(self._masked(x * scale), 1.0, bias, unit)

    def _masked(self, x: Tensor) -> Tensor:
        width = self.masks.shape[-1]
        kept = x[..., :width] * self.masks
        return kept if x.shape[-1] == width else torch.cat([kept, x[..., width:]], dim=-1)


@dataclass(frozen=True)
class Layer:
    """The matrices of one layer by their names, as in ``layer["outer"]``.

    unit: what stands for 1 in the unit of the states, (sample, input, 1), and None for 1: homogeneous blocks
        are asked about states of any scale, and multiply their biases by it.
    """

    matrices: Mapping[str, Matrix]
    unit: Tensor | None = field(default=None, compare=False)

    def __getitem__(self, name: str) -> Matrix:
        try:
            return self.matrices[name]
        except KeyError:
            there = ", ".join(map(repr, self.matrices)) or "none"
            raise ValueError(
                f"a layer has no {name} matrix, only {there}; let the block name it in its shapes, and draw "
                "the layers for this block"
            ) from None

    def get(self, name: str) -> Matrix:
        """The matrix of a name, or the identity where there is none."""
        return self.matrices.get(name, Identity())

    @classmethod
    def revealed(
        cls,
        shapes: Mapping[str, tuple[int, int]],
        source: Stream,
        answers: Callable[[str, int], Tensor | None] = lambda name, out: None,
    ) -> Layer:
        """A layer of standard Gaussian matrices of these shapes, (in, out), that are `Deferred`.

        answers: storage for what the matrix of a name answers forward, (sample, input, out); None for new.
        """
        return cls({n: Deferred(source, out, answers(n, out), rows) for n, (rows, out) in shapes.items()})

    def changed(self, change: Callable[[Matrix], Matrix]) -> Layer:
        """The same with every matrix changed."""
        return Layer({name: change(matrix) for name, matrix in self.matrices.items()}, self.unit)

    def replaced(self, name: str, matrix: Matrix) -> Layer:
        """The same with another matrix of this name."""
        return Layer({**self.matrices, name: matrix}, self.unit)


def _scaled(fresh: Tensor, scale: float) -> Tensor:
    return fresh if scale == 1.0 else fresh.mul_(scale)


def _orthonormal(x: Tensor) -> tuple[Tensor, Tensor]:
    """X = C Q with rows Q that are orthonormal, or zero where a probe depends on those before it.

    Gram and Schmidt, twice for every probe, which leaves rounding only however parallel the probes are. It is
    batched, unlike LAPACK's QR, which is many times slower for many small matrices.

    Shape: x and Q (sample, input, size), C (sample, input, input).
    """
    basis, coefficients = torch.zeros_like(x), x.new_zeros(*x.shape[:2], x.shape[1])
    smallest = 32 * torch.finfo(x.dtype).eps
    for k in range(x.shape[1]):
        probe, known = x[:, k : k + 1], basis[:, :k]
        rest, along = probe, coefficients[:, k : k + 1, :k]
        for _ in range(2 if k else 0):
            part = torch.bmm(rest, known.mT)
            rest = torch.baddbmm(rest, part, known, alpha=-1.0)
            along += part
        length = torch.linalg.vector_norm(rest, dim=-1, keepdim=True)
        new = length > smallest * torch.linalg.vector_norm(probe, dim=-1, keepdim=True)
        coefficients[:, k : k + 1, k : k + 1] = torch.where(new, length, 0.0)
        basis[:, k : k + 1] = torch.where(new, rest / torch.where(new, length, 1.0), 0.0)
    return coefficients, basis
