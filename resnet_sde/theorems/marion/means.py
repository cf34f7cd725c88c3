r"""Mean variation of states and gradients, and its bounds, for weights that are independent along depth.

Where E ‖g(h)‖² = c ‖h‖² for every h, a layer multiplies the mean square by 1 + c α², and h_L − h_0 is
centred.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from resnet_sde.activations import LINEAR, RELU, TANH, LeakyReLU
from resnet_sde.blocks import Block, SingleLayer, TwoLayer
from resnet_sde.claims import Claim, equal
from resnet_sde.finite_width import HomogeneousMoments, homogeneous_moments
from resnet_sde.laws import FractionalNoise, PathLaw, SmoothNoise, WhiteNoise
from resnet_sde.model import Model
from resnet_sde.propagate import Trajectory, trajectory
from resnet_sde.theorems.core import AssumptionNotMet, theorem
from resnet_sde.theorems.marion.paper import SOURCE
from resnet_sde.theorems.measure import average, spread
from resnet_sde.theorems.samples import gradient_log_ratios, log_ratios, paths, planted, starts

HOMOGENEOUS = {
    "linear res-1": SingleLayer(LINEAR),
    "res-3": TwoLayer(RELU),
    "leaky res-2": TwoLayer(LeakyReLU(0.8)),
}
WRONG = {
    "beta off by 0.15": {"beta": 0.35},
    "variance off by 5 %": {"variance": 1.05},
}
CENTRED = (
    "entries of √d V independent, symmetric, of unit variance, independent along depth",
    "E ‖g(h)‖² = c ‖h‖² for all h: linear res-1, or two matrices with a leaky ReLU",
)


def moments(model: Model, depth: int) -> HomogeneousMoments:
    """The exact moments; a model without them is one that the statement does not speak of."""
    try:
        return homogeneous_moments(model, depth)
    except ValueError as refusal:
        raise AssumptionNotMet(str(refusal)) from None


@theorem(
    "mean-variation",
    words="The mean square displacement of a network with independent weights is (1 + c/L^{2β})^L − 1, "
    "at every width and for every law of the entries.",
    statement=r"\mathbb{E}\|h_L - h_0\|^2 / \|h_0\|^2 = (1 + c\,\alpha_L^2)^L - 1",
    assumptions=CENTRED,
    source=f"{SOURCE} (bounds; equality derived here)",
    claims=9,
    budgets={"quick": {"samples": 30_000}, "full": {"samples": 80_000}},
    controls={
        **WRONG,
        "increments of fractional Brownian motion": {"law": FractionalNoise(0.6), "samples": 4000},
    },
)
def mean_variation(
    *,
    seed: int,
    level: float,
    samples: int,
    model: Model | None = None,
    width: int = 10,
    depth: int = 8,
    beta: float | None = None,
    variance: float = 1.0,
    law: PathLaw | None = None,
) -> Iterator[Claim]:
    """The tolerance is half the effect of 5 % on the variance."""
    cases = {str(model): model} if model is not None else {}
    if model is None:
        for entries in ("gaussian", "uniform", "rademacher"):
            for name, block in HOMOGENEOUS.items():
                cases[f"{name}, {entries}"] = Model(block, WhiteNoise(entries), width, 0.5)
    for name, case in cases.items():
        exact = moments(case, depth).mean_square_displacement
        seen = planted(case, beta=beta, variance=variance, law=law)
        found = log_ratios(seen, depth=depth, samples=samples, seed=seed)[0].exp()
        yield Claim(
            f"mean square displacement / exact, {name}", average(found, level, unit=exact), 1.0, 0.033
        )


@theorem(
    "second-moment",
    words="The variance over Gaussian networks of the square displacement is known exactly at every "
    "depth and width, for states and for gradients.",
    statement=r"\mathrm{Var}(\|h_L - h_0\|^2 / \|h_0\|^2) = m_2^L + 1 + 4(1 + (m_1^L - 1)/d) + 2 m_1^L "
    r"- 4 m_3^L - 4 - (m_1^L - 1)^2",
    assumptions=(*CENTRED, "Gaussian weights"),
    source="derived here, after Marion et al. (2025)",
    claims=4,
    budgets={"quick": {"samples": 30_000}, "full": {"samples": 120_000}},
    controls=WRONG,
)
def second_moment(
    *,
    seed: int,
    level: float,
    samples: int,
    model: Model | None = None,
    width: int = 80,
    depth: int = 8,
    beta: float | None = None,
    variance: float = 1.0,
) -> Iterator[Claim]:
    """An error of 5 % in the variance of the weights moves the measured one by 15 % or more.

    At width 40 single networks among 30,000 can make up a twentieth of what is measured.
    """
    blocks = ("linear res-1", "res-3")
    cases = {name: Model(HOMOGENEOUS[name], WhiteNoise(), width, 0.5) for name in blocks}
    for name, case in ({str(model): model} if model is not None else cases).items():
        if case.law != WhiteNoise():
            raise AssumptionNotMet(f"the weights must be white and Gaussian, not {case.law}")
        exact = moments(case, depth).std_square_displacement ** 2
        seen = planted(case, beta=beta, variance=variance)
        for kind, ratios in (("square displacement", log_ratios), ("gradient's", gradient_log_ratios)):
            found = ratios(seen, depth=depth, samples=samples, seed=seed)[0].exp()
            yield Claim(
                f"variance of the {kind} / exact, {name}", spread(found, level, unit=exact), 1.0, 0.08
            )


BOUNDED = {
    "linear res-1 (attains the upper one)": SingleLayer(LINEAR),
    "res-3 (attains the lower one)": TwoLayer(RELU),
    "leaky res-1": SingleLayer(LeakyReLU(0.8)),
    "tanh res-1": SingleLayer(TANH),
    "tanh res-2": TwoLayer(TANH),
    "ReLU res-1": SingleLayer(RELU),
}


def keeps_half(block: Block) -> str | None:
    """Why E ‖g(h)‖² may be less than half of ‖h‖², up to the variances; None where it never is."""
    phi = block.activation
    slope = {LINEAR: 1.0, RELU: 0.0}.get(phi, phi.slope if isinstance(phi, LeakyReLU) else None)
    if slope is None:
        return f"{phi} is bounded or not linear on both sides: long states keep less than half their square"
    if isinstance(block, TwoLayer) or slope**2 >= 0.5:
        return None
    return "a state with mostly negative coordinates keeps less than half its square"


@theorem(
    "mean-bounds",
    words="Where a branch keeps between half and all of every norm on average, the mean square "
    "displacement lies between (1 + α²/2)^L − 1 and (1 + α²)^L − 1.",
    statement=r"(1 + \alpha_L^2/2)^L - 1 \le \mathbb{E}\|h_L - h_0\|^2/\|h_0\|^2 \le (1 + \alpha_L^2)^L - 1",
    assumptions=(
        "entries of √d V independent, centred, of unit variance, independent along depth",
        "‖h‖²/2 ≤ E ‖g(h)‖² ≤ ‖h‖² for all h; the lower half for the lower bound only",
    ),
    source=SOURCE,
    claims=12,
    budgets={"quick": {"samples": 25_000}, "full": {"samples": 80_000}},
    controls={"variance 5 % too large": {"variance": 1.05}, "variance 5 % too small": {"variance": 0.95}},
)
def mean_bounds(
    *,
    seed: int,
    level: float,
    samples: int,
    model: Model | None = None,
    width: int = 20,
    depth: int = 8,
    variance: float = 1.0,
) -> Iterator[Claim]:
    """Lower bounds are shown and not asserted where the assumption is not met."""
    cases = {name: Model(block, WhiteNoise(), width, 0.5) for name, block in BOUNDED.items()}
    for name, case in ({str(model): model} if model is not None else cases).items():
        if not isinstance(case.law, WhiteNoise) or case.skip != 1.0 or min(case.block.variances[1::2]) > 0:
            raise AssumptionNotMet("the weights must be white, without biases, beside a skip weight of 1")
        found = log_ratios(planted(case, variance=variance), depth=depth, samples=samples, seed=seed)[0].exp()
        square = (case.alpha(depth) * case.block.strength) ** 2
        low, high = (math.expm1(depth * math.log1p(c * square)) for c in (0.5, 1.0))
        below, above = average(found, level, unit=low), average(found, level, unit=high)
        yield Claim(
            f"mean square displacement / lower bound, {name}",
            below,
            1.0,
            0.033,
            ">=",
            unmet=keeps_half(case.block),
        )
        yield Claim(f"mean square displacement / upper bound, {name}", above, 1.0, 0.033, "<=")


@theorem(
    "gradient-mean-variation",
    words="Gradients vary like states, E ‖p_0 − p_L‖² / ‖p_L‖² = (1 + c/L^{2β})^L − 1, whatever p_L "
    "is, as long as it is independent of the weights.",
    statement=r"\mathbb{E}\|p_0 - p_L\|^2/\|p_L\|^2 = (1 + c\,\alpha_L^2)^L - 1",
    assumptions=(*CENTRED, "p_L independent of the weights"),
    source=f"{SOURCE} (bounds; equality derived here)",
    claims=4,
    budgets={"quick": {"samples": 20_000}, "full": {"samples": 80_000}},
    controls={**WRONG, "p_L along h_L": {"top": "end"}},
)
def gradient_mean_variation(
    *,
    seed: int,
    level: float,
    samples: int,
    width: int = 20,
    depth: int = 8,
    beta: float | None = None,
    variance: float = 1.0,
    top: str = "start",
) -> Iterator[Claim]:
    """For p_L random, and for one along h_0, at a width whose tails 10,000 networks carry.

    One along h_L depends on the weights.
    """
    for name, block in HOMOGENEOUS.items():
        case = Model(block, WhiteNoise(), width, 0.5)
        exact = moments(case, depth).mean_square_displacement
        seen = planted(case, beta=beta, variance=variance)
        found = gradient_log_ratios(seen, depth=depth, samples=samples, seed=seed)[0].exp()
        yield Claim(
            f"mean square change of p / exact, {name}, random p_L",
            average(found, level, unit=exact),
            1.0,
            0.033,
        )
    case = Model(TwoLayer(RELU), WhiteNoise(), 8, 0.5)
    seen = planted(case, beta=beta, variance=variance)
    found = _variation_along(seen, depth, samples // 2, seed, top)
    unit = moments(case, depth).mean_square_displacement
    yield Claim(
        "mean square change of p / exact, res-3, p_L along h_0", average(found, level, unit=unit), 1.0, 0.1
    )


def _variation_along(model: Model, depth: int, samples: int, seed: int, top: str) -> Tensor:
    """‖p_0 − p_L‖² / ‖p_L‖² for p_L along the "start" h_0 or the "end" h_L, (sample,)."""
    found = []
    for networks, path in paths(model, depth, samples, seed):
        h, layers, alpha = (
            starts(samples, model.width, seed)[networks],
            path.layers(depth),
            model.alpha(depth),
        )
        p = h if top == "start" else trajectory(model.block, h, layers, alpha).hidden.natural(-1)
        adjoint = trajectory(model.block, h, layers, alpha, top=p, every_layer=False).adjoint
        assert adjoint is not None
        found.append((adjoint.natural(0) - p).square().sum((1, 2)) / p.square().sum((1, 2)))
    return torch.cat(found)


@theorem(
    "gradient-invariant",
    words="For homogeneous branches without biases the product of state and gradient is the same in "
    "every layer, on every path.",
    statement=r"\langle p_k, h_k \rangle = \langle p_L, h_L \rangle \quad (0 \le k \le L)",
    assumptions=("φ(cx) = c φ(x) for c > 0", "no biases"),
    source="derived here",
    claims=4,
    budgets={"quick": {"depth": 64}, "full": {"depth": 512}},
    controls={"a bias": {"bias": 1e-4}, "tanh": {"tanh": True}},
)
def gradient_invariant(
    *,
    seed: int,
    level: float,
    depth: int,
    samples: int = 20,
    width: int = 10,
    bias: float = 0.0,
    tanh: bool = False,
) -> Iterator[Claim]:
    """No path may break it; the tolerance is for rounding, relative to the product of the norms."""
    leaky = TANH if tanh else LeakyReLU(0.5)
    cases = {
        "white": Model(TwoLayer(leaky, sigma_b2=bias), WhiteNoise(), width),
        "white, ReLU": Model(SingleLayer(RELU, sigma_b2=bias), WhiteNoise(), width),
        "fractional": Model(SingleLayer(leaky, sigma_b2=bias), FractionalNoise(0.7), width),
        "smooth": Model(TwoLayer(leaky, sigma_b2=bias), SmoothNoise(0.2), width),
    }
    for name, case in cases.items():
        h, top = starts(samples, width, seed), starts(samples, width, seed, "top")
        layers = case.draw(depth, samples=samples, seed=seed).layers(depth)
        seen = trajectory(case.block, h, layers, case.alpha(depth), top=top)
        yield equal(f"largest change of ⟨p, h⟩, {name}", _change(seen, depth), 0.0, 1e-10)


def _change(seen: Trajectory, depth: int) -> float:
    assert seen.adjoint is not None
    pairs = [(seen.adjoint.natural(k), seen.hidden.natural(k)) for k in range(depth + 1)]
    products = torch.stack([(p * h).sum(-1) for p, h in pairs])
    size = pairs[-1][0].norm(dim=-1) * pairs[-1][1].norm(dim=-1)
    return float(((products - products[-1]).abs() / size).max())
