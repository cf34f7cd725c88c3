"""Means, fluctuations and responses of the kernels of one network of finite width, to order 1/width."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from resnet_sde.blocks import SingleLayer
from resnet_sde.checks import check_memory, positive_integer
from resnet_sde.finite_width.expansion import (
    Expansion,
    branch_covariance,
    fluctuations,
    kernel_covariance,
    mean_shifts,
    responses,
)
from resnet_sde.finite_width.phi_squared_moments import cross_kernel, phi_squared_moments
from resnet_sde.meanfield import lengths
from resnet_sde.model import Model

_DEEPEST = 3000
_TABLES = 12  # tables over pairs of layers that are held at once, beside the feedback


@dataclass(frozen=True)
class FiniteSize:
    r"""Kernels of a network of width N, to order 1/N (Fischer, Dahmen & Helias, 2023; derived here).

    Three kernels are read off a network, and have different fluctuations:

    - `kernel`, Q = ⟨h_l, h_l⟩ / N, the empirical one; its mean at infinite width is K;
    - `conditional`, the variance of h_l given all earlier kernels, with the same mean as Q;
    - `branch`, C = σ_w² ⟨φ(h_l), φ(h_l)⟩ / N + σ_b², the variance of what the next layer adds, and at l = L
      that of the readout y.

    Covariances and shifts are times N, so that they do not depend on the width.

    Shape: layers 0..L along (depth + 1,); with two inputs every quantity has another axis of the entries 11,
    22, 12 for each of its layers, as in (depth + 1, depth + 1, 3, 3).

    kernel, branch: K and C at infinite width.
    growth: ∂K_{l+1}/∂K_l, (depth + 1,).
    kernel_response: ∂K_l/∂K_m, (depth + 1, depth + 1), zero for m > l.
    branch_response: ∂C_l/∂K_m, likewise.
    kernel_covariance, conditional_covariance, branch_covariance: N times, (depth + 1, depth + 1).
    kernel_shift, branch_shift: N times what finite width adds to the mean; the first serves Q and the
        conditional kernel alike.
    """

    width: int
    kernel: Tensor
    branch: Tensor
    growth: Tensor
    kernel_response: Tensor
    branch_response: Tensor
    kernel_covariance: Tensor
    conditional_covariance: Tensor
    branch_covariance: Tensor
    kernel_shift: Tensor
    branch_shift: Tensor

    @property
    def mean(self) -> Tensor:
        """E Q at this width."""
        return self.kernel + self.kernel_shift / self.width

    @property
    def variance(self) -> Tensor:
        """Var Q at this width, entry by entry."""
        return _diagonal(self.kernel_covariance) / self.width

    @property
    def response(self) -> Tensor:
        """∂K_L/∂K_l."""
        return self.kernel_response[-1]

    @property
    def output_response(self) -> Tensor:
        """∂C/∂K_0 of the readout."""
        return self.branch_response[-1, 0]

    @property
    def output_mean(self) -> Tensor:
        """E C of the readout at this width: the mean of y²."""
        return self.branch[-1] + self.branch_shift[-1] / self.width

    @property
    def output_covariance(self) -> Tensor:
        """Cov C of the readout at this width; for one input, the covariance of the squares of two outputs."""
        return self.branch_covariance[-1, -1] / self.width

    @property
    def output_excess_kurtosis(self) -> Tensor:
        """Of one output y, a mixture of Gaussian variables of variance C; entries 12 have none."""
        return 3 * _diagonal(self.branch_covariance)[-1] / (self.width * self.branch[-1].square())


def finite_size(
    model: Model,
    q0: float = 1.0,
    *,
    depth: int,
    out_sigma_w2: float | None = None,
    out_sigma_b2: float | None = None,
) -> FiniteSize:
    """The kernels of one input to order 1/width, in residual (skip 1) and feed-forward (skip 0) networks.

    Args:
        model: one matrix a layer, white Gaussian weights; any skip and gain.
        q0: mean square per coordinate of h_0, the state that the first residual layer sees; its coordinates
            are independent Gaussian variables. In a feed-forward network it is the first pre-activation.
        depth: number of layers, up to 3000. Time and memory grow like its square: a thousand take seconds.
        out_sigma_w2, out_sigma_b2: variances of the readout; those of the block if None.

    Raises:
        ValueError: the theory does not cover block, law or activation, or a number is out of range.

    Example:
        >>> from resnet_sde import TANH, Model, SingleLayer, WhiteNoise
        >>> size = finite_size(Model(SingleLayer(TANH), WhiteNoise(), 64), 1.0, depth=32)
        >>> round(float(size.kernel[-1]), 3), round(float(size.variance[-1]), 3)
        (1.427, 0.08)
    """
    readout = Readout.of(model, out_sigma_w2, out_sigma_b2)
    expansion = expansion_of(model, q0, depth, readout)
    moments = model.block.activation.second_moment(expansion.kernel)
    return _of_one_input(expand(expansion, model.width, readout.branch(check_model(model), moments)))


def without_memory(
    model: Model, q0: float, *, depth: int, fluctuations: bool = True, feedback: bool = False
) -> FiniteSize:
    """What a recursion from one layer to the next would say of one input; wrong, for comparison only.

    Arguments and errors as `finite_size`; every quantity keeps the axis of the only entry.

    fluctuations: forget that the noise of a layer's kernel is not independent of that of other layers.
    feedback: forget that a neuron feeds back on its own later steps.
    """
    readout = Readout.of(model, None, None)
    expansion = expansion_of(model, q0, depth, readout)
    if fluctuations:
        own = torch.eye(len(expansion.kernel), dtype=torch.float64)[..., None, None]
        expansion = replace(expansion, sources=expansion.sources * own)
    if feedback:
        expansion = replace(expansion, feedback=torch.zeros_like(expansion.feedback))
    moments = model.block.activation.second_moment(expansion.kernel)
    return expand(expansion, model.width, readout.branch(check_model(model), moments))


def expansion_of(model: Model, q0: float, depth: int, readout: Readout) -> Expansion:
    """What the expansion of one input is made of."""
    block = check_model(model)
    depth = check_depth(depth, _DEEPEST, 1)
    known = phi_squared_moments(block.activation)
    kernel = check_range(lengths(model, q0, depth=depth).q)
    source, feedback = known.sources(kernel, model.skip)
    return Expansion(
        pairs=((0, 0),),
        skip=model.skip,
        residual=model.alpha(depth) ** 2,
        weights=readout.weights(block, depth),
        kernel=kernel[:, None],
        cross=cross_kernel(kernel, model.skip)[..., None, None],
        jacobian=known.slope(kernel)[:, None, None],
        curvature=known.curvature(kernel)[:, None, None, None],
        sources=source[..., None, None],
        feedback=feedback[..., None, None, None],
    )


def expand(expansion: Expansion, width: int, branch: Tensor) -> FiniteSize:
    """Everything that follows from an expansion; `branch` is C at infinite width."""
    found, response = fluctuations(expansion), responses(expansion)
    kernel_shift, branch_shift = mean_shifts(expansion, found, response)
    weighted = expansion.weights[:, None, None] * expansion.jacobian
    return FiniteSize(
        width=width,
        kernel=expansion.kernel,
        branch=branch,
        growth=expansion.growth,
        kernel_response=response,
        branch_response=weighted[:, None] @ response,
        kernel_covariance=kernel_covariance(expansion, found),
        conditional_covariance=found.conditional,
        branch_covariance=branch_covariance(expansion, found),
        kernel_shift=kernel_shift,
        branch_shift=branch_shift,
    )


@dataclass(frozen=True)
class Readout:
    """Variances of the readout."""

    sigma_w2: float
    sigma_b2: float

    @classmethod
    def of(cls, model: Model, sigma_w2: float | None, sigma_b2: float | None) -> Readout:
        """Those given, else those of the block. Raises ValueError where one is no variance."""
        block = check_model(model)
        given = {"out_sigma_w2": sigma_w2, "out_sigma_b2": sigma_b2}
        for name, value in given.items():
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} is a variance: it must be finite and not negative, got {value}")
        return cls(
            block.sigma_w2 if sigma_w2 is None else float(sigma_w2),
            block.sigma_b2 if sigma_b2 is None else float(sigma_b2),
        )

    def weights(self, block: SingleLayer, depth: int) -> Tensor:
        """σ_w² of what reads each layer, (depth + 1,)."""
        return _ended(block.sigma_w2, self.sigma_w2, depth)

    def branch(self, block: SingleLayer, moments: Tensor) -> Tensor:
        """C = σ_w² E φφ + σ_b² of what reads each layer; shape of the moments, (depth + 1, entry)."""
        depth = len(moments) - 1
        biases = _ended(block.sigma_b2, self.sigma_b2, depth)
        return self.weights(block, depth)[:, None] * moments + biases[:, None]


def check_model(model: Model) -> SingleLayer:
    """The block of a model that the theory covers.

    Raises:
        ValueError: it covers one matrix with white Gaussian weights only.
    """
    model.check_plain("simulate")
    block, law = model.block, model.law
    if type(block) is not SingleLayer:
        raise ValueError(
            "the 1/width theory is derived for blocks with one matrix behind the activation, not for "
            f"{type(block).__name__}; give SingleLayer (res-1 or feed-forward), or simulate this model"
        )
    if not (law.independent and law.gaussian):
        raise ValueError(
            f"the 1/width theory is derived for white Gaussian weights, not for {law}; give WhiteNoise(), or "
            "simulate this model"
        )
    return block


def check_depth(depth: int, deepest: int, entries: int) -> int:
    """The depth as an int.

    Raises:
        ValueError: covariances between so many layers need too much memory, or more than minutes.
    """
    depth = positive_integer("depth", depth, "give for example 20")
    remedy = f"give a depth up to {deepest}"
    each = 8 * entries**2 * (_TABLES + entries)
    check_memory(f"covariances between all pairs of {depth} layers", each * (depth + 1) ** 2, remedy)
    if depth > deepest:
        raise ValueError(f"covariances between {depth} layers take more than minutes; {remedy}")
    return depth


def check_range(kernel: Tensor) -> Tensor:
    """The kernel, (depth + 1,) or (depth + 1, input, input), if squares of its diagonal are numbers.

    Raises:
        ValueError: some layer's overflow or underflow.
    """
    lengths = kernel if kernel.ndim == 1 else kernel.diagonal(0, 1, 2)
    if not bool(((lengths > 1e-100) & (lengths < 1e100)).all()):
        raise ValueError(
            "the mean square of the states leaves the range from 1e-100 to 1e100; give a smaller depth, gain "
            "or variance"
        )
    return kernel


_VECTORS = ("kernel", "branch", "kernel_shift", "branch_shift")
_MATRICES = tuple(name for name in FiniteSize.__dataclass_fields__ if name not in ("width", *_VECTORS))


def _of_one_input(found: FiniteSize) -> FiniteSize:
    """Without the axes of the only entry."""
    vectors = {name: getattr(found, name)[..., 0] for name in _VECTORS}
    return FiniteSize(found.width, **vectors, **{name: getattr(found, name)[..., 0, 0] for name in _MATRICES})


def _diagonal(covariance: Tensor) -> Tensor:
    """Variances at every layer, of every entry."""
    layers = torch.arange(len(covariance))
    own = covariance[layers, layers]
    return own if own.ndim == 1 else own.diagonal(0, -2, -1)


def _ended(inside: float, last: float, depth: int) -> Tensor:
    values = torch.full((depth + 1,), inside, dtype=torch.float64)
    values[-1] = last
    return values
