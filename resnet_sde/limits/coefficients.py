"""Coefficients of the Itô equations of correlated weights, where the inner weights average out.

A and b of the module `sde` are sums over the lags at which the weights are correlated; they are functions of
|h|²/d, tabulated for a solver.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy.interpolate
import scipy.special
import torch
from torch import Tensor

from resnet_sde.blocks import TwoLayer
from resnet_sde.fractional import autocovariance
from resnet_sde.laws import PathLaw
from resnet_sde.model import Model

_LAGS = 512  # at which F is evaluated; beyond, a straight line through 0, to 1e-4 at worst (H near 3/4)
_LENGTHS = 481  # nodes of the table of a diffusion coefficient over |h|²/d, even in its logarithm
_LOG_RANGE = 24.0  # natural logarithms on either side of 1 that the table covers
_DEGREE = 9  # of the spline between them; a cubic one would give 1e-5


@dataclass(frozen=True)
class CoefficientTable:
    """A and d · b / H over |h|²/d, by a spline in log |h|²/d; exact for homogeneous φ, where A is linear.

    Its relative error is below 1e-9 for all activations of the library, or it is rounding: 1e-16 of E φ².

    A is held relative to σ_w² |h|²/d + offset, which is of its size from the shortest states to the longest.

    pieces: coefficients of a polynomial on every interval, from the highest power on, (power, 2, interval).
    """

    pieces: Tensor
    slope: float
    offset: float

    @staticmethod
    def of(logs: Tensor, ratio: Tensor, drift: Tensor, slope: float, offset: float) -> CoefficientTable:
        """The table of values at these logarithms."""
        values = torch.stack([ratio, drift], -1)
        spline = scipy.interpolate.make_interp_spline(logs.numpy(), values.numpy(), k=_DEGREE)
        step = float(logs[1] - logs[0])
        powers = [
            spline.derivative(m)(logs[:-1].numpy()) * (step**m / math.factorial(m))
            for m in range(_DEGREE, 0, -1)
        ]
        return CoefficientTable(torch.from_numpy(np.stack([*powers, values[:-1].numpy()])).mT, slope, offset)

    def __call__(self, length: Tensor) -> tuple[Tensor, Tensor]:
        """A and d · b / H at squared lengths |h|²/d, any shape."""
        pieces = self.pieces
        count = pieces.shape[-1]
        logs = length.clamp(min=1e-300).log()
        place = ((logs + _LOG_RANGE) * (count / (2 * _LOG_RANGE))).clamp(0, count)
        left = place.floor().long().clamp(max=count - 1)
        part = place - left
        total = pieces[0][:, left]
        for coefficient in pieces[1:]:
            total = total * part + coefficient[:, left]
        return (self.slope * length + self.offset) * total[0], total[1]


@lru_cache(maxsize=16)
def table(model: Model, depth: int | None, device: torch.device) -> CoefficientTable:
    """A and d · b / H of a model over |h|²/d, on this device; see `coefficients`. Computed on the CPU."""
    if device.type != "cpu":
        found = table(model, depth, torch.device("cpu"))
        return replace(found, pieces=found.pieces.to(device))
    block = model.block
    assert isinstance(block, TwoLayer)
    logs = torch.linspace(-_LOG_RANGE, _LOG_RANGE, _LENGTHS, dtype=torch.float64)
    diffusion, drift = coefficients(model, depth, logs.exp())
    slope, offset = block.sigma_w2, block.sigma_b2 + block.sigma_a2
    ratio = diffusion / (slope * logs.exp() + offset).clamp(min=1e-300)
    return CoefficientTable.of(logs, ratio, drift, slope, offset)


def coefficients(model: Model, depth: int | None, length: Tensor) -> tuple[Tensor, Tensor]:
    """A and d · b / H at squared lengths |h|²/d, all of shape (length,)."""
    block = model.block
    assert isinstance(block, TwoLayer)
    q = (block.sigma_w2 * length + block.sigma_b2)[:, None]
    lags = Lags.of(model.law, depth)
    phi = block.activation
    zero, one = torch.zeros_like(q), torch.ones_like(q)
    kappa = lags.total(lambda r: phi.dual(q, q, gap=1 - r), phi.dual(q, q, gap=one))
    slopes = lags.total(
        lambda r: phi.mean_curvature(q, q, gap=1 - r) + r * phi.dual_prime(q, q, gap=1 - r),
        phi.mean_curvature(q, q, gap=one),
    )
    diffusion = block.sigma_v2 * (phi.dual(q, q, gap=zero)[:, 0] + 2 * kappa)
    diffusion += block.sigma_a2 * (1 + 2 * lags.first)
    return diffusion, block.sigma_v2 * block.sigma_w2 * slopes


@dataclass(frozen=True)
class Lags:
    """Σ_{n≥1} w_n γ(n) F(γ(n)), with the parts of the sum that are known without F.

    first: Σ w_n γ(n), which F(0) meets; −1/2 in the limit for H < 1/2. For odd φ, F(0) is zero. The sums of
        all weights have the variance 1 + 2 · first, per layer.
    tail: Σ w_n γ(n)² beyond the lags held, which the slope of F at 0 meets.
    """

    correlation: Tensor
    weight: Tensor
    first: float
    tail: float

    @staticmethod
    def of(law: PathLaw, depth: int | None) -> Lags:
        """The lags of a network of this depth, or all of them."""
        if law.noise == "short-memory":
            gamma, weight = law.memory(depth)
            rest = float((weight * gamma.square())[_LAGS:].sum())
            return Lags(gamma[:_LAGS], weight[:_LAGS], float((weight * gamma).sum()), rest)
        hurst = law.exponent
        gamma = autocovariance(hurst, depth or _LAGS + 1)[1:]
        if depth is not None:
            weight = 1 - torch.arange(1, depth, dtype=torch.float64) / depth
            first, tail = float((weight * gamma).sum()), float((weight * gamma.square())[_LAGS:].sum())
            return Lags(gamma[:_LAGS], weight[:_LAGS], first, tail)
        decay = (hurst * (2 * hurst - 1)) ** 2
        tail = decay * float(scipy.special.zeta(4 - 4 * hurst, _LAGS + 1))
        return Lags(gamma, torch.ones_like(gamma), -0.5 if hurst < 0.5 else 0.0, tail)

    def total(self, value: Callable[[Tensor], Tensor], uncorrelated: Tensor) -> Tensor:
        """The sum for F = `value` and F(0) = `uncorrelated`, of shape (length, 1); shape (length,)."""
        rest = (value(self.correlation) - uncorrelated) * self.correlation
        total = (self.weight * rest).sum(-1) + self.first * uncorrelated[:, 0]
        return total + rest[:, -1] / self.correlation[-1] ** 2 * self.tail if self.tail else total
