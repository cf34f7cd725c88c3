r"""Growth with depth over the plane of H and beta: the boundary belongs to the block and not to H alone.

Fractional weights of Hurst index H, residual branches scaled by L^(-beta), three blocks. The colour is the
slope of the log of the root mean square displacement against log L from 250 layers to 1000, at infinite
width: red where networks tend to explosion, blue where they tend to the identity. The solid line is the
boundary beta* of infinite depth. The dashed line is where the slope vanishes at these depths; the dotted line
is where it vanishes from 10^5 layers to 2 10^5, by an expansion in small displacements. They close in on
beta* with powers of depth that are slow near H = 1/2 and, for products of weights, near H = 3/4. One matrix
with H < 1/2 follows H down to 1/4, and its gradients down to 1/3 because ReLU has a kink, while two matrices
stay at 1/2.

Points are where networks that are seen at both depths on one weight path neither grow nor shrink, with 95 %
intervals. Networks of finite width with one matrix and H < 1/2 contract: their points lie below the line of
infinite width, and the less so the wider they are; at width 40 and H < 1/4 states shrink at every beta that
was looked at (triangles). In the limit of depth at a fixed width they collapse for all beta < 1/2. Gradients
of two ReLU matrices have a share of 1/width along the state, which grows like the state: the thin line is the
mean field with it, at the width of the points.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from scipy.interpolate import PchipInterpolator

from experiments.marion.plane import zero_level
from experiments.own.plane_of_blocks import BLOCKS, QUANTITIES, BlockPlane, Networks, boundary
from experiments.wide import float64
from paper_figs._claims import Z
from paper_figs._panels import INTERVAL
from paper_figs._planes import BOUNDARY, LEVEL, grid
from paper_figs._style import BLACK, GREEN, ORANGE, house_style, new_figure, panel_title
from paper_figs.controls import Change, Control
from resnet_sde.claims import Claim, at_least, at_most, equal
from resnet_sde.meanfield import Displacements
from resnet_sde.runs.versions import current_versions

ONE, TWO, ODD = BLOCKS
FAR = ((1000, 2000), (100_000, 200_000))
SEEN = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
ROUGH = (0.05, 0.2, 0.35)
PANELS = 6
BUDGETS = {
    "smoke": BlockPlane(
        hursts=(0.2, 0.5, 0.8),
        betas=grid(0.1, 1.1, 21),
        depths=(60, 240),
        windows=FAR,
        networks=(
            *(Networks(name, (0.2, 0.8), width=24, samples=24) for name in (ONE, TWO)),
            Networks(ODD, (0.8,), width=24, samples=24),
            Networks(ONE, (0.2,), width=96, samples=24),
        ),
        inputs=2,
    ),
    "cpu": BlockPlane(
        hursts=(*grid(0.05, 0.95, 19), 0.97),
        betas=grid(0.1, 1.15, 22),
        depths=(250, 1000),
        windows=FAR,
        networks=(
            *(Networks(name, SEEN, width=40, samples=24) for name in BLOCKS),
            Networks(ONE, ROUGH, width=160, samples=12),
        ),
    ),
}
SCALE = 0.5  # of the colours
MARKERS = {True: {"color": GREEN, "marker": "o"}, False: {"color": ORANGE, "marker": "s"}}  # narrow or not
SHAPE = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.6, "linestyle": "none"}

# Local exponents of first order for two ReLU matrices, from 1000 layers to 2000 and from 10⁵ to 2·10⁵.
TABLE_HURSTS = (0.05, 0.35, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 0.97)
TABLE = {
    "states": (
        (0.500, 0.493, 0.500, 0.565, 0.617, 0.671, 0.724, 0.773, 0.867, 0.950),
        (0.500, 0.498, 0.500, 0.582, 0.640, 0.694, 0.746, 0.795, 0.885, 0.954),
    ),
    "gradients": (
        (0.500, 0.500, 0.500, 0.500, 0.502, 0.508, 0.534, 0.595, 0.784, 0.928),
        (0.500, 0.500, 0.500, 0.500, 0.500, 0.503, 0.526, 0.597, 0.793, 0.932),
    ),
}
ROUNDING = 0.0006  # of numbers with three decimals, one of which is rounded up from a half
# What orders beyond those of the expansion leave of its β at hundreds of layers; where the first order is the
# only one kept, and where two orders compete and the next one is of their size.
FIRST, SECOND = 0.005, 0.015
# The terms that compete at a boundary have coefficients whose ratio, over the power of α that tells them
# apart, is at most 1.7; with θ the exponent of depth that tells them apart, β* is θ L^−θ times that away.
COMPETING = 2.0
CONTRACTING = 0.2  # H from which on contraction takes more from displacements of states than it adds to them
SLOW = 0.05  # exponents θ below which it is a matter of logarithms
OPPOSITE = (0.2, 0.4)  # H and β where one matrix and two differ in sign
CHANGES = {TWO: 0.109, ONE: -0.128}  # there, of log10 of the root mean square from 250 layers to 1000
ROUNDINGS = 0.001  # of the difference of two numbers with three decimals


def compute(budget: str, seed: int) -> xr.Dataset:
    """Exponents of kernels, expansions and networks."""
    settings = BUDGETS[budget]
    made = {"seed": seed, "budget": budget, "experiment": repr(settings)}
    versions = current_versions()
    return settings.run(seed=seed).assign_attrs(made, versions=json.dumps(versions))


def slope_of_theory(ds: xr.Dataset) -> xr.DataArray:
    """Growth exponents at infinite width between the two depths; (quantity, block, hurst, beta)."""
    return ds.log10_theory.diff("depth").squeeze("depth", drop=True) / _decades(ds)


def _decades(ds: xr.Dataset) -> float:
    first, last = ds.depth.values
    return math.log10(last / first)


def _slopes_at_width(ds: xr.Dataset, width: int) -> xr.DataArray:
    """The same where a share 1/width of the gradients lies along the state."""
    both = ds.log10_theory.copy()
    forward, gradient = (float64(both.sel(quantity=q).values.ravel()) for q in QUANTITIES)
    both[1] = Displacements(forward, gradient).at_width(width).numpy().reshape(both.shape[1:])
    return slope_of_theory(ds.assign(log10_theory=both))


def roots(ds: xr.Dataset) -> xr.Dataset:
    """β of no change of networks, NaN where there is none, and its standard error; axes quantity, line."""
    axes = [["beta"]] * 3
    root, error = xr.apply_ufunc(
        _root_and_error,
        ds.beta,
        ds.exponent,
        ds.exponent_error,
        input_core_dims=axes,
        output_core_dims=[[], []],
        vectorize=True,
    )
    return xr.Dataset({"root": root, "error": error})


def _root_and_error(beta: np.ndarray, exponent: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    known = np.isfinite(exponent)
    curve = PchipInterpolator(beta[known], exponent[known])
    root = max(curve.roots(extrapolate=False), default=np.nan)
    return root, np.interp(root, beta[known], error[known]) / abs(curve(root, 1))


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """States above, gradients below, a column for each block."""
    slopes, found = slope_of_theory(ds), roots(ds)
    with house_style():
        fig = new_figure(5.4)
        axes = fig.subplots(2, 3, sharex=True, sharey=True)
        panels = [(quantity, name) for quantity in QUANTITIES for name in BLOCKS]
        for letter, ax, (quantity, name) in zip("abcdef", axes.flat, panels, strict=True):
            here = {"quantity": quantity, "block": name}
            image = _colours(ax, slopes.sel(here))
            _lines(ax, ds.sel(here), slopes.sel(here))
            _points(ax, ds, found.sel(quantity=quantity), name)
            panel_title(ax, letter, name)
            ax.set_xlabel("Hurst index $H$" if quantity == "gradients" else "$H$")
        _share_along_states(axes[1, 1], ds, int(ds.width.min()))
        for ax, quantity in zip(axes[:, 0], QUANTITIES, strict=True):
            ax.set_ylabel(rf"$\beta$ ({quantity})")
        axes[0, 0].set(ylim=(float(ds.beta.min()), float(ds.beta.max())), xticks=[0.1, 0.3, 0.5, 0.7, 0.9])
        bar = fig.colorbar(image, ax=axes, extend="both", pad=0.015, aspect=35)
        first, last = ds.depth.values
        bar.set_label(rf"slope of $\log$ r.m.s. displacement, $L = {first}$ to ${last}$")
        _legend(fig, axes[0, 0], axes[1, 1])
    return fig


def _legend(fig: Figure, *axes: Axes) -> None:
    """Below all panels, in rows of three."""
    pairs = [zip(*ax.get_legend_handles_labels(), strict=True) for ax in axes]
    entries = {label: handle for some in pairs for handle, label in some}
    fig.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=3, columnspacing=1.4)


def _colours(ax: Axes, slope: xr.DataArray) -> QuadMesh:
    table = slope.transpose("beta", "hurst")
    ax.grid(False)
    colours = {"cmap": "RdBu_r", "vmin": -SCALE, "vmax": SCALE}
    return ax.pcolormesh(table.hurst, table.beta, table, shading="nearest", rasterized=True, **colours)


def _lines(ax: Axes, ds: xr.Dataset, slope: xr.DataArray) -> None:
    fine = np.linspace(float(ds.hurst.min()), float(ds.hurst.max()), 201)
    edge = [boundary(str(ds.block.values), str(ds.quantity.values), hurst) for hurst in fine]
    first, last = ds.depth.values
    ax.plot(fine, edge, label=r"boundary $\beta^*$ as $L \to \infty$", **BOUNDARY)
    ax.plot(ds.hurst, zero_level(slope), label=rf"no change, $L = {first}$ to ${last}$", **LEVEL)
    label = r"no change, $L = 10^5$ to $2 \cdot 10^5$"
    dots = {**LEVEL, "linestyle": (0, (1, 1.2)), "color": BLACK}
    ax.plot(ds.hurst, ds.still.isel(window=-1), label=label, **dots)


def _share_along_states(ax: Axes, ds: xr.Dataset, width: int) -> None:
    level = zero_level(_slopes_at_width(ds, width).sel(quantity="gradients", block=TWO))
    ax.plot(ds.hurst, level, color=GREEN, linewidth=0.9, label=f"no change, share 1/{width} along states")


def _points(ax: Axes, ds: xr.Dataset, found: xr.Dataset, name: str) -> None:
    for width in np.unique(ds.width):
        here = (ds.line_block == name) & (ds.width == width)
        if not here.any():
            continue
        style = MARKERS[bool(width == ds.width.min())]
        none = here & found.root.isnull()
        if none.any():
            lowest = ds.beta.where(ds.exponent.sel(quantity=found.quantity).notnull()).min("beta")[none]
            label = f"width {width}, none down to here"
            ax.plot(ds.line_hurst[none], lowest, label=label, **{**style, **SHAPE, "marker": "v"})
        ax.errorbar(
            ds.line_hurst[here],
            found.root[here],
            yerr=INTERVAL * found.error[here],
            label=f"networks, width {width}",
            elinewidth=1.2,
            zorder=4,
            **SHAPE,
            **style,
        )


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """The expansion next to a table and to β*, kernels next to the expansion, networks next to kernels."""
    return [
        *_table(ds),
        *_distances_to_boundaries(ds),
        *_kernels(ds),
        *_networks(ds),
        *_contraction(ds),
        *_opposite(ds),
    ]


def _table(ds: xr.Dataset) -> Iterator[Claim]:
    known = [hurst for hurst in TABLE_HURSTS if np.isclose(ds.hurst, hurst).any()]
    columns = [TABLE_HURSTS.index(hurst) for hurst in known]
    for quantity, rows in TABLE.items():
        found = ds.still.sel(quantity=quantity, block=TWO).isel(window=slice(1, None)).sel(hurst=known)
        off = abs(found.transpose("window", "hurst").values - np.array(rows)[:, columns]).max()
        yield at_most(f"{quantity}, two ReLU matrices, exponents next to a table", off, ROUNDING)


def rate(name: str, quantity: str, hurst: float) -> float:
    """θ: the two largest terms of a square displacement at β* differ by a factor of the order of L^θ."""
    if name == ONE:
        if hurst >= 0.5:  # the first order is exact
            return math.inf
        if quantity == "states":
            return 0.5 - 2 * hurst if hurst < 0.25 else 4 * hurst - 1
        return 2 / 3 - 2 * hurst if hurst < 1 / 3 else 3 * hurst - 1
    if hurst == 0.5:  # white: layers are independent
        return math.inf
    if hurst == 0.75:  # two exponents meet, and make a logarithm
        return 0.0
    if name == TWO and quantity == "states":
        return 1 - 2 * hurst if hurst < 0.5 else min(2 * hurst - 1, 2 - 2 * hurst)
    return min(1, 3 - 4 * hurst) if hurst < 0.75 else min(4 * hurst - 3, 2 - 2 * hurst)


def _distances_to_boundaries(ds: xr.Dataset) -> Iterator[Claim]:
    depth = float(ds["first"][-1])
    for quantity in QUANTITIES:
        for name in BLOCKS:
            ratios = []
            for hurst in ds.hurst.values.tolist():
                theta = rate(name, quantity, hurst)
                if theta < SLOW:
                    continue
                allowed = 1e-6 if math.isinf(theta) else COMPETING * theta * depth**-theta
                found = float(ds.still.sel(quantity=quantity, block=name, hurst=hurst).isel(window=-1))
                ratios.append(abs(found - boundary(name, quantity, hurst)) / allowed)
            text = f"{quantity}, {name}, distance to beta* at 10^5 layers over what is allowed"
            yield at_most(text, max(ratios), 1)


def _kernels(ds: xr.Dataset) -> Iterator[Claim]:
    """The β of no change of kernels, next to that of the expansion at the same depths."""
    away = abs(zero_level(slope_of_theory(ds)) - ds.still.isel(window=0))
    second = (ds.block == ONE) & (ds.hurst < 0.5)
    for quantity in QUANTITIES:
        for text, where, allowed in (("first", ~second, FIRST), ("second", second, SECOND)):
            worst = away.sel(quantity=quantity).fillna(np.inf).where(where).max()
            name = f"{quantity}, beta of no change, kernel next to the expansion to {text} order"
            yield at_most(name, worst, allowed)


def _networks(ds: xr.Dataset) -> Iterator[Claim]:
    """Networks next to kernels, with the share of gradients along the state.

    A mean square that is off by the share 1/width at one of the depths moves the slope, and so β, by
    1 / (2 width log of the ratio of depths).
    """
    found, width = roots(ds), int(ds.width.min())
    bias = 1 / (2 * math.log(10) * _decades(ds) * width)
    levels = zero_level(_slopes_at_width(ds, width))
    for quantity in QUANTITIES:
        for name in BLOCKS:
            lines = (ds.line_block == name) & (ds.width == width)
            lines &= (ds.line_hurst >= 0.5) if name == ONE else True
            here = found.sel(quantity=quantity).isel(line=np.flatnonzero(lines))
            hursts = ds.line_hurst[np.flatnonzero(lines)]
            off = abs(here.root - levels.sel(quantity=quantity, block=name, hurst=hursts))
            text = f"{quantity}, {name}, networks, distance to the kernel over what is allowed"
            yield at_most(text, (off / (bias + Z * here.error)).max(skipna=False), 1)


def _contraction(ds: xr.Dataset) -> Iterator[Claim]:
    """One matrix, H < 1/2, at β*: narrow networks grow less than wide ones, which tend to infinite width."""
    few, many = sorted({int(width) for width in ds.width})
    narrow, wide = (
        ds.isel(line=np.flatnonzero((ds.line_block == ONE) & (ds.width == width))).swap_dims(
            line="line_hurst"
        )
        for width in (few, many)
    )
    kernel = slope_of_theory(ds).sel(block=ONE)
    for quantity in QUANTITIES:
        for hurst in wide.line_hurst.values.tolist():
            edge = boundary(ONE, quantity, hurst)
            expected = float(kernel.sel(quantity=quantity, hurst=hurst).sel(beta=edge, method="nearest"))
            at = {"quantity": quantity, "line_hurst": hurst}
            less, more = (of.sel(at).sel(beta=edge, method="nearest") for of in (narrow, wide))
            found = float(many * more.exponent - few * less.exponent) / (many - few)
            error = math.hypot(many * more.exponent_error, few * less.exponent_error) / (many - few)
            text = f"{quantity}, {ONE}, H = {hurst}, slope at beta*"
            yield equal(f"{text}, extrapolated in width", found, expected, Z * error)
            if quantity == "states" and hurst >= CONTRACTING:
                below = (expected - float(less.exponent)) / float(less.exponent_error)
                yield at_least(f"{text}, standard errors of width {few} below the kernel", below, 3)


def _opposite(ds: xr.Dataset) -> Iterator[Claim]:
    """One matrix falls and two grow at H = 0.2 and β = 0.4."""
    hurst, beta = OPPOSITE
    here = {"quantity": "states", "hurst": hurst, "beta": beta}
    change = slope_of_theory(ds).sel(here) * _decades(ds)
    for name, expected in CHANGES.items():
        if tuple(ds.depth.values) == (250, 1000):
            text = f"states, {name}, H = {hurst}, beta = {beta}, change of log10, kernel"
            yield equal(text, change.sel(block=name), expected, ROUNDINGS)
        line = (ds.line_block == name) & (ds.line_hurst == hurst) & (ds.width == ds.width.min())
        seen = ds.sel(quantity="states", beta=beta).isel(line=np.flatnonzero(line)[0])
        sign = math.copysign(1, expected)
        text = f"states, {name}, H = {hurst}, beta = {beta}, change of networks in {sign:+g} standard errors"
        yield at_least(text, sign * float(seen.exponent / seen.exponent_error), 3)


def _not_contracting(ds: xr.Dataset) -> xr.Dataset:
    """Narrow networks do as the kernel says."""
    kernel = slope_of_theory(ds).sel(block=ONE, hurst=0.2, drop=True)
    narrow = (ds.line_block == ONE) & (ds.line_hurst == 0.2) & (ds.width == ds.width.min())
    return ds.assign(exponent=xr.where(narrow, kernel, ds.exponent).transpose(*ds.exponent.dims))


def _exchanged(name: str, block: str, other: str) -> Change:
    """A block has the numbers of another."""

    def change(ds: xr.Dataset) -> xr.Dataset:
        ds[name].loc[{"block": block}] = ds[name].sel(block=other)
        return ds

    return change


CONTROLS = {
    "networks that grow where they shrink": Control(
        lambda ds: ds.assign(exponent=-ds.exponent), "change of networks in"
    ),
    "beta off by 0.1": Control(
        lambda ds: ds.assign(exponent=ds.exponent + 0.1), "networks, distance to the kernel"
    ),
    "networks that do not contract": Control(_not_contracting, "below the kernel"),
    "the boundary of ReLU for odd activations": Control(
        _exchanged("still", ODD, TWO), "erf, distance to beta*"
    ),
    "exponents off by 0.01": Control(
        lambda ds: ds.assign(still=ds.still + 0.01), "exponents next to a table"
    ),
    "an inner matrix that is the same in all layers": Control(
        _exchanged("log10_theory", TWO, ONE), "kernel next to the expansion"
    ),
}
