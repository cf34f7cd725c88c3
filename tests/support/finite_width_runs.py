"""Estimates of fluctuations and shifts from simulated networks, with the control variates of the theorems.

Every deviation X of a kernel is close to a mean Y of independent terms y, one a neuron: its variance is
Var y / width, which all neurons together estimate, plus that of X − Y and twice their covariance, which are
small.
"""

import math
from typing import Any

from finite_width_cases import model_of

from resnet_sde.theorems.fischer.networks import Case, Deviation


def case_of(row: dict[str, Any], width: int) -> Case:
    """The networks of a row, of one input or two."""
    start = row["K0"] if isinstance(row["K0"], list) else [row["K0"]]
    return Case(model_of(row, width), tuple(start), row["L"])


def covariance(first: Deviation, second: Deviation) -> tuple[float, float]:
    """Width times the covariance of two deviations, and the standard error."""
    x, y = (d.exact - d.exact.mean() for d in (first, second))
    product = first.terms * second.terms
    linear = first.terms.mean(-1) * second.terms.mean(-1)
    rest = first.terms.shape[-1] * (x * y - linear)
    error = product.var() / product.numel() + rest.var() / len(rest)
    return float(product.mean() + rest.mean()), math.sqrt(float(error))


def shift(deviation: Deviation) -> tuple[float, float]:
    """Width times the shift of the mean, and the standard error."""
    rest = deviation.terms.shape[-1] * (deviation.exact - deviation.terms.mean(-1))
    return float(rest.mean()), float(rest.std()) / math.sqrt(len(rest))
