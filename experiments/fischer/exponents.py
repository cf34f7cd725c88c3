"""The numbers of the figure fischer/exponents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from experiments.fischer.finite_width import STEP, Networks, last_squares
from experiments.wide import dataset, mean_and_error
from resnet_sde.finite_width import output_response
from resnet_sde.meanfield import lengths


@dataclass(frozen=True)
class Exponents:
    """Networks of many depths for every b, some of them simulated."""

    depths: tuple[int, ...]
    simulated_depths: tuple[int, ...]
    width: int
    samples: int


DEPTHS = (10, 16, 25, 40, 63, 100, 160, 250, 400, 630, 1000)
BUDGETS = {
    "smoke": Exponents((10, 100, 1000), simulated_depths=(10, 100), width=128, samples=100),
    "paper": Exponents(DEPTHS, simulated_depths=(10, 30, 100, 300, 1000), width=128, samples=800),
}
POWERS = (0.25, 0.5, 0.75, 1.0)


def compute(budget: str, seed: int) -> xr.Dataset:
    """Kernels and responses."""
    settings = BUDGETS[budget]
    variables = {
        "theory": (("b", "depth", "of"), _theory(settings.depths)),
        "simulated_theory": (("b", "simulated_depth", "of"), _theory(settings.simulated_depths)),
        "simulated": (
            ("b", "simulated_depth", "of", "estimate"),
            [[_simulated(b, depth, settings, seed) for depth in settings.simulated_depths] for b in POWERS],
        ),
    }
    axes = {"b": list(POWERS), "depth": list(settings.depths), "of": ["kernel", "response"]}
    axes |= {"simulated_depth": list(settings.simulated_depths), "estimate": ["value", "error"]}
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)


def _theory(depths: Sequence[int]) -> list[list[tuple[float, float]]]:
    def numbers(networks: Networks) -> tuple[float, float]:
        model, depth = networks.model(), networks.depth
        q = lengths(model, networks.k0, depth=depth).q
        return float(q[-1]), output_response(model, networks.k0, depth=depth)

    return [[numbers(Networks(depth, depth**-b)) for depth in depths] for b in POWERS]


def _simulated(b: float, depth: int, settings: Exponents, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Means of the last kernel and of the readout's difference quotient, with errors, from two runs."""
    networks = Networks(depth, depth**-b)
    up, down = (
        networks.simulate(
            settings.width, settings.samples, last_squares, seed, networks.k0 * (1 + sign * STEP)
        )
        for sign in (1, -1)
    )
    kernel, quotient = (up + down)[:, 0] / 2, (up - down)[:, 1] / (2 * STEP * networks.k0)
    return [mean_and_error(kernel), mean_and_error(quotient)]
