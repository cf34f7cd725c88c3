r"""Residual branches: everything about a layer except the entries of its matrices.

A layer is h ← λh + α V g(h). Constants of the branch (its biases) are one more column of the matrices, whose
input is the number `one`: 1 for a state in natural units, 2^{−e} for a state that is carried as 2^e h. A
homogeneous branch is therefore the same function at any scale, biases included.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.activations import Activation
from resnet_sde.laws import FractionalNoise, PathLaw, WhiteNoise
from resnet_sde.matrices import Matrix


@dataclass(frozen=True)
class Layer:
    """The matrices of one layer; `inner` is None for a block with one matrix."""

    outer: Matrix
    inner: Matrix | None = None


class Block(ABC):
    """A residual branch V g(h)."""

    activation: Activation

    @abstractmethod
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        """(in, out) of a layer's "outer" and "inner" matrices; one more input where there is a bias."""

    @abstractmethod
    def branch(self, h: Tensor, layer: Layer, one: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """V g(h), and the pre-activations that `adjoint` will need.

        Shape: h and both results (sample, input, width); `one` (sample, input, 1), None meaning 1.
        """

    @abstractmethod
    def adjoint(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        """(∂ V g / ∂h)ᵀ p at the pre-activations of `branch`; all (sample, input, width)."""

    @abstractmethod
    def critical_beta(self, law: PathLaw) -> float | None:
        """β*, where the network has a non-trivial limit in depth (Marion et al., 2025); of block and law."""

    @property
    @abstractmethod
    def strength(self) -> float:
        """Typical ratio of the norms of V g(h) and h, up to a constant."""

    @property
    def homogeneous(self) -> bool:
        """Whether the branch commutes with positive scalings of the state and of `one`."""
        return self.activation.homogeneous


@dataclass(frozen=True)
class SingleLayer(Block):
    """One matrix: V g(h) with g(h) = (σ_w φ(h) / √d, σ_b); res-1, and feed-forward layers at skip 0.

    sigma_w2, sigma_b2: variance of the matrix (times fan-in) and of the bias.
    """

    activation: Activation
    sigma_w2: float = 1.0
    sigma_b2: float = 0.0

    def __post_init__(self) -> None:
        _check_variances(self, ("sigma_w2", "sigma_b2"))

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"outer": (_columns(width, self.sigma_b2), width)}

    @override
    def branch(self, h: Tensor, layer: Layer, one: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return affine(layer.outer, self.activation(h), self.sigma_w2, self.sigma_b2, one), h

    @override
    def adjoint(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        return self.activation.pullback(pre, affine_back(layer.outer, p, self.sigma_w2, self.sigma_b2))

    @override
    def critical_beta(self, law: PathLaw) -> float:
        return max(law.exponent, 0.25)

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
        _check_variances(self, ("sigma_w2", "sigma_b2", "sigma_v2", "sigma_a2"))

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        inner, outer = _columns(width, self.sigma_b2), _columns(width, self.sigma_a2)
        return {"inner": (inner, width), "outer": (outer, width)}

    @override
    def branch(self, h: Tensor, layer: Layer, one: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert layer.inner is not None
        pre = affine(layer.inner, h, self.sigma_w2, self.sigma_b2, one)
        return affine(layer.outer, self.activation(pre), self.sigma_v2, self.sigma_a2, one), pre

    @override
    def adjoint(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        assert layer.inner is not None
        back = self.activation.pullback(pre, affine_back(layer.outer, p, self.sigma_v2, self.sigma_a2))
        return affine_back(layer.inner, back, self.sigma_w2, self.sigma_b2)

    @override
    def critical_beta(self, law: PathLaw) -> float:
        if isinstance(law, FractionalNoise) and law.hurst > 0.5:
            pathwise = not self.activation.odd or self.sigma_a2 > 0
            return law.hurst if pathwise else max(0.5, 2 * law.hurst - 1)
        return max(law.exponent, 0.5)

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
        _check_variances(self, ("sigma_w2", "sigma_b2"))

    @override
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"inner": (_columns(width, self.sigma_b2), width)}

    @override
    def branch(self, h: Tensor, layer: Layer, one: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert layer.inner is not None
        pre = affine(layer.inner, h, self.sigma_w2, self.sigma_b2, one)
        return self.activation(pre), pre

    @override
    def adjoint(self, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        assert layer.inner is not None
        return affine_back(layer.inner, self.activation.pullback(pre, p), self.sigma_w2, self.sigma_b2)

    @override
    def critical_beta(self, law: PathLaw) -> float | None:
        if not isinstance(law, WhiteNoise):
            return None
        return 0.5 if self.activation.odd else 1.0

    @override
    @property
    def strength(self) -> float:
        return math.sqrt(self.sigma_w2)


def _columns(width: int, bias: float) -> int:
    return width + (bias > 0)


def affine(matrix: Matrix, x: Tensor, weight: float, bias: float, one: Tensor | None) -> Tensor:
    """σ_w V x / √d + σ_b v, with v the last column of the matrix; weight and bias are variances."""
    scale = math.sqrt(weight / x.shape[-1])
    if bias == 0:
        return matrix.look(x, scale)
    constant = torch.full_like(x[..., :1], math.sqrt(bias))
    return matrix.look(torch.cat([x * scale, constant if one is None else constant * one], dim=-1))


def affine_back(matrix: Matrix, p: Tensor, weight: float, bias: float) -> Tensor:
    """σ_w Vᵀ p / √d, without the column of the bias."""
    width = p.shape[-1]
    scale = math.sqrt(weight / width)
    return matrix.look_back(p, scale) if bias == 0 else matrix.look_back(p)[..., :width] * scale


def _check_variances(block: Block, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(block, name)
        if not 0 <= value < math.inf:
            raise ValueError(
                f"{name} is a variance: it must be finite and not negative, got {value}; give for example 1"
            )
        object.__setattr__(block, name, float(value))
