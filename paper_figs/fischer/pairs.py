"""Two inputs in erf networks of finite width: how their kernels fluctuate, and respond to the inputs.

After Fischer, Dahmen & Helias (2023); lines are the order 1/width, points are random networks, in which the
response is a difference quotient with the same random numbers.
"""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.fischer import pairs as experiment
from experiments.fischer.pairs import ENTRIES, OVERLAPS, RESPONSES
from paper_figs._claims import equals
from paper_figs._panels import LINE, NETWORKS, key, panel_legend, points
from paper_figs._style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    VERMILLION,
    house_style,
    new_figure,
    panel_title,
)
from paper_figs.controls import Control
from paper_figs.fischer._claims import agrees
from resnet_sde.claims import Claim

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
# Of the readout: C, its covariances in the order of OVERLAPS, its responses in that of RESPONSES, its shifts.
KNOWN_BRANCH = (0.528116799912, 0.46730979711, 0.247320876667)
KNOWN_OVERLAPS = (0.220556784, 0.207229813, 0.36991218, 0.11680912, 0.118895809, 0.034995644)
KNOWN_RESPONSES = (0.50938907131, 0.732670580652, 1.562309908546, -0.217728862562, -0.277237925383)
KNOWN_SHIFT = (-0.182809159, -0.18182901, -0.077183234)
QUADRATURE = 2e-5  # of the known covariances and shifts, which are integrals over four variables


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Means, covariances and responses along the layers."""
    with house_style():
        fig = new_figure(2.9)
        axes = fig.subplots(1, 3)
        for ax, letter, title in zip(
            axes, "abc", ("means of $C$", "covariances of $C$", "responses of $C$"), strict=True
        ):
            panel_title(ax, letter, title)
            ax.set(xlabel="layer $l$", xlim=(-0.2, 6.2), xticks=range(0, 7, 2))
        _lines(axes[0], ds.limit + ds["shift"] / ds.attrs["width"], ds["mean"], MEANS)
        _lines(axes[1], ds.overlap, ds.networks_overlap, dict(zip(OVERLAPS.values(), COLOURS, strict=False)))
        moved = dict(zip(RESPONSES.values(), COLOURS, strict=False))
        _lines(axes[2], ds.response, ds.networks_response, moved)
        axes[0].set(ylabel=r"E$\,C^l_{αβ}$", ylim=(0.05, 0.7))
        axes[1].set(ylabel=r"$N\,$Cov$(C^l_{αβ}, C^l_{γδ})$", ylim=(0, 0.56))
        axes[2].set(ylabel=r"$dC^l_{αβ} / dK^0_{γδ}$", ylim=(-0.5, 2.6))
        for ax, columns in zip(axes, (3, 2, 2), strict=True):
            panel_legend(ax, loc="upper left", ncols=columns, columnspacing=0.8)
        many, fewer, width = (ds.attrs[name] for name in ("samples", "of_responses", "width"))
        networks = f"{many} networks of width {width} (c: {fewer}), 95 %"
        key(fig, {"order 1/width": LINE, networks: NETWORKS})
    return fig


COLOURS = (BLUE, GREEN, VERMILLION, PURPLE, ORANGE, BLACK)  # of pairs, and of responses
MEANS = dict(zip(ENTRIES, (BLUE, GREEN, VERMILLION), strict=True))


def _lines(ax: Axes, theory: xr.DataArray, found: xr.DataArray, colours: dict[str, str]) -> None:
    for line, measured, (name, colour) in zip(theory, found, colours.items(), strict=True):
        ax.plot(line.layer, line, color=colour, linewidth=1.2, label=name)
        points(ax, line.layer, measured.sel(estimate="value"), measured.sel(estimate="error"), colour)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """The readout next to known values, networks next to theory at every layer."""
    last = ds.isel(layer=-1)
    claims = [
        equals("C of the readout", last.limit, KNOWN_BRANCH, 1e-11),
        equals("width Cov C of the readout", last.overlap, KNOWN_OVERLAPS, QUADRATURE),
        equals("width times shift of the readout", last["shift"], KNOWN_SHIFT, QUADRATURE),
        equals("responses of the readout", last.response, KNOWN_RESPONSES, 1e-11),
    ]
    width = ds.attrs["width"]
    means = ds.limit + ds["shift"] / width
    for name, found, theory, relative in (
        ("means", ds["mean"], means, 0),
        ("covariances", ds.networks_overlap, ds.overlap, 5 / width),
        ("responses", ds.networks_response, ds.response, 5 / width),
    ):
        value, error = (found.sel(estimate=which) for which in ("value", "error"))
        claims.append(agrees(name, value, error, theory, relative * abs(theory) + 1e-12))
    return claims


def _with_one_slope(ds: xr.Dataset) -> xr.Dataset:
    """The entry 12 responds to itself as the entry 22 does."""
    ds.response.loc[{"moved": "12 to 12"}] = ds.response.sel(moved="22 to 22")
    return ds


CONTROLS = {
    "biases of their own for every input": Control(
        lambda ds: ds.assign(limit=ds.limit - 0.05 * (ds.entry == "12")), "means, networks"
    ),
    "one slope for all entries": Control(_with_one_slope, "responses, networks"),
}
