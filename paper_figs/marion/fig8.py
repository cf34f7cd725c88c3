"""Figure 8 of Marion et al. (2025), on digits: weights along depth, before and after training.

Networks res-1 of ReLU learn images with Adam. Above is one entry of the matrices V_k of one network against
the layer, for smooth weights scaled as L^−1 and for independent ones scaled as L^−1 and as L^−1/2. Below is
the roughness of all matrices, which is 1 for independent weights and near 0 for smooth ones, one point for
each network: training keeps it, because what training adds to the weights (black) is smooth along depth.

Images are scikit-learn's digits of 8 by 8 pixels and networks have 200 layers; at the budget paper they are
Fashion-MNIST's and have 1000.
"""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from experiments.execution import HERE, Execution
from experiments.marion import trained_weights
from paper_figs.marion import _trained_paths as trained_paths
from resnet_sde.claims import Claim

TRAINED = True
PANELS = 5
BUDGETS = {name: trained_weights.BUDGETS[name] for name in ("smoke", "cpu", "paper")}


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
