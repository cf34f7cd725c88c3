"""Options that mean the same thing in every command, and the models they describe."""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
from typing_extensions import override

import resnet_sde as rs
from resnet_sde.cli.own import own_part
from resnet_sde.parts import ACTIVATIONS, BLOCKS, LAWS, NORMS, Choice, choices, having, spelled

if TYPE_CHECKING:
    import torch

_F = TypeVar("_F", bound=Callable[..., object])


class Command(click.Command):
    """A command that refuses an option given twice where one value is meant: else the last one would win."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, found = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        single = [p for p in found if isinstance(p, click.Option) and not (p.multiple or p.is_flag)]
        for option, times in Counter(single).items():
            if times > 1:
                names = ", ".join(option.opts)
                raise click.UsageError(
                    f"{names} was given {times} times and means one value; give it once.", ctx
                )
        return rest


@dataclass(frozen=True)
class Number(click.ParamType):
    """A number in a range; `low` and `high` are included unless `open` is set."""

    kind: type
    low: float
    high: float
    example: str
    open: bool = False
    name: str = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or a failure that says what to give."""
        try:
            number = self.kind(value)
            inside = self.low < number < self.high if self.open else self.low <= number <= self.high
        except (TypeError, ValueError, OverflowError):
            number, inside = value, False
        if inside:
            return number
        what = "an integer" if self.kind is int else "a number"
        low, high = (str(end) if self.kind is int else f"{end:g}" for end in (self.low, self.high))
        ends = f"strictly between {low} and {high}" if self.open else f"from {low} to {high}"
        self.fail(f"{value!r} is not {what} {ends}; give for example {self.example}.", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The word that stands for the value on the help page."""
        return "N" if self.kind is int else "X"


class Named(click.Choice[str]):
    """The name of a part, or MODULE:NAME of one's own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The words."""
        return value if ":" in value else super().convert(value, param, ctx)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What else there is."""
        known = super().get_invalid_choice_message(value, ctx).removesuffix(".")
        return f"{known}; give one of them, or MODULE:NAME of your own."

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The words that stand for the value on the help page."""
        return f"[{'|'.join(self.choices)}|MODULE:NAME]"


VARIANCE = Number(float, 0, 1e6, "1")


def _option(*names: str, type: Any, help: str, default: Any = None, many: bool = False) -> Callable[[_F], _F]:
    if many:
        help = f"{help} Repeatable."
        default = [default] if default is not None else None
    return click.option(*names, type=type, help=help, default=default, multiple=many, show_default=True)


def _chosen(choice: Choice) -> Callable[[_F], _F]:
    """The option for what can be chosen of a law or a block."""
    range_ = Number(choice.kind, choice.low, choice.high, choice.example, open=choice.open)
    default = choice.default if choice.words or choice.default is None else f"{choice.default:g}"
    return _option(
        f"--{choice.option.replace('_', '-')}",
        type=click.Choice(choice.words) if choice.words else range_,
        many=True,
        help=f"{choice.help}{'' if default is None else f'; {default} if left out'}.",
    )


_ACTIVATIONS = spelled(ACTIVATIONS.values())
MODEL_OPTIONS = (
    _option(
        "--block",
        type=Named(list(BLOCKS)),
        many=True,
        help="Residual branch: res-1 and res-2 have one matrix and two, res-3 is res-2 with ReLU, glu "
        "has a gate; res-3 if left out, or res-2 with another --activation.",
    ),
    _option(
        "--activation",
        type=str,
        default="relu",
        many=True,
        help=f"{', '.join(_ACTIVATIONS)}, or MODULE:NAME.",
    ),
    _option(
        "--law",
        type=Named(list(LAWS)),
        default="white",
        many=True,
        help="Law of the weights along depth.",
    ),
    *map(_chosen, choices(LAWS).values()),
    _option("--width", type=Number(int, 1, 10**7, "40"), default=40, many=True, help="Of the hidden states."),
    _option(
        "--beta",
        type=Number(float, -20, 20, "0.5"),
        many=True,
        help="Scaling exponent; critical if left out.",
    ),
    _option(
        "--gain",
        type=Number(float, 0, 1e6, "1"),
        many=True,
        help="Residual scale at depth 1; 1 if left out.",
    ),
    _option(
        "--skip",
        type=Number(float, -1e3, 1e3, "1"),
        many=True,
        help="Weight of the identity; 1 if left out.",
    ),
    *map(_chosen, choices(BLOCKS).values()),
    _option(
        "--pre-norm",
        type=click.Choice(NORMS),
        many=True,
        help="Normalization of the state before each branch; none if left out.",
    ),
    _option(
        "--post-norm",
        type=click.Choice(NORMS),
        many=True,
        help="Normalization of the sum of state and branch in every layer; none if left out.",
    ),
)

STATE_OPTIONS = (
    _option(
        *("--k0", "--p0", "--q0", "k0"),
        type=Number(float, 1e-30, 1e30, "1"),
        default=1.0,
        help="Mean square per coordinate of h_0, in feed-forward networks the first pre-activations.",
    ),
    _option(
        *("--c0", "--e0", "c0"),
        type=Number(float, -1, 1, "0.5"),
        help="Cosine of the states h_0 of two inputs; one input if left out.",
    ),
)

KEEP_RATE_OPTION = _option(
    "--keep-rate",
    type=Number(float, 1e-6, 1, "0.9"),
    default=1.0,
    help="Of dropout, with masks of their own for every input; 1 is none.",
)

RUN_OPTION = {
    "samples": _option(
        "--samples", type=Number(int, 1, 10**8, "200"), default=200, help="Networks in each cell."
    ),
    "seed": _option("--seed", type=Number(int, 0, 2**63, "0"), default=0, help="Of all random numbers."),
    "dtype": _option(
        "--dtype", type=click.Choice(("float32", "float64")), default="float32", help="Of states and weights."
    ),
    "device": _option(
        "--device", type=click.Choice(("cpu", "cuda")), default="cpu", help="Where to compute."
    ),
    "method": _option(
        "--method",
        type=click.Choice(("auto", "dense", "deferred")),
        default="auto",
        help="Draw weight matrices, or reveal them where they are looked at.",
    ),
    "workers": _option("--workers", type=Number(int, 1, 1024, "2"), default=1, help="Local processes."),
    "cluster": _option(
        "--cluster",
        type=str,
        default=None,
        help="Workers of a Dask cluster instead: local, or tcp://HOST:PORT (needs the extra cluster).",
    ),
    "json": click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table."),
}
RUN_OPTIONS = tuple(RUN_OPTION.values())


def with_options(options: Sequence[Callable[[_F], _F]]) -> Callable[[_F], _F]:
    """Add options to a command, in this order."""

    def add(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


NUMBERS_OF_LAWS = [option for option, choice in choices(LAWS).items() if not choice.words]
MODEL_NAMES = {option.name for option in with_options(MODEL_OPTIONS)(click.Command("model")).params}


@dataclass(frozen=True)
class ChosenLaw:
    """A law, and what options call it."""

    label: Mapping[str, Any]
    law: rs.PathLaw

    def __str__(self) -> str:
        return str(self.law) if self.label["law"] in LAWS else str(self.label["law"])


def laws(given: Mapping[str, Sequence[Any]]) -> list[ChosenLaw]:
    """The laws that the options name: each option of a law multiplies the cells of that law only."""
    for option, choice in choices(LAWS).items():
        of = having(LAWS, choice)
        if given[option] and not {*of} & {*given["law"]}:
            words = f"--{option.replace('_', '-')} is of the {' and the '.join(of)} law"
            raise click.UsageError(f"{words}; give --law {of[0]} with it.")
    return [
        ChosenLaw(label, law) for name in dict.fromkeys(given["law"]) for label, law in _laws(name, given)
    ]


def _laws(name: str, given: Mapping[str, Sequence[Any]]) -> Iterator[tuple[dict[str, Any], rs.PathLaw]]:
    """Labels and laws of this name, at all values of what can be chosen of it."""
    if name not in LAWS:
        yield {"law": name}, own_part("--law", name, rs.PathLaw)
        return
    part = LAWS[name]
    for choice in part.choices:
        if choice.default is None and not given[choice.option]:
            option = choice.option.replace("_", "-")
            raise click.UsageError(
                f"--law {name} needs --{option}; give for example --{option} {choice.example}."
            )
    axes = [dict.fromkeys(given[choice.option] or [choice.default]) for choice in part.choices]
    for values in itertools.product(*axes):
        chosen = {choice.option: value for choice, value in zip(part.choices, values, strict=True)}
        yield {"law": name, **chosen}, part.make(**chosen)


def activation(name: str) -> rs.Activation:
    """The activation of this name, or one of the user's own."""
    if name.partition(":")[0] in ACTIVATIONS or ":" not in name:
        return rs.activation(name)
    found: rs.Activation = own_part("--activation", name, rs.Activation, rs.Activation.of)
    return found


def make_block(name: str, activation_name: str, chosen: Mapping[str, Any]) -> rs.Block:
    """The block of this name, or one of the user's own, which has an activation and variances of its own."""
    block: rs.Block
    if name not in BLOCKS:
        for option in chosen:
            raise click.UsageError(f"--{option}: block {name} has variances of its own; leave it out.")
        block = own_part("--block", name, rs.Block)
        return block
    part, phi = BLOCKS[name], activation(activation_name)
    options = [choice.option for choice in part.choices]
    for option in chosen:
        if option not in options:
            raise click.UsageError(
                f"--{option}: block {name} has {part.matrices}; give its variances as --"
                f"{' and --'.join(options)}."
            )
    if part.activation is not None and phi != rs.activation(part.activation):
        raise click.UsageError(
            f"--activation: block {name} has the activation {part.activation}; give --block res-2 for any "
            "other."
        )
    block = part.make(phi, **chosen)
    return block


def make_model(point: Mapping[str, Any]) -> rs.Model:
    """The model at one point of the grid of options."""
    chosen = {option: point[option] for option in choices(BLOCKS) if point.get(option) is not None}
    scaling = {option: point[option] for option in ("beta", "gain", "skip") if point.get(option) is not None}
    name = point["block"]
    block, part = make_block(name, point["activation"], chosen), BLOCKS.get(name)
    if point.get("pre_norm"):
        block = rs.PreNorm(block, point["pre_norm"])
    if part is not None and part.skip is not None:
        if scaling:
            raise click.UsageError(
                f"block {name} has no residual scale; leave out --beta, --gain and --skip."
            )
        scaling["skip"] = part.skip
    if part is not None and part.beta is not None:
        scaling.setdefault("beta", part.beta)
    return rs.Model(block, point["law"].law, point["width"], norm=point.get("post_norm"), **scaling)


def model_axes(given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Values of every model option, as axes of a grid; an option that was left out is no axis."""
    axes: dict[str, list[Any]] = {"law": laws(given)}
    if not given["block"]:
        relu = all(activation(name) == rs.activation("relu") for name in given["activation"])
        axes["block"] = ["res-3" if relu else "res-2"]
    for name in given["block"]:
        source = click.get_current_context().get_parameter_source("activation")
        if name not in BLOCKS and source is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--activation: block {name} has its own; leave it out.")
    for option in (
        "block",
        "activation",
        "width",
        "beta",
        "gain",
        "skip",
        *choices(BLOCKS),
        "pre_norm",
        "post_norm",
    ):
        if given[option]:
            axes[option] = list(dict.fromkeys(given[option]))
    return axes


def device_of(name: str) -> torch.device:
    """The device of this name. Raises UsageError where there is none."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise click.UsageError(
            "--device cuda: this machine has no CUDA device that torch can use; give --device cpu."
        )
    return torch.device(name)


def emit(text: str) -> None:
    """Print, and take no offence if the reader has seen enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def in_table(value: object) -> str:
    """What a table shows of a coordinate or a number; nothing where there is none."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def names_of(point: Mapping[str, Any]) -> dict[str, Any]:
    """Block and activation, as options call them; a block of one's own does not say its activation."""
    return {"block": point["block"], "activation": point["activation"] if point["block"] in BLOCKS else None}


def coordinates(law: ChosenLaw, model: rs.Model) -> Iterator[tuple[str, Any]]:
    """What the options call the parts of a model of this law."""
    yield from law.label.items()
    yield from (("width", model.width), ("beta", model.beta), ("gain", model.gain), ("skip", model.skip))
    block = model.block
    if model.norm is not None:
        yield "post_norm", model.norm
    if isinstance(block, rs.PreNorm):
        yield "pre_norm", block.norm
        block = block.block
    for option, choice in choices(BLOCKS).items():
        value = getattr(block, choice.field, None)
        if value is not None and not (choice.quiet and value == choice.default):
            yield option, value
