"""Gradients of weights vanish in ordered and explode in chaotic networks, at the depth scale of the theory.

After Schoenholz et al. (2017), figure 4; feed-forward tanh networks whose top gradient is random. Lines are
infinite width, or the typical network of the width at hand; points are random networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.schoenholz import gradients as experiment
from experiments.schoenholz.gradients import CRITICAL
from paper_figs._claims import Z, agrees
from paper_figs._panels import DASHED, LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_least, at_most, equal

PANELS = 3
BUDGETS, compute = experiment.BUDGETS, experiment.compute
SHOWN = (1.0, 1.5, CRITICAL, 2.0, 2.5, 4.0)  # σ_w² of the first panel
SLOPE_TOLERANCE = 0.02  # around log χ_1, from which typical networks of width 300 are up to 0.011 away
KNOWN = {
    1.0: -0.2757,
    1.3: -0.1276,
    1.5: -0.0633,
    2.0: 0.0466,
    2.5: 0.1253,
    3.0: 0.1897,
    4.0: 0.2945,
}  # log χ_1


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Gradients of weights by layer, their depth scale, and the covariance of those of two inputs."""
    with house_style():
        fig = new_figure(3.1)
        left, middle, right = fig.subplots(1, 3)
        panel_title(left, "a", r"$\log_{10} \Vert\nabla_{\!W^l}\Vert^2$, top layer 0")
        _profiles(left, ds)
        panel_title(middle, "b", r"depth scale $|\xi_\nabla|$, layers")
        _scales(middle, ds)
        panel_title(right, "c", rf"two inputs, $\sigma_w^2 = {ds.attrs['pair_w2']:g}$")
        _covariance(right, ds)
        width = ds.attrs["width"]
        entries = {"infinite width": LINE, f"typical network of width {width}": DASHED}
        key(fig, entries | {f"{ds.attrs['samples']} networks of this width, 95 %": NETWORKS})
    return fig


def _profiles(ax: Axes, ds: xr.Dataset) -> None:
    shown = [w for w in ds.sigma_w2.values.tolist() if w in SHOWN]
    top, depth = ds.sizes["layer"] - 1, ds.sizes["layer"]
    for w, colour in zip(shown, graded(len(shown)), strict=True):
        row = ds.sel(sigma_w2=w)
        theory = row.gradient_theory / math.log(10)
        ax.plot(row.layer, theory - theory[top], color=colour, linewidth=1.1, label=f"{w:.3g}")
        typical = theory - row.log_variance * (top - row.layer) / 2 / math.log(10)
        ax.plot(row.layer, typical - theory[top], color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
        few = row.isel(layer=slice(depth // 12, None, max(1, depth // 8)))
        mean, error = few.gradient / math.log(10) - theory[top], few.gradient_error / math.log(10)
        points(ax, few.layer, mean, error, colour)
    ax.set(xlabel="layer $l$", xlim=(0, depth))
    panel_legend(ax, r"$\sigma_w^2$", loc="upper right", ncols=2, columnspacing=0.8)


def _scales(ax: Axes, ds: xr.Dataset) -> None:
    colour = graded(2)[0]
    ax.plot(ds.line_w2, 1 / abs(ds.line_log_chi_1), color=colour, linewidth=1.1)
    typical = abs(ds.line_log_chi_1 - ds.line_log_variance / 2)
    ax.plot(ds.line_w2, 1 / typical, color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
    mean = abs(ds.slope.mean("sample"))
    error = ds.slope.std("sample", ddof=1) / ds.sizes["sample"] ** 0.5
    points(ax, ds.sigma_w2, 1 / mean, error / mean**2, colour)
    log_scale(ax, "y")
    ax.set(xlabel=r"$\sigma_w^2$", xlim=(0.5, 4.1), ylim=(1, 1000))
    ax.text(1.0, 1.4, "vanishing", fontsize=7)
    ax.text(2.75, 1.4, "exploding", fontsize=7)


def _covariance(ax: Axes, ds: xr.Dataset) -> None:
    names = {"square": r"$\langle\delta_1, \delta_1\rangle \sim \chi_1^k$"}
    names |= {"covariance": r"$\langle\delta_1, \delta_2\rangle \sim \chi_c^k$"}
    for (name, label), colour in zip(names.items(), graded(3), strict=False):
        ax.plot(ds.crossed, ds[f"{name}_theory"], color=colour, linewidth=1.1, label=label)
        points(ax, ds.crossed, ds[name], ds[f"{name}_error"], colour)
    log_scale(ax, "y")
    ax.set(xlabel="layers crossed $k$", ylim=(0.35, 5), yticks=[0.5, 1, 2], yticklabels=["0.5", "1", "2"])
    panel_legend(ax, loc="upper left")


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Slopes next to theory, their sign, and the covariance of gradients."""
    claims = [
        c for w in ds.sigma_w2.values.tolist() for c in _check(w, ds.sel(sigma_w2=w), ds.attrs["width"])
    ]
    mean = ds.slope.mean("sample")
    claims.append(at_most("sigma_w2 = 1.5, slope", mean.sel(sigma_w2=1.5), -1e-3))
    claims.append(at_least("sigma_w2 = 2, slope", mean.sel(sigma_w2=2.0), 1e-3))
    for name in ("covariance", "square"):
        mean, error, theory = (ds[f"{name}{end}"] for end in ("", "_error", "_theory"))
        allowed = 5 * ds.crossed / ds.attrs["width"]
        # At the top both are 1, exactly.
        at = slice(1, None)
        claims.append(agrees(f"{name} of gradients", mean[at], error[at], theory[at], allowed[at]))
    return claims


def _check(w: float, row: xr.Dataset, width: int) -> Iterator[Claim]:
    log_chi, mean, error = float(row.log_chi_1), float(row.slope.mean()), float(row.slope.std(ddof=1))
    typical = log_chi - float(row.log_variance) / 2
    name = f"sigma_w2 = {w:.4g}"
    if w in KNOWN:
        yield equal(f"{name}, log chi_1", log_chi, KNOWN[w], 6e-5)
    yield equal(f"{name}, mean slope next to log chi_1", mean, log_chi, SLOPE_TOLERANCE)
    crossed = row.sizes["layer"] - 1 - row.layer
    theory = row.gradient_theory - row.log_variance * crossed / 2
    allowed = (10 + crossed / 2) / width
    yield agrees(f"{name}, log of gradients", row.gradient, row.gradient_error, theory, allowed)
    tolerance = Z * error / row.sizes["sample"] ** 0.5 + 1 / width / 2
    yield equal(f"{name}, mean slope next to that of a typical network", mean, typical, tolerance)


CONTROLS = {
    "slopes counted upwards": Control(lambda ds: ds.assign(slope=-ds.slope), "mean slope"),
    "another width": Control(
        lambda ds: ds.assign(gradient=ds.gradient + np.log(ds.attrs["width"])), "log of gradients"
    ),
    "gradients that stay together": Control(
        lambda ds: ds.assign(covariance_theory=ds.square_theory), "covariance of gradients"
    ),
}
