"""Dropout bounds the depth of feed-forward networks that can be trained, at every variance of the weights.

After Schoenholz et al. (2017), figure 6, at a small size: the networks of the figure without dropout, of the
same dataset, with a share of the neurons kept at every step. With dropout ξ_c is finite everywhere, so that
there are depths at which no network can be trained, not even where networks without it are critical. L* is
the depth at which the accuracy falls through a threshold. Accuracies are on training images, without dropout.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figs._panels import colour_bar, graded, key, label_axes, panel_legend
from paper_figs._style import BLACK, house_style, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.schoenholz import _trainability as trainability
from paper_figs.schoenholz._trainability import LOW, SETTINGS, called, chosen, plain
from resnet_sde.claims import Claim, at_least, at_most

TRAINED = True
PANELS = 2
BUDGETS, compute = trainability.BUDGETS, trainability.compute


def dropped(ds: xr.Dataset) -> list[str]:
    """The settings with dropout."""
    return chosen(ds, lambda of: of.keep_rate < 1)


def draw(ds: xr.Dataset) -> Figure:
    """Accuracy over variance and depth for each keep rate; the depth that can be trained against ξ_c."""
    of = dropped(ds)
    with house_style():
        fig = new_figure(3.0)
        *left, right = fig.subplots(1, len(of) + 1)
        for ax, letter, setting in zip(left, "abc", of, strict=False):
            image = trainability.mapped(ax, ds, setting)
            panel_title(ax, letter, called(setting))
        label_axes(np.array([left]), trainability.WEIGHTS)
        colour_bar(fig, image, left, "training accuracy")
        panel_title(right, "abcd"[len(of)], "trained depth")
        _depths(right, ds)
        key(fig, trainability.KEY | trainability.side_key())
    return fig


def _depths(ax: Axes, ds: xr.Dataset) -> None:
    trainability.depth_axes(ax, ds)
    ax.set(ylabel=f"$L^*$ at accuracy {LOW:g}")
    of = [plain(ds), *dropped(ds)]
    for setting, colour in zip(of, [BLACK, *graded(len(of))[1:]], strict=True):
        trainability.against(ax, ds, setting, LOW, colour)
        label = called(setting) if SETTINGS[setting].keep_rate < 1 else "no dropout"
        ax.plot([], [], color=colour, linewidth=3, label=label)
    panel_legend(ax, loc="lower right")


def check(ds: xr.Dataset) -> list[Claim]:
    """Depths that follow the ξ_c of networks with dropout, and no deep networks at the critical line."""
    claims = []
    for of in dropped(ds):
        claims += [trainability.known_scales(ds, of), trainability.learned(ds, of)]
        claims.append(trainability.refused(ds, of))
        if ds.attrs["budget"] == "smoke":  # twenty steps: no accuracy reaches a threshold
            continue
        claims.append(trainability.correlated(ds, of, LOW))
        claims.append(trainability.multiple(ds, of, LOW, 4.5, 7.5))
    if ds.attrs["budget"] == "cpu":
        strongest = min(dropped(ds), key=lambda name: SETTINGS[name].keep_rate)
        claims.append(at_most(*trainability.cell(ds, strongest, 1.76, 48), 0.3))
        claims.append(at_least(*trainability.cell(ds, plain(ds), 1.76, 48), 0.85))
    return claims


CONTROLS = {
    "no dropout": Control(
        lambda ds: ds.assign(xi_c=ds.xi_c * 0 + ds.xi_c.isel(setting=0)), "keep rate 0.9, xi_c"
    ),
}
