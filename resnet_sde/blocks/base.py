"""What a residual branch is asked for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from resnet_sde.activations import Activation
from resnet_sde.checks import states
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Layer

_TINY = torch.finfo(torch.float64).tiny


class NotKnown(ValueError):
    """What a verb needs to know of a block, and the block does not say."""


class _NoActivation(NotKnown, AttributeError):
    """The same of the attribute `activation`."""


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
    """A residual branch V g(h): `shapes` and `branch` are all that one must have.

    With these it is simulated, gradients included. What else it says of itself decides which verbs have an
    answer for it, and those that ask for more name what is missing.
    """

    activation: Activation

    @abstractmethod
    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        """(in, out) of the matrices of a layer, by their names; one more input where there is a bias.

        The one that multiplies last is named "outer", if there is one: dropout stands before it, and what
        `dual` says is without it.
        """

    @abstractmethod
    def branch(self, h: Tensor, layer: Layer) -> Tensor:
        """The whole branch V g(h), of the shape of h, (sample, input, width).

        `layer[name]` is a matrix whose entries have variance 1: ``layer["outer"].matvec(x, scale)`` is scale
        · V x. `affine` does the same with a bias.
        """

    def adjoint(self, h: Tensor, p: Tensor, layer: Layer) -> Tensor:
        """(∂ V g / ∂h)ᵀ p at h, all (sample, input, width); by autograd, unless a block has its own.

        Raises:
            NotKnown: autograd cannot follow the branch.
        """
        with torch.enable_grad():
            start = h.detach().requires_grad_()
            found = self.branch(start, layer)
            if not found.requires_grad:
                raise NotKnown(
                    f"autograd cannot follow the branch of {type(self).__name__}; let it use functions of "
                    "torch alone, or write its adjoint(h, p, layer)"
                )
            (back,) = torch.autograd.grad(found, start, p, allow_unused=True)
        return torch.zeros_like(h) if back is None else back

    def _weights(self, width: int) -> dict[str, int]:
        """How many inputs of each matrix are weights; of one's own block a row more than out is a bias.

        That is so at any width: at one it may be by chance.
        """
        shapes = self.shapes(width)
        biased = {name for name, (rows, out) in shapes.items() if rows == out + 1}
        biased = {name for name in biased if (wider := self.shapes(4 * width)[name])[0] == wider[1] + 1}
        return {name: rows - (name in biased) for name, (rows, _) in shapes.items()}

    @property
    def sharing(self) -> int:
        """How many vectors of each input meet a matrix, as many as there are positions of a convolution."""
        return math.prod(part.sharing for part in getattr(self, "parts", ()))

    def _branch_and_pre(self, h: Tensor, layer: Layer, unit: Tensor | None = None) -> tuple[Tensor, Any]:
        """V g(h), and what `_adjoint_at` needs of the way up.

        Our own blocks keep pre-activations, for speed; others are asked again at h.
        """
        layer = layer if unit is None else replace(layer, unit=unit)
        return self.branch(h, layer), (h, layer)

    @property
    def _keeps_pre(self) -> bool:
        """Whether what `_branch_and_pre` keeps is what φ meets."""
        return False

    def _adjoint_at(self, pre: Any, p: Tensor, layer: Layer) -> Tensor:
        """(∂ V g / ∂h)ᵀ p, given what `_branch_and_pre` kept."""
        return self.adjoint(pre[0], p, pre[1])

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name == "activation":
                raise _NoActivation(
                    f"{type(self).__name__} has no activation, by whose Gaussian moments this is answered; "
                    "give it one beside its variances if it is V φ(W h + b) + a, or use simulate"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def variances(self) -> Variances:
        """The variances of a branch V φ(W h + b) + a, by their place.

        Raises:
            NotKnown: it is another, or says nothing.
        """
        raise NotKnown(
            f"{self} does not say what it is at infinite width; where it is V φ(W h + b) + a, give it a "
            "property variances and its activation, or else use simulate"
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
        return r1, r2, correlated(apart, inner)

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
        """E |g(u) − g(v)|² / 2 per coordinate in one layer; by variances without cancellation."""
        if type(self).dual is not Block.dual:
            apart, none = self.dual(q1, q2, gap=gap), torch.zeros_like(gap)
            return (self.dual(q1, q1, gap=none) + self.dual(q2, q2, gap=none)) / 2 - apart
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

    def critical_beta(self, law: PathLaw) -> float | None:
        """β*, where networks have a non-trivial limit in depth (Marion et al., 2025); None if not known."""
        return None

    @property
    def strength(self) -> float | None:
        """Typical ratio of the norms of V g(h) and h, up to a constant; None where it is not known."""
        try:
            of = self.variances
        except NotKnown:
            return None
        return math.sqrt(of.inner_weight * of.outer_weight)

    @property
    def homogeneous(self) -> bool:
        """Whether the branch commutes with positive scalings of the state and of the unit of the layer."""
        return False

    @property
    def scale_free(self) -> bool:
        """Whether the branch is the same at all positive multiples of a state."""
        return False

    @property
    def one_matrix(self) -> bool:
        """Whether the branch is V g(h) with one matrix, named "outer": linear in it."""
        return False

    @property
    def inside(self) -> Block:
        """The block behind a normalization, or this one."""
        return self

    @property
    def least_width(self) -> int:
        """Below it, paths of states meet places where the branch jumps."""
        return 1

    @property
    def averages(self) -> bool:
        """Whether the covariance of branches at given states is `dual` at their products, at any width.

        It is where the inner matrices meet the state first, and make Gaussian numbers of it.
        """
        return False

    @property
    def states_covariance(self) -> bool:
        """Whether `covariance` is that of the branch."""
        return states(self, "covariance", "branch", "shapes")

    def covariance(self, h: Tensor) -> Tensor:
        """E b(h_a) b(h_c) of a coordinate b of the branches at given states, exactly at this width.

        Over independent Gaussian weights, for which coordinates are alike, uncorrelated and without a mean.

        Args:
            h: (sample, input, width).

        Returns:
            (sample, input, input).

        Raises:
            NotKnown: nothing is said.
        """
        raise NotKnown(
            f"{type(self).__name__} does not say what the covariance of its branches at given states is"
        )

    def memory_drift(self, h: Tensor, later: float, gain: float) -> Tensor:
        """What a branch of one matrix adds in the mean where later weights are like its own; shape of h.

        With Λ = `later` the sum of the correlations with those of later layers: gain² Λ ∂A/∂h / 2, A the
        variance of a coordinate. At white weights nothing.
        """
        if later == 0:
            return torch.zeros_like(h)
        with torch.enable_grad():
            start = h if h.requires_grad else h.detach().requires_grad_()
            square = self.covariance(start).diagonal(dim1=-2, dim2=-1).sum()
            (slope,) = torch.autograd.grad(square, start, create_graph=h.requires_grad)
        return later * gain**2 / 2 * slope

    def size_moments(self, q: float, width: int) -> tuple[float, float]:
        """Mean and variance over inner matrices of the variance that they leave to a coordinate of V x.

        For independent Gaussian matrices at a finite width, and any state of mean square q: given the inner
        ones, coordinates are independent Gaussian numbers.

        Raises:
            NotKnown: that depends on more than q, or nothing is said.
        """
        raise NotKnown(
            f"the size of the branches of {type(self).__name__} is not known at a finite width; use simulate"
        )


def correlated(gap: Tensor, correlation: float | Tensor) -> Tensor:
    """The gap 1 − correlation · (1 − gap); the gap itself, with all of its digits, where that is 1."""
    if isinstance(correlation, float) and correlation == 1.0:
        return gap
    return torch.rsub(torch.rsub(gap, 1.0) * correlation, 1.0)


def gaps_of(products: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squares of both and gap of all pairs of vectors, from their products (sample, input, input)."""
    q = torch.diagonal(products, dim1=-2, dim2=-1)
    gap = 1 - products / (q[..., :, None] * q[..., None, :]).sqrt().clamp(min=1e-300)
    gap = torch.where(torch.eye(q.shape[-1], dtype=torch.bool, device=q.device), 0.0, gap).clamp(0, 2)
    return q[..., :, None], q[..., None, :], gap


def fourth_moment(activation: Activation, q: float) -> float:
    """E φ(√q z)⁴, by the rules that moments of any function are found by."""
    return float(_squared(activation).second_moment(torch.tensor(q, dtype=torch.float64)))


@lru_cache(maxsize=64)
def _squared(activation: Activation) -> Activation:
    return Activation.of(partial(_square, activation))


def _square(activation: Activation, x: Tensor) -> Tensor:
    return activation(x).square()


def known_by_dual(block: Block) -> NotKnown:
    """Why a block that states its dual has no variances."""
    return NotKnown(
        f"this is derived for branches V φ(W h + b) + a, and not for {block}; meanfield.lengths, kernel, "
        "gaps, two_time, displacement and flow know it, or use simulate"
    )


def known_by_positions(block: Block) -> NotKnown:
    """Why a block whose states have positions has no length or gap."""
    return NotKnown(
        f"states of {block} have a covariance of every pair of positions at infinite width, and no length or "
        "gap alone; use meanfield.convolution_kernel, or simulate"
    )


def known_without_mean(block: Block) -> NotKnown:
    """Why a normalization has no theory around a block whose branches have a mean over coordinates."""
    return NotKnown(
        f"branches of {type(block).__name__} have a mean, which a normalization meets and the theory of "
        "infinite width does not; give TwoLayer, or an odd activation, or use simulate"
    )


def runs_as(block: Block, kind: type[Block]) -> bool:
    """Whether the formulas of a kind hold: what derives from it may have another branch or adjoint."""
    return type(block).branch is kind.branch and type(block).adjoint is Block.adjoint
