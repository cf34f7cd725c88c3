"""Weights along depth before and after training, for smooth and for independent ones.

Marion et al. (2025), Figure 8: res-1 networks with ReLU, trained on images with Adam. Smooth weights stay
smooth and independent ones stay rough, because what training adds is itself smooth in depth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import xarray as xr

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.trained import Images, attributes, of_outcomes, outcomes_over
from resnet_sde.training import TrainingConfig, TrainingJob

FASHION = "fashion-mnist:/usr/share/datasets/fashion-mnist"  # where Debian puts it
LAWS: dict[str, rs.PathLaw] = {"smooth": rs.SmoothNoise(0.1), "white": rs.WhiteNoise()}
STATISTICS = ("roughness_before", "roughness_after", "roughness_of_change", "relative_change")


@dataclass(frozen=True)
class TrainedWeights:
    """Networks of a few laws and scalings.

    cases: law, of `LAWS`, and β.
    samples: networks of each case.
    entries: how many entries of a weight matrix are kept along depth.
    """

    cases: tuple[tuple[str, float], ...] = (("smooth", 1.0), ("white", 1.0), ("white", 0.5))
    depth: int = 1000
    width: int = 30
    lr: float = 0.01
    samples: int = 3
    epochs: int = 10
    batch_size: int = 128
    entries: int = 4
    images: Images = field(default_factory=Images)

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """Outcomes with the axes case and sample.

        before, after: entries of V_k along depth; two more axes, entry and layer.
        roughness_before, roughness_after, roughness_of_change, relative_change: see `resnet_sde.training`.
        """
        data = self.images.load()
        cases = [f"{law}, beta = {beta:g}" for law, beta in self.cases]

        def job(case: str, sample: int) -> TrainingJob:
            law, beta = self.cases[cases.index(case)]
            model = rs.Model(rs.SingleLayer(rs.RELU), LAWS[law], self.width, beta=beta)
            return TrainingJob(model, self.depth, self.lr, seed + sample)

        config = TrainingConfig(epochs=self.epochs, batch_size=self.batch_size, entries=self.entries)
        axes = {"case": cases, "sample": range(self.samples)}
        ds, everything = outcomes_over(axes, job, config, data, how)
        paths = {
            when: of_outcomes(everything, lambda outcome, when=when: outcome.paths["outer"][when])
            for when in ("before", "after")
        }
        statistics = {
            name: of_outcomes(everything, lambda outcome, name=name: getattr(outcome, name)["outer"])
            for name in STATISTICS
        }
        return ds.assign(
            {name: (("case", "sample", "entry", "layer"), values) for name, values in paths.items()}
            | {name: (("case", "sample"), values) for name, values in statistics.items()}
        ).assign_attrs(attributes(self, data, seed))


def report(ds: xr.Dataset) -> list[str]:
    """Means over networks, a line for each case."""
    means = ds.mean("sample")
    return [
        f"{case}: roughness {float(of.roughness_before):.4f} before, {float(of.roughness_after):.4f} after, "
        f"{float(of.roughness_of_change):.4f} of the change (relative size {float(of.relative_change):.2f}); "
        f"test accuracy {float(of.test_accuracy):.4f}"
        for case, of in ((case, means.sel(case=case)) for case in ds.case.values)
    ]


BUDGETS = {
    "smoke": TrainedWeights(depth=20, width=10, samples=2, epochs=3, images=Images(limit=512)),
    "cpu": TrainedWeights(depth=200, samples=5, epochs=11, images=Images(validation=117)),
    "cpu-fashion": TrainedWeights(depth=200, epochs=3, images=Images(FASHION)),
    "paper": TrainedWeights(samples=5, images=Images(FASHION)),
}
