"""`resnet-sde kernel`: infinitely wide networks, at a given depth and for any law of the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from torch import Tensor

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
    that of a network of this width, where the branch is homogeneous.
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
    white = model.law.independent
    if not white and (given["c0"] is not None or given["keep_rate"] < 1):
        raise click.UsageError(
            "two inputs (--c0) and dropout (--keep-rate) have a theory for white weights only; leave them "
            "out, or give --law white."
        )
    by_layer = block in _BY_LAYER
    if white:
        layers = _white(model, given)
    elif by_layer or given["profile"]:
        layers = _coloured(model, given)
    else:
        layers = _ends(model, given)
    gradient = layers.gradient
    if width is not None and model.block.homogeneous:
        gradient = (1 - 1 / width) * gradient + layers.along / width
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
        answer["p"] = [json_number(q) for q in layers.q.tolist()]
        answer["log_gradient_growth"] = [json_number(g) for g in layers.log_growth.tolist()]
        answer["one_minus_e"] = None
    if given["c0"] is not None:
        answer["one_minus_e"] = _gaps(model, given)
    return answer


def ends(model: rs.Model, depth: int) -> tuple[float, float]:
    """E ‖h_L − h_0‖² / ‖h_0‖² and E ‖p_0 − p_L‖² / ‖p_L‖² from inputs of mean square 1.

    Raises:
        ValueError: nothing is known of such a model.
    """
    request = {"depth": depth, "k0": 1.0, "keep_rate": 1.0}
    found = _white(model, request) if model.law.independent else _ends(model, request)
    return float(found.forward[-1]), float(found.gradient[0])


@dataclass(frozen=True)
class _Layers:
    """What the answer is made of, at every layer; one number where only the ends are known.

    forward, gradient: E ‖h_l − h_0‖² / ‖h_0‖² and E ‖p_l − p_L‖² / ‖p_L‖².
    along: E ‖h_L − h_l‖² / ‖h_l‖², which is also what the gradient along a homogeneous state does.
    log_forward: natural logarithm of the last entry of forward, where that may overflow.
    """

    forward: Tensor
    gradient: Tensor
    along: Tensor
    log_forward: float
    q: Tensor
    log_growth: Tensor


def _white(model: rs.Model, given: dict[str, Any]) -> _Layers:
    """Layers of independent weights, one after another."""
    import torch

    from resnet_sde import meanfield

    found = meanfield.lengths(model, given["k0"], depth=given["depth"], keep_rate=given["keep_rate"])
    kept = torch.tensor(model.skip, dtype=torch.float64) ** torch.arange(given["depth"], -1, -1)
    gradient = torch.expm1(found.log_gradient_growth[-1] - found.log_gradient_growth) + 2 * (1 - kept)
    along = torch.expm1(found.log_q[-1] - found.log_q) + 2 * (1 - kept)
    moved = float(found.displacement2[-1])
    log_forward = float(found.log_q[-1] - found.log_q[0])
    if math.isfinite(moved):
        log_forward = math.log(moved) if moved > 0 else -math.inf
    return _Layers(found.displacement2, gradient, along, log_forward, found.q, found.log_gradient_growth)


def _ends(model: rs.Model, given: dict[str, Any]) -> _Layers:
    """Correlated layers, from end to end."""
    import torch

    from resnet_sde import meanfield

    depth = given["depth"]
    alphas, start = torch.tensor([model.alpha(depth)], dtype=torch.float64), given["k0"]
    with share_bar() as bar:
        found = meanfield.displacements(
            model.block, model.law, depth, alphas, start, skip=model.skip, done=bar.update
        )
    log_forward = 2 * math.log(10) * float(found.log10_forward)
    forward = torch.tensor([log_forward], dtype=torch.float64).exp()
    gradient = (2 * math.log(10) * found.log10_gradient).exp()
    return _Layers(forward, gradient, forward, log_forward, forward, forward)


def _coloured(model: rs.Model, given: dict[str, Any]) -> _Layers:
    """Correlated layers, with all that lies between the ends."""
    from resnet_sde import meanfield

    kernel = meanfield.two_time(model, given["k0"], depth=given["depth"])
    back = meanfield.gradients_along(model, kernel)
    q, square = kernel.diagonal(), back.diagonal()
    return _Layers(
        forward=(q - 2 * kernel[0] + q[0]) / q[0],
        gradient=square - 2 * back[-1] + 1,
        along=(q[-1] - 2 * kernel[-1] + q) / q,
        log_forward=_ends(model, given).log_forward,
        q=q,
        log_growth=square[0].log() - square.log(),
    )


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
