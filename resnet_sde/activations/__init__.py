"""Pointwise nonlinearities φ, their derivatives and their Gaussian duals."""

from typing import cast

from resnet_sde.activations.base import Activation
from resnet_sde.activations.callables import OfFunction
from resnet_sde.activations.classic import (
    ERF,
    GELU,
    LINEAR,
    RELU,
    SIGMOID,
    TANH,
    AlphaReLU,
    Erf,
    Gelu,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    Tanh,
)
from resnet_sde.activations.functions import (
    ELU,
    HARD_TANH,
    MISH,
    SELU,
    SILU,
    SIN,
    SOFTPLUS,
    ByQuadrature,
    Elu,
    HardTanh,
    Mish,
    Selu,
    Silu,
    Sin,
    Softplus,
)
from resnet_sde.parts import ACTIVATIONS, spelled

__all__ = [
    "ELU",
    "ERF",
    "GELU",
    "HARD_TANH",
    "LINEAR",
    "MISH",
    "RELU",
    "SELU",
    "SIGMOID",
    "SILU",
    "SIN",
    "SOFTPLUS",
    "TANH",
    "Activation",
    "AlphaReLU",
    "ByQuadrature",
    "Elu",
    "Erf",
    "Gelu",
    "HardTanh",
    "LeakyReLU",
    "Linear",
    "Mish",
    "OfFunction",
    "ReLU",
    "Selu",
    "Sigmoid",
    "Silu",
    "Sin",
    "Softplus",
    "Tanh",
    "activation",
]


def activation(name: str) -> Activation:
    """The activation of this name, one of those in `parts.ACTIVATIONS`; some take a number after a colon.

    Raises:
        ValueError: the name is unknown, or its number is missing, malformed or out of range.

    Example:
        >>> activation("leaky-relu:0.8")
        LeakyReLU(slope=0.8)
    """
    family, colon, number = name.partition(":")
    part = ACTIVATIONS.get(family)
    if part is None or (colon and not part.choices):
        known = ", ".join(spelled(ACTIVATIONS.values()))
        raise ValueError(f"unknown activation {name!r}; give one of {known}")
    if not part.choices:
        return cast(Activation, part.made_of)
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"activation {name!r} needs a number after the colon, as in {family}:0.8") from None
    return cast(Activation, part.make(value))
