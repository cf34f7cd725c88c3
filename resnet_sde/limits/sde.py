r"""Weights with short memory along depth: Itô equations.

With one white Gaussian matrix the limit holds on the weight path, dH = dB g(H), and the network is its
Euler scheme.
Everywhere else it holds in law, for the law of a sum of branches is all that survives: the states of
the inputs a, b have the covariation A_ab dt in every coordinate and the drift b dt, with

    A = σ_v² Σ_n γ_V(n) E φ(u_n) φ(u_0) + σ_a² Σ_n γ_V(n),
    b = (σ_v² σ_w² / d) H Σ_{n≥1} γ_V(n) (E φ''(u_n) φ(u_0) + γ_W(n) E φ'(u_n) φ'(u_0)),

where u_n and u_0 have variance σ_w² |h|²/d + σ_b² and correlation γ_W(n). For white weights only n = 0
is left and there is no drift. The sums converge for H < 1/2, and for odd φ below H = 3/4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import scipy.interpolate
import scipy.special
import torch
import torchsde
from torch import Tensor
from typing_extensions import override

from resnet_sde._checks import positive_integer
from resnet_sde._random import stream
from resnet_sde.blocks import Layer, Reduced, SingleLayer, TwoLayer
from resnet_sde.fractional import autocovariance
from resnet_sde.laws import WhiteNoise
from resnet_sde.limits.base import Limit, NoLimit, check_rough, check_states, check_steps, grid
from resnet_sde.matrices import Dense
from resnet_sde.model import Model, WeightPaths
from resnet_sde.paths import Path

_LAGS = 512  # at which F is evaluated; beyond, a straight line through 0, to 1e-4 at worst (H near 3/4)
_LENGTHS = 481  # nodes of the table of a diffusion coefficient over |h|²/d, even in its logarithm
_LOG_RANGE = 24.0  # natural logarithms on either side of 1 that the table covers
_DEGREE = 9  # of the spline between them; a cubic one would give 1e-5


class _PathBrownian(torchsde.BaseBrownian):
    """Our increments behind torchsde's interface: Brownian motion on the grid of a white path.

    torchsde adds time steps up and may query a last interval of rounding size, whose increment here is zero.
    """

    def __init__(self, increments: Tensor) -> None:
        self._fine = increments.flatten(2)

    def __call__(
        self, ta: Tensor, tb: Tensor | None = None, return_U: bool = False, return_A: bool = False
    ) -> Tensor:
        """B(tb) − B(ta); shape (sample, channels)."""
        assert tb is not None
        steps = len(self._fine)
        first, last = (round(float(t) * steps) for t in (ta, tb))
        return self._fine[first:last].sum(0) * steps**-0.5

    def __repr__(self) -> str:
        return f"increments of a weight path on {len(self._fine)} steps"

    @property
    def dtype(self) -> torch.dtype:
        """Of the increments."""
        return self._fine.dtype

    @property
    def device(self) -> torch.device:
        """Of the increments."""
        return self._fine.device

    @property
    def shape(self) -> torch.Size:
        """(sample, channels)."""
        return self._fine.shape[1:]

    @property
    def levy_area_approximation(self) -> str:
        """None: a path on a grid knows no areas."""
        return "none"


class _Equation(torch.nn.Module):
    """Drift and diffusion of states (sample, input · width), as torchsde asks for them."""

    noise_type, sde_type = "general", "ito"

    def __init__(self, limit: ItoSDE | ItoSDEInLaw, shape: torch.Size) -> None:
        super().__init__()
        self._limit, self._states = limit, shape

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """The drift."""
        return self._limit.drift(y.view(self._states)).flatten(1)

    def g_prod(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """The diffusion times the noise v; the matrix of width × width² entries is never formed."""
        return self._limit.diffuse(y.view(self._states), v).flatten(1)


def _integrate(limit: ItoSDE | ItoSDEInLaw, h: Tensor, increments: Tensor, steps: int, method: str) -> Tensor:
    """The solution by torchsde, which tries its shapes on numbers of the global random state."""
    if method != "euler":
        raise ValueError(
            f"unknown method {method!r}; give euler, torchsde's only one for Itô equations of general noise"
        )
    with torch.random.fork_rng([h.device] if h.is_cuda else []):
        solution = torchsde.sdeint(
            _Equation(limit, h.shape),
            h.flatten(1),
            grid(1, h),
            bm=_PathBrownian(increments),
            method=method,
            dt=1.0 / steps,
        )
    return solution[-1].view(h.shape)


@dataclass(frozen=True)
class ItoSDE(Limit):
    """dH = gain · dB g(H), on the matrix Brownian motion B of the weights (Marion et al., 2025)."""

    kind: ClassVar[str] = "ito-sde"
    coupled: ClassVar[bool] = True

    @property
    @override
    def strong_order(self) -> float:
        """1/2: the noise does not commute for width above 1, and no scheme does better without its areas."""
        return 0.5

    def drift(self, h: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(h)

    def diffuse(self, h: Tensor, v: Tensor) -> Tensor:
        """V g(h) for noise v, the entries of V in a row for each sample."""
        shape = self.model.block.shapes(self.model.width)["outer"]
        return self.model.gain * self.model.block.branch(h, Layer(Dense(v.view(-1, *shape))))[0]

    @override
    def solve(self, h: Tensor, path: WeightPaths, *, steps: int, method: str = "euler") -> Tensor:
        """The solution at time 1 by torchsde, on the weight path of a network; differentiable in h.

        Args:
            h: initial states, (sample, input, width).
            path: weight paths of the model's law; `steps` must divide their finest depth.
            steps: of the time grid.
            method: "euler", torchsde's only one for Itô equations of general noise: the network of
                `steps` layers.

        Raises:
            ValueError: shapes do not fit, the path is of other weights, or the method is unknown.
            OffGrid: the path cannot be seen at this number of steps.
        """
        check_states(self, h)
        check_rough(self, path)
        steps = check_steps(steps)
        fine = path.matrices["outer"].weights(steps)
        return _integrate(self, h, fine, steps, method)


@dataclass(frozen=True)
class ItoSDEInLaw(Limit):
    """dH = A(H)^{1/2} dB + b(H) dt with a vector Brownian motion of its own; A and b as in the module.

    For correlated weights A and b are interpolated, to a relative accuracy of 1e-9 for |h|²/d from e^−24 to
    e^24, up to the sum over lags; for a positively homogeneous φ without biases they are exact up to that.

    depth: None for the limit; a number of layers puts the sums over lags that such a network has, with
        weights 1 − n / depth, in place of the infinite ones, which they near slowly for H near 1/2 and 3/4.
    """

    depth: int | None = None

    def __post_init__(self) -> None:
        if self.depth is not None:
            depth = positive_integer("depth", self.depth, "give None for the limit")
            object.__setattr__(self, "depth", depth)

    kind: ClassVar[str] = "ito-sde"
    coupled: ClassVar[bool] = False

    def covariation(self, h: Tensor) -> Tensor:
        """A(h), per unit of time and coordinate; shape (sample, input, input)."""
        square = self.model.gain**2
        if self.model.law.exponent != 0.5:
            length = h.double().square().mean(-1, keepdim=True)
            return (square * _table(self.model, self.depth)(length)[0]).to(h.dtype)
        return (square * _white(self.model, h.double())).to(h.dtype)

    def drift(self, h: Tensor) -> Tensor:
        """b(h); shape of h."""
        if self.model.law.exponent == 0.5:
            return torch.zeros_like(h)
        length = h.double().square().mean(-1, keepdim=True)
        strength = _table(self.model, self.depth)(length)[1].to(h.dtype)
        return self.model.gain**2 / self.model.width * strength * h

    def diffuse(self, h: Tensor, v: Tensor) -> Tensor:
        """A(h)^{1/2} v for noise v."""
        covariation = self.covariation(h)
        if covariation.shape[-1] == 1:
            return covariation.clamp(min=0).sqrt() * v.view(h.shape)
        values, vectors = torch.linalg.eigh(covariation)
        root = vectors * values.clamp(min=0).sqrt()[..., None, :]
        return root @ v.view(h.shape)

    @override
    def solve(self, h: Tensor, *, steps: int, seed: int = 0, method: str = "euler") -> Tensor:
        """A solution at time 1 by torchsde, on a Brownian motion of its own.

        Args:
            h: initial states, (sample, input, width).
            steps: of the time grid.
            seed: of the Brownian motion.
            method: "euler".

        Raises:
            ValueError: shapes do not fit, the method is unknown, or several inputs were given where the
                weights are correlated along depth.
        """
        check_states(self, h)
        steps = check_steps(steps)
        if h.shape[1] > 1 and self.model.law.exponent != 0.5:
            raise ValueError(
                "the limit in law of correlated weights is known for one input at a time; give one"
            )
        source = stream(seed, "limit", self.model, steps, tuple(h.shape), device=h.device)
        path: Path = WhiteNoise().path(steps, tuple(h.shape), generator=source, dtype=h.dtype)
        return _integrate(self, h, path.weights(steps), steps, method)

    @override
    def gradient(self, h: Tensor, top: Tensor, *args: Any, **options: Any) -> Tensor:
        """Refused: this equation gives the law of the states of given inputs, not of their derivatives.

        Raises:
            NoLimit: always.
        """
        raise NoLimit(
            "the limit holds in law only",
            "a gradient compares neighbouring inputs on the same weights, and the derivative of this "
            "solution, on a noise of its own, has another law",
            "Study the gradients of deep networks with simulate.",
        )


def _white(model: Model, h: Tensor) -> Tensor:
    """A for white weights; h (sample, input, width) in float64."""
    block = model.block
    if isinstance(block, SingleLayer):
        probe = block.activation(h)
        return block.sigma_w2 * (probe @ probe.mT) / model.width + block.sigma_b2
    assert isinstance(block, (TwoLayer, Reduced))
    inner = block.sigma_w2 * (h @ h.mT) / model.width + block.sigma_b2
    q = torch.diagonal(inner, dim1=-2, dim2=-1)
    gap = 1 - inner / (q[..., :, None] * q[..., None, :]).sqrt().clamp(min=1e-300)
    gap = torch.where(torch.eye(q.shape[-1], dtype=torch.bool, device=q.device), 0.0, gap).clamp(0, 2)
    dual = block.activation.dual(q[..., :, None], q[..., None, :], gap=gap)
    return dual if isinstance(block, Reduced) else block.sigma_v2 * dual + block.sigma_a2


@dataclass(frozen=True)
class _Table:
    """A and d · b / H over |h|²/d, by a spline in log |h|²/d; exact for homogeneous φ, where A is linear.

    Its relative error is below 1e-9 for all activations of the library, or it is rounding: 1e-16 of E φ².

    A is held relative to σ_w² |h|²/d + offset, which is of its size from the shortest states to the longest.

    pieces: coefficients of a polynomial on every interval, from the highest power on, (power, 2, interval).
    """

    pieces: Tensor
    slope: float
    offset: float

    @staticmethod
    def of(logs: Tensor, ratio: Tensor, drift: Tensor, slope: float, offset: float) -> _Table:
        """The table of values at these logarithms."""
        values = torch.stack([ratio, drift], -1)
        spline = scipy.interpolate.make_interp_spline(logs.numpy(), values.numpy(), k=_DEGREE)
        step = float(logs[1] - logs[0])
        powers = [
            spline.derivative(m)(logs[:-1].numpy()) * (step**m / math.factorial(m))
            for m in range(_DEGREE, 0, -1)
        ]
        return _Table(torch.from_numpy(np.stack([*powers, values[:-1].numpy()])).mT, slope, offset)

    def __call__(self, length: Tensor) -> tuple[Tensor, Tensor]:
        """A and d · b / H at squared lengths |h|²/d, any shape."""
        pieces = self.pieces.to(length.device)
        count = pieces.shape[-1]
        logs = length.clamp(min=1e-300).log()
        place = ((logs + _LOG_RANGE) * (count / (2 * _LOG_RANGE))).clamp(0, count)
        left = place.floor().long().clamp(max=count - 1)
        part = place - left
        total = pieces[0][:, left]
        for coefficient in pieces[1:]:
            total = total * part + coefficient[:, left]
        return (self.slope * length + self.offset) * total[0], total[1]


@lru_cache(maxsize=16)
def _table(model: Model, depth: int | None) -> _Table:
    block = model.block
    assert isinstance(block, TwoLayer)
    logs = torch.linspace(-_LOG_RANGE, _LOG_RANGE, _LENGTHS, dtype=torch.float64)
    diffusion, drift = _coefficients(model, depth, logs.exp())
    slope, offset = block.sigma_w2, block.sigma_b2 + block.sigma_a2
    ratio = diffusion / (slope * logs.exp() + offset).clamp(min=1e-300)
    return _Table.of(logs, ratio, drift, slope, offset)


def _coefficients(model: Model, depth: int | None, length: Tensor) -> tuple[Tensor, Tensor]:
    """A and d · b / H at squared lengths |h|²/d, all of shape (length,)."""
    block = model.block
    assert isinstance(block, TwoLayer)
    q = (block.sigma_w2 * length + block.sigma_b2)[:, None]
    lags = _Lags.of(model.law.exponent, depth)
    phi = block.activation
    zero, one = torch.zeros_like(q), torch.ones_like(q)
    kappa = lags.total(lambda r: phi.dual(q, q, gap=1 - r), phi.dual(q, q, gap=one))
    slopes = lags.total(
        lambda r: phi.mean_curvature(q, q, gap=1 - r) + r * phi.dual_prime(q, q, gap=1 - r),
        phi.mean_curvature(q, q, gap=one),
    )
    diffusion = block.sigma_v2 * (phi.dual(q, q, gap=zero)[:, 0] + 2 * kappa)
    diffusion += block.sigma_a2 * (1 + 2 * lags.first)
    return diffusion, block.sigma_v2 * block.sigma_w2 * slopes


@dataclass(frozen=True)
class _Lags:
    """Σ_{n≥1} w_n γ(n) F(γ(n)), with the parts of the sum that are known without F.

    first: Σ w_n γ(n), which F(0) meets; −1/2 in the limit for H < 1/2. For odd φ, F(0) is zero.
    tail: Σ w_n γ(n)² beyond the lags held, which the slope of F at 0 meets.
    """

    correlation: Tensor
    weight: Tensor
    first: float
    tail: float

    @staticmethod
    def of(hurst: float, depth: int | None) -> _Lags:
        """The lags of a network of this depth, or all of them."""
        gamma = autocovariance(hurst, depth or _LAGS + 1)[1:]
        if depth is not None:
            weight = 1 - torch.arange(1, depth, dtype=torch.float64) / depth
            first, tail = float((weight * gamma).sum()), float((weight * gamma.square())[_LAGS:].sum())
            return _Lags(gamma[:_LAGS], weight[:_LAGS], first, tail)
        decay = (hurst * (2 * hurst - 1)) ** 2
        tail = decay * float(scipy.special.zeta(4 - 4 * hurst, _LAGS + 1))
        return _Lags(gamma, torch.ones_like(gamma), -0.5 if hurst < 0.5 else 0.0, tail)

    def total(self, value: Callable[[Tensor], Tensor], uncorrelated: Tensor) -> Tensor:
        """The sum for F = `value` and F(0) = `uncorrelated`, of shape (length, 1); shape (length,)."""
        rest = (value(self.correlation) - uncorrelated) * self.correlation
        total = (self.weight * rest).sum(-1) + self.first * uncorrelated[:, 0]
        return total + rest[:, -1] / self.correlation[-1] ** 2 * self.tail if self.tail else total
