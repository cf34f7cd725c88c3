"""The correlation map of wide tanh networks, its iteration and its fixed point over the plane of variances.

After Poole et al. (2016), figure 2; lines are infinite width, points are random networks.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.schoenholz import poole_correlations as experiment
from experiments.schoenholz.poole import BIAS, WEIGHTS
from experiments.schoenholz.poole_correlations import LAYERS, STARTS
from paper_figs._claims import agrees, tabulated
from paper_figs._panels import LINE, NETWORKS, key, panel_legend, points
from paper_figs._style import BLACK, house_style, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.schoenholz._poole import COLOURS, DIAGONAL, heat_map
from resnet_sde.claims import Claim, equal

PANELS = 4
BUDGETS, compute = experiment.BUDGETS, experiment.compute
C_STAR = (1.0, 0.122103747306, 0.0296959215803)
CHI_1 = (0.939807428682, 1.58522476501, 2.36726103555)


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Map and iterates above, fixed point and slope at 1 below."""
    with house_style():
        fig = new_figure(5.6)
        (a, b), (c, d) = fig.subplots(2, 2)
        panel_title(a, "a", "correlation map at $q^*$")
        panel_title(b, "b", "correlations layer by layer")
        _map(a, ds)
        _iterates(b, ds)
        panel_title(c, "c", r"fixed point $c^*$; line: $\chi_1 = 1$")
        panel_title(d, "d", r"slope at $c = 1$, $\chi_1$; line: $\chi_1 = 1$")
        for ax, table in ((c, ds.grid_c_star), (d, ds.grid_chi_1)):
            heat_map(ax, table, WEIGHTS)
            for colour, linewidth in ((BLACK, 2.6), ("white", 1.2)):
                ax.plot(ds.boundary, ds.boundary_b, color=colour, linewidth=linewidth)
            ax.set(xlim=(0.95, 5.05), ylim=(-0.05, 4.05))
        many = f"{ds.attrs['samples']} networks of width {ds.attrs['width']}"
        key(fig, {rf"infinite width, $\sigma_b = {BIAS**0.5:g}$": LINE, f"mean of {many}, 95 %": NETWORKS})
    return fig


def _map(ax: Axes, ds: xr.Dataset) -> None:
    at = ds.c[::5]
    for w, colour in COLOURS.items():
        row = ds.sel(sigma_w2=w)
        ax.plot(row.c, row.mapped, color=colour, linewidth=1.1, label=f"{w**0.5:g}")
        points(ax, at, row.networks_mapped, row.networks_mapped_error, colour)
    ax.set(xlabel="$c^{l}$", ylabel="$c^{l+1}$", xlim=(0, 1.01), ylim=(0, 1.02))
    ax.plot([0, 1], [0, 1], label="$c^{l+1} = c^l$", **DIAGONAL)
    panel_legend(ax, r"$\sigma_w$", loc="upper left")


def _iterates(ax: Axes, ds: xr.Dataset) -> None:
    for w, colour in COLOURS.items():
        for start in STARTS:
            one = ds.sel(sigma_w2=w, start=start)
            ax.plot(one.layer, one.correlation, color=colour, linewidth=1.0)
            few = one.isel(layer=slice(None, None, 2))
            points(ax, few.layer, few.networks_correlation, few.networks_correlation_error, colour)
    ax.set(xlabel="layer $l$", ylabel="$c^l$", xlim=(-0.5, LAYERS + 0.5), ylim=(0, 1.02))


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Fixed points next to known values, networks next to infinite width, order where chi_1 <= 1 only."""
    claims = [tabulated("c*", ds.c_star, C_STAR, 1e-10), tabulated("chi_1", ds.chi_1, CHI_1, 1e-11)]
    ordered, together = ds.grid_chi_1 <= 1, ds.grid_c_star == 1
    settled = np.isfinite(ds.grid_c_star)  # not at σ_w = 1, σ_b = 0, where nothing settles
    wrong = int(((ordered != together) & settled).sum())
    claims.append(equal("cells in which c* = 1 and chi_1 <= 1 do not go together", wrong, 0))
    for w in WEIGHTS:
        row = ds.sel(sigma_w2=w)
        for name, theory in (("mapped", row.mapped[::5]), ("correlation", row.correlation)):
            mean, error = row[f"networks_{name}"], row[f"networks_{name}_error"]
            name = f"sigma_w2 = {w:g}, {name}"
            # Where c = 1 networks have no error and no distance but rounding.
            claims.append(agrees(name, mean, error, theory, 5 / ds.attrs["width"]))
    return claims


CONTROLS = {
    "correlations of the other sign": Control(
        lambda ds: ds.assign(networks_correlation=-ds.networks_correlation), "correlation, networks"
    ),
}
