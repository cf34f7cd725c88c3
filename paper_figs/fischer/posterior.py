"""How the kernel C of erf networks adapts to data: its mean once two targets are seen, less that before.

Infinitely wide networks do not adapt. From the fluctuations of Fischer, Dahmen & Helias (2023); lines are
the order 1/width, points are random networks, weighted by how well they explain the targets. The posterior
is also the stationary law of Langevin training.
"""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.fischer import posterior as experiment
from experiments.fischer.finite_width import extrapolated
from experiments.fischer.posterior import ENTRIES, TARGETS
from paper_figs._claims import equals
from paper_figs._panels import LINE, NETWORKS, key, panel_legend, points, ticks
from paper_figs._style import BLUE, GREEN, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.fischer._claims import agrees
from resnet_sde.claims import Claim, equal

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
COLOURS = dict(zip(ENTRIES, (BLUE, GREEN, VERMILLION), strict=True))
KNOWN = {"alike": (1.143, 1.043, 2.553), "opposite": (None, None, -3.104)}  # the shift times the width
HIGHER_ORDERS = 8  # over the width, of the largest shift: what networks may differ from the order 1/width by
LIMITS = {"alike": (0, 3.2), "opposite": (-3.6, 1.1)}  # of the panels


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Two kinds of targets against the width, and both against the residual scale."""
    with house_style():
        fig = new_figure(2.9)
        axes = fig.subplots(1, 3)
        for ax, letter, (name, (first, second)) in zip(axes, "ab", TARGETS.items(), strict=False):
            panel_title(ax, letter, f"targets ({first:g}, {second:g})".replace("-", "−"))
            _widths(ax, ds.sel(target=name))
        panel_title(axes[2], "c", "entry 12")
        _scales(axes[2], ds)
        many, width = ds.attrs["samples"], ds.attrs["width"]
        key(fig, {"order 1/width": LINE, f"{many} networks (c: of width {width}), 95 %": NETWORKS})
    return fig


def _widths(ax: Axes, row: xr.Dataset) -> None:
    for name, colour in COLOURS.items():
        one = row.sel(entry=name)
        ax.axhline(float(one.limit), color=colour, linewidth=1.2, label=name)
        found = one.of_width
        points(ax, row.networks_width, found.sel(estimate="value"), found.sel(estimate="error"), colour)
    log_scale(ax, "x")
    ticks(ax, "x", row.networks_width.values.tolist())
    ax.set(xlabel="width $N$", ylabel=r"$N\,($E$[C\,|\,y] - $E$\,C)$")
    ax.set_ylim(LIMITS[str(row.target.values)])
    ax.margins(x=0.12)
    panel_legend(ax, "entry", loc="upper right", ncols=3, columnspacing=0.8)


def _scales(ax: Axes, ds: xr.Dataset) -> None:
    both = ds.sel(entry="12")
    labels = {name: f"({a:g}, {b:g})".replace("-", "−") for name, (a, b) in TARGETS.items()}
    for (name, label), colour in zip(labels.items(), (VERMILLION, BLUE), strict=True):
        row = both.sel(target=name)
        ax.plot(row.scale, row.theory, color=colour, linewidth=1.2, label=label)
        found = row.simulated
        points(ax, row.simulated_scale, found.sel(estimate="value"), found.sel(estimate="error"), colour)
    log_scale(ax, "x")
    ticks(ax, "x", (0.03, 0.1, 0.3, 1))
    ax.set(xlabel="residual scale $ρ$")
    panel_legend(ax, "targets", loc="upper left")


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Theory next to known values, networks next to theory and on the way to it as the width grows."""
    claims = []
    width = ds.networks_width.values
    for target, known in KNOWN.items():
        row = ds.sel(target=target)
        chosen = [value is not None for value in known]
        values = [value for value in known if value is not None]
        claims.append(equals(f"targets {target}", row.limit.values[chosen], values, 5e-4))
        largest = float(abs(row.limit).max())
        value, error = (row.of_width.sel(estimate=which) for which in ("value", "error"))
        allowed = HIGHER_ORDERS / width[:, None] * largest
        claims.append(agrees(f"targets {target}, all widths", value, error, row.limit, allowed))
        one = row.of_width.sel(entry="12")
        at_infinity = extrapolated(width, one.sel(estimate="value").values, one.sel(estimate="error").values)
        if ds.attrs["budget"] == "paper":
            expected = float(row.limit.sel(entry="12"))
            name = f"targets {target}, entry 12 extrapolated"
            claims.append(equal(name, at_infinity, expected, 0.05 * abs(expected)))
        value, error = (row.simulated.sel(estimate=which) for which in ("value", "error"))
        theory = row.simulated_theory
        allowed = HIGHER_ORDERS / ds.attrs["width"] * abs(theory).max("entry").values[:, None]
        claims.append(agrees(f"targets {target}, all scales", value, error, theory, allowed))
    return claims


CONTROLS = {
    "the entry 12 counted once, not twice": Control(
        lambda ds: ds.assign(limit=ds.limit * xr.where(ds.entry == "12", 0.5, 1.0)), "all widths, networks"
    ),
}
