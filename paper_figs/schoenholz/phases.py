"""Order and chaos in feed-forward tanh networks, and how their layers forget where they started.

After Schoenholz et al. (2017), figure 1; lines are infinite width, points are random networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import resnet_sde as rs
from experiments.wide import (
    dataset,
    depth_scale,
    feed_forward,
    float64,
    inputs,
    mean_and_error,
    squared,
)
from paper_figs._claims import agrees
from paper_figs._panels import LINE, NETWORKS, graded, key, note, panel_legend, points
from paper_figs._style import BLACK, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_most, equal
from resnet_sde.meanfield import gaps, lengths
from resnet_sde.meanfield.critical import critical_line
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import cosine, log10_length


@dataclass(frozen=True)
class Relaxation:
    """Networks in the ordered phase that start from mean square q0 and 1 − correlation gap0.

    layers: those drawn; the rates of infinite width are fitted further down.
    """

    sigma_w2: tuple[float, ...]
    width: int
    samples: int
    sigma_b2: float = 0.05
    q0: float = 1.0
    gap0: float = 0.5
    layers: int = 60


BUDGETS = {
    "smoke": Relaxation((0.3, 0.9, 1.5), width=200, samples=40),
    "paper": Relaxation((0.01, 0.3, 0.6, 0.9, 1.2, 1.5, 1.7), width=1000, samples=200),
}
FLOOR, RESOLVED = 1e-12, 3e-11  # of the panels, and of what float64 networks can tell from 0
LATE_LENGTHS, LATE_GAPS = (1e-11, 1e-4), (1e-14, 1e-8)  # distances between which rates are fitted
BOUNDARY = {0.01: 1.4242053, 0.05: 1.7609546, 0.1: 1.9860726, 0.2: 2.2851525, 0.25: 2.4014892}  # σ_b²: σ_w²
ORDERED_CELLS = 406  # of 26 × 26
SCALES = {  # σ_w²: ξ_q, ξ_c at σ_b² = 0.05
    0.01: (0.208866, 0.212974),
    0.3: (0.692999, 0.756617),
    0.6: (1.179995, 1.480306),
    0.9: (1.650552, 2.876493),
    1.2: (1.808783, 5.944536),
    1.5: (1.682828, 15.790994),
    1.7: (1.558254, 74.918271),
}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Boundary, grid of χ_1, and relaxation."""
    settings = BUDGETS[budget]
    bias = torch.linspace(0, 1, 301, dtype=torch.float64).square() * 0.25
    grid_w, grid_b = (torch.linspace(*ends, 26, dtype=torch.float64) for ends in ((0.5, 3), (0.001, 0.25)))
    rows = [_relaxation(settings, w, seed) for w in settings.sigma_w2]
    variables = {
        "boundary": ("sigma_b2", critical_line(rs.TANH, bias)),
        "boundary_known": ("known_b2", critical_line(rs.TANH, float64(BOUNDARY))),
        "chi_1": (("grid_w2", "grid_b2"), fixed_points(rs.TANH, grid_w[:, None], grid_b).chi_1),
    }
    variables |= {
        name: (dims, np.stack([row[name][1] for row in rows])) for name, (dims, _) in rows[0].items()
    }
    axes = {"sigma_w2": list(settings.sigma_w2), "sigma_b2": bias.numpy(), "known_b2": list(BOUNDARY)}
    axes |= {"grid_w2": grid_w.numpy(), "grid_b2": grid_b.numpy()}
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(sigma_b2=settings.sigma_b2, width=settings.width, samples=settings.samples)


def _relaxation(settings: Relaxation, w: float, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    """Everything about one σ_w²; gaps of networks in float64, in which they may be tiny."""
    found = fixed_points(rs.TANH, w, settings.sigma_b2)
    depth = settings.layers + int(40 * max(float(found.xi_q), float(found.xi_c)))
    model = feed_forward(rs.TANH, w, settings.sigma_b2, settings.width)
    q = lengths(model, settings.q0, depth=depth).q
    away, gap = (q - found.q_star).abs().numpy(), gaps(model, settings.q0, settings.gap0, depth=depth).numpy()
    seen = rs.simulate(
        model,
        inputs(settings.q0, [settings.gap0]),
        depth=settings.layers,
        samples=settings.samples,
        observe=[log10_length, cosine],
        seed=seed,
    )
    length, length_error = mean_and_error(squared(seen["log10_length"][..., 0]))
    between, gap_error = mean_and_error(1 - seen["cosine"][..., 0, 1])
    last = settings.layers + 1
    layered = {
        "length": q[:last],
        "length_away": away[:last],
        "gap": gap[:last],
        "networks_length": length,
        "networks_length_error": length_error,
        "networks_gap": between,
        "networks_gap_error": gap_error,
    }
    single = {
        "q_star": found.q_star,
        "xi_q": depth_scale(away, _between(away, LATE_LENGTHS)),
        "xi_c": depth_scale(gap, _between(gap, LATE_GAPS)),
    }
    rows = {name: (("sigma_w2", "layer"), values) for name, values in layered.items()}
    return rows | {name: (("sigma_w2",), value) for name, value in single.items()}


def _between(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return (ends[0] < values) & (values < ends[1])


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """The phase diagram, and the approach of lengths and correlations to their fixed points."""
    colours = graded(ds.sizes["sigma_w2"])
    with house_style():
        fig = new_figure(2.9)
        left, middle, right = fig.subplots(1, 3, width_ratios=(1.15, 1, 1))
        panel_title(left, "a", "phases of tanh networks")
        _diagram(left, ds, colours)
        panel_title(middle, "b", r"lengths, $|q^l - q^*|$")
        panel_title(right, "c", r"correlations, $1 - c^l$")
        for colour, w in zip(colours, ds.sigma_w2.values.tolist(), strict=True):
            row = ds.sel(sigma_w2=w)
            middle.plot(row.layer, row.length_away, color=colour, linewidth=1.1)
            right.plot(row.layer, row.gap, color=colour, linewidth=1.1)
            _networks(middle, row, colour)
            shown = row.isel(layer=slice(0, None, 4))
            clear = shown.networks_gap > RESOLVED
            points(
                right,
                shown.layer[clear],
                shown.networks_gap[clear],
                shown.networks_gap_error[clear],
                colour,
            )
        for ax, last in ((middle, 24), (right, 60)):
            log_scale(ax, "y")
            ax.set(xlabel="layer $l$", xlim=(0, last), ylim=(FLOOR, 2))
        key(
            fig,
            {
                "infinite width": LINE,
                f"mean of {ds.attrs['samples']} networks of width {ds.attrs['width']}, 95 %": NETWORKS,
            },
        )
    return fig


def _networks(ax: Axes, row: xr.Dataset, colour: str) -> None:
    """Only where the mean length is further from q* than chance and finite width move it."""
    away = abs(row.networks_length - row.q_star)
    clear = away > 5 * row.networks_length_error + 3e-3 * row.q_star
    points(ax, row.layer[clear], away[clear], row.networks_length_error[clear], colour)


def _diagram(ax: Axes, ds: xr.Dataset, colours: list[str]) -> None:
    ax.fill_betweenx(ds.sigma_b2, -0.1, ds.boundary, color="#D7E6F4", linewidth=0)
    ax.fill_betweenx(ds.sigma_b2, ds.boundary, 3.0, color="#FBE3D2", linewidth=0)
    ax.plot(ds.boundary, ds.sigma_b2, color=BLACK, linewidth=1.3)
    bias = ds.attrs["sigma_b2"]
    for colour, w in zip(colours, ds.sigma_w2.values, strict=True):
        dot = {"linestyle": "none", "marker": "s", "markersize": 4, "color": colour}
        ax.plot([w], [bias], label=f"{w:g}", **dot)
    ax.set(xlabel=r"$\sigma_w^2$", ylabel=r"$\sigma_b^2$", xlim=(-0.07, 3), ylim=(0, 0.25))
    ax.grid(False)
    note(ax, 0.60, 0.88, "ordered", ha="right")
    note(ax, 0.97, 0.08, r"chaotic, $\chi_1 > 1$", ha="right")
    panel_legend(ax, r"$\sigma_w^2$ in b, c", loc="upper left", borderaxespad=0.3, handletextpad=0.2)


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Boundary and rates next to known values, networks next to infinite width."""
    off = np.abs(ds.boundary_known.values - np.array(list(BOUNDARY.values()))).max()
    cells = int((ds.chi_1 < 1).sum())
    claims = [
        at_most("boundary, largest distance to known points", off, 1e-6),
        equal("ordered cells of a grid of 26 × 26", cells, ORDERED_CELLS, 0),
    ]
    for w in ds.sigma_w2.values.tolist():
        row, scales = ds.sel(sigma_w2=w), SCALES[w]
        for name, known in zip(("xi_q", "xi_c"), scales, strict=True):
            where = f"sigma_w2 = {w:g}, {name} from late layers"
            claims.append(equal(where, row[name], known, 0.01 * known))
        width = ds.attrs["width"]
        mean, error = row.networks_length, row.networks_length_error
        claims.append(agrees(f"sigma_w2 = {w:g}, lengths", mean, error, row.length, 2 * row.length / width))
        row = row.sel(layer=row.gap > RESOLVED)
        mean, error, allowed = row.networks_gap, row.networks_gap_error, row.gap * (5 + row.layer) / width
        claims.append(agrees(f"sigma_w2 = {w:g}, correlations", mean, error, row.gap, allowed))
    return claims


CONTROLS = {
    "depth scales of a square root": Control(lambda ds: ds.assign(xi_c=2 * ds.xi_c), "xi_c from late layers"),
    "deviations for variances": Control(
        lambda ds: ds.assign(boundary_known=ds.boundary_known**0.5), "boundary"
    ),
}
