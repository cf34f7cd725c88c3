"""The residual scale ρ* at which the readout of erf networks responds most, against depth and variances.

After Fischer, Dahmen & Helias (2023); all of it is infinite width. Networks start from K_0 = 0.05, and have
σ_w² = 1 and σ_b² = 0.05, unless the panel says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import resnet_sde as rs
from experiments.fischer.finite_width import Networks
from experiments.wide import dataset, fitted_slope
from paper_figs._claims import equals
from paper_figs._panels import LINE, graded, key, note, panel_legend, ticks
from paper_figs._style import (
    BLACK,
    GREEN,
    ORANGE,
    PURPLE,
    VERMILLION,
    house_style,
    log_scale,
    new_figure,
    panel_title,
)
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_most, between, equal
from resnet_sde.finite_width import Optimum, diagonal_optimum, saturation_kernel, saturation_scale


@dataclass(frozen=True)
class Optima:
    """Depths of panels a and b, and variances of panels c and d, where networks have one depth.

    weights: σ_w² beside those of the table.
    """

    depths: tuple[int, ...]
    weights: tuple[float, ...]
    ratios: int
    depth: int = 100


DEPTHS = (5, 7, 10, 14, 20, 28, 40, 50, 70, 100, 140, 200, 280, 400, 500)
BUDGETS = {
    "smoke": Optima((5, 20, 50, 200), weights=(), ratios=9),
    "paper": Optima(DEPTHS, weights=tuple(np.geomspace(0.25, 4, 33).round(4).tolist()), ratios=66),
}
METHODS = ("exact", "corrected", "continuum", "midpoint", "logarithmic")
STYLES = dict(zip(METHODS, (BLACK, GREEN, VERMILLION, PURPLE, ORANGE), strict=True))
FITTED = (20, 200)  # depths of the slope
SLOPE = (-0.53, -0.50)
DISTANCES = (("corrected", 20, 0.002), ("corrected", 50, 3e-4), ("continuum", 20, 0.032))  # relative
BIASES = (0.0, 0.02, 0.05, 0.1)  # σ_b² of panel c
WEIGHTS = (0.5, 1, 1.5, 2, 3, 4)
PREFACTORS = {  # of infinitely deep networks, by σ_b² and σ_w²
    0.0: (1.900, 1.344, 1.097, 0.950, 0.776, 0.672),
    0.02: (1.527, 1.201, 1.017, 0.898, 0.747, 0.653),
    0.05: (1.107, 1.025, 0.913, 0.827, 0.706, 0.626),
    0.1: (0.509, 0.783, 0.766, 0.725, 0.646, 0.585),
}
REACHED = {0.01: 0.02, 0.05: 0.015, 0.1: 0.015, 0.2: 0.015}  # K_0 of panel d: distance of K^L to K*, relative
LARGEST_RATIO = 1 / math.pi  # σ_b² / σ_w² from which there is no maximum
SATURATION = {0: 0.305400336104288, 0.01: 0.291226166334994, 0.02: 0.277467317212845, 0.05: 0.238525750283843}
SATURATION |= {0.1: 0.180570006282068, 0.2: 0.0856427482153623, 0.3: 0.0117472390695211}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Optimal scales by every method. Nothing is random."""
    settings = BUDGETS[budget]
    weights = sorted({*WEIGHTS, *settings.weights})
    ratios = np.linspace(0, 0.999 * LARGEST_RATIO, settings.ratios)
    reached_ratios, depth = np.linspace(0, 0.3, 11), settings.depth
    kernels = [[_optimum(depth, 1.0, r, k0=k0).kernel for r in reached_ratios] for k0 in REACHED]
    variables = {
        "scale": (("way", "depth"), [[_scale(m, n) for n in settings.depths] for m in METHODS]),
        "prefactor": (
            ("sigma_b2", "sigma_w2"),
            _numbers([[_optimum(depth, w, b, "continuum").prefactor for w in weights] for b in BIASES]),
        ),
        "deep_prefactor": (
            ("sigma_b2", "table_w2"),
            _numbers([[_optimum(depth, w, b).prefactor for w in WEIGHTS] for b in BIASES]),
        ),
        "saturation": ("ratio", [saturation_kernel(rs.ERF, ratio) for ratio in ratios]),
        "saturation_known": ("known_ratio", [saturation_kernel(rs.ERF, ratio) for ratio in SATURATION]),
        "reached": (("k0", "reached_ratio"), _numbers(kernels)),
        "reached_theory": ("reached_ratio", [saturation_kernel(rs.ERF, ratio) for ratio in reached_ratios]),
    }
    axes = {"way": list(METHODS), "depth": list(settings.depths), "sigma_b2": list(BIASES)}
    axes |= {"sigma_w2": weights, "table_w2": list(WEIGHTS), "ratio": ratios, "known_ratio": list(SATURATION)}
    axes |= {"k0": list(REACHED), "reached_ratio": reached_ratios}
    return dataset(variables, axes, settings, budget, seed).assign_attrs(of_depth=depth)


def _optimum(
    depth: int, sigma_w2: float, sigma_b2: float, method: str = "exact", k0: float = 0.05
) -> Optimum:
    networks = Networks(depth, 1.0, sigma_w2, sigma_b2, k0)
    return diagonal_optimum(networks.model(), networks.k0, depth=depth, method=method)


def _scale(method: str, depth: int) -> float:
    networks = Networks(depth, 1.0)
    model, k0 = networks.model(), networks.k0
    if method in ("midpoint", "logarithmic"):
        kernel = saturation_kernel(rs.ERF, networks.sigma_b2 / networks.sigma_w2)
        found = saturation_scale(model, k0, kernel=kernel, depth=depth, method=method)
    else:
        found = diagonal_optimum(model, k0, depth=depth, method=method)
    assert found.scale is not None
    return found.scale


def _numbers(rows: list[list[float | None]]) -> np.ndarray:
    """NaN where there is no optimum."""
    return np.array(rows, dtype=float)


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Against depth above, against the variances below."""
    with house_style():
        fig = new_figure(4.8)
        axes = fig.subplots(2, 2)
        depth = ds.attrs["of_depth"]
        panel_title(axes[0, 0], "a", "optimal scale against depth")
        _depths(axes[0, 0], ds)
        panel_title(axes[0, 1], "b", r"its approximations, distance to $ρ^*$")
        _distances(axes[0, 1], ds)
        panel_title(axes[1, 0], "c", "prefactor against variances")
        _prefactors(axes[1, 0], ds)
        panel_title(axes[1, 1], "d", "kernel that is reached at $ρ^*$")
        _reached(axes[1, 1], ds)
        key(fig, {r"$L \to \infty$": LINE, f"maximum of the response (c, d: $L = {depth}$)": MAXIMUM})
    return fig


POINT = {
    "marker": "o",
    "markersize": 3,
    "linestyle": "none",
    "markeredgecolor": "white",
    "markeredgewidth": 0.3,
}
MAXIMUM = Line2D([], [], color=BLACK, **POINT)
LABELS = {
    "corrected": r"$L\to\infty$ and order $1/L$",
    "continuum": r"$L\to\infty$",
    "midpoint": r"$K^*$ from the midpoint's rate",
    "logarithmic": r"$K^*$ from $f \approx f'(0) K$",
}


def _depths(ax: Axes, ds: xr.Dataset) -> None:
    ax.axhspan(0.1, 0.3, color="#ECECEC", linewidth=0)
    for method in ("continuum", "midpoint", "logarithmic"):
        ax.plot(ds.depth, ds.scale.sel(way=method), color=STYLES[method], linewidth=1.1)
    ax.plot(ds.depth, ds.scale.sel(way="exact"), color=BLACK, **POINT)
    log_scale(ax, "xy")
    ticks(ax, "x", (5, 10, 20, 50, 100, 200, 500))
    ticks(ax, "y", (0.05, 0.1, 0.2, 0.5))
    ax.set(xlabel="depth $L$", ylabel="residual scale $ρ$")
    note(ax, 0.97, 0.66, "0.1 to 0.3", ha="right", va="top")


def _distances(ax: Axes, ds: xr.Dataset) -> None:
    exact = ds.scale.sel(way="exact")
    for method in METHODS[1:]:
        off = 100 * (ds.scale.sel(way=method) / exact - 1)
        ax.plot(ds.depth, off, color=STYLES[method], linewidth=1.2, label=LABELS[method])
    ax.axhline(0, color=BLACK, linewidth=0.8)
    log_scale(ax, "x")
    ticks(ax, "x", (5, 10, 20, 50, 100, 200, 500))
    ax.set(xlabel="depth $L$", ylabel="percent", ylim=(-26, 3))
    panel_legend(ax, loc="lower right")


def _prefactors(ax: Axes, ds: xr.Dataset) -> None:
    for colour, bias in zip(graded(ds.sizes["sigma_b2"]), ds.sigma_b2.values.tolist(), strict=True):
        row = ds.sel(sigma_b2=bias)
        ax.plot(row.sigma_w2, row.prefactor, color=colour, linewidth=1.2, label=f"{bias:g}")
        ax.plot(row.table_w2, row.deep_prefactor, color=colour, **POINT)
    ax.set(xlabel=r"$σ_w^2$", ylabel=r"$ρ^*\sqrt{L}$", xlim=(0.2, 4.1), ylim=(0, 2.1))
    panel_legend(ax, r"$σ_b^2$", loc="upper right")


def _reached(ax: Axes, ds: xr.Dataset) -> None:
    ax.plot(ds.ratio, ds.saturation, color=BLACK, linewidth=1.2)
    colours, sizes = graded(ds.sizes["k0"]), (7, 5.2, 3.6, 2.2)  # those below stay in sight
    for colour, size, start in zip(colours, sizes, ds.k0.values.tolist(), strict=True):
        row = ds.reached.sel(k0=start)
        ax.plot(row.reached_ratio, row, color=colour, **(POINT | {"markersize": size}), label=f"{start:g}")
    ax.set(xlabel=r"$σ_b^2 / σ_w^2$", ylabel="$K^L$", xlim=(0, 0.33), ylim=(0, 0.33))
    panel_legend(ax, "$K_0$", loc="upper right")


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """The exponent, the approximations, and known values of prefactors and kernels."""
    depths, exact = ds.depth.values, ds.scale.sel(way="exact")
    chosen = (FITTED[0] <= depths) & (depths <= FITTED[1])
    slope = fitted_slope(np.log(depths[chosen]), np.log(exact.values[chosen]))
    claims = [between("slope of ln ρ* in ln L, 20 to 200", slope, *SLOPE)]
    for method, depth, tolerance in DISTANCES:
        off = abs(float(ds.scale.sel(way=method, depth=depth) / exact.sel(depth=depth)) - 1)
        claims.append(at_most(f"L = {depth}, {method}, relative distance to the maximum", off, tolerance))
    prefactors = ds.prefactor.sel(sigma_w2=list(WEIGHTS))
    claims.append(equals("prefactors", prefactors, list(PREFACTORS.values()), 1e-3))
    claims.append(equals("K*", ds.saturation_known, list(SATURATION.values()), 1e-12))
    for start, tolerance in REACHED.items():
        off = float(abs(ds.reached.sel(k0=start) / ds.reached_theory - 1).max())
        name = f"K_0 = {start:g}, kernel reached over K*, largest distance to 1"
        claims.append(at_most(name, off, tolerance))
    wrong = int((ds.reached.isnull() != (ds.reached_theory <= ds.k0)).sum())
    claims.append(equal("networks with a maximum though K* <= K_0, or the reverse", wrong, 0))
    return claims


CONTROLS = {
    "optimal scales like L^-0.45": Control(
        lambda ds: ds.assign(scale=ds.scale * (ds.depth / 20) ** 0.05), "slope of ln ρ*"
    ),
    "variances for deviations": Control(
        lambda ds: ds.assign(prefactor=ds.prefactor / ds.sigma_w2**0.5), "prefactors"
    ),
}
