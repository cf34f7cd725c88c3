"""How branches add up: as independent ones, in one direction in part, or with a memory that fades."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import resnet_sde as rs
from experiments.own import depth_networks as nets
from experiments.own.own_architectures import OWN
from resnet_sde.practice import coherence
from resnet_sde.practice.coherence import Addition, Dependence, Directions, Groups, how_layers_add
from resnet_sde.practice.rate_theory import expected_exponents

WIDTH = 64


def added(networks: Sequence[Tensor]) -> Dependence:
    """Of branches (blocks, width) of a few networks."""
    pairs, found = [], []
    for branches in networks:
        directions, groups = Directions(len(branches)), Groups(len(branches) // 4)
        for branch in branches:
            directions.add(branch)
            groups.add(branch)
        pairs.append(directions.pairs())
        found.append(coherence.coherence(groups.means()))
    return how_layers_add(float(np.mean(found)), pairs)


def correlated(covariance: np.ndarray, width: int = WIDTH, common: float = 0.0) -> list[Tensor]:
    """Three networks of Gaussian branches, of this covariance over blocks and with a common part."""
    root = torch.from_numpy(np.linalg.cholesky(covariance + 1e-12 * np.eye(len(covariance))))
    direction = torch.zeros(width).index_fill(0, torch.tensor(0), math.sqrt(width))
    return [
        math.sqrt(1 - common) * root @ torch.randn(len(root), width) + math.sqrt(common) * direction
        for _ in range(3)
    ]


def lags(blocks: int) -> np.ndarray:
    return np.abs(np.subtract.outer(np.arange(blocks), np.arange(blocks))).astype(float)


def fractional(blocks: int, hurst: float) -> np.ndarray:
    """Covariance of fractional noise."""
    k = lags(blocks)
    return ((k + 1) ** (2 * hurst) - 2 * k ** (2 * hurst) + np.abs(k - 1) ** (2 * hurst)) / 2


@pytest.fixture(autouse=True)
def _seeded(global_random: None) -> None:
    torch.manual_seed(0)


def alarms(mean: float, count: int = 400) -> int:
    """In how many of so many checks of three networks of 15 branches are these taken to be alike."""
    sizes = torch.arange(1, 16)[:, None] ** -0.5
    found = 0
    for _ in range(count):
        networks = [sizes * (torch.randn(15, 16) * torch.randn(15, 1) + mean) for _ in range(3)]
        found += added(networks).alike
    return found


def test_independent_branches_are_taken_to_be_alike_as_seldom_as_is_said() -> None:
    """Sizes that fall and heavy tails: at most .4 of 400 are expected, and 4 or more once in 1000."""
    assert alarms(0.0) < 4


def test_the_test_of_false_alarms_sees_another_bound_and_a_common_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert alarms(0.7, 50) > 45
    monkeypatch.setattr(coherence, "ALIKE_ABOVE", 1.0)
    assert alarms(0.0, 100) > 8


@pytest.mark.parametrize("blocks", [8, 23, 63])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_a_common_part_is_told_from_its_share(share: float, blocks: int) -> None:
    found = added(correlated(np.eye(blocks), common=share))
    assert found.addition is (Addition.COHERENT if found.coherence > 0.85 else Addition.COMMON_PART)
    assert found.critical_beta == 1
    assert found.cosine == pytest.approx(share, abs=0.04)
    assert found.crossover == pytest.approx((1 - share) / share, rel=0.5)
    total = float(
        torch.stack([n.sum(0).norm() / n.norm() for n in correlated(np.eye(99), common=0.3)]).mean()
    )
    shared = added(correlated(np.eye(99), common=0.3))
    assert shared.sum_of(99) == pytest.approx(total * math.sqrt(99), rel=0.1)


@pytest.mark.parametrize("blocks", [23, 63, 127])
@pytest.mark.parametrize(("hurst", "beta"), [(0.6, 0.5), (0.75, 0.75), (0.9, 1.0)])
def test_weights_with_a_memory_are_no_common_part(hurst: float, beta: float, blocks: int) -> None:
    found = added(correlated(fractional(blocks, hurst)))
    assert found.alike
    assert found.addition is not Addition.COMMON_PART
    assert found.coherence == pytest.approx(hurst, abs=0.05)
    assert found.critical_beta == pytest.approx(beta, abs=0.05)
    if hurst < 0.9:
        assert "more so near each other" in found.notes()[0]


@pytest.mark.parametrize("memory", [0.3, 0.6])
def test_a_short_memory_is_no_common_part(memory: float) -> None:
    for blocks in (23, 63):
        found = added(correlated(memory ** lags(blocks)))
        assert found.alike
        assert found.addition in (Addition.INDEPENDENT, Addition.PARTLY_COHERENT)


def test_few_blocks_tell_no_shared_direction_from_a_memory_and_say_so() -> None:
    found = added(correlated(np.eye(8), common=0.1))
    assert found.alike
    assert not found.sure
    assert "8 blocks are too few to tell whether" in found.notes()[1]
    assert added(correlated(np.eye(63), common=0.3)).sure
    assert added(correlated(fractional(63, 0.75))).sure


def test_branches_that_are_zero_or_never_seen_say_nothing() -> None:
    unknown = how_layers_add(math.nan, [Directions(3).pairs()])
    assert (unknown.addition, unknown.critical_beta, unknown.notes()) == (Addition.UNKNOWN, 0.5, [])
    zeros = Directions(20)
    for _ in range(20):
        zeros.add(torch.zeros(4))
    assert zeros.pairs().count == 0
    assert not how_layers_add(0.5, [zeros.pairs()]).alike


class Ending(nn.Module):
    """x + a φ(W norm(x)) + a m e |x|: branches of one sign, or with a drift m along a fixed direction."""

    def __init__(self, factor: float, act: nn.Module, drift: float) -> None:
        super().__init__()
        self.norm, self.w, self.act = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH, bias=False), act
        self.v = nn.Linear(WIDTH, WIDTH, bias=False) if drift else nn.Identity()
        if drift:
            nn.init.normal_(self.v.weight, std=WIDTH**-0.5)
        nn.init.normal_(self.w.weight, std=math.sqrt(2 / WIDTH))
        self.factor, self.drift = factor, drift * torch.linspace(-1.7, 1.7, WIDTH)
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.factor * self.out(self.v(self.act(self.w(self.norm(x)))) + self.drift)


def ending(beta: float, act: type[nn.Module] = nn.ReLU, drift: float = 0.0) -> Callable[[int], nn.Module]:
    def factory(depth: int) -> nn.Module:
        first = nn.Linear(20, WIDTH)
        return nn.Sequential(
            first, nn.Sequential(*[Ending(depth**-beta, act(), drift) for _ in range(depth)])
        )

    return factory


SHARING = {
    "ReLU": (ending, 0.318, {}),
    "sigmoid": (ending, 0.79, {"act": nn.Sigmoid}),
    "drift of 0.3": (ending, 0.08, {"drift": 0.3}),
    "drift of 1": (ending, 0.5, {"drift": 1.0}),
}


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", SHARING)
def test_branches_that_share_a_direction(name: str, beta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the test of directions, by the coherence alone, most of them read as if β* were below 1."""
    make, cosine, options = SHARING[name]
    check = rs.depth_check(make(beta, **options), nets.vectors(), depths=(8, 24))
    assert check.critical_beta == 1
    assert check.layers.cosine == pytest.approx(cosine, abs=0.03)
    assert check.beta.value == pytest.approx(beta, abs=0.06)
    assert check.fate.value == ("critical" if beta == 1 else "power law")
    if check.layers.addition is Addition.COMMON_PART:
        assert "layers share a direction" in str(check)
        assert any("outweighs the rest, and β* is 1" in note for note in check.notes)
        with pytest.raises(rs.DepthMismatch, match=r"branches share a direction .* matrix of mean zero"):
            check.expect(beta, inner=False)
    check.expect(beta, independent=False, inner=False)
    monkeypatch.setattr(coherence, "ALIKE_ABOVE", math.inf)
    blind = how_layers_add(check.coherence.value, [p.pairs for p in check.profiles[-1]])
    if name in ("ReLU", "drift of 0.3"):
        assert blind.critical_beta < 0.85


def test_what_is_shared_and_not_yet_seen_is_said_with_the_depth_from_which_it_is() -> None:
    deep = rs.depth_check(ending(0.5, drift=0.1), nets.vectors(), depths=(8, 64))
    assert deep.layers.addition is Addition.COMMON_PART
    assert 64 < deep.layers.crossover < 200
    (note,) = [note for note in deep.notes if "share a direction" in note]
    assert f"beyond {deep.layers.crossover:.0f} blocks" in note
    assert "63 blocks still add up nearly like independent ones, for which β* is 0.5" in note
    shallow = rs.depth_check(ending(0.5, drift=0.1), nets.vectors(), depths=(4, 12))
    assert shallow.layers.addition is Addition.INDEPENDENT


class Tanh(nn.Module):
    """x + a tanh(W x)."""

    def __init__(self, weight: Tensor, factor: float) -> None:
        super().__init__()
        self.w, self.factor = nn.Linear(WIDTH, WIDTH, bias=False), factor
        self.w.weight.data.copy_(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.factor * torch.tanh(self.w(x))


@pytest.mark.parametrize(("hurst", "beta"), [(0.6, 0.5), (0.75, 0.75), (0.9, 1.0)])
def test_fractional_weights_keep_their_exponent(hurst: float, beta: float) -> None:
    def factory(depth: int) -> nn.Module:
        root = torch.from_numpy(np.linalg.cholesky(fractional(depth, hurst)))
        weights = (root @ torch.randn(depth, WIDTH**2) / math.sqrt(WIDTH)).view(depth, WIDTH, WIDTH)
        return nn.Sequential(nn.Linear(20, WIDTH), nn.Sequential(*[Tanh(w, depth**-hurst) for w in weights]))

    check = rs.depth_check(factory, nets.vectors(), depths=(16, 64))
    assert check.layers.addition is not Addition.COMMON_PART
    assert check.coherence.value == pytest.approx(hurst, abs=0.03)
    assert check.critical_beta == pytest.approx(beta, abs=0.03)


def test_a_factor_for_branches_that_share_a_direction_brings_the_stream_to_its_action() -> None:
    module = ending(0.0, drift=1.0)(32)
    for block in module[1]:
        block.factor = 1.0
    profile = rs.probe(module, nets.vectors())
    assert profile.layers.addition is Addition.COMMON_PART
    scaled = rs.scale_residual_(module, nets.vectors())
    assert float(scaled.after.displacements[-1]) == pytest.approx(1.0, abs=0.25)
    head = float(profile.sizes[:8].median())
    assert scaled.rounds[-1] == pytest.approx(1.0, abs=0.05)
    advice = rs.advise(32, measured=profile)
    share = profile.layers.cosine
    assert advice.beta == 1
    assert advice.scale == pytest.approx(1 / (head * math.sqrt(32 * (1 + 31 * share))), rel=1e-6)
    assert "let a matrix of mean zero write to the stream" in str(advice)
    assert "copies" not in str(advice)
    wrong = rs.scale_residual_(module, nets.vectors(), factor=1 / (head * math.sqrt(32)))
    assert float(wrong.after.displacements[-1]) > 3


def test_rates_have_no_theory_where_what_is_shared_moves_the_stream_by_more_than_itself() -> None:
    shared = rs.depth_check(ending(0.5, drift=1.0), nets.vectors(), depths=(8, 24))
    assert max(shared.action) * shared.layers.sum_of(24) ** 2 / 24 > 2
    assert not expected_exponents(shared, "adam")


SOUND = [name for name, row in OWN.items() if not (row.refused or row.coherent or math.isnan(row.beta))]


@pytest.mark.full
@pytest.mark.parametrize("name", SOUND)
def test_sound_networks_are_independent_over_20_seeds(name: str) -> None:
    """Of each network at most .02 of 20 checks may be blamed."""
    row = OWN[name]
    for seed in range(20):
        check = rs.depth_check(row.factory, row.batch(4), depths=(8, 24), seed=seed)
        assert check.layers.addition is Addition.INDEPENDENT
        assert not check.layers.alike
