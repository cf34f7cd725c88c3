"""The numbers of the figure fischer/response."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from experiments.fischer.finite_width import Networks, last_squares, squares
from experiments.wide import dataset, mean_and_error
from resnet_sde.finite_width import diagonal_optimum, output_response
from resnet_sde.finite_width.depth_flow import Growth
from resnet_sde.finite_width.phi_squared_moments import phi_squared_moments


@dataclass(frozen=True)
class Responses:
    """Responses of networks of some depths against ρ, and of simulated ones of one depth."""

    scales: int
    width: int
    samples: int
    simulated_depths: tuple[int, ...]
    depths: tuple[int, ...] = (5, 10, 20, 50, 100)
    scaled_depths: tuple[int, ...] = (20, 50, 100, 500)


BUDGETS = {
    "smoke": Responses(31, width=128, samples=300, simulated_depths=(20,)),
    "paper": Responses(121, width=128, samples=2000, simulated_depths=(5, 20, 100)),
}
NETS = {  # of panel a
    "residual": Networks(depth=20, gain=0.2365),
    "feed-forward, 2": Networks(depth=20, gain=1.0, sigma_w2=2.0, k0=0.2, skip=0.0),
    "feed-forward, 1.2": Networks(depth=20, gain=1.0, sigma_w2=1.2, k0=0.5, skip=0.0),
}
SIMULATED = ("simulated_depth", "simulated_scale")
SIMULATED_SCALES = (0.05, 0.0765, 0.117, 0.179, 0.2739, 0.419, 0.6409, 0.9805)
SMALLEST, LARGEST = 0.02, 1.5  # scales of panels b and d
FURTHEST = 2.5  # of panel c
TABLE_SCALES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0)


def compute(budget: str, seed: int) -> xr.Dataset:
    """Responses layer by layer and against ρ."""
    settings = BUDGETS[budget]
    scales = np.geomspace(SMALLEST, LARGEST, settings.scales)
    products = np.linspace(0, FURTHEST, settings.scales)[1:]  # has COLLAPSED
    deep = settings.scaled_depths
    variables = _layers(settings, seed) | _simulated(settings, seed)
    variables |= {
        "response": (("depth", "scale"), [_responses(depth, scales) for depth in settings.depths]),
        "tabulated": (
            ("depth", "table_scale"),
            [_responses(depth, TABLE_SCALES) for depth in settings.depths],
        ),
        "peak": (("depth", "at"), [_peak(depth) for depth in settings.depths]),
        "scaled": (("scaled_depth", "product"), [_responses(n, products / math.sqrt(n)) for n in deep]),
        "scaled_peak": (("scaled_depth", "at"), [_peak(depth) for depth in deep]),
        "limit": ("product", _limit(products)),
    }
    axes = {"depth": list(settings.depths), "scale": scales, "table_scale": list(TABLE_SCALES)}
    axes |= {"scaled_depth": list(deep), "product": products, "at": ["scale", "response"]}
    axes |= {
        "network": list(NETS),
        "of": ["K", "C"],
        "layer": range(21),
        "simulated_scale": list(SIMULATED_SCALES),
    }
    axes |= {"simulated_depth": list(settings.simulated_depths), "estimate": ["value", "error"]}
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)


def _layers(settings: Responses, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    theory, found = [], []
    for networks in NETS.values():
        of = networks.theory()
        theory.append(torch.stack([of.kernel_response[:, 0], of.branch_response[:, 0]]))
        slopes = networks.slopes(settings.width, settings.samples, squares, seed)
        slopes[:, 1] *= networks.sigma_w2
        found.append(mean_and_error(slopes))
    dims = ("network", "of", "layer")
    means, errors = zip(*found, strict=True)
    return {
        "layer_response": (dims, torch.stack(theory)),
        "networks_layer_response": (dims, np.stack(means)),
        "networks_layer_response_error": (dims, np.stack(errors)),
    }


def _simulated(settings: Responses, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    def found(depth: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
        networks = Networks(depth, scale)
        return mean_and_error(networks.slopes(settings.width, settings.samples, last_squares, seed)[:, 1])

    depths = settings.simulated_depths
    return {
        "simulated_theory": (SIMULATED, [_responses(depth, SIMULATED_SCALES) for depth in depths]),
        "simulated": ((*SIMULATED, "estimate"), [[found(n, x) for x in SIMULATED_SCALES] for n in depths]),
    }


def _responses(depth: int, scales: object) -> list[float]:
    base = [Networks(depth, float(scale)) for scale in np.asarray(scales)]
    return [output_response(networks.model(), networks.k0, depth=depth) for networks in base]


def _peak(depth: int) -> tuple[float, float]:
    best = diagonal_optimum(Networks(depth, 1.0).model(), Networks(depth, 1.0).k0, depth=depth)
    assert best.scale is not None
    return best.scale, _responses(depth, [best.scale])[0]


def _limit(products: np.ndarray) -> np.ndarray:
    """The response a(K) G(K) / G(K_0) of infinitely deep networks, where ρ² L = ∫ dK / G from K_0 to K."""
    networks = Networks(1, 1.0)
    growth = Growth(networks.model().block)
    k = torch.as_tensor(np.geomspace(networks.k0 * (1 + 1e-9), 20, 600))
    times = np.array([growth.time(networks.k0, end) for end in k.tolist()])
    return np.interp(products, np.sqrt(times), _end(growth, k, networks.k0).numpy())


def _end(growth: Growth, k: Tensor, k0: float) -> Tensor:
    slope = phi_squared_moments(growth.block.activation).slope(k)
    return slope * growth.rate(k) / growth.rate(torch.tensor([k0], dtype=torch.float64))
