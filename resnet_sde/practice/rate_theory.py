r"""How rates must move with depth where S is of order one and layers learn coherently.

A factor L^{−a} in the graph and L^{−b} in the initial weights of what writes to the stream ask for

==============  ==============  ==================
..              writers         what does not write
==============  ==============  ==================
Adam, AdamW     L^{a − 1}       L^{a + b − 1}
SGD             L^{2a − 1}      L^{2(a + b) − 1}
==============  ==============  ==================

All parameters of blocks together move by the larger of the two changes, and so follow the smaller exponent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from resnet_sde.practice.coherence import Addition

if TYPE_CHECKING:
    from resnet_sde.practice.laws_of_depth import DepthCheck

_UNIT_ACTION = 2.0  # beyond it the stream is mostly branches, and the table does not hold


def rate_exponents(optimizer: str, a: float, b: float) -> dict[str, float]:
    """Exponents of "writers", "inner" and "blocks" for "sgd", "adam" or "adamw"."""
    power = 2 if optimizer == "sgd" else 1
    writers, inner = power * a - 1, power * (a + b) - 1
    return {"writers": writers, "inner": inner, "blocks": min(writers, inner)}


def family(optimizer: torch.optim.Optimizer) -> str | None:
    """Whether this is "sgd" or "adam", with one rate for all parameters; None for anything else."""
    if len({float(group["lr"]) for group in optimizer.param_groups}) > 1:
        return None
    if type(optimizer) is torch.optim.SGD:
        return "sgd"
    return "adam" if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW) else None


def _moved(check: DepthCheck) -> float:
    """The largest action; of branches that share a direction, with what they do together."""
    lengths = [len(row[0].names) for row in check.profiles]
    shared = check.layers.addition is Addition.COMMON_PART
    return max(
        action * (check.layers.sum_of(n) ** 2 / n if shared else 1.0)
        for action, n in zip(check.action, lengths, strict=True)
    )


def expected_exponents(check: DepthCheck, optimizer: str | None) -> dict[str, float]:
    """Of the groups that have a theory, for what the check found of the largest writer; empty if none has."""
    if optimizer is None or not check.writers or not _moved(check) <= _UNIT_ACTION:
        return {}
    largest = check.writers[0]
    names = {f"{check.prefix}.{name}".lstrip(".") for name in largest.parameters}
    matrices = [r for r in check.roles if r.role in names and r.depth_exponent is not None]
    if math.isnan(largest.beta.value) or not matrices:
        return {}
    b = max(matrices, key=lambda r: r.entries).depth_exponent or 0.0
    return rate_exponents(optimizer, largest.beta.value - b, b)
