"""Solutions at time 1 that are known in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resnet_sde.activations import Linear, Tanh
from resnet_sde.blocks import SingleLayer
from resnet_sde.model import Model, WeightPaths


def exact_end(model: Model, h: Tensor, path: WeightPaths, depth: int) -> Tensor:
    """The solution at time 1 on a path, where it has a closed form.

    That is, without biases: one matrix of constant weights and a linear activation, h e^V; and at width 1,
    with X the scaled sum of the weights, h e^X (linear, fractional), h e^{X − σ²/2} (linear, and weights that
    are white or of short memory and of variance σ² = ρ² σ_w²; −⟨X⟩/2 and the drift add up to it), and
    asinh(sinh(h) e^X) (tanh, fractional).

    Raises:
        ValueError: this model has none.
    """
    block, law = model.block, model.law
    if type(block) is SingleLayer and block.sigma_b2 == 0 and model.norm is None:
        strength = model.gain * math.sqrt(block.sigma_w2)
        entries = path.matrices["outer"].weights(depth)
        linear = type(block.activation) is Linear
        if law.noise == "constant" and linear:
            return h @ torch.linalg.matrix_exp(strength * model.width**-0.5 * entries[0])
        if model.width == 1 and law.noise in ("white", "short-memory", "fractional"):
            end = strength * float(depth) ** -law.exponent * entries.sum(0)
            if linear and law.exponent == 0.5:
                return h * torch.exp(end - strength**2 / 2)
            if linear and law.exponent > 0.5:
                return h * torch.exp(end)
            if type(block.activation) is Tanh and law.exponent > 0.5:
                return torch.asinh(torch.sinh(h) * torch.exp(end))
    raise ValueError(f"no closed form of the limit of {model} is known; give the depth of a finer network")
