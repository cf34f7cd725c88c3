r"""Weights with a short memory along depth: a long-run variance, and the drift that comes with it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from resnet_sde.activations import LINEAR, RELU
from resnet_sde.blocks import SingleLayer, TwoLayer
from resnet_sde.claims import Claim
from resnet_sde.limits import ItoSDEInLaw
from resnet_sde.model import Model, WeightPaths
from resnet_sde.short_memory import AutoregressiveNoise, TiedNoise
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import Lab, end


@theorem(
    "memory-drift",
    words="Networks whose weights have a short memory along depth tend to an Itô equation of the long-run "
    "variance of the weights, and with a drift of size 1/d that independent weights of that variance lack.",
    statement=r"dH_t = \sqrt{1 + 2\Lambda}\, dB_t\, g(H_t) + \tfrac{\Lambda}{d}\, \varphi'(H_t) \varphi(H_t)"
    r"\, dt, \qquad \Lambda = \sum_{n \ge 1} \gamma(n), \quad g(h) = \varphi(h)/\sqrt{d}",
    assumptions=("Gaussian weights with summable correlations", "β = 1/2"),
    source="derived here",
    claims=6,
    budgets={"quick": {"samples": 8_000, "depth": 64}, "full": {"samples": 25_000, "depth": 128}},
    controls={"without the drift": {"drift": 0.0}},
)
def memory_drift(lab: Lab, *, depth: int, drift: float = 1.0, width: int = 2) -> Iterator[Claim]:
    """Mean and variance of log ‖h_L‖²; width 2, where the diffusion leaves the mean alone."""
    autoregressive, h = AutoregressiveNoise(0.5), torch.ones(1, 1, width)
    for block, law in (
        (SingleLayer(LINEAR), autoregressive),
        (SingleLayer(LINEAR), TiedNoise(4)),
        (TwoLayer(RELU), TiedNoise(3)),
    ):
        case = Model(block, law, width, gain=0.6)
        equation = ItoSDEInLaw(case, depth)
        c, b = float(equation.covariation(h)), float(equation.drift(h)[0, 0, 0])
        logs, name = (
            _logs(lab, case, depth),
            f"{'one matrix' if type(block) is SingleLayer else 'two matrices'}, {law}",
        )
        mean = c * (1 - 2 / width) + 2 * b * drift
        yield lab.equal(f"mean of log ‖h_L‖² / ‖h_0‖², {name}", logs, mean, within=0.15)
        size = lab.spread(logs, unit=4 * c / width)
        yield lab.equal(f"variance of log ‖h_L‖² over that of the equation, {name}", size, 1.0, within=0.15)


def _logs(lab: Lab, case: Model, depth: int) -> Tensor:
    """Logarithms of ‖h_L‖²/d of networks from h_0 = (1, …, 1), (sample,)."""

    def see(path: WeightPaths, h: Tensor) -> Tensor:
        return end(case, h, path, depth)[:, 0].square().mean(-1).log()

    return lab.on_paths(case, depth, see, torch.ones(lab.samples, 1, case.width))
