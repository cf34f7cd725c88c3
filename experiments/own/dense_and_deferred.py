"""The numbers of the figure own/dense_and_deferred."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.wide import dataset
from resnet_sde.blocks import Layer
from resnet_sde.matrices import Dense
from resnet_sde.observables import LOG_RATIOS, observable
from resnet_sde.streams import Stream, stream

METHODS = ("dense", "deferred")
RATIOS = tuple(observe.__name__ for observe in LOG_RATIOS)
BLOCK = rs.TwoLayer(rs.RELU)


@dataclass(frozen=True)
class Comparison:
    """Two ensembles of networks at beta = 1/2, and costs against the width.

    timed: networks that are run at once for a time; fewer dense ones beyond width 40.
    """

    width: int
    depth: int
    samples: int
    widths: tuple[int, ...]
    inputs: tuple[int, ...] = (1, 4, 16)
    timed: int = 256
    repeats: int = 3

    def model(self, width: int | None = None) -> rs.Model:
        """The law of the networks."""
        return rs.Model(BLOCK, rs.WhiteNoise(), width or self.width)


BUDGETS = {
    "smoke": Comparison(width=20, depth=25, samples=6000, widths=(10, 40, 160), timed=16, repeats=1),
    "paper": Comparison(width=20, depth=100, samples=10_000, widths=(10, 20, 40, 80, 160, 320)),
}


@observable("input", gradients=True)
def moved_product(t: rs.Trajectory) -> Tensor:
    """|⟨p_0, h_0⟩ − ⟨p_L, h_L⟩| / ‖p_L‖ ‖h_L‖, which is 0 where gradients are those of the states."""
    assert t.adjoint is not None
    first, last = ((t.adjoint.natural(k) * t.hidden.natural(k)).sum(-1) for k in (0, -1))
    return (first - last).abs() / (t.adjoint.natural(-1).norm(dim=-1) * t.hidden.natural(-1).norm(dim=-1))


def compute(budget: str, seed: int) -> xr.Dataset:
    """Logarithms of the ratios of every network, times, and counts."""
    settings = BUDGETS[budget]
    widths, inputs = settings.widths, settings.inputs
    seen = [look(settings.model(), settings.depth, settings.samples, method, seed) for method in METHODS]
    seconds = [[_seconds(settings, method, width) for width in widths] for method in METHODS]
    counts = [[[numbers(method, width, k) for width in widths] for k in inputs] for method in METHODS]
    variables = {
        "ratio": (("weights", "of", "network"), [ratios for ratios, _ in seen]),
        "moved_product": (("weights",), [moved for _, moved in seen]),
        "seconds": (("weights", "width"), seconds),
        "numbers": (("weights", "inputs", "width"), counts),
    }
    axes = {"weights": list(METHODS), "of": list(RATIOS), "width": list(widths), "inputs": list(inputs)}
    ds = dataset(variables, axes, settings, budget, seed).drop_vars("network")
    return ds.assign_attrs(network_width=settings.width, depth=settings.depth)


def look(model: rs.Model, depth: int, samples: int, method: str, seed: int) -> tuple[np.ndarray, float]:
    """log₁₀ of the four ratios of independent networks, (of, network), and the largest moved product."""
    x, observe = torch.ones(1, 8, dtype=torch.float32), [*LOG_RATIOS, moved_product]
    found = rs.simulate(model, x, depth=depth, samples=samples, observe=observe, method=method, seed=seed)
    ratios = np.stack([found[name][:, 0].numpy() for name in RATIOS])
    return ratios.astype(np.float32), float(found["moved_product"].max())


def _seconds(settings: Comparison, method: str, width: int) -> float:
    """For one network, forward and back."""
    samples = settings.timed
    if method == "dense":
        samples = max(1, int(samples / max(1.0, (width / 40) ** 2)))
    best = math.inf
    for _ in range(settings.repeats):
        started = time.perf_counter()
        look(settings.model(width), settings.depth, samples, method, seed=0)
        best = min(best, time.perf_counter() - started)
    return best / samples


@dataclass
class Counting:
    """A random stream that counts the numbers it gives."""

    source: Stream
    count: int = 0

    def normal_(self, out: Tensor) -> Tensor:
        """Fill with standard normal numbers."""
        self.count += out.numel()
        return self.source.normal_(out)


def numbers(method: str, width: int, inputs: int) -> int:
    """Random numbers that one layer of one network draws, forward and back."""
    source = Counting(stream(0, "numbers", method, width, inputs))
    h = torch.ones(1, inputs, width) + torch.eye(inputs, width)
    layer = Layer.revealed(BLOCK.shapes(width), source) if method == "deferred" else _dense(source, width)
    rs.trajectory(BLOCK, h, [layer], 1.0, top=torch.ones_like(h) + torch.eye(inputs, width))
    return source.count


def _dense(source: Counting, width: int) -> Layer:
    outer, inner = (Dense(source.normal_(torch.empty(1, width, width))) for _ in range(2))
    return Layer({"outer": outer, "inner": inner})
