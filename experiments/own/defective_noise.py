r"""Fractional noise as the published generator makes it, and what it does to networks at initialization.

The code that comes with Marion et al. (2025) colours white noise by the eigenvalues λ_k of a circulant of
first row γ(0), …, γ(N−1), m, γ(N−1), …, γ(1). Exact noise needs m = γ(N). The published generator has m = 0;
it takes λ_0 where λ_N belongs; and where m = 0 has made an eigenvalue negative, its root is imaginary and is
dropped when the noise is cast to real numbers. The excess of λ_0 over λ_N is noise (−1)^k of one random
amplitude, of variance (λ_0 − λ_N) / 2N ≈ H N^{2H−2}: next to nothing for H < 0.7, and more than half of the
right variance for H near 1. Over an even number of layers it cancels, so sums do not show it.

Both generators are linear maps of the same white noise here, so that their covariance is found exactly, by
pushing unit vectors through them, and networks on both differ by the defect alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from typing_extensions import override

import resnet_sde as rs
from experiments.marion.initialization import first_order
from experiments.marion.plane import at_every_scaling
from resnet_sde.fractional import autocovariance
from resnet_sde.meanfield import displacements
from resnet_sde.paths import GridPath
from resnet_sde.propagate import Workspace, one_thread
from resnet_sde.streams import Stream, check_seed, stream

GENERATORS = ("exact", "published")
QUANTITIES = ("states", "gradients")
LAGS, SHOWN, EXAMPLES = 21, 50, 3  # lags of the covariance, layers and number of examples that are kept


def eigenvalues(hurst: float, depth: int, *, published: bool) -> Tensor:
    """λ_0, …, λ_N whose roots colour the noise; (depth + 1,), float64, some of them negative if published."""
    gamma = autocovariance(hurst, depth + 1)
    if published:
        gamma[-1] = 0.0
    found = torch.fft.rfft(torch.cat([gamma, gamma[1:-1].flip(0)])).real
    if published:
        found[-1] = found[0]
    return found


def coloured(white: Tensor, values: Tensor) -> Tensor:
    """Noise (..., N) from white noise (..., 2 (N + 1)) and N + 1 eigenvalues; negative ones are dropped."""
    depth = len(values) - 1
    roots = (values.clamp_min(0) * depth).sqrt()
    roots[[0, -1]] *= math.sqrt(2.0)
    spectrum = torch.view_as_complex(white.unflatten(-1, (-1, 2)) * roots[:, None].to(white))
    return torch.fft.irfft(spectrum, n=2 * depth)[..., :depth]


def lags(values: Tensor) -> Tensor:
    """Covariance by lag of noise with these eigenvalues; (depth,), float64."""
    return torch.fft.irfft(values, n=2 * len(values) - 2)[: len(values) - 1]


def covariance_of_map(values: Tensor) -> Tensor:
    """Covariance of coloured noise, (depth, depth), by pushing every unit vector through the map."""
    images = coloured(torch.eye(2 * len(values), dtype=torch.float64), values)
    return images.mT @ images


@dataclass(frozen=True)
class PublishedNoise(rs.PathLaw):
    """What the published generator gives, divided by its standard deviation: laws have unit variance."""

    hurst: float

    @override
    @property
    def exponent(self) -> float:  # type: ignore[override]
        return self.hurst

    def variance(self, depth: int) -> float:
        """Of the weights before that division."""
        return float(lags(self._eigenvalues(depth))[0])

    @override
    def covariance(self, depth: int) -> Tensor:
        found, lag = lags(self._eigenvalues(depth)), torch.arange(depth)
        return (found / found[0])[(lag[:, None] - lag).abs()]

    def _eigenvalues(self, depth: int) -> Tensor:
        return eigenvalues(self.hurst, depth, published=True).clamp_min(0)

    @override
    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> rs.Path:
        white = torch.empty(*shape, 2 * (depth + 1), dtype=dtype, device=source.device)
        noise = coloured(source.normal_(white), self._eigenvalues(depth)) / self.variance(depth) ** 0.5
        return GridPath(noise.movedim(-1, 0).contiguous(), self.hurst, stable=False)


def infinite_width(generator: str, hurst: float, depth: int) -> tuple[rs.Block, rs.PathLaw]:
    """Two ReLU matrices and the law of their weights; the block carries a variance that is not 1."""
    if generator == "exact":
        return rs.TwoLayer(rs.RELU), rs.FractionalNoise(hurst)
    law = PublishedNoise(hurst)
    variance = law.variance(depth)
    return rs.TwoLayer(rs.RELU, sigma_w2=variance, sigma_v2=variance), law


def _largest_error(hurst: float, depth: int) -> float:
    published = lags(eigenvalues(hurst, depth, published=True).clamp_min(0))[:2]
    return float((published - autocovariance(hurst, 2)).abs().max())


@dataclass(frozen=True)
class Generators:
    """Covariances, mean fields and networks of both generators.

    hursts: for variances and mean fields.
    network_hursts: some of them, for networks.
    cases: depths and Hurst indices of which the largest error of variance and covariance at lag 1 is kept.
    samples: networks for each Hurst index and generator; both meet the same white noise, h_0 and p_L.
    inputs: Gaussian inputs of a network, each with a Gaussian p_L.
    lagged, example: Hurst indices of a covariance by lag and of realisations that are kept.
    """

    hursts: tuple[float, ...]
    network_hursts: tuple[float, ...]
    betas: tuple[float, ...]
    cases: tuple[tuple[int, float], ...]
    samples: int
    depth: int = 1000
    width: int = 40
    inputs: int = 4
    lagged: float = 0.9
    example: float = 0.97

    def run(self, *, seed: int = 0) -> xr.Dataset:
        """All of it.

        variance, lag_one: of the noise, from unit vectors; not_stationary: largest distance of its covariance
            from a function of the lag, which is that of the law; sum_variance: of the sum of all layers, over
            N^{2H}. Axes generator, hurst.
        with_imaginary_roots: variance if no root were dropped; axis hurst.
        by_lag: covariance by lag at H = `lagged`; axes generator, lag.
        increments: realisations at H = `example` on the same white noise; axes generator, number, layer.
        error: of the published moments, in each of the cases; axis case, with error_depth and error_hurst.
        first_order: log₁₀ of root mean squares over α as α → 0; axes generator, quantity, hurst.
        log10_theory: log₁₀ of root mean squares at infinite width, of gradients with the share 1/width along
            the state; axes generator, quantity, hurst, beta.
        log10_ratio: mean over inputs of log₁₀ ratios; axes generator, quantity, network_hurst, beta, sample.
        """
        seed = check_seed(seed)
        with one_thread():
            maps = np.array([[self._map(g, hurst) for hurst in self.hursts] for g in GENERATORS])
            theory = np.array([[self._theory(g, hurst) for hurst in self.hursts] for g in GENERATORS])
            first = np.array([[self._first_order(g, hurst) for hurst in self.hursts] for g in GENERATORS])
            networks = np.stack([self._networks(hurst, seed) for hurst in self.network_hursts], axis=2)
            by_lag, increments = self._example(seed)
            kept = [lags(eigenvalues(hurst, self.depth, published=True))[0].item() for hurst in self.hursts]
            errors = [_largest_error(hurst, depth) for depth, hurst in self.cases]
        of_all = ("generator", "hurst")
        names = ("variance", "lag_one", "not_stationary", "sum_variance")
        variables = {
            **{name: (of_all, maps[..., k]) for k, name in enumerate(names)},
            "with_imaginary_roots": ("hurst", kept),
            "error": ("case", errors),
            "error_depth": ("case", [depth for depth, _ in self.cases]),
            "error_hurst": ("case", [hurst for _, hurst in self.cases]),
            "first_order": (("generator", "hurst", "quantity"), first),
            "by_lag": (("generator", "lag"), by_lag),
            "increments": (("generator", "number", "layer"), increments),
            "log10_theory": (("generator", "hurst", "quantity", "beta"), theory),
            "log10_ratio": (("generator", "quantity", "network_hurst", "beta", "sample"), networks),
        }
        axes = {"generator": list(GENERATORS), "quantity": list(QUANTITIES), "beta": list(self.betas)}
        axes |= {"hurst": list(self.hursts), "network_hurst": list(self.network_hursts)}
        attributes = {"depth": self.depth, "width": self.width}
        attributes |= {"lagged": self.lagged, "example": self.example}
        return xr.Dataset(variables, axes, attributes)

    def _values(self, generator: str, hurst: float) -> Tensor:
        return eigenvalues(hurst, self.depth, published=generator == "published")

    def _map(self, generator: str, hurst: float) -> list[float]:
        """What the map does to unit vectors."""
        found = covariance_of_map(self._values(generator, hurst))
        block, law = infinite_width(generator, hurst, self.depth)
        off = (found - block.variances.outer_weight * law.covariance(self.depth)).abs().max()
        total = found.sum() / self.depth ** (2 * hurst)
        return [float(found[0, 0]), float(found[0, 1]), float(off), float(total)]

    def _theory(self, generator: str, hurst: float) -> np.ndarray:
        """(quantity, beta)."""
        alphas = float(self.depth) ** -torch.tensor(self.betas, dtype=torch.float64)
        found = displacements(*infinite_width(generator, hurst, self.depth), self.depth, alphas)
        return torch.stack([found.log10_forward, found.at_width(self.width)]).numpy()

    def _first_order(self, generator: str, hurst: float) -> np.ndarray:
        block, law = infinite_width(generator, hurst, self.depth)
        return np.log10(np.multiply(first_order(law, self.depth, self.width), block.variances.outer_weight))

    def _networks(self, hurst: float, seed: int) -> np.ndarray:
        """(generator, quantity, beta, sample)."""
        return np.stack(list(self._each_network(hurst, seed)), axis=-1)

    def _each_network(self, hurst: float, seed: int) -> Iterator[np.ndarray]:
        block, workspace = rs.TwoLayer(rs.RELU), Workspace()
        alphas = float(self.depth) ** -torch.tensor(self.betas, dtype=torch.float64)
        for number in range(self.samples):
            source = stream(seed, "defective noise", hurst, self.depth, self.width, self.inputs, number)
            h, top = source.normal_(torch.empty(2, 1, self.inputs, self.width, dtype=torch.float32))
            white = {
                name: source.normal_(torch.empty(*shape, 2 * (self.depth + 1), dtype=torch.float32))
                for name, shape in block.shapes(self.width).items()
            }
            ratios = []
            for generator in GENERATORS:
                values = self._values(generator, hurst)
                paths = {
                    name: GridPath(coloured(noise, values).movedim(-1, 0)[:, None].contiguous(), hurst)
                    for name, noise in white.items()
                }
                layers = rs.WeightPaths(paths).layers(self.depth)
                ratios.append(at_every_scaling(block, layers, alphas, h, top, workspace)[:, 0].mean(-1))
            yield torch.stack(ratios).numpy()

    def _example(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Covariances by lag, (generator, lag), and increments, (generator, number, layer)."""
        white = torch.empty(EXAMPLES, 2 * (self.depth + 1), dtype=torch.float64)
        stream(seed, "defective noise, example", self.depth, self.example).normal_(white)
        noise = [coloured(white, self._values(g, self.example))[:, :SHOWN] for g in GENERATORS]
        by_lag = [lags(self._values(g, self.lagged).clamp_min(0))[:LAGS] for g in GENERATORS]
        return torch.stack(by_lag).numpy(), torch.stack(noise).numpy()
