"""Two things of one digest give the same numbers; where that cannot be told there is no digest."""

import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from user_code import EDITS, HEAD, HELPERS, OUTSIDE, THROUGH

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.runs import identity
from resnet_sde.runs.identity import Unknown, digest, digests


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., object]]:
    """What the user's modules call `thing`, freshly imported from files."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    torch_names, model_names = set(vars(torch.nn.functional)), set(vars(rs.Model))

    def write(text: str, helpers: str = HELPERS) -> object:
        for name, content in (("helpers", helpers), ("mine", HEAD + text)):
            sys.modules.pop(name, None)
            (tmp_path / f"{name}.py").write_text(content)
            module = ModuleType(name)
            module.__file__ = str(tmp_path / f"{name}.py")
            sys.modules[name] = module
            exec(compile(content, module.__file__, "exec"), vars(module))
        return sys.modules["mine"].thing

    yield write
    for name in ("helpers", "mine"):
        sys.modules.pop(name, None)
    for owner, before in ((torch.nn.functional, torch_names), (rs.Model, model_names)):
        for name in set(vars(owner)) - before:
            delattr(owner, name)


@pytest.mark.parametrize(("text", "old", "new"), EDITS.values(), ids=EDITS)
def test_an_edit_is_seen(text: str, old: str, new: str, written: Callable[..., object]) -> None:
    assert old in text
    first = digest(written(text))
    assert digest(written(text)) == first, "the same text is the same thing"
    assert digest(written("# a comment\n\n" + text)) == first, "where it stands does not matter"
    assert digest(written(text.replace(old, new))) != first


@pytest.mark.parametrize("text", THROUGH.values(), ids=THROUGH)
@pytest.mark.parametrize(
    ("old", "new"),
    [("x + 1", "x + 2"), ("SCALE = 1.5", "SCALE = 2.5"), ("inner(x) *", "inner(x) +")],
    ids=["a helper of it", "a global of it", "itself"],
)
def test_an_edit_in_another_module_is_seen(
    text: str, old: str, new: str, written: Callable[..., object]
) -> None:
    first = digest(written(text))
    assert digest(written(text)) == first
    assert digest(written(text, HELPERS.replace(old, new))) != first


def test_what_is_not_read_does_not_count(written: Callable[..., object]) -> None:
    for text in ("def thing(t): return helper(t)", "def thing(t): return helpers.helper(t)"):
        first = digest(written(text))
        assert digest(written(text, HELPERS.replace("return 7", "return 8"))) == first
        assert digest(written(text + "\ndef other(): return helpers.unused()")) == first


@pytest.mark.parametrize(
    ("old", "new"),
    [("factor = 2.0", "factor = 3.0"), ("return x\ndef", "return -x\ndef")],
    ids=["field", "method"],
)
def test_an_edit_of_a_base_class_is_seen(old: str, new: str, written: Callable[..., object]) -> None:
    text = "class C(helpers.Base):\n    def __call__(self, t): return self.run(t)\nthing = C()"
    assert old in HELPERS
    assert digest(written(text)) != digest(written(text, HELPERS.replace(old, new)))


def test_what_changes_while_it_runs_is_seen(written: Callable[..., object]) -> None:
    thing = written("S = {'a': 1}\ndef thing(t): return S['a'] * helpers.helper(t)")
    mine, helpers = sys.modules["mine"], sys.modules["helpers"]
    seen = [digest(thing)]
    mine.S["a"] = 2
    seen.append(digest(thing))
    helpers.inner = lambda x: x + 5
    seen.append(digest(thing))
    mine.helpers = ModuleType("another")
    seen.append(digest(thing))
    assert len(set(seen)) == 4


# Values


class Weights(np.ndarray):
    pass


def test_values_count_by_their_content() -> None:
    long = np.zeros(5000)
    other = long.copy()
    other[2500] = 1e-300
    alike: list[Callable[[], object]] = [
        lambda: [1, 2.5, "a", None, True, b"x", 1j, (3, [4]), {"k": {5}}],
        lambda: (np.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3)),
        lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        lambda: torch.arange(12.0)[::2],
        lambda: torch.nn.Parameter(torch.ones(2)),
        lambda: rs.Model(rs.TwoLayer(rs.RELU), rs.SmoothNoise(0.2), 4, beta=0.7),
        lambda: frozenset({"a", "b", ("c", 1)}),
        lambda: np.random.default_rng(5),
        lambda: torch.Generator().manual_seed(4),
        lambda: np.ones(3).view(Weights),
        lambda: functools.partial(torch.nn.functional.leaky_relu, negative_slope=0.25),
        lambda: 10**6000,
    ]
    for make in alike:
        assert digest(make()) == digest(make())
    different = [
        *(long, other, long.astype(np.float32), long[None], torch.from_numpy(long), long.tolist()),
        *(0, 0.0, -0.0, False, None, "", b"", (), [], {}, set(), frozenset(), "0", "None", np.float64(0.0)),
        *(
            float("nan"),
            float("inf"),
            [[1], 2],
            [1, [2]],
            [1, 2],
            (1, 2),
            {1: 2},
            {(1, 2)},
            ["12"],
            ["1", "2"],
        ),
        *(
            torch.zeros(1, dtype=torch.float32),
            torch.zeros(1, dtype=torch.float64),
            torch.zeros(1, 1),
            torch.zeros(()),
        ),
        *(
            rs.RELU,
            rs.TANH,
            rs.LeakyReLU(0.1),
            rs.LeakyReLU(0.2),
            rs.SingleLayer(rs.RELU),
            rs.TwoLayer(rs.RELU),
        ),
        *(ob.displacement, ob.growth, np.add, np.ones(3).view(Weights), np.ones(3)),
    ]
    digests = [digest(thing) for thing in different]
    for (i, one), (j, another) in itertools.combinations(enumerate(digests), 2):
        assert one != another, (different[i], different[j])


def test_circles_are_told_apart() -> None:
    one: list[object] = [1]
    one.append(one)
    two: list[object] = [1]
    two.append([1, two])
    assert digest(one) == digest(one)
    assert digest(one) != digest(two)


# What cannot be told

FILE: object = None
LOCK = threading.Lock()
NUMBERS = (n for n in range(3))


@pytest.fixture(autouse=True)
def opened() -> Iterator[None]:
    global FILE
    with open(os.devnull) as FILE:
        yield


def reads_a_file(t: object) -> object:
    return open(str(t))


def holds_a_file(t: object) -> object:
    return FILE


def waits(t: object) -> object:
    return with_lock(t)


def with_lock(t: object) -> object:
    return LOCK


def goes_on(t: object) -> object:
    return NUMBERS


def evaluates(t: object) -> object:
    return eval("helper(t)")


def loads(t: object) -> object:
    return np.load("table.npy")


def draws(t: object) -> object:
    return torch.randn(3)


def draws_from_a_generator(t: object) -> object:
    return torch.randn(3, generator=rs.generator(0, "x"))


UNKNOWN = {
    reads_a_file: r"reads_a_file → open gives what is decided elsewhere \(io\.open\)",
    holds_a_file: r"holds_a_file → FILE is an object of type _io\.TextIOWrapper",
    waits: r"waits → with_lock → LOCK is an object of type _thread\.lock and cannot be read as a value",
    goes_on: r"goes_on → NUMBERS is an object of type generator",
    evaluates: r"evaluates → eval gives what is decided elsewhere",
    loads: r"loads → np\.load gives what is decided elsewhere",
    draws: r"draws → torch\.randn gives what is decided elsewhere",
}


@pytest.mark.parametrize(
    ("thing", "message"), UNKNOWN.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_what_cannot_be_told_is_named(
    thing: Callable[..., object], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unknown, match=message):
        digest(thing)
    assert digests([thing, [thing], rs.RELU]) == [None, None, digest(rs.RELU)]
    assert len(caplog.messages) == 1
    assert "computed anew, and not kept" in caplog.text


def test_a_draw_from_a_generator_can_be_told() -> None:
    assert digest(draws_from_a_generator) == digest(draws_from_a_generator)


@pytest.mark.parametrize("text", OUTSIDE.values(), ids=OUTSIDE)
def test_what_is_read_from_outside_cannot_be_told(text: str, written: Callable[..., object]) -> None:
    with pytest.raises(Unknown, match="gives what is decided elsewhere"):
        digest(written(text))


def test_a_function_with_a_registry_cannot_be_told(written: Callable[..., object]) -> None:
    with pytest.raises(Unknown, match=r"WeakKeyDictionary|weakref"):
        digest(written("@functools.singledispatch\ndef thing(t): return t"))


def test_a_module_may_import_what_reads_from_outside(written: Callable[..., object]) -> None:
    helpers = "import os, pathlib, subprocess\n" + HELPERS
    text = "import os, time\ndef thing(t): time.sleep(0); return getattr(helpers, 'helper')(t)"
    assert digest(written(text, helpers)) != digest(written(text, helpers.replace("x + 1", "x + 2")))


def test_other_things_that_cannot_be_told() -> None:
    class Holder:
        def __init__(self, what: object) -> None:
            self.what = what

    vectorized = np.frompyfunc(lambda x: x + 1, 1, 1)
    for thing in (FILE, LOCK, NUMBERS, torch.eye(2).to_sparse(), vectorized, {lambda: 1, lambda: 2}):
        for wrapped in (thing, [thing], {"key": thing}, Holder(thing), functools.partial(print, thing)):
            with pytest.raises(Unknown):
                digest(wrapped)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Unknown, match="nested too deeply"):
        digest(deep)
    while deep:  # Python's own way of freeing it may be as deep
        deep = deep.pop()  # type: ignore[assignment]


# The environment


def test_the_environment_says_what_decides_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    found = identity.environment()
    assert {"resnet_sde", "torch", "numpy", "python", "sources", "instructions", "machine"} <= found.keys()
    assert found["device"] == "cpu"
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert len(found["sources"]) == 64


def test_the_precision_of_products_is_part_of_the_environment() -> None:
    before = identity.environment()
    torch.set_float32_matmul_precision("medium")
    try:
        assert identity.environment() != before
    finally:
        torch.set_float32_matmul_precision("highest")
    assert identity.environment() == before


def test_the_default_dtype_counts_for_code_of_the_user(written: Callable[..., object]) -> None:
    thing = written("def thing(t): return t * torch.tensor(0.1)")
    before = digest(thing), digest(rs.SingleLayer(rs.TANH)), identity.environment()
    torch.set_default_dtype(torch.float32)
    try:
        after = digest(thing), digest(rs.SingleLayer(rs.TANH)), identity.environment()
    finally:
        torch.set_default_dtype(torch.float64)
    assert [a == b for a, b in zip(after, before, strict=True)] == [False, True, True]


def test_an_edit_of_the_package_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("1")
    monkeypatch.setattr(identity, "PACKAGE", tmp_path)
    seen = []
    for text in ("1", "2"):
        (tmp_path / "a.py").write_text(text)
        seen.append(identity.package.__wrapped__())
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    seen.append(identity.package.__wrapped__())
    assert len(set(seen)) == 3
