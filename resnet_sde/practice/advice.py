r"""How to scale the branches of a network of a given depth, and how its learning rates then depend on depth.

With c² the mean square of a branch at unit input, the branch times α = √S / c · L^{−β*} gives the action S at
any depth. β* is 1/2 where layers are independent and 1 where they add coherently; where pairs of branches
have the mean cosine q beside that, L^{β*} is √(L (1 + q (L − 1))). Rates follow `rate_theory`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from resnet_sde._json import json_number
from resnet_sde.activations import Activation
from resnet_sde.activations import activation as named_activation
from resnet_sde.blocks import TwoLayer
from resnet_sde.checks import finite_number, positive_integer
from resnet_sde.laws import FractionalNoise, PathLaw
from resnet_sde.practice.coherence import Addition, sum_of
from resnet_sde.practice.laws_of_depth import DepthCheck
from resnet_sde.practice.profile import Profile
from resnet_sde.practice.rate_theory import rate_exponents
from resnet_sde.practice.record import HEAD

KINDS = ("plain", "pre-norm", "post-norm")
LAWS = ("white", "copied", "smooth")
OPTIMIZERS = ("sgd", "adam", "adamw")
_FINE_UP_TO = 5.0


@dataclass(frozen=True)
class Reason:
    """A number of an advice, where it comes from, and when it holds."""

    number: str
    source: str
    condition: str


@dataclass(frozen=True)
class Advice:
    """How to scale a network of one depth.

    Attributes:
        depth: L.
        beta: β*, with which branches should fall with depth.
        scale: α, the factor on every branch as it is now; 1 where none is needed.
        variances: of the matrices as they are, and of the outer one if it holds the factor.
        rate_exponents: x of L^x by optimizer: "multiplier" for all parameters of blocks if the factor is in
            the graph; "writers" and "inner" if it is in the initial weights of what writes to the stream.
        expected_growth: |h_L| / |h_0| with the advice; NaN where it is not known.
        spread: standard deviation of log|h_L|² over networks, for a given width; NaN without.
        reasons: of each number.
        conflicts: what must not be combined with it, or disagrees.
    """

    depth: int
    beta: float
    scale: float
    variances: dict[str, float]
    rate_exponents: dict[str, dict[str, float]]
    expected_growth: float
    spread: float
    reasons: tuple[Reason, ...]
    conflicts: tuple[str, ...]

    def __str__(self) -> str:
        needed = f"multiply every branch by {self.scale:.4g}" if self.scale != 1.0 else "no scale is needed"
        grown = "has a growth that is known for independent layers only"
        if not math.isnan(self.expected_growth):
            grown = f"grows to {self.expected_growth:.3g}"
        lines = [f"depth {self.depth}: {needed} (β* {self.beta:g}); the stream {grown}"]
        for name, groups in self.rate_exponents.items():
            lines.append(f"{name}: rates like " + ", ".join(f"L^{x:g} ({g})" for g, x in groups.items()))
        lines += [f"{r.number}: {r.source}; {r.condition}" for r in self.reasons]
        return "\n".join([*lines, *(f"beware: {c}" for c in self.conflicts)])

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "depth": self.depth,
            **{n: json_number(getattr(self, n)) for n in ("beta", "scale", "expected_growth", "spread")},
            "variances": {name: json_number(v) for name, v in self.variances.items()},
            "rate_exponents": self.rate_exponents,
            "reasons": [vars(r) for r in self.reasons],
            "conflicts": list(self.conflicts),
        }


def advise(
    depth: int,
    *,
    activation: str | Activation = "relu",
    sigma_w2: float = 1.0,
    sigma_v2: float = 1.0,
    kind: str = "plain",
    law: str | float = "white",
    width: int | None = None,
    optimizer: str | None = None,
    to: float = 1.0,
    measured: Profile | DepthCheck | Mapping[str, Any] | None = None,
) -> Advice:
    """How to scale the branches V φ(W h) of a network of this depth.

    Args:
        depth: L, the number of branches.
        activation: φ, itself or by name.
        sigma_w2: variance of W, times its fan-in; 2 after He, 1/3 in torch.
        sigma_v2: the same of V.
        kind: "plain", "pre-norm" (the branch sees a normalized stream) or "post-norm".
        law: of weights along depth: "white", "copied", "smooth", or the Hurst index of fractional noise.
        width: for the spread over networks.
        optimizer: "sgd", "adam" or "adamw", to be told of one alone.
        to: the action S wanted.
        measured: a profile, a depth check or the document of one; replaces activation, variances, kind, law.

    Raises:
        ValueError: a number or name is out of range, or the measured branches are zero. Branches of another
            form than V φ(W h) have to be measured.

    Example:
        >>> advise(64, sigma_w2=2.0).scale
        0.125
    """
    depth = positive_integer("depth", depth, "give the number of residual branches")
    for name, value in (("sigma_w2", sigma_w2), ("sigma_v2", sigma_v2), ("to", to)):
        if not finite_number(name, value) > 0:
            raise ValueError(f"{name} must be positive, got {value}; give for example 1.0")
    if optimizer is not None and optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    if width is not None:
        width = positive_integer("width", width, "give the number of coordinates of the stream")
    document = _document(measured)
    if document is None:
        branch = _from_numbers(activation, sigma_w2, sigma_v2, kind, law)
    else:
        branch = _from_measured(document, depth)
    variances = {"sigma_w2": sigma_w2, "sigma_v2": sigma_v2}
    conflicts = _conflicts(branch, optimizer, document or {})
    asked = [o for o in OPTIMIZERS if optimizer in (None, o)]
    return _advice(branch, depth, to, width, asked, variances, conflicts)


@dataclass(frozen=True)
class _Branch:
    """The size of a branch at unit input, β*, the kind of its stream, and where the size comes from."""

    size: float
    beta: float
    kind: str
    source: str
    cosine: float = 0.0  # that all pairs of branches share, beside what is independent

    def sum_of(self, depth: int) -> float:
        """How much larger the sum of the branches is than one of them."""
        return sum_of(depth, self.beta, self.cosine)


def _advice(
    branch: _Branch,
    depth: int,
    to: float,
    width: int | None,
    optimizers: list[str],
    variances: dict[str, float],
    conflicts: tuple[str, ...],
) -> Advice:
    alpha, unscaled = math.sqrt(to) / branch.size / branch.sum_of(depth), branch.size**2 * depth
    fine = branch.beta == 0.5 and alpha >= 1 and unscaled <= _FINE_UP_TO
    alpha, action = (1.0, unscaled) if fine else (alpha, to)
    grown = _growth(action, branch.kind) if branch.beta == 0.5 else math.nan
    where = f"S = {action:.3g} over {depth} branches at β* = {branch.beta:g}"
    reasons = [Reason(f"α {alpha:.4g}", branch.source, where)]
    if branch.beta == 0.5:
        words = _stream_words(branch.kind, action)
        reasons.append(Reason(f"growth {grown:.3g}", "S of independent branches", words))
    if branch.beta == 1.0:
        drawn = math.sqrt(to) / branch.size * depth**-0.5
        remedy = "let a matrix of mean zero write to the stream" if branch.cosine else "draw every layer anew"
        source = f"{'branches of mean zero' if branch.cosine else 'layers drawn anew'} have β* = 1/2"
        reasons.insert(0, Reason(f"or α {drawn:.4g}", source, f"{remedy}, and use {drawn:.4g}"))
    elapsed = action if branch.kind == "plain" else math.log1p(action)
    known = width is not None and branch.kind != "post-norm" and branch.beta == 0.5
    return Advice(
        depth=depth,
        beta=branch.beta,
        scale=alpha,
        variances={**variances, "sigma_v2 with the factor": alpha**2 * variances["sigma_v2"]},
        rate_exponents={} if fine else {o: _rates(o, branch.beta) for o in optimizers},
        expected_growth=grown,
        spread=2 * math.sqrt(elapsed / width) if known and width is not None else math.nan,
        reasons=tuple(reasons),
        conflicts=conflicts,
    )


def _from_numbers(
    activation: str | Activation, sigma_w2: float, sigma_v2: float, kind: str, law: str | float
) -> _Branch:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    phi = named_activation(activation) if isinstance(activation, str) else activation
    if not isinstance(phi, Activation):
        raise ValueError(
            f"activation must be an Activation or the name of one, got {phi!r}; give for example "
            "Activation.of(f), or, for branches of another form than V φ(W h), measured=probe(network, ...)"
        )
    square = sigma_v2 * _mean_square(phi, sigma_w2)
    if not (math.isfinite(square) and square > 0):
        raise ValueError(f"branches of mean square {square:.3g} cannot be scaled; give variances near 1")
    source = f"c² = σ_v² E φ(σ_w z)² = {square:.4g}"
    return _Branch(math.sqrt(square), _critical(law, phi), kind, source)


def _mean_square(phi: Activation, sigma_w2: float) -> float:
    """E φ(σ_w z)²."""
    q = torch.tensor(sigma_w2, dtype=torch.float64)
    return float(phi.dual(q, q, gap=torch.zeros((), dtype=torch.float64)))


def _critical(law: str | float, phi: Activation) -> float:
    if isinstance(law, (str, PathLaw)):
        if law not in LAWS:
            raise ValueError(f"law must be one of {', '.join(LAWS)} or a Hurst index, got {law!r}")
        return 0.5 if law == "white" else 1.0
    found = TwoLayer(phi).critical_beta(FractionalNoise(law))
    assert found is not None  # the block is the package's own
    return found


def _document(measured: Profile | DepthCheck | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if isinstance(measured, (Profile, DepthCheck)):
        return measured.document()
    if measured is not None and not isinstance(measured, Mapping):
        raise ValueError(f"measured must be a Profile, a DepthCheck or the document of one, got {measured!r}")
    return measured


def _from_measured(document: Mapping[str, Any], depth: int) -> _Branch:
    """From the document of a depth check, which holds profiles, or from that of one profile."""
    try:
        profile = document["profiles"][-1] if "profiles" in document else document
        sizes, kind = [_number(v) for v in profile["sizes"][:HEAD]], str(profile["kind"])
        degree, fallen = _number(profile["degree"]), 1.0
        beta, cosine = _number(document["critical_beta"]), _number(document["cosine"])
        shared = document["layers"] == Addition.COMMON_PART.value
        if "profiles" in document:
            own = _number(document["beta"]["value"])
            fallen = 1.0 if math.isnan(own) else (depth / document["depths"][-1]) ** -own
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"measured is no document of a profile or a depth check: {error!r} is missing"
        ) from None
    size = float(torch.tensor(sizes).median()) * fallen
    if not (math.isfinite(size) and size > 0):
        raise ValueError("the measured branches are zero or not finite: no factor scales them; train first")
    kind = kind if kind == "post-norm" else "plain" if degree >= 0.5 else "pre-norm"
    source = f"branches of the measured network, a = {size:.4g}"
    return _Branch(size, beta, kind, source, cosine if shared else 0.0)


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _growth(action: float, kind: str) -> float:
    if kind == "post-norm":
        return 1.0
    return math.exp(min(action / 2, 700.0)) if kind == "plain" else math.sqrt(1.0 + action)


def _stream_words(kind: str, action: float) -> str:
    if kind == "post-norm":
        return f"no explosion; the stream keeps e^-{action:.3g} of the squared direction of its input"
    if kind == "plain":
        return "log of the squared norm grows by S"
    return f"logarithmic time {math.log1p(action):.3g}; the input is the share 1/(1 + S) of the stream"


def _rates(optimizer: str, beta: float) -> dict[str, float]:
    """The factor as a multiplier in the graph, or in initial weights."""
    in_weights = rate_exponents(optimizer, 0.0, beta)
    multiplier = rate_exponents(optimizer, beta, 0.0)["blocks"]
    return {"multiplier": multiplier, "writers": in_weights["writers"], "inner": in_weights["inner"]}


def _conflicts(branch: _Branch, optimizer: str | None, measured: Mapping[str, Any]) -> tuple[str, ...]:
    found = []
    if branch.beta == 0.5 and optimizer != "sgd":
        found.append(
            "CompleteP (arXiv 2505.01618) multiplies branches by 1/L with one Adam rate at all depths: at "
            "initialization that is the identity, and it speaks of training instead"
        )
    if branch.beta == 1.0 and not branch.cosine:
        found.append("copies that training makes differ lose their coherence: β* then moves towards 1/2")
    both = [r["role"] for r in measured.get("roles", ()) if abs(r["position_exponent"] or 0.0) > 0.1]
    if both:
        found.append(f"{both[0]} is scaled by its position: do not add a factor of depth to it")
    return tuple(found)
