"""What experiments on networks of finite width share: networks, their kernels in simulations, and estimates.

All are after Fischer, Dahmen & Helias (2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import resnet_sde as rs
from experiments.wide import mean_and_error
from resnet_sde.finite_width import FiniteSize, finite_size
from resnet_sde.finite_width.finite_size import without_memory
from resnet_sde.observables import observable

STEP = 1e-4  # of difference quotients, relative


@dataclass(frozen=True)
class Networks:
    """h ← skip h + gain (σ_w W erf(h) / √width + σ_b b), whose readout has the same variances.

    k0: mean square of the coordinates of h_0.
    """

    depth: int
    gain: float
    sigma_w2: float = 1.0
    sigma_b2: float = 0.05
    k0: float = 0.05
    skip: float = 1.0

    def model(self, width: int = 1) -> rs.Model:
        """The law of the networks."""
        block = rs.SingleLayer(rs.ERF, self.sigma_w2, self.sigma_b2)
        return rs.Model(block, rs.WhiteNoise(), width, beta=0.0, gain=self.gain, skip=self.skip)

    def theory(self, width: int = 1) -> FiniteSize:
        """Their kernels to order 1/width."""
        return finite_size(self.model(width), self.k0, depth=self.depth)

    def without_memory(self) -> FiniteSize:
        """The same, if the noise of every layer's kernel were independent of that of the others."""
        return without_memory(self.model(), self.k0, depth=self.depth)

    def branch(self, squares: Tensor) -> Tensor:
        """The branch kernel C of means of erf²."""
        return self.sigma_w2 * squares + self.sigma_b2

    def simulate(
        self, width: int, samples: int, observe: Callable[..., Tensor], seed: int, k0: float | None = None
    ) -> Tensor:
        """An observable of random networks, float64."""
        start = torch.tensor([[math.sqrt(self.k0 if k0 is None else k0)]], dtype=torch.float64)
        return seen(self.model(width), start, self.depth, samples, observe, seed)

    def slopes(self, width: int, samples: int, observe: Callable[..., Tensor], seed: int) -> Tensor:
        """Its derivative in k0, from two runs with the same random numbers."""
        up, down = (
            self.simulate(width, samples, observe, seed, self.k0 * (1 + sign * STEP)) for sign in (1, -1)
        )
        return (up - down) / (2 * STEP * self.k0)


def seen(
    model: rs.Model, x: Tensor, depth: int, samples: int, observe: Callable[..., Tensor], seed: int
) -> Tensor:
    """One observable of networks whose matrices are revealed where they are looked at."""
    run = rs.simulate(model, x, depth=depth, samples=samples, observe=[observe], method="deferred", seed=seed)
    return next(iter(run.values()))


# Observables


@observable("kernel", "layer", every_layer=True)
def squares(t: rs.Trajectory) -> Tensor:
    """Means of h² and of erf(h)² over the neurons, (sample, 2, depth + 1), of the first input."""
    states = (t.hidden.natural(layer)[:, 0] for layer in range(len(t.hidden.scaled)))
    return torch.stack(
        [torch.stack([h.square().mean(-1), torch.erf(h).square().mean(-1)], -1) for h in states], -1
    )


@observable("kernel")
def last_squares(t: rs.Trajectory) -> Tensor:
    """The same of the last layer, (sample, 2)."""
    h = t.hidden.natural(-1)[:, 0]
    return torch.stack([h.square().mean(-1), torch.erf(h).square().mean(-1)], -1)


def deviations(networks: Networks) -> Callable[[rs.Trajectory], Tensor]:
    r"""The readout's C less its limit, beside a linear part whose mean is 0 and whose terms are independent.

    What a layer adds to a neuron is √C times a standard normal number, which can be read off the states. With
    the limit of C in its place the same numbers drive neurons that do not feel each other; the mean over
    them of y = σ_w² (erf² less its expectation, plus what the same of earlier layers has moved) is close to
    the deviation of C, so the difference of both has much less noise than C itself.

    The observable is (sample, 4): the deviation of C, the mean of y, the mean of y², and the deviation of the
    conditional kernel of the last states.
    """
    theory, strength = networks.theory(), networks.gain**2 * networks.sigma_w2
    limits, growth = theory.branch.tolist(), theory.growth.tolist()

    @observable("part", every_layer=True)
    def parts(t: rs.Trajectory) -> Tensor:
        h = t.hidden.natural(0)[:, 0]
        alone, moved, conditional = h, torch.zeros_like(h), torch.zeros_like(h[:, :1])
        for layer, limit in enumerate(limits):
            branch = networks.branch(torch.erf(h).square().mean(-1, keepdim=True))
            source = torch.erf(alone).square() - (limit - networks.sigma_b2) / networks.sigma_w2
            if layer == networks.depth:
                break
            after = t.hidden.natural(layer + 1)[:, 0]
            alone = networks.skip * alone + (after - networks.skip * h) * torch.sqrt(limit / branch)
            moved = growth[layer] * moved + strength * source
            conditional = networks.skip**2 * conditional + networks.gain**2 * (branch - limit)
            h = after
        slope = (growth[-1] - networks.skip**2) / strength
        y = networks.sigma_w2 * (slope * moved + source)
        deviation, kernel = branch[:, 0] - limits[-1], conditional[:, 0]
        return torch.stack([deviation, y.mean(-1), y.square().mean(-1), kernel], -1)

    return parts


# Estimates: a number and its standard error


def variance(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of every entry over the networks."""
    return mean_and_error((values - values.mean(0)).square())


def covariance(first: Tensor, second: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of two entries over the networks."""
    return mean_and_error((first - first.mean(0)) * (second - second.mean(0)))


def sharp_variance(parts: Tensor, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Var C times the width, from `deviations`: the variance of the linear part, and what C has beside it."""
    exact, linear, square, _ = parts.unbind(-1)
    centred = exact - (exact - linear).mean()
    return mean_and_error(square + width * (centred.square() - linear.square()))


def sharp_shift(parts: Tensor, width: int) -> tuple[np.ndarray, np.ndarray]:
    """E C − its limit, times the width, from `deviations`."""
    return mean_and_error(width * (parts[..., 0] - parts[..., 1]))


def extrapolated(widths: np.ndarray, values: np.ndarray, errors: np.ndarray) -> float:
    """The v of a fit v + w / width to values that agree at infinite width up to order 1/width."""
    return float(np.polyfit(1 / widths, values, 1, w=1 / errors)[-1])
