r"""Optimal residual scales of infinitely deep networks, and their first correction in 1/depth.

With ρ² = s/L the kernel follows dK/ds = G(K) = σ_w² f(K) + σ_b² as L grows, and the response of the readout
becomes a(K) G(K) / G(K_0) at the K that is reached, with a = f'. It is largest where

    (f + r) f'' + a² = 0,     r = σ_b² / σ_w²,

a kernel K* that depends on r alone; s* = ∫ dK / G from K_0 to K*. For two inputs of equal length the
covariance c follows dc/ds = σ_w² E φφ + σ_b² and the response (ln η)' = σ_w² e, e = E φ'φ', and e η has to be
maximised along the flow. A network of L layers is the Euler scheme of these flows, so its distance from them
is known to order 1/L: with e the deviation times L/s,

    de/dτ = Db e − Db b / 2      along a flow dy/dτ = b(y),     e(0) = 0.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from torch import Tensor

from resnet_sde.activations import Activation
from resnet_sde.blocks import SingleLayer
from resnet_sde.finite_width.phi_squared_moments import PhiSquaredMoments, phi_squared_moments

_NODES = 96
_DECADES = 10.0  # of kernels that are searched for a peak
_LARGEST = 1e8


@dataclass(frozen=True)
class Growth:
    """The flow dK/ds = G(K) of the kernel of one input."""

    block: SingleLayer

    @property
    def phi_squared_moments(self) -> PhiSquaredMoments:
        """The moments of φ²."""
        return phi_squared_moments(self.block.activation)

    def rate(self, k: Tensor) -> Tensor:
        """G = σ_w² f + σ_b²."""
        return self.block.sigma_w2 * self.block.activation.second_moment(k) + self.block.sigma_b2

    def time(self, start: float, end: float) -> float:
        """∫ dK / G from start to end: ρ² L that takes the kernel there."""
        x, weight = np.polynomial.legendre.leggauss(_NODES)
        low, high = math.log(start), math.log(end)
        k = torch.as_tensor((high + low) / 2 + (high - low) / 2 * x, dtype=torch.float64).exp()
        return float((k / self.rate(k)) @ torch.as_tensor(weight)) * (high - low) / 2

    def log_slope(self, k: Tensor) -> Tensor:
        """Derivative of ln(a G) in K."""
        known, weight = self.phi_squared_moments, self.block.sigma_w2
        slope = known.slope(k)
        return known.curvature(k) / slope + weight * slope / self.rate(k)

    def peak(self, start: float) -> float:
        """The kernel from `start` on where a G is largest: `start` itself, or infinity, or between."""
        grid = np.geomspace(start, start * 10**_DECADES, 401)
        k = torch.as_tensor(grid)
        height = (self.phi_squared_moments.slope(k).log() + self.rate(k).log()).nan_to_num(-math.inf)
        best = int(height.argmax())
        rising = float(self.log_slope(k[:1])) > 0
        if best == len(grid) - 1 or self.block.activation.homogeneous:
            return math.inf
        if best == 0 and not rising:
            return start
        ends = grid[max(best - 1, 0)], grid[best + 1]
        return float(brentq(self._height, *ends, xtol=1e-300, rtol=1e-15))

    def _height(self, k: float) -> float:
        return float(self.log_slope(torch.tensor([k], dtype=torch.float64)))

    def corrected(self, start: float, end: float) -> float:
        """ρ² L at which a network of L layers responds most, less s*, times L; `end` is K*."""
        time = self.time(start, end)
        k = torch.tensor([start, end], dtype=torch.float64, requires_grad=True)
        rate, slope = self.rate(k), self.block.sigma_w2 * self.phi_squared_moments.slope(k)
        bend = self.block.sigma_w2 * self.phi_squared_moments.curvature(k)[1]
        (second,) = torch.autograd.grad(self.log_slope(k)[1], k)
        moved = (time / 2 * bend + (slope[1] - slope[0]) / (2 * rate[1])) / second[1]
        return float((moved / rate[1] + time / 2 * (rate[1] / rate[0]).log()).detach())


def saturation_kernel(activation: Activation, bias_ratio: float = 0.0) -> float:
    """K*, the kernel beyond which a longer input changes the readout less, in deep networks.

    It depends on the activation and on r = σ_b² / σ_w² alone: two standard deviations of the last states just
    reach the saturated part of φ.

    Returns:
        K*; 0 if the response falls from the start, infinity if it never does.

    Raises:
        ValueError: the ratio is negative, or the activation is not covered.

    Example:
        >>> from resnet_sde import ERF
        >>> round(saturation_kernel(ERF), 12)
        0.305400336104
    """
    if not 0 <= bias_ratio < math.inf:
        raise ValueError(f"bias_ratio is σ_b² / σ_w²: it must be finite and not negative, got {bias_ratio}")
    smallest = 1e-6
    found = Growth(SingleLayer(activation, 1.0, bias_ratio)).peak(smallest)
    return 0.0 if found == smallest else found


@dataclass(frozen=True)
class PairPeak:
    """Where the response of two inputs is largest.

    time: s* = ρ² L in an infinitely deep network.
    kernel: mean square of the states there.
    correction: L times what a network of L layers adds to s*.
    """

    time: float
    kernel: float
    correction: float


@functools.lru_cache(maxsize=256)
def pair_peak(block: SingleLayer, q0: float, cosine: float) -> PairPeak | None:
    """The peak of e η along the flow of two inputs of equal length; None if there is none up to K = 1e8."""
    flow = _PairFlow(block)
    start = np.array([0.0, max(cosine, -1 + 1e-12), 0.0, 0.0, 0.0])

    def steepness(x: float, y: np.ndarray) -> float:
        return flow.at(x, y[1]).steepness

    steepness.terminal, steepness.direction = True, -1.0  # type: ignore[attr-defined]
    first, last = math.log(q0), math.log(_LARGEST)
    if cosine == 1.0 or first >= last or steepness(first, start) <= 0:
        return None
    found = solve_ivp(
        flow.derivative,
        (first, last),
        start,
        method="DOP853",
        rtol=1e-9,
        atol=1e-11,
        events=steepness,
        dense_output=True,
    )
    if not len(found.t_events[0]):
        return None
    x, begun = float(found.t_events[0][0]), flow.at(first, start[1])
    step = 1e-3 * (x - first)
    seen = [flow.seen(x - n * step, found.sol(x - n * step), begun) for n in range(3)]
    times, slopes, shifts = zip(*seen, strict=True)
    bend, shift = (3 * v[0] - 4 * v[1] + v[2] for v in (slopes, shifts))  # times 2 step, backward differences
    return PairPeak(times[0], math.exp(x), -shift / bend)


@dataclass(frozen=True)
class _Point:
    """The flow of two inputs at one kernel K, with y = (K, c), b its velocity and w = σ_w² e.

    steepness: d ln(e η) / dτ.
    """

    kernel: float
    velocity: np.ndarray
    jacobian: np.ndarray
    amplification: float
    log_slopes: np.ndarray

    @property
    def steepness(self) -> float:
        return float(self.log_slopes @ self.velocity) + self.amplification


@dataclass(frozen=True)
class _PairFlow:
    """The flow in x = ln K, of the state (τ, c / K, deviation of K, of c, and what they add to ln η)."""

    block: SingleLayer

    def at(self, x: float, cosine: float) -> _Point:
        """Velocities and slopes at one kernel."""
        phi, weight, bias = self.block.activation, self.block.sigma_w2, self.block.sigma_b2
        k = torch.tensor([math.exp(x)], dtype=torch.float64)
        y = torch.stack([k[0], k[0] * min(max(cosine, -1.0), 1.0)])[:, None].requires_grad_()
        slope = phi.dual_prime(y[0], y[0], gap=1 - y[1] / y[0])
        (bent,) = torch.autograd.grad(slope.sum(), y)
        gap = torch.tensor([1 - cosine], dtype=torch.float64)
        alone, both, moved = phi.second_moment(k), phi.dual(k, k, gap=gap), phi.mean_curvature(k, k, gap=gap)
        own = phi_squared_moments(phi).slope(k)
        e = float(slope.detach())
        velocity = np.array([weight * float(alone) + bias, weight * float(both) + bias])
        jacobian = weight * np.array([[float(own), 0.0], [float(moved), e]])
        return _Point(float(k), velocity, jacobian, weight * e, bent[:, 0].numpy() / e)

    def derivative(self, x: float, state: np.ndarray) -> np.ndarray:
        """Of the state in x."""
        point = self.at(x, state[1])
        moved = state[2:4]
        b, w = point.velocity, point.amplification
        moves = point.jacobian @ (moved - b / 2)
        adds = w * float(point.log_slopes @ moved) - w * w / 2
        rate = point.kernel / b[0]
        return np.array([rate, b[1] / b[0] - state[1], *(rate * moves), rate * adds])

    def seen(self, x: float, state: np.ndarray, begun: _Point) -> tuple[float, float, float]:
        """τ, the steepness of ln(e η) in it, and L times what a network of L layers adds to ln(e η)."""
        point = self.at(x, state[1])
        ends = (point.amplification - begun.amplification) / 2
        added = float(point.log_slopes @ state[2:4]) + state[4] - ends
        return float(state[0]), point.steepness, float(state[0]) * added
