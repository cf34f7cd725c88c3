"""The exponent of branches over depth, of networks of which it is known; and what `expect` says of bugs."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import resnet_sde as rs
from experiments.own import depth_networks as nets
from resnet_sde.estimate import Outcome
from resnet_sde.practice import DepthMismatch, Fate, assert_depth_law, depth_check

DEPTHS = (8, 32)
SOUND = {
    "gpt": (nets.gpt(0.5), nets.tokens),
    "encoder": (nets.encoder(0.5), nets.tokens),
    "post-norm encoder": (nets.encoder(0.5, norm_first=False), nets.tokens),
    "convolutional": (nets.convolutional(0.5), nets.images),
    "post-activation": (nets.convolutional(0.5, after=True), nets.images),
    "perceptron": (nets.perceptron(0.5), nets.vectors),
}


@pytest.mark.parametrize("name", SOUND)
def test_the_critical_exponent(name: str) -> None:
    """Within .06, the share that states aligned with themselves can add; layers are independent."""
    factory, batch = SOUND[name]
    check = depth_check(factory, batch(), depths=DEPTHS)
    assert check.beta.value == pytest.approx(0.5, abs=0.06)
    assert check.beta.high - check.beta.low < 0.12
    assert 0.4 < check.coherence.value < 0.62
    assert (check.copies, check.critical_beta) == ("none", 0.5)
    assert (check.layers.addition.value, check.layers.alike) == ("independent", False)
    assert check.writers
    for writer in check.writers:
        assert writer.beta.within(0.5, 0.1) is not Outcome.FAILS
    assert check.expect(0.5) is check


EXPONENTS = {
    "gpt": (nets.gpt, nets.tokens),
    "encoder": (nets.encoder, nets.tokens),
    "encoder as built": (partial(nets.encoder, redrawn=False), nets.tokens),
    "post-norm encoder": (partial(nets.encoder, norm_first=False), nets.tokens),
    "loop": (nets.loop_gpt, nets.tokens),
    "convolutional": (nets.convolutional, nets.images),
    "post-activation": (partial(nets.convolutional, after=True), nets.images),
    "perceptron": (nets.perceptron, nets.vectors),
}


@pytest.mark.full
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", EXPONENTS)
def test_every_exponent(name: str, beta: float) -> None:
    """Three seeds, six where no norm takes away the size of the stream, in which networks differ."""
    factory, batch = EXPONENTS[name]
    seeds = 6 if name == "perceptron" else 3
    check = depth_check(factory(beta), batch(), depths=(8, 24, 64), seeds=seeds)
    assert check.beta.value == pytest.approx(beta, abs=0.06)
    assert (check.beta.high - check.beta.low) / 2 <= 0.03


def test_the_raw_angle_would_read_the_norm_as_a_law_of_depth() -> None:
    """The control of the correction by the degree: without a factor β is 0."""
    check = depth_check(nets.perceptron(0.0, norm=True), nets.vectors(), depths=DEPTHS)
    assert check.beta.value == pytest.approx(0.0, abs=0.01)
    assert check.fate is Fate.POWER_LAW
    raw = [np.mean([float(p.turning.median().log()) for p in row]) for row in check.profiles]
    assert -np.polyfit(np.log(DEPTHS), raw, 1)[0] > 0.35
    with pytest.raises(DepthMismatch, match=r"blocks 1\.\* fall like L\^0\.00 .*, not L\^-0\.5"):
        check.expect(0.5)
    assert check.expect(0.0) is check


def test_copies_and_loops_add_coherently() -> None:
    built = depth_check(nets.encoder(1.0, redrawn=False), nets.tokens(), depths=DEPTHS)
    assert built.copies == "copies"
    loop = depth_check(nets.loop_gpt(1.0), nets.tokens(), depths=DEPTHS)
    assert loop.copies == "loop"
    for check in (built, loop):
        assert check.coherence.value > 0.9
        assert check.critical_beta == 1.0
        assert check.fate is Fate.CRITICAL
        displacements = [np.mean([float(p.displacements[-1]) for p in row]) for row in check.profiles]
        assert np.polyfit(np.log(DEPTHS), np.log(displacements), 1)[0] == pytest.approx(0.0, abs=0.05)
        assert check.expect(1.0, independent=False) is check
    with pytest.raises(DepthMismatch, match=r"hold the same weights \(coherence 1\.0.*Draw every layer"):
        built.expect(1.0)
    with pytest.raises(DepthMismatch, match="one block is called again and again"):
        loop.expect(1.0)


SENTENCES = {
    "lost": r"h\.\*\.w2 falls like L\^-?0\.0.*its initial size does not depend on the depth",
    "w3": r"h\.\*\.w2 falls like L\^-(1\.0|0\.9).*w3\.weight, which does not write, .*Scale w2 alone",
    "q, k, v": r"h\.\*\.wo falls like L\^-(1\.0|0\.9).*wqkv\.weight, which does not write, .*Scale wo alone",
    "q, k, v only": r"h\.\*\.wqkv\.weight falls like L\^-0\.50 though it does not write, and wo\.weight, "
    r"which does, does not: the factor is on the wrong matrix",
    "position": r"h\.\*\.wo\.weight falls like k\^-0\.50 with the position and not with the depth",
    "copies": "all blocks hold the same weights",
}


@pytest.mark.parametrize("planted", nets.PLANTED)
def test_bugs_of_public_libraries_are_named(planted: str) -> None:
    check = depth_check(nets.swiglu(planted), nets.tokens(), depths=DEPTHS)
    if planted == "none":
        assert check.expect(0.5) is check
        return
    with pytest.raises(DepthMismatch, match=SENTENCES[planted]):
        check.expect(0.5)
    if planted in ("w3", "q, k, v", "q, k, v only"):  # the exponent of the block alone sees nothing
        assert check.beta.within(0.5, 0.1) is Outcome.HOLDS


@pytest.mark.full
@pytest.mark.parametrize("planted", nets.PLANTED)
def test_a_sound_network_is_never_blamed_and_a_bug_always(planted: str) -> None:
    """Over 20 seeds for the sound one: a rate of false alarms of one in seven would show in 19 of 20 runs."""
    for seed in range(20 if planted == "none" else 3):
        check = depth_check(nets.swiglu(planted), nets.tokens(), depths=(8, 24), seed=seed)
        if planted == "none":
            assert check.expect(0.5) is check
        else:
            with pytest.raises(DepthMismatch, match=SENTENCES[planted]):
                check.expect(0.5)


def test_deep_norm() -> None:
    check = depth_check(nets.deep_norm, nets.vectors(), depths=DEPTHS)
    assert check.kind == "post-norm"
    assert check.beta.value == pytest.approx(0.75, abs=0.03)
    assert check.expect(0.75, inner={"*.u.weight": 0.25}) is check
    with pytest.raises(DepthMismatch, match=r"1\.\*\.u\.weight falls like L\^-0\.25 though"):
        check.expect(0.75)
    assert check.expect(0.75, inner=False) is check


def test_a_scale_of_the_position() -> None:
    """1/√k on the k-th branch: no law of depth at the head, one over all blocks, and a note."""

    def factory(depth: int) -> nn.Module:
        blocks = [nets.Branch(64, norm=True, factor=(k + 1) ** -0.5) for k in range(depth)]
        return nn.Sequential(nn.Linear(20, 64), nn.Sequential(*blocks))

    check = depth_check(factory, nets.vectors(), depths=DEPTHS)
    assert check.beta.value == pytest.approx(0.0, abs=0.02)
    assert check.beta_all.value > 0.4
    assert any("depend on the position" in note for note in check.notes)


def assert_close(first: object, second: object) -> None:
    """Equal documents, but for roundings of products, which depend on where their operands lie in memory."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        first, second = list(first.values()), list(second.values())
    if isinstance(first, (list, tuple)):
        for one, other in zip(first, second, strict=True):
            assert_close(one, other)
    else:
        assert first == (pytest.approx(second, rel=1e-9, abs=1e-12) if isinstance(second, float) else second)


def test_two_runs_are_equal_and_global_random_states_are_untouched() -> None:
    def factory(depth: int) -> nn.Module:
        net = nets.perceptron(0.5, width=16)(depth)
        nets.multiply(net[0], 1 + random.random() + np.random.random())  # noqa: NPY002
        return net

    first, second = (depth_check(factory, nets.vectors(), depths=(4, 12), seeds=2) for _ in range(2))
    assert_close(first.document(), second.document())
    other = depth_check(factory, nets.vectors(), depths=(4, 12), seeds=2, seed=1)
    assert other.beta.value != first.beta.value


def test_a_generator_of_the_factory_widens_the_interval() -> None:
    own = torch.Generator().manual_seed(0)

    def factory(depth: int) -> nn.Module:
        net = nets.perceptron(0.0, width=16, norm=True)(depth)
        for block in net[1]:
            nn.init.normal_(block.v.weight, std=16**-0.5, generator=own)
        return net

    common = depth_check(nets.perceptron(0.0, width=16, norm=True), nets.vectors(), depths=DEPTHS)
    wide = depth_check(factory, nets.vectors(), depths=DEPTHS)
    assert common.beta.high - common.beta.low < 1e-4
    assert wide.beta.high - wide.beta.low > 1e-2


def test_the_stage_that_grows_is_the_stream() -> None:
    """Stages of fixed length are larger at small depths, and are not followed."""

    def factory(depth: int) -> nn.Module:
        first = nn.Sequential(*[nets.Branch(64, norm=True) for _ in range(4)])
        grown = nn.ModuleList([nets.Branch(32, norm=True, factor=depth**-0.5) for _ in range(depth)])
        return nn.ModuleDict({"first": first, "between": nn.Linear(64, 32), "grown": grown})

    def call(net: nn.ModuleDict, x: Tensor) -> Tensor:
        x = net["between"](net["first"](x))
        for block in net["grown"]:
            x = block(x)
        return x

    check = depth_check(factory, nets.vectors(5, 64), depths=DEPTHS, seeds=2, call=call)
    assert check.prefix == "grown.*"
    assert check.beta.value == pytest.approx(0.5, abs=0.06)


def test_two_stacks_that_grow_and_one_is_followed_with_a_note() -> None:
    class Both(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.encoder = nn.Sequential(*[nets.Branch(8, norm=True) for _ in range(depth)])
            self.decoder = nn.Sequential(*[nets.Branch(16, norm=True) for _ in range(depth)])
            self.between = nn.Linear(8, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.between(self.encoder(x)))

    check = depth_check(Both, nets.vectors(5, 8), depths=(4, 12), seeds=2)
    assert check.prefix == "decoder.*"
    assert any("encoder grows with the depth too" in note for note in check.notes)


def test_requests_that_cannot_be_answered() -> None:
    x = nets.vectors()
    with pytest.raises(ValueError, match=r"factory\(8\) and factory\(24\) have the same blocks"):
        depth_check(lambda depth: nets.perceptron(0.5, width=8)(6), x)
    with pytest.raises(ValueError, match="depths must be 3 or more"):
        depth_check(nets.perceptron(0.5, width=8), x, depths=(1, 8))
    with pytest.raises(ValueError, match=r"must return a torch\.nn\.Module"):
        depth_check(lambda depth: depth, x)
    with pytest.raises(ValueError, match="no block is repeated"):
        depth_check(lambda depth: nn.Sequential(nn.Linear(20, 8), nn.ReLU()), x)
    single = depth_check(nets.perceptron(0.5, width=8), x, depths=(8,), seeds=1)
    with pytest.raises(ValueError, match="one depth shows no exponent"):
        single.expect()
    one_seed = depth_check(nets.perceptron(0.5, width=8), x, depths=(4, 8), seeds=1)
    with pytest.raises(ValueError, match="one seed has no interval"):
        one_seed.expect()


@pytest.mark.usefixtures("global_random")
@pytest.mark.parametrize(
    "batch",
    [5, None, "text", [1, 2], (), {"y": torch.ones(4, 20)}, (torch.ones(4, 20),) * 2, np.ones((4, 20))],
    ids=["number", "none", "text", "numbers", "empty", "keyword", "two", "array"],
)
def test_a_batch_that_the_module_does_not_take_is_refused_in_a_sentence(batch: object) -> None:
    factory = nets.perceptron(0.5, width=8)
    for ask in (
        lambda: depth_check(factory, batch, depths=(4, 8), seeds=2),
        lambda: rs.probe(factory(6), batch),
        lambda: rs.scale_residual_(factory(6), batch),
    ):
        with pytest.raises(ValueError, match="the module cannot be called with this batch"):
            ask()


@pytest.mark.usefixtures("global_random")
def test_a_type_error_of_the_module_s_own_passes_through() -> None:
    class Wrong(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            raise TypeError("of its own")

    net = Wrong(*nets.perceptron(0.5, width=8)(6))
    with pytest.raises(TypeError, match="of its own"):
        rs.probe(net, nets.vectors())
    with pytest.raises(ValueError, match=r"a function of a torch\.Generator alone"):
        depth_check(nets.perceptron(0.5, width=8), lambda: nets.vectors(), depths=(4, 8))


def test_zero_branches() -> None:
    def factory(depth: int) -> nn.Module:
        return nn.Sequential(*[nets.Branch(8, norm=True, factor=0.0) for _ in range(depth)])

    check = depth_check(factory, nets.vectors(5, 8), depths=(4, 8))
    assert check.fate is Fate.ZERO
    with pytest.raises(DepthMismatch, match="all branches are zero at initialization"):
        check.expect()


def test_table_figure_and_dataset() -> None:
    check = assert_depth_law(nets.perceptron(0.5, width=32), nets.vectors(), depths=(4, 16), seeds=2)
    lines = check.table().splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["stream", "β", "writers", "roles"]
    assert "1.*.v.weight L^-0.50 (writes)" in lines[3]
    assert len(repr(check).splitlines()) == 1
    assert len(check.figure().axes) == 3
    assert len(check.profiles[0][0].figure().axes) == 1
    data = check.dataset()
    assert data["norms"].dims == ("depth", "seed", "boundary")
    assert data["norms"].shape == (2, 2, 17)
    assert data.attrs["seed"] == 0


def test_the_public_names() -> None:
    assert rs.depth_check is depth_check
    assert rs.assert_depth_law is assert_depth_law
