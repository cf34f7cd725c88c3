"""How regular weights are along depth, and how far training has moved them."""

from __future__ import annotations

import math

from torch import Tensor


def roughness(weights: Tensor) -> float:
    r"""E (V_{k+1} − V_k)² / 2 Var V: half the mean square increment over the variance along depth.

    Both are averaged over the entries of a matrix; the variance is around the mean of an entry over depth,
    with its bias corrected. Independent weights have 1 on average, and smooth ones tend to 0 as depth grows.
    Fractional noise of autocovariance γ has about (1 − γ(1)) (1 − 1/L) / (1 − L^{2H−2}).

    Shape: (depth, ...).

    Returns:
        The number; NaN where weights do not vary, or there is one layer only.
    """
    values = weights.detach().double()
    if len(values) < 2:
        return math.nan
    increments, spread = values.diff(dim=0).square().mean(), values.var(0).mean()
    return float(increments / (2 * spread)) if spread > 0 else math.nan


def relative_change(after: Tensor, before: Tensor) -> float:
    """The norm of the change over the norm before."""
    before = before.detach().double()
    return float((after.detach().double() - before).norm() / before.norm())
