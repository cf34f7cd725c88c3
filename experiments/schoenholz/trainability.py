"""How deep a feed-forward network may be to be trained, next to the depth scale ξ_c of correlations.

Schoenholz et al. (2017): plain networks of tanh with random weights, and stochastic gradient descent for a
fixed number of steps. Those are trained whose depth is below a multiple of ξ_c, in both phases; with dropout
no scale diverges any more, and the deepest network that can be trained is shallower. The claim is about the
initialization and small steps: an optimizer of adaptive steps (rmsprop) leaves the initial phase, and then
ξ_c is no bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.trained import Images, attributes, outcomes_over
from resnet_sde.meanfield import fixed_points
from resnet_sde.training import TrainingConfig, TrainingJob

THRESHOLDS = (0.3, 0.5)  # of the training accuracy


@dataclass(frozen=True)
class Setting:
    """An optimizer with its learning rate, and dropout."""

    optimizer: str = "sgd"
    lr: float = 0.01
    keep_rate: float = 1.0

    def __str__(self) -> str:
        dropout = f", keep {self.keep_rate:g}" if self.keep_rate < 1 else ""
        return f"{self.optimizer} {self.lr:g}{dropout}"


@dataclass(frozen=True)
class Trainability:
    """Networks of every variance of the weights and every depth, in each setting.

    depths: numbers of hidden layers.
    """

    settings: tuple[Setting, ...] = (Setting(),)
    sigma_w2: tuple[float, ...] = (0.5, 0.75, 1.0, 1.2, 1.4, 1.76, 2.2, 2.5, 3.0, 4.0, 6.0, 9.0)
    sigma_b2: float = 0.05
    depths: tuple[int, ...] = (4, 8, 12, 16, 24, 32, 48, 64)
    width: int = 64
    steps: int = 300
    batch_size: int = 64
    samples: int = 1
    images: Images = field(default_factory=lambda: Images(scaling="centred", validation=97, test=200))

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """Outcomes with the axes setting, sigma_w2, depth and sample, and scales with setting and sigma_w2.

        train_accuracy is over all training images, without dropout.
        """
        data, parts = self.images.load(), []
        for setting in self.settings:
            config = TrainingConfig(
                steps=self.steps,
                batch_size=self.batch_size,
                optimizer=setting.optimizer,
                keep_rate=setting.keep_rate,
            )

            def job(depth: int, sigma_w2: float, sample: int, lr: float = setting.lr) -> TrainingJob:
                block = rs.SingleLayer(rs.TANH, sigma_w2, self.sigma_b2)
                model = rs.Model(block, rs.WhiteNoise(), self.width, beta=0.0, skip=0.0)
                return TrainingJob(model, depth - 1, lr, seed + sample)  # the input layer makes the first one

            axes = {"depth": self.depths, "sigma_w2": self.sigma_w2, "sample": range(self.samples)}
            ds, _ = outcomes_over(axes, job, config, data, how)
            parts.append(ds.assign(self._scales(setting)))
        labels = [str(setting) for setting in self.settings]
        ds = xr.concat(parts, "setting").assign_coords(setting=labels)
        return ds.transpose("setting", "sigma_w2", "depth", "sample").assign_attrs(
            attributes(self, data, seed)
        )

    def _scales(self, setting: Setting) -> dict[str, tuple[str, np.ndarray]]:
        sigma_w2 = torch.tensor(self.sigma_w2, dtype=torch.float64)
        found = fixed_points(rs.TANH, sigma_w2, self.sigma_b2, keep_rate=setting.keep_rate)
        return {
            "xi_c": ("sigma_w2", found.xi_c.numpy()),
            "xi_grad": ("sigma_w2", found.xi_grad.abs().numpy()),
        }


def deepest(ds: xr.Dataset, threshold: float) -> xr.DataArray:
    """L*, the depth of the last fall of the training accuracy below a threshold; NaN where it does not fall.

    Between two depths the accuracy, which is the mean over networks, is interpolated linearly.
    """
    accuracy = ds.train_accuracy.mean("sample")
    return xr.apply_ufunc(
        _last_fall,
        accuracy.depth,
        accuracy,
        threshold,
        input_core_dims=[["depth"], ["depth"], []],
        vectorize=True,
    )


def _last_fall(depths: np.ndarray, accuracy: np.ndarray, threshold: float) -> float:
    falls = np.flatnonzero((accuracy[:-1] >= threshold) & (accuracy[1:] < threshold))
    if not len(falls):
        return np.nan
    i = falls[-1]
    share = (accuracy[i] - threshold) / (accuracy[i] - accuracy[i + 1])
    return float(depths[i] + share * (depths[i + 1] - depths[i]))


def collapse(ds: xr.Dataset, setting: str, threshold: float, scale: str = "xi_c") -> dict[str, float]:
    """How L* follows a depth scale ξ, where L* is known and ξ is less than the largest depth.

    Beyond it, near criticality, the claim says nothing of the depths at hand.

    Returns:
        mean and deviation of n = L*/ξ, correlation and slope of log L* over log ξ, and their number.
    """
    of = ds.sel(setting=setting)
    found, xi = deepest(of, threshold).values, of[scale].values
    known = np.isfinite(found) & (xi < float(ds.depth.max()))
    found, xi = found[known], xi[known]
    if len(found) < 3:
        return {
            "mean": np.nan,
            "deviation": np.nan,
            "correlation": np.nan,
            "slope": np.nan,
            "count": len(found),
        }
    x, y = np.log(xi), np.log(found)
    ratio = found / xi
    return {
        "mean": float(ratio.mean()),
        "deviation": float(ratio.std(ddof=1)),
        "correlation": float(np.corrcoef(x, y)[0, 1]),
        "slope": float(np.polyfit(x, y, 1)[0]),
        "count": len(found),
    }


def report(ds: xr.Dataset) -> list[str]:
    """The collapse of L* on either scale, two lines for each setting and threshold."""
    lines = []
    for setting in ds.setting.values:
        for threshold in THRESHOLDS:
            for scale in ("xi_c", "xi_grad"):
                c = collapse(ds, setting, threshold, scale)
                lines.append(
                    f"{setting}, accuracy {threshold}: L*/{scale} = {c['mean']:.2f} ± {c['deviation']:.2f}, "
                    f"log-log correlation {c['correlation']:.3f}, slope {c['slope']:.2f}, "
                    f"{c['count']} variances"
                )
    return lines


SETTINGS = (
    Setting(),
    Setting(lr=0.003),
    Setting(lr=0.03),
    Setting(keep_rate=0.98),
    Setting(keep_rate=0.9),
    Setting("rmsprop", 3e-4),
)
BUDGETS = {
    "smoke": Trainability(
        (Setting(), Setting(keep_rate=0.9)), (0.5, 1.76, 4.0), depths=(2, 6, 12), width=12, steps=20
    ),
    "cpu": Trainability(SETTINGS, samples=2),
    "paper": Trainability(
        (Setting(lr=1e-3), Setting(lr=1e-3, keep_rate=0.98), Setting("rmsprop", 1e-5)),
        tuple(np.linspace(1.0, 4.0, 25).round(6).tolist()),
        depths=tuple(range(10, 301, 10)),
        width=300,
        steps=14_000,
        images=Images("fashion-mnist:/usr/share/datasets/fashion-mnist", "centred"),
    ),
}
