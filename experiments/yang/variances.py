"""The numbers of the figure yang/variances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

import resnet_sde as rs
from experiments.wide import dataset, residual
from experiments.yang.known import DEPTHS
from experiments.yang.residuals import networks
from resnet_sde.meanfield import depth_law, lengths, recommend_variances
from resnet_sde.meanfield.asymptotics import SaturatingAsymptotics, asymptotics

TARGET = 2.0  # of log(χ^0/χ^L)
BLOCKS: tuple[rs.Reduced | rs.TwoLayer, ...] = (
    rs.Reduced(rs.TANH, 1.0, 0.0),
    rs.Reduced(rs.TANH, 1.0, 0.5),
    rs.TwoLayer(rs.TANH, 1.0, 0.25, 1.0, 0.25),
    rs.TwoLayer(rs.TANH, 1.0, 0.5, 1.0, 0.5),
)  # their σ_w² is looked for
KNOWN_LIMITS = {  # of σ_w² L as L grows, by target
    1.0: (1.0, 1.97865, 1.86192, 2.48558),
    2.0: (2.0, 4.71494, 4.94619, 6.86616),
    4.0: (4.0, 13.34536, 15.92751, 22.26706),
}
SHOWN = 2  # the block of which networks are drawn


@dataclass(frozen=True)
class Sizes:
    """Of the networks."""

    width: int
    samples: int
    depths: tuple[int, ...]


BUDGETS = {
    "smoke": Sizes(width=200, samples=60, depths=(8, 64)),
    "paper": Sizes(width=500, samples=200, depths=(8, 16, 32, 64, 128, 256)),
}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Variances, their laws and what networks make of them."""
    settings = BUDGETS[budget]
    exact = [[recommend_variances(depth, block).sigma_w2 for depth in DEPTHS] for block in BLOCKS]
    limits = [
        [depth_law(block, target_log_gradient_growth=target).constant for block in BLOCKS]
        for target in KNOWN_LIMITS
    ]
    chosen = BLOCKS[SHOWN]
    recommended = [recommend_variances(depth, chosen).block for depth in settings.depths]
    seen = [[_seen(b, d, settings, seed) for d, b in zip(settings.depths, recommended, strict=True)]]
    seen += [[_seen(replace(chosen, sigma_w2=1.0), d, settings, seed) for d in settings.depths]]
    variables = {
        "sigma_w2": (("block", "depth"), np.array(exact)),
        "limit": (("target", "block"), np.array(limits)),
        "exponential": ("block", [_exponential(block) for block in BLOCKS]),
        "growth": (("choice", "few_depth", "network"), np.array(seen)),
        "growth_of_one": ("line", lengths(residual(chosen), depth=DEPTHS[-1]).log_gradient_growth),
    }
    axes = {
        "block": range(len(BLOCKS)),
        "depth": list(DEPTHS),
        "target": list(KNOWN_LIMITS),
        "few_depth": list(settings.depths),
        "choice": ["recommended", "one"],
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)


def _exponential(block: rs.Block) -> float:
    """σ_w² L at which A √L is the target, A being proportional to σ_w; the block has σ_w² = 1."""
    laws = asymptotics(residual(block))
    assert isinstance(laws, SaturatingAsymptotics)
    return (TARGET / laws.a) ** 2


def _seen(block: rs.Block, depth: int, settings: Sizes, seed: int) -> np.ndarray:
    """log(χ^0/χ^L) of every network."""
    size = {"width": settings.width, "samples": settings.samples, "seed": seed}
    return networks(block, depth=depth, **size).log_gradient[:, 0].numpy()
