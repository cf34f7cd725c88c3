"""Figure 8 of Marion et al. (2025), on Fashion-MNIST: weights along depth, before and after training.

As on digits, with 28 by 28 pixels, 60,000 images and ten times as many steps: smooth weights stay smooth and
independent ones stay rough, while what training adds (black) is smooth along depth in all cases.

Networks have 200 layers and see every image three times; at the budget paper they have 1000 layers and see it
ten times, as those of the paper did the digits of MNIST.
"""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from experiments.execution import HERE, Execution
from experiments.marion import trained_weights
from paper_figs.marion import _trained_paths as trained_paths
from resnet_sde.claims import Claim

_NAMES = {"smoke": "smoke", "cpu": "cpu-fashion", "paper": "paper"}
TRAINED = True
PANELS = 5
BUDGETS = {name: trained_weights.BUDGETS[of] for name, of in _NAMES.items()}


def compute(budget: str, seed: int, how: Execution = HERE) -> xr.Dataset:
    """Entries along depth, roughness and accuracy of every network."""
    return BUDGETS[budget].run(seed=seed, how=how).assign_attrs(budget=budget)


def draw(ds: xr.Dataset) -> Figure:
    """Weights along depth, roughness, accuracy."""
    return trained_paths.draw(ds, BUDGETS[ds.attrs["budget"]])


def check(ds: xr.Dataset) -> list[Claim]:
    """The claims of this figure."""
    return trained_paths.check(ds, BUDGETS[ds.attrs["budget"]])


CONTROLS = trained_paths.CONTROLS
