"""What experiments on deep residual networks share: the networks, their inputs, and names for them.

All are after Yang & Schoenholz (2017): h ← h + V g(h), not scaled with depth, from states of mean square 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.wide import float64
from resnet_sde.blocks import Layer
from resnet_sde.streams import Stream, stream

AT_ONCE = 20  # networks
VARIANCES = r"$\sigma_w^2,\ \sigma_b^2,\ \sigma_v^2,\ \sigma_a^2$"  # what the numbers of `name` are


def name(block: rs.Block) -> str:
    """The variances of a block, for a legend; dashes for an outer matrix that is not there."""
    inner = f"{block.sigma_w2:g}, {block.sigma_b2:g}"  # type: ignore[attr-defined]
    outer = f"{block.sigma_v2:g}, {block.sigma_a2:g}" if isinstance(block, rs.TwoLayer) else "-, -"
    return f"{inner}, {outer}"


def states(width: int, cosines: tuple[float, ...] = (1.0,)) -> Tensor:
    """States of mean square 1 at these cosines to one of them. Shape (input, width); 4 divides the width."""
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64)
    first, other = sign.repeat(width // 2), sign.repeat_interleave(2).repeat(width // 4)
    cosine = float64(cosines)[:, None]
    return cosine * first + (1 - cosine.square()).sqrt() * other


@dataclass(frozen=True)
class Seen:
    """Random networks. The first input is the one that `states` counts cosines from.

    q: mean squares of states, (network, layer, input).
    product: mean products with the state of the first input, of the same shape.
    log_gradient: natural logarithm of the mean squared gradient, over that at the top: (network, layer).
    """

    q: Tensor
    product: Tensor
    log_gradient: Tensor

    @property
    def cosine(self) -> Tensor:
        """Cosine to the first input, (network, layer, input)."""
        return self.product / (self.q * self.q[..., :1]).sqrt()


def networks(
    block: rs.Block,
    cosines: tuple[float, ...] = (),
    *,
    width: int,
    depth: int,
    samples: int,
    seed: int,
    alpha: float = 1.0,
) -> Seen:
    """Networks with one input, and one more at each cosine to it; gradients are those of the first."""
    x = states(width, (1.0, *cosines)).float()
    pieces = []
    for first in range(0, samples, AT_ONCE):
        source = stream(seed, "residuals", block, width, depth, alpha, cosines, first)
        h = x.expand(min(AT_ONCE, samples - first), -1, -1).contiguous()
        top = source.normal_(torch.empty_like(h[:, :1])).expand_as(h).contiguous()
        layers = [Layer.revealed(block.shapes(width), source) for _ in range(depth)]
        pieces.append(_seen(rs.trajectory(block, h, layers, alpha, top=top)))
    return Seen(*(torch.cat(columns) for columns in zip(*pieces, strict=True)))


def _seen(t: rs.Trajectory) -> tuple[Tensor, Tensor, Tensor]:
    assert t.adjoint is not None
    h = [t.hidden.natural(k) for k in range(len(t.hidden.scaled))]
    gradient = [t.adjoint.natural(k)[:, 0].square().mean(-1).log() for k in range(len(h))]
    squares = torch.stack([each.square().mean(-1) for each in h], 1)
    products = torch.stack([(each * each[:, :1]).mean(-1) for each in h], 1)
    return squares, products, torch.stack(gradient, 1) - gradient[-1][:, None]


PARAMETERS = ("state", "outer", "inner", "inner_bias")  # V, W and b; the gradient of a is that of the state


def parameter_gradients(
    block: rs.TwoLayer, *, width: int, depth: int, samples: int, seed: int
) -> dict[str, Tensor]:
    """Logarithms of mean squared gradients of states and of entries of matrices, (network, layer from 1).

    They are over the mean squared gradient of a coordinate at the top, which is random.
    """
    pieces = []
    for first in range(0, samples, AT_ONCE):
        source = stream(seed, "parameters", block, width, depth, first)
        h = states(width).float().expand(min(AT_ONCE, samples - first), -1, -1)
        pieces.append(_backwards(block, h, depth, source))
    return dict(zip(PARAMETERS, torch.cat(pieces).unbind(-1), strict=True))


def _backwards(block: rs.TwoLayer, h: Tensor, depth: int, source: Stream) -> Tensor:
    """Shape (network, layer, parameter)."""
    width = h.shape[-1]
    layers = [Layer.revealed(block.shapes(width), source) for _ in range(depth)]

    def top(end: Tensor) -> Tensor:
        return source.normal_(torch.empty_like(end))

    t = rs.trajectory(block, h, layers, 1.0, top=top, parameters=True)
    assert t.adjoint is not None
    assert t.parameters is not None
    scales = {"outer": block.sigma_v2, "inner": block.sigma_w2, "inner_bias": block.sigma_b2}
    rows = [[t.adjoint.natural(k + 1).square().mean(-1) for k in range(depth)]]
    for name, scale in scales.items():
        rows.append([t.parameters[name].natural(k)[..., 0].square() / (scale * width) for k in range(depth)])
    logs = torch.stack([torch.cat(row, 1).log() for row in rows], -1)
    return logs - logs[:, -1:, :1]


def local_slope(x: Tensor, y: Tensor, layer: int) -> float:
    """Of y against x, between half the layer and the layer."""
    half = layer // 2
    return float((y[layer] - y[half]) / (x[layer] - x[half]))


def log_of_mean(logs: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Logarithm of the mean over networks, of what is given by its logarithms, and its standard error."""
    values = np.exp(logs)
    mean = values.mean("network")
    return np.log(mean), values.std("network", ddof=1) / mean / logs.sizes["network"] ** 0.5


def half_width(samples: int, width: int, spread: float) -> float:
    """Four standard errors of a mean over networks whose standard deviation is spread / √width."""
    return 4 * spread / math.sqrt(width * samples)
