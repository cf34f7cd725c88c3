"""The numbers of the figure yang/gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.wide import dataset, residual
from experiments.yang import residuals
from experiments.yang.residuals import PARAMETERS
from resnet_sde.meanfield import lengths, parameter_gradients

SIMULATED = rs.TwoLayer(rs.TANH, 1.69, 0.49, 1.5, 0.5)
FOLLOWED = rs.TwoLayer(rs.TANH, 1.0, 0.25, 1.0, 0.25)  # through very many layers


@dataclass(frozen=True)
class Sizes:
    """Of the networks; far: layers through which infinite width is followed."""

    samples: int
    width: int = 252
    depth: int = 50
    far: int = 20_000


BUDGETS = {"smoke": Sizes(samples=40), "paper": Sizes(samples=200)}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Gradients by layer, and far from the top."""
    settings = BUDGETS[budget]
    size = {"width": settings.width, "depth": settings.depth, "samples": settings.samples, "seed": seed}
    seen = residuals.parameter_gradients(SIMULATED, **size)
    values = torch.stack([seen[each] for each in PARAMETERS]).numpy()
    growth = lengths(residual(SIMULATED), depth=settings.depth).log_gradient_growth
    states = residuals.networks(SIMULATED, **size).log_gradient.numpy()
    far = _theory(FOLLOWED, settings.far)
    variables = {
        "chi_theory": ("state_layer", growth[-1] - growth),
        "chi": (("network", "state_layer"), states),
        "gradient_theory": (("parameter", "layer"), _theory(SIMULATED, settings.depth)),
        "gradient": (("parameter", "network", "layer"), values),
        "extra": (("matrix", "far_layer"), far[1:] - far[:1]),
    }
    axes = {
        "parameter": list(PARAMETERS),
        "matrix": list(PARAMETERS[1:]),
        "layer": np.arange(1, settings.depth + 1),
        "far_layer": np.arange(1, settings.far + 1),
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)


def _theory(block: rs.TwoLayer, depth: int) -> Tensor:
    found = parameter_gradients(residual(block), depth=depth)
    columns = (found.log_state, found.log_outer, found.log_inner, found.log_inner_bias)
    return torch.stack([each for each in columns if each is not None])
