"""Figure 9 of Marion et al. (2025), on Fashion-MNIST: accuracy of trained networks over the (H, beta) plane.

As on digits, with 28 by 28 pixels and 60,000 images, which networks of 200 layers see three times; there are
nine cells and three learning rates. At H = beta = 0.1, between the two edges of learning, res-1 learns and
res-3 does so by half; for beta of 1/2 and more there is no difference.

At the budget paper the grid is ten by ten, with five rates, one seed, 1000 layers and ten epochs.
"""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from experiments.execution import HERE, Execution
from experiments.marion import accuracy_plane
from paper_figs.marion import _accuracy_maps as accuracy_maps
from resnet_sde.claims import Claim

_NAMES = {"smoke": "smoke", "cpu": "cpu-fashion", "paper": "paper"}
TRAINED = True
PANELS = 4
BUDGETS = {name: accuracy_plane.BUDGETS[of] for name, of in _NAMES.items()}


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
