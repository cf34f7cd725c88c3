"""`resnet-sde kernel`: infinitely wide networks, at a given depth and for any law of the weights."""

from __future__ import annotations

import math
from typing import Any

import click

import resnet_sde as rs
from resnet_sde._json import json_number
from resnet_sde.cli.options import (
    KEEP_RATE_OPTION,
    MODEL_OPTIONS,
    RUN_OPTION,
    STATE_OPTIONS,
    Command,
    Number,
    emit,
    with_options,
)
from resnet_sde.cli.single import document, once, one_model, share_bar

_BY_LAYER = ("full", "reduced", "feed-forward")
_SHOWN = 12  # layers of a table


@once
@click.command("kernel", cls=Command)
@with_options(MODEL_OPTIONS)
@click.option("--depth", type=Number(int, 1, 10**7, "100"), default=100, show_default=True, help="Of layers.")
@with_options(STATE_OPTIONS)
@KEEP_RATE_OPTION
@click.option("--profile", is_flag=True, help="Also the values at every layer.")
@with_options([RUN_OPTION["seed"], RUN_OPTION["json"]])
@click.pass_context
def kernel_command(context: click.Context, **given: Any) -> None:
    """Infinitely wide networks at a given depth.

    How far states and gradients move from end to end, in the mean square; for full, reduced and feed-forward
    blocks also lengths, the cosine of two inputs and the growth of gradients layer by layer. Weights that
    are correlated along depth cost time that grows like the square of the depth. With --width the gradient is
    that of a network of this width, where the branch is homogeneous and there is no norm.
    """
    model, label = one_model(given)
    wide = context.get_parameter_source("width") is click.core.ParameterSource.DEFAULT
    answer = describe(model, given, label["block"], None if wide else model.width)
    if given["as_json"]:
        emit(document({**label, "depth": given["depth"]}, given["seed"], answer))
    else:
        emit(_table(answer))


def describe(model: rs.Model, given: dict[str, Any], block: str, width: int | None) -> dict[str, Any]:
    """The values under their JSON keys."""
    from resnet_sde import meanfield

    if not model.law.independent and (given["c0"] is not None or given["keep_rate"] < 1):
        raise click.UsageError(
            "two inputs (--c0) and dropout (--keep-rate) have a theory for white weights only; leave them "
            "out, or give --law white."
        )
    by_layer = block in _BY_LAYER
    request = {name: given[name] for name in ("depth", "keep_rate")}
    with share_bar() as bar:
        layers = meanfield.displacement(
            model, given["k0"], **request, every_layer=by_layer or given["profile"], done=bar.update
        )
    gradient = layers.gradient
    if width is not None and model.block.homogeneous and model.norm is None:
        gradient = layers.at_width(width)
    answer: dict[str, Any] = {
        "displacement2": _finite(float(layers.forward[-1])),
        "gradient_displacement2": _finite(float(gradient[0])),
        "log10_displacement": json_number(layers.log_forward / (2 * math.log(10))),
    }
    if given["profile"]:
        answer["profile"] = {
            "displacement2": [_finite(v) for v in layers.forward.tolist()],
            "gradient_displacement2": [_finite(v) for v in gradient.tolist()],
        }
    if by_layer:
        for key, values in (("p", layers.q), ("log_gradient_growth", layers.log_gradient_growth)):
            assert values is not None
            answer[key] = [json_number(value) for value in values.tolist()]
        answer["one_minus_e"] = None
    if given["c0"] is not None:
        answer["one_minus_e"] = _gaps(model, given)
    return answer


def _gaps(model: rs.Model, given: dict[str, Any]) -> list[float | str | None]:
    """1 − cosine of two inputs at every layer."""
    from resnet_sde import meanfield

    start, depth, keep_rate = 1.0 - given["c0"], given["depth"], given["keep_rate"]
    found = meanfield.gaps(model, given["k0"], start, depth=depth, keep_rate=keep_rate)
    return [json_number(gap) for gap in found.tolist()]


def _finite(value: float) -> float | str | None:
    """The number, null where it overflowed."""
    return json_number(value) if math.isfinite(value) else None


def _table(answer: dict[str, Any]) -> str:
    """The answer for people."""
    log10, gradient = answer["log10_displacement"], answer["gradient_displacement2"]
    moved = f"10^{log10:.6g}" if isinstance(log10, float) and abs(log10) > 6 else _short(_power(log10))
    lines = [
        f"At infinite width, root mean square: ‖h_L − h_0‖ / ‖h_0‖ = {moved}, "
        f"‖p_0 − p_L‖ / ‖p_L‖ = {'beyond 1e154' if gradient is None else _short(math.sqrt(gradient))}."
    ]
    columns = {
        "p": "mean square",
        "one_minus_e": "1 − cosine",
        "log_gradient_growth": "log gradient growth",
    }
    shown = {title: answer[key] for key, title in columns.items() if answer.get(key) is not None}
    for name, values in answer.get("profile", {}).items():
        shown[name] = values
    if shown:
        depth = len(next(iter(shown.values()))) - 1
        lines.append("  ".join([f"{'layer':>8}", *(f"{title:>22}" for title in shown)]))
        for layer in sorted({round(depth * i / _SHOWN) for i in range(_SHOWN + 1)}):
            row = (_short(values[layer]) for values in shown.values())
            lines.append("  ".join([f"{layer:>8}", *(f"{value:>22}" for value in row)]))
    return "\n".join(lines)


def _power(log10: float | str) -> float:
    return 0.0 if isinstance(log10, str) else 10.0**log10


def _short(value: float | str | None) -> str:
    return "beyond range" if value is None or isinstance(value, str) else f"{value:.6g}"
