r"""Networks of several depths on one weight path next to their limit, for weights of every regularity.

The network is h ← h + L^{−β*} V tanh(h) / √d, one matrix, at its critical scaling. For white and for
fractional weights with H ≥ 1/2 and for smooth ones it is the Euler scheme of its limit; for H < 1/2 it is
not. There, at width 1, the equation dH = tanh(H) dX would have the solution asinh(sinh(h) e^X) on every path,
and networks move away from it: their second-order terms add up to a drift of size L^{1−2H} / 2d.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from resnet_sde.coupling import couple
from resnet_sde.estimate import Estimate, order
from resnet_sde.limits import ItoSDE, Limit, NoLimit, RandomODE, limit
from resnet_sde.model import WeightPaths
from resnet_sde.paths import GridPath
from resnet_sde.propagate import one_thread
from resnet_sde.runs.versions import current_versions

CHUNK = 64  # paths held at once
NOTHING = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Trajectories:
    """States on one path, and errors over many, for every law and depth.

    laws: white, fractional or smooth, each once.
    depths: increasing; each divides `finest`.
    finest: steps of the grid that rough paths are drawn and limits are solved on.
    samples: paths in every mean square.
    points: times at which the drawn path is seen; divides `finest`. Smooth limits are solved on them.
    """

    laws: tuple[rs.PathLaw, ...]
    depths: tuple[int, ...]
    finest: int
    samples: int
    width: int = 4
    points: int = 512

    def model(self, law: rs.PathLaw, width: int | None = None) -> rs.Model:
        """The law of the networks."""
        return rs.Model(rs.SingleLayer(rs.TANH), law, width or self.width)

    def run(self, *, seed: int = 0) -> xr.Dataset:
        """Everything that is known of each law, as the variables of a dataset with the axis law.

        states: first coordinate of h at the times k / points, NaN between two layers; axes depth, time.
        solution: the same of the limit, NaN where there is none; axis time.
        distance: ‖h_L − H_1‖ / ‖h_0‖, NaN where there is no limit; axes depth, sample.
        move: ‖h_L − h_{L'}‖ / ‖h_0‖ with L' the next depth, NaN for the last; axes depth, sample.
        order: rate of the distance, with `expected` at this width; axis end (value, low, high).
        narrow_order: the same at width 1 against the solution in closed form, with `narrow_expected`.
        """
        with one_thread():
            parts = xr.concat([self._one(law, seed) for law in self.laws], "law")
        attributes = {"seed": seed, "versions": json.dumps(current_versions()), "experiment": repr(self)}
        return parts.assign_coords(law=[str(law) for law in self.laws]).assign_attrs(attributes)

    def _one(self, law: rs.PathLaw, seed: int) -> xr.Dataset:
        model = self.model(law)
        equation = limit_or_none(model)
        states, solution = self._drawn(model, equation, seed)
        distance, move = self._errors(model, equation, seed)
        found, expected = self._order(equation, distance)
        narrow, narrow_limit = self._narrow_order(law, seed), limit_or_none(self.model(law, width=1))
        rate = narrow_limit.strong_order if narrow and narrow_limit else None
        return xr.Dataset(
            {
                "states": (("depth", "time"), states),
                "solution": ("time", solution),
                "distance": (("depth", "sample"), distance),
                "move": (("depth", "sample"), move),
                "order": ("end", _ends(found)),
                "expected": expected,
                "narrow_order": ("end", _ends(narrow)),
                "narrow_expected": math.nan if rate is None else rate,
            },
            {
                "time": np.linspace(0.0, 1.0, self.points + 1),
                "depth": list(self.depths),
                "end": ["value", "low", "high"],
            },
        )

    def _draw(self, model: rs.Model, samples: int, seed: int, *key: object) -> WeightPaths:
        """Paths from numbers that are the same for every law, so that fractional ones look alike."""
        source = rs.generator(seed, "trajectories", self.finest, samples, model.width, *key)
        shape = (samples, *model.block.shapes(model.width)["outer"])
        return WeightPaths(
            {"outer": model.law.path(self.finest, shape, generator=source, dtype=torch.float64)}
        )

    def _drawn(self, model: rs.Model, equation: Limit | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The first coordinate of networks, (depth, time), and of the limit, (time,), on one path."""
        path, h = self._draw(model, 1, seed), start(1, model.width)
        states = np.full((len(self.depths), self.points + 1), np.nan)
        for row, depth in zip(states, self.depths, strict=True):
            hidden = rs.forward(model.block, h, path.layers(depth), model.alpha(depth))[:, 0, 0, 0].numpy()
            stride, gap = max(1, depth // self.points), max(1, self.points // depth)
            row[::gap] = hidden[::stride]
        if equation is None:
            return states, np.full(self.points + 1, np.nan)
        solution = torch.stack(list(self.solution(equation, h, path)))
        return states, solution[:, 0, 0, 0].numpy()

    def solution(self, equation: Limit, h: Tensor, path: WeightPaths) -> Iterator[Tensor]:
        """The limit at the times k / points; rough ones are solved anew from each of them to the next.

        On a stretch of N / points of the N steps of the path α must stay what it was, gain · N^{−β}.
        """
        if isinstance(equation, RandomODE):
            yield from equation.states(h, path, steps=self.points)
            return
        model, steps = equation.model, self.finest // self.points
        assert model.beta is not None
        part = limit(replace(model, gain=model.gain * float(self.points) ** -model.beta))
        yield h
        for fine in path.matrices["outer"].weights(self.finest).split(steps):
            h = part.solve(h, WeightPaths({"outer": GridPath(fine, model.law.exponent)}), steps=steps)
            yield h

    def _errors(self, model: rs.Model, equation: Limit | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances to the limit and to the next depth at time 1, both (depth, sample)."""
        distances, moves = [], []
        for first in range(0, self.samples, CHUNK):
            size = min(CHUNK, self.samples - first)
            path, h = self._draw(model, size, seed, "errors", first), start(size, model.width)
            ends = torch.stack(
                [rs.forward(model.block, h, path.layers(L), model.alpha(L))[-1] for L in self.depths]
            )
            steps = self.points if isinstance(equation, RandomODE) else self.finest
            target = (
                torch.full_like(h, torch.nan) if equation is None else equation.solve(h, path, steps=steps)
            )
            moves.append(_length(ends.diff(dim=0, append=torch.full_like(ends[:1], torch.nan)), h))
            distances.append(_length(ends - target, h))
        return torch.cat(distances, -1).numpy(), torch.cat(moves, -1).numpy()

    def _order(self, equation: Limit | None, distance: np.ndarray) -> tuple[Estimate | None, float]:
        """Order of the distances, and what it should be: a Young equation shows its rate at width 1 only.

        The solver of an Itô equation is the network on the finest grid, whose own error the fit takes out.
        """
        if equation is None:
            return None, math.nan
        squares = torch.from_numpy(distance.T) ** 2
        if isinstance(equation, ItoSDE):
            return order(self.depths, squares, reference=self.finest, power=2), equation.strong_order
        known = isinstance(equation, RandomODE)
        return order(self.depths, squares), equation.strong_order if known else math.nan

    def _narrow_order(self, law: rs.PathLaw, seed: int) -> Estimate | None:
        """Order at width 1 against asinh(sinh(h) e^X), for fractional weights but those of H = 1/2.

        Paths of one coordinate are cheap: four times as many are taken.
        """
        if not isinstance(law, rs.FractionalNoise) or law.hurst == 0.5:
            return None
        model, samples = self.model(law, width=1), 4 * self.samples
        if law.hurst > 0.5:
            x = start(1, 1)[0]
            return couple(
                model, x, depths=self.depths, samples=samples, reference="exact", seed=seed
            ).strong_order
        path, h = self._draw(model, samples, seed, "narrow"), start(samples, 1)
        driver = self.finest**-law.hurst * path.matrices["outer"].weights(self.finest).sum(0)
        target = torch.asinh(torch.sinh(h) * torch.exp(driver))
        ends = [rs.forward(model.block, h, path.layers(L), model.alpha(L))[-1] for L in self.depths]
        return order(self.depths, torch.stack([(end - target).square().flatten() for end in ends], 1))


def start(samples: int, width: int) -> Tensor:
    """h_0 = (1, …, 1); shape (samples, 1, width)."""
    return torch.ones(samples, 1, width, dtype=torch.float64)


def limit_or_none(model: rs.Model) -> Limit | None:
    """The limit of a model, None where it has none."""
    try:
        return limit(model)
    except NoLimit:
        return None


def _length(x: Tensor, h: Tensor) -> Tensor:
    """‖x‖ / ‖h‖ for every network, without the axes of inputs and coordinates."""
    return (torch.linalg.vector_norm(x, dim=-1) / torch.linalg.vector_norm(h, dim=-1))[..., 0]


def _ends(estimate: Estimate | None) -> list[float]:
    found = NOTHING if estimate is None else estimate
    return [found.value, found.low, found.high]
