"""The numbers of the figure yang/limit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.wide import dataset, mean_and_error, residual
from experiments.yang.residuals import networks
from resnet_sde.meanfield import flow, flow_gaps, gaps, lengths

BLOCKS = {
    "tanh": rs.TwoLayer(rs.TANH, 1.0, 0.25, 1.0, 0.25),
    "steep tanh": rs.TwoLayer(rs.TANH, 4.0, 0.25, 9.0, 1.0),
    "ReLU": rs.TwoLayer(rs.RELU, 1.0, 0.0, 1.0, 0.0),
    "steep ReLU": rs.TwoLayer(rs.RELU, 2.0, 0.5, 2.0, 0.5),
    "power 3/4": rs.TwoLayer(rs.AlphaReLU(0.75), 1.0, 0.5, 1.0, 0.5),
    "linear": rs.TwoLayer(rs.LINEAR, 1.0, 0.5, 1.0, 0.5),
}
DEPTHS = (10, 20, 40, 80, 160, 320, 640)
BETAS = (0.25, 0.5, 0.75, 1.0)
SWEEP = (10, 100, 1000, 10_000)
PLAIN = {"ReLU": rs.TwoLayer(rs.RELU), "tanh": rs.TwoLayer(rs.TANH)}  # all variances 1, no biases


@dataclass(frozen=True)
class Sizes:
    """Of the networks, which have beta = 1/2."""

    width: int
    samples: int
    depth: int = 80


BUDGETS = {"smoke": Sizes(width=200, samples=60), "paper": Sizes(width=500, samples=200)}


def compute(budget: str, seed: int) -> xr.Dataset:
    """The limit, layers at several depths and scalings, and networks."""
    settings = BUDGETS[budget]
    times = torch.linspace(0, 1, settings.depth + 1, dtype=torch.float64)
    limits = [_limit(_scaled(block), times) for block in BLOCKS.values()]
    layers = [[_layers(_scaled(block), depth) for depth in DEPTHS] for block in BLOCKS.values()]
    size = {"width": settings.width, "depth": settings.depth, "samples": settings.samples, "seed": seed}
    seen = [networks(block, (0.5,), **size, alpha=settings.depth**-0.5) for block in BLOCKS.values()]
    found = [mean_and_error(each.cosine[..., 1]) for each in seen]
    theory = [1 - gaps(_scaled(block), 1.0, 0.5, depth=settings.depth) for block in BLOCKS.values()]
    sweep = [[[_growth(block, beta, depth) for depth in SWEEP] for beta in BETAS] for block in PLAIN.values()]
    variables = {
        "limit": (("block", "of"), np.array([[float(x[-1]) for x in row] for row in limits])),
        "e_limit": (("block", "time"), torch.stack([row[1] for row in limits])),
        "e_theory": (("block", "time"), torch.stack(theory)),
        "e": (("block", "time"), np.stack([mean for mean, _ in found])),
        "e_error": (("block", "time"), np.stack([error for _, error in found])),
        "layers": (("block", "depth", "of"), np.array(layers)),
        "sweep": (("plain", "beta", "sweep_depth"), np.array(sweep)),
    }
    axes = {
        "block": list(BLOCKS),
        "of": ["p", "e", "growth"],
        "time": times.numpy(),
        "depth": list(DEPTHS),
        "plain": list(PLAIN),
        "beta": list(BETAS),
        "sweep_depth": list(SWEEP),
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples, network_depth=settings.depth)


def _scaled(block: rs.Block) -> rs.Model:
    return replace(residual(block), beta=0.5)


def _limit(model: rs.Model, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """p, e and log(χ^0/χ^t) at the times."""
    found = flow(model, steps=len(times) - 1)
    return found.kernel.diagonal(), 1 - flow_gaps(model, 1.0, 0.5, times), found.log_gradient_growth


def _layers(model: rs.Model, depth: int) -> tuple[float, float, float]:
    """The same at the top of a network of this depth."""
    along = lengths(model, depth=depth)
    e = 1 - gaps(model, 1.0, 0.5, depth=depth)[-1]
    return float(along.q[-1]), float(e), float(along.log_gradient_growth[-1])


def _growth(block: rs.Block, beta: float, depth: int) -> float:
    return float(lengths(replace(residual(block), beta=beta), depth=depth).log_gradient_growth[-1])
