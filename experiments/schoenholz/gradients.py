"""The numbers of the figure schoenholz/gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.wide import dataset, feed_forward, float64, inputs, mean_and_error, squared
from resnet_sde.meanfield import parameter_gradients
from resnet_sde.meanfield.fluctuations import gradient_log_variance
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import log10_gradient_length, observable

CRITICAL = 1.76095463961  # σ_w² at σ_b² = 0.05, rounded: its last digits are other ones on other machines


@dataclass(frozen=True)
class Gradients:
    """Networks that start at mean square q*; pairs of them for the covariance, orthogonal as c* says.

    pairs: networks that show the covariance of the gradients of two inputs.
    """

    sigma_w2: tuple[float, ...]
    depth: int
    samples: int
    pairs: int
    width: int = 300
    sigma_b2: float = 0.05
    pair_w2: float = 2.5
    pair_depth: int = 8


BUDGETS = {
    "smoke": Gradients((1.5, 2.0), depth=60, samples=30, pairs=200),
    "paper": Gradients((1.0, 1.3, 1.5, CRITICAL, 2.0, 2.5, 3.0, 4.0), depth=240, samples=100, pairs=800),
}
CUT = 5  # layers left out at both ends of a fit
LINES = np.round(np.arange(50, 411) / 100, 2)  # σ_w² of the lines


@observable("layer", every_layer=True, gradients=True)
def log_weight_gradient(t: rs.Trajectory) -> Tensor:
    """Log of ‖∂E/∂W‖² of the matrix above every layer of a tanh network. Shape: (sample, depth)."""
    above = math.log(100) * log10_gradient_length(t)[:, 1:, 0]
    width = t.hidden.scaled[0].shape[-1]
    squares = [t.hidden.natural(k)[:, 0].tanh().square().sum(-1) for k in range(above.shape[1])]
    return above + math.log(width) + torch.stack(squares, dim=1).log()


@observable("layer", every_layer=True, gradients=True)
def gradient_products(t: rs.Trajectory) -> Tensor:
    """⟨δ_l, δ'_l⟩ of two inputs that have the same gradient at the top, over its square; (sample, layer)."""
    assert t.adjoint is not None
    pairs = [t.adjoint.natural(k) for k in range(len(t.adjoint.scaled))]
    products = torch.stack([(p[:, 0] * p[:, 1]).sum(-1) for p in pairs], dim=1)
    return products / products[:, -1:]


def compute(budget: str, seed: int) -> xr.Dataset:
    """Gradients of networks beside their theory."""
    settings = BUDGETS[budget]
    b, width = settings.sigma_b2, settings.width
    weights = float64(settings.sigma_w2)
    networks = [_networks(settings, w, seed) for w in settings.sigma_w2]
    logs = np.stack([found for found, _ in networks])
    lines, found = (fixed_points(rs.TANH, w, b) for w in (torch.from_numpy(LINES), weights))
    rows = ("sigma_w2", "layer")
    variables = {
        "gradient": (rows, logs.mean(1)),
        "gradient_error": (rows, logs.std(1, ddof=1) / logs.shape[1] ** 0.5),
        "gradient_theory": (rows, np.stack([theory for _, theory in networks])),
        "slope": (("sigma_w2", "sample"), _slopes(logs)),
        "log_chi_1": ("sigma_w2", found.chi_1.log()),
        "log_variance": ("sigma_w2", gradient_log_variance(rs.TANH, weights, b) / width),
        "line_log_chi_1": ("line_w2", lines.chi_1.log()),
        "line_log_variance": ("line_w2", gradient_log_variance(rs.TANH, torch.from_numpy(LINES), b) / width),
    }
    axes = {"sigma_w2": list(settings.sigma_w2), "line_w2": LINES}
    ds = dataset(variables | _pairs(settings, seed), axes, settings, budget, seed)
    names = ("width", "samples", "pairs", "sigma_b2", "pair_w2")
    return ds.assign_attrs({name: getattr(settings, name) for name in names})


def _networks(settings: Gradients, w: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logs of squared gradients of all networks (sample, layer), and at infinite width (layer,).

    They are those of one entry, where the gradient of a top coordinate has mean square 1.
    """
    q = float(fixed_points(rs.TANH, w, settings.sigma_b2).q_star)
    model = feed_forward(rs.TANH, w, settings.sigma_b2, settings.width)
    seen = rs.simulate(
        model,
        inputs(q).float(),
        depth=settings.depth,
        samples=settings.samples,
        observe=[log_weight_gradient],
        seed=seed,
    )
    theory = parameter_gradients(model, q, depth=settings.depth).log_outer
    assert theory is not None
    return (seen["log_weight_gradient"] - 2 * math.log(settings.width)).numpy(), theory.numpy()


def _slopes(logs: np.ndarray) -> np.ndarray:
    """By how much the log grows for each layer that a gradient goes down; one for each network."""
    layers = np.arange(CUT, logs.shape[-1] - CUT)
    flat = logs[..., CUT : logs.shape[-1] - CUT].reshape(-1, len(layers))
    return -np.polyfit(layers, flat.T, 1)[0].reshape(logs.shape[:-1])


def _pairs(settings: Gradients, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    """Covariance and square of the gradients of two inputs, by layers crossed."""
    found = fixed_points(rs.TANH, settings.pair_w2, settings.sigma_b2)
    seen = rs.simulate(
        feed_forward(rs.TANH, settings.pair_w2, settings.sigma_b2, settings.width),
        inputs(float(found.q_star), [float(found.one_minus_c_star)]).float(),
        depth=settings.pair_depth,
        samples=settings.pairs,
        observe=[gradient_products, log10_gradient_length],
        seed=seed,
    )
    squares = squared(seen["log10_gradient_length"][..., 0])
    rows = {}
    crossed = torch.arange(settings.pair_depth + 1)
    for name, values, factor in (
        ("covariance", seen["gradient_products"], found.chi_c),
        ("square", squares / squares[:, -1:], found.chi_1),
    ):
        mean, error = mean_and_error(values.flip(1))
        rows |= {name: mean, f"{name}_error": error, f"{name}_theory": factor**crossed}
    return {name: (("crossed",), values) for name, values in rows.items()}
