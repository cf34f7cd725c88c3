"""Paths of fractional Brownian motion, and the statistics that tell one Hurst index from another.

B_{k/N} = N^{−H} (V_1 + … + V_k), with V fractional noise of unit variance and N steps in [0, 1].
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from resnet_sde.runs.versions import current_versions


@dataclass(frozen=True)
class FractionalPaths:
    """Statistics of independent paths for every Hurst index, and the first path of each."""

    hursts: tuple[float, ...]
    steps: int
    samples: int

    def run(self, *, seed: int = 0) -> xr.Dataset:
        """Paths and their statistics, as the variables of a dataset.

        path: B at the times k / steps, of the first sample; axes hurst, time.
        endpoint: B_1; axes hurst, sample, as the next two.
        quadratic_variation: Σ (ΔB)² N^{2H−1}, of mean 1.
        lag_correlation: Σ V_k V_{k+1} / Σ V_k², near γ(1) = 2^{2H−1} − 1.
        """
        parts = xr.concat([self._statistics(hurst, seed) for hurst in self.hursts], "hurst")
        attributes = {"seed": seed, "versions": json.dumps(current_versions()), "experiment": repr(self)}
        return parts.assign_coords(hurst=list(self.hursts)).assign_attrs(attributes)

    def _statistics(self, hurst: float, seed: int) -> xr.Dataset:
        source = rs.generator(seed, "fractional paths", hurst, self.steps, self.samples)
        law = rs.FractionalNoise(hurst)
        path = law.path(self.steps, (self.samples,), generator=source, dtype=torch.float64)
        noise = path.weights(self.steps).numpy()
        motion = noise.cumsum(0) * self.steps**-hurst
        square = (noise**2).sum(0)
        return xr.Dataset(
            {
                "path": ("time", np.concatenate([[0.0], motion[:, 0]])),
                "endpoint": ("sample", motion[-1]),
                "quadratic_variation": ("sample", square / self.steps),
                "lag_correlation": ("sample", (noise[1:] * noise[:-1]).sum(0) / square),
            },
            {"time": np.linspace(0.0, 1.0, self.steps + 1)},
        )
