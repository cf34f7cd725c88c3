"""Regression of digits with the kernel of infinitely wide erf networks, against the residual scale ρ.

After the question of Fischer, Dahmen & Helias (2023), which scale is good for learning: the test error is
least at a scale that falls like 1/√L, between those at which the readout responds most to the length of an
input and to the angle between two. σ_w² = 1, σ_b² = K_0 = 0.05. Nothing is trained but the linear readout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.interpolate import CubicSpline
from torch import Tensor

import resnet_sde as rs
from experiments.fischer.finite_width import Networks
from experiments.wide import dataset
from paper_figs._panels import INTERVAL, graded, key, panel_legend, ticks
from paper_figs._style import BLACK, BLUE, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, between
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
BEST = (1.8, 2.1)  # ρ√L
ERRORS = {"least": (0.11, 0.14), "smallest ρ": (0.17, 0.22), "largest ρ": (0.17, 0.29)}


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


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Errors and accuracies against ρ√L, and the best ρ against depth."""
    with house_style():
        fig = new_figure(2.9)
        axes = fig.subplots(1, 3)
        for ax, letter, title in zip(axes, "abc", ("test error", "test accuracy", "best scale"), strict=True):
            panel_title(ax, letter, title)
        _curves(axes[0], ds, "error")
        _curves(axes[1], ds, "accuracy")
        axes[0].set(ylabel="mean squared error", ylim=(0.1, None))
        panel_legend(axes[0], "$L$", loc="upper center")
        _best(axes[2], ds)
        splits, train = ds.attrs["splits"], ds.attrs["train"]
        label = f"mean of {splits} splits, {train} images to train on, 95 %"
        key(fig, {label: Line2D([], [], color=BLACK, linewidth=1.3, marker="o", markersize=3)})
    return fig


def _curves(ax: Axes, ds: xr.Dataset, name: str) -> None:
    for colour, depth in zip(graded(ds.sizes["depth"]), ds.depth.values.tolist(), strict=True):
        row = ds[name].sel(depth=depth)
        product, middle, error = row.scale * math.sqrt(depth), row.mean("split"), _error(row)
        ax.fill_between(product, middle - error, middle + error, color=colour, alpha=0.15, linewidth=0)
        ax.plot(product, middle, color=colour, linewidth=1.0, marker="o", markersize=2.5, label=f"{depth}")
    log_scale(ax, "x")
    ticks(ax, "x", (0.1, 0.3, 1, 3, 10))
    ax.set(xlabel=r"$ρ\sqrt{L}$")


def _best(ax: Axes, ds: xr.Dataset) -> None:
    labels = {"angle": ("response to angle", VERMILLION), "length": ("response to length", BLUE)}
    for name, (label, colour) in labels.items():
        ax.plot(ds.of_depth, ds.optima.sel(response=name), color=colour, linewidth=1.2, label=label)
    shape = {"color": BLACK, "marker": "o", "markersize": 3, "linestyle": "none", "elinewidth": 0.9}
    ax.errorbar(ds.depth, ds.best.mean("split"), yerr=_error(ds.best), label="test error", **shape)
    log_scale(ax, "xy")
    ticks(ax, "x", (10, 20, 40))
    ticks(ax, "y", (0.2, 0.5, 1))
    ax.set(xlabel="depth $L$", ylabel="residual scale $ρ$", ylim=(0.1, 2))
    panel_legend(ax, loc="upper right")


def _error(values: xr.DataArray) -> xr.DataArray:
    """Half the interval of the mean over splits."""
    return INTERVAL * values.std("split", ddof=1) / values.sizes["split"] ** 0.5


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """The law 1/√L of the best scale, and how the error rises on both sides."""
    claims = []
    for depth in ds.depth.values.tolist():
        row = ds.sel(depth=depth)
        product = float(row.best.mean("split")) * math.sqrt(depth)
        claims.append(between(f"L = {depth}, ρ√L of the least test error", product, *BEST))
        error = row.error.mean("split")
        for name, value in (("least", error.min()), ("smallest ρ", error[0]), ("largest ρ", error[-1])):
            claims.append(between(f"L = {depth}, test error, {name}", value, *ERRORS[name]))
        length, angle = ds.optima.sel(of_depth=depth).values
        inside = (product / math.sqrt(depth) - length) / (angle - length)
        claims.append(between(f"L = {depth}, place of the best ρ between the optima", inside, 0, 1))
    return claims


CONTROLS = {
    "best at scales like 1/L": Control(
        lambda ds: ds.assign(best=ds.best * (10 / ds.depth) ** 0.5), "ρ√L of the least test error"
    ),
}
