r"""Variances of the weights that suit a depth, for residual networks whose branch is not scaled with depth.

A φ that saturates, and a linear one, are held back by exploding gradients: the variance is chosen so that
log(χ^0/χ^L), the logarithm of the growth of mean squared gradients through the network, has a target. For
many layers that is σ_w² L = const (Yang & Schoenholz, 2017), with corrections at every depth in use. An
unbounded φ keeps the gradients of its weights bounded and is held back by its lengths: the target is that of
log p^L, p^L being the mean square of a coordinate of the output. Both grow with the variance, so there is one
answer.

For L → ∞ put σ_w² = κ/L in a saturating network. Then r, the variance that φ sees, obeys an equation in
t = l/L without L: dr = κ (v E φ² + a) dt from the inner bias up, with v and a the outer variances, and
log(χ^0/χ^L) is the integral of κ v E φ'² dt. With r for the variable, the target says up to where
∫ v E φ'² / (v E φ² + a) dr goes, and then κ = ∫ dr / (v E φ² + a). Without biases r stays 0 and the network
linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from resnet_sde.activations import Activation, AlphaReLU, Linear
from resnet_sde.blocks import Block, Reduced, SingleLayer, TwoLayer
from resnet_sde.checks import positive_integer
from resnet_sde.laws import WhiteNoise
from resnet_sde.meanfield._roots import find_one
from resnet_sde.meanfield.asymptotics import geometric_growth
from resnet_sde.meanfield.one_time import Lengths, check_theory, check_variance, lengths
from resnet_sde.model import Model

_SMALLEST, _LARGEST = 1e-6, 1e4  # of the variance that is sought; the smallest is divided by the depth
_DEFAULT_TARGET = 2.0
_NODES = 200


@dataclass(frozen=True)
class Recommendation:
    """Variances for one depth, and what they do at infinite width.

    block: the block with the variance that was found.
    log_gradient_growth: natural logarithm of the mean squared gradient at the input over that at the output.
    log_p: natural logarithm of the mean square of a coordinate of the output.
    method: "closed form" or "root search".
    """

    block: Block
    log_gradient_growth: float
    log_p: float
    method: str

    @property
    def sigma_w2(self) -> float:
        """The variance that was found."""
        return float(self.block.sigma_w2)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class DepthLaw:
    """σ_w² ≈ constant · L^{−exponent} for deep networks."""

    constant: float
    exponent: float

    def __call__(self, depth: float) -> float:
        """The variance of this law at a depth. Raises ValueError unless that is positive."""
        if not depth > 0:
            raise ValueError(f"depth must be positive, got {depth}; give for example 100")
        return self.constant * depth**-self.exponent


@dataclass(frozen=True)
class _Target:
    """What a network should reach: a column of `Lengths` and its value at the last layer."""

    column: str
    value: float

    @property
    def of_gradients(self) -> bool:
        return self.column == "log_gradient_growth"


def recommend_variances(
    depth: int,
    block: SingleLayer | TwoLayer | Reduced,
    *,
    p0: float = 1.0,
    target_log_gradient_growth: float | None = None,
    target_log_p: float | None = None,
    max_log_p: float = 80.0,
) -> Recommendation:
    """The variance σ_w² at which a residual network of this depth, at β = 0, reaches a target.

    Without a target, log(χ^0/χ^L) = 2 for an activation that is bounded or linear, and log p^L = 2 for any
    other. The value 2 comes from networks trained on images of 8 × 8 pixels. For ReLU Yang & Schoenholz
    (2017) found the largest lengths that do not overflow to be best, target_log_p = max_log_p; on such small
    images smaller ones are as good.

    Args:
        depth: number of layers.
        block: gives the activation and all other variances; its own sigma_w2 is not used.
        p0: mean square per coordinate of the input.
        target_log_gradient_growth: natural logarithm, positive.
        target_log_p: natural logarithm.
        max_log_p: largest log p^L to be recommended. Squared norms and losses overflow float32 at 88.

    Raises:
        ValueError: both targets are given, a number is out of range, or no variance between 1e-6/depth and
            1e4 reaches the target.

    Example:
        >>> from resnet_sde import TANH, TwoLayer
        >>> found = recommend_variances(64, TwoLayer(TANH, sigma_b2=0.25, sigma_a2=0.25))
        >>> round(found.sigma_w2, 6), round(found.log_gradient_growth, 6)
        (0.082969, 2.0)
    """
    depth = positive_integer("depth", depth, "give for example 64")
    p0 = check_variance("p0", p0)
    _check_block(block)
    target = _target(block.activation, target_log_gradient_growth, target_log_p)
    closed = _closed_form(depth, block, p0, target)
    sigma_w2 = _search(depth, block, p0, target) if closed is None else closed
    found = _reached(depth, block, p0, sigma_w2)
    log_p = float(found.log_q[-1])
    if log_p > max_log_p + 1e-9:
        raise ValueError(
            f"the target of {target.value:g} takes log p to {log_p:.4g} at depth {depth}, above max_log_p = "
            f"{max_log_p:g}; give a smaller target, smaller biases or a larger max_log_p"
        )
    return Recommendation(
        block=replace(block, sigma_w2=sigma_w2),
        log_gradient_growth=float(found.log_gradient_growth[-1]),
        log_p=log_p,
        method="root search" if closed is None else "closed form",
    )


def _check_block(block: Block) -> None:
    """Raises ValueError unless theory knows the block as one of a variance σ_w²."""
    check_theory(block)
    _ = block.variances  # where there are none, it says so
    if not (is_dataclass(block) and any(f.name == "sigma_w2" for f in fields(block))):
        raise ValueError(
            f"{type(block).__name__} has no field sigma_w2 to be found; give TwoLayer, Reduced or SingleLayer"
        )


def _target(phi: Activation, log_gradient_growth: float | None, log_p: float | None) -> _Target:
    if log_gradient_growth is None and log_p is None:
        by_gradients = isinstance(phi, Linear) or _bounded(phi)
        return _Target("log_gradient_growth" if by_gradients else "log_q", _DEFAULT_TARGET)
    if log_p is None:
        assert log_gradient_growth is not None
        if not 0 < log_gradient_growth < math.inf:
            raise ValueError(
                f"target_log_gradient_growth must be positive and finite, got {log_gradient_growth}; "
                "give for example 2"
            )
        return _Target("log_gradient_growth", log_gradient_growth)
    if log_gradient_growth is not None:
        raise ValueError(
            "one variance cannot reach two targets; give target_log_gradient_growth or target_log_p"
        )
    if not math.isfinite(log_p):
        raise ValueError(f"target_log_p must be finite, got {log_p}; give for example 2")
    return _Target("log_q", log_p)


def _bounded(phi: Activation) -> bool:
    far = torch.tensor([-1e6, 1e6], dtype=torch.float64)
    return bool((phi(far).abs() < 100.0).all())


def _centred(block: Block) -> bool:
    """Whether the branch has mean 0, so that no mean builds up."""
    return not isinstance(block, Reduced) or _mean(block.activation) == 0


def _mean(phi: Activation) -> float:
    return float(phi.mean(torch.tensor(1.0, dtype=torch.float64)))


def _reached(depth: int, block: SingleLayer | TwoLayer | Reduced, p0: float, sigma_w2: float) -> Lengths:
    model = Model(replace(block, sigma_w2=sigma_w2), WhiteNoise(), 1, beta=0.0)
    return lengths(model, p0, depth=depth)


def _closed_form(
    depth: int, block: SingleLayer | TwoLayer | Reduced, p0: float, target: _Target
) -> float | None:
    """From (1 + B)^L, where that is the growth of what has the target."""
    geometric = _unit_growth(block)
    if geometric is None:
        return None
    growth, added = geometric
    if target.of_gradients:
        return math.expm1(target.value / depth) / growth
    if added > 0 or not _centred(block) or target.value <= math.log(p0):
        return None
    return math.expm1((target.value - math.log(p0)) / depth) / growth


def _unit_growth(block: SingleLayer | TwoLayer | Reduced) -> tuple[float, float] | None:
    """B at σ_w² = 1, to which it is proportional, and k; None where there is no such B."""
    unit = replace(block, sigma_w2=1.0)
    geometric = geometric_growth(unit.activation, unit.variances)
    return geometric if geometric is not None and geometric[0] > 0 else None


def _search(depth: int, block: SingleLayer | TwoLayer | Reduced, p0: float, target: _Target) -> float:
    def excess(log_sigma_w2: float) -> float:
        found = _reached(depth, block, p0, math.exp(log_sigma_w2))
        return float(getattr(found, target.column)[-1]) - target.value

    low, high = math.log(_SMALLEST / depth), math.log(_LARGEST)
    at_least, at_most = excess(low), excess(high)
    if not at_least < 0:
        raise ValueError(
            f"the input and the biases alone reach {at_least + target.value:.4g} at depth {depth}, beyond "
            f"the target {target.value:g}; give a larger target, or a smaller p0 or biases"
        )
    if not at_most > 0:
        raise ValueError(
            f"the target {target.value:g} is not reached at depth {depth}: sigma_w2 = {_LARGEST:g} gives "
            f"{at_most + target.value:.4g}; give a smaller target, more layers or a larger outer variance"
        )
    return math.exp(find_one(excess, low, high, xtol=1e-13))


# --- Many layers.


def depth_law(
    block: TwoLayer | Reduced,
    *,
    p0: float = 1.0,
    target_log_gradient_growth: float | None = None,
    target_log_p: float | None = None,
) -> DepthLaw:
    """What `recommend_variances` tends to as the depth grows, with the same arguments.

    Raises:
        ValueError: no such law is known, as for lengths with biases and for the gradients of an α-ReLU.

    Example:
        >>> from resnet_sde import TANH, Reduced
        >>> round(depth_law(Reduced(TANH, sigma_b2=0.5)).constant, 4)  # σ_w² L → 4.7149
        4.7149
    """
    _check_block(block)
    target = _target(block.activation, target_log_gradient_growth, target_log_p)
    p0 = check_variance("p0", p0)
    found = (_gradient_law if target.of_gradients else _length_law)(block, target.value, p0)
    if found is None:
        raise ValueError(
            f"no law in depth is known for {block} and this target; call recommend_variances at your depths"
        )
    return found


def _gradient_law(block: TwoLayer | Reduced, target: float, p0: float) -> DepthLaw | None:
    """The input is forgotten, p0 with it."""
    geometric = _unit_growth(block)
    if geometric is not None:
        return DepthLaw(target / geometric[0], 1.0)
    if block.variances.outer_weight > 0 and _centred(block) and _bounded(block.activation):
        return DepthLaw(_level(block, target), 1.0)
    return None


def _length_law(block: TwoLayer | Reduced, target: float, p0: float) -> DepthLaw | None:
    """Without biases log p grows by the target minus log p0, in a time that is inverse to a power of σ_w²."""
    phi, geometric, log_growth = block.activation, _unit_growth(block), target - math.log(p0)
    _, bias, weight, outer_bias = block.variances
    if bias > 0 or outer_bias > 0 or weight == 0 or log_growth <= 0:
        return None
    if geometric is not None and _centred(block):
        return DepthLaw(log_growth / geometric[0], 1.0)
    if geometric is not None:  # the mean mode is √p0 sinh(l m √σ_w²), with m its moment at variance 1
        return DepthLaw((math.acosh(math.exp(log_growth / 2)) / _mean(phi)) ** 2, 2.0)
    if isinstance(phi, AlphaReLU) and _centred(block):
        rest = 1.0 - phi.alpha
        size = weight * float(phi.second_moment(torch.tensor(1.0, dtype=torch.float64)))
        product = p0**rest * math.expm1(rest * log_growth) / (rest * size)
        return DepthLaw(product ** (1 / phi.alpha), 1 / phi.alpha)
    return None


def _level(block: TwoLayer | Reduced, target: float) -> float:
    """κ of the module's docstring."""
    phi = block.activation
    _, bias, weight, outer_bias = block.variances
    start = torch.tensor(bias, dtype=torch.float64)
    scale = bias + outer_bias / weight + float(phi.second_moment(start))
    if scale == 0:
        return target / float(weight * phi.second_moment_prime(start))
    nodes, weights = (torch.as_tensor(x, dtype=torch.float64) for x in leggauss(_NODES))

    def integrals(end: float) -> tuple[Tensor, Tensor]:
        y = end * (nodes + 1) / 2  # r = bias + scale (e^y − 1)
        r, measure = bias + scale * torch.expm1(y), scale * y.exp() * weights * end / 2
        added = weight * phi.second_moment(r) + outer_bias
        return weight * (phi.second_moment_prime(r) / added * measure).sum(), (measure / added).sum()

    largest = 1.0
    while integrals(largest)[0] < target:
        largest *= 2
    end = find_one(lambda y: float(integrals(y)[0]) - target, 0.0, largest, xtol=1e-14)
    return float(integrals(end)[1])
