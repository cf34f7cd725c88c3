"""The numbers of the figure schoenholz/poole_correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.schoenholz.poole import BIAS, WEIGHTS
from experiments.wide import dataset, feed_forward, float64, inputs, mean_and_error
from resnet_sde.meanfield import gaps
from resnet_sde.meanfield.critical import critical_line
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import cosine


@dataclass(frozen=True)
class Correlations:
    """Networks that start from mean square q*; the grid is one of standard deviations, σ_w × σ_b."""

    samples: int
    width: int
    cells: int


BUDGETS = {
    "smoke": Correlations(samples=40, width=200, cells=9),
    "paper": Correlations(samples=100, width=1000, cells=41),
}
STARTS = (0.2, 0.5, 0.8)  # correlations
LAYERS = 30


def compute(budget: str, seed: int) -> xr.Dataset:
    """Map, iterates and fixed points."""
    settings = BUDGETS[budget]
    c = torch.linspace(0, 1, 51, dtype=torch.float64)
    found = fixed_points(rs.TANH, float64(WEIGHTS), BIAS)
    deviations = [torch.linspace(*ends, settings.cells, dtype=torch.float64) for ends in ((1, 5), (0, 4))]
    w, b = (x.square() for x in torch.meshgrid(*deviations, indexing="ij"))
    grid = fixed_points(rs.TANH, w, b)
    rows = [_of(settings, v, float(q), c, seed) for v, q in zip(WEIGHTS, found.q_star, strict=True)]
    variables = {
        name: (("sigma_w2", *dims), np.stack([row[name][1] for row in rows]))
        for name, (dims, _) in rows[0].items()
    }
    fine = torch.linspace(0, 4.1, 201, dtype=torch.float64)
    variables |= {
        "boundary": ("boundary_b", critical_line(rs.TANH, fine.square()).sqrt()),
        "c_star": ("sigma_w2", found.c_star),
        "chi_1": ("sigma_w2", found.chi_1),
        "grid_c_star": (("grid_w", "grid_b"), grid.c_star),
        "grid_chi_1": (("grid_w", "grid_b"), grid.chi_1),
    }
    axes = {"sigma_w2": list(WEIGHTS), "c": c.numpy(), "boundary_b": fine.numpy(), "start": list(STARTS)}
    axes |= {"grid_w": deviations[0].numpy(), "grid_b": deviations[1].numpy()}
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(sigma_b2=BIAS, width=settings.width, samples=settings.samples)


def _of(
    settings: Correlations, w: float, q: float, c: torch.Tensor, seed: int
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Lines and points of one σ_w², with lengths at q*."""
    model, starts = feed_forward(rs.TANH, w, BIAS, settings.width), 1 - float64(STARTS)
    theory = {
        "mapped": (("c",), (1 - gaps(model, q, 1 - c, depth=1)[1]).numpy()),
        "correlation": (("start", "layer"), (1 - gaps(model, q, starts, depth=LAYERS)).T.numpy()),
    }
    thin = c[::5]
    for name, gap0, depth in (("mapped", 1 - thin, 1), ("correlation", starts, LAYERS)):
        seen = rs.simulate(
            model,
            inputs(q, gap0.tolist()),
            depth=depth,
            samples=settings.samples,
            observe=[cosine],
            seed=seed,
        )
        with_first = seen["cosine"][:, :, 0, 1:]
        of_each = with_first[:, 1] if name == "mapped" else with_first.mT
        dims = ("from",) if name == "mapped" else ("start", "layer")
        for end, value in zip(("", "_error"), mean_and_error(of_each), strict=True):
            theory[f"networks_{name}{end}"] = (dims, value)
    return theory
