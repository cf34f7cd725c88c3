"""The residual scale ρ* at which the readout of erf networks responds most, against depth and variances.

After Fischer, Dahmen & Helias (2023); all of it is infinite width. Networks start from K_0 = 0.05, and have
σ_w² = 1 and σ_b² = 0.05, unless the panel says otherwise.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.fischer import optimum as experiment
from experiments.fischer.optimum import METHODS, REACHED, SATURATION, WEIGHTS
from experiments.wide import fitted_slope
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

PANELS = 4
BUDGETS, compute = experiment.BUDGETS, experiment.compute
STYLES = dict(zip(METHODS, (BLACK, GREEN, VERMILLION, PURPLE, ORANGE), strict=True))
FITTED = (20, 200)  # depths of the slope
SLOPE = (-0.53, -0.50)
DISTANCES = (("corrected", 20, 0.002), ("corrected", 50, 3e-4), ("continuum", 20, 0.032))  # relative
PREFACTORS = {  # of infinitely deep networks, by σ_b² and σ_w²
    0.0: (1.900, 1.344, 1.097, 0.950, 0.776, 0.672),
    0.02: (1.527, 1.201, 1.017, 0.898, 0.747, 0.653),
    0.05: (1.107, 1.025, 0.913, 0.827, 0.706, 0.626),
    0.1: (0.509, 0.783, 0.766, 0.725, 0.646, 0.585),
}
SATURATION |= {0.1: 0.180570006282068, 0.2: 0.0856427482153623, 0.3: 0.0117472390695211}


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
