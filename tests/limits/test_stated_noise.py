"""A law of one's own that states what its weights are along depth: what ours get, and what is refused."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from every import EVERY_LAW
from test_limit_choice import CARD, REFUSED
from torch import Tensor

import resnet_sde as rs
from resnet_sde import finite_width as fw
from resnet_sde import meanfield as mf
from resnet_sde import observables as ob
from resnet_sde.limits import ItoSDE, ItoSDEInLaw
from resnet_sde.paths import GridPath, Path
from resnet_sde.streams import Stream

WHITE, ROUGH, SMOOTH = rs.WhiteNoise(), rs.FractionalNoise(0.8), rs.SmoothNoise(0.3)
LAWS = [*EVERY_LAW, ROUGH, rs.FractionalNoise(0.3), SMOOTH]
TANH = rs.SingleLayer(rs.TANH)


class Own(rs.PathLaw):
    """What a law of the package draws, and what it says: all of it, or a part, or something else."""

    def __init__(self, law: rs.PathLaw, **stated: Any) -> None:
        self.law, self.exponent, self.stated = law, stated.pop("exponent", law.exponent), stated

    def __repr__(self) -> str:  # so that its random numbers have the same name
        return repr(self.law)

    def __str__(self) -> str:
        return str(self.law)

    def covariance(self, depth: int) -> Tensor:
        return self.law.covariance(depth)

    def _draw(self, *args: Any) -> Path:
        return self.law._draw(*args)


class Stating(Own):
    """It says all of it, unless told otherwise."""

    def __getattribute__(self, name: str) -> Any:
        facts = ("noise", "gaussian", "independent", "symmetric", "correlation", "filler", "memory")
        if name not in facts and not (name == "kind" and not self.stated):
            return super().__getattribute__(name)
        return self.stated[name] if name in self.stated else getattr(self.law, name)


stating = cache(Stating)


def same(model: rs.Model) -> rs.Model:
    """The same model on a law of one's own."""
    return rs.Model(model.block, stating(model.law), model.width, model.beta, model.gain, model.skip)


def outcome(verb: Callable[[rs.Model], Any], model: rs.Model) -> Any:
    """What a verb answers, or the sentence with which it refuses."""
    try:
        found = verb(model)
    except ValueError as refusal:
        return type(refusal), str(refusal)
    return found if isinstance(found, Tensor) else torch.stack(list(found))


VERBS: dict[str, Callable[[rs.Model], Any]] = {
    "lengths": lambda m: vars(mf.lengths(m, depth=6)).values(),
    "two_time": lambda m: mf.two_time(m, depth=6),
    "gradients": lambda m: mf.gradient_two_time(m, depth=6),
    "displacement": lambda m: mf.displacement(m, depth=6).forward,
    "flow": lambda m: mf.flow(m, steps=6).kernel,
    "gaps": lambda m: mf.flow_gaps(m, 1.0, 0.5, torch.linspace(0, 1, 3)),
    "finite size": lambda m: fw.finite_size(m, depth=3).kernel,
}


@pytest.mark.parametrize(("law", "block", "kind", "rate"), CARD, ids=str)
def test_it_has_our_limits_and_kernels(law: rs.PathLaw, block: rs.Block, kind: type, rate: float) -> None:
    model = rs.Model(block, law, 4)
    own = same(model)
    assert own.critical_beta == model.critical_beta
    ours, theirs = rs.limit(model), rs.limit(own)
    assert type(theirs) is type(ours) is kind
    assert (theirs.strong_order, theirs.coupled) == (ours.strong_order, ours.coupled)
    assert (theirs.words, theirs.formula(), theirs.name) == (ours.words, ours.formula(), ours.name)
    assert theirs.weak_order == ours.weak_order
    for name, verb in VERBS.items():
        found, expected = outcome(verb, own), outcome(verb, model)
        if isinstance(expected, Tensor):
            assert torch.equal(found, expected), name
        else:
            assert found == expected, name


@pytest.mark.parametrize("model", [m for m, _, _ in REFUSED if m.law.noise is not None], ids=str)
def test_it_has_our_refusals(model: rs.Model) -> None:
    own = same(model)
    with pytest.raises(rs.NoLimit) as ours:
        rs.limit(model)
    with pytest.raises(rs.NoLimit) as theirs:
        rs.limit(own)
    assert str(theirs.value) == str(ours.value)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_it_is_simulated_and_compared_as_ours(law: rs.PathLaw) -> None:
    """On the same random numbers, because it bears the same name."""
    model = rs.Model(TANH, law, 4, beta=law.exponent)
    pair, x = (model, same(model)), torch.ones(1, 4)
    request: dict[str, Any] = {"samples": 6, "observe": [ob.displacement], "gradients": True}
    found = [rs.study(lambda m: m, x, over={"m": [m], "depth": [3, 8]}, **request) for m in pair]
    assert found[0].method.values.tolist() == found[1].method.values.tolist()
    assert torch.equal(*(torch.tensor(ds.displacement.values) for ds in found))
    if (law.gaussian and law.exponent >= 0.5) or law.noise in ("smooth", "constant"):
        errors = [rs.couple(m, x, depths=(2, 4), samples=6).strong_errors for m in pair]
        assert errors[0] == errors[1] is not None


def test_its_layers_are_revealed_where_they_are_looked_at() -> None:
    model, x = rs.Model(TANH, WHITE, 32), torch.ones(1, 32)
    request: dict[str, Any] = {"depths": (2, 4), "reference": 8, "samples": 6}
    found = [
        rs.couple(m, x, **request, method=how) for m in (model, same(model)) for how in ("auto", "dense")
    ]
    assert found[0].weak_errors == found[2].weak_errors != found[1].weak_errors == found[3].weak_errors


def test_closed_forms_and_moments_are_those_of_ours() -> None:
    for law, block, width in (
        (WHITE, rs.SingleLayer(rs.LINEAR), 1),
        (ROUGH, TANH, 1),
        (rs.ConstantNoise(), rs.SingleLayer(rs.LINEAR), 3),
    ):
        model, x = rs.Model(block, law, width), torch.ones(1, width, dtype=torch.float64)
        ours, theirs = (
            rs.couple(m, x, depths=(4, 8), samples=5, reference="exact") for m in (model, same(model))
        )
        assert theirs.strong_errors == ours.strong_errors
    for law in (WHITE, rs.WhiteNoise("rademacher"), rs.FractionalNoise(0.5)):
        moments = fw.homogeneous_moments(rs.Model(rs.TwoLayer(rs.RELU), stating(law), 8), 9)
        assert moments == fw.homogeneous_moments(rs.Model(rs.TwoLayer(rs.RELU), WHITE, 8), 9)


def test_moments_of_two_layers_need_symmetric_entries() -> None:
    skewed = Skewed(WHITE, gaussian=False, symmetric=False, filler=None)
    single, two = (rs.Model(block(rs.LINEAR), skewed, 8) for block in (rs.SingleLayer, rs.TwoLayer))
    assert fw.homogeneous_moments(single, 9) == fw.homogeneous_moments(rs.Model(single.block, WHITE, 8), 9)
    with pytest.raises(ValueError, match="exact moments need white weights"):
        fw.homogeneous_moments(two, 9)
    assert type(rs.limit(single)) is ItoSDEInLaw
    assert type(rs.limit(same(rs.Model(single.block, WHITE, 8)))) is ItoSDE


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_one_that_says_nothing_has_no_limit(law: rs.PathLaw) -> None:
    model = rs.Model(TANH, Own(law), 4, beta=law.exponent)
    with pytest.raises(rs.NoLimit, match=r"nothing is known of their sums.*let this one state its noise"):
        rs.limit(model)
    with pytest.raises(mf.NoFlow, match="is not known"):
        mf.flow(model, steps=4)
    if not law.gaussian:
        with pytest.raises(ValueError, match="white Gaussian weights"):
            rs.simulate(model, torch.ones(1, 4), depth=2, samples=2, observe=[ob.growth], method="deferred")


class Shown(Path):
    """A path with something of its own."""

    def __init__(self, path: Path, other: Path | None = None) -> None:
        self.path, self.other = path, other

    def weights(self, depth: int) -> Tensor:
        return (self.path if depth == 64 or self.other is None else self.other).weights(depth)


class Fresh(Stating):
    """Networks of other depths have weights of their own: each of the right law, and not of one path."""

    def _draw(self, *args: Any) -> Path:
        return Shown(self.law._draw(*args), self.law._draw(*args))


class Timeless(Stating):
    """Smooth weights on paths that are no functions of time."""

    def _draw(self, *args: Any) -> Path:
        return Shown(self.law._draw(*args))


class Volatile(Stating):
    """Uncorrelated layers, all of which are large in the same entries."""

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        size = source.uniform_(torch.empty(shape, dtype=dtype)).div(4).add(1)
        signs = source.rademacher_(torch.empty(depth, *shape, dtype=dtype))
        return GridPath(signs * size / (1 + 1 / 16) ** 0.5, 0.5, stable=False)


class Skewed(Stating):
    """Independent entries, 2 in one case of five and −1/2 else."""

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        u = source.uniform_(torch.empty(depth, *shape, dtype=dtype)).div(2 * 3**0.5).add(0.5)
        return GridPath(torch.where(u < 0.2, 2.0, -0.5).to(dtype), 0.5, stable=False)


def broken(lag: Tensor) -> Tensor:
    """The correlation of a continuous path that has no derivative."""
    return torch.exp(-lag / 0.3)


class Kinked(Stating):
    """Weights of that correlation."""

    def covariance(self, depth: int) -> Tensor:
        times = torch.arange(depth, dtype=torch.float64) / depth
        return broken((times[:, None] - times).abs())

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        root = torch.linalg.cholesky(self.covariance(depth)).to(dtype)
        return GridPath(
            torch.tensordot(root, source.normal_(torch.empty(depth, *shape, dtype=dtype)), 1), 1.0
        )


class Scaled(Stating):
    """Sums over layers are brought to unit variance by another power."""

    def _draw(self, *args: Any) -> Path:
        drawn = self.law._draw(*args)
        assert isinstance(drawn, GridPath)
        return GridPath(drawn.fine, 0.7)


class Uncorrelated(Own):
    """Smooth, and no word on its correlation."""

    noise = "smooth"


def larger(source: Stream) -> Callable[[Tensor], Tensor]:
    """Layers of another size than paths."""
    return lambda out: source.normal_(out).mul_(1.05)


FALSE: list[tuple[rs.PathLaw, str]] = [
    (
        Stating(WHITE, noise="brown"),
        "noise of law Stating must be white, short-memory, fractional, smooth, constant or None",
    ),
    (Stating(ROUGH, noise="white"), "its noise is white"),
    (Stating(WHITE, noise="fractional"), "fractional noise; it must be Gaussian, and H in"),
    (Stating(ROUGH, gaussian=False), "fractional noise; it must be Gaussian, and H in"),
    (Stating(ROUGH, exponent=0.79), "its noise is fractional"),
    (Stating(SMOOTH, noise="fractional"), "fractional noise; it must be Gaussian, and H in"),
    (Stating(SMOOTH, noise="constant"), "its noise is constant"),
    (Stating(rs.ConstantNoise(), noise="smooth", correlation=broken), "by their correlation they are not"),
    (Stating(SMOOTH, correlation=rs.SmoothNoise(0.31).correlation), "its noise is smooth"),
    (Stating(SMOOTH, exponent=0.99), "its noise is smooth"),
    (Stating(WHITE, independent=False), "its noise is white"),
    (Stating(SMOOTH, independent=True), "independent along depth, and its covariance is not 1"),
    (Kinked(SMOOTH, correlation=broken), "by their correlation they are not"),
    (Fresh(ROUGH), "networks of other depths see another noise"),
    (Fresh(WHITE), "networks of other depths see another noise"),
    (Scaled(ROUGH), "networks of other depths see another noise"),
    (Stating(WHITE, filler=larger), "filled layer by layer"),
    (Uncorrelated(SMOOTH), "has no method correlation; give it one"),
    (Timeless(SMOOTH), "of its paths: an ODE needs weights that are functions of time"),
    (Skewed(WHITE, gaussian=False, symmetric=True, filler=None), "as often above 0 as below"),
    (Volatile(WHITE, gaussian=False, filler=None), "the squares of their weights are not"),
]


@pytest.mark.parametrize(("law", "message"), FALSE, ids=[message for _, message in FALSE])
def test_what_is_said_falsely_is_refused(law: rs.PathLaw, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rs.Model(TANH, law, 4, beta=1.0)


class Wave(rs.PathLaw):
    """a cos ωt + b sin ωt: no law of the package."""

    exponent, gaussian = 1.0, True
    noise = "smooth"

    def __repr__(self) -> str:
        return "Wave()"

    def correlation(self, lag: Tensor) -> Tensor:
        return torch.cos(3 * lag)

    def covariance(self, depth: int) -> Tensor:
        times = torch.arange(depth, dtype=torch.float64) / depth
        return self.correlation(times[:, None] - times)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        return Waves(source.normal_(torch.empty(2, *shape, dtype=dtype)))


class Waves(Path):
    """Of these amplitudes."""

    def __init__(self, amplitudes: Tensor) -> None:
        self.amplitudes = amplitudes

    def at(self, times: Tensor) -> Tensor:
        both = torch.stack([torch.cos(3 * times), torch.sin(3 * times)], -1).to(self.amplitudes)
        return torch.tensordot(both, self.amplitudes, 1)

    def weights(self, depth: int) -> Tensor:
        return self.at(torch.arange(depth, dtype=torch.float64) / depth)


def test_a_law_that_is_none_of_ours_has_the_limit_of_its_noise() -> None:
    model, two = rs.Model(TANH, Wave(), 3), rs.Model(rs.TwoLayer(rs.TANH), Wave(), 3)
    assert "driven by its smooth weights" in rs.limit(model).words
    x = torch.ones(1, 3, dtype=torch.float64)
    found = rs.couple(model, x, depths=(8, 16, 32), samples=40)
    assert found.strong_order is not None
    assert found.strong_order.value == pytest.approx(1.0, abs=0.1)
    short, long = (float(mf.two_time(two, depth=depth)[-1, -1]) for depth in (100, 200))
    ends = [
        float(mf.flow(rs.Model(two.block, law, 3), steps=128).kernel[-1, -1])
        for law in (two.law, SMOOTH, rs.ConstantNoise())
    ]
    assert ends[0] == pytest.approx(2 * long - short, abs=1e-4)
    assert min(abs(end - ends[0]) for end in ends[1:]) > 1e-2, "another correlation would not pass"


class Named(rs.FractionalNoise):
    """The same law under another name."""

    def __str__(self) -> str:
        return "mine"


class Redrawn(rs.WhiteNoise):
    """Constant weights, made from a law that is white."""

    def covariance(self, depth: int) -> Tensor:
        return torch.ones(depth, depth, dtype=torch.float64)

    def _draw(self, *args: Any) -> Path:
        return rs.ConstantNoise()._draw(*args)


class Refilled(rs.WhiteNoise):
    """Filled otherwise, and so perhaps another law."""

    def filler(self, source: Stream) -> Callable[[Tensor], Tensor]:
        return source.uniform_


def test_what_a_subclass_inherits() -> None:
    named = Named(0.8)
    assert (named.noise, named.gaussian, named.independent) == ("fractional", True, False)
    assert type(rs.limit(rs.Model(TANH, named, 4))) is type(rs.limit(rs.Model(TANH, ROUGH, 4)))
    redrawn = Redrawn()
    assert (redrawn.noise, redrawn.gaussian, redrawn.filler) == (None, False, None)
    assert (redrawn.independent, redrawn.symmetric) == (False, False)
    assert (Refilled().noise, Refilled().gaussian) == (None, False)
    assert Refilled().filler is not None
    assert rs.WhiteNoise.noise == "white"
