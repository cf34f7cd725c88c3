"""`resnet-sde limit`: what a model tends to as its depth grows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

import resnet_sde as rs
from resnet_sde.cli.options import MODEL_OPTIONS, RUN_OPTION, Command, emit, with_options
from resnet_sde.cli.single import document, once, one_model

if TYPE_CHECKING:
    from resnet_sde.limits import Limit


@once
@click.command("limit", cls=Command)
@with_options(MODEL_OPTIONS)
@with_options([RUN_OPTION["seed"], RUN_OPTION["json"]])
def limit_command(**given: Any) -> None:
    """What a model tends to as its depth grows.

    Names the regime that its scaling puts it in, the differential equation that it tends to at the critical
    scaling, how that equation is driven, and at what rate; or why there is none. Nothing is random here: the
    seed is only passed on to the answer.
    """
    model, label = one_model(given)
    answer = describe(model)
    if given["as_json"]:
        emit(document(label, given["seed"], answer))
    else:
        emit("\n".join([_paragraph(model, answer), "", *_details(model, label)]))


def describe(model: rs.Model) -> dict[str, Any]:
    """The regime of a model and its limit, or the reason why it has none."""
    from resnet_sde.limits import at_finite_width

    equation: Limit | None = None
    try:
        equation = rs.limit(model)
        reason = equation.words
    except rs.NoLimit as refusal:
        reason = _refused(model, refusal)
    return {
        "regime": None if model.regime is None else model.regime.value,
        "critical_beta": model.critical_beta,
        "limit": None if equation is None else equation.kind,
        "coupled": None if equation is None else equation.coupled,
        "strong_order": None if equation is None else equation.strong_order,
        "reason": " ".join(filter(None, [reason, at_finite_width(model)])),
    }


def _refused(model: rs.Model, refusal: rs.NoLimit) -> str:
    """Why there is no limit; a reduced block has a default scaling that is not the critical one."""
    text = f"{refusal}"
    if isinstance(model.block, rs.Reduced) and model.critical_beta is not None:
        text = f"{refusal.fact}: {refusal.reason}. Give --beta {model.critical_beta:g}."
    return text[0].upper() + text[1:] if text[:2] != "H " else text


def _paragraph(model: rs.Model, answer: dict[str, Any]) -> str:
    """The answer for people."""
    critical = answer["critical_beta"]
    if critical is None:
        scaling = "No scaling is critical for this model."
    else:
        place = {
            "identity": f"above the critical {critical:g}",
            "critical": "the critical value",
            "saturation": f"below the critical {critical:g}",
            "explosion": f"below the critical {critical:g}",
        }[answer["regime"]]
        scaling = f"Regime: {answer['regime']} (beta = {model.beta:g}, {place})."
    found = "Limit: none."
    if answer["limit"] is not None:
        order = answer["strong_order"]
        rate = "" if order is None else f" with strong order {order:.4g}"
        how = f"on the weight path of each network{rate}" if answer["coupled"] else "in law"
        found = f"Limit: {rs.limit(model).name}, {how}."
    return "\n".join(textwrap.wrap(f"{scaling} {found} {answer['reason']}", width=100))


def _details(model: rs.Model, label: dict[str, Any]) -> Iterator[str]:
    """The model that was asked about, and its equation where it has one."""
    words = (
        f"{name.replace('_', '-')} {_value(value)}" for name, value in label.items() if value is not None
    )
    yield from textwrap.wrap(f"Model: {', '.join(words)}", width=100, subsequent_indent="  ")
    with suppress(rs.NoLimit):
        yield from rs.limit(model).lines()


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
