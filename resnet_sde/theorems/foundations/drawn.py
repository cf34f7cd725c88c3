r"""What `simulate` draws: the weights of networks whose activation is linear can be read off their states.

With d + 1 inputs the states of a layer, beside a column of ones, are an invertible matrix, and the step
that a layer takes determines its matrix and its bias. So the law of the weights is checked where they act,
whatever way they took from the stream of random numbers to the state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import LINEAR
from resnet_sde.blocks import SingleLayer
from resnet_sde.claims import Claim
from resnet_sde.estimate import exactly
from resnet_sde.laws import ConstantNoise, FractionalNoise, PathLaw, SmoothNoise, WhiteNoise
from resnet_sde.model import Model
from resnet_sde.propagate import Trajectory
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.foundations.formulas import covariance
from resnet_sde.theorems.lab import Lab

SOURCE = "the definition of the networks"
WIDTH, DEPTH, BIAS = 4, 4, 0.5
LAWS: dict[str, PathLaw] = {
    "white": WhiteNoise(),
    "uniform entries": WhiteNoise("uniform"),
    "±1": WhiteNoise("rademacher"),
    "H = 0.3": FractionalNoise(0.3),
    "H = 0.8": FractionalNoise(0.8),
    "smooth": SmoothNoise(0.3),
    "constant": ConstantNoise(),
}
BIASED = ("white", "H = 0.8", "revealed")


@ob.observable("layer", "row", "column", every_layer=True)
def steps(t: Trajectory) -> Tensor:
    """The matrix and the bias that each layer applies, as (h 1) M; (sample, depth, width + 1, width)."""
    h = states(t)
    with_one = torch.cat([h, torch.ones_like(h[..., :1])], dim=-1)
    return torch.linalg.solve(with_one[:, :-1], h.diff(dim=1))


@ob.observable("input", "coordinate")
def starts(t: Trajectory) -> Tensor:
    """h_0; (sample, input, width)."""
    return t.hidden.natural(0)


def states(t: Trajectory) -> Tensor:
    """All states in natural size, (sample, depth + 1, input, width)."""
    return torch.stack([t.hidden.natural(k) for k in range(len(t.hidden.scaled))], dim=1)


@dataclass(frozen=True)
class Drawn:
    """Numbers of networks, all of unit variance.

    start: h_0, (sample, input, width).
    matrices: (sample, depth, width, width).
    biases: (sample, depth, width).
    """

    start: Tensor
    matrices: Tensor
    biases: Tensor


def drawn(lab: Lab, law: PathLaw, *, depth: int = DEPTH, method: str = "dense") -> Drawn:
    """What networks of this law have drawn, in units of what they should have."""
    # 1 + α V/√d, with α/√d = 1/5, is invertible for all signs of V; for all other laws it is almost surely.
    case = Model(SingleLayer(LINEAR, 1.0, BIAS), law, WIDTH, beta=0.0, gain=0.4)
    x = math.sqrt(WIDTH + 1) * torch.eye(WIDTH + 1)  # so that h_0 are standard normal numbers
    found = lab.simulate(case, x, steps, starts, depth=depth, method=method)
    applied = found["steps"] / case.gain
    matrices, biases = applied[..., :-1, :] * math.sqrt(WIDTH), applied[..., -1, :] / math.sqrt(BIAS)
    return Drawn(found["starts"], matrices, biases)


@theorem(
    "drawn-weights",
    words="The weights that networks meet have unit variance times σ²/d, biases σ_b², and along depth the "
    "covariance of their law, for every law and for matrices that are revealed where they are looked at.",
    statement=r"h_{k+1} - h_k = \alpha\left(\tfrac{\sigma_w}{\sqrt d} V_k h_k + \sigma_b b_k\right), \qquad "
    r"\mathbb{E} V_k^{ij} V_l^{ij} = \gamma(k, l)",
    assumptions=("linear res-1 with a bias",),
    source=SOURCE,
    claims=19,
    budgets={"quick": 12_000, "full": 60_000},
    controls={"variance off by 3 %": {"variance": 1.03}, "another law along depth": {"of": "H = 0.3"}},
)
def drawn_weights(lab: Lab, *, of: str | None = None) -> Iterator[Claim]:
    """By means over networks; a constant law asks for more of them, since each shows sixteen numbers only."""
    for name, law in {**LAWS, "revealed": WhiteNoise()}.items():
        seen, method = law, "deferred" if name == "revealed" else "dense"
        if of is not None:
            seen, method = LAWS[of], "dense"
        count = 3 * lab.samples if name == "constant" else lab.samples
        found = drawn(replace(lab, samples=count), seen, method=method)
        squares = found.matrices.square().mean((1, 2, 3))
        # All squares of signs are 1, so no chance is left; what differs is rounding.
        mean = exactly(float(squares.max())) if name == "±1" else lab.mean(squares)
        yield lab.equal(f"variance of weights, {name}", mean, 1.0, within=0.015)
        if name in BIASED:
            biases = found.biases.square().mean((1, 2))
            yield lab.equal(f"variance of biases, {name}", biases, 1.0, within=0.04)
        between = (found.matrices[:, 0] * found.matrices[:, -1]).mean((1, 2))
        exact = covariance(law, DEPTH)[0, -1]
        yield lab.equal(f"covariance of the first and last weights, {name}", between, exact, within=0.02)
