"""Random deep residual networks next to their limits, in depth and in width.

A residual network at random initialization is the Euler scheme of a differential equation driven by its
weights, ``h ← h + L^{−β} V g(h)``. A `Model` is a law over such networks: a block (what g is), a law of the
weights along depth (how regular they are) and a scaling β. The verbs work on models:

    >>> import torch
    >>> import resnet_sde as rs
    >>> model = rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), width=40, beta=0.5)
    >>> x = torch.ones(1, 64)                                   # (input, n_in)
    >>> out = rs.simulate(model, x, depth=100, samples=200, observe=[rs.observables.displacement])
    >>> bool((out["displacement"].square().mean() - 0.6467).abs() < 0.1)  # (1 + 1/2L)^L − 1
    True

`study` runs a grid of models and depths and returns labelled results; `forward` and `trajectory` run the
layers of one model on weights you drew yourself.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from resnet_sde import observables
from resnet_sde._random import generator
from resnet_sde.activations import (
    ERF,
    GELU,
    LINEAR,
    RELU,
    SIGMOID,
    TANH,
    Activation,
    AlphaReLU,
    LeakyReLU,
    activation,
)
from resnet_sde.blocks import Block, Layer, Reduced, SingleLayer, TwoLayer
from resnet_sde.laws import ConstantNoise, FractionalNoise, PathLaw, SmoothNoise, WhiteNoise
from resnet_sde.model import Model, Regime, WeightPaths
from resnet_sde.paths import OffGrid, Path
from resnet_sde.propagate import Trajectory, forward, trajectory
from resnet_sde.simulate import simulate

if TYPE_CHECKING:
    from resnet_sde.coupling import couple
    from resnet_sde.limits import NoLimit, limit
    from resnet_sde.studies.study import study

__version__ = version("resnet_sde")

__all__ = [
    "ERF",
    "GELU",
    "LINEAR",
    "RELU",
    "SIGMOID",
    "TANH",
    "Activation",
    "AlphaReLU",
    "Block",
    "ConstantNoise",
    "FractionalNoise",
    "Layer",
    "LeakyReLU",
    "Model",
    "NoLimit",
    "OffGrid",
    "Path",
    "PathLaw",
    "Reduced",
    "Regime",
    "SingleLayer",
    "SmoothNoise",
    "Trajectory",
    "TwoLayer",
    "WeightPaths",
    "WhiteNoise",
    "activation",
    "couple",
    "forward",
    "generator",
    "limit",
    "observables",
    "simulate",
    "study",
    "trajectory",
]

# Labelled results bring xarray and pandas, limits bring solvers; they are imported when first asked for.
_LAZY = {
    "NoLimit": "resnet_sde.limits",
    "couple": "resnet_sde.coupling",
    "limit": "resnet_sde.limits",
    "study": "resnet_sde.studies",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
