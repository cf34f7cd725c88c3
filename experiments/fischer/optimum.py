"""The numbers of the figure fischer/optimum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

import resnet_sde as rs
from experiments.fischer.finite_width import Networks
from experiments.wide import dataset
from resnet_sde.finite_width import Optimum, diagonal_optimum, saturation_kernel, saturation_scale


@dataclass(frozen=True)
class Optima:
    """Depths of panels a and b, and variances of panels c and d, where networks have one depth.

    weights: σ_w² beside those of the table.
    """

    depths: tuple[int, ...]
    weights: tuple[float, ...]
    ratios: int
    depth: int = 100


DEPTHS = (5, 7, 10, 14, 20, 28, 40, 50, 70, 100, 140, 200, 280, 400, 500)
BUDGETS = {
    "smoke": Optima((5, 20, 50, 200), weights=(), ratios=9),
    "paper": Optima(DEPTHS, weights=tuple(np.geomspace(0.25, 4, 33).round(4).tolist()), ratios=66),
}
METHODS = ("exact", "corrected", "continuum", "midpoint", "logarithmic")
BIASES = (0.0, 0.02, 0.05, 0.1)  # σ_b² of panel c
WEIGHTS = (0.5, 1, 1.5, 2, 3, 4)
REACHED = {0.01: 0.02, 0.05: 0.015, 0.1: 0.015, 0.2: 0.015}  # K_0 of panel d: distance of K^L to K*, relative
LARGEST_RATIO = 1 / math.pi  # σ_b² / σ_w² from which there is no maximum
SATURATION = {0: 0.305400336104288, 0.01: 0.291226166334994, 0.02: 0.277467317212845, 0.05: 0.238525750283843}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Optimal scales by every method. Nothing is random."""
    settings = BUDGETS[budget]
    weights = sorted({*WEIGHTS, *settings.weights})
    ratios = np.linspace(0, 0.999 * LARGEST_RATIO, settings.ratios)
    reached_ratios, depth = np.linspace(0, 0.3, 11), settings.depth
    kernels = [[_optimum(depth, 1.0, r, k0=k0).kernel for r in reached_ratios] for k0 in REACHED]
    variables = {
        "scale": (("way", "depth"), [[_scale(m, n) for n in settings.depths] for m in METHODS]),
        "prefactor": (
            ("sigma_b2", "sigma_w2"),
            _numbers([[_optimum(depth, w, b, "continuum").prefactor for w in weights] for b in BIASES]),
        ),
        "deep_prefactor": (
            ("sigma_b2", "table_w2"),
            _numbers([[_optimum(depth, w, b).prefactor for w in WEIGHTS] for b in BIASES]),
        ),
        "saturation": ("ratio", [saturation_kernel(rs.ERF, ratio) for ratio in ratios]),
        "saturation_known": ("known_ratio", [saturation_kernel(rs.ERF, ratio) for ratio in SATURATION]),
        "reached": (("k0", "reached_ratio"), _numbers(kernels)),
        "reached_theory": ("reached_ratio", [saturation_kernel(rs.ERF, ratio) for ratio in reached_ratios]),
    }
    axes = {"way": list(METHODS), "depth": list(settings.depths), "sigma_b2": list(BIASES)}
    axes |= {"sigma_w2": weights, "table_w2": list(WEIGHTS), "ratio": ratios, "known_ratio": list(SATURATION)}
    axes |= {"k0": list(REACHED), "reached_ratio": reached_ratios}
    return dataset(variables, axes, settings, budget, seed).assign_attrs(of_depth=depth)


def _optimum(
    depth: int, sigma_w2: float, sigma_b2: float, method: str = "exact", k0: float = 0.05
) -> Optimum:
    networks = Networks(depth, 1.0, sigma_w2, sigma_b2, k0)
    return diagonal_optimum(networks.model(), networks.k0, depth=depth, method=method)


def _scale(method: str, depth: int) -> float:
    networks = Networks(depth, 1.0)
    model, k0 = networks.model(), networks.k0
    if method in ("midpoint", "logarithmic"):
        kernel = saturation_kernel(rs.ERF, networks.sigma_b2 / networks.sigma_w2)
        found = saturation_scale(model, k0, kernel=kernel, depth=depth, method=method)
    else:
        found = diagonal_optimum(model, k0, depth=depth, method=method)
    assert found.scale is not None
    return found.scale


def _numbers(rows: list[list[float | None]]) -> np.ndarray:
    """NaN where there is no optimum."""
    return np.array(rows, dtype=float)
