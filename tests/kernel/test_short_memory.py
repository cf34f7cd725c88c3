"""Short memory, tied weights, heavy tails, and weights of a trained network: what is drawn and refused."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from linear_maps import covariance
from torch import Tensor

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde.laws import PathLaw
from resnet_sde.streams import Stream, stream

AR, MA, TIED = rs.AutoregressiveNoise(0.5), rs.MovingAverageNoise((0.5, -0.2)), rs.TiedNoise(3)
TRAINED = stream(0, "trained").normal_(torch.empty(12, 40, dtype=torch.float64)).cumsum(0)
SMOOTH, ROUGH = rs.EmpiricalNoise(TRAINED, "smooth"), rs.EmpiricalNoise(TRAINED, "rough", 0.8)


def plain_states(model: rs.Model, h: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """The last states by torch alone; a bias is the last row of a matrix."""
    block, width, depth = model.block, model.width, len(weights["outer"])

    def affine(x: Tensor, matrix: Tensor, weight: float, bias: float) -> Tensor:
        shift = bias**0.5 * matrix[:, width:] if bias else torch.zeros(1, dtype=torch.float64)
        return x @ matrix[:, :width] * (weight / width) ** 0.5 + shift

    for k in range(depth):
        if isinstance(block, rs.TwoLayer):
            inside = affine(h, weights["inner"][k], block.sigma_w2, block.sigma_b2).relu()
            branch = affine(inside, weights["outer"][k], block.sigma_v2, block.sigma_a2)
        else:
            branch = affine(h.tanh(), weights["outer"][k], *block.variances[2:])
        h = h + depth**-0.5 * branch
    return h


@pytest.mark.parametrize(("finest", "seen_at"), [(12, 12), (12, 6), (12, 3), (24, 6), (10, 10), (2, 2)])
def test_tied_weights_have_the_law_of_any_depth(finest: int, seen_at: int) -> None:
    def draw(source: Stream) -> Tensor:
        return TIED.path(finest, (1,), generator=source, dtype=torch.float64).weights(seen_at)

    torch.testing.assert_close(covariance(draw), TIED.covariance(seen_at), rtol=0, atol=1e-14)
    block = torch.block_diag(*[torch.ones(3, 3, dtype=torch.float64)] * 8)[:seen_at, :seen_at]
    assert torch.equal(TIED.covariance(seen_at), block)


def test_tied_groups_that_do_not_fit_are_refused() -> None:
    path = TIED.path(12, (1,), generator=rs.generator(0))
    for depth in (4, 2, 9):
        with pytest.raises(rs.OffGrid, match=r"multiples of 3|does not divide the 4 layers"):
            path.weights(depth)


def test_correlations_are_those_of_the_recursions() -> None:
    """Against impulse responses, summed up without the formulas."""
    for law, impulse in ((rs.AutoregressiveNoise((0.4, -0.3)), None), (MA, [1.0, 0.5, -0.2])):
        if impulse is None:
            impulse = [1.0, 0.4]
            for _ in range(400):
                impulse.append(0.4 * impulse[-1] - 0.3 * impulse[-2])
        response = np.array(impulse)
        products = np.correlate(response, response, "full")[len(response) - 1 :]
        expected = torch.zeros(6, dtype=torch.float64)
        expected[: len(products)] = torch.from_numpy(products[:6] / products[0])
        torch.testing.assert_close(law.autocovariance(6), expected, rtol=0, atol=1e-12)
        gamma, weight = law.memory()
        assert float(1 + 2 * (gamma * weight).sum()) == pytest.approx(
            response.sum() ** 2 / products[0], abs=1e-9
        )


@pytest.mark.parametrize("depth", [1, 5, 12])
@pytest.mark.parametrize("law", [AR, MA, TIED], ids=str)
def test_memory_is_the_sum_over_pairs_of_layers(law: PathLaw, depth: int) -> None:
    gamma, weight = law.memory(depth)
    pairs = law.covariance(depth).triu(1)
    assert float((gamma * weight).sum()) == pytest.approx(float(pairs.sum()) / depth, abs=1e-14)
    assert float((gamma**3 * weight).sum()) == pytest.approx(float((pairs**3).sum()) / depth, abs=1e-14)


@pytest.mark.parametrize("degrees", [2.5, 3.0, 5.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_entries_have_students_law(degrees: float, dtype: torch.dtype) -> None:
    """Shares of the numbers within bounds; and those of another law are told apart."""
    from scipy.stats import t

    n = 200_000
    scale = math.sqrt((degrees - 2) / degrees)
    x = (
        rs.StudentNoise(degrees).path(n, (), generator=rs.generator(0), dtype=dtype).weights(n).double()
        / scale
    )
    worst: dict[float, float] = {}
    for other in (degrees, 1.2 * degrees if degrees < 30 else 8.0):
        worst[other] = 0.0
        for bound in (-4.0, -1.0, -0.2, 0.3, 1.5, 6.0):
            share = t.cdf(bound, other)
            z = (float((x < bound).double().mean()) - share) / math.sqrt(share * (1 - share) / n)
            worst[other] = max(worst[other], abs(z))
    right, wrong = worst.values()
    assert right < 5, "a false alarm of 4e-6 for each law"
    assert wrong > 5


@pytest.mark.parametrize("law", [AR, MA, TIED, rs.StudentNoise(5.0), SMOOTH, ROUGH], ids=str)
@pytest.mark.parametrize(
    "block", [rs.SingleLayer(rs.TANH, 1.2, 0.1), rs.TwoLayer(rs.RELU, 1.1, 0.2)], ids=str
)
def test_networks_are_plain_loops(law: PathLaw, block: rs.Block) -> None:
    model, depth = rs.Model(block, law, 5, beta=0.5), 12
    path = model.draw(depth, samples=4, seed=2, dtype=torch.float64)
    x = stream(0, "x").normal_(torch.empty(4, 2, 5, dtype=torch.float64))
    found = rs.forward(block, x, path.layers(depth), model.alpha(depth))[-1]
    expected = plain_states(model, x, {n: p.weights(depth) for n, p in path.matrices.items()})
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("law", [AR, MA, TIED, rs.StudentNoise(5.0), SMOOTH, ROUGH], ids=str)
def test_wide_networks_have_the_kernel_of_the_covariance(law: PathLaw) -> None:
    """At three widths; ten intervals of 99.999 % each."""
    depth = 6
    exact, white = (
        float(mf.two_time(rs.Model(rs.SingleLayer(rs.TANH), each, 4, beta=0.5), depth=depth)[-1, -1])
        for each in (law, rs.WhiteNoise())
    )
    for width, samples in ((32, 800), (64, 400), (128, 200)):
        model = rs.Model(rs.SingleLayer(rs.TANH), law, width, beta=0.5)
        h = stream(3, str(law), width).normal_(torch.empty(samples, 1, width, dtype=torch.float64))
        layers = model.draw(depth, samples=samples, seed=3, dtype=torch.float64).layers(depth)
        square = rs.forward(model.block, h, layers, model.alpha(depth))[-1].square().mean((1, 2))
        allowed = 4.42 * float(square.std()) / samples**0.5 + 2 * exact / width
        assert abs(float(square.mean()) - exact) < allowed
        if not law.independent and law is not MA:
            assert abs(float(square.mean()) - white) > allowed, "so that no white law passes"


def test_kernels_of_inner_weights_of_another_variance_are_refused() -> None:
    assert float((SMOOTH.covariance(12).diagonal() - 1).abs().max()) > 0.1
    with pytest.raises(ValueError, match="have not the variance 1 in all of 12 layers"):
        mf.two_time(rs.Model(rs.TwoLayer(rs.RELU), SMOOTH, 4), depth=12)


@pytest.mark.parametrize(("law", "depth"), [(SMOOTH, 12), (SMOOTH, 7), (SMOOTH, 40), (ROUGH, 12), (ROUGH, 4)])
def test_trained_weights_are_seen_at_other_depths(law: rs.EmpiricalNoise, depth: int) -> None:
    """Each entry is one of the network, up to its sign; the covariance is that of all of them."""
    weights = law.path(depth, (3000,), generator=rs.generator(1), dtype=torch.float64).weights(depth)
    flat = TRAINED / TRAINED.square().mean().sqrt()
    if law.kind == "rough":
        seen = flat.unflatten(0, (depth, -1)).sum(1) * (12 / depth) ** -0.8
    else:
        place = torch.arange(depth, dtype=torch.float64) * 12 / depth
        inside = [np.interp(place.numpy(), np.arange(12), column) for column in flat.T.numpy()]
        seen = torch.from_numpy(np.stack(inside, 1))
    both = torch.cat([seen, -seen], 1)
    gaps = (weights.T[:, :, None] - both).abs().amax(1).amin(1)
    assert float(gaps.max()) < 1e-12
    torch.testing.assert_close(law.covariance(depth), seen @ seen.T / 40, rtol=0, atol=1e-12)
    found = weights @ weights.T / 3000
    assert float((found - law.covariance(depth)).abs().max()) < 0.2 * float(law.covariance(depth).max())


REFUSED: list[tuple[Any, tuple[Any, ...], str]] = [
    (rs.AutoregressiveNoise, (1.0,), "are not stationary: a root of their recursion has size 1"),
    (rs.AutoregressiveNoise, ((0.5, 0.6),), "are not stationary"),
    (rs.AutoregressiveNoise, (0.0,), "are white noise; give WhiteNoise"),
    (rs.AutoregressiveNoise, ("x",), "must be a finite number"),
    (rs.AutoregressiveNoise, ((),), "are white noise"),
    (rs.AutoregressiveNoise, (math.nan,), "must be a finite number"),
    (rs.MovingAverageNoise, (-1.0,), "sum to 0, so that its sums over layers do not grow"),
    (rs.MovingAverageNoise, ((0.5, -1.5),), "sum to 0"),
    (rs.MovingAverageNoise, ((0.0, 0.0),), "are white noise"),
    (rs.TiedNoise, (1,), "give WhiteNoise"),
    (rs.TiedNoise, (2.5,), "layers must be a positive integer"),
    (rs.StudentNoise, (2.0,), "has no finite variance"),
    (rs.StudentNoise, (1.0,), "has no finite variance"),
    (rs.StudentNoise, (math.inf,), "degrees must be a finite number"),
    (rs.EmpiricalNoise, ([1.0, 2.0], "smooth"), "paths must be a tensor of weights"),
    (rs.EmpiricalNoise, (torch.ones(3), "smooth"), "paths must be a tensor of weights"),
    (rs.EmpiricalNoise, (torch.zeros(3, 2), "smooth"), "zeros alone"),
    (rs.EmpiricalNoise, (torch.ones(3, 2), "brown"), "regularity must be rough or smooth"),
    (rs.EmpiricalNoise, (torch.ones(3, 2), "rough"), "exponent must be a finite number"),
    (rs.EmpiricalNoise, (torch.ones(3, 2), "smooth", 0.5), "exponent of smooth weights must be 1"),
]


@pytest.mark.parametrize(("law", "given", "message"), REFUSED, ids=lambda v: getattr(v, "__name__", None))
def test_what_is_no_law_is_refused(law: Any, given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        law(*given)


def test_laws_are_named_by_what_they_are() -> None:
    assert rs.AutoregressiveNoise((0.5,)) == rs.AutoregressiveNoise(0.5) != rs.AutoregressiveNoise((0.5, 0.1))
    assert rs.AutoregressiveNoise(np.array([0.5, 0.1])) == rs.AutoregressiveNoise([0.5, 0.1])  # type: ignore[arg-type]
    same, other = (
        rs.Model(rs.SingleLayer(rs.RELU), rs.EmpiricalNoise(t, "smooth"), 3) for t in (TRAINED, TRAINED + 1)
    )
    first = rs.Model(rs.SingleLayer(rs.RELU), SMOOTH, 3)
    a, b, c = (m.draw(4, samples=2).matrices["outer"].weights(4) for m in (first, same, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_they_are_studied_and_trained() -> None:
    for law in (AR, MA, TIED, rs.StudentNoise(5.0), SMOOTH, ROUGH):
        found = rs.study(
            lambda law=law: rs.Model(rs.SingleLayer(rs.TANH), law, 4, beta=0.5),
            torch.ones(1, 4),
            over={"depth": [3, 6]},
            samples=5,
            observe=[rs.observables.growth],
        )
        assert found.growth.shape == (2, 5, 1)
        net = rs.networks.ResNet(rs.Model(rs.SingleLayer(rs.TANH), law, 4, beta=0.5), 6, 3, 2, seed=1)
        assert net(torch.ones(2, 3)).shape == (2, 2)


def test_theory_of_one_layer_asks_for_independence() -> None:
    student, white = (
        rs.Model(rs.TwoLayer(rs.RELU), law, 4) for law in (rs.StudentNoise(5.0), rs.WhiteNoise())
    )
    assert torch.equal(mf.lengths(student, depth=9).log_q, mf.lengths(white, depth=9).log_q)
    for law in (AR, MA, TIED, SMOOTH):
        with pytest.raises(ValueError, match="are not independent"):
            mf.lengths(rs.Model(rs.SingleLayer(rs.RELU), law, 4), depth=9)
