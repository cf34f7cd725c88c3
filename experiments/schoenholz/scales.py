"""The numbers of the figure schoenholz/scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.wide import dataset, depth_scale, feed_forward, float64, inputs, squared
from resnet_sde.meanfield import gaps, lengths
from resnet_sde.meanfield.critical import critical_line
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import cosine, log10_length


@dataclass(frozen=True)
class Scales:
    """Networks at one σ_b², in which lengths start from 2 q*, or correlations from 0 where lengths are q*.

    sigma_w2: of the networks.
    length_layers, correlation_layers: how far they are followed.
    """

    sigma_w2: tuple[float, ...]
    width: int
    samples: int
    sigma_b2: float = 0.05
    length_layers: int = 12
    correlation_layers: int = 60


BUDGETS = {
    "smoke": Scales((1.5, 4.0), width=1000, samples=300, correlation_layers=40),
    "paper": Scales((0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0), width=2000, samples=600),
}
BIASES = (0.001, 0.01, 0.05, 0.1, 0.2)  # σ_b² of the lines
WEIGHTS = np.round(np.arange(30, 401) / 100, 2)  # σ_w² of the lines
NEAR = 1e-4  # relative distance to the boundary at which ξ_c is asked for as well
LENGTHS = 4  # times as many networks show lengths, which settle within few layers
RESAMPLES = 200  # of a bootstrap interval


def compute(budget: str, seed: int) -> xr.Dataset:
    """Depth scales of infinite width, and fits to networks."""
    settings = BUDGETS[budget]
    biases = float64(BIASES)
    critical = critical_line(rs.TANH, biases)
    lines = fixed_points(rs.TANH, torch.from_numpy(WEIGHTS), biases[:, None])
    near = critical[:, None] * (1 + NEAR * float64([-1.0, 1.0]))
    close = fixed_points(rs.TANH, near, biases[:, None])
    fits = [_fits(settings, w, seed) for w in settings.sigma_w2]
    variables = {
        "critical": ("sigma_b2", critical),
        "xi_q": (("sigma_b2", "sigma_w2"), lines.xi_q),
        "xi_c": (("sigma_b2", "sigma_w2"), lines.xi_c),
        "xi_c_near": (("sigma_b2", "side"), close.xi_c),
        "xi_c_near_expansion": (("sigma_b2", "side"), close.near_critical_xi_c),
        "fit": (("scale", "networks_w2", "of"), np.stack(fits, axis=1)),
    }
    axes = {
        "sigma_b2": list(BIASES),
        "sigma_w2": WEIGHTS,
        "side": ["ordered", "chaotic"],
        "networks_w2": list(settings.sigma_w2),
        "scale": ["xi_q", "xi_c"],
        "of": ["networks", "error", "theory"],
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(sigma_b2=settings.sigma_b2, width=settings.width, samples=settings.samples)


def _fits(settings: Scales, w: float, seed: int) -> np.ndarray:
    """ξ_q and ξ_c, each (networks, error, theory), where theory is fitted to the same layers."""
    b = settings.sigma_b2
    model = feed_forward(rs.TANH, w, b, settings.width)
    found = fixed_points(rs.TANH, w, b)
    q_star, c_star = float(found.q_star), float(found.c_star)
    q = lengths(model, 2 * q_star, depth=settings.length_layers).q
    seen = _seen(settings, model, inputs(2 * q_star), settings.length_layers, seed)
    of_lengths = _fit(squared(seen["log10_length"][..., 0]), q, q_star, settings.width)
    c = 1 - gaps(model, q_star, 1.0, depth=settings.correlation_layers)
    seen = _seen(settings, model, inputs(q_star, [1.0]), settings.correlation_layers, seed)
    of_correlations = _fit(seen["cosine"][..., 0, 1], c, c_star, settings.width)
    return np.array([of_lengths, of_correlations])


def _seen(settings: Scales, model: rs.Model, x: Tensor, depth: int, seed: int) -> dict[str, Tensor]:
    chosen, many = ([log10_length], LENGTHS) if len(x) == 1 else ([cosine], 1)
    samples = many * settings.samples
    return rs.simulate(model, x.float(), depth=depth, samples=samples, observe=chosen, seed=seed)


def _fit(values: Tensor, theory: Tensor, limit: float, width: int) -> tuple[float, float, float]:
    """Fits to the layers in which the distance to the limit is clear of chance and of finite width."""
    samples, away = values.numpy(), (theory - limit).abs().numpy()
    error = samples.std(0) / len(samples) ** 0.5
    clear = away > np.maximum(10 * error, 10 * max(limit, theory[0].item()) / width)
    window = np.logical_and.accumulate(clear) & (np.arange(len(away)) > 0)

    def scale(rows: np.ndarray) -> float:
        return depth_scale(np.abs(rows.mean(0) - limit), window)

    pick = np.random.default_rng([len(samples), width]).integers(len(samples), size=(RESAMPLES, len(samples)))
    spread = float(np.std([scale(samples[rows]) for rows in pick], ddof=1))
    return scale(samples), spread, depth_scale(away, window)
