r"""Weights with correlated entries, white or smooth along depth, beside independent ones.

The entries of each matrix have the covariance C / d, where C is the correlation matrix of d² rows of d²
independent uniform numbers: off the diagonal it has entries of size 1/d, and its eigenvalues fill [0, 4]. All
layers share C. For a vector u that does not depend on V,

    E‖V u‖² = uᵀ M u,    M_jj' = (1/d) Σ_i C_(ij),(ij'),

and M is the identity up to entries of size d^{−3/2}, so that its eigenvalues lie in 1 ± 2/d. A branch of
res-3 has E‖V φ(W h)‖² = tr M G(h), with G(h) = E φ(W h) φ(W h)ᵀ, the dual of ReLU at the covariance of W h.
On average over directions of h this is ‖h‖² / 2 up to a relative Σ_{j ≠ j'} M_jj' / π d, which over the
choice of C has the standard deviation √2 d^{−3/2} / π. So depth should matter as it does to independent
weights. Both kinds are made from the same random numbers here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from resnet_sde.blocks import Layer
from resnet_sde.matrices import Dense
from resnet_sde.meanfield import displacements
from resnet_sde.observables import log10_displacement, log10_gradient_displacement
from resnet_sde.paths import GridPath, Path, SmoothPath
from resnet_sde.propagate import one_thread
from resnet_sde.runs.versions import current_versions
from resnet_sde.streams import Stream, stream

WEIGHTS = ("independent", "correlated")
QUANTITIES = ("log10_displacement", "log10_gradient_displacement")
BLOCK, WHITE, SMOOTH = rs.TwoLayer(rs.RELU), rs.WhiteNoise(), rs.SmoothNoise(0.1)
AT_ONCE = 15  # networks whose weights are held
STATES = 500  # random directions over which factors are averaged


@dataclass(frozen=True)
class CorrelatedWeights:
    """Ratios of res-3 networks at every depth and β, for white and for smooth weights.

    A network of fewer layers has the first white weights of the deepest one, or its smooth paths.

    lines: depths at which the theory of infinite width is evaluated, for smooth weights.
    draws: matrices from which mean squares of V u are measured.
    matrix_seed: of the numbers that C is made of, by NumPy's default generator.
    """

    depths: tuple[int, ...]
    lines: tuple[int, ...]
    samples: int
    draws: int
    betas: tuple[float, ...] = (1.0, 0.25, 0.5)
    smooth_betas: tuple[float, ...] = (2.0, 0.5, 1.0)
    width: int = 40
    n_in: int = 64
    matrix_seed: int = 42

    def model(self, law: rs.PathLaw, beta: float) -> rs.Model:
        """The law of the networks with independent weights."""
        return rs.Model(BLOCK, law, self.width, beta=beta)

    def run(self, *, seed: int = 0) -> xr.Dataset:
        """Ratios with the axes weights, beta (or smooth_beta), depth and sample; factors with direction.

        log10_displacement, log10_gradient_displacement: of white weights; of smooth ones with the prefix
            smooth_, and smooth_theory at infinite width and independent weights, axes of, smooth_beta, line.
        factor: eigenvalues of M, axis direction; `measured` and `measured_error`, with the axis weights, are
            mean squares of V u over the eigenvectors u.
        branch_factor: E‖V φ(W h)‖² / ‖h‖² given C for random directions of h, axis state.
        """
        with one_thread():
            variables = self._ratios(seed) | self._theory() | self._factors(seed)
        axes = {"weights": list(WEIGHTS), "beta": list(self.betas), "smooth_beta": list(self.smooth_betas)}
        axes |= {"depth": list(self.depths), "line": list(self.lines), "of": list(QUANTITIES)}
        attributes = {"seed": seed, "versions": json.dumps(current_versions()), "experiment": repr(self)}
        return xr.Dataset(variables, axes, {**attributes, "width": self.width})

    def _ratios(self, seed: int) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        found = {}
        for prefix, law, betas in (("", WHITE, self.betas), ("smooth_", SMOOTH, self.smooth_betas)):
            parts = [
                self._networks(
                    law, betas, min(AT_ONCE, self.samples - first), stream(seed, "correlated", law, first)
                )
                for first in range(0, self.samples, AT_ONCE)
            ]
            table = torch.cat(parts, dim=-1).numpy()
            dims = ("weights", f"{prefix}beta", "depth", "sample")
            found |= {f"{prefix}{name}": (dims, table[k]) for k, name in enumerate(QUANTITIES)}
        return found

    def _networks(self, law: rs.PathLaw, betas: tuple[float, ...], samples: int, source: Stream) -> Tensor:
        """Both ratios of some networks, (quantity, weights, beta, depth, sample), float64."""
        dtype = torch.float64 if law is SMOOTH else torch.float32  # for the small updates of β = 2
        x, first, top = (
            source.normal_(torch.empty(samples, *shape, dtype=dtype))
            for shape in ((1, self.n_in), (self.n_in, self.width), (1, self.width))
        )
        rows = len(betas)
        h, top = ((at.expand(-1, rows, -1)).contiguous() for at in (x @ first / self.n_in**0.5, top))
        shape = (samples, self.width, self.width)
        paths = [law.path(self.depths[-1], shape, generator=source, dtype=dtype) for _ in range(2)]
        root = symmetric_root(self.width, self.matrix_seed).to(dtype)
        result = torch.empty(2, len(WEIGHTS), rows, len(self.depths), samples, dtype=torch.float64)
        for kind in range(len(WEIGHTS)):
            inner, outer = (mixed(path, root) if kind else path for path in paths)
            for place, depth in enumerate(self.depths):
                alpha = torch.tensor([[self.model(law, beta).alpha(depth)] for beta in betas], dtype=dtype)
                layers = _layers(inner, outer, depth)
                t = rs.trajectory(BLOCK, h, layers, alpha, top=top, every_layer=False)
                result[0, kind, :, place] = log10_displacement(t).T
                result[1, kind, :, place] = log10_gradient_displacement(t).T
        return result

    def _theory(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        columns = []
        for depth in self.lines:
            alphas = torch.tensor([self.model(SMOOTH, beta).alpha(depth) for beta in self.smooth_betas])
            wide = displacements(BLOCK, SMOOTH, depth, alphas)
            columns.append(torch.stack([wide.log10_forward, wide.at_width(self.width)]))
        return {"smooth_theory": (("of", "smooth_beta", "line"), torch.stack(columns, -1).numpy())}

    def _factors(self, seed: int) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        entries = correlation(self.width, self.matrix_seed)
        factors, directions = np.linalg.eigh(outer_form(entries))
        root = symmetric_root(self.width, self.matrix_seed).float()
        source, u = stream(seed, "correlated", "factors"), torch.from_numpy(directions).float()
        z = source.normal_(torch.empty(self.draws, self.width**2, dtype=torch.float32))
        measured = []
        for draws in (z, z @ root):
            answers = draws.view(-1, self.width, self.width).mT @ u
            squares = answers.square().sum(1).double() / self.width
            measured.append((squares.mean(0), squares.std(0) / self.draws**0.5))
        mean, error = (torch.stack(column).numpy() for column in zip(*measured, strict=True))
        h = source.normal_(torch.empty(STATES, self.width, dtype=torch.float64)).numpy()
        return {
            "factor": (("direction",), factors),
            "measured": (("weights", "direction"), mean),
            "measured_error": (("weights", "direction"), error),
            "branch_factor": (("state",), branch_factors(entries, h)),
        }


@lru_cache(maxsize=2)
def correlation(width: int, seed: int) -> np.ndarray:
    """C, of width² rows of width² uniform numbers; an entry of a matrix has the index (in, out)."""
    return np.corrcoef(np.random.default_rng(seed).random((width**2, width**2)))


@lru_cache(maxsize=2)
def symmetric_root(width: int, seed: int) -> Tensor:
    """√C, float64. The rows of numbers are centred, so C has no full rank, and no Cholesky factor."""
    values, vectors = np.linalg.eigh(correlation(width, seed))
    return torch.from_numpy((vectors * np.sqrt(values.clip(0))) @ vectors.T)


def outer_form(entries: np.ndarray) -> np.ndarray:
    """M of E‖V u‖² = uᵀ M u, for the correlations of the entries of √d V."""
    width = round(len(entries) ** 0.5)
    return np.einsum("jiki->jk", entries.reshape((width,) * 4)) / width


def branch_factors(entries: np.ndarray, h: np.ndarray) -> np.ndarray:
    """E‖V φ(W h)‖² / ‖h‖² over V and W given C, for each row of h."""
    width = h.shape[-1]
    form = outer_form(entries)
    # Covariances of √d W h, (state, j, j'), for which the numbers C_(kj),(k'j') stand at [j j', k k'].
    by_output = entries.reshape((width,) * 4).transpose(1, 3, 0, 2).reshape(width**2, width**2)
    products = (h[:, :, None] * h[:, None, :]).reshape(len(h), -1)
    covariance = (products @ by_output.T).reshape(len(h), width, width) / width
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    scale = spread[:, :, None] * spread[:, None, :]
    r = np.clip(covariance / scale, -1, 1)
    dual = scale * (np.sqrt(1 - r**2) + r * (np.pi - np.arccos(r))) / (2 * np.pi)
    return (form * dual).sum((1, 2)) / (h**2).sum(-1)


def mixed(path: Path, root: Tensor) -> Path:
    """The path whose matrices have entries √C times those of a path with independent ones."""
    if isinstance(path, SmoothPath):
        return replace(path, modes=_mix(path.modes, root))
    assert isinstance(path, GridPath)
    return replace(path, fine=_mix(path.fine, root))


def _mix(entries: Tensor, root: Tensor) -> Tensor:
    return (entries.flatten(-2) @ root).view_as(entries)


def _layers(inner: Path, outer: Path, depth: int) -> Iterator[Layer]:
    """The first layers of white weights; smooth paths at as many times."""
    weights = [
        path.fine[:depth] if isinstance(path, GridPath) else path.weights(depth) for path in (inner, outer)
    ]
    return (Layer({"outer": Dense(V), "inner": Dense(W)}) for W, V in zip(*weights, strict=True))
