"""Independent weights at β = 1/2: networks are Euler schemes of an Itô equation, and converge to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from resnet_sde.activations import LINEAR, RELU, TANH
from resnet_sde.blocks import Layer, SingleLayer, TwoLayer
from resnet_sde.claims import Claim, equal
from resnet_sde.coupling import TOLERANCE
from resnet_sde.laws import FractionalNoise, SmoothNoise, WhiteNoise
from resnet_sde.limits import limit as find_limit
from resnet_sde.model import Model, WeightPaths
from resnet_sde.propagate import forward, trajectory
from resnet_sde.streams import stream
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_OFF, Lab, end, limit_of, square
from resnet_sde.theorems.marion.paper import SOURCE

WHITE = WhiteNoise()
GAUSSIAN = ("one weight matrix", "white Gaussian weights", "φ Lipschitz", "β = 1/2")
OFF: dict[str, dict[str, Any]] = {
    "beta off by 0.15": {"beta": 0.35},
    "noise of its own for every depth": {"resample": True, "samples": 500},
}


def strong_errors(
    lab: Lab, case: Model, target: Model, depths: tuple[int, ...], fine: int, resample: bool
) -> Tensor:
    """‖h_L − h_fine‖² / ‖h_0‖² of networks against deep ones of `target`; (sample, depth).

    Both see one path, unless each depth gets noise of its own.
    """
    seen = lab.with_error(case)

    def see(path: WeightPaths, h: Tensor) -> Tensor:
        deep, errors = end(target, h, path, fine), []
        for depth in depths:
            if resample:
                path = target.draw(depth, samples=len(h), seed=lab.subseed("other"))
            errors.append(square(end(seen, h, path, depth) - deep) / square(h))
        return torch.stack(errors, dim=1)

    return lab.on_paths(target, fine, see, lab.starts(seen.width))


@theorem(
    "sde-limit",
    words="With one matrix of white Gaussian weights and β = 1/2, networks converge to an Itô equation "
    "on their own weights, at the rate L^{−1/2}.",
    statement=r"\beta = 1/2: \quad dH_t = d^{-1/2}\, dB_t\, \varphi(H_t), \qquad "
    r"(\mathbb{E}\|h_L - H_1\|^2)^{1/2} = O(L^{-1/2})",
    assumptions=GAUSSIAN,
    source=SOURCE,
    claims=2,
    budgets={"quick": 1000, "full": 5000},
    controls=OFF,
    own_models=True,
)
def sde_limit(lab: Lab, *, width: int = 8, resample: bool = False) -> Iterator[Claim]:
    """The order that a finer network shows, whose own error the fit takes out."""
    depths, fine = (8, 16, 32, 64), 256
    for name, case in lab.cases({str(phi): Model(SingleLayer(phi), WHITE, width) for phi in (TANH, RELU)}):
        errors = strong_errors(lab, case, limit_of(case, "ito-sde").model, depths, fine, resample)
        rate = lab.order(depths, errors, reference=fine, power=2)
        yield lab.equal(f"strong order, {name}", rate, 0.5, within=TOLERANCE)


@theorem(
    "strong-error",
    words="The strong error of linear networks is known exactly, at every width and depth: the squares "
    "of the distances on one path are differences of (1 + 1/L)^L.",
    statement=r"\mathbb{E}\|h^{(mL)}_{mL} - h^{(L)}_L\|^2 = \left[(1 + \tfrac{1}{mL})^{mL} - (1 + "
    r"\tfrac{1}{L})^L\right] \|h_0\|^2",
    assumptions=("linear res-1", "white Gaussian weights", "β = 1/2"),
    source="derived here",
    claims=3,
    budgets={"quick": 15_000, "full": 60_000},
    controls={
        "beta off by 0.15": {"beta": 0.35},
        **VARIANCE_OFF,
        "noise of its own for every depth": {"resample": True, "samples": 2000},
    },
)
def strong_error(lab: Lab, *, width: int = 10, resample: bool = False) -> Iterator[Claim]:
    """An error of 5 % in the variance moves the square of the strong error by 15 %."""
    depths, fine = (2, 4, 8), 32
    case = Model(SingleLayer(LINEAR), WHITE, width)
    target = replace(lab, beta=None).with_error(case)
    errors = strong_errors(lab, case, target, depths, fine, resample)
    for place, depth in enumerate(depths):
        exact = (1 + 1 / fine) ** fine - (1 + 1 / depth) ** depth
        yield lab.ratio(f"E ‖h_{fine} − h_{depth}‖² / exact", errors[:, place], exact, within=0.075)


@theorem(
    "gradient-limit",
    words="Gradients converge with the states: at the rate L^{−1/2} for smooth activations, and at "
    "half of it where kinks flip the masks.",
    statement=r"(\mathbb{E}\|p_0^{(L)} - P_0\|^2)^{1/2} = O(L^{-1/2}) \text{ for smooth } \varphi, \quad "
    r"O(L^{-1/4}) \text{ for ReLU}",
    assumptions=(*GAUSSIAN, "p_L independent of the weights"),
    source="derived and measured here, after Marion et al. (2025)",
    claims=2,
    budgets={"quick": 2500, "full": 8000},
    controls={"φ' at the right end of a layer": {"right": 1}, "beta off by 0.15": {"beta": 0.35}},
)
def gradient_limit(lab: Lab, *, width: int = 4, right: int = 0) -> Iterator[Claim]:
    """Rates for ReLU tend to 1/4 from above: the depths at hand show 0.25 to 0.35."""
    depths, fine = (8, 16, 32, 64), 512
    for phi, rate, tolerance in ((TANH, 0.5, 0.15), (RELU, 0.3, 0.12)):
        errors = _gradient_errors(lab, Model(SingleLayer(phi), WHITE, width), depths, fine, right)
        fitted = lab.order(depths, errors, reference=fine, power=2 if phi is TANH else 4)
        yield lab.equal(f"strong order of p_0, {phi}", fitted, rate, within=tolerance)


def _gradient_errors(lab: Lab, target: Model, depths: Sequence[int], fine: int, right: int) -> Tensor:
    """‖p_0 − p_0'‖² of networks and of a deep one on the same path; (sample, depth)."""
    seen = lab.with_error(target)

    def see(path: WeightPaths, h: Tensor, p: Tensor) -> Tensor:
        exact = _gradient(target, h, p, path, fine)
        errors = [_gradient(seen, h, p, path, depth, right) - exact for depth in depths]
        return torch.stack([square(error) for error in errors], dim=1)

    return lab.on_paths(target, fine, see, lab.starts(seen.width), lab.starts(seen.width, "top"))


def _gradient(model: Model, h: Tensor, p: Tensor, path: WeightPaths, depth: int, right: int = 0) -> Tensor:
    """p_0 by the adjoint recursion, with φ' at the left end of every layer, or at its right end."""
    layers, alpha = path.layers(depth), model.alpha(depth)
    hidden = forward(model.block, h, layers, alpha)
    for k in range(depth - 1, -1, -1):
        p = p + alpha * model.block.adjoint(hidden[k + right], p, layers[k])
    return p


@theorem(
    "euler-scheme",
    words="A network is the Euler scheme of its limit: independent solvers on the same weights give "
    "the same states up to rounding.",
    statement=r"h_{k+1} = h_k + (X_{(k+1)/L} - X_{k/L})\, g(h_k), \qquad X_{k/L} = L^{-\beta^*}(V_1 + "
    r"\dots + V_k)",
    assumptions=("one matrix, or smooth weights", "β = β*"),
    source="Marion et al. (2025); Cohen, Cont, Rossier & Xu (2021)",
    claims=5,
    budgets={"quick": {"depth": 64}, "full": {"depth": 512}},
    controls={
        "another path": {"resample": True},
        "beta off by 0.01": {"beta_off": 0.01},
        "weights one layer late": {"late": 1},
    },
)
def euler_scheme(lab: Lab, *, depth: int, resample: bool = False, late: int = 0) -> Iterator[Claim]:
    """Against torchsde and torchdiffeq, and against the increments of the path itself."""
    for law in (WHITE, FractionalNoise(0.7), SmoothNoise(0.3)):
        blocks = (SingleLayer(TANH), TwoLayer(RELU)) if law.noise == "smooth" else (SingleLayer(TANH),)
        for block in blocks:
            case = Model(block, law, 5)
            h, path = lab.starts(case.width, samples=20), case.draw(2 * depth, samples=20, seed=lab.seed)
            other = case.draw(2 * depth, samples=20, seed=lab.subseed("other")) if resample else path
            layers = [*other.layers(depth)[late:], *other.layers(depth)[:late]]
            network = forward(block, h, layers, lab.with_error(case).alpha(depth))[-1]
            kind = f"{block.activation} {type(block).__name__}, {law}"
            if law.noise != "fractional":
                solver = "torchdiffeq" if law.noise == "smooth" else "torchsde"
                solution = find_limit(case).solve(h, path, steps=depth, method="euler")
                yield equal(f"network − {solver}, {kind}", _largest(network - solution), 0.0, 1e-10)
            if isinstance(block, SingleLayer) and law.noise != "smooth":
                solution = _driven(case, h, path, depth)
                yield equal(f"network − scheme of the path, {kind}", _largest(network - solution), 0.0, 1e-10)


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _driven(model: Model, h: Tensor, path: WeightPaths, depth: int) -> Tensor:
    """H ← H + ΔX φ(H), with X added up on a finer grid and its increments over coarse steps."""
    fine = path.matrices["outer"].weights(2 * depth)
    assert model.beta is not None
    driver = torch.cat([torch.zeros_like(fine[:1]), fine.cumsum(0) * float(2 * depth) ** -model.beta])
    for step in (driver[2::2] - driver[:-2:2]) * model.width**-0.5:
        h = h + torch.tanh(h) @ step
    return h


@theorem(
    "weak-limit",
    words="With two matrices of white weights the limit holds in law: what is left of the inner "
    "weights is the mean square of a branch, and the law of the entries does not matter.",
    statement=r"dH_t = \left(\mathbb{E}\,\varphi(\sqrt{\|H_t\|^2/d}\; z)^2\right)^{1/2} dB_t, \qquad z "
    r"\sim N(0, 1)",
    assumptions=("two weight matrices", "white weights of symmetric entries", "β = 1/2"),
    source="derived here, after Marion et al. (2025)",
    claims=6,
    budgets={"quick": 10_000, "full": 50_000},
    controls={"beta off by 0.15": {"beta": 0.35}, "variance off by 10 %": {"variance": 1.1}},
    own_models=True,
)
def weak_limit(lab: Lab, *, width: int = 40, depth: int = 8) -> Iterator[Claim]:
    """By the law of ‖h_L‖²/d from states of length √d; the equation takes as many steps as layers."""
    cases = {
        "tanh": Model(TwoLayer(TANH), WHITE, width),
        "ReLU": Model(TwoLayer(RELU), WHITE, width),
        "ReLU, uniform entries": Model(TwoLayer(RELU), WhiteNoise("uniform"), 20),
    }
    for name, case in lab.cases(cases):
        equation = limit_of(case, "ito-sde", coupled=False)
        h = torch.ones(lab.samples, 1, case.width)
        solution = square(equation.solve(h, steps=depth, seed=lab.seed)) / case.width
        network = square(_ends(lab, case, h, depth)) / case.width
        tolerance = {"tanh": 0.03, "ReLU": 0.045}.get(name, 0.06)
        apart = lab.shift(network, solution)
        yield lab.equal(f"difference of E ‖h‖²/d, {name}", apart, 0.0, within=tolerance)
        apart = lab.distance(network, solution)
        yield lab.at_most(f"distance of the laws of ‖h‖²/d, {name}", apart, 0.0, within=0.1)


def _ends(lab: Lab, case: Model, h: Tensor, depth: int) -> Tensor:
    """h_L of independent networks that start at h, (sample, 1, width), on weights of their own."""
    seen = lab.with_error(case)
    if seen.law != WHITE:
        return lab.on_paths(seen, depth, lambda path, part: end(seen, part, path, depth), h)
    source = stream(lab.seed, "ends", seen, depth, tuple(h.shape))
    layers = (Layer.revealed(seen.block.shapes(seen.width), source) for _ in range(depth))
    return trajectory(seen.block, h, layers, seen.alpha(depth), every_layer=False).hidden.natural(-1)
