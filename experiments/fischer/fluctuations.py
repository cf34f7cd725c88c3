"""The numbers of the figure fischer/fluctuations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

import resnet_sde as rs
from experiments.fischer.finite_width import Networks, deviations, sharp_shift, sharp_variance
from experiments.wide import dataset, mean_and_error
from resnet_sde.finite_width import FiniteSize, finite_size

DEPTHS = (5, 10, 20, 40, 80, 160, 320)


@dataclass(frozen=True)
class Fluctuations:
    """Networks of many depths at their optimal scale, and of one depth at many scales.

    simulated_depths: of the networks that are simulated at their optimal scale.
    """

    scales: int
    width: int
    samples: int
    simulated_depths: tuple[int, ...]
    depths: tuple[int, ...] = DEPTHS
    depth: int = 20


BUDGETS = {
    "smoke": Fluctuations(9, width=128, samples=400, simulated_depths=(5, 20), depths=(5, 20, 80)),
    "paper": Fluctuations(41, width=128, samples=8000, simulated_depths=(5, 10, 20, 40, 80)),
}
PREFACTOR = 1.0246743007  # ρ√L at which infinitely deep networks respond most
SMALLEST, LARGEST = 0.05, 1.0
SCALES = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)  # of the table, and simulated
OF_DEPTH = (
    "kernel",
    "response",
    "variance",
    "without_memory",
    "conditional",
    "conditional_without_memory",
    "shift",
)


def compute(budget: str, seed: int) -> xr.Dataset:
    """Theory and networks."""
    settings = BUDGETS[budget]
    scales = np.geomspace(SMALLEST, LARGEST, settings.scales)
    best = {depth: Networks(depth, PREFACTOR / math.sqrt(depth)) for depth in settings.depths}
    simulated = [Networks(depth, PREFACTOR / math.sqrt(depth)) for depth in settings.simulated_depths]
    of_scale = [Networks(settings.depth, scale) for scale in SCALES]
    variables = {
        "of_depth": (("depth", "quantity"), [_numbers(networks) for networks in best.values()]),
        "relative": (("depth", "network"), [_relative(networks) for networks in best.values()]),
        "at_best": (("simulated_depth", *SIMULATED), [_simulated(n, settings, seed) for n in simulated]),
        "of_scale": (("scale", "quantity"), [_numbers(Networks(settings.depth, x)) for x in scales]),
        "at_scales": (("table_scale", "quantity"), [_numbers(networks) for networks in of_scale]),
        "simulated": (("table_scale", *SIMULATED), [_simulated(n, settings, seed) for n in of_scale]),
    }
    axes = {"depth": list(settings.depths), "quantity": list(OF_DEPTH), "scale": scales}
    axes |= {"simulated_depth": list(settings.simulated_depths), "network": ["residual", "feed-forward"]}
    axes |= {
        "table_scale": list(SCALES),
        "of": ["variance", "conditional", "shift"],
        "estimate": ["value", "error"],
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples, of_depth_of_scales=settings.depth)


SIMULATED = ("of", "estimate")


def _numbers(networks: Networks) -> list[float]:
    """What is known of the last layer; covariances and shifts are times the width."""
    full, fresh = networks.theory(), networks.without_memory()
    found = (
        full.kernel[-1],
        full.output_response,
        full.branch_covariance[-1, -1],
        fresh.branch_covariance[-1, -1],
        full.conditional_covariance[-1, -1],
        fresh.conditional_covariance[-1, -1],
        full.branch_shift[-1],
    )
    return [float(value) for value in found]


def _relative(networks: Networks) -> tuple[float, float]:
    """Var Q / K² of the last states times the width, and the same of a linear feed-forward network."""
    linear = rs.Model(rs.SingleLayer(rs.LINEAR), rs.WhiteNoise(), 1, beta=0.0, skip=0.0)

    def of(size: FiniteSize) -> float:
        return float(size.kernel_covariance[-1, -1] / size.kernel[-1].square())

    return of(networks.theory()), of(finite_size(linear, networks.k0, depth=networks.depth))


def _simulated(networks: Networks, settings: Fluctuations, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = networks.simulate(settings.width, settings.samples, deviations(networks), seed)
    conditional = mean_and_error(settings.width * (parts[:, 3] - parts[:, 3].mean()).square())
    return [sharp_variance(parts, settings.width), conditional, sharp_shift(parts, settings.width)]
