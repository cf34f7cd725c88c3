"""Figure 6 of Marion et al. (2025): paths of fractional Brownian motion, and two statistics of them.

One path of 1000 steps for each Hurst index above; below, over many paths, the sum of squared increments,
which tends to 1, and the correlation of neighbouring increments, 2^(2H−1) − 1, exact at every H.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.marion.fractional_paths import FractionalPaths
from paper_figs._style import BLACK, BLUE, GREEN, VERMILLION, house_style, new_figure, panel_title
from paper_figs.controls import Control, other
from resnet_sde.claims import Claim, between, equal

BUDGETS = {
    "smoke": FractionalPaths((0.2, 0.5, 0.8), steps=1000, samples=400),
    "paper": FractionalPaths((0.2, 0.5, 0.8), steps=1000, samples=4000),
}
COLOURS = {0.2: VERMILLION, 0.5: BLUE, 0.8: GREEN}
Z = 4.5  # standard deviations allowed by every claim: false alarm 7e-6 each where it is Gaussian

# Mean and standard deviation of one path of 1000 steps.
VARIATION = {0.2: (1.001, 0.050), 0.5: (1.0, 0.045), 0.8: (1.0, 0.115)}
CORRELATION = {0.2: (-0.340, 0.026), 0.5: (0.0, 0.032), 0.8: (0.510, 0.052)}
SKEWED = {0.8: (0.6, 1.9)}  # there the quadratic variation is far from Gaussian
ROUNDING = 0.001  # of the tables above
CORRELATION_OF_NOISE = {hurst: 2 ** (2 * hurst - 1) - 1 for hurst in COLOURS}  # γ(1)
SYMBOLS = {
    "quadratic_variation": r"$N^{2H-1} \Sigma_k (\Delta B_k)^2$",
    "lag_correlation": "correlation of neighbouring increments",
}


def compute(budget: str, seed: int) -> xr.Dataset:
    """One path to draw and the statistics of many."""
    return BUDGETS[budget].run(seed=seed).assign_attrs(budget=budget)


def draw(ds: xr.Dataset) -> Figure:
    """A path for each Hurst index above, the law of two statistics below."""
    with house_style():
        fig = new_figure(4.0)
        axes = fig.subplot_mosaic("aabbcc;dddeee")
        for letter, hurst in zip("abc", ds.hurst.values.tolist(), strict=True):
            panel_title(axes[letter], letter, f"$H = {hurst:g}$")
            axes[letter].plot(ds.time, ds.path.sel(hurst=hurst), color=COLOURS[hurst], linewidth=0.7)
            axes[letter].set(xlabel="time $t$", xlim=(0, 1))
        axes["a"].set_ylabel("$B^H_t$")
        known = {"quadratic_variation": dict.fromkeys(COLOURS, 1.0), "lag_correlation": CORRELATION_OF_NOISE}
        for letter, (name, theory) in zip("de", known.items(), strict=True):
            panel_title(axes[letter], letter, f"{ds.sizes['sample']:,} paths")
            _histograms(axes[letter], ds[name], theory)
            axes[letter].set(xlabel=SYMBOLS[name], ylabel="density")
        axes["d"].set(xlim=(0.7, 1.6))
        axes["d"].legend()
    return fig


def _histograms(ax: Axes, values: xr.DataArray, theory: dict[float, float]) -> None:
    edges = np.linspace(float(values.min()), float(values.max()), 80)
    for hurst in values.hurst.values.tolist():
        one, colour, label = values.sel(hurst=hurst), COLOURS[hurst], f"$H = {hurst:g}$"
        ax.hist(one, bins=edges, density=True, histtype="stepfilled", color=colour, alpha=0.25)
        ax.hist(one, bins=edges, density=True, histtype="step", color=colour, linewidth=1.1, label=label)
    for number, value in enumerate(sorted(set(theory.values()))):
        label = None if number else "theory"
        ax.axvline(value, color=BLACK, linewidth=1.1, linestyle=(0, (4, 2)), label=label)


def check(ds: xr.Dataset) -> list[Claim]:
    """The drawn path and the whole sample, for every Hurst index."""
    claims = []
    root = math.sqrt(ds.sizes["sample"])
    for hurst in ds.hurst.values.tolist():
        one = ds.sel(hurst=hurst)
        for name, (mean, sd) in (
            ("quadratic_variation", VARIATION[hurst]),
            ("lag_correlation", CORRELATION[hurst]),
        ):
            where, drawn = f"H = {hurst:g}, {name.replace('_', ' ')}", float(one[name][0])
            if name == "quadratic_variation" and hurst in SKEWED:
                claims.append(between(f"{where} of the drawn path", drawn, *SKEWED[hurst]))
            else:
                claims.append(equal(f"{where} of the drawn path", drawn, mean, Z * sd))
            tolerance = Z * sd / root + ROUNDING
            claims.append(equal(f"{where}, mean", one[name].mean(), mean, tolerance))
        variance = one.endpoint.var("sample", ddof=1)
        tolerance = Z * math.sqrt(2) / root  # 0.1 for 4000 paths
        claims.append(equal(f"H = {hurst:g}, variance of B_1", variance, 1.0, tolerance))
    return claims


CONTROLS = {
    "H off by 0.05 and by 0.1": Control(
        other(BUDGETS, lambda of: replace(of, hursts=(0.25, 0.5, 0.7))),
        "H = 0.2, lag correlation, mean",
        "H = 0.8, lag correlation, mean",
    ),
    "10 % too much variance, as of a wrong eigenvalue at the highest frequency": Control(
        lambda ds: ds.assign(
            quadratic_variation=ds.quadratic_variation * xr.where(ds.hurst == 0.8, 1.1, 1.0)
        ),
        "H = 0.8, quadratic variation, mean",
    ),
}
