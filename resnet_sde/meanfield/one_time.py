r"""Lengths, cosines and gradients of infinitely wide networks with white weights, layer by layer.

A layer h ← λh + α V g(h) with fresh weights takes the mean square q of a state to
λ² q + α² (w E φ(√r z)² + b), r being the variance of what goes into φ, and gradients back by the factor
λ² + α² w' E φ'(√r z)² (Poole et al., 2016; Schoenholz et al., 2017; Yang & Schoenholz, 2017). All states are
kept as logarithms and ratios: neither explosion nor a million layers cost digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnet_sde.activations import Activation
from resnet_sde.blocks import Block, known_by_positions, known_without_mean
from resnet_sde.checks import check_memory, is_truth, positive_integer, states
from resnet_sde.contracts.blocks import check_moments, check_recursion
from resnet_sde.contracts.theory import states_moments
from resnet_sde.laws import PathLaw
from resnet_sde.meanfield._branch import BranchMoments, has_dual, moments_of
from resnet_sde.meanfield._table import Table
from resnet_sde.model import Model

# Bytes held at once for one layer of one input (Python numbers, then tensors), and of one pair of inputs.
_LAYER_BYTES, _PAIR_BYTES = 256, 160


@dataclass(frozen=True)
class Lengths:
    """One input at infinite width; every tensor has shape (depth + 1,), layer 0 first, float64.

    log_q: natural logarithm of the mean square per coordinate of h.
    displacement2: E ‖h_l − h_0‖² / ‖h_0‖²; infinite where it overflows.
    mean: mean of a coordinate of h over its root mean square; 0 but for a reduced block whose φ is not odd.
    log_gradient_growth: natural logarithm of the mean squared gradient at layer 0 over that at layer l.
    log_sum: natural logarithm of the mean square of skip · h + α V g(h) of layer l, which a normalization
        divides by; log_q itself where there is none.
    """

    log_q: Tensor
    displacement2: Tensor
    mean: Tensor
    log_gradient_growth: Tensor
    log_sum: Tensor

    @property
    def q(self) -> Tensor:
        """Mean square per coordinate of h; infinite where it overflows."""
        return self.log_q.exp()


def lengths(model: Model, q0: float = 1.0, *, depth: int, keep_rate: float = 1.0) -> Lengths:
    """Mean squares and gradients through the layers of an infinitely wide network with white weights.

    Args:
        model: of any block, with a normalization or without; its width is not used.
        q0: mean square per coordinate of h_0. In a feed-forward model h_0 is the first pre-activation.
        depth: number of layers, which also sets α_L. A million takes a few seconds.
        keep_rate: of dropout on the outputs of φ, in (0, 1]: on what goes into the outer matrix, and for a
            reduced block on the branch itself.

    Raises:
        ValueError: the law of the weights is not white (use `two_time`), or a number is out of range.

    Example:
        >>> from resnet_sde import RELU, Model, TwoLayer, WhiteNoise
        >>> model = Model(TwoLayer(RELU), WhiteNoise(), 40)
        >>> round(float(lengths(model, depth=1000).displacement2[-1]), 5)  # (1 + 1/2L)^L − 1
        0.64852
    """
    depth = check_layers(depth)
    walk = _walk(model, check_variance("q0", q0), depth, check_keep_rate(keep_rate))
    columns = torch.tensor(list(walk), dtype=torch.float64)
    return Lengths(*columns.unbind(1))


def check_layers(depth: int, inputs: int = 1, pairs: int = 0) -> int:
    """The depth as an int. Raises ValueError where what is known of so many layers does not fit."""
    depth = positive_integer("depth", depth, "give for example 100")
    each = _LAYER_BYTES * (inputs + 4 * (pairs > 0)) + _PAIR_BYTES * pairs + 8 * inputs**2
    of = f", {inputs} inputs and {pairs} pairs" if pairs else ""
    remedy = "give a smaller depth or fewer inputs" if pairs else "give a smaller depth"
    check_memory(f"kernels of {depth} layers{of}", each * (depth + 1), remedy)
    return depth


def as_tensor(values: Any) -> Tensor:
    """A tensor, in float64 where plain numbers are given: torch would take its default dtype for them."""
    return values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))


def check_theory(block: Block, law: PathLaw | None = None) -> None:
    """Refuse blocks, activations and laws of which nothing is derived.

    Raises:
        ValueError: one of them says nothing, or what its class says was inherited, or is not true of what it
            does.
    """
    if block.sharing > 1:
        raise known_by_positions(block)
    if not has_dual(block):
        _ = block.variances  # where there are none, it says so
        check_activation(block.activation)
        if not states(block, "variances", "branch", "shapes"):
            raise ValueError(
                f"the theory of infinite width does not know the branch of {type(block).__name__}; give it a "
                "property variances, or use simulate"
            )
    elif not states(block, "dual_prime", "dual"):
        raise ValueError(
            f"{type(block).__name__} states a dual, and not how gradients come back through it; give it a "
            "method dual_prime, or use simulate"
        )
    check_recursion(block)
    if law is not None and not law.states_covariance:
        raise ValueError(
            f"{type(law).__name__} draws weights of its own, whose covariance is not known; give it a method "
            "covariance, or use simulate"
        )


def check_activation(activation: Activation) -> None:
    """Raises ValueError where the Gaussian moments of an activation are not known, or another's."""
    if not states_moments(activation):
        _ = activation._moments  # where there are none, it says so
        raise ValueError(
            f"the Gaussian moments of {type(activation).__name__} are not known; give it a property _moments "
            "of its own, or use simulate"
        )
    check_moments(activation)


def check_white(model: Model, *, normalized: bool = False) -> None:
    """Raises ValueError unless theory knows the branch, and weights of different layers are independent.

    normalized: whether it knows what a normalization does.
    """
    if not normalized:
        model.check_plain()
    check_theory(model.block, model.law)
    if not model.law.independent:
        raise ValueError(
            f"layers with {model.law} weights are not independent, so that no recursion of one layer exists; "
            "use meanfield.two_time, or WhiteNoise()"
        )


def check_variance(name: str, value: float) -> float:
    """A positive finite number."""
    if not 0 < value < math.inf:
        raise ValueError(
            f"{name} is the mean square of a state: it must be positive and finite, got {value}; give for "
            "example 1"
        )
    return float(value)


def check_keep_rate(keep_rate: float) -> float:
    """A probability that is not 0."""
    if is_truth(keep_rate) or not 0 < keep_rate <= 1:
        raise ValueError(f"keep_rate must lie in (0, 1], got {keep_rate}; 1 is no dropout")
    return float(keep_rate)


def _walk(
    model: Model, q0: float, depth: int, keep_rate: float
) -> Iterator[tuple[float, float, float, float, float]]:
    """The columns of `Lengths`, layer by layer."""
    check_white(model, normalized=True)
    of, skip, alpha = moments_of(model.block), model.skip, model.alpha(depth)
    normalized = model.norm is not None
    if normalized and of.shifted:
        raise known_without_mean(model.block)
    if keep_rate < 1 and has_dual(model.block):
        raise ValueError(
            f"dropout has a theory for branches V φ(W h + b) + a only, not for {type(model.block).__name__}; "
            "leave it out"
        )
    weight, bias, of_weights, of_bias = of.variances
    square = _moment(of, lambda r: of.second_moment(r) / r)
    slope = _moment(of, of.second_moment_prime)
    shifted = of.shifted
    biased = bias > 0 or of_bias > 0
    centre = _moment(of, lambda r: of.mean(r) / r.sqrt())
    a2, skip2 = alpha * alpha, skip * skip
    if not math.isfinite(a2 + skip2):
        raise ValueError(
            f"gain {model.gain:g}, beta {model.beta:g} and skip {skip:g} multiply squares by more than 1e308 "
            "in one layer; give a larger beta, or a smaller gain or skip"
        )
    forward, backward, kept = a2 * of_weights / keep_rate, a2 * of_weights * weight / keep_rate, 1.0
    x = start = math.log(q0)
    mean = moved = gradient = 0.0
    lost = lost_moved = lost_gradient = 0.0
    yield x, moved, mean, gradient, x
    for _ in range(depth):
        inverse = _exp(-x) if biased else 0.0
        share = weight + bias * inverse  # of the variance that φ sees in the mean square of the state
        log_r = x + _log(share)
        added = forward * square(log_r) * share + a2 * of_bias * inverse
        if shifted:
            pull = alpha * centre(log_r) * math.sqrt(share)
            added += 2.0 * skip * mean * pull
            mean = skip * mean + pull
        step = math.log1p(added) if skip2 == 1.0 else _log(skip2 + added)
        back = backward * slope(log_r)
        back = math.log1p(back) if skip2 == 1.0 else _log(skip2 + back)
        if normalized:
            found = x + step
            if found == -math.inf:
                raise ValueError("a normalization meets states that are zero; give a larger gain or skip")
            kept *= skip * math.exp(-step / 2)
            gradient, lost_gradient = _add(gradient, back - found, lost_gradient)
            x, lost = 0.0, 0.0
            moved = _exp(-start) + 1.0 - 2.0 * kept * math.exp(-start / 2)
            yield x, moved, mean, gradient, found
            continue
        gradient, lost_gradient = _add(gradient, back, lost_gradient)
        if skip == 1.0:
            moved, lost_moved = _add(moved, added * _exp(x - start), lost_moved)
        x, lost = _add(x, step, lost)
        if skip != 1.0:
            kept *= skip
            moved = _exp(x - start) + 1.0 - 2.0 * kept
        mean *= math.exp(-step / 2) if shifted else 0.0
        yield x, moved, mean, gradient, x


def _moment(of: BranchMoments, f: Callable[[Tensor], Tensor]) -> Callable[[float], float]:
    """A function of log q; f is one that a homogeneous φ has at all scales alike."""
    if not of.homogeneous:
        return Table(f)
    value = float(f(torch.ones((), dtype=torch.float64)))
    return lambda _: value


def _add(total: float, step: float, lost: float) -> tuple[float, float]:
    """One step of Kahan's sum: the new total and what rounding took from it."""
    wanted = step - lost
    after = total + wanted
    return after, (after - total) - wanted if math.isfinite(after) else 0.0


def _exp(x: float) -> float:
    return math.exp(x) if x < 709.0 else math.inf


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf
