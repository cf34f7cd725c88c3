"""What other learning rates and another optimizer make of the bound on the depth of feed-forward networks.

After Schoenholz et al. (2017), figure 7, at a small size: the networks of the figure for plain gradient
descent, of the same dataset, at other rates and with RMSprop. Below are the depths L* that can be trained, at
which the accuracy falls through a threshold, over two depth scales of infinitely wide networks: that of
correlations, ξ_c, and that of gradients. The scale that bounds the depth has a flat row; the numbers are the
relative spreads. With small steps it is ξ_c. With larger ones the ordered side gains, the critical line
loses, and neither scale suits well, that of gradients a little better. RMSprop moves weights away from where
they began, and trains ordered networks much deeper than ξ_c allows: the bound is one of the initialization
and of small steps.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.schoenholz.trainability import collapse, deepest
from paper_figs._panels import colour_bar, key, label_axes, note, ticks_within
from paper_figs._style import BLUE, ORANGE, house_style, log_scale, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.schoenholz import _trainability as trainability
from paper_figs.schoenholz._trainability import CORRELATED, LOW, SETTINGS, called, chosen, plain
from resnet_sde.claims import Claim, at_least, at_most

TRAINED = True
PANELS = 2
BUDGETS, compute = trainability.BUDGETS, trainability.compute
FAST = {"sgd": 0.03, "rmsprop": 3e-4}  # rates from which on steps are not small
KNOWN_RATES = {1.0: -0.2757, 2.5: 0.1253, 3.0: 0.1897, 4.0: 0.2945}  # σ_w²: log χ_1, whose 1/|·| is ξ_grad
SCALES = {
    "xi_c": (r"$L^*/\xi_c$", {"color": BLUE, "marker": "o"}),
    "xi_grad": (r"$L^*/|\xi_\nabla|$", {"color": ORANGE, "marker": "s", "fillstyle": "none"}),
}


def compared(ds: xr.Dataset) -> list[str]:
    """The settings without dropout."""
    return chosen(ds, lambda of: of.keep_rate == 1)


def draw(ds: xr.Dataset) -> Figure:
    """Accuracy over variance and depth for each setting; below, the depth that can be trained over scales."""
    of = compared(ds)
    with house_style():
        fig = new_figure(4.6)
        maps, ratios = axes = fig.subplots(2, len(of), squeeze=False, sharex="col", sharey="row")
        for ax, letter, setting in zip(maps, "abcd", of, strict=False):
            image = trainability.mapped(ax, ds, setting)
            panel_title(ax, letter, called(setting))
        for ax, letter, setting in zip(ratios, "abcdefgh"[len(of) :], of, strict=False):
            _ratios(ax, ds, setting)
            panel_title(ax, letter, called(setting))
        label_axes(axes[:1], trainability.WEIGHTS)
        ratios[0].set(ylabel=f"$L^*$ at accuracy {LOW:g}, over scale")
        colour_bar(fig, image, maps, "training accuracy")
        lines = {
            label: Line2D([], [], markersize=3.5, linewidth=0.8, **style) for label, style in SCALES.values()
        }
        key(fig, trainability.KEY | lines)
    return fig


def _ratios(ax: Axes, ds: xr.Dataset, setting: str) -> None:
    of = ds.sel(setting=setting)
    found = deepest(of, LOW).where(of.xi_c < float(ds.depth.max()))
    for x, (scale, (_, style)) in zip((0.04, 0.5), SCALES.items(), strict=True):
        ax.plot(of.sigma_w2, found / of[scale], markersize=3.5, linewidth=0.8, **style)
        spread = trainability.spread(ds, setting, scale)
        if np.isfinite(spread):
            note(ax, x, 0.06, rf"$\pm$ {spread:.0%}", color=style["color"])
    log_scale(ax, "xy")
    ax.set(ylim=(2.5, 25), xlabel=r"$\sigma_w^2$")
    ticks_within(ax, "x", trainability.WEIGHTS)
    ticks_within(ax, "y", (3, 5, 10, 20))


def check(ds: xr.Dataset) -> list[Claim]:
    """Small steps obey the bound, larger ones that of gradients, and larger ones of RMSprop none."""
    at = [w for w in KNOWN_RATES if w in ds.sigma_w2.values]
    found = 1 / ds.xi_grad.sel(setting=plain(ds), sigma_w2=at)
    off = float(abs(found - [abs(KNOWN_RATES[w]) for w in at]).max())
    claims = [at_most("1/|xi_grad|, largest distance to known values", off, 5e-5)]
    claims += [trainability.learned(ds, of) for of in compared(ds)]
    if ds.attrs["budget"] == "smoke":  # twenty steps: no accuracy reaches a threshold
        return claims
    for of in compared(ds):
        setting = SETTINGS[of]
        if setting.lr < FAST[setting.optimizer]:
            claims.append(trainability.correlated(ds, of, LOW))
        elif setting.optimizer != "sgd":
            claims += _breaks(ds, of)
        else:
            name = f"{called(of)}, relative spread of L*/|xi_grad| over that of L*/xi_c"
            claims.append(at_most(name, trainability.spreads(ds, of), 1.0))
    return claims


def _breaks(ds: xr.Dataset, setting: str) -> list[Claim]:
    """The bound does not hold: L* does not follow ξ_c, and the most ordered networks exceed it."""
    found = collapse(ds, setting, LOW)["correlation"]
    name = f"{called(setting)}, correlation of log L* and log xi_c at accuracy {LOW:g}"
    claims = [at_most(name, found, CORRELATED)]
    of = ds.sel(setting=[plain(ds), setting])
    multiples = (deepest(of, LOW) / of.xi_c).where(of.xi_c < float(ds.depth.max()))
    most = float(multiples.sel(setting=setting).isel(sigma_w2=0) / multiples.sel(setting=plain(ds)).max())
    name = f"{called(setting)}, L*/xi_c of the most ordered networks over the largest of {called(plain(ds))}"
    return [*claims, at_least(name, most, 1.0)]


CONTROLS = {
    "gradients that decay like correlations": Control(lambda ds: ds.assign(xi_grad=ds.xi_c), "1/|xi_grad|"),
}
