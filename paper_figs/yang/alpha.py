"""Powers of the ReLU between a saturating and a linear activation: everything is a power of depth.

After Yang & Schoenholz (2017); φ(x) = x^α for x > 0 with 1/2 < α ≤ 1 between two matrices. The power with
which cosines tend to their fixed point shows at no depth in reach; it stands for a rate in log p, which does
show.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.yang import alpha as experiment
from experiments.yang.alpha import COSINES, GROWN, OF, SHOWN
from experiments.yang.residuals import log_of_mean
from paper_figs._claims import agrees, tabulated
from paper_figs._panels import DASHED, LINE, NETWORKS, graded, key, note, panel_legend, points
from paper_figs._style import (
    BLACK,
    BLUE,
    ORANGE,
    PURPLE,
    VERMILLION,
    house_style,
    log_scale,
    new_figure,
    panel_title,
)
from paper_figs.controls import Control
from resnet_sde.claims import Claim, equal

PANELS = 4
BUDGETS, compute = experiment.BUDGETS, experiment.compute
KNOWN = {  # by α, in the order of OF; the slope of the kernel is 1 − μ (1 − α)
    0.51: (0.02789236738673293, 0.2430457935238136, 26.540816326530614, 25.5),
    0.55: (0.022088368919271902, 0.2235344398892577, 6.722222222222222, 5.5),
    0.60: (0.015979601851330728, 0.19902155972455712, 4.5, 3.0),
    0.75: (0.0042771919510941675, 0.12481786685553013, 4.5, 1.5),
    0.90: (0.0002702195664792774, 0.049994918980913135, 10.125, 1.125),
    0.95: (2.75948020873041e-05, 0.024999732321670517, 20.055555555555557, 1.0555555555555556),
    0.99: (8.237447096456795e-08, 0.004999999836239383, 100.01020408163265, 1.010204081632653),
}
KNOWN_EXPONENTS = (2.4995, 3.9999, 10.001)  # of their lengths at layer 100,000
KNOWN_RATE = 0.0312  # at α = 0.75


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Kernels, exponents, lengths and the flow of cosines."""
    with house_style():
        fig = new_figure(5.4)
        (first, second), (third, fourth) = fig.subplots(2, 2)
        panel_title(first, "a", r"$J_\alpha(c) = E\,\varphi\varphi\,/\,E\,\varphi^2$ at correlation $c$")
        _kernels(first, ds)
        panel_title(second, "b", r"constants by $\alpha$")
        _constants(second, ds)
        panel_title(third, "c", r"mean square $p^l$")
        _lengths(third, ds)
        panel_title(fourth, "d", r"$|e - e^*|$ where $\mathrm{d}e/\mathrm{d}\ln p = J_\alpha(e) - e$")
        _flows(fourth, ds.sel(grown=0.75))
        many, width = ds.attrs["samples"], ds.attrs["width"]
        law = r"law in $l$; rate $1 - J_\alpha'(e^*)$"
        key(fig, {"infinite width": LINE, law: DASHED, f"{many} networks of width {width}, 95 %": NETWORKS})
    return fig


def _kernels(ax: Axes, ds: xr.Dataset) -> None:
    inner = ax.inset_axes((0.62, 0.1, 0.36, 0.32))
    for alpha, colour in zip(SHOWN, graded(len(SHOWN)), strict=True):
        lost = ds.kernel.sel(shown=alpha)
        ax.plot(1 - ds.gap, 1 - lost, color=colour, linewidth=1.1, label=f"{alpha:g}")
        inner.plot(ds.gap, (ds.gap - lost) / ds.gap, color=colour, linewidth=1.0)
    ax.plot([-1, 1], [-1, 1], color="0.5", linewidth=0.8)
    inner.axhline(0, color="0.5", linewidth=0.8)
    log_scale(inner, "x")
    inner.set(xlim=(1e-5, 0.5), ylim=(-0.2, 0.4), xticks=[1e-4, 1e-2])
    inner.tick_params(labelsize=6)
    inner.set_title(r"$(J_\alpha - c)/(1 - c)$ by $1 - c$", fontsize=6.5, pad=3)
    ax.set(xlabel="correlation $c$", xlim=(-1, 1), ylim=(-0.6, 1), xticks=[-1, -0.5, 0, 0.5, 1])
    panel_legend(ax, r"$\alpha$", loc="upper left")


def _constants(ax: Axes, ds: xr.Dataset) -> None:
    labels = (
        (r"$1 - e^*$", BLUE, 0.73, 3e-4),
        (r"$\mu$", VERMILLION, 0.62, 0.3),
        ("$R$", PURPLE, 0.62, 7),
        (r"$\alpha/(2\alpha - 1)$", ORANGE, 0.85, 0.22),
    )
    for of, (text, colour, x, y) in zip(OF, labels, strict=True):
        ax.plot(ds.alpha, ds.constant.sel(of=of), color=colour, linewidth=1.3)
        ax.text(x, y, text, color=colour, fontsize=8)
    log_scale(ax, "y")
    ax.set(xlabel=r"$\alpha$", xlim=(0.5, 1), ylim=(1e-8, 1e3))


def _lengths(ax: Axes, ds: xr.Dataset) -> None:
    layer = ds.layer[1:]
    for alpha, colour in zip(GROWN, graded(len(GROWN)), strict=True):
        row = ds.sel(grown=alpha)
        ax.plot(layer, row.log_p[1:] / np.log(10), color=colour, linewidth=1.3, label=f"{alpha:g}")
        law = row.log_p_law[1:] / np.log(10)
        ax.plot(layer, law, color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
        few = np.unique(np.geomspace(1, ds.sizes["few_layer"] - 1, 7).astype(int))
        mean, error = log_of_mean(row.log_p_seen.isel(few_layer=few))
        points(ax, few, mean / np.log(10), error / np.log(10), colour)
    log_scale(ax, "x")
    ax.set(xlabel="layer $l$", ylabel=r"$\log_{10} p^l$", xlim=(1, float(layer[-1])), ylim=(0, None))
    panel_legend(ax, r"$\alpha$", loc="upper left")


def _flows(ax: Axes, row: xr.Dataset) -> None:
    log_p, limit = row.fold / row.rate, float(row.fixed_gap)
    for cosine, colour in zip(COSINES, graded(len(COSINES)), strict=True):
        away = abs(row.flow.sel(cosine=cosine) - limit)
        ax.plot(log_p, away, color=colour, linewidth=1.3, label=f"{cosine:g}")
        law = float(away[-1]) * np.exp(row.fold[-1] - row.fold)
        ax.plot(log_p, law, color=BLACK, linewidth=0.8, linestyle=(0, (4, 2)))
    log_scale(ax, "y")
    ax.set(xlabel=r"$\ln p$", xlim=(0, float(log_p[-1])), ylim=(1e-7, 1.5))
    panel_legend(ax, r"$e$ at first", loc="upper right")
    note(ax, 0.06, 0.07, r"$\alpha = 0.75$")


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Fixed points, constants, exponents and rates; networks next to theory."""
    claims = [
        tabulated(f"alpha = {alpha:g}, constants", ds.constant.sel(alpha=alpha), known, 1e-8)
        for alpha, known in KNOWN.items()
    ]
    for alpha in SHOWN[:-1]:
        # Below 1 the curve crosses the diagonal once: at e*.
        above = ds.gap - ds.kernel.sel(shown=alpha)
        k = int(np.argmax(above.values > 0))
        share = float(above[k] / (above[k] - above[k - 1]))
        crossing = float(ds.gap[k]) - share * float(ds.gap[k] - ds.gap[k - 1])
        expected = float(ds.constant.sel(alpha=alpha, of="one_minus_e_star"))
        claims.append(tabulated(f"alpha = {alpha:g}, where J crosses the diagonal", crossing, expected, 2e-3))
    exponent = ds.constant.sel(of="gradient_exponent")
    claims.append(equal("least R", exponent.min(), 4, 1e-12))
    claims.append(equal("least R, at alpha", ds.alpha[int(np.argmin(exponent.values))], 2 / 3, 1e-12))
    last = int(ds.layer[-1])
    for alpha, known in zip(GROWN, KNOWN_EXPONENTS, strict=True):
        row = ds.sel(grown=alpha)
        ends = row.log_p.sel(layer=[last // 2, last])
        found = float(ends.diff("layer").item() / np.log(2))
        claims.append(equal(f"alpha = {alpha:g}, exponent of p", found, known, 0.002))
        mean, error = log_of_mean(row.log_p_seen)
        theory = row.log_p[: len(mean)].values
        allowed = 10 / ds.attrs["width"]
        claims.append(agrees(f"alpha = {alpha:g}, log p", mean[1:], error[1:], theory[1:], allowed))
        away = np.log(np.abs(row.flow.values - float(row.fixed_gap)))
        fifth = len(away) // 5
        fitted = (away[-1 - fifth] - away[-1]) / float(ds.fold[-1] - ds.fold[-1 - fifth])
        for cosine, value in zip(COSINES, fitted.tolist(), strict=True):
            label = f"alpha = {alpha:g}, rate of cosines from {cosine:g}, over 1 - J'"
            claims.append(equal(label, value, 1, 0.01))
    rate = float(ds.rate.sel(grown=0.75))
    claims.append(equal("alpha = 0.75, 1 - J'", rate, KNOWN_RATE, 0.01 * KNOWN_RATE))
    return claims


CONTROLS = {
    "lengths with the exponent 1/(1 - alpha) + 1/10": Control(
        lambda ds: ds.assign(log_p=ds.log_p + 0.1 * np.log(ds.layer.clip(1))), "exponent of p"
    ),
    "a kernel 0.1 % off": Control(lambda ds: ds.assign(kernel=ds.kernel * 1.001), "crosses the diagonal"),
}
