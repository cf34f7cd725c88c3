"""What the figures of infinite width share: networks, inputs, claims, and pieces of panels."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

import resnet_sde as rs
from paper_figs._style import BLACK
from resnet_sde._versions import current_versions
from resnet_sde.claims import Claim, at_most

Z = 5.0  # standard errors that a claim grants to chance: two-sided false alarm 6e-7
INTERVAL = 1.96  # standard errors of the intervals drawn, 95 %
SMALL = 7  # points, of legends and notes inside panels


def feed_forward(phi: rs.Activation, sigma_w2: float, sigma_b2: float, width: int = 1) -> rs.Model:
    """The network h ← σ_w W φ(h) / √width + σ_b b; h_0 is the first pre-activation."""
    return rs.Model(rs.SingleLayer(phi, sigma_w2, sigma_b2), rs.WhiteNoise(), width, beta=0.0, skip=0.0)


def residual(block: rs.Block, width: int = 1) -> rs.Model:
    """The residual network h ← h + V g(h), not scaled with depth."""
    return rs.Model(block, rs.WhiteNoise(), width, beta=0.0)


def float64(values: Iterable[float]) -> Tensor:
    """A tensor of numbers, whatever torch's default precision."""
    return torch.tensor(list(values), dtype=torch.float64)


def inputs(q: float, gaps: Sequence[float] = ()) -> Tensor:
    """One input, and one more at each 1 − cosine to it; h_0 has mean square q. Shape (input, 2), float64."""
    cosine = 1 - float64([0.0, *gaps])
    return torch.stack([cosine, (1 - cosine.square()).clamp_min(0).sqrt()], 1) * (2 * q) ** 0.5


def squared(log10: Tensor) -> Tensor:
    """The square of what the observables give as log₁₀."""
    return torch.pow(100.0, log10.double())


def mean_and_error(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the networks, which are the first axis, and its standard error."""
    return values.mean(0).numpy(), (values.std(0) / len(values) ** 0.5).numpy()


def dataset(
    variables: Mapping[Hashable, tuple[Sequence[str] | str, object]],
    coordinates: Mapping[str, object],
    settings: object,
    budget: str,
    seed: int,
) -> xr.Dataset:
    """Labelled numbers that say how they were made; axes without coordinates are counted from 0."""
    arrays = {name: (dims, np.asarray(values)) for name, (dims, values) in variables.items()}
    made = {"seed": seed, "budget": budget, "experiment": repr(settings)}
    ds = xr.Dataset(arrays, coordinates, made | {"versions": json.dumps(current_versions())})
    return ds.assign_coords({dim: range(size) for dim, size in ds.sizes.items() if dim not in ds.coords})


# Fits


def fitted_slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the least squares line; NaN for fewer than two points."""
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else float("nan")


def depth_scale(distance: np.ndarray, window: np.ndarray) -> float:
    """ξ in distance ~ exp(−layer / ξ), over the layers of the window."""
    layers = np.flatnonzero(window)
    return -1 / fitted_slope(layers, np.log(distance[layers]))


# Claims


def agrees(
    name: str, mean: object, error: object, theory: object, allowed: object = 0.0, z: float = Z
) -> Claim:
    """Means of networks next to theory: largest distance over what finite width and chance explain."""
    mean, error, theory, allowed = (np.asarray(x, dtype=float) for x in (mean, error, theory, allowed))
    ratio = np.abs(mean - theory) / (allowed + z * error)
    return at_most(f"{name}, networks, largest distance to theory over what is allowed", ratio.max(), 1)


def tabulated(name: str, values: object, expected: object, relative: float) -> Claim:
    """Largest relative deviation from a table of known values."""
    values, expected = np.asarray(values, dtype=float), np.asarray(expected, dtype=float)
    off = np.abs(values / expected - 1).max()
    return at_most(f"{name}, largest relative deviation from known values", off, relative)


# Panels


def graded(count: int) -> list[str]:
    """Colours for values in order, from dark to light; colour-blind readers tell them apart."""
    return [to_hex(mpl.colormaps["viridis"](shade)) for shade in np.linspace(0.0, 0.88, count)]


def points(ax: Axes, x: object, mean: object, error: object, colour: str, marker: str = "o") -> None:
    """Means of networks with their intervals."""
    ax.errorbar(
        np.asarray(x),
        np.asarray(mean),
        yerr=INTERVAL * np.asarray(error),
        color=colour,
        marker=marker,
        markersize=3,
        markeredgecolor="white",
        markeredgewidth=0.3,
        linestyle="none",
        elinewidth=0.9,
        zorder=3,
    )


NETWORKS = Line2D([], [], color=BLACK, marker="o", markersize=3, linestyle="none")
LINE = Line2D([], [], color=BLACK, linewidth=1.3)
DASHED = Line2D([], [], color=BLACK, linewidth=1.1, linestyle=(0, (4, 2)))
DOTTED = Line2D([], [], color=BLACK, linewidth=1.1, linestyle=(0, (1, 1.5)))


def key(fig: Figure, entries: Mapping[str, Line2D]) -> None:
    """What lines and points mean in all panels, below them."""
    columns = min(4, len(entries))
    fig.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.4,
    )


def panel_legend(ax: Axes, title: str = "", **options: object) -> None:
    """A small legend inside a panel."""
    defaults = {"fontsize": SMALL, "title_fontsize": SMALL, "handlelength": 1.2, "labelspacing": 0.25}
    ax.legend(**({"title": title or None} | defaults | options))


def note(ax: Axes, x: float, y: float, text: str, **options: object) -> None:
    """A few small words in a panel, placed in fractions of it."""
    ax.text(x, y, text, **({"transform": ax.transAxes, "fontsize": SMALL} | options))
