"""A nonlinearity cut into pieces that polynomials of low degree resolve, and the lines that it ends in.

Pieces are halved until the last Legendre coefficients of φ, φ' and φ'' are nothing; where that does not help,
the place at which one of them jumps is looked for, and becomes an end of pieces. What is resolved so is known
everywhere in between, not at points of a grid only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resnet_sde._gaussian.ramps import Ramp
from resnet_sde._gaussian.rules import gauss

Function = Callable[[Tensor], Tensor]

NODES = 16  # of a Gauss rule on a piece
_TRIED = 32  # nodes at which it is seen whether a piece is resolved: a Gauss rule is exact to twice its nodes
_RESOLVED = 2e-13  # of the size of φ on a piece, or a tenth of that in the middle
_FAR = 64.0  # beyond, φ is taken to be in its tails, or without
_WIDEST = 6.0  # of pieces
_LOOKS = 510  # points of a piece at which it is looked at once more: features of a fiftieth are seen
_MOST = 96  # pieces in the middle
_DERIVED = 1e-10  # of a function, or its move over a piece: what its derivative may be off by
_TAIL = 2e-13  # what may be left beside a line
_NOTHING = 1e-8  # of the size of φ: a smaller jump of φ itself changes no moment by 1e-10
_OFFSET = 0.2734  # of the first ends of pieces, so that no kink falls on one


class Refused(ValueError):
    """Moments that cannot be computed to what is promised."""


@functools.cache
def _to_last(n: int, last: int) -> Tensor:
    """From values at Gauss nodes to the last Legendre coefficients, (n, last)."""
    x, w = np.polynomial.legendre.leggauss(n)
    k = np.arange(n - last, n)
    values = np.polynomial.legendre.legvander(x, n - 1)[:, k]
    return torch.from_numpy(values * w[:, None] * (2 * k + 1) / 2)


@functools.cache
def _in_between() -> Tensor:
    """Legendre polynomials at the points where a piece is looked at, (point, polynomial)."""
    points = np.linspace(-1.0, 1.0, _LOOKS + 2)[1:-1]
    return torch.from_numpy(np.polynomial.legendre.legvander(points, _TRIED - 1))


@dataclass(frozen=True)
class Kink:
    """A place where φ or a derivative jumps, and by how much φ' does."""

    at: float
    slope: float


class Pieces:
    """Ends of pieces, kinks and tails of a nonlinearity.

    Args:
        functions: φ and its derivatives, of tensors in float64; at least the first.
        kinks: places where φ' jumps, if they are known; others are looked for all the same.

    Raises:
        Refused: φ jumps, is not finite, or is finer than pieces can be.
    """

    def __init__(self, functions: Sequence[Function], kinks: Sequence[float] = ()) -> None:
        self.functions = tuple(functions)
        near = torch.linspace(-4.0, 4.0, 257, dtype=torch.float64) + _OFFSET / 64
        self._sizes = [float(self._at(f, near).abs().max()) for f in self.functions]
        self._kinks = {at: self._kink(at) for at in map(float, kinks)}
        self.reach, self.tails = _tails(self.functions, self._sizes[0])
        end = _FAR if self.tails is None else self.reach
        self.functions = tuple(self._guarded(m, f) for m, f in enumerate(self.functions))
        self.finest = _WIDEST
        steps = math.ceil(2 * end / _WIDEST)
        start = [-end + (i + _OFFSET) * 2 * end / steps for i in range(steps)]
        inner = [x for x in [*start, *self._kinks] if -end < x < end]
        self._ends = self._resolve(sorted({-end, *inner, end}), _MOST)

    @property
    def kinks(self) -> list[Kink]:
        """In order."""
        return [self._kinks[at] for at in sorted(self._kinks)]

    @property
    def width(self) -> float:
        """Of the bend of the ramps, which are lines beyond nine of it as φ is."""
        return max(self.reach / 9.0, 1.0)

    def ends(self, far: float) -> list[float]:
        """Ends of pieces from −far to far; beyond its reach a φ with tails is two lines."""
        while self.tails is None and self._ends[-1] < far:
            end = self._ends[-1]
            self._ends = self._resolve([-2 * end, *self._ends, 2 * end], 8 * _MOST)
        return [-far, *(x for x in self._ends if -far < x < far), far]

    def local(self, m: int, x: Tensor) -> Tensor:
        """The m-th derivative less its tails."""
        found = self.functions[m](x)
        return found if self.tails is None or m > 1 else found - self.ramp(m)(x)

    def ramp(self, m: int) -> Ramp:
        """The tails of the m-th derivative."""
        assert self.tails is not None
        (a, b), (c, d) = self.tails
        if m == 0:
            return Ramp(b, a, c - a, d - b, self.width)
        return Ramp(a, 0.0, 0.0, c - a, self.width) if m == 1 else Ramp(s=self.width)

    def _guarded(self, m: int, f: Function) -> Function:
        """The m-th derivative; where it overflows far out, that of its tails."""
        far = torch.tensor([1e3, 1e5, 1e10, 1e60], dtype=torch.float64)
        if self.tails is None or bool(f(torch.cat([-far, far])).isfinite().all()):
            return f
        (a, b), (c, d) = self.tails

        def guarded(x: Tensor) -> Tensor:
            one = torch.ones_like(x)  # of two floats torch makes its default dtype
            slope, offset = (torch.where(x < 0, one * left, one * right) for left, right in ((a, c), (b, d)))
            line = slope * x + offset if m == 0 else slope if m == 1 else torch.zeros_like(x)
            found = f(x)
            return torch.where(found.isfinite() | (x.abs() < self.reach), found, line)

        return guarded

    def _at(self, f: Function, x: Tensor) -> Tensor:
        found = f(x)
        if not bool(found.isfinite().all()):
            where = float(x[~found.isfinite()][0])
            raise Refused(f"it, or a derivative, is not finite at x = {where:.6g}")
        return found

    def _resolve(self, ends: list[float], most: int) -> list[float]:
        """The same ends, and those between them that make pieces which are resolved."""
        found, waiting = [ends[0]], ends[:0:-1]
        while waiting:
            low, high = found[-1], waiting[-1]
            if self._resolved(low, high):
                found.append(waiting.pop())
                continue
            kink = self._search(low, high)
            if kink is not None:
                self._kinks[kink.at] = kink
            else:
                self.finest = min(self.finest, (high - low) / 2)
            waiting.append((low + high) / 2 if kink is None else kink.at)
            if len(found) + len(waiting) > most or high - low < 1e-6:
                raise Refused(f"it changes too fast near x = {low:.6g}, or is not smooth between kinks")
        return found

    def _resolved(self, low: float, high: float) -> bool:
        x = (low + high) / 2 + (high - low) / 2 * gauss(_TRIED)[0]
        for m, size in enumerate(self._sizes[:3]):
            values = self._at(self.functions[m], x)
            enough = _RESOLVED * max(float(values.abs().max()), 0.1 * size)
            if float((values @ _to_last(_TRIED, 3)).abs().max()) > enough:
                return False
            if m == 0 and not self._between(values, low, high, enough):
                return False
        return self._derived(low, high, x)

    def _between(self, values: Tensor, low: float, high: float, enough: float) -> bool:
        """Whether values at few nodes tell those at many points, where a narrow feature shows."""
        x = torch.linspace(low, high, _LOOKS + 2, dtype=torch.float64)[1:-1]
        found = _in_between() @ (values @ _to_last(_TRIED, _TRIED))
        return float((self._at(self.functions[0], x) - found).abs().max()) <= 1e3 * enough

    def _derived(self, low: float, high: float, x: Tensor) -> bool:
        """Raises Refused unless φ' is the derivative of φ on a piece without a jump, and φ'' that of φ'."""
        beside = (high - low) * 1e-9
        ends = torch.tensor([low + beside, high - beside], dtype=torch.float64)
        for f, prime, size in zip(self.functions[:2], self.functions[1:3], self._sizes, strict=False):
            before, after = f(ends).tolist()
            slopes = prime(x)
            moved = float(slopes @ gauss(_TRIED)[1]) * (high - low) / 2 - beside * float(
                slopes[0] + slopes[-1]
            )
            large = max(abs(before), abs(after), float(slopes.abs().max()) * (high - low), 0.1 * size)
            if abs(after - before - moved) > _DERIVED * large:
                raise Refused(f"its derivative is not that of its function between {low:.4g} and {high:.4g}")
        return True

    def _search(self, low: float, high: float) -> Kink | None:
        """The place between where φ or a derivative jumps; None if there is none."""
        for f, size in zip(self.functions[:4], self._sizes, strict=False):
            at = self._jump(f, low, high, 1e-10 * size)
            if at is not None and low + 1e-9 < at < high - 1e-9:
                return self._kink(at)
        return None

    def _jump(self, f: Function, low: float, high: float, least: float) -> float | None:
        """Where most of the change of a function lies, on whatever scale one looks."""
        before, points = 0.0, 129
        while high - low > 1e-14 * max(1.0, abs(low)):
            x = torch.linspace(low, high, points, dtype=torch.float64)
            change = self._at(f, x).diff().abs()
            place = int(change.argmax())
            if float(change[place]) < max(0.7 * before, least):
                return None
            before, points = float(change[place]), 17
            low, high = float(x[place]), float(x[place + 1])
        nice = round((low + high) / 2, 10) + 0.0
        return nice if abs(nice - low) < 1e-12 * max(1.0, abs(low)) else (low + high) / 2

    def _kink(self, at: float) -> Kink:
        beside = 1e-11 * max(1.0, abs(at))
        x = torch.tensor([at - beside, at + beside], dtype=torch.float64)
        y, slope = (self._at(f, x).tolist() for f in self.functions[:2])
        if abs(y[1] - y[0]) > _NOTHING * self._sizes[0] + 4 * beside * max(map(abs, slope)):
            raise Refused(f"it jumps at x = {at:.6g}, where its derivative does not show it")
        jump = slope[1] - slope[0]
        if len(self.functions) > 2:
            jump -= beside * float(self._at(self.functions[2], x).sum())
        return Kink(at, jump if abs(jump) > 1e-8 * self._sizes[1] else 0.0)


_Line = tuple[float, float]  # slope and offset


def _tails(functions: Sequence[Function], size: float) -> tuple[float, tuple[_Line, _Line] | None]:
    """How far the middle reaches, and the lines on the left and on the right; None where there are none."""
    lines, reach = [], 1.0
    for side in (-1.0, 1.0):
        far = side * torch.tensor([_FAR, 2 * _FAR, 1e3, 1e4, 1e6], dtype=torch.float64)
        slope = _rounded(float(functions[1](far)[0]), size)
        offset = _rounded(float(functions[0](far)[0]) - slope * float(far[0]), size)
        x = torch.cat([side * torch.arange(0.0, _FAR, 1 / 64, dtype=torch.float64), far])
        left = (functions[0](x) - (slope * x + offset)).abs() / (size + x.abs() * abs(slope))
        left = torch.maximum(left, (functions[1](x) - slope).abs() / max(size, abs(slope)))
        beside = torch.nonzero(~(left <= _TAIL))
        last = int(beside[-1]) + 1 if len(beside) else 0
        if last >= len(x) - len(far):
            return math.inf, None
        lines.append((slope, offset))
        reach = max(reach, float(x[last].abs()) + _OFFSET)
    return reach, (lines[0], lines[1])


def _rounded(number: float, size: float) -> float:
    """Nothing where it is what an exponential has left."""
    return number if abs(number) > _TAIL * size else 0.0
