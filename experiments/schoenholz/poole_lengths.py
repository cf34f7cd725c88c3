"""The numbers of the figure schoenholz/poole_lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.schoenholz.poole import BIAS, WEIGHTS
from experiments.wide import dataset, feed_forward, float64, mean_and_error, squared
from resnet_sde.meanfield import lengths
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import log10_length


@dataclass(frozen=True)
class Poole:
    """Networks of the three variances of Poole et al. and the grid of standard deviations σ_w × σ_b.

    cells: of the grid along one axis.
    """

    samples: int
    width: int
    cells: int


BUDGETS = {"smoke": Poole(samples=30, width=200, cells=9), "paper": Poole(samples=50, width=1000, cells=41)}
STARTS = (0.1, 4.0, 8.0, 12.0, 15.0)
FROM = torch.arange(0.5, 15.1, 1.0, dtype=torch.float64)  # lengths from which networks show the map
LAYERS = 6
CLOSE = 0.01  # of |q / q* − 1|, where a length counts as settled
LONGEST = 60  # layers, after which a length counts as unsettled


def compute(budget: str, seed: int) -> xr.Dataset:
    """Map, iterates, fixed points and times to settle."""
    settings = BUDGETS[budget]
    weights, starts = float64(WEIGHTS), float64(STARTS)
    q = torch.linspace(0, 1, 81, dtype=torch.float64).square() * 15
    q_star = fixed_points(rs.TANH, weights, BIAS).q_star
    deviations = [torch.linspace(*ends, settings.cells, dtype=torch.float64) for ends in ((1, 5), (0, 4))]
    w, b = (x.square() for x in torch.meshgrid(*deviations, indexing="ij"))
    grid = fixed_points(rs.TANH, w, b)
    variables = {
        "from_q": ("from", FROM),
        "mapped": (("sigma_w2", "q"), weights[:, None] * rs.TANH.second_moment(q) + BIAS),
        "mapped_from": (("sigma_w2", "from"), weights[:, None] * rs.TANH.second_moment(FROM) + BIAS),
        "length": (("sigma_w2", "start", "layer"), [[_lengths(v, s) for s in STARTS] for v in WEIGHTS]),
        "q_star": ("sigma_w2", q_star),
        "settled": (("sigma_w2", "start"), _layers(weights[:, None], BIAS, starts, q_star[:, None])),
        "grid_q_star": (("grid_w", "grid_b"), grid.q_star),
        "grid_settled": (("grid_w", "grid_b"), _mean_layers(w, b, grid.q_star)),
    }
    axes = {"sigma_w2": list(WEIGHTS), "q": q.numpy(), "start": list(STARTS)}
    axes |= {"grid_w": deviations[0].numpy(), "grid_b": deviations[1].numpy()}
    ds = dataset(variables | _networks(settings, seed), axes, settings, budget, seed)
    return ds.assign_attrs(sigma_b2=BIAS, width=settings.width, samples=settings.samples)


def _lengths(w: float, start: float) -> np.ndarray:
    return lengths(feed_forward(rs.TANH, w, BIAS), start, depth=LAYERS).q.numpy()


def _networks(settings: Poole, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    """One layer from many lengths, and several layers from a few; inputs of a network are parallel."""
    found: dict[str, list[np.ndarray]] = {}
    for name, starts, depth in (("mapped", FROM, 1), ("length", float64(STARTS), LAYERS)):
        for w in WEIGHTS:
            seen = rs.simulate(
                feed_forward(rs.TANH, w, BIAS, settings.width),
                starts.float().sqrt()[:, None],
                depth=depth,
                samples=settings.samples,
                observe=[log10_length],
                seed=seed,
            )
            q = squared(seen["log10_length"])
            of_each = q[:, 1] if name == "mapped" else q.mT
            for end, value in zip(("", "_error"), mean_and_error(of_each), strict=True):
                found.setdefault(f"networks_{name}{end}", []).append(value)
    dims = {"mapped": ("sigma_w2", "from"), "length": ("sigma_w2", "start", "layer")}
    return {name: (dims[name.split("_")[1]], np.stack(values)) for name, values in found.items()}


def _layers(w: Tensor, b: Tensor | float, start: Tensor, q_star: Tensor) -> Tensor:
    """How many layers until |q / q* − 1| is small for the first time; infinite if it takes too long."""
    q, found = torch.broadcast_tensors(start, w * start)[0], torch.full((w * start).shape, torch.inf)
    for layer in range(LONGEST + 1):
        found = torch.where(torch.isinf(found) & ((q / q_star - 1).abs() <= CLOSE), float(layer), found)
        q = w * rs.TANH.second_moment(q) + b
    return found


def _mean_layers(w: Tensor, b: Tensor, q_star: Tensor) -> Tensor:
    """Over all STARTS, where q* is positive."""
    starts = float64(STARTS)
    return _layers(w[..., None], b[..., None], starts, q_star[..., None]).mean(-1)
