"""The numbers of the figure fischer/pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.fischer.finite_width import Networks, covariance, seen
from experiments.wide import dataset, mean_and_error
from resnet_sde.finite_width import finite_size_pair
from resnet_sde.observables import observable


@dataclass(frozen=True)
class Pairs:
    """Networks for the covariances, and those for the responses."""

    width: int
    samples: int
    samples_of_responses: int


BUDGETS = {
    "smoke": Pairs(256, samples=1500, samples_of_responses=200),
    "paper": Pairs(256, samples=20_000, samples_of_responses=2000),
}
NETWORKS_OF_TWO = Networks(depth=6, gain=0.4, sigma_w2=1.2)
START = (0.3, 0.2, 0.1)  # K_0, entries 11, 22, 12
ENTRIES = ("11", "22", "12")
OVERLAPS = {  # of the entries p and q of C
    (0, 0): "11, 11",
    (1, 1): "22, 22",
    (2, 2): "12, 12",
    (0, 2): "11, 12",
    (1, 2): "22, 12",
    (0, 1): "11, 22",
}
RESPONSES = {  # of entry p of C to entry q of K_0
    (0, 0): "11 to 11",
    (1, 1): "22 to 22",
    (2, 2): "12 to 12",
    (2, 0): "12 to 11",
    (2, 1): "12 to 22",
}
STEP = 1e-5  # of the difference quotients


def compute(budget: str, seed: int) -> xr.Dataset:
    """Means, covariances and responses at every layer."""
    settings, networks = BUDGETS[budget], NETWORKS_OF_TWO
    size = finite_size_pair(networks.model(settings.width), square(START), depth=networks.depth)
    spread = size.branch_covariance.diagonal(0, 0, 1)
    found = _branches(settings, START, settings.samples, seed)
    overlaps = [covariance(found[:, p], found[:, q]) for p, q in OVERLAPS]
    slopes = [_slopes(settings, q, seed) for q in range(3)]
    responses = [mean_and_error(slopes[q][:, p]) for p, q in RESPONSES]
    variables = {
        "limit": (("entry", "layer"), size.branch.T),
        "shift": (("entry", "layer"), size.branch_shift.T),
        "mean": (("entry", "estimate", "layer"), [mean_and_error(found[:, p]) for p in range(3)]),
        "overlap": (("pair", "layer"), torch.stack([spread[p, q] for p, q in OVERLAPS])),
        "networks_overlap": (("pair", "estimate", "layer"), settings.width * np.array(overlaps)),
        "response": (
            ("moved", "layer"),
            torch.stack([size.branch_response[:, 0, p, q] for p, q in RESPONSES]),
        ),
        "networks_response": (("moved", "estimate", "layer"), np.array(responses)),
    }
    axes = {"entry": list(ENTRIES), "layer": range(networks.depth + 1), "estimate": ["value", "error"]}
    axes |= {
        "pair": list(OVERLAPS.values()),
        "moved": list(RESPONSES.values()),
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(
        width=settings.width, samples=settings.samples, of_responses=settings.samples_of_responses
    )


def square(entries: tuple[float, ...]) -> Tensor:
    """The kernel of two inputs with these entries 11, 22, 12."""
    return torch.tensor([[entries[0], entries[2]], [entries[2], entries[1]]], dtype=torch.float64)


def _branches(settings: Pairs, start: tuple[float, ...], samples: int, seed: int) -> Tensor:
    """Entries of C at every layer, (sample, entry, layer)."""
    networks = NETWORKS_OF_TWO
    x = torch.linalg.cholesky(square(start)) * 2**0.5  # of two coordinates
    run = seen(networks.model(settings.width), x, networks.depth, samples, overlaps_of_layers, seed)
    return networks.branch(run)


def _slopes(settings: Pairs, q: int, seed: int) -> Tensor:
    """Difference quotients of all entries in entry q of K_0."""

    def run(sign: float) -> Tensor:
        start = tuple(value + sign * STEP * (entry == q) for entry, value in enumerate(START))
        return _branches(settings, start, settings.samples_of_responses, seed)

    return (run(1) - run(-1)) / (2 * STEP)


@observable("entry", "layer", every_layer=True)
def overlaps_of_layers(t: rs.Trajectory) -> Tensor:
    """Means of erf(h) erf(h') over the neurons of every layer, entries 11, 22, 12, (sample, 3, depth + 1)."""
    found = []
    for layer in range(len(t.hidden.scaled)):
        phi = torch.erf(t.hidden.natural(layer))
        one, other = phi[:, 0], phi[:, 1]
        found.append(
            torch.stack([(a * b).mean(-1) for a, b in ((one, one), (other, other), (one, other))], -1)
        )
    return torch.stack(found, -1)
