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
from resnet_sde.laws import FractionalNoise, SmoothNoise, WhiteNoise
from resnet_sde.limits import limit
from resnet_sde.limits.exact import exact_end
from resnet_sde.model import Model
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_ERRORS, Lab


def growth(depth: int) -> float:
    """E ‖h_L‖² / ‖h_0‖² of linear networks with one white matrix."""
    return (1 + 1 / depth) ** depth


def errors(
    lab: Lab,
    model: Model,
    depths: tuple[int, ...],
    reference: int | str,
    *,
    method: str = "dense",
    gradients: bool = False,
) -> PathErrors:
    """Squared errors of every network, relative to the size of the input."""
    x = torch.ones(1, model.width)
    request = Comparison(model, limit(model), x, depths, reference, method, gradients)
    return request.run(lab.samples, lab.seed)


@theorem(
    "coupled-errors",
    words="The errors of linear networks on one path with a finer network, or with their limit in closed "
    "form, are known, for states and gradients, whether weights are drawn or revealed.",
    statement=r"\mathbb{E}\|h_L - h_M\|^2 = \left[(1 + \tfrac1M)^M - (1 + \tfrac1L)^L\right]\|h_0\|^2, "
    r"\qquad |H_1 - h_L| = O(L^{-1/2})",
    assumptions=("linear res-1", "white Gaussian weights", "β = 1/2"),
    source="derived here",
    claims=5,
    budgets={"quick": 12_000, "full": 50_000},
    controls=VARIANCE_ERRORS,
)
def coupled_errors(lab: Lab) -> Iterator[Claim]:
    """An error of 5 % in the variance moves the squared errors by 15 %.

    Those of width 1 have long tails, so the rate is that of their logarithms: 0.6 from 8 layers to 128, and
    0.53 between the depths that are taken here.
    """
    depths, fine = (2, 8), 32
    seen, alone = (lab.with_error(Model(SingleLayer(LINEAR), WhiteNoise(), width)) for width in (8, 1))
    found = {
        method: errors(lab, seen, depths, fine, method=method, gradients=method == "dense")
        for method in ("dense", "deferred")
    }
    exact = growth(fine) - growth(8)
    for method, part in found.items():
        yield lab.ratio(f"E ‖h_32 − h_8‖² / exact, {method}", part.terminal[:, 1], exact, within=0.075)
    gradients, unit = found["dense"].gradient[:, 0], growth(fine) - growth(2)
    yield lab.ratio("E ‖p_0^(32) − p_0^(2)‖² / exact", gradients, unit, within=0.075)
    first, second = (part.largest[:, 1] / exact for part in found.values())
    apart = lab.shift(first, second)
    yield lab.equal("largest error along the layers, dense − deferred", apart, 0.0, within=0.15)
    quarter = replace(lab.again("exact"), samples=lab.samples // 4)
    ends = errors(quarter, alone, (32, 512), "exact").terminal.log()
    rate = lab.mean(ends[:, 0] - ends[:, 1], unit=2 * math.log(16))
    yield lab.equal("rate of log |H_1 − h_L| from 32 layers to 512, width 1", rate, 0.5, within=0.15)


@theorem(
    "coupled-rates",
    words="Errors against the limit on the path itself fall at the rate 1/L for smooth weights, states and "
    "gradients; for one fractional matrix of width 1 at L^{−(2H − 1)}, and with Heun's scheme at L^{−2H}.",
    statement=r"\|h_L - H_1\|, \|p_0^{(L)} - P_0\| = O(L^{-1}), \qquad |h_L - H_1| = O(L^{-(2H - 1)})",
    assumptions=("smooth weights, or one fractional matrix of width 1 and H > 1/2", "β = β*"),
    source="Marion et al. (2025); rates derived here",
    claims=4,
    budgets={"quick": 300, "full": 1500},
    controls={"beta off by 0.15": {"beta_off": 0.15}},
)
def coupled_rates(lab: Lab) -> Iterator[Claim]:
    """Between 16 and 64 layers."""
    depths, more = (16, 32, 64), replace(lab, samples=4 * lab.samples)
    smooth = Model(TwoLayer(TANH, 1.2, 0.2), SmoothNoise(0.4), 3)
    equation, seen, x = limit(smooth), lab.with_error(smooth), torch.ones(1, 3)
    found = Comparison(seen, equation, x, depths, "solver", "dense", True).run(lab.samples, lab.seed)
    for what, squares in (("states", found.terminal), ("gradients", found.gradient)):
        yield lab.equal(f"rate of {what}, smooth", lab.order(depths, squares), 1.0, within=0.1)
    alone = Model(SingleLayer(TANH), FractionalNoise(0.8), 1)
    rate = lab.order(depths, errors(more, alone, depths, "exact").terminal)
    yield lab.equal("rate of states, H = 0.8, width 1", rate, 0.6, within=0.12)
    rate = lab.order(depths, heun_errors(more, alone, depths))
    yield lab.equal("rate of Heun's scheme, H = 0.8, width 1", rate, 1.6, within=0.15)


def heun_errors(lab: Lab, model: Model, depths: tuple[int, ...]) -> Tensor:
    """Squared errors of the solver against the closed form, an error planted in it; (sample, depth)."""
    h, equation, found = torch.ones(lab.samples, 1, 1), limit(model), []
    path = model.draw(depths[-1], samples=lab.samples, seed=lab.subseed("heun"))
    exact = exact_end(model, h, path, depths[-1])
    for steps in depths:
        solution = replace(equation, model=lab.with_error(model)).solve(h, path, steps=steps)
        found.append((solution - exact).square().flatten())
    return torch.stack(found, dim=1)
