r"""Exact fractional Gaussian noise of any Hurst index, many paths at once.

The noise is stationary with γ(n) = (|n−1|^{2H} − 2|n|^{2H} + |n+1|^{2H}) / 2. Its covariance matrix
of size L is the corner of a circulant of size 2M, M ≥ L, with first row γ(0), …, γ(M), γ(M−1), …,
γ(1) (Wood & Chan, 1994). The entry in the middle is γ(M), not 0: this keeps every eigenvalue λ_k
positive for all 0 < H < 1, so nothing is ever approximated. A path is the inverse real transform of
√λ_k (a_k + i b_k), with a, b standard normal: a linear map of white noise, which is what the tests
check.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from resnet_sde.streams import Stream

SAMPLERS = ("circulant", "hosking", "cholesky")
_RESOLVED = 50  # roundings of the largest eigenvalue below which the smallest one has not two digits
_CHUNK_ELEMENTS = 2**18  # the transforms of one piece stay in cache


def autocovariance(hurst: float, depth: int) -> Tensor:
    """γ(0), …, γ(depth − 1) of unit-variance fractional noise; shape (depth,), float64.

    From lag 2 on by the binomial series γ(n) = n^{2H} Σ_k C(2H, 2k) n^{−2k}, where nothing cancels.
    """
    n = np.arange(depth, dtype=np.float64)
    gamma = np.ones(depth)
    if depth > 1:
        gamma[1] = math.expm1((2 * hurst - 1) * math.log(2))
    k = 2.0 * np.arange(1, 30)
    ratios = (2 * hurst - k) * (2 * hurst - k - 1) / ((k + 1) * (k + 2))
    series = hurst * (2 * hurst - 1) * np.cumprod([1.0, *ratios])
    gamma[2:] = n[2:] ** (2 * hurst - 2) * np.polynomial.polynomial.polyval(n[2:] ** -2.0, series)
    return torch.from_numpy(gamma)


class Circulant:
    """The linear map from white noise to fractional noise of one Hurst index and length.

    `size` independent standard normal numbers make one path of length `depth`.
    """

    def __init__(
        self, hurst: float, depth: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        self.depth = depth
        half = scipy.fft.next_fast_len(depth, real=True)
        gamma = autocovariance(hurst, half + 1).numpy()
        row = np.concatenate([gamma, gamma[-2:0:-1]])
        eigenvalues = np.fft.rfft(row).real
        if eigenvalues.min() <= _RESOLVED * np.finfo(np.float64).eps * eigenvalues.max():
            raise ValueError(
                f"fractional noise of H = {hurst!r} over {depth} layers varies by less than float64 can tell;"
                " give a smaller hurst, or constant weights"
            )
        scale = np.sqrt(eigenvalues * half)
        scale[[0, -1]] *= math.sqrt(2.0)
        self.size = 2 * (half + 1)
        self._period = 2 * half
        self._scale = torch.from_numpy(scale.repeat(2)).to(device=device, dtype=dtype)

    def color_(self, normals: Tensor) -> Tensor:
        """Fractional noise from white noise, which it overwrites: (path, size) to (path, depth)."""
        spectrum = normals.mul_(self._scale).view(*normals.shape[:-1], -1, 2)
        return torch.fft.irfft(torch.view_as_complex(spectrum), n=self._period)[..., : self.depth]


@lru_cache(maxsize=16)
def _circulant(hurst: float, depth: int, dtype: torch.dtype, device: torch.device) -> Circulant:
    return Circulant(hurst, depth, dtype, device)


def fractional_noise_(out: Tensor, hurst: float, source: Stream, sampler: str = "circulant") -> Tensor:
    """Fill with unit-variance fractional noise along the first axis, independent over all others.

    Args:
        out: contiguous, (depth, ...), float32 or float64.
        hurst: Hurst index, in (0, 1).
        source: the random stream.
        sampler: "circulant" (exact, fast), or "hosking" or "cholesky" of the `fbm` package (exact, slow).
    """
    paths = out.view(out.shape[0], -1)
    if sampler != "circulant":
        return _fill_with_fbm(paths, hurst, source, sampler).view(out.shape)
    circulant = _circulant(hurst, out.shape[0], out.dtype, out.device)
    chunk = max(1, _CHUNK_ELEMENTS // circulant.size) if out.device.type == "cpu" else paths.shape[1]
    chunk = max(1, min(chunk, paths.shape[1]))
    normals = torch.empty(chunk, circulant.size, dtype=out.dtype, device=out.device)
    for start in range(0, paths.shape[1], chunk):
        piece = normals[: min(chunk, paths.shape[1] - start)]
        paths[:, start : start + chunk] = circulant.color_(source.normal_(piece)).mT
    return out


def _fill_with_fbm(paths: Tensor, hurst: float, source: Stream, sampler: str) -> Tensor:
    from fbm import FBM

    depth = int(paths.shape[0])
    process = FBM(n=depth, hurst=hurst, length=depth, method=sampler)
    before = np.random.get_state()  # noqa: NPY002  (fbm knows only NumPy's global generator)
    try:
        np.random.seed(source.numpy.integers(0, 2**32, size=8, dtype=np.uint32))  # noqa: NPY002
        for column in range(paths.shape[1]):
            paths[:, column] = torch.from_numpy(np.atleast_1d(process.fgn()))
    finally:
        np.random.set_state(before)  # noqa: NPY002
    return paths
