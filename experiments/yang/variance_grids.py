"""Accuracy of residual networks without a depth scale, over the variance of their weights and their depth.

Yang & Schoenholz (2017): with tanh the best variance falls like 1/L, as the growth of gradients has to stay
bounded; with ReLU lengths are the limit. The theory of infinite width gives both for each cell. What accuracy
shows of it depends on the optimizer: with rates that fall like 1/L the law is seen, with one rate for all
depths it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.stats
import torch
import xarray as xr

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.trained import Images, attributes, outcomes_over
from resnet_sde.meanfield import lengths
from resnet_sde.meanfield.initialization import recommend_variances
from resnet_sde.networks import ReadInOut
from resnet_sde.streams import stream
from resnet_sde.training import Data, Examples, TrainingConfig, TrainingJob

Kind = Callable[[float], rs.Reduced | rs.TwoLayer]
KINDS: dict[str, Kind] = {
    "tanh reduced": lambda sigma_w2: rs.Reduced(rs.TANH, sigma_w2),
    "tanh full": lambda sigma_w2: rs.TwoLayer(rs.TANH, sigma_w2, 0.25, 1.0, 0.25),
    "relu full": lambda sigma_w2: rs.TwoLayer(rs.RELU, sigma_w2),
    "alpha-relu full": lambda sigma_w2: rs.TwoLayer(rs.AlphaReLU(0.75), sigma_w2),
}
RULES = {
    "sgd 0.16/L": ("sgd", 0.16, True),
    "sgd 0.005": ("sgd", 0.005, False),
    "rmsprop 3e-4": ("rmsprop", 3e-4, False),
}
PLATEAU = 1.5  # below this log-growth of gradients accuracy does not depend on the variance
LEVEL = 0.9  # of the accuracy on a contour


@dataclass(frozen=True)
class VarianceGrid:
    """Networks of each kind, of `KINDS`, with each rule for the learning rate, of `RULES`.

    sigma_w2: variances of the (inner) weights; beside them every depth has the recommended one.
    width: of the states. Inputs of another dimension are projected to it at random, once for all networks.
    """

    kinds: tuple[str, ...] = ("tanh reduced", "tanh full", "relu full")
    rules: tuple[str, ...] = ("sgd 0.16/L",)
    sigma_w2: tuple[float, ...] = tuple(np.geomspace(0.02, 20, 13).round(6).tolist())
    depths: tuple[int, ...] = (4, 8, 16, 32, 64)
    width: int = 64
    steps: int = 80
    batch_size: int = 64
    samples: int = 2
    images: Images = field(default_factory=lambda: Images(scaling="sphere", validation=100, test=500))

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """Outcomes with the axes kind, rule, depth, sigma_w2 and sample.

        log_gradient_growth, log_q: of infinitely wide networks; axes kind, depth, sigma_w2.
        recommended: σ_w² recommended for the kind and depth, tanh only; at_one and at_recommended: test
            accuracies of networks of variance 1 and of that one; axes kind, depth (rule, sample).
        """
        data = projected(self.images.load(), self.width, seed)
        parts = [
            xr.concat([self._grid(kind, rule, data, seed, how) for rule in self.rules], "rule")
            for kind in self.kinds
        ]
        ds = xr.concat(parts, "kind").assign_coords(kind=list(self.kinds), rule=list(self.rules))
        theory = xr.concat([self._theory(kind) for kind in self.kinds], "kind")
        return ds.merge(theory.assign_coords(kind=list(self.kinds))).assign_attrs(
            attributes(self, data, seed)
        )

    def _grid(self, kind: str, rule: str, data: Data, seed: int, how: Execution) -> xr.Dataset:
        optimizer, rate, falling = RULES[rule]
        config = TrainingConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            optimizer=optimizer,
            read_in_out=ReadInOut(embed_w2=None),
        )

        def job(depth: int, sigma_w2: float, sample: int) -> TrainingJob:
            model = self.model(kind, sigma_w2)
            return TrainingJob(model, depth, rate / depth if falling else rate, seed + sample)

        def chosen(depth: int, choice: str, sample: int) -> TrainingJob:
            return job(depth, 1.0 if choice == "one" else self.recommended(kind, depth), sample)

        samples = range(self.samples)
        axes = {"depth": self.depths, "sigma_w2": self.sigma_w2, "sample": samples}
        ds, _ = outcomes_over(axes, job, config, data, how)
        axes = {"depth": self.depths, "choice": ("one", "recommended"), "sample": samples}
        at = outcomes_over(axes, chosen, config, data, how)[0].test_accuracy
        return ds.assign(
            at_one=at.sel(choice="one", drop=True), at_recommended=at.sel(choice="recommended", drop=True)
        )

    def model(self, kind: str, sigma_w2: float) -> rs.Model:
        """The law of the networks of a kind."""
        return rs.Model(KINDS[kind](sigma_w2), rs.WhiteNoise(), self.width, beta=0.0)

    def recommended(self, kind: str, depth: int) -> float:
        """The recommended variance of the weights."""
        return recommend_variances(depth, KINDS[kind](1.0)).sigma_w2

    def _theory(self, kind: str) -> xr.Dataset:
        shape = (len(self.depths), len(self.sigma_w2))
        growth, log_q = np.empty(shape), np.empty(shape)
        for i, depth in enumerate(self.depths):
            for j, sigma_w2 in enumerate(self.sigma_w2):
                found = lengths(self.model(kind, sigma_w2), depth=depth)
                growth[i, j], log_q[i, j] = found.log_gradient_growth[-1], found.log_q[-1]
        dims = ("depth", "sigma_w2")
        return xr.Dataset(
            {
                "log_gradient_growth": (dims, growth),
                "log_q": (dims, log_q),
                "recommended": ("depth", [self.recommended(kind, depth) for depth in self.depths]),
            },
            {"depth": list(self.depths), "sigma_w2": list(self.sigma_w2)},
        )


def projected(data: Data, width: int, seed: int) -> Data:
    """The same examples in another dimension, by one random projection, with mean square 1 each."""
    if data.n_in == width:
        return data
    numbers = torch.empty(data.n_in, width, dtype=data.train.x.dtype)
    projection = stream(seed, "projection", data.n_in, width).normal_(numbers) / math.sqrt(data.n_in)

    def seen(part: Examples) -> Examples:
        x = part.x @ projection
        return Examples(x / x.square().mean(1, keepdim=True).sqrt(), part.y)

    name = f"{data.name}, projected"
    return Data(name, seen(data.train), seen(data.validation), seen(data.test), data.classes)


def contour(ds: xr.Dataset, kind: str, rule: str, level: float = LEVEL) -> xr.DataArray:
    """The variance σ_w² of every depth at which accuracy falls through a level; NaN where it does not.

    It is the largest one where the mean over networks falls, interpolated in log σ_w².
    """
    accuracy = ds.test_accuracy.sel(kind=kind, rule=rule).mean("sample")
    x, found = np.log(ds.sigma_w2.values), []
    for depth in ds.depth.values:
        y = accuracy.sel(depth=depth).values
        falls = np.flatnonzero((y[:-1] >= level) & (y[1:] < level))
        if not len(falls):
            found.append(math.nan)
            continue
        i = falls[-1]
        share = (y[i] - level) / (y[i] - y[i + 1])
        found.append(math.exp(x[i] + share * (x[i + 1] - x[i])))
    return xr.DataArray(found, {"depth": ds.depth}, "depth")


def contour_slope(ds: xr.Dataset, kind: str, rule: str, level: float = LEVEL) -> float:
    """D log σ_w² / d log L along the contour of an accuracy; NaN if it is met at less than two depths."""
    met = contour(ds, kind, rule, level).dropna("depth")
    return float(np.polyfit(np.log(met.depth), np.log(met), 1)[0]) if met.size > 1 else math.nan


def rank_correlations(ds: xr.Dataset, kind: str, rule: str) -> dict[str, float]:
    """Spearman's correlation of accuracy with three numbers, over cells beyond the plateau."""
    of = ds.sel(kind=kind, rule=rule)
    accuracy = of.test_accuracy.mean("sample")
    growth = of.log_gradient_growth.transpose(*accuracy.dims)
    variance = of.sigma_w2.broadcast_like(accuracy)
    candidates = {
        "log_gradient_growth": growth,
        "sigma_w2": variance,
        "sigma_w2 L": variance * of.depth,
    }
    beyond = (growth > PLATEAU).values
    return {
        name: float(scipy.stats.spearmanr(accuracy.values[beyond], values.values[beyond]).statistic)
        for name, values in candidates.items()
    }


def report(ds: xr.Dataset) -> list[str]:
    """Correlations, slopes of contours, and the recommended variance against 1 at the largest depth."""
    lines = []
    for kind in ds.kind.values:
        for rule in ds.rule.values:
            of = ds.sel(kind=kind, rule=rule).isel(depth=-1)
            one, best = float(of.at_one.mean()), float(of.at_recommended.mean())
            ranks = ", ".join(f"{name} {r:.3f}" for name, r in rank_correlations(ds, kind, rule).items())
            slopes = ", ".join(f"{contour_slope(ds, kind, rule, level):.2f}" for level in (0.9, 0.8, 0.7))
            lines.append(
                f"{kind}, {rule}: rank correlation of accuracy with {ranks}; slopes of the contours of "
                f"accuracy 0.9, 0.8, 0.7: {slopes}; at L = {int(ds.depth[-1])} accuracy {best:.3f} at the "
                f"recommended variance {float(of.recommended):.4g}, {one:.3f} at 1"
            )
    return lines


CPU = VarianceGrid(tuple(KINDS), tuple(RULES))
BUDGETS = {
    "smoke": VarianceGrid(
        ("tanh reduced", "relu full"), sigma_w2=(0.05, 1.0, 20.0), depths=(4, 12), steps=30, samples=1
    ),
    "cpu": CPU,
    "paper": replace(
        CPU,
        sigma_w2=tuple(np.geomspace(0.01, 20, 15).round(6).tolist()),
        depths=(10, 25, 50, 100, 200),
        width=256,
        steps=4295,  # five epochs
        images=Images("fashion-mnist:/usr/share/datasets/fashion-mnist", "sphere"),
    ),
}
