"""Branches V φ(W h + b) + a with one matrix or two: those of the papers, and all that is known of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde._names import LATER, brief, leave_out
from resnet_sde.activations import Activation
from resnet_sde.blocks.base import Block, NotKnown, Variances, fourth_moment, gaps_of
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Layer, Matrix


class Pointwise(Block):
    """V φ(W h + b) + a, where V or W may be absent; what is said of it holds for this branch only."""

    _inner: ClassVar[bool] = True
    _outer: ClassVar[bool] = True

    @property
    def _of(self) -> Variances:
        """Its variances, as it was made."""
        raise NotImplementedError

    @property
    def _ours(self) -> bool:
        """Whether branch and shapes are those below: what is made from a block may have others."""
        kind = type(self)
        return kind.branch is Pointwise.branch and kind.shapes is Pointwise.shapes

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        _, inner, _, outer = self._of
        hidden = self._hidden(width)
        found = {"inner": (width + (inner > 0), hidden)} if self._inner else {}
        return {**found, "outer": (hidden + (outer > 0), width)} if self._outer else found

    @override
    def _weights(self, width: int) -> dict[str, int]:
        if not self._ours:
            return super()._weights(width)
        of = {"inner": width, "outer": self._hidden(width)}
        return {name: of[name] for name in self.shapes(width)}

    def _hidden(self, width: int) -> int:
        """How many numbers φ meets."""
        return width

    @override
    def branch(self, h: Tensor, layer: Layer) -> Tensor:
        return self._outside(self._pre(h, layer, layer.unit), layer, layer.unit)

    @override
    def adjoint(self, h: Tensor, p: Tensor, layer: Layer) -> Tensor:
        if not self._ours:
            return super().adjoint(h, p, layer)
        return self._back(self._pre(h, layer, layer.unit), p, layer)

    @override
    def _branch_and_pre(self, h: Tensor, layer: Layer, unit: Tensor | None = None) -> tuple[Tensor, object]:
        if not self._keeps_pre:
            return super()._branch_and_pre(h, layer, unit)
        pre = self._pre(h, layer, unit)
        return self._outside(pre, layer, unit), pre

    @override
    def _adjoint_at(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        return self._back(pre, p, layer) if self._keeps_pre else super()._adjoint_at(pre, p, layer)

    @override
    @property
    def _keeps_pre(self) -> bool:
        return self._ours and type(self).adjoint is Pointwise.adjoint

    def _pre(self, h: Tensor, layer: Layer, unit: Tensor | None) -> Tensor:
        """What φ meets."""
        if not self._inner:
            return h
        weight, bias, _, _ = self._of
        return affine(layer["inner"], h, weight, bias, unit)

    def _outside(self, pre: Tensor, layer: Layer, unit: Tensor | None) -> Tensor:
        """V φ + a."""
        x = self.activation(pre)
        if not self._outer:
            return layer.get("outer").matvec(x)
        _, _, weight, bias = self._of
        return affine(layer["outer"], x, weight, bias, unit)

    def _back(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        """The adjoint at what φ met."""
        inner, inner_bias, outer, outer_bias = self._of
        width = p.shape[-1]
        if self._outer:
            p = affine_back(layer["outer"], p, outer, outer_bias, pre.shape[-1])
        else:
            p = layer.get("outer").rmatvec(p)
        back = self.activation.pullback(pre, p)
        return affine_back(layer["inner"], back, inner, inner_bias, width) if self._inner else back

    @override
    @property
    def variances(self) -> Variances:
        return self._of if self._ours else super().variances

    @override
    @property
    def averages(self) -> bool:
        return self._ours and self._inner

    @override
    def covariance(self, h: Tensor) -> Tensor:
        if not self._ours:
            return super().covariance(h)
        inner, inner_bias, outer, outer_bias = self._of
        if not self._inner:
            probe = self.activation(h)
            return outer * (probe @ probe.mT) / h.shape[-1] + outer_bias
        r1, r2, gap = gaps_of(inner * (h @ h.mT) / h.shape[-1] + inner_bias)
        dual = self.activation.dual(r1, r2, gap=gap)
        return outer * dual + outer_bias if self._outer else dual

    @override
    @property
    def homogeneous(self) -> bool:
        return self._ours and self.activation.homogeneous

    @override
    def critical_beta(self, law: PathLaw) -> float | None:
        return self._critical(law) if self._ours else None

    def _critical(self, law: PathLaw) -> float | None:
        raise NotImplementedError


@dataclass(frozen=True)
class SingleLayer(Pointwise):
    """One matrix: V g(h) with g(h) = (σ_w φ(h) / √d, σ_b); res-1, and feed-forward layers at skip 0.

    sigma_w2, sigma_b2: variance of the matrix (times fan-in) and of the bias.
    """

    _inner: ClassVar[bool] = False

    activation: Activation
    sigma_w2: float = 1.0
    sigma_b2: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, ("sigma_w2", "sigma_b2"))

    @override
    @property
    def _of(self) -> Variances:
        return Variances(1.0, 0.0, self.sigma_w2, self.sigma_b2)

    @override
    @property
    def one_matrix(self) -> bool:
        return self._ours

    @override
    def memory_drift(self, h: Tensor, later: float, gain: float) -> Tensor:
        if later == 0 or not self._ours:
            return super().memory_drift(h, later, gain)
        strength = (gain * math.sqrt(self.sigma_w2)) ** 2
        return later * strength / h.shape[-1] * self.activation.prime(h) * self.activation(h)

    @override
    def size_moments(self, q: float, width: int) -> tuple[float, float]:
        if not (self._ours and self.activation.odd and self.activation.homogeneous):
            raise NotKnown(
                f"the size of a branch of {self} depends on the direction of the state, which layers share; "
                "give LINEAR, or TwoLayer, whose inner matrix averages over directions, or use simulate"
            )
        return self.sigma_w2 * _second_moment(self.activation, q) + self.sigma_b2, 0.0

    @override
    def _critical(self, law: PathLaw) -> float | None:
        return max(law.exponent, 0.25)


@dataclass(frozen=True)
class TwoLayer(Pointwise):
    """Two matrices: V φ(W h + b) + a; res-2, res-3 (ReLU) and full residual layers.

    Both matrices are drawn from the model's law.

    sigma_w2, sigma_b2: variance of the inner matrix W (times fan-in) and of its bias b.
    sigma_v2, sigma_a2: the same for the outer matrix V and its bias a.
    expansion: hidden numbers, which φ meets, for each coordinate of the state; their number is rounded, and
        at least 1. No mean at infinite width and no limit in depth depends on it, fluctuations of networks of
        finite width do.
    """

    activation: Activation
    sigma_w2: float = 1.0
    sigma_b2: float = 0.0
    sigma_v2: float = 1.0
    sigma_a2: float = 0.0
    expansion: float = field(default=1.0, metadata=LATER)

    __repr__ = brief

    def __post_init__(self) -> None:
        check_fields(self, ("sigma_w2", "sigma_b2", "sigma_v2", "sigma_a2"))
        check_expansion(self)
        leave_out(self)

    @override
    def _hidden(self, width: int) -> int:
        return hidden_width(self.expansion, width)

    @override
    @property
    def _of(self) -> Variances:
        return Variances(self.sigma_w2, self.sigma_b2, self.sigma_v2, self.sigma_a2)

    @override
    def size_moments(self, q: float, width: int) -> tuple[float, float]:
        if not self._ours:
            return super().size_moments(q, width)
        r = self.sigma_w2 * q + self.sigma_b2
        square, fourth = _second_moment(self.activation, r), fourth_moment(self.activation, r)
        spread = self.sigma_v2**2 * (fourth - square**2) / self._hidden(width)
        return self.sigma_v2 * square + self.sigma_a2, max(0.0, spread)

    @override
    def _critical(self, law: PathLaw) -> float | None:
        # An odd φ has no mean that long memory could sum up: what adds up are products of weights of two
        # layers, whose covariance is the square of that of the weights.
        pathwise = not self.activation.odd or self.sigma_a2 > 0
        return max(0.5, law.exponent if pathwise else 2 * law.exponent - 1)


@dataclass(frozen=True)
class Reduced(Pointwise):
    """An inner matrix and the identity outside: φ(W h + b).

    This is the reduced residual layer of Yang & Schoenholz (2017).

    sigma_w2, sigma_b2: variance of the matrix (times fan-in) and of the bias.
    """

    _outer: ClassVar[bool] = False

    activation: Activation
    sigma_w2: float = 1.0
    sigma_b2: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, ("sigma_w2", "sigma_b2"))

    @override
    @property
    def _of(self) -> Variances:
        return Variances(self.sigma_w2, self.sigma_b2, 1.0, 0.0)

    @override
    def _critical(self, law: PathLaw) -> float | None:
        if not law.independent:
            return None
        return 0.5 if self.activation.odd else 1.0


def _second_moment(activation: Activation, q: float) -> float:
    return float(activation.second_moment(torch.tensor(q, dtype=torch.float64)))


def affine(matrix: Matrix, x: Tensor, weight: float, bias: float, unit: Tensor | None = None) -> Tensor:
    """σ_w V x / √d + σ_b v, with v the last column of the matrix; weight and bias are variances."""
    scale = math.sqrt(weight / x.shape[-1])
    return matrix.matvec(x, scale) if bias == 0 else matrix.affine(x, scale, math.sqrt(bias), unit)


def affine_back(matrix: Matrix, p: Tensor, weight: float, bias: float, width: int | None = None) -> Tensor:
    """σ_w Vᵀ p / √d, without the column of the bias; d is the width that V takes, that of p if None."""
    width = p.shape[-1] if width is None else width
    scale = math.sqrt(weight / width)
    return matrix.rmatvec(p, scale) if bias == 0 else matrix.rmatvec(p)[..., :width] * scale


def check_fields(block: Block, names: tuple[str, ...]) -> None:
    """Raises ValueError unless a block has an activation, and variances under these names."""
    if not isinstance(getattr(block, "activation", None), Activation):
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


def check_expansion(block: TwoLayer | Block) -> None:
    """Raises ValueError unless `expansion` of a block is a positive number."""
    value = block.expansion  # type: ignore[union-attr]
    if isinstance(value, (str, bool, type(None))) or not 0 < value < math.inf:
        raise ValueError(f"expansion must be a positive number, got {value!r}; give for example 4")
    object.__setattr__(block, "expansion", float(value))


def hidden_width(expansion: float, width: int) -> int:
    """How many hidden numbers a branch of this expansion has."""
    return max(1, round(expansion * width))
