"""Branches behind a normalization, against plain loops of torch and their theory of infinite width."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, rms_norm

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde import observables as ob
from resnet_sde.contracts.theory import wrong_recursion
from resnet_sde.estimate import mean

WHITE = rs.WhiteNoise()
NORMS = {"rms": rms_norm, "layer": layer_norm}
INSIDE = [
    rs.SingleLayer(rs.TANH, 1.5, 0.3),
    rs.TwoLayer(rs.RELU),
    rs.TwoLayer(rs.TANH, 1.5, 0.2, 0.8, 0.1),
    rs.Reduced(rs.TANH, 1.3),
]
BLOCKS = [rs.PreNorm(block, norm) for block in INSIDE for norm in NORMS]
every_block = pytest.mark.parametrize("block", BLOCKS, ids=str)


def plain(block: rs.PreNorm, h: Tensor, layer: rs.Layer) -> Tensor:
    """The branch by torch's own normalization, which has an ε."""
    return block.block.branch(NORMS[block.norm](h, h.shape[-1:], eps=1e-300), layer)


@every_block
def test_loops_are_those_of_torch(block: rs.PreNorm) -> None:
    h, top = (torch.randn(3, 2, 7, generator=rs.generator(0, name)) for name in "ht")
    layers = rs.Model(block, WHITE, 7, beta=0.5).draw(6, samples=3).layers(6)
    found = rs.trajectory(block, h, layers, 0.7, top=top)
    state = start = h.clone().requires_grad_()
    for layer in layers:
        state = state + 0.7 * plain(block, state, layer)
    (expected,) = torch.autograd.grad(state, start, top)
    assert found.adjoint is not None
    torch.testing.assert_close(found.hidden.natural(-1), state.detach(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(found.adjoint.natural(0), expected, rtol=1e-10, atol=1e-10)
    end = rs.forward(block, start, layers, 0.7)[-1]
    torch.testing.assert_close(torch.autograd.grad(end, start, top)[0], expected, rtol=1e-10, atol=1e-10)


@every_block
@pytest.mark.parametrize("scale", [1e-200, 1e-20, 1e20, 1e200])
def test_branches_do_not_see_the_size_of_a_state(block: rs.PreNorm, scale: float) -> None:
    h, p = (torch.randn(2, 2, 7, generator=rs.generator(0, name)) for name in "hp")
    (layer,) = rs.Model(block, WHITE, 7, beta=0.5).draw(1, samples=2).layers(1)
    branch, pre = block._branch_and_pre(h, layer)
    large, pre_of_large = block._branch_and_pre(scale * h, layer)
    torch.testing.assert_close(large, branch, rtol=1e-12, atol=1e-12)
    back, expected = block._adjoint_at(pre_of_large, p, layer), block._adjoint_at(pre, p, layer)
    torch.testing.assert_close(back * scale, expected, rtol=1e-12, atol=1e-12)
    assert not block._branch_and_pre(0 * h, layer)[0].isnan().any(), "zero stays zero"


@every_block
def test_what_it_says_of_infinite_width_is_that_of_wide_layers(block: rs.PreNorm) -> None:
    assert wrong_recursion(block) is None


@dataclass(frozen=True)
class Wrong(rs.PreNorm):
    """A moment that is 5 % off."""

    which: str = "dual"

    def dual(self, *arguments: Tensor, **options: Tensor) -> Tensor:
        return super().dual(*arguments, **options) * (1.05 if self.which == "dual" else 1.0)

    def dual_prime(self, *arguments: Tensor, **options: Tensor) -> Tensor:
        return super().dual_prime(*arguments, **options) * (1.05 if self.which == "dual_prime" else 1.0)


@pytest.mark.parametrize("which", ["dual", "dual_prime"])
def test_a_planted_error_is_seen(which: str) -> None:
    model = rs.Model(Wrong(rs.TwoLayer(rs.TANH), which=which), WHITE, 8)
    with pytest.raises(ValueError, match=f"{which} of block Wrong .* wide random layers give"):
        mf.lengths(model, depth=3)


SEEN = [ob.kernel, ob.log10_gradient_growth]


@pytest.mark.parametrize(("norm", "width"), [("rms", 32), ("rms", 64), ("rms", 128), ("layer", 128)])
def test_networks_agree_with_their_mean_field(norm: str, width: int) -> None:
    """Within intervals of 1e-5 and of finite width; the control is the block without its norm."""
    depth, samples = 16, 600
    model = rs.Model(rs.PreNorm(rs.TwoLayer(rs.TANH, 1.5, 0.2, 0.8, 0.1), norm), WHITE, width, gain=1.5)
    k0 = torch.tensor([[4.0, 1.6], [1.6, 9.0]])
    root = torch.linalg.cholesky(k0)
    x = torch.cat([root, torch.zeros(2, width - 2)], 1) * math.sqrt(width)
    out = rs.simulate(model, x, depth=depth, samples=samples, observe=SEEN)
    expected = mf.kernel(model, k0, depth=depth)[-1]
    control = mf.kernel(rs.Model(model.block.block, WHITE, width, gain=1.5), k0, depth=depth)[-1]
    missed = []
    for i, j in ((0, 0), (0, 1), (1, 1)):
        found = mean(out["kernel"][:, i, j], level=1 - 1e-5)
        room = 4.0 / width
        assert found.low - room < float(expected[i, j]) < found.high + room
        missed.append(not found.low - room < float(control[i, j]) < found.high + room)
    assert any(missed), "without its norm it would be noticed"
    growth = mean(10 ** (2 * out["log10_gradient_growth"][:, 0]), level=1 - 1e-5)
    by_theory = math.exp(float(mf.lengths(model, 4.0, depth=depth).log_gradient_growth[-1]))
    assert growth.low - 2.0 / width < by_theory < growth.high + 2.0 / width


def test_lengths_walk() -> None:
    """q_l = 1 + l α² c, whatever the block: a closed form."""
    block = rs.PreNorm(rs.SingleLayer(rs.RELU, 1.0, 0.2))
    found = mf.lengths(rs.Model(block, WHITE, 8, beta=0.0), depth=50)
    torch.testing.assert_close(found.q, 1 + 0.7 * torch.arange(51, dtype=torch.float64), rtol=1e-10, atol=0)
    far = mf.lengths(rs.Model(block, WHITE, 8, beta=0.0), 1e-60, depth=50)
    torch.testing.assert_close(far.q[1:], 0.7 * torch.arange(1, 51, dtype=torch.float64), rtol=1e-9, atol=0)


def test_cosines_live_in_logarithmic_time() -> None:
    """At twice log(1 + S) by a hundredfold depth or by a larger gain, inputs are equally far."""
    block = rs.PreNorm(rs.TwoLayer(rs.RELU))
    ends = []
    for depth, gain in ((2000, 3.0), (8000, 3.0)):
        ends.append(mf.gaps(rs.Model(block, WHITE, 8, gain=gain), 1.0, 0.8, depth=depth)[-1])
    torch.testing.assert_close(ends[0], ends[1], rtol=2e-3, atol=0)
    # dκ/dτ of the arc-cosine kernel, by Euler's scheme in τ = log(1 + S), S = gain² / 2.
    cosine, steps = 0.2, 20000
    tau = math.log1p(9.0 / 2)
    for _ in range(steps):
        dual = (math.sqrt(1 - cosine**2) + cosine * (math.pi - math.acos(cosine))) / math.pi
        cosine += (dual - cosine) * tau / steps
    assert abs(float(1 - ends[1]) - cosine) < 1e-3


@pytest.mark.parametrize("law", [rs.FractionalNoise(0.7), rs.SmoothNoise(0.3)], ids=str)
def test_correlated_weights_have_a_kernel_of_two_times(law: rs.PathLaw) -> None:
    width, depth, samples = 100, 16, 300
    model = rs.Model(rs.PreNorm(rs.SingleLayer(rs.TANH)), law, width, beta=0.5)
    x = torch.ones(1, width)
    out = rs.simulate(model, x, depth=depth, samples=samples, observe=[ob.kernel], method="dense")
    found = mean(out["kernel"][:, 0, 0], level=1 - 1e-5)
    by_theory = float(mf.two_time(model, depth=depth)[-1, -1])
    assert found.low - 4.0 / width < by_theory < found.high + 4.0 / width
    white = float(mf.lengths(rs.Model(model.block, WHITE, width, beta=0.5), depth=depth).q[-1])
    assert not found.low - 4.0 / width < white < found.high + 4.0 / width, "a law that would not be noticed"


def test_refusals() -> None:
    with pytest.raises(ValueError, match="norm must be one of rms, layer"):
        rs.PreNorm(rs.TwoLayer(rs.RELU), "batch")
    with pytest.raises(ValueError, match="block must be a Block"):
        rs.PreNorm(rs.RELU)
    shifted = rs.Model(rs.PreNorm(rs.Reduced(rs.RELU)), WHITE, 8)
    model = rs.Model(rs.PreNorm(rs.TwoLayer(rs.RELU)), WHITE, 8)
    for ask, message in (
        (lambda: mf.lengths(shifted, depth=3), "a normalization meets"),
        (lambda: mf.lengths(model, depth=3, keep_rate=0.5), "dropout has a theory for branches"),
        (lambda: mf.parameter_gradients(model, depth=3), "meanfield.lengths, kernel"),
        (lambda: mf.asymptotics(rs.Model(model.block, WHITE, 8, beta=0.0)), "meanfield.lengths, kernel"),
        (lambda: rs.limit(replace(model, law=rs.FractionalNoise(0.7))), "derived for TwoLayer"),
        (lambda: rs.networks.ResNet(model, 3, 4, 2, seed=0), "networks that are trained have"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_block_of_ones_own_inside_is_asked() -> None:
    @dataclass(frozen=True)
    class Mixing(rs.SingleLayer):
        def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
            found = super().branch(h, layer)
            return found - found.mean(0, keepdim=True)

    with pytest.raises(ValueError, match="mixes networks"):
        rs.Model(rs.PreNorm(Mixing(rs.TANH)), WHITE, 8, beta=0.5)
