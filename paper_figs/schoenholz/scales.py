"""How many layers lengths and correlations remember where they started, against the variance of the weights.

After Schoenholz et al. (2017), figure 2; lines are infinite width, points are fits to random networks.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.schoenholz import scales as experiment
from experiments.schoenholz.scales import BIASES
from paper_figs._claims import tabulated
from paper_figs._panels import DOTTED, INTERVAL, LINE, NETWORKS, graded, key, panel_legend
from paper_figs._style import BLACK, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_least, equal

PANELS = 2
BUDGETS, compute = experiment.BUDGETS, experiment.compute
FIT_TOLERANCE = 0.10
TABLE = {  # σ_b²: ξ_q / ξ_c at TABLE_WEIGHTS
    0.001: ((1.4264, 1.4345), (11.3797, 22.8861), (2.7068, 46.5214), (1.6775, 20.9783), (1.3068, 13.9790)),
    0.01: ((1.3034, 1.3699), (3.7200, 7.5694), (2.3726, 81.7043), (1.6097, 18.3873), (1.2801, 12.7105)),
    0.05: ((1.0089, 1.1914), (1.7476, 3.6270), (1.6828, 15.7910), (1.3880, 25.2134), (1.1799, 11.7956)),
    0.1: ((0.8386, 1.0697), (1.2752, 2.6828), (1.3356, 7.6532), (1.2124, 335.9577), (1.0842, 13.4601)),
    0.2: ((0.6741, 0.9357), (0.9380, 2.0085), (1.0263, 4.4068), (1.0054, 14.9502), (0.9503, 25.5325)),
}
TABLE_WEIGHTS = (0.5, 1.0, 1.5, 2.0, 2.5)
PEAKS = {0.001: 11.3927, 0.01: 3.75515, 0.05: 1.809957, 0.1: 1.351292, 0.2: 1.027818}  # of ξ_q over σ_w²


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Memory of lengths on the left, of correlations on the right."""
    colours = dict(zip(BIASES, graded(len(BIASES)), strict=True))
    titles = (r"lengths: $\xi_q$ stays finite", r"correlations: $\xi_c$ diverges at the boundary")
    with house_style():
        fig = new_figure(3.2)
        axes = fig.subplots(1, 2)
        for ax, letter, scale, title in zip(axes, "ab", ("xi_q", "xi_c"), titles, strict=True):
            panel_title(ax, letter, title)
            for bias, colour in colours.items():
                line = ds[scale].sel(sigma_b2=bias)
                ax.plot(line.sigma_w2, line, color=colour, linewidth=1.2, label=f"{bias:g}")
                if scale == "xi_c":
                    ax.axvline(float(ds.critical.sel(sigma_b2=bias)), color=colour, **BOUNDARY)
            fits = ds.fit.sel(scale=scale)
            chosen = {"linestyle": "none", "color": BLACK, "zorder": 3}
            ax.plot(fits.networks_w2, fits.sel(of="theory"), **chosen, **SAME_LAYERS)
            error = INTERVAL * fits.sel(of="error")
            ax.errorbar(fits.networks_w2, fits.sel(of="networks"), error, marker="o", markersize=3, **chosen)
            log_scale(ax, "y")
            ax.set(xlabel=r"$\sigma_w^2$", xlim=(0.3, 4.05))
        axes[0].set(ylabel="layers", ylim=(0.5, 20))
        axes[1].set(ylim=(0.8, 500))
        panel_legend(axes[0], r"$\sigma_b^2$", loc="upper right")
        width, bias = ds.attrs["width"], ds.attrs["sigma_b2"]
        networks = rf"fit to networks of width {width}, $\sigma_b^2 = {bias:g}$"
        same = Line2D([], [], color=BLACK, linestyle="none", **SAME_LAYERS)
        entries = {"infinite width": LINE, networks: NETWORKS, "infinite width, same layers": same}
        key(fig, entries | {"boundary": DOTTED})
    return fig


SAME_LAYERS = {"marker": "s", "markersize": 5.5, "markerfacecolor": "none", "markeredgewidth": 0.8}
BOUNDARY = {"linewidth": 0.8, "linestyle": (0, (1, 1.5))}


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Lines next to known values, peaks and divergence where they belong, networks next to their theory."""
    claims = []
    for bias, row in TABLE.items():
        line, known = ds.sel(sigma_b2=bias), np.array(row)
        for name, column in (("xi_q", 0), ("xi_c", 1)):
            values = line[name].sel(sigma_w2=list(TABLE_WEIGHTS))
            claims.append(tabulated(f"sigma_b2 = {bias:g}, {name}", values, known[:, column], 1e-4))
        highest = float(line.xi_q.max())
        where = f"sigma_b2 = {bias:g}, largest xi_q"
        claims.append(equal(where, highest, PEAKS[bias], 0.005 * PEAKS[bias]))
        ratio = line.xi_c_near / line.xi_c_near_expansion
        where = f"sigma_b2 = {bias:g}, xi_c beside the boundary"
        claims.append(tabulated(f"{where}, over 1/|chi_1 - 1|", ratio, 1, 0.01))
        far = line.xi_c.where(abs(line.sigma_w2 / line.critical - 1) > 0.05)
        least = float(line.xi_c_near.min() / far.max())
        claims.append(at_least(f"{where}, over the largest elsewhere", least, 10))
    for scale in ds.scale.values.tolist():
        for w in ds.networks_w2.values.tolist():
            networks, _, theory = ds.fit.sel(scale=scale, networks_w2=w).values
            name = f"sigma_w2 = {w:g}, {scale} of networks over that of theory on the same layers"
            claims.append(equal(name, networks / theory, 1, FIT_TOLERANCE))
    return claims


CONTROLS = {
    "xi_c 10 % smaller in the chaotic phase": Control(
        lambda ds: ds.assign(xi_c=ds.xi_c * xr.where(ds.sigma_w2 > ds.critical, 0.9, 1.0)),
        "xi_c, largest relative deviation",
    ),
}
