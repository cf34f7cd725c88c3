"""Itô equations of weights with short memory: the long-run variance, and the drift that is easily forgotten.

Means are compared to 4.42 of their own spread: a false alarm of 1e-5 each.
"""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde.estimate import Outcome
from resnet_sde.limits import ItoSDE, ItoSDEInLaw, RandomODE
from resnet_sde.streams import Stream, stream

AR, MA, TIED = rs.AutoregressiveNoise(0.5), rs.MovingAverageNoise((0.6, 0.3)), rs.TiedNoise(2)
NEGATIVE = rs.MovingAverageNoise(-0.5)
LAWS = [AR, rs.AutoregressiveNoise((0.3, -0.4)), MA, TIED]
TANH, RES_3 = rs.SingleLayer(rs.TANH, 1.5), rs.TwoLayer(rs.RELU)
_Z = 4.42


class Driftless(ItoSDE):
    """The equation that one gets by replacing the weights by their long-run variance."""

    def drift(self, h: Tensor) -> Tensor:
        return torch.zeros_like(h)


@dataclass(frozen=True)
class DriftlessInLaw(ItoSDEInLaw):
    def drift(self, h: Tensor) -> Tensor:
        return torch.zeros_like(h)


def ends(model: rs.Model, depth: int, samples: int, start: float = 1.0) -> Tensor:
    """Last states of networks, (sample, width)."""
    path = model.draw(depth, samples=samples, seed=5, dtype=torch.float64)
    h = torch.full((samples, 1, model.width), start, dtype=torch.float64)
    return rs.forward(model.block, h, path.layers(depth, shared=True), model.alpha(depth))[-1][:, 0]


@pytest.mark.parametrize(
    ("law", "block", "kind"),
    [
        *((law, block, kind) for law in LAWS for block, kind in ((TANH, ItoSDE), (RES_3, ItoSDEInLaw))),
        (rs.StudentNoise(5.0), TANH, ItoSDEInLaw),
        (rs.StudentNoise(5.0), RES_3, ItoSDEInLaw),
        (rs.EmpiricalNoise(torch.eye(8), "smooth"), RES_3, RandomODE),
    ],
    ids=str,
)
def test_the_card(law: rs.PathLaw, block: rs.Block, kind: type) -> None:
    model = rs.Model(block, law, 3)
    found = rs.limit(model)
    assert type(found) is kind
    assert found.coupled is (kind is not ItoSDEInLaw)
    assert found.strong_order == {ItoSDE: 0.5, RandomODE: 1.0}.get(kind)
    assert found.words
    assert found.formula()[0]
    assert model.beta == (1.0 if kind is RandomODE else 0.5)


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        (rs.Model(TANH, rs.EmpiricalNoise(torch.eye(8), "rough", 0.5), 3), "nothing is known of their sums"),
        (rs.Model(rs.Reduced(rs.TANH), AR, 3, beta=0.5), "reduced block"),
        (rs.Model(rs.TwoLayer(rs.TANH), rs.StudentNoise(5.0), 3), "inside this branch are not Gaussian"),
        (rs.Model(TANH, rs.AutoregressiveNoise(0.9999), 3), "have not died out over 65536 layers"),
        (rs.Model(TANH, AR, 3, beta=0.7), "beta is 0.7, the critical value 0.5"),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_where_no_limit_is_known_it_is_refused(model: rs.Model, fact: str) -> None:
    with pytest.raises(rs.NoLimit, match=fact):
        rs.limit(model)
    assert rs.simulate(model, torch.ones(1, 3), depth=4, samples=3, observe=[rs.observables.growth])


@pytest.mark.parametrize("law", [AR, MA, TIED], ids=str)
@pytest.mark.parametrize("width", [1, 2, 3])
def test_deep_networks_solve_the_equation_on_their_own_path(law: rs.PathLaw, width: int) -> None:
    """And not the one without drift; both are solved on the finest grid."""
    model, steps, samples = rs.Model(TANH, law, width), 512, 300
    path = model.draw(steps * 2, samples=samples, seed=1, dtype=torch.float64)
    h = torch.ones(samples, 1, width, dtype=torch.float64)
    errors: dict[tuple[int, bool], float] = {}
    for depth in (32, 512):
        net = rs.forward(model.block, h, path.layers(depth), model.alpha(depth))[-1]
        for equation in (ItoSDE(model), Driftless(model)):
            solution = equation.solve(h, path, steps=steps)
            errors[depth, type(equation) is ItoSDE] = float((net - solution).square().mean().sqrt())
    assert errors[512, True] < 0.5 * errors[32, True], "a quarter, but for the error of the solver"
    assert errors[512, False] > 1.5 * errors[512, True], "without the drift the error stays"


@pytest.mark.parametrize(("law", "width"), [(AR, 2), (MA, 3), (TIED, 2)], ids=str)
def test_networks_converge_on_their_path_with_order_one_half(law: rs.PathLaw, width: int) -> None:
    model = rs.Model(TANH, law, width, gain=0.7)
    x = torch.ones(1, width, dtype=torch.float64)
    found = rs.couple(model, x, depths=(16, 32, 64, 128), samples=400, reference=1024)
    assert found.expected == 0.5
    assert found.status is not Outcome.FAILS
    assert found.strong_order is not None
    assert found.strong_order.within(0.5, 0.15) is Outcome.HOLDS, found.strong_order
    assert found.strong_order.within(1.0, 0.15) is Outcome.FAILS, "the order of smooth weights"


@pytest.mark.parametrize("law", [AR, NEGATIVE, TIED], ids=str)
def test_closed_form_at_width_one(law: rs.PathLaw) -> None:
    """h e^{X − σ²/2} with the sum X of the weights themselves; −s² σ²/2, without the drift, is another."""
    model, depth = rs.Model(rs.SingleLayer(rs.LINEAR), law, 1, gain=0.5), 4096
    path = model.draw(depth, samples=200, seed=2, dtype=torch.float64)
    h = torch.ones(200, 1, 1, dtype=torch.float64)
    logs = rs.forward(model.block, h, path.layers(depth), model.alpha(depth))[-1].log()[:, 0, 0]
    end = 0.5 * depth**-0.5 * path.matrices["outer"].weights(depth).sum(0)[:, 0, 0]
    gamma, count = law.memory()
    long_run = float(1 + 2 * (gamma * count).sum())
    right, wrong = (float((logs - end + 0.125 * factor).abs().max()) for factor in (1.0, long_run))
    assert right < 0.03, "the spread of the sum of squares, 4.42 √(2 / 4096) / 8 times the memory, and cubes"
    assert wrong > 0.06
    x = torch.ones(1, 1, dtype=torch.float64)
    found = rs.couple(model, x, depths=(32, 128, 512), samples=300, reference="exact")
    assert found.strong_errors is not None
    assert found.strong_errors[2] < 0.5 * found.strong_errors[0], "a quarter of it, but for heavy tails"


@pytest.mark.parametrize("law", [AR, MA, TIED], ids=str)
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("block", [rs.SingleLayer(rs.LINEAR), RES_3], ids=["one", "two"])
def test_the_law_of_lengths_has_the_drift(law: rs.PathLaw, width: int, block: rs.Block) -> None:
    """E log |h_L|² / |h_0|² = A (1 − 2/d) + 2 b of homogeneous branches, at |h|² = d."""
    model, depth, samples = rs.Model(block, law, width, gain=0.6), 256, 4000
    logs = ends(model, depth, samples).square().mean(1).log()
    equation = ItoSDEInLaw(model)
    unit = torch.ones(1, 1, width, dtype=torch.float64)
    diffusion, drift = float(equation.covariation(unit)), float(equation.drift(unit)[0, 0, 0])
    expected = diffusion * (1 - 2 / width) + 2 * drift
    error = float(logs.std()) / math.sqrt(samples)
    measured = float(logs.mean())
    assert abs(measured - expected) < _Z * error + 4 / depth
    assert abs(drift) > 0.005
    if law is AR or block is not RES_3:
        assert abs(measured - (expected - 2 * drift)) > _Z * error + 4 / depth, (
            "without the drift it does not hold"
        )


class Remembering(rs.PathLaw):
    """A law of one's own, in law only."""

    noise, gaussian = "short-memory", True  # type: ignore[assignment]

    def autocovariance(self, depth: int) -> Tensor:
        return AR.autocovariance(depth)

    def sample(self, depth: int, shape: tuple[int, ...], stream: Stream) -> Tensor:
        return AR._draw(depth, shape, stream, torch.float64).weights(depth)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_law_of_ones_own_has_the_limit_in_law(width: int) -> None:
    """Means of states and of their squares, of one tanh matrix; two samples, two claims."""
    model, samples = rs.Model(TANH, Remembering(), width), 12_000
    found = ends(model, 128, samples, start=0.7)
    h = torch.full((samples, 1, width), 0.7, dtype=torch.float64)
    equation = rs.limit(model)
    assert type(equation) is ItoSDEInLaw
    right, wrong = (e.solve(h, steps=128, seed=3)[:, 0] for e in (equation, DriftlessInLaw(model)))
    gaps = []
    for solution in (right, wrong):
        means = [(x.mean(1), x.square().mean(1)) for x in (found, solution)]
        zs = [
            float((a.mean() - b.mean()).abs() / ((a.var() + b.var()) / samples).sqrt())
            for a, b in zip(*means, strict=True)
        ]
        gaps.append(max(zs))
    assert gaps[0] < _Z
    assert gaps[1] > _Z, "without the drift it is seen"


@pytest.mark.parametrize("law", [AR, TIED], ids=str)
@pytest.mark.parametrize("block", [TANH, RES_3, rs.TwoLayer(rs.TANH, 1.2, 0.1, 1.1, 0.2)], ids=str)
def test_flows_are_limits_of_kernels(law: rs.PathLaw, block: rs.Block) -> None:
    """By Richardson's rule from two depths; white weights would give another."""
    model = rs.Model(block, law, 4)
    flow = mf.flow(model, steps=4)
    coarse, fine = (mf.two_time(model, depth=depth) for depth in (80, 160))
    kernel = float(2 * fine[-1, -1] - coarse[-1, -1])
    assert float(flow.kernel[-1, -1]) == pytest.approx(kernel, rel=5e-3)
    if law is TIED and block is RES_3:
        return  # layers that share their kinks: gradients come near as 1/√L only
    back = [float(mf.gradient_two_time(model, depth=depth)[0, 0]) for depth in (80, 160)]
    assert float(flow.log_gradient_growth[-1].exp()) == pytest.approx(2 * back[1] - back[0], rel=5e-3)
    white = float(mf.flow(rs.Model(block, rs.WhiteNoise(), 4), steps=4).kernel[-1, -1])
    assert abs(white - kernel) > 2e-2 * kernel


def test_sums_of_a_network_near_those_of_the_limit() -> None:
    """The coefficients at a finite depth are those of its covariance."""
    for law in LAWS:
        model = rs.Model(TANH, law, 3)
        h = stream(0, "h").normal_(torch.empty(2, 2, 3, dtype=torch.float64))
        covariance = law.covariance(40)
        white = ItoSDEInLaw(rs.Model(TANH, rs.WhiteNoise(), 3))
        found = ItoSDEInLaw(model, depth=40).covariation(h)
        torch.testing.assert_close(
            found, white.covariation(h) * float(covariance.sum()) / 40, rtol=1e-10, atol=0
        )
        drift = ItoSDEInLaw(model, depth=40).drift(h)
        later = float(covariance.triu(1).sum()) / 40
        torch.testing.assert_close(
            drift, later * 1.5 / 3 * h.tanh() * (1 - h.tanh() ** 2), rtol=1e-10, atol=1e-14
        )


@pytest.mark.parametrize("law", [rs.WhiteNoise("rademacher"), rs.StudentNoise(3.0)], ids=str)
def test_inner_weights_that_are_not_gaussian_leave_other_moments(law: rs.PathLaw) -> None:
    """So limits are refused, but where the branch is linear on either side of 0: E φ(u)² is then E u² / 2."""
    n, found = 100_000, {}
    u = law.path(1, (n,), generator=rs.generator(0), dtype=torch.float64).weights(1)[0]
    for name, phi in (("tanh", rs.TANH), ("relu", rs.RELU)):
        one = torch.tensor(1.0, dtype=torch.float64)
        values = phi(u.clone()).square()
        gap = float(values.mean()) - float(phi.dual(one, one, gap=0 * one))
        found[name] = abs(gap) * math.sqrt(n) / float(values.std())
    assert found["relu"] < _Z
    assert found["tanh"] > 20
    model = rs.Model(RES_3, law, 1)
    h = torch.ones(2, 2, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="known for one input at a time"):
        rs.limit(model).solve(h, steps=4)
    assert rs.limit(model).solve(h[:, :1], steps=4).shape == (2, 1, 1)
