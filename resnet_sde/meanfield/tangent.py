"""The tangent kernel of infinitely wide networks with white weights."""

from __future__ import annotations

import torch
from torch import Tensor

from resnet_sde.meanfield.devices import computed_on_the_cpu
from resnet_sde.meanfield.one_time import lengths as of_one
from resnet_sde.meanfield.pairs import kernel
from resnet_sde.model import Model

_LARGEST = 1e100


def _sizes(model: Model, q: Tensor) -> Tensor:
    """Root mean squares of the sums that normalizations divide by, (depth, input); q those of states."""
    found = [of_one(model, float(q0), depth=len(q) - 1).log_sum[1:] for q0 in q[0]]
    return (torch.stack(found, 1) / 2).exp()


@computed_on_the_cpu
def tangent_kernel(model: Model, k0: Tensor, *, depth: int) -> Tensor:
    r"""Θ_L(x_a, x_b) of f = ⟨p_L, h_L⟩ / √d, with p_L standard normal, at infinite width.

    It is what `observables.tangent_kernel` tends to: derivatives are those in the entries of the matrices and
    biases of all residual layers, of variance 1 each. With Φ' = σ_v² E φ'(u) φ'(v) and P the covariance of
    the gradients, which is 1 at the top,

    .. math:: Θ = Σ_k α² P_{k+1} [E g(u) g(v) + Φ'_k (σ_w² K_k + σ_b²)],

    where the first part is that of an outer matrix and its bias, the second that of an inner one (the tangent
    kernel of Jacot et al., 2018, for residual networks). Behind a normalization P is divided by the sizes of
    the two sums first.

    Args:
        model: white weights, any block of an outer matrix, an inner one or both.
        k0: (input, input), kernel of the states h_0, as for `kernel`.
        depth: number of layers.

    Returns:
        (input, input), float64; that of all layers together.

    Raises:
        ValueError: the law is not white, k0 is no kernel, states leave 10^±100, or the block has other
            matrices.

    Example:
        >>> from resnet_sde import LINEAR, Model, SingleLayer, WhiteNoise
        >>> linear = Model(SingleLayer(LINEAR), WhiteNoise(), 64, beta=0.0)
        >>> float(tangent_kernel(linear, torch.eye(1), depth=3))  # depth · 2^(depth − 1)
        12.0
    """
    states = kernel(model, k0, depth=depth)
    block, alpha2 = model.block, model.alpha(len(states) - 1) ** 2
    names = block.shapes(1).keys()
    if not names <= {"inner", "outer"}:
        raise ValueError(
            f"the tangent kernel is known of blocks with matrices named inner and outer, and {block} has "
            f"{', '.join(names)}; use observables.tangent_kernel"
        )
    lengths = states.diagonal(dim1=1, dim2=2)
    if not bool(((lengths < _LARGEST) & (lengths > 1 / _LARGEST)).all()):
        raise ValueError(
            f"mean squares of states leave the range of 1e±100 within {depth} layers; give a smaller depth "
            "or gain, or a larger beta"
        )
    weight, bias, of_weights, _ = block.variances
    found, back = torch.zeros_like(states[0]), torch.ones_like(states[0])
    sizes = torch.ones_like(lengths[1:]) if model.norm is None else _sizes(model, lengths)
    for q, size, between in zip(lengths[:-1].flip(0), sizes.flip(0), states[:-1].flip(0), strict=True):
        back = back / (size[:, None] * size)
        first, second = q[:, None].expand_as(between), q.expand_as(between)
        gap = (1 - between / (first * second).sqrt()).clamp(0, 2).fill_diagonal_(0)
        r1, r2, apart = block.preactivations(first, second, gap)
        slope = of_weights * block.activation.dual_prime(r1, r2, gap=apart)
        added = torch.zeros_like(found)
        if "outer" in names:
            added = added + block.dual(first, second, gap=gap)
        if "inner" in names:
            added, slope = added + slope * (weight * between + bias), slope * weight
        found = found + alpha2 * back * added
        back = back * (model.skip**2 + alpha2 * slope)
    return found
