r"""What `simulate` must not share: numbers between networks, seeds, depths, layers, matrices and inputs.

A network whose activation is linear shows its weights (see `drawn`), so it is seen at once where two of them
came from the same place of a stream of random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import LINEAR
from resnet_sde.blocks import TwoLayer
from resnet_sde.claims import Claim
from resnet_sde.estimate import Estimate, exactly
from resnet_sde.laws import FractionalNoise, PathLaw, WhiteNoise
from resnet_sde.model import Model
from resnet_sde.propagate import Trajectory
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.foundations.drawn import SOURCE, drawn, states
from resnet_sde.theorems.lab import Lab

_LONG = 16  # layers, whose 320 numbers tell two networks apart


@theorem(
    "independent-networks",
    words="The networks of an ensemble share no weights: no two of them have any in common, whatever chunk, "
    "seed or depth they belong to.",
    statement=r"(A, V_1, \dots, V_L) \text{ independent of } (A', V'_1, \dots, V'_{L'}) \text{ for two "
    r"networks, seeds or depths}",
    assumptions=("linear res-1 with a bias",),
    source=SOURCE,
    claims=7,
    budgets={"quick": 2000, "full": 6000},
    controls={"half of the networks are drawn twice": {"twice": True}, "one seed for all": {"apart": 0}},
)
def independent_networks(lab: Lab, *, twice: bool = False, apart: int = 1) -> Iterator[Claim]:
    """Weights of two networks are orthogonal up to 0.5 in cosine; those that are the same have cosine 1."""
    for name, law in (("white", WhiteNoise()), ("H = 0.8", FractionalNoise(0.8))):
        found = drawn(lab, law, depth=_LONG)
        numbers = found.matrices.flatten(1)
        numbers = torch.cat([numbers, numbers[: lab.samples // 2]]) if twice else numbers
        cosine = largest(numbers)
        yield lab.at_most(f"largest cosine of the weights of two networks, {name}", cosine, 0.0, within=0.8)
        others = {"seeds": drawn(replace(lab, seed=lab.seed + apart), law, depth=_LONG)}
        if name == "white":
            others["depths"] = drawn(lab, law, depth=_LONG - 8 * apart)
        for what, other in others.items():
            first = (found.matrices[:, 0] * other.matrices[:, 0]).mean((1, 2))
            yield lab.equal(f"E V_1 V'_1 of two {what}, {name}", first, 0.0, within=0.1)
            if name == "white":
                start = (found.start * other.start).mean((1, 2))
                yield lab.equal(f"E A A' of two {what}, {name}", start, 0.0, within=0.1)


def largest(numbers: Tensor) -> Estimate:
    """The largest cosine between two rows: of 320 independent numbers above 0.8 with a chance below 1e-60."""
    rows = torch.nn.functional.normalize(numbers, dim=1)
    between = rows @ rows.mT
    between.fill_diagonal_(0.0)
    return exactly(float(between.abs().max()))


@ob.observable("layer", every_layer=True)
def traces(t: Trajectory) -> Tensor:
    """tr(W_k V_k) of two matrices without biases, α/d times that; (sample, depth)."""
    h = states(t)
    return torch.linalg.solve(h[:, :-1], h.diff(dim=1)).diagonal(dim1=-2, dim2=-1).sum(-1)


@ob.observable("end", "coordinate", gradients=True)
def ends(t: Trajectory) -> Tensor:
    """h_0 and p_L of one input; (sample, 2, width)."""
    assert t.adjoint is not None
    return torch.cat([t.hidden.natural(0), t.adjoint.natural(-1)], dim=1)


@theorem(
    "independent-matrices",
    words="Within a network the input layer, the inner and the outer matrices and the gradient at the top "
    "are independent, for weights of any law along depth.",
    statement=r"\mathbb{E}\, \mathrm{tr}(V_k W_k) = 0, \qquad \mathbb{E} A_{ij} V_1^{ij} = 0, \qquad "
    r"\mathbb{E} \langle p_L, h_0 \rangle = 0",
    assumptions=("linear activation",),
    source=SOURCE,
    claims=9,
    budgets={"quick": 4000, "full": 20_000},
    controls={"a tenth of the weights is shared": {"shared": 0.1}},
)
def independent_matrices(lab: Lab, *, width: int = 3, shared: float = 0.0) -> Iterator[Claim]:
    """Of two matrices that are the same E tr(V W)/d is 1."""
    laws: dict[str, tuple[PathLaw, str]] = {
        "white": (WhiteNoise(), "dense"),
        "revealed": (WhiteNoise(), "deferred"),
        "H = 0.8": (FractionalNoise(0.8), "dense"),
    }
    x = math.sqrt(width) * torch.eye(width)
    one = torch.ones(1, 1, dtype=torch.float64)
    for name, (law, method) in laws.items():
        case = Model(TwoLayer(LINEAR), law, width, beta=0.0, gain=0.5)
        found = lab.simulate(case, x, traces, depth=4, method=method)["traces"]
        trace = found.mean(1) / case.gain + shared
        yield lab.equal(f"E tr(W V) / d, {name}", trace, 0.0, within=0.09)
        seen = drawn(lab.again("weights"), law, method=method)
        first = torch.cat([seen.matrices[:, 0], seen.biases[:, :1]], dim=1) + shared * seen.start
        yield lab.equal(f"E A V_1, {name}", (seen.start * first).mean((1, 2)), 0.0, within=0.05)
        start, top = lab.simulate(case, one, ends, depth=4, method=method)["ends"].unbind(1)
        along = (start * (top + shared * start)).mean(1)
        yield lab.equal(f"E p_L h_0, {name}", along, 0.0, within=0.08)
