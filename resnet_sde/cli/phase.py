"""`resnet-sde phase`: where deep feed-forward networks of infinite width lead to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, replace
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
    emit,
    with_options,
)
from resnet_sde.cli.single import document, once, one_model

if TYPE_CHECKING:
    from resnet_sde.meanfield import Phase

_STATE = ("keep_rate", "k0", "c0")
_SCALES_TO_ZERO = 40  # e^{−40} is below rounding
_MOST_LAYERS = 10_000
_SAYS = {
    "ordered": "Ordered: all inputs become alike, and gradients vanish.",
    "critical": "Critical: neither lengths of gradients nor small angles have a depth scale.",
    "chaotic": "Chaotic: nearby inputs are driven apart, and gradients explode.",
    "dropout": "Dropout: even equal inputs are driven apart, and no depth scale of angles diverges.",
    "dropout-critical": "Dropout: every length stays as it is, and even equal inputs are driven apart.",
    "degenerate": "Degenerate: lengths tend to 0.",
    "critical-divergent": "Critical and divergent: lengths grow with the number of layers.",
    "divergent": "Divergent: lengths grow exponentially.",
}
_ROWS = {
    "q_star": ("q*", "mean square of pre-activations"),
    "c_star": ("c*", "correlation of two inputs"),
    "one_minus_c_star": ("1 − c*", ""),
    "chi_q": ("χ_q", "slope of the length map"),
    "chi_c": ("χ_c", "slope of the correlation map; factor of the covariance of gradients"),
    "chi_1": ("χ_1", "factor of the mean square of gradients"),
    "xi_q": ("ξ_q", "layers for lengths to settle"),
    "xi_c": ("ξ_c", "layers for correlations to settle"),
    "xi_grad": ("ξ_∇", "layers for gradients to vanish; negative where they explode"),
}


@once
@click.command("phase", cls=Command, context_settings={"default_map": {"block": ["feed-forward"]}})
@with_options(MODEL_OPTIONS)
@KEEP_RATE_OPTION
@with_options(STATE_OPTIONS)
@with_options([RUN_OPTION["seed"], RUN_OPTION["json"]])
def phase_command(**given: Any) -> None:
    """Fixed points and depth scales of feed-forward networks.

    Prints the phase of feed-forward networks of infinite width, what lengths and correlations tend to, and in
    how many layers; with dropout if a keep rate is given. Nothing is random here: the seed is only passed on
    to the answer.
    """
    model, label = one_model(given)
    found = describe(model, label, **{name: given[name] for name in _STATE})
    if given["as_json"]:
        emit(document(label, given["seed"], _plain(found, given)))
    else:
        emit("\n".join(_table(found)))


def describe(
    model: rs.Model, label: dict[str, Any], *, keep_rate: float, k0: float, c0: float | None
) -> Phase:
    """The phase of a model; where c* depends on the inputs, that of inputs of length k0 and correlation c0.

    Raises:
        UsageError: the model is not feed-forward with independent layers.
    """
    from resnet_sde import meanfield

    model.check_plain("the command kernel")
    if label["block"] != "feed-forward":
        raise click.UsageError(
            f"--block {label['block']}: lengths of residual networks have no fixed point in depth; give "
            "--block feed-forward, or ask the command kernel for every layer."
        )
    if not model.law.independent:
        raise click.UsageError(
            f"--law {label['law']}: fixed points need layers with independent weights; give --law white."
        )
    sigma_w2, sigma_b2 = model.block.variances[2:]
    found = meanfield.phase(model.block.activation, sigma_w2, sigma_b2, keep_rate=keep_rate, q0=k0)
    layers = _SCALES_TO_ZERO * abs(found.xi_q)
    if found.c_star is None and c0 is not None and layers <= _MOST_LAYERS:
        end = meanfield.gaps(model, k0, 1 - c0, depth=max(1, math.ceil(layers)), keep_rate=keep_rate)[-1]
        found = replace(found, c_star=1 - float(end), one_minus_c_star=float(end))
    return found


def _plain(found: Phase, given: dict[str, Any]) -> dict[str, Any]:
    """The answer as the JSON contract writes it."""
    numbers = asdict(found)
    name = numbers.pop("label")
    plain = {key: None if value is None else json_number(value) for key, value in numbers.items()}
    return {"phase": name, **plain, **{name: given[name] for name in _STATE}}


def _table(found: Phase) -> Iterator[str]:
    yield _SAYS[found.label]
    yield ""
    for name, (symbol, meaning) in _ROWS.items():
        value = getattr(found, name)
        number = "undefined" if value is None else f"{value:.7g}"
        yield f"  {symbol:<8}{number:<15}{meaning}".rstrip()
    if found.c_star is None:
        yield ""
        yield "c* depends on the inputs; give --c0 to see what it is for two of them."
    if found.q_star is None:
        yield ""
        yield "Every q* is a fixed point."
