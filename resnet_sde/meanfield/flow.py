r"""The kernels of infinitely wide and infinitely deep networks, in the time t = l / L.

At the critical scaling the kernel of the layers tends to the solution of
C(s, t) = C(0, 0) + ∬ Φ(C) dΓ over [0, s] × [0, t], with Γ the covariance of the path that the weights
sum to. For white weights, and those of short memory, Γ lives on the diagonal and the equation is an ordinary
one for C(t, t), with Φ summed over the lags at which weights are correlated; for fractional and smooth
weights it is a Volterra equation of the plane. Derived here; the grid kernels are its Euler schemes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resnet_sde.blocks import Block, Reduced, SingleLayer, TwoLayer
from resnet_sde.checks import check_memory, positive_integer
from resnet_sde.meanfield._branch import has_dual
from resnet_sde.meanfield.devices import computed_on_the_cpu
from resnet_sde.meanfield.one_time import check_theory
from resnet_sde.meanfield.pairs import check_gap
from resnet_sde.meanfield.two_time import Moved, check_start
from resnet_sde.model import Model, Regime

_BYTES = 48  # held at once for each pair of times: two kernels, their triangles, and the masses of the cells

_FAR, _BOUNDED = 1e6, 1e2  # times as much as a state: how much more branches may grow to there

_TOO_FAST = "the flow leaves the range from 1e-150 to 1e150; give a smaller gain or variance, or use two_time"


class NoFlow(ValueError):
    """A model has no kernel flow, or none that is known."""


@dataclass(frozen=True)
class Flow:
    """The kernels of one input at infinite width and depth, on an even grid of times; float64.

    times: (time,), from 0 to 1.
    kernel: (time, time), the limit of E ⟨h_{sL}, h_{tL}⟩ / d.
    log_gradient_growth: (time,), natural logarithm of the mean squared gradient at time 0 over that at t, in
        a network that ends at t.
    """

    times: Tensor
    kernel: Tensor
    log_gradient_growth: Tensor


def flow(model: Model, q0: float = 1.0, *, steps: int = 256) -> Flow:
    """The limit in depth of the kernels of an infinitely wide network.

    White weights and short memory: an ordinary equation, solved to 1e-10. Else a Volterra equation, by a
    trapezoidal scheme whose error falls like steps^−2 (smooth weights) or steps^−min(2, 4H − 1); gradients of
    an activation with a kink have steps^−min(2, 3H − 1).

    Args:
        model: at its critical scaling; its width is not used.
        q0: mean square per coordinate of h_0.
        steps: intervals of the grid of times.

    Raises:
        NoFlow: the scaling is not critical, or the limit is not known; the message says what to use.
        ValueError: a number is out of range.

    Example:
        >>> from resnet_sde import RELU, Model, TwoLayer, WhiteNoise
        >>> round(float(flow(Model(TwoLayer(RELU), WhiteNoise(), 40)).kernel[-1, -1]), 6)  # e^{1/2}
        1.648721
    """
    steps = positive_integer("steps", steps, "give for example 256")
    check_memory(f"kernels between all pairs of {steps} steps", _BYTES * (steps + 1) ** 2, "give fewer steps")
    check_start(q0)
    _refuse(model)
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    if model.law.noise in ("white", "short-memory"):
        q, _, growth = _solve(model, q0, torch.zeros(1, dtype=torch.float64), times)
        index = torch.arange(steps + 1)
        return Flow(times, q[torch.minimum(index[:, None], index)], growth)
    kernel, gradient = _volterra(model, q0, steps)
    if not all(bool(((k.diagonal() > 1e-150) & (k.diagonal() < 1e150)).all()) for k in (kernel, gradient)):
        raise NoFlow(_TOO_FAST)
    return Flow(times, kernel, gradient.diagonal().log())


@computed_on_the_cpu
def flow_gaps(model: Model, q0: float, gap0: float | Tensor, times: Tensor) -> Tensor:
    """1 − cosine of two inputs of equal length at the given times, for white weights and infinite depth.

    Args:
        model: white weights at the critical scaling.
        q0: mean square per coordinate of both states h_0.
        gap0: 1 − cosine of the states h_0, of any shape.
        times: (time,), increasing from 0.

    Returns:
        (time, *gap0.shape), float64.

    Raises:
        NoFlow: the weights are not white, or the scaling is not critical.
        ValueError: a number is out of range, or times do not increase.
    """
    _refuse(model)
    if not model.law.independent:
        raise NoFlow(f"the flow of two inputs is known for white weights, not for {model.law}; use simulate")
    start, times = check_gap(gap0), torch.as_tensor(times, dtype=torch.float64)
    check_start(q0)
    ordered = times.ndim == 1 and len(times) > 0 and bool((times.diff() > 0).all())
    if not ordered or not bool((times >= 0).all() and times.isfinite().all()):
        raise ValueError(
            "times must be finite, from 0 on, and increase; give for example torch.linspace(0, 1, 9)"
        )
    _, gap, _ = _solve(model, q0, start.reshape(-1), times)
    return gap.reshape(len(times), *start.shape)


def _refuse(model: Model) -> None:
    """Raise NoFlow where the limit of the kernel is not known."""
    law, block = model.law, model.block
    model.check_plain()
    if model.regime is not Regime.CRITICAL:
        raise NoFlow(
            f"the kernel has a flow at the critical scaling, and beta = {model.beta} with skip {model.skip} "
            f"is not (critical: {model.critical_beta}); leave beta out, or use two_time at a given depth"
        )
    check_theory(block, law)
    unknown = f"the flow of {block} with {law} weights is not known; use two_time at a given depth"
    plain, single = type(block) in (SingleLayer, TwoLayer, Reduced), block.one_matrix
    if law.noise is None or law.exponent < 0.5 or not (plain or has_dual(block)):
        raise NoFlow(unknown)
    if "outer" not in block.shapes(model.width) and not (law.independent and block.activation.odd):
        raise NoFlow(unknown)
    if law.noise == "fractional" and not (single or plain):
        raise NoFlow(unknown)
    if not plain and float(_square(block, _FAR)) > _BOUNDED * _FAR * float(_square(block, 1.0)):
        raise NoFlow(
            f"the branches of {block} grow faster than the state, and the flow leaves every bound in finite "
            "time; give PreNorm of this block, or use two_time at a given depth"
        )
    if law.noise == "short-memory":
        _ = law.memory()  # where it cannot be summed up, it says so
    # Without a mean that V could carry on:
    silent = plain and block.activation.odd and block.variances.outer_bias == 0
    if law.noise == "fractional" and not single and silent:
        raise NoFlow(
            f"the flow of an odd activation between two matrices with {law} weights is open; use two_time at "
            "a given depth, or WhiteNoise()"
        )


def _square(block: Block, q: float) -> Tensor:
    """Mean square of the branch at one of the state."""
    at = torch.tensor(q, dtype=torch.float64)
    return block.dual(at, at, gap=torch.zeros_like(at))


def _solve(model: Model, q0: float, gap0: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean squares (time,), gaps (time, pair) and log gradient growth (time,) for white weights."""
    from scipy.integrate import solve_ivp  # slow to import

    gain2, block = model.gain**2, model.block
    later = _later(model)

    def slope(_: float, y: np.ndarray) -> np.ndarray:
        if not 1e-150 < y[0] < 1e150:
            raise NoFlow(_TOO_FAST)
        q, zero = torch.tensor(y[0]), torch.tensor(0.0, dtype=torch.float64)
        gap = torch.from_numpy(y[2:]) / q
        growth = [verb(q, q, gap=zero) + later(verb, q) for verb in (block.dual, block.dual_prime)]
        apart = block.difference(q, q, gap=gap)
        return gain2 * np.concatenate([np.array([float(g) for g in growth]), apart.numpy()])

    start = np.concatenate([[q0, 0.0], q0 * gap0.numpy()])
    found = solve_ivp(slope, (0.0, float(times[-1])), start, "DOP853", times.numpy(), rtol=1e-12, atol=1e-14)
    if not found.success:
        raise NoFlow(_TOO_FAST)
    y = torch.from_numpy(found.y)
    return y[0], (y[2:] / y[0]).T, y[1]


def _later(model: Model) -> Callable[[Callable[..., Tensor], Tensor], Tensor]:
    """What correlations of a layer with those before and after it add to a moment at a mean square."""
    if model.law.independent:
        return lambda verb, q: torch.zeros_like(q)
    gamma, weight = model.law.memory()
    weight = 2 * weight * gamma if "outer" in model.block.shapes(1) else 2 * weight
    zero = torch.zeros_like(gamma)
    return lambda verb, q: (weight * verb(q, q, gap=zero, inner=gamma)).sum()


def _volterra(model: Model, q0: float, steps: int) -> tuple[Tensor, Tensor]:
    """Both kernels on the grid of times, row by row, each row by Heun's scheme."""
    one = torch.ones(1, 1, dtype=torch.float64)
    weights = model.gain**2 * _cells(model, steps)
    branch, slope = _sources(model, steps)
    states, back = Moved(one, 1.0, steps, q0), Moved(one, 1.0, steps, 1.0)
    kernel = torch.zeros(2, steps + 1, steps + 1, dtype=torch.float64)
    q = torch.zeros(steps + 1, dtype=torch.float64)
    q[0] = q0
    for k in range(steps):
        rows = [states.row(k)[0], back.row(k)[0]]
        q[k] = rows[0][k]
        kernel[:, k, : k + 1] = torch.stack(rows)
        shares = weights[k - torch.arange(k + 1)]
        here = [branch(q[: k + 1], rows[0]), slope(q[: k + 1], rows[0]) * rows[1]]
        ahead = []
        for moved, source in zip((states, back), here, strict=True):
            trial = moved.copy()
            trial.advance(k, (shares * source)[None])
            ahead.append(trial.row(k + 1)[0])
        q[k + 1] = ahead[0][k + 1]
        there = [branch(q[: k + 2], ahead[0]), slope(q[: k + 2], ahead[0]) * ahead[1]]
        for moved, old, new in zip((states, back), here, there, strict=True):
            beside = torch.cat([old[1:], new[k : k + 1]])
            moved.advance(k, (shares * (old + beside + new[:-1] + new[1:]) / 4)[None])
    kernel[:, steps] = torch.cat([states.row(steps), back.row(steps)])
    return kernel[0].tril() + kernel[0].tril(-1).T, kernel[1].tril() + kernel[1].tril(-1).T


def _cells(model: Model, steps: int) -> Tensor:
    """Mass of dΓ on a cell of the grid, by its lag (step,)."""
    by_lag = model.law.covariance(steps)[0]
    if model.law.noise == "fractional":
        return by_lag * steps ** (-2 * model.law.exponent)
    return by_lag / steps**2


_Source = Callable[[Tensor, Tensor], Tensor]


def _sources(model: Model, steps: int) -> tuple[_Source, _Source]:
    """Mean products of branches, and of their derivatives, of the newest time with all times up to it."""
    block, law = model.block, model.law
    if law.noise == "fractional" and not block.one_matrix:
        # The inner matrices decorrelate: what is left is the mean of φ, and nothing of its derivative.
        weight, bias, of_weights, of_bias = block.variances

        def of_mean(q: Tensor, row: Tensor) -> Tensor:
            mean = block.activation.mean(weight * q + bias)
            return of_weights * mean * mean[-1] + of_bias

        return of_mean, lambda q, row: torch.zeros_like(row)
    times = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    correlation = torch.ones_like(times) if law.noise == "fractional" else law.correlation(times)
    return (
        lambda q, row: block.dual(q[-1], q, gap=_gap(q, row), inner=correlation[: len(q)].flip(0)),
        lambda q, row: block.dual_prime(q[-1], q, gap=_gap(q, row), inner=correlation[: len(q)].flip(0)),
    )


def _gap(q: Tensor, row: Tensor) -> Tensor:
    gap = 1 - row / (q[-1] * q).sqrt()
    gap[-1] = 0.0
    return gap.clamp_(0, 2)
