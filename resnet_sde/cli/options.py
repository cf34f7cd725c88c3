"""Options that mean the same thing in every command, and the models they describe."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
from typing_extensions import override

import resnet_sde as rs

if TYPE_CHECKING:
    import torch

BLOCKS = ("res-1", "res-2", "res-3", "full", "reduced", "feed-forward")
LAWS = ("white", "fractional", "smooth", "constant")
VARIANCES = {"sw2": "sigma_w2", "sb2": "sigma_b2", "sv2": "sigma_v2", "sa2": "sigma_a2"}
_OUTER = ("sv2", "sa2")
LAW_OPTIONS = {"hurst": "fractional", "length_scale": "smooth", "entries": "white"}

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


VARIANCE = Number(float, 0, 1e6, "1")


def _option(*names: str, type: Any, help: str, default: Any = None, many: bool = False) -> Callable[[_F], _F]:
    if many:
        help = f"{help} Repeatable."
        default = [default] if default is not None else None
    return click.option(*names, type=type, help=help, default=default, multiple=many, show_default=True)


MODEL_OPTIONS = (
    _option(
        "--block",
        type=click.Choice(BLOCKS),
        many=True,
        help="Residual branch: res-1 and res-2 have one matrix and two, res-3 is res-2 with ReLU; res-3 if "
        "left out, or res-2 with another --activation.",
    ),
    _option(
        "--activation",
        type=str,
        default="relu",
        many=True,
        help="linear, relu, leaky-relu:S, tanh, erf, gelu, sigmoid or alpha-relu:A.",
    ),
    _option(
        "--law", type=click.Choice(LAWS), default="white", many=True, help="Law of the weights along depth."
    ),
    _option("--hurst", type=Number(float, 0, 1, "0.7", open=True), many=True, help="Of fractional laws."),
    _option(
        "--length-scale",
        type=Number(float, 0.005, 1e6, "0.1"),
        many=True,
        help="Of smooth laws; 0.1 if left out.",
    ),
    _option(
        "--entries",
        type=click.Choice(("gaussian", "uniform", "rademacher")),
        many=True,
        help="Of white laws; gaussian if left out.",
    ),
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
    _option("--sw2", type=VARIANCE, many=True, help="Variance of the inner (or only) matrix; 1 if left out."),
    _option("--sb2", type=VARIANCE, many=True, help="Variance of its bias; 0 if left out."),
    _option("--sv2", type=VARIANCE, many=True, help="Variance of the outer matrix; 1 if left out."),
    _option("--sa2", type=VARIANCE, many=True, help="Variance of its bias; 0 if left out."),
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


def laws(given: Mapping[str, Sequence[Any]]) -> list[rs.PathLaw]:
    """The laws that the options name: each option of a law multiplies the cells of that law only."""
    for option, law in LAW_OPTIONS.items():
        if given[option] and law not in given["law"]:
            raise click.UsageError(
                f"--{option.replace('_', '-')} is of the {law} law; give --law {law} with it."
            )
    if "fractional" in given["law"] and not given["hurst"]:
        raise click.UsageError("--law fractional needs its Hurst index; give for example --hurst 0.7.")
    found: list[rs.PathLaw] = []
    for law in given["law"]:
        if law == "white":
            found += [rs.WhiteNoise(entries) for entries in given["entries"] or ("gaussian",)]
        elif law == "fractional":
            found += [rs.FractionalNoise(hurst) for hurst in given["hurst"]]
        elif law == "smooth":
            found += [rs.SmoothNoise(length) for length in given["length_scale"] or (0.1,)]
        else:
            found.append(rs.ConstantNoise())
    return list(dict.fromkeys(found))


def make_block(
    name: str, phi: rs.Activation, variances: Mapping[str, float]
) -> tuple[rs.Block, float | None]:
    """The block of this name, and the skip weight that it implies (None: any)."""
    single = name in ("res-1", "reduced", "feed-forward")
    for option in _OUTER if single else ():
        if option in variances:
            raise click.UsageError(
                f"--{option}: block {name} has one matrix; give its variances as --sw2 and --sb2."
            )
    if name == "res-3" and phi != rs.activation("relu"):
        raise click.UsageError(
            "--activation: block res-3 is the ReLU one; give --block res-2 for any other activation."
        )
    fields = {VARIANCES[option]: value for option, value in variances.items()}
    kinds: dict[str, Any] = {"res-1": rs.SingleLayer, "feed-forward": rs.SingleLayer, "reduced": rs.Reduced}
    return kinds.get(name, rs.TwoLayer)(phi, **fields), 0.0 if name == "feed-forward" else None


def make_model(point: Mapping[str, Any]) -> rs.Model:
    """The model at one point of the grid of options."""
    variances = {option: point[option] for option in VARIANCES if point.get(option) is not None}
    scaling = {option: point[option] for option in ("beta", "gain", "skip") if point.get(option) is not None}
    name = point["block"]
    block, implied = make_block(name, rs.activation(point["activation"]), variances)
    if implied is not None:
        if scaling:
            raise click.UsageError(
                f"block {name} has no residual scale; leave out --beta, --gain and --skip."
            )
        scaling["skip"] = implied
    if name in ("feed-forward", "reduced"):
        scaling.setdefault("beta", 0.0)
    return rs.Model(block, point["law"], point["width"], **scaling)


def model_axes(given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Values of every model option, as axes of a grid; an option that was left out is no axis."""
    axes: dict[str, list[Any]] = {"law": laws(given)}
    if not given["block"]:
        relu = all(rs.activation(name) == rs.activation("relu") for name in given["activation"])
        axes["block"] = ["res-3" if relu else "res-2"]
    for option in ("block", "activation", "width", "beta", "gain", "skip", *VARIANCES):
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


def coordinates(model: rs.Model) -> Iterator[tuple[str, Any]]:
    """What the options call the parts of a model."""
    law = model.law
    yield "law", str(law).partition(":")[0].partition("-")[0]
    for option in LAW_OPTIONS:
        if hasattr(law, option):
            yield option, getattr(law, option)
    yield from (("width", model.width), ("beta", model.beta), ("gain", model.gain), ("skip", model.skip))
    for option, field in VARIANCES.items():
        if hasattr(model.block, field):
            yield option, getattr(model.block, field)
