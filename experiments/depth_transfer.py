"""Does a learning rate that was found in a shallow network hold in a deep one?

Networks of two depths are trained at rates an octave apart. What is kept is the loss at the end, and from it
the rate at which training comes down to a fixed loss: the best rate is a noisy minimum, a crossing is not.
Its shift from the shallow to the deep network is compared with the rate law that `depth_check` reads off one
step of the untrained networks. Two tasks: handwritten digits, with blocks x + α V relu(W x), where one rate
is that of all parameters; and characters of the documentation in Python's standard library, with a small
transformer, where embedding and readout keep their rate and that of the blocks is varied.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.transferred import FACTORIES, PERCEPTRON, examples
from resnet_sde._random import generator, seeded
from resnet_sde._versions import current_versions
from resnet_sde.estimate import Estimate
from resnet_sde.practice.over_seeds import over_seeds
from resnet_sde.propagate import one_thread
from resnet_sde.runs.identity import digest, environment
from resnet_sde.runs.store import Record, Store

ENDS = ("value", "low", "high")
LAST = 0.2  # share of the steps over which the loss at the end is averaged


@dataclass(frozen=True)
class Scheme:
    """Networks of one law, an optimizer, and the exponents with which its rates follow the depth.

    factory: of `transferred.FACTORIES`.
    optimizer: "sgd" or "adam".
    follow: exponents x of L^x, of writers and of the rest of the blocks.
    rates: log2 of the smallest rate at the shallow depth and at the deep one, an octave between rates.
    claim: "stays", "moves" as the rate law of the blocks predicts, "moves down" with no power law to predict
        how far, or "" where theory and sweeps are known to disagree.
    """

    factory: str
    optimizer: str
    rates: tuple[int, int]
    follow: tuple[float, float] = (0.0, 0.0)
    claim: str = "stays"

    @property
    def task(self) -> str:
        """What it is trained on."""
        return "digits" if self.factory in PERCEPTRON else "letters"


SCHEMES = {
    "SGD, multiplier 1/√L": Scheme("multiplier", "sgd", (-8, -8)),
    "SGD, 1/√L in initial weights": Scheme("weights", "sgd", (-9, -12), claim="moves"),
    "Adam, multiplier 1/√L, rate by the law": Scheme("multiplier", "adam", (-13, -13), (-0.5, -0.5)),
    "Adam, multiplier 1/√L, one rate": Scheme("multiplier", "adam", (-13, -14), claim="moves"),
    "transformer, rate by the law": Scheme("letters", "adam", (-12, -12), (-0.5, -0.5)),
    "transformer, one rate": Scheme("letters", "adam", (-12, -14), claim="moves"),
    "SGD, multiplier 1/L": Scheme("multiplier 1/L", "sgd", (-6, -6), claim=""),
    "SGD, default initialization": Scheme("default", "sgd", (-8, -13), claim="moves down"),
}


@dataclass(frozen=True)
class DepthTransfer:
    """Sweeps over the rate at a shallow and at a deep depth.

    levels: of the loss, by task; depths: likewise.
    """

    schemes: tuple[str, ...] = tuple(SCHEMES)
    digits: tuple[int, int] = (8, 128)
    letters: tuple[int, int] = (4, 36)
    steps: tuple[int, int] = (250, 100)
    levels: tuple[float, float] = (0.2, 2.45)
    rates: int = 4
    samples: int = 4
    rate_seeds: int = 4

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """Losses with the axes scheme, end of the depths, rate and sample; exponents of the rate law."""
        store = how.store if how is not None else None
        size = (len(self.schemes), 2, self.rates, self.samples)
        losses, rates = np.full(size, np.nan), np.full(size[:3], np.nan)
        laws = np.full((len(self.schemes), len(ENDS)), np.nan)
        for i, name in enumerate(self.schemes):
            for j in range(2):
                losses[i, j], rates[i, j] = self._kept(name, j, seed, store), SCHEMES[name].rates[j]
                rates[i, j] += np.arange(self.rates)
            laws[i] = self._law(name, seed, store)
        numbers = {
            "loss": (("scheme", "end", "rate", "sample"), losses),
            "log2_rate": (("scheme", "end", "rate"), rates),
            "law": (("scheme", "of"), laws),
            "depth": (("scheme", "end"), [self.depths(SCHEMES[name].task) for name in self.schemes]),
            "level": (("scheme",), [self.level(SCHEMES[name].task) for name in self.schemes]),
        }
        coordinates = {"scheme": list(self.schemes), "end": ["shallow", "deep"], "of": list(ENDS)}
        attributes = {
            "experiment": repr(self),
            "data": json.dumps({"name": "digits; characters of Python's documentation"}),
            "seed": seed,
            "versions": json.dumps(current_versions()),
        }
        return xr.Dataset(numbers, coordinates, attributes)

    def depths(self, task: str) -> tuple[int, int]:
        """The two depths of a task."""
        return self.digits if task == "digits" else self.letters

    def level(self, task: str) -> float:
        """The loss to come down to."""
        return self.levels[task == "letters"]

    def _kept(self, name: str, end: int, seed: int, store: Path | None) -> np.ndarray:
        scheme = SCHEMES[name]
        asked = {"scheme": repr(scheme), "end": end, "size": repr((self.rates, self.samples, self.steps))}
        depths = self.depths(scheme.task)

        def compute() -> np.ndarray:
            return self._sweep(scheme, depths[end], depths[0], scheme.rates[end], seed)

        return kept({"sweep": asked, "depths": depths, "seed": seed}, compute, store)

    def _sweep(self, scheme: Scheme, depth: int, shallow: int, first: int, seed: int) -> np.ndarray:
        """The loss at the end, (rate, sample)."""
        points = list(product(range(self.rates), range(self.samples)))
        nets = []
        for _, sample in points:
            with seeded(seed, "depth transfer", sample):
                nets.append(FACTORIES[scheme.factory](depth))
        base = torch.tensor([2.0 ** (first + k) for k, _ in points])
        rates = {
            name: base * factor if factor else torch.full_like(base, 2.0**-7)
            for name, factor in factors(scheme, nets[0], depth / shallow).items()
        }
        steps = self.steps[scheme.task == "letters"]
        with one_thread():
            found = trained(nets, rates, scheme, steps, [(seed, sample) for _, sample in points])
        return found.numpy().reshape(self.rates, self.samples)

    def _law(self, name: str, seed: int, store: Path | None) -> np.ndarray:
        """The exponent of the rates of all blocks, as the depth check measures it."""
        scheme = SCHEMES[name]
        shallow, deep = self.depths(scheme.task)
        asked = {"law": (scheme.factory, scheme.optimizer), "depths": (shallow, deep)}

        def compute() -> np.ndarray:
            kind = torch.optim.SGD if scheme.optimizer == "sgd" else torch.optim.Adam
            x, _ = examples(scheme.task, 64, generator(seed, "depth transfer", "law"))
            check = rs.depth_check(
                FACTORIES[scheme.factory],
                x if scheme.task == "digits" else x[:16],
                depths=(shallow,),
                seeds=1,
                optimizer=lambda module: kind(module.parameters(), lr=1e-3),
                rate_depths=(shallow, deep),
                rate_seeds=self.rate_seeds,
            )
            law = next(law for law in check.rates if law.group == "blocks")
            found = law.exponent or Estimate(math.nan, -math.inf, math.inf)
            return np.array([getattr(found, of) for of in ENDS])

        return kept(asked | {"seed": seed, "seeds": self.rate_seeds}, compute, store)


def kept(asked: Mapping[str, object], compute: Callable[[], np.ndarray], store: Path | None) -> np.ndarray:
    """Numbers from the store, or computed and kept there."""
    if store is None:
        return compute()
    folder = Store(store, "{key}.npz")
    identity = {"depth transfer": repr(asked), "code": digest(DepthTransfer), "environment": environment()}
    record = folder.load(identity)
    if record is not None:
        return record.arrays["numbers"]
    found = compute()
    folder.save(identity, Record({"numbers": found}))
    return found


def factors(scheme: Scheme, net: nn.Module, deeper: float) -> dict[str, float]:
    """What the rate is multiplied with, by name of the parameter; 0 for a rate that is kept."""
    writers, inner = (deeper**x for x in scheme.follow)
    outside = 1.0 if scheme.task == "digits" else 0.0
    return {
        name: outside
        if not name.startswith("blocks.")
        else writers
        if name.rpartition(".")[0].endswith(("v", "o", "down"))
        else inner
        for name, _ in net.named_parameters()
    }


def trained(
    nets: list[nn.Module],
    rates: Mapping[str, Tensor],
    scheme: Scheme,
    steps: int,
    seeds: list[tuple[int, int]],
) -> Tensor:
    """The loss at the end of networks that are trained side by side, each at its own rate; inf if lost."""
    state, _ = stack_module_state(nets)
    sources = {key: generator(key[0], "depth transfer", "batches", key[1]) for key in dict.fromkeys(seeds)}

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        out = functional_call(nets[0], parameters, (x,))
        return F.cross_entropy(out.flatten(0, -2), y.flatten())

    names = list(state)
    moments = [(torch.zeros_like(state[n]), torch.zeros_like(state[n])) for n in names]
    last = []
    for step in range(1, steps + 1):
        drawn = {key: examples(scheme.task, 32, source) for key, source in sources.items()}
        x, y = (torch.stack([drawn[key][i] for key in seeds]) for i in range(2))
        losses = vmap(loss)(state, x, y)
        gradients = torch.autograd.grad(losses.sum(), [state[n] for n in names])
        if step > (1 - LAST) * steps:
            last.append(losses.detach())
        with torch.no_grad():
            for name, gradient, (first, second) in zip(names, gradients, moments, strict=True):
                rate = rates[name].reshape(-1, *[1] * (gradient.ndim - 1))
                if scheme.optimizer == "adam":
                    first.mul_(0.9).add_(gradient, alpha=0.1)
                    second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                    size = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
                    gradient = first / (1 - 0.9**step) / size
                state[name].sub_(rate * gradient)
    return torch.stack(last).mean(0).nan_to_num(nan=math.inf)


def crossings(ds: xr.Dataset, scheme: str) -> np.ndarray:
    """log2 of the smallest rate whose loss comes down to the level, (end, sample); NaN where none does.

    Between two rates log loss is a line in log rate.
    """
    at = ds.sel(scheme=scheme)
    found = np.full((2, ds.sizes["sample"]), np.nan)
    for end, sample in np.ndindex(found.shape):
        rates, losses = at.log2_rate[end].to_numpy(), at.loss[end, :, sample].to_numpy()
        below = np.flatnonzero(losses <= float(at.level))
        if len(below) and below[0] > 0:
            k = int(below[0])
            high, low = np.log(losses[k - 1]), np.log(losses[k])
            share = (high - math.log(float(at.level))) / (high - low) if math.isfinite(high) else 1.0
            found[end, sample] = rates[k - 1] + share * (rates[k] - rates[k - 1])
    return found


def shift(ds: xr.Dataset, scheme: str, level: float = 0.95) -> Estimate:
    """Octaves from the crossing of shallow networks to that of deep ones, with an interval over seeds."""
    shallow, deep = crossings(ds, scheme)
    return over_seeds(deep - shallow, level)


def predicted(ds: xr.Dataset, scheme: str) -> float:
    """Octaves by the rate law of the blocks, less those that the rates follow already."""
    at = ds.sel(scheme=scheme)
    octaves = math.log2(float(at.depth[1]) / float(at.depth[0]))
    return (float(at.law.sel(of="value")) - SCHEMES[scheme].follow[1]) * octaves


def report(ds: xr.Dataset) -> list[str]:
    """The shift of every scheme beside its prediction."""
    lines = []
    for name in ds.scheme.values:
        found, depths = shift(ds, name), ds.depth.sel(scheme=name).values
        lines.append(
            f"{name}: from depth {depths[0]} to {depths[1]} the crossing moves by {found.value:.2f} "
            f"[{found.low:.2f}, {found.high:.2f}] octaves; by the rate law {predicted(ds, name):.2f}"
        )
    return lines


BUDGETS = {
    "smoke": DepthTransfer(digits=(4, 8), letters=(3, 6), steps=(20, 5), samples=2, rate_seeds=2),
    "cpu": DepthTransfer(),
    "paper": DepthTransfer(samples=16, rate_seeds=8),
}
