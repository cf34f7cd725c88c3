"""The numbers of the figure schoenholz/dropout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.wide import dataset, feed_forward, float64, inputs, mean_and_error
from resnet_sde import propagate
from resnet_sde.matrices import Deferred
from resnet_sde.meanfield import gaps
from resnet_sde.meanfield.critical import critical_line, dropout_peak
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import cosine
from resnet_sde.streams import stream


@dataclass(frozen=True)
class Dropout:
    """Networks whose inputs start orthogonal, with mean square q*; their last correlation is looked at."""

    keep_rates: tuple[float, ...]
    sigma_w2: tuple[float, ...]
    width: int
    samples: int
    sigma_b2: float = 0.05
    depth: int = 60


BUDGETS = {
    "smoke": Dropout((0.9,), (1.0, 2.0), width=200, samples=100, depth=20),
    "paper": Dropout((0.99, 0.98, 0.95, 0.9, 0.8), (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0), 500, 100),
}
KEEP_RATES = (1.0, 0.99, 0.98, 0.95, 0.9, 0.8)  # of the lines
WEIGHTS = np.round(np.arange(10, 401) / 100, 2)  # σ_w² of the lines


def compute(budget: str, seed: int) -> xr.Dataset:
    """Fixed points and depth scales, and correlations of networks."""
    settings = BUDGETS[budget]
    bias, rates = settings.sigma_b2, float64(KEEP_RATES)
    lines = fixed_points(rs.TANH, torch.from_numpy(WEIGHTS), bias, keep_rate=rates[:, None])
    peaks = [dropout_peak(rs.TANH, bias, keep_rate=rate) for rate in KEEP_RATES[1:]]
    networks = np.array(
        [[_last(settings, w, k, seed) for w in settings.sigma_w2] for k in settings.keep_rates]
    )
    variables = {
        "c_star": (("keep_rate", "sigma_w2"), lines.c_star),
        "xi_c": (("keep_rate", "sigma_w2"), lines.xi_c),
        "peak": (("peak_rate", "of_peak"), peaks),
        "networks": (("networks_rate", "networks_w2", "of"), networks),
    }
    axes = {
        "keep_rate": list(KEEP_RATES),
        "sigma_w2": WEIGHTS,
        "peak_rate": list(KEEP_RATES[1:]),
        "of_peak": ["sigma_w2", "xi_c"],
        "networks_rate": list(settings.keep_rates),
        "networks_w2": list(settings.sigma_w2),
        "of": ["mean", "error", "theory"],
    }
    ds = dataset(variables, axes, settings, budget, seed)
    critical = float(critical_line(rs.TANH, bias))
    of_networks = {"width": settings.width, "samples": settings.samples, "depth": settings.depth}
    return ds.assign_attrs(sigma_b2=bias, critical=critical, **of_networks)


def _last(settings: Dropout, w: float, rate: float, seed: int) -> tuple[float, float, float]:
    """Correlation of two inputs at the last layer: mean over networks, its error, and infinite width."""
    q = float(fixed_points(rs.TANH, w, settings.sigma_b2, keep_rate=rate).q_star)
    model = feed_forward(rs.TANH, w, settings.sigma_b2, settings.width)
    source = stream(seed, "dropout", model, settings.depth, settings.samples, rate)
    x = inputs(q, [1.0]).float().expand(settings.samples, 2, 2)
    h = Deferred(source, settings.width).matvec(x.contiguous(), 2**-0.5)
    layers = (rs.Layer.revealed(model.block.shapes(settings.width), source) for _ in range(settings.depth))
    dropout = propagate.Dropout(rate, source)
    t = rs.trajectory(model.block, h, layers, 1.0, model.skip, dropout=dropout, every_layer=False)
    mean, error = mean_and_error(cosine(t)[:, -1, 0, 1])
    theory = gaps(model, q, 1.0, depth=settings.depth, keep_rate=rate)[-1]
    return float(mean), float(error), 1 - float(theory)
