"""Functions of one positive variable, tabulated where they are asked for, for loops over a million layers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

# In log q the moments are analytic in a strip of half-width π at least: on pieces of length 1/4 the Chebyshev
# coefficients fall like 50^{−k}, so that eleven of them reach rounding error.
_PER_UNIT = 4
_NODES = 11
_RANGE = 230.0  # of |log q|: beyond it, every moment of the library is a power law to rounding error

_ORDER = np.arange(_NODES)
_ANGLES = np.pi * (_ORDER + 0.5) / _NODES
_POINTS = np.cos(_ANGLES)
_TO_CHEBYSHEV = np.where(_ORDER == 0, 1.0, 2.0)[:, None] / _NODES * np.cos(_ORDER[:, None] * _ANGLES)
_TO_POWERS = np.zeros((_NODES, _NODES))
for _k in range(_NODES):
    _TO_POWERS[: _k + 1, _k] = chebyshev.cheb2poly(np.eye(_k + 1)[_k])


class Table:
    """A positive function of log q, as fast as a float: x ↦ f(e^x).

    f takes and returns float64 tensors, and is asked for eleven values the first time that x comes near.
    """

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        self._f = f
        self._pieces: dict[int, tuple[float, ...]] = {}
        self._ends: dict[float, tuple[float, float]] = {}

    def __call__(self, x: float) -> float:
        """f(e^x)."""
        if not -_RANGE <= x <= _RANGE:
            return self._beyond(x)
        place = x * _PER_UNIT
        piece = math.floor(place)
        coefficients = self._pieces.get(piece)
        if coefficients is None:
            coefficients = self._fit(piece)
        t = 2.0 * (place - piece) - 1.0
        total = 0.0
        for c in coefficients:
            total = total * t + c
        return total

    def _fit(self, piece: int) -> tuple[float, ...]:
        x = torch.from_numpy((piece + (_POINTS + 1.0) / 2.0) / _PER_UNIT)
        powers = _TO_POWERS @ (_TO_CHEBYSHEV @ self._f(x.exp()).numpy())
        found = tuple(powers[::-1].tolist())
        self._pieces[piece] = found
        return found

    def _beyond(self, x: float) -> float:
        """The power law that the table ends in."""
        sign = 1.0 if x > 0 else -1.0
        if sign not in self._ends:
            # Over half the range, so that rounding weighs little in the exponent.
            last, before = self(sign * _RANGE), self(sign * _RANGE / 2)
            rise = math.log(last / before) if min(last, before) > 0 else 0.0
            self._ends[sign] = last, rise / (sign * _RANGE / 2)
        value, slope = self._ends[sign]
        return math.exp(min(math.log(value) + slope * (x - sign * _RANGE), 700.0)) if slope else value
