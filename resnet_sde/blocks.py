r"""Residual branches: everything about a layer except the entries of its matrices.

A layer is h ← λh + α V g(h). Constants of the branch (its biases) are one more column of the matrices, whose
input is the number `unit`: 1 for a state in natural units, 2^{−e} for a state that is carried as 2^e h. A
homogeneous branch is therefore the same function at any scale, biases included.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.activations import Activation
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Layer as Layer
from resnet_sde.matrices import Matrix

_TINY = torch.finfo(torch.float64).tiny


class Variances(NamedTuple):
    """What a branch of infinite width does to a Gaussian state.

    A state of mean square q feeds φ with Gaussian variables of variance inner_weight · q + inner_bias; the
    branch then has mean square outer_weight · E φ² + outer_bias. An absent matrix is (1, 0).
    """

    inner_weight: float
    inner_bias: float
    outer_weight: float
    outer_bias: float


class Block(ABC):
    """A residual branch V g(h)."""

    activation: Activation

    @abstractmethod
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        """(in, out) of a layer's "outer" and "inner" matrices; one more input where there is a bias."""

    @abstractmethod
    def branch(self, h: Tensor, layer: Layer, unit: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """V g(h), and the pre-activations that `adjoint` will need.

        Shape: h and both results (sample, input, width); `unit` (sample, input, 1), None meaning 1.
        """

    @abstractmethod
    def adjoint(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        """(∂ V g / ∂h)ᵀ p at the pre-activations of `branch`; all (sample, input, width)."""

    @property
    def variances(self) -> Variances:
        """The variances of the branch, by their place."""
        raise NotImplementedError(
            f"the theory of infinite width does not know {self}; give it a property variances"
        )

    def preactivations(
        self,
        q1: Tensor,
        q2: Tensor,
        gap: Tensor,
        inner: float | Tensor = 1.0,
        unit: float | Tensor = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Variances and gap of what goes into φ, for states of mean squares q1, q2 and cosine 1 − gap.

        Args:
            q1, q2, gap: float64 tensors that broadcast.
            inner: correlation of the inner matrices, and of their biases, that the two states meet.
            unit: what stands for 1 in the unit of q1 and q2, for a homogeneous branch at another scale.
        """
        if "inner" not in self.shapes(1):
            return q1, q2, gap
        weight, bias = self.variances[:2]
        r1, r2, apart = (q1, q2, gap) if weight == 1 else (weight * q1, weight * q2, gap)
        if bias > 0:
            constant = bias * unit
            r1, r2, product = r1 + constant, r2 + constant, weight * (q1 * q2).sqrt()
            geometric = (r1 * r2).sqrt()
            step = (q1 - q2).square() / (q1.sqrt() + q2.sqrt()).square().clamp_min(_TINY)
            of_lengths = weight * constant * step / (geometric + constant + product).clamp_min(_TINY)
            apart = (of_lengths + product * gap) / geometric.clamp_min(_TINY)
        return r1, r2, apart if isinstance(inner, float) and inner == 1.0 else _times(apart, inner)

    def dual(
        self,
        q1: Tensor,
        q2: Tensor,
        *,
        gap: Tensor,
        inner: float | Tensor = 1.0,
        unit: float | Tensor = 1.0,
    ) -> Tensor:
        """E g(u) · g(v) per coordinate at infinite width; arguments as in `preactivations`."""
        r1, r2, apart = self.preactivations(q1, q2, gap, inner, unit)
        of_weights, of_bias = self.variances[2:]
        found = self.activation.dual(r1, r2, gap=apart)
        found = found if of_weights == 1 else found * of_weights
        return found if of_bias == 0 else found + of_bias * unit

    def difference(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        """E |g(u) − g(v)|² / 2 per coordinate in one layer, without cancellation."""
        r1, r2, apart = self.preactivations(q1, q2, gap)
        return self.variances.outer_weight * self.activation.difference(r1, r2, gap=apart)

    def dual_prime(
        self,
        q1: Tensor,
        q2: Tensor,
        *,
        gap: Tensor,
        inner: float | Tensor = 1.0,
        unit: float | Tensor = 1.0,
    ) -> Tensor:
        """The factor of a gradient covariance: E φ'(u) φ'(v) times the variances of the matrices."""
        r1, r2, apart = self.preactivations(q1, q2, gap, inner, unit)
        weight, _, of_weights, _ = self.variances
        factor = weight * of_weights * inner if "inner" in self.shapes(1) else weight * of_weights
        return factor * self.activation.dual_prime(r1, r2, gap=apart)

    @abstractmethod
    def critical_beta(self, law: PathLaw) -> float | None:
        """β*, where the network has a non-trivial limit in depth (Marion et al., 2025); of block and law."""

    @property
    @abstractmethod
    def strength(self) -> float:
        """Typical ratio of the norms of V g(h) and h, up to a constant."""

    @property
    def homogeneous(self) -> bool:
        """Whether the branch commutes with positive scalings of the state and of `unit`."""
        return False

    def _has_branch_of(self, kind: type[Block]) -> bool:
        """Whether the formulas of a kind of block hold: what is made from it may have another branch."""
        return type(self).branch is kind.branch and type(self).shapes is kind.shapes


@dataclass(frozen=True)
class SingleLayer(Block):
    """One matrix: V g(h) with g(h) = (σ_w φ(h) / √d, σ_b); res-1, and feed-forward layers at skip 0.

    sigma_w2, sigma_b2: variance of the matrix (times fan-in) and of the bias.
    """

    activation: Activation
    sigma_w2: float = 1.0
    sigma_b2: float = 0.0

    def __post_init__(self) -> None:
        _check_fields(self, ("sigma_w2", "sigma_b2"))

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"outer": (_columns(width, self.sigma_b2), width)}

    @override
    @property
    def variances(self) -> Variances:
        if not self._has_branch_of(SingleLayer):
            return super().variances
        return Variances(1.0, 0.0, self.sigma_w2, self.sigma_b2)

    @override
    def branch(self, h: Tensor, layer: Layer, unit: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return affine(layer.outer, self.activation(h), self.sigma_w2, self.sigma_b2, unit), h

    @override
    def adjoint(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        return self.activation.pullback(pre, affine_back(layer.outer, p, self.sigma_w2, self.sigma_b2))

    @override
    def critical_beta(self, law: PathLaw) -> float | None:
        return max(law.exponent, 0.25) if self._has_branch_of(SingleLayer) else None

    @override
    @property
    def homogeneous(self) -> bool:
        return self._has_branch_of(SingleLayer) and self.activation.homogeneous

    @override
    @property
    def strength(self) -> float:
        return math.sqrt(self.sigma_w2)


@dataclass(frozen=True)
class TwoLayer(Block):
    """Two matrices: V φ(W h + b) + a; res-2, res-3 (ReLU) and full residual layers.

    Both matrices are drawn from the model's law.

    sigma_w2, sigma_b2: variance of the inner matrix W (times fan-in) and of its bias b.
    sigma_v2, sigma_a2: the same for the outer matrix V and its bias a.
    """

    activation: Activation
    sigma_w2: float = 1.0
    sigma_b2: float = 0.0
    sigma_v2: float = 1.0
    sigma_a2: float = 0.0

    def __post_init__(self) -> None:
        _check_fields(self, ("sigma_w2", "sigma_b2", "sigma_v2", "sigma_a2"))

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        inner, outer = _columns(width, self.sigma_b2), _columns(width, self.sigma_a2)
        return {"inner": (inner, width), "outer": (outer, width)}

    @override
    @property
    def variances(self) -> Variances:
        if not self._has_branch_of(TwoLayer):
            return super().variances
        return Variances(self.sigma_w2, self.sigma_b2, self.sigma_v2, self.sigma_a2)

    @override
    def branch(self, h: Tensor, layer: Layer, unit: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert layer.inner is not None
        pre = affine(layer.inner, h, self.sigma_w2, self.sigma_b2, unit)
        return affine(layer.outer, self.activation(pre), self.sigma_v2, self.sigma_a2, unit), pre

    @override
    def adjoint(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        assert layer.inner is not None
        back = self.activation.pullback(pre, affine_back(layer.outer, p, self.sigma_v2, self.sigma_a2))
        return affine_back(layer.inner, back, self.sigma_w2, self.sigma_b2)

    @override
    def critical_beta(self, law: PathLaw) -> float | None:
        if not self._has_branch_of(TwoLayer):
            return None
        # An odd φ has no mean that long memory could sum up: what adds up are products of weights of two
        # layers, whose covariance is the square of that of the weights.
        pathwise = not self.activation.odd or self.sigma_a2 > 0
        return max(0.5, law.exponent if pathwise else 2 * law.exponent - 1)

    @override
    @property
    def homogeneous(self) -> bool:
        return self._has_branch_of(TwoLayer) and self.activation.homogeneous

    @override
    @property
    def strength(self) -> float:
        return math.sqrt(self.sigma_v2 * self.sigma_w2)


@dataclass(frozen=True)
class Reduced(Block):
    """An inner matrix and the identity outside: φ(W h + b).

    This is the reduced residual layer of Yang & Schoenholz (2017).

    sigma_w2, sigma_b2: variance of the matrix (times fan-in) and of the bias.
    """

    activation: Activation
    sigma_w2: float = 1.0
    sigma_b2: float = 0.0

    def __post_init__(self) -> None:
        _check_fields(self, ("sigma_w2", "sigma_b2"))

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"inner": (_columns(width, self.sigma_b2), width)}

    @override
    @property
    def variances(self) -> Variances:
        if not self._has_branch_of(Reduced):
            return super().variances
        return Variances(self.sigma_w2, self.sigma_b2, 1.0, 0.0)

    @override
    def branch(self, h: Tensor, layer: Layer, unit: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert layer.inner is not None
        pre = affine(layer.inner, h, self.sigma_w2, self.sigma_b2, unit)
        return layer.outer.matvec(self.activation(pre)), pre

    @override
    def adjoint(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        assert layer.inner is not None
        back = self.activation.pullback(pre, layer.outer.rmatvec(p))
        return affine_back(layer.inner, back, self.sigma_w2, self.sigma_b2)

    @override
    def critical_beta(self, law: PathLaw) -> float | None:
        if not law.independent or not self._has_branch_of(Reduced):
            return None
        return 0.5 if self.activation.odd else 1.0

    @override
    @property
    def homogeneous(self) -> bool:
        return self._has_branch_of(Reduced) and self.activation.homogeneous

    @override
    @property
    def strength(self) -> float:
        return math.sqrt(self.sigma_w2)


def _times(gap: Tensor, correlation: float | Tensor) -> Tensor:
    """The gap 1 − correlation · (1 − gap)."""
    return torch.rsub(torch.rsub(gap, 1.0) * correlation, 1.0)


def _columns(width: int, bias: float) -> int:
    return width + (bias > 0)


def affine(matrix: Matrix, x: Tensor, weight: float, bias: float, unit: Tensor | None) -> Tensor:
    """σ_w V x / √d + σ_b v, with v the last column of the matrix; weight and bias are variances."""
    scale = math.sqrt(weight / x.shape[-1])
    return matrix.matvec(x, scale) if bias == 0 else matrix.affine(x, scale, math.sqrt(bias), unit)


def affine_back(matrix: Matrix, p: Tensor, weight: float, bias: float) -> Tensor:
    """σ_w Vᵀ p / √d, without the column of the bias."""
    width = p.shape[-1]
    scale = math.sqrt(weight / width)
    return matrix.rmatvec(p, scale) if bias == 0 else matrix.rmatvec(p)[..., :width] * scale


def _check_fields(block: Block, names: tuple[str, ...]) -> None:
    if not isinstance(block.activation, Activation):
        raise ValueError(
            f"activation must be an Activation, got {block.activation!r}; give for example RELU, or "
            "activation('relu')"
        )
    for name in names:
        value = getattr(block, name)
        if isinstance(value, (str, type(None))) or not 0 <= value < math.inf:
            raise ValueError(
                f"{name} is a variance: it must be finite and not negative, got {value!r}; give for example 1"
            )
        object.__setattr__(block, name, float(value))
