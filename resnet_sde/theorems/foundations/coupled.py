"""Networks that share a path with a finer network or with their limit, as `couple` compares them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from resnet_sde.activations import LINEAR, TANH
from resnet_sde.blocks import SingleLayer, TwoLayer
from resnet_sde.claims import Claim
from resnet_sde.coupling import Comparison, PathErrors
from resnet_sde.estimate import order
from resnet_sde.laws import FractionalNoise, SmoothNoise, WhiteNoise
from resnet_sde.limits import limit
from resnet_sde.limits.exact import exact_end
from resnet_sde.model import Model
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.measure import average, shift
from resnet_sde.theorems.samples import WRONG, child, planted


def growth(depth: int) -> float:
    """E ‖h_L‖² / ‖h_0‖² of linear networks with one white matrix."""
    return (1 + 1 / depth) ** depth


def errors(
    model: Model,
    depths: tuple[int, ...],
    reference: int | str,
    *,
    samples: int,
    seed: int,
    method: str = "dense",
    gradients: bool = False,
) -> PathErrors:
    """Squared errors of every network, relative to the size of the input."""
    x = torch.ones(1, model.width)
    request = Comparison(model, limit(model), x, depths, reference, method, gradients)
    return request.run(samples, seed)


@theorem(
    "coupled-errors",
    words="The errors of linear networks on one path with a finer network, or with their limit in closed "
    "form, are known, for states and gradients, whether weights are drawn or revealed.",
    statement=r"\mathbb{E}\|h_L - h_M\|^2 = \left[(1 + \tfrac1M)^M - (1 + \tfrac1L)^L\right]\|h_0\|^2, "
    r"\qquad |H_1 - h_L| = O(L^{-1/2})",
    assumptions=("linear res-1", "white Gaussian weights", "β = 1/2"),
    source="derived here",
    claims=5,
    budgets={"quick": {"samples": 12_000}, "full": {"samples": 50_000}},
    controls=WRONG,
)
def coupled_errors(*, seed: int, level: float, samples: int, variance: float = 1.0) -> Iterator[Claim]:
    """An error of 5 % in the variance moves the squared errors by 15 %.

    Those of width 1 have long tails, so the rate is that of their logarithms: 0.6 from 8 layers to 128, and
    0.53 between the depths that are taken here.
    """
    depths, fine = (2, 8), 32
    seen = planted(Model(SingleLayer(LINEAR), WhiteNoise(), 8), variance=variance)
    found = {
        method: errors(
            seen, depths, fine, samples=samples, seed=seed, method=method, gradients=method == "dense"
        )
        for method in ("dense", "deferred")
    }
    exact = growth(fine) - growth(8)
    for method, part in found.items():
        ratio = average(part.terminal[:, 1], level, unit=exact)
        yield Claim(f"E ‖h_32 − h_8‖² / exact, {method}", ratio, 1.0, 0.075)
    ratio = average(found["dense"].gradient[:, 0], level, unit=growth(fine) - growth(2))
    yield Claim("E ‖p_0^(32) − p_0^(2)‖² / exact", ratio, 1.0, 0.075)
    first, second = (part.largest[:, 1] / exact for part in found.values())
    apart = shift(first, second, level)
    yield Claim("largest error along the layers, dense − deferred", apart, 0.0, 0.15)
    alone = planted(Model(SingleLayer(LINEAR), WhiteNoise(), 1), variance=variance)
    ends = errors(alone, (32, 512), "exact", samples=samples // 4, seed=child(seed, "exact")).terminal.log()
    rate = average(ends[:, 0] - ends[:, 1], level, unit=2 * math.log(16))
    yield Claim("rate of log |H_1 − h_L| from 32 layers to 512, width 1", rate, 0.5, 0.15)


@theorem(
    "coupled-rates",
    words="Errors against the limit on the path itself fall at the rate 1/L for smooth weights, states and "
    "gradients; for one fractional matrix of width 1 at L^{−(2H − 1)}, and with Heun's scheme at L^{−2H}.",
    statement=r"\|h_L - H_1\|, \|p_0^{(L)} - P_0\| = O(L^{-1}), \qquad |h_L - H_1| = O(L^{-(2H - 1)})",
    assumptions=("smooth weights, or one fractional matrix of width 1 and H > 1/2", "β = β*"),
    source="Marion et al. (2025); rates derived here",
    claims=4,
    budgets={"quick": {"samples": 300}, "full": {"samples": 1500}},
    controls={"beta off by 0.15": {"beta_off": 0.15}},
)
def coupled_rates(*, seed: int, level: float, samples: int, beta_off: float = 0.0) -> Iterator[Claim]:
    """Between 16 and 64 layers."""
    depths = (16, 32, 64)
    smooth = Model(TwoLayer(TANH, 1.2, 0.2), SmoothNoise(0.4), 3)
    seen = planted(smooth, beta=1.0 + beta_off)
    target = Comparison(smooth, limit(smooth), torch.ones(1, 3), depths, "solver", "dense", True)
    found = Comparison(seen, target.equation, target.x, depths, "solver", "dense", True).run(samples, seed)
    for what, squares in (("states", found.terminal), ("gradients", found.gradient)):
        yield Claim(f"rate of {what}, smooth", order(depths, squares, level=level, seed=seed), 1.0, 0.1)
    alone = Model(SingleLayer(TANH), FractionalNoise(0.8), 1)
    ends = errors(planted(alone, beta=0.8), depths, "exact", samples=4 * samples, seed=seed).terminal
    yield Claim("rate of states, H = 0.8, width 1", order(depths, ends, level=level, seed=seed), 0.6, 0.12)
    solved = heun_errors(alone, planted(alone, beta=0.8 + beta_off), depths, 4 * samples, seed)
    yield Claim(
        "rate of Heun's scheme, H = 0.8, width 1", order(depths, solved, level=level, seed=seed), 1.6, 0.15
    )


def heun_errors(model: Model, seen: Model, depths: tuple[int, ...], samples: int, seed: int) -> Tensor:
    """Squared errors of the solver of `seen` against the closed form of `model`; (sample, depth)."""
    h, equation, found = torch.ones(samples, 1, 1), limit(model), []
    path = model.draw(depths[-1], samples=samples, seed=child(seed, "heun"))
    exact = exact_end(model, h, path, depths[-1])
    for steps in depths:
        solution = replace(equation, model=seen).solve(h, path, steps=steps)
        found.append((solution - exact).square().flatten())
    return torch.stack(found, dim=1)
