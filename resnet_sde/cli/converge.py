"""`resnet-sde converge`: how fast networks come near their limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

import resnet_sde as rs
from resnet_sde._json import json_number
from resnet_sde.cli.options import (
    MODEL_OPTIONS,
    RUN_OPTION,
    Command,
    Number,
    device_of,
    emit,
    with_options,
)
from resnet_sde.cli.single import document, once, one_model, share_bar
from resnet_sde.cli.study import inputs

if TYPE_CHECKING:
    from torch import Tensor

    from resnet_sde.coupling import Convergence
    from resnet_sde.estimate import Estimate

DEPTH = Number(int, 1, 10**7, "64")
BEYOND = 8  # a finite reference is so many times deeper than the deepest network
ERRORS = {
    "strong_errors": "strong error",
    "sup_errors": "largest error",
    "weak_errors": "weak error",
    "gradient_errors": "gradient error",
}
ORDERS = {
    "strong_order": "Strong order",
    "weak_order": "Weak order",
    "gradient_order": "Order of the gradient",
}
_WIDEST = 0.5  # half of an interval that tells no order from its neighbours
EXPECTED = {"strong_order": "expected", "gradient_order": "expected_gradient"}


class Reference(click.ParamType):
    """`exact`, `solver` or a depth."""

    name = "reference"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """The word or the number."""
        if value in ("exact", "solver"):
            return str(value)
        if isinstance(value, str) and value.isascii() and value.lstrip("-").isdecimal():
            return int(DEPTH.convert(value, param, ctx))
        self.fail(f"{value!r} is neither exact, solver nor a depth; give for example 1024.", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The words that stand for the value on the help page."""
        return "[exact|solver|L]"


@once
# float64, because the errors of deep networks come near the rounding of float32.
@click.command(
    "converge", cls=Command, context_settings={"default_map": {"dtype": "float64", "block": ["res-1"]}}
)
@with_options(MODEL_OPTIONS)
@click.option(
    "--depth",
    type=DEPTH,
    multiple=True,
    default=[16, 32, 64, 128],
    show_default=True,
    help="Number of layers; two or more depths. Repeatable.",
)
@click.option(
    "--reference",
    type=Reference(),
    help="What they are compared with: a closed form, the limit solved on the path (smooth and constant "
    "weights), or a network of L layers. If left out the solver, or eight times the deepest network.",
)
@click.option("--gradients", is_flag=True, help="Compare the gradients with respect to h_0 too.")
@click.option(
    "--input",
    "source",
    default="digits",
    show_default=True,
    help="digits[:i], fashion-mnist:DIR[:i], mnist:DIR[:i], cifar10:DIR[:i] or gaussian; "
    "with i that image, without it each network takes the next one.",
)
@with_options([RUN_OPTION[name] for name in ("samples", "seed", "dtype", "device", "method", "json")])
def converge_command(**given: Any) -> None:
    """Orders of convergence, on weight paths that all depths share.

    Prints the error of networks of several depths against their limit on the same weight path, relative to
    the size of h_0, and the order at which it falls, with intervals of level 99.9 % and what theory expects.
    """
    model, label = one_model(given)
    depths = sorted(set(given["depth"]))
    reference = given["reference"]
    if reference is None:
        reference = "solver" if rs.limit(model).kind == "random-ode" else BEYOND * depths[-1]
    if given["gradients"] and reference == "exact":
        raise click.UsageError("--gradients: closed forms know no gradient; give a depth as --reference.")
    import torch

    device, dtype = device_of(given["device"]), getattr(torch, given["dtype"])
    x = inputs(given["source"], given["samples"], given["seed"])
    with share_bar(given["samples"]) as bar:
        result = rs.couple(
            model,
            _embed(x, model.width, given["samples"], given["seed"]).to(device=device, dtype=dtype),
            depths=depths,
            samples=given["samples"],
            reference=reference,
            gradients=given["gradients"],
            method=given["method"],
            seed=given["seed"],
            done=bar.update,
        )
    verdicts = dict(_verdicts(model, result))
    request = {name: given[name] for name in ("samples", "dtype", "method")}
    answer = {"reference": reference, "input": given["source"], **request, **_plain(result, verdicts)}
    if given["as_json"]:
        emit(document(label, given["seed"], answer))
    else:
        emit("\n".join(_table(result, reference, verdicts)))


def _embed(x: Tensor, width: int, samples: int, seed: int) -> Tensor:
    """h_0 = A x with A_ij ~ N(0, 1/n_in) of its own for each network, in float64; (samples, input, width)."""
    from resnet_sde.matrices import Deferred
    from resnet_sde.streams import stream

    source = stream(seed, "converge", "embedding", tuple(x.shape), width, samples)
    return Deferred(source, width).matvec(x.expand(samples, -1, -1), x.shape[-1] ** -0.5)


@dataclass(frozen=True)
class _Verdict:
    """What the interval of an order says.

    expected: the order that theory gives, None where it gives none.
    status: holds, fails or undecided; None where there is nothing to compare, and the order is just known.
    reason: why it is undecided.
    """

    expected: float | None
    status: str | None
    reason: str | None = None


def _verdicts(model: rs.Model, result: Convergence) -> Iterator[tuple[str, _Verdict]]:
    """Of every order that was measured."""
    from resnet_sde.coupling import TOLERANCE
    from resnet_sde.estimate import Outcome

    expected = {"strong_order": result.expected, "gradient_order": result.expected_gradient}
    expected["weak_order"] = rs.limit(model).weak_order
    for name in ORDERS:
        order: Estimate | None = getattr(result, name)
        if order is None:
            continue
        theory = expected[name]
        reason = _doubt(order)
        if reason is not None:
            yield name, _Verdict(theory, Outcome.UNDECIDED.value, reason)
        elif theory is None:
            yield name, _Verdict(None, None)
        else:
            status = order.within(theory, TOLERANCE)
            wide = f"its interval is not within {TOLERANCE:g} of theory; give more --samples"
            yield name, _Verdict(theory, status.value, wide if status is Outcome.UNDECIDED else None)


def _doubt(order: Estimate) -> str | None:
    """Why an order says nothing, if it does not."""
    if order.reason is not None:
        return f"{order.reason}; give more --samples"
    if math.isnan(order.value) or math.isinf(order.value):
        return "there is no error at some depth, or none that is finite"
    if not order.high - order.low <= 2 * _WIDEST:
        return "its interval is wider than an order; give more --samples, or more depths"
    return None


def _plain(result: Convergence, verdicts: Mapping[str, _Verdict]) -> dict[str, Any]:
    """The result as the JSON contract writes it."""
    answer: dict[str, Any] = {"depths": list(result.depths), "status": result.status.value}
    for name in ERRORS:
        errors = getattr(result, name)
        answer[name] = None if _unknown(errors) else [json_number(error) for error in errors]
    for name in ORDERS:
        answer[name] = _interval(getattr(result, name))
    for name in EXPECTED.values():
        expected = getattr(result, name)
        answer[name] = None if expected is None else json_number(expected)
    answer["intervals"] = {name: [_interval(e) for e in each] for name, each in result.intervals.items()}
    answer["verdicts"] = {name: asdict(verdict) for name, verdict in verdicts.items()}
    return answer


def _unknown(errors: Sequence[float] | None) -> bool:
    return errors is None or all(map(math.isnan, errors))


def _interval(estimate: Estimate | None) -> dict[str, float | str | None] | None:
    if estimate is None:
        return None
    return {end: json_number(getattr(estimate, end)) for end in ("value", "low", "high")}


def _table(result: Convergence, reference: str | int, verdicts: Mapping[str, _Verdict]) -> Iterator[str]:
    """Errors with a row for each depth, then the orders."""
    from resnet_sde.estimate import LEVEL

    known = {name: getattr(result, name) for name in ERRORS if not _unknown(getattr(result, name))}
    against = {"exact": "the exact solution", "solver": "the limit solved"}.get(
        str(reference), f"a network of {reference} layers"
    )
    yield (
        f"Errors against {against} on the same weights, relative to the size of the input, "
        f"and intervals of level {100 * LEVEL:g} %"
    )
    rows = [["depth", *(ERRORS[name] for name in known)]]
    for place, depth in enumerate(result.depths):
        bars = (_half(result.intervals[name][place]) for name in known)
        rows.append(
            [str(depth), *(f"{errors[place]:.3g}{b}" for errors, b in zip(known.values(), bars, strict=True))]
        )
    yield from _aligned(rows)
    doubts = [e.reason for name in known for e in result.intervals[name] if e.reason]
    if doubts:
        yield f"? is an interval in doubt: {doubts[0]}"
    yield ""
    for name, verdict in verdicts.items():
        yield f"{ORDERS[name]} {_order(getattr(result, name), verdict)}"
    if result.strong_order is None:
        yield "The limit holds in law only: there is no strong error."


def _order(order: Estimate, verdict: _Verdict) -> str:
    """An order, theory and the verdict; or why there is none."""
    theory = "no order is known from theory" if verdict.expected is None else f"theory {verdict.expected:.3g}"
    why = f" ({verdict.reason})" if verdict.reason else ""
    if _doubt(order) is not None:
        return f"undecided: {verdict.reason}; {theory}"
    return f"{order}; {theory}{f', {verdict.status}{why}' if verdict.status else ''}"


def _half(interval: Estimate) -> str:
    """± half of the interval, and a question mark where the networks do not carry it."""
    half = (interval.high - interval.low) / 2
    return f" ± {half:.1g}{'?' if interval.reason else ''}" if math.isfinite(half) else ""


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(entry.rjust(width) for entry, width in zip(row, widths, strict=True))
