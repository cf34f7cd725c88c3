"""Two inputs in erf networks of finite width: how their kernels fluctuate, and respond to the inputs.

After Fischer, Dahmen & Helias (2023); lines are the order 1/width, points are random networks, in which the
response is a difference quotient with the same random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import resnet_sde as rs
from experiments.fischer.finite_width import Networks, covariance, seen
from experiments.wide import dataset, mean_and_error
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
from resnet_sde.finite_width import finite_size_pair
from resnet_sde.observables import observable


@dataclass(frozen=True)
class Pairs:
    """Networks for the covariances, and those for the responses."""

    width: int
    samples: int
    samples_of_responses: int


BUDGETS = {
    "smoke": Pairs(256, samples=1500, samples_of_responses=200),
    "paper": Pairs(256, samples=20_000, samples_of_responses=2000),
}
NETWORKS_OF_TWO = Networks(depth=6, gain=0.4, sigma_w2=1.2)
START = (0.3, 0.2, 0.1)  # K_0, entries 11, 22, 12
ENTRIES = ("11", "22", "12")
OVERLAPS = {  # of the entries p and q of C
    (0, 0): ("11, 11", BLUE),
    (1, 1): ("22, 22", GREEN),
    (2, 2): ("12, 12", VERMILLION),
    (0, 2): ("11, 12", PURPLE),
    (1, 2): ("22, 12", ORANGE),
    (0, 1): ("11, 22", BLACK),
}
RESPONSES = {  # of entry p of C to entry q of K_0
    (0, 0): ("11 to 11", BLUE),
    (1, 1): ("22 to 22", GREEN),
    (2, 2): ("12 to 12", VERMILLION),
    (2, 0): ("12 to 11", PURPLE),
    (2, 1): ("12 to 22", ORANGE),
}
STEP = 1e-5  # of the difference quotients
# Of the readout: C, its covariances in the order of OVERLAPS, its responses in that of RESPONSES, its shifts.
KNOWN_BRANCH = (0.528116799912, 0.46730979711, 0.247320876667)
KNOWN_OVERLAPS = (0.220556784, 0.207229813, 0.36991218, 0.11680912, 0.118895809, 0.034995644)
KNOWN_RESPONSES = (0.50938907131, 0.732670580652, 1.562309908546, -0.217728862562, -0.277237925383)
KNOWN_SHIFT = (-0.182809159, -0.18182901, -0.077183234)
QUADRATURE = 2e-5  # of the known covariances and shifts, which are integrals over four variables


def compute(budget: str, seed: int) -> xr.Dataset:
    """Means, covariances and responses at every layer."""
    settings, networks = BUDGETS[budget], NETWORKS_OF_TWO
    size = finite_size_pair(networks.model(settings.width), square(START), depth=networks.depth)
    spread = size.branch_covariance.diagonal(0, 0, 1)
    found = _branches(settings, START, settings.samples, seed)
    overlaps = [covariance(found[:, p], found[:, q]) for p, q in OVERLAPS]
    slopes = [_slopes(settings, q, seed) for q in range(3)]
    responses = [mean_and_error(slopes[q][:, p]) for p, q in RESPONSES]
    variables = {
        "limit": (("entry", "layer"), size.branch.T),
        "shift": (("entry", "layer"), size.branch_shift.T),
        "mean": (("entry", "estimate", "layer"), [mean_and_error(found[:, p]) for p in range(3)]),
        "overlap": (("pair", "layer"), torch.stack([spread[p, q] for p, q in OVERLAPS])),
        "networks_overlap": (("pair", "estimate", "layer"), settings.width * np.array(overlaps)),
        "response": (
            ("moved", "layer"),
            torch.stack([size.branch_response[:, 0, p, q] for p, q in RESPONSES]),
        ),
        "networks_response": (("moved", "estimate", "layer"), np.array(responses)),
    }
    axes = {"entry": list(ENTRIES), "layer": range(networks.depth + 1), "estimate": ["value", "error"]}
    axes |= {
        "pair": [name for name, _ in OVERLAPS.values()],
        "moved": [name for name, _ in RESPONSES.values()],
    }
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(
        width=settings.width, samples=settings.samples, of_responses=settings.samples_of_responses
    )


def square(entries: tuple[float, ...]) -> Tensor:
    """The kernel of two inputs with these entries 11, 22, 12."""
    return torch.tensor([[entries[0], entries[2]], [entries[2], entries[1]]], dtype=torch.float64)


def _branches(settings: Pairs, start: tuple[float, ...], samples: int, seed: int) -> Tensor:
    """Entries of C at every layer, (sample, entry, layer)."""
    networks = NETWORKS_OF_TWO
    x = torch.linalg.cholesky(square(start)) * 2**0.5  # of two coordinates
    run = seen(networks.model(settings.width), x, networks.depth, samples, overlaps_of_layers, seed)
    return networks.branch(run)


def _slopes(settings: Pairs, q: int, seed: int) -> Tensor:
    """Difference quotients of all entries in entry q of K_0."""

    def run(sign: float) -> Tensor:
        start = tuple(value + sign * STEP * (entry == q) for entry, value in enumerate(START))
        return _branches(settings, start, settings.samples_of_responses, seed)

    return (run(1) - run(-1)) / (2 * STEP)


@observable("entry", "layer", every_layer=True)
def overlaps_of_layers(t: rs.Trajectory) -> Tensor:
    """Means of erf(h) erf(h') over the neurons of every layer, entries 11, 22, 12, (sample, 3, depth + 1)."""
    found = []
    for layer in range(len(t.hidden.scaled)):
        phi = torch.erf(t.hidden.natural(layer))
        one, other = phi[:, 0], phi[:, 1]
        found.append(
            torch.stack([(a * b).mean(-1) for a, b in ((one, one), (other, other), (one, other))], -1)
        )
    return torch.stack(found, -1)


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
        _lines(axes[1], ds.overlap, ds.networks_overlap, dict(OVERLAPS.values()))
        _lines(axes[2], ds.response, ds.networks_response, dict(RESPONSES.values()))
        axes[0].set(ylabel=r"E$\,C^l_{αβ}$", ylim=(0.05, 0.7))
        axes[1].set(ylabel=r"$N\,$Cov$(C^l_{αβ}, C^l_{γδ})$", ylim=(0, 0.56))
        axes[2].set(ylabel=r"$dC^l_{αβ} / dK^0_{γδ}$", ylim=(-0.5, 2.6))
        for ax, columns in zip(axes, (3, 2, 2), strict=True):
            panel_legend(ax, loc="upper left", ncols=columns, columnspacing=0.8)
        many, fewer, width = (ds.attrs[name] for name in ("samples", "of_responses", "width"))
        networks = f"{many} networks of width {width} (c: {fewer}), 95 %"
        key(fig, {"order 1/width": LINE, networks: NETWORKS})
    return fig


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
