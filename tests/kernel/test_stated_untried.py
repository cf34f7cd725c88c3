"""Statements of laws of one's own that are true where they are easily tried, and false elsewhere."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.paths import ConstantPath, GridPath, Path
from resnet_sde.streams import Stream

Fill = Callable[[Tensor], Tensor]


class White(rs.PathLaw):
    """Gaussian white noise that says so."""

    exponent, noise, gaussian = 0.5, "white", True  # type: ignore[assignment]

    def __repr__(self) -> str:
        return type(self).__name__

    def covariance(self, depth: int) -> Tensor:
        return torch.eye(depth, dtype=torch.float64)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        return GridPath(source.normal_(torch.empty(depth, *shape, dtype=dtype)), 0.5)

    def filler(self, source: Stream) -> Fill:
        return source.normal_


class Uniform(White):
    noise, gaussian = "white", True  # type: ignore[assignment]

    def filler(self, source: Stream) -> Fill:
        return source.uniform_


class Nothing(White):
    noise, gaussian = "white", True  # type: ignore[assignment]

    def filler(self, source: Stream) -> Fill:
        return lambda x: None  # type: ignore[return-value,arg-type]


class Elsewhere(White):
    noise, gaussian = "white", True  # type: ignore[assignment]

    def filler(self, source: Stream) -> Fill:
        other = torch.Generator().manual_seed(0)
        return lambda x: x.normal_(generator=other)


class OneNetwork(White):
    noise, gaussian = "white", True  # type: ignore[assignment]

    def filler(self, source: Stream) -> Fill:
        return lambda x: x.copy_(source.normal_(torch.empty_like(x[:1])))


class SameSizes(White):
    """Layers that differ by signs."""

    noise, gaussian = "white", True  # type: ignore[assignment]

    def filler(self, source: Stream) -> Fill:
        first: list[Tensor] = []

        def fill(x: Tensor) -> Tensor:
            source.normal_(x)
            first.append(x.abs())
            return x.copy_(first[0] * x.sign())

        return fill


class NoCovariance(White):
    """The same weights in all layers."""

    noise, gaussian, filler = "white", True, None  # type: ignore[assignment]

    def covariance(self, depth: int) -> Tensor:
        raise NotImplementedError("not known")

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        return ConstantPath(source.normal_(torch.empty(shape, dtype=dtype)))


class Shallow(White):
    """An exponent that nobody can try."""

    exponent, noise, gaussian, filler = 0.9, "white", True, None  # type: ignore[assignment]

    def covariance(self, depth: int) -> Tensor:
        if depth > 512:
            raise RuntimeError("too deep")
        return torch.eye(depth, dtype=torch.float64)


class Waves(White):
    """Smooth weights a cos 2πt + b sin 2πt, whose sum over all layers is 0."""

    exponent, noise, gaussian, filler = 1.0, "smooth", True, None  # type: ignore[assignment]

    def correlation(self, lag: Tensor) -> Tensor:
        return torch.cos(2 * math.pi * lag)

    def covariance(self, depth: int) -> Tensor:
        times = torch.arange(depth, dtype=torch.float64) / depth
        return torch.cos(2 * math.pi * (times[:, None] - times))

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        return self._path(depth, source.normal_(torch.empty(2, *shape, dtype=dtype)))

    def _path(self, depth: int, modes: Tensor) -> Path:
        return Wave(modes)


class Wave(Path):
    def __init__(self, modes: Tensor, steps: int = 0) -> None:
        self.modes, self.steps = modes, steps

    def at(self, times: Tensor) -> Tensor:
        if self.steps:
            times = (times * self.steps + 1e-9).floor() / self.steps
        angles = 2 * math.pi * times
        return torch.einsum("k...,kz->...z", torch.stack([angles.cos(), angles.sin()]), self._rows()).view(
            *times.shape, *self.modes.shape[1:]
        )

    def _rows(self) -> Tensor:
        return self.modes.double().reshape(2, -1)

    def weights(self, depth: int) -> Tensor:
        return self.at(torch.arange(depth, dtype=torch.float64) / depth).to(self.modes.dtype)


class Steps(Waves):
    """A function that jumps from layer to layer."""

    exponent, noise, gaussian, correlation = 1.0, "smooth", True, Waves.correlation  # type: ignore[assignment]
    covariance = Waves.covariance

    def _draw(self, *args: Any) -> Path:
        return super()._draw(*args)

    def _path(self, depth: int, modes: Tensor) -> Path:
        return Wave(modes, depth)


class InLayers(White):
    """A memory of so many layers, whatever the depth: smooth at 256 layers alone."""

    exponent, noise, gaussian, filler = 1.0, "smooth", True, None  # type: ignore[assignment]

    def correlation(self, lag: Tensor) -> Tensor:
        return torch.exp(-((10 * lag) ** 2))

    def covariance(self, depth: int) -> Tensor:
        layers = torch.arange(depth, dtype=torch.float64) / 256
        return self.correlation(layers[:, None] - layers)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        root = torch.linalg.cholesky(self.covariance(depth) + 1e-9 * torch.eye(depth, dtype=torch.float64))
        numbers = source.normal_(torch.empty(depth, math.prod(shape), dtype=torch.float64))
        return ConstantPath((root @ numbers).view(depth, *shape)[0].to(dtype))


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (Uniform(), "filler of law Uniform says that its weights are Gaussian"),
        (Nothing(), "filler of law Nothing returned NoneType"),
        (Elsewhere(), "filler of law Elsewhere does not draw from the stream"),
        (OneNetwork(), "same numbers for different networks"),
        (SameSizes(), "layers are independent, and the squares"),
        (NoCovariance(), "ended in NotImplementedError: not known"),
        (Shallow(), "ended in RuntimeError: too deep"),
        (Steps(), "between layers its paths are not"),
        (InLayers(), "InLayers"),
    ],
    ids=lambda case: repr(case) if isinstance(case, rs.PathLaw) else "",
)
def test_false_statements_are_refused(law: rs.PathLaw, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        rs.Model(rs.SingleLayer(rs.TANH), law, 4)
    assert "\n" not in str(caught.value)


def test_true_ones_are_taken() -> None:
    own, ours = (rs.Model(rs.SingleLayer(rs.TANH), law, 12) for law in (White(), rs.WhiteNoise()))
    assert rs.limit(own).words == rs.limit(ours).words
    x, request = (
        torch.ones(1, 4),
        {"depth": 6, "samples": 400, "observe": [ob.log10_growth], "method": "dense"},
    )
    means = [rs.simulate(m, x, **request)["log10_growth"] for m in (own, ours)]
    # Two independent samples of one law: 6 standard deviations of the difference, one in 10⁹ by chance.
    spread = (sum(float(v.var()) for v in means) / 400) ** 0.5
    assert abs(float(means[0].mean() - means[1].mean())) < 6 * spread


def test_smooth_weights_may_cancel_over_the_depth() -> None:
    model = rs.Model(rs.SingleLayer(rs.TANH), Waves(), 4)
    assert (model.beta, rs.limit(model).kind) == (
        1.0,
        rs.limit(rs.Model(model.block, rs.SmoothNoise(), 4)).kind,
    )
