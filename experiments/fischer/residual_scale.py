"""Trained networks over the residual scale ρ, next to the scales at which an untrained one responds most.

Fischer, Dahmen & Helias: the response of the output of a residual network of erf to its input has a maximum
at ρ* ~ 1/√L. Losses of networks that were trained for some steps have a minimum that moves with depth in the
same way. Its prefactor depends on the optimizer, and accuracies hardly fall towards ρ = 0, where networks are
shallow, not bad.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.trained import Images, attributes, outcomes_over
from resnet_sde.finite_width import diagonal_optimum, off_diagonal_optimum
from resnet_sde.networks import ReadInOut
from resnet_sde.training import TrainingConfig, TrainingJob


@dataclass(frozen=True)
class ResidualScale:
    """Networks of every depth and scale.

    products: values of ρ √L.
    k0: mean square of a coordinate of h_0, that of the input being 1.
    """

    depths: tuple[int, ...] = (10, 20, 40)
    products: tuple[float, ...] = tuple(np.geomspace(0.1, 10, 13).round(6).tolist())
    k0: float = 0.05
    sigma_b2: float = 0.05
    width: int = 64
    lr: float = 0.01
    steps: int = 100
    batch_size: int = 64
    samples: int = 4
    images: Images = field(default_factory=lambda: Images(scaling="sphere", validation=100, test=697))

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """Outcomes with the axes depth, product (ρ √L) and sample.

        response, pair_response: ρ* √L of theory by depth, where the output responds most to the length of the
            input, and to the angle between two inputs at right angles; NaN where there is no maximum.
        """
        data = self.images.load()

        def job(depth: int, product: float, sample: int) -> TrainingJob:
            return TrainingJob(self.model(product / math.sqrt(depth)), depth, self.lr, seed + sample)

        config = TrainingConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            optimizer="sgd",
            momentum=0.9,
            read_in_out=ReadInOut(self.k0, activated=True),
        )
        axes = {"depth": self.depths, "product": self.products, "sample": range(self.samples)}
        ds, _ = outcomes_over(axes, job, config, data, how)
        return ds.assign(self._theory()).assign_attrs(attributes(self, data, seed))

    def _theory(self) -> dict[str, tuple[str, list[float]]]:
        model = self.model(1.0)
        alone = [diagonal_optimum(model, self.k0, depth=depth).prefactor for depth in self.depths]
        pairs = [off_diagonal_optimum(model, self.k0, 0.0, depth=depth).prefactor for depth in self.depths]
        return {
            name: ("depth", [math.nan if value is None else value for value in values])
            for name, values in {"response": alone, "pair_response": pairs}.items()
        }

    def model(self, gain: float) -> rs.Model:
        """The law of the networks of one scale."""
        return rs.Model(
            rs.SingleLayer(rs.ERF, 1.0, self.sigma_b2), rs.WhiteNoise(), self.width, beta=0.0, gain=gain
        )


def best_product(ds: xr.Dataset, loss: str = "test_loss") -> xr.DataArray:
    """ρ √L of the least loss of every depth and sample.

    It is at the bottom of the parabola in log ρ through the best three points; NaN where the least loss is at
    an end of the grid.
    """
    return xr.apply_ufunc(
        _least, np.log(ds["product"]), ds[loss], input_core_dims=[["product"], ["product"]], vectorize=True
    )


def _least(x: np.ndarray, y: np.ndarray) -> float:
    i = int(np.nanargmin(y))
    if not 0 < i < len(y) - 1:
        return math.nan
    a, b, _ = np.polyfit(x[i - 1 : i + 2], y[i - 1 : i + 2], 2)
    return float(np.exp(-b / (2 * a)))


def report(ds: xr.Dataset) -> list[str]:
    """The best scales by loss, beside that of the response, and accuracies, a line for each depth."""
    lines = []
    for depth in ds.depth.values:
        of = ds.sel(depth=depth)
        found = []
        for loss in ("test_loss", "train_loss"):
            best = best_product(ds, loss).sel(depth=depth)
            error = float(best.std("sample", ddof=1)) / math.sqrt(max(1, ds.sizes["sample"]))
            found.append(f"{float(best.mean()):.2f} ± {error:.2f} by {loss.replace('_', ' ')}")
        accuracy = of.test_accuracy.mean("sample")
        lines.append(
            f"L = {int(depth)}: best rho sqrt(L) {', '.join(found)}; responses {float(of.response):.2f}, "
            f"{float(of.pair_response):.2f}; accuracy {float(accuracy.max()):.3f} at best, "
            f"{float(accuracy[0]):.3f} at the smallest scale, {float(accuracy[-1]):.3f} at the largest"
        )
    return lines


BUDGETS = {
    "smoke": ResidualScale((4, 8), (0.3, 2.0, 8.0), width=16, steps=20, samples=2),
    "cpu": ResidualScale(),
    "paper": ResidualScale(
        (10, 20, 40, 80),
        tuple(np.geomspace(0.05, 20, 25).round(6).tolist()),
        width=256,
        steps=4000,
        samples=8,
        images=Images("fashion-mnist:/usr/share/datasets/fashion-mnist", "sphere"),
    ),
}
