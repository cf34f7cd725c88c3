"""`resnet-sde limit`: what a model tends to as its depth grows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

import resnet_sde as rs
from resnet_sde.cli.equation import equation_lines
from resnet_sde.cli.options import MODEL_OPTIONS, RUN_OPTION, Command, emit, with_options
from resnet_sde.cli.single import document, once, one_model

if TYPE_CHECKING:
    from resnet_sde.limits import Limit

_NAMES = {"ito-sde": "an Itô equation", "young-ode": "a Young equation", "random-ode": "a random ODE"}


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
    equation: Limit | None = None
    try:
        equation = rs.limit(model)
        reason = _driven(equation)
    except rs.NoLimit as refusal:
        reason = _refused(model, refusal)
    return {
        "regime": None if model.regime is None else model.regime.value,
        "critical_beta": model.critical_beta,
        "limit": None if equation is None else equation.kind,
        "coupled": None if equation is None else equation.coupled,
        "strong_order": None if equation is None else equation.strong_order,
        "reason": " ".join([reason, *_finite_width(model)]),
    }


def _driven(equation: Limit) -> str:
    """Which equation, in words, and how it is driven."""
    from resnet_sde import limits

    if isinstance(equation, limits.ItoSDE):
        return (
            "The network is the Euler scheme of the Itô equation dH = gain dB g(H), driven by the Brownian "
            "motion that its own weights sum to."
        )
    if isinstance(equation, limits.ItoSDEInLaw):
        return _in_law(equation.model)
    if isinstance(equation, limits.YoungODE):
        return _young(equation.model)
    weights = (
        "one constant matrix" if isinstance(equation.model.law, rs.ConstantNoise) else "its smooth weights"
    )
    inner = "V, W)" if isinstance(equation.model.block, rs.TwoLayer) else "V)"
    return (
        f"The network is the Euler scheme of the ordinary differential equation dH/dt = gain f(H, {inner}, f "
        f"being its residual branch, driven by {weights}."
    )


def _in_law(model: rs.Model) -> str:
    """The Itô equations that no path of the weights drives."""
    block, law = model.block, model.law
    if isinstance(block, rs.SingleLayer):
        return (
            "In law, not on the weights themselves, the network tends to the Itô equation dH = gain dB g(H): "
            "sums of weights that are not Gaussian tend to Brownian motion in law only."
        )
    averaged = (
        "In law, not on the weights themselves, the network tends to an Itô equation driven by a Brownian "
        "motion of its own in every coordinate: the inner weights average out, and what is left of them is "
        "the variance of a branch"
    )
    if isinstance(law, rs.WhiteNoise) or (isinstance(law, rs.FractionalNoise) and law.hurst == 0.5):
        return f"{averaged}, without drift."
    return (
        f"{averaged}, summed over all lags at which the weights are correlated, and a drift of size 1/width."
    )


def _young(model: rs.Model) -> str:
    """The equations driven by sums of fractional weights, H > 1/2."""
    block = model.block
    if isinstance(block, rs.SingleLayer):
        return (
            "The network is the Euler scheme of the Young equation dH = gain dX g(H), driven by the "
            "fractional Brownian motion X that its own weights sum to; at width 1 it shows its rate 2H − 1, "
            "at larger widths practical depths see a faster one."
        )
    assert isinstance(block, rs.TwoLayer)
    if block.activation.odd and block.sigma_a2 == 0:
        return (
            "The network tends to a Young equation driven by the sums of the products of its own outer and "
            "inner weights: of an odd activation only its mean slope survives the sum over layers."
        )
    return (
        "The network tends to a Young equation driven by the row sums of its own outer weights: the inner "
        "ones average out, and of the activation its mean is left."
    )


def _refused(model: rs.Model, refusal: rs.NoLimit) -> str:
    """Why there is no limit; a reduced block has a default scaling that is not the critical one."""
    text = f"{refusal}"
    if isinstance(model.block, rs.Reduced) and model.critical_beta is not None:
        text = f"{refusal.fact}: {refusal.reason}. Give --beta {model.critical_beta:g}."
    return text[0].upper() + text[1:] if text[:2] != "H " else text


def _finite_width(model: rs.Model) -> list[str]:
    """Where the answer at infinite width is not that at this one."""
    import torch

    block, law, beta = model.block, model.law, model.beta
    assert beta is not None
    if (
        not isinstance(block, (rs.SingleLayer, rs.TwoLayer))
        or model.skip != 1.0
        or beta >= 0.5
        or model.gain == 0
    ):
        return []
    here = f"The regime is that of infinite width; at width {model.width}"
    if isinstance(block, rs.SingleLayer) and isinstance(law, rs.FractionalNoise) and law.hurst < 0.5:
        return [f"{here} the contraction wins, and where φ(0) = 0 the network collapses instead."]
    biased = block.sigma_b2 > 0 or getattr(block, "sigma_a2", 0.0) > 0
    rests = not biased and float(block.activation(torch.zeros(1))) == 0
    if model.width == 1 and isinstance(law, rs.WhiteNoise) and rests and beta > 0:
        return [
            f"{here} a state keeps its sign and collapses, if it moves at all, while the mean square grows."
        ]
    return []


def _paragraph(model: rs.Model, answer: dict[str, Any]) -> str:
    """The answer for people."""
    critical = answer["critical_beta"]
    if critical is None:
        scaling = "No scaling is critical for this model."
    else:
        place = {
            "identity": f"above the critical {critical:g}",
            "critical": "the critical value",
            "explosion": f"below the critical {critical:g}",
        }[answer["regime"]]
        scaling = f"Regime: {answer['regime']} (beta = {model.beta:g}, {place})."
    found = "Limit: none."
    if answer["limit"] is not None:
        order = answer["strong_order"]
        rate = "" if order is None else f" with strong order {order:.4g}"
        how = f"on the weight path of each network{rate}" if answer["coupled"] else "in law"
        found = f"Limit: {_NAMES[answer['limit']]}, {how}."
    return "\n".join(textwrap.wrap(f"{scaling} {found} {answer['reason']}", width=100))


def _details(model: rs.Model, label: dict[str, Any]) -> Iterator[str]:
    """The model that was asked about, and its equation where it has one."""
    words = (
        f"{name.replace('_', '-')} {_value(value)}" for name, value in label.items() if value is not None
    )
    yield from textwrap.wrap(f"Model: {', '.join(words)}", width=100, subsequent_indent="  ")
    with suppress(rs.NoLimit):
        yield from equation_lines(rs.limit(model))


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
