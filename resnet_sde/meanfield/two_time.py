r"""Kernels between the layers of infinitely wide networks, for weights of any law along depth.

Where weights of different layers are correlated, a layer feels all earlier ones: the kernel
C_kl = E ⟨h_k, h_l⟩ / d obeys C_{k+1,l+1} − λ C_{k+1,l} − λ C_{k,l+1} + λ² C_kl = α² Φ_kl, with Φ_kl the mean
product of the branches of the two layers, and gradients a recursion of the same form (one matrix: Marion et
al., 2025, and further blocks derived here). A row of C follows from the row before it by a sum along the row,
so that the cost is O(L²) operations in L steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_sde.blocks import Block
from resnet_sde.checks import check_memory, finite_number, positive_integer
from resnet_sde.laws import PathLaw
from resnet_sde.meanfield.devices import computed_on_the_cpu
from resnet_sde.meanfield.one_time import as_tensor, check_theory, check_variance
from resnet_sde.model import Model

_LARGE = 1e100  # states of homogeneous blocks are brought back when their mean square leaves this
_ROWS_BETWEEN_CHECKS = 16
# Bytes held at once for each pair of layers: of a kernel that is kept, its triangles and their sum; of one
# that is walked through, the covariance of the weights and what it is computed from.
_TABLE_BYTES, _WALK_BYTES = 32, 16
_UNIT = 1e-6  # how far a variance may be from 1
_FAST = 10.0  # factor of one layer from which on every row is checked


def two_time(model: Model, q0: float = 1.0, *, depth: int) -> Tensor:
    """Kernel E ⟨h_k, h_l⟩ / d between all layers of an infinitely wide network, for one input.

    Args:
        model: any block and law, of infinite width: its width is not used.
        q0: mean square per coordinate of h_0, whose coordinates are centred Gaussian.
        depth: number of layers, which also sets α_L.

    Returns:
        (depth + 1, depth + 1), float64, symmetric; infinite in rows and columns whose mean square overflows.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> from resnet_sde import LINEAR, ConstantNoise, Model, SingleLayer
        >>> constant = Model(SingleLayer(LINEAR), ConstantNoise(), 40, beta=1.0)
        >>> round(float(two_time(constant, depth=400)[-1, -1]), 5)  # I_0(2) = 2.27959 in the limit
        2.27787
    """
    return kernel_and_displacement(model, q0, depth)[0]


def kernel_and_displacement(
    model: Model, q0: float, depth: int, done: Callable[[float], object] | None = None
) -> tuple[Tensor, Tensor]:
    """`two_time`, and the `log10_forward` of `displacements`, which may be finite where the kernel is not."""
    model.check_plain()
    depth = check_layers(depth, _TABLE_BYTES)
    alphas = torch.tensor([model.alpha(depth)], dtype=torch.float64)
    kernel = torch.zeros(depth + 1, depth + 1, dtype=torch.float64)
    for row in _walk(model.block, model.law, model.skip, depth, alphas, q0, gradients=False, done=done):
        k = row.layer
        kernel[k, : k + 1] = row.kernel[0] * torch.exp(-row.states.log_one[0])
    kernel = kernel.tril() + kernel.tril(-1).T
    lost = ~kernel.diagonal().isfinite()
    kernel[lost] = kernel[:, lost] = math.inf
    return kernel, row.states.log10_displacement(q0)


def gradient_two_time(model: Model, q0: float = 1.0, *, depth: int) -> Tensor:
    """Kernel E ⟨p_k, p_l⟩ / ‖p_L‖² between the gradients of all layers, p_L independent of the weights.

    Arguments, shape and errors as `two_time`; not a number where the states overflow above (`displacements`
    does without them). At infinite width: in a network of width d a homogeneous branch amplifies the share
    1/d of the gradient that lies along h like h itself.
    """
    kernel = two_time(model, q0, depth=depth)
    return gradients_along(model, kernel)


@computed_on_the_cpu
def gradients_along(model: Model, kernel: Tensor) -> Tensor:
    """`gradient_two_time`, from the kernel of the states that `two_time` found."""
    model.check_plain()
    depth = check_layers(len(kernel) - 1, _TABLE_BYTES)
    check_theory(model.block, model.law)
    block, covariance = model.block, _covariance(model.block, model.law, depth)
    alpha, skip = model.alpha(depth), model.skip
    result = torch.empty_like(kernel)
    q = kernel.diagonal()
    root = q.sqrt()
    moved = Moved(torch.full((1, 1), alpha**2, dtype=torch.float64), skip, depth, 1.0)
    result[depth, depth] = 1.0
    for k in range(depth):  # layers counted from the top: row k belongs to layer depth − k
        below = depth - 1 - k
        columns = torch.arange(depth - 1, below - 1, -1)
        gap = 1 - kernel[below, columns] / root[below] / root[columns]
        gap[-1] = 0.0
        share = covariance[below, columns]
        unit = root[below] * root[columns] if block.homogeneous else torch.ones(k + 1, dtype=torch.float64)
        q1, q2 = q[below] / unit, q[columns] / unit
        factor = block.dual_prime(q1, q2, gap=gap.clamp(0, 2), inner=share, unit=1 / unit)
        moved.advance(k, factor * moved.row(k) * (share if "outer" in block.shapes(1) else 1.0))
        result[below, below:] = result[below:, below] = moved.row(k + 1)[0].flip(0)
    return result


@dataclass(frozen=True)
class Displacements:
    """How far networks move, for each of several scalings; all tensors (scaling,), float64.

    log10_forward: log10 of the root mean square of ‖h_L − h_0‖ / ‖h_0‖.
    log10_gradient: log10 of the root mean square of ‖p_0 − p_L‖ / ‖p_L‖, at infinite width.
    """

    log10_forward: Tensor
    log10_gradient: Tensor

    def at_width(self, width: int) -> Tensor:
        """log10_gradient where the share 1/width of the gradient lies along h and grows like h."""
        width = positive_integer("width", width, "give for example 40")
        along = torch.full_like(self.log10_forward, -math.log(width)) + 2 * _LN10 * self.log10_forward
        across = (
            torch.full_like(along, math.log1p(-1 / width)) if width > 1 else torch.full_like(along, -math.inf)
        )
        return torch.logaddexp(along, across + 2 * _LN10 * self.log10_gradient) / (2 * _LN10)


_LN10 = math.log(10.0)


@computed_on_the_cpu
def displacements(
    block: Block,
    law: PathLaw,
    depth: int,
    alphas: Tensor,
    q0: float = 1.0,
    *,
    skip: float = 1.0,
    done: Callable[[float], object] | None = None,
) -> Displacements:
    """End to end displacements of states and gradients for several scalings α at once.

    Args:
        block, law: of infinitely wide networks.
        depth: number of layers.
        alphas: (scaling,), the factor α_L of each.
        q0: mean square per coordinate of h_0.
        skip: weight of the identity branch.
        done: called at every layer with the share of the work that it was; for a progress bar.

    Raises:
        ValueError: a number is out of range.
    """
    alphas = as_tensor(alphas)
    if alphas.is_complex() or alphas.ndim != 1 or not bool(alphas.isfinite().all()):
        raise ValueError(
            f"alphas must be finite real numbers of shape (scaling,), got {alphas.dtype} of shape "
            f"{tuple(alphas.shape)}; give for example torch.tensor([0.1])"
        )
    alphas, skip = alphas.double(), finite_number("skip", skip)
    for row in _walk(block, law, skip, depth, alphas, q0, gradients=True, done=done):
        last = row
    return Displacements(last.states.log10_displacement(q0), last.gradients.log10_displacement(1.0))


@dataclass(frozen=True)
class _Row:
    """Row `layer` of the kernel of the states, (scaling, layer + 1), and where both kernels stand."""

    layer: int
    kernel: Tensor
    states: Moved
    gradients: Moved


def _covariance(block: Block, law: PathLaw, depth: int) -> Tensor:
    """Of the weights of a network. Raises ValueError where inner ones have another variance than 1."""
    covariance = law.covariance(depth)
    inner = block.shapes(1).keys() - {"outer"}
    if inner and not bool(((covariance.diagonal() - 1).abs() < _UNIT).all()):
        raise ValueError(
            f"{law} weights have not the variance 1 in all of {depth} layers, for which alone the kernel of "
            "a block with an inner matrix is known; give SingleLayer, or use simulate"
        )
    return covariance


def _walk(
    block: Block,
    law: PathLaw,
    skip: float,
    depth: int,
    alphas: Tensor,
    q0: float,
    *,
    gradients: bool,
    done: Callable[[float], object] | None,
) -> Iterator[_Row]:
    """The rows of both kernels, layer 0 first; `done` is called with the share of the work that each was."""
    depth = check_layers(depth, _WALK_BYTES)
    check_start(q0)
    check_theory(block, law)
    covariance, outer = _covariance(block, law, depth), "outer" in block.shapes(1)
    a2 = alphas[:, None].square()
    strength = math.inf if block.strength is None else block.strength
    fast = abs(skip) + float(alphas.abs().max()) * strength > _FAST
    rows_between_checks = 1 if fast else _ROWS_BETWEEN_CHECKS
    states, back = Moved(a2, skip, depth, q0), Moved(a2, skip, depth, 1.0)
    diagonal = a2.new_empty(len(a2), depth + 1)
    inverse = torch.empty_like(diagonal)
    for k in range(depth + 1):
        row = states.row(k)
        yield _Row(k, row, states, back)
        if done is not None:
            done((2 * k + 1) / (depth + 1) ** 2)
        if k == depth:
            return
        now = row[:, k:]
        diagonal[:, k : k + 1] = now
        inverse[:, k : k + 1] = now.rsqrt()
        gap = (row * inverse[:, : k + 1]).mul_(-inverse[:, k : k + 1]).add_(1.0).clamp_(0, 2)
        gap[:, k].zero_()
        q, share = diagonal[:, : k + 1], covariance[k, : k + 1]
        source = block.dual(now, q, gap=gap, inner=share, unit=states.one)
        states.advance(k, source.mul_(share) if outer else source)
        if gradients:
            factor = block.dual_prime(now, q, gap=gap, inner=share, unit=states.one) * back.row(k)
            back.advance(k, factor.mul_(share) if outer else factor)
        if block.homogeneous and k % rows_between_checks == 0:
            change = states.rescale(k + 1)
            diagonal.mul_(change)
            inverse.mul_(change.rsqrt()).clamp_(max=_LARGE**3)  # of layers so far below that they are 0
            back.rescale(k + 1)


def check_layers(depth: int, bytes_each: int) -> int:
    """The depth as an int. Raises ValueError where so many bytes for each pair of layers do not fit."""
    depth = positive_integer("depth", depth, "give for example 100")
    check_memory(
        f"covariances between all pairs of {depth} layers",
        bytes_each * (depth + 1) ** 2,
        "give a smaller depth",
    )
    return depth


def check_start(q0: float) -> None:
    """Raises ValueError unless products of q0 with itself are far from overflow."""
    if not 1 / _LARGE <= check_variance("q0", q0) <= _LARGE:
        raise ValueError(f"q0 must lie between {1 / _LARGE:g} and {_LARGE:g}, got {q0}; give for example 1")


class Moved:
    """The row of a kernel that is being computed, without its still part λ^{k+l} C_00.

    The difference holds the digits that a small displacement needs.

    values: (scaling, depth + 1), of which the row uses the first entries.
    one: (scaling, 1), what stands for 1 in the unit of the row; log_one is its logarithm.
    """

    def __init__(self, a2: Tensor, skip: float, depth: int, start: float) -> None:
        self.values = a2.new_zeros(len(a2), depth + 1)
        self.one, self.log_one = torch.ones_like(a2), torch.zeros_like(a2)
        self._a2, self._skip, self._start = a2, skip, start * torch.ones_like(a2)
        self._powers = torch.tensor(skip, dtype=torch.float64) ** torch.arange(depth + 1)

    def copy(self) -> Moved:
        """Another row at the same place, which goes its own way."""
        other = copy.copy(self)
        other.values = self.values.clone()
        return other

    def log10_displacement(self, start: float) -> Tensor:
        """Log10 of the root mean square displacement of the last row from what started there; (scaling,)."""
        moved = self.values[:, -1].log() - self.log_one[:, 0] - math.log(start)
        if self._skip != 1.0:
            moved = torch.logaddexp(moved, 2 * (1 - self._powers[-1]).abs().log())
        return moved / (2 * _LN10)

    def row(self, k: int) -> Tensor:
        """Row k of the kernel itself, columns 0 to k."""
        moved = self.values[:, : k + 1]
        if self._skip == 1.0:
            return moved + self._start
        return moved + self._start * (self._powers[k] * self._powers[: k + 1])

    def advance(self, k: int, source: Tensor) -> None:
        """From row k to row k + 1, given the mean products of the branches."""
        old = self.values[:, 1 : k + 1]
        if self._skip == 1.0:
            step = source.cumsum(-1).mul_(self._a2)
        else:
            from scipy.signal import lfilter  # slow to import, and skip is 1 in most networks

            step = self._a2 * torch.from_numpy(lfilter([1.0], [1.0, -self._skip], source.numpy(), axis=-1))
            old.mul_(self._skip)
        old.add_(step[:, :k])
        torch.add(step[:, k], self.values[:, k], alpha=self._skip, out=self.values[:, k + 1])

    def rescale(self, k: int) -> Tensor:
        """Take another unit where entry k of the row is large. Returns the change, a power of two."""
        exponent = -300.0 * (self.values[:, k : k + 1] > _LARGE).to(self.values)
        change = torch.exp2(exponent)
        self.log_one += exponent * math.log(2.0)
        self.one = self.log_one.exp()
        self.values.mul_(change)
        self._start.mul_(change)
        return change
