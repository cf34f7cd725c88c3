"""Figure 9 of Marion et al. (2025), on digits: accuracy of trained networks over the (H, beta) plane.

Weights start as fractional noise of Hurst index H along 200 layers, scaled as L^−beta, and are trained with
Adam; of five learning rates each cell has the one that is best on validation images. Maps are those of
networks with one matrix a layer (res-1) and with two (res-3), next to the boundary of explosion at
initialization, which is max(H, 1/4) and max(H, 1/2), and next to the edge of learning, 0.2 below.

For H below 1/2 the boundaries differ, and so do trained networks, though further down: where beta lies
between the two edges (grey), res-1 learns and res-3 does not. Between the boundaries themselves both learn.
For large H it is res-3 that learns further down, as its explosion is the weaker one.
"""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from experiments.execution import HERE, Execution
from experiments.marion import accuracy_plane
from paper_figs.marion import _accuracy_maps as accuracy_maps
from resnet_sde.claims import Claim

TRAINED = True
PANELS = 4
BUDGETS = {name: accuracy_plane.BUDGETS[name] for name in ("smoke", "cpu", "paper")}


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """Accuracy of every network at every learning rate."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


def draw(ds: xr.Dataset) -> Figure:
    """Maps of both blocks and of their difference."""
    return accuracy_maps.draw(ds)


def check(ds: xr.Dataset) -> list[Claim]:
    """The claims of this figure."""
    return accuracy_maps.check(ds, BUDGETS[ds.attrs["budget"]])


CONTROLS = accuracy_maps.CONTROLS
