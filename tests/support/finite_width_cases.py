"""Tabulated networks of finite width, and slower routes to the moments behind them."""

import json
import math
from typing import Any

import numpy as np
import torch
from places import TABLES
from scipy.special import erf, owens_t
from torch import Tensor

from resnet_sde import ERF, Activation, Model, SingleLayer, WhiteNoise, activation

ORACLES = json.loads((TABLES / "fischer.json").read_text(encoding="utf-8"))
LAYERS: dict[str, dict[str, Any]] = ORACLES["layers"]
PAIRS: list[dict[str, Any]] = ORACLES["two_input_layers"]


def model_of(case: dict[str, Any], width: int = 100) -> Model:
    """The model of a row; residual and erf unless it says otherwise."""
    block = SingleLayer(activation(case.get("act", "erf")), case["sw2"], case["sb2"])
    gain, skip = case.get("rho", 1.0), case.get("skip", 1.0)
    return Model(block, WhiteNoise(), width, beta=0.0, gain=gain, skip=skip)


def erf_model(sigma_w2: float, sigma_b2: float, gain: float = 1.0) -> Model:
    return Model(SingleLayer(ERF, sigma_w2, sigma_b2), WhiteNoise(), 100, beta=0.0, gain=gain)


def square(entries: list[float]) -> Tensor:
    """The kernel with these entries 11, 22, 12."""
    return torch.tensor([[entries[0], entries[2]], [entries[2], entries[1]]])


def owen(late: float, early: float, cross: float) -> tuple[float, float]:
    """Source and feedback of erf, by Owen's T function and a trapezoidal rule over the earlier state."""
    z = np.linspace(-9.5, 9.5, 1601)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    h = math.sqrt(early) * z
    mean, s = cross / early * h, late - cross**2 / early
    u, w = math.sqrt(2) * mean / math.sqrt(1 + 2 * s), 1 / math.sqrt(1 + 4 * s)
    expected = 1 - 8 * owens_t(u, w)
    slope_u = -np.exp(-(u**2) / 2) * erf(w * u / math.sqrt(2)) / (2 * math.sqrt(2 * math.pi))
    slope_w = np.exp(-(u**2) * (1 + w**2) / 2) / (2 * math.pi * (1 + w**2))
    curved = -8 * (slope_u * (-u / (1 + 2 * s)) + slope_w * (-2 * (1 + 4 * s) ** -1.5))
    own = erf(h) ** 2
    centred = own - density @ own
    return float(density @ (expected * centred)), float(density @ (curved * centred))


def gauss_hermite(phi: Activation, late: float, early: float, cross: float, nodes: int) -> float:
    """The source, by Gauss and Hermite's rule in both states."""
    z, weight = np.polynomial.hermite_e.hermegauss(nodes)
    z, weight = torch.as_tensor(z), torch.as_tensor(weight / weight.sum())
    first = phi(math.sqrt(early) * z).square()
    rest = math.sqrt(max(late - cross**2 / early, 0.0))
    second = phi(cross / math.sqrt(early) * z[:, None] + rest * z).square() @ weight
    return float(weight @ (first * second) - (weight @ first) * (weight @ second))
