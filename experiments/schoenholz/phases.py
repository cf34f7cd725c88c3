"""The numbers of the figure schoenholz/phases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.wide import (
    dataset,
    depth_scale,
    feed_forward,
    float64,
    inputs,
    mean_and_error,
    squared,
)
from resnet_sde.meanfield import gaps, lengths
from resnet_sde.meanfield.critical import critical_line
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import cosine, log10_length


@dataclass(frozen=True)
class Relaxation:
    """Networks in the ordered phase that start from mean square q0 and 1 − correlation gap0.

    layers: those drawn; the rates of infinite width are fitted further down.
    """

    sigma_w2: tuple[float, ...]
    width: int
    samples: int
    sigma_b2: float = 0.05
    q0: float = 1.0
    gap0: float = 0.5
    layers: int = 60


BUDGETS = {
    "smoke": Relaxation((0.3, 0.9, 1.5), width=200, samples=40),
    "paper": Relaxation((0.01, 0.3, 0.6, 0.9, 1.2, 1.5, 1.7), width=1000, samples=200),
}
LATE_LENGTHS, LATE_GAPS = (1e-11, 1e-4), (1e-14, 1e-8)  # distances between which rates are fitted
BOUNDARY = {0.01: 1.4242053, 0.05: 1.7609546, 0.1: 1.9860726, 0.2: 2.2851525, 0.25: 2.4014892}  # σ_b²: σ_w²


def compute(budget: str, seed: int) -> xr.Dataset:
    """Boundary, grid of χ_1, and relaxation."""
    settings = BUDGETS[budget]
    bias = torch.linspace(0, 1, 301, dtype=torch.float64).square() * 0.25
    grid_w, grid_b = (torch.linspace(*ends, 26, dtype=torch.float64) for ends in ((0.5, 3), (0.001, 0.25)))
    rows = [_relaxation(settings, w, seed) for w in settings.sigma_w2]
    variables = {
        "boundary": ("sigma_b2", critical_line(rs.TANH, bias)),
        "boundary_known": ("known_b2", critical_line(rs.TANH, float64(BOUNDARY))),
        "chi_1": (("grid_w2", "grid_b2"), fixed_points(rs.TANH, grid_w[:, None], grid_b).chi_1),
    }
    variables |= {
        name: (dims, np.stack([row[name][1] for row in rows])) for name, (dims, _) in rows[0].items()
    }
    axes = {"sigma_w2": list(settings.sigma_w2), "sigma_b2": bias.numpy(), "known_b2": list(BOUNDARY)}
    axes |= {"grid_w2": grid_w.numpy(), "grid_b2": grid_b.numpy()}
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(sigma_b2=settings.sigma_b2, width=settings.width, samples=settings.samples)


def _relaxation(settings: Relaxation, w: float, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    """Everything about one σ_w²; gaps of networks in float64, in which they may be tiny."""
    found = fixed_points(rs.TANH, w, settings.sigma_b2)
    depth = settings.layers + int(40 * max(float(found.xi_q), float(found.xi_c)))
    model = feed_forward(rs.TANH, w, settings.sigma_b2, settings.width)
    q = lengths(model, settings.q0, depth=depth).q
    away, gap = (q - found.q_star).abs().numpy(), gaps(model, settings.q0, settings.gap0, depth=depth).numpy()
    seen = rs.simulate(
        model,
        inputs(settings.q0, [settings.gap0]),
        depth=settings.layers,
        samples=settings.samples,
        observe=[log10_length, cosine],
        seed=seed,
    )
    length, length_error = mean_and_error(squared(seen["log10_length"][..., 0]))
    between, gap_error = mean_and_error(1 - seen["cosine"][..., 0, 1])
    last = settings.layers + 1
    layered = {
        "length": q[:last],
        "length_away": away[:last],
        "gap": gap[:last],
        "networks_length": length,
        "networks_length_error": length_error,
        "networks_gap": between,
        "networks_gap_error": gap_error,
    }
    single = {
        "q_star": found.q_star,
        "xi_q": depth_scale(away, _between(away, LATE_LENGTHS)),
        "xi_c": depth_scale(gap, _between(gap, LATE_GAPS)),
    }
    rows = {name: (("sigma_w2", "layer"), values) for name, values in layered.items()}
    return rows | {name: (("sigma_w2",), value) for name, value in single.items()}


def _between(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return (ends[0] < values) & (values < ends[1])
