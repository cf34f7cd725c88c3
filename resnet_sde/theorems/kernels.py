r"""Kernels between the layers of infinitely wide networks, for weights of any law along depth.

With γ the covariance of the weights along depth the kernel C_kl = E ⟨h_k, h_l⟩ / d obeys
C_{k+1,l+1} − C_{k+1,l} − C_{k,l+1} + C_kl = α² Φ_kl, with Φ_kl = γ_kl E φ(u)φ(v) for one matrix, u
and v being states of layers k and l, and the same with pre-activations W h of correlation γ_kl for
two; gradients obey a recursion of the same form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from resnet_sde.activations import GELU, LINEAR, RELU, TANH, Activation
from resnet_sde.blocks import Block, Reduced, SingleLayer, TwoLayer
from resnet_sde.claims import Claim, at_least, equal
from resnet_sde.fractional import autocovariance
from resnet_sde.laws import ConstantNoise, FractionalNoise, PathLaw, SmoothNoise, WhiteNoise
from resnet_sde.meanfield import displacements, flow, gradient_two_time, gradients_along, lengths, two_time
from resnet_sde.model import Model
from resnet_sde.observables import observable
from resnet_sde.propagate import Trajectory
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import VARIANCE_OFF, Lab

SOURCE = "derived here; for one matrix after Marion, Fermanian, Biau & Vert, JMLR 26(56), 2025"
WIDE = ("Gaussian weights of any law along depth", "width → ∞", "p_L independent of the weights")


@observable("move", every_layer=True, gradients=True)
def moves(t: Trajectory) -> Tensor:
    """⟨h_L − h_0, h_{L/2} − h_0⟩ / ‖h_0‖² and ‖p_0 − p_L‖² / ‖p_L‖². Shape: (sample, 2)."""
    assert t.adjoint is not None
    middle = (len(t.hidden.scaled) - 1) // 2
    start, half, end = (t.hidden.natural(layer) for layer in (0, middle, -1))
    top, bottom = t.adjoint.natural(-1), t.adjoint.natural(0)
    states = ((end - start) * (half - start)).sum(-1) / start.square().sum(-1)
    gradients = (bottom - top).square().sum(-1) / top.square().sum(-1)
    return torch.stack([states.mean(1), gradients.mean(1)], -1)


def inputs() -> Tensor:
    """Two that are orthogonal, of length 1 per coordinate, and their opposites; (input, n_in), float32."""
    x = torch.zeros(4, 8, dtype=torch.float32)
    x[0, ::2] = x[1, 1::2] = math.sqrt(2)
    x[2:] = -x[:2]
    return x


def expected_moves(model: Model, depth: int) -> tuple[float, float]:
    """What `moves` tends to in wide networks."""
    states = two_time(model, depth=depth)
    back = gradients_along(model, states)
    half = depth // 2
    moved = states[-1, half] - states[0, half] - states[-1, 0] + states[0, 0]
    return float(moved), float(back[0, 0] - 2 * back[0, -1] + 1)


LAWS = {
    "white": (WhiteNoise(), 0.5),
    "H = 0.2": (FractionalNoise(0.2), 0.4),
    "H = 0.8": (FractionalNoise(0.8), 0.8),
    "smooth": (SmoothNoise(0.5), 1.0),
}
"""Laws, and scalings β at which networks of a few layers move by about their own length."""


def against_networks(lab: Lab, block: Block, depth: int, off: float) -> Iterator[Claim]:
    """Means of networks of widths 16 and 32, extrapolated in 1/width, over the kernels of infinite width."""
    for name, (law, beta) in LAWS.items():
        case = Model(block, law, 1, beta=beta)
        exact, seen = torch.tensor(expected_moves(case, depth)), replace(case, law=shifted(law, off))
        narrow, wide = (
            lab.simulate(replace(seen, width=width), inputs(), moves, depth=depth)["moves"].double() / exact
            for width in (16, 32)
        )
        for place, (what, tolerance) in enumerate((("states", 0.15), ("gradients", 0.2))):
            found = lab.shift(2 * wide[:, place], narrow[:, place])
            yield lab.equal(f"moves of {what} / kernel, {name}", found, 1.0, within=tolerance)


def shifted(law: PathLaw, off: float) -> PathLaw:
    """The law with another H."""
    return FractionalNoise(law.exponent + off) if law.noise == "fractional" else law


NETWORK_CONTROLS = {"H off by 0.1": {"off": 0.1}, "beta off by 0.15": {"beta_off": -0.15}}


@theorem(
    "two-time-kernel",
    words="In wide networks of one matrix, with weights of any law along depth, the covariances "
    "between all layers follow a recursion in which the weights count by their covariance along "
    "depth; those of gradients likewise.",
    statement=r"\Delta_k \Delta_l C_{kl} = \alpha^2 \gamma_{kl}\, "
    r"\mathbb{E}\varphi(u_k)\varphi(u_l), \quad u \sim N(0, C); \qquad \Delta_k \Delta_l T_{kl} = "
    r"\alpha^2 \gamma_{kl}\, \mathbb{E}\varphi'(u_k)\varphi'(u_l)\, T_{kl}",
    assumptions=("one weight matrix", *WIDE),
    source=SOURCE,
    claims=8,
    budgets={"quick": 1000, "full": 5000},
    controls=NETWORK_CONTROLS,
)
def two_time_kernel(lab: Lab, *, depth: int = 8, off: float = 0.0) -> Iterator[Claim]:
    """Tanh; white, rough, regular and smooth weights."""
    yield from against_networks(lab, SingleLayer(TANH), depth, off)


@theorem(
    "two-time-kernel-two-matrices",
    words="With two matrices the inner weights correlate the pre-activations of two layers by "
    "their own covariance along depth, and the rest is as with one.",
    statement=r"\Delta_k \Delta_l C_{kl} = \alpha^2 \gamma_{kl}\, \mathbb{E}\varphi(u_k)\varphi(u_l), \quad "
    r"\mathbb{E} u_k u_l = \gamma_{kl} C_{kl}; \qquad \Delta_k \Delta_l T_{kl} = \alpha^2 \gamma_{kl}^2\, "
    r"\mathbb{E}\varphi'(u_k)\varphi'(u_l)\, T_{kl}",
    assumptions=("two weight matrices of the same law", *WIDE),
    source=SOURCE,
    claims=8,
    budgets={"quick": 1000, "full": 5000},
    controls=NETWORK_CONTROLS,
)
def two_time_kernel_two_matrices(lab: Lab, *, depth: int = 8, off: float = 0.0) -> Iterator[Claim]:
    """ReLU; white, rough, regular and smooth weights."""
    yield from against_networks(lab, TwoLayer(RELU), depth, off)


@theorem(
    "one-time-recursion",
    words="For white weights the kernel between layers collapses: its diagonal is the recursion from layer "
    "to layer, for states and gradients, and two states share what the earlier of them was.",
    statement=r"\gamma_{kl} = 1_{k=l} \implies C_{kk} = q_k, \quad C_{kl} = \lambda^{|k-l|} q_{\min(k,l)}, "
    r"\quad T_{kk} = \textstyle\prod_{j \ge k} (\lambda^2 + \alpha^2 w\, \mathbb{E}\varphi'^2)",
    assumptions=("white weights", "width → ∞"),
    source="derived here",
    claims=3,
    budgets={"quick": {"depth": 20}, "full": {"depth": 100}},
    controls={"H = 0.501": {"hurst": 0.501}},
)
def one_time_recursion(lab: Lab, *, depth: int, hurst: float = 0.5) -> Iterator[Claim]:
    """One matrix with GELU, two with tanh, the reduced block; with biases and a skip weight of 0.7."""
    blocks = (SingleLayer(GELU, 1.2, 0.3), TwoLayer(TANH, 1.5, 0.3, 0.8, 0.2), Reduced(TANH, 1.3, 0.2))
    errors = torch.zeros(3)
    order = torch.arange(depth + 1)
    kept = 0.7 ** (order[:, None] - order).abs()
    for block in blocks:
        case = Model(block, FractionalNoise(hurst), 1, beta=0.25, skip=0.7)
        single = lengths(replace(case, law=WhiteNoise()), 0.8, depth=depth)
        states, growth = two_time(case, 0.8, depth=depth), single.log_gradient_growth
        back = gradient_two_time(case, 0.8, depth=depth).diagonal()
        shared = kept * single.q[torch.minimum(order[:, None], order)]
        seen = (states.diagonal() / single.q, states / shared, back / (growth[-1] - growth).exp())
        errors = torch.maximum(errors, torch.stack([(ratio - 1).abs().max() for ratio in seen]))
    for name, error in zip(("lengths", "products of layers", "gradients"), errors, strict=True):
        yield equal(f"largest relative difference, {name}", error, 0.0, 1e-10)


def bessel(square: float) -> float:
    """I_0(2 √square)."""
    return math.fsum(square**n / math.factorial(n) ** 2 for n in range(40))


@theorem(
    "constant-weights-kernel",
    words="With the same linear weights in every layer the kernel between the times s and t of "
    "deep networks is a Bessel function of √(st).",
    statement=r"\mathbb{E}\langle H_s, H_t \rangle / \|h_0\|^2 = I_0(2\sqrt{st}), \qquad I_0(2) = 2.2796",
    assumptions=("linear res-1", "the same Gaussian weights in all layers", "β = 1", "width, depth → ∞"),
    source="derived here",
    claims=2,
    budgets={"quick": {"depth": 100}, "full": {"depth": 400}},
    controls={"H = 0.999": {"hurst": 0.999}, **VARIANCE_OFF},
)
def constant_weights_kernel(lab: Lab, *, depth: int, hurst: float | None = None) -> Iterator[Claim]:
    """Grids of L and 2L layers, whose errors of order 1/L cancel."""
    law = ConstantNoise() if hurst is None else FractionalNoise(hurst)
    case = Model(SingleLayer(LINEAR, lab.variance), law, 1, beta=1.0)
    coarse, fine = (two_time(case, depth=n) for n in (depth, 2 * depth))
    for s, t in ((1.0, 1.0), (0.5, 0.75)):
        first = float(coarse[int(s * depth), int(t * depth)])
        second = float(fine[int(2 * s * depth), int(2 * t * depth)])
        ratio = (2 * second - first) / bessel(s * t)
        yield equal(f"C({s}, {t}) / I_0(2√(st))", ratio, 1.0, 2e-4)


@theorem(
    "two-time-flow",
    words="At the critical scaling the kernels of networks converge at the rate 1/L to an equation "
    "in the times k/L and l/L, a Volterra equation of the plane for regular and smooth weights.",
    statement=r"C(s, t) = C(0, 0) + \int_0^s \! \int_0^t \Phi(C)\, d\Gamma, \qquad C_{sL, tL} - "
    r"C(s, t) = O(1/L)",
    assumptions=("width → ∞", "β = β*", "smooth weights, or one matrix of fractional ones with H > 1/2"),
    source="derived here",
    claims=3,
    budgets={"quick": {"depth": 32}, "full": {"depth": 128}},
    controls={"beta off by 0.15": {"beta_off": 0.15}, **VARIANCE_OFF},
)
def two_time_flow(lab: Lab, *, depth: int) -> Iterator[Claim]:
    """Rates from L layers to 2L, between the middle of networks and their end, and of gradients."""
    cases = {
        "one matrix, H = 0.8": Model(SingleLayer(RELU), FractionalNoise(0.8), 1),
        "two matrices, smooth": Model(TwoLayer(RELU), SmoothNoise(0.5), 1),
    }
    for name, case in cases.items():
        limit = flow(case, steps=4 * depth)
        seen = lab.with_error(case)
        grids = [two_time(seen, depth=n) for n in (depth, 2 * depth)]
        target = float(limit.kernel[2 * depth, -1])
        off = [float(grid[len(grid) // 2, -1]) - target for grid in grids]
        yield equal(f"rate of the kernel, {name}", _rate(off), 1.0, 0.15)
        if case.law.noise == "smooth":
            target = float(limit.log_gradient_growth[-1])
            off = [float(gradients_along(seen, grid)[0, 0].log()) - target for grid in grids]
            yield equal(f"rate of gradients, {name}", _rate(off), 1.0, 0.15)


def _rate(off: list[float]) -> float:
    """Of errors at L and 2L layers; −∞ if there are none to see."""
    return math.log2(abs(off[0] / off[1])) if all(off) else -math.inf


SMALL = 1e-3
"""α of expansions in it."""


def moved(block: Block, law: PathLaw, depth: int, alpha: float) -> tuple[float, float]:
    """Mean square displacements of states and gradients."""
    found = displacements(block, law, depth, torch.tensor([alpha]))
    return 100 ** float(found.log10_forward), 100 ** float(found.log10_gradient)


def growth_rates(block: Block, law: PathLaw, beta: float, depth: int) -> tuple[float, float]:
    """Exponents of depth, from L layers to 4L, of the displacements of states and gradients."""
    few, many = (moved(block, law, n, float(n) ** -beta) for n in (depth, 4 * depth))
    first, second = (0.5 * math.log(b / a, 4) for a, b in zip(few, many, strict=True))
    return first, second


def second_order(phi: Activation, law: FractionalNoise, depth: int) -> tuple[float, float]:
    """What displacements of states and gradients have beyond the sums of weights, per layer; one matrix."""
    found = moved(SingleLayer(phi), law, depth, SMALL)
    sums, one = SMALL**2 * float(law.covariance(depth).sum()), torch.ones(())
    states = found[0] - sums * float(phi.second_moment(one))
    return states / depth, (found[1] - sums * float(phi.second_moment_prime(one))) / depth


def moment(hurst: float, power: float, lags: int) -> float:
    """−Σ γ(n) n^power over the lags n ≥ 1 of fractional noise."""
    return -float((autocovariance(hurst, lags)[1:] * torch.arange(1.0, lags) ** power).sum())


@theorem(
    "rough-kernel-boundary",
    words="For rough weights, H < 1/2, the critical scaling is 1/2 with two matrices, where the "
    "inner ones make layers independent, and max(H, 1/4) with one: sums of weights grow like L^H, "
    "and those of their products over pairs of layers like L^{1/2}.",
    statement=r"\|h_L - h_0\|^2 \approx \alpha^2 L^{2H} + v\,\alpha^4 L, \quad v = "
    r"-\textstyle\sum_{n \ge 1} \gamma(n)\, n^{2H} \quad (\varphi(x) = x, \; H < \tfrac14)",
    assumptions=("fractional weights, H < 1/2", "width → ∞"),
    source="derived here",
    claims=3,
    budgets={"quick": {"depth": 128}, "full": {"depth": 512}},
    controls={"H off by 0.05": {"off": 0.05}, "beta off by 0.05": {"beta_off": -0.05}},
)
def rough_kernel_boundary(lab: Lab, *, depth: int, off: float = 0.0) -> Iterator[Claim]:
    """Exponents from L layers to 4L, and the coefficient of α⁴ L at H = 0.05."""
    for name, block, hurst, beta in (
        ("two matrices, H = 0.2", TwoLayer(RELU), 0.2, 0.5),
        ("one matrix, H = 0.4", SingleLayer(RELU), 0.4, 0.4),
    ):
        found = growth_rates(block, FractionalNoise(hurst + off), beta + lab.beta_off, depth)[0]
        yield equal(f"exponent of states at β*, {name}", found, 0.0, 0.02)
    hurst = 0.05
    found = second_order(LINEAR, FractionalNoise(hurst + off), depth)[0]
    unit = moment(hurst, 2 * hurst, 4 * depth) * SMALL**4
    yield equal("second order / (v α⁴), one matrix, H = 0.05", found / unit, 1.0, 0.05)


@theorem(
    "gradient-boundary",
    words="Gradients have a critical scaling of their own: with two matrices the mean of φ, which "
    "makes states scale like L^{−H} for H > 1/2, does not reach them; with one matrix and H < 1/3 "
    "a kink of φ makes it 1/3, beyond the 1/4 of the states.",
    statement=r"V \varphi(W h): \; \max(\tfrac12, 2H - 1); \qquad V \varphi(h), \text{ReLU}: \; "
    r"\|p_0 - p_L\|^2 \approx \tfrac12 \alpha^2 L^{2H} + v\,\alpha^3 L, \quad v = "
    r"-\tfrac{1}{\pi\sqrt2} \textstyle\sum_{n \ge 1} \gamma(n)\, n^H",
    assumptions=("fractional weights", "ReLU", "width → ∞", "p_L independent of the weights"),
    source="derived here; measured for two matrices by Marion et al. (2025)",
    claims=3,
    budgets={"quick": {"depth": 128}, "full": {"depth": 512}},
    controls={"H off by 0.05": {"off": 0.05}, "a smooth activation": {"smooth": True}},
)
def gradient_boundary(lab: Lab, *, depth: int, off: float = 0.0, smooth: bool = False) -> Iterator[Claim]:
    """Two matrices at H = 0.8 and β = 0.6; and the coefficient of α³ L of one at H = 0.05."""
    phi = TANH if smooth else RELU
    states, gradients = growth_rates(TwoLayer(phi), FractionalNoise(0.8 + off), 0.6, depth)
    yield equal("exponent of gradients, two matrices, H = 0.8, β = 0.6", gradients, 0.0, 0.02)
    yield at_least("exponent of states there", states, 0.15)
    hurst = 0.05
    found = second_order(phi, FractionalNoise(hurst + off), depth)[1]
    unit = moment(hurst, hurst, 4 * depth) / (math.pi * math.sqrt(2)) * SMALL**3
    yield equal("second order / (v α³), one matrix, H = 0.05", found / unit, 1.0, 0.03)
