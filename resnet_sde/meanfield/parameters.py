"""Mean squared gradients of the parameters of infinitely wide networks with white weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_sde.blocks import SingleLayer
from resnet_sde.meanfield.one_time import Lengths, lengths
from resnet_sde.model import Model

_LARGEST = 1e100


@dataclass(frozen=True)
class ParameterGradients:
    """Mean squares of the gradients of one entry, over the mean squared gradient χ^L of a top coordinate.

    All tensors have shape (depth,), first layer first, and hold natural logarithms, so that no depth
    overflows; an absent matrix is None. Parameters are the entries themselves, of variance σ² / width.

    log_state: the gradient of the state that the layer puts out.
    log_outer, log_outer_bias: V and a (of one matrix: W and b).
    log_inner, log_inner_bias: W and b of a block with an inner matrix.
    """

    log_state: Tensor
    log_outer: Tensor | None
    log_outer_bias: Tensor | None
    log_inner: Tensor | None
    log_inner_bias: Tensor | None


def parameter_gradients(model: Model, q0: float = 1.0, *, depth: int) -> ParameterGradients:
    """Mean squared gradients of the weights and biases, layer by layer (Yang & Schoenholz, 2017).

    The gradient at the top is taken independent of the weights.

    Args:
        model: white weights, any block.
        q0: mean square per coordinate of h_0.
        depth: number of layers.

    Raises:
        ValueError: the law is not white, or a number is out of range.

    Example:
        >>> from resnet_sde import RELU, Model, TwoLayer, WhiteNoise
        >>> model = Model(TwoLayer(RELU, 2.0, 0.0, 1.0, 0.0), WhiteNoise(), 40, beta=0.0)
        >>> found = parameter_gradients(model, depth=100)
        >>> bool((found.log_inner[0] - found.log_inner[-1]).abs() < 1e-12)  # ReLU: the same at every layer
        True
    """
    model.check_plain("observable(parameters=True) with simulate")
    along: Lengths = lengths(model, q0, depth=depth)
    depth = len(along.log_q) - 1
    growth, log_q = along.log_gradient_growth, along.log_q[:-1]
    state = growth[-1] - growth[1:]
    branch = state + 2 * torch.tensor(model.alpha(depth), dtype=torch.float64).log()
    weight, bias, of_weights, _ = model.block.variances
    q = log_q.exp().clamp(1 / _LARGEST, _LARGEST)
    r = weight * q + bias
    phi, excess = model.block.activation, log_q - q.log()
    # Beyond the largest state that is asked for, a second moment grows like the state itself.
    outer = branch + phi.second_moment(r).log() + excess
    if isinstance(model.block, SingleLayer):
        return ParameterGradients(state, outer, branch, None, None)
    inside = branch + phi.second_moment_prime(r).log() + torch.tensor(of_weights, dtype=torch.float64).log()
    has_outer = "outer" in model.block.shapes(1)
    return ParameterGradients(
        state, outer if has_outer else None, branch if has_outer else None, inside + log_q, inside
    )
