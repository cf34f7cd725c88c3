"""The numbers of the figure fischer/regression."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from scipy.interpolate import CubicSpline
from torch import Tensor

import resnet_sde as rs
from experiments.fischer.finite_width import Networks
from experiments.wide import dataset
from resnet_sde.datasets import load_images
from resnet_sde.finite_width import diagonal_optimum, off_diagonal_optimum
from resnet_sde.meanfield import gaps, lengths


@dataclass(frozen=True)
class Regression:
    """Ridge regression on splits of the digits.

    ridge: over the mean diagonal entry of the kernel.
    """

    depths: tuple[int, ...]
    splits: int
    scales: int = 15
    train: int = 300
    test: int = 500
    ridge: float = 1e-3


BUDGETS = {"smoke": Regression((10, 40), splits=4), "paper": Regression((10, 20, 40), splits=16)}
SMALLEST, LARGEST = 0.03, 3.0
KNOTS = 401  # angles at which the kernel is computed; between them it is a spline


def compute(budget: str, seed: int) -> xr.Dataset:
    """Errors and accuracies of every split."""
    settings = BUDGETS[budget]
    scales = np.geomspace(SMALLEST, LARGEST, settings.scales)
    x, y = digits()
    splits = [_split(settings, len(x), seed, number) for number in range(settings.splits)]
    cosines = [(_cosines(x[train], x[train]), _cosines(x[test], x[train])) for train, test in splits]
    found = np.empty((len(settings.depths), len(scales), settings.splits, 2))
    for i, depth in enumerate(settings.depths):
        for j, scale in enumerate(scales):
            kernel = kernel_of_angle(Networks(depth, float(scale)))
            for k, (train, test) in enumerate(splits):
                own, other = (kernel(c) for c in cosines[k])
                found[i, j, k] = _errors(own, other, y[train], y[test], settings.ridge)
    best = [
        [_lowest(scales, found[i, :, k, 0]) for k in range(settings.splits)]
        for i in range(len(settings.depths))
    ]
    variables = {
        "error": (("depth", "scale", "split"), found[..., 0]),
        "accuracy": (("depth", "scale", "split"), found[..., 1]),
        "best": (("depth", "split"), best),
        "optima": (("of_depth", "response"), [_optima(depth) for depth in DRAWN_DEPTHS]),
    }
    axes = {"depth": list(settings.depths), "scale": scales, "split": range(settings.splits)}
    axes |= {"of_depth": list(DRAWN_DEPTHS), "response": ["length", "angle"]}
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(train=settings.train, test=settings.test, splits=settings.splits)


DRAWN_DEPTHS = (8, 10, 20, 40, 50)


def digits() -> tuple[Tensor, Tensor]:
    """The images of scikit-learn, (1797, 64) float64, and their classes as unit vectors, (1797, 10)."""
    images = load_images("digits")
    return images.pixels.double(), torch.eye(10, dtype=torch.float64)[images.labels]


def _split(settings: Regression, images: int, seed: int, number: int) -> tuple[Tensor, Tensor]:
    order = torch.randperm(images, generator=rs.generator(seed, "regression", number))
    return order[: settings.train], order[settings.train : settings.train + settings.test]


def _cosines(first: Tensor, second: Tensor) -> np.ndarray:
    """Of images less the mean of the second, which are those to train on."""
    centred = [part - second.mean(0) for part in (first, second)]
    one, other = (part / torch.linalg.vector_norm(part, dim=1, keepdim=True) for part in centred)
    return (one @ other.T).clamp(-1, 1).numpy()


def kernel_of_angle(networks: Networks) -> Callable[[np.ndarray], np.ndarray]:
    """The kernel of a readout of variance 1 as a function of the cosine of two inputs of equal length."""
    angles = torch.linspace(0, math.pi, KNOTS, dtype=torch.float64)
    model, k0, depth = networks.model(), networks.k0, networks.depth
    last = gaps(model, k0, 2 * torch.sin(angles / 2).square(), depth=depth)[-1]
    q = lengths(model, k0, depth=depth).q[-1].expand(KNOTS)
    readout = rs.ERF.dual(q, q, gap=last)
    spline = CubicSpline(angles.numpy(), readout.numpy(), bc_type="clamped")  # even around both ends
    return lambda cosines: spline(np.arccos(cosines))


def _errors(
    own: np.ndarray, other: np.ndarray, train: Tensor, test: Tensor, ridge: float
) -> tuple[float, float]:
    """Mean squared error, summed over the classes, and accuracy."""
    regular = own + ridge * np.mean(np.diag(own)) * np.eye(len(own))
    guess = other @ np.linalg.solve(regular, train.numpy())
    error = np.square(guess - test.numpy()).sum(1).mean()
    return float(error), float((guess.argmax(1) == test.argmax(1).numpy()).mean())


def _lowest(scales: np.ndarray, errors: np.ndarray) -> float:
    """Vertex of the parabola in ln ρ through the lowest point and its neighbours; NaN at an end."""
    least = int(errors.argmin())
    if least in (0, len(errors) - 1):
        return math.nan
    near = slice(least - 1, least + 2)
    bend, slope, _ = np.polyfit(np.log(scales[near]), errors[near], 2)
    return math.exp(-slope / (2 * bend))


def _optima(depth: int) -> tuple[float, float]:
    """The scales at which the response to the length, and to the angle of orthogonal inputs, is largest."""
    networks = Networks(depth, 1.0)
    length = diagonal_optimum(networks.model(), networks.k0, depth=depth).scale
    angle = off_diagonal_optimum(networks.model(), networks.k0, 0.0, depth=depth).scale
    assert length is not None
    assert angle is not None
    return length, angle
