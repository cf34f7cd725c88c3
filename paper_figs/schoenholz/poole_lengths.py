"""The length map of wide tanh networks, its iteration and its fixed point over the plane of variances.

After Poole et al. (2016), figure 1; lines are infinite width, points are random networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

import resnet_sde as rs
from experiments.wide import dataset, feed_forward, float64, mean_and_error, squared
from paper_figs._claims import agrees, tabulated
from paper_figs._panels import LINE, NETWORKS, key, panel_legend, points
from paper_figs._style import house_style, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.schoenholz._poole import BIAS, COLOURS, DIAGONAL, WEIGHTS, heat_map
from resnet_sde.claims import Claim, between, equal
from resnet_sde.meanfield import lengths
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import log10_length


@dataclass(frozen=True)
class Poole:
    """Networks of the three variances of Poole et al. and the grid of standard deviations σ_w × σ_b.

    cells: of the grid along one axis.
    """

    samples: int
    width: int
    cells: int


BUDGETS = {"smoke": Poole(samples=30, width=200, cells=9), "paper": Poole(samples=50, width=1000, cells=41)}
STARTS = (0.1, 4.0, 8.0, 12.0, 15.0)
FROM = torch.arange(0.5, 15.1, 1.0, dtype=torch.float64)  # lengths from which networks show the map
LAYERS = 6
CLOSE = 0.01  # of |q / q* − 1|, where a length counts as settled
LONGEST = 60  # layers, after which a length counts as unsettled
Q_STAR = (0.607046791909, 4.07912387528, 12.6041494978)
UNTIL_SETTLED = ((8, 7, 7, 7, 7), (6, 1, 3, 3, 4), (5, 3, 2, 1, 2))  # from STARTS


def compute(budget: str, seed: int) -> xr.Dataset:
    """Map, iterates, fixed points and times to settle."""
    settings = BUDGETS[budget]
    weights, starts = float64(WEIGHTS), float64(STARTS)
    q = torch.linspace(0, 1, 81, dtype=torch.float64).square() * 15
    q_star = fixed_points(rs.TANH, weights, BIAS).q_star
    deviations = [torch.linspace(*ends, settings.cells, dtype=torch.float64) for ends in ((1, 5), (0, 4))]
    w, b = (x.square() for x in torch.meshgrid(*deviations, indexing="ij"))
    grid = fixed_points(rs.TANH, w, b)
    variables = {
        "from_q": ("from", FROM),
        "mapped": (("sigma_w2", "q"), weights[:, None] * rs.TANH.second_moment(q) + BIAS),
        "mapped_from": (("sigma_w2", "from"), weights[:, None] * rs.TANH.second_moment(FROM) + BIAS),
        "length": (("sigma_w2", "start", "layer"), [[_lengths(v, s) for s in STARTS] for v in WEIGHTS]),
        "q_star": ("sigma_w2", q_star),
        "settled": (("sigma_w2", "start"), _layers(weights[:, None], BIAS, starts, q_star[:, None])),
        "grid_q_star": (("grid_w", "grid_b"), grid.q_star),
        "grid_settled": (("grid_w", "grid_b"), _mean_layers(w, b, grid.q_star)),
    }
    axes = {"sigma_w2": list(WEIGHTS), "q": q.numpy(), "start": list(STARTS)}
    axes |= {"grid_w": deviations[0].numpy(), "grid_b": deviations[1].numpy()}
    ds = dataset(variables | _networks(settings, seed), axes, settings, budget, seed)
    return ds.assign_attrs(sigma_b2=BIAS, width=settings.width, samples=settings.samples)


def _lengths(w: float, start: float) -> np.ndarray:
    return lengths(feed_forward(rs.TANH, w, BIAS), start, depth=LAYERS).q.numpy()


def _networks(settings: Poole, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    """One layer from many lengths, and several layers from a few; inputs of a network are parallel."""
    found: dict[str, list[np.ndarray]] = {}
    for name, starts, depth in (("mapped", FROM, 1), ("length", float64(STARTS), LAYERS)):
        for w in WEIGHTS:
            seen = rs.simulate(
                feed_forward(rs.TANH, w, BIAS, settings.width),
                starts.float().sqrt()[:, None],
                depth=depth,
                samples=settings.samples,
                observe=[log10_length],
                seed=seed,
            )
            q = squared(seen["log10_length"])
            of_each = q[:, 1] if name == "mapped" else q.mT
            for end, value in zip(("", "_error"), mean_and_error(of_each), strict=True):
                found.setdefault(f"networks_{name}{end}", []).append(value)
    dims = {"mapped": ("sigma_w2", "from"), "length": ("sigma_w2", "start", "layer")}
    return {name: (dims[name.split("_")[1]], np.stack(values)) for name, values in found.items()}


def _layers(w: Tensor, b: Tensor | float, start: Tensor, q_star: Tensor) -> Tensor:
    """How many layers until |q / q* − 1| is small for the first time; infinite if it takes too long."""
    q, found = torch.broadcast_tensors(start, w * start)[0], torch.full((w * start).shape, torch.inf)
    for layer in range(LONGEST + 1):
        found = torch.where(torch.isinf(found) & ((q / q_star - 1).abs() <= CLOSE), float(layer), found)
        q = w * rs.TANH.second_moment(q) + b
    return found


def _mean_layers(w: Tensor, b: Tensor, q_star: Tensor) -> Tensor:
    """Over all STARTS, where q* is positive."""
    starts = float64(STARTS)
    return _layers(w[..., None], b[..., None], starts, q_star[..., None]).mean(-1)


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
