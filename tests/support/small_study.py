"""A study of a few tiny cells, for the tests of studies."""

import torch
import xarray as xr

import resnet_sde as rs
from resnet_sde import observables as ob

X = torch.linspace(-1.0, 2.0, 5, dtype=torch.float64)[None]
DISPLACEMENT = [ob.displacement]


def white(beta: float = 0.5) -> rs.Model:
    return rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), width=4, beta=beta)


def small(**changes: object) -> xr.Dataset:
    """A study of four cells, with some of its arguments changed."""
    request: dict[str, object] = {
        **{"over": {"beta": [0.5, 1.0], "depth": [2, 5]}, "samples": 3, "observe": DISPLACEMENT, "seed": 1},
        **changes,
    }
    return rs.study(request.pop("build", white), request.pop("x", X), **request)
