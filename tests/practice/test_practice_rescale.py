"""Branches scaled to a given action, undone to the bit; and advice, beside its table."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.own import depth_networks as nets
from resnet_sde import RELU, Activation, FractionalNoise, SingleLayer
from resnet_sde.practice import advise, depth_check, probe, scale_residual_

pytestmark = pytest.mark.usefixtures("global_random")

UNSCALED = {
    "perceptron": (nets.perceptron(0.0), nets.vectors),
    "gpt": (nets.gpt(0.0), nets.tokens),
    "convolutional": (nets.convolutional(0.0), nets.images),
    "encoder": (nets.encoder(0.0), nets.tokens),
    "post-norm encoder": (nets.encoder(0.0, norm_first=False), nets.tokens),
}


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


@pytest.mark.parametrize("name", UNSCALED)
def test_branches_are_brought_to_unit_action_and_back(name: str) -> None:
    factory, batch = UNSCALED[name]
    module, x = factory(32).eval(), batch()
    before, out = state(module), module(x)
    scaled = scale_residual_(module, x)
    assert len(scaled.rounds) <= 5
    assert scaled.rounds[-1] == pytest.approx(1.0, abs=0.05)
    assert scaled.after.action < scaled.before.action or scaled.before.action < 1
    assert scaled.after.growth < 2.0
    assert state(module).keys() == before.keys()
    again = scale_residual_(module, x)
    assert again.factor == scaled.factor
    scaled.undo()
    assert hooks(module) == 0
    assert torch.equal(module(x), out)


def test_weights_and_multiplier_agree_where_writers_are_linear() -> None:
    module, x = nets.gpt(0.0)(16), nets.tokens()
    before = state(module)
    by_hooks = scale_residual_(module, x)
    out = module(x)
    by_hooks.undo()
    by_weights = scale_residual_(module, x, how="weights")
    assert by_weights.factor == pytest.approx(by_hooks.factor, rel=1e-9)
    assert torch.allclose(module(x), out, rtol=1e-9)
    assert hooks(module) == 0
    assert any(not torch.equal(v, before[n]) for n, v in state(module).items())
    by_weights.undo()
    assert all(torch.equal(v, before[n]) for n, v in state(module).items())


def test_a_factor_is_relative_to_the_module_as_built() -> None:
    module, x = nets.perceptron(0.0)(12), nets.vectors()
    plain = float(probe(module, x).sizes[0])
    for factor in (0.5, 0.25, 0.25):
        scaled = scale_residual_(module, x, factor=factor)
        assert float(scaled.after.sizes[0]) == pytest.approx(factor * plain, rel=0.02)
    scaled.undo()
    assert float(probe(module, x).sizes[0]) == plain


def test_copies_need_the_factor_of_coherent_layers() -> None:
    module, x = nets.encoder(0.0, redrawn=False)(32), nets.tokens()
    head = float(probe(module, x).sizes[:8].median())
    wrong = scale_residual_(module, x, factor=1 / (head * 32**0.5))  # as β* = 1/2 would have it
    assert wrong.after.growth > 4
    wrong.undo()
    scaled = scale_residual_(module, x)
    assert scaled.rounds[-1] == pytest.approx(1.0, abs=0.05)  # a L
    assert scaled.after.growth < 2.0


def test_weights_that_do_not_scale_what_is_written_are_refused() -> None:
    module, x = nets.encoder(0.0)(12), nets.tokens()
    before = state(module)
    with pytest.raises(
        ValueError, match="self_attn writes: twice its own weights do not give twice its output"
    ):
        scale_residual_(module, x, how="weights")
    assert all(torch.equal(v, before[n]) for n, v in state(module).items())

    class Dropped(nets.Branch):
        """Its writer has no weights of its own."""

        def __init__(self) -> None:
            super().__init__(16)
            self.drop = nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            return x + self.drop(self.v(torch.relu(self.w(x))))

    with pytest.raises(ValueError, match="drop writes: it has no weights of its own"):
        scale_residual_(nn.Sequential(*[Dropped() for _ in range(9)]), torch.randn(4, 16), how="weights")


def test_what_cannot_be_scaled_is_refused_and_nothing_changes() -> None:
    zero = nn.Sequential(*[nets.Branch(8, norm=True, factor=0.0) for _ in range(9)])
    with pytest.raises(ValueError, match="cannot be scaled"):
        scale_residual_(zero, torch.randn(4, 8))
    with pytest.raises(ValueError, match="no skip connection"):
        scale_residual_(nn.Sequential(*[nn.Linear(16, 16) for _ in range(6)]), torch.randn(8, 16))
    with pytest.raises(ValueError, match="to must be positive"):
        scale_residual_(zero, torch.randn(4, 8), to=0.0)
    with pytest.raises(ValueError, match='how must be "multiplier" or "weights"'):
        scale_residual_(zero, torch.randn(4, 8), how="hope")
    assert hooks(zero) == 0


def test_the_table_of_advice() -> None:
    he = advise(64, sigma_w2=2.0)
    assert he.scale == pytest.approx(1 / 8)
    assert he.expected_growth == pytest.approx(math.exp(0.5))
    assert he.rate_exponents["sgd"]["multiplier"] == 0.0
    assert he.rate_exponents["adam"]["multiplier"] == -0.5
    assert he.rate_exponents["adamw"] == {"multiplier": -0.5, "writers": -1.0, "inner": -0.5}
    default = advise(64, sigma_w2=1 / 3, sigma_v2=1 / 3)
    assert default.scale == pytest.approx(0.530, abs=5e-4)
    shallow = advise(12, sigma_w2=1 / 3, sigma_v2=1 / 3)
    assert shallow.scale == 1.0
    assert shallow.expected_growth == pytest.approx(math.exp(1 / 3))
    assert "no scale is needed" in str(shallow)
    normed = advise(64, sigma_w2=2.0, kind="pre-norm")
    assert (normed.scale, normed.expected_growth) == pytest.approx((1 / 8, 2**0.5))
    copied = advise(64, sigma_w2=2.0, law="copied")
    assert copied.scale == pytest.approx(1 / 64)
    assert "draw every layer anew, and use 0.125" in str(copied)
    assert copied.rate_exponents["sgd"]["multiplier"] == 1.0
    assert copied.rate_exponents["adam"]["multiplier"] == 0.0
    after = advise(64, sigma_w2=2.0, kind="post-norm")
    assert (after.scale, after.expected_growth) == pytest.approx((1 / 8, 1.0))
    assert "keeps e^-1 of the squared direction" in str(after)


def test_advice_follows_the_law_of_weights_and_the_optimizer() -> None:
    assert advise(64, law=0.75).beta == 0.75
    assert advise(64, law=0.75, activation="tanh").beta == 0.5
    assert advise(64, law="smooth").beta == 1.0
    assert set(advise(64, sigma_w2=2.0, optimizer="adam").rate_exponents) == {"adam"}
    with pytest.raises(ValueError, match="law must be one of white"):
        advise(64, law="pink")
    with pytest.raises(ValueError, match="kind must be one of"):
        advise(64, kind="sandwich")
    with pytest.raises(ValueError, match="depth must be a positive integer"):
        advise(0)
    with pytest.raises(ValueError, match="optimizer must be one of"):
        advise(64, optimizer="lion")


def test_advice_takes_activations_and_sends_other_branches_to_be_measured() -> None:
    assert advise(64, activation=Activation.of(functional.silu)) == advise(64, activation="silu")
    for part in (SingleLayer(RELU), functional.silu):
        with pytest.raises(ValueError, match=r"must be an Activation or the name of one.*measured="):
            advise(64, activation=part)
    with pytest.raises(ValueError, match="law must be one of white, copied, smooth or a Hurst index"):
        advise(64, law=FractionalNoise(0.7))
    for given in ({"sigma_w2": "1"}, {"to": torch.ones(2)}):
        with pytest.raises(ValueError, match="must be a finite number"):
            advise(64, **given)


def test_advice_from_a_measured_network() -> None:
    def factory(depth: int) -> nn.Module:
        return nn.Sequential(*[nets.Branch(128, norm=True) for _ in range(depth)])

    x = torch.nn.functional.layer_norm(torch.randn(8, 128), (128,))
    profile = probe(factory(64), x)
    assert advise(64, measured=profile).scale == pytest.approx(1 / 8, rel=0.05)
    check = depth_check(factory, x, depths=(9, 27), seeds=2)
    assert advise(64, measured=check).scale == pytest.approx(1 / 8, rel=0.05)
    built = probe(nets.encoder(0.0, redrawn=False)(16), nets.tokens())
    assert advise(16, measured=built).beta == 1.0
    with pytest.raises(ValueError, match="measured must be a Profile"):
        advise(64, measured=3.0)


def test_the_spread_over_networks() -> None:
    """log |h_L|² of plain branches at S = 1 has the standard deviation 2/√d, whatever the depth."""
    width, depth = 64, 24
    logs = []
    for _ in range(60):
        h = torch.randn(1, width)
        h *= width**0.5 / h.norm()
        for _ in range(depth):
            w = torch.randn(width, width) * (2 / width) ** 0.5
            v = torch.randn(width, width) * width**-0.5
            h = h + depth**-0.5 * torch.relu(h @ w.T) @ v.T
        logs.append(2 * float(h.norm().log()))
    expected = advise(depth, sigma_w2=2.0, width=width).spread
    assert torch.tensor(logs).std() == pytest.approx(expected, rel=0.4)  # four standard errors of 60 samples
