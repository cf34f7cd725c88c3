"""Accuracy of trained networks over the plane of Hurst index H and exponent β, with one matrix and with two.

Marion et al. (2025), Figure 9: fractional noise as weights along depth, biases from 0, Adam, rates that fall
tenfold every five epochs. There the learning rate of a cell is the best on test images; here it is chosen on
validation images. At initialization the boundary of explosion is β = max(H, 1/4) with one matrix (res-1) and
β = max(H, 1/2) with two (res-3), so that at small H one can ask whether training tells the two apart.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.marion.trained_weights import FASHION
from experiments.trained import Images, at_best_rate, attributes, outcomes_over
from resnet_sde import estimate
from resnet_sde.training import TrainingConfig, TrainingJob

BLOCKS: dict[str, rs.Block] = {"res-1": rs.SingleLayer(rs.RELU), "res-3": rs.TwoLayer(rs.RELU)}
LEVEL = 0.95  # of the intervals of a report


def grid(low: float, high: float, count: int) -> tuple[float, ...]:
    """Equally spaced numbers, rounded."""
    return tuple(np.linspace(low, high, count).round(6).tolist())


@dataclass(frozen=True)
class AccuracyPlane:
    """Networks of each block, at each point of the plane, with each learning rate.

    samples: networks of each; their seeds are those of initial weights and of the order of the images.
    """

    hursts: tuple[float, ...] = grid(0.1, 0.9, 10)
    betas: tuple[float, ...] = grid(0.1, 0.9, 10)
    rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    blocks: tuple[str, ...] = ("res-1", "res-3")
    depth: int = 1000
    width: int = 30
    samples: int = 1
    epochs: int = 10
    images: Images = field(default_factory=Images)

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """Outcomes with the axes block, hurst, beta, rate and sample."""
        data = self.images.load()

        def job(block: str, hurst: float, beta: float, rate: float, sample: int) -> TrainingJob:
            model = rs.Model(BLOCKS[block], rs.FractionalNoise(hurst), self.width, beta=beta)
            return TrainingJob(model, self.depth, rate, seed + sample)

        axes = {
            "block": self.blocks,
            "hurst": self.hursts,
            "beta": self.betas,
            "rate": self.rates,
            "sample": range(self.samples),
        }
        config = TrainingConfig(epochs=self.epochs, decay_every=5, biases=True)
        ds, _ = outcomes_over(axes, job, config, data, how)
        return ds.assign_attrs(attributes(self, data, seed))


def difference(ds: xr.Dataset, hurst: float, beta: float) -> estimate.Estimate:
    """Test accuracy of res-1 minus that of res-3 at one point, each at its best rate, with its interval.

    The networks of one seed see the same images in the same order, so that they are paired.
    """
    at = at_best_rate(ds).test_accuracy.sel(hurst=hurst, beta=beta, method="nearest")
    apart = at.sel(block="res-1") - at.sel(block="res-3")
    return estimate.mean(torch.from_numpy(apart.values), level=LEVEL)


def report(ds: xr.Dataset) -> list[str]:
    """Test accuracies at the best rates, and the differences between the blocks, a line for each point."""
    best = at_best_rate(ds)
    lines = []
    for hurst, beta in itertools.product(ds.hurst.values, ds.beta.values):
        of = best.sel(hurst=hurst, beta=beta)
        parts = [
            f"{block} {float(of.test_accuracy.sel(block=block).mean()):.4f} "
            f"at rate {float(of.rate.sel(block=block)):g}"
            for block in ds.block.values
        ]
        if ds.sizes["block"] == 2 and ds.sizes["sample"] > 1:
            parts.append(f"difference {difference(ds, hurst, beta)}")
        lines.append(f"H = {hurst:.3g}, beta = {beta:.3g}: {', '.join(parts)}")
    return lines


DIGITS = Images(validation=117)  # leaves ten batches for an epoch
THREE = (0.1, 0.5, 0.9)
BUDGETS = {
    "smoke": AccuracyPlane(
        (0.1, 0.9), (0.1, 0.9), (1e-2,), depth=20, width=8, samples=2, epochs=2, images=Images(limit=512)
    ),
    "cpu": AccuracyPlane(depth=200, samples=3, epochs=11, images=DIGITS),
    "cpu-fashion": AccuracyPlane(
        THREE, THREE, (1e-4, 1e-3, 1e-2), depth=200, samples=3, epochs=3, images=Images(FASHION)
    ),
    "paper": AccuracyPlane(images=Images(FASHION)),
}
