"""The numbers of the figure yang/growth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import xarray as xr

import resnet_sde as rs
from experiments.wide import dataset, float64, residual
from experiments.yang.residuals import name, networks
from resnet_sde.meanfield import lengths
from resnet_sde.meanfield.asymptotics import SaturatingAsymptotics, asymptotics

BLOCKS: tuple[rs.Reduced | rs.TwoLayer, ...] = (
    rs.Reduced(rs.TANH, 1.0, 0.0),
    rs.TwoLayer(rs.TANH, 1.0, 0.25, 1.0, 0.25),
)
NAMES = [name(block) for block in BLOCKS]


@dataclass(frozen=True)
class Sizes:
    """Of the networks; layers: through which infinite width is followed."""

    samples: int
    width: int
    depth: int = 100
    layers: int = 10_000


BUDGETS = {"smoke": Sizes(samples=40, width=252), "paper": Sizes(samples=200, width=500)}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Growth of gradients and their laws."""
    settings = BUDGETS[budget]
    size = {"width": settings.width, "depth": settings.depth, "samples": settings.samples}
    logs = [networks(block, **size, seed=seed).log_gradient for block in BLOCKS]
    growth = [lengths(residual(block), depth=settings.layers).log_gradient_growth for block in BLOCKS]
    laws = [asymptotics(residual(block)) for block in BLOCKS]
    constants = [[law.a, law.a_log] for law in laws if isinstance(law, SaturatingAsymptotics)]
    variables = {
        "growth_theory": (("block", "layer"), torch.stack(growth)),
        "growth": (("block", "network", "few_layer"), torch.stack([x[:, :1] - x for x in logs])),
        "constant": (("block", "of"), float64([x for row in constants for x in row]).reshape(-1, 2)),
    }
    ds = dataset(variables, {"block": NAMES, "of": ["a", "a_log"]}, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)
