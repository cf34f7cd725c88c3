"""The numbers of the figure fischer/posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.fischer.finite_width import Networks, seen
from experiments.wide import dataset
from resnet_sde.finite_width import finite_size_pair, posterior_shift
from resnet_sde.observables import observable


@dataclass(frozen=True)
class Posterior:
    """Networks of some widths at one residual scale, and of one width at many scales."""

    widths: tuple[int, ...]
    scales: int
    simulated_scales: tuple[float, ...]
    samples: int
    width: int = 128


BUDGETS = {
    "smoke": Posterior((32, 128), scales=4, simulated_scales=(0.5,), samples=1500),
    "paper": Posterior(
        (32, 64, 128, 256, 512), scales=25, simulated_scales=(0.05, 0.1, 0.2, 0.4, 0.7, 1.2), samples=20_000
    ),
}
OF_POSTERIOR = Networks(depth=10, gain=0.3, sigma_w2=1.2)
START = torch.tensor([[0.3, 0.1], [0.1, 0.2]], dtype=torch.float64)
NOISE = 0.1  # variance of that of the targets
TARGETS = {"alike": (2.0, 1.8), "opposite": (1.5, -1.0)}
ENTRIES = ("11", "22", "12")
SMALLEST, LARGEST = 0.03, 1.5


def compute(budget: str, seed: int) -> xr.Dataset:
    """Shifts in theory and of weighted networks."""
    settings = BUDGETS[budget]
    scales = np.geomspace(SMALLEST, LARGEST, settings.scales)
    chosen = settings.simulated_scales
    variables = {
        "limit": (("target", "entry"), _theory(OF_POSTERIOR)),
        "of_width": (
            ("networks_width", "target", "estimate", "entry"),
            [_simulated(OF_POSTERIOR, width, settings.samples, seed) for width in settings.widths],
        ),
        "theory": (("scale", "target", "entry"), [_theory(replace(OF_POSTERIOR, gain=x)) for x in scales]),
        "simulated_theory": (
            ("simulated_scale", "target", "entry"),
            [_theory(replace(OF_POSTERIOR, gain=x)) for x in chosen],
        ),
        "simulated": (
            ("simulated_scale", "target", "estimate", "entry"),
            [
                _simulated(replace(OF_POSTERIOR, gain=x), settings.width, settings.samples, seed)
                for x in chosen
            ],
        ),
    }
    axes = {"networks_width": list(settings.widths), "target": list(TARGETS), "estimate": ["value", "error"]}
    axes |= {"entry": list(ENTRIES), "scale": scales, "simulated_scale": list(chosen)}
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)


def _theory(networks: Networks) -> np.ndarray:
    """Shifts times the width, (target, entry)."""
    size = finite_size_pair(networks.model(), START, depth=networks.depth)
    return np.array([posterior_shift(size, _column(y), noise=NOISE).numpy() for y in TARGETS.values()])


def _column(target: Sequence[float]) -> Tensor:
    return torch.tensor(target, dtype=torch.float64)[:, None]


def _simulated(
    networks: Networks, width: int, samples: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same from networks, with errors, (target, estimate, entry)."""
    x = torch.linalg.cholesky(START) * 2**0.5  # of two coordinates
    model = networks.model(width)
    kernels = networks.branch(seen(model, x, networks.depth, samples, last_overlaps, seed))
    entries = torch.stack([kernels[:, 0, 0], kernels[:, 1, 1], kernels[:, 0, 1]], -1)
    return [_weighted(kernels, entries, _column(y), width) for y in TARGETS.values()]


def _weighted(kernels: Tensor, entries: Tensor, y: Tensor, width: int) -> tuple[np.ndarray, np.ndarray]:
    spread = kernels + NOISE * torch.eye(2, dtype=torch.float64)
    likelihood = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), spread)
    weight = torch.softmax(likelihood.log_prob(y[:, 0]), 0)[:, None] * len(entries)
    centred = entries - entries.mean(0)
    shift = (weight * centred).mean(0)
    error = ((weight - 1) * (centred - shift)).std(0) / len(entries) ** 0.5
    return width * shift.numpy(), width * error.numpy()


@observable("input", "other_input")
def last_overlaps(t: rs.Trajectory) -> Tensor:
    """Means of erf(h) erf(h') over the neurons of the last layer, (sample, input, input)."""
    phi = torch.erf(t.hidden.natural(-1))
    return phi @ phi.mT / phi.shape[-1]
