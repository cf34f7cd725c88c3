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

import lazy_loader

# Everything is imported when it is first asked for: a help page should not wait for torch, nor a simulation
# for xarray and solvers. The public names stand in the stub beside this file.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
