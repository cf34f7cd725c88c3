r"""Networks of small width against a plain loop: no blocks, no matrices that are revealed, no carried scale.

The loop draws weights by a factor of their covariance along depth, multiplies them layer by layer, and gets
gradients from autograd. At width 3 it sees what vanishes in wide networks, such as what an inner and an outer
matrix have in common.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import RELU, TANH, Activation
from resnet_sde.blocks import Block, SingleLayer, TwoLayer
from resnet_sde.claims import Claim
from resnet_sde.laws import ConstantNoise, FractionalNoise, PathLaw, SmoothNoise, WhiteNoise
from resnet_sde.model import Model
from resnet_sde.propagate import Trajectory
from resnet_sde.streams import generator
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.foundations.drawn import SOURCE
from resnet_sde.theorems.foundations.formulas import covariance
from resnet_sde.theorems.lab import Lab

WIDTH = 3
FULL = TwoLayer(TANH, 1.5, 0.3, 1.2, 0.2)
CASES: dict[str, tuple[Block, PathLaw]] = {
    "two matrices, H = 0.8": (FULL, FractionalNoise(0.8)),
    "two matrices, H = 0.2": (FULL, FractionalNoise(0.2)),
    "two matrices, smooth": (TwoLayer(RELU, 1.5), SmoothNoise(0.4)),
    "two matrices, constant": (FULL, ConstantNoise()),
    "one matrix, H = 0.8": (SingleLayer(RELU, 1.5, 0.3), FractionalNoise(0.8)),
}
PHI: dict[Activation, Callable[[Tensor], Tensor]] = {TANH: torch.tanh, RELU: lambda x: x.clamp(min=0)}
STATISTICS = ("cos(h_L − h_0, h_0)", "log(1 + ‖h_L − h_0‖²)", "log(1 + ‖p_0 − p_L‖²)", "cos(h_L, p_0)")


@ob.observable("statistic", gradients=True)
def summary(t: Trajectory) -> Tensor:
    """The STATISTICS of the first input; (sample, 4)."""
    assert t.adjoint is not None
    states = (s.natural(layer)[:, 0] for s in (t.hidden, t.adjoint) for layer in (0, -1))
    return summarized(*states)


def summarized(h0: Tensor, h: Tensor, p0: Tensor, p: Tensor) -> Tensor:
    """The STATISTICS of h_0, h_L, p_0 and p_L, each (sample, width)."""
    moved, back = (torch.log1p((a - b).square().sum(-1)) for a, b in ((h, h0), (p, p0)))
    along, across = (torch.nn.functional.cosine_similarity(a, b, dim=-1) for a, b in ((h - h0, h0), (h, p0)))
    return torch.stack([along, moved, back, across], dim=1)


def plain(case: Model, depth: int, samples: int, seed: int, one: bool = False, stop: int = 0) -> Tensor:
    """The STATISTICS of networks of a plain loop, (sample, 4).

    one: use the inner weights for the outer ones too.
    stop: layer at which gradients stop on their way back.
    """
    block, law = case.block, case.law
    source = generator(seed, "plain", block, law)
    values, vectors = np.linalg.eigh(covariance(law, depth))
    factor = torch.from_numpy(vectors * np.sqrt(values.clip(min=0)))

    def path(rows: int) -> Tensor:
        numbers = torch.randn(depth, samples * rows * WIDTH, generator=source)
        return (factor @ numbers).view(depth, samples, rows, WIDTH)

    def apply(weights: Tensor, x: Tensor, weight: float, bias: float) -> Tensor:
        product = torch.einsum("sij,si->sj", weights[:, :WIDTH], x) * math.sqrt(weight / WIDTH)
        return product + math.sqrt(bias) * weights[:, WIDTH]

    inner, outer = path(WIDTH + 1), path(WIDTH + 1)
    h0, p = (torch.randn(samples, WIDTH, generator=source) for _ in range(2))
    h, seen = h0, [h0.requires_grad_()]
    weight, bias, of_weights, of_bias = block.variances
    phi = PHI[block.activation]
    for k in range(depth):
        pre = apply(inner[k], h, weight, bias) if isinstance(block, TwoLayer) else h
        h = h + case.gain * apply(inner[k] if one else outer[k], phi(pre), of_weights, of_bias)
        seen.append(h)
    (p0,) = torch.autograd.grad((h * p).sum(), seen[stop])
    return summarized(h0.detach(), h.detach(), p0, p)


@theorem(
    "plain-networks",
    words="At width 3 networks of any law along depth, with biases, move like those of a plain loop over "
    "their layers, and so do their gradients.",
    statement=r"h_{k+1} = h_k + \alpha\left(\tfrac{\sigma_v}{\sqrt d} V_k \varphi(\tfrac{\sigma_w}{\sqrt d} "
    r"W_k h_k + \sigma_b b_k) + \sigma_a a_k\right), \qquad p_0 = (\partial h_L / \partial h_0)^\top p_L",
    assumptions=("inner and outer matrices independent, of the same law along depth",),
    source=SOURCE,
    claims=4 * len(CASES),
    budgets={"quick": 20_000, "full": 60_000},
    controls={
        "the inner matrix is the outer one": {"one": True},
        "independent weights": {"law": WhiteNoise()},
        "gradients at layer 1": {"stop": 1},
    },
)
def plain_networks(lab: Lab, *, depth: int = 4, one: bool = False, stop: int = 0) -> Iterator[Claim]:
    """Means over two independent samples."""
    x = torch.full((1, 1), 1.0, dtype=torch.float64)
    for name, (block, of_weights) in CASES.items():
        case = Model(block, of_weights, WIDTH, beta=0.0, gain=0.3)
        found = lab.simulate(case, x, summary, depth=depth, method="dense")
        exact = plain(case, depth, lab.samples, lab.seed, one, stop)
        for place, what in enumerate(STATISTICS):
            moved = lab.shift(found["summary"][:, place], exact[:, place])
            yield lab.equal(f"difference of the means of {what}, {name}", moved, 0.0, within=0.06)
