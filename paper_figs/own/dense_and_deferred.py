r"""Dense and deferred weights: networks of one law, at the cost of d² and of d random numbers a layer.

A random network looks at a Gaussian matrix only along the states that pass through it and the gradients that
come back. Deferred weights are drawn along these directions alone, given what has been seen before, so that
all that is observed has exactly the law of dense weights. Panels a and b compare both (res-3, one input): how
the share of networks below a value differs, which stays in the band with probability 99.9 % if the laws are
equal; and states beside gradients, with ellipses of two standard deviations. Panels c and d show what a
network and a layer cost, forward and back: for k inputs a deferred layer draws 4 k d numbers and a dense one
2 d², whatever k. Dashed lines have the slopes 2 and 1.

Times (variable `seconds`) are those of the machine that made the figure: one thread, float32, the best of
three runs. They differ from run to run, and no claim is about them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from experiments.own import dense_and_deferred as experiment
from experiments.own.dense_and_deferred import METHODS, RATIOS, Comparison, look
from experiments.wide import fitted_slope
from paper_figs._panels import key, panel_legend
from paper_figs._style import (
    BLUE,
    GREEN,
    PURPLE,
    THEORY,
    VERMILLION,
    house_style,
    log_scale,
    new_figure,
    panel_title,
)
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_least, at_most, equal
from resnet_sde.estimate import LEVEL
from resnet_sde.finite_width import homogeneous_moments

PANELS = 4
BUDGETS, compute = experiment.BUDGETS, experiment.compute
COLOURS = {"dense": VERMILLION, "deferred": BLUE}
SYMBOLS = dict(
    zip(
        RATIOS,
        (
            r"$\Vert h_L - h_0\Vert / \Vert h_0\Vert$",
            r"$\Vert h_L\Vert / \Vert h_0\Vert$",
            r"$\Vert p_0 - p_L\Vert / \Vert p_L\Vert$",
            r"$\Vert p_0\Vert / \Vert p_L\Vert$",
        ),
        strict=True,
    )
)
DISPLACEMENTS, GROWTHS = RATIOS[::2], RATIOS[1::2]  # of states and of gradients
SQUARE = 2 * math.log(10)  # from log₁₀ of a ratio to the natural logarithm of its square
POWERS = {"dense": 2, "deferred": 1}  # of the width, at large widths
SHOWN = 1000  # networks of panel b
GRID = (-0.8, 1.8, 400)  # of panel a
FALSE_ALARM = 1e-3  # of all claims on laws together, shared out evenly


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Laws above, costs below."""
    with house_style():
        fig = new_figure(5.6)
        axes = fig.subplots(2, 2)
        titles = (
            "each by itself",
            "both together",
            "time of a network",
            "random numbers of a layer",
        )
        for letter, ax, title, panel in zip(
            "abcd", axes.flat, titles, (_shares, _together, _times, _counts), strict=True
        ):
            panel_title(ax, letter, title)
            panel(ax, ds)
        points = {"marker": "o", "markersize": 4, "linestyle": "none"}
        key(
            fig,
            {
                **{name: Line2D([], [], color=colour, **points) for name, colour in COLOURS.items()},
                "theory": Line2D([], [], **THEORY),
            },
        )
    return fig


def _shares(ax: Axes, ds: xr.Dataset) -> None:
    """Difference of the two empirical distribution functions, and the band of Kolmogorov and Smirnov."""
    half = stats.kstwobign.ppf(LEVEL) * math.sqrt(2 / ds.sizes["network"])
    at = np.linspace(*GRID)
    ax.axhspan(-half, half, color="#E8E8E8", linewidth=0)
    ax.axhline(0.0, **THEORY)
    for name, colour, dashes, word in zip(
        GROWTHS, (GREEN, PURPLE), ("solid", (0, (4, 1.5))), ("states", "gradients"), strict=True
    ):
        dense, deferred = (
            np.searchsorted(np.sort(SQUARE * ds.ratio.sel(weights=method, of=name)), at) / ds.sizes["network"]
            for method in METHODS
        )
        label = f"{word}, p = {_p_value(ds, name):.2f}"
        ax.plot(at, deferred - dense, color=colour, linestyle=dashes, linewidth=1.2, label=label)
    ax.set(
        xlabel="log of squared growth", ylabel="share below, deferred − dense", ylim=(-1.6 * half, 1.6 * half)
    )
    panel_legend(ax, loc="upper left")


def _together(ax: Axes, ds: xr.Dataset) -> None:
    """Some networks, and the ellipses of two standard deviations of all of them."""
    circle = np.stack([np.cos(turn := np.linspace(0, 2 * np.pi, 201)), np.sin(turn)])
    for method, colour in COLOURS.items():
        both = SQUARE * ds.ratio.sel(weights=method, of=list(GROWTHS)).to_numpy().astype(float)
        ax.plot(*both[:, :SHOWN], color=colour, marker=".", markersize=1.5, linestyle="none", alpha=0.5)
        ellipse = both.mean(1)[:, None] + 2 * np.linalg.cholesky(np.cov(both)) @ circle
        dashes = "solid" if method == "dense" else (0, (4, 2))
        ax.plot(
            *ellipse,
            color=colour,
            linestyle=dashes,
            linewidth=1.4,
            label=f"{method}, r = {np.corrcoef(both)[0, 1]:.3f}",
        )
    ax.set(xlabel=f"log of squared {SYMBOLS[GROWTHS[0]]}", ylabel=f"log of squared {SYMBOLS[GROWTHS[1]]}")
    panel_legend(ax, loc="upper left")


def _times(ax: Axes, ds: xr.Dataset) -> None:
    for method, power in POWERS.items():
        seconds = ds.seconds.sel(weights=method)
        last, colour = seconds.isel(width=slice(-2, None)), COLOURS[method]
        slope = fitted_slope(np.log(last.width), np.log(last))
        ax.plot(
            ds.width,
            1e3 * seconds,
            color=colour,
            marker="o",
            markersize=4,
            linestyle="none",
            label=f"{method}, last slope {slope:.2f}",
        )
        guide = 1e3 * float(seconds[-1]) * (ds.width / float(ds.width[-1])) ** power
        ax.plot(ds.width, guide, color=colour, linewidth=0.8, linestyle=(0, (4, 2)))
    _widths(ax, ds)
    ax.set_ylabel(f"milliseconds, L = {ds.attrs['depth']}")
    panel_legend(ax, loc="upper left")


def _counts(ax: Axes, ds: xr.Dataset) -> None:
    for method, colour in COLOURS.items():
        for marker, inputs in zip("os^", ds.inputs.values.tolist(), strict=False):
            if method == "dense" and inputs > 1:
                continue
            label = "dense" if method == "dense" else f"deferred, {inputs} input{'s' * (inputs > 1)}"
            found = ds.numbers.sel(weights=method, inputs=inputs)
            ax.plot(ds.width, drawn_by(method, ds.width, inputs), **THEORY)
            ax.plot(ds.width, found, color=colour, marker=marker, markersize=4, linestyle="none", label=label)
    _widths(ax, ds)
    ax.set_ylabel("numbers")
    panel_legend(ax, loc="upper left")


def _widths(ax: Axes, ds: xr.Dataset) -> None:
    log_scale(ax, "xy")
    widths = ds.width.values.tolist()
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.xaxis.minorticks_off()
    ax.set_xlabel("width $d$")


# The claims


def drawn_by(method: str, width: xr.DataArray, inputs: xr.DataArray | int) -> xr.DataArray:
    """Random numbers of a layer of two matrices, forward and back."""
    return 2 * width**2 + 0 * inputs if method == "dense" else 4 * width * inputs


def check(ds: xr.Dataset) -> list[Claim]:
    """Laws of both methods next to each other and to exact means; counts."""
    tests = list(_scores(ds))
    share = FALSE_ALARM / (len(tests) + len(RATIOS))
    furthest = float(stats.norm.isf(share / 2))
    claims = [at_most(f"{name}, |z|", abs(z), furthest) for name, z in tests]
    for name in RATIOS:
        p = _p_value(ds, name)
        claims.append(at_least(f"{name}, p-value of the Kolmogorov-Smirnov test", p, share))
    rounding = ds.attrs["depth"] * float(np.finfo(np.float32).eps)
    for method in METHODS:
        moved = float(ds.moved_product.sel(weights=method))
        claims.append(at_most(f"{method}, largest |⟨p_0, h_0⟩ − ⟨p_L, h_L⟩|", moved, rounding))
        off = abs(ds.numbers.sel(weights=method) - drawn_by(method, ds.width, ds.inputs)).max()
        claims.append(equal(f"{method}, random numbers less what they should be", off, 0))
    return claims


def _p_value(ds: xr.Dataset, name: str) -> float:
    return float(stats.ks_2samp(*(ds.ratio.sel(weights=method, of=name) for method in METHODS)).pvalue)


def _scores(ds: xr.Dataset) -> Iterator[tuple[str, float]]:
    """Differences of both methods, and of each to what is exact, in standard errors."""
    logs = {method: SQUARE * ds.ratio.sel(weights=method).astype(float) for method in METHODS}
    for name in RATIOS:
        values = [logs[method].sel(of=name).to_numpy() for method in METHODS]
        yield f"{name}, difference of means", _z(*values)
        yield f"{name}, difference of variances", _z(*((x - x.mean()) ** 2 for x in values))
    pairs = [[logs[method].sel(of=name).to_numpy() for name in DISPLACEMENTS] for method in METHODS]
    # Twice as sensitive to the variance of the weights as each alone.
    yield "displacement of states and of gradients, difference of means", _z(*(x + y for x, y in pairs))
    for what, names in (("displacements", DISPLACEMENTS), ("growths", GROWTHS)):
        both = [[logs[method].sel(of=name).to_numpy() for name in names] for method in METHODS]
        yield f"correlation of {what}, difference", _z(*(_influence(*pair) for pair in both))
    settings = Comparison(int(ds.attrs["network_width"]), int(ds.attrs["depth"]), 0, ())
    exact = homogeneous_moments(settings.model(), settings.depth).mean_square_displacement
    for method in METHODS:
        for name in DISPLACEMENTS:
            square = np.exp(logs[method].sel(of=name).to_numpy())
            error = square.std(ddof=1) / math.sqrt(square.size)
            yield f"{method}, {name}, mean square less the exact one", (square.mean() - exact) / error


def _z(first: np.ndarray, second: np.ndarray) -> float:
    """Difference of means over its standard error."""
    error = math.sqrt(first.var(ddof=1) / first.size + second.var(ddof=1) / second.size)
    return float((second.mean() - first.mean()) / error)


def _influence(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values whose mean is the correlation and whose variance is that of its error, times their number."""
    u, v = ((z - z.mean()) / z.std() for z in (x, y))
    r = (u * v).mean()
    return r + u * v - r * (u**2 + v**2) / 2


def _of_three_percent_more_variance(ds: xr.Dataset) -> xr.Dataset:
    settings, seed = BUDGETS[ds.attrs["budget"]], int(ds.attrs["seed"])
    model = replace(settings.model(), gain=1.03**0.5)
    ratio, _ = look(model, settings.depth, settings.samples, "deferred", seed)
    ds.ratio.loc[{"weights": "deferred"}] = ratio
    return ds


def _like_states(ds: xr.Dataset) -> xr.Dataset:
    states = ds.ratio.sel(weights="deferred", of="log10_growth")
    ds.ratio.loc[{"weights": "deferred", "of": "log10_gradient_growth"}] = states
    return ds


def _decaying(ds: xr.Dataset) -> xr.Dataset:
    ds.ratio.loc[{"weights": "deferred", "of": "log10_gradient_growth"}] *= -1
    return ds


CONTROLS = {
    "3 % too much variance": Control(
        _of_three_percent_more_variance, "displacement of states and of gradients"
    ),
    "gradients that follow states": Control(_like_states, "correlation of growths"),
    "gradients that decay": Control(_decaying, "log10_gradient_growth, p-value"),
    "random numbers of the order of the width squared": Control(
        lambda ds: ds.assign(numbers=ds.numbers.sel(weights="dense") + 0 * ds.numbers),
        "deferred, random numbers",
    ),
}
