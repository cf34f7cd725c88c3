r"""How far states and gradients travel through networks at initialization, over a grid of depth × beta.

Marion et al. (2025), section 5: a ReLU network with two matrices in each layer (res-3), a Gaussian input and
a top gradient for every network, and the ratios ‖h_L − h_0‖ / ‖h_0‖, ‖h_L‖ / ‖h_0‖, ‖p_0 − p_L‖ / ‖p_L‖
and ‖p_0‖ / ‖p_L‖, kept one by one and in logarithms. What is known of them at white weights is in
`resnet_sde.finite_width`; at correlated weights and β > β* the first order in α_L is exact in the limit,

    E‖h_L − h_0‖² / ‖h_0‖² = α_L² Σ_kl γ(k, l) κ(γ(k, l)) + O(α_L⁴ L⁴)

with κ the dual of ReLU at unit variances; the gradient has γ κ'(γ) in place of κ(γ), except along the state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.execution import HERE, Execution
from resnet_sde.observables import LOG_RATIOS
from resnet_sde.studies import study

RESAMPLES = 1000  # of a bootstrap interval


@dataclass(frozen=True)
class Initialization:
    """Ratios of independent res-3 networks for every depth and every beta.

    law: of the weights along depth.
    samples: networks in a cell; each has an input of its own, the same in every cell.
    double: compute in float64, which small residual scales (β = 2) need.
    """

    law: rs.PathLaw
    betas: tuple[float, ...]
    depths: tuple[int, ...]
    samples: int
    width: int = 40
    n_in: int = 64
    double: bool = False

    def model(self, beta: float) -> rs.Model:
        """The law of the networks at this scaling."""
        return rs.Model(rs.TwoLayer(rs.RELU), self.law, self.width, beta=beta)

    def inputs(self, seed: int) -> torch.Tensor:
        """A Gaussian input for each network; shape (samples, 1, n_in)."""
        shape, dtype = (self.samples, 1, self.n_in), torch.float64 if self.double else torch.float32
        return torch.randn(shape, generator=rs.generator(seed, "input"), dtype=dtype)

    def run(
        self, *, seed: int = 0, how: Execution = HERE, model: Callable[[float], rs.Model] | None = None
    ) -> xr.Dataset:
        """The logarithms of the four ratios, each with the axes beta, depth, sample.

        Args:
            seed: a non-negative integer.
            how: by whom.
            model: the law of the networks by beta, if it is another one.
        """
        ds = study(
            model or self.model,
            self.inputs(seed),
            over={"beta": self.betas, "depth": self.depths},
            samples=self.samples,
            observe=LOG_RATIOS,
            gradients=True,
            seed=seed,
            workers=how.workers,
            executor=how.executor,
            store=how.store,
        )
        return ds.squeeze("input", drop=True).assign_attrs(experiment=repr(self), width=self.width)


def mean_and_interval(values: xr.DataArray, *, seed: int = 0, level: float = 0.95) -> xr.Dataset:
    """Mean over the networks with a percentile bootstrap interval.

    Returns:
        Variables `mean`, `low` and `high`, without the axis sample.
    """
    n = values.sizes["sample"]
    table = values.transpose(..., "sample").to_numpy()
    chosen = np.random.default_rng([seed, n]).integers(n, size=(RESAMPLES, n))
    # Counts instead of gathers: one matrix product makes all the means of all cells.
    counts = np.apply_along_axis(np.bincount, 1, chosen, minlength=n)
    means = table @ counts.T / n
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    mean = values.mean("sample")
    return xr.Dataset({"mean": mean, "low": mean.copy(data=low), "high": mean.copy(data=high)})


def first_order(law: rs.PathLaw, depth: int, width: int) -> tuple[float, float]:
    """Root mean squares of the forward and of the gradient displacement over α_L, as α_L L → 0."""
    gamma = law.covariance(depth).numpy()
    angle = np.arccos(np.clip(gamma, -1, 1))
    dual = (np.sin(angle) + gamma * (np.pi - angle)) / (2 * np.pi)
    dual_prime = (np.pi - angle) / (2 * np.pi)
    forward, gradient = float((gamma * dual).sum()), float((gamma**2 * dual_prime).sum())
    # One direction in `width` is that of the state, along which a homogeneous network moves with it.
    gradient += (forward - gradient) / width
    return forward**0.5, gradient**0.5
