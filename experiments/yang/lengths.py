"""The numbers of the figure yang/lengths."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr
from torch import Tensor

import resnet_sde as rs
from experiments.wide import dataset, float64, residual
from experiments.yang.residuals import networks
from resnet_sde.meanfield import gaps, lengths
from resnet_sde.meanfield.asymptotics import SaturatingAsymptotics, asymptotics

BLOCK = rs.TwoLayer(rs.TANH, 1.69, 0.49, 1.5, 0.5)
COSINES = (0.9, 0.5, 0.0, -0.5)  # of the inputs to a common one


@dataclass(frozen=True)
class Sizes:
    """Of the networks."""

    width: int
    samples: int
    depth: int = 200


BUDGETS = {"smoke": Sizes(width=200, samples=20), "paper": Sizes(width=1000, samples=40)}


def compute(budget: str, seed: int) -> xr.Dataset:
    """Mean squares, mean products and cosines."""
    settings, model = BUDGETS[budget], residual(BLOCK)
    q = lengths(model, depth=settings.depth).q
    cosine = 1 - gaps(model, 1.0, 1 - float64(COSINES), depth=settings.depth)
    seen = networks(
        BLOCK, COSINES, width=settings.width, depth=settings.depth, samples=settings.samples, seed=seed
    )
    rows = ("layer", "cosine")
    variables = {
        "p_theory": ("layer", q),
        "gamma_theory": (rows, q[:, None] * cosine),
        "e_theory": (rows, cosine),
        **_summary("p", ("layer",), seen.q[..., 0]),
        **_summary("gamma", rows, seen.product[..., 1:]),
        **_summary("e", rows, seen.cosine[..., 1:]),
    }
    laws = asymptotics(model)
    assert isinstance(laws, SaturatingAsymptotics)
    ds = dataset(variables, {"cosine": list(COSINES)}, settings, budget, seed)
    return ds.assign_attrs(width=settings.width, samples=settings.samples, e_star=laws.e_star)


def _summary(label: str, rows: tuple[str, ...], values: Tensor) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    """Mean, its standard error and the standard deviation over the networks."""
    spread = values.std(0)
    found = {label: values.mean(0), f"{label}_error": spread / len(values) ** 0.5, f"{label}_spread": spread}
    return {key: (rows, each) for key, each in found.items()}
