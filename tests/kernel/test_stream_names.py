"""Names of random streams: the same in every process, or refused with the field that stands in the way."""

import dataclasses
import enum
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from every import EVERY_ACTIVATION, EVERY_LAW, pointwise_of
from ids import plain
from torch import Tensor

import resnet_sde as rs
from resnet_sde._names import stable_name
from resnet_sde.observables import growth
from resnet_sde.streams import stream

X = torch.ones(1, 4)


@dataclasses.dataclass(frozen=True)
class Shaped(rs.Activation):
    """An activation that holds anything, which it does not use."""

    shape: object = None

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def prime(self, x: Tensor) -> Tensor:
        return 1 - torch.tanh(x).square()


class Written(Shaped):
    """With a repr that someone has written."""

    def __repr__(self) -> str:
        return f"Written({self.shape})"


class Kind(enum.Enum):
    SOFT = "soft"


class Nameless:
    pass


def soft(x: Tensor) -> Tensor:
    return x


def assert_refused(shape: object, *words: str) -> None:
    model = rs.Model(rs.SingleLayer(Shaped(shape)), rs.WhiteNoise(), 4)
    with pytest.raises(ValueError, match="random numbers are named by what they are for") as caught:
        rs.simulate(model, X, depth=2, samples=2, observe=[growth])
    message = str(caught.value)
    assert all(word in message for word in ("field 'shape' of Shaped", *words)), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "shape",
    [
        lambda x: x,
        partial(lambda x: x, 1),
        [lambda x: x],
        {"f": lambda x: x},
        Nameless(),
        (1, Nameless()),
        {"a": Nameless()},
        np.array([Nameless()], dtype=object),
        partial(soft, Nameless()),
        torch.zeros(3).numpy,
        iter([1]),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_has_no_name_is_refused(shape: object) -> None:
    assert_refused(shape)


@pytest.mark.parametrize(
    "shape", [torch.linspace(0, 1, 3), np.ones(2), np.ones(3000), {"b", "a"}, Nameless(), soft], ids=plain
)
def test_a_repr_that_shows_what_is_unstable_is_refused(shape: object) -> None:
    with pytest.raises(ValueError, match="give the objects in it a __repr__"):
        stream(0, Written(shape))


def test_the_function_is_named() -> None:
    def inside(x: Tensor) -> Tensor:
        return x

    assert_refused(inside, "inside", "top level of a module")
    nested = dataclasses.make_dataclass("Nested", ["f"], frozen=True)
    with pytest.raises(ValueError, match="field 'f' of Nested"):
        stream(0, Shaped(nested(inside)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (torch.zeros(2000), torch.cat([torch.zeros(1000), torch.ones(1), torch.zeros(999)])),
        (np.array([1.0]), np.array([1.0 + 1e-15])),
        (np.zeros(3), np.zeros(3, dtype=np.float32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (torch.tanh, torch.sigmoid),
        ({"a"}, frozenset("a")),
        ({"a", "b"}, ["a", "b"]),
        (partial(soft, 1), partial(soft, 2)),
        (1, "1"),
        ((), []),
    ],
    ids=lambda v: type(v).__name__,
)
def test_other_things_have_other_names(first: object, second: object) -> None:
    names = [stable_name(Shaped(thing)) for thing in (first, second)]
    assert names[0] != names[1]
    assert names == [stable_name(Shaped(thing)) for thing in (first, second)]


@pytest.mark.parametrize("law", [*EVERY_LAW, rs.FractionalNoise(0.3, "hosking")], ids=str)
def test_models_keep_their_names(law: rs.PathLaw) -> None:
    """The numbers of a seed are those of the `repr` of the model."""
    fine = rs.TwoLayer(rs.TANH, 1, 0.2, 3.0, 1e-7)
    for block in (fine, *(block for phi in EVERY_ACTIVATION for block in pointwise_of(phi))):
        model = rs.Model(block, law, 40, beta=0.5, gain=2)
        for thing in (model, (0, "simulate", model, 3), model.block.shapes(4), model.block.variances):
            assert stable_name(thing) == repr(thing)
    for block in (rs.TwoLayer(rs.TANH, expansion=2), rs.GatedLinearUnit(rs.TANH)):
        model = rs.Model(block, law, 40, beta=0.5, norm="rms")
        assert stable_name(model) == repr(model)


@pytest.mark.parametrize(
    "thing",
    [
        *(
            0,
            -1.5,
            1e-300,
            float("nan"),
            float("inf"),
            2 + 1j,
            True,
            None,
            "a'b",
            b"x",
            (),
            (1,),
            [],
            [1, "x"],
        ),
        *({}, {"a": (1, [2])}, {3}, set(), frozenset(), frozenset([1]), torch.Size([2, 3]), torch.float64),
        *(torch.device("cpu"), Kind.SOFT, Shaped(1.0), Written("x"), torch.nn.SiLU(), ..., Path("a")),
    ],
    ids=repr,
)
def test_plain_things_are_called_by_their_repr(thing: object) -> None:
    assert stable_name(thing) == repr(thing)


def test_numbers_of_numpy_are_numbers_at_any_depth() -> None:
    assert stable_name(Shaped([np.float64(0.5), np.int64(3)])) == stable_name(Shaped([0.5, 3]))
    assert stable_name(OrderedDict(a=1)) != stable_name({"a": 1})
