"""Mean square displacements of networks next to their infinite width, for every block, law and scaling.

Networks of all blocks, with weights of all laws along depth, run at every β on the same weights. Their mean
squares ‖h_L − h_0‖² / ‖h_0‖² and ‖p_0 − p_L‖² / ‖p_L‖² stand beside those of the kernel between layers, from
which networks of finite width differ by the order of 1/width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr

import resnet_sde as rs
from experiments.marion.plane import at_every_scaling
from resnet_sde.meanfield import displacements
from resnet_sde.propagate import Workspace, one_thread
from resnet_sde.streams import check_seed, stream

QUANTITIES = ("states", "gradients")
BLOCKS: dict[str, rs.Block] = {
    "one matrix, ReLU": rs.SingleLayer(rs.RELU),
    "two matrices, ReLU": rs.TwoLayer(rs.RELU),
    "one matrix, erf": rs.SingleLayer(rs.ERF),
    "two matrices, erf": rs.TwoLayer(rs.ERF),
}
LAWS: dict[str, rs.PathLaw] = {
    "white": rs.WhiteNoise(),
    "fractional, $H = 0.2$": rs.FractionalNoise(0.2),
    "fractional, $H = 0.8$": rs.FractionalNoise(0.8),
    "smooth, $\\ell = 0.1$": rs.SmoothNoise(0.1),
    "smooth, $\\ell = 0.3$": rs.SmoothNoise(0.3),
    "constant": rs.ConstantNoise(),
}
PLANTED = 1.05  # factor on the variance of the outer weights of a theory that must be told from the right one
HELD = 2**23  # numbers in the weights of the networks that run at once


@dataclass(frozen=True)
class LawPlane:
    """Networks of every block of `BLOCKS` and law of `LAWS`, at every β.

    widths: a width and its double, from which the mean squares are extrapolated.
    samples: networks for each block, law and width.
    inputs: Gaussian inputs of a network, each with a Gaussian p_L.
    """

    betas: tuple[float, ...]
    widths: tuple[int, int]
    samples: int
    depth: int = 64
    inputs: int = 2

    def run(self, *, seed: int = 0) -> xr.Dataset:
        """Means, errors and theory; axes block, law, quantity, beta, and for networks width before them.

        mean, error: mean square over networks and inputs, and its standard error over networks.
        theory: the mean square at infinite width; planted: the same with the variance of the outer weights
            off by the factor `PLANTED`.
        """
        seed = check_seed(seed)
        pairs = [(block, law) for block in BLOCKS.values() for law in LAWS.values()]
        with one_thread():
            theory, planted = (
                np.stack([self._theory(block, law, factor) for block, law in pairs])
                for factor in (1.0, PLANTED)
            )
            measured = [[self._measured(*pair, width, seed) for pair in pairs] for width in self.widths]
        shape = (len(BLOCKS), len(LAWS), len(QUANTITIES), len(self.betas))
        dims = ("block", "law", "quantity", "beta")
        mean, error = (
            np.stack([[found[k] for found in row] for row in measured]).reshape(-1, *shape) for k in (0, 1)
        )
        variables = {
            "mean": (("width", *dims), mean),
            "error": (("width", *dims), error),
            "theory": (dims, theory.reshape(shape)),
            "planted": (dims, planted.reshape(shape)),
        }
        axes = {"block": list(BLOCKS), "law": list(LAWS), "quantity": list(QUANTITIES)}
        axes |= {"beta": list(self.betas), "width": list(self.widths)}
        return xr.Dataset(variables, axes, {"depth": self.depth, "samples": self.samples})

    def _alphas(self) -> torch.Tensor:
        return float(self.depth) ** -torch.tensor(self.betas, dtype=torch.float64)

    def _theory(self, block: rs.Block, law: rs.PathLaw, factor: float) -> np.ndarray:
        """(quantity, beta)."""
        name = "sigma_v2" if isinstance(block, rs.TwoLayer) else "sigma_w2"
        found = displacements(replace(block, **{name: factor}), law, self.depth, self._alphas())
        return torch.pow(100.0, torch.stack([found.log10_forward, found.log10_gradient])).numpy()

    def _measured(
        self, block: rs.Block, law: rs.PathLaw, width: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean squares and their standard errors, both (quantity, beta)."""
        squares = torch.cat(list(self._squares(block, law, width, seed)), dim=1)
        error = squares.std(1) / self.samples**0.5
        return squares.mean(1).numpy(), error.numpy()

    def _squares(self, block: rs.Block, law: rs.PathLaw, width: int, seed: int) -> Iterator[torch.Tensor]:
        """Squares of batches of networks, each (quantity, sample, beta)."""
        workspace, most = Workspace(), max(1, HELD // (width**2 * self.depth))
        for start in range(0, self.samples, most):
            count = min(most, self.samples - start)
            source = stream(seed, "plane of laws", block, law, self.depth, width, self.inputs, start)
            size = (2, count, self.inputs, width)
            h, top = source.normal_(torch.empty(size, dtype=torch.float32))
            paths = {
                name: law.path(self.depth, (count, *shape), generator=source, dtype=torch.float32)
                for name, shape in block.shapes(width).items()
            }
            layers = rs.WeightPaths(paths).layers(self.depth)
            ratios = at_every_scaling(block, layers, self._alphas(), h, top, workspace)
            yield torch.pow(100.0, ratios).mean(-1)
