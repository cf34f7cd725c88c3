"""Named laws, blocks and activations: all there are, under their names, with what can be chosen of them."""

import inspect
from types import ModuleType

import pytest
from every import EVERY_LAW, every_activation, every_law, examples

import resnet_sde as rs
from resnet_sde import activations, blocks, laws, short_memory
from resnet_sde.parts import ACTIVATIONS, BLOCKS, LAWS, Choice, Part, choices, having

EVERY: dict[str, Part] = {**LAWS, **BLOCKS, **ACTIVATIONS}


def classes(module: ModuleType, kind: type) -> set[type]:
    """What can be made of a module's classes of this kind."""
    inside = (c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__)
    own = {c for c in inside if issubclass(c, kind) and c is not kind}
    return {c for c in own if not (inspect.isabstract(c) or c.__name__[0] == "_")}


@pytest.mark.parametrize(
    ("module", "kind", "parts"),
    [
        (laws, rs.PathLaw, LAWS),
        (short_memory, rs.PathLaw, LAWS),
        (blocks, rs.Block, BLOCKS),
        (activations, rs.Activation, ACTIVATIONS),
    ],
)
def test_every_class_has_a_name(module: ModuleType, kind: type, parts: dict[str, Part]) -> None:
    made = {
        thing if isinstance(thing, type) else type(thing) for p in parts.values() for thing in [p.made_of]
    }
    assert classes(module, kind) <= made


@pytest.mark.parametrize("part", EVERY.values(), ids=EVERY)
def test_choices_are_fields(part: Part) -> None:
    for choice in part.choices:
        assert choice.field in inspect.signature(part.made_of).parameters
        assert bool(choice.words) != bool(choice.symbol)
        assert choice.default in choice.words if choice.words else choice.kind(choice.example) is not None
    (made, *_) = examples(part, *([rs.RELU] if part.name in BLOCKS else []))
    for choice in part.choices:
        expected = choice.kind(choice.example) if choice.default is None else choice.default
        assert getattr(made, choice.field) == expected


@pytest.mark.parametrize("parts", [LAWS, BLOCKS], ids=["laws", "blocks"])
def test_options_mean_one_thing(parts: dict[str, Part]) -> None:
    """And say what it is, on help pages and in datasets."""
    for option, choice in choices(parts).items():
        assert [c for p in parts.values() for c in p.choices if c.option == option and c != choice] == []
        assert choice.help
        assert choice.title
        assert having(parts, choice)


@every_law
def test_a_law_is_called_by_its_name(law: rs.PathLaw) -> None:
    """In datasets, whose coordinates are its string."""
    (name,) = (name for name, part in LAWS.items() if type(law) is part.made_of)
    assert str(law).startswith(name)


def test_laws_are_told_apart() -> None:
    assert len({str(law) for law in EVERY_LAW}) == len(EVERY_LAW) > len(LAWS)


@every_activation
def test_an_activation_is_found_by_its_name(phi: rs.Activation) -> None:
    (part,) = (
        part
        for part in ACTIVATIONS.values()
        if (part.made_of is type(phi) if part.choices else part.made_of is phi)
    )
    words = ":".join([part.name, *(str(getattr(phi, choice.field)) for choice in part.choices)])
    assert rs.activation(words) == phi


def test_what_is_chosen_reaches_the_class() -> None:
    part = Part("one", "blocks:SingleLayer", (Choice("sw2", "sigma_w2"),))
    assert part.make(rs.TANH, sw2=2.0) == rs.SingleLayer(rs.TANH, sigma_w2=2.0)
