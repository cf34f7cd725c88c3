r"""The published generator of fractional noise is not exact: what it gives, and what that does to Figure 7.

The generator that comes with the code of Marion et al. (2025) uses the largest eigenvalue of its circulant
where the last one belongs, sets one entry of the circulant to 0, and drops the imaginary roots that follow.
Its covariance is found here without sampling, by pushing unit vectors through the map. Near H = 1 the
increments have nearly twice their variance. The excess alternates in sign from layer to layer, and over an
even number of layers it cancels, so that paths of fractional Brownian motion look right.

Both generators colour the same white noise, so that the realisations and the networks differ by the defect
alone. The beta where the ratio of Figure 7 is 1 moves up at the right edge of the plane, by 0.05 at H = 0.97:
the alternating parts of the two matrices of a layer have a product that does not alternate. The boundary of
the states at infinite depth does not move. Lines are the mean field, points the mean of log10 over networks,
with 95 % intervals.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.interpolate import PchipInterpolator

from experiments.marion.plane import zero_level
from experiments.own.defective_noise import GENERATORS, QUANTITIES, Generators, eigenvalues, lags
from paper_figs._claims import Z
from paper_figs._panels import INTERVAL, graded, panel_legend, points
from paper_figs._planes import HURSTS_OF_LEVELS, INTERPOLATION, LEVELS, grid
from paper_figs._ratios import FORWARD, GRADIENT
from paper_figs._style import BLUE, VERMILLION, house_style, legend_below, new_figure, panel_title
from paper_figs.controls import Change, Control
from resnet_sde.claims import Claim, at_least, at_most, equal
from resnet_sde.fractional import autocovariance
from resnet_sde.runs.versions import current_versions

EXACT, PUBLISHED = GENERATORS
HURSTS = (0.05, 0.2, 0.35, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97)
SEEN = (0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97)
COLOURS = {EXACT: BLUE, PUBLISHED: VERMILLION}
STYLES = {
    EXACT: {"linestyle": "solid", "marker": "o"},
    PUBLISHED: {"linestyle": (0, (4, 1.5)), "marker": "s"},
}

# Known of the generator at 1000 layers: variance if only the eigenvalue at the last index were wrong.
SWAPPED = {0.05: 0.9990, 0.2: 0.9992, 0.5: 1.0000, 0.65: 1.0048, 0.8: 1.0503, 0.9: 1.226, 0.97: 1.641}
# Known of the whole of it: largest error of variance and covariance at lag 1, by depth and H.
ERRORS = {
    **{(64, 0.3): 0.01, (64, 0.75): 0.09, (64, 0.9): 0.41, (64, 0.97): 1.01},
    **{(200, 0.7): 0.03, (200, 0.9): 0.32, (200, 0.97): 0.94},
    **{(1000, 0.8): 0.05, (1000, 0.97): 0.85},
}
ROUNDING = 0.5 * (1 + 1e-9)  # of the last decimal
# Known of networks of width 40 and 1000 layers: what the defect adds to the mean of log10, by H and beta.
ADDED = {(0.8, 0.8): 0.019, (0.9, 0.9): 0.074, (0.97, 0.97): 0.159}
APART = 5.0  # weights of realisations that are drawn one below the other
CELL = 5  # networks in a cell of Figure 7
FLOAT32 = 1e-5  # rounding of log10 ratios of a thousand layers
EXACTLY = 1e-9  # rounding of sums of a million products
LEVEL_DISTANCE = 0.05  # of levels of networks to the mean field, at the width and depth of Figure 7
PANELS = 6
BUDGETS = {
    "smoke": Generators(
        (0.2, 0.5, 0.9, 0.97), (0.9, 0.97), grid(0.3, 1.1, 9), tuple(ERRORS)[:7], 12, 120, width=20, inputs=2
    ),
    "cpu": Generators(HURSTS, SEEN, grid(0.3, 1.1, 17), tuple(ERRORS), samples=40),
}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Maps, mean fields and networks."""
    settings = BUDGETS[budget]
    made = {"seed": seed, "budget": budget, "experiment": repr(settings)}
    return settings.run(seed=seed).assign_attrs(made, versions=json.dumps(current_versions()))


def level(ds: xr.Dataset) -> xr.DataArray:
    """The β where the ratio is 1 at infinite width; (generator, hurst, quantity)."""
    return zero_level(ds.log10_theory)


def level_of_networks(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """The same of the mean over networks; and of single networks, (..., sample)."""
    return zero_level(ds.log10_ratio.mean("sample")), zero_level(ds.log10_ratio)


def error_of(single: xr.DataArray) -> xr.DataArray:
    """Standard error of the mean over networks."""
    return single.std("sample", ddof=1) / single.sizes["sample"] ** 0.5


def added(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """What the defect adds to log10 of ratios: at infinite width, and in each network."""
    theory, networks = (
        of.sel(generator=PUBLISHED) - of.sel(generator=EXACT) for of in (ds.log10_theory, ds.log10_ratio)
    )
    return theory, networks


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """The noise above, networks below."""
    with house_style():
        fig = new_figure(4.9)
        axes = fig.subplots(2, 3)
        _moments(axes[0, 0], ds)
        _covariance(axes[0, 1], ds)
        _realisations(axes[0, 2], ds)
        for ax, quantity in zip(axes[1], QUANTITIES, strict=False):
            _levels(ax, ds, quantity)
        axes[1, 1].sharey(axes[1, 0])
        _added(axes[1, 2], ds)
        depth, lagged, example = (ds.attrs[name] for name in ("depth", "lagged", "example"))
        titles = (
            f"moments, $L = {depth}$",
            f"covariance by lag, $H = {lagged:g}$",
            f"realisations, $H = {example:g}$",
            "states, ratio 1",
            "gradients, ratio 1",
            "added to states",
        )
        for letter, ax, title in zip("abcdef", axes.flat, titles, strict=True):
            panel_title(ax, letter, title)
        legend_below(fig)
    return fig


def _moments(ax: Axes, ds: xr.Dataset) -> None:
    for generator, colour in COLOURS.items():
        of = ds.sel(generator=generator)
        line = {"color": colour, "linestyle": STYLES[generator]["linestyle"], "linewidth": 1.2}
        ax.plot(of.hurst, of.variance, label=generator, **line)
        ax.plot(of.hurst, of.lag_one, **line)
    least = float(ds.hurst.min())
    for text, height in (("variance", 1.06), ("lag 1", float(ds.lag_one.min()) + 0.3)):
        ax.annotate(text, (least + 0.05, height), fontsize=7)
    ax.set(xlabel="Hurst index $H$", ylabel="covariance")


def _covariance(ax: Axes, ds: xr.Dataset) -> None:
    for generator, colour in COLOURS.items():
        of = ds.by_lag.sel(generator=generator)
        marker = {"markersize": 2.5, "marker": STYLES[generator]["marker"], "linewidth": 0.8}
        ax.plot(of.lag, of, color=colour, **marker)
    ax.set(xlabel="lag, in layers", ylabel="covariance", ylim=(0, None))


def _realisations(ax: Axes, ds: xr.Dataset) -> None:
    for generator, colour in reversed(COLOURS.items()):
        for number, increments in enumerate(ds.increments.sel(generator=generator).values):
            shifted = increments - ds.increments.sel(generator=EXACT)[number].mean().item() - APART * number
            ax.plot(ds.layer, shifted, color=colour, linewidth=0.8)
    ax.set(xlabel="layer", ylabel="weights, moved apart", yticklabels=[])


def _levels(ax: Axes, ds: xr.Dataset, quantity: str) -> None:
    theory, (means, single) = level(ds), level_of_networks(ds)
    for generator, colour in COLOURS.items():
        here = {"generator": generator, "quantity": quantity}
        line = theory.sel(here)
        ax.plot(line.hurst, line, color=colour, linestyle=STYLES[generator]["linestyle"], linewidth=1.2)
        ax.errorbar(
            means.network_hurst,
            means.sel(here),
            yerr=INTERVAL * error_of(single).sel(here),
            color=colour,
            linestyle="none",
            marker=STYLES[generator]["marker"],
            markersize=3.5,
            markerfacecolor=colour if generator == EXACT else "white",
            markeredgewidth=0.9,
            elinewidth=1.0,
            label=f"networks, {generator}",
        )
    symbol = FORWARD.symbol if quantity == "states" else GRADIENT.symbol
    ax.set(xlabel="Hurst index $H$", ylabel=rf"$\beta$ where {symbol} is 1")


def _added(ax: Axes, ds: xr.Dataset) -> None:
    theory, networks = (of.sel(quantity="states") for of in added(ds))
    hursts = [hurst for hurst in ds.network_hurst.values.tolist() if hurst >= 0.8]
    lines = {}
    for hurst, colour in zip(hursts, graded(len(hursts)), strict=True):
        (lines[f"{hurst:g}"],) = ax.plot(ds.beta, theory.sel(hurst=hurst), color=colour, linewidth=1.2)
        some = networks.sel(network_hurst=hurst)
        points(ax, ds.beta, some.mean("sample"), error_of(some), colour)
    panel_legend(ax, "$H$", handles=list(lines.values()), labels=list(lines))
    ax.set(xlabel=r"$\beta$", ylabel=r"added to $\log_{10}$ of the ratio", yscale="log")


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """The maps, what is known of their moments, and networks on them."""
    return [*_maps(ds), *_known_moments(ds), *_mean_fields(ds), *_networks(ds)]


def _maps(ds: xr.Dataset) -> Iterator[Claim]:
    for generator in GENERATORS:
        of = ds.sel(generator=generator)
        text = f"{generator} map, largest distance of its covariance to that of the law"
        yield at_most(text, of.not_stationary.max(), EXACTLY)
        text = f"{generator} map, variance of the sum of all layers over L^2H, largest distance to 1"
        yield at_most(text, abs(of.sum_variance - 1).max(), EXACTLY)
    exact = ds.sel(generator=EXACT)
    for text, off in (
        ("variance", exact.variance - 1),
        ("covariance at lag 1", exact.lag_one - (2 ** (2 * ds.hurst - 1) - 1)),
    ):
        yield at_most(f"exact map, largest error of the {text}", abs(off).max(), EXACTLY)


def _known_moments(ds: xr.Dataset) -> Iterator[Claim]:
    """Errors by depth and H; and at 1000 layers the variance before imaginary roots are dropped."""
    for error, depth, hurst in zip(
        ds.error.values, ds.error_depth.values, ds.error_hurst.values, strict=True
    ):
        text = f"published map, largest error of variance and lag 1, L = {depth}, H = {hurst:g}"
        yield equal(text, error, ERRORS[int(depth), float(hurst)], ROUNDING * 0.01)
    if ds.attrs["depth"] == 1000:
        for hurst, known in SWAPPED.items():
            text = f"published map with imaginary roots, variance, H = {hurst:g}"
            digits = 0.0001 if known < 1.1 else 0.001
            yield equal(text, ds.with_imaginary_roots.sel(hurst=hurst), known, ROUNDING * digits)


def _mean_fields(ds: xr.Dataset) -> Iterator[Claim]:
    """Exact levels next to the table of Figure 7; the defect next to the first order where little moves.

    Second orders change the log of a mean square displacement D by D at most, and so log10 of its root.
    """
    if ds.attrs["depth"] == 1000:
        for quantity, key in zip(QUANTITIES, (FORWARD, GRADIENT), strict=True):
            known = PchipInterpolator(HURSTS_OF_LEVELS, LEVELS[key])(ds.hurst)
            off = abs(level(ds).sel(generator=EXACT, quantity=quantity) - known).max(skipna=False)
            yield at_most(f"{quantity}, exact, distance of levels to known ones", off, INTERPOLATION)
    theory = added(ds)[0].isel(beta=-1)
    second = 100 ** ds.log10_theory.isel(beta=-1).max("generator") / (2 * math.log(10))
    first = ds.first_order.sel(generator=PUBLISHED) - ds.first_order.sel(generator=EXACT)
    ratio = abs(theory - first) / second
    for quantity in QUANTITIES:
        text = f"{quantity}, what the defect adds, distance to first order over what second order can"
        yield at_most(text, ratio.sel(quantity=quantity).max(), 1)


def _networks(ds: xr.Dataset) -> Iterator[Claim]:
    """Networks next to the mean field, and how far the right edge moves."""
    theory, networks = added(ds)
    hursts = ds.network_hurst.values
    expected = theory.sel(hurst=hursts).rename(hurst="network_hurst")
    moderate = abs(ds.log10_theory.sel(generator=PUBLISHED, hurst=hursts)).rename(hurst="network_hurst") <= 1
    off = abs(networks.mean("sample") - expected).where(moderate) / (Z * error_of(networks) + FLOAT32)
    mean, single = level_of_networks(ds)
    away = abs(mean - level(ds).sel(hurst=hursts).rename(hurst="network_hurst"))
    moves = (single.sel(generator=PUBLISHED) - single.sel(generator=EXACT)).isel(network_hurst=-1)
    for quantity in QUANTITIES:
        text = f"{quantity}, what the defect adds, networks to mean field over what chance allows"
        yield at_most(text, off.sel(quantity=quantity).max(), 1)
        text = f"{quantity}, level, networks to mean field"
        yield at_most(text, away.sel(quantity=quantity).max(skipna=False), LEVEL_DISTANCE)
        move, text = moves.sel(quantity=quantity), f"{quantity}, H = {hursts[-1]:g}, level moves up"
        yield at_least(f"{text}, in standard errors", move.mean() / error_of(move), 3)
        mean_field = level(ds).sel(quantity=quantity, hurst=hursts[-1])
        far = float(mean_field.sel(generator=PUBLISHED) - mean_field.sel(generator=EXACT))
        yield equal(f"{text}, networks", move.mean(), far, Z * float(error_of(move)))
    if ds.attrs["depth"] == 1000:
        yield from _reported(ds, networks.sel(quantity="states"))


def _reported(ds: xr.Dataset, networks: xr.DataArray) -> Iterator[Claim]:
    """What others measured the defect to add, on as few networks as Figure 7 has in a cell."""
    for (hurst, beta), known in ADDED.items():
        here = networks.sel(network_hurst=hurst).interp(beta=beta)
        error = math.hypot(float(error_of(here)), float(here.std("sample", ddof=1)) / CELL**0.5)
        text = f"states, H = beta = {hurst:g}, what the defect adds to log10"
        yield equal(text, here.mean(), known, Z * error)


def _imaginary_roots_that_count(ds: xr.Dataset) -> xr.Dataset:
    depth, hurst = int(ds.error_depth[3]), float(ds.error_hurst[3])
    values = lags(eigenvalues(hurst, depth, published=True))[:2]
    ds.error[3] = float((values - autocovariance(hurst, 2)).abs().max())
    return ds


def _without_the_defect(name: str) -> Change:
    """Numbers of exact noise where those of the published generator should be."""

    def change(ds: xr.Dataset) -> xr.Dataset:
        ds[name].loc[{"generator": PUBLISHED}] = ds[name].sel(generator=EXACT)
        return ds

    return change


def _in_sums(ds: xr.Dataset) -> xr.Dataset:
    """The excess has one sign, instead of alternating."""
    excess = (ds.variance - 1) * ds.attrs["depth"] ** (2 - 2 * ds.hurst)
    return ds.assign(sum_variance=ds.sum_variance + excess)


CONTROLS = {
    "imaginary roots that count": Control(_imaginary_roots_that_count, "largest error of variance"),
    "a mean field without the defect": Control(
        _without_the_defect("log10_theory"), "distance to first order"
    ),
    "networks without the defect": Control(_without_the_defect("log10_ratio"), "level moves up"),
    "a defect that sums show": Control(_in_sums, "variance of the sum"),
}
