"""How much the readout of erf networks responds to the length of the input, at which residual scale ρ.

After Fischer, Dahmen & Helias (2023); lines are infinite width, points are random networks, in which the
response is a difference quotient with the same random numbers. Residual networks have σ_w² = 1 and σ_b² =
K_0 = 0.05; feed-forward ones forget their input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from experiments.fischer.finite_width import Networks, last_squares, squares
from experiments.wide import dataset, depth_scale, mean_and_error
from paper_figs._claims import equals
from paper_figs._panels import (
    DASHED,
    DASHES,
    LINE,
    MAXIMUM,
    NETWORKS,
    TRIANGLE,
    graded,
    key,
    note,
    panel_legend,
    points,
    ticks,
)
from paper_figs._style import BLUE, GREEN, VERMILLION, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.fischer._claims import agrees
from resnet_sde.claims import Claim, equal
from resnet_sde.finite_width import diagonal_optimum, output_response
from resnet_sde.finite_width.continuum import Growth
from resnet_sde.finite_width.squares import squares as moments_of_squares


@dataclass(frozen=True)
class Responses:
    """Responses of networks of some depths against ρ, and of simulated ones of one depth."""

    scales: int
    width: int
    samples: int
    simulated_depths: tuple[int, ...]
    depths: tuple[int, ...] = (5, 10, 20, 50, 100)
    scaled_depths: tuple[int, ...] = (20, 50, 100, 500)


BUDGETS = {
    "smoke": Responses(31, width=128, samples=300, simulated_depths=(20,)),
    "paper": Responses(121, width=128, samples=2000, simulated_depths=(5, 20, 100)),
}
NETS = {  # of panel a
    "residual": Networks(depth=20, gain=0.2365),
    "feed-forward, 2": Networks(depth=20, gain=1.0, sigma_w2=2.0, k0=0.2, skip=0.0),
    "feed-forward, 1.2": Networks(depth=20, gain=1.0, sigma_w2=1.2, k0=0.5, skip=0.0),
}
COLOURS = dict(zip(NETS, (BLUE, VERMILLION, GREEN), strict=True))
SIMULATED = ("simulated_depth", "simulated_scale")
SIMULATED_SCALES = (0.05, 0.0765, 0.117, 0.179, 0.2739, 0.419, 0.6409, 0.9805)
RECOMMENDED = (0.1, 0.3)  # residual scales that Szegedy et al. (2017) found to stabilise training
SMALLEST, LARGEST = 0.02, 1.5  # scales of panels b and d
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1)
FURTHEST = 2.5  # of panel c
TABLE_SCALES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 1.0)
TABLE = {  # L: responses there
    5: (1.06560211, 1.09218278, 1.13536056, 1.19312938, 1.26213446, 1.33736943, 1.55536466, 0.83842534),
    10: (1.07452474, 1.12697658, 1.20941283, 1.31136695, 1.41408453, 1.49150626, 1.23461816, 0.25716431),
    20: (1.09223940, 1.19366892, 1.33682419, 1.46381989, 1.49384045, 1.38331799, 0.54524871, 0.07388330),
    50: (1.14415283, 1.36010512, 1.48766102, 1.28184216, 0.89265586, 0.56965123, 0.11807200, 0.01547882),
    100: (1.22536648, 1.48352989, 1.17608419, 0.64729963, 0.33710388, 0.18764073, 0.03615460, 0.00502051),
}
PEAKS = {5: 0.52394, 10: 0.34564, 20: 0.23650, 50: 0.14674, 100: 0.10311}
SCALED_PEAKS = {20: (1.0577, 1.499), 500: (1.0260, 1.482)}  # ρ√L there, and the response
COLLAPSED = 1.5  # the ρ√L up to which the distance to infinite depth is looked at
COLLAPSE = {50: 0.02727, 100: 0.01371}  # the largest one, relative
LAST_RESPONSE = 2.49752  # dK_20/dK_0 of the residual network
DECAY = {"feed-forward, 1.2": 1.541, "feed-forward, 2": 1.073}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Responses layer by layer and against ρ."""
    settings = BUDGETS[budget]
    scales = np.geomspace(SMALLEST, LARGEST, settings.scales)
    products = np.linspace(0, FURTHEST, settings.scales)[1:]  # has COLLAPSED
    deep = settings.scaled_depths
    variables = _layers(settings, seed) | _simulated(settings, seed)
    variables |= {
        "response": (("depth", "scale"), [_responses(depth, scales) for depth in settings.depths]),
        "tabulated": (
            ("depth", "table_scale"),
            [_responses(depth, TABLE_SCALES) for depth in settings.depths],
        ),
        "peak": (("depth", "at"), [_peak(depth) for depth in settings.depths]),
        "scaled": (("scaled_depth", "product"), [_responses(n, products / math.sqrt(n)) for n in deep]),
        "scaled_peak": (("scaled_depth", "at"), [_peak(depth) for depth in deep]),
        "limit": ("product", _limit(products)),
    }
    axes = {"depth": list(settings.depths), "scale": scales, "table_scale": list(TABLE_SCALES)}
    axes |= {"scaled_depth": list(deep), "product": products, "at": ["scale", "response"]}
    axes |= {
        "network": list(NETS),
        "of": ["K", "C"],
        "layer": range(21),
        "simulated_scale": list(SIMULATED_SCALES),
    }
    axes |= {"simulated_depth": list(settings.simulated_depths), "estimate": ["value", "error"]}
    ds = dataset(variables, axes, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples)


def _layers(settings: Responses, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    theory, found = [], []
    for networks in NETS.values():
        of = networks.theory()
        theory.append(torch.stack([of.kernel_response[:, 0], of.branch_response[:, 0]]))
        slopes = networks.slopes(settings.width, settings.samples, squares, seed)
        slopes[:, 1] *= networks.sigma_w2
        found.append(mean_and_error(slopes))
    dims = ("network", "of", "layer")
    means, errors = zip(*found, strict=True)
    return {
        "layer_response": (dims, torch.stack(theory)),
        "networks_layer_response": (dims, np.stack(means)),
        "networks_layer_response_error": (dims, np.stack(errors)),
    }


def _simulated(settings: Responses, seed: int) -> dict[str, tuple[tuple[str, ...], object]]:
    def found(depth: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
        networks = Networks(depth, scale)
        return mean_and_error(networks.slopes(settings.width, settings.samples, last_squares, seed)[:, 1])

    depths = settings.simulated_depths
    return {
        "simulated_theory": (SIMULATED, [_responses(depth, SIMULATED_SCALES) for depth in depths]),
        "simulated": ((*SIMULATED, "estimate"), [[found(n, x) for x in SIMULATED_SCALES] for n in depths]),
    }


def _responses(depth: int, scales: object) -> list[float]:
    base = [Networks(depth, float(scale)) for scale in np.asarray(scales)]
    return [output_response(networks.model(), networks.k0, depth=depth) for networks in base]


def _peak(depth: int) -> tuple[float, float]:
    best = diagonal_optimum(Networks(depth, 1.0).model(), Networks(depth, 1.0).k0, depth=depth)
    assert best.scale is not None
    return best.scale, _responses(depth, [best.scale])[0]


def _limit(products: np.ndarray) -> np.ndarray:
    """The response a(K) G(K) / G(K_0) of infinitely deep networks, where ρ² L = ∫ dK / G from K_0 to K."""
    networks = Networks(1, 1.0)
    growth = Growth(networks.model().block)
    k = torch.as_tensor(np.geomspace(networks.k0 * (1 + 1e-9), 20, 600))
    times = np.array([growth.time(networks.k0, end) for end in k.tolist()])
    return np.interp(products, np.sqrt(times), _end(growth, k, networks.k0).numpy())


def _end(growth: Growth, k: Tensor, k0: float) -> Tensor:
    slope = moments_of_squares(growth.block.activation).slope(k)
    return slope * growth.rate(k) / growth.rate(torch.tensor([k0], dtype=torch.float64))


# The picture


def draw(ds: xr.Dataset) -> Figure:
    """Along the layers, and against the residual scale: theory, collapse, and networks."""
    with house_style():
        fig = new_figure(4.8)
        axes = fig.subplots(2, 2)
        many, width = (ds.attrs[name] for name in ("samples", "width"))
        titles = (
            "response along the layers",
            "readout against $ρ$",
            "readout against $ρ\\sqrt{L}$",
            "networks",
        )
        for ax, letter, title in zip(axes.flat, "abcd", titles, strict=True):
            panel_title(ax, letter, title)
        _along(axes[0, 0], ds)
        _against(axes[0, 1], ds)
        _collapse(axes[1, 0], ds)
        _networks(axes[1, 1], ds)
        entries = {
            "infinite width": LINE,
            "a: $dK^l\\!/dK^0$": DASHED,
            f"{many} networks of width {width}, 95 %": NETWORKS,
        }
        key(fig, entries | {"maximum": MAXIMUM})
    return fig


def _along(ax: Axes, ds: xr.Dataset) -> None:
    labels = ("residual", r"feed-forward, $σ_w^2 = 2$", r"feed-forward, $σ_w^2 = 1.2$")
    for (name, colour), label in zip(COLOURS.items(), labels, strict=True):
        row = ds.sel(network=name, of="C")
        ax.plot(row.layer, row.layer_response, color=colour, linewidth=1.2, label=label)
        error = row.networks_layer_response_error
        points(ax, row.layer, row.networks_layer_response, error, colour)
        of_states = ds.layer_response.sel(network=name, of="K")
        ax.plot(row.layer, of_states, color=colour, **DASHES)
    log_scale(ax, "y")
    ax.set(xlabel="layer $l$", ylabel=r"$dC^l\!/dK^0$", xlim=(-0.5, 20.5), xticks=range(0, 21, 5))
    panel_legend(ax, loc="lower left")


def _against(ax: Axes, ds: xr.Dataset) -> None:
    ax.axvspan(*RECOMMENDED, color="#ECECEC", linewidth=0)
    for colour, depth in zip(graded(ds.sizes["depth"]), ds.depth.values.tolist(), strict=True):
        row = ds.sel(depth=depth)
        ax.plot(row.scale, row.response, color=colour, linewidth=1.2, label=f"{depth}")
        ax.plot(*row.peak.values, color=colour, **TRIANGLE)
    _scales(ax)
    panel_legend(ax, "$L$", loc="lower left")
    note(ax, math.log(0.1732 / SMALLEST) / math.log(LARGEST / SMALLEST), 0.03, "0.1 to 0.3", ha="center")


def _collapse(ax: Axes, ds: xr.Dataset) -> None:
    for colour, depth in zip(graded(ds.sizes["scaled_depth"]), ds.scaled_depth.values.tolist(), strict=True):
        row = ds.sel(scaled_depth=depth)
        ax.plot(row.product, row.scaled, color=colour, linewidth=1.2, label=f"{depth}")
    ax.plot(
        ds.product,
        ds.limit,
        color=VERMILLION,
        **DASHES,
        label="$\\infty$",
    )
    ax.set(xlabel="$ρ\\sqrt{L}$", ylabel=r"$dC/dK^0$", xlim=(0, FURTHEST), ylim=(0, 1.72))
    panel_legend(ax, "$L$", loc="lower left")


def _networks(ax: Axes, ds: xr.Dataset) -> None:
    colours = dict(zip(ds.depth.values.tolist(), graded(ds.sizes["depth"]), strict=True))
    for depth in ds.simulated_depth.values.tolist():
        row, colour = ds.sel(depth=depth, simulated_depth=depth), colours[depth]
        ax.plot(row.scale, row.response, color=colour, linewidth=1.2, label=f"{depth}")
        found = row.simulated
        points(ax, row.simulated_scale, found.sel(estimate="value"), found.sel(estimate="error"), colour)
    _scales(ax)
    panel_legend(ax, "$L$", loc="lower left")


def _scales(ax: Axes) -> None:
    log_scale(ax, "x")
    ticks(ax, "x", TICKS)
    ax.set(xlabel="residual scale $ρ$", ylabel=r"$dC/dK^0$", xlim=(SMALLEST, LARGEST), ylim=(0, 1.72))


# The claims


def check(ds: xr.Dataset) -> list[Claim]:
    """Responses next to known values, the maxima where they belong, networks next to theory."""
    table = np.array([TABLE[depth] for depth in ds.depth.values.tolist()])
    peaks = [PEAKS[depth] for depth in ds.depth.values.tolist()]
    claims = [
        equals("response of the readout", ds.tabulated, table, 1e-8),
        equals("scale of the maximum", ds.peak.sel(at="scale"), peaks, 1e-4),
    ]
    for depth, (product, height) in SCALED_PEAKS.items():
        row = ds.scaled_peak.sel(scaled_depth=depth)
        found = float(row.sel(at="scale")) * math.sqrt(depth)
        claims.append(equal(f"L = {depth}, ρ√L of the maximum", found, product, 1e-4))
        claims.append(equal(f"L = {depth}, height of the maximum", row.sel(at="response"), height, 1e-3))
    near = ds.sel(product=ds.product < COLLAPSED + 1e-9)
    for depth, known in COLLAPSE.items():
        off = float(abs(near.scaled.sel(scaled_depth=depth) / near.limit - 1).max())
        name = f"L = {depth}, relative distance to infinite depth for ρ√L up to {COLLAPSED:g}"
        claims.append(equal(name, off, known, 1e-4))
    return claims + _of_layers(ds) + _of_networks(ds)


def _of_layers(ds: xr.Dataset) -> list[Claim]:
    last = ds.layer_response.sel(network="residual", of="K").isel(layer=-1)
    claims = [equal("residual, dK_20/dK_0", last, LAST_RESPONSE, 1e-5)]
    for name, known in DECAY.items():
        response = ds.layer_response.sel(network=name, of="C").values
        late = ds.layer.values >= 10
        claims.append(equal(f"{name}, decay length", depth_scale(response, late), known, 0.01 * known))
    return claims


def _of_networks(ds: xr.Dataset) -> list[Claim]:
    found, error = (ds.simulated.sel(estimate=which) for which in ("value", "error"))
    theory = ds.simulated_theory
    claims = [agrees("response against ρ", found, error, theory, 0.015 * theory)]
    row = ds.sel(network="residual")
    error, theory = row.networks_layer_response_error, row.layer_response
    allowed = 2 / ds.attrs["width"]
    claims.append(agrees("response along layers", row.networks_layer_response, error, theory, allowed))
    return claims


def _without_the_readout(ds: xr.Dataset) -> xr.Dataset:
    """The response of the states, which has no maximum."""
    states = [
        [
            Networks(depth, scale).theory().kernel_response[-1, 0]
            for scale in ds.simulated_scale.values.tolist()
        ]
        for depth in ds.simulated_depth.values.tolist()
    ]
    return ds.assign(simulated_theory=(SIMULATED, np.array(states, dtype=float)))


def _of_another_exponent(ds: xr.Dataset) -> xr.Dataset:
    """Optimal scales fall like L^−0.45."""
    factor = xr.where(ds.scaled_peak["at"] == "scale", (ds.scaled_depth / 20) ** 0.05, 1.0)
    return ds.assign(scaled_peak=ds.scaled_peak * factor)


CONTROLS = {
    "states for readouts": Control(_without_the_readout, "response against ρ"),
    "optimal scales like L^-0.45": Control(_of_another_exponent, "L = 500, ρ√L of the maximum"),
}
