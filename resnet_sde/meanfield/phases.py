r"""Where the layers of a feed-forward network of infinite width lead to, and how many layers that takes.

A layer takes the mean square q of its pre-activations and the correlation c of two inputs to

    q' = V(q) = (σ_w²/ρ) E φ(√q z)² + σ_b²,    c' = C(c) = (σ_w² E φ(u)φ(v) + σ_b²) / q',

ρ being the keep rate of dropout with masks of their own for each input and layer. At a fixed point q* of V,
C is a power series in c with non-negative coefficients, so that ε = 1 − c goes to a concave function of ε,

    ε' = Δ + (σ_w²/q*) E (φ(u) − φ(v))²/2,    Δ = (1/ρ − 1) σ_w² E φ²/q*.

Hence ε'/ε falls with ε. Without dropout it starts from χ_1 at ε = 0: for χ_1 ≤ 1 the only fixed point on
[0, 1] is c* = 1, for χ_1 > 1 there is one more, which is stable. With dropout it starts from infinity, and
c* < 1. Either way ε'/ε = 1 is solved for ε, never for c: no map is iterated, and 1 − c* keeps its digits.

Where q tends to 0 or to infinity φ is linear or homogeneous in the end, and c* is that of its own map.

References: Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos;
Schoenholz et al. (2017), Deep information propagation.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_sde.activations import LINEAR, RELU, Activation
from resnet_sde.checks import is_truth
from resnet_sde.meanfield._roots import find_root
from resnet_sde.meanfield.devices import computed_on_the_cpu
from resnet_sde.meanfield.one_time import check_activation, check_variance

MARGINAL = 1e-14  # a slope this close to 1 cannot be told from 1 in float64
_LEAST = 1e-150  # of a positive q*
_SMALL = 1e-10  # below, a φ without a formula for what is not linear counts as linear
_AT_ONCE = 2**20  # numbers in a temporary


class NoFixedPoint(ValueError):
    """Lengths neither settle nor follow a known law."""


@dataclass(frozen=True)
class FixedPoints:
    """Fixed points of lengths and correlations with their slopes; tensors of one shape, NaN where undefined.

    keep_rate: ρ.
    q_star: q*, the mean square of pre-activations that deep layers tend to; NaN if every q stays as it is.
    one_minus_c_star: 1 − c*, with c* what the correlation of two inputs tends to; NaN if it depends on them.
    chi_1: χ_1, factor per layer of the mean square of gradients.
    chi_q: χ_q, slope of the length map at q*.
    chi_c: χ_c, slope of the correlation map at c*, which is also the factor per layer of E ⟨δ, δ'⟩, the
        covariance of the gradients of two inputs.
    delta: Δ = 1 − C(1), by which dropout drives equal inputs apart; 0 without.
    curvature: κ, second derivative at c = 1 of the correlation map; NaN where φ has a kink.
    """

    keep_rate: Tensor
    q_star: Tensor
    one_minus_c_star: Tensor
    chi_1: Tensor
    chi_q: Tensor
    chi_c: Tensor
    delta: Tensor
    curvature: Tensor

    @property
    def c_star(self) -> Tensor:
        """c*, what the correlation of two inputs tends to."""
        return 1 - self.one_minus_c_star

    @property
    def xi_q(self) -> Tensor:
        """ξ_q, the layers in which lengths come nearer to q* by the factor e."""
        return _depth_scale(self.chi_q)

    @property
    def xi_c(self) -> Tensor:
        """ξ_c, the same for correlations once lengths have settled, and for the covariance of gradients."""
        return _depth_scale(self.chi_c)

    @property
    def xi_grad(self) -> Tensor:
        """ξ_∇, the layers in which mean squared gradients fall by the factor e; negative where they grow."""
        return _depth_scale(self.chi_1)

    @property
    def near_critical_gap(self) -> Tensor:
        """1 − c* from the expansion of the correlation map to second order at c = 1, exact at criticality.

        Without dropout it is 2(χ_1 − 1)/κ or 0; at χ_1 = 1 with little dropout √(2Δ/κ).
        """
        return _near_critical_gap(self.keep_rate * self.chi_1, self.delta, self.curvature)

    @property
    def near_critical_xi_c(self) -> Tensor:
        """ξ_c from the same expansion: 1/|χ_1 − 1| on both sides, or 1/√(2Δκ) with dropout."""
        excess = self.keep_rate * self.chi_1 - 1
        return (excess.square() + 2 * self.curvature * self.delta).rsqrt()


@dataclass(frozen=True)
class Phase:
    """The fixed point of one feed-forward network; None where undefined. For the symbols see `FixedPoints`.

    label: ordered, critical or chaotic without dropout; dropout with it. Where no positive q* attracts
        lengths: degenerate (q → 0), critical or dropout-critical (every q stays as it is), critical-divergent
        or divergent (q → ∞, like the number of layers or exponentially).
    """

    label: str
    q_star: float | None
    chi_1: float
    chi_q: float
    c_star: float | None
    one_minus_c_star: float | None
    chi_c: float | None
    xi_q: float
    xi_c: float | None
    xi_grad: float
    curvature: float | None


def phase(
    activation: Activation,
    sigma_w2: float,
    sigma_b2: float = 0.0,
    *,
    keep_rate: float = 1.0,
    q0: float = 1.0,
) -> Phase:
    """The phase, fixed points and depth scales of feed-forward networks of infinite width.

    Args:
        activation: φ.
        sigma_w2: variance of the weights times fan-in.
        sigma_b2: variance of the biases.
        keep_rate: of dropout with masks of their own for each input, in (0, 1].
        q0: mean square of the first pre-activations, which decides where V has several fixed points (as with
            GELU); of no effect with the other activations of the library.

    Raises:
        NoFixedPoint: lengths leave the range of float64 and the law they follow is not known.
        ValueError: a number is out of range.

    Example:
        >>> from resnet_sde import TANH
        >>> found = phase(TANH, 2.5, 0.05)
        >>> found.label, round(found.c_star, 6), round(found.xi_c, 4)
        ('chaotic', 0.446804, 11.7956)
    """
    found = fixed_points(activation, sigma_w2, sigma_b2, keep_rate=keep_rate, q0=q0)
    names = ("q_star", "chi_1", "chi_q", "c_star", "one_minus_c_star", "chi_c", "curvature")
    scales = ("xi_q", "xi_c", "xi_grad")
    numbers = {name: float(getattr(found, name)) for name in (*names, *scales)}
    fields = {name: None if math.isnan(value) else value for name, value in numbers.items()}
    return Phase(label=_label(numbers["q_star"], numbers["chi_1"], keep_rate), **fields)  # type: ignore[arg-type]


@computed_on_the_cpu
def fixed_points(
    activation: Activation,
    sigma_w2: Tensor | float,
    sigma_b2: Tensor | float = 0.0,
    *,
    keep_rate: Tensor | float = 1.0,
    q0: float = 1.0,
) -> FixedPoints:
    """The numbers of `phase` for many networks at once.

    Arguments and errors as `phase`; sigma_w2, sigma_b2 and keep_rate may be tensors, and broadcast.

    Example:
        >>> import torch
        >>> from resnet_sde import RELU
        >>> fixed_points(RELU, torch.tensor([0.5, 1.0, 1.5]), 0.05).q_star
        tensor([0.0667, 0.1000, 0.2000], dtype=torch.float64)
    """
    check_activation(activation)
    w, b, rho = check_networks(sigma_w2, sigma_b2, keep_rate)
    q = _length(activation, w / rho, b, check_variance("q0", q0))
    settled = (q > 0) & torch.isfinite(q)
    found = _at(activation, w, b, rho, torch.where(settled, q, 1.0))
    for phi, chi, chosen in _unsettled(activation, q, w / rho, settled):
        own = _scaled(phi, chi, q, rho)
        found = {name: torch.where(chosen, own[name], value) for name, value in found.items()}
    return FixedPoints(keep_rate=rho, q_star=q, **found)


def check_networks(
    sigma_w2: Tensor | float, sigma_b2: Tensor | float, keep_rate: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    """Variances and keep rate in float64, of one shape. Raises ValueError where one is out of range."""
    if is_truth(keep_rate):
        raise ValueError(f"keep_rate must lie in (0, 1], got {keep_rate}; 1 is no dropout")
    as_tensors = (torch.as_tensor(x, dtype=torch.float64) for x in (sigma_w2, sigma_b2, keep_rate))
    w, b, rho = torch.broadcast_tensors(*as_tensors)
    for name, value in (("sigma_w2", w), ("sigma_b2", b)):
        if not bool(((value >= 0) & (value < math.inf)).all()):
            raise ValueError(
                f"{name} is a variance: it must be finite and not negative, got {_worst(value)}; give for "
                "example 1"
            )
    if not bool(((rho > 0) & (rho <= 1)).all()):
        raise ValueError(f"keep_rate must lie in (0, 1], got {_worst(rho)}; 1 is no dropout")
    return w, b, rho


def _worst(value: Tensor) -> float:
    """The number to name in an error."""
    flat = value.reshape(-1)
    strange = flat[~torch.isfinite(flat)]
    return float(strange[0] if len(strange) else flat[flat.argmin()] if flat.min() <= 0 else flat.max())


def _depth_scale(chi: Tensor) -> Tensor:
    return torch.where((chi - 1).abs() <= MARGINAL, math.inf, -1 / chi.log())


def _label(q: float, chi_1: float, keep_rate: float) -> str:
    marginal = abs(chi_1 - 1) <= MARGINAL
    if q == 0:
        return "degenerate"
    if math.isinf(q):
        return "critical-divergent" if marginal else "divergent"
    if keep_rate < 1:
        return "dropout-critical" if math.isnan(q) else "dropout"
    return "critical" if marginal else "ordered" if chi_1 < 1 else "chaotic"


# --- Lengths.


def _length(phi: Activation, weight: Tensor, bias: Tensor, start: float) -> Tensor:
    """The fixed point of q ↦ weight E φ² + bias that is reached from `start`; see `FixedPoints.q_star`."""
    if phi.homogeneous:
        slope = weight * phi.second_moment(torch.ones((), dtype=torch.float64))
        settled = torch.where(bias == 0, torch.zeros_like(bias), bias / (1 - slope))
        marginal = torch.where(bias == 0, torch.full_like(bias, math.nan), math.inf)
        beyond = torch.where(slope > 1, math.inf, settled)
        return torch.where((slope - 1).abs() <= MARGINAL, marginal, beyond)
    size = max(1, _AT_ONCE // len(_grid(phi)[0]))
    parts = zip(weight.reshape(-1).split(size), bias.reshape(-1).split(size), strict=True)
    return torch.cat([_attractor(phi, *part, start) for part in parts]).reshape(weight.shape)


def _attractor(phi: Activation, weight: Tensor, bias: Tensor, start: float) -> Tensor:
    """By the next grid point, up or down from the start, that V does not push further; shape (network,)."""
    q, shares = _grid(phi)
    at_zero = weight * phi.second_moment(torch.zeros((), dtype=torch.float64)) + bias
    slope_at_zero = weight * phi.second_moment_prime(torch.zeros((), dtype=torch.float64))
    vanishing = (at_zero == 0) & ~(slope_at_zero > 1 + MARGINAL)
    up = _excess(shares, weight[:, None], bias[:, None] / q) > 0
    up &= ~(vanishing[:, None] & (q < _SMALL) & (shares[0] == 0))
    first = int(torch.searchsorted(q, start).clamp(1, len(q) - 1))  # the first grid point not below the start
    rising = up[:, first]
    above, below = q[first:], q[:first].flip(0)
    stop, support = (~up[:, first:]).int().argmax(1), up[:, :first].flip(1).int().argmax(1)
    low = torch.where(rising, above[(stop - 1).clamp_min(0)], below[support])
    high = torch.where(rising, above[stop], torch.where(support > 0, below[support - 1], above[0]))
    none_below = ~rising & ~up[:, :first].any(1)
    low = torch.where(none_below, at_zero.clamp_min(_LEAST), low)
    high = torch.where(none_below, q[0].clamp_min(2 * at_zero), high)

    def excess(x: Tensor) -> Tensor:
        return _excess(phi.share(x.exp()), weight, bias * torch.exp(-x))

    if bool((none_below & ~vanishing & (at_zero < _LEAST) & (excess(low.log()) < 0)).any()):
        raise NoFixedPoint(
            f"lengths of this {phi} network settle below {_LEAST}, where moments underflow; give a larger "
            "sigma_b2 or sigma_w2"
        )
    root = find_root(excess, low.log(), high.log()).exp()
    root = torch.where(none_below & vanishing, 0.0, root)
    return torch.where(rising & up[:, first:].all(1), math.inf, root)


def _excess(share: tuple[Tensor, Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """V(q)/q − 1 from the shares of E φ² and of the bias in q, with the digits of what moves lengths.

    Formed from V(q) it would lose a bias below 1e-16 q, and with it the phase of a network whose lengths grow
    like the number of layers.
    """
    limit, rest = share
    still = weight * limit - 1
    return torch.where(still.abs() <= MARGINAL, 0.0, still) + weight * rest + bias


@functools.cache
def _grid(phi: Activation) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Values of q with the share of E φ² there: fine where φ may bend, coarse beyond."""
    small, large = torch.arange(-100.0, -12.0, 2.0), torch.arange(14.0, 101.0, 2.0)
    middle = torch.arange(-12 * 32, 12 * 32 + 1) / 32
    q = torch.cat([small, middle, large]).to(torch.float64)
    q = 10.0**q
    return q, phi.share(q)


# --- Correlations.


def _near_critical_gap(chi: Tensor, delta: Tensor, curvature: Tensor) -> Tensor:
    """1 − c* where the correlation map is its second-order expansion at c = 1; elsewhere a lower bound."""
    excess = chi - 1
    root = (excess.square() + 2 * curvature * delta).sqrt()
    # Of two forms the one in which nothing cancels.
    return torch.where(excess > 0, (excess + root) / curvature, 2 * delta / (root - excess).clamp_min(1e-300))


def _at(phi: Activation, w: Tensor, b: Tensor, rho: Tensor, q: Tensor) -> dict[str, Tensor]:
    """The slopes at a positive fixed point q."""
    chi_1 = w / rho * phi.second_moment_prime(q)
    straight = rho * chi_1  # slope of the correlation map at c = 1
    bend = w * q * phi.second_moment_second(q)
    delta = (1 / rho - 1) * w * phi.second_moment(q) / q
    gap = _gap(phi, w, q, straight, bend, delta)
    if phi.odd:
        gap = torch.where((b == 0) & (gap > 0), 1.0, gap)
    return {
        "one_minus_c_star": gap,
        "chi_1": chi_1,
        "chi_q": chi_1 + w / rho * phi.mean_curvature(q, q, gap=torch.zeros_like(q)),
        "chi_c": torch.where(gap == 0, straight, w * phi.dual_prime(q, q, gap=gap)),
        "delta": delta,
        "curvature": torch.where(torch.isfinite(bend), bend, math.nan),
    }


def _gap(phi: Activation, w: Tensor, q: Tensor, chi: Tensor, curvature: Tensor, delta: Tensor) -> Tensor:
    """1 − c* at lengths q; chi is the slope of the correlation map at c = 1."""
    gap = torch.zeros_like(q)
    apart = (delta > 0) | (chi > 1 + MARGINAL)
    w, q, chi, curvature, delta = (x[apart] for x in (w, q, chi, curvature, delta))
    expansion = _near_critical_gap(chi, delta, curvature) * (1 - 1e-12)
    low = torch.where(torch.isfinite(curvature), expansion, delta).clamp(1e-40, 1)

    def excess(x: Tensor) -> Tensor:
        return (delta + w / q * phi.difference(q, q, gap=x.exp())) * torch.exp(-x) - 1

    if len(low):
        gap[apart] = find_root(excess, low.log(), torch.zeros_like(low)).exp()
    return gap


def _unsettled(
    phi: Activation, q: Tensor, weight: Tensor, settled: Tensor
) -> list[tuple[Activation, Tensor, Tensor]]:
    """Where lengths tend to no positive number: what φ is in the end, its χ_1, and in which networks."""
    if bool(settled.all()):
        return []
    none, one = torch.zeros_like(q), torch.ones_like(q)
    if phi.homogeneous:
        return [(phi, weight * phi.second_moment(one), ~settled)]
    found: list[tuple[Activation, Tensor, Tensor]] = []
    if bool((q == 0).any()):
        found.append((LINEAR, weight * phi.second_moment_prime(none), q == 0))
    if bool(torch.isinf(q).any()):
        far = torch.full_like(q, 1e100)
        if not _is_rectified(phi, far):
            raise NoFixedPoint(
                f"lengths grow beyond 1e100 and what {phi} is there is not known; give smaller variances or "
                "a larger keep_rate"
            )
        found.append((RELU, weight * phi.share(far)[0], torch.isinf(q)))
    return found


def _is_rectified(phi: Activation, far: Tensor) -> bool:
    """Whether φ is a multiple of a ReLU for arguments as large as its own."""
    left, right = phi(torch.tensor([-1e50, 1e50], dtype=torch.float64)).tolist()
    return abs(left) < 1e-40 * right and bool((phi.share(far)[0] > 0).all())


def _scaled(phi: Activation, chi: Tensor, q: Tensor, rho: Tensor) -> dict[str, Tensor]:
    """The slopes where φ is homogeneous in the end and a bias, if any, is nothing beside the lengths."""
    one = torch.ones_like(q)
    w = rho / phi.second_moment(one)  # keeps lengths
    if bool((phi.second_moment_second(one) == 0).all()):
        # Linear: only dropout, or a bias beside lengths that grow like the layers, moves correlations.
        gap = torch.where(rho < 1, one, math.nan)
        gap = torch.where((rho == 1) & torch.isinf(q) & ((chi - 1).abs() <= MARGINAL), 0.0, gap)
        curvature = torch.zeros_like(q)
    else:
        gap = _gap(phi, w, one, rho, torch.full_like(q, math.inf), 1 - rho)
        curvature = torch.full_like(q, math.nan)
    gap = torch.where(chi == 0, math.nan, gap)
    chi_c = torch.where(gap == 0, rho, w * phi.dual_prime(one, one, gap=gap))
    return {
        "one_minus_c_star": gap,
        "chi_1": chi,
        "chi_q": chi,
        "chi_c": torch.where(gap.isnan(), math.nan, chi_c),
        "delta": 1 - rho,
        "curvature": curvature,
    }
