"""The numbers of the figure yang/relu."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.wide import dataset, residual
from experiments.yang import residuals
from experiments.yang.residuals import PARAMETERS, name, networks
from resnet_sde.meanfield import gaps, lengths, parameter_gradients
from resnet_sde.meanfield.asymptotics import HomogeneousAsymptotics, asymptotics

BLOCKS = (
    rs.TwoLayer(rs.RELU, 2.0, 1.0, 1.0, 1.0),
    rs.TwoLayer(rs.RELU, 1.0, 0.0, 1.0, 0.0),
    rs.TwoLayer(rs.RELU, 0.1, 0.1, 1.0, 0.1),
)
NAMES = [name(block) for block in BLOCKS]
SLOW = BLOCKS[2]  # its parameters are looked at: B = 0.05, p^0 = 1, k/B = 3


@dataclass(frozen=True)
class Sizes:
    """Of the networks; layers: through which infinite width is followed."""

    width: int
    samples: int
    depth: int = 50
    gradient_depth: int = 200
    layers: int = 1000


BUDGETS = {"smoke": Sizes(width=200, samples=60), "paper": Sizes(width=1000, samples=100)}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Lengths, cosines and gradients of parameters."""
    settings = BUDGETS[budget]
    size = {"width": settings.width, "samples": settings.samples, "seed": seed}
    seen = [networks(block, (0.5,), depth=settings.depth, **size) for block in BLOCKS]
    models = [residual(block) for block in BLOCKS]
    found = parameter_gradients(residual(SLOW), depth=settings.gradient_depth)
    columns = (found.log_state, found.log_outer, found.log_inner, found.log_inner_bias)
    parameters = residuals.parameter_gradients(SLOW, depth=settings.gradient_depth, **size)
    constants = [(law.growth, law.added, law.curvature) for law in map(_laws, BLOCKS)]
    rows = ("block", "network", "few_layer")
    variables = {
        "log_p": (("block", "layer"), torch.stack([lengths(m, depth=settings.layers).log_q for m in models])),
        "gap": (("block", "layer"), torch.stack([gaps(m, 1.0, 0.5, depth=settings.layers) for m in models])),
        "log_p_seen": (rows, torch.stack([each.q[..., 0].log() for each in seen])),
        "gap_seen": (rows, torch.stack([1 - each.cosine[..., 1] for each in seen])),
        "constant": (("block", "of"), np.array(constants)),
        "gradient": (("parameter", "top_layer"), torch.stack([x for x in columns if x is not None])),
        "gradient_seen": (
            ("parameter", "network", "top_layer"),
            torch.stack([parameters[each] for each in PARAMETERS]),
        ),
    }
    axes = {
        "block": NAMES,
        "of": ["growth", "added", "curvature"],
        "parameter": list(PARAMETERS),
        "top_layer": np.arange(1, settings.gradient_depth + 1),
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)


def _laws(block: rs.TwoLayer) -> HomogeneousAsymptotics:
    found = asymptotics(residual(block))
    assert isinstance(found, HomogeneousAsymptotics)
    return found
