"""Weights that are smooth along depth: networks are Euler schemes of ordinary differential equations."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from resnet_sde.activations import LINEAR, RELU, TANH
from resnet_sde.blocks import SingleLayer, TwoLayer
from resnet_sde.claims import Claim
from resnet_sde.estimate import exactly, order
from resnet_sde.laws import ConstantNoise, SmoothNoise
from resnet_sde.limits import RandomODE
from resnet_sde.model import Model, WeightPaths
from resnet_sde.propagate import trajectory
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.marion.paper import SOURCE
from resnet_sde.theorems.measure import average, share
from resnet_sde.theorems.samples import child, end, limit_of, paths, planted, square, starts

SMOOTH = SmoothNoise(0.3)


@theorem(
    "ode-limit",
    words="With smooth weights and β = 1, networks and their gradients converge to a random ordinary "
    "differential equation on their own weights, at the rate 1/L.",
    statement=r"\beta = 1: \quad \dot H_t = V_t\, g(H_t, W_t), \qquad \|h_L - H_1\| = O(1/L)",
    assumptions=("weights Lipschitz along depth", "φ Lipschitz", "β = 1"),
    source=SOURCE,
    claims=4,
    budgets={"quick": {"samples": 60}, "full": {"samples": 400}},
    controls={
        "beta off by 0.15": {"beta": 0.85},
        "beta off by 0.15 the other way": {"beta": 1.15},
        "weights of its own for every depth": {"resample": True},
    },
)
def ode_limit(
    *,
    seed: int,
    level: float,
    samples: int,
    model: Model | None = None,
    width: int = 4,
    beta: float | None = None,
    resample: bool = False,
) -> Iterator[Claim]:
    """Against the equation solved by a scheme of order 4, or against a matrix exponential."""
    three = {
        "tanh res-1": Model(SingleLayer(TANH), SMOOTH, width),
        "res-3": Model(TwoLayer(RELU), SMOOTH, width),
        "constant linear": Model(SingleLayer(LINEAR), ConstantNoise(), width),
    }
    for name, case in ({str(model): model} if model is not None else three).items():
        equation = limit_of(case, "random-ode")
        assert isinstance(equation, RandomODE)
        forth, back = _errors(equation, planted(case, beta=beta), samples, seed, resample)
        rate = order(DEPTHS, forth, level=level, seed=seed)
        yield Claim(f"strong order, {name}", rate, 1.0, 0.1)
        if not case.block.homogeneous:  # kinks leave the gradient less regular, though of rate 1 too
            rate = order(DEPTHS, back, level=level, seed=seed)
            yield Claim(f"strong order of p_0, {name}", rate, 1.0, 0.15)


DEPTHS = (32, 64, 128)


def _errors(
    equation: RandomODE, model: Model, samples: int, seed: int, resample: bool
) -> tuple[Tensor, Tensor]:
    """Squared errors of states and gradients relative to the solution, (sample, depth).

    Relative to where they start, those of linear networks would hang on the one that grows most.
    """
    starting, top = starts(samples, model.width, seed), starts(samples, model.width, seed, "top")
    forth, back = [], []
    for networks, path in paths(equation.model, DEPTHS[-1], samples, seed):
        h, p = starting[networks], top[networks]
        exact = _solution(equation, h, path)
        slope = equation.gradient(h, p, path, steps=2 * DEPTHS[-1])
        columns = []
        for depth in DEPTHS:
            seen = equation.model.draw(depth, samples=len(h), seed=child(seed, "other")) if resample else path
            layers, alpha = seen.layers(depth), model.alpha(depth)
            found = trajectory(model.block, h, layers, alpha, top=p, every_layer=False)
            assert found.adjoint is not None
            pairs = (found.hidden.natural(-1), exact), (found.adjoint.natural(0), slope)
            columns.append([square(seen_end - end) / square(end) for seen_end, end in pairs])
        errors = [torch.stack(column, dim=1) for column in zip(*columns, strict=True)]
        forth.append(errors[0])
        back.append(errors[1])
    return torch.cat(forth), torch.cat(back)


def _solution(equation: RandomODE, h: Tensor, path: WeightPaths) -> Tensor:
    model = equation.model
    if isinstance(model.law, ConstantNoise) and model.block == SingleLayer(LINEAR):
        entries = path.matrices["outer"].weights(1)[0]
        return h @ torch.linalg.matrix_exp(model.gain * model.width**-0.5 * entries)
    return equation.solve(h, path, steps=2 * DEPTHS[-1])


@theorem(
    "smooth-stability",
    words="On every path the displacement is at most exp(α Σ ‖V_k‖ Lip_k) − 1; so smooth weights are "
    "stable at β = 1, and at width 1 nothing is lost.",
    statement=r"\|h_L - h_0\|/\|h_0\| \le \exp\left(\alpha_L \textstyle\sum_k \|V_k\|\, "
    r"\mathrm{Lip}(g(\cdot, W_k))\right) - 1",
    assumptions=("g(0) = 0", "g Lipschitz"),
    source=SOURCE,
    claims=4,
    budgets={"quick": {"samples": 200}, "full": {"samples": 2000}},
    controls={"a factor of 0.95 in the exponent": {"factor": 0.95}},
)
def smooth_stability(
    *, seed: int, level: float, samples: int, depth: int = 256, factor: float = 1.0
) -> Iterator[Claim]:
    """No path may break the bound. Long correlations come closest to it."""
    for name, block, width in (
        ("linear res-1 of width 1", SingleLayer(LINEAR), 1),
        ("linear res-1", SingleLayer(LINEAR), 4),
        ("tanh res-1", SingleLayer(TANH), 4),
        ("res-3 of width 1", TwoLayer(RELU), 1),
    ):
        case, largest = Model(block, SmoothNoise(2.0), width), 0.0
        h = starts(samples, width, seed)
        for networks, path in paths(case, depth, samples, seed):
            norms = torch.ones(())
            for matrix in path.matrices.values():
                norms = norms * torch.linalg.matrix_norm(matrix.weights(depth), ord=2) * width**-0.5
            bound = torch.expm1(factor * case.alpha(depth) * norms.sum(0))
            moved = end(case, h[networks], path, depth) - h[networks]
            ratio = (square(moved) / square(h[networks])).sqrt() / bound
            largest = max(largest, float(ratio.max()))
        yield Claim(f"largest displacement / bound, {name}", exactly(largest), 1.0, 1e-12, "<=")


@theorem(
    "smooth-explosion",
    words="Below β = 1 smooth weights make wide networks explode, almost all of them from width 10 on; "
    "at width 1 it is the toss of a coin whether a linear network explodes or collapses.",
    statement=r"\beta < 1: \quad P(\|h_L\| > C \|h_0\|) \to 1 \; (d \ge 10), \qquad P(\|h_L\| > \|h_0\|) \to "
    r"\tfrac12 \; (d = 1)",
    assumptions=("weights smooth along depth", "β < 1"),
    source=f"{SOURCE} (the width is measured here)",
    claims=3,
    budgets={"quick": {"samples": 300}, "full": {"samples": 1000}},
    controls={"the critical beta": {"beta": 1.0}, "width 1": {"width": 1}},
)
def smooth_explosion(
    *, seed: int, level: float, samples: int, beta: float = 0.5, width: int = 10
) -> Iterator[Claim]:
    """Displacements above three times the input; 300 networks can show a share of 0.97 at most."""
    law = SmoothNoise(0.1)
    for name, block in (("linear res-1", SingleLayer(LINEAR)), ("res-3", TwoLayer(RELU))):
        ratios = _growth(Model(block, law, width, beta), 500, samples, seed)[1]
        yield Claim(
            f"share of displacements above 3, {name}, width {width}", share(ratios > 3, level), 1.0, 0.05
        )
    growth = _growth(Model(SingleLayer(LINEAR), law, 1, beta), 1000, 20 * samples, seed)[0]
    yield Claim("share of networks that grow, width 1", share(growth > 1, level), 0.5, 0.07)


def _growth(model: Model, depth: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """‖h_L‖ / ‖h_0‖ and ‖h_L − h_0‖ / ‖h_0‖."""
    h, growth, moved = starts(samples, model.width, seed), [], []
    for networks, path in paths(model, depth, samples, seed):
        start = h[networks]
        last = end(model, start, path, depth)
        growth.append((square(last) / square(start)).sqrt())
        moved.append((square(last - start) / square(start)).sqrt())
    return torch.cat(growth), torch.cat(moved)


@theorem(
    "constant-weights",
    words="A wide linear network of constant weights has the mean square growth Σ_k (C(L,k) / L^k)², "
    "which tends to I_0(2) = 2.2796.",
    statement=r"\mathbb{E}\|h_L\|^2/\|h_0\|^2 \to \sum_k \left(\binom{L}{k} L^{-k}\right)^2 \to I_0(2) "
    r"\quad (d \to \infty)",
    assumptions=(
        "linear res-1",
        "the same Gaussian weights in all layers",
        "width much larger than 1",
        "β = 1",
    ),
    source="derived here",
    claims=2,
    budgets={"quick": {"samples": 4000}, "full": {"samples": 12_000}},
    controls={"variance off by 5 %": {"variance": 1.05}, "beta off by 0.05": {"beta": 0.95}},
)
def constant_weights(
    *,
    seed: int,
    level: float,
    samples: int,
    width: int = 100,
    beta: float | None = None,
    variance: float = 1.0,
) -> Iterator[Claim]:
    """At width 100 the terms of order 1/d add 0.010 and 0.014; 5 % of variance 0.075 and 0.08."""
    case = Model(SingleLayer(LINEAR), ConstantNoise(), width)
    for depth in (4, 8):
        exact = sum((math.comb(depth, k) * float(depth) ** -k) ** 2 for k in range(depth + 1))
        growth = _growth(planted(case, beta=beta, variance=variance), depth, samples, seed)[0]
        found = average(growth.square(), level)
        yield Claim(f"mean square growth at depth {depth}", found, exact, 0.055)
