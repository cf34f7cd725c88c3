"""Weights that are smooth along depth: networks are Euler schemes of ordinary differential equations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from resnet_sde.activations import LINEAR, RELU, TANH
from resnet_sde.blocks import SingleLayer, TwoLayer
from resnet_sde.claims import Claim
from resnet_sde.estimate import exactly
from resnet_sde.laws import ConstantNoise, SmoothNoise
from resnet_sde.limits import RandomODE
from resnet_sde.model import Model, WeightPaths
from resnet_sde.propagate import trajectory
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_OFF, Lab, end, limit_of, square
from resnet_sde.theorems.marion.paper import SOURCE

SMOOTH = SmoothNoise(0.3)


@theorem(
    "ode-limit",
    words="With smooth weights and β = 1, networks and their gradients converge to a random ordinary "
    "differential equation on their own weights, at the rate 1/L.",
    statement=r"\beta = 1: \quad \dot H_t = V_t\, g(H_t, W_t), \qquad \|h_L - H_1\| = O(1/L)",
    assumptions=("weights Lipschitz along depth", "φ Lipschitz", "β = 1"),
    source=SOURCE,
    claims=4,
    budgets={"quick": 60, "full": 400},
    controls={
        "beta off by 0.15": {"beta": 0.85},
        "beta off by 0.15 the other way": {"beta": 1.15},
        "weights of its own for every depth": {"resample": True},
    },
    own_models=True,
)
def ode_limit(lab: Lab, *, width: int = 4, resample: bool = False) -> Iterator[Claim]:
    """Against the equation solved by a scheme of order 4, or against a matrix exponential."""
    usual = {
        "tanh res-1": Model(SingleLayer(TANH), SMOOTH, width),
        "res-3": Model(TwoLayer(RELU), SMOOTH, width),
        "constant linear": Model(SingleLayer(LINEAR), ConstantNoise(), width),
    }
    for name, case in lab.cases(usual):
        equation = limit_of(case, "random-ode")
        assert isinstance(equation, RandomODE)
        forth, back = _errors(lab, equation, lab.with_error(case), resample)
        yield lab.equal(f"strong order, {name}", lab.order(DEPTHS, forth), 1.0, within=0.1)
        if not case.block.homogeneous:  # kinks leave the gradient less regular, though of rate 1 too
            yield lab.equal(f"strong order of p_0, {name}", lab.order(DEPTHS, back), 1.0, within=0.15)


DEPTHS = (32, 64, 128)


def _errors(lab: Lab, equation: RandomODE, seen: Model, resample: bool) -> tuple[Tensor, ...]:
    """Squared errors of states and gradients relative to the solution, (sample, depth).

    Relative to where they start, those of linear networks would hang on the one that grows most.
    """
    target = equation.model

    def see(path: WeightPaths, h: Tensor, p: Tensor) -> Tensor:
        exact = _solution(equation, h, path)
        slope = equation.gradient(h, p, path, steps=2 * DEPTHS[-1])
        errors = []
        for depth in DEPTHS:
            if resample:
                path = target.draw(depth, samples=len(h), seed=lab.subseed("other"))
            found = trajectory(seen.block, h, path.layers(depth), seen.alpha(depth), top=p, every_layer=False)
            assert found.adjoint is not None
            pairs = (found.hidden.natural(-1), exact), (found.adjoint.natural(0), slope)
            errors.append(torch.stack([square(last - target) / square(target) for last, target in pairs]))
        return torch.stack(errors, dim=-1).transpose(0, 1)

    states = lab.starts(seen.width), lab.starts(seen.width, "top")
    return lab.on_paths(target, DEPTHS[-1], see, *states).unbind(1)


def _solution(equation: RandomODE, h: Tensor, path: WeightPaths) -> Tensor:
    model = equation.model
    if model.law.noise == "constant" and model.block == SingleLayer(LINEAR):
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
    budgets={"quick": 200, "full": 2000},
    controls={"a factor of 0.95 in the exponent": {"factor": 0.95}},
)
def smooth_stability(lab: Lab, *, depth: int = 256, factor: float = 1.0) -> Iterator[Claim]:
    """No path may break the bound. Long correlations come closest to it."""
    for name, block, width in (
        ("linear res-1 of width 1", SingleLayer(LINEAR), 1),
        ("linear res-1", SingleLayer(LINEAR), 4),
        ("tanh res-1", SingleLayer(TANH), 4),
        ("res-3 of width 1", TwoLayer(RELU), 1),
    ):
        case = Model(block, SmoothNoise(2.0), width)
        ratios = lab.on_paths(case, depth, partial(_over_bound, case, depth, factor), lab.starts(width))
        yield lab.at_most(f"largest displacement / bound, {name}", exactly(ratios.max()), 1.0, within=1e-12)


def _over_bound(model: Model, depth: int, factor: float, path: WeightPaths, h: Tensor) -> Tensor:
    """The displacement over its bound; (sample,)."""
    norms = torch.ones(())
    for matrix in path.matrices.values():
        norms = norms * torch.linalg.matrix_norm(matrix.weights(depth), ord=2) * model.width**-0.5
    bound = torch.expm1(factor * model.alpha(depth) * norms.sum(0))
    return (square(end(model, h, path, depth) - h) / square(h)).sqrt() / bound


@theorem(
    "smooth-explosion",
    words="Below β = 1 smooth weights make wide networks explode, almost all of them from width 10 on; "
    "at width 1 it is the toss of a coin whether a linear network explodes or collapses.",
    statement=r"\beta < 1: \quad P(\|h_L\| > C \|h_0\|) \to 1 \; (d \ge 10), \qquad P(\|h_L\| > \|h_0\|) \to "
    r"\tfrac12 \; (d = 1)",
    assumptions=("weights smooth along depth", "β < 1"),
    source=f"{SOURCE} (the width is measured here)",
    claims=3,
    budgets={"quick": 300, "full": 1000},
    controls={"the critical beta": {"beta": 1.0}, "width 1": {"width": 1}},
)
def smooth_explosion(lab: Lab, *, width: int = 10) -> Iterator[Claim]:
    """Displacements above three times the input; 300 networks can show a share of 0.97 at most."""
    law = SmoothNoise(0.1)
    for name, block in (("linear res-1", SingleLayer(LINEAR)), ("res-3", TwoLayer(RELU))):
        moved = _growth(lab, Model(block, law, width, 0.5), 500, lab.samples)[1]
        name = f"share of displacements above 3, {name}, width {width}"
        yield lab.equal(name, lab.share(moved > 3), 1.0, within=0.05)
    growth = _growth(lab, Model(SingleLayer(LINEAR), law, 1, 0.5), 1000, 20 * lab.samples)[0]
    yield lab.equal("share of networks that grow, width 1", lab.share(growth > 1), 0.5, within=0.07)


def _growth(lab: Lab, case: Model, depth: int, samples: int) -> tuple[Tensor, ...]:
    """‖h_L‖ / ‖h_0‖ and ‖h_L − h_0‖ / ‖h_0‖."""
    seen = lab.with_error(case)

    def see(path: WeightPaths, h: Tensor) -> Tensor:
        last = end(seen, h, path, depth)
        return torch.stack([(square(x) / square(h)).sqrt() for x in (last, last - h)], dim=1)

    return lab.on_paths(seen, depth, see, lab.starts(seen.width, samples=samples)).unbind(1)


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
    budgets={"quick": 4000, "full": 12_000},
    controls={**VARIANCE_OFF, "beta off by 0.05": {"beta": 0.95}},
)
def constant_weights(lab: Lab, *, width: int = 100) -> Iterator[Claim]:
    """At width 100 the terms of order 1/d add 0.010 and 0.014; 5 % of variance 0.075 and 0.08."""
    case = Model(SingleLayer(LINEAR), ConstantNoise(), width)
    for depth in (4, 8):
        exact = sum((math.comb(depth, k) * float(depth) ** -k) ** 2 for k in range(depth + 1))
        growth = _growth(lab, case, depth, lab.samples)[0]
        yield lab.equal(f"mean square growth at depth {depth}", growth.square(), exact, within=0.055)
