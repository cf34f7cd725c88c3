"""Order and chaos in feed-forward tanh networks, and how their layers forget where they started.

After Schoenholz et al. (2017), figure 1; lines are infinite width, points are random networks.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.schoenholz import phases as experiment
from experiments.schoenholz.phases import BOUNDARY
from paper_figs._claims import agrees
from paper_figs._panels import LINE, NETWORKS, graded, key, note, panel_legend, points
from paper_figs._style import BLACK, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_most, equal

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
FLOOR, RESOLVED = 1e-12, 3e-11  # of the panels, and of what float64 networks can tell from 0
ORDERED_CELLS = 406  # of 26 × 26
SCALES = {  # σ_w²: ξ_q, ξ_c at σ_b² = 0.05
    0.01: (0.208866, 0.212974),
    0.3: (0.692999, 0.756617),
    0.6: (1.179995, 1.480306),
    0.9: (1.650552, 2.876493),
    1.2: (1.808783, 5.944536),
    1.5: (1.682828, 15.790994),
    1.7: (1.558254, 74.918271),
}


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """The phase diagram, and the approach of lengths and correlations to their fixed points."""
    colours = graded(ds.sizes["sigma_w2"])
    with house_style():
        fig = new_figure(2.9)
        left, middle, right = fig.subplots(1, 3, width_ratios=(1.15, 1, 1))
        panel_title(left, "a", "phases of tanh networks")
        _diagram(left, ds, colours)
        panel_title(middle, "b", r"lengths, $|q^l - q^*|$")
        panel_title(right, "c", r"correlations, $1 - c^l$")
        for colour, w in zip(colours, ds.sigma_w2.values.tolist(), strict=True):
            row = ds.sel(sigma_w2=w)
            middle.plot(row.layer, row.length_away, color=colour, linewidth=1.1)
            right.plot(row.layer, row.gap, color=colour, linewidth=1.1)
            _networks(middle, row, colour)
            shown = row.isel(layer=slice(0, None, 4))
            clear = shown.networks_gap > RESOLVED
            points(
                right,
                shown.layer[clear],
                shown.networks_gap[clear],
                shown.networks_gap_error[clear],
                colour,
            )
        for ax, last in ((middle, 24), (right, 60)):
            log_scale(ax, "y")
            ax.set(xlabel="layer $l$", xlim=(0, last), ylim=(FLOOR, 2))
        key(
            fig,
            {
                "infinite width": LINE,
                f"mean of {ds.attrs['samples']} networks of width {ds.attrs['width']}, 95 %": NETWORKS,
            },
        )
    return fig


def _networks(ax: Axes, row: xr.Dataset, colour: str) -> None:
    """Only where the mean length is further from q* than chance and finite width move it."""
    away = abs(row.networks_length - row.q_star)
    clear = away > 5 * row.networks_length_error + 3e-3 * row.q_star
    points(ax, row.layer[clear], away[clear], row.networks_length_error[clear], colour)


def _diagram(ax: Axes, ds: xr.Dataset, colours: list[str]) -> None:
    ax.fill_betweenx(ds.sigma_b2, -0.1, ds.boundary, color="#D7E6F4", linewidth=0)
    ax.fill_betweenx(ds.sigma_b2, ds.boundary, 3.0, color="#FBE3D2", linewidth=0)
    ax.plot(ds.boundary, ds.sigma_b2, color=BLACK, linewidth=1.3)
    bias = ds.attrs["sigma_b2"]
    for colour, w in zip(colours, ds.sigma_w2.values, strict=True):
        dot = {"linestyle": "none", "marker": "s", "markersize": 4, "color": colour}
        ax.plot([w], [bias], label=f"{w:g}", **dot)
    ax.set(xlabel=r"$\sigma_w^2$", ylabel=r"$\sigma_b^2$", xlim=(-0.07, 3), ylim=(0, 0.25))
    ax.grid(False)
    note(ax, 0.60, 0.88, "ordered", ha="right")
    note(ax, 0.97, 0.08, r"chaotic, $\chi_1 > 1$", ha="right")
    panel_legend(ax, r"$\sigma_w^2$ in b, c", loc="upper left", borderaxespad=0.3, handletextpad=0.2)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Boundary and rates next to known values, networks next to infinite width."""
    off = np.abs(ds.boundary_known.values - np.array(list(BOUNDARY.values()))).max()
    cells = int((ds.chi_1 < 1).sum())
    claims = [
        at_most("boundary, largest distance to known points", off, 1e-6),
        equal("ordered cells of a grid of 26 × 26", cells, ORDERED_CELLS, 0),
    ]
    for w in ds.sigma_w2.values.tolist():
        row, scales = ds.sel(sigma_w2=w), SCALES[w]
        for name, known in zip(("xi_q", "xi_c"), scales, strict=True):
            where = f"sigma_w2 = {w:g}, {name} from late layers"
            claims.append(equal(where, row[name], known, 0.01 * known))
        width = ds.attrs["width"]
        mean, error = row.networks_length, row.networks_length_error
        claims.append(agrees(f"sigma_w2 = {w:g}, lengths", mean, error, row.length, 2 * row.length / width))
        row = row.sel(layer=row.gap > RESOLVED)
        mean, error, allowed = row.networks_gap, row.networks_gap_error, row.gap * (5 + row.layer) / width
        claims.append(agrees(f"sigma_w2 = {w:g}, correlations", mean, error, row.gap, allowed))
    return claims


CONTROLS = {
    "depth scales of a square root": Control(lambda ds: ds.assign(xi_c=2 * ds.xi_c), "xi_c from late layers"),
    "deviations for variances": Control(
        lambda ds: ds.assign(boundary_known=ds.boundary_known**0.5), "boundary"
    ),
}
