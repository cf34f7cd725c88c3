r"""The Gaussian moments of activations against quadrature in the plane, for inputs that nearly agree too.

For variances q1, q2 and an angle ω of cosine 1 − gap, u = √q1 r cos(t + ω/2) and v = √q2 r cos(t − ω/2)
with r² of the law χ²_2 and t uniform. Kinks lie on four rays of the plane, and between them all is smooth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from resnet_sde.activations import ERF, GELU, LINEAR, RELU, SIGMOID, TANH, Activation, AlphaReLU, LeakyReLU
from resnet_sde.claims import Claim, equal
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import Lab

ACTIVATIONS = (LINEAR, RELU, LeakyReLU(0.3), AlphaReLU(0.75), TANH, ERF, GELU, SIGMOID)
VARIANCES = ((1.0, 1.0), (0.3, 2.0), (4.0, 3.0))
GAPS = (1e-8, 1e-4, 0.05, 0.5, 0.9, 1.7)


def plane(q1: float, q2: float, gap: float, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points u and v of a rule in the plane, and its weights, which add up to 1; all (points,)."""
    half = math.asin(math.sqrt(gap / 2))
    s, weight = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(nodes))
    s, weight = (s + 1) / 2, weight / 2
    place = s**3 * (10 - 15 * s + 6 * s**2)  # crowds at the ends, where powers of a half-line begin
    share = weight * 30 * s**2 * (1 - s) ** 2
    ends = [
        -math.pi / 2 - half,
        -math.pi / 2 + half,
        math.pi / 2 - half,
        math.pi / 2 + half,
        1.5 * math.pi - half,
    ]
    t = torch.cat([a + (b - a) * place for a, b in itertools.pairwise(ends)])
    of_t = torch.cat([(b - a) * share for a, b in itertools.pairwise(ends)]) / (2 * math.pi)
    r = 9.0 * s
    of_r = 9.0 * weight * r * torch.exp(-r.square() / 2)
    u, v = (
        math.sqrt(q) * (r[:, None] * (t + sign * half).cos()).flatten() for q, sign in ((q1, 1), (q2, -1))
    )
    return u, v, (of_r[:, None] * of_t).flatten()


def slope(phi: Activation, x: Tensor) -> Tensor:
    """φ' by autograd."""
    at = x.clone().requires_grad_()
    return torch.autograd.grad(phi(at).sum(), at)[0]


def errors(phi: Activation, q1: float, q2: float, gap: float, clip: float, variance: float) -> Tensor:
    """Relative errors of E φφ and E (φ − φ)²/2, of E φ'φ' and of E φ''φ; (4,)."""
    u, v, weight = plane(q1, q2, gap, 80)
    first, second = phi(u), phi(v)
    back, forth = slope(phi, u), slope(phi, v)
    product = math.sqrt(q1 * q2) * (1 - gap)
    primes = float(weight @ (back * forth))
    # Stein's lemma: E u φ'(u)φ(v) = q1 E φ''(u)φ(v) + E uv E φ'(u)φ'(v).
    curvature = (float(weight @ (u * back * second)) - product * primes) / q1
    exact = [
        float(weight @ (first * second)),
        float(weight @ (first - second).square()) / 2,
        primes,
        curvature,
    ]
    a, b, c = (torch.tensor(x) for x in (variance * q1, q2, max(gap, clip)))
    moments = (phi.dual, phi.difference, phi.dual_prime, phi.mean_curvature)
    found = torch.stack([moment(a, b, gap=c) for moment in moments])
    sizes = torch.tensor([abs(exact[0]), exact[1], abs(primes), abs(curvature) + primes])
    return (found - torch.tensor(exact)).abs() / sizes.clamp(min=1e-300)


def single_errors(phi: Activation, q: float, variance: float) -> Tensor:
    """Relative errors of E φ² and E φ'², of E φ and of φ' itself; (3,)."""
    u, _, weight = plane(q, q, 1.0, 80)
    back, at = slope(phi, u), torch.tensor(variance * q)
    squares, primes = float(weight @ phi(u).square()), float(weight @ back.square())
    mean = float(weight @ phi(u))
    pulled = torch.stack([phi.prime(u), phi.pullback(u, torch.ones_like(u))]) - back
    return torch.stack(
        [
            (phi.second_moment(at) / squares - 1).abs(),
            (phi.second_moment_prime(at) / primes - 1).abs(),
            torch.maximum((phi.mean(at) - mean).abs() / math.sqrt(squares), pulled.abs().max()),
        ]
    )


@theorem(
    "gaussian-duals",
    words="The Gaussian moments of every activation are those that quadrature finds, at all variances and "
    "correlations, and to their last digits where two inputs nearly agree.",
    statement=r"\mathbb{E}\varphi(u)\varphi(v), \quad \tfrac12\mathbb{E}(\varphi(u) - \varphi(v))^2, \quad "
    r"\mathbb{E}\varphi'(u)\varphi'(v), \quad \mathbb{E}\varphi''(u)\varphi(v), \qquad (u, v) \sim N(0, "
    r"\cdot)",
    assumptions=("φ as in the catalogue of activations",),
    source="their definition",
    claims=2 * len(ACTIVATIONS),
    budgets={"quick": {}, "full": {}},
    controls={"correlations clipped at 0.999": {"clip": 1e-3}, "variance off by 0.1 %": {"variance": 1.001}},
)
def gaussian_duals(lab: Lab, *, clip: float = 0.0) -> Iterator[Claim]:
    """Relative errors; that of E φ''φ is in units of it and of E φ'φ', because it may vanish."""
    for phi in ACTIVATIONS:
        found = [errors(phi, *of_both, gap, clip, lab.variance) for of_both in VARIANCES for gap in GAPS]
        pairs = torch.stack(found).amax(0)
        single = torch.stack([single_errors(phi, q, lab.variance) for q in (0.3, 1.0, 4.0)]).amax(0)
        values, slopes = torch.cat([pairs[:2], single[:1]]).max(), torch.cat([pairs[2:], single[1:]]).max()
        yield equal(f"largest error of E φφ, {phi}", values, 0.0, 1e-5)
        yield equal(f"largest error of moments of φ', {phi}", slopes, 0.0, 5e-5)
