"""What experiments on infinitely wide networks share: networks, inputs, and labelled numbers."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from resnet_sde.runs.versions import current_versions


def feed_forward(phi: rs.Activation, sigma_w2: float, sigma_b2: float, width: int = 1) -> rs.Model:
    """The network h ← σ_w W φ(h) / √width + σ_b b; h_0 is the first pre-activation."""
    return rs.Model(rs.SingleLayer(phi, sigma_w2, sigma_b2), rs.WhiteNoise(), width, beta=0.0, skip=0.0)


def residual(block: rs.Block, width: int = 1) -> rs.Model:
    """The residual network h ← h + V g(h), not scaled with depth."""
    return rs.Model(block, rs.WhiteNoise(), width, beta=0.0)


def float64(values: Iterable[float]) -> Tensor:
    """A tensor of numbers, whatever torch's default precision."""
    return torch.tensor(list(values), dtype=torch.float64)


def inputs(q: float, gaps: Sequence[float] = ()) -> Tensor:
    """One input, and one more at each 1 − cosine to it; h_0 has mean square q. Shape (input, 2), float64."""
    cosine = 1 - float64([0.0, *gaps])
    return torch.stack([cosine, (1 - cosine.square()).clamp_min(0).sqrt()], 1) * (2 * q) ** 0.5


def squared(log10: Tensor) -> Tensor:
    """The square of what the observables give as log₁₀."""
    return torch.pow(100.0, log10.double())


def mean_and_error(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the networks, which are the first axis, and its standard error."""
    return values.mean(0).numpy(), (values.std(0) / len(values) ** 0.5).numpy()


def dataset(
    variables: Mapping[Hashable, tuple[Sequence[str] | str, object]],
    coordinates: Mapping[str, object],
    settings: object,
    budget: str,
    seed: int,
) -> xr.Dataset:
    """Labelled numbers that say how they were made; axes without coordinates are counted from 0."""
    arrays = {name: (dims, np.asarray(values)) for name, (dims, values) in variables.items()}
    made = {"seed": seed, "budget": budget, "experiment": repr(settings)}
    ds = xr.Dataset(arrays, coordinates, made | {"versions": json.dumps(current_versions())})
    return ds.assign_coords({dim: range(size) for dim, size in ds.sizes.items() if dim not in ds.coords})


def fitted_slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the least squares line; NaN for fewer than two points."""
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else float("nan")


def depth_scale(distance: np.ndarray, window: np.ndarray) -> float:
    """ξ in distance ~ exp(−layer / ξ), over the layers of the window."""
    layers = np.flatnonzero(window)
    return -1 / fitted_slope(layers, np.log(distance[layers]))
