"""Limits in depth of normalized and gated branches, and of one's own: on the path, and in law.

Thresholds are |z| < 4.42 and p > 1e-4, a false alarm of 1e-5 and 1e-4 each. Seeds are fixed.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from scipy import stats
from torch import Tensor

import resnet_sde as rs
from resnet_sde.contracts import coefficients
from resnet_sde.estimate import Estimate, Outcome, order
from resnet_sde.limits import ItoSDE, ItoSDEInLaw, Limit, RandomODE, YoungODE
from resnet_sde.streams import stream

WHITE, SMOOTH, ROUGH = rs.WhiteNoise(), rs.SmoothNoise(0.5), rs.FractionalNoise(0.75)
MEMORY = rs.AutoregressiveNoise((0.5,))
SINGLE, TWO = rs.SingleLayer(rs.GELU, 1.5, 0.2), rs.TwoLayer(rs.TANH, 1.5, 0.2, 0.8, 0.1)
GATED = rs.GatedLinearUnit(rs.SIGMOID, 1.5, 1.7, 1.2, 0.5)
SWISH = rs.GatedLinearUnit(rs.activation("silu"), 1.5, 0.7, 1.2, 2.0)
Z = 4.42

CARD = [
    (WHITE, rs.PreNorm(SINGLE), ItoSDE),
    (MEMORY, rs.PreNorm(SINGLE, "layer"), ItoSDE),
    (rs.WhiteNoise("uniform"), rs.PreNorm(SINGLE), ItoSDEInLaw),
    (ROUGH, rs.PreNorm(SINGLE), YoungODE),
    (SMOOTH, rs.PreNorm(SINGLE), RandomODE),
    (WHITE, rs.PreNorm(TWO), ItoSDEInLaw),
    (SMOOTH, rs.PreNorm(TWO, "layer"), RandomODE),
    (rs.WhiteNoise("uniform"), rs.PreNorm(rs.TwoLayer(rs.RELU)), ItoSDEInLaw),
    (WHITE, rs.PreNorm(rs.Reduced(rs.TANH)), ItoSDEInLaw),
    (WHITE, GATED, ItoSDEInLaw),
    (SMOOTH, GATED, RandomODE),
    (WHITE, rs.PreNorm(SWISH), ItoSDEInLaw),
    (SMOOTH, rs.PreNorm(SWISH), RandomODE),
]


@pytest.mark.parametrize(("law", "block", "kind"), CARD, ids=str)
def test_the_card(law: rs.PathLaw, block: rs.Block, kind: type) -> None:
    found = rs.limit(rs.Model(block, law, 5))
    assert type(found) is kind
    assert found.weak_order == (None if law is ROUGH or block.activation is rs.RELU else 1.0)
    assert found.words
    assert all("\n" not in line for line in found.lines())
    assert len(list(found.lines())) > 2


REFUSED = [
    (SWISH, WHITE, 5, "grow faster than the state"),
    (SWISH, SMOOTH, 5, "grow faster than the state"),
    (rs.SingleLayer(rs.Activation.of(torch.square)), WHITE, 5, "grow faster than the state"),
    (rs.PreNorm(SINGLE), WHITE, 1, "normalization at width 1.*Give width 2"),
    (rs.PreNorm(SINGLE, "layer"), SMOOTH, 2, "normalization at width 2.*Give width 3"),
    (rs.PreNorm(SINGLE), rs.FractionalNoise(0.3), 5, "one weight matrix"),
    (rs.PreNorm(TWO), ROUGH, 5, "derived for TwoLayer"),
    (rs.PreNorm(TWO), MEMORY, 5, "derived for TwoLayer"),
    (GATED, rs.FractionalNoise(0.3), 5, "derived for TwoLayer"),
    (rs.PreNorm(TWO), rs.WhiteNoise("uniform"), 5, "are not Gaussian"),
    (GATED, rs.WhiteNoise("uniform"), 5, "are not Gaussian"),
]


@pytest.mark.parametrize(("block", "law", "width", "words"), REFUSED, ids=str)
def test_refusals(block: rs.Block, law: rs.PathLaw, width: int, words: str) -> None:
    with pytest.raises(rs.NoLimit, match=words) as caught:
        rs.limit(rs.Model(block, law, width))
    assert "\n" not in str(caught.value)


class WithoutDrift(ItoSDE):
    """The equation that forgets the drift."""

    def drift(self, h: Tensor) -> Tensor:
        return torch.zeros_like(h)


def rates(
    model: rs.Model, wrong: Limit, depths: tuple[int, ...], steps: int, **options: str
) -> list[Estimate]:
    """Orders of the error of networks against the limit on their path, and against a wrong one."""
    equations = (rs.limit(model), wrong)
    h = torch.randn(1, 1, model.width, generator=rs.generator(0, "start"), dtype=torch.float64)
    h = h.expand(200, -1, -1)
    path = model.draw(steps, samples=len(h), seed=5, dtype=torch.float64)
    ends = [rs.forward(model.block, h, path.layers(n), model.alpha(n))[-1] for n in depths]
    found = []
    for equation in equations:
        target = equation.solve(h, path, steps=steps, **options)
        squares = torch.stack([(end - target).square().sum((1, 2)) for end in ends], 1)
        found.append(order(depths, squares, power=2 if model.law.exponent == 0.5 else 1))
    return found


def without_norm(model: rs.Model) -> Limit:
    return replace(rs.limit(model), model=replace(model, block=model.block.block))


DEPTHS = (8, 16, 32, 64)


@pytest.mark.parametrize(
    ("law", "norm", "expected", "steps"),
    [
        (WHITE, "rms", 0.5, 1024),
        (WHITE, "layer", 0.5, 1024),
        (ROUGH, "layer", 0.5, 512),
        (SMOOTH, "rms", 1.0, 256),
    ],
    ids=str,
)
def test_networks_of_one_matrix_tend_to_it_on_their_path(
    law: rs.PathLaw, norm: str, expected: float, steps: int
) -> None:
    """At least with the rate of theory: at H = 3/4 it shows at width 1 only. The control has no norm."""
    model = rs.Model(rs.PreNorm(SINGLE, norm), law, 6)
    right, wrong = rates(model, without_norm(model), DEPTHS, steps)
    assert right.high > expected - 0.1
    assert law is ROUGH or right.low < expected + 0.1
    assert wrong.high < 0.3


def test_weights_with_memory_drift() -> None:
    """Λ = 1: on the path, with the drift ∂c/∂H / 2 of what a branch does to its own size, and not without."""
    model = rs.Model(rs.PreNorm(rs.SingleLayer(rs.SIGMOID)), MEMORY, 3, gain=2.0)
    right, wrong = rates(model, WithoutDrift(model), (64, 128, 256, 512), 2048)
    assert 0.4 < right.value < 0.6
    assert wrong.high < right.low


def test_drifts_are_those_of_the_definition_and_solutions_are_differentiable() -> None:
    """Λ ρ² σ_w² (∂g/∂h)ᵀ g / d, which later weights make of what earlier ones did to the state; Λ = 1."""
    model = rs.Model(rs.PreNorm(SINGLE, "layer"), MEMORY, 4, gain=1.2)
    equation, h = rs.limit(model), torch.randn(2, 2, 4, generator=rs.generator(0, "start")).double()

    def g(x: Tensor) -> Tensor:
        return rs.GELU(torch.nn.functional.layer_norm(x, (4,), eps=1e-300))

    for x, found in zip(h.flatten(0, 1), equation.drift(h).flatten(0, 1), strict=True):
        expected = 1.44 * 1.5 / 4 * torch.autograd.functional.jacobian(g, x).mT @ g(x)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert float(found.abs().max()) > 0.01
    path = model.draw(4, samples=2, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: equation.solve(x, path, steps=4), h.requires_grad_())


def test_coupled_networks_have_the_orders_of_theory() -> None:
    x = 3 * torch.randn(1, 5, generator=rs.generator(0, "start"), dtype=torch.float64)
    for block, law, samples in ((rs.PreNorm(SINGLE), WHITE, 400), (rs.PreNorm(SWISH), SMOOTH, 30)):
        found = rs.couple(rs.Model(block, law, 5), x, depths=DEPTHS, samples=samples, gradients=True)
        assert found.expected == (0.5 if law is WHITE else 1.0)
        assert found.status is Outcome.HOLDS
        assert found.gradient_order is not None
        assert found.gradient_order.within(found.expected, 0.15) is Outcome.HOLDS
    found = rs.couple(rs.Model(rs.PreNorm(TWO), WHITE, 5), x, depths=DEPTHS, samples=20)
    assert found.strong_errors is None, "in law only"


def ends(model: rs.Model, h: Tensor, depth: int) -> Tensor:
    source, shapes = stream(7, "ends"), model.block.shapes(model.width)
    layers = (rs.Layer.revealed(shapes, source) for _ in range(depth))
    return rs.forward(model.block, h, layers, model.alpha(depth))[-1]


IN_LAW = [
    (rs.PreNorm(TWO, "layer"), rs.PreNorm(TWO)),
    (GATED, replace(GATED, sigma_u2=2.5)),
    (rs.PreNorm(SWISH), rs.PreNorm(replace(SWISH, activation=rs.RELU))),
]


@pytest.mark.parametrize(("block", "other"), IN_LAW, ids=str)
def test_networks_tend_to_it_in_law(block: rs.Block, other: rs.Block) -> None:
    """The lengths of two inputs and their product, by means and laws; another equation is noticed."""
    depth, samples = 16, 3000
    h = torch.randn(1, 2, 4, generator=rs.generator(0, "start"), dtype=torch.float64) + 0.7
    h = h.expand(samples, -1, -1).contiguous()
    model = rs.Model(block, WHITE, 4, gain=1.5)

    def seen(end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        length = end.square().sum(-1).log()
        return length[:, 0], length[:, 1], torch.nn.functional.cosine_similarity(end[:, 0], end[:, 1], -1)

    networks = seen(ends(model, h, depth))
    agrees = []
    for each in (block, other):
        solution = seen(rs.limit(replace(model, block=each)).solve(h, steps=depth, seed=1))
        agrees.append([stats.ks_2samp(a, b).pvalue for a, b in zip(networks, solution, strict=True)])
    assert min(agrees[0]) > 1e-4
    assert min(agrees[1]) < 1e-6


@pytest.mark.parametrize(
    "block",
    [SINGLE, TWO, rs.Reduced(rs.TANH, 1.3), GATED, SWISH, rs.PreNorm(SINGLE), rs.PreNorm(SWISH)],
    ids=str,
)
def test_what_blocks_say_of_their_branches_is_that_of_random_layers(block: rs.Block) -> None:
    coefficients._check(block)


@dataclass(frozen=True)
class Shifted(rs.Block):
    """V tanh(W h), with W a fixed difference: a block of one's own with one matrix."""

    one_matrix: ClassVar[bool] = True
    strongest: ClassVar[float] = 1.0

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"outer": (width, width)}

    def before(self, h: Tensor) -> Tensor:
        return torch.tanh(h.roll(1, -1) - h)

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return layer["outer"].matvec(self.before(h), h.shape[-1] ** -0.5)

    def covariance(self, h: Tensor) -> Tensor:
        x = self.before(h)
        return self.strongest * x @ x.mT / h.shape[-1]

    def critical_beta(self, law: rs.PathLaw) -> float:
        return law.exponent


def test_a_block_of_ones_own_with_one_matrix_has_limits() -> None:
    x = torch.randn(1, 4, generator=rs.generator(0, "start"), dtype=torch.float64)
    found = rs.couple(rs.Model(rs.PreNorm(Shifted()), WHITE, 4), 3 * x, depths=DEPTHS, samples=300)
    assert found.status is Outcome.HOLDS
    for block in (Shifted(), rs.PreNorm(Shifted())):
        for law, kind in ((MEMORY, ItoSDE), (rs.WhiteNoise("uniform"), ItoSDEInLaw), (ROUGH, YoungODE)):
            equation = rs.limit(rs.Model(block, law, 4))
            assert type(equation) is kind
            assert list(equation.lines())


class Squashed(Shifted):
    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return torch.tanh(super().branch(h, layer))


class TenPercentOff(Shifted):
    strongest = 1.1


class SixPercentOff(Shifted):
    strongest = 1.06


class TenPercentBetweenInputs(Shifted):
    def covariance(self, h: Tensor) -> Tensor:
        found = super().covariance(h)
        return 0.9 * found + 0.1 * found.diagonal(dim1=1, dim2=2).diag_embed()


class OfTwoMatrices(rs.TwoLayer):
    critical_beta = Shifted.critical_beta

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return super().branch(h, layer)

    def covariance(self, h: Tensor) -> Tensor:
        return 1.08 * rs.TwoLayer(self.activation).covariance(h)


class Sized(Shifted):
    scale_free = True


class OfAnotherSize(Shifted):
    def size_moments(self, q: float, width: int) -> tuple[float, float]:
        return 0.9, 0.0


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Squashed(), "not linear in a matrix named outer"),
        (TenPercentOff(), "covariance of block .* random layers give"),
        (SixPercentOff(), "covariance of block .* random layers give"),
        (TenPercentBetweenInputs(), "covariance of block .* random layers give"),
        (OfTwoMatrices(rs.TANH), "covariance of block .* random layers give"),
        (Sized(), "scale_free, and its branch at 3h"),
        (OfAnotherSize(), "size_moments of block"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_false_facts_are_refused(block: rs.Block, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        rs.limit(rs.Model(block, WHITE, 4))
    assert "\n" not in str(caught.value)


class Silent(rs.Block):
    """It says nothing of its covariance."""

    one_matrix: ClassVar[bool] = True

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"outer": (width, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return layer["outer"].matvec(h.sin(), h.shape[-1] ** -0.5)

    def critical_beta(self, law: rs.PathLaw) -> float:
        return law.exponent


class Stated(Shifted):
    """One that states its covariance alone."""

    one_matrix = False


class Backward(Silent):
    """Vᵀ g(h), by a matrix that is looked at back first."""

    power: ClassVar[int] = 1

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return layer["outer"].rmatvec(h.sin() * h.abs() ** (self.power - 1), h.shape[-1] ** -0.5)


class Square(Backward):
    power = 3


class Read(Silent):
    """A branch that grows like a square, with the entries of its matrix."""

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return (h * h) @ layer["outer"].entries * h.shape[-1] ** -0.5


def test_what_a_limit_is_made_of_is_asked_for_before_it_is_named() -> None:
    for law, norm in ((WHITE, "rms"), (MEMORY, None), (rs.WhiteNoise("uniform"), None)):
        assert rs.limit(rs.Model(Shifted(), law, 4, norm=norm))  # type: ignore[arg-type]
        for block in (Silent(), rs.PreNorm(Silent())):
            with pytest.raises(rs.NoLimit, match=r"Let it state covariance") as caught:
                rs.limit(rs.Model(block, law, 4, norm=norm))  # type: ignore[arg-type]
            assert "\n" not in str(caught.value)
    assert type(rs.limit(rs.Model(Silent(), WHITE, 4))) is ItoSDE
    equation = rs.limit(rs.Model(Stated(), WHITE, 4))
    assert type(equation) is ItoSDEInLaw
    h = torch.randn(1, 2, 4, generator=rs.generator(0, "stated"), dtype=torch.float64).expand(1000, 2, 4)
    # E |H_1|² = |h|² + d E ∫ A dt, and A is what Shifted says: both are the same in law as networks.
    end = equation.solve(h, steps=16, seed=1).square().sum(-1).double()
    network = ends(rs.Model(Stated(), WHITE, 4), h, 16).square().sum(-1).double()
    spread = (end.var(0) + network.var(0)).div(1000).sqrt()
    assert bool(((end.mean(0) - network.mean(0)).abs() < 5 * spread).all())
    with pytest.raises(rs.NoLimit, match="not Gaussian"):
        rs.limit(rs.Model(Stated(), rs.WhiteNoise("uniform"), 4))


def test_growth_is_seen_of_blocks_that_do_more_than_look_at_their_matrices() -> None:
    assert type(rs.limit(rs.Model(Backward(), WHITE, 4))) is ItoSDE
    for block in (Square(), Read()):
        with pytest.raises(rs.NoLimit, match="grow faster than the state"):
            rs.limit(rs.Model(block, WHITE, 4, beta=0.5))


def test_a_block_that_does_not_say_how_its_branches_add_up_has_no_limit() -> None:
    class Unsaid(Silent):
        critical_beta = rs.Block.critical_beta

        def covariance(self, h: Tensor) -> Tensor:
            return h.sin() @ h.sin().mT / h.shape[-1]

    with pytest.raises(rs.NoLimit, match=r"does not say how its branches add up.*critical_beta"):
        rs.limit(rs.Model(Unsaid(), WHITE, 6, beta=0.5))
