"""Does a learning rate that was found in a shallow network hold in a deep one?

Networks of three depths are trained at rates an octave apart. What is kept is the loss at the end, and from
it the rate at which training comes down to a fixed loss: the best rate is a noisy minimum, a crossing is not.
Its shift from the shallow to deep networks is compared with the rate law that `depth_check` reads off one
step of the untrained networks. Two tasks: handwritten digits, with blocks x + α V relu(W x), where one rate
is that of all parameters; and letters of a text that repeats itself, with a small transformer, where
embedding and readout keep their rate and that of the blocks is varied. In that text a letter is, nine times
in ten, the one two places before it: a loss below that of embedding and readout alone needs the blocks.

The text, the number of steps, the loss to come down to and the rate of embedding and readout were chosen
with four blocks and one rate alone, and so that the loss falls steeply at that level, .2 an octave, where
different networks cross it within a tenth of an octave of each other. Grids of rates lie around the crossing
of shallow networks, moved by what the rate law says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.own.transferred import FACTORIES, PERCEPTRONS, examples
from resnet_sde.checks import positive_integer
from resnet_sde.estimate import Estimate
from resnet_sde.practice.over_seeds import over_seeds
from resnet_sde.propagate import default_dtype, one_thread
from resnet_sde.runs.execute import execute
from resnet_sde.runs.identity import digest, environment
from resnet_sde.runs.progress import progress_bar
from resnet_sde.runs.store import Record, Store
from resnet_sde.runs.versions import current_versions
from resnet_sde.streams import check_seed, generator, seeded

ENDS = ("value", "low", "high")
PLACES = ("shallow", "middle", "deep")
LAST = 0.2  # share of the steps over which the loss at the end is averaged
KEPT_RATE = 2.0**-9  # of embedding and readout of the transformer
DECAY = 0.01  # of weights, by AdamW
WRITERS = ("v", "o", "down")  # what writes to the stream


@dataclass(frozen=True)
class Scheme:
    """Networks of one law, an optimizer, and the exponents with which its rates follow the depth.

    factory: of `transferred.FACTORIES`.
    optimizer: "sgd", "adam" or "adamw".
    rates: log2 of the smallest rate at each depth.
    follow: exponents x of L^x, of the rates of writers and of the rest of the blocks.
    claim: "stays", "moves" as the rate law of the blocks predicts, "fails" where deep networks are lost at
        the rate of shallow ones, and "" where theory and sweeps are known to disagree.
    """

    factory: str
    optimizer: str
    rates: tuple[int, int, int]
    follow: tuple[float, float] = (0.0, 0.0)
    claim: str = "stays"

    @property
    def task(self) -> str:
        """What it is trained on."""
        return "digits" if self.factory in PERCEPTRONS else "letters"


MULTIPLIED, WEIGHTS = "transformer, multiplier", "transformer, weights"
LAW, SPLIT = (-0.5, -0.5), (-1.0, -0.5)
SCHEMES = {
    "SGD, multiplier 1/√L, one rate": Scheme("multiplier", "sgd", (-7, -7, -7)),
    "SGD, 1/√L in weights, one rate": Scheme("weights", "sgd", (-8, -10, -12), claim="moves"),
    "Adam, multiplier 1/√L, by the law": Scheme("multiplier", "adam", (-13, -13, -13), LAW),
    "Adam, multiplier 1/√L, one rate": Scheme("multiplier", "adam", (-13, -13, -14), claim="moves"),
    "SGD, default weights, one rate": Scheme("default", "sgd", (-8, -10, -12), claim="fails"),
    "SGD, multiplier 1/L, one rate": Scheme("multiplier 1/L", "sgd", (-6, -6, -6), claim=""),
    "GPT, multiplier 1/√(2L), by the law": Scheme(MULTIPLIED, "adamw", (-14, -14, -14), LAW),
    "GPT, multiplier 1/√(2L), one rate": Scheme(MULTIPLIED, "adamw", (-14, -15, -16), claim="moves"),
    "GPT, 1/√(2L) in weights, by the law": Scheme(WEIGHTS, "adamw", (-15, -15, -15), SPLIT),
    "GPT, 1/√(2L) in weights, one rate": Scheme(WEIGHTS, "adamw", (-15, -17, -18), claim="moves"),
    "GPT, multiplier 1/(2L), one rate": Scheme(
        "transformer, multiplier 1/(2L)", "adamw", (-13, -13, -13), claim=""
    ),
}


@dataclass(frozen=True)
class DepthTransfer:
    """Sweeps over the rate at three depths.

    steps, levels: by task, the number of steps and the loss to come down to; of digits and of letters.
    rates: how many, an octave apart.
    samples: by task, networks at each rate; those of one number have the same batches, and blocks from the
        same draws, at all depths and rates.
    """

    schemes: tuple[str, ...] = tuple(SCHEMES)
    digits: tuple[int, int, int] = (8, 32, 128)
    letters: tuple[int, int, int] = (4, 12, 36)
    steps: tuple[int, int] = (250, 200)
    levels: tuple[float, float] = (0.2, 1.2)
    rates: int = 4
    samples: tuple[int, int] = (8, 6)
    rate_seeds: int = 8

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """Losses with the axes scheme, place, rate and sample; exponents of the rate law of the blocks.

        Raises:
            ValueError: seed or workers are out of range.
            OSError: the store cannot be written to.
        """
        found = self._found(check_seed(seed), how)
        places = range(len(PLACES))
        schemes = [SCHEMES[name] for name in self.schemes]
        first = np.array([scheme.rates for scheme in schemes])
        numbers: dict[str, Any] = {
            "loss": (
                ("scheme", "place", "rate", "sample"),
                [[self._padded(found[scheme, place]) for place in places] for scheme in schemes],
            ),
            "log2_rate": (("scheme", "place", "rate"), first[..., None] + self.grid()),
            "law": (("scheme", "of"), [found[scheme, None] for scheme in schemes]),
            "depth": (("scheme", "place"), [self.depths(scheme.task) for scheme in schemes]),
            "level": (("scheme",), [self.of_task(self.levels, scheme.task) for scheme in schemes]),
        }
        coordinates = {"scheme": list(self.schemes), "place": list(PLACES), "of": list(ENDS)}
        attributes = {
            "experiment": repr(self),
            "data": json.dumps({"name": "digits; letters of a text that repeats itself"}),
            "seed": seed,
            "versions": json.dumps(current_versions()),
        }
        return xr.Dataset(numbers, coordinates, attributes)

    def depths(self, task: str) -> tuple[int, int, int]:
        """The depths of a task."""
        return self.digits if task == "digits" else self.letters

    def of_task(self, pair: tuple[Any, Any], task: str) -> Any:
        """That of two values which belongs to a task."""
        return pair[task == "letters"]

    def _padded(self, losses: np.ndarray) -> np.ndarray:
        """With NaN in place of networks that only the other task has."""
        more = max(self.samples) - losses.shape[-1]
        return np.pad(losses, ((0, 0), (0, more)), constant_values=np.nan)

    def grid(self) -> np.ndarray:
        """Octaves from the smallest rate."""
        return np.arange(self.rates)

    def _found(self, seed: int, how: Execution) -> dict[tuple[Scheme, int | None], np.ndarray]:
        """Losses by scheme and place, and the law of a scheme at None, from the store or computed."""
        workers = positive_integer("workers", how.workers, "give for example 1")
        store = None if how.store is None else Store(how.store, "{key}.npz")
        schemes = [SCHEMES[name] for name in self.schemes]
        tasks = list(product(schemes, (*range(len(PLACES)), None)))
        found, made = {}, {"code": digest(measured), "environment": environment()}
        known = {task: made | {"depth transfer": repr(self._asked(*task)), "seed": seed} for task in tasks}
        for task in tasks if store is not None else ():
            record = store.load(known[task])
            if record is not None:
                found[task] = record.arrays["numbers"]
        missing = [task for task in tasks if task not in found]
        with (
            closing(
                execute(missing, measured, (self, seed), workers=workers, executor=how.executor)
            ) as finished,
            progress_bar(
                total=len(tasks), initial=len(found), desc="depth-transfer", shown=how.progress
            ) as bar,
        ):
            for task, numbers in finished:
                found[task] = numbers
                bar.update()
                if store is not None:
                    store.save(known[task], Record({"numbers": numbers}))
        return found

    def _asked(self, scheme: Scheme, place: int | None) -> tuple[object, ...]:
        """What decides the numbers of one task."""
        networks = (scheme.factory, scheme.optimizer, scheme.follow, self.depths(scheme.task))
        if place is None:
            return (*networks, self.rate_seeds)
        sizes = [self.of_task(pair, scheme.task) for pair in (self.steps, self.samples)]
        return (*networks, place, scheme.rates[place], self.rates, *sizes)


def measured(task: tuple[Scheme, int | None], shared: tuple[DepthTransfer, int]) -> np.ndarray:
    """The losses of a scheme at a place, or its law."""
    (scheme, place), (of, seed) = task, shared
    with one_thread(), default_dtype(torch.float32):
        return rate_law(of, scheme, seed) if place is None else sweep(of, scheme, place, seed)


def sweep(of: DepthTransfer, scheme: Scheme, place: int, seed: int) -> np.ndarray:
    """The loss at the end at the depth of a place, (rate, sample)."""
    depths, samples = of.depths(scheme.task), of.of_task(of.samples, scheme.task)
    points = list(product(of.grid(), range(samples)))
    nets = []
    for _, sample in points:
        with seeded(seed, "depth transfer", sample):
            nets.append(FACTORIES[scheme.factory](depths[place]))
    base = torch.tensor([2.0 ** (scheme.rates[place] + k) for k, _ in points])
    follow = factors(scheme, nets[0], depths[place] / depths[0])
    kept = torch.full_like(base, KEPT_RATE)
    rates = {name: kept if factor is None else base * factor for name, factor in follow.items()}
    steps = of.of_task(of.steps, scheme.task)
    found = trained(nets, rates, scheme, steps, [(seed, sample) for _, sample in points])
    return found.numpy().reshape(of.rates, samples)


def rate_law(of: DepthTransfer, scheme: Scheme, seed: int) -> np.ndarray:
    """The exponent of the rates of all blocks that is left to follow, as the depth check measures it.

    NaN where it is no power law.
    """
    depths = of.depths(scheme.task)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        follow = factors(scheme, module, len(module.blocks) / depths[0])
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            groups.setdefault(follow[name] or 1.0, []).append(parameter)
        return kind[scheme.optimizer]([{"params": g, "lr": 1e-3 * x} for x, g in groups.items()])

    x, _ = examples(scheme.task, 64, generator(seed, "depth transfer", "law"))
    check = rs.depth_check(
        FACTORIES[scheme.factory],
        x,
        depths=depths[:1],
        seeds=1,
        optimizer=optimizer,
        rate_depths=depths,
        rate_seeds=of.rate_seeds,
    )
    law = next(law for law in check.rates if law.group == "blocks")
    found = law.exponent if law.power_law else None
    return np.array([math.nan] * len(ENDS) if found is None else [getattr(found, end) for end in ENDS])


def factors(scheme: Scheme, net: nn.Module, deeper: float) -> dict[str, float | None]:
    """What the rate is multiplied with, by name of the parameter; None for a rate that is kept."""
    writers, inner = (deeper**x for x in scheme.follow)
    outside = 1.0 if scheme.task == "digits" else None
    return {
        name: outside
        if not name.startswith("blocks.")
        else writers
        if name.split(".")[-2] in WRITERS
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
                if scheme.optimizer == "adamw":
                    state[name].mul_(1 - DECAY * rate)
                if scheme.optimizer != "sgd":
                    first.mul_(0.9).add_(gradient, alpha=0.1)
                    second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                    size = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
                    gradient = first / (1 - 0.9**step) / size
                state[name].sub_(rate * gradient)
    return torch.stack(last).mean(0).nan_to_num(nan=math.inf)


def crossings(ds: xr.Dataset, scheme: str) -> np.ndarray:
    """log2 of the smallest rate whose loss comes down to the level, (place, sample); NaN where none does.

    Between two rates log loss is a line in log rate.
    """
    at = ds.sel(scheme=scheme).dropna("sample", how="all", subset=["loss"])
    found = np.full((at.sizes["place"], at.sizes["sample"]), np.nan)
    for place, sample in np.ndindex(found.shape):
        rates, losses = at.log2_rate[place].to_numpy(), at.loss[place, :, sample].to_numpy()
        below = np.flatnonzero(losses <= float(at.level))
        if len(below) and below[0] > 0:
            k = int(below[0])
            high, low = np.log(losses[k - 1]), np.log(losses[k])
            share = (high - math.log(float(at.level))) / (high - low) if math.isfinite(high) else 1.0
            found[place, sample] = rates[k - 1] + share * (rates[k] - rates[k - 1])
    return found


def shift(ds: xr.Dataset, scheme: str, place: int = -1, level: float = 0.95) -> Estimate:
    """Octaves from the crossing of shallow networks to that of deeper ones, with an interval over seeds."""
    found = crossings(ds, scheme)
    return over_seeds(found[place] - found[0], level)


def octaves(ds: xr.Dataset, scheme: str, place: int = -1) -> float:
    """How much deeper than the shallow networks they are."""
    depths = ds.depth.sel(scheme=scheme).to_numpy()
    return math.log2(depths[place] / depths[0])


def predicted(ds: xr.Dataset, scheme: str, place: int = -1) -> float:
    """Octaves by the rate law of the blocks; NaN where that is no power law."""
    return float(ds.law.sel(scheme=scheme, of="value")) * octaves(ds, scheme, place)


def report(ds: xr.Dataset) -> list[str]:
    """The shift of every scheme beside its prediction."""
    lines = []
    for name in ds.scheme.values:
        found, depths = shift(ds, name), ds.depth.sel(scheme=name).values
        law = predicted(ds, name)
        says = f"{law:.2f} by the rate law" if math.isfinite(law) else "the rate law is no power law"
        lines.append(
            f"{name}: from depth {depths[0]} to {depths[-1]} the crossing moves by {found.value:.2f} "
            f"[{found.low:.2f}, {found.high:.2f}] octaves; {says}"
        )
    return lines


BUDGETS = {
    "smoke": DepthTransfer(digits=(3, 4, 5), letters=(3, 4, 5), steps=(8, 3), samples=(2, 2), rate_seeds=1),
    "cpu": DepthTransfer(),
    "paper": DepthTransfer(samples=(16, 16)),
}
