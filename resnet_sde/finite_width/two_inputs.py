"""Two inputs at finite width: the kernel's entries 11, 22 and 12, their fluctuations and their responses."""

from __future__ import annotations

import torch
from torch import Tensor

from resnet_sde.activations import Activation
from resnet_sde.finite_width.expansion import Expansion
from resnet_sde.finite_width.finite_size import (
    FiniteSize,
    Readout,
    check_depth,
    check_model,
    check_range,
    expand,
)
from resnet_sde.finite_width.four_point import four_point, points_at_once
from resnet_sde.finite_width.phi_squared_moments import cross_kernel, phi_squared_moments
from resnet_sde.meanfield.devices import computed_on_the_cpu
from resnet_sde.meanfield.pairs import kernel
from resnet_sde.model import Model

PAIRS = ((0, 0), (1, 1), (0, 1))
"""The inputs of the entries 11, 22, 12."""

_DEEPEST = 500
_ENTRY = torch.tensor([[0, 2], [2, 1]])  # of a pair of inputs


@computed_on_the_cpu
def finite_size_pair(
    model: Model,
    k0: Tensor,
    *,
    depth: int,
    out_sigma_w2: float | None = None,
    out_sigma_b2: float | None = None,
) -> FiniteSize:
    """The kernels of two inputs to order 1/width; as `finite_size`, with an axis of the entries 11, 22, 12.

    Args:
        model: as there, with erf, tanh, ReLU or linear activation; erf and ReLU are exact to rounding error,
            tanh to 1e-7.
        k0: (2, 2), the kernel of the states h_0.
        depth: number of layers, up to 500.
        out_sigma_w2, out_sigma_b2: variances of the readout; those of the block if None.

    Raises:
        ValueError: the theory does not cover the model, or k0 is no kernel of two inputs that differ in
            direction.
    """
    readout = Readout.of(model, out_sigma_w2, out_sigma_b2)
    block = check_model(model)
    depth = check_depth(depth, _DEEPEST, len(PAIRS))
    full = check_range(kernel(model, _check_start(k0), depth=depth))
    entries = torch.stack([full[:, a, b] for a, b in PAIRS], -1)
    source, feedback = _sources(block.activation, full, model.skip)
    jacobian, curvature = derivatives(block.activation, entries)
    expansion = Expansion(
        pairs=PAIRS,
        skip=model.skip,
        residual=model.alpha(depth) ** 2,
        weights=readout.weights(block, depth),
        kernel=entries,
        cross=cross_kernel(full, model.skip),
        jacobian=jacobian,
        curvature=curvature,
        sources=source,
        feedback=feedback,
    )
    return expand(expansion, model.width, readout.branch(block, second_moments(block.activation, entries)))


def second_moments(activation: Activation, entries: Tensor) -> Tensor:
    """F = E φφ of the entries 11, 22, 12; (..., 3) to (..., 3)."""
    k1, k2, k12 = entries.unbind(-1)
    between = activation.dual(k1, k2, gap=_gap(k1, k2, k12))
    return torch.stack([activation.second_moment(k1), activation.second_moment(k2), between], -1)


def derivatives(activation: Activation, entries: Tensor) -> tuple[Tensor, Tensor]:
    """∂F_p/∂K_q and ∂²F_p/∂K_q∂K_r; (n, 3) to (n, 3, 3) and (n, 3, 3, 3)."""
    entries = entries.detach().requires_grad_()
    first = torch.zeros(len(entries), 3, 3, dtype=entries.dtype)
    second = torch.zeros(len(entries), 3, 3, 3, dtype=entries.dtype)
    for (p, q), value in _first_derivatives(activation, entries).items():
        first[:, p, q] = value.detach()
        if value.requires_grad:
            (second[:, p, q],) = torch.autograd.grad(value.sum(), entries, retain_graph=True)
    return first, second


def _first_derivatives(activation: Activation, entries: Tensor) -> dict[tuple[int, int], Tensor]:
    k1, k2, k12 = entries.unbind(-1)
    gap, known = _gap(k1, k2, k12), phi_squared_moments(activation)
    return {
        (0, 0): known.slope(k1),
        (1, 1): known.slope(k2),
        (2, 0): activation.mean_curvature(k1, k2, gap=gap) / 2,
        (2, 1): activation.mean_curvature(k2, k1, gap=gap) / 2,
        (2, 2): activation.dual_prime(k1, k2, gap=gap),
    }


def _gap(k1: Tensor, k2: Tensor, k12: Tensor) -> Tensor:
    return 1 - k12 / (k1 * k2).sqrt()


def _sources(activation: Activation, full: Tensor, skip: float) -> tuple[Tensor, Tensor]:
    """Covariance of φφ at two layers, and its derivative in the kernel of the later one."""
    size = len(full)
    rows, columns = torch.tril_indices(size, size)
    cross = cross_kernel(full, skip)
    source = full.new_zeros(size, size, 3, 3)
    feedback = full.new_zeros(size, size, 3, 3, 3)
    for late, early in zip(*(x.split(points_at_once(activation)) for x in (rows, columns)), strict=True):
        found, slopes = _piece(activation, full[late], full[early], cross[late, early])
        source[late, early], source[early, late] = found, found.mT
        # Where two layers differ by less than rounding error a slope may be 0/0; ρ² is as small there.
        feedback[late, early] = torch.where((late > early)[:, None, None, None], slopes.nan_to_num(), 0.0)
    return source, feedback


def _piece(activation: Activation, late: Tensor, early: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
    """Sources (points, p, q) and feedback (points, p, r, q) of some pairs of layers."""
    entries = torch.stack([late[:, a, b] for a, b in PAIRS], -1).requires_grad_()
    late = entries[:, _ENTRY]
    source = cross.new_empty(len(cross), 3, 3)
    feedback = cross.new_zeros(len(cross), 3, 3, 3)
    for p, first in enumerate(PAIRS):
        for q, second in enumerate(PAIRS):
            one, other = _block(late, first, first), _block(early, second, second)
            value = four_point(activation, one, other, _block(cross, first, second))
            source[:, p, q] = value.detach()
            if value.requires_grad:
                (feedback[:, p, :, q],) = torch.autograd.grad(value.sum(), entries, retain_graph=True)
    return source, feedback


def _block(matrix: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    return matrix[:, list(rows)][:, :, list(columns)]


def _check_start(k0: Tensor) -> Tensor:
    """The kernel of the states h_0, whose cosine is neither 1 nor −1; `meanfield.kernel` checks the rest."""
    start = torch.as_tensor(k0, dtype=torch.float64)
    if start.shape != (2, 2):
        shape = tuple(start.shape)
        raise ValueError(f"k0 must be a (2, 2) matrix, got shape {shape}; give for example torch.eye(2)")
    if float(start[0, 1].square()) >= float(start[0, 0] * start[1, 1]):
        raise ValueError("the two inputs are parallel; use finite_size for one of them")
    return start
