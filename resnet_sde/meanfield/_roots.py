"""Roots of many functions of one variable at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_EPS = torch.finfo(torch.float64).eps
_MOST = 200  # steps; ten are usual, bisection of any bracket in use takes 70


def find_root(f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where f changes sign between low and high, elementwise; else the end with the smaller |f|.

    Inverse quadratic interpolation guarded by bisection (Chandrupatla, 1997): no derivative, and nearly all
    digits of float64, those of numbers near 0 as far as 2e-16.
    """
    a, b = high, low
    fa, fb = f(a), f(b)
    step = torch.full_like(a, 0.5)
    done = torch.sign(fa) == torch.sign(fb)
    for _ in range(_MOST):
        x = torch.where(done, a, a + step * (b - a))
        fx = f(x)
        same = torch.sign(fx) == torch.sign(fa)
        c, fc = torch.where(same, a, b), torch.where(same, fa, fb)
        b, fb = torch.where(same, b, a), torch.where(same, fb, fa)
        a, fa = x, fx
        first = fa.abs() < fb.abs()
        best, smallest = torch.where(first, a, b), torch.where(first, fa, fb)
        closest = 2 * _EPS * (best.abs() + 1) / (b - a).abs()
        done = done | ~(closest < 0.5) | (smallest == 0)
        if bool(done.all()):
            break
        step = _step(a, fa, b, fb, c, fc).clamp(closest, 1 - closest)
    return best


def _step(a: Tensor, fa: Tensor, b: Tensor, fb: Tensor, c: Tensor, fc: Tensor) -> Tensor:
    """The share of the way from a to b: by interpolation where the three points lie well, else one half."""
    place, height = (a - b) / (c - b), (fa - fb) / (fc - fb)
    well = (height.square() < place) & ((1 - height).square() < 1 - place)
    quadratic = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
    return torch.where(well, quadratic, 0.5)


def find_one(f: Callable[[float], float], low: float, high: float, **tolerances: float) -> float:
    """Where one function of a float changes sign (Brent); tolerances as in scipy."""
    from scipy.optimize import brentq  # slow to import

    return float(brentq(f, low, high, **tolerances))
