"""Laws of the weight sequence V₁, V₂, …: how regular the weights of a network are along its depth."""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.checks import positive_integer, states
from resnet_sde.fractional import SAMPLERS, autocovariance, fractional_noise_
from resnet_sde.paths import ConstantPath, FunctionPath, GridPath, OffGrid, Path, SmoothPath, smooth_features
from resnet_sde.streams import Stream, as_stream

_SEEN = 256  # layers whose covariance tells whether a law of one's own is correlated
_LONGEST, _FORGOTTEN = 2**16, 1e-10  # lags over which a short memory dies out, and down to what
SHORTEST_LENGTH = 0.005  # of a smooth law; below it the factor of its kernel takes minutes
_FACTS = ("kind", "noise", "gaussian", "symmetric", "independent", "correlation", "memory", "filler")
_DRAWN = ("path", "_draw", "sample", "value")  # what decides the weights
_BEHAVIOUR = ("covariance", "autocovariance", *_DRAWN, "filler")  # what the facts are said of

Noise = Literal["white", "short-memory", "fractional", "smooth", "constant"]
Kind = Literal["rough", "smooth"]
_EXPONENTS = {"white": 0.5, "short-memory": 0.5, "smooth": 1.0, "constant": 1.0}
_ONE_DEPTH = (
    "{name} weights do not say how networks of other depths see them, so this path has depth {{depth}} only; "
    "draw a path for each depth, or let the law state its kind, rough or smooth"
)


class PathLaw(ABC):
    """A law of weights along depth: centred, of unit variance, independent across the entries of a matrix.

    A law of one's own draws its weights in `sample`, or, where they are a smooth function of time, that
    function in `value`; it says what their covariance is, by `covariance`, `autocovariance` or `correlation`,
    unless they are white. It may state more. Limits and kernels ask for these facts, not for the class of a
    law; what is seen to be false is refused, and a subclass that draws other weights inherits none.

    exponent: half the growth exponent of Var(V₁ + … + V_L) in L; 1/2 of white noise and short memory, 1 of
        smooth and constant weights, to be given else.
    noise: what the weights are along depth; None where nothing is known. "white": those of different layers
        are independent. "short-memory": they are stationary, their covariances have a finite sum, and sums of
        them tend to Brownian motion. "fractional": fractional Gaussian noise of Hurst index `exponent`.
        "smooth": a differentiable function of the time k / depth, of covariance `correlation`. "constant":
        the same in all layers.
    kind: how networks of other depths see a path. "rough": m layers summed and divided by m^exponent are one
        layer of the same law. "smooth": weights are a function of the time k / depth. None: not at all.
    filler: where layers are drawn one by one, the method that turns a stream into the function which fills a
        tensor with the weights of a layer; None where a path is drawn at once.

    Example:
        >>> class Neighbours(PathLaw):  # V_k = (ξ_k + ξ_{k−1}) / √2
        ...     noise, gaussian = "short-memory", True
        ...     def autocovariance(self, depth):
        ...         return torch.tensor([1.0, 0.5] + [0.0] * depth, dtype=torch.float64)[:depth]
        ...     def sample(self, depth, shape, stream):
        ...         fresh = stream.normal(depth + 1, *shape)
        ...         return (fresh[1:] + fresh[:-1]) / 2**0.5
        >>> from resnet_sde import RELU, Model, SingleLayer, limit
        >>> limit(Model(SingleLayer(RELU), Neighbours(), width=4)).name
        'an Itô equation'
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
        if not hasattr(cls, "exponent"):
            for stated in (vars(cls).get("kind"), cls.noise):
                if isinstance(stated, str) and stated in _EXPONENTS:
                    cls.exponent = _EXPONENTS[stated]

    def __repr__(self) -> str:  # names its random numbers
        named = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({named})"

    @property
    def kind(self) -> Kind | None:
        """How networks of other depths see a path; by default as the noise says."""
        if self.noise in ("smooth", "constant"):
            return "smooth"
        return "rough" if self.noise in ("white", "fractional") and self.gaussian else None

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
        except (NotImplementedError, OffGrid):
            return False

    @property
    def states_covariance(self) -> bool:
        """Whether the covariance is that of the weights that it draws, and not of a parent's."""
        names = [
            n for n in ("covariance", "autocovariance") if getattr(type(self), n) is not vars(PathLaw)[n]
        ]
        return self.noise is not None if not names else any(states(self, name, *_DRAWN) for name in names)

    def correlation(self, lag: Tensor) -> Tensor:
        """E V_s V_{s + lag} of smooth weights, for lags in units of the whole depth, from 0 to 1; float64."""
        raise NotImplementedError(f"{type(self).__name__} has no method correlation; give it one")

    def covariance(self, depth: int) -> Tensor:
        """γ(i, j) = E V_i V_j in a network of `depth` layers; shape (depth, depth), float64."""
        if self.noise in ("smooth", "constant"):
            times = torch.arange(depth, dtype=torch.float64) / depth
            return self.correlation(times[:, None] - times)
        if self.noise == "white":
            return torch.eye(depth, dtype=torch.float64)
        if self.noise != "fractional" and type(self).autocovariance is PathLaw.autocovariance:
            raise NotImplementedError(f"{type(self).__name__} has no method covariance; give it one")
        lag = torch.arange(depth)
        return self.autocovariance(depth)[(lag[:, None] - lag).abs()]

    def autocovariance(self, depth: int) -> Tensor:
        """E V_1 V_{1+n} of stationary weights, for n from 0 to depth − 1; shape (depth,), float64."""
        return (
            autocovariance(self.exponent, depth) if self.noise == "fractional" else self.covariance(depth)[0]
        )

    def memory(self, depth: int | None = None) -> tuple[Tensor, Tensor]:
        """Correlations of the weights of a layer with those of later ones, and how many these are.

        Args:
            depth: of the network; None for the limit.

        Returns:
            Correlations γ, and the mean number of later layers that have each, both (lag,), float64. Of
            stationary weights γ(n) counts 1 − n / depth times.

        Raises:
            ValueError: the correlations have not died out over 65536 layers.
        """
        count = 64 if depth is None else depth
        while True:
            gamma = self.autocovariance(count)[1:]
            if depth is not None:
                return gamma, 1 - torch.arange(1, count, dtype=torch.float64) / count
            rest = gamma.abs().flip(0).cumsum(0).flip(0)
            if float(rest[count // 2]) < _FORGOTTEN:
                kept = gamma[: int((rest > _FORGOTTEN / 100).sum())]
                return kept, torch.ones_like(kept)
            if (count := 2 * count) > _LONGEST:
                raise ValueError(
                    f"the correlations of {self} weights have not died out over {_LONGEST} layers"
                )

    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        """Weights of a network of `depth` layers, (depth, *shape), from numbers of the stream alone."""
        raise NotImplementedError(f"{type(self).__name__} draws nothing; give it a method sample, or value")

    def value(self, shape: tuple[int, ...], stream: Stream) -> Callable[[Tensor], Tensor] | Path:
        """Smooth weights, as a function of times in [0, 1]: from (time,) to (time, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} is smooth and has no method value; give it one")

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        if self.kind == "smooth":
            found = self.value(shape, source)
            return found if isinstance(found, Path) else FunctionPath(found, dtype, source.device)
        fine = self.sample(depth, shape, source)
        if not type(self).__module__.startswith("resnet_sde."):
            self._check_finite(fine)
        if self.kind == "rough":
            return GridPath(fine.to(dtype), self.exponent)
        white = {} if self.noise == "white" else {"otherwise": _ONE_DEPTH.format(name=self)}
        return GridPath(fine.to(dtype), self.exponent, stable=False, **white)

    def _check_finite(self, weights: Tensor) -> None:
        if not bool(weights.abs().amax().isfinite()):
            raise ValueError(
                f"{type(self).__name__} drew a weight that is not finite; let it take logarithms, powers and "
                "ratios of numbers away from 0: in float32 u / √3 of a uniform number u may round to 1"
            )

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
        source.dtype = dtype
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

    def filler(self, source: Stream) -> Callable[[Tensor], Tensor]:
        """The function that fills a tensor with entries of this law."""
        fill = {"gaussian": source.normal_, "uniform": source.uniform_, "rademacher": source.rademacher_}
        return fill[self.entries]

    @override
    def covariance(self, depth: int) -> Tensor:
        return torch.eye(depth, dtype=torch.float64)

    @override
    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return self.filler(stream)(stream.empty(depth, *shape))


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
    def autocovariance(self, depth: int) -> Tensor:
        return autocovariance(self.hurst, depth)

    @override
    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return fractional_noise_(stream.empty(depth, *shape), self.hurst, stream, self.sampler)


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
    def value(self, shape: tuple[int, ...], stream: Stream) -> Path:
        rank = smooth_features(torch.zeros(1, dtype=torch.float64), self.length_scale).shape[-1]
        return SmoothPath(stream.normal(rank, *shape), self.length_scale)


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
    def value(self, shape: tuple[int, ...], stream: Stream) -> Path:
        return ConstantPath(stream.normal(*shape))
