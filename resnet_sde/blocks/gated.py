"""Branches of gated units, as the feed-forward parts of recent transformers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.activations import Activation
from resnet_sde.blocks.base import (
    Block,
    Variances,
    correlated,
    fourth_moment,
    gaps_of,
    known_by_dual,
    runs_as,
)
from resnet_sde.blocks.pointwise import check_expansion, check_fields, hidden_width
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Layer


@dataclass(frozen=True)
class GatedLinearUnit(Block):
    """V (φ(W h) ⊙ U h) with three matrices and no biases: GLU for the sigmoid, SwiGLU for SiLU.

    Where φ grows like its argument, a branch grows like the square of the state, and networks leave every
    bound; behind `PreNorm` it has one size.

    sigma_w2, sigma_u2: variances of the gate W and of U, times fan-in.
    sigma_v2: variance of the outer matrix V, times fan-in.
    expansion: hidden numbers for each coordinate of the state; their number is rounded, and at least 1.
    """

    activation: Activation
    sigma_w2: float = 1.0
    sigma_u2: float = 1.0
    sigma_v2: float = 1.0
    expansion: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, ("sigma_w2", "sigma_u2", "sigma_v2"))
        check_expansion(self)

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        hidden = hidden_width(self.expansion, width)
        return {"gate": (width, hidden), "value": (width, hidden), "outer": (hidden, width)}

    @override
    def _weights(self, width: int) -> dict[str, int]:
        return {name: rows for name, (rows, _) in self.shapes(width).items()}

    @override
    def branch(self, h: Tensor, layer: Layer) -> Tensor:
        return self._up(h, layer)[0]

    @override
    def _branch_and_pre(self, h: Tensor, layer: Layer, unit: Tensor | None = None) -> tuple[Tensor, Any]:
        return self._up(h, layer) if self._ours else super()._branch_and_pre(h, layer, unit)

    @override
    def _adjoint_at(self, pre: Any, p: Tensor, layer: Layer) -> Tensor:
        if not self._ours:
            return super()._adjoint_at(pre, p, layer)
        gate, gated, value = pre
        of_gate, of_value, outer = self._scales(p.shape[-1])
        back = layer["outer"].rmatvec(p, outer)
        through_gate = layer["gate"].rmatvec(self.activation.pullback(gate, back * value), of_gate)
        return through_gate + layer["value"].rmatvec(back * gated, of_value)

    def _up(self, h: Tensor, layer: Layer) -> tuple[Tensor, Any]:
        of_gate, of_value, outer = self._scales(h.shape[-1])
        gate, value = layer["gate"].matvec(h, of_gate), layer["value"].matvec(h, of_value)
        gated = self.activation(gate)
        return layer["outer"].matvec(gated * value, outer), (gate, gated, value)

    def _scales(self, width: int) -> tuple[float, float, float]:
        """Standard deviations of the matrices."""
        hidden = self.shapes(width)["outer"][0]
        return (
            math.sqrt(self.sigma_w2 / width),
            math.sqrt(self.sigma_u2 / width),
            math.sqrt(self.sigma_v2 / hidden),
        )

    @property
    def _ours(self) -> bool:
        return runs_as(self, GatedLinearUnit)

    @override
    def dual(
        self,
        q1: Tensor,
        q2: Tensor,
        *,
        gap: Tensor,
        inner: float | Tensor = 1.0,
        unit: float | Tensor = 1.0,
    ) -> Tensor:
        """The product of the images of two independent Gaussian vectors, W h and U h."""
        return self.sigma_v2 * self._gates(q1, q2, gap, inner) * self._values(q1, q2, gap, inner)

    @override
    def difference(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        # (F₁ p₁ + F₂ p₂) / 2 − F₁₂ p₁₂ for gates F and values p, in differences that are small by themselves.
        r1, r2 = self.sigma_w2 * q1, self.sigma_w2 * q2
        first, second = self.activation.second_moment(r1), self.activation.second_moment(r2)
        of_gates = self.activation.difference(r1, r2, gap=gap) * (q1 * q2).sqrt() * (1 - gap)
        of_lengths = (q1.sqrt() - q2.sqrt()) * (first * q1.sqrt() - second * q2.sqrt()) / 2
        of_values = of_lengths + (first + second) / 2 * (q1 * q2).sqrt() * gap
        return self.sigma_v2 * self.sigma_u2 * (of_gates + of_values)

    @override
    def dual_prime(
        self,
        q1: Tensor,
        q2: Tensor,
        *,
        gap: Tensor,
        inner: float | Tensor = 1.0,
        unit: float | Tensor = 1.0,
    ) -> Tensor:
        r1, r2 = self.sigma_w2 * q1, self.sigma_w2 * q2
        slopes = self.activation.dual_prime(r1, r2, gap=correlated(gap, inner))
        through_gate = self.sigma_w2 * inner * slopes * self._values(q1, q2, gap, inner)
        return self.sigma_v2 * (through_gate + self.sigma_u2 * inner * self._gates(q1, q2, gap, inner))

    def _gates(self, q1: Tensor, q2: Tensor, gap: Tensor, inner: float | Tensor) -> Tensor:
        return self.activation.dual(self.sigma_w2 * q1, self.sigma_w2 * q2, gap=correlated(gap, inner))

    def _values(self, q1: Tensor, q2: Tensor, gap: Tensor, inner: float | Tensor) -> Tensor:
        return self.sigma_u2 * inner * (1 - gap) * (q1 * q2).sqrt()

    @override
    @property
    def averages(self) -> bool:
        return self._ours

    @override
    def covariance(self, h: Tensor) -> Tensor:
        if not self._ours:
            return super().covariance(h)
        q1, q2, gap = gaps_of(h @ h.mT / h.shape[-1])
        return self.dual(q1, q2, gap=gap)

    @override
    def size_moments(self, q: float, width: int) -> tuple[float, float]:
        if not self._ours:
            return super().size_moments(q, width)
        hidden, r = self.shapes(width)["outer"][0], self.sigma_w2 * q
        square = float(self.activation.second_moment(torch.tensor(r, dtype=torch.float64)))
        spread = 3 * fourth_moment(self.activation, r) - square**2
        return self.sigma_v2 * self.sigma_u2 * q * square, (
            self.sigma_v2 * self.sigma_u2 * q
        ) ** 2 * spread / hidden

    @override
    @property
    def variances(self) -> Variances:
        raise known_by_dual(self)

    @override
    def critical_beta(self, law: PathLaw) -> float | None:
        """What adds up are products of two matrices if gates have a mean, else of three."""
        if not self._ours:
            return None
        matrices = 3 if self.activation.odd else 2
        return max(0.5, 1 + matrices * (law.exponent - 1))
