"""Laws of the weight sequence V₁, V₂, …: how regular the weights of a network are along its depth."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.checks import check_memory, positive_integer, states
from resnet_sde.fractional import SAMPLERS, autocovariance, fractional_noise_
from resnet_sde.paths import ConstantPath, GridPath, Path, SmoothPath, smooth_features
from resnet_sde.streams import Stream, as_stream

_SEEN = 256  # layers whose covariance tells whether a law of one's own is correlated
SHORTEST_LENGTH = 0.005  # of a smooth law; below it the factor of its kernel takes minutes
_FACTS = ("noise", "gaussian", "symmetric", "independent", "correlation", "filler")
_BEHAVIOUR = ("covariance", "path", "_draw", "filler")  # what the facts are said of

Noise = Literal["white", "fractional", "smooth", "constant"]


class PathLaw(ABC):
    """A stationary law of weights: centred, of unit variance, independent across the entries of a matrix.

    A law of one's own may state more than it must. Limits and kernels ask for these facts, not for the class
    of a law; what is seen to be false is refused, and a subclass that draws other weights inherits none.

    exponent: half the growth exponent of Var(V₁ + … + V_L) in L.
    noise: what the weights are along depth; None where nothing is known. "white": those of different layers
        are independent. "fractional": fractional Gaussian noise of Hurst index `exponent`. "smooth": a
        differentiable function of the time k / depth, of covariance `correlation`. "constant": the same in
        all layers. Paths of the last two have a method `at`.
    filler: where layers are drawn one by one, the method that turns a stream into the function which fills a
        tensor with the weights of a layer; None where a path is drawn at once.
    """

    exponent: float
    noise: Noise | None = None
    filler: Callable[[Stream], Callable[[Tensor], Tensor]] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for fact in _FACTS:
            unknown = vars(PathLaw)[fact]
            if inspect.getattr_static(cls, fact) is not unknown and not states(cls, fact, *_BEHAVIOUR):
                setattr(cls, fact, unknown)

    @property
    def gaussian(self) -> bool:
        """Whether the weights are known to be jointly Gaussian."""
        return False

    @property
    def symmetric(self) -> bool:
        """Whether V and −V are known to have the same law."""
        return self.gaussian

    @property
    def independent(self) -> bool:
        """Whether the weights of different layers are independent.

        Read off the covariance where the noise is not known: like all theory of infinite width, this takes
        the weights for jointly Gaussian.
        """
        if self.noise is not None:
            return self.noise == "white"
        if self.exponent != 0.5:
            return False
        try:
            return torch.equal(self.covariance(_SEEN), torch.eye(_SEEN, dtype=torch.float64))
        except NotImplementedError:
            return False

    def correlation(self, lag: Tensor) -> Tensor:
        """E V_s V_{s + lag} of smooth weights, for lags in units of the whole depth, from 0 to 1; float64."""
        raise NotImplementedError(f"{type(self).__name__} has no method correlation; give it one")

    @abstractmethod
    def covariance(self, depth: int) -> Tensor:
        """γ(i, j) = E V_i V_j in a network of `depth` layers; shape (depth, depth), float64."""

    @abstractmethod
    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path: ...

    def path(
        self,
        depth: int,
        shape: tuple[int, ...],
        *,
        generator: torch.Generator | Stream | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Path:
        """A realised path whose finest network has `depth` layers of weights of this shape.

        The same generator state, dtype, device type and arguments give the same bits.

        Args:
            depth: number of layers of the deepest network that will look at it.
            shape: of one layer's weights, any number of axes.
            generator: where the numbers come from; torch's default generator if None.
            dtype: float32 or float64; torch's default if None.
            device: the generator's if None.

        Raises:
            ValueError: the depth is not a positive integer, or the dtype is another one.
        """
        depth = positive_integer("depth", depth, "give the number of layers")
        dtype = dtype or torch.get_default_dtype()
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"weights are drawn in float32 or float64, not {dtype}; give dtype=torch.float32"
            )
        if device is None:
            device = generator.device if generator is not None else "cpu"
        source = as_stream(generator, device)
        return self._draw(depth, tuple(shape), source, dtype)


@dataclass(frozen=True)
class WhiteNoise(PathLaw):
    """Weights independent along depth.

    entries: law of an entry, "gaussian", "uniform" on (−√3, √3) or "rademacher" (±1); all of unit variance.
        Kernels do not see the difference; only Gaussian weights keep their law when the path is seen at other
        depths.
    """

    entries: str = "gaussian"
    noise: ClassVar[Noise] = "white"  # type: ignore[misc]
    symmetric: ClassVar[bool] = True
    exponent: ClassVar[float] = 0.5  # type: ignore[misc]

    def __post_init__(self) -> None:
        if self.entries not in ("gaussian", "uniform", "rademacher"):
            raise ValueError(f"unknown entries {self.entries!r}; give one of gaussian, uniform, rademacher")

    @override
    @property
    def gaussian(self) -> bool:
        return self.entries == "gaussian" and type(self) is WhiteNoise

    def __str__(self) -> str:
        return "white" if self.entries == "gaussian" else f"white-{self.entries}"

    @override
    def covariance(self, depth: int) -> Tensor:
        return torch.eye(depth, dtype=torch.float64)

    def filler(self, source: Stream) -> Callable[[Tensor], Tensor]:
        """The function that fills a tensor with entries of this law."""
        fill = {"gaussian": source.normal_, "uniform": source.uniform_, "rademacher": source.rademacher_}
        return fill[self.entries]

    @override
    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        weights = _empty((depth, *shape), dtype, source)
        return GridPath(self.filler(source)(weights), self.exponent, stable=self.entries == "gaussian")


@dataclass(frozen=True)
class FractionalNoise(PathLaw):
    """Increments of fractional Brownian motion.

    hurst: H in (0, 1); 1/2 is white Gaussian noise, and the closer to 1 the closer to constant weights.
    sampler: "circulant" (exact and fast), or "hosking" or "cholesky" of the `fbm` package (exact and slow).
    """

    hurst: float
    sampler: str = "circulant"
    gaussian: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "hurst", float(self.hurst))
        if not 0 < self.hurst < 1:
            raise ValueError(
                f"hurst must lie strictly between 0 and 1, got {self.hurst}; give for example 0.7"
            )
        if self.sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {self.sampler!r}; give one of {', '.join(SAMPLERS)}")

    def __str__(self) -> str:
        exact = "" if self.sampler == "circulant" else f":{self.sampler}"
        return f"fractional:{self.hurst}{exact}"

    @override
    @property
    def exponent(self) -> float:  # type: ignore[override]
        return self.hurst

    @override
    @property
    def noise(self) -> Noise:  # type: ignore[override]
        return "white" if self.hurst == 0.5 else "fractional"

    @override
    def covariance(self, depth: int) -> Tensor:
        lag = torch.arange(depth)
        return autocovariance(self.hurst, depth)[(lag[:, None] - lag).abs()]

    @override
    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        noise = _empty((depth, *shape), dtype, source)
        return GridPath(fractional_noise_(noise, self.hurst, source, self.sampler), self.hurst)


@dataclass(frozen=True)
class SmoothNoise(PathLaw):
    """Smooth weights: a Gaussian process of kernel exp(−(s − t)² / 2ℓ²), seen at the times k / depth.

    length_scale: ℓ, in units of the whole depth; Marion et al. (2025) use 0.1.
    """

    length_scale: float = 0.1
    noise: ClassVar[Noise] = "smooth"  # type: ignore[misc]
    exponent: ClassVar[float] = 1.0  # type: ignore[misc]

    def __post_init__(self) -> None:
        object.__setattr__(self, "length_scale", float(self.length_scale))
        if not SHORTEST_LENGTH <= self.length_scale < float("inf"):
            raise ValueError(
                f"length_scale must be finite and at least {SHORTEST_LENGTH}, got {self.length_scale}; "
                "give for example 0.1"
            )

    def __str__(self) -> str:
        return f"smooth:{self.length_scale}"

    @override
    def correlation(self, lag: Tensor) -> Tensor:
        return torch.exp(-0.5 * (lag / self.length_scale).square())

    @override
    def covariance(self, depth: int) -> Tensor:
        times = torch.arange(depth, dtype=torch.float64) / depth
        return self.correlation(times[:, None] - times)

    @override
    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        rank = smooth_features(torch.zeros(1, dtype=torch.float64), self.length_scale).shape[-1]
        modes = _empty((rank, *shape), dtype, source)
        return SmoothPath(source.normal_(modes), self.length_scale)


@dataclass(frozen=True)
class ConstantNoise(PathLaw):
    """The same Gaussian weights in every layer: the limit of fractional noise as H → 1."""

    noise: ClassVar[Noise] = "constant"  # type: ignore[misc]
    exponent: ClassVar[float] = 1.0  # type: ignore[misc]

    def __str__(self) -> str:
        return "constant"

    @override
    def correlation(self, lag: Tensor) -> Tensor:
        return torch.ones_like(lag)

    @override
    def covariance(self, depth: int) -> Tensor:
        return torch.ones(depth, depth, dtype=torch.float64)

    @override
    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        return ConstantPath(source.normal_(_empty(shape, dtype, source)))


def _empty(shape: tuple[int, ...], dtype: torch.dtype, source: Stream) -> Tensor:
    """Room for the numbers of a path. Raises ValueError where they do not fit into memory."""
    sizes = " × ".join(map(str, shape))
    needed = math.prod(shape) * dtype.itemsize
    check_memory(f"weights of shape {sizes}", needed, "give a smaller depth, width or number", source.device)
    return torch.empty(shape, dtype=dtype, device=source.device)
