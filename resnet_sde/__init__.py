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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_sde import finite_width, meanfield, observables, theorems
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
    from resnet_sde.blocks import Block, Layer, Reduced, SingleLayer, TwoLayer, Variances
    from resnet_sde.coupling import couple
    from resnet_sde.laws import ConstantNoise, FractionalNoise, PathLaw, SmoothNoise, WhiteNoise
    from resnet_sde.limits import NoLimit, limit
    from resnet_sde.model import Model, Regime, WeightPaths
    from resnet_sde.monte_carlo import simulate
    from resnet_sde.paths import OffGrid, Path
    from resnet_sde.practice import (
        DepthCheck,
        DepthMismatch,
        NoStream,
        NotAStream,
        Profile,
        advise,
        assert_depth_law,
        depth_check,
        probe,
        scale_residual_,
    )
    from resnet_sde.propagate import Trajectory, forward, trajectory
    from resnet_sde.streams import generator
    from resnet_sde.studies.study import study
    from resnet_sde.theorems import verify

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
    "DepthCheck",
    "DepthMismatch",
    "FractionalNoise",
    "Layer",
    "LeakyReLU",
    "Model",
    "NoLimit",
    "NoStream",
    "NotAStream",
    "OffGrid",
    "Path",
    "PathLaw",
    "Profile",
    "Reduced",
    "Regime",
    "SingleLayer",
    "SmoothNoise",
    "Trajectory",
    "TwoLayer",
    "Variances",
    "WeightPaths",
    "WhiteNoise",
    "activation",
    "advise",
    "assert_depth_law",
    "couple",
    "depth_check",
    "finite_width",
    "forward",
    "generator",
    "limit",
    "meanfield",
    "observables",
    "probe",
    "scale_residual_",
    "simulate",
    "study",
    "theorems",
    "trajectory",
    "verify",
]

# Everything is imported when it is first asked for: a help page should not wait for torch, nor a simulation
# for xarray and solvers.
_HOMES = {
    "streams": "generator",
    "activations": "ERF GELU LINEAR RELU SIGMOID TANH Activation AlphaReLU LeakyReLU activation",
    "blocks": "Block Layer Reduced SingleLayer TwoLayer Variances",
    "coupling": "couple",
    "monte_carlo": "simulate",
    "laws": "ConstantNoise FractionalNoise PathLaw SmoothNoise WhiteNoise",
    "limits": "NoLimit limit",
    "model": "Model Regime WeightPaths",
    "paths": "OffGrid Path",
    "practice": "DepthCheck DepthMismatch NoStream NotAStream Profile advise assert_depth_law depth_check "
    "probe scale_residual_",
    "propagate": "Trajectory forward trajectory",
    "studies": "study",
    "theorems": "verify",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    missing = AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: Any
    if name == "__version__":
        from importlib.metadata import version

        found = version("resnet_sde")
    elif name.startswith("_"):
        raise missing
    elif name in _HOME:
        found = getattr(import_module(f"resnet_sde.{_HOME[name]}"), name)
    else:
        try:
            found = import_module(f"resnet_sde.{name}")
        except ModuleNotFoundError as error:
            raise (missing if error.name == f"resnet_sde.{name}" else error) from None
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
