"""Dropout takes the critical point away: correlations and their depth scale in tanh networks.

After Schoenholz et al. (2017), figure 3; masks are independent between inputs and layers. Lines are infinite
width, points are random networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import resnet_sde as rs
from experiments.wide import dataset, feed_forward, float64, inputs, mean_and_error
from paper_figs._claims import agrees, tabulated
from paper_figs._panels import LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import BLACK, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.schoenholz._known import TABLE, TABLE_WEIGHTS
from resnet_sde import propagate
from resnet_sde._random import stream
from resnet_sde.claims import Claim, at_most, between, equal
from resnet_sde.matrices import Deferred
from resnet_sde.meanfield import gaps
from resnet_sde.meanfield.critical import critical_line, dropout_peak
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import cosine


@dataclass(frozen=True)
class Dropout:
    """Networks whose inputs start orthogonal, with mean square q*; their last correlation is looked at."""

    keep_rates: tuple[float, ...]
    sigma_w2: tuple[float, ...]
    width: int
    samples: int
    sigma_b2: float = 0.05
    depth: int = 60


BUDGETS = {
    "smoke": Dropout((0.9,), (1.0, 2.0), width=200, samples=100, depth=20),
    "paper": Dropout((0.99, 0.98, 0.95, 0.9, 0.8), (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0), 500, 100),
}
KEEP_RATES = (1.0, 0.99, 0.98, 0.95, 0.9, 0.8)  # of the lines
WEIGHTS = np.round(np.arange(10, 401) / 100, 2)  # σ_w² of the lines
PEAKS = {0.99: 14.49483, 0.98: 10.52602, 0.95: 6.79702, 0.9: 4.67635, 0.8: 2.94409}  # of ξ_c


def compute(budget: str, seed: int) -> xr.Dataset:
    """Fixed points and depth scales, and correlations of networks."""
    settings = BUDGETS[budget]
    bias, rates = settings.sigma_b2, float64(KEEP_RATES)
    lines = fixed_points(rs.TANH, torch.from_numpy(WEIGHTS), bias, keep_rate=rates[:, None])
    peaks = [dropout_peak(rs.TANH, bias, keep_rate=rate) for rate in KEEP_RATES[1:]]
    networks = np.array(
        [[_last(settings, w, k, seed) for w in settings.sigma_w2] for k in settings.keep_rates]
    )
    variables = {
        "c_star": (("keep_rate", "sigma_w2"), lines.c_star),
        "xi_c": (("keep_rate", "sigma_w2"), lines.xi_c),
        "peak": (("peak_rate", "of_peak"), peaks),
        "networks": (("networks_rate", "networks_w2", "of"), networks),
    }
    axes = {
        "keep_rate": list(KEEP_RATES),
        "sigma_w2": WEIGHTS,
        "peak_rate": list(KEEP_RATES[1:]),
        "of_peak": ["sigma_w2", "xi_c"],
        "networks_rate": list(settings.keep_rates),
        "networks_w2": list(settings.sigma_w2),
        "of": ["mean", "error", "theory"],
    }
    ds = dataset(variables, axes, settings, budget, seed)
    critical = float(critical_line(rs.TANH, bias))
    of_networks = {"width": settings.width, "samples": settings.samples, "depth": settings.depth}
    return ds.assign_attrs(sigma_b2=bias, critical=critical, **of_networks)


def _last(settings: Dropout, w: float, rate: float, seed: int) -> tuple[float, float, float]:
    """Correlation of two inputs at the last layer: mean over networks, its error, and infinite width."""
    q = float(fixed_points(rs.TANH, w, settings.sigma_b2, keep_rate=rate).q_star)
    model = feed_forward(rs.TANH, w, settings.sigma_b2, settings.width)
    source = stream(seed, "dropout", model, settings.depth, settings.samples, rate)
    x = inputs(q, [1.0]).float().expand(settings.samples, 2, 2)
    h = Deferred(source, settings.width).matvec(x.contiguous(), 2**-0.5)
    layers = (rs.Layer.revealed(model.block.shapes(settings.width), source) for _ in range(settings.depth))
    dropout = propagate.Dropout(rate, source)
    t = rs.trajectory(model.block, h, layers, 1.0, model.skip, dropout=dropout, every_layer=False)
    mean, error = mean_and_error(cosine(t)[:, -1, 0, 1])
    theory = gaps(model, q, 1.0, depth=settings.depth, keep_rate=rate)[-1]
    return float(mean), float(error), 1 - float(theory)


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
