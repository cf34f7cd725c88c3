r"""Growth of displacements with depth, over the plane of Hurst index H and exponent β, for several blocks.

The growth exponent between two depths is the slope of log₁₀ of the root mean square displacement against
log₁₀ L; it is positive where networks tend to explosion and negative where they tend to the identity. It is
known at infinite width from the kernel between layers, and measured on networks that are seen at both depths
on one weight path, where most of what is random cancels.

Where displacements are small they are a sum of few powers of α = L^{−β}, whose coefficients are sums over
pairs of layers and cost O(L): with κ, κ' the duals of the branch and its derivative at unit variances,

    states:     α² Σ γ κ  +  α⁴/8 Σ γ(k−l) (k^{2H} + l^{2H} − |k−l|^{2H})   (the second for one ReLU matrix)
    gradients:  α² Σ γ κ' −  α³/(2π√2) Σ γ(k−l) |k−l|^H                     (the same)

The second terms matter for H < 1/2, where sums of γ nearly cancel; that of gradients is the kink of ReLU. The
β at which the sum is the same at two depths can so be followed to depths that no kernel reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from scipy.optimize import brentq

import resnet_sde as rs
from experiments.marion.plane import at_every_scaling
from resnet_sde.fractional import autocovariance
from resnet_sde.meanfield import displacements
from resnet_sde.propagate import Workspace, one_thread
from resnet_sde.streams import check_seed, stream

QUANTITIES = ("states", "gradients")
REACH = 0.15  # of the networks' β beyond the boundaries of states and of gradients


@dataclass(frozen=True)
class Networks:
    """Simulated networks of one block, each of them seen at every β around the boundaries.

    hursts: for each of which there are `samples` networks.
    """

    block: str
    hursts: tuple[float, ...]
    width: int
    samples: int


@dataclass(frozen=True)
class BlockPlane:
    """Growth exponents of the blocks of `BLOCKS` at infinite width, of networks, and of the expansion.

    depths: the two that are compared; the first divides the second.
    windows: further pairs of depths, for the expansion alone.
    inputs: Gaussian inputs of a network, each with a Gaussian p_L.
    """

    hursts: tuple[float, ...]
    betas: tuple[float, ...]
    depths: tuple[int, int]
    windows: tuple[tuple[int, int], ...]
    networks: tuple[Networks, ...]
    inputs: int = 4

    def theory(self) -> np.ndarray:
        """log₁₀ of root mean square displacements; (quantity, block, hurst, beta, depth)."""
        betas = torch.tensor(self.betas, dtype=torch.float64)
        found = [
            displacements(block, rs.FractionalNoise(hurst), depth, float(depth) ** -betas)
            for block in BLOCKS.values()
            for hurst in self.hursts
            for depth in self.depths
        ]
        values = torch.stack([torch.stack([d.log10_forward, d.log10_gradient]) for d in found])
        shape = (len(BLOCKS), len(self.hursts), len(self.depths), len(QUANTITIES), len(self.betas))
        return values.view(shape).permute(3, 0, 1, 4, 2).numpy()

    def expansions(self) -> np.ndarray:
        """β of no change between two depths, by the expansion; (quantity, block, window, hurst)."""
        pairs = (self.depths, *self.windows)
        return np.array(
            [
                [[[still(block, q, h, pair) for h in self.hursts] for pair in pairs] for block in BLOCKS]
                for q in QUANTITIES
            ]
        )

    def run(self, *, seed: int = 0) -> xr.Dataset:
        """Theory, expansion and networks.

        log10_theory: axes quantity, block, hurst, beta, depth.
        still: β of no change by the expansion; axes quantity, block, window, hurst.
        exponent, exponent_error: growth exponents of networks and their standard errors, not a number where
            β was not looked at; axes quantity, line, beta, with block, H and width along the axis line.
        """
        seed = check_seed(seed)
        lines = [(group, hurst) for group in self.networks for hurst in group.hursts]
        with one_thread():
            theory, expanded = self.theory(), self.expansions()
            measured = [self._measure(group, hurst, seed) for group, hurst in lines]
        exponent, error = (np.stack(part, axis=1) for part in zip(*measured, strict=True))
        variables = {
            "log10_theory": (("quantity", "block", "hurst", "beta", "depth"), theory),
            "still": (("quantity", "block", "window", "hurst"), expanded),
            "first": ("window", [self.depths[0], *(first for first, _ in self.windows)]),
            "last": ("window", [self.depths[1], *(last for _, last in self.windows)]),
            "exponent": (("quantity", "line", "beta"), exponent),
            "exponent_error": (("quantity", "line", "beta"), error),
            "line_block": ("line", [group.block for group, _ in lines]),
            "line_hurst": ("line", [hurst for _, hurst in lines]),
            "width": ("line", [group.width for group, _ in lines]),
        }
        axes = {"quantity": list(QUANTITIES), "block": list(BLOCKS), "depth": list(self.depths)}
        return xr.Dataset(variables, {**axes, "hurst": list(self.hursts), "beta": list(self.betas)})

    def _measure(self, group: Networks, hurst: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Exponents of networks of one H with their errors, both (quantity, beta)."""
        block, law, workspace = BLOCKS[group.block], rs.FractionalNoise(hurst), Workspace()
        edges = [boundary(group.block, quantity, hurst) for quantity in QUANTITIES]
        betas = np.array(self.betas)
        seen = (betas > min(edges) - REACH) & (betas < max(edges) + REACH)
        squares = []
        for number in range(group.samples):
            key = (law, block, self.depths, group.width, self.inputs, number)
            source = stream(seed, "plane of blocks", *key)
            size = (2, 1, self.inputs, group.width)
            h, top = source.normal_(torch.empty(size, dtype=torch.float32))
            paths = {
                name: law.path(self.depths[-1], (1, *shape), generator=source, dtype=torch.float32)
                for name, shape in block.shapes(group.width).items()
            }
            ratios = []
            for depth in self.depths:
                layers = rs.WeightPaths(paths).layers(depth)
                alphas = float(depth) ** -torch.from_numpy(betas[seen])
                ratios.append(at_every_scaling(block, layers, alphas, h, top, workspace)[:, 0])
            squares.append(torch.pow(100.0, torch.stack(ratios)).mean(-1))
        found = np.full((2, len(QUANTITIES), len(betas)), np.nan)
        found[:, :, seen] = growth_exponent(torch.stack(squares).numpy(), self.depths)
        return found[0], found[1]


BLOCKS: dict[str, rs.Block] = {
    "one matrix, ReLU": rs.SingleLayer(rs.RELU),
    "two matrices, ReLU": rs.TwoLayer(rs.RELU),
    "two matrices, erf": rs.TwoLayer(rs.ERF),
}


def growth_exponent(squares: np.ndarray, depths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Half the slope of the log of mean squares (sample, depth, ...) against log L, and its error."""
    mean = squares.mean(0)
    unit = 2 * math.log(depths[1] / depths[0])
    influence = squares[:, 1] / mean[1] - squares[:, 0] / mean[0]
    error = influence.std(0, ddof=1) / len(squares) ** 0.5
    return np.log(mean[1] / mean[0]) / unit, error / unit


def boundary(name: str, quantity: str, hurst: float) -> float:
    """β* of a block of `BLOCKS` at infinite width, for its states or its gradients.

    Gradients of one ReLU matrix feel its kink, and those of two matrices not the mean of the activation.
    """
    block = BLOCKS[name]
    if quantity == "states":
        return block.critical_beta(rs.FractionalNoise(hurst))
    return max(hurst, 1 / 3) if isinstance(block, rs.SingleLayer) else max(0.5, 2 * hurst - 1)


def still(name: str, quantity: str, hurst: float, depths: tuple[int, int]) -> float:
    """β at which the expansion of the square displacement is the same at two depths."""
    few, many = (coefficients(BLOCKS[name], quantity, hurst, depth) for depth in depths)
    leading = 0.5 * math.log(many[2] / few[2]) / math.log(depths[1] / depths[0])
    if len(few) == 1:
        return leading

    def change(beta: float) -> float:
        first, last = (
            sum(c * depth ** (-power * beta) for power, c in of.items())
            for of, depth in zip((few, many), depths, strict=True)
        )
        return last - first

    edge = boundary(name, quantity, hurst)
    return float(brentq(change, edge - 0.1, edge + 0.1))


def coefficients(block: rs.Block, quantity: str, hurst: float, depth: int) -> dict[int, float]:
    """Coefficients of the expansion of the square displacement, by the power of α they belong to."""
    one, lag = torch.ones(1, dtype=torch.float64), torch.arange(depth, dtype=torch.float64)
    gamma = autocovariance(hurst, depth)
    dual = block.dual if quantity == "states" else block.dual_prime
    pairs = 2.0 * (depth - lag)
    pairs[0] = depth
    found = {2: float((pairs * gamma * dual(one, one, gap=torch.zeros_like(one), inner=gamma)).sum())}
    if isinstance(block, rs.TwoLayer) or hurst >= 0.5:
        return found
    if quantity == "gradients":
        return {**found, 3: -float((pairs * gamma * lag**hurst).sum()) / (2 * math.pi * math.sqrt(2))}
    # Σ_l γ(k − l) for every k: the sums of γ up to lag k and up to lag L − 1 − k, which share lag 0.
    sums = gamma.cumsum(0)
    moved = 2 * (lag ** (2 * hurst) * (sums + sums.flip(0) - 1)).sum()
    return {**found, 4: float(moved - (pairs * gamma * lag ** (2 * hurst)).sum()) / 8}
