"""The residual scale ρ at which a network responds most to its input (Fischer, Dahmen & Helias, 2023).

Deeper networks want a smaller ρ, as L^{−1/2}, which is the critical scaling of white weights; the response
fixes the prefactor. Kernels and responses depend on ρ²σ_w² and ρ²σ_b² only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial import chebyshev
from scipy.optimize import brentq

from resnet_sde.activations import Activation
from resnet_sde.blocks import SingleLayer
from resnet_sde.checks import positive_integer
from resnet_sde.finite_width.depth_flow import Growth, pair_peak, saturation_kernel
from resnet_sde.finite_width.finite_size import check_model
from resnet_sde.finite_width.phi_squared_moments import phi_squared_moments
from resnet_sde.finite_width.response import (
    check_cosine,
    log_off_diagonal_response,
    log_output_response,
    scaled,
)
from resnet_sde.meanfield.one_time import check_variance, lengths
from resnet_sde.model import Model

METHODS = ("exact", "continuum", "corrected")
_NODES = 9  # of the polynomial through the logarithm of the response: error 3e-10 in ρ
_HALF_WIDTH = 0.1  # of its interval in ln ρ
_MOST_MOVES = 50
_FAR = math.log(1000.0)


@dataclass(frozen=True)
class Optimum:
    """The best residual scale of a network of this depth, or why there is none.

    scale: ρ; None where the response has no maximum.
    reason: a sentence where there is none, else None.
    kernel: mean square of the last state at this ρ and infinite width.
    gain: the response there over that at ρ → 0.
    """

    depth: int
    scale: float | None
    reason: str | None = None
    kernel: float | None = None
    gain: float | None = None

    @property
    def prefactor(self) -> float | None:
        """ρ √L, which tends to a constant as the network gets deeper."""
        return None if self.scale is None else self.scale * math.sqrt(self.depth)


def diagonal_optimum(model: Model, q0: float = 1.0, *, depth: int, method: str = "exact") -> Optimum:
    """Where the readout's variance responds most to the length of the input.

    There is a maximum only if φ saturates and the input is short of saturating it: for K_0 < K*(σ_b²/σ_w²),
    see `saturation_kernel`, at every depth alike.

    Args:
        model: one matrix a layer, skip 1; its own gain and beta are not used.
        q0: K_0, mean square per coordinate of h_0.
        depth: number of layers L.
        method: "exact", the maximum at this depth; "continuum", its limit for large L, ρ² L = ∫ dK / G from
            K_0 to K*; "corrected", with the next order in 1/L.

    Raises:
        ValueError: the theory does not cover the model, or an argument is out of range.

    Example:
        >>> from resnet_sde import ERF, Model, SingleLayer, WhiteNoise
        >>> model = Model(SingleLayer(ERF, 1.0, 0.05), WhiteNoise(), 64)
        >>> print(f"{diagonal_optimum(model, 0.05, depth=20).scale:.6f}")
        0.236499
    """
    block = _check(model, q0, depth, method)
    refused = _no_skip(model, depth)
    if refused is not None:
        return refused
    growth = Growth(block)
    peak = growth.peak(q0)
    if not q0 < peak < math.inf:
        return Optimum(depth, None, _unbounded(block.activation) if peak > q0 else _falling(model, q0))
    time, correction = growth.time(q0, peak), growth.corrected(q0, peak) if method != "continuum" else 0.0

    def response(scale: float) -> float:
        return log_output_response(scaled(model, scale), q0, depth=depth)

    return _found(model, q0, depth, method, response, time, correction)


def branch_optimum(model: Model, q0: float = 1.0, *, depth: int) -> Optimum:
    """Where the last residual branch responds most to the length of the input.

    It is the readout of a network of one layer less. Arguments and errors as in `diagonal_optimum`.
    """
    _check(model, q0, depth, "exact")
    if depth == 1:
        return Optimum(1, None, "The only branch sees the input itself, whatever the residual scale is.")
    less = diagonal_optimum(model, q0, depth=depth - 1)
    if less.scale is None:
        return Optimum(depth, None, less.reason)
    kernel = float(lengths(scaled(model, less.scale), q0, depth=depth).q[-1])
    return Optimum(depth, less.scale, None, kernel, less.gain)


def off_diagonal_optimum(
    model: Model, q0: float = 1.0, cosine: float = 0.0, *, depth: int, method: str = "exact"
) -> Optimum:
    """Where two inputs of equal length are separated most; grows without bound as their cosine goes to 1.

    Args:
        model: one matrix a layer, skip 1; its own gain and beta are not used.
        q0: mean square per coordinate of both states h_0.
        cosine: of the two states h_0.
        depth: number of layers.
        method: as in `diagonal_optimum`.

    Raises:
        ValueError: the theory does not cover the model, or an argument is out of range.
    """
    block = _check(model, q0, depth, method)
    cosine = check_cosine(cosine)
    refused = _no_skip(model, depth)
    if refused is not None:
        return refused
    if cosine == 1.0:
        text = "Inputs in one direction are separated the more the larger the residual scale is."
        return Optimum(depth, None, text)
    if block.activation.homogeneous:
        return Optimum(depth, None, _unbounded(block.activation))
    peak = pair_peak(block, q0, cosine)
    if peak is None:
        return Optimum(depth, None, _no_pair_peak(model, q0, cosine))

    def response(scale: float) -> float:
        return log_off_diagonal_response(scaled(model, scale), q0, cosine, depth=depth)

    correction = peak.correction if method != "continuum" else 0.0
    return _found(model, q0, depth, method, response, peak.time, correction)


def saturation_scale(
    model: Model, q0: float = 1.0, *, kernel: float, depth: int, method: str = "exact"
) -> Optimum:
    """The residual scale at which the last states have this mean square, K_sat.

    For erf, 1/2 makes erf(h) uniform on (−1, 1); `saturation_kernel` is where the diagonal response peaks.

    Args:
        model: one matrix a layer, skip 1; its own gain and beta are not used.
        q0: mean square per coordinate of h_0.
        kernel: K_sat.
        depth: number of layers.
        method: "exact" or "continuum", or "midpoint", from the rate of growth half way, or "logarithmic",
            from f(K) ≈ f'(0) K.

    Raises:
        ValueError: the theory does not cover the model, or an argument is out of range.
    """
    block = _check(model, q0, depth, method, ("exact", "continuum", "midpoint", "logarithmic"))
    target = check_variance("kernel", kernel)
    refused = _no_skip(model, depth)
    if refused is not None:
        return refused
    if target <= q0 or block.sigma_w2 == block.sigma_b2 == 0:
        text = f"The states start from a mean square of {q0:g}, which is not below {target:g}, and only grow."
        return Optimum(depth, None, text)
    growth = Growth(block)
    time = growth.time(q0, target)
    if method == "midpoint":
        time = (target - q0) / float(growth.rate(torch.tensor([(q0 + target) / 2], dtype=torch.float64)))
    elif method == "logarithmic":
        slope = float(phi_squared_moments(block.activation).slope(torch.tensor([1e-12], dtype=torch.float64)))
        rate, bias = block.sigma_w2 * slope, block.sigma_b2
        time = math.log((rate * target + bias) / (rate * q0 + bias)) / rate
    scale = math.sqrt(time / depth)
    if method == "exact":
        scale = _reaching(model, q0, target, depth, scale)
    return _described(model, q0, depth, scale)


def sensitive_band(model: Model, q0: float = 1.0, *, depth: int, level: float = 0.95) -> tuple[float, float]:
    """The residual scales between which the diagonal response is above this share of its maximum.

    Args:
        model: one matrix a layer, skip 1; its own gain and beta are not used.
        q0: mean square per coordinate of h_0.
        depth: number of layers.
        level: share of the maximum, strictly between 0 and 1.

    Raises:
        ValueError: there is no maximum, or as `diagonal_optimum`.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}; give for example 0.95")
    best = diagonal_optimum(model, q0, depth=depth)
    if best.scale is None or best.gain is None:
        raise ValueError(f"the response has no maximum, so no band: {best.reason}")
    top = log_output_response(scaled(model, best.scale), q0, depth=depth) + math.log(level)

    def above(scale: float) -> float:
        return log_output_response(scaled(model, scale), q0, depth=depth) - top

    low = 0.0 if best.gain * level <= 1 else float(brentq(above, 0.0, best.scale, xtol=1e-12))
    high = best.scale
    while above(high) > 0:
        high *= 1.5
    return low, float(brentq(above, best.scale, high, xtol=1e-12))


def _check(
    model: Model, q0: float, depth: int, method: str, methods: tuple[str, ...] = METHODS
) -> SingleLayer:
    positive_integer("depth", depth, "give for example 20")
    check_variance("q0", q0)
    if method not in methods:
        raise ValueError(f"unknown method {method!r}; give one of {', '.join(methods)}")
    block = check_model(model)
    phi_squared_moments(block.activation)
    return block


def _found(
    model: Model,
    q0: float,
    depth: int,
    method: str,
    response: Callable[[float], float],
    time: float,
    correction: float,
) -> Optimum:
    """The optimum from its expansion ρ² L = time + correction / L."""
    square = time + correction / depth
    scale = math.sqrt((square if square > 0 else time) / depth)
    if method == "exact":
        highest = _highest(response, scale)
        if highest is None:
            text = f"At depth {depth} the response grows as far as the residual scale does."
            return Optimum(depth, None, text)
        scale = highest
    return _described(model, q0, depth, scale, math.exp(response(scale) - response(0.0)))


def _described(model: Model, q0: float, depth: int, scale: float, gain: float | None = None) -> Optimum:
    kernel = float(lengths(scaled(model, scale), q0, depth=depth).q[-1])
    return Optimum(depth, scale, None, kernel, gain)


def _highest(response: Callable[[float], float], start: float) -> float | None:
    """The maximum near a scale, where the slope of a polynomial in ln ρ is 0.

    None if the response still rises at a thousand times the scale.
    """
    centre, t = math.log(start), chebyshev.chebpts1(_NODES)
    for _ in range(_MOST_MOVES):
        around = [response(math.exp(centre + _HALF_WIDTH * x)) for x in t]
        slope = chebyshev.chebder(chebyshev.chebfit(t, around, _NODES - 1))
        left, right = chebyshev.chebval(np.array([-0.6, 0.6]), slope)
        if left > 0 > right:
            place = brentq(chebyshev.chebval, -0.6, 0.6, args=(slope,), xtol=1e-15)
            return math.exp(centre + _HALF_WIDTH * float(place))
        uphill = _climb(response, centre, _HALF_WIDTH * (1.0 if right > 0 else -1.0))
        if uphill is None:
            return None
        centre = uphill
    raise RuntimeError("the maximum of the response was not found; give method 'corrected' or 'continuum'")


def _climb(response: Callable[[float], float], centre: float, step: float) -> float | None:
    """The first ln ρ in these steps after which the response no longer rises; None if there is none."""
    first, height = centre, response(math.exp(centre))
    while abs(centre - first) < _FAR:
        after = response(math.exp(centre + step))
        if after <= height:
            return centre
        centre, height = centre + step, after
    return None


def _reaching(model: Model, q0: float, kernel: float, depth: int, start: float) -> float:
    """The scale at which the last kernel has this value: it grows with the scale."""

    def above(scale: float) -> float:
        return float(lengths(scaled(model, scale), q0, depth=depth).log_q[-1]) - math.log(kernel)

    low, high = start, start
    while above(low) > 0:
        low /= 1.5
    while above(high) < 0:
        high *= 1.5
    return float(brentq(above, low, high, xtol=1e-300, rtol=1e-14)) if low < high else start


def _no_skip(model: Model, depth: int) -> Optimum | None:
    """The answer for other skip weights than 1."""
    if model.skip == 1.0:
        return None
    what = f"The skip weight is {model.skip:g}"
    if model.skip == 0:
        what = "A feed-forward network has no skip branch"
    return Optimum(depth, None, f"{what}: an optimal residual scale is known for skip weight 1 only.")


def _unbounded(activation: Activation) -> str:
    return f"The response grows with the residual scale without bound: {_name(activation)} does not saturate."


def _falling(model: Model, q0: float) -> str:
    block = check_model(model)
    if block.sigma_w2 == 0:
        return "The response does not depend on the length of the input: sigma_w2 is 0."
    limit = saturation_kernel(block.activation, block.sigma_b2 / block.sigma_w2)
    text = f"The response falls with the residual scale from 0 on: inputs of mean square {q0:g}"
    if limit == 0:
        return f"{text} and biases of variance {block.sigma_b2:g} leave no room before saturation."
    short = f"give one below {limit:.6g}"
    return f"{text} leave {_name(block.activation)} no room before saturation; {short}."


def _no_pair_peak(model: Model, q0: float, cosine: float) -> str:
    block = check_model(model)
    return (
        f"The separation of inputs of mean square {q0:g} and cosine {cosine:g} has no maximum in the "
        f"residual scale for {_name(block.activation)}."
    )


def _name(activation: Activation) -> str:
    return type(activation).__name__
