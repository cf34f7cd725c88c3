"""The feed-forward networks that these theorems look at, and what is measured on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import Activation
from resnet_sde.blocks import Layer, SingleLayer
from resnet_sde.laws import WhiteNoise
from resnet_sde.matrices import Deferred
from resnet_sde.meanfield import Phase, phase
from resnet_sde.model import Model
from resnet_sde.propagate import Dropout, Trajectory, trajectory
from resnet_sde.streams import stream
from resnet_sde.theorems.lab import AssumptionNotMet, Lab, ask, white_gaussian

FEED_FORWARD = ("feed-forward: W^l φ(z) + b^l, with no skip", "white Gaussian weights and biases")


def feed_forward(phi: Activation, sigma_w2: float, sigma_b2: float = 0.0, width: int = 1) -> Model:
    """A network of layers W φ(z) + b; its first state h_0 is the first pre-activation."""
    return Model(SingleLayer(phi, sigma_w2, sigma_b2), WhiteNoise(), width, beta=0.0, skip=0.0)


def variances(model: Model) -> tuple[Activation, float, float]:
    """φ, σ_w² and σ_b², the gain included; a network that is not feed-forward is not spoken of."""
    block = model.block
    feeds_forward = model.skip == 0 and model.beta == 0
    if not isinstance(block, SingleLayer) or not feeds_forward or not white_gaussian(model.law):
        raise AssumptionNotMet(
            f"one matrix, skip 0, beta 0 and white Gaussian weights are asked for, not {model}"
        )
    power = model.gain**2
    return block.activation, power * block.sigma_w2, power * block.sigma_b2


def settled(model: Model) -> tuple[Phase, float]:
    """The fixed point of a network and its q*; lengths must settle."""
    found = ask(phase, *variances(model))
    if found.q_star is None or not 0 < found.q_star < math.inf or found.c_star is None:
        raise AssumptionNotMet(f"lengths settle at no positive number: the network is {found.label}")
    return found, found.q_star


def one_input(q: float) -> Tensor:
    """An input whose state h_0 has this mean square, (1, n_in), float32."""
    return torch.tensor([[math.sqrt(q)]], dtype=torch.float32)


@ob.observable("input", "other_input", gradients=True)
def gradient_products(t: Trajectory) -> Tensor:
    """⟨p_0(x), p_0(x')⟩ / ‖p_L‖². Shape: (sample, input, input)."""
    assert t.adjoint is not None
    first, last = t.adjoint.natural(0), t.adjoint.natural(-1)
    return first @ first.mT / last[:, :1].square().sum(-1, keepdim=True)


def dropped(
    lab: Lab,
    model: Model,
    start: tuple[float, float, float],
    *,
    keep_rate: float,
    depth: int,
    shared: bool = False,
) -> Tensor:
    """Kernels of two inputs at the last layer of networks with dropout, (sample, 2, 2).

    Masks are drawn for each input, or once for both if they are `shared`.
    """
    variances(model)
    samples, (q1, q2, c) = lab.samples, start
    product, width = c * math.sqrt(q1 * q2), model.width
    source = stream(lab.seed, "dropout", model, keep_rate, shared, depth, samples)
    root = torch.linalg.cholesky(torch.tensor([[q1, product], [product, q2]]))
    h = Deferred(source, width).matvec(root.expand(samples, 2, 2).contiguous())
    layers = (Layer.revealed(model.block.shapes(width), source) for _ in range(depth))
    dropout = Dropout(keep_rate, source, shared)
    seen = trajectory(
        model.block, h, layers, model.alpha(depth), model.skip, dropout=dropout, every_layer=False
    )
    return ob.kernel(seen)
