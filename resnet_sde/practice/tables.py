"""A depth check as lines for people, and as a dataset."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from resnet_sde.estimate import Estimate
from resnet_sde.practice.coherence import Addition, Dependence
from resnet_sde.practice.laws_of_depth import DepthCheck, decimals, in_words, why_not
from resnet_sde.practice.rates import RateLaw
from resnet_sde.runs.versions import current_versions

if TYPE_CHECKING:
    import xarray as xr

_BRANCHES = {1: "homogeneous branches", 0: "normalized branches"}


def table(check: DepthCheck) -> str:
    """The lines of `print(check)`."""
    lines = {"stream": _stream(check), "β": _beta(check), "writers": _writers(check), "roles": _roles(check)}
    if check.rates:
        lines["rates"] = "   ".join(f"{r.group} {_rate(r)}" for r in check.rates)
    lines |= {f"note {i + 1}" if i else "note": note for i, note in enumerate(check.notes)}
    return "\n".join(f"{name:<8} {line}" for name, line in lines.items())


def _stream(check: DepthCheck) -> str:
    last = check.profiles[-1][0]
    names = (
        f"{last.names[0]} × {len(last.names)}"
        if last.mode == "loop"
        else f"{last.names[0]} … {last.names[-1]}"
    )
    known = check.kind != "post-norm" and not math.isnan(last.degree)
    branches = f", {_BRANCHES[round(last.degree)]}" if known else ""
    if check.fate.value == "zero":
        layers = "no branch shows whether layers are independent"
    elif math.isnan(check.coherence.value):
        layers = "too few layers to see whether they are independent"
    else:
        layers = in_a_word(check.layers, check.copies)
    return f"{names}: {check.kind}{branches}; {layers}, critical β {check.critical_beta:g}"


def in_a_word(layers: Dependence, copies: str = "none") -> str:
    """How layers add up, and the number that shows it."""
    copied = {"loop": ", one block called again", "copies": ", copies of one block", "none": ""}[copies]
    if layers.addition is Addition.COMMON_PART:
        return f"layers share a direction (mean cosine {layers.cosine:.2g}{copied})"
    return f"layers {layers.addition.value} (coherence {layers.coherence:.2f}{copied})"


def _beta(check: DepthCheck) -> str:
    action, depth = check.action[-1], check.depths[-1]
    size = f"S {action:.2g}, τ {math.log1p(action):.2g}"
    if check.kind == "post-norm":
        stream = f"the stream keeps its norm ({size} at depth {depth})"
    else:
        predicted = f"{size}, predicted {check.predicted_growth[-1]:.3g}"
        if check.layers.addition in (Addition.COMMON_PART, Addition.PARTLY_COHERENT):
            predicted += " of independent layers"
        stream = f"the stream grows to {check.growth[-1]:.3g} at depth {depth} ({predicted})"
    if check.fate.value == "zero":
        return "undefined: all branches are zero"
    if math.isnan(check.beta.value):
        return f"{'needs two depths' if len(check.depths) < 2 else 'cannot be read off'}; {stream}"
    return f"{in_words(check.beta)}   {check.fate.value}; {stream}"


def _writers(check: DepthCheck) -> str:
    return "   ".join(f"{w.name or 'block'} {_maybe(w.beta)}" for w in check.writers) or "not found"


def _maybe(estimate: Estimate) -> str:
    return "–" if math.isnan(estimate.value) else in_words(estimate)


def _roles(check: DepthCheck) -> str:
    words = []
    for role in check.roles:
        if not role.depends():
            continue
        laws = [(role.depth_exponent, "L"), (role.position_exponent, "k")]
        parts = [f"{s}^{-e:.2f}" for e, s in laws if e is not None and abs(e) > 0.1 + role.noise]
        words.append(f"{role.role} {' '.join(parts)}{' (writes)' if role.writes else ''}")
    rest = "no other depends on depth or position" if words else "none depends on depth or position"
    return "   ".join([*words, rest])


def _rate(law: RateLaw) -> str:
    if law.exponent is None or not law.decided:
        return why_not(law)
    theory = "" if law.theory is None else f" (theory {decimals(law.theory, 1)})"
    return f"L^{in_words(law.exponent, 2)}{theory}"


def dataset(check: DepthCheck) -> xr.Dataset:
    """Norms and sizes with dims (depth, seed, boundary) and (depth, seed, block), exponents of writers."""
    import xarray as xr

    longest = max(len(p.names) for row in check.profiles for p in row)
    shape = (len(check.depths), check.seeds)
    at = {n: np.full((*shape, longest + 1), np.nan) for n in ("norms", "displacements", "gradients")}
    between = {n: np.full((*shape, longest), np.nan) for n in ("turning", "sizes", "updates", "alignment")}
    for i, row in enumerate(check.profiles):
        for j, profile in enumerate(row):
            for name, values in {**at, **between}.items():
                found = getattr(profile, name).numpy()
                values[i, j, : len(found)] = found
    return xr.Dataset(
        {
            **{n: (("depth", "seed", "boundary"), v) for n, v in at.items()},
            **{n: (("depth", "seed", "block"), v) for n, v in between.items()},
            "writer_beta": ("writer", [w.beta.value for w in check.writers]),
            "writer_size": ("writer", [w.size for w in check.writers]),
            "rate_exponent": ("group", [r.exponent.value if r.exponent else np.nan for r in check.rates]),
        },
        coords={
            "depth": list(check.depths),
            "seed": list(range(check.seeds)),
            "writer": [w.name for w in check.writers],
            "group": [r.group for r in check.rates],
        },
        attrs={
            "seed": check.seed,
            "level": check.level,
            "kind": check.kind,
            "container": check.profiles[-1][0].container,
            "beta": check.beta.value,
            "versions": str(current_versions()),
        },
    )
