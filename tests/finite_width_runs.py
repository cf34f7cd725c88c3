"""Estimates of fluctuations and shifts from simulated networks, with control variates.

What a layer adds is Gaussian with a covariance C that all neurons share, so the standard normal numbers
behind a trajectory can be read off it. The same numbers with C at infinite width drive independent neurons,
whose mean of a few functions is linear in what the theory calls sources. Every statistic X = √N (C − C̄) is
close to such a mean Y of N independent terms y_i: its variance is Var y, which N times as many terms
estimate, plus that of X − Y and twice their covariance, which are small.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from finite_width_cases import model_of, square
from torch import Tensor

from resnet_sde import Model, Trajectory, simulate
from resnet_sde.finite_width import FiniteSize, finite_size, finite_size_pair
from resnet_sde.finite_width.two_inputs import PAIRS, second_moments


def every_state(t: Trajectory) -> Tensor:
    """(sample, depth + 1, input, width)."""
    return torch.stack([t.hidden.natural(layer) for layer in range(len(t.hidden.scaled))], 1)


@dataclass(frozen=True)
class Run:
    """Statistics of one simulation: exact and linear deviations, times √N, and the terms of the linear ones.

    exact: of the branch kernels, then of the empirical kernels, each (sample, depth + 1, entry).
    terms: (sample, depth + 1, entry, width), whose mean over the width times √N is the linear deviation.
    """

    width: int
    branch: Tensor
    branch_terms: Tensor
    kernel: Tensor
    kernel_terms: Tensor

    def covariance(self, name: str, first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
        """N Cov of two (layer, entry), and the standard error."""
        exact, terms = getattr(self, name), getattr(self, f"{name}_terms")
        x, y = (exact[:, layer, entry] - exact[:, layer, entry].mean() for layer, entry in (first, second))
        u, v = (terms[:, layer, entry] for layer, entry in (first, second))
        product = u * v
        linear = u.mean(-1) * v.mean(-1) * self.width
        rest = x * y - linear
        error = product.var() / product.numel() + rest.var() / len(rest)
        return float(product.mean() + rest.mean()), math.sqrt(float(error))

    def shift(self, name: str, layer: int, entry: int) -> tuple[float, float]:
        """N times the shift of the mean, and the standard error."""
        exact, terms = getattr(self, name), getattr(self, f"{name}_terms")
        root = math.sqrt(self.width)
        rest = root * (exact[:, layer, entry] - terms[:, layer, entry].mean(-1) * root)
        return float(rest.mean()), float(rest.std()) / math.sqrt(len(rest))


def theory_of(case: dict[str, Any], width: int) -> FiniteSize:
    """Of one input or two, always with an axis of entries."""
    model = model_of(case, width)
    if isinstance(case["K0"], list):
        return finite_size_pair(model, square(case["K0"]), depth=case["L"])
    size = finite_size(model, case["K0"], depth=case["L"])
    vectors = ("kernel", "branch", "kernel_shift", "branch_shift")
    axes = {name: (..., None) if name in vectors else (..., None, None) for name in vars(size)}
    grown = {name: getattr(size, name)[axis] for name, axis in axes.items() if name != "width"}
    return FiniteSize(width, **grown)


def run(case: dict[str, Any], *, width: int, samples: int, method: str, seed: int = 0) -> Run:
    """Simulate networks of this case."""
    model, depth = model_of(case, width), case["L"]
    k0 = square(case["K0"]) if isinstance(case["K0"], list) else torch.tensor([[case["K0"]]])
    x = torch.linalg.cholesky(k0) * math.sqrt(len(k0))  # h_0 = A x has the kernel x xᵀ / n_in
    h = simulate(model, x, depth=depth, samples=samples, observe=[every_state], method=method, seed=seed)[
        "every_state"
    ]
    return _analysed(model, h, theory_of(case, width), depth)


def _analysed(model: Model, h: Tensor, theory: FiniteSize, depth: int) -> Run:
    """The statistics of trajectories (sample, depth + 1, input, width)."""
    pairs = PAIRS if h.shape[2] == 2 else ((0, 0),)
    block, width, rho, skip = model.block, model.width, model.alpha(depth), model.skip
    phi, s = block.activation, rho**2 * block.sigma_w2
    branch = block.sigma_w2 / width * phi(h) @ phi(h).mT + block.sigma_b2  # (sample, depth + 1, input, input)
    alone = h.clone()
    for layer in range(depth):
        normal = torch.linalg.solve_triangular(
            torch.linalg.cholesky(branch[:, layer]), h[:, layer + 1] - skip * h[:, layer], upper=False
        )
        root = torch.linalg.cholesky(_matrix(theory.branch[layer]))
        alone[:, layer + 1] = skip * alone[:, layer] + root @ normal
    moments = second_moments(phi, theory.kernel) if len(pairs) == 3 else phi.second_moment(theory.kernel)
    source = _products(phi(alone), pairs) - moments[..., None]
    jacobian = (theory.growth - skip**2 * torch.eye(len(pairs))) / s
    deviation = torch.zeros_like(source)
    for layer in range(depth):
        deviation[:, layer + 1] = theory.growth[layer] @ deviation[:, layer] + s * source[:, layer]
    exact = torch.stack([branch[:, :, a, b] for a, b in pairs], -1) - theory.branch
    empirical = _products(h, pairs).mean(-1) - theory.kernel
    return Run(
        width,
        math.sqrt(width) * exact,
        block.sigma_w2 * (jacobian @ deviation + source),
        math.sqrt(width) * empirical,
        _products(alone, pairs) - theory.kernel[..., None] + deviation,
    )


def _products(h: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    """(sample, depth + 1, entry, width)."""
    return torch.stack([h[:, :, a] * h[:, :, b] for a, b in pairs], 2)


def _matrix(entries: Tensor) -> Tensor:
    return entries.reshape(1, 1) if len(entries) == 1 else square(entries.tolist())
