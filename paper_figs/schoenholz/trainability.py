"""How deep a feed-forward network may be to be trained, next to the depth scale of correlations.

After Schoenholz et al. (2017), figure 5, at a small size: tanh and σ_b² = 0.05, after a fixed number of steps
of plain gradient descent. L* is the depth at which the mean training accuracy falls through a threshold; bars
reach from the least to the largest of single networks. It is a multiple of ξ_c, the depth over which two
inputs of an infinitely wide network keep their correlation, in both phases, and near the critical line all
depths at hand can be trained. The multiple depends on the threshold, on the number of steps and on the rate:
it is no constant of the theory.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.schoenholz.trainability import collapse
from paper_figs._panels import colour_bar, key, label_axes, panel_legend
from paper_figs._style import BLUE, ORANGE, house_style, new_figure, panel_title
from paper_figs.controls import Control
from paper_figs.schoenholz import _trainability as trainability
from paper_figs.schoenholz._trainability import HIGH, LOW, called, plain
from resnet_sde.claims import Claim, at_least, at_most, between

TRAINED = True
PANELS = 2
BUDGETS, compute = trainability.BUDGETS, trainability.compute
SHADES = {LOW: ORANGE, HIGH: BLUE}  # of panel b, by threshold
# Where log ξ_c has deviation 0.75 over ten variances and L*/ξ_c scatters by a quarter, the slope of log L*
# over log ξ_c has standard error 0.25 / (0.75 √10) = 0.1, of which three are granted.
SLOPE = (0.7, 1.3)


def draw(ds: xr.Dataset) -> Figure:
    """Accuracy over variance and depth; the depth that can be trained against the depth scale."""
    with house_style():
        fig = new_figure(3.5)
        left, right = fig.subplots(1, 2)
        image = trainability.mapped(left, ds, plain(ds))
        label_axes(np.array([[left]]), trainability.WEIGHTS)
        colour_bar(fig, image, left, "training accuracy")
        panel_title(left, "a", f"{called(plain(ds))}")
        panel_title(right, "b", r"depth that can be trained")
        _depths(right, ds)
        key(fig, trainability.KEY | trainability.side_key())
    return fig


def _depths(ax: Axes, ds: xr.Dataset) -> None:
    trainability.depth_axes(ax, ds)
    xi = np.array(ax.get_xlim())
    for threshold, colour in SHADES.items():
        trainability.against(ax, ds, plain(ds), threshold, colour)
        n = collapse(ds, plain(ds), threshold)["mean"]
        label = f"{threshold:g}" + (rf": $L^* = {n:.1f}\,\xi_c$" if np.isfinite(n) else "")
        ax.plot(xi, n * xi, color=colour, linewidth=1.1, linestyle=(0, (4, 2)), label=label)
    panel_legend(ax, "accuracy", loc="lower right")


def check(ds: xr.Dataset) -> list[Claim]:
    """Depths that follow ξ_c in both phases, and cells that can and that cannot be trained."""
    of = plain(ds)
    claims = [
        trainability.known_scales(ds, of),
        trainability.learned(ds, of),
        trainability.refused(ds, of),
    ]
    if ds.attrs["budget"] == "smoke":  # twenty steps: no accuracy reaches a threshold
        return claims
    claims += [trainability.correlated(ds, of, threshold) for threshold in (HIGH, LOW)]
    claims.append(trainability.multiple(ds, of, HIGH, 3.5, 7))
    for threshold in (HIGH, LOW):
        slope = collapse(ds, of, threshold)["slope"]
        claims.append(between(f"slope of log L* over log xi_c at accuracy {threshold:g}", slope, *SLOPE))
    name = "relative spread of L*/|xi_grad| over that of L*/xi_c"
    claims.append(at_least(name, trainability.spreads(ds, of), 1.0))
    if ds.attrs["budget"] == "cpu":
        claims.append(at_least(*trainability.cell(ds, of, 1.76, 48), 0.85))
        claims.append(at_most(*trainability.cell(ds, of, 9.0, 48), 0.25))
    return claims


CONTROLS = {
    "networks that forget nothing": Control(
        lambda ds: ds.assign(train_accuracy=ds.train_accuracy * 0 + ds.train_accuracy.max()),
        "from 10 xi_c on",
    ),
    "networks that learn nothing": Control(
        lambda ds: ds.assign(train_accuracy=ds.train_accuracy * 0 + 0.1), "shallowest"
    ),
    "depths the wrong way": Control(
        lambda ds: ds.assign_coords(depth=ds.depth[::-1]).sortby("depth"), "SGD, rate 0.01"
    ),
    "depth scales of a square root": Control(lambda ds: ds.assign(xi_c=2 * ds.xi_c), "xi_c, largest"),
}
