"""Laws of one's own by the public way: `sample` or `value`, and what their covariance is."""

import math
import re
from typing import Any

import pytest
import torch
from own_laws import Ramp, Remembering, Signs, Waves
from places import ROOT
from torch import Tensor

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde.limits import ItoSDE, ItoSDEInLaw
from resnet_sde.observables import growth
from resnet_sde.streams import Stream, stream

TANH = rs.SingleLayer(rs.TANH)


@pytest.mark.parametrize(
    ("law", "exponent", "independent", "kind"),
    [
        (Remembering(), 0.5, False, None),
        (Waves(), 1.0, False, "smooth"),
        (Signs(), 0.5, True, None),
        (Ramp(), 1.0, False, "smooth"),
    ],
    ids=str,
)
def test_what_follows_from_what_is_stated(
    law: rs.PathLaw, exponent: float, independent: bool, kind: str | None
) -> None:
    model = rs.Model(TANH, law, 3)
    assert (law.exponent, law.independent, law.kind, model.critical_beta) == (
        exponent,
        independent,
        kind,
        exponent,
    )
    for dtype in (torch.float32, torch.float64):
        weights = law.path(8, (2, 3), generator=rs.generator(0), dtype=dtype).weights(8)
        assert weights.dtype == dtype
        assert weights.shape == (8, 2, 3)


@pytest.mark.parametrize("law", [Remembering(), Waves(), Signs(), Ramp()], ids=str)
def test_networks_are_those_of_a_plain_loop(law: rs.PathLaw) -> None:
    """Kernels too, at a width where they hold to the error of the mean."""
    depth, width, samples = 6, 32, 400
    model = rs.Model(TANH, law, width, beta=0.5)
    path = model.draw(depth, samples=samples, seed=1, dtype=torch.float64)
    weights = path.matrices["outer"].weights(depth)
    h = stream(1, "h").normal_(torch.empty(samples, 1, width, dtype=torch.float64))
    states = rs.forward(model.block, h, path.layers(depth), model.alpha(depth))
    for k in range(depth):
        h = h + depth**-0.5 * (h.tanh() @ weights[k]) / math.sqrt(width)
    torch.testing.assert_close(states[-1], h, rtol=1e-12, atol=1e-12)
    exact = float(mf.two_time(model, depth=depth)[-1, -1])
    square = h.square().mean((1, 2))
    error = float(square.std()) / math.sqrt(samples)
    assert abs(float(square.mean()) - exact) < 4.42 * error + 2 * exact / width, "a false alarm of 1e-5"
    white = float(mf.two_time(rs.Model(TANH, rs.WhiteNoise(), width), depth=depth)[-1, -1])
    assert law.independent or abs(exact - white) > 4.42 * error + 2 * exact / width, (
        "so that no white law passes"
    )


def test_it_is_studied_and_trained() -> None:
    for law in (Remembering(), Waves(), Signs()):
        found = rs.study(
            lambda beta, law=law: rs.Model(TANH, law, 4, beta=beta),
            torch.ones(1, 4),
            over={"beta": [0.5, 1.0], "depth": [3]},
            samples=5,
            observe=[growth],
        )
        assert found.growth.shape == (2, 1, 5, 1)
        net = rs.networks.ResNet(rs.Model(TANH, law, 4), 5, 3, 2, seed=1)
        assert net(torch.ones(2, 3)).shape == (2, 2)


def test_limits_and_couplings_follow_its_kind() -> None:
    x = torch.ones(1, 3, dtype=torch.float64)
    found = rs.couple(rs.Model(TANH, Waves(), 3), x, depths=(8, 16, 32), samples=20)
    assert found.strong_order is not None
    assert found.strong_order.value == pytest.approx(1.0, abs=0.1)
    ramp = rs.couple(rs.Model(TANH, Ramp(), 3), x, depths=(8, 16, 32), samples=20)
    assert ramp.strong_order is not None
    assert ramp.strong_order.value == pytest.approx(1.0, abs=0.1)
    for law in (Remembering(), Signs()):
        model = rs.Model(TANH, law, 3)
        assert type(rs.limit(model)) is ItoSDEInLaw
        with pytest.raises(rs.OffGrid, match="so this path has depth 64 only"):
            rs.couple(model, x, depths=(4, 8), samples=4)
    assert type(rs.limit(rs.Model(TANH, rs.AutoregressiveNoise(0.5), 3))) is ItoSDE
    with pytest.raises(rs.OffGrid, match="do not say how networks of other depths see them"):
        Remembering().path(8, (2,), generator=rs.generator(0)).weights(4)
    with pytest.raises(mf.flow.__globals__["NoFlow"], match="is not known"):
        mf.flow(rs.Model(TANH, Ramp(), 3), steps=4)


class Wide(Waves):
    """Its weights have another size than it says."""

    def value(self, shape: tuple[int, ...], stream: Stream) -> Any:
        found = super().value(shape, stream)
        return lambda t: 1.1 * found(t)

    def correlation(self, lag: Tensor) -> Tensor:
        return torch.cos(3 * lag)

    noise = "smooth"


class Mute(rs.PathLaw):
    noise: Any = "white"


class Silent(rs.PathLaw):
    exponent = 0.5

    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return stream.normal(depth, *shape)


class Timeless(rs.PathLaw):
    noise: Any = "smooth"

    def correlation(self, lag: Tensor) -> Tensor:
        return torch.cos(3 * lag)


class Aggregated(Remembering):
    """Sums over its layers are not what it says of them."""

    noise, kind = "short-memory", "rough"

    def autocovariance(self, depth: int) -> Tensor:
        return super().autocovariance(depth)

    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return super().sample(depth, shape, stream)


class Unending(Remembering):
    """Correlations that do not die out."""

    noise, gaussian = "short-memory", True

    def autocovariance(self, depth: int) -> Tensor:
        return 0.5 + 0.5 * super().autocovariance(depth)

    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        shared = stream.normal(*shape)
        return 0.5**0.5 * (super().sample(depth, shape, stream) + shared)


class Misspelt(Signs):
    noise = "White"


class Endless(rs.PathLaw):
    """How its sums grow is not said."""

    def covariance(self, depth: int) -> Tensor:
        return torch.eye(depth, dtype=torch.float64)

    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return stream.normal(depth, *shape)


class Flat(Signs):
    noise = "white"

    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return stream.normal(depth, math.prod(shape))


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (Remembering(size=1.02), "whose covariance along depth is not the one that it states"),
        (Remembering(stated=0.6), "whose covariance along depth is not the one that it states"),
        (Wide(), "whose covariance along depth is not the one that it states"),
        (Mute(), "draws nothing; give it a method sample"),
        (Timeless(), "draws nothing; give it a method value"),
        (Silent(), "does not say what the covariance of its weights is"),
        (Aggregated(), "of networks of 16 layers on paths of 64"),
        (Unending(), "grows like|its memory is short"),
        (Flat(), "it must return shape"),
        (Misspelt(), "must be white, short-memory, fractional, smooth, constant or None, got 'White'"),
        (Endless(), "does not say how its sums grow; give it an exponent"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, rs.PathLaw) else None,
)
def test_what_is_said_falsely_is_refused(law: rs.PathLaw, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rs.Model(TANH, law, 4)


def test_a_subclass_that_draws_otherwise_inherits_nothing() -> None:
    class Other(Remembering):
        def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
            return stream.normal(depth, *shape)

    other = Other()
    assert (other.noise, other.kind, other.gaussian, other.states_covariance) == (None, None, False, False)


def test_streams_draw_numbers_of_unit_variance() -> None:
    source = stream(0, "numbers")
    source.dtype = torch.float64
    for values in (
        source.normal(200, 500),
        source.uniform(200, 500),
        source.exponential_(source.empty(200, 500)) - 1,
    ):
        assert values.dtype == torch.float64
        assert abs(float(values.mean())) < 5e-3 * 4.42  # a false alarm of 1e-5: the spread of a mean is 1/316
        assert abs(float(values.square().mean()) - 1) < 4.42 * float(values.square().std()) / 316


def test_the_page_on_laws_says_what_works() -> None:
    text = (ROOT / "docs" / "own-parts.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "PathLaw" in block)
    made: dict[str, Any] = {"__name__": __name__}
    exec(code, made)
    remembering, waves = made["Remembering"](), made["Waves"]()
    assert type(rs.limit(rs.Model(TANH, remembering, 3))) is ItoSDEInLaw
    found = rs.couple(rs.Model(TANH, waves, 3), torch.ones(1, 3).double(), depths=(8, 16), samples=10)
    assert found.strong_errors is not None
    assert all(len(part.splitlines()) < 20 for part in code.split("\n\n\n"))


class LateStart(rs.PathLaw):
    """Autoregressive, from a first weight whose variance is 5 % too small."""

    noise, gaussian = "short-memory", True

    def autocovariance(self, depth: int) -> Tensor:
        return 0.5 ** torch.arange(depth, dtype=torch.float64)

    def sample(self, depth: int, shape: tuple[int, ...], source: Stream) -> Tensor:
        v = source.normal(depth, *shape)
        v[0] *= 0.95**0.5
        for k in range(1, depth):
            v[k] = 0.5 * v[k - 1] + 0.75**0.5 * v[k]
        return v


def test_a_first_layer_of_another_variance_is_seen_where_it_counts() -> None:
    with pytest.raises(ValueError, match=r"whose covariance .* networks of 1 layers .*0\.95.*, and not 1"):
        rs.simulate(rs.Model(TANH, LateStart(), 8), torch.ones(1, 8), depth=1, samples=10, observe=[growth])


class RarelyInfinite(rs.PathLaw):
    """As Laplace's law by logarithms is in float32, of as many numbers."""

    noise = "white"

    def sample(self, depth: int, shape: tuple[int, ...], source: Stream) -> Tensor:
        v = source.normal(depth, *shape)
        if v.numel() > 10**7:
            v.view(-1)[7] = -math.inf
        return v


def test_weights_that_are_not_finite_are_refused() -> None:
    model = rs.Model(TANH, RarelyInfinite(), 300)
    with pytest.raises(ValueError, match=r"RarelyInfinite drew a weight that is not finite; let it take"):
        rs.simulate(model, torch.ones(1, 300), depth=16, samples=12, observe=[growth])
