"""Where `probe` finds the stream of a module, and what it refuses as none."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.own import depth_networks as nets
from resnet_sde.practice import NoStream, NotAStream, probe

pytestmark = pytest.mark.usefixtures("global_random")


def listed(blocks: list[nn.Module], run: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
    """A module that holds blocks and runs through them in a way of its own."""

    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(blocks)

        def forward(self, x: Tensor) -> Tensor:
            return run(self, x)

    return Listed()


def test_the_factor_of_branches_that_the_module_adds() -> None:
    def run(module: nn.Module, x: Tensor) -> Tensor:
        for layer in module.layers:
            x = x + 0.3 * layer(x)
        return x

    branches = [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)) for _ in range(6)]
    profile = probe(listed(branches, run), torch.randn(7, 8))
    assert profile.mode == "branch"
    assert profile.skip == pytest.approx(1.0, abs=1e-6)
    (writer,) = profile.writers
    assert writer.name == "1"
    assert writer.coefficient == pytest.approx(0.3, abs=1e-6)


def test_hybrid_lists_trimmed_stages_names_and_tuples() -> None:
    class Wide(nets.Branch):
        pass

    hybrid = nn.Sequential(*[(Wide if k % 3 == 0 else nets.Branch)(8) for k in range(7)])
    profile = probe(hybrid, torch.randn(5, 8))
    assert profile.names == tuple("0123456")

    stage = nn.Sequential(nn.Linear(4, 8), *[nets.Branch(8) for _ in range(4)])
    assert probe(stage, torch.randn(5, 4)).names == tuple("1234")
    assert probe(stage, torch.randn(5, 4), blocks=["2", "3"]).names == ("2", "3")
    assert probe(stage, torch.randn(5, 4), blocks=nets.Branch).names == tuple("1234")
    assert probe(nets.gpt(0.5)(4), nets.tokens(), blocks="h.*").names == ("h.0", "h.1", "h.2", "h.3")
    with pytest.raises(ValueError, match=re.escape("no module is named 'layers.*'")):
        probe(nets.gpt(0.5)(4), nets.tokens(), blocks="layers.*")

    class WithCache(nets.Branch):
        def forward(self, *, mask: Tensor, hidden: Tensor) -> tuple[Tensor, str]:
            return super().forward(hidden), "cache"

    def run(module: nn.Module, x: Tensor) -> Tensor:
        for layer in module.layers:
            x, _ = layer(mask=torch.ones(3, dtype=torch.bool), hidden=x)
        return x

    assert len(probe(listed([WithCache(8) for _ in range(4)], run), torch.randn(5, 8)).names) == 4


def test_writers_that_work_on_tokens_last_and_wrappers_within_blocks() -> None:
    class Residual(nn.Module):
        def __init__(self, body: nn.Module, tokens_last: bool) -> None:
            super().__init__()
            self.norm, self.body, self.tokens_last = nn.LayerNorm(16), body, tokens_last

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(x)
            return x + (self.body(y.transpose(1, 2)).transpose(1, 2) if self.tokens_last else self.body(y))

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            tokens = nn.Sequential(nn.Linear(5, 9), nn.GELU(), nn.Linear(9, 5))
            channels = nn.Sequential(nn.Linear(16, 9), nn.GELU(), nn.Linear(9, 16))
            self.tokens, self.channels = Residual(tokens, True), Residual(channels, False)

        def forward(self, x: Tensor) -> Tensor:
            return self.channels(self.tokens(x))

    profile = probe(nn.Sequential(*[Mixer() for _ in range(4)]), torch.randn(3, 5, 16))
    found = {w.name: w.coefficient for w in profile.writers}
    assert found == {"tokens.body.2": pytest.approx(1.0), "channels.body.2": pytest.approx(1.0)}


def test_functional_branches_have_no_writers_and_a_note() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(16, 16) / 16)

        def forward(self, x: Tensor) -> Tensor:
            return x + torch.einsum("bd,de->be", F.layer_norm(x, (16,)), self.w)

    profile = probe(nn.Sequential(*[Functional() for _ in range(5)]), torch.randn(4, 16))
    assert (profile.kind, profile.writers) == ("residual", ())
    assert any("not the output of any submodule" in note for note in profile.notes)


def linear_list() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(*[nn.Linear(32, 32) for _ in range(6)]), torch.randn(16, 32)


def tanh_perceptron() -> tuple[nn.Module, Tensor]:
    layers = [nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(6)]
    return nn.Sequential(*layers), torch.randn(16, 32)


def vgg() -> tuple[nn.Module, Tensor]:
    parts = [m for _ in range(5) for m in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*parts), nets.images()


def projections() -> tuple[nn.Module, Tensor]:
    def run(module: nn.Module, x: Tensor) -> Tensor:
        q, k, v = (layer(x) for layer in module.layers)
        return F.softmax(q @ k.T, -1) @ v

    return listed([nn.Linear(8, 8) for _ in range(3)], run), torch.randn(5, 8)


def dense_network() -> tuple[nn.Module, Tensor]:
    def run(module: nn.Module, x: Tensor) -> Tensor:
        for layer in module.layers:
            x = torch.cat([x, layer(x)], dim=-1)
        return x

    return listed([nn.Linear(8 + 4 * k, 4) for k in range(5)], run), torch.randn(5, 8)


def two_streams(rotated: bool) -> tuple[nn.Module, Tensor]:
    class Mixing(nets.Branch):
        def forward(self, x: Tensor) -> Tensor:
            a, b = super().forward(x).chunk(2, dim=-1)
            if rotated:
                return torch.cat([a - b, a + b], -1) / 2**0.5
            return torch.cat([0.9 * a + 0.1 * b, 0.1 * a + 0.9 * b], -1)

    return nn.Sequential(*[Mixing(32, norm=True) for _ in range(6)]), torch.randn(8, 32)


def scaled_skip(norm: bool) -> tuple[nn.Module, Tensor]:
    class Scaled(nets.Branch):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) - 0.2 * x

    return nn.Sequential(*[Scaled(64, norm=norm, factor=0.5) for _ in range(6)]), torch.randn(8, 64)


def reversible() -> tuple[nn.Module, Tensor]:
    class Reversible(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8))
            self.g = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8))

        def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            a = a + self.f(b)
            return a, b + self.g(a)

    def run(module: nn.Module, x: Tensor) -> Tensor:
        a = b = x
        for layer in module.layers:
            a, b = layer(a, b)
        return a

    return listed([Reversible() for _ in range(5)], run), torch.randn(5, 8)


def gated() -> tuple[nn.Module, Tensor]:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.f, self.z = nn.LayerNorm(32), nn.Linear(32, 32), nn.Linear(32, 32)

        def forward(self, x: Tensor) -> Tensor:
            z = torch.sigmoid(self.z(self.norm(x)))
            return (1 - z) * x + z * torch.tanh(self.f(self.norm(x)))

    return nn.Sequential(*[Gated() for _ in range(6)]), torch.randn(16, 32)


REFUSED = {
    "reversible": (reversible, "the blocks hand on 2 tensors of one shape: they carry several streams"),
    "highway": (gated, "mix several streams or scale the skip"),
    "layers of a module in C": (
        lambda: (nn.LSTM(8, 8, num_layers=5), torch.randn(3, 2, 8)),
        "no block is repeated",
    ),
    "list of Linear": (linear_list, "no skip connection"),
    "tanh network": (tanh_perceptron, "no skip connection"),
    "VGG": (vgg, "no block is repeated three times"),
    "q, k, v": (projections, "are not a chain|no block is repeated"),
    "DenseNet": (dense_network, "changes shape at block 0, (5, 8) → (5, 4)"),
    "two streams, rotated": (lambda: two_streams(True), "mix several streams or scale the skip"),
    "a scaled skip": (lambda: scaled_skip(True), "carry their input on with weight 0.8"),
    "a scaled skip, no norm": (lambda: scaled_skip(False), "carry their input on with weight 0.8"),
    "two streams, averaged": (lambda: two_streams(False), "mix several streams or scale the skip"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_residual_stream_is_refused_in_a_sentence(name: str) -> None:
    make, sentence = REFUSED[name]
    module, x = make()
    with pytest.raises((NoStream, NotAStream)) as refusal:
        probe(module, x)
    pattern = sentence if "|" in sentence else re.escape(sentence)
    assert re.search(pattern, str(refusal.value))
    assert "\n" not in str(refusal.value)


def test_a_stream_that_overflows() -> None:
    blocks = [nets.Branch(16, factor=30.0) for _ in range(40)]
    net = nn.Sequential(*blocks).float()
    profile = probe(net, torch.randn(4, 16).float())
    assert profile.kind == "residual"
    assert profile.first_nonfinite is not None
    assert 20 <= profile.first_nonfinite < 40  # 30^26 is the largest float32
    assert bool(torch.isfinite(profile.norms[: profile.first_nonfinite]).all())
    with pytest.raises(ValueError, match="is not finite"):
        probe(net, torch.full((4, 16), float("nan")).float())


def test_a_stream_that_is_positive_by_chance_left_no_rectifier() -> None:
    blocks = [nets.Branch(16, norm=True, factor=0.01) for _ in range(6)]
    assert probe(nn.Sequential(*blocks), 1.0 + torch.rand(4, 16)).kind == "residual"


def test_a_stream_of_zeros_is_refused() -> None:
    net = nn.Sequential(*[nets.Branch(8) for _ in range(4)])
    for x in (torch.zeros(3, 8), torch.zeros(0, 8)):
        with pytest.raises(NotAStream, match="the stream is zero at boundary 0"):
            probe(net, x)
    with pytest.raises(ValueError, match="the module is on the meta device"):
        probe(net.to("meta"), torch.zeros(3, 8, device="meta"))


def test_zero_branches() -> None:
    blocks = [nets.Branch(16, norm=True, factor=0.0) for _ in range(12)]
    profile = probe(nn.Sequential(*blocks), torch.randn(4, 16))
    assert profile.action == 0.0
    assert profile.growth == 1.0


def test_blocks_of_one_class_that_hold_different_submodules() -> None:
    """As attention stands at some places and a recurrence at others; what both have counts once."""

    class Either(nn.Module):
        def __init__(self, attends: bool) -> None:
            super().__init__()
            self.norm, self.down = nn.LayerNorm(16), nn.Linear(16, 16)
            self.add_module("attention" if attends else "recurrence", nn.Linear(16, 16))

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(x)
            return x + self.down(y.relu()) + getattr(self, "attention", getattr(self, "recurrence", None))(y)

    blocks = [Either(k % 4 == 1) for k in range(8)]
    profile = probe(nn.Sequential(*blocks), torch.randn(7, 16))
    assert sorted(w.name for w in profile.writers) == ["attention", "down", "recurrence"]
    assert all(w.coefficient == pytest.approx(1.0) for w in profile.writers)


def test_a_normalization_that_comes_first_of_all() -> None:
    """The sum starts from what a norm makes of the stream, and leaves the block without one."""

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_1, self.norm_2 = nn.LayerNorm(16), nn.LayerNorm(16)
            self.f, self.g = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm_1(x)
            x = self.norm_2(x + 0.3 * self.f(x))
            return x + 0.2 * self.g(x.relu())

    profile = probe(nn.Sequential(*[First() for _ in range(6)]), torch.randn(7, 16))
    assert profile.kind == "post-norm"
    found = {w.name: w.coefficient for w in profile.writers}
    assert found == {"f": pytest.approx(0.3), "g": pytest.approx(0.2)}


def test_what_is_only_like_a_writer_is_none() -> None:
    """The nearest to the update is a part of one writer; the rest of that is what the other takes away."""

    class Sum(nn.Module):
        def __init__(self, common: nn.Parameter) -> None:
            super().__init__()
            self.part, self.common = nn.Linear(16, 16), common

        def forward(self, x: Tensor) -> Tensor:
            return self.part(x) + F.linear(x, self.common)

    class Difference(nn.Module):
        def __init__(self, common: nn.Parameter) -> None:
            super().__init__()
            self.own, self.common = nn.Parameter(torch.randn(16, 16) / 8), common

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.own) - 0.95 * F.linear(x, self.common)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            common = nn.Parameter(torch.randn(16, 16) / 4)
            self.norm, self.f, self.g = nn.LayerNorm(16), Sum(common), Difference(common)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.f(self.norm(x)) + self.g(self.norm(x))

    profile = probe(nn.Sequential(*[Block() for _ in range(6)]), torch.randn(7, 16))
    assert {w.name: w.coefficient for w in profile.writers} == {"f": pytest.approx(1), "g": pytest.approx(1)}


def test_a_normalization_of_the_embedding_in_block_0() -> None:
    """As RWKV has it: what enters block 0 is no stream yet, and its norm no writer."""

    class Block(nn.Module):
        def __init__(self, first: bool) -> None:
            super().__init__()
            if first:
                self.before = nn.LayerNorm(16)
            self.norm, self.f = nn.LayerNorm(16), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            x = getattr(self, "before", nn.Identity())(x)
            return x + 0.5 * self.f(self.norm(x))

    profile = probe(nn.Sequential(*[Block(k == 0) for k in range(6)]), torch.randn(7, 16))
    assert {w.name: w.coefficient for w in profile.writers} == {"f": pytest.approx(0.5)}
    with pytest.raises(NotAStream, match=r"carry their input on with weight -?0"):
        probe(nn.Sequential(*[Block(k % 3 == 0) for k in range(6)]), torch.randn(7, 16))
