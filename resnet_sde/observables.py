"""Statistics of one network each: plain functions of a trajectory, with the network along the first axis.

Ratios are taken in float64 and in logarithms, so that neither explosion nor float32 states spoil them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from resnet_sde.propagate import States, Trajectory

_LOG10_2 = 0.3010299956639812


@runtime_checkable
class Observable(Protocol):
    """A function of a trajectory; `observable` adds what a study wants to know about it.

    A plain function without these attributes is taken to see every layer, and its axes are numbered.
    """

    __name__: str

    def __call__(self, t: Trajectory) -> Tensor:
        """The statistic, with the axis of the networks first."""


_F = TypeVar("_F", bound=Callable[[Trajectory], Tensor])


def observable(
    *dims: str,
    every_layer: bool = False,
    gradients: bool = False,
    parameters: bool = False,
    preactivations: bool = False,
    weights: bool = False,
    tangents: bool = False,
    jacobian: bool = False,
) -> Callable[[_F], _F]:
    """Mark a function as an observable.

    Args:
        dims: names of the axes of its result behind "sample"; "layer" and "input" are the usual ones.
        every_layer: whether it looks at all layers or at the two ends only.
        gradients: whether it needs the backward pass.
        parameters: whether it looks at norms of gradients of parameters too.
        preactivations: whether it looks at what φ meets, `t.preactivations`.
        weights: whether it looks at the matrices, `t.weights`, which are then drawn in full.
        tangents: whether it looks at products of gradients of parameters, `t.tangents`.
        jacobian: whether it looks at ∂h_L / ∂h_0, `t.jacobian`, which takes `width` backward passes.

    Example:
        >>> @observable("input")
        ... def largest_entry(t):
        ...     return t.hidden.natural(-1).abs().amax(-1)
    """

    def mark(function: _F) -> _F:
        function.dims = dims  # type: ignore[attr-defined]
        function.every_layer = every_layer or preactivations or weights  # type: ignore[attr-defined]
        function.gradients = gradients or parameters or tangents  # type: ignore[attr-defined]
        function.parameters = parameters  # type: ignore[attr-defined]
        function.preactivations = preactivations  # type: ignore[attr-defined]
        function.weights = weights  # type: ignore[attr-defined]
        function.tangents = tangents  # type: ignore[attr-defined]
        function.jacobian = jacobian  # type: ignore[attr-defined]
        return function

    return mark


def _log2_norm(states: States, layer: int) -> Tensor:
    x = states.scaled[layer].double()
    return torch.linalg.vector_norm(x, dim=-1).log2() + states.exponent[layer][..., 0]


def _log2_distance(states: States, first: int, second: int) -> Tensor:
    """log₂ of the norm of the difference of two layers, formed at the larger scale of the two."""
    top = torch.maximum(states.exponent[first], states.exponent[second])
    a, b = (torch.ldexp(states.scaled[k].double(), states.exponent[k] - top) for k in (first, second))
    return torch.linalg.vector_norm(a - b, dim=-1).log2() + top[..., 0]


def _adjoint(t: Trajectory) -> States:
    if t.adjoint is None:
        raise ValueError("this observable needs the backward pass; give gradients=True")
    return t.adjoint


@observable("input")
def log10_displacement(t: Trajectory) -> Tensor:
    """log₁₀ of ‖h_L − h_0‖ / ‖h_0‖. Shape: (sample, input)."""
    return (_log2_distance(t.hidden, -1, 0) - _log2_norm(t.hidden, 0)) * _LOG10_2


@observable("input")
def log10_growth(t: Trajectory) -> Tensor:
    """log₁₀ of ‖h_L‖ / ‖h_0‖. Shape: (sample, input)."""
    return (_log2_norm(t.hidden, -1) - _log2_norm(t.hidden, 0)) * _LOG10_2


@observable("input", gradients=True)
def log10_gradient_displacement(t: Trajectory) -> Tensor:
    """log₁₀ of ‖p_0 − p_L‖ / ‖p_L‖. Shape: (sample, input)."""
    return (_log2_distance(_adjoint(t), 0, -1) - _log2_norm(_adjoint(t), -1)) * _LOG10_2


@observable("input", gradients=True)
def log10_gradient_growth(t: Trajectory) -> Tensor:
    """log₁₀ of ‖p_0‖ / ‖p_L‖. Shape: (sample, input)."""
    return (_log2_norm(_adjoint(t), 0) - _log2_norm(_adjoint(t), -1)) * _LOG10_2


@observable("input")
def displacement(t: Trajectory) -> Tensor:
    """‖h_L − h_0‖ / ‖h_0‖, not squared. Shape: (sample, input)."""
    return 10.0 ** log10_displacement(t)


@observable("input")
def growth(t: Trajectory) -> Tensor:
    """‖h_L‖ / ‖h_0‖, not squared. Shape: (sample, input)."""
    return 10.0 ** log10_growth(t)


@observable("input", gradients=True)
def gradient_displacement(t: Trajectory) -> Tensor:
    """‖p_0 − p_L‖ / ‖p_L‖, not squared. Shape: (sample, input)."""
    return 10.0 ** log10_gradient_displacement(t)


@observable("input", gradients=True)
def gradient_growth(t: Trajectory) -> Tensor:
    """‖p_0‖ / ‖p_L‖, not squared. Shape: (sample, input)."""
    return 10.0 ** log10_gradient_growth(t)


@observable("layer", "input", every_layer=True)
def log10_length(t: Trajectory) -> Tensor:
    """log₁₀ of ‖h_l‖ / √width for every layer l. Shape: (sample, depth + 1, input)."""
    return _profile(t.hidden)


@observable("layer", "input", every_layer=True, gradients=True)
def log10_gradient_length(t: Trajectory) -> Tensor:
    """log₁₀ of ‖p_l‖ / √width for every layer l. Shape: (sample, depth + 1, input)."""
    return _profile(_adjoint(t))


@observable("input", "other_input")
def kernel(t: Trajectory) -> Tensor:
    """⟨h_L(x), h_L(x')⟩ / width for every pair of inputs. Shape: (sample, input, input)."""
    h = t.hidden.natural(-1)
    return h @ h.mT / h.shape[-1]


@observable("input", "other_input", tangents=True)
def tangent_kernel(t: Trajectory) -> Tensor:
    """Θ(x, x') = ⟨∂f(x), ∂f(x')⟩, the empirical tangent kernel of f = ⟨p_L, h_L⟩ / √width.

    The derivatives are those in the entries of the matrices and biases of all residual layers, of variance 1
    each, σ V / √d being the weights that a layer uses (Jacot et al., 2018). The kernel of a network with a
    readout of entries of variance 1 is this plus `kernel`. In the weights themselves, the parameters of
    `networks.ResNet`, a matrix counts d / σ² times as much and a bias 1 / σ_b² times: weigh the parts in
    `Trajectory.tangents`. Infinite where it overflows.

    Shape: (sample, input, input)
    """
    if t.tangents is None:
        raise ValueError("this observable needs products of gradients; give tangents=True")
    parts = (of.natural(k) for of in t.tangents.values() for k in range(len(of.scaled)))
    return torch.stack(list(parts)).sum(0) / t.hidden.scaled[0].shape[-1]


@observable("input", "singular_value", jacobian=True)
def jacobian_singular_values(t: Trajectory) -> Tensor:
    """Singular values of ∂h_L / ∂h_0 for every input, the largest first.

    The mean of their squares over values and networks is the mean squared gradient, of which
    ``exp(meanfield.lengths(model, q0, depth=L).log_gradient_growth[-1])`` is the value at infinite width. It
    takes `width` backward passes, on matrices that are drawn in full. Infinite where they overflow.

    Shape: (sample, input, width)
    """
    if t.jacobian is None:
        raise ValueError("this observable needs the Jacobian; ask simulate or study for it")
    (scaled,), (exponent,) = t.jacobian.scaled, t.jacobian.exponent
    top = exponent.amax(-2, keepdim=True)
    values = torch.linalg.svdvals(torch.ldexp(scaled.double(), exponent - top))
    return torch.ldexp(values, top[..., 0])


@observable("layer", "input", "other_input", every_layer=True)
def cosine(t: Trajectory) -> Tensor:
    """⟨h_l(x), h_l(x')⟩ / (‖h_l(x)‖ ‖h_l(x')‖), the correlation of Poole et al. (2016).

    Shape: (sample, depth + 1, input, input)
    """
    units = (torch.nn.functional.normalize(h.double(), dim=-1, eps=0.0) for h in t.hidden.scaled)
    return torch.stack([h @ h.mT for h in units], dim=1)


def _profile(states: States) -> Tensor:
    width = states.scaled[0].shape[-1]
    lengths = torch.stack([_log2_norm(states, k) for k in range(len(states.scaled))], dim=1)
    return lengths * _LOG10_2 - 0.5 * torch.tensor(float(width), dtype=torch.float64).log10().item()


LOG_RATIOS = (log10_displacement, log10_growth, log10_gradient_displacement, log10_gradient_growth)
"""The four ratios of Marion et al. (2025), in logarithms: what the command `study` stores."""
