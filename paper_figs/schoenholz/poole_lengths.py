"""The length map of wide tanh networks, its iteration and its fixed point over the plane of variances.

After Poole et al. (2016), figure 1; lines are infinite width, points are random networks.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from experiments.schoenholz import poole_lengths as experiment
from experiments.schoenholz.poole import BIAS, WEIGHTS
from experiments.schoenholz.poole_lengths import CLOSE, LAYERS, LONGEST, STARTS
from paper_figs._claims import agrees, tabulated
from paper_figs._panels import LINE, NETWORKS, key, panel_legend, points
from paper_figs._style import house_style, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.schoenholz._poole import COLOURS, DIAGONAL, heat_map
from resnet_sde.claims import Claim, between, equal

PANELS = 4
BUDGETS, compute = experiment.BUDGETS, experiment.compute
Q_STAR = (0.607046791909, 4.07912387528, 12.6041494978)
UNTIL_SETTLED = ((8, 7, 7, 7, 7), (6, 1, 3, 3, 4), (5, 3, 2, 1, 2))  # from STARTS


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Map and iterates above, fixed point and time to settle below."""
    with house_style():
        fig = new_figure(5.6)
        (a, b), (c, d) = fig.subplots(2, 2)
        panel_title(a, "a", "length map")
        panel_title(b, "b", "lengths layer by layer")
        _map(a, ds)
        _iterates(b, ds)
        panel_title(c, "c", "fixed point $q^*$")
        heat_map(c, ds.grid_q_star, WEIGHTS)
        panel_title(d, "d", rf"mean layers until within {100 * CLOSE:g} % of $q^*$")
        bar = heat_map(d, ds.grid_settled, WEIGHTS, LogNorm())
        bar.set_ticks([2, 3, 5, 10, 20], labels=["2", "3", "5", "10", "20"], minor=False)
        bar.minorticks_off()
        many = f"{ds.attrs['samples']} networks of width {ds.attrs['width']}"
        key(fig, {rf"infinite width, $\sigma_b = {BIAS**0.5:g}$": LINE, f"mean of {many}, 95 %": NETWORKS})
    return fig


def _map(ax: Axes, ds: xr.Dataset) -> None:
    for w, colour in COLOURS.items():
        row = ds.sel(sigma_w2=w)
        ax.plot(row.q, row.mapped, color=colour, linewidth=1.1, label=f"{w**0.5:g}")
        points(ax, row.from_q, row.networks_mapped, row.networks_mapped_error, colour)
    ax.set(xlabel="$q^{l}$", ylabel="$q^{l+1}$", xlim=(0, 15.2), ylim=(0, 15))
    ax.plot([0, 15], [0, 15], label="$q^{l+1} = q^l$", **DIAGONAL)
    panel_legend(ax, r"$\sigma_w$", loc="upper right", bbox_to_anchor=(1.02, 0.70))


def _iterates(ax: Axes, ds: xr.Dataset) -> None:
    for w, colour in COLOURS.items():
        row = ds.sel(sigma_w2=w)
        for start in STARTS:
            one = row.sel(start=start)
            ax.plot(one.layer, one.length, color=colour, linewidth=1.0)
            points(ax, one.layer, one.networks_length, one.networks_length_error, colour)
        ax.annotate("$q^*$", (LAYERS, float(row.q_star)), (6, 0), color=colour, **BESIDE)
    ax.set(xlabel="layer $l$", ylabel="$q^l$", xlim=(-0.1, LAYERS + 0.6), ylim=(0, 15.5))


BESIDE = {"textcoords": "offset points", "va": "center", "fontsize": 8}

# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Fixed points and times to settle next to known values, networks next to infinite width."""
    claims = [tabulated("q*", ds.q_star, Q_STAR, 1e-10)]
    wrong = int((ds.settled != np.array(UNTIL_SETTLED)).sum())
    claims.append(equal("times to settle other than known", wrong, 0))
    slowest = float(ds.grid_settled.where(ds.grid_b > 0).max())
    claims.append(between("slowest time to settle, with a bias", slowest, 3, LONGEST))
    for w in WEIGHTS:
        row = ds.sel(sigma_w2=w)
        for name, theory in (("mapped", row.mapped_from), ("length", row.length)):
            mean, error = row[f"networks_{name}"], row[f"networks_{name}_error"]
            allowed = 3 * theory / ds.attrs["width"]
            claims.append(agrees(f"sigma_w2 = {w:g}, {name}", mean, error, theory, allowed))
    return claims


CONTROLS = {
    "no biases": Control(
        lambda ds: ds.assign(networks_length=ds.networks_length - ds.attrs["sigma_b2"]), "length, networks"
    ),
}
