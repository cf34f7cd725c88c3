"""Gaussian moments of any nonlinearity by Gauss rules on its pieces, at any variance and correlation.

Of two variables a is the one of larger variance A, b the other, of variance B and of standard deviation s
given a. Where s is small beside the pieces, b is taken as its mean given a plus s z, and the rule is one in a
and z: pieces end where φ has a kink, and where layers of width s beside it do. Where s is not small, φ less
its tails is summed over pieces in both variables with their joint density, and the tails, which reach as far
as the variances, are added in closed form.

Every moment is computed a second time by a finer and wider rule, at some of what is asked: it is refused
where the two differ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from resnet_sde._gaussian import ramps
from resnet_sde._gaussian.pieces import NODES, Pieces, Refused
from resnet_sde._gaussian.rules import ROOT_TURN, Rule, density, gauss, groups, octave, on

_CLOSE = 1e-10  # of a moment: what two rules may differ by
_AT_ONCE = 2**16  # numbers in a temporary
_MOST_NODES = 2**13, 2**21  # of a rule in one variable and in two
_COARSEST = 3.5  # standard deviations of a Gaussian in a piece
_NARROW = 0.2  # of the finest piece: a standard deviation of b given a for which steps in z will do
_NARROWEST = 0.04  # the same for a few Gauss–Hermite nodes
_UNCORRELATED = 0.6  # of s² / B: above, pieces are as wide as s in any case
_ROUNDING = 4 * torch.finfo(torch.float64).eps
_NEAR = 0.3  # of the finest piece: a difference of arguments over which φ' is a polynomial of degree 7


class Fineness(NamedTuple):
    """Nodes on a piece, the step in z, nodes of narrow means over z, and how far in standard deviations."""

    nodes: int
    step: float
    narrow: int
    far: float


USUAL = Fineness(NODES, 0.55, 8, 8.2)
FINER = Fineness(NODES + 6, 0.4, 12, 10.0)
_LAYER = torch.tensor([-8.2, -3.0, 0.0, 3.0, 8.2], dtype=torch.float64)  # ends of pieces beside a kink
_BESIDE = torch.tensor([-1.0, -0.33, 0.33, 1.0], dtype=torch.float64)  # the same for z, of how far it goes


class Quadrature:
    """Integrals of a nonlinearity and its derivatives at one fineness; arguments are one-dimensional."""

    def __init__(self, pieces: Pieces, fineness: Fineness) -> None:
        self.pieces, self.fine = pieces, fineness
        self.rule, self.values = functools.cache(self._rule), functools.cache(self._values)

    def _rule(self, place: int | None, spread: int) -> Rule:
        """For variances of this octave, or what is left without tails (None), and spreads of that octave."""
        widest = _COARSEST * 2 ** (spread / 2)
        if place is None:
            far, widest = 9.0 * self.pieces.width, min(widest, 2.5 * self.pieces.width)
        else:
            far, widest = self.fine.far * 2 ** ((place + 1) / 2), min(widest, _COARSEST * 2 ** (place / 2))
        found, ends = [], self.pieces.ends(far)
        for low, high in pairwise(ends):
            parts = math.ceil((high - low) / widest)
            found += [low + (high - low) * i / parts for i in range(parts)]
            if len(found) * self.fine.nodes > _MOST_NODES[0]:
                raise Refused("its pieces are too many at so large a variance, and so near correlations")
        return on(torch.tensor([*found, ends[-1]], dtype=torch.float64), self.fine.nodes)

    def _values(self, m: int, place: int | None, spread: int) -> Tensor:
        """The m-th derivative at the nodes, less its tails if there is no octave."""
        x = self.rule(place, spread).x
        found = self.pieces.functions[m](x) if place is not None else self.pieces.local(m, x)
        if not bool(found.isfinite().all()):
            raise Refused(f"it, or a derivative, is not finite within {float(x.max()):.6g}")
        return found

    def one(self, m: int, n: int | None, q: Tensor, *, slope: bool = False) -> Tensor:
        """E φ^(m)(u) φ^(n)(u), or of one factor alone; if `slope`, its derivative in q."""
        found = torch.empty_like(q)
        for (place,), those in groups(octave(q)):
            rule = self.rule(place, place)
            values = self.values(m, place, place) * (1.0 if n is None else self.values(n, place, place))
            for some in those.split(max(1, _AT_ONCE // len(rule.x))):
                weights = density(rule, q[some, None])
                if slope:
                    weights *= (rule.x.square() / q[some, None] - 1) / (2 * q[some, None])
                found[some] = weights @ values
        return found

    def beside_tails(self, q: Tensor) -> Tensor:
        """E φ(u)² − E t(u)², t being the tails."""
        t, every = self.pieces.ramp(0), torch.ones_like(q, dtype=torch.bool)
        return self._over(0, lambda v: 2 * t(v) + self.pieces.local(0, v), q, every, ())

    def beside_slopes(self, left: float, right: float, q: Tensor) -> Tensor:
        """E φ(u)² less that of two half-lines through 0, with the digits of what is little near 0."""
        found = torch.empty_like(q)
        for (place,), those in groups(octave(q)):
            rule = self.rule(place, place)
            line = torch.where(rule.x < 0, left * rule.x, right * rule.x)
            beside = self.values(0, place, place) - line
            beside = torch.where(beside.abs() <= _ROUNDING * line.abs(), 0.0, beside) * (beside + 2 * line)
            for some in those.split(max(1, _AT_ONCE // len(rule.x))):
                found[some] = density(rule, q[some, None]) @ beside
        return found

    def two(self, m: int, n: int, large: Tensor, small: Tensor, gap: Tensor) -> Tensor:
        """E φ^(m)(a) φ^(n)(b), for variances of which the first is the larger."""
        outer, inner = self.pieces.functions[m], self.pieces.functions[n]

        def whole(a: Tensor, b: Tensor, _: Tensor) -> Tensor:
            return outer(a) * inner(b)

        own = gap * (2 - gap)
        near = ((small * own).sqrt() <= _NARROW * self.pieces.finest) & (own < _UNCORRELATED)
        return _either(
            near,
            lambda *of: self.conditional(whole, *of),
            lambda *of: self.joint(m, n, *of),
            (large, small, gap),
        )

    def apart(self, large: Tensor, small: Tensor, gap: Tensor) -> Tensor:
        """E (φ(a) − φ(b))² / 2."""
        near = (small * gap * (2 - gap)).sqrt() <= _NARROW * self.pieces.finest
        return _either(near, self._apart_near, self._apart_far, (large, small, gap))

    def masses(self, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        """What the jumps of φ' add to E φ''(u) φ(v): density of u there times E φ(v) given u."""
        found = torch.zeros_like(gap)
        spread = (q2 * gap * (2 - gap)).sqrt()
        for kink in (kink for kink in self.pieces.kinks if kink.slope):
            density = torch.exp(-0.5 * kink.at**2 / q1) / (ROOT_TURN * q1.sqrt())
            mean = (q2 / q1).sqrt() * (1 - gap) * kink.at
            found += kink.slope * density * self._about(mean, spread)
        return found

    def _about(self, mean: Tensor, spread: Tensor) -> Tensor:
        """E φ(mean + spread z)."""
        found = torch.empty_like(mean)
        for i, (m, s) in enumerate(zip(mean.tolist(), spread.clamp_min(1e-300).tolist(), strict=True)):
            far = self.fine.far
            inner = [z for x in self.pieces.ends(abs(m) + far * s) if -far < (z := (x - m) / s) < far]
            steps = torch.linspace(-far, far, 7, dtype=torch.float64).tolist()
            rule = on(torch.tensor(sorted([*steps, *inner]), dtype=torch.float64), self.fine.nodes)
            values = self.pieces.functions[0](m + s * rule.x) * torch.exp(-0.5 * rule.x.square())
            found[i] = (values * rule.w).sum() / ROOT_TURN
        return found

    # Rules in a and z.

    def conditional(
        self, h: Callable[[Tensor, Tensor, Tensor], Tensor], large: Tensor, small: Tensor, gap: Tensor
    ) -> Tensor:
        """E h(a, b, a − b)."""
        found = torch.empty_like(gap)
        spread = (small * gap * (2 - gap)).sqrt()
        slope = (small / large).sqrt() * (1 - gap)
        root1, root2 = large.sqrt(), small.sqrt()
        less = (large - small) / (root1 * (root1 + root2)) + root2 / root1 * gap  # 1 − slope
        kinks = [kink.at for kink in self.pieces.kinks]
        bent = (slope.abs() < 0.97) & (
            self.fine.far * small.sqrt() * (1 - gap).abs() > self.pieces.finest / 2
        )
        few = spread <= _NARROWEST * self.pieces.finest
        for (place, uneven, narrow), those in groups(octave(large), bent.long(), few.long()):
            base, z = self.rule(place, place), self._steps(bool(narrow))
            each = len(base.x) * len(z[0]) * (1 + 2 * len(kinks) + uneven)
            for some in those.split(max(1, _AT_ONCE // each)):
                of = slope[some, None], spread[some, None], less[some, None]
                rule = self._layered(base, kinks, *of[:2], bool(uneven)) if kinks or uneven else base
                weight = density(rule, large[some, None])
                a = rule.x.expand_as(weight)
                found[some] = (weight * self._inner(h, z, a, *of)).sum(-1)
        return found

    def _steps(self, narrow: bool) -> tuple[Tensor, Tensor]:
        """Nodes and weights of a standard normal variable."""
        if narrow:
            x, w = np.polynomial.hermite_e.hermegauss(self.fine.narrow)
            return torch.from_numpy(x), torch.from_numpy(w / ROOT_TURN)
        last = math.ceil(self.fine.far / self.fine.step)
        z = torch.arange(-last, last + 1, dtype=torch.float64) * self.fine.step
        return z, torch.exp(-0.5 * z.square()) * (self.fine.step / ROOT_TURN)

    def _layered(self, base: Rule, kinks: list[float], slope: Tensor, spread: Tensor, uneven: bool) -> Rule:
        """The rule with ends of pieces about the a at which b has a kink, (element, node).

        Where b is much slower than a, uneven, also at the a at which b passes from piece to piece.
        """
        steep = torch.where(slope < 0, -1.0, 1.0) * slope.abs().clamp_min(1e-300)
        far = float(base.ends[-1])
        ends = [(k + spread * _LAYER) / steep for k in kinks]
        if uneven:
            ends.append(torch.tensor(self.pieces.ends(far * 0.72)[1:-1], dtype=torch.float64) / steep)
        ends = [base.ends.expand(len(slope), -1), *(e.clamp(-far, far) for e in ends)]
        return on(torch.cat(ends, 1).sort(1).values, self.fine.nodes)

    def _inner(
        self,
        h: Callable[[Tensor, Tensor, Tensor], Tensor],
        steps: tuple[Tensor, Tensor],
        a: Tensor,
        slope: Tensor,
        spread: Tensor,
        less: Tensor,
    ) -> Tensor:
        """The mean of h over z at each a."""
        z, weight = steps
        mean, move, far = slope * a, less * a, self.fine.far
        moved = (spread * z)[:, None]
        found = h(a[..., None], mean[..., None] + moved, move[..., None] - moved) @ weight
        spread = spread.expand_as(a)
        kinks = [kink.at for kink in self.pieces.kinks]
        crossed = torch.zeros_like(a, dtype=torch.bool)
        for k in kinks:
            crossed |= (k - mean).abs() < far * spread
        if not bool(crossed.any()):
            return found
        a, mean, move, spread = (x[crossed][:, None] for x in (a, mean, move, spread))
        ends = [((k - mean) / spread).clamp(-far, far) for k in kinks]
        ends.append((_BESIDE * far).expand(len(a), -1))
        rule = on(torch.cat(ends, 1).sort(1).values, self.fine.nodes)
        moved = spread * rule.x
        values = h(a, mean + moved, move - moved) * torch.exp(-0.5 * rule.x.square())
        found[crossed] = (values * rule.w).sum(1) / ROOT_TURN
        return found

    def _apart_near(self, large: Tensor, small: Tensor, gap: Tensor) -> Tensor:
        """Where s is small; where a − b is small too, by way of φ'."""
        f, slope = self.pieces.functions[:2]
        kinks = [kink.at for kink in self.pieces.kinks]
        nodes, weights = gauss(4)

        def direct(a: Tensor, b: Tensor, _: Tensor) -> Tensor:
            return (f(a) - f(b)).square() / 2

        def by_slope(a: Tensor, b: Tensor, move: Tensor) -> Tensor:
            middle = b + move / 2
            mean = sum(
                float(w) / 2 * slope(middle + move * (float(x) / 2))
                for x, w in zip(nodes, weights, strict=True)
            )
            found = move * mean
            for k in kinks:
                found = torch.where((a - k) * (b - k) < 0, f(a) - f(b), found)
            return found.square() / 2

        moved = ((large - small) / (large.sqrt() + small.sqrt())).square() + 2 * (large * small).sqrt() * gap
        close = self.fine.far * moved.sqrt() <= _NEAR * self.pieces.finest
        return _either(
            close,
            lambda *of: self.conditional(by_slope, *of),
            lambda *of: self.conditional(direct, *of),
            (large, small, gap),
        )

    # Rules in a and b.

    def joint(self, m: int, n: int, large: Tensor, small: Tensor, gap: Tensor) -> Tensor:
        """E φ^(m)(a) φ^(n)(b) with the joint density."""
        far, also = self._has_tails(large), self._has_tails(small)
        found = self._left(m, n, (large, far), (small, also), gap)
        if self.pieces.tails is None:
            return found
        t, r = self.pieces.ramp(m), self.pieces.ramp(n)
        for ramp, k, (q1, q2), tailed, there in (
            (t, n, (large, small), far, also),
            (r, m, (small, large), also, far),
        ):
            if bool(tailed.any()):
                of = q1[tailed], q2[tailed], gap[tailed]
                found[tailed] += self._over(k, _given(ramp), of[1], there[tailed], of)
        both = far & also
        found[both] += ramps.pair(t, r, large[both], small[both], gap[both])
        return found

    def _has_tails(self, q: Tensor) -> Tensor:
        if self.pieces.tails is None:
            return torch.zeros_like(q, dtype=torch.bool)
        return q > self.pieces.width**2

    def _keys(self, q: Tensor, far: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """The octaves by which a rule is chosen, of a variable with this spread given the other."""
        place, near = octave(q), octave(spread)
        return (
            torch.where(far, torch.full_like(place, _NO_PLACE), place),
            torch.where(far, near.clamp_max(2), torch.minimum(near, place)),
        )

    def _left(
        self, m: int, n: int, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], gap: Tensor
    ) -> Tensor:
        """That of two variables, each a variance and whether tails are left out."""
        found, far = torch.empty_like(gap), gap * (2 - gap)
        (q1, _), (q2, _) = first, second
        exponents = -0.5 / (q1 * far), (1 - gap) / ((q1 * q2).sqrt() * far), -0.5 / (q2 * far)
        for key, those in groups(*self._keys(*first, q1 * far), *self._keys(*second, q2 * far)):
            keys = (_place(key[0]), key[1]), (_place(key[2]), key[3])
            x, y = (self.rule(*k) for k in keys)
            if len(x.x) * len(y.x) > _MOST_NODES[1]:
                raise Refused("its pieces are too many at variances so large and correlations so near 1")
            f, g = self.values(m, *keys[0]) * x.w, self.values(n, *keys[1]) * y.w
            for some in those.split(max(1, _AT_ONCE // (len(x.x) * len(y.x)))):
                alone1, cross, alone2 = (e[some, None] for e in exponents)
                square1, square2 = alone1 * x.x.square(), alone2 * y.x.square()
                left = torch.stack([square1, torch.ones_like(square1), cross * x.x], -1)
                right = torch.stack([torch.ones_like(square2), square2, y.x.expand_as(square2)], 1)
                found[some] = (torch.bmm(left, right).exp_() @ g) @ f
        return found / (2 * math.pi * (q1 * q2 * far).sqrt())

    def _over(
        self, n: int, h: Callable[..., Tensor], q: Tensor, far: Tensor, of: tuple[Tensor, ...]
    ) -> Tensor:
        """E φ^(n)(v) h(v, …) over one variable, without the tails of φ^(n) where `far`."""
        found = torch.empty_like(q)
        for key, those in groups(*self._keys(q, far, q)):
            rule, values = self.rule(_place(key[0]), key[1]), self.values(n, _place(key[0]), key[1])
            for some in those.split(max(1, _AT_ONCE // len(rule.x))):
                others = h(rule.x, *(x[some, None] for x in of))
                found[some] = (density(rule, q[some, None]) * others) @ values
        return found

    def _apart_far(self, large: Tensor, small: Tensor, gap: Tensor) -> Tensor:
        """Where s is not small: as a difference, but for tails much larger than that."""
        found = (self.one(0, 0, large) + self.one(0, 0, small)) / 2 - self.joint(0, 0, large, small, gap)
        tailed = self._has_tails(large) & (2 * small > large) & (gap < 1)
        if bool(tailed.any()):
            found[tailed] = self._apart_tailed(*(x[tailed] for x in (large, small, gap)))
        return found

    def _apart_tailed(self, large: Tensor, small: Tensor, gap: Tensor) -> Tensor:
        """Of tails and what is left: (t − t')² / 2, (t − t')(r − r') and (r − r')² / 2."""
        t, every = self.pieces.ramp(0), torch.ones_like(gap, dtype=torch.bool)
        given = _given(t)

        def step(v: Tensor, other: Tensor, own: Tensor, gap: Tensor) -> Tensor:
            return t(v) - given(v, other, own, gap) + self.pieces.local(0, v) / 2

        found = ramps.difference(t, large, small, gap)
        for own, other in ((large, small), (small, large)):
            found = found + self._over(0, step, own, every, (other, own, gap))
        return found - self._left(0, 0, (large, every), (small, every), gap)


def _either(
    near: Tensor, first: Callable[..., Tensor], second: Callable[..., Tensor], of: tuple[Tensor, ...]
) -> Tensor:
    """The first function where `near`, the second elsewhere."""
    found = torch.empty_like(of[0])
    for which, f in ((near, first), (~near, second)):
        if bool(which.any()):
            found[which] = f(*(x[which] for x in of))
    return found


_NO_PLACE = -(10**6)


def _place(key: int) -> int | None:
    return None if key == _NO_PLACE else key


def _given(t: ramps.Ramp) -> Callable[..., Tensor]:
    """E t(u) given v, for u of the first variance and v of the second."""

    def mean(v: Tensor, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
        return t((q1 / q2).sqrt() * (1 - gap) * v, q1 * gap * (2 - gap))

    return mean
