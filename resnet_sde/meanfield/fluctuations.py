r"""How much the gradients of single networks of finite width scatter around their mean square.

At width N the log of the mean squared gradient of one feed-forward network is a random walk along its
layers, with variance v and a drift of log χ_1 + O(1/N) a layer. Lengths fluctuate too, with a memory of
ξ_q layers, and carry the gradients along: with f = E φ'² as a function of q, a = d log f/dq and
S = σ_w⁴ Var φ²,

    N v = 3 E φ'⁴/f² − 1 + a² S/(1 − χ_q)² + 2 a σ_w² (E φ²φ'²/f − E φ²)/(1 − χ_q).

Of these 2 are from the matrix, 3 (E φ'⁴/f² − 1) from the sum over neurons, the rest from the lengths. Derived
here and checked against networks by the tests.
"""

from __future__ import annotations

import functools
import math

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from resnet_sde.activations import Activation, AlphaReLU
from resnet_sde.meanfield.phases import check_networks, fixed_points

_FARTHEST, _PANELS, _ON_PANEL = 12.0, 48, 20  # of the rule of quadrature


def gradient_log_variance(
    activation: Activation, sigma_w2: Tensor | float, sigma_b2: Tensor | float = 0.0
) -> Tensor:
    """Variance that each layer adds to the log of the mean squared gradient of one network, times the width.

    To leading order in 1/width, where lengths have settled. The drift of the logarithm is log χ_1 − v/2 for
    ReLU; for other activations there are more terms of the order of v. NaN where lengths do not settle at
    a positive number, but for homogeneous activations; infinite where E φ'⁴ is.

    Example:
        >>> from resnet_sde import RELU
        >>> round(float(gradient_log_variance(RELU, 2.0)), 10)
        5.0
    """
    w, b, _ = check_networks(sigma_w2, sigma_b2, 1.0)
    found = fixed_points(activation, w, b)
    q = torch.where((found.q_star > 0) & torch.isfinite(found.q_star), found.q_star, math.nan)
    if isinstance(activation, AlphaReLU) and activation.alpha <= 0.75:
        return torch.where(q.isnan(), q, math.inf)
    if activation.homogeneous:
        q = torch.ones_like(q)
    z, weights = _rule()
    u = q[..., None].sqrt() * z
    squares, slopes = activation(u).square(), activation.prime(u).square()
    mean, slope = squares @ weights, slopes @ weights
    scatter = 3 * (slopes.square() @ weights) / slope.square() - 1
    if activation.homogeneous:
        return scatter
    tilt = (slopes * (z.square() - 1)) @ weights / (2 * q * slope) / (1 - found.chi_q)
    spread = squares.square() @ weights - mean.square()
    shared = (squares * slopes) @ weights / slope - mean
    return scatter + tilt.square() * w.square() * spread + 2 * tilt * w * shared


@functools.cache
def _rule() -> tuple[Tensor, Tensor]:
    """Nodes and weights for standard normal means: panels that halve towards 0, where φ may bend or jump."""
    x, weight = (torch.from_numpy(part) for part in leggauss(_ON_PANEL))
    ends = _FARTHEST * 2.0 ** -torch.arange(_PANELS + 1, dtype=torch.float64)
    ends[-1] = 0.0
    half = (ends[:-1] - ends[1:])[:, None] / 2
    z = (ends[1:, None] + half * (1 + x)).reshape(-1)
    w = (half * weight).reshape(-1) * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return torch.cat([-z, z]), torch.cat([w, w])
