"""How far states and gradients of infinitely wide networks move: layer by layer, or from end to end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_sde.blocks import NotKnown
from resnet_sde.checks import positive_integer
from resnet_sde.meanfield.one_time import check_keep_rate, lengths
from resnet_sde.meanfield.two_time import displacements, gradients_along, kernel_and_displacement
from resnet_sde.model import Model


@dataclass(frozen=True)
class LayerDisplacements:
    """One input at infinite width; (depth + 1,), layer 0 first, or (1,) if only the ends are known; float64.

    forward, gradient: E ‖h_l − h_0‖² / ‖h_0‖² and E ‖p_l − p_L‖² / ‖p_L‖²; infinite where they overflow. The
        last entry of `forward` and the first of `gradient` are those of the whole network.
    along: E ‖h_L − h_l‖² / ‖h_l‖², which is also what the gradient along a homogeneous state does.
    log_forward: natural logarithm of the last entry of forward, which may be finite where that overflows.
    q: mean square per coordinate of h_l.
    normalized: whether the stream is.
    log_gradient_growth: natural logarithm of the mean squared gradient at layer 0 over that at layer l; it
        and q are None if only the ends are known.
    """

    forward: Tensor
    gradient: Tensor
    along: Tensor
    log_forward: float
    q: Tensor | None = None
    log_gradient_growth: Tensor | None = None
    normalized: bool = False

    def at_width(self, width: int) -> Tensor:
        """`gradient` of a homogeneous branch, where the share 1/width of p lies along h and grows like h.

        Raises:
            NotKnown: a normalization takes that share off.
        """
        if self.normalized:
            raise NotKnown("behind a normalization no share of a gradient grows like the state; use simulate")
        width = positive_integer("width", width, "give for example 40")
        return (1 - 1 / width) * self.gradient + self.along / width


def displacement(
    model: Model,
    q0: float = 1.0,
    *,
    depth: int,
    keep_rate: float = 1.0,
    every_layer: bool = True,
    done: Callable[[float], object] | None = None,
) -> LayerDisplacements:
    """Displacements of states and gradients through the layers, for weights of any law.

    Args:
        model: of any block and law; its width is not used.
        q0: mean square per coordinate of h_0.
        depth: number of layers, which also sets α_L.
        keep_rate: of dropout on the outputs of φ, for white weights only.
        every_layer: whether layers between the ends are asked for; correlated weights are cheaper without.
        done: called with shares of the work where weights are correlated; for a progress bar.

    Raises:
        ValueError: nothing is known of such a model, or a number is out of range.

    Example:
        >>> from resnet_sde import RELU, Model, TwoLayer, WhiteNoise
        >>> found = displacement(Model(TwoLayer(RELU), WhiteNoise(), 40), depth=1000)
        >>> round(float(found.forward[-1]), 5)  # (1 + 1/2L)^L − 1
        0.64852
    """
    if model.law.independent:
        return _independent(model, q0, depth, keep_rate)
    model.check_plain()
    if check_keep_rate(keep_rate) != 1.0:
        raise ValueError(f"dropout has a theory for white weights only, not for {model.law}; leave it out")
    return (_correlated if every_layer else _ends)(model, q0, depth, done)


def _independent(model: Model, q0: float, depth: int, keep_rate: float) -> LayerDisplacements:
    """Layers one after another."""
    found = lengths(model, q0, depth=depth, keep_rate=keep_rate)
    kept = torch.tensor(model.skip, dtype=torch.float64) ** torch.arange(depth, -1, -1)
    if model.norm is not None:
        kept = kept * torch.exp(_from_end(-found.log_sum[1:] / 2))
    gradient = torch.expm1(found.log_gradient_growth[-1] - found.log_gradient_growth) + 2 * (1 - kept)
    grown = found.log_q[-1] - found.log_q
    later = found.mean[-1] * torch.exp((grown / 2).clamp(max=700.0)) - kept * found.mean
    modes = found.mean * later  # of branches with a mean, which add up along the state
    along = torch.expm1(grown) + 2 * (1 - kept) - 2 * modes
    moved = float(found.displacement2[-1])
    log_forward = float(found.log_q[-1] - found.log_q[0])
    if math.isfinite(moved):
        log_forward = math.log(moved) if moved > 0 else -math.inf
    growth = found.log_gradient_growth
    normalized = model.norm is not None
    return LayerDisplacements(found.displacement2, gradient, along, log_forward, found.q, growth, normalized)


def _from_end(steps: Tensor) -> Tensor:
    """Sums of the last steps, (depth + 1,); that of none is 0."""
    return torch.cat([steps.flip(0).cumsum(0).flip(0), steps.new_zeros(1)])


def _ends(model: Model, q0: float, depth: int, done: Callable[[float], object] | None) -> LayerDisplacements:
    """Correlated layers, from end to end."""
    alphas = torch.tensor([model.alpha(depth)], dtype=torch.float64)
    found = displacements(model.block, model.law, depth, alphas, q0, skip=model.skip, done=done)
    log_forward = 2 * math.log(10) * float(found.log10_forward)
    forward = torch.tensor([log_forward], dtype=torch.float64).exp()
    return LayerDisplacements(forward, (2 * math.log(10) * found.log10_gradient).exp(), forward, log_forward)


def _correlated(
    model: Model, q0: float, depth: int, done: Callable[[float], object] | None
) -> LayerDisplacements:
    """Correlated layers, with all that lies between the ends."""
    kernel, log10_forward = kernel_and_displacement(model, q0, depth, done)
    back = gradients_along(model, kernel)
    q, square = kernel.diagonal(), back.diagonal()
    return LayerDisplacements(
        forward=(q - 2 * kernel[0] + q[0]) / q[0],
        gradient=square - 2 * back[-1] + 1,
        along=(q[-1] - 2 * kernel[-1] + q) / q,
        log_forward=2 * math.log(10) * float(log10_forward),
        q=q,
        log_gradient_growth=square[0].log() - square.log(),
    )
