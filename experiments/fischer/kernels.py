"""The numbers of the figure fischer/kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from experiments.fischer.finite_width import (
    Networks,
    deviations,
    sharp_shift,
    sharp_variance,
    squares,
    variance,
)
from experiments.wide import dataset, mean_and_error

NETS = {
    "residual": Networks(depth=10, gain=0.3, sigma_w2=1.2, k0=0.1),
    "feed-forward": Networks(depth=10, gain=1.0, sigma_w2=1.2, k0=0.5, skip=0.0),
}


@dataclass(frozen=True)
class Kernels:
    """Networks of one width layer by layer, and the readout of those of other widths."""

    width: int
    samples: int
    widths: tuple[int, ...]
    samples_of_widths: int


BUDGETS = {
    "smoke": Kernels(256, samples=2000, widths=(32, 128, 512), samples_of_widths=400),
    "paper": Kernels(256, samples=40_000, widths=(32, 64, 128, 256, 512), samples_of_widths=20_000),
}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Means, variances and shifts of two kinds of networks."""
    settings = BUDGETS[budget]
    runs = {name: _layers(networks, settings, seed) for name, networks in NETS.items()}
    variables = {
        name: (dims, np.stack([run[name][1] for run in runs.values()]))
        for name, (dims, _) in runs["residual"].items()
    }
    residual = NETS["residual"]
    scaling = np.array(
        [_readout(residual, width, settings.samples_of_widths, seed) for width in settings.widths]
    )
    variables |= {
        "without_memory": ("layer", np.diag(residual.without_memory().branch_covariance[..., 0, 0])),
        "readout": (("networks_width", "of", "estimate"), scaling),
    }
    axes = {"network": list(NETS), "layer": range(residual.depth + 1), "kernel": ["K", "C"]}
    axes |= {
        "networks_width": list(settings.widths),
        "of": ["variance", "shift"],
        "estimate": ["value", "error"],
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples, many=settings.samples_of_widths)


def _layers(networks: Networks, settings: Kernels, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    theory = networks.theory(settings.width)
    shift = torch.stack([theory.kernel_shift, theory.branch_shift])
    limit = torch.stack([theory.kernel, theory.branch])
    found = networks.simulate(settings.width, settings.samples, squares, seed)
    found[:, 1] = networks.branch(found[:, 1])
    measured, error = mean_and_error(found)
    spread, spread_error = variance(found[:, 1])
    layered, single = ("network", "kernel", "layer"), ("network", "layer")
    return {
        "limit": (layered, limit),
        "shift": (layered, shift),
        "theory": (layered, limit + shift / settings.width),
        "mean": (layered, measured),
        "mean_error": (layered, error),
        "variance_theory": (single, theory.branch_covariance.diagonal()),
        "variance": (single, settings.width * spread),
        "variance_error": (single, settings.width * spread_error),
    }


def _readout(networks: Networks, width: int, samples: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Variance and shift of the readout's C times the width, each with its error."""
    parts = networks.simulate(width, samples, deviations(networks), seed)
    return [sharp_variance(parts, width), sharp_shift(parts, width)]
