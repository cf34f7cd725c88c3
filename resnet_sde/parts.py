"""The laws, blocks and activations of the package by name, and what can be chosen of each.

Options, pictures, datasets and tests read them here: a new part is its class and its entry in this file.
Nothing that needs torch is imported before a part is made, because help pages should not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A number or a word that can be chosen of a part.

    Attributes:
        option: what options, records and pictures call it, with underscores.
        field: what the class calls it.
        help: what its option says, without a full stop.
        default: what is taken where it is left out; None where it must be given.
        words: those that there are; a number has none.
        kind: float or int.
        low, high: the range of a number.
        open: whether the range is without its ends.
        example: a number to give.
        symbol: of a number, in mathematics.
        title: its long name in datasets.
        quiet: whether records show it only where it is not the default.
    """

    option: str
    field: str
    help: str = ""
    default: float | str | None = None
    words: tuple[str, ...] = ()
    kind: type = float
    low: float = 0.0
    high: float = 1e6
    open: bool = False
    example: str = "1"
    symbol: str = ""
    title: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Part:
    """A law, a block or an activation that has a name.

    Attributes:
        name: in options and records.
        home: module and name of the class, of a function, or of the one object that there is.
        choices: what can be chosen of it.
    """

    name: str
    home: str
    choices: tuple[Choice, ...] = ()

    @property
    def made_of(self) -> Any:
        """What `home` names."""
        module, _, name = self.home.partition(":")
        return getattr(import_module(f"resnet_sde.{module}"), name)

    def make(self, *first: object, **chosen: object) -> Any:
        """One of this kind, of what the class takes first and of the choices by their options."""
        fields = {choice.option: choice.field for choice in self.choices}
        return self.made_of(*first, **{fields[option]: value for option, value in chosen.items()})


@dataclass(frozen=True)
class BlockPart(Part):
    """A block that has a name; its class takes the activation first.

    Attributes:
        matrices: how many it has, in words.
        activation: name of the only one that it takes, if there is only one.
        skip: the only weight of the identity branch that it has, if there is only one; it is then no residual
            network, whose scale could be chosen.
        beta: scaling exponent where it is left out; None is the critical one.
    """

    matrices: str = "one matrix"
    activation: str | None = None
    skip: float | None = None
    beta: float | None = None


def _by_name(*parts: Any) -> dict[str, Any]:
    return {part.name: part for part in parts}


def choices(parts: Mapping[str, Part]) -> dict[str, Choice]:
    """What can be chosen of some of these parts, by option; numbers before words."""
    found = {choice.option: choice for part in parts.values() for choice in part.choices}
    return dict(sorted(found.items(), key=lambda item: bool(item[1].words)))


def having(parts: Mapping[str, Part], choice: Choice) -> list[str]:
    """The names of those of which this can be chosen."""
    return [name for name, part in parts.items() if choice in part.choices]


def spelled(parts: Iterable[Part]) -> list[str]:
    """Names with a letter for the number that some take behind a colon."""
    return [":".join([part.name, *(choice.symbol for choice in part.choices)]) for part in parts]


NORMS = ("rms", "layer")
"""The normalizations of states that there are, without parameters and without an ε."""

_HURST = Choice(
    "hurst",
    "hurst",
    "Of fractional laws",
    high=1.0,
    open=True,
    example="0.7",
    symbol="H",
    title="Hurst index H of fractional weights",
)
_LENGTH_SCALE = Choice(
    "length_scale",
    "length_scale",
    "Of smooth laws",
    0.1,
    low=0.005,
    example="0.1",
    symbol=r"\ell",
    title="length scale of smooth weights, in units of the depth",
)
_ENTRIES = Choice(
    "entries",
    "entries",
    "Of white laws",
    "gaussian",
    ("gaussian", "uniform", "rademacher"),
    title="law of the entries of white weights",
)

_COEFFICIENT = Choice(
    "coefficient",
    "coefficients",
    "Of autoregressive and moving-average laws",
    low=-1.0,
    high=1.0,
    open=True,
    example="0.5",
    symbol="a",
    title="coefficient of autoregressive or moving-average weights",
)
_TIED = Choice(
    "tied",
    "layers",
    "Layers in a row that share their weights, of tied laws",
    2.0,
    kind=int,
    low=2,
    high=1_000_000,
    example="2",
    symbol="m",
    title="layers in a row that share their weights",
)
_DEGREES = Choice(
    "degrees",
    "degrees",
    "Of freedom, of Student's laws",
    5.0,
    low=2.0,
    open=True,
    example="5",
    symbol=r"\nu",
    title="degrees of freedom of Student's law of the entries",
)

LAWS: dict[str, Part] = _by_name(
    Part("white", "laws:WhiteNoise", (_ENTRIES,)),
    Part("fractional", "laws:FractionalNoise", (_HURST,)),
    Part("smooth", "laws:SmoothNoise", (_LENGTH_SCALE,)),
    Part("constant", "laws:ConstantNoise"),
    Part("autoregressive", "short_memory:AutoregressiveNoise", (_COEFFICIENT,)),
    Part("moving-average", "short_memory:MovingAverageNoise", (_COEFFICIENT,)),
    Part("tied", "short_memory:TiedNoise", (_TIED,)),
    Part("student", "empirical:StudentNoise", (_DEGREES,)),
)

_INNER = (
    Choice(
        "sw2",
        "sigma_w2",
        "Variance of the inner (or only) matrix",
        1.0,
        symbol=r"\sigma_w^2",
        title="variance of the inner (or only) matrix times fan-in",
    ),
    Choice(
        "sb2",
        "sigma_b2",
        "Variance of its bias",
        0.0,
        symbol=r"\sigma_b^2",
        title="variance of the inner (or only) bias",
    ),
)
_OUTER = (
    Choice(
        "sv2",
        "sigma_v2",
        "Variance of the outer matrix",
        1.0,
        symbol=r"\sigma_v^2",
        title="variance of the outer matrix times fan-in",
    ),
    Choice(
        "sa2",
        "sigma_a2",
        "Variance of its bias",
        0.0,
        symbol=r"\sigma_a^2",
        title="variance of the outer bias",
    ),
)
_EXPANSION = Choice(
    "expansion",
    "expansion",
    "Hidden numbers of a branch for each coordinate of the state",
    1.0,
    low=1e-6,
    symbol="M/d",
    title="hidden numbers of a branch for each coordinate of the state",
    quiet=True,
)
_GATED = (
    _INNER[0],
    Choice(
        "su2",
        "sigma_u2",
        "Variance of the matrix that a gate multiplies",
        1.0,
        symbol=r"\sigma_u^2",
        title="variance of the matrix that a gate multiplies times fan-in",
    ),
    _OUTER[0],
    _EXPANSION,
)
_TWO = ("blocks:TwoLayer", (*_INNER, *_OUTER, _EXPANSION), "two matrices")

BLOCKS: dict[str, BlockPart] = _by_name(
    BlockPart("res-1", "blocks:SingleLayer", _INNER),
    BlockPart("res-2", *_TWO),
    BlockPart("res-3", *_TWO, activation="relu"),
    BlockPart("full", *_TWO),
    BlockPart("glu", "blocks:GatedLinearUnit", _GATED, "three matrices"),
    BlockPart("reduced", "blocks:Reduced", _INNER, beta=0.0),
    BlockPart("feed-forward", "blocks:SingleLayer", _INNER, skip=0.0, beta=0.0),
)

ACTIVATIONS: dict[str, Part] = _by_name(
    Part("linear", "activations:LINEAR"),
    Part("relu", "activations:RELU"),
    Part("leaky-relu", "activations:LeakyReLU", (Choice("slope", "slope", example="0.8", symbol="S"),)),
    Part("tanh", "activations:TANH"),
    Part("erf", "activations:ERF"),
    Part("gelu", "activations:GELU"),
    Part("sigmoid", "activations:SIGMOID"),
    Part("silu", "activations:SILU"),
    Part("softplus", "activations:SOFTPLUS"),
    Part("elu", "activations:ELU"),
    Part("selu", "activations:SELU"),
    Part("mish", "activations:MISH"),
    Part("hard-tanh", "activations:HARD_TANH"),
    Part("sin", "activations:SIN"),
    Part("alpha-relu", "activations:AlphaReLU", (Choice("alpha", "alpha", example="0.8", symbol="A"),)),
)
