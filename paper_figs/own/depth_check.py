r"""What the depth check says of a sound network, and of six bugs of public libraries planted into it.

The network is a small language model whose output projections wo and w2 carry the factor (2L)^{−1/2}. The
factor is lost; it is on w3, or on q, k and v too; on q, k and v instead of wo; of the position in place of
the depth; or all layers are copies of one. Panel a: how the block and what writes to the stream fall with
depth, L^{−β}, with 95 % intervals over networks; the band is what is taken as 1/2. The block alone sees two
of the six. Panel b: how initial sizes fall with the depth (filled) and with the position (open). Panel c: the
norm of the stream against k / L, with and without the factor, and what the action S predicts (dotted). Panel
d: the rate of one AdamW step that changes the stream by 5 %: what writes must learn like 1/L, the matrices
inside like 1/√L (lines of the theory).

The claims: every bug is named by its sentence in every check, the sound network is blamed in none of its
checks, each with a seed of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.own.depth_networks import PLANTED
from experiments.own.planted_bugs import BUGS, GROUPS, ROLES, WRITERS, PlantedBugs
from experiments.wide import dataset
from paper_figs._panels import DOTTED, key, panel_legend, ticks_within
from paper_figs._style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    THEORY,
    VERMILLION,
    house_style,
    log_scale,
    new_figure,
    panel_title,
)
from paper_figs.controls import Change, Control
from resnet_sde.claims import Claim, at_least, at_most, equal

PANELS = 4
BUDGETS = {
    "smoke": PlantedBugs(depths=(8, 16), seeds=2, sound=2, bugs=1, rate_depths=(4, 12), rate_seeds=3),
    "paper": PlantedBugs(),
}
NAMES = {"none": "sound", "lost": "factor lost", "position": "by position", "copies": "copies"}
WRITER_STYLE = dict(zip(WRITERS, ((BLUE, "o"), (ORANGE, "s")), strict=True))
ROLE_STYLE = dict(zip(ROLES, ((BLUE, "o"), (ORANGE, "s"), (PURPLE, "D"), (GREEN, "^")), strict=True))
RATES = {"writers": -1.0, "inner": -0.5}
RATE_TICKS = tuple(digit * 10.0**power for power in range(-6, 0) for digit in (1, 2, 5))
BETA, NEAR = 0.5, 0.1

# Tolerances of the depth check itself; of smoke, with fewer blocks and networks, wider ones.
BETA_TOLERANCE = {"smoke": 0.12, "paper": 0.06}
RATE_TOLERANCE = {"smoke": 0.25, "paper": 0.15}
GROWTH_TOLERANCE = 0.08
UNSEEN = ("w3", "q, k, v", "q, k, v only")  # by the exponent of the block alone


def compute(budget: str, seed: int) -> xr.Dataset:
    """All checks."""
    found = BUDGETS[budget].run(seed=seed)
    variables = {name: (each.dims, each.values) for name, each in found.data_vars.items()}
    coordinates = {name: each.values for name, each in found.coords.items()}
    return dataset(variables, coordinates, BUDGETS[budget], budget, seed)


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Exponents above, the stream and rates below."""
    with house_style():
        fig = new_figure(6.0)
        axes = fig.subplots(2, 2).ravel()
        titles = ("blocks and writers", "initial sizes", "the stream", "rates of AdamW")
        for letter, ax, title, panel in zip(
            "abcd", axes, titles, (_betas, _roles, _stream, _rates), strict=True
        ):
            panel_title(ax, letter, title)
            panel(ax, ds)
        entries = {
            "block": Line2D([], [], color=BLACK, marker="_", linestyle="none", markersize=9),
            "predicted": DOTTED,
            "theory": Line2D([], [], **THEORY),
        }
        key(fig, entries)
    return fig


def _rows(ax: Axes) -> np.ndarray:
    """A row for each network, the sound one on top."""
    rows = np.arange(len(PLANTED), 0, -1)
    ax.set_yticks(rows, [NAMES.get(name, f"also {name}") for name in PLANTED])
    ax.set_ylim(0.4, len(PLANTED) + 0.6)
    names = [label.get_text() for label in ax.get_yticklabels()]
    ax.set_yticks(rows, [name.replace("also q, k, v only", "q, k, v only") for name in names])
    return rows


def _betas(ax: Axes, ds: xr.Dataset) -> None:
    rows = _rows(ax)
    ax.axvspan(BETA - NEAR, BETA + NEAR, color="#E8F1E8", zorder=0)
    _interval(ax, ds.beta, rows + 0.22, BLACK, "|")
    for shift, (name, (colour, marker)) in zip((0.0, -0.22), WRITER_STYLE.items(), strict=True):
        _interval(ax, ds.writer_beta.sel(writer=name), rows + shift, colour, marker, name)
    ax.axvline(BETA, **THEORY)
    ax.set(xlabel=r"exponent $β$ of $L^{-β}$", xlim=(-0.15, 1.2))
    panel_legend(ax, loc="lower right")


def _interval(
    ax: Axes, found: xr.DataArray, rows: np.ndarray, colour: str, marker: str, label: str = ""
) -> None:
    value, low, high = (found.sel(of=of).to_numpy() for of in ("value", "low", "high"))
    style = {"color": colour, "marker": marker, "markersize": 4, "linestyle": "none", "elinewidth": 1.0}
    ax.errorbar(value, rows, xerr=[value - low, high - value], label=label or None, zorder=3, **style)


def _roles(ax: Axes, ds: xr.Dataset) -> None:
    rows = _rows(ax)
    for shift, (name, (colour, marker)) in zip((0.24, 0.08, -0.08, -0.24), ROLE_STYLE.items(), strict=True):
        style = {"color": colour, "marker": marker, "markersize": 4, "linestyle": "none"}
        at = ds.sel(role=name)
        ax.plot(at.role_depth, rows + shift, label=name, zorder=3, **style)
        ax.plot(at.role_position, rows + shift, fillstyle="none", **style)
    ax.set(xlabel="exponent of $L$ (filled), of $k$ (open)", xlim=(-0.15, 1.2))
    panel_legend(ax, loc="upper right")


def _stream(ax: Axes, ds: xr.Dataset) -> None:
    for colour, name, at in zip((BLUE, VERMILLION), ("sound", "factor lost"), (0, 1), strict=True):
        for width, depth in zip((0.8, 1.5), (0, -1), strict=True):
            row = ds.isel(stream=at, depth=depth)
            count = int(row.depth)
            share = np.linspace(0, 1, count + 1)
            label = f"{name}, $L = {count}$"
            ax.plot(share, row.norm[: count + 1], color=colour, linewidth=width, label=label)
            ax.plot(share, np.sqrt(1 + float(row.action) * share), color=colour, linewidth=1.0, linestyle=":")
    ax.set(xlabel="$k / L$", ylabel=r"$\Vert h_k\Vert / \Vert h_0\Vert$", xlim=(0, 1))
    panel_legend(ax, loc="upper left")


def _rates(ax: Axes, ds: xr.Dataset) -> None:
    depths = ds.rate_depth.to_numpy()
    fine = np.geomspace(depths[0], depths[-1], 20)
    for colour, group in zip((BLUE, PURPLE), GROUPS, strict=True):
        rates = 2.0 ** ds.log2_rate.sel(group=group).to_numpy()
        slope = float(ds.rate_exponent.sel(group=group, of="value"))
        half = float(ds.rate_exponent.sel(group=group, of="high")) - slope
        label = f"{group}, $L^{{{slope:.2f} ± {half:.2f}}}$"
        ax.plot(depths, rates, color=colour, marker="o", markersize=4, linestyle="none", label=label)
        centre = np.exp(np.log(rates).mean() - RATES[group] * np.log(depths).mean())
        ax.plot(fine, centre * fine ** RATES[group], **THEORY)
    log_scale(ax, "xy")
    ax.set_xticks(depths, [str(depth) for depth in depths])
    ticks_within(ax, "y", RATE_TICKS)
    ax.minorticks_off()
    ax.set(xlabel="depth $L$", ylabel="rate for a change of 5 %")
    panel_legend(ax, loc="lower left")


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Bugs named and nothing else; exponents, growth and rates as they are known."""
    return [*_said(ds), *_measured(ds)]


def _said(ds: xr.Dataset) -> Iterator[Claim]:
    sound = ds.sel(network="none")
    count = int(sound.checks)
    yield equal(f"sound network, blamed in how many of {count} checks", sound.blamed, 0)
    for name in BUGS:
        at = ds.sel(network=name)
        count = int(at.checks)
        yield equal(f"{name}, named in how many of {count} checks", at.named, count)


def _measured(ds: xr.Dataset) -> Iterator[Claim]:
    tolerance = BETA_TOLERANCE[ds.attrs["budget"]]
    for name, expected in {"none": BETA, "lost": 0.0, "position": 0.0, **dict.fromkeys(UNSEEN, BETA)}.items():
        value = float(ds.beta.sel(network=name, of="value"))
        yield equal(f"{name}, β of the block", value, expected, tolerance)
    for name, writer in {"w3": "w2", "q, k, v": "wo"}.items():
        value = float(ds.writer_beta.sel(network=name, writer=writer, of="value"))
        yield equal(f"{name}, β of {writer}", value, 1.0, tolerance)
    for name in PLANTED:
        claim, bound = (at_least, 0.9) if name == "copies" else (at_most, 0.65)
        yield claim(f"{name}, coherence", ds.coherence.sel(network=name), bound)
    off = np.abs(np.sqrt(1 + ds.action) / ds.growth - 1).max()
    yield at_most("growth, largest relative distance to √(1 + S)", off, GROWTH_TOLERANCE)
    for group, expected in RATES.items():
        value = float(ds.rate_exponent.sel(group=group, of="value"))
        yield equal(f"rate exponent of {group}", value, expected, RATE_TOLERANCE[ds.attrs["budget"]])


def _changed(name: str, value: float, **at: str) -> Change:
    """One number is another."""

    def change(ds: xr.Dataset) -> xr.Dataset:
        ds[name].loc[at] = value
        return ds

    return change


def _growing(ds: xr.Dataset) -> xr.Dataset:
    return _changed("beta", BETA - 1.2 * BETA_TOLERANCE[ds.attrs["budget"]], network="none", of="value")(ds)


CONTROLS = {
    "a sound network that is blamed": Control(_changed("blamed", 1, network="none"), "sound network, blamed"),
    **{f"{bug}, missed": Control(_changed("named", 0, network=bug), f"{bug}, named") for bug in BUGS},
    "branches that grow with the depth": Control(_growing, "none, β of the block"),
    "a lost factor that is there": Control(
        _changed("beta", 0.5, network="lost", of="value"), "lost, β of the block"
    ),
    "w3 for w2": Control(_changed("writer_beta", 0.5, network="w3", writer="w2", of="value"), "w3, β of w2"),
    "q, k, v for wo": Control(
        _changed("writer_beta", 0.5, network="q, k, v", writer="wo", of="value"), "q, k, v, β of wo"
    ),
    "copies that are independent": Control(_changed("coherence", 0.5, network="copies"), "copies, coherence"),
    "independent blocks that are copies": Control(
        _changed("coherence", 0.7, network="none"), "none, coherence"
    ),
    "growth 10 % off": Control(lambda ds: ds.assign(growth=ds.growth * 1.1), "growth"),
    "rates of writers that fall faster": Control(
        _changed("rate_exponent", -0.5, group="writers", of="value"), "rate exponent of writers"
    ),
    "rates of inner weights that fall faster": Control(
        _changed("rate_exponent", -1.0, group="inner", of="value"), "rate exponent of inner"
    ),
}
