r"""The residual scale ρ* of the largest response: its place, its law in depth, and where it has none.

Oracles are closed formulas of erf, f(K) = E erf(√K z)² = (2/π) asin(2K/(1 + 2K)) and its like for
two inputs, differentiated in complex arithmetic. Beside networks of L layers there are the flows
that they tend to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq

from resnet_sde.activations import ERF, GELU, LINEAR, RELU, Activation
from resnet_sde.claims import Claim, at_least, at_most, equal
from resnet_sde.finite_width import (
    Optimum,
    diagonal_optimum,
    off_diagonal_optimum,
    output_response,
    saturation_kernel,
)
from resnet_sde.model import Model
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.fischer.networks import RESIDUAL, network
from resnet_sde.theorems.fischer.paper import DERIVED, SOURCE
from resnet_sde.theorems.lab import VARIANCE_OFF, Lab

START = 0.05
BIAS = 0.05
SATURATING = (*RESIDUAL, "λ = 1", "a saturating φ", "inputs short of saturation", "width → ∞")


def _base(variance: float = 1.0, bias: float = BIAS) -> Model:
    """Networks of erf; the residual scale is what is asked for."""
    return network(ERF, variance, bias, 1.0)


def _best(variance: float = 1.0, bias: float = BIAS, start: float = START, *, depth: int) -> Optimum:
    return diagonal_optimum(_base(variance, bias), start, depth=depth)


def _scale(found: Optimum) -> float:
    """ρ*; not a number where there is none."""
    return math.nan if found.scale is None else found.scale


# Closed formulas of erf


def _moment(k: complex, c: complex | None = None) -> complex:
    """E φ(u)φ(v) for variances k and covariance c; for one variable if that is left out."""
    return complex(2 / np.pi * np.arcsin(2 * (k if c is None else c) / (1 + 2 * k)))


def _slope(k: complex, *, bent: bool = True) -> complex:
    """Its derivative in k for one variable; without φφ'' it is E φ'²."""
    root = complex(np.sqrt(1 + 4 * k))
    return 4 / np.pi / (root * (1 + 2 * k) if bent else root)


def _log_response(s: complex, depth: int, bent: bool) -> complex:
    """Log of the response to the length of the input, at ρ² = s."""
    k, total = complex(START), 0j
    for _ in range(depth):
        total += np.log(1 + s * _slope(k, bent=bent))
        k += s * (_moment(k) + BIAS)
    return complex(total + np.log(_slope(k, bent=bent)))


def _log_separation(s: complex, depth: int, cosine: float) -> complex:
    """Log of the response of the product of two inputs of equal length."""
    k, c, total = complex(START), complex(START * cosine), 0j
    for layer in range(depth + 1):
        e = 4 / np.pi / np.sqrt((1 + 2 * k) ** 2 - 4 * c * c)
        total += np.log(1 + s * e if layer < depth else e)
        k, c = k + s * (_moment(k) + BIAS), c + s * (_moment(k, c) + BIAS)
    return complex(total)


def _argmax(log_response: Callable[[complex], complex], around: float) -> float:
    """The scale within a factor of 4 at which the derivative of a log response is 0; by complex steps."""

    def derivative(log_scale: float) -> float:
        return log_response(math.exp(2 * log_scale) * (1 + 1e-100j)).imag

    ends = math.log(around / 4), math.log(4 * around)
    if derivative(ends[0]) * derivative(ends[1]) > 0:
        return math.nan
    return math.exp(brentq(derivative, *ends, xtol=1e-14))


@theorem(
    "optimal-scale",
    words="The residual scale of the largest response is where saturation at the readout outweighs "
    "what the skip branches gain; deep networks reach it when the mean square of their last states "
    "is K*, which depends on σ_b²/σ_w² alone. Two inputs are separated most at a larger scale.",
    statement=r"\rho^* = \mathrm{arg\,max}_\rho\, a(K^L) \prod_{l<L} (1 + \rho^2 \sigma_w^2\, a(K^l)), "
    r"\qquad (f(K^*) + \sigma_b^2/\sigma_w^2)\, f''(K^*) + f'(K^*)^2 = 0",
    assumptions=SATURATING,
    source=DERIVED,
    claims=4,
    budgets={"quick": {"depth": 10}, "full": {"depth": 60}},
    controls={"without the term of φφ''": {"bent": False}, **VARIANCE_OFF},
)
def optimal_scale(lab: Lab, *, depth: int, bent: bool = True) -> Iterator[Claim]:
    """Against roots of exact derivatives; K* of erf solves √(1 + 4K) = (1 + 3K)(π f(K) + π r)."""
    for layers in (5, depth):
        exact = _argmax(partial(_log_response, depth=layers, bent=bent), 1.02 / math.sqrt(layers))
        found = _scale(_best(lab.variance, depth=layers)) / exact
        yield equal(f"ρ* / argmax, depth {layers}", found, 1.0, 1e-7)
    exact = _argmax(partial(_log_separation, depth=depth, cosine=0.3), 2.9 / math.sqrt(depth))
    found = _scale(off_diagonal_optimum(_base(lab.variance), START, 0.3, depth=depth)) / exact
    yield equal(f"ρ* of two inputs / argmax, depth {depth}", found, 1.0, 1e-7)

    def balance(k: float) -> float:
        return math.sqrt(1 + 4 * k) - (1 + 3 * k) * math.pi * (_moment(k).real + BIAS)

    kernel = float(brentq(balance, 1e-3, 1.0, xtol=1e-14))
    ratio = saturation_kernel(ERF, BIAS / lab.variance) / kernel
    yield equal("K* / root", ratio, 1.0, 1e-9)


@theorem(
    "inverse-root-law",
    words="The optimal residual scale falls like L^{−1/2}, the critical scaling of white weights; "
    "its prefactor is the time in which the kernel flows to K*, and the next order is known.",
    statement=r"\rho^*{}^2 L = T + c/L + O(L^{-2}), \qquad T = \int_{K^0}^{K^*} "
    r"\frac{dK}{\sigma_w^2 f(K) + \sigma_b^2}",
    assumptions=SATURATING,
    source=DERIVED,
    claims=4,
    budgets={"quick": {"depth": 100}, "full": {"depth": 400}},
    controls={
        "beta off by 0.05": {"beta": 0.55},
        "without the 1/L term": {"method": "continuum"},
        "bias off by 5 %": {"bias": 1.05 * BIAS},
    },
)
def inverse_root_law(
    lab: Lab, *, depth: int, method: str = "corrected", bias: float = BIAS, beta: float = 0.5
) -> Iterator[Claim]:
    """At depths L to 4L, where the exponent of L is 0.503 and less."""
    depths = (depth, 2 * depth, 4 * depth)
    best = [_best(bias=bias, depth=n) for n in depths]
    scales = [_scale(found) for found in best]
    exponent = math.log(scales[0] / scales[2]) / math.log(4)
    yield equal("exponent of depth", exponent, beta, 0.005)
    last = saturation_kernel(ERF, BIAS)
    exact, _ = quad(lambda k: 1 / (_moment(k).real + BIAS), START, last, epsabs=1e-12)
    times = [n * scale**2 for n, scale in zip(depths, scales, strict=True)]
    yield equal("prefactor² / T", (2 * times[2] - times[1]) / exact, 1.0, 0.001)
    off = []
    for n, scale in zip(depths, scales, strict=True):
        off.append(abs(_scale(diagonal_optimum(_base(bias=bias), START, depth=n, method=method)) / scale - 1))
    yield equal("order of what the expansion leaves", math.log(off[0] / off[2], 4), 2.0, 0.05)
    assert best[2].kernel is not None
    yield equal("K^L(ρ*) / K*", best[2].kernel / last, 1.0, 0.008)


@theorem(
    "universality",
    words="Only σ_w² ρ² and σ_b² ρ² matter: the optimal scale is the same function of both up to "
    "their size, and the mean square of the last states of their ratio alone. At a fixed small "
    "bias the scale hardly depends on σ_w², which without bias it would as 1/σ_w.",
    statement=r"\rho^*(c\,\sigma_w^2, c\,\sigma_b^2) = c^{-1/2} \rho^*(\sigma_w^2, \sigma_b^2); "
    r"\qquad K^L(\rho^*) \to K^*(\sigma_b^2/\sigma_w^2)",
    assumptions=SATURATING,
    source=DERIVED,
    claims=3,
    budgets={"quick": {"depth": 50}, "full": {"depth": 200}},
    controls={"bias off by 5 %": {"bias": 1.05 * BIAS}, "bias left as it is": {"along": False}},
)
def universality(lab: Lab, *, depth: int, bias: float = BIAS, along: bool = True) -> Iterator[Claim]:
    """Factors of 7, 2 and 4 in the variances, and other inputs."""
    first = _scale(_best(depth=depth))
    other = _scale(_best(7.0, 7 * bias if along else bias, depth=depth))
    yield equal("√7 ρ*(7σ_w², 7σ_b²) / ρ*", math.sqrt(7) * other / first, 1.0, 1e-8)
    last = saturation_kernel(ERF, BIAS)
    # From a depth to twice that, what falls like 1/depth is taken out.
    ends = [
        _best(2.0, 2 * bias if along else bias, 0.1, depth=n).kernel or math.nan for n in (depth, 2 * depth)
    ]
    reached = (2 * ends[1] - ends[0]) / last
    yield equal("K^L(ρ*) / K*, σ_w² = 2, K_0 = 0.1", reached, 1.0, 0.002)
    scales = [_scale(_best(variance, bias if along else 0.0, depth=depth)) for variance in (0.5, 2.0)]
    yield at_most("ρ* at σ_w² = 1/2 / ρ* at σ_w² = 2", scales[0] / scales[1], 1.4)


@theorem(
    "usual-scales",
    words="Residual scales between 0.1 and 0.3, which practice settled on, are those of the "
    "largest response in networks of 13 to 106 layers; for inputs that are too long for that "
    "response they separate two orthogonal inputs best in networks of 21 to 171.",
    statement=r"0.1 \le \rho^* \le 0.3 \iff 13 \le L \le 106 \quad (\mathrm{erf},\; \sigma_w^2 = "
    r"1,\; \sigma_b^2 = K^0 = 0.05)",
    assumptions=(*SATURATING, "erf with σ_w² = 1 and σ_b² = 0.05; K_0 = 0.05, and 1 for two inputs"),
    source=f"{SOURCE} and Szegedy et al. (2017) for the range; depths derived here",
    claims=4,
    budgets={"quick": {"method": "corrected"}, "full": {"method": "exact"}},
    controls={**VARIANCE_OFF, "bias off by 5 %": {"bias": 1.05 * BIAS}},
)
def usual_scales(lab: Lab, *, method: str, bias: float = BIAS) -> Iterator[Claim]:
    """The first depth at which ρ* is 0.3 or less, and the last at which it is 0.1 or more."""
    model = _base(lab.variance, bias)

    @cache
    def of_length(depth: int) -> float:
        return _scale(diagonal_optimum(model, START, depth=depth, method=method))

    @cache
    def of_product(depth: int) -> float:
        return _scale(off_diagonal_optimum(model, 1.0, 0.0, depth=depth, method=method))

    for what, scale, depths in (
        ("largest response", of_length, (13, 106)),
        ("largest separation", of_product, (21, 171)),
    ):
        first, last = (_crossing(scale, bound, near) for bound, near in zip((0.3, 0.1), depths, strict=True))
        yield equal(f"{what}, first depth", math.ceil(first), depths[0])
        yield equal(f"{what}, last depth", math.floor(last), depths[1])


def _crossing(scale: Callable[[int], float], bound: float, near: int) -> float:
    """The depth at which ρ*, between integers as a power, has this value."""
    left = near
    while scale(left) < bound:
        left -= 1
    while scale(left + 1) >= bound:
        left += 1
    ends = [math.log(scale(n) / bound) for n in (left, left + 1)]
    return left + ends[0] / (ends[0] - ends[1])


@theorem(
    "no-optimum",
    words="The response has no maximum if φ does not saturate, where it grows with the residual "
    "scale, nor for inputs that are long enough to saturate it, where it falls from the start: "
    "beyond K*, at every depth.",
    statement=r"\varphi(x) \sim |x|: \; \partial_\rho R > 0; \qquad K^0 \ge "
    r"K^*(\sigma_b^2/\sigma_w^2): \; \partial_\rho R < 0 \text{ for all } \rho \text{ and } L",
    assumptions=(*RESIDUAL, "λ = 1", "width → ∞"),
    source="derived here",
    claims=4,
    budgets={"quick": {"points": 20}, "full": {"points": 100}},
    controls={"K* for 5 % more bias": {"bias": 1.05 * BIAS}, "shorter inputs": {"long": 0.2}},
)
def no_optimum(lab: Lab, *, points: int, bias: float = BIAS, long: float = 1.0) -> Iterator[Claim]:
    """Steps of the log response along scales from 0.01 to 10, and next to 0."""
    grid = np.geomspace(0.01, 10, points)
    steps = [_steps(phi, 0.5, grid, 20) for phi in (RELU, LINEAR, GELU)]
    yield at_least("smallest step, ReLU, linear, GELU", min(map(min, steps)), 0.0)
    yield at_most("largest step, erf, long inputs", max(_steps(ERF, long, grid, 20)), 0.0)
    limit = saturation_kernel(ERF, bias)
    for name, factor, claim, furthest in (("short of", 0.99, at_least, min), ("beyond", 1.01, at_most, max)):
        first = [
            _steps(ERF, factor * limit, np.array([1e-6, 3e-3]) / depth**0.5, depth)[0] for depth in (1, 3, 40)
        ]
        yield claim(f"first step, erf, 1 % {name} K*, 1 to 40 layers", furthest(first), 0.0)


def _steps(phi: Activation, start: float, scales: np.ndarray, depth: int) -> list[float]:
    """Increments of the log response between residual scales."""
    models = [network(phi, 1.0, BIAS, float(scale)) for scale in scales]
    return np.diff(np.log([output_response(model, start, depth=depth) for model in models])).tolist()
