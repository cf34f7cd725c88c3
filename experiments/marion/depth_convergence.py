"""Trained weights of N and of 2N layers that start from the same weights.

Does training commute with the limit of many layers? The weights of the deepest network are drawn, and one of
N layers starts from every second weight of one of 2N. All are trained on one example with a square loss. What
is kept is the Frobenius norm of V_k^N − V_2k^2N over the common layers. With L^{−β} and independent weights
there is no reason for it to be small; with smooth weights and β = 1 the limit is an ordinary equation
(Marion et al., 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.marion.trained_weights import LAWS
from experiments.trained import attributes
from resnet_sde.estimate import Estimate, order
from resnet_sde.propagate import one_thread
from resnet_sde.runs.identity import digest, environment
from resnet_sde.runs.store import Record, Store
from resnet_sde.streams import stream
from resnet_sde.training import Data, Examples, Run, TrainingConfig, TrainingJob

NUMBERS = ("largest", "root_mean_square", "change", "loss")


@dataclass(frozen=True)
class DepthConvergence:
    """Networks of depths that double, for each law and β.

    depths: each twice the one before.
    steps: of Adam, on one example.
    """

    depths: tuple[int, ...]
    laws: tuple[str, ...] = ("smooth", "white")
    betas: tuple[float, ...] = (0.5, 1.0)
    activation: str = "relu"
    width: int = 40
    n_in: int = 64
    lr: float = 0.01
    steps: int = 100
    samples: int = 20

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """Numbers with the axes law, beta, depth (N, the deepest left out) and sample.

        largest, root_mean_square: over common layers, of ‖V_k^N − V_2k^2N‖_F after training.
        change: root mean square over layers of ‖V_k^N − V_k^N(0)‖_F, for comparison.
        loss: of the trained networks of N layers.
        """
        data = self.example(seed)
        cells = (len(self.laws), len(self.betas))
        found = np.full((*cells, len(NUMBERS), len(self.depths) - 1, self.samples), np.nan)
        for i, law in enumerate(self.laws):
            for j, beta in enumerate(self.betas):
                found[i, j] = self._kept(law, beta, data, seed, how.store)
        dims = ("law", "beta", "depth", "sample")
        variables = {name: (dims, found[:, :, k]) for k, name in enumerate(NUMBERS)}
        coordinates = {"law": list(self.laws), "beta": list(self.betas), "depth": list(self.depths[:-1])}
        return xr.Dataset(variables, coordinates).assign_attrs(attributes(self, data, seed))

    def example(self, seed: int) -> Data:
        """One Gaussian input with a target uniform on (0, 1)."""
        source = stream(seed, "one example", self.n_in)
        x, y = (torch.empty(1, n, dtype=torch.float32) for n in (self.n_in, 1))
        one = Examples(source.normal_(x), source.uniform_(y) / 12**0.5 + 0.5)
        return Data("one example", one, one, one, 1)

    def _kept(self, law: str, beta: float, data: Data, seed: int, store: Path | None) -> np.ndarray:
        """The numbers of one law and β, (number, depth, sample), from the store if they are there."""
        if store is None:
            return self._compare(law, beta, data, seed)
        kept = Store(store, "{key}.npz")
        identity = {
            **{"depth convergence": repr(self), "law": law, "beta": beta, "seed": seed},
            **{"code": digest(type(self)), "environment": environment()},
        }
        record = kept.load(identity)
        if record is not None:
            return record.arrays["numbers"]
        found = self._compare(law, beta, data, seed)
        kept.save(identity, Record({"numbers": found}))
        return found

    def _compare(self, law: str, beta: float, data: Data, seed: int) -> np.ndarray:
        block = rs.SingleLayer(rs.activation(self.activation))
        model = rs.Model(block, LAWS[law], self.width, beta=beta)
        config = TrainingConfig(steps=self.steps, batch_size=1, loss="mse")
        numbers, coarser = [], None
        with one_thread():
            finest = self._start(model, self.depths[-1], data, config, seed).stack.outer.detach().clone()
            for depth in self.depths:
                run = self._start(model, depth, data, config, seed)
                before = finest[:, :: self.depths[-1] // depth]
                run.stack.outer.data.copy_(before)
                while not run.finished:
                    run.advance()
                after = run.stack.outer.detach()
                if coarser is not None:
                    numbers.append(_distances(*coarser, after))
                coarser = (before, after, run.evaluate(data.train)[0])
        return np.stack(numbers, axis=1)

    def _start(self, model: rs.Model, depth: int, data: Data, config: TrainingConfig, seed: int) -> Run:
        """Networks of all seeds; their ends do not depend on the depth."""
        jobs = [TrainingJob(model, depth, self.lr, seed + sample) for sample in range(self.samples)]
        return Run(jobs, config, data)


def _distances(before: Tensor, after: Tensor, loss: Tensor, finer: Tensor) -> np.ndarray:
    """The numbers of one pair of depths, (number, sample)."""
    apart = torch.linalg.matrix_norm((after - finer[:, ::2]).double())
    moved = torch.linalg.matrix_norm((after - before).double())
    rows = [apart.amax(1), apart.square().mean(1).sqrt(), moved.square().mean(1).sqrt(), loss]
    return torch.stack(rows).numpy()


def rate(ds: xr.Dataset, law: str, beta: float) -> Estimate:
    """Rate in 1/N at which the root mean square distance falls."""
    at = ds.root_mean_square.sel(law=law, beta=beta)
    return order(at.depth.values.tolist(), torch.from_numpy(at.transpose("sample", "depth").values ** 2))


def report(ds: xr.Dataset) -> list[str]:
    """Distances at the smallest and the largest depth, and the rate, a line for each law and β."""
    lines = []
    for law in ds.law.values:
        for beta in ds.beta.values:
            at = ds.sel(law=law, beta=beta).mean("sample")
            ends = [f"{float(at.root_mean_square.isel(depth=i)):.3g}" for i in (0, -1)]
            change = f"{float(at.change.isel(depth=-1)):.3g}"
            lines.append(
                f"{law}, beta = {beta:g}: distance {ends[0]} at N = {int(ds.depth[0])}, {ends[1]} at N = "
                f"{int(ds.depth[-1])} (weights have moved by {change}), rate {rate(ds, law, beta)}"
            )
    return lines


BUDGETS = {
    "smoke": DepthConvergence((4, 8, 16, 32), width=6, n_in=5, steps=20, samples=4),
    "cpu": DepthConvergence((16, 32, 64, 128, 256, 512)),
    "paper": DepthConvergence((16, 32, 64, 128, 256, 512, 1024, 2048, 4096), samples=30),
}
