"""A sound small language model, and what public libraries have got wrong about the depth of one.

The sound network has a gated branch and attention, each behind a normalization, and wo and w2, which write to
the stream, times (2L)^{−1/2}. Six bugs are planted: the factor is lost; it is on w3, or on q, k and v too; on
q, k and v instead of wo; it depends on the position and not on the depth; all layers are copies. `planted`
asks `depth_check` what it says of each, and of the sound one over many seeds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.own.depth_networks import PLANTED, VOCABULARY, swiglu
from resnet_sde.estimate import Estimate
from resnet_sde.practice import DepthCheck, DepthMismatch
from resnet_sde.streams import generator

ENDS = ("value", "low", "high")
WRITERS = ("wo", "w2")
ROLES = ("wo", "w2", "wqkv", "w3")
GROUPS = ("writers", "inner")

# By bug, the sentence that names it.
BUGS: dict[str, str] = {
    "lost": r"w2 falls like L\^-?0\.0.*its initial size does not depend on the depth",
    "w3": r"w2 falls like .*w3\.weight, which does not write, .*Scale w2 alone",
    "q, k, v": r"wo falls like .*wqkv\.weight, which does not write, .*Scale wo alone",
    "q, k, v only": r"wqkv\.weight falls like .* though it does not write, and wo\.weight, which does, ",
    "position": r"wo\.weight falls like k\^.* with the position and not with the depth",
    "copies": r"all blocks hold the same weights",
}


@dataclass(frozen=True)
class PlantedBugs:
    """Depth checks of the sound network and of the bugs.

    sound, bugs: seeds of whole checks, of the sound network and of each bug.
    seeds: networks of each depth in one check.
    """

    depths: tuple[int, ...] = (8, 24)
    seeds: int = 3
    sound: int = 20
    bugs: int = 3
    rate_depths: tuple[int, ...] = (4, 16)
    rate_seeds: int = 6

    def run(self, *, seed: int = 0) -> xr.Dataset:
        """Exponents of the first check of each network, what was said of all, and rates of the sound one.

        blamed: number of checks with any sentence; named: with the sentence of the bug; of `checks`.
        """
        tokens = torch.randint(0, VOCABULARY, (4, 16), generator=generator(seed, "planted bugs"))
        firsts, blamed, named, checks = [], [], [], []
        for planted in PLANTED:
            count = self.sound if planted == "none" else self.bugs
            found = [self._check(planted, tokens, seed + k) for k in range(count)]
            said = [sentences(check) for check in found]
            firsts.append(found[0])
            checks.append(count)
            blamed.append(sum(bool(each) for each in said))
            named.append(sum(bool(re.search(BUGS.get(planted, "$^"), each)) for each in said))
        variables = {
            **_exponents(firsts),
            **self._stream(firsts[0], firsts[1]),
            **self._rates(tokens, seed),
            "blamed": (("network",), blamed),
            "named": (("network",), named),
            "checks": (("network",), checks),
        }
        coordinates = {
            **{"network": list(PLANTED), "writer": list(WRITERS), "role": list(ROLES), "of": list(ENDS)},
            **{"depth": list(self.depths), "group": list(GROUPS), "rate_depth": list(self.rate_depths)},
        }
        return xr.Dataset(variables, coordinates)

    def _check(self, planted: str, tokens: Tensor, seed: int) -> DepthCheck:
        return rs.depth_check(swiglu(planted), tokens, depths=self.depths, seeds=self.seeds, seed=seed)

    def _stream(self, *checks: DepthCheck) -> Mapping[str, tuple[tuple[str, ...], np.ndarray]]:
        """Norms of the sound stream and of that without a factor; padded beyond the depth."""
        norms = np.full((2, len(self.depths), self.depths[-1] + 1), np.nan)
        actions, growths = (np.array([getattr(c, n) for c in checks]) for n in ("action", "growth"))
        for i, check in enumerate(checks):
            for j, row in enumerate(check.profiles):
                found = row[0].norms
                norms[i, j, : len(found)] = (found / found[0]).numpy()
        where = ("stream", "depth")
        return {
            "norm": ((*where, "boundary"), norms),
            "action": (where, actions),
            "growth": (where, growths),
        }

    def _rates(self, tokens: Tensor, seed: int) -> Mapping[str, tuple[tuple[str, ...], object]]:
        """Of AdamW in the sound network."""
        check = rs.depth_check(
            swiglu("none"),
            torch.cat([tokens, tokens.flip(0, 1)]),
            depths=self.depths[:1],
            seeds=1,
            optimizer=lambda module: torch.optim.AdamW(module.parameters(), lr=1e-3),
            rate_depths=self.rate_depths,
            rate_seeds=self.rate_seeds,
            seed=seed,
        )
        laws = {law.group: law for law in check.rates}
        exponents = [_ends(laws[group].exponent) for group in GROUPS]
        return {
            "log2_rate": (("group", "rate_depth"), [laws[group].log2_rates for group in GROUPS]),
            "rate_exponent": (("group", "of"), exponents),
        }


def sentences(check: DepthCheck) -> str:
    """What is wrong with a network, a line for each thing; empty if nothing is."""
    try:
        check.expect(0.5)
    except DepthMismatch as wrong:
        return str(wrong)
    return ""


def _exponents(checks: list[DepthCheck]) -> dict[str, tuple[tuple[str, ...], object]]:
    writers = [{w.name: w for w in check.writers} for check in checks]
    roles = [
        {r.role.split(".")[-2]: r for r in check.roles if r.role.endswith(".weight")} for check in checks
    ]
    return {
        "beta": (("network", "of"), [_ends(check.beta) for check in checks]),
        "writer_beta": (
            ("network", "writer", "of"),
            [[_ends(found[name].beta if name in found else None) for name in WRITERS] for found in writers],
        ),
        "role_depth": (
            ("network", "role"),
            [[found[name].depth_exponent for name in ROLES] for found in roles],
        ),
        "role_position": (
            ("network", "role"),
            [[found[name].position_exponent for name in ROLES] for found in roles],
        ),
        "coherence": (("network",), [check.coherence.value for check in checks]),
    }


def _ends(estimate: Estimate | None) -> list[float]:
    return [math.nan] * 3 if estimate is None else [getattr(estimate, end) for end in ENDS]
