"""Dropout takes the critical point away: correlations and their depth scale in tanh networks.

After Schoenholz et al. (2017), figure 3; masks are independent between inputs and layers. Lines are infinite
width, points are random networks.
"""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.schoenholz import dropout as experiment
from experiments.schoenholz.dropout import KEEP_RATES
from paper_figs._claims import agrees, tabulated
from paper_figs._panels import LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import BLACK, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.schoenholz._known import TABLE, TABLE_WEIGHTS
from resnet_sde.claims import Claim, at_most, between, equal

PANELS = 2
BUDGETS, compute = experiment.BUDGETS, experiment.compute
PEAKS = {0.99: 14.49483, 0.98: 10.52602, 0.95: 6.79702, 0.9: 4.67635, 0.8: 2.94409}  # of ξ_c


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """What correlations tend to on the left, their depth scale on the right."""
    colours = dict(zip(KEEP_RATES, graded(len(KEEP_RATES)), strict=True))
    with house_style():
        fig = new_figure(3.2)
        left, right = fig.subplots(1, 2)
        panel_title(left, "a", r"correlation in deep layers, $c^*$")
        panel_title(right, "b", r"depth scale of correlations, $\xi_c$")
        for ax, name in ((left, "c_star"), (right, "xi_c")):
            for rate, colour in colours.items():
                ax.plot(ds.sigma_w2, ds[name].sel(keep_rate=rate), color=colour, label=f"{rate:g}")
            ax.set(xlabel=r"$\sigma_w^2$", xlim=(0, 4.05))
        for rate in ds.networks_rate.values.tolist():
            cell = ds.networks.sel(networks_rate=rate)
            points(left, cell.networks_w2, cell.sel(of="mean"), cell.sel(of="error"), colours[rate])
        left.set(ylim=(0, 1.05), ylabel="$c^*$")
        log_scale(right, "y")
        right.set(ylim=(0.5, 200), ylabel="layers")
        right.axvline(ds.attrs["critical"], color=BLACK, linewidth=0.8, linestyle=(0, (1, 1.5)))
        right.annotate("critical without\ndropout", (ds.attrs["critical"], 130), (5, 0), fontsize=7, **BESIDE)
        _peaks(right, ds, colours)
        panel_legend(left, "keep rate", loc="upper right")
        shape = rf"$\sigma_b^2 = {ds.attrs['sigma_b2']:g}$"
        many = f"{ds.attrs['samples']} networks of width {ds.attrs['width']}, layer {ds.attrs['depth']}"
        highest = Line2D([], [], color=BLACK, **PEAK)
        key(fig, {f"infinite width, {shape}": LINE, f"{many}, 95 %": NETWORKS, r"largest $\xi_c$": highest})
    return fig


PEAK = {"marker": "v", "markersize": 4, "linestyle": "none"}
BESIDE = {"textcoords": "offset points", "va": "center"}


def _peaks(ax: Axes, ds: xr.Dataset, colours: dict[float, str]) -> None:
    for rate in ds.peak_rate.values.tolist():
        at, height = ds.peak.sel(peak_rate=rate).values
        ax.plot([at], [height], color=colours[rate], **PEAK)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Lines next to known values, no plateau and no divergence with dropout, networks next to theory."""
    claims = []
    for rate, known in TABLE.items():
        line = ds.sel(keep_rate=rate)
        at = line.sel(sigma_w2=list(TABLE_WEIGHTS))
        digits = {"c_star": 5e-6 / min(known[0]), "xi_c": 1e-4}
        for name, values in zip(("c_star", "xi_c"), known, strict=True):
            claims.append(tabulated(f"keep rate {rate:g}, {name}", at[name], values, digits[name]))
        if rate == 1:
            continue
        step = float(line.c_star.diff("sigma_w2").max())
        claims.append(at_most(f"keep rate {rate:g}, largest step of c*", step, -1e-7))
        peak = float(ds.peak.sel(peak_rate=rate, of_peak="xi_c"))
        claims.append(equal(f"keep rate {rate:g}, peak of xi_c", peak, PEAKS[rate], 1e-5 * peak))
        above = float(line.xi_c.max() / peak)
        claims.append(between(f"keep rate {rate:g}, largest xi_c over its peak", above, 0.999, 1 + 1e-9))
    mean, error, theory = (ds.networks.sel(of=of) for of in ("mean", "error", "theory"))
    claims.append(agrees("correlations", mean, error, theory, 5 / ds.attrs["width"]))
    return claims


def _shared_masks(ds: xr.Dataset) -> xr.Dataset:
    """Inputs never part: order without dropout."""
    ds.networks.loc[{"of": "mean", "networks_w2": 1.0}] = 1.0
    return ds


CONTROLS = {"masks that inputs share": Control(_shared_masks, "correlations, networks")}
