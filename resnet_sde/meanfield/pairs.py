r"""Several inputs in infinitely wide networks with white weights.

Two states are held as half their mean squared distance over the geometric mean of their mean squares, which
is 1 − cosine for equal lengths: nothing is lost to cancellation where inputs come together. Where lengths are
very different, and inputs so never come together, their products are followed instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from resnet_sde.blocks import Block
from resnet_sde.meanfield._branch import has_dual, moments_of
from resnet_sde.meanfield.devices import computed_on_the_cpu
from resnet_sde.meanfield.one_time import Lengths, as_tensor, check_keep_rate, check_layers, lengths
from resnet_sde.model import Model

# Of (√q1 − √q2)² / 2√(q1 q2): beyond, it would drown the digits of a distance in its own, and products of the
# states keep theirs.
_UNEQUAL = 4.0
_LARGEST = 100 * math.log(10)  # of |log q|: beyond it, moments are the power laws that they end in


@computed_on_the_cpu
def gaps(
    model: Model, q0: float = 1.0, gap0: float | Tensor = 1.0, *, depth: int, keep_rate: float = 1.0
) -> Tensor:
    """1 − cosine of two inputs of equal length, at every layer of an infinitely wide network.

    Args:
        model: white weights, any block, with a normalization or without.
        q0: mean square per coordinate of both states h_0.
        gap0: 1 − cosine of the states h_0, in [0, 2]; of any shape, each entry another pair.
        depth: number of layers.
        keep_rate: of dropout with masks of their own for the two inputs.

    Returns:
        (depth + 1, *gap0.shape), float64; relative accuracy is kept as the gap goes to 0.

    Raises:
        ValueError: the law is not white, or a number is out of range.

    Example:
        >>> from resnet_sde import TANH, Model, SingleLayer, WhiteNoise
        >>> ordered = Model(SingleLayer(TANH, 1.0, 0.05), WhiteNoise(), 100, beta=0.0, skip=0.0)
        >>> bool(gaps(ordered, 0.2, 0.5, depth=100)[-1] < 1e-11)
        True
    """
    start = check_gap(gap0)
    depth = check_layers(depth, 1, start.numel())
    alone = _twins(model, q0, depth, keep_rate)
    return _gaps(model, alone, alone, start.reshape(-1), keep_rate).reshape(depth + 1, *start.shape)


@computed_on_the_cpu
def gradient_cosines(
    model: Model, q0: float = 1.0, gap0: float | Tensor = 1.0, *, depth: int, keep_rate: float = 1.0
) -> Tensor:
    """Cosine of the gradients at layer 0 of two inputs whose gradients agree at layer l, for every l.

    Arguments, shape and errors as `gaps`. The ratio of two layers is the cosine of the gradients at the lower
    one where those at the upper one agree.
    """
    start = check_gap(gap0)
    depth = check_layers(depth, 1, start.numel())
    alone = _twins(model, q0, depth, keep_rate)
    gap = _gaps(model, alone, alone, start.reshape(-1), keep_rate)[:-1]
    q, _, excess = (part[:-1] for part in _states(alone, alone))
    prime = model.block.dual_prime(q, q, gap=gap)
    prime = prime * _power_law(model.block, q, excess, moments_of(model.block).second_moment_prime, 0)
    factor = model.skip**2 + model.alpha(depth) ** 2 * prime
    growth = alone.log_gradient_growth.diff(dim=0)
    growth = growth if model.norm is None else growth + alone.log_sum[1:]
    ratios = factor * torch.exp(-growth)
    found = torch.cat([torch.ones_like(ratios[:1]), ratios.cumprod(0)])
    return found.reshape(depth + 1, *start.shape)


@computed_on_the_cpu
def kernel(model: Model, k0: Tensor, *, depth: int, keep_rate: float = 1.0) -> Tensor:
    """Kernel E ⟨h_l(x_a), h_l(x_b)⟩ / d of several inputs at every layer of an infinitely wide network.

    Args:
        model: white weights, any block, with a normalization or without.
        k0: (input, input), kernel of the states h_0: symmetric, positive semi-definite, positive diagonal.
        depth: number of layers.
        keep_rate: of dropout with masks of their own for every input.

    Returns:
        (depth + 1, input, input), float64; infinite where it overflows.

    Raises:
        ValueError: the law is not white, or k0 is no kernel.

    Example:
        >>> from resnet_sde import TANH, Model, SingleLayer, WhiteNoise
        >>> resnet = Model(SingleLayer(TANH), WhiteNoise(), 64)
        >>> round(float(kernel(resnet, torch.eye(2), depth=32)[-1, 0, 0]), 3)
        1.427
    """
    start, each = check_kernel(k0), {}
    depth = check_layers(depth, len(start), len(start) * (len(start) - 1) // 2)
    for q in start.diagonal().tolist():
        if q not in each:
            each[q] = lengths(model, q, depth=depth, keep_rate=keep_rate)
    alone = [each[q] for q in start.diagonal().tolist()]
    rows, columns = torch.triu_indices(len(start), len(start), 1)
    gap0 = _start_gaps(start)[rows, columns]
    first, second = _stack(alone, rows), _stack(alone, columns)
    gap = _gaps(model, first, second, gap0, keep_rate)
    result = torch.empty(depth + 1, *start.shape, dtype=torch.float64)
    for i, of_input in enumerate(alone):
        result[:, i, i] = of_input.q
    between = ((first.log_q + second.log_q) / 2).exp() * (1 - gap)
    result[:, rows, columns] = result[:, columns, rows] = between
    return result


def _start_gaps(k0: Tensor) -> Tensor:
    """1 − cosine of every pair, from lengths near 1 by powers of two, whose products do not overflow."""
    half = torch.div(torch.frexp(k0.diagonal()).exponent, 2, rounding_mode="floor")
    near = torch.ldexp(torch.ldexp(k0, -half), -half[:, None])
    q = near.diagonal()
    return 1 - near / (q[:, None] * q).sqrt()


def _twins(model: Model, q0: float, depth: int, keep_rate: float) -> Lengths:
    """Each of two inputs of equal length."""
    return _stack([lengths(model, q0, depth=depth, keep_rate=keep_rate)], torch.zeros(1, dtype=torch.long))


def _stack(alone: list[Lengths], index: Tensor) -> Lengths:
    """The chosen inputs along a second axis."""
    names = ("log_q", "displacement2", "mean", "log_gradient_growth", "log_sum")
    columns = (torch.stack([getattr(one, name) for one in alone], -1)[:, index] for name in names)
    return Lengths(*columns)


def _gaps(model: Model, first: Lengths, second: Lengths, gap0: Tensor, keep_rate: float) -> Tensor:
    """Gaps (depth + 1, pair) of inputs that are known on their own."""
    keep_rate, depth = check_keep_rate(keep_rate), len(first.log_q) - 1
    unequal = 2 * torch.sinh((first.log_sum - second.log_sum) / 4).square()  # (√q1 − √q2)² / 2√(q1 q2)
    steps = [one.log_sum[1:] - one.log_q[:-1] for one in (first, second)]
    shrink = torch.exp(-(steps[0] + steps[1]) / 2)
    q1, q2, excess = _states(first, second)
    drift, carried = _drift_apart(model, first, second, q1, q2)
    law = _power_law(model.block, (q1 * q2).sqrt(), excess, moments_of(model.block).second_moment, 1)
    bias = moments_of(model.block).variances.outer_bias * torch.exp(-(first.log_q + second.log_q) / 2)
    far = unequal > _UNEQUAL
    found = [gap0]
    apart = gap0 + unequal[0]
    for layer in range(depth):
        states = q1[layer], q2[layer], found[-1]
        added = _added(model, *states, keep_rate, depth) * law[layer]
        apart = (model.skip**2 * apart + added + drift[layer]) * shrink[layer]
        gap = apart - unequal[layer + 1]
        if bool(far[layer + 1].any()):
            product = _product(model, *states) * law[layer] + bias[layer]
            product = model.skip**2 * (1 - found[-1]) + model.alpha(depth) ** 2 * product + carried[layer]
            gap = torch.where(far[layer + 1], 1 - product * shrink[layer], gap)
            apart = torch.where(far[layer + 1], gap + unequal[layer + 1], apart)
        apart = apart if model.norm is None else gap  # of states of one length
        found.append(gap.clamp(0, 2))
    return torch.stack(found)


def _states(first: Lengths, second: Lengths) -> tuple[Tensor, Tensor, Tensor]:
    """The mean squares, in a unit in which their geometric mean is not too large, and the logarithm of it."""
    centre = (first.log_q + second.log_q) / 2
    excess = centre - centre.clamp(-_LARGEST, _LARGEST)
    return (first.log_q - excess).exp(), (second.log_q - excess).exp(), excess


def _power_law(
    block: Block, q: Tensor, excess: Tensor, moment: Callable[[Tensor], Tensor], power: int
) -> Tensor:
    """What M / q^power at e^excess q is over its value at q, by the power law that the moment M ends in.

    It is 1 at excess 0, and everywhere for a homogeneous φ, whose moments are such powers.
    """
    beyond, of = excess != 0, moments_of(block)
    if of.homogeneous or not bool(beyond.any()):
        return torch.ones_like(q)
    weight, bias = of.variances[:2]
    inside = torch.exp(-torch.sign(excess))
    slope = moment(weight * q + bias).log() - moment(weight * q * inside + bias).log()
    return torch.where(beyond, torch.exp(slope * excess.abs() - power * excess), 1.0)


def _product(model: Model, q1: Tensor, q2: Tensor, gap: Tensor) -> Tensor:
    """The mean product of two branches without their biases, over √(q1 q2)."""
    block = model.block
    if has_dual(block):
        return block.dual(q1, q2, gap=gap) / (q1 * q2).sqrt()
    r1, r2, apart = block.preactivations(q1, q2, gap)
    return block.variances.outer_weight * block.activation.dual(r1, r2, gap=apart) / (q1 * q2).sqrt()


def _added(model: Model, q1: Tensor, q2: Tensor, gap: Tensor, keep_rate: float, depth: int) -> Tensor:
    """Half the mean squared distance that a branch adds, over √(q1 q2)."""
    block = model.block
    distance = block.difference(q1, q2, gap=gap)
    if keep_rate < 1:
        r1, r2, _ = block.preactivations(q1, q2, gap)
        squares = block.activation.second_moment(r1) + block.activation.second_moment(r2)
        distance = distance + (1 / keep_rate - 1) * block.variances.outer_weight * squares / 2
    return model.alpha(depth) ** 2 * distance / (q1 * q2).sqrt()


def _drift_apart(
    model: Model, first: Lengths, second: Lengths, q1: Tensor, q2: Tensor
) -> tuple[Tensor, Tensor]:
    """What mean modes add to half the squared distance, and to the product, of inputs of unequal length.

    There are such modes without an outer matrix, if φ is not odd.
    """
    block, alpha = model.block, model.alpha(len(q1) - 1)
    if not moments_of(block).shifted or first is second:
        return torch.zeros_like(q1), torch.zeros_like(q1)
    r1, r2, _ = block.preactivations(q1, q2, torch.zeros_like(q1))
    modes = first.mean * q1.sqrt() - second.mean * q2.sqrt()
    mean1, mean2 = block.activation.mean(r1), block.activation.mean(r2)
    unit = model.skip * alpha / (q1 * q2).sqrt()
    crossed = first.mean * q1.sqrt() * mean2 + second.mean * q2.sqrt() * mean1
    return unit * modes * (mean1 - mean2), unit * crossed


def check_gap(gap0: float | Tensor) -> Tensor:
    """A tensor of numbers in [0, 2], float64."""
    start = torch.as_tensor(gap0, dtype=torch.float64)
    if not bool(((start >= 0) & (start <= 2)).all()):
        raise ValueError(f"gap0 is 1 − cosine: it must lie in [0, 2], got {gap0}; give for example 0.5")
    return start


def check_kernel(k0: Tensor) -> Tensor:
    """A kernel of states, float64 and symmetric to the bit. Raises ValueError where it is none."""
    start = as_tensor(k0)
    if start.is_complex():
        raise ValueError(
            "k0 must be a matrix of real numbers, got complex ones; give for example torch.eye(2)"
        )
    start = start.double()
    square = start.ndim == 2 and start.shape[0] == start.shape[1] and start.shape[0] > 0
    if not square or not bool(start.isfinite().all()) or not bool((start.diagonal() > 0).all()):
        raise ValueError(
            "k0 must be a symmetric (input, input) matrix of finite numbers with a positive diagonal, got "
            f"shape {tuple(start.shape)}; give for example torch.eye(2)"
        )
    scale = start.diagonal().rsqrt()
    if bool(((start - start.T) * scale[:, None] * scale).abs().max() > 1e-12):
        raise ValueError("k0 is not symmetric, so it is no kernel; give ⟨h_0(x_a), h_0(x_b)⟩ / d")
    start = start / 2 + start.T / 2  # products of matrices are symmetric up to rounding only
    if float(torch.linalg.eigvalsh(start * scale[:, None] * scale).min()) < -1e-10:
        raise ValueError("k0 has a negative eigenvalue, so it is no kernel; give ⟨h_0(x_a), h_0(x_b)⟩ / d")
    return start
