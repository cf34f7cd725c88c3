"""What is wrong with a network that does not scale as expected: a sentence for each thing, and its remedy."""

from __future__ import annotations

import math
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from resnet_sde.estimate import Estimate, Outcome
from resnet_sde.practice.coherence import INDEPENDENT_BELOW, Addition
from resnet_sde.practice.errors import DepthMismatch
from resnet_sde.practice.laws_of_depth import decimals

if TYPE_CHECKING:
    from resnet_sde.practice.audit import RoleLaw
    from resnet_sde.practice.laws_of_depth import DepthCheck, WriterLaw


_FEW = 1024  # a bias does not carry the factor of a matrix


def expect(
    check: DepthCheck,
    beta: float,
    independent: bool,
    tolerance: float,
    inner: dict[str, float] | bool | None,
    strict: bool,
) -> None:
    """Raises DepthMismatch with what is wrong, ValueError where nothing can be decided."""
    if len(check.depths) < 2:
        raise ValueError("one depth shows no exponent; give depths=(8, 24, 64)")
    if check.seeds < 2:
        raise ValueError("one seed has no interval; give seeds=3")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}; give for example 0.1")
    found = failures(check, beta, independent, tolerance, inner, strict)
    if found:
        raise DepthMismatch(tuple(found))


def failures(
    check: DepthCheck,
    beta: float,
    independent: bool,
    tolerance: float,
    inner: dict[str, float] | bool | None,
    strict: bool,
) -> list[str]:
    """A sentence for each thing that is wrong."""
    if check.fate.value == "zero":
        return [
            "all branches are zero at initialization: β is undefined. Let the factory train a few steps, or "
            "ask for rates only"
        ]
    wrong: list[str] = []
    if math.isnan(check.beta.value):
        why = "; ".join(check.notes) or "sizes of branches are not finite"
        wrong.append(f"no exponent of the blocks {check.prefix} can be read off: {why}")
    if independent:
        wrong += _dependence(check, strict)
    roles = _inner_failures(check, inner, tolerance) if inner is not False else []
    at_position = [r for r in check.roles if _law(r.position_exponent, tolerance + r.noise)]
    for writer in check.writers:
        if _off(writer.beta, beta, tolerance, strict):
            wrong.append(_writer_sentence(check, writer, beta, roles, tolerance))
    if _off(check.beta, beta, tolerance, strict):
        factor = _target(beta - check.beta.value + check.inherited)
        wrong.append(
            f"the blocks {check.prefix} fall like {_power(check.beta)}, not {_target(beta)}: the stream "
            f"{_meaning(check, beta)}. Multiply what writes to it by {factor}"
        )
    if abs(check.inherited) > (0.05 if wrong else tolerance):
        wrong.append(
            f"the stream enters {check.prefix} like L^{-check.entry.value:.2f}: what runs before it depends "
            'on the depth, and shifts exponents. Mend that first, or take blocks="…" from there'
        )
    wrong += [_inner_sentence(check, role, tolerance) for role in roles]
    wrong += [
        f"{role.role} falls like k^{-role.position_exponent:.2f} with the position"
        f"{'' if _law(role.depth_exponent, tolerance) else ' and not with the depth'}: deep networks are not "
        "damped more. Use L in place of k"
        for role in at_position
        if role.position_exponent is not None
    ]
    return wrong


def _off(estimate: Estimate, beta: float, tolerance: float, strict: bool) -> bool:
    status = estimate.within(beta, tolerance)
    return status is Outcome.FAILS or (strict and status is not Outcome.HOLDS)


def _law(exponent: float | None, tolerance: float) -> bool:
    return exponent is not None and abs(exponent) > tolerance


def _dependence(check: DepthCheck, strict: bool) -> list[str]:
    value = f"(coherence {check.coherence.value:.2f})"
    if check.copies == "loop":
        return [
            f"one block is called again and again {value}: branches add coherently and β* is 1. Expect "
            "beta=1 with independent=False, or give every layer weights of its own"
        ]
    if check.copies == "copies":
        return [
            f"all blocks hold the same weights {value}: branches add coherently and β* is 1. Draw every "
            "layer anew"
        ]
    layers = check.layers
    if layers.addition is Addition.COMMON_PART:
        return [
            f"{layers.sentence()}, and β* is 1. Let a matrix of mean zero write to the stream, or give "
            "independent=False"
        ]
    if check.coherence.low > INDEPENDENT_BELOW or (strict and check.coherence.high > INDEPENDENT_BELOW):
        return [
            f"the layers are not independent {value}: branches add coherently and β* is "
            f"{check.critical_beta:.2g}. Draw every layer anew, or give independent=False"
        ]
    return []


def _inner_failures(
    check: DepthCheck, inner: dict[str, float] | bool | None, tolerance: float
) -> list[RoleLaw]:
    """Roles that do not write and depend on depth otherwise than is said."""
    if not check.writers:  # what writes is not known, so neither is what does not
        return []
    said = inner if isinstance(inner, dict) else {}
    return [
        role
        for role in check.roles
        if not role.writes
        and role.depth_exponent is not None
        and abs(role.depth_exponent - next((b for p, b in said.items() if fnmatch(role.role, p)), 0.0))
        > tolerance + role.noise
    ]


def _writer_sentence(
    check: DepthCheck, writer: WriterLaw, beta: float, inner: list[RoleLaw], tolerance: float
) -> str:
    name = f"{check.prefix}.{writer.name}".rstrip(".")
    fact = f"{name} falls like {_power(writer.beta)}, not {_target(beta)}"
    short = writer.name.rpartition(".")[2] or check.prefix
    own = [
        r for r in check.roles if r.writes and r.role.removeprefix(f"{check.prefix}.") in writer.parameters
    ]
    if writer.beta.value > beta and inner:
        which = " and ".join(f"{_short(check, r)}" for r in inner)
        power = f"L^{-(inner[0].depth_exponent or 0.0):.2f}"
        plural = "which do not write, fall" if len(inner) > 1 else "which does not write, falls"
        return f"{fact}: {which}, {plural} like {power} too. Scale {short} alone"
    if any(_law(r.position_exponent, tolerance + r.noise) for r in own):
        return f"{fact}: its size depends on the position and not on the depth. Use L in place of k"
    if not any(_law(r.depth_exponent, tolerance + r.noise) for r in own):
        factor = _target(beta - writer.beta.value + check.inherited)
        remedy = f"Multiply its output or its initial weights by {factor}"
        return f"{fact}: its initial size does not depend on the depth. {remedy}"
    laws = " and ".join(f"{_short(check, r)} like L^{-(r.depth_exponent or 0.0):.2f}" for r in own[:2])
    return f"{fact}: {laws}. Multiply it by {_target(beta - writer.beta.value + check.inherited)}"


def _inner_sentence(check: DepthCheck, role: RoleLaw, tolerance: float) -> str:
    fact = f"{role.role} falls like L^{-(role.depth_exponent or 0.0):.2f} though it does not write"
    moving = {_short(check, r) for r in check.roles if _law(r.depth_exponent, tolerance)}
    scaled = {p for w in check.writers if moving & set(w.parameters) for p in w.parameters}
    idle = [
        r
        for r in check.roles
        if r.writes and r.depth_exponent is not None and r.entries > 1 and _short(check, r) not in scaled
    ]
    idle = [r for r in idle if r.entries == max(i.entries for i in idle)]
    if idle:
        other = f"and {_short(check, idle[0])}, which does, does not: the factor is on the wrong matrix"
        return f"{fact}, {other}. Move it to {_short(check, idle[0])}"
    return f"{fact}: the factor is on one matrix too many. Scale what writes to the stream alone"


def _short(check: DepthCheck, role: RoleLaw) -> str:
    return role.role.removeprefix(f"{check.prefix}.")


def _power(estimate: Estimate) -> str:
    value, low, high = (decimals(-v) for v in (estimate.value, estimate.high, estimate.low))
    return f"L^{value} [{low}, {high}]"


def _target(beta: float) -> str:
    return f"L^{-beta:.2g}"


def _meaning(check: DepthCheck, beta: float) -> str:
    if check.beta.value > beta:
        return "hardly moves in deep networks"
    return "is overwritten in deep networks" if check.kind == "post-norm" else "grows with the depth"
