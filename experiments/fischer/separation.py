"""The numbers of the figure fischer/separation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.fischer.finite_width import STEP, Networks, seen
from experiments.wide import dataset, mean_and_error
from resnet_sde.finite_width import (
    diagonal_optimum,
    off_diagonal_optimum,
    off_diagonal_response,
    output_response,
)
from resnet_sde.observables import observable


@dataclass(frozen=True)
class Separations:
    """Responses against ρ, and optima against the cosine of the inputs.

    cosines: of panel b.
    """

    scales: int
    cosines: tuple[float, ...]
    width: int
    samples: int
    depth: int = 20


BUDGETS = {
    "smoke": Separations(21, (0.0, 0.3, 0.5), width=128, samples=200),
    "paper": Separations(
        81, (-0.3, -0.15, 0.0, 0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), width=128, samples=2000
    ),
}
SMALLEST, LARGEST = 0.03, 3.0  # scales of panel a
SIMULATED_SCALES = (0.1, 0.2, 0.4, 0.95, 2.0)
PEAKS = {0.0: (0.6038, 4.477), 0.5: (0.7502, 6.347), 0.9: (1.1669, 19.12)}  # cosine: scale, gain
OPTIMA = {  # K_0: optima by cosine
    0.05: {0.0: 0.6038, 0.3: 0.6743, 0.5: 0.7502},
    0.2: {0.0: 0.4812, 0.3: 0.5355, 0.5: 0.6026},
    1.0: {0.0: 0.3018, 0.3: 0.3584, 0.5: 0.4375},
}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Responses and optima."""
    settings = BUDGETS[budget]
    depth, scales = settings.depth, np.geomspace(SMALLEST, LARGEST, settings.scales)
    start = Networks(depth, 1.0)
    responses = [[_response(depth, scale, cosine) for scale in scales] for cosine in PEAKS]
    peaks = [_peak(start, cosine) for cosine in PEAKS]
    lengths = [output_response(Networks(depth, x).model(), start.k0, depth=depth) for x in scales]
    found = [[_separated(settings, scale, cosine, seed) for scale in SIMULATED_SCALES] for cosine in PEAKS]
    optima = [
        [off_diagonal_optimum(start.model(), k0, c, depth=depth).scale for c in settings.cosines]
        for k0 in OPTIMA
    ]
    variables = {
        "response": (("cosine", "scale"), responses),
        "length_response": ("scale", lengths),
        "peak": (("cosine", "at"), peaks),
        "simulated": (("cosine", "simulated_scale", "estimate"), found),
        "simulated_theory": (
            ("cosine", "simulated_scale"),
            [[_response(depth, scale, cosine) for scale in SIMULATED_SCALES] for cosine in PEAKS],
        ),
        "optimum": (("k0", "of_cosine"), np.array(optima, dtype=float)),
        "length_optimum": (
            "k0",
            np.array([diagonal_optimum(start.model(), k0, depth=depth).scale for k0 in OPTIMA], dtype=float),
        ),
    }
    axes = {
        "cosine": list(PEAKS),
        "scale": scales,
        "at": ["scale", "gain", "height"],
        "estimate": ["value", "error"],
    }
    axes |= {
        "simulated_scale": list(SIMULATED_SCALES),
        "k0": list(OPTIMA),
        "of_cosine": list(settings.cosines),
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(depth=depth, width=settings.width, samples=settings.samples)


def _response(depth: int, scale: float, cosine: float) -> float:
    networks = Networks(depth, float(scale))
    return off_diagonal_response(networks.model(), networks.k0, cosine, depth=depth)


def _peak(networks: Networks, cosine: float) -> tuple[float, float, float]:
    best = off_diagonal_optimum(networks.model(), networks.k0, cosine, depth=networks.depth)
    assert best.scale is not None
    assert best.gain is not None
    return best.scale, best.gain, _response(networks.depth, best.scale, cosine)


def _separated(
    settings: Separations, scale: float, cosine: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean difference quotient of the readout's kernel C_12 in K_12 at fixed lengths, and its error."""
    networks = Networks(settings.depth, scale)

    def run(moved: float) -> Tensor:
        c = cosine + moved
        x = torch.tensor([[1.0, 0.0], [c, math.sqrt(1 - c * c)]], dtype=torch.float64)
        x *= math.sqrt(2 * networks.k0)  # of two coordinates
        model = networks.model(settings.width)
        return seen(model, x, settings.depth, settings.samples, last_overlap, seed)

    return mean_and_error((run(STEP) - run(-STEP)) / (2 * STEP * networks.k0))


@observable()
def last_overlap(t: rs.Trajectory) -> Tensor:
    """Mean of erf(h(x)) erf(h(x')) over the neurons of the last layer, (sample,)."""
    phi = torch.erf(t.hidden.natural(-1))
    return (phi[:, 0] * phi[:, 1]).mean(-1)
