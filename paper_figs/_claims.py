"""Claims that many figures make: means of networks next to theory, and numbers next to a table."""

from __future__ import annotations

import numpy as np

from resnet_sde.claims import Claim, at_most

Z = 5.0  # standard errors that a claim grants to chance: two-sided false alarm 6e-7


def agrees(
    name: str, mean: object, error: object, theory: object, allowed: object = 0.0, z: float = Z
) -> Claim:
    """Means of networks next to theory: largest distance over what finite width and chance explain."""
    mean, error, theory, allowed = (np.asarray(x, dtype=float) for x in (mean, error, theory, allowed))
    ratio = np.abs(mean - theory) / (allowed + z * error)
    return at_most(f"{name}, networks, largest distance to theory over what is allowed", ratio.max(), 1)


def tabulated(name: str, values: object, expected: object, relative: float) -> Claim:
    """Largest relative deviation from a table of known values."""
    values, expected = np.asarray(values, dtype=float), np.asarray(expected, dtype=float)
    off = np.abs(values / expected - 1).max()
    return at_most(f"{name}, largest relative deviation from known values", off, relative)


def equals(name: str, values: object, expected: object, tolerance: float) -> Claim:
    """Largest distance to a table of known values."""
    values, expected = np.asarray(values, dtype=float), np.asarray(expected, dtype=float)
    off = np.abs(values - expected).max()
    return at_most(f"{name}, largest distance to known values", off, tolerance)
