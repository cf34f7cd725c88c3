r"""Gradients are derivatives: the adjoint recursion against differences of two inputs in the same network.

For inputs h and h + v, ⟨p_L, h_L(h + v) − h_L(h)⟩ is ⟨(p_0(h) + p_0(h + v))/2, v⟩ up to terms of order ‖v‖³,
network by network. That holds for no other recursion, whatever law its gradients have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from resnet_sde import observables as ob
from resnet_sde.activations import GELU, TANH
from resnet_sde.blocks import Block, Reduced, SingleLayer, TwoLayer
from resnet_sde.claims import Claim, equal
from resnet_sde.laws import FractionalNoise, PathLaw, WhiteNoise
from resnet_sde.model import Model
from resnet_sde.propagate import Trajectory
from resnet_sde.streams import generator
from resnet_sde.theorems.core import theorem
from resnet_sde.theorems.lab import Lab

STEP = 1e-3
CASES: dict[str, tuple[Block, PathLaw, str]] = {
    "one matrix": (SingleLayer(GELU, 1.5, 0.3), FractionalNoise(0.7), "dense"),
    "two matrices": (TwoLayer(TANH, 1.5, 0.3, 1.2, 0.2), FractionalNoise(0.7), "dense"),
    "two matrices without biases": (TwoLayer(TANH, 1.5, 0.0, 1.2), WhiteNoise(), "dense"),
    "reduced": (Reduced(TANH, 1.5, 0.3), WhiteNoise(), "dense"),
    "one matrix, revealed": (SingleLayer(TANH, 1.5), WhiteNoise(), "deferred"),
    "two matrices, revealed": (TwoLayer(TANH, 1.5, 0.3, 1.2, 0.2), WhiteNoise(), "deferred"),
}


@ob.observable("side", gradients=True)
def sides(t: Trajectory) -> Tensor:
    """⟨p_L, h_L(h + v) − h_L(h)⟩ and ⟨mean of p_0, v⟩, over ‖p_L‖ ‖v‖; (sample, 2)."""
    assert t.adjoint is not None
    (h0, h), (p0, p) = ((s.natural(0), s.natural(-1)) for s in (t.hidden, t.adjoint))
    v, moved = h0[:, 1] - h0[:, 0], h[:, 1] - h[:, 0]
    found = torch.stack([(p[:, 0] * moved).sum(-1), (p0.mean(1) * v).sum(-1)], dim=1)
    return found / (p[:, 0].norm(dim=-1) * v.norm(dim=-1))[:, None]


@theorem(
    "gradients-are-derivatives",
    words="In every network the gradient at the input is the derivative of what is observed at the top: it "
    "says how far the end moves with the input.",
    statement=r"\langle p_L, h_L(h + v) - h_L(h) \rangle = \langle \tfrac12(p_0(h) + p_0(h + v)), v \rangle "
    r"+ O(\|v\|^3)",
    assumptions=("φ smooth", "p_L the same for both inputs"),
    source="the chain rule",
    claims=len(CASES),
    budgets={"quick": 500, "full": 5000},
    controls={"a step that is not small": {"step": 0.3}, "another skip weight": {"skip": 0.72}},
)
def gradients_are_derivatives(lab: Lab, *, step: float = STEP, skip: float = 0.7) -> Iterator[Claim]:
    """The largest difference over all networks; differences of order step² come with a factor of about 1."""
    x = torch.randn(1, 5, generator=generator(lab.seed, "sides"))
    x = torch.cat([x, x + step * torch.eye(5)[:1]])
    for name, (block, law, method) in CASES.items():
        case = Model(block, law, 4, beta=0.0, gain=0.5, skip=0.7)
        both = [
            lab.simulate(seen, x, sides, depth=6, method=method)["sides"]
            for seen in (case, replace(case, skip=skip))
        ]
        apart = float((both[0][:, 0] - both[1][:, 1]).abs().max())
        yield equal(f"largest difference of both sides, {name}", apart, 0.0, 2e-5)
