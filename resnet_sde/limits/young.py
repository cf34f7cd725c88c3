r"""Fractional weights with H > 1/2: Young equations, driven by the sum of the weights.

With one matrix the driver is the matrix itself, dH = dX g(H). With two, the inner weights decorrelate
faster than the outer ones, and of the activation only the leading term of its Hermite expansion in u = W h
survives the sum over layers: its mean, φ(u) → m(q), where φ is not odd, and its slope, φ(u) → χ(q) u, where
it is (and then only for H > 3/4). Here q is the variance of u, m(q) = E φ(√q z) and χ(q) = E φ'(√q z). So the
limit is the layer loop of the network with φ replaced by that term, on the very weights of the network, at
ever finer depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.activations import Activation
from resnet_sde.blocks import Block, Layer, TwoLayer, affine
from resnet_sde.limits.base import (
    Limit,
    check_rough,
    check_states,
    check_steps,
    driven_by_sums,
    hidden_of,
    letter,
    plus,
)
from resnet_sde.model import WeightPaths
from resnet_sde.propagate import forward


class _Derived(Block):
    """A branch made from another one."""

    source: Block

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return self.source.shapes(width)


def mean_slope(phi: Activation, q: Tensor) -> Tensor:
    """χ(q) = E φ'(√q z), read off the dual of φ' at an uncorrelated partner of no variance; φ'(0) ≠ 0."""
    zero = torch.zeros_like(q)
    return phi.dual_prime(q, zero, gap=zero + 1) / phi.prime(zero)


def _of_products(block: TwoLayer) -> bool:
    """Whether a branch has no mean, so that products of outer and inner weights are what adds up."""
    return block.activation.odd and block.sigma_a2 == 0


@dataclass(frozen=True)
class LeadingTerm(_Derived):
    """A two-matrix branch with the leading Hermite term of its activation in place of the activation."""

    source: TwoLayer

    @override
    def branch(self, h: Tensor, layer: Layer) -> Tensor:
        block = self.source
        q = block.sigma_w2 * h.square().mean(-1, keepdim=True) + block.sigma_b2
        if _of_products(block):
            slope = mean_slope(block.activation, q.double()).to(h.dtype)
            probe = slope * affine(layer["inner"], h, block.sigma_w2, block.sigma_b2)
        else:
            mean = block.activation.mean(q.double()).to(h.dtype)
            probe = mean.expand(*h.shape[:-1], hidden_of(block, h.shape[-1]))
        return affine(layer["outer"], probe, block.sigma_v2, block.sigma_a2)


@dataclass(frozen=True)
class _Heun(_Derived):
    """The average of a branch before and after its own Euler step."""

    source: Block
    alpha: float

    @override
    def branch(self, h: Tensor, layer: Layer) -> Tensor:
        first = self.source.branch(h, layer)
        second = self.source.branch(h + self.alpha * first, layer)
        return 0.5 * (first + second)


@dataclass(frozen=True)
class YoungODE(Limit):
    """A Young equation driven by fractional weights, H > 1/2."""

    kind: ClassVar[str] = "young-ode"
    name: ClassVar[str] = "a Young equation"
    coupled: ClassVar[bool] = True

    @property
    @override
    def words(self) -> str:
        if not isinstance(block := self.model.block, TwoLayer):
            return (
                "The network is the Euler scheme of the Young equation dH = gain dX g(H), driven by the "
                "fractional Brownian motion X that its own weights sum to; at width 1 it shows its rate 2H − "
                "1, at larger widths practical depths see a faster one."
            )
        if _of_products(block):
            return (
                "The network tends to a Young equation driven by the sums of the products of its own outer "
                "and inner weights: of an odd activation only its mean slope survives the sum over layers."
            )
        return (
            "The network tends to a Young equation driven by the row sums of its own outer weights: the "
            "inner ones average out, and of the activation its mean is left."
        )

    @override
    def formula(self) -> tuple[str, list[str]]:
        if not isinstance(block := self.model.block, TwoLayer):
            return driven_by_sums(self.model, "X", "fractional Brownian")
        q = torch.tensor([block.sigma_w2 + block.sigma_b2], dtype=torch.float64)
        met = letter(self.model)
        length = f"q = {plus('σ_w² |H|²/d', 'σ_b²', block.sigma_b2)}"
        if _of_products(block):
            return f"dH = ρ (σ_v/√{met}) χ(q) [{plus('(σ_w/√d) dZ H', 'σ_b dz', block.sigma_b2)}]", [
                "Z: the scaled sums of the products V_k W_k of outer and inner weights",
                f"χ(q) = E φ'(√q z), {length}",
                f"χ = {float(mean_slope(block.activation, q)):.4g} at |H|² = d",
            ]
        return f"dH = ρ [{plus(f'(σ_v/√{met}) m(q) dX 1', 'σ_a dx', block.sigma_a2)}]", [
            f"X: d × {met} fractional Brownian motions, the scaled sums of the outer weights; 1 = (1, …, 1)",
            f"m(q) = E φ(√q z), {length}",
            f"m = {float(block.activation.mean(q)):.4g} at |H|² = d",
        ]

    @property
    @override
    def strong_order(self) -> float:
        """2H − 1 with one matrix (seen at width 1); with two, how fast the inner noise averages out."""
        hurst, block = self.model.law.exponent, self.model.block
        if not isinstance(block, TwoLayer):
            return 2 * hurst - 1
        if _of_products(block):
            return min(2 * hurst - 1.5, 2 - 2 * hurst)
        return min(hurst - 0.5, 1 - hurst)

    @override
    def solve(self, h: Tensor, path: WeightPaths, *, steps: int, method: str = "heun") -> Tensor:
        """The solution at time 1 on the weight path of a network; differentiable in h and in the path.

        Args:
            h: initial states, (sample, input, width).
            path: weight paths of the model's law; `steps` must divide their finest depth.
            steps: of the time grid.
            method: "euler" (with one matrix the network of `steps` layers), or "heun", of higher
                order for H > 1/2.

        Raises:
            ValueError: shapes do not fit, the path is of other weights, or the method is unknown.
            OffGrid: the path cannot be seen at this number of steps.
        """
        check_states(self, h)
        check_rough(self, path)
        if method not in ("euler", "heun"):
            raise ValueError(f"unknown method {method!r}; give euler or heun")
        depth = check_steps(steps)
        block, alpha = self.model.block, self.model.alpha(depth)
        block = LeadingTerm(block) if isinstance(block, TwoLayer) else block
        block = _Heun(block, alpha) if method == "heun" else block
        return forward(block, h, path.layers(depth), alpha)[-1]
