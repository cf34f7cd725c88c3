r"""How far states and gradients travel at initialization, over the plane of Hurst index H and exponent β.

Marion et al. (2025), section 5: a ReLU network with two matrices in each layer (res-3), fractional noise as
weights along depth, and α_L = L^{−β}. A network is drawn once for each H and run at every β, with several
inputs: all of these are rows of one matrix product in a layer. Ratios are kept as logarithms of numbers that
cannot overflow, so explosion needs no ceiling. Beside them stands their value at infinite width.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from scipy.interpolate import PchipInterpolator

import resnet_sde as rs
from experiments.execution import HERE, Execution
from resnet_sde.checks import positive_integer
from resnet_sde.meanfield import displacements
from resnet_sde.observables import log10_displacement, log10_gradient_displacement
from resnet_sde.propagate import Workspace, one_thread
from resnet_sde.runs import store as runs
from resnet_sde.runs.execute import execute
from resnet_sde.runs.identity import digest, environment
from resnet_sde.runs.versions import current_versions
from resnet_sde.streams import Stream, check_seed, stream
from resnet_sde.studies.cells import Results

DIMS = {
    "log10_displacement": ("beta", "sample", "input"),
    "log10_gradient_displacement": ("beta", "sample", "input"),
    "log10_displacement_theory": ("beta",),
    "log10_gradient_displacement_theory": ("beta",),
}
ROWS = 256  # states of a network that run at once: the arithmetic is efficient, and layers stay in cache


@dataclass(frozen=True)
class Plane:
    """Both ratios for every Hurst index and every β.

    samples: networks for each Hurst index, all of them seen at every β.
    inputs: Gaussian inputs of a network, of dimension n_in; they share A of h_0 = A x, and
        have a Gaussian p_L each.
    """

    hursts: tuple[float, ...]
    betas: tuple[float, ...]
    samples: int
    inputs: int
    depth: int = 1000
    width: int = 40
    n_in: int = 64

    def model(self, hurst: float, beta: float) -> rs.Model:
        """The law of the networks at a point of the plane."""
        return rs.Model(rs.TwoLayer(rs.RELU), rs.FractionalNoise(hurst), self.width, beta=beta)

    def alphas(self, hurst: float) -> torch.Tensor:
        """α_L at every β, float64."""
        factors = [self.model(hurst, beta).alpha(self.depth) for beta in self.betas]
        return torch.tensor(factors, dtype=torch.float64)

    def run(self, *, seed: int = 0, how: Execution = HERE) -> xr.Dataset:
        """Simulation and theory; no number depends on how, or on which other Hurst indices there are.

        log10_displacement: log₁₀ of ‖h_L − h_0‖ / ‖h_0‖; axes hurst, beta, sample, input.
        log10_gradient_displacement: the same of ‖p_0 − p_L‖ / ‖p_L‖, with p_L independent of the weights.
        log10_displacement_theory: half of log₁₀ of the mean square at infinite width; axes hurst, beta.
        log10_gradient_displacement_theory: the same, with the share of the one direction of the state.

        Args:
            seed: a non-negative integer.
            how: by whom, and where every finished Hurst index is kept.

        Raises:
            ValueError: seed or workers are out of range.
            OSError: the store cannot be written to.
        """
        seed, workers = check_seed(seed), positive_integer("workers", how.workers, "give for example 1")
        lines = [replace(self, hursts=(hurst,)) for hurst in self.hursts]
        kept = (
            None if how.store is None else runs.Store(how.store, "{key}.npz", manifest={"plane": repr(self)})
        )
        known = [_identity(line, seed) for line in lines]
        records = [None if kept is None else kept.load(each) for each in known]
        results = [None if record is None else dict(record.arrays) for record in records]
        missing = [number for number, found in enumerate(results) if found is None]
        with closing(
            execute(missing, _work, (lines, seed), workers=workers, executor=how.executor)
        ) as finished:
            for number, found in finished:
                results[number] = found
                if kept is not None:
                    kept.save(known[number], runs.Record(found))
        variables = {
            name: (("hurst", *dims), np.stack([found[name] for found in results if found is not None]))
            for name, dims in DIMS.items()
        }
        attributes = {"seed": seed, "versions": json.dumps(current_versions()), "experiment": repr(self)}
        axes = {"hurst": list(self.hursts), "beta": list(self.betas)}
        return xr.Dataset(variables, axes, {**attributes, "depth": self.depth, "width": self.width})


def over_networks(values: xr.DataArray) -> xr.Dataset:
    """Mean and standard error over the networks; the inputs of one are not independent and averaged first."""
    means = values.mean("input")
    error = means.std("sample", ddof=1) / means.sizes["sample"] ** 0.5
    return xr.Dataset({"mean": means.mean("sample"), "error": error})


def zero_level(log10: xr.DataArray) -> xr.DataArray:
    """The largest β at which the ratio is 1, without the axis beta; NaN if there is none.

    It is interpolated between the β of the grid, depends on the depth, and is not the boundary β*.
    """
    axes = [["beta"], ["beta"]]
    return xr.apply_ufunc(_last_root, log10.beta, log10, input_core_dims=axes, vectorize=True)


def _last_root(x: np.ndarray, y: np.ndarray) -> float:
    known = np.isfinite(y)
    return max(PchipInterpolator(x[known], y[known]).roots(extrapolate=False), default=np.nan)


def _work(number: int, shared: tuple[list[Plane], int]) -> Results:
    lines, seed = shared
    return _compute(lines[number], seed)


def _compute(line: Plane, seed: int) -> Results:
    """Everything that is kept of one Hurst index."""
    (hurst,) = line.hursts
    model, workspace = line.model(hurst, 0.5), Workspace()
    with one_thread():
        networks = [
            _network(
                line, stream(seed, "plane", model.law, line.depth, line.width, line.inputs, n), workspace
            )
            for n in range(line.samples)
        ]
        wide = displacements(model.block, model.law, line.depth, line.alphas(hurst))
    theory = (wide.log10_forward, wide.at_width(line.width))
    simulated = [np.stack(ratio, axis=1) for ratio in zip(*networks, strict=True)]
    return dict(zip(DIMS, [*simulated, *(ratio.numpy() for ratio in theory)], strict=True))


def _network(line: Plane, source: Stream, workspace: Workspace) -> tuple[np.ndarray, np.ndarray]:
    """Both ratios of one network, each (beta, input)."""
    (hurst,) = line.hursts
    model, alphas = line.model(hurst, 0.5), line.alphas(hurst)
    x, first, top = (
        source.normal_(torch.empty(shape, dtype=torch.float32))
        for shape in ((line.inputs, line.n_in), (line.n_in, line.width), (line.inputs, line.width))
    )
    h = x @ first / line.n_in**0.5
    paths = {
        name: model.law.path(line.depth, (1, *shape), generator=source, dtype=torch.float32)
        for name, shape in model.block.shapes(line.width).items()
    }
    layers = rs.WeightPaths(paths).layers(line.depth)
    some = alphas.split(max(1, ROWS // line.inputs))
    found = [at_every_scaling(model.block, layers, few, h[None], top[None], workspace) for few in some]
    forward, gradient = torch.cat(found, dim=2)[:, 0].numpy()
    return forward, gradient


def at_every_scaling(
    block: rs.Block,
    layers: list[rs.Layer],
    alphas: torch.Tensor,
    h: torch.Tensor,
    top: torch.Tensor,
    workspace: Workspace,
) -> torch.Tensor:
    """Both log₁₀ ratios of networks that run at every scaling on the same weights: states, gradients.

    Shape: alphas (scaling,); h and top, the states h_0 and gradients p_L, (sample, input, width); result
    (2, sample, scaling, input).
    """
    scalings, (samples, inputs, _) = len(alphas), h.shape
    t = rs.trajectory(
        block,
        h.repeat(1, scalings, 1),
        layers,
        alphas.repeat_interleave(inputs)[:, None],
        top=top.repeat(1, scalings, 1),
        every_layer=False,
        workspace=workspace,
    )
    ratios = torch.stack([log10_displacement(t), log10_gradient_displacement(t)])
    return ratios.view(2, samples, scalings, inputs)


def _identity(line: Plane, seed: int) -> runs.Identity:
    """What decides the results of one Hurst index."""
    return {"plane": repr(line), "seed": seed, "code": digest(_compute), "environment": environment()}
