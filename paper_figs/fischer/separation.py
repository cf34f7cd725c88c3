"""How much erf networks separate two inputs of equal length, and which residual scale ρ is best at it.

After Fischer, Dahmen & Helias (2023), whose response to the length of an input is drawn beside it; lines are
infinite width, points are random networks. σ_w² = 1, σ_b² = 0.05, and K_0 = 0.05 unless the panel says
otherwise.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.fischer import separation as experiment
from experiments.fischer.finite_width import Networks
from experiments.fischer.separation import LARGEST, OPTIMA, PEAKS, SMALLEST
from paper_figs._claims import equals
from paper_figs._panels import (
    DASHED,
    DASHES,
    LINE,
    MAXIMUM,
    NETWORKS,
    TRIANGLE,
    graded,
    key,
    panel_legend,
    points,
    ticks,
)
from paper_figs._style import BLACK, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.fischer._claims import agrees
from resnet_sde.claims import Claim, equal
from resnet_sde.finite_width import (
    output_response,
)

PANELS = 2
BUDGETS, compute = experiment.BUDGETS, experiment.compute
TICKS = (0.03, 0.1, 0.3, 1, 3)
DIAGONAL = {0.05: 0.2365, 0.2: 0.0902, 1.0: None}  # K_0: optimum of the response to the length


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Separation against the residual scale on the left, its optimum against the cosine on the right."""
    with house_style():
        fig = new_figure(2.9)
        left, right = fig.subplots(1, 2)
        depth, many, width = (ds.attrs[name] for name in ("depth", "samples", "width"))
        panel_title(left, "a", f"separation of two inputs, $L = {depth}$")
        _responses(left, ds)
        panel_title(right, "b", f"optimal scales, $L = {depth}$")
        _optima(right, ds)
        entries = {"infinite width": LINE, "response to length": DASHED}
        key(fig, entries | {f"{many} networks of width {width}, 95 %": NETWORKS, "maximum": MAXIMUM})
    return fig


def _responses(ax: Axes, ds: xr.Dataset) -> None:
    for colour, cosine in zip(graded(ds.sizes["cosine"]), ds.cosine.values.tolist(), strict=True):
        row = ds.sel(cosine=cosine)
        ax.plot(row.scale, row.response, color=colour, linewidth=1.2, label=f"{cosine:g}")
        found = row.simulated
        points(ax, row.simulated_scale, found.sel(estimate="value"), found.sel(estimate="error"), colour)
        ax.plot(row.peak.sel(at="scale"), row.peak.sel(at="height"), color=colour, **TRIANGLE)
    ax.plot(ds.scale, ds.length_response, color=BLACK, **DASHES)
    log_scale(ax, "xy")
    ticks(ax, "x", TICKS)
    ax.set(
        xlabel="residual scale $ρ$", ylabel=r"$dC_{12}/dK^0_{12}$", ylim=(0.02, 60), xlim=(SMALLEST, LARGEST)
    )
    panel_legend(ax, "cosine of inputs", loc="lower left")


def _optima(ax: Axes, ds: xr.Dataset) -> None:
    for colour, k0 in zip(graded(ds.sizes["k0"]), ds.k0.values.tolist(), strict=True):
        row = ds.sel(k0=k0)
        ax.plot(
            row.of_cosine,
            row.optimum,
            color=colour,
            linewidth=1.2,
            marker="s",
            markersize=2.5,
            label=f"{k0:g}",
        )
        length = float(row.length_optimum)
        if math.isfinite(length):
            ax.axhline(length, color=colour, **DASHES)
    log_scale(ax, "y")
    ticks(ax, "y", (0.1, 0.2, 0.5, 1))
    ax.set(xlabel="cosine of inputs", ylabel="residual scale $ρ^*$", ylim=(0.07, 1.5))
    panel_legend(ax, "$K_0$", loc="upper left", ncols=3)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Optima and gains next to known values, networks next to theory."""
    peaks = np.array(list(PEAKS.values()))
    gain = ds.peak.sel(at="gain") / peaks[:, 1]
    claims = [
        equals("optimal scales", ds.peak.sel(at="scale"), peaks[:, 0], 1e-3),
        equals("gains, relative", gain, np.ones(len(peaks)), 1e-3),
    ]
    for k0, row in OPTIMA.items():
        found = ds.optimum.sel(k0=k0, of_cosine=list(row))
        claims.append(equals(f"K_0 = {k0:g}, optimal scales", found, list(row.values()), 1e-3))
        length, known = float(ds.length_optimum.sel(k0=k0)), DIAGONAL[k0]
        if known is None:
            name = f"K_0 = {k0:g}, optima of the response to length"
            claims.append(equal(name, math.isfinite(length), 0))
        else:
            name = f"K_0 = {k0:g}, optimum of the response to length"
            claims.append(equal(name, length, known, 1e-4))
    found, error = (ds.simulated.sel(estimate=which) for which in ("value", "error"))
    allowed = 5 / ds.attrs["width"] * ds.simulated_theory
    claims.append(agrees("separation", found, error, ds.simulated_theory, allowed))
    return claims


def _of_lengths(ds: xr.Dataset) -> xr.Dataset:
    scales, depth = ds.simulated_scale.values.tolist(), BUDGETS[ds.attrs["budget"]].depth
    lengths = [output_response(Networks(depth, scale).model(), 0.05, depth=depth) for scale in scales]
    return ds.assign(simulated_theory=ds.simulated_theory * 0 + np.array(lengths))


CONTROLS = {"the response of lengths": Control(_of_lengths, "separation, networks")}
