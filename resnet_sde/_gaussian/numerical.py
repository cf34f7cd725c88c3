"""Gaussian moments of any nonlinearity, computed twice, and refused where that gives two numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override

from resnet_sde._gaussian import ramps
from resnet_sde._gaussian.gaps import AtGaps
from resnet_sde._gaussian.moments import Moments, clip
from resnet_sde._gaussian.pieces import Function, Pieces, Refused
from resnet_sde._gaussian.quadrature import FINER, USUAL, Quadrature

_CLOSE = 1e-10  # of a moment: what two rules may differ by
_TRIED = 4  # of what is asked at once
_MANY = 128  # gaps at one pair of variances, for which a table of the gap is worth its while
_SERIES = 1e-8  # a variance below which φ² less its first term is its next one, and rounding the rest of it
_SMALLEST, _LARGEST = 1e-200, 1e200  # variances
_T = TypeVar("_T")
_Order = tuple[int, int] | None  # of the derivatives of u and of v


class Numerical(Moments):
    """The moments of a nonlinearity that is given by functions alone.

    Args:
        name: of the nonlinearity, for refusals.
        functions: φ, φ' and as many more derivatives as there are, four at best, of tensors in float64.
        kinks: places where φ' jumps, if they are known.
    """

    def __init__(self, name: str, functions: Sequence[Function], kinks: Sequence[float] = ()) -> None:
        self.name, self._functions, self._given = name, tuple(functions), tuple(kinks)
        self._refused: str | None = None
        self._table = functools.lru_cache(maxsize=64)(self._new_table)

    @functools.cached_property
    def pieces(self) -> Pieces:
        """The pieces of φ. Raises ValueError where it cannot be cut into any."""
        if self._refused is None:
            try:
                return self._or_refused(lambda: Pieces(self._functions, self._given))
            except ValueError as error:
                self._refused = str(error)  # it takes a second to see
        raise ValueError(self._refused)

    @functools.cached_property
    def _usual(self) -> Quadrature:
        return Quadrature(self.pieces, USUAL)

    @functools.cached_property
    def _finer(self) -> Quadrature:
        return Quadrature(self.pieces, FINER)

    @override
    def dual(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return self._pair(0, 0, q1, q2, gap)

    @override
    def difference(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        if torch.is_grad_enabled() and any(x.requires_grad for x in (q1, q2, gap)):
            raise ValueError(f"E (φ(u) − φ(v))² / 2 of {self.name} is not differentiated; take it from dual")
        return self._of_two(None, q1, q2, gap)

    @override
    def dual_prime(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return self._pair(1, 1, q1, q2, gap)

    @override
    def mean_curvature(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return self._pair(2, 0, q1, q2, gap)

    @override
    def mean(self, q: Tensor) -> Tensor:
        return self._with_slope(q, 0, None)

    @override
    def second_moment(self, q: Tensor) -> Tensor:
        return self._with_slope(q, 0, 0)

    @override
    def second_moment_prime(self, q: Tensor) -> Tensor:
        return self._with_slope(q, 1, 1)

    @override
    def second_moment_second(self, q: Tensor) -> Tensor:
        if any(kink.slope for kink in self.pieces.kinks):
            return torch.full_like(q, math.inf)
        self._check_order(2, 2)
        return self._of_one(q, 2, 2)

    @override
    def share(self, q: Tensor) -> tuple[Tensor, Tensor]:
        limit, rest = torch.zeros_like(q), torch.empty_like(q)
        tailed = torch.zeros_like(q, dtype=torch.bool)
        if self.pieces.tails is not None:
            tailed = q > 4 * self.pieces.width**2
        near = ~tailed & (q < 1) & (q > _SMALLEST)
        others = ~tailed & ~near
        rest[others] = self.second_moment(q[others]) / q[others]
        if bool(near.any()):
            limit[near], rest[near] = self._share_near_zero(q[near])
        if bool(tailed.any()):
            t = self.pieces.ramp(0)
            limit[tailed] = (t.slope**2 + (t.slope + t.bend) ** 2) / 2
            rest[tailed] = (ramps.excess(t, q[tailed]) + self._usual.beside_tails(q[tailed])) / q[tailed]
        return limit, rest

    def _share_near_zero(self, q: Tensor) -> tuple[float, Tensor]:
        """The mean square of the slopes at 0, if φ is 0 there, and E φ² / q less that."""
        ends = torch.tensor([-1e-200, 0.0, 1e-200], dtype=torch.float64)
        at_zero = [f(ends).tolist() for f in self._functions[:4]]
        left, _, right = at_zero[1] if at_zero[0][1] == 0 else (0.0, 0.0, 0.0)
        rest = self._usual.beside_slopes(left, right, q) / q
        bent = any(abs(kink.at) < 1e-3 for kink in self.pieces.kinks)
        if at_zero[0][1] == 0 and not bent and len(at_zero) == 4:
            series = 3 / 4 * at_zero[2][1] ** 2 + right * at_zero[3][1]
            rest = torch.where(q < _SERIES, series * q, rest)
        return (left**2 + right**2) / 2, rest

    def _check_order(self, m: int, n: int) -> None:
        """Raises ValueError unless the m-th derivative is there, m ≥ n, without masses that are not added."""
        jumps = any(kink.slope for kink in self.pieces.kinks)
        if (m > 2 and self.pieces.kinks) or (jumps and m == 2 and n > 0):
            raise ValueError(
                f"moments of {self.name} that need its derivative of order {m} are not known, since it has "
                "kinks; give a smooth activation, or one with moments in closed form"
            )
        if m >= len(self.pieces.functions):
            raise ValueError(
                f"moments of {self.name} need its derivative of order {m}, which autograd lacks; write "
                f"it in operations that can be differentiated {m} times, or use simulate"
            )

    def _pair(self, m: int, n: int, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        """E φ^(m)(u) φ^(n)(v); its derivatives at fixed covariance are moments of higher derivatives."""
        if m < n:
            return self._pair(n, m, q2, q1, gap)
        self._check_order(m, n)

        def slopes(q1: Tensor, q2: Tensor, gap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            shared = self._pair(m + 1, n + 1, q1, q2, gap) * (q1 * q2).sqrt()
            first = self._pair(m + 2, n, q1, q2, gap) + (1 - gap) * shared / q1
            second = self._pair(m, n + 2, q1, q2, gap) + (1 - gap) * shared / q2
            return first / 2, second / 2, -shared

        return _followed(partial(self._of_two, (m, n)), slopes, q1, q2, gap)

    def _with_slope(self, q: Tensor, m: int, n: int | None) -> Tensor:
        def slope(q: Tensor) -> tuple[Tensor]:
            flat = q.reshape(-1).clamp_min(_SMALLEST)
            return (self._usual.one(m, n, flat, slope=True).reshape(q.shape),)

        return _followed(lambda q: self._of_one(q, m, n), slope, q)

    def _of_one(self, q: Tensor, m: int, n: int | None) -> Tensor:
        q = q.detach().cpu().double()
        flat = q.reshape(-1)
        at_zero = self._functions[m](torch.zeros(1, dtype=torch.float64))[0]
        if n is not None:
            at_zero = at_zero * self._functions[n](torch.zeros(1, dtype=torch.float64))[0]
        found = torch.full_like(flat, float(at_zero))
        some = flat > _SMALLEST
        size = (lambda x: self._usual.one(m, m, x).sqrt()) if n is None else None
        found[some] = self._tried(lambda rules, x: rules.one(m, n, x), size, flat[some])
        return found.reshape(q.shape)

    def _of_two(self, order: _Order, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        q1, q2, gap = (x.detach().double() for x in torch.broadcast_tensors(q1, q2, clip(gap)))
        shape, device = gap.shape, gap.device
        of = tuple(x.reshape(-1).cpu() for x in (q1, q2, gap))
        if len(of[2]) >= _MANY and bool((of[0] == of[0][0]).all()) and bool((of[1] == of[1][0]).all()):
            found = self._table(order, float(of[0][0]), float(of[1][0]))(of[2])
        else:
            found = self._direct(order, *of)
        return found.reshape(shape).to(device)

    def _new_table(self, order: _Order, q1: float, q2: float) -> AtGaps:
        def at(gap: Tensor) -> Tensor:
            return self._direct(order, torch.full_like(gap, q1), torch.full_like(gap, q2), gap)

        return AtGaps(at)

    def _direct(self, order: _Order, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        """One-dimensional; the difference if there is no order."""
        nothing = torch.minimum(q1, q2) <= _SMALLEST
        found = torch.empty_like(gap)
        if bool(nothing.any()):
            found[nothing] = self._beside_nothing(order, q1[nothing], q2[nothing])
        for swapped in (False, True):
            those = ~nothing & ((q2 > q1) == swapped)
            if bool(those.any()):
                found[those] = self._ordered(order, q1[those], q2[those], gap[those], swapped)
        return found

    def _ordered(self, order: _Order, q1: Tensor, q2: Tensor, gap: Tensor, swapped: bool) -> Tensor:
        large, small = (q2, q1) if swapped else (q1, q2)
        if order is None:
            return self._tried(Quadrature.apart, None, large, small, gap)
        m, n = order[::-1] if swapped else order

        def size(*of: Tensor) -> Tensor:
            return (self._usual.one(m, m, of[0]) * self._usual.one(n, n, of[1])).sqrt()

        found = self._tried(lambda rules, *of: rules.two(m, n, *of), size, large, small, gap)
        if order == (2, 0):
            found = found + self._tried(lambda rules, *of: rules.masses(*of), None, q1, q2, gap)
        return found

    def _beside_nothing(self, order: _Order, q1: Tensor, q2: Tensor) -> Tensor:
        """One of the variances is 0, so that the two variables are independent."""
        if order is None:
            larger, at_zero = torch.maximum(q1, q2), self.mean(torch.zeros_like(q1))
            same = (self.second_moment(larger) + at_zero.square()) / 2 - at_zero * self.mean(larger)
            return torch.where(larger <= _SMALLEST, 0.0, same)
        return self._of_one(q1, order[0], None) * self._of_one(q2, order[1], None)

    def _tried(
        self,
        f: Callable[..., Tensor],
        size: Callable[..., Tensor] | None,
        *of: Tensor,
    ) -> Tensor:
        """What the usual rule gives, after a finer one has given the same at some places."""
        if not len(of[0]):
            return torch.empty_like(of[0])
        if bool((torch.stack([x.isnan().any() for x in of])).any()) or float(of[0].max()) > _LARGEST:
            raise ValueError(
                f"variances must be numbers up to {_LARGEST:g}, and gaps numbers; mend what is given"
            )
        count = len(of[0])
        places = torch.linspace(0, count - 1, min(count, _TRIED)).long()
        some = [x[places] for x in of]

        def both() -> tuple[Tensor, Tensor, Tensor]:
            found, again = f(self._usual, *of), f(self._finer, *some)
            scale = again.abs() if size is None else torch.maximum(again.abs(), size(*some))
            return found, again, scale

        found, again, scale = self._or_refused(both)
        wrong = ~((found[places] - again).abs() <= _CLOSE * scale)
        if bool(wrong.any()):
            at = ", ".join(f"{float(x[wrong][0]):.4g}" for x in some)
            self._or_refused(lambda: _raise(f"two rules differ at {at}, where it may grow too fast"))
        return found

    def _or_refused(self, f: Callable[[], _T]) -> _T:
        try:
            return f()
        except Refused as error:
            raise ValueError(
                f"Gaussian moments of {self.name} are not known to {_CLOSE:g}: {error}; write its moments "
                "yourself, or use simulate"
            ) from None


class _Followed(torch.autograd.Function):
    """A function with derivatives that are known."""

    @staticmethod
    def forward(
        ctx: Any, f: Callable[..., Tensor], slopes: Callable[..., tuple[Tensor, ...]], *of: Tensor
    ) -> Tensor:
        ctx.slopes = slopes
        ctx.save_for_backward(*of)
        return f(*of)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, p: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(p * slope for slope in ctx.slopes(*ctx.saved_tensors))


def _followed(f: Callable[..., Tensor], slopes: Callable[..., tuple[Tensor, ...]], *of: Tensor) -> Tensor:
    """The function, of tensors of one shape, which autograd can follow once."""
    if not (torch.is_grad_enabled() and any(x.requires_grad for x in of)):
        return f(*of)
    found: Tensor = _Followed.apply(f, slopes, *(x.double() for x in torch.broadcast_tensors(*of)))
    return found


def _raise(reason: str) -> None:
    raise Refused(reason)
