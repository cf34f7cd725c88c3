"""Initial sizes of parameters by role: which of them depend on the depth, and which on the position.

A role is a parameter name with the index of its block replaced by a star; its size in a block is the root
mean square of the entries. The depth law is fitted at equal positions: over all blocks a size that falls with
the position, like 1/√k, would look as if it fell with the depth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from resnet_sde._json import json_number
from resnet_sde.practice.find_stream import Blocks
from resnet_sde.practice.record import HEAD

FEWEST_POSITIONS = 3
_A_FACTOR = 1e-2  # of logarithms: coefficients are fitted to numbers of little precision


@dataclass(frozen=True)
class RoleLaw:
    """How the initial size of a role depends on depth L and position k.

    Attributes:
        role: name of the parameter with the index of its block replaced by a star.
        depth_exponent: b of L^{−b} at equal positions; None where entries are all zero or all one.
        position_exponent: κ of (k + 1)^{−κ} at the deepest depth; None also below three positions.
        size: root mean square of the entries in the first blocks of the deepest network.
        writes: whether the parameter lies inside a writer, or is its factor.
        entries: in one block.
        noise: three standard errors that chance can give an exponent of so few entries.
    """

    role: str
    depth_exponent: float | None
    position_exponent: float | None
    size: float
    writes: bool
    entries: int
    noise: float

    def depends(self, tolerance: float = 0.1) -> bool:
        """Whether the size has a law in depth or position."""
        exponents = (self.depth_exponent, self.position_exponent)
        return any(e is not None and abs(e) > tolerance + self.noise for e in exponents)

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "role": self.role,
            "depth_exponent": self.depth_exponent,  # None where there is no law
            "position_exponent": self.position_exponent,
            "size": json_number(self.size),
            "writes": self.writes,
        }


@dataclass(frozen=True)
class RoleSizes:
    """A role in one network.

    Attributes:
        sizes: at every position.
        entries: in one block.
        plain: whether all entries are zero, or all are one.
        uniform: whether the entries of a block are equal, as those of a layer scale.
    """

    sizes: dict[int, float]
    entries: int
    plain: bool
    uniform: bool


def role_sizes(blocks: Blocks) -> dict[str, RoleSizes]:
    """By name of the parameter within its block; a block that repeats counts once."""
    sizes: dict[str, dict[int, float]] = {}
    entries: dict[str, int] = {}
    plain: dict[str, bool] = {}
    uniform: dict[str, bool] = {}
    seen: set[int] = set()
    for k, block in enumerate(blocks.modules):
        if id(block) in seen:
            continue
        seen.add(id(block))
        for name, parameter in block.named_parameters():
            values = parameter.detach()
            values = (values.abs() if values.is_complex() else values).double()
            sizes.setdefault(name, {})[k] = float(values.square().mean().sqrt())
            entries[name] = values.numel()
            plain[name] = plain.get(name, True) and _is_plain(values)
            uniform[name] = uniform.get(name, True) and _is_uniform(values)
    return {name: RoleSizes(sizes[name], entries[name], plain[name], uniform[name]) for name in sizes}


def _is_plain(values: Tensor) -> bool:
    return bool((values == 0).all()) or bool((values == 1).all())


def _is_uniform(values: Tensor) -> bool:
    return values.numel() > 0 and bool((values == values.flatten()[0]).all())


def role_laws(
    depths: Sequence[int],
    networks: Sequence[Sequence[Mapping[str, RoleSizes]]],
    prefix: str,
    writing: set[str],
) -> tuple[RoleLaw, ...]:
    """The laws of all roles that every network has.

    Args:
        depths: of the networks.
        networks: sizes by role, for every depth and seed.
        prefix: what stands before a role within its block.
        writing: names of parameters inside writers.
    """
    every = [sizes for seeds in networks for sizes in seeds]
    names = [n for n in every[0] if all(n in sizes for sizes in every)]
    return tuple(_law(depths, networks, name, prefix, name in writing) for name in names)


def scales_with(
    networks: Sequence[Sequence[Mapping[str, RoleSizes]]], coefficients: Sequence[Sequence[float]]
) -> list[str]:
    """The roles that are the factor of a writer, a layer scale: they move with depth as its coefficient does.

    Args:
        networks: sizes by role, for every depth and seed.
        coefficients: of the writer in the same networks.
    """
    every = [sizes for seeds in networks for sizes in seeds]
    factors = np.abs([c for seeds in coefficients for c in seeds])
    found = []
    for name in [n for n in every[0] if all(n in sizes and sizes[n].uniform for sizes in every)]:
        sizes = np.array([np.median([s[name].sizes[k] for k in sorted(s[name].sizes)[:HEAD]]) for s in every])
        if not (sizes > 0).all() or not (factors > 0).all() or np.ptp(np.log(sizes)) < _A_FACTOR:
            continue
        if np.ptp(np.log(factors / sizes)) < _A_FACTOR:
            found.append(name)
    return found


def _law(
    depths: Sequence[int],
    networks: Sequence[Sequence[Mapping[str, RoleSizes]]],
    name: str,
    prefix: str,
    writes: bool,
) -> RoleLaw:
    found = [[sizes[name] for sizes in seeds] for seeds in networks]
    everywhere = set.intersection(*(set(r.sizes) for seeds in found for r in seeds))
    positions = sorted(everywhere)[:HEAD]
    plain = all(r.plain for seeds in found for r in seeds)
    logs = np.array([[_log(np.median([r.sizes[k] for k in positions])) for r in seeds] for seeds in found])
    by_depth = by_position = None
    if not plain and len(depths) > 1 and positions:
        by_depth = _exponent(np.log(depths), logs)
    deepest = found[-1]
    if not plain and len(deepest[0].sizes) >= FEWEST_POSITIONS:
        at = sorted(deepest[0].sizes)
        steps = np.array([[_log(r.sizes.get(k, math.nan)) for r in deepest] for k in at])
        by_position = _exponent(np.log(np.array(at) + 1.0), steps)
    entries = found[0][0].entries
    spread = float(np.std(np.log(depths))) * math.sqrt(len(depths)) if len(depths) > 1 else 1.0
    error = 1.25 / math.sqrt(2 * max(entries * len(positions) * len(deepest), 1)) / spread
    size = float(np.exp(np.mean(logs[-1]))) if np.isfinite(logs[-1]).all() else 0.0
    return RoleLaw(f"{prefix}.{name}".lstrip("."), by_depth, by_position, size, writes, entries, 3 * error)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan if math.isnan(value) else -math.inf


def _exponent(x: np.ndarray, logs: np.ndarray) -> float | None:
    """Minus the slope, on average over seeds; None where a size is zero."""
    return float(-np.polyfit(x, logs, 1)[0].mean()) if np.isfinite(logs).all() else None
