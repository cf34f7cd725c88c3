"""Gradients of weights vanish in ordered and explode in chaotic networks, at the depth scale of the theory.

After Schoenholz et al. (2017), figure 4; feed-forward tanh networks whose top gradient is random. Lines are
infinite width, or the typical network of the width at hand; points are random networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import resnet_sde as rs
from experiments.wide import dataset, feed_forward, float64, inputs, mean_and_error, squared
from paper_figs._claims import Z, agrees
from paper_figs._panels import DASHED, LINE, NETWORKS, graded, key, panel_legend, points
from paper_figs._style import house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from resnet_sde.claims import Claim, at_least, at_most, equal
from resnet_sde.meanfield import parameter_gradients
from resnet_sde.meanfield.fluctuations import gradient_log_variance
from resnet_sde.meanfield.phases import fixed_points
from resnet_sde.observables import log10_gradient_length, observable

CRITICAL = 1.76095463961  # σ_w² at σ_b² = 0.05, rounded: its last digits are other ones on other machines


@dataclass(frozen=True)
class Gradients:
    """Networks that start at mean square q*; pairs of them for the covariance, orthogonal as c* says.

    pairs: networks that show the covariance of the gradients of two inputs.
    """

    sigma_w2: tuple[float, ...]
    depth: int
    samples: int
    pairs: int
    width: int = 300
    sigma_b2: float = 0.05
    pair_w2: float = 2.5
    pair_depth: int = 8


BUDGETS = {
    "smoke": Gradients((1.5, 2.0), depth=60, samples=30, pairs=200),
    "paper": Gradients((1.0, 1.3, 1.5, CRITICAL, 2.0, 2.5, 3.0, 4.0), depth=240, samples=100, pairs=800),
}
SHOWN = (1.0, 1.5, CRITICAL, 2.0, 2.5, 4.0)  # σ_w² of the first panel
CUT = 5  # layers left out at both ends of a fit
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
LINES = np.round(np.arange(50, 411) / 100, 2)  # σ_w² of the lines


@observable("layer", every_layer=True, gradients=True)
def log_weight_gradient(t: rs.Trajectory) -> Tensor:
    """Log of ‖∂E/∂W‖² of the matrix above every layer of a tanh network. Shape: (sample, depth)."""
    above = math.log(100) * log10_gradient_length(t)[:, 1:, 0]
    width = t.hidden.scaled[0].shape[-1]
    squares = [t.hidden.natural(k)[:, 0].tanh().square().sum(-1) for k in range(above.shape[1])]
    return above + math.log(width) + torch.stack(squares, dim=1).log()


@observable("layer", every_layer=True, gradients=True)
def gradient_products(t: rs.Trajectory) -> Tensor:
    """⟨δ_l, δ'_l⟩ of two inputs that have the same gradient at the top, over its square; (sample, layer)."""
    assert t.adjoint is not None
    pairs = [t.adjoint.natural(k) for k in range(len(t.adjoint.scaled))]
    products = torch.stack([(p[:, 0] * p[:, 1]).sum(-1) for p in pairs], dim=1)
    return products / products[:, -1:]


def compute(budget: str, seed: int) -> xr.Dataset:
    """Gradients of networks beside their theory."""
    settings = BUDGETS[budget]
    b, width = settings.sigma_b2, settings.width
    weights = float64(settings.sigma_w2)
    networks = [_networks(settings, w, seed) for w in settings.sigma_w2]
    logs = np.stack([found for found, _ in networks])
    lines, found = (fixed_points(rs.TANH, w, b) for w in (torch.from_numpy(LINES), weights))
    rows = ("sigma_w2", "layer")
    variables = {
        "gradient": (rows, logs.mean(1)),
        "gradient_error": (rows, logs.std(1, ddof=1) / logs.shape[1] ** 0.5),
        "gradient_theory": (rows, np.stack([theory for _, theory in networks])),
        "slope": (("sigma_w2", "sample"), _slopes(logs)),
        "log_chi_1": ("sigma_w2", found.chi_1.log()),
        "log_variance": ("sigma_w2", gradient_log_variance(rs.TANH, weights, b) / width),
        "line_log_chi_1": ("line_w2", lines.chi_1.log()),
        "line_log_variance": ("line_w2", gradient_log_variance(rs.TANH, torch.from_numpy(LINES), b) / width),
    }
    axes = {"sigma_w2": list(settings.sigma_w2), "line_w2": LINES}
    ds = dataset(variables | _pairs(settings, seed), axes, settings, budget, seed)
    names = ("width", "samples", "pairs", "sigma_b2", "pair_w2")
    return ds.assign_attrs({name: getattr(settings, name) for name in names})


def _networks(settings: Gradients, w: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logs of squared gradients of all networks (sample, layer), and at infinite width (layer,).

    They are those of one entry, where the gradient of a top coordinate has mean square 1.
    """
    q = float(fixed_points(rs.TANH, w, settings.sigma_b2).q_star)
    model = feed_forward(rs.TANH, w, settings.sigma_b2, settings.width)
    seen = rs.simulate(
        model,
        inputs(q).float(),
        depth=settings.depth,
        samples=settings.samples,
        observe=[log_weight_gradient],
        seed=seed,
    )
    theory = parameter_gradients(model, q, depth=settings.depth).log_outer
    assert theory is not None
    return (seen["log_weight_gradient"] - 2 * math.log(settings.width)).numpy(), theory.numpy()


def _slopes(logs: np.ndarray) -> np.ndarray:
    """By how much the log grows for each layer that a gradient goes down; one for each network."""
    layers = np.arange(CUT, logs.shape[-1] - CUT)
    flat = logs[..., CUT : logs.shape[-1] - CUT].reshape(-1, len(layers))
    return -np.polyfit(layers, flat.T, 1)[0].reshape(logs.shape[:-1])


def _pairs(settings: Gradients, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    """Covariance and square of the gradients of two inputs, by layers crossed."""
    found = fixed_points(rs.TANH, settings.pair_w2, settings.sigma_b2)
    seen = rs.simulate(
        feed_forward(rs.TANH, settings.pair_w2, settings.sigma_b2, settings.width),
        inputs(float(found.q_star), [float(found.one_minus_c_star)]).float(),
        depth=settings.pair_depth,
        samples=settings.pairs,
        observe=[gradient_products, log10_gradient_length],
        seed=seed,
    )
    squares = squared(seen["log10_gradient_length"][..., 0])
    rows = {}
    crossed = torch.arange(settings.pair_depth + 1)
    for name, values, factor in (
        ("covariance", seen["gradient_products"], found.chi_c),
        ("square", squares / squares[:, -1:], found.chi_1),
    ):
        mean, error = mean_and_error(values.flip(1))
        rows |= {name: mean, f"{name}_error": error, f"{name}_theory": factor**crossed}
    return {name: (("crossed",), values) for name, values in rows.items()}


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
