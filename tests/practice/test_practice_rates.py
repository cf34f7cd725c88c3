"""How rates must move with depth, beside the exponents that theory gives for SGD and Adam."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.own import depth_networks as nets
from experiments.own.transferred import PERCEPTRONS
from resnet_sde import estimate
from resnet_sde.estimate import Estimate
from resnet_sde.practice import DepthCheck, depth_check
from resnet_sde.training import load_data

Optimize = Callable[[nn.Module], torch.optim.Optimizer]


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1)


def adam(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(module.parameters(), lr=1e-3)


def adamw(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=1e-3)


def adam_by_depth(module: nn.Module) -> torch.optim.Optimizer:
    """Rates of the blocks over √L already."""
    inner = list(module[1].parameters())
    rest = [p for p in module.parameters() if all(p is not q for q in inner)]
    groups = [{"params": rest}, {"params": inner, "lr": 1e-3 * len(module[1]) ** -0.5, "name": "hidden"}]
    return torch.optim.Adam(groups, lr=1e-3)


def rates(
    factory: Callable[[int], nn.Module],
    optimizer: Optimize,
    batch: object = None,
    *,
    at: tuple[int, ...] = (8, 48),
    seeds: int = 8,
    **options: object,
) -> DepthCheck:
    x = nets.vectors(64) if batch is None else batch
    return depth_check(
        factory, x, depths=(4,), seeds=1, optimizer=optimizer, rate_depths=at, rate_seeds=seeds, **options
    )


def perceptron(beta: float, *, multiplier: bool, norm: bool = False) -> Callable[[int], nn.Module]:
    return nets.perceptron(beta, width=32, multiplier=multiplier, norm=norm)


# Theory, with L^{−a} in the graph and L^{−b} in initial weights: SGD 2a − 1 and 2(a + b) − 1, Adam a − 1 and
# a + b − 1, for writers and for what does not write.
SCHEMES = {
    "SGD, multiplier 1/√L": (perceptron(0.5, multiplier=True), sgd, 0.0, 0.0),
    "SGD, normalized, multiplier 1/√L": (perceptron(0.5, multiplier=True, norm=True), sgd, 0.0, 0.0),
    "SGD, 1/√L in weights": (perceptron(0.5, multiplier=False), sgd, -1.0, 0.0),
    "SGD, multiplier 1/L": (perceptron(1.0, multiplier=True), sgd, 1.0, 1.0),
    "Adam, multiplier 1/√L": (perceptron(0.5, multiplier=True), adam, -0.5, -0.5),
    "Adam, rates over √L already": (perceptron(0.5, multiplier=True), adam_by_depth, 0.0, 0.0),
    "Adam, multiplier 1/L": (perceptron(1.0, multiplier=True), adam, 0.0, 0.0),
    "Adam, 1/√L in weights": (perceptron(0.5, multiplier=False), adam, -1.0, -0.5),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_exponents_with_a_theory(scheme: str) -> None:
    factory, optimizer, writers, inner = SCHEMES[scheme]
    laws = {law.group: law for law in rates(factory, optimizer).rates}
    for group, expected in (("writers", writers), ("inner", inner), ("rest", 0.0)):
        assert laws[group].exponent is not None
        assert laws[group].exponent.value == pytest.approx(expected, abs=0.15), group
    check = depth_check(factory, nets.vectors(64), depths=(4, 12), optimizer=optimizer, rate_seeds=1)
    theory = {law.group: law.theory for law in check.rates}
    # The table does not speak of rates that know the depth, nor of a stream that is mostly branches.
    if optimizer is adam_by_depth or max(check.action) > 2:
        assert set(theory.values()) == {None}
    else:
        assert theory["writers"] == pytest.approx(writers, abs=0.1)
        assert theory["inner"] == pytest.approx(inner, abs=0.1)
        assert theory["rest"] is None
    if optimizer is adam_by_depth:
        assert laws["hidden"].exponent == laws["blocks"].exponent
    else:
        assert set(laws) == {"blocks", "writers", "inner", "rest"}


def gpt(depth: int) -> nn.Module:
    return nets.gpt(0.5)(depth)


def multiplied_gpt(depth: int) -> nn.Module:
    """The factor of the GPT as a multiplier in the graph."""
    net, factor = nets.gpt(0.0)(depth), (2 * depth) ** -0.5
    for block in net.h:
        for writer in (block.attention.o, block.down):
            writer.register_forward_hook(lambda module, args, out: factor * out)
    return net


@pytest.mark.parametrize(("optimizer", "inner"), [(adamw, -0.5), (sgd, 0.0)])
def test_a_factor_in_initial_weights_splits_the_groups(optimizer: Optimize, inner: float) -> None:
    laws = {law.group: law for law in rates(gpt, optimizer, nets.tokens(8), at=(4, 16), seeds=4).rates}
    assert laws["writers"].exponent.value == pytest.approx(-1.0, abs=0.12)
    assert laws["inner"].exponent.value == pytest.approx(inner, abs=0.1)


def test_a_multiplier_does_not_split_them() -> None:
    check = rates(multiplied_gpt, adamw, nets.tokens(8), at=(4, 16), seeds=4)
    laws = {law.group: law.exponent.value for law in check.rates}
    assert laws["writers"] == pytest.approx(laws["inner"], abs=0.12)
    assert laws["writers"] == pytest.approx(-0.5, abs=0.12)


def next_token(output: Tensor, batch: Tensor) -> Tensor:
    return F.cross_entropy(output[:, :-1].flatten(0, 1), batch[:, 1:].flatten())


def digit(output: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(output, batch[1])


def pixels(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return module(batch[0])


def digits() -> tuple[Tensor, Tensor]:
    """Pixels with mean square 1 of an image, and its class."""
    train = load_data("digits").train
    x = train.x[:64].flatten(1).double()
    return x / x.square().mean().sqrt(), train.y[:64]


def text() -> Tensor:
    """Characters of a docstring, as many tokens as `nets.tokens(8)`."""
    found = [ord(c) - ord(" ") for c in (estimate.__doc__ or "") if " " <= c <= "~"]
    return torch.tensor(found[: 8 * 16]).reshape(8, 16)


def laws_of_gpt(batch: Tensor, **options: object) -> dict[str, Estimate]:
    found = rates(gpt, adamw, batch, at=(4, 16), seeds=6, **options).rates
    return {law.group: law.exponent for law in found}


def laws_of_perceptron(where: str, **options: object) -> dict[str, Estimate]:
    found = rates(PERCEPTRONS[where], sgd, digits(), at=(8, 48), call=pixels, **options).rates
    return {law.group: law.exponent for law in found}


def agree(one: dict[str, Estimate], other: dict[str, Estimate]) -> list[bool]:
    """Group by group, whether intervals of level 95 % have a value in common."""
    assert one.keys() == other.keys()
    return [one[g].low <= other[g].high and other[g].low <= one[g].high for g in one]


def test_labels_are_not_needed() -> None:
    """Cross-entropy of the next token and ⟨output, c⟩ give the same exponents."""
    surrogate = laws_of_gpt(nets.tokens(8))
    trained = laws_of_gpt(nets.tokens(8), loss=next_token)
    assert all(agree(surrogate, trained))
    for group, law in surrogate.items():
        assert law.value == pytest.approx(trained[group].value, abs=0.15)


def test_labels_of_digits_are_not_needed() -> None:
    """Nor on images; and it would be noticed if another law were measured."""
    surrogate = laws_of_perceptron("weights")
    assert all(agree(surrogate, laws_of_perceptron("weights", loss=digit)))
    assert not all(agree(surrogate, laws_of_perceptron("multiplier", loss=digit)))


def test_text_is_not_needed() -> None:
    """Random tokens give the exponents of characters of a text."""
    assert not torch.equal(text(), nets.tokens(8))
    random, real = laws_of_gpt(nets.tokens(8)), laws_of_gpt(text(), loss=next_token)
    assert all(agree(random, real))
    for group, law in random.items():
        assert law.value == pytest.approx(real[group].value, abs=0.15)


def test_the_rate_at_another_depth() -> None:
    check = rates(perceptron(0.5, multiplier=True), adam, at=(8, 24))
    exponent = {law.group: law.exponent.value for law in check.rates}
    found = check.rate(24, tuned_at=8, rate=3e-4, group="writers")
    assert found == pytest.approx(3e-4 * 3 ** exponent["writers"])
    with pytest.warns(UserWarning, match="depth 64 is more than twice 24"):
        check.rate(64, tuned_at=8, rate=3e-4)
    with pytest.raises(ValueError, match="there is no group 'heads'; give one of blocks, writers"):
        check.rate(24, tuned_at=8, rate=3e-4, group="heads")
    with pytest.raises(ValueError, match="rate must be positive"):
        check.rate(24, tuned_at=8, rate=-1.0)
    assert "rates    blocks L^" in check.table()
    assert len(check.figure().axes) == 3
    assert check.document()["rate_depths"] == [8, 24]


def test_what_has_no_rate_law_is_refused() -> None:
    factory = perceptron(0.5, multiplier=True)
    with pytest.raises(ValueError, match="no rates were measured"):
        depth_check(factory, nets.vectors(), depths=(4,), seeds=1).rate(8, tuned_at=4, rate=1.0)
    with pytest.raises(ValueError, match="LBFGS needs a closure"):
        rates(factory, lambda module: torch.optim.LBFGS(module.parameters()), at=(4, 8), seeds=1)
    with pytest.raises(ValueError, match="the batch has one row"):
        rates(factory, sgd, nets.vectors(1), at=(4, 8), seeds=1)
    with pytest.raises(ValueError, match=r"must return a torch\.optim\.Optimizer"):
        rates(factory, lambda module: 1e-3, at=(4, 8), seeds=1)

    class Fixed(torch.optim.SGD):
        """Moves by its rate squared."""

        def step(self, closure: None = None) -> None:
            for group in self.param_groups:
                group["lr"] = group["lr"] ** 2
            super().step()

    with pytest.raises(ValueError, match="the step of Fixed is not proportional to its rate"):
        rates(factory, lambda module: Fixed(module.parameters(), lr=0.1), at=(4, 8), seeds=1)


def test_another_optimizer_is_measured() -> None:
    """RMSprop makes Adam's first step, whose size does not depend on the gradient's."""
    factory = perceptron(0.5, multiplier=False)
    check = rates(factory, lambda module: torch.optim.RMSprop(module.parameters(), lr=1e-3), at=(8, 48))
    laws = {law.group: law for law in check.rates}
    assert laws["writers"].exponent.value == pytest.approx(-1.0, abs=0.15)


def test_a_group_that_does_not_reach_the_stream() -> None:
    class Idle(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.body, self.head = perceptron(0.5, multiplier=True)(depth), nn.Linear(10, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x))

    def heads_only(module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(module.head.parameters(), lr=0.1)

    check = rates(Idle, heads_only, at=(4, 8), seeds=2)
    (law,) = check.rates
    assert (law.group, law.exponent) == ("rest", None)
    with pytest.raises(ValueError, match="does not reach the stream"):
        check.rate(8, tuned_at=4, rate=0.1, group="rest")


def test_no_exponent_where_the_law_is_no_power() -> None:
    """The stream of unscaled branches without norm explodes, and what one step changes with it."""
    check = rates(perceptron(0.0, multiplier=True), sgd, at=(4, 12, 36), seeds=3)
    law = {law.group: law for law in check.rates}["blocks"]
    assert not law.decided
    assert law.exponent is None or not law.power_law
    with pytest.raises(ValueError, match=r"no power law|no rate changes"):
        check.rate(8, tuned_at=4, rate=0.1)


class Reading(nn.Module):
    """A perceptron whose readout sees the end of its stream, all states, or maps of what enters blocks."""

    def __init__(self, depth: int, what: str) -> None:
        super().__init__()
        self.first, self.readout, self.what = nn.Linear(20, 32), nn.Linear(32, 4), what
        self.blocks = nn.ModuleList([nets.Branch(32, factor=depth**-0.5) for _ in range(depth)])
        self.skips = nn.ModuleList([nn.Linear(32, 32) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        seen = torch.zeros(())
        for block, skip in zip(self.blocks, self.skips, strict=True):
            before, x = x, block(x)
            seen = seen + (skip(before) if self.what == "inputs" else x)
        return self.readout(x if self.what == "end" else seen)


@pytest.mark.parametrize("what", ["end", "inputs", "states"])
def test_no_theory_stands_beside_rates_of_a_stream_whose_end_the_loss_does_not_read_alone(what: str) -> None:
    def adam(module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(module.parameters(), lr=1e-3)

    check = depth_check(
        lambda depth: Reading(depth, what),
        nets.vectors(),
        depths=(4, 12),
        seeds=2,
        rate_seeds=2,
        optimizer=adam,
        blocks="blocks.*",
    )
    alone = what == "end"
    assert any(law.theory is not None for law in check.rates) == alone
    assert any("the loss reads the blocks on their way" in note for note in check.notes) != alone
