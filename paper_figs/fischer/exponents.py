"""Residual scales ρ = L^−b: kernels of erf networks, and their response to the input, as depth grows.

After Fischer, Dahmen & Helias (2023), with the exponents of Marion et al. (2025): only b = 1/2 has a
limit that is neither the identity nor an explosion. Lines are infinite width, points are random networks.
σ_w² = 1, σ_b² = K_0 = 0.05.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from experiments.fischer import exponents as experiment
from experiments.fischer.exponents import POWERS
from experiments.wide import fitted_slope
from paper_figs._claims import equals
from paper_figs._panels import DOTS, DOTTED, LINE, NETWORKS, key, panel_legend, points
from paper_figs._style import BLUE, GREEN, ORANGE, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.fischer._claims import agrees
from resnet_sde.claims import Claim, between, equal

PANELS = 2
BUDGETS, compute = experiment.BUDGETS, experiment.compute
COLOURS = dict(zip(POWERS, (VERMILLION, BLUE, GREEN, ORANGE), strict=True))
LABELS = {0.25: "1/4", 0.5: "1/2", 0.75: "3/4", 1.0: "1"}
KNOWN = {  # b: K and the response at L = 10, 100, 1000
    0.25: ((0.97658057, 5.8295626, 24.906613), (1.035772, 0.15793676, 0.021723122)),
    0.5: ((0.21567071, 0.22471109, 0.22566186), (1.5066435, 1.4835299, 1.4809055)),
    0.75: ((0.089518156, 0.061372413, 0.053471206), (1.2647426, 1.1270933, 1.0792473)),
    1.0: ((0.061316952, 0.051085204, 0.050108012), (1.1269766, 1.0638167, 1.0573583)),
}
KNOWN_DEPTHS = (10, 100, 1000)
LIMITS = {0.5: (0.22576804025, 1.48061021524), 0.75: (0.05, 1.05663942388), 1.0: (0.05, 1.05663942388)}
APPROACH = {0.5: -1.0, 0.75: -0.5, 1.0: -1.0}  # powers of L by which K comes to its limit


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Kernels on the left, responses on the right."""
    with house_style():
        fig = new_figure(2.9)
        axes = fig.subplots(1, 2)
        titles = {"kernel": "kernel of the last states", "response": "response of the readout"}
        for ax, letter, (name, title), of in zip(axes, "ab", titles.items(), (0, 1), strict=True):
            panel_title(ax, letter, title)
            for b, colour in COLOURS.items():
                row = ds.sel(b=b, of=name)
                ax.plot(row.depth, row.theory, color=colour, linewidth=1.2, label=LABELS[b])
                found = row.simulated
                points(
                    ax, row.simulated_depth, found.sel(estimate="value"), found.sel(estimate="error"), colour
                )
                if b in LIMITS:
                    ax.axhline(LIMITS[b][of], color=colour, **DOTS)
            log_scale(ax, "xy")
            ax.set(xlabel="depth $L$")
        axes[0].set(ylabel="$K^L$")
        axes[1].set(ylabel=r"$dC/dK^0$")
        panel_legend(axes[0], r"$ρ = L^{-b}$, $b =$", loc="upper left")
        many, width = ds.attrs["samples"], ds.attrs["width"]
        entries = {"infinite width": LINE, r"$L \to \infty$": DOTTED}
        key(fig, entries | {f"{many} networks of width {width}, 95 %": NETWORKS})
    return fig


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Known values, how fast limits are approached, and networks next to theory."""
    claims = []
    for b, known in KNOWN.items():
        for name, values in zip(("kernel", "response"), known, strict=True):
            found = ds.theory.sel(b=b, of=name, depth=list(KNOWN_DEPTHS))
            ratio = found / np.array(values)
            claims.append(equals(f"b = {b:g}, {name}, relative", ratio, np.ones(3), 1e-7))
    deep = ds.theory.sel(of="kernel").where(ds.depth >= 100, drop=True)
    for b, power in APPROACH.items():
        away = np.abs(deep.sel(b=b).values - LIMITS[b][0])
        slope = fitted_slope(np.log(deep.depth.values), np.log(away))
        claims.append(equal(f"b = {b:g}, power of L by which K comes to its limit", slope, power, 0.03))
    growth = fitted_slope(np.log(deep.depth.values), np.log(deep.sel(b=0.25).values))
    claims.append(between("b = 0.25, power of L by which K grows", growth, 0.5, 0.7))
    width = ds.attrs["width"]
    for b in POWERS:
        for name in ("kernel", "response"):
            found, theory = ds.simulated.sel(b=b, of=name), ds.simulated_theory.sel(b=b, of=name)
            value, error = (found.sel(estimate=which) for which in ("value", "error"))
            claims.append(agrees(f"b = {b:g}, {name}", value, error, theory, 5 / width * theory))
    return claims


def _smaller_scales(ds: xr.Dataset) -> xr.Dataset:
    """ρ = 0.9 L^−b."""
    factor = xr.where(ds.simulated["of"] == "kernel", 1 - 0.19 * (1 - 0.05 / ds.simulated_theory), 1.0)
    return ds.assign(simulated=ds.simulated * factor)


CONTROLS = {"scales 10 % smaller": Control(_smaller_scales, "b = 0.5, kernel, networks")}
