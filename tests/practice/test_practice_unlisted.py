"""The depth check on architectures as a user would bring them, which no page of the project lists."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import resnet_sde as rs

FACTORS = {"none": (0.0, 0.0), "sqrt": (0.5, 0.0), "depth": (1.0, 0.0), "weights": (0.0, 0.5)}
"""Exponents of the multiplier in the graph, and of that in initial weights, where 2 L stands for L."""


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class MessagePassing(nn.Module):
    def __init__(self, width: int, factor: float, small: float) -> None:
        super().__init__()
        self.norm, self.factor = nn.LayerNorm(width), factor
        self.message, self.update = nn.Linear(width, width), nn.Linear(2 * width, width)
        nn.init.zeros_(self.update.bias)
        with torch.no_grad():
            self.update.weight.mul_(small)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        seen = self.norm(nodes)
        heard = adjacency @ torch.relu(self.message(seen))
        return nodes + self.factor * self.update(torch.cat([seen, heard], -1))


class GraphNetwork(nn.Module):
    """Nodes (graph, node, feature) on a dense adjacency (graph, node, node), as many nodes as channels."""

    def __init__(self, depth: int, factor: float, small: float) -> None:
        super().__init__()
        self.encoder = nn.Linear(5, 16)
        self.layers = nn.ModuleList([MessagePassing(16, factor, small) for _ in range(depth)])
        self.readout = nn.Linear(16, 2)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        x = self.encoder(nodes)
        for layer in self.layers:
            x = layer(x, adjacency)
        return self.readout(x.mean(1))


class Gated(nn.Module):
    def __init__(self, width: int, dilation: int, factor: float, small: float) -> None:
        super().__init__()
        self.dilation, self.factor = dilation, factor
        self.gates = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.residual, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.residual.bias)
        with torch.no_grad():
            self.residual.weight.mul_(small)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        filtered, gate = self.gates(F.pad(x, (self.dilation, 0))).chunk(2, 1)
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        return x + self.factor * self.residual(z), self.skip(z)


class WaveNet(nn.Module):
    """Every block hands a second tensor, of the shape of its stream, to a sum of skip outputs."""

    def __init__(self, depth: int, factor: float, small: float) -> None:
        super().__init__()
        self.front = nn.Conv1d(1, 16, 1)
        self.stack = nn.ModuleList([Gated(16, 2 ** (k % 3), factor, small) for k in range(depth)])
        self.readout = nn.Conv1d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.front(x), torch.zeros(())
        for block in self.stack:
            x, skip = block(x)
            total = total + skip
        return self.readout(F.relu(total))


class Rectified(nn.Module):
    """A branch that ends in a function of one sign: it has a part along the stream."""

    def __init__(self, width: int, factor: float, small: float, as_module: bool) -> None:
        super().__init__()
        self.linear, self.factor = nn.Linear(width, width, bias=False), factor
        self.act = nn.ReLU() if as_module else None
        with torch.no_grad():
            self.linear.weight.mul_(small)

    def forward(self, x: Tensor) -> Tensor:
        z = self.linear(x)
        return x + self.factor * (F.relu(z) if self.act is None else self.act(z))


def rectified(depth: int, factor: float, small: float, as_module: bool = False) -> nn.Module:
    blocks = [Rectified(24, factor, small, as_module) for _ in range(depth)]
    return nn.Sequential(nn.Linear(6, 24), nn.Sequential(*blocks), nn.Linear(24, 3))


class Equivariant(nn.Module):
    """Features of nodes, and their positions as a second stream of another shape."""

    def __init__(self, width: int, factor: float, small: float) -> None:
        super().__init__()
        self.factor = factor
        self.edge = nn.Sequential(nn.Linear(2 * width + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.node = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.push = nn.Linear(width, 1)
        nn.init.zeros_(self.node[2].bias)
        with torch.no_grad():
            self.node[2].weight.mul_(small)

    def forward(self, nodes: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        apart = positions[:, :, None] - positions[:, None]
        pairs = (len(nodes), nodes.shape[1], nodes.shape[1], nodes.shape[2])
        both = nodes[:, :, None].expand(pairs), nodes[:, None].expand(pairs)
        edges = self.edge(torch.cat([*both, apart.square().sum(-1, keepdim=True)], -1))
        moved = positions + self.factor * (apart * self.push(edges)).mean(2)
        return nodes + self.factor * self.node(torch.cat([nodes, edges.mean(2)], -1)), moved


class EquivariantNetwork(nn.Module):
    def __init__(self, depth: int, factor: float, small: float) -> None:
        super().__init__()
        self.embedding = nn.Linear(4, 12)
        self.layers = nn.ModuleList([Equivariant(12, factor, small) for _ in range(depth)])

    def forward(self, nodes: Tensor, positions: Tensor) -> Tensor:
        nodes = self.embedding(nodes)
        for layer in self.layers:
            nodes, positions = layer(nodes, positions)
        return nodes.sum(1)


def graphs() -> tuple[Tensor, Tensor]:
    adjacency = (normal(3, 16, 16) > 0.8).float() + torch.eye(16)
    return normal(3, 16, 5), adjacency / adjacency.sum(-1, keepdim=True)


NETWORKS: dict[str, tuple[Callable[..., nn.Module], Callable[[], object], set[str]]] = {
    "graph network": (GraphNetwork, graphs, {"update"}),
    "WaveNet": (WaveNet, lambda: normal(4, 1, 24), {"residual"}),
    "rectified branch": (rectified, lambda: normal(12, 6), set()),
}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", NETWORKS)
def test_exponents_are_those_of_the_code(name: str, factor: str) -> None:
    network, batch, writers = NETWORKS[name]
    multiplier, weights = FACTORS[factor]

    def factory(depth: int) -> nn.Module:
        return network(depth, depth**-multiplier, (2 * depth) ** -weights)

    check = rs.depth_check(factory, batch(), depths=(8, 24))
    prescribed = multiplier + weights
    assert check.kind == "residual"
    assert abs(check.beta.value - prescribed) < 0.06
    assert {w.name for w in check.writers} == writers
    assert all(abs(w.beta.value - prescribed) < 0.06 for w in check.writers)
    forgotten = check.beta.within(prescribed + 0.5, 0.1)  # a factor of L^-0.5 that is not there
    assert forgotten.value == "fails"


def test_a_skip_of_one_is_seen_beside_a_branch_along_the_stream() -> None:
    """Whether the activation is a function or a module, it is the same network."""
    function = rs.depth_check(
        functools.partial(rectified, factor=1.0, small=1.0), normal(12, 6), depths=(8, 24)
    )
    module = rs.depth_check(
        functools.partial(rectified, factor=1.0, small=1.0, as_module=True), normal(12, 6), depths=(8, 24)
    )
    assert function.beta == module.beta
    assert not function.writers
    assert [w.name for w in module.writers] == ["act"]


class ScaledSkip(Rectified):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - 0.3 * x


def test_a_skip_that_is_scaled_is_refused_beside_such_a_branch() -> None:
    def factory(depth: int) -> nn.Module:
        blocks = [ScaledSkip(24, 1.0, 1.0, False) for _ in range(depth)]
        return nn.Sequential(nn.Linear(6, 24), nn.Sequential(*blocks), nn.Linear(24, 3))

    with pytest.raises(rs.NotAStream, match="carry their input on with weight"):
        rs.depth_check(factory, normal(12, 6), depths=(8, 24))


def test_two_streams_of_different_shapes_show_the_first_also_where_they_overflow() -> None:
    batch = (normal(3, 6, 4), normal(3, 6, 3))
    tame = rs.depth_check(lambda depth: EquivariantNetwork(depth, 1 / depth, 1.0), batch, depths=(8, 24))
    assert abs(tame.beta.value - 1) < 0.06
    wild = rs.depth_check(lambda depth: EquivariantNetwork(depth, 20.0, 1.0), batch, depths=(8, 24))
    assert wild.profiles[-1][0].first_nonfinite is not None
    assert any("not finite from boundary" in note for note in wild.notes)
    assert not any("no_grad" in note for note in wild.notes)
    assert math.isnan(float(wild.profiles[-1][0].norms[-1]))


def test_of_branches_that_are_zero_nothing_is_said_about_independence() -> None:
    check = rs.depth_check(lambda depth: GraphNetwork(depth, 0.0, 1.0), graphs(), depths=(9, 12), seeds=2)
    assert check.fate.value == "zero"
    assert "too few layers" not in str(check)
    assert "no branch shows whether layers are independent" in str(check)


class Mixing(nn.Module):
    """A branch without weights: the real part of a Fourier transform over positions and channels."""

    def __init__(self, factor: float, normalized: bool, scaling: str = "ortho") -> None:
        super().__init__()
        self.factor, self.norm = factor, nn.LayerNorm(16)
        self.normalized, self.scaling = normalized, scaling

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm(x) if self.normalized else x
        mixed = x + self.factor * torch.fft.fft2(seen, norm=self.scaling).real
        return mixed if self.normalized else self.norm(mixed)


class Field(nn.Module):
    """One step of an equation whose field knows the time, called again and again."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.up, self.down = factor, nn.Linear(17, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor, time: float) -> Tensor:
        timed = torch.cat([x, torch.full_like(x[..., :1], time)], -1)
        return x + self.factor * self.down(torch.tanh(self.up(timed)))


class Steps(nn.Module):
    def __init__(self, depth: int, factor: float) -> None:
        super().__init__()
        self.enter, self.step, self.depth = nn.Linear(6, 16), Field(factor), depth

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for k in range(self.depth):
            x = self.step(x, k / self.depth)
        return x


@pytest.mark.parametrize(
    ("name", "prescribed"),
    [
        *itertools.product(["mixing, pre-norm", "mixing, post-norm", "steps of one field"], [0.0, 0.5, 1.0]),
    ],
)
def test_of_coherent_blocks_the_first_shows_the_exponent(name: str, prescribed: float) -> None:
    def factory(depth: int) -> nn.Module:
        if name == "steps of one field":
            return Steps(depth, depth**-prescribed)
        blocks = [Mixing(depth**-prescribed, "pre" in name) for _ in range(depth)]
        return nn.Sequential(nn.Linear(6, 16), nn.Sequential(*blocks))

    batch = normal(6, 6) if name == "steps of one field" else normal(4, 5, 6)
    check = rs.depth_check(factory, batch, depths=(9, 27))
    assert abs(check.beta.value - prescribed) < 0.06
    assert check.coherence.value > 0.85
    assert check.critical_beta == 1
    assert all(abs(w.beta.value - prescribed) < 0.06 for w in check.writers)


@pytest.mark.parametrize(
    ("prescribed", "scaling"), [(0.5, "ortho"), (0.0, "backward"), (0.5, "backward"), (1.0, "backward")]
)
def test_what_block_0_makes_behind_a_norm_and_branches_of_any_size_leave_no_wrong_exponent(
    prescribed: float, scaling: str
) -> None:
    """A Fourier transform that is not unitary is larger than its stream; only β = 0 is then seen."""

    def factory(depth: int) -> nn.Module:
        first = nn.Linear(6, 16)
        blocks = [Mixing(depth**-prescribed, False, scaling) for _ in range(depth)]
        return nn.Sequential(first, nn.Sequential(*blocks))

    check = rs.depth_check(factory, normal(4, 16, 6), depths=(9, 27))
    sizes = [np.mean([math.log(float(p.sizes[1])) for p in row]) for row in check.profiles]
    as_they_stand = -float(np.polyfit(np.log((9, 27)), sizes, 1)[0])
    if prescribed == 0.5 and scaling == "ortho":
        assert abs(as_they_stand - prescribed) > 0.06
    if prescribed == 0.0 or scaling == "ortho":
        assert abs(check.beta.value - prescribed) < 0.06
        return
    assert math.isnan(check.beta.value)
    assert check.fate.value == "undecided"
    assert "cannot be read off" in str(check).splitlines()[1]
    with pytest.raises(rs.DepthMismatch, match="branches are as large as the stream"):
        check.expect(prescribed, independent=False)


class Stages(nn.Module):
    """Two stages that grow with the depth: the second is given what the first has made larger."""

    def __init__(self, depth: int, first: float, second: float) -> None:
        super().__init__()
        self.small = nn.Sequential(*[MessagePassing(12, first, 1.0) for _ in range(depth)])
        self.widen = nn.Linear(12, 16, bias=False)
        self.large = nn.ModuleList([MessagePassing(16, second, 1.0) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        adjacency = torch.eye(x.shape[1]).expand(len(x), -1, -1)
        for block in self.small:
            x = block(x, adjacency)
        x = self.widen(x)
        for block in self.large:
            x = block(x, adjacency)
        return x


def test_a_stream_that_enters_larger_in_deeper_networks_is_not_taken_for_a_factor() -> None:
    bare = rs.depth_check(lambda depth: Stages(depth, 1.0, 1.0), normal(4, 6, 12), depths=(8, 24))
    assert bare.prefix == "large.*"
    assert -0.55 < bare.entry.value < -0.2
    assert any("enters its first block like L^0." in note for note in bare.notes)
    assert abs(bare.beta.value - bare.inherited) < 0.06
    with pytest.raises(rs.DepthMismatch, match="what runs before it depends on the depth"):
        bare.expect()
    sound = rs.depth_check(
        lambda depth: Stages(depth, depth**-0.5, depth**-0.5), normal(4, 6, 12), depths=(8, 24)
    )
    assert sound.inherited == 0
    assert sound.expect() is sound


def test_steps_in_the_depth_are_no_power_of_it() -> None:
    """Layer scale as in CaiT: .1 up to 18 blocks, then 1e-5, then 1e-6."""

    def factory(depth: int) -> nn.Module:
        return GraphNetwork(depth, 0.1 if depth <= 18 else 1e-5 if depth <= 24 else 1e-6, 1.0)

    check = rs.depth_check(factory, graphs(), depths=(8, 24, 36), seeds=2)
    assert any("no power of the depth" in note for note in check.notes)
    smooth = rs.depth_check(lambda depth: GraphNetwork(depth, 1 / depth, 1.0), graphs(), depths=(8, 24, 36))
    assert not smooth.notes


class Scale(nn.Module):
    def __init__(self, width: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), value))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class ResidualMLP(nn.Module):
    """Tokens and channels are mixed in turn; one layer scale is a parameter and one a module."""

    def __init__(self, scale: float, inner: float) -> None:
        super().__init__()
        self.tokens, self.up, self.down = nn.Linear(6, 6), nn.Linear(16, 32), nn.Linear(32, 16)
        self.scale_1, self.scale_2 = nn.Parameter(torch.full((16,), scale)), Scale(16, 0.5 * scale)
        with torch.no_grad():
            self.up.weight.mul_(inner)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale_1 * self.tokens(x.mT).mT
        return x + self.scale_2(self.down(F.gelu(self.up(x))))


def residual_mlp(depth: int, inner: float) -> nn.Module:
    return nn.Sequential(*[ResidualMLP(depth**-0.5, depth**-inner) for _ in range(depth)])


def test_a_layer_scale_that_falls_with_the_depth_is_a_factor_of_what_it_multiplies() -> None:
    batch = normal(4, 6, 16)
    sound = rs.assert_depth_law(functools.partial(residual_mlp, inner=0.0), batch, depths=(8, 24))
    assert {w.name for w in sound.writers} == {"tokens", "down"}
    writes = {role.role.rpartition("*.")[2] for role in sound.roles if role.writes and role.depends()}
    assert writes == {"scale_1", "scale_2.gamma"}
    with pytest.raises(rs.DepthMismatch, match=r"up\.weight .* one matrix too many"):
        rs.assert_depth_law(functools.partial(residual_mlp, inner=0.5), batch, depths=(8, 24))
