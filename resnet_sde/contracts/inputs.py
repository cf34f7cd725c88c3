"""Inputs of ensembles, checked first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from resnet_sde.checks import is_truth


def check_inputs(x: Tensor, samples: int) -> None:
    """Raises ValueError unless these are inputs of that many networks, none of them zero."""
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"x must be a float32 or float64 tensor, got {kind}; convert it with x.to(torch.float32)"
        )
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise ValueError(f"x must have shape (input, n_in) or (samples, input, n_in), got {tuple(x.shape)}")
    if x.ndim == 3 and x.shape[0] != samples:
        raise ValueError(
            f"x holds inputs for {x.shape[0]} networks, but samples is {samples}; give one x per network"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x holds values that are not finite; remove or replace them")
    zero = (x == 0).all(-1)
    norms = torch.linalg.vector_norm(x.double(), dim=-1)
    single = x.dtype == torch.float32
    power, remedy = (15, "rescale them or give float64") if single else (150, "rescale them")
    if not bool((zero | (norms > 10.0**-power) & (norms < 10.0**power)).all()):
        name = "float32" if single else "float64"
        raise ValueError(f"norms of {name} inputs must lie between 1e-{power} and 1e{power}; {remedy}")
    if bool(zero.any()):
        raise ValueError(
            "an input is zero everywhere, so ratios to its norm are undefined; give inputs that are not zero"
        )


def check_depths(depths: Sequence[int]) -> tuple[int, ...]:
    """The depths as integers. Raises ValueError unless they are two or more that increase."""
    found = tuple(depths)
    whole = all(not is_truth(depth) and depth >= 1 and depth % 1 == 0 for depth in found)
    if len(found) < 2 or not whole or list(found) != sorted(set(found)):
        raise ValueError(f"depths must be two or more increasing positive integers, got {list(depths)}")
    return tuple(int(depth) for depth in found)
