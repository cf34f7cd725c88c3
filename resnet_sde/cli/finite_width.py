"""`resnet-sde finite-width`: kernels of wide networks to order 1/width, and the best residual scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from resnet_sde._json import json_number
from resnet_sde.cli.options import (
    MODEL_OPTIONS,
    RUN_OPTION,
    STATE_OPTIONS,
    VARIANCE,
    Command,
    Number,
    emit,
    with_options,
)
from resnet_sde.cli.single import document, once, one_model

if TYPE_CHECKING:
    import resnet_sde as rs
    from resnet_sde.finite_width import Optimum

_LENGTH = Number(float, 1e-30, 1e30, "0.05")
_COVERED = ("res-1", "feed-forward")
_NUMBERS = {
    "K_L": "mean square of the last states, infinite width",
    "C_out": "variance of the readout, infinite width",
    "NVar_C_out": "width times the variance of C_out over networks",
    "mean_shift_C_out": "width times what finite width adds to the mean of C_out",
    "response_out": "slope of C_out in the mean square of the input state",
}
_OPTIMA = {
    "diag": "the readout responds most to the length of the input",
    "branch": "the last residual branch does",
    "offdiag": "two inputs are separated most",
    "saturation": "the last states have the mean square --k-sat",
}


@once
@click.command("finite-width", cls=Command, context_settings={"default_map": {"block": ["res-1"]}})
@with_options(MODEL_OPTIONS)
@click.option("--rho", type=Number(float, 0, 1e6, "0.2"), help="The same as --gain.")
@click.option(
    "--depth", type=Number(int, 1, 3000, "20"), default=20, show_default=True, help="Number of layers."
)
@with_options(STATE_OPTIONS)
@click.option("--out-sw2", type=VARIANCE, help="Variance of the readout matrix; --sw2 if left out.")
@click.option("--out-sb2", type=VARIANCE, help="Variance of its bias; --sb2 if left out.")
@click.option("--k-sat", type=_LENGTH, help="Mean square that the last states are to have.")
@with_options([RUN_OPTION["seed"], RUN_OPTION["json"]])
def finite_width_command(**given: Any) -> None:
    """Kernels of wide networks to order 1/width, and the best residual scale.

    Of residual networks with one matrix (--block res-1) and feed-forward ones, with white Gaussian weights:
    how much the variance of the readout fluctuates between networks, how finite width shifts it, how much it
    responds to the input, and at which residual scale it would do so most. The scale of a layer is the gain
    alone unless --beta is given. Nothing is random here: the seed is only passed on to the answer.
    """
    model, label = one_model(_completed(given))
    if label["block"] not in _COVERED:
        raise click.UsageError(
            f"--block {label['block']}: the 1/width theory is known for one matrix behind the activation; "
            f"give --block {' or '.join(_COVERED)}."
        )
    if label["law"] != "white" or label["entries"] != "gaussian":
        raise click.UsageError(
            f"--law {model.law}: the 1/width theory is known for white Gaussian weights; give --law white "
            "and leave out --entries."
        )
    answer = describe(model, given)
    emit(document(label, given["seed"], answer) if given["as_json"] else "\n".join(_table(answer)))


def describe(model: rs.Model, given: dict[str, Any]) -> dict[str, Any]:
    """The answer as the JSON contract writes it."""
    from resnet_sde.finite_width import finite_size

    depth, k0 = given["depth"], given["k0"]
    size = finite_size(model, k0, depth=depth, out_sigma_w2=given["out_sw2"], out_sigma_b2=given["out_sb2"])
    values = (
        size.kernel[-1],
        size.branch[-1],
        size.branch_covariance[-1, -1],
        size.branch_shift[-1],
        size.output_response,
    )
    numbers = {name: json_number(float(v)) for name, v in zip(_NUMBERS, values, strict=True)}
    optima = {
        name: {"value": None, "reason": found} if isinstance(found, str) else _plain(found)
        for name, found in _optima(model, given)
    }
    return {**numbers, "rho_star": optima}


def _optima(model: rs.Model, given: dict[str, Any]) -> Iterator[tuple[str, Optimum | str]]:
    from resnet_sde import finite_width as fw

    depth, k0, c0, target = given["depth"], given["k0"], given["c0"], given["k_sat"]
    yield "diag", fw.diagonal_optimum(model, k0, depth=depth)
    yield "branch", fw.branch_optimum(model, k0, depth=depth)
    if c0 is None:
        yield "offdiag", "It depends on the cosine of the two inputs; give --c0."
    else:
        yield "offdiag", fw.off_diagonal_optimum(model, k0, c0, depth=depth)
    if target is None:
        yield "saturation", "It depends on the mean square that is to be reached; give --k-sat."
    else:
        yield "saturation", fw.saturation_scale(model, k0, kernel=target, depth=depth)


def _completed(given: dict[str, Any]) -> dict[str, Any]:
    """The options of the model, with --rho as the gain and beta 0 where it was left out."""
    model = dict(given)
    if given["rho"] is not None:
        if given["gain"]:
            raise click.UsageError("--rho is the same as --gain; give one of them.")
        model["gain"] = (given["rho"],)
    if not given["beta"] and "feed-forward" not in given["block"]:
        model["beta"] = (0.0,)
    return model


def _plain(found: Optimum) -> dict[str, Any]:
    value = None if found.scale is None else json_number(found.scale)
    return {"value": value, "reason": found.reason}


def _table(answer: dict[str, Any]) -> Iterator[str]:
    for name, meaning in _NUMBERS.items():
        yield f"  {name:<18}{answer[name]:<15.7g}{meaning}"
    yield ""
    yield "Residual scale at which"
    for name, meaning in _OPTIMA.items():
        found = answer["rho_star"][name]
        shown = "none" if found["value"] is None else f"{found['value']:.7g}"
        yield f"  {name:<18}{shown:<15}{meaning}"
        if found["reason"] is not None:
            yield f"  {'':<33}{found['reason']}"
