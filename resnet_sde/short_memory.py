r"""Laws of weights with a short memory along depth, whose sums tend to Brownian motion at β* = 1/2.

Their limit is an Itô equation with the long-run variance s² = 1 + 2 Σ_{n≥1} γ(n) of the weights, and with a
drift of size 1/width that remembers in which order the layers come; see the module `limits.sde`. Gaussian
ones are made from white noise, so networks of several depths can be built on the same one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.checks import finite_number, positive_integer
from resnet_sde.laws import Kind, Noise, PathLaw
from resnet_sde.paths import FilteredPath, GridPath, Path
from resnet_sde.streams import Stream

_STATIONARY = 1 - 1e-6  # largest root of a recursion
_NO_SUM = 1e-6  # of the sum of weights over their length: none


class _Filtered(PathLaw):
    """Weights that a filter makes of Gaussian white noise."""

    @property
    @abstractmethod
    def _lags(self) -> int:
        """Numbers from before the first layer that the filter needs."""

    @abstractmethod
    def _color(self, past: Tensor, noise: Tensor) -> Tensor:
        """Weights of all layers, from the past (lag, …) and the noise (depth, …), which it may overwrite."""

    @property
    def _sign(self) -> float:
        return 1.0

    @override
    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        past = source.normal(self._lags, *shape)
        noise = GridPath(source.normal(depth, *shape), 0.5)
        return FilteredPath(noise, past, self._color, depth, sign=self._sign)


@dataclass(frozen=True)
class AutoregressiveNoise(_Filtered):
    """Stationary Gaussian weights V_k = a_1 V_{k−1} + … + a_p V_{k−p} + σ ξ_k, of unit variance.

    coefficients: a_1, …, a_p, or a_1 alone; every root of the recursion lies inside the unit circle.
    """

    coefficients: float | tuple[float, ...]
    noise: ClassVar[Noise] = "short-memory"  # type: ignore[misc]
    kind: ClassVar[Kind] = "rough"
    gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        a = _numbers(self)
        companion = np.diag(np.ones(len(a) - 1), -1)
        companion[0] = a
        largest = float(np.abs(np.linalg.eigvals(companion)).max())
        if largest > _STATIONARY:
            raise ValueError(
                f"autoregressive weights of coefficients {self.coefficients} are not stationary: a root of "
                f"their recursion has size {largest:.6g}; give coefficients whose roots are below 1, for "
                "example 0.5"
            )

    def __str__(self) -> str:
        return "autoregressive:" + ",".join(map(str, _tuple(self.coefficients)))

    @override
    def autocovariance(self, depth: int) -> Tensor:
        a = _tuple(self.coefficients)
        gamma = [1.0, *_yule_walker(a)][:depth]
        for n in range(len(gamma), depth):
            gamma.append(sum(c * gamma[n - j] for j, c in enumerate(a, 1)))
        return torch.tensor(gamma, dtype=torch.float64)

    @property
    @override
    def _lags(self) -> int:
        return len(_tuple(self.coefficients))

    @override
    def _color(self, past: Tensor, noise: Tensor) -> Tensor:
        a = _tuple(self.coefficients)
        known = [1.0, *_yule_walker(a)]
        lag = np.arange(len(a))
        root = torch.from_numpy(np.linalg.cholesky(np.array(known)[abs(lag[:, None] - lag)])).to(past)
        before = torch.tensordot(root, past, 1)
        weights = noise.mul_(math.sqrt(1 - sum(c * g for c, g in zip(a, known[1:], strict=True))))
        for k in range(len(weights)):
            for j, c in enumerate(a, 1):
                weights[k].add_(weights[k - j] if k >= j else before[k - j], alpha=c)
        return weights


@dataclass(frozen=True)
class MovingAverageNoise(_Filtered):
    """Gaussian weights V_k = (ξ_k + a_1 ξ_{k−1} + … + a_q ξ_{k−q}) / √(1 + a_1² + … + a_q²).

    coefficients: a_1, …, a_q, or a_1 alone; with the 1 they do not sum to 0, as sums of the weights would not
        grow.
    """

    coefficients: float | tuple[float, ...]
    noise: ClassVar[Noise] = "short-memory"  # type: ignore[misc]
    kind: ClassVar[Kind] = "rough"
    gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _numbers(self)
        if abs(self._filter.sum()) < _NO_SUM:
            raise ValueError(
                f"1 and the coefficients {self.coefficients} of a moving average sum to 0, so that its sums "
                "over layers do not grow and no power of the depth balances them; give others, for example "
                "0.5"
            )

    def __str__(self) -> str:
        return "moving-average:" + ",".join(map(str, _tuple(self.coefficients)))

    @property
    def _filter(self) -> np.ndarray:
        weights = np.array([1.0, *_tuple(self.coefficients)])
        return weights / np.linalg.norm(weights)

    @override
    def autocovariance(self, depth: int) -> Tensor:
        products = np.correlate(self._filter, self._filter, "full")[len(self._filter) - 1 :][:depth]
        found = torch.zeros(depth, dtype=torch.float64)
        found[: len(products)] = torch.from_numpy(products)
        found[0] = 1.0
        return found

    @property
    @override
    def _lags(self) -> int:
        return len(self._filter) - 1

    @property
    @override
    def _sign(self) -> float:
        return math.copysign(1.0, self._filter.sum())

    @override
    def _color(self, past: Tensor, noise: Tensor) -> Tensor:
        whole, found = torch.cat([past, noise]), torch.zeros_like(noise)
        for lag, weight in enumerate(self._filter.tolist()):
            start = len(past) - lag
            found.add_(whole[start : start + len(noise)], alpha=weight)
        return found


@dataclass(frozen=True)
class TiedNoise(PathLaw):
    """Gaussian weights that each group of `layers` layers shares, and no two groups.

    They are not stationary, and their covariance says so. Networks of other depths see sums over groups.
    """

    layers: int
    noise: ClassVar[Noise] = "short-memory"  # type: ignore[misc]
    kind: ClassVar[Kind] = "rough"
    gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", positive_integer("layers", self.layers, "give for example 2"))
        if self.layers == 1:
            raise ValueError("weights that one layer shares are white noise; give WhiteNoise()")

    def __str__(self) -> str:
        return f"tied:{self.layers}"

    @override
    def covariance(self, depth: int) -> Tensor:
        group = torch.arange(depth) // self.layers
        return (group[:, None] == group).double()

    @override
    def autocovariance(self, depth: int) -> Tensor:
        raise NotImplementedError("tied weights are not stationary; ask for their covariance")

    @override
    def memory(self, depth: int | None = None) -> tuple[Tensor, Tensor]:
        whole, rest = divmod(depth or self.layers, self.layers)
        pairs = whole * math.comb(self.layers, 2) + math.comb(rest, 2)
        one = torch.ones(1, dtype=torch.float64)
        return one, one * pairs / (depth or self.layers)

    @override
    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        noise = GridPath(source.normal(-(-depth // self.layers), *shape), 0.5)
        return FilteredPath(noise, source.empty(0), _as_it_is, depth, repeats=self.layers)


def _as_it_is(past: Tensor, noise: Tensor) -> Tensor:
    return noise


def _yule_walker(a: tuple[float, ...]) -> list[float]:
    """Correlations at lags 1 to p of the recursion with these coefficients."""
    p = len(a)
    system, right = np.eye(p), np.zeros(p)
    for k in range(1, p + 1):
        for j, c in enumerate(a, 1):
            if j == k:
                right[k - 1] += c
            else:
                system[k - 1, abs(k - j) - 1] -= c
    return [float(r) for r in np.linalg.solve(system, right)]


def _tuple(coefficients: float | tuple[float, ...]) -> tuple[float, ...]:
    return coefficients if isinstance(coefficients, tuple) else (coefficients,)


def _numbers(law: AutoregressiveNoise | MovingAverageNoise) -> tuple[float, ...]:
    """The coefficients of a law, which holds one as a float. Raises ValueError unless they are numbers."""
    given: Any = law.coefficients
    one = isinstance(given, str) or not hasattr(given, "__len__") or getattr(given, "ndim", 1) == 0
    found = tuple(finite_number("a coefficient", value) for value in ((given,) if one else given))
    if not any(found):
        raise ValueError(
            f"weights of coefficients {given!r} are white noise; give WhiteNoise(), or for example 0.5"
        )
    object.__setattr__(law, "coefficients", found if len(found) > 1 else found[0])
    return found
