"""Functions of the gap at fixed variances, from tables in its logarithm, and in that of 2 − gap."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

_DEGREE = 15
_WIDTH = math.log(2.0)  # of a piece, in the logarithm; wider ones are not resolved near gap 1
_LEAST = 1e-15  # of the gap, or of 2 − gap; below, the function itself is asked
_RESOLVED = 3e-11  # of the function on a piece, in the last two coefficients


class AtGaps:
    """A function of the gap, tabulated where it is asked for.

    Args:
        f: of gaps, one-dimensional.
    """

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        self._f = f
        nodes = np.cos(math.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
        self._nodes = torch.from_numpy(nodes)
        self._fit = torch.from_numpy(np.linalg.inv(np.polynomial.chebyshev.chebvander(nodes, _DEGREE)))
        self._count = math.ceil(-math.log(_LEAST) / _WIDTH)
        self._pieces = torch.zeros(2 * self._count, _DEGREE + 1, dtype=torch.float64)
        self._known = torch.zeros(2 * self._count, dtype=torch.bool)
        self._poor = torch.zeros(2 * self._count, dtype=torch.bool)

    def __call__(self, gap: Tensor) -> Tensor:
        """The function at these gaps, one-dimensional."""
        far = gap > 1
        depth = -torch.where(far, 2 - gap, gap).clamp_min(_LEAST / 8).log() / _WIDTH
        row = depth.floor().long().clamp(0, self._count - 1)
        place = row + self._count * far
        asked = torch.zeros_like(self._known)
        asked[place] = True
        for i in torch.nonzero(asked & ~self._known)[:, 0].tolist():
            self._learn(i)
        t = 2 * (depth - row) - 1
        found = self._sum(self._pieces[place].T, t)
        direct = self._poor[place] | (depth > self._count)
        if bool(direct.any()):
            found[direct] = self._f(gap[direct])
        return found

    def _learn(self, i: int) -> None:
        far, row = divmod(i, self._count)
        small = torch.exp(-_WIDTH * (row + (self._nodes + 1) / 2))
        coefficients = self._fit @ self._f(2 - small if far else small)
        size = float(coefficients.abs().max())
        self._pieces[i] = coefficients
        self._known[i] = True
        self._poor[i] = float(coefficients[-2:].abs().max()) > _RESOLVED * size

    @staticmethod
    def _sum(coefficients: Tensor, t: Tensor) -> Tensor:
        """Clenshaw's sum of Chebyshev polynomials."""
        after = before = torch.zeros_like(t)
        for c in coefficients[1:].flip(0):
            after, before = c + 2 * t * after - before, after
        return coefficients[0] + t * after - before
