"""What a check is handed: networks that are drawn with the planted error in them, and claims at one level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from resnet_sde import estimate
from resnet_sde import observables as ob
from resnet_sde.claims import Claim
from resnet_sde.estimate import Estimate
from resnet_sde.laws import PathLaw
from resnet_sde.limits import limit as find_limit
from resnet_sde.limits.base import Limit
from resnet_sde.model import Model, WeightPaths
from resnet_sde.monte_carlo import simulate
from resnet_sde.propagate import forward
from resnet_sde.streams import generator
from resnet_sde.theorems import estimators

_INPUT = 8  # dimension of the input of networks that are started at random
_SQUARE = 2 * math.log(10)  # from log₁₀ of a ratio to the natural logarithm of its square
_Answer = TypeVar("_Answer")
_HELD = 2**24  # numbers in the weights held at once

VARIANCE_ERRORS = {"variance 5 % too large": {"variance": 1.05}, "variance 5 % too small": {"variance": 0.95}}
VARIANCE_OFF = {"variance off by 5 %": {"variance": 1.05}}
"""Controls of checks that look at networks of a lab."""


class AssumptionNotMet(Exception):
    """What a check raises for a model that its theorem does not speak of; a sentence says why."""


@dataclass(frozen=True)
class Lab:
    """A seed, a level, a number of networks, and what is wrong with them.

    Networks are drawn by the methods of a lab, which plant the error in every model that they are given.
    Where the statement itself is computed, the model is used as it is.

    Attributes:
        seed: of all random numbers.
        level: confidence of every interval.
        samples: how many networks to look at.
        model: one of somebody else's, in place of those of the statement.
        beta: planted error: another scaling.
        beta_off: planted error: what is added to the scaling.
        variance: planted error: a factor on the variance of the outer weights.
        law: planted error: another law of the weights along depth.
    """

    seed: int
    level: float
    samples: int = 0
    model: Model | None = None
    beta: float | None = None
    beta_off: float = 0.0
    variance: float = 1.0
    law: PathLaw | None = None

    def cases(self, usual: Mapping[str, Model]) -> Iterable[tuple[str, Model]]:
        """The models of a statement by their names, or the one that was given in their place."""
        return usual.items() if self.model is None else [(str(self.model), self.model)]

    def with_error(self, model: Model) -> Model:
        """What is really looked at: the networks of the statement, but for an error if one is planted."""
        beta = model.beta if self.beta is None else self.beta
        assert beta is not None
        gain = model.gain * math.sqrt(self.variance)
        return replace(model, beta=beta + self.beta_off, gain=gain, law=self.law or model.law)

    @property
    def without_error(self) -> Lab:
        """The same, which plants nothing."""
        return replace(self, beta=None, beta_off=0.0, variance=1.0, law=None)

    def away(self, shift: float) -> Lab:
        """The same with scalings that are off by so much more."""
        return replace(self, beta_off=shift + self.beta_off)

    def again(self, *key: object) -> Lab:
        """The same with numbers that are independent of these."""
        return replace(self, seed=self.subseed(*key))

    def subseed(self, *key: object) -> int:
        """A seed for numbers that are independent of those of this seed."""
        return subseed(self.seed, *key)

    # Claims

    def equal(self, name: str, measured: Tensor | Estimate, predicted: float, *, within: float) -> Claim:
        """The mean of independent values, any shape, or what was estimated, is what is predicted."""
        return Claim(name, self._estimate(measured), predicted, within)

    def ratio(self, name: str, values: Tensor, exact: float, *, within: float) -> Claim:
        """The mean of independent values is this number, up to so much of it."""
        return Claim(name, self.mean(values, unit=exact), 1.0, within)

    def at_most(
        self, name: str, measured: Tensor | Estimate, bound: float, *, within: float = 0.0, unmet: str = ""
    ) -> Claim:
        """It is no larger than the bound; `unmet` says why that is not asserted, if it is not."""
        return Claim(name, self._estimate(measured), bound, within, "<=", unmet or None)

    def at_least(
        self, name: str, measured: Tensor | Estimate, bound: float, *, within: float = 0.0, unmet: str = ""
    ) -> Claim:
        """It is no smaller than the bound; `unmet` as in `at_most`."""
        return Claim(name, self._estimate(measured), bound, within, ">=", unmet or None)

    def _estimate(self, measured: Tensor | Estimate) -> Estimate:
        if isinstance(measured, Estimate):
            return measured
        if not measured.ndim:
            raise ValueError(
                "a single number has no interval: give the independent values themselves, not their mean, or "
                "make the claim by claims.equal if it involves no chance"
            )
        return self.mean(measured)

    # Estimates

    def mean(self, values: Tensor, *, unit: float = 1.0) -> Estimate:
        """The mean of independent values, in a unit."""
        return estimators.average(values, self.level, unit=unit)

    def spread(self, values: Tensor, *, unit: float = 1.0) -> Estimate:
        """Their variance, in a unit."""
        return estimators.spread(values, self.level, unit=unit)

    def median(self, values: Tensor, *, unit: float = 1.0) -> Estimate:
        """The median of their law, in a unit; no single value decides it."""
        return estimators.median(values / unit, self.level)

    def interdecile_range(self, values: Tensor) -> Estimate:
        """Distance of the first from the last decile of their law; no single value decides it."""
        return estimators.interdecile_range(values, self.level)

    def shift(self, first: Tensor, second: Tensor) -> Estimate:
        """The difference of the means of two independent samples."""
        return estimators.shift(first, second, self.level)

    def share(self, events: Tensor) -> Estimate:
        """The probability of an event, from independent booleans."""
        return estimators.share(events, self.level)

    def distance(self, values: Tensor, to: Tensor | Callable[[np.ndarray], np.ndarray]) -> Estimate:
        """Kolmogorov's distance of a law, to that of another sample or to a distribution function."""
        if isinstance(to, Tensor):
            return estimators.distance_between(values, to, self.level)
        return estimators.distance(values, to, self.level)

    def order(
        self, depths: Sequence[int], errors: Tensor, *, reference: int | None = None, power: int = 1
    ) -> Estimate:
        """The rate at which squared errors, (sample, depth), fall with depth; options of `estimate.order`."""
        return estimate.order(
            depths, errors, reference=reference, power=power, level=self.level, seed=self.seed
        )

    # Networks

    def simulate(
        self,
        model: Model,
        x: Tensor,
        *observe: ob.Observable,
        depth: int,
        samples: int | None = None,
        method: str = "auto",
    ) -> dict[str, Tensor]:
        """What is observed of networks, by the names of observables."""
        return simulate(
            self.with_error(model),
            x,
            depth=depth,
            samples=self.samples if samples is None else samples,
            observe=list(observe),
            method=method,
            seed=self.seed,
        )

    def log_ratios(
        self, model: Model, *, depth: int, samples: int | None = None, method: str = "auto"
    ) -> list[Tensor]:
        """Natural logarithms of ‖h_L − h_0‖² / ‖h_0‖² and ‖h_L‖² / ‖h_0‖²; two of shape (sample,)."""
        return self._logs(model, (ob.log10_displacement, ob.log10_growth), depth, samples, method)

    def gradient_log_ratios(
        self, model: Model, *, depth: int, samples: int | None = None, method: str = "auto"
    ) -> list[Tensor]:
        """The same of ‖p_0 − p_L‖² / ‖p_L‖² and ‖p_0‖² / ‖p_L‖², with p_L ~ N(0, I) of its own."""
        observe = (ob.log10_gradient_displacement, ob.log10_gradient_growth)
        return self._logs(model, observe, depth, samples, method)

    def _logs(
        self, model: Model, observe: Sequence[ob.Observable], depth: int, samples: int | None, method: str
    ) -> list[Tensor]:
        x = torch.ones(1, _INPUT)
        found = self.simulate(model, x, *observe, depth=depth, samples=samples, method=method)
        return [_SQUARE * found[o.__name__][:, 0] for o in observe]

    def kernels(
        self, model: Model, start: tuple[float, float, float], *, depth: int, samples: int | None = None
    ) -> Tensor:
        """Kernels of two inputs at the last layer, (sample, 2, 2); `start` as in `inputs`."""
        return self.simulate(model, inputs(*start), ob.kernel, depth=depth, samples=samples)["kernel"]

    def starts(self, width: int, *key: object, samples: int | None = None) -> Tensor:
        """Gaussian h_0 of independent networks, or other states named by a key; (sample, 1, width)."""
        count = self.samples if samples is None else samples
        return torch.randn(count, 1, width, generator=generator(self.seed, "starts", count, width, *key))

    def on_paths(self, model: Model, depth: int, see: Callable[..., Tensor], *states: Tensor) -> Tensor:
        """What is seen of networks on weight paths of a model, so many at a time that these fit into memory.

        see(path, *parts) gives a tensor (n, …) for a path of n networks and their parts of the states, each
        (sample, …). The paths are those of the model as it is: an error is planted in what is led along them.
        """
        held = depth * sum(a * b for a, b in model.block.shapes(model.width).values())
        chunks = [part.split(max(1, min(len(part), _HELD // held))) for part in states]
        found = []
        for k, parts in enumerate(zip(*chunks, strict=True)):
            path = model.draw(depth, samples=len(parts[0]), seed=self.subseed("paths", k))
            found.append(see(path, *parts))
        return torch.cat(found)


def subseed(seed: int, *key: object) -> int:
    """A seed for numbers that are independent of those of this seed."""
    return int(generator(seed, "child", *key).initial_seed())


def ask(verb: Callable[..., _Answer], *about: Any, **how: Any) -> _Answer:
    """What a verb answers; where it refuses a model, the statement does not speak of it."""
    try:
        return verb(*about, **how)
    except ValueError as refusal:
        raise AssumptionNotMet(str(refusal)) from None


def white_gaussian(law: PathLaw) -> bool:
    """Whether weights are known to be independent along depth, and Gaussian."""
    return law.noise == "white" and law.gaussian


def critical(model: Model) -> Model:
    """The model at its critical scaling. Raises AssumptionNotMet where it has none."""
    return ask(replace, model, beta=None)


def inputs(q1: float, q2: float, c: float) -> Tensor:
    """Two inputs whose states h_0 have these mean squares and this correlation, (input, n_in), float32."""
    directions = torch.tensor([[1.0, 0.0], [c, math.sqrt(1.0 - c * c)]])
    return (directions * torch.tensor([[2 * q1], [2 * q2]]).sqrt()).float()


def gap(kernel: Tensor) -> Tensor:
    """1 − correlation of the two inputs of each kernel; (sample,)."""
    return 1 - kernel[:, 0, 1] / (kernel[:, 0, 0] * kernel[:, 1, 1]).sqrt()


def end(model: Model, h: Tensor, path: WeightPaths, depth: int) -> Tensor:
    """h_L of networks of this depth on a path; shape of h."""
    return forward(model.block, h, path.layers(depth), model.alpha(depth))[-1]


def square(x: Tensor) -> Tensor:
    """Squared norms of states of one input; (sample,)."""
    return x.square().sum((1, 2))


def limit_of(model: Model, kind: str, *, coupled: bool = True) -> Limit:
    """The limit of a model, on its own weights or in law, at its critical scaling whatever its own is.

    Raises:
        AssumptionNotMet: it has none, or one of another kind.
    """
    found = ask(find_limit, critical(model))
    if found.kind != kind or found.coupled != coupled:
        both = coupled, found.coupled
        asked, there = (", on the weights themselves" if on else ", in law" for on in both)
        limits = f"{kind}{asked}, not {found.kind}{there}"
        raise AssumptionNotMet(f"the statement is about a limit of kind {limits}")
    return found
