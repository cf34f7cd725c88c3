"""What `probe` measures in one network, beside theory and brute force, and that it leaves nothing behind."""

import random
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from experiments.own import depth_networks as nets
from resnet_sde.practice import probe

pytestmark = pytest.mark.usefixtures("global_random")

RESIDUAL = {
    "gpt": (nets.gpt(0.5), nets.tokens, {"down", "attention.o"}),
    "encoder": (nets.encoder(0.5), nets.tokens, {"linear2", "self_attn"}),
    "convolutional": (nets.convolutional(0.5), nets.images, {"conv_2"}),
    "perceptron": (nets.perceptron(0.5), nets.vectors, {"v"}),
    "loop": (nets.loop_gpt(0.5), nets.tokens, {"down", "attention.o"}),
}


@pytest.mark.parametrize("name", RESIDUAL)
def test_a_residual_stream_and_its_writers(name: str) -> None:
    factory, batch, writers = RESIDUAL[name]
    profile = probe(factory(12), batch())
    homogeneous = name == "perceptron"
    assert profile.kind == "residual"
    assert len(profile.names) == 12
    assert profile.skip == pytest.approx(1.0, abs=0.3 if homogeneous else 0.05)
    assert profile.degree == pytest.approx(float(homogeneous), abs=0.1)
    assert profile.mixing < (0.6 if homogeneous else 0.05)
    assert {w.name for w in profile.writers} == writers
    for writer in profile.writers:
        assert writer.residual < 1e-10  # float64
        assert writer.coefficient == pytest.approx(1.0, abs=1e-6)


def test_a_normalization_after_the_sum() -> None:
    profile = probe(nets.encoder(0.5, norm_first=False)(12), nets.tokens())
    assert profile.kind == "post-norm"
    assert abs(profile.out_degree) < 0.1
    assert profile.predicted_growth == 1.0
    assert {w.name for w in profile.writers} == {"linear2", "self_attn"}
    assert all(w.residual < 1e-10 for w in profile.writers)


def test_a_rectifier_after_the_sum() -> None:
    profile = probe(nets.convolutional(0.5, after=True)(12), nets.images())
    assert profile.kind == "post-activation"
    (writer,) = profile.writers
    assert writer.name == "norm_2"
    assert writer.coefficient == pytest.approx(1.0, abs=1e-6)


def test_the_action_predicts_the_growth_of_normalized_branches() -> None:
    profile = probe(nets.gpt(0.5)(32), nets.tokens())
    assert profile.growth == pytest.approx(profile.predicted_growth, rel=0.05)
    assert profile.logarithmic_time == pytest.approx(np.log1p(profile.action))


def unit_branches(cls: type[nets.Branch], factor: float) -> list[nn.Module]:
    return [cls(192, norm=True, factor=factor) for _ in range(128)]


def unit_vectors() -> Tensor:
    return F.layer_norm(nets.vectors(8, 192), (192,))


@pytest.mark.parametrize(("beta", "action"), [(0.0, 128.0), (0.5, 1.0)])
def test_theory_of_normalized_branches(beta: float, action: float) -> None:
    """x + L^{−β} V relu(W norm(x)) with c = 1: S = L^{1−2β}, and τ rules norm, angle and gradient alike."""
    profile = probe(nn.Sequential(*unit_branches(nets.Branch, 128**-beta)), unit_vectors())
    tau = np.log1p(action)
    assert profile.action == pytest.approx(action, rel=0.03)
    norms, gradients = profile.norms, profile.gradients
    angles = (1 - profile.displacements**2 + (norms / norms[0]) ** 2) / (2 * norms / norms[0])
    for measured in (
        2 * np.log(profile.growth),
        -2 * np.log(float(angles[-1])),
        2 * np.log(float(gradients[0] / gradients[-1])),
    ):
        assert measured == pytest.approx(tau, abs=0.05 * tau + 0.07)
    expected = sum(1 / (k + 128 / action) for k in range(128))
    assert float(profile.turning.square().sum()) == pytest.approx(expected, rel=0.05)


def test_the_gradient_of_tanh_grows_faster_than_that_of_relu() -> None:
    """χ / c² is 1 for ReLU and 1.178 for tanh: the control of the theory above."""

    class Tanh(nets.Branch):
        def forward(self, x: Tensor) -> Tensor:
            return x + self.v(torch.tanh(self.w(self.norm(x)) / 2**0.5)) / 0.6281  # E tanh² = .3945

    profile = probe(nn.Sequential(*unit_branches(Tanh, 1.0)), unit_vectors())
    growth = 2 * np.log(float(profile.gradients[0] / profile.gradients[-1]))
    assert growth > 1.1 * profile.logarithmic_time


class WritesOnItsInput(nets.Branch):
    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(x, 0.5, inplace=True)
        return x + self.factor * self.v(F.relu(self.w(x)))


@pytest.mark.parametrize("cls", [nets.Branch, WritesOnItsInput])
def test_gradients_by_brute_force(cls: type[nets.Branch]) -> None:
    blocks = [cls(8, factor=0.4) for _ in range(6)]
    x = torch.randn(5, 8)
    profile = probe(nn.Sequential(*blocks), x, loss=lambda out, _: out.square().sum(), replays=False)
    states = [x]
    for block in blocks:
        states.append(block(states[-1].clone()))
    for k, state in enumerate(states):
        leaf = state.detach().requires_grad_()
        out = leaf.clone()
        for block in blocks[k:]:
            out = block(out.clone())
        (expected,) = torch.autograd.grad(out.square().sum(), leaf)
        assert float(profile.gradients[k]) == pytest.approx(float(expected.norm()), rel=1e-12)


# --- nothing is changed -----------------------------------------------------------------------------------


class Awkward(nn.Module):
    """Dropout, running statistics, a frozen part, gradients of its own, and noise from every generator."""

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *[nn.Sequential(nets.Branch(8), nn.BatchNorm1d(8), nn.Dropout(0.3)) for _ in range(5)]
        )
        self.fail = fail
        self.first = nn.Linear(8, 8)
        self.first.requires_grad_(False)
        self.register_buffer("calls", torch.zeros(()))
        for parameter in self.blocks.parameters():
            parameter.grad = torch.ones_like(parameter)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.first(x) + random.random() * 1e-3 + np.random.standard_normal() * 1e-3  # noqa: NPY002
        for k, block in enumerate(self.blocks):
            if self.fail and k == 2:
                raise RuntimeError("the middle block fails")
            x = x + 0.3 * block(x)
        return x


def state_of(module: nn.Module) -> dict[str, object]:
    return {
        "state": {k: v.clone() for k, v in module.state_dict().items()},
        "grads": {k: None if p.grad is None else p.grad.clone() for k, p in module.named_parameters()},
        "needs": [p.requires_grad for p in module.parameters()],
        "modes": [m.training for m in module.modules()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in module.modules()
        ],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),  # noqa: NPY002
        "random": random.getstate(),
    }


def equal(left: object, right: object) -> bool:
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, (tuple, list)):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, np.ndarray):
        return np.array_equal(left, right)
    return left == right


@pytest.mark.parametrize("fail", [False, True])
def test_the_module_is_left_as_it_was(fail: bool) -> None:
    module = Awkward(fail)
    module.blocks[1].eval()
    x = torch.randn(6, 8)
    before = state_of(module)
    if fail:
        with pytest.raises(RuntimeError, match="the middle block fails"):
            probe(module, x)
    else:
        profile = probe(module, x)
        assert profile.mode == "branch"
        assert any("dropout is active" in note for note in profile.notes)
    after = state_of(module)
    assert [k for k in before if not equal(before[k], after[k])] == []
    assert not x.requires_grad


def test_a_changed_buffer_would_be_noticed() -> None:
    module = Awkward()
    before = state_of(module)
    module(torch.randn(6, 8))
    after = state_of(module)
    assert {k for k in before if not equal(before[k], after[k])} >= {"state", "torch"}


def test_the_same_numbers_frozen_without_gradients_and_in_inference_mode() -> None:
    net, x = nets.gpt(0.5)(6), nets.tokens()
    profile = probe(net, x)
    net.requires_grad_(False)
    with torch.inference_mode():
        frozen = probe(net, x)
    assert torch.equal(frozen.gradients, profile.gradients)
    assert torch.equal(frozen.turning, profile.turning)
    without = probe(net, x, gradients=False, replays=False)
    assert torch.equal(without.norms, profile.norms)
    assert without.kind == "unknown"
    assert bool(torch.isnan(without.gradients).all())


def test_low_precision() -> None:
    net, x = nets.gpt(0.5)(6), nets.tokens()
    profile = probe(net, x)
    half = probe(net.to(torch.bfloat16), x)
    assert torch.allclose(half.turning, profile.turning, rtol=0.05)
    net.to(torch.float32)

    def cast(module: nn.Module, batch: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return module(batch)

    mixed = probe(net, x, call=cast)
    assert torch.allclose(mixed.turning, profile.turning, rtol=0.05)
    assert {w.name for w in mixed.writers} == {"down", "attention.o"}


def test_checkpointing() -> None:
    class Checkpointed(nn.Module):
        def __init__(self, reentrant: bool) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nets.Branch(8) for _ in range(5)])
            self.reentrant = reentrant

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=self.reentrant)
            return x

    x = torch.randn(6, 8)
    net = Checkpointed(reentrant=False)
    kept = probe(net, x)
    net.forward = lambda x: nn.Sequential(*net.blocks)(x)  # type: ignore[method-assign]
    assert torch.allclose(probe(net, x).gradients, kept.gradients, rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="use_reentrant=False or gradients=False"):
            probe(Checkpointed(reentrant=True), x)


def test_compiled_modules_run_as_written() -> None:
    net, x = nets.perceptron(0.5)(4), nets.vectors()
    profile = probe(net, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        whole = probe(torch.compile(net), x)
        net[1][1] = torch.compile(net[1][1])
    compiled = net[1][1]
    assert torch.equal(probe(net, x).turning, profile.turning)
    assert torch.equal(whole.turning, profile.turning)
    assert net[1][1] is compiled


def test_sums_over_groups_of_blocks() -> None:
    from resnet_sde.practice.coherence import Groups

    vectors = torch.randn(29, 7)
    groups = Groups(7)
    for vector in vectors:
        groups.add(vector)
    means = groups.means()
    assert list(means) == [1, 2, 4]
    for size, found in means.items():
        starts = range(0, 29 - size + 1, size)
        expected = np.mean([float(vectors[i : i + size].sum(0).square().sum()) for i in starts])
        assert found == pytest.approx(float(expected), rel=1e-12)
    assert all(a < b for a, b in pairwise(means.values()))
