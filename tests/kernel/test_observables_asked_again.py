"""Observables whose numbers depend on how often they were called, and random ones."""

import random
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob

MODEL = rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise(), width=8)
X = torch.ones(1, 8)
Observable = Callable[[rs.Trajectory], Tensor]


def size(t: rs.Trajectory) -> Tensor:
    return t.hidden.natural(-1)[:, 0].square().mean(-1)


class Counting:
    """Adds a little for every call."""

    __name__ = "counting"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, t: rs.Trajectory) -> Tensor:
        self.calls += 1
        return size(t) + 1e-9 * self.calls


class Running(Counting):
    """The mean of all networks that it has seen so far."""

    __name__ = "running"

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, t: rs.Trajectory) -> Tensor:
        self.seen.append(size(t))
        return size(t) - torch.cat(self.seen).mean()


def counted() -> Observable:
    calls = count()
    return lambda t: size(t) * (1 + next(calls) % 2)


def by_numpy() -> Observable:
    source = np.random.default_rng(0)
    return lambda t: size(t) + torch.from_numpy(source.random(len(size(t))))


def by_python() -> Observable:
    return lambda t: size(t) + random.random()


def global_state() -> Observable:
    return lambda t: size(t) + torch.rand(len(size(t)))


def growing() -> Observable:
    calls = count(1)
    return lambda t: size(t)[:, None].repeat(1, next(calls))


def holding() -> Observable:
    """Counts, and works for all networks together alone."""
    calls, held = count(), torch.ones(40)
    return lambda t: size(t) * held + next(calls)


def drawn() -> Observable:
    source = rs.generator(3, "observable")
    return lambda t: size(t) + torch.rand(len(size(t)), generator=source)


def drawn_in_place() -> Observable:
    source = rs.generator(3, "observable")
    return lambda t: size(t) + torch.empty(len(size(t))).normal_(generator=source)


UNDECIDED = [Counting, Running, counted, by_numpy, by_python, global_state, growing, holding]
RANDOM = [drawn, drawn_in_place]


def name(make: object) -> str:
    return make.__name__  # type: ignore[attr-defined]


def cases() -> list[tuple[Callable[[], Observable], int]]:
    """One network alone is its own mean."""
    alone = [(make, 1) for make in UNDECIDED if make not in (Running, holding)]
    return [*alone, *((make, 40) for make in UNDECIDED)]


@pytest.mark.parametrize(("make", "samples"), cases(), ids=lambda value: getattr(value, "__name__", value))
def test_what_depends_on_its_calls_is_refused(make: Callable[[], Observable], samples: int) -> None:
    for verb in (
        lambda o: rs.simulate(MODEL, X, depth=3, samples=samples, observe=[o, ob.growth]),
        lambda o: rs.study(lambda: MODEL, X, over={}, depth=3, samples=samples, observe=[o]),
    ):
        with torch.random.fork_rng([]), pytest.raises(ValueError, match="says something else") as caught:
            verb(make())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", RANDOM, ids=name)
def test_what_a_generator_decides(make: Callable[[], Observable]) -> None:
    """In one process: a study's workers have generators of their own."""

    def run(observable: Observable) -> Tensor:
        return rs.simulate(MODEL, X, depth=3, samples=700, observe=[observable])["<lambda>"]

    first, second = run(make()), run(make())
    assert torch.equal(first, second)
    plain = rs.simulate(MODEL, X, depth=3, samples=700, observe=[size])["size"]
    assert not torch.equal(first, plain)
    with pytest.raises(ValueError, match="random numbers beforehand"):
        rs.study(lambda: MODEL, X, over={}, depth=3, samples=20, observe=[make()])


def test_the_generator_goes_on_as_if_it_had_not_been_asked_again() -> None:
    source, calls = rs.generator(1, "again"), []

    def noted(t: rs.Trajectory) -> Tensor:
        calls.append(torch.rand(len(size(t)), generator=source))
        return calls[-1]

    found = rs.simulate(MODEL, X, depth=3, samples=700, observe=[noted])["noted"]
    # All networks, then the first and the last alone, and all again; then one and the same twice.
    assert [len(numbers) for numbers in calls[-3:]] == [1, 1, 188]
    assert torch.equal(calls[-3], calls[-2])
    assert torch.equal(calls[-1], found[512:])
    again = rs.generator(1, "again")
    for numbers in (*calls[:-3], calls[-1]):
        assert torch.equal(torch.rand(len(numbers), generator=again), numbers)


def test_what_only_keeps_what_it_has_seen() -> None:
    """Calls may be counted, if the numbers do not show it."""
    seen: dict[int, Tensor] = {}

    def remembered(t: rs.Trajectory) -> Tensor:
        seen[len(seen)] = size(t)
        return size(t)

    for samples in (1, 40):
        found = rs.simulate(MODEL, X, depth=3, samples=samples, observe=[remembered, size])
        assert torch.equal(found["remembered"], found["size"])
    assert len(seen) > 2
