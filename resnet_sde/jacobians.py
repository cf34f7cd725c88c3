"""The Jacobian of the states at the end in those at the start."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from resnet_sde.blocks import Block, Layer
from resnet_sde.matrices import Dense, Matrix
from resnet_sde.propagate import States, trajectory

_AT_ONCE = 2**22  # numbers


def input_jacobian(
    block: Block,
    h: Tensor,
    layers: Iterable[Layer],
    alpha: float | Tensor,
    skip: float = 1.0,
    *,
    norm: str | None = None,
) -> States:
    """∂h_L / ∂h_0 of every network and input, one layer of states; of every input `width` backward passes.

    One input is followed at a time, of some networks, which bounds the memory.

    Args:
        block: the residual branch.
        h: input states, (sample, input, width).
        layers: the layers, of matrices that are drawn in full.
        alpha, skip, norm: as in `trajectory`; alpha a number, or one for every input, (input, 1) or (sample,
            input, 1).

    Shape: scaled (1, sample, input, width, width), the axis of h_L before that of h_0; exponent (1, sample,
    input, width, 1).

    Raises:
        ValueError: as in `trajectory`, or a matrix is not drawn in full.
    """
    own = list(layers)
    samples, inputs, width = h.shape
    scaled = h.new_empty(1, *h.shape, width)
    exponent = torch.empty(1, *h.shape, 1, dtype=torch.float64, device=h.device)
    alphas = alpha.expand(samples, inputs, 1) if isinstance(alpha, Tensor) else None
    directions = torch.eye(width, dtype=h.dtype, device=h.device)
    batch = max(1, _AT_ONCE // jacobian_numbers(len(own), width))
    for first in range(0, samples, batch):
        some = slice(first, min(first + batch, samples))
        part = [layer.changed(partial(_of, networks=some)) for layer in own]
        for i in range(inputs):
            start = h[some, i : i + 1].expand(-1, width, -1).contiguous()
            a = alpha if alphas is None else alphas[some, i : i + 1].expand(-1, width, -1)
            top = directions.expand_as(start).contiguous()
            found = trajectory(block, start, part, a, skip, norm=norm, top=top, every_layer=False).adjoint
            assert found is not None
            scaled[0, some, i], exponent[0, some, i] = found.scaled[0], found.exponent[0]
    return States(scaled, exponent)


def jacobian_numbers(depth: int, width: int) -> int:
    """Numbers held at once: states, pre-activations and what they are made of, once for each direction."""
    return 4 * depth * width * width


def _of(matrix: Matrix, networks: slice) -> Matrix:
    if not isinstance(matrix, Dense):
        raise ValueError("a Jacobian meets matrices in all directions; give layers that are drawn in full")
    return Dense(matrix.entries[networks])
