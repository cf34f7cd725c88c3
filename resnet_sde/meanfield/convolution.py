r"""Convolutional branches of many channels with white weights: covariances of pairs of positions.

With S[a, p, b, r] the mean product over channels of the states of the inputs a and b at the positions p and
r, a layer with fresh weights adds α² times

.. math:: \sigma_v^2 A(F(\sigma_w^2 A(S) + \sigma_b^2)) + \sigma_a^2,

where F is the dual of φ at every pair and A the mean over the offsets of the kernel, the same at both
positions; what lies outside of a zero-padded image is 0 (Novak et al., 2019; Xiao et al., 2018; for residual
branches it is the same mean). A branch without the inner or the outer matrix lacks that A. Where padding is
periodic A multiplies the mode e^{iθp} of S[p, p + s] by λ(θ), the mean of e^{iθk} over the offsets k: what
depends on the place dies out faster, and what is the same everywhere moves as without convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.nn.functional import pad

from resnet_sde.blocks import (
    Block,
    Convolution,
    GatedLinearUnit,
    NotKnown,
    PreNorm,
    Reduced,
    SingleLayer,
    TwoLayer,
)
from resnet_sde.checks import check_memory, positive_integer
from resnet_sde.meanfield.devices import computed_on_the_cpu
from resnet_sde.meanfield.one_time import as_tensor, check_theory
from resnet_sde.meanfield.pairs import check_kernel
from resnet_sde.model import Model, Regime

_RTOL = 1e-9
_LARGEST = 1e100


@computed_on_the_cpu
def convolution_kernel(model: Model, k0: Tensor, *, depth: int) -> Tensor:
    """E ⟨h_l(x_a), h_l(x_b)⟩ / channels at every pair of positions and every layer, of many channels.

    Args:
        model: white weights; a `Convolution` of a block of the package, or a `PreNorm` of one.
        k0: covariance of the states h_0, (input, position, input, position), positions in the order of a
            flattened image; or (input, input), for states that are independent at different positions, as
            `simulate` makes them of the inputs x with k0 = ⟨x_a, x_b⟩ / n_in.
        depth: number of layers.

    Returns:
        (depth + 1, input, position, input, position), float64; correlations are known to 1e-15 of 1.

    Raises:
        ValueError: the law is not white, k0 is no covariance, the block has no positions or is not known, or
            mean squares leave the range of 1e±100.

    Example:
        >>> from resnet_sde import RELU, Convolution, Model, TwoLayer, WhiteNoise
        >>> model = Model(Convolution(TwoLayer(RELU), (4,)), WhiteNoise(), 64, beta=0.0)
        >>> found = convolution_kernel(model, torch.eye(1), depth=1)[1, 0, 0, 0]
        >>> [round(float(value), 3) for value in found]  # with itself and with each of the others
        [1.5, 0.159, 0.159, 0.159]
    """
    start, depth = _start(model, k0), positive_integer("depth", depth, "give for example 100")
    check_memory(f"covariances of {depth} layers", 8 * (depth + 8) * start.numel(), "give a smaller depth")
    scale, found = model.alpha(depth) ** 2, [start]
    for _ in range(depth):
        found.append(model.skip**2 * found[-1] + scale * _forward(model.block, found[-1]))
        _check_range(found[-1])
    return torch.stack(found)


@computed_on_the_cpu
def convolution_gradients(model: Model, k0: Tensor, *, depth: int) -> Tensor:
    """E ⟨p_l(x_a), p_l(x_b)⟩ / channels of the gradients p_l at h_l, for pairs of positions and all layers.

    p_L is standard normal, independent of everything else and shared by the inputs, as in `simulate`.
    Arguments, shape and errors as `convolution_kernel`.
    """
    states = convolution_kernel(model, k0, depth=depth)
    inputs, positions = states.shape[1:3]
    eye = torch.eye(positions, dtype=states.dtype)
    found, scale = (
        [eye[:, None, :].expand(inputs, positions, inputs, positions)],
        model.alpha(len(states) - 1) ** 2,
    )
    for state in states[:-1].flip(0):
        found.append(model.skip**2 * found[-1] + scale * _backward(model.block, state, found[-1]))
    return torch.stack(found).flip(0)


@computed_on_the_cpu
def convolution_flow(model: Model, k0: Tensor, times: Sequence[float] | Tensor) -> Tensor:
    r"""What `convolution_kernel` tends to in depth at α = gain L^{−1/2}: dS/dt = gain² Φ(S).

    gain² Φ(S) is what a layer adds over α². The equation is solved to 1e-9 by an adaptive method of order 8;
    networks of L layers are off by O(1/L).

    Args:
        model: as in `convolution_kernel`, of skip 1 and the critical scaling 1/2.
        k0: as there.
        times: increasing, in [0, 1]; the network's layer is t L.

    Returns:
        (time, input, position, input, position), float64.

    Raises:
        ValueError: as there, or times do not increase.
    """
    start = _start(model, k0)
    if model.regime is not Regime.CRITICAL or model.beta != 0.5:
        raise ValueError(
            f"the flow is that of skip 1 and beta 1/2, not of skip {model.skip} and beta {model.beta}; use "
            "convolution_kernel at a given depth"
        )
    at = as_tensor(times).double()
    if at.ndim != 1 or not len(at) or not bool(((at >= 0) & (at <= 1)).all() and (at.diff() > 0).all()):
        raise ValueError("times must increase within [0, 1]; give for example torch.linspace(0, 1, 9)")

    def field(_: float, flat: object) -> object:
        state = torch.as_tensor(flat).view(start.shape)
        _check_range(state)
        return (model.gain**2 * _forward(model.block, state)).flatten().numpy()

    end = float(at[-1])
    solved = solve_ivp(
        field, (0.0, max(end, 1e-9)), start.flatten().numpy(), "DOP853", at.tolist(), rtol=_RTOL, atol=_RTOL
    )
    if not solved.success:
        raise ValueError(f"the flow could not be solved: {solved.message}; give a smaller gain")
    return torch.as_tensor(solved.y.T).view(len(at), *start.shape)


def _start(model: Model, k0: Tensor) -> Tensor:
    """The covariance at layer 0. Raises ValueError where nothing is known of the model."""
    model.check_plain("simulate")
    block, law = _convolution(model.block), model.law
    inside = block.block
    while type(inside) is PreNorm:
        inside = inside.block
    if type(inside) not in (SingleLayer, TwoLayer, Reduced, GatedLinearUnit):
        raise NotKnown(
            f"covariances of positions are known of convolutions of SingleLayer, TwoLayer, Reduced and "
            f"GatedLinearUnit, behind a PreNorm perhaps, not of {type(inside).__name__}; use simulate"
        )
    check_theory(block.block, law)
    if type(inside) is Reduced and not inside.activation.odd:
        raise NotKnown("branches without an outer matrix have a mean that adds up; give an odd activation")
    if not law.independent:
        raise ValueError(
            f"layers with {law} weights are not independent, so that no recursion of one layer exists; use "
            "WhiteNoise(), or simulate"
        )
    given = as_tensor(k0)
    if given.ndim == 2:
        given = given.double()[:, None, :, None] * torch.eye(block.sharing, dtype=torch.float64)[:, None, :]
    if given.ndim != 4 or given.shape[:2] != given.shape[2:] or given.shape[1] != block.sharing:
        raise ValueError(
            f"k0 must be (input, input), or (input, position, input, position) with {block.sharing} "
            f"positions, got shape {tuple(as_tensor(k0).shape)}; give for example torch.eye(2)"
        )
    square = given.reshape(given.shape[0] * block.sharing, -1)
    return check_kernel(square).view(given.shape)


def _convolution(block: Block) -> Convolution:
    while type(block) is PreNorm:
        block = block.block
    if type(block) is not Convolution:
        instead = "simulate" if block.sharing > 1 else "meanfield.kernel"
        raise NotKnown(f"{block} is no Convolution, whose positions have covariances; use {instead}")
    return block


def _forward(block: Block, state: Tensor) -> Tensor:
    """What a layer adds to the covariance, over α²."""
    if isinstance(block, PreNorm):
        return _forward(block.block, state / _sizes(state, "mean"))
    assert isinstance(block, Convolution)
    average, names = _average(block), block.block.shapes(_CHANNELS)
    inside = block.block
    if isinstance(inside, PreNorm):
        state = state / _sizes(state, "each")
        return _forward(Convolution(inside.block, block.positions, block.kernel, block.padding), state)
    seen = average(state) if names.keys() - {"outer"} else state
    found = _at_pairs(inside.dual, seen)
    if "outer" not in names:
        return found
    bias = 0.0 if isinstance(inside, GatedLinearUnit) else inside.variances.outer_bias
    return average(found - bias) + bias


def _backward(block: Block, state: Tensor, above: Tensor) -> Tensor:
    """What a layer adds to the covariance of the gradients `above` it, over α²."""
    if isinstance(block, PreNorm):
        sizes = _sizes(state, "mean")
        return _backward(block.block, state / sizes, above) / sizes
    assert isinstance(block, Convolution)
    average, names = _average(block), block.block.shapes(_CHANNELS)
    inside = block.block
    if isinstance(inside, PreNorm):
        sizes = _sizes(state, "each")
        plain = Convolution(inside.block, block.positions, block.kernel, block.padding)
        return _backward(plain, state / sizes, above) / sizes
    inner = bool(names.keys() - {"outer"})
    slopes = _at_pairs(inside.dual_prime, average(state) if inner else state)
    back = slopes * (average(above) if "outer" in names else above)
    return average(back) if inner else back  # offsets and their negatives are the same


_CHANNELS = 64


def _sizes(state: Tensor, over: str) -> Tensor:
    """√(q_a q_b) at every pair: of each position, or of all positions of an input together."""
    squares = state.flatten(2).flatten(0, 1).diagonal().view(state.shape[:2])
    squares = squares if over == "each" else squares.mean(1, keepdim=True).expand_as(squares)
    return (squares[:, :, None, None] * squares).sqrt()


def _average(block: Convolution) -> Callable[[Tensor], Tensor]:
    """A, the mean over offsets."""
    seen = block.neighbours.T

    def average(state: Tensor) -> Tensor:
        there = pad(state, (0, 1, 0, 0, 0, 1))
        of_all = (there.index_select(1, place).index_select(3, place) for place in seen)
        return sum(of_all, torch.zeros_like(state)) / len(seen)

    return average


def _at_pairs(dual: Callable[..., Tensor], state: Tensor) -> Tensor:
    """A dual at all pairs of inputs and positions."""
    square = state.reshape(state.shape[0] * state.shape[1], -1)
    rows, columns = torch.triu_indices(*square.shape)
    q = square.diagonal()
    gap = (1 - square[rows, columns] / (q[rows] * q[columns]).sqrt()).clamp(0, 2)
    found, gap = torch.empty_like(square), torch.where(rows == columns, 0.0, gap)
    each = torch.stack([q[rows], q[columns], gap])  # what is alike everywhere has few values
    (q1, q2, apart), place = torch.unique(each, dim=1, return_inverse=True)
    found[rows, columns] = found[columns, rows] = dual(q1, q2, gap=apart)[place]
    return found.view(state.shape)


def _check_range(state: Tensor) -> None:
    q = state.flatten(2).flatten(0, 1).diagonal()
    if not bool(((q < _LARGEST) & (q > 1 / _LARGEST)).all()):
        raise ValueError(
            "mean squares of states leave the range of 1e±100; give a smaller depth or gain, or a larger beta"
        )
