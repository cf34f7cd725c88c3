"""How much the readout of erf networks responds to the length of the input, at which residual scale ρ.

After Fischer, Dahmen & Helias (2023); lines are infinite width, points are random networks, in which the
response is a difference quotient with the same random numbers. Residual networks have σ_w² = 1 and σ_b² =
K_0 = 0.05; feed-forward ones forget their input.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.fischer import response as experiment
from experiments.fischer.finite_width import Networks
from experiments.fischer.response import FURTHEST, LARGEST, NETS, SIMULATED, SMALLEST
from experiments.wide import depth_scale
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
    note,
    panel_legend,
    points,
    ticks,
)
from paper_figs._style import BLUE, GREEN, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.fischer._claims import agrees
from resnet_sde.claims import Claim, equal

PANELS = 4
BUDGETS, compute = experiment.BUDGETS, experiment.compute
COLOURS = dict(zip(NETS, (BLUE, VERMILLION, GREEN), strict=True))
RECOMMENDED = (0.1, 0.3)  # residual scales that Szegedy et al. (2017) found to stabilise training
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1)
TABLE = {  # L: responses there
    5: (1.06560211, 1.09218278, 1.13536056, 1.19312938, 1.26213446, 1.33736943, 1.55536466, 0.83842534),
    10: (1.07452474, 1.12697658, 1.20941283, 1.31136695, 1.41408453, 1.49150626, 1.23461816, 0.25716431),
    20: (1.09223940, 1.19366892, 1.33682419, 1.46381989, 1.49384045, 1.38331799, 0.54524871, 0.07388330),
    50: (1.14415283, 1.36010512, 1.48766102, 1.28184216, 0.89265586, 0.56965123, 0.11807200, 0.01547882),
    100: (1.22536648, 1.48352989, 1.17608419, 0.64729963, 0.33710388, 0.18764073, 0.03615460, 0.00502051),
}
PEAKS = {5: 0.52394, 10: 0.34564, 20: 0.23650, 50: 0.14674, 100: 0.10311}
SCALED_PEAKS = {20: (1.0577, 1.499), 500: (1.0260, 1.482)}  # ρ√L there, and the response
COLLAPSED = 1.5  # the ρ√L up to which the distance to infinite depth is looked at
COLLAPSE = {50: 0.02727, 100: 0.01371}  # the largest one, relative
LAST_RESPONSE = 2.49752  # dK_20/dK_0 of the residual network
DECAY = {"feed-forward, 1.2": 1.541, "feed-forward, 2": 1.073}


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Along the layers, and against the residual scale: theory, collapse, and networks."""
    with house_style():
        fig = new_figure(4.8)
        axes = fig.subplots(2, 2)
        many, width = (ds.attrs[name] for name in ("samples", "width"))
        titles = (
            "response along the layers",
            "readout against $ρ$",
            "readout against $ρ\\sqrt{L}$",
            "networks",
        )
        for ax, letter, title in zip(axes.flat, "abcd", titles, strict=True):
            panel_title(ax, letter, title)
        _along(axes[0, 0], ds)
        _against(axes[0, 1], ds)
        _collapse(axes[1, 0], ds)
        _networks(axes[1, 1], ds)
        entries = {
            "infinite width": LINE,
            "a: $dK^l\\!/dK^0$": DASHED,
            f"{many} networks of width {width}, 95 %": NETWORKS,
        }
        key(fig, entries | {"maximum": MAXIMUM})
    return fig


def _along(ax: Axes, ds: xr.Dataset) -> None:
    labels = ("residual", r"feed-forward, $σ_w^2 = 2$", r"feed-forward, $σ_w^2 = 1.2$")
    for (name, colour), label in zip(COLOURS.items(), labels, strict=True):
        row = ds.sel(network=name, of="C")
        ax.plot(row.layer, row.layer_response, color=colour, linewidth=1.2, label=label)
        error = row.networks_layer_response_error
        points(ax, row.layer, row.networks_layer_response, error, colour)
        of_states = ds.layer_response.sel(network=name, of="K")
        ax.plot(row.layer, of_states, color=colour, **DASHES)
    log_scale(ax, "y")
    ax.set(xlabel="layer $l$", ylabel=r"$dC^l\!/dK^0$", xlim=(-0.5, 20.5), xticks=range(0, 21, 5))
    panel_legend(ax, loc="lower left")


def _against(ax: Axes, ds: xr.Dataset) -> None:
    ax.axvspan(*RECOMMENDED, color="#ECECEC", linewidth=0)
    for colour, depth in zip(graded(ds.sizes["depth"]), ds.depth.values.tolist(), strict=True):
        row = ds.sel(depth=depth)
        ax.plot(row.scale, row.response, color=colour, linewidth=1.2, label=f"{depth}")
        ax.plot(*row.peak.values, color=colour, **TRIANGLE)
    _scales(ax)
    panel_legend(ax, "$L$", loc="lower left")
    note(ax, math.log(0.1732 / SMALLEST) / math.log(LARGEST / SMALLEST), 0.03, "0.1 to 0.3", ha="center")


def _collapse(ax: Axes, ds: xr.Dataset) -> None:
    for colour, depth in zip(graded(ds.sizes["scaled_depth"]), ds.scaled_depth.values.tolist(), strict=True):
        row = ds.sel(scaled_depth=depth)
        ax.plot(row.product, row.scaled, color=colour, linewidth=1.2, label=f"{depth}")
    ax.plot(
        ds.product,
        ds.limit,
        color=VERMILLION,
        **DASHES,
        label="$\\infty$",
    )
    ax.set(xlabel="$ρ\\sqrt{L}$", ylabel=r"$dC/dK^0$", xlim=(0, FURTHEST), ylim=(0, 1.72))
    panel_legend(ax, "$L$", loc="lower left")


def _networks(ax: Axes, ds: xr.Dataset) -> None:
    colours = dict(zip(ds.depth.values.tolist(), graded(ds.sizes["depth"]), strict=True))
    for depth in ds.simulated_depth.values.tolist():
        row, colour = ds.sel(depth=depth, simulated_depth=depth), colours[depth]
        ax.plot(row.scale, row.response, color=colour, linewidth=1.2, label=f"{depth}")
        found = row.simulated
        points(ax, row.simulated_scale, found.sel(estimate="value"), found.sel(estimate="error"), colour)
    _scales(ax)
    panel_legend(ax, "$L$", loc="lower left")


def _scales(ax: Axes) -> None:
    log_scale(ax, "x")
    ticks(ax, "x", TICKS)
    ax.set(xlabel="residual scale $ρ$", ylabel=r"$dC/dK^0$", xlim=(SMALLEST, LARGEST), ylim=(0, 1.72))


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Responses next to known values, the maxima where they belong, networks next to theory."""
    table = np.array([TABLE[depth] for depth in ds.depth.values.tolist()])
    peaks = [PEAKS[depth] for depth in ds.depth.values.tolist()]
    claims = [
        equals("response of the readout", ds.tabulated, table, 1e-8),
        equals("scale of the maximum", ds.peak.sel(at="scale"), peaks, 1e-4),
    ]
    for depth, (product, height) in SCALED_PEAKS.items():
        row = ds.scaled_peak.sel(scaled_depth=depth)
        found = float(row.sel(at="scale")) * math.sqrt(depth)
        claims.append(equal(f"L = {depth}, ρ√L of the maximum", found, product, 1e-4))
        claims.append(equal(f"L = {depth}, height of the maximum", row.sel(at="response"), height, 1e-3))
    near = ds.sel(product=ds.product < COLLAPSED + 1e-9)
    for depth, known in COLLAPSE.items():
        off = float(abs(near.scaled.sel(scaled_depth=depth) / near.limit - 1).max())
        name = f"L = {depth}, relative distance to infinite depth for ρ√L up to {COLLAPSED:g}"
        claims.append(equal(name, off, known, 1e-4))
    return claims + _of_layers(ds) + _of_networks(ds)


def _of_layers(ds: xr.Dataset) -> list[Claim]:
    last = ds.layer_response.sel(network="residual", of="K").isel(layer=-1)
    claims = [equal("residual, dK_20/dK_0", last, LAST_RESPONSE, 1e-5)]
    for name, known in DECAY.items():
        response = ds.layer_response.sel(network=name, of="C").values
        late = ds.layer.values >= 10
        claims.append(equal(f"{name}, decay length", depth_scale(response, late), known, 0.01 * known))
    return claims


def _of_networks(ds: xr.Dataset) -> list[Claim]:
    found, error = (ds.simulated.sel(estimate=which) for which in ("value", "error"))
    theory = ds.simulated_theory
    claims = [agrees("response against ρ", found, error, theory, 0.015 * theory)]
    row = ds.sel(network="residual")
    error, theory = row.networks_layer_response_error, row.layer_response
    allowed = 2 / ds.attrs["width"]
    claims.append(agrees("response along layers", row.networks_layer_response, error, theory, allowed))
    return claims


def _without_the_readout(ds: xr.Dataset) -> xr.Dataset:
    """The response of the states, which has no maximum."""
    states = [
        [
            Networks(depth, scale).theory().kernel_response[-1, 0]
            for scale in ds.simulated_scale.values.tolist()
        ]
        for depth in ds.simulated_depth.values.tolist()
    ]
    return ds.assign(simulated_theory=(SIMULATED, np.array(states, dtype=float)))


def _of_another_exponent(ds: xr.Dataset) -> xr.Dataset:
    """Optimal scales fall like L^−0.45."""
    factor = xr.where(ds.scaled_peak["at"] == "scale", (ds.scaled_depth / 20) ** 0.05, 1.0)
    return ds.assign(scaled_peak=ds.scaled_peak * factor)


CONTROLS = {
    "states for readouts": Control(_without_the_readout, "response against ρ"),
    "optimal scales like L^-0.45": Control(_of_another_exponent, "L = 500, ρ√L of the maximum"),
}
