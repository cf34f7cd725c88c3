r"""How much the output kernel of an infinitely wide network moves with its input kernel.

Two responses have an optimum in the residual scale ρ (Fischer, Dahmen & Helias, 2023, for the first): that of
the variance of the readout to the length of the input, and that of the readout's covariance between two
inputs to the covariance of the inputs at fixed lengths, by which their separation is amplified. Both are the
product of what the skip branches carry on and of what φ still passes at the end.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from resnet_sde.finite_width.finite_size import Readout, check_model, check_range
from resnet_sde.finite_width.phi_squared_moments import phi_squared_moments
from resnet_sde.meanfield.one_time import lengths
from resnet_sde.meanfield.pairs import kernel
from resnet_sde.model import Model


def output_response(model: Model, q0: float = 1.0, *, depth: int, out_sigma_w2: float | None = None) -> float:
    """∂C/∂K_0: the variance C of the readout against the mean square K_0 of the input state h_0.

    Args:
        model: one matrix a layer; any skip and gain.
        q0: mean square per coordinate of h_0.
        depth: number of layers.
        out_sigma_w2: variance of the readout matrix; that of the block if None.

    Raises:
        ValueError: the theory does not cover the model, or a number is out of range.

    Example:
        >>> from resnet_sde import ERF, Model, SingleLayer, WhiteNoise
        >>> model = Model(SingleLayer(ERF, 1.0, 0.05), WhiteNoise(), 64, beta=0.0, gain=0.2)
        >>> round(output_response(model, 0.05, depth=20), 8)
        1.46381989
    """
    readout = Readout.of(model, out_sigma_w2, None)
    return readout.sigma_w2 * math.exp(log_output_response(model, q0, depth=depth))


def off_diagonal_response(
    model: Model, q0: float = 1.0, cosine: float = 0.0, *, depth: int, out_sigma_w2: float | None = None
) -> float:
    """∂C_12/∂K_12: the covariance of the readouts of two inputs against that of the inputs, lengths fixed.

    It is the factor by which the squared distance of two inputs grows from h_0 to the readout.

    Args:
        model: one matrix a layer; any skip and gain.
        q0: mean square per coordinate of both states h_0.
        cosine: of the two states h_0.
        depth: number of layers.
        out_sigma_w2: variance of the readout matrix; that of the block if None.

    Raises:
        ValueError: the theory does not cover the model, or a number is out of range.
    """
    readout = Readout.of(model, out_sigma_w2, None)
    return readout.sigma_w2 * math.exp(log_off_diagonal_response(model, q0, cosine, depth=depth))


def scaled(model: Model, scale: float) -> Model:
    """The model with this residual scale ρ at every depth."""
    return replace(model, gain=scale, beta=0.0)


def log_output_response(model: Model, q0: float, *, depth: int) -> float:
    """Natural logarithm of the response for a readout of variance 1."""
    block = check_model(model)
    slope = phi_squared_moments(block.activation).slope(check_range(lengths(model, q0, depth=depth).q))
    return _log_product(model, slope, depth)


def log_off_diagonal_response(model: Model, q0: float, cosine: float, *, depth: int) -> float:
    """The same for the off-diagonal response."""
    block = check_model(model)
    start = torch.full((2, 2), float(q0), dtype=torch.float64)
    start[0, 1] = start[1, 0] = q0 * check_cosine(cosine)
    both = check_range(kernel(model, start, depth=depth))
    q, between = both[:, 0, 0], both[:, 0, 1]
    return _log_product(model, block.activation.dual_prime(q, q, gap=1 - between / q), depth)


def check_cosine(cosine: float) -> float:
    """A number in [−1, 1]."""
    if not -1 <= cosine <= 1:
        raise ValueError(f"the cosine of two inputs must lie in [-1, 1], got {cosine}; give for example 0")
    return float(cosine)


def _log_product(model: Model, slope: Tensor, depth: int) -> float:
    """Log of slope_L Π_l (λ² + ρ²σ_w² slope_l)."""
    strength = model.alpha(depth) ** 2 * check_model(model).sigma_w2
    carried = strength * slope[:-1]
    skip2 = model.skip**2
    logs = torch.log1p(carried) if skip2 == 1.0 else torch.log(skip2 + carried)
    return float(logs.sum() + slope[-1].log())
