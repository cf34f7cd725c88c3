"""Blocks, laws and activations of one's own get no answer that was derived for another."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import finite_width as fw
from resnet_sde import meanfield as mf
from resnet_sde.blocks import Block, Variances
from resnet_sde.laws import PathLaw
from resnet_sde.paths import GridPath, Path
from resnet_sde.streams import Stream

WHITE = rs.WhiteNoise()


@dataclass(frozen=True)
class Normed(rs.TwoLayer):
    """V φ(W h / rms(h)): another branch, with all that TwoLayer says of its own."""

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return super().branch(h / h.square().mean(-1, keepdim=True).sqrt(), layer)


@dataclass(frozen=True)
class Doubled(rs.SingleLayer):
    """2 V φ(h)."""

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return 2 * super().branch(h, layer)


@dataclass(frozen=True)
class Gated(Block):
    """V (φ(h) σ(h)), of which nothing is said."""

    activation: rs.Activation = rs.RELU

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"outer": (width, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return layer["outer"].matvec(self.activation(h) * torch.sigmoid(h), h.shape[-1] ** -0.5)

    def adjoint(self, h: Tensor, p: Tensor, layer: rs.Layer) -> Tensor:
        raise NotImplementedError

    def critical_beta(self, law: PathLaw) -> float:
        return max(0.5, law.exponent)

    @property
    def strength(self) -> float:
        return 1.0


@dataclass(frozen=True)
class Known(Gated):
    """A block of one's own that says what theory asks for: that of SingleLayer."""

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return layer["outer"].matvec(self.activation(h), h.shape[-1] ** -0.5)

    @property
    def variances(self) -> Variances:
        return Variances(1.0, 0.0, 1.0, 0.0)


class OwnWhite(PathLaw):
    """Independent Gaussian weights, said by their covariance alone."""

    exponent = 0.5

    def covariance(self, depth: int) -> Tensor:
        return torch.eye(depth, dtype=torch.float64)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        return GridPath(source.normal_(torch.empty(depth, *shape, dtype=dtype)), 0.5)


class Paired(OwnWhite):
    """Neighbours are correlated."""

    def covariance(self, depth: int) -> Tensor:
        near = torch.ones(depth - 1, dtype=torch.float64)
        return torch.eye(depth, dtype=torch.float64) + 0.4 * (torch.diag(near, 1) + torch.diag(near, -1))

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        fresh = source.normal_(torch.empty(depth + 1, *shape, dtype=dtype))
        return GridPath(0.8**0.5 * fresh[1:] + 0.2**0.5 * fresh[:-1], 0.5)


@dataclass(frozen=True)
class PairedWhite(rs.WhiteNoise):
    """The same, made from a law that says its weights are independent."""

    def covariance(self, depth: int) -> Tensor:
        return Paired().covariance(depth)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        return Paired()._draw(depth, shape, source, dtype)


@dataclass(frozen=True)
class Alternating(rs.FractionalNoise):
    """Other weights, with the covariance of fractional noise."""

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        return GridPath(source.normal_(torch.empty(depth, *shape, dtype=dtype)), 0.5)


@dataclass(frozen=True)
class TwiceTanh(type(rs.TANH)):  # type: ignore[misc]
    """2 tanh x, with the moments of tanh."""

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * torch.tanh(x)

    def prime(self, x: Tensor) -> Tensor:
        return 2 * super().prime(x)


@dataclass(frozen=True)
class HalfReLU(type(rs.RELU)):  # type: ignore[misc]
    """A ReLU of slope 1/2."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.relu(x) / 2

    def prime(self, x: Tensor) -> Tensor:
        return super().prime(x) / 2

    def pullback(self, x: Tensor, p: Tensor) -> Tensor:
        return super().pullback(x, p) / 2


@dataclass(frozen=True)
class Silu(rs.Activation):
    """An activation without moments."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.silu(x)

    def prime(self, x: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        return s * (1 + x * (1 - s))


def model(block: Block, law: PathLaw = WHITE, **more: float) -> rs.Model:
    return rs.Model(block, law, 4, **{"beta": 0.5, **more})


STRANGE: dict[str, Callable[[], rs.Model]] = {
    "a normalized block": lambda: model(Normed(rs.RELU)),
    "a doubled block": lambda: model(Doubled(rs.RELU)),
    "a gated block": lambda: model(Gated()),
    "twice tanh": lambda: model(rs.TwoLayer(TwiceTanh())),
    "half a ReLU": lambda: model(rs.TwoLayer(HalfReLU())),
    "no moments": lambda: model(rs.TwoLayer(Silu())),
    "a law with other draws": lambda: model(rs.TwoLayer(rs.RELU), Alternating(0.5)),
}


@functools.cache
def strange(name: str) -> rs.Model:
    return STRANGE[name]()


VERBS: dict[str, Callable[[rs.Model], object]] = {
    "limit": rs.limit,
    "couple": lambda m: rs.couple(m, torch.ones(1, 4), depths=(2, 4), samples=4),
    "lengths": lambda m: mf.lengths(m, depth=4),
    "gaps": lambda m: mf.gaps(m, depth=4),
    "gradient_cosines": lambda m: mf.gradient_cosines(m, depth=4),
    "kernel": lambda m: mf.kernel(m, torch.eye(2), depth=4),
    "parameter_gradients": lambda m: mf.parameter_gradients(m, depth=4),
    "two_time": lambda m: mf.two_time(m, depth=4),
    "gradient_two_time": lambda m: mf.gradient_two_time(m, depth=4),
    "gradients_along": lambda m: mf.gradients_along(m, torch.eye(5) + 1),
    "displacements": lambda m: mf.displacements(m.block, m.law, 4, torch.ones(1)),
    "flow": lambda m: mf.flow(m, steps=4),
    "flow_gaps": lambda m: mf.flow_gaps(m, 1.0, 0.5, torch.linspace(0, 1, 3)),
    "asymptotics": lambda m: mf.asymptotics(rs.Model(m.block, m.law, 4, beta=0.0)),
    "finite_size": lambda m: fw.finite_size(m, depth=3),
    "finite_size_pair": lambda m: fw.finite_size_pair(m, torch.eye(2), depth=3),
    "output_response": lambda m: fw.output_response(m, depth=3),
    "off_diagonal_response": lambda m: fw.off_diagonal_response(m, depth=3),
    "diagonal_optimum": lambda m: fw.diagonal_optimum(m, 0.1, depth=3),
    "homogeneous_moments": lambda m: fw.homogeneous_moments(m, 3),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", STRANGE)
def test_nothing_strange_gets_an_answer(name: str, verb: str) -> None:
    asked = strange(name)
    with pytest.raises((ValueError, NotImplementedError), match=r"give|Give|derived|use simulate"):
        VERBS[verb](asked)


@pytest.mark.parametrize("phi", [TwiceTanh(), HalfReLU(), Silu()], ids=str)
def test_no_phase_of_a_strange_activation(phi: rs.Activation) -> None:
    for call in (
        lambda: mf.phase(phi, 1.5, 0.1),
        lambda: mf.critical_line(phi, 0.1),
        lambda: mf.critical_bias(phi, 1.5),
        lambda: mf.gradient_log_variance(phi, 1.5, 0.1),
        lambda: mf.recommend_variances(8, rs.TwoLayer(phi)),
        lambda: fw.saturation_kernel(phi),
    ):
        with pytest.raises((ValueError, NotImplementedError), match=r"Gaussian moments of .* are not known"):
            call()


def test_a_white_law_of_ones_own_has_the_kernels_of_white_weights() -> None:
    own, white = (rs.Model(rs.TwoLayer(rs.TANH), law, 8) for law in (OwnWhite(), WHITE))
    assert torch.equal(mf.lengths(own, depth=9).log_q, mf.lengths(white, depth=9).log_q)
    assert torch.equal(mf.kernel(own, torch.eye(2), depth=9), mf.kernel(white, torch.eye(2), depth=9))
    half = rs.Model(rs.TwoLayer(rs.TANH), rs.FractionalNoise(0.5), 8)
    assert torch.equal(mf.lengths(half, depth=9).log_q, mf.lengths(white, depth=9).log_q)
    with pytest.raises(rs.NoLimit, match="nothing is known of their sums"):
        rs.limit(own)


@pytest.mark.parametrize("law", [Paired(), PairedWhite()], ids=lambda law: type(law).__name__)
def test_correlated_layers_are_not_taken_for_independent_ones(law: PathLaw) -> None:
    correlated = rs.Model(rs.SingleLayer(rs.LINEAR), law, 8, beta=0.5)
    with pytest.raises(ValueError, match="not independent"):
        mf.lengths(correlated, depth=4)
    with pytest.raises(rs.NoLimit):
        rs.limit(correlated)
    # Two layers: 1 + 2 · (1/2) + 2 · 0.4/2 · 1 + (1/2)²: h_2 = (1 + aV_2)(1 + aV_1) h_0, entry by entry.
    found = mf.two_time(correlated, depth=2)[-1, -1]
    assert float(found) == pytest.approx((1 + 0.5) ** 2 + 2 * 0.5 * 0.4, rel=1e-12)


def test_a_block_that_says_what_theory_asks_for_is_taken_at_its_word() -> None:
    own, plain = model(Known()), model(rs.SingleLayer(rs.RELU))
    assert torch.equal(mf.lengths(own, depth=9).log_q, mf.lengths(plain, depth=9).log_q)
    assert float(mf.lengths(own, depth=9).q[-1]) == pytest.approx((1 + 0.5 / 9) ** 9, rel=1e-12)
    with pytest.raises(rs.NoLimit):
        rs.limit(own)


def test_other_skips_have_no_limit_and_gains_count() -> None:
    with pytest.raises(rs.NoLimit):
        rs.limit(model(rs.SingleLayer(rs.RELU), skip=0.9))
    gained = model(rs.SingleLayer(rs.LINEAR), gain=2.0)
    assert float(mf.flow(gained, steps=4).kernel[-1, -1]) == pytest.approx(math.exp(4.0), rel=1e-8)
