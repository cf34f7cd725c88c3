"""The numbers of the figure yang/cosines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

import resnet_sde as rs
from experiments.wide import dataset, float64, mean_and_error, residual
from experiments.yang.residuals import name, networks
from resnet_sde.meanfield import gaps
from resnet_sde.meanfield.asymptotics import SaturatingAsymptotics, asymptotics

BLOCKS = (
    rs.TwoLayer(rs.TANH, 1.0, 0.25, 1.0, 0.25),
    rs.TwoLayer(rs.TANH, 2.0, 0.5, 0.5, 1.0),
    rs.TwoLayer(rs.TANH, 1.69, 0.49, 1.5, 0.5),
    rs.Reduced(rs.TANH, 1.0, 0.0),
)
NAMES = [name(block) for block in BLOCKS]
COSINES = (0.5, 0.0, -0.5, 0.999)  # of the two inputs


@dataclass(frozen=True)
class Sizes:
    """Of the networks, from cosine 0.5; layers: through which infinite width is followed."""

    width: int
    samples: int
    layers: int
    depth: int = 200


BUDGETS = {
    "smoke": Sizes(width=200, samples=60, layers=1000),
    "paper": Sizes(width=500, samples=200, layers=10_000),
}
RATIOS = np.logspace(-2, 2, 81)  # of the variance of the outer bias to that of the outer matrix
KNOWN = {  # e* and δ* at such ratios
    0.01: (0.026787814400833, 0.369457118407624),
    0.1: (0.218238032502274, 0.406959857058422),
    0.25: (0.421714443153584, 0.438315099045301),
    1 / 3: (0.5, 1 - math.sqrt(3) / math.pi),
    0.5: (0.613828479957138, 0.462386636580800),
    1.0: (0.789832628373442, 0.481007274741930),
    2.0: (0.908529189846099, 0.492111707213194),
    4.0: (0.967399507073024, 0.497250374064224),
    100.0: (0.999920539142817, 0.499993378068966),
}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Fixed points, and gaps by layer."""
    settings = BUDGETS[budget]
    ratios = np.union1d(RATIOS, list(KNOWN))
    limits = np.array([_limits(rs.TwoLayer(rs.TANH, 1.0, 0.0, 1.0, ratio)) for ratio in ratios])
    own = np.array([_limits(block) for block in BLOCKS])
    gap0 = 1 - float64(COSINES)
    gap = np.stack([gaps(residual(block), 1.0, gap0, depth=settings.layers).numpy() for block in BLOCKS])
    size = {"width": settings.width, "depth": settings.depth, "samples": settings.samples, "seed": seed}
    seen = [mean_and_error(networks(block, (0.5,), **size).cosine[..., 1]) for block in BLOCKS]
    variables = {
        "limit": (("ratio", "of"), limits[:, :2]),
        "constant": (("block", "all_of"), own),
        "gap": (("block", "layer", "cosine"), gap),
        "e": (("block", "few_layer"), np.stack([mean for mean, _ in seen])),
        "e_error": (("block", "few_layer"), np.stack([error for _, error in seen])),
    }
    of = ["e_star", "delta_star", "f"]
    axes = {"ratio": ratios, "block": NAMES, "cosine": list(COSINES), "of": of[:2], "all_of": of}
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)


def _limits(block: rs.Block) -> tuple[float, float, float]:
    """e*, δ* and F."""
    laws = asymptotics(residual(block))
    assert isinstance(laws, SaturatingAsymptotics)
    return laws.e_star, laws.delta_star, laws.f
