"""What the depth check would read without the choices it makes: the controls of its parts."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments.own import depth_networks as nets
from resnet_sde.practice import DepthCheck, depth_check, probe, writers
from resnet_sde.practice.coherence import Groups, coherence
from resnet_sde.practice.find_stream import candidates
from resnet_sde.practice.instrument import watch
from resnet_sde.practice.replay import replays

pytestmark = pytest.mark.usefixtures("global_random")

DEPTHS = (8, 32)
DEPTH = 64


def slope_of_displacements(check: DepthCheck) -> float:
    sizes = [np.mean([float(p.displacements[-1]) for p in row]) for row in check.profiles]
    return float(np.polyfit(np.log(DEPTHS), np.log(sizes), 1)[0])


def test_at_one_half_copies_move_with_the_depth_and_independent_layers_do_not() -> None:
    copies = depth_check(nets.encoder(0.5, redrawn=False), nets.tokens(), depths=DEPTHS)
    redrawn = depth_check(nets.encoder(0.5), nets.tokens(), depths=DEPTHS)
    assert slope_of_displacements(copies) > 0.45
    assert abs(slope_of_displacements(redrawn)) < 0.08


def test_coherence_of_a_post_norm_stream_that_forgets_its_input() -> None:
    assert probe(nets.encoder(0.0, norm_first=False)(DEPTH), nets.tokens()).coherence > 0.35


class PostNormLoop(nn.Module):
    """One post-norm layer again and again, on an embedding of another size than what leaves a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(nets.VOCABULARY, nets.WIDTH)
        self.layer = nn.TransformerEncoderLayer(nets.WIDTH, nets.HEADS, 256, 0.0, batch_first=True)
        for matrix in (self.layer.self_attn.out_proj, self.layer.linear2):
            nets.multiply(matrix, 1 / DEPTH)

    def states(self, x: Tensor) -> list[Tensor]:
        states = [20 * self.embedding(x)]
        for _ in range(DEPTH):
            states.append(self.layer(states[-1]))
        return states

    def forward(self, x: Tensor) -> Tensor:
        return self.states(x)[-1]


def test_block_0_hides_the_coherence_of_a_loop() -> None:
    net = PostNormLoop()
    assert probe(net, nets.tokens()).coherence > 0.9
    with torch.no_grad():
        states = net.states(nets.tokens())
    found = {}
    for first in (0, 1):
        groups = Groups((DEPTH - 1) // 4)
        for h, following in zip(states[first:], states[first + 1 :], strict=False):
            groups.add((following - h) / h.norm())
        found[first] = coherence(groups.means())
    assert found[1] > 0.9
    assert found[0] < 0.6


class WritesOnItsInput(nn.Module):
    """x ← x + .4 V x, written where x was; V relu(x) would save what it read."""

    def __init__(self) -> None:
        super().__init__()
        self.v = nn.Linear(8, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.add_(0.4 * self.v(x.clone()))


def test_a_hook_after_a_write_in_place_sees_another_gradient() -> None:
    """A tensor's hook belongs to the value it has when the hook is set."""
    net, x = nn.Sequential(*[WritesOnItsInput() for _ in range(4)]), torch.randn(5, 8)
    profile = probe(net, x, loss=lambda out, _: out.square().sum(), replays=False)
    map_ = torch.eye(8)
    for block in net:
        map_ = (torch.eye(8) + 0.4 * block.v.weight.detach()) @ map_
    expected = float((2 * x @ map_.T @ map_).norm())
    assert float(profile.gradients[0]) == pytest.approx(expected, rel=1e-12)
    seen: list[float] = []

    def late(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        args[0].register_hook(lambda gradient: seen.append(float(gradient.norm())))

    handle = net[0].register_forward_hook(late)
    net(x.clone().requires_grad_(True).clone()).square().sum().backward()
    handle.remove()
    assert abs(seen[0] / expected - 1) > 1e-3


def unexplained(net: nn.Module, batch: Tensor, kind: str) -> float:
    """The share of an update that is left where a block is taken for one of another kind."""
    blocks = candidates(net)[0]
    record = watch(net, lambda module: module(batch), blocks, keep=[6])
    (replay,) = replays(record, [6])
    return writers.decompose(replay, kind).residual


@pytest.mark.parametrize(
    ("net", "batch", "kind", "least"),
    [
        (nets.encoder(0.5, norm_first=False), nets.tokens, "post-norm", 0.02),
        (nets.convolutional(0.5, after=True), nets.images, "post-activation", 0.1),
    ],
    ids=["post-norm", "post-activation"],
)
def test_what_stands_after_the_sum_must_be_known(
    net: Callable[[int], nn.Module], batch: Callable[[], Tensor], kind: str, least: float
) -> None:
    """A norm after the sum starts from an earlier norm; behind a rectifier only open coordinates count."""
    module = net(12)
    assert probe(module, batch()).kind == kind
    assert unexplained(module, batch(), kind) < 1e-10
    left = unexplained(module, batch(), "residual")
    assert least < left < math.inf
