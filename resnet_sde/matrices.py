r"""The weight matrices of one layer, for many networks at once, in three forms.

All answer the same two questions: `matvec(x, scale)` is scale · V x and `rmatvec(p, scale)` is scale · Vᵀ
p, for the vectors x and p of every input along the rows. `Dense` holds the entries. `Deferred` holds
none: a Gaussian matrix is revealed only along what it meets. Write the probes as X = C Q with orthonormal
rows Q; then V Q is standard normal, so looking draws Z and answers C Z. Looking back at p = D P with
orthonormal P, given V Q = Z, the part along Q is known and the rest fresh: Vᵀp = (p·Z) Q + D (G − (G·Q)
Q) with G standard normal. The joint law of all answers is exactly that of a dense Gaussian matrix, for
O(width) numbers a look.

Shapes: dense entries (sample, in, out), so that vectors stand on the left; probes (sample, input, in or out).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde._random import Stream

_SHORTEST = 1e-30
_ONCE = 'which works for one that is drawn in full only; give method="dense"'


class Matrix(ABC):
    """One layer's matrix in every network of an ensemble."""

    @abstractmethod
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """Scale · V x: (sample, input, in) to (sample, input, out)."""

    @abstractmethod
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        """Scale · Vᵀ p: (sample, input, out) to (sample, input, in)."""


@dataclass(frozen=True)
class Dense(Matrix):
    """A matrix with its entries; `entries` is (sample, in, out)."""

    entries: Tensor

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return _scaled(torch.bmm(x, self.entries), scale)

    @override
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        return _scaled(torch.bmm(p, self.entries.mT), scale)


@dataclass(frozen=True)
class Identity(Matrix):
    """The identity matrix, outside of a block that has no outer weights."""

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return x * scale

    @override
    def rmatvec(self, p: Tensor, scale: float = 1.0) -> Tensor:
        return p * scale


class NotDrawn(ValueError):
    """A deferred matrix was asked for more than it has revealed."""


class Deferred(Matrix):
    """A standard Gaussian matrix revealed where it is looked at: once forward, then once back.

    Any other look raises NotDrawn: what it should answer depends on all that came before it.

    Args:
        source: the random stream.
        answer: storage for the numbers of the forward look, (sample, input, out); allocated if None.
    """

    def __init__(self, source: Stream, width: int, answer: Tensor | None = None) -> None:
        self._source, self._width, self._answer = source, width, answer
        self._seen: _Seen | None = None
        self._looked_back = False

    @property
    def entries(self) -> Tensor:
        """Refused."""
        raise NotDrawn('a matrix that is not drawn in full has no entries to read; give method="dense"')

    @override
    def matvec(self, x: Tensor, scale: float = 1.0) -> Tensor:
        if self._seen is not None:
            raise NotDrawn(f"a block looks twice at one matrix, {_ONCE}")
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
