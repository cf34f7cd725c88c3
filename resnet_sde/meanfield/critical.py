r"""The boundary of order and chaos in feed-forward networks, and what happens beside it.

On the boundary χ_1 = 1. With q = q* for the parameter it is explicit, σ_w² = 1/E φ'²,
σ_b² = q − σ_w² E φ², so that one root in one variable gives a point of it. Dropout destroys it: ξ_c stays
finite, with a maximum near by.

References: Poole et al. (2016); Schoenholz et al. (2017), Deep information propagation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resnet_sde.activations import Activation
from resnet_sde.meanfield._roots import find_root
from resnet_sde.meanfield.devices import computed_on_the_cpu
from resnet_sde.meanfield.one_time import check_activation
from resnet_sde.meanfield.phases import MARGINAL, check_networks, fixed_points

# Where brackets are looked for; beyond, E φ'² of a GELU comes too near to 1/2 for the digits of float64.
_Q = 10 ** torch.cat([torch.linspace(-7, 12, 609, dtype=torch.float64), 12 + torch.arange(1, 129) / 32])
_PEAK = (-3.0, 3.0)  # log₁₀ of the σ_w² among which the peak of ξ_c is looked for
_ROUNDS, _POINTS = 8, 33


@computed_on_the_cpu
def critical_line(activation: Activation, sigma_b2: Tensor | float) -> Tensor:
    """The σ_w² at which χ_1 = 1, for each σ_b²: order below, chaos above.

    NaN where no stable fixed point has χ_1 = 1: for a ReLU, leaky or not, at every σ_b² > 0, for a GELU at
    small ones. With dropout χ_1 = 1 at the same σ_w²/ρ, but there forward signals notice nothing.

    Example:
        >>> from resnet_sde import TANH
        >>> round(float(critical_line(TANH, 0.05)), 10)
        1.7609546396
    """
    check_activation(activation)
    b = check_networks(1.0, sigma_b2, 1.0)[1]
    if activation.homogeneous:
        slope = activation.second_moment(torch.ones((), dtype=torch.float64))
        return torch.where(b == 0, 1 / slope, math.nan)

    def excess(x: Tensor) -> Tensor:
        q = x.exp()
        return q - activation.second_moment(q) / activation.second_moment_prime(q) - b

    on_grid = _Q - activation.second_moment(_Q) / activation.second_moment_prime(_Q)
    beyond = on_grid >= b[..., None]
    first = beyond.int().argmax(-1)
    low = torch.where(first > 0, _Q[(first - 1).clamp_min(0)], 1e-300)
    q = find_root(excess, low.log(), _Q[first].log()).exp()
    q = torch.where((first == 0) & (b == 0), 0.0, q)
    near = q.clamp_min(_Q[0])
    stable = beyond.any(-1) & (activation.mean_curvature(near, near, gap=torch.zeros_like(near)) < 0)
    slope = activation.second_moment_prime(q)
    return torch.where(stable & torch.isfinite(slope), 1 / slope, math.nan)


@computed_on_the_cpu
def critical_bias(activation: Activation, sigma_w2: Tensor | float) -> Tensor:
    """The σ_b² at which χ_1 = 1, for each σ_w²: chaos below, order above; NaN where there is none.

    NaN also where lengths settle beyond 1e16 only, as those of a GELU within 1e-9 of σ_w² = 2.

    Example:
        >>> from resnet_sde import TANH
        >>> round(float(critical_bias(TANH, 1.7609546396)), 10)
        0.05
    """
    check_activation(activation)
    w = check_networks(sigma_w2, 0.0, 1.0)[0]
    zero = torch.zeros_like(w)
    if activation.homogeneous:
        marginal = (w * activation.second_moment(zero + 1) - 1).abs() <= MARGINAL
        return torch.where(marginal, zero, math.nan)

    def excess(x: Tensor) -> Tensor:
        return w * activation.second_moment_prime(x.exp()) - 1

    chaotic = w[..., None] * activation.second_moment_prime(_Q) > 1
    falls = chaotic[..., :-1] & ~chaotic[..., 1:]
    place = falls.int().argmax(-1)
    q = find_root(excess, _Q[place].log(), _Q[place + 1].log()).exp()
    limit, rest = activation.share(q)
    b = torch.where(falls.any(-1), q * ((1 - w * limit) - w * rest), math.nan)
    at_zero = (w * activation.second_moment_prime(zero) - 1).abs() <= MARGINAL
    b = torch.where(at_zero & (activation.second_moment(zero) == 0), 0.0, b)
    return torch.where(b >= 0, b, math.nan)


def dropout_peak(activation: Activation, sigma_b2: float, *, keep_rate: float) -> tuple[float, float]:
    """The σ_w² at which ξ_c is largest in spite of dropout, and this ξ_c.

    Searched for σ_w² from 0.001 to 1000; ξ_c is taken to have one peak there.

    Raises:
        ValueError: there is no dropout, or the activation is homogeneous; then ξ_c has no peak.

    Example:
        >>> from resnet_sde import TANH
        >>> sigma_w2, xi_c = dropout_peak(TANH, 0.05, keep_rate=0.9)
        >>> round(sigma_w2, 3), round(xi_c, 5)
        (1.849, 4.67635)
    """
    if keep_rate == 1:
        raise ValueError("without dropout ξ_c is infinite at the critical σ_w²; find that with critical_line")
    if activation.homogeneous:
        raise ValueError(f"ξ_c of a {activation} network has no peak in σ_w²; give for example TANH")
    low, high = _PEAK
    for _ in range(_ROUNDS):
        at = torch.linspace(low, high, _POINTS, dtype=torch.float64)
        xi = fixed_points(activation, 10**at, sigma_b2, keep_rate=keep_rate).xi_c
        top = int(xi.argmax())
        low, high = float(at[max(0, top - 1)]), float(at[min(_POINTS - 1, top + 1)])
    return float(10 ** at[top]), float(xi[top])


@computed_on_the_cpu
def length_coupling(
    activation: Activation,
    sigma_w2: Tensor | float,
    sigma_b2: Tensor | float = 0.0,
    *,
    keep_rate: Tensor | float = 1.0,
) -> Tensor:
    """∂c'/∂q at the fixed point: how far a layer moves the correlation if one of two lengths is off.

    The map of two lengths and a correlation is triangular in linear order, with slopes χ_q, χ_q, χ_c: where
    this number is not 0, correlations settle at the slower of ξ_q and ξ_c. It is 0 at c* = 1; NaN where
    lengths do not settle at a positive number.
    """
    found = fixed_points(activation, sigma_w2, sigma_b2, keep_rate=keep_rate)
    w = check_networks(sigma_w2, sigma_b2, keep_rate)[0]
    settled = (found.q_star > 0) & torch.isfinite(found.q_star)
    q = torch.where(settled, found.q_star, 1.0)
    gap = found.one_minus_c_star
    bend = w * activation.mean_curvature(q, q, gap=gap.nan_to_num(0.0))
    coupling = (bend + (1 - gap) * (found.chi_c - found.chi_q)) / (2 * q)
    return torch.where(settled, torch.where(gap == 0, 0.0, coupling), math.nan)
