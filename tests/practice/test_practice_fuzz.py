"""A share of the fuzz of the depth check, and that it sees what it looks for: see depth_fuzz.py."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import depth_fuzz
import pytest
import torch
from fuzzed_histories import Fixed
from fuzzed_modules import pair
from torch import nn

from resnet_sde import practice
from resnet_sde.practice import audit, calling, instrument


def test_random_modules_are_answered_or_refused_and_left_alone() -> None:
    tally = depth_fuzz.part(0, 40)
    assert tally.findings == []
    assert dict(tally.suspects) == {}
    for verb in ("probe", "depth_check", "advise"):
        assert tally.outcomes[f"{verb}: answered"] >= 3
        assert tally.outcomes[f"{verb}: refused"] >= 3
    assert tally.outcomes["probe: the user's"] >= 1


@pytest.mark.full
@pytest.mark.parametrize("first", range(0, 10_000, depth_fuzz.PART))
def test_ten_thousand(first: int) -> None:
    tally = depth_fuzz.part(first, depth_fuzz.PART)
    assert tally.findings == []
    assert dict(tally.suspects) == {}


pytestmark = pytest.mark.usefixtures("global_random")


@contextmanager
def nothing(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield


def leaves_a_hook(*args: Any, **kwargs: Any) -> Any:
    module = args[0]
    next(module.modules()).register_forward_hook(lambda *_: None)
    return found(*args, **kwargs)


found = instrument.watch

# By what is found, in the pair of a number: what is replaced, and by what.
PLANTED = {
    "buffers changed": (1, calling, "_same_buffers", nothing),
    "gradients changed": (43, calling, "_same_gradients", nothing),
    "torch's random state changed": (1, calling, "_same_random_states", nothing),
    "modes changed": (0, practice.check, "preserved", lambda net, **_: _in_training(net)),
    "hooks changed": (0, practice.profile, "watch", leaves_a_hook),
    "IndexError": (1, audit, "_is_plain", lambda values: [][0]),
}


@contextmanager
def _in_training(net: nn.Module) -> Iterator[None]:
    net.eval()
    with calling._same_random_states():
        yield


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number, where, name, wrong = PLANTED[planted]
    assert depth_fuzz.part(number, 1).findings == []
    monkeypatch.setattr(where, name, wrong)
    tally = depth_fuzz.part(number, 1)
    assert any(planted in finding for finding in tally.findings)


def test_a_number_decides_its_pair() -> None:
    assert pair(17) == pair(17)
    assert len({repr(pair(number)) for number in range(200)}) == 200


# What was found, each by the mechanism that it is mended at


class Adding(nn.Module):
    """x + Linear(x), with something odd beside it."""

    def __init__(self, odd: Callable[[nn.Module, torch.Tensor], Any] = lambda m, y: y) -> None:
        super().__init__()
        self.linear, self.odd = nn.Linear(4, 4), odd
        self.norm = nn.LayerNorm(4)

    def forward(self, x: torch.Tensor) -> Any:
        return self.odd(self, x + self.linear(self.norm(x)))


class Held(nn.Module):
    def __init__(self, run: Callable[[nn.Module, torch.Tensor], Any], depth: int = 4, **odd: Any) -> None:
        super().__init__()
        self.layers, self.run = nn.ModuleList([Adding(**odd) for _ in range(depth)]), run

    def forward(self, x: torch.Tensor) -> Any:
        return self.run(self, x)


def writes_on_its_input(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x.mul_(2.0)
    return nn.Sequential(*module.layers)(x)


def adds_in_place(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    for layer in module.layers:
        x += 0.1 * layer.linear(x)
    return x


def test_a_batch_is_the_same_in_every_call() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    kept = x.clone()
    first, again = (depth_of(writes_on_its_input, x) for _ in range(2))
    assert first == again
    assert torch.equal(x, kept)


def depth_of(run: Callable[[nn.Module, torch.Tensor], Any], x: torch.Tensor) -> list[float]:
    check = practice.depth_check(lambda depth: Held(run, depth), x, depths=(3, 5), seeds=1)
    return [p.norms.tolist() for row in check.profiles for p in row]


def test_a_stream_that_is_written_in_place_before_anything_learns_has_no_gradients_and_a_note() -> None:
    profile = practice.probe(Held(adds_in_place), torch.ones(3, 4), blocks="layers.*.linear")
    assert profile.mode == "branch"
    assert any("no gradients are seen" in note for note in profile.notes)
    assert bool(profile.gradients.isnan().all())


def sequence(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return nn.Sequential(*module.layers)(x)


REFUSED = {
    "a fixed cache": "has use_cache=True and cannot be changed",
    "a lazy module": "weight gets its shape in the first call; call the module once before",
    "a block that does not repeat itself": "a block that is run again on its input returns shape",
    "parameters made in inference mode": "was made in inference mode.*; make the module outside of it",
    "an overwritten value": "the backward pass fails: one of the variables needed.*; give gradients=False",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_a_sentence(name: str) -> None:
    calls: list[int] = []

    def fickle(module: nn.Module, y: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return y[:1] if len(calls) > 4 else y

    def overwritten(module: nn.Module, y: torch.Tensor) -> torch.Tensor:
        z = y.sigmoid()
        found = z * z
        z.mul_(2.0)
        return found

    odd = {"a block that does not repeat itself": fickle, "an overwritten value": overwritten}.get(name)
    net: nn.Module = Held(sequence) if odd is None else Held(sequence, odd=odd)
    if name == "a fixed cache":
        net.config = Fixed()
    if name == "parameters made in inference mode":
        with torch.inference_mode():
            net = Held(sequence)
    if name == "a lazy module":
        net = nn.Sequential(nn.LazyLinear(4), net)
    with pytest.raises(ValueError, match=REFUSED[name]) as refusal:
        practice.probe(net, torch.ones(3, 4))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("loss", [lambda out, _: out, lambda out, _: 1.0])
def test_a_loss_is_one_number(loss: Callable[[Any, Any], Any]) -> None:
    x, options = torch.randn(4, 4), {"depths": (3, 4), "seeds": 1, "rate_seeds": 1}
    with pytest.raises(ValueError, match="loss must return a tensor of one real number"):
        practice.probe(Held(sequence), x, loss=loss)
    with pytest.raises(ValueError, match="loss must return a tensor of one real number"):
        practice.depth_check(lambda depth: Held(sequence, depth), x, loss=loss, optimizer=sgd, **options)


def sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1)


def test_roles_of_complex_and_of_empty_parameters() -> None:
    def factory(depth: int) -> nn.Module:
        net = Held(sequence, depth)
        for layer in net.layers:
            layer.spectrum = nn.Parameter(torch.full((3,), 3 + 4j) / depth)
            layer.empty = nn.Parameter(torch.zeros(0, 2))
        return net

    check = practice.depth_check(factory, torch.randn(4, 4), depths=(4, 8), seeds=1)
    roles = {r.role: r for r in check.roles}
    assert roles["layers.*.spectrum"].size == pytest.approx(5 / 8)
    assert roles["layers.*.spectrum"].depth_exponent == pytest.approx(1.0)
    assert roles["layers.*.empty"].depth_exponent is None


def test_variances_that_leave_the_range_of_numbers_are_no_advice() -> None:
    with pytest.raises(ValueError, match="branches of mean square 0 cannot be scaled"):
        practice.advise(8, sigma_w2=1e-200, sigma_v2=1e-200)


def test_nothing_of_a_run_is_held_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks on tensors lie in the graph; where they hold what holds the graph, no collector frees either."""
    runs = []

    class Noted(instrument._Watch):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            runs.append(weakref.ref(self))

    monkeypatch.setattr(instrument, "_Watch", Noted)
    practice.probe(Held(sequence), torch.randn(3, 4))
    gc.collect()
    assert [run() for run in runs] == [None] * len(runs)
    assert runs
