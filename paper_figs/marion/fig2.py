r"""Figure 2 of Marion et al. (2025): how ‖h_L‖ / ‖h_0‖ and ‖p_0‖ / ‖p_L‖ are distributed at beta = 1/2.

In the limit log(‖h_L‖² / ‖h_0‖²) is normal with mean c (1 − 2/d) and variance 4 c / d, where c = 1/2 for
res-3; the gradient has the same law.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

import resnet_sde as rs
from experiments.execution import HERE, Execution
from experiments.marion.initialization import Initialization
from paper_figs._ratios import widened
from paper_figs._style import BLUE, THEORY, house_style, legend_below, new_figure, panel_title
from paper_figs.controls import Control, other
from resnet_sde.claims import Claim, at_least, equal

BUDGETS = {
    "smoke": Initialization(rs.WhiteNoise(), (0.5,), (200,), samples=300, width=100),
    "paper": Initialization(rs.WhiteNoise(), (0.5,), (1000,), samples=10_000, width=100),
}
RATIOS = {
    "log10_growth": r"$\Vert h_L\Vert \,/\, \Vert h_0\Vert$",
    "log10_gradient_growth": r"$\Vert p_0\Vert \,/\, \Vert p_L\Vert$",
}
SMALLEST_P = 1e-4  # of the Kolmogorov-Smirnov test: its false alarm
MEAN_TOLERANCE = 0.004  # 4.4 standard errors of 10,000 networks: false alarm 1e-5


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """The ratios of every network, forward and gradient."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


def limit_law(ds: xr.Dataset) -> stats.rv_continuous:
    """The log-normal law of the unsquared ratio as L → ∞."""
    c, width = 0.5, float(ds.attrs["width"])
    return stats.lognorm(s=math.sqrt(c / width), scale=math.exp(c * (1 - 2 / width) / 2))


def draw(ds: xr.Dataset) -> Figure:
    """Two histograms with the density of the limit."""
    law, bins = limit_law(ds), np.linspace(0.9, 1.7, 61)
    fine = np.linspace(bins[0], bins[-1], 400)
    with house_style():
        fig = new_figure(2.5)
        row = fig.subplots(1, 2, sharey=True)
        for letter, ax, (name, symbol) in zip("ab", row, RATIOS.items(), strict=True):
            label = f"{ds.sizes['sample']:,} networks"
            values = 10 ** ds[name].to_numpy().ravel()
            ax.hist(values, bins=bins, density=True, color=BLUE, alpha=0.45, label=label)
            ax.plot(fine, law.pdf(fine), label="log-normal limit (theory)", **THEORY)
            panel_title(ax, letter, {"a": "states", "b": "gradients"}[letter])
            ax.set(xlabel=symbol, xlim=(bins[0], bins[-1]), xticks=[1.0, 1.2, 1.4, 1.6])
        row[0].set_ylabel("density")
        legend_below(fig)
    return fig


def check(ds: xr.Dataset) -> list[Claim]:
    """Mean and shape of both ratios against the limit."""
    law, claims = limit_law(ds), []
    for name, word in zip(RATIOS, ("forward", "gradient"), strict=True):
        values = 10 ** ds[name].to_numpy().ravel()
        tolerance = MEAN_TOLERANCE * widened(values.size, stated=10_000)
        claims.append(equal(f"{word}, mean ratio", values.mean(), law.mean(), tolerance))
        p = stats.kstest(values, law.cdf).pvalue
        claims.append(at_least(f"{word}, p-value of the Kolmogorov-Smirnov test", p, SMALLEST_P))
    return claims


CONTROLS = {
    "beta 10 % smaller": Control(other(BUDGETS, lambda of: replace(of, betas=(0.45,))), "mean ratio"),
    "gradients over the wrong end": Control(
        lambda ds: ds.assign(log10_gradient_growth=-ds.log10_gradient_growth), "gradient, p-value"
    ),
}
