"""The limit equation of a model as a formula, with its coefficients as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import resnet_sde as rs

if TYPE_CHECKING:
    from resnet_sde.limits import Limit

_SYMBOLS = {"sigma_w2": "σ_w²", "sigma_b2": "σ_b²", "sigma_v2": "σ_v²", "sigma_a2": "σ_a²"}


def equation_lines(equation: Limit) -> Iterator[str]:
    """The formula, what its letters mean, and the numbers in it."""
    from resnet_sde import limits

    if isinstance(equation, limits.ItoSDEInLaw):
        formula, letters = _in_law(equation)
    elif isinstance(equation, limits.YoungODE) and isinstance(equation.model.block, rs.TwoLayer):
        formula, letters = _averaged(equation.model, equation.model.block)
    else:
        formula, letters = _pathwise(equation)
    yield f"Equation: {formula}"
    yield from (f"  {line}" for line in letters)
    yield f"  with {_numbers(equation.model)}"


def _pathwise(equation: Limit) -> tuple[str, list[str]]:
    """The branch itself, with the sum of the weights, or the weights as functions of time, in their place."""
    block = equation.model.block
    kinds = {"ito-sde": "Brownian", "young-ode": "fractional Brownian"}
    if equation.kind not in kinds:
        inner = "H"
        weights = ["V"]
        if isinstance(block, rs.TwoLayer):
            inner = _plus("(σ_w/√d) W_t H", "σ_b b_t", block.sigma_b2)
            weights, factor, bias = ["V", "W"], "σ_v", ("σ_a a_t", block.sigma_a2)
        else:
            factor, bias = "σ_w", ("σ_b b_t", block.variances.outer_bias)
        letters = [f"{' and '.join(weights)}: the weights at time t = k/L, of variance 1"]
        return f"dH/dt = ρ [{_plus(f'({factor}/√d) V_t φ({inner})', *bias)}]", letters
    sums = "B" if equation.kind == "ito-sde" else "X"
    right = _plus(f"(σ_w/√d) d{sums} φ(H)", f"σ_b d{sums.lower()}", block.variances.outer_bias)
    motion = f"{sums}: d × d independent {kinds[equation.kind]} motions, the scaled sums of the weights"
    return f"dH = ρ [{right}]", [motion]


def _in_law(equation: rs.limits.ItoSDEInLaw) -> tuple[str, list[str]]:
    """A covariation and a drift, with their values at |H|² = d."""
    import torch

    model, block = equation.model, equation.model.block
    unit = torch.ones(1, 1, model.width, dtype=torch.float64)
    diffusion, drift = float(equation.covariation(unit)), float(equation.drift(unit)[0, 0, 0])
    square = "E φ(√q z)²" if not isinstance(block, rs.SingleLayer) else "|φ(H)|²/d"
    factor = {rs.SingleLayer: "σ_w² ", rs.Reduced: ""}.get(type(block), "σ_v² ")
    if isinstance(block, rs.SingleLayer):
        bias = ("σ_b²", block.sigma_b2)
    else:
        bias = ("σ_a²", block.variances.outer_bias)
    letters = ["B: a Brownian motion for every coordinate; for one input"]
    if model.law.independent:
        letters.append(f"A = ρ² [{_plus(factor + square, *bias)}]")
        formula = "dH = √A dB"
    else:
        letters.append(
            f"A = ρ² Σ_n γ(n) [{_plus(f'{factor}E φ(u_n) φ(u_0)', *bias)}], over all lags n of the weights"
        )
        letters.append("b = ρ² (σ_v² σ_w²/d) Σ_{n≥1} γ(n) [E φ''(u_n) φ(u_0) + γ(n) E φ'(u_n) φ'(u_0)]")
        letters.append("u_n, u_0: Gaussian, of variance q and correlation γ(n)")
        formula = "dH = √A dB + b H dt"
    if not isinstance(block, rs.SingleLayer):
        letters.append(f"q = {_plus('σ_w² |H|²/d', 'σ_b²', block.variances.inner_bias)}")
    values = f"A = {diffusion:.4g}" + ("" if model.law.independent else f", b = {drift:.4g}")
    where = "H = (1, …, 1)" if isinstance(block, rs.SingleLayer) else "|H|² = d"
    return formula, [*letters, f"{values} at {where}"]


def _averaged(model: rs.Model, block: rs.TwoLayer) -> tuple[str, list[str]]:
    """Outer fractional weights, with what the inner ones leave of the activation."""
    import torch

    from resnet_sde.limits.young import mean_slope

    q = torch.tensor([block.sigma_w2 + block.sigma_b2], dtype=torch.float64)
    length = f"q = {_plus('σ_w² |H|²/d', 'σ_b²', block.sigma_b2)}"
    if block.activation.odd and block.sigma_a2 == 0:
        inner = _plus("(σ_w/√d) dZ H", "σ_b dz", block.sigma_b2)
        return f"dH = ρ (σ_v/√d) χ(q) [{inner}]", [
            "Z: the scaled sums of the products V_k W_k of outer and inner weights",
            f"χ(q) = E φ'(√q z), {length}",
            f"χ = {float(mean_slope(block.activation, q)):.4g} at |H|² = d",
        ]
    outer = _plus("(σ_v/√d) m(q) dX 1", "σ_a dx", block.sigma_a2)
    return f"dH = ρ [{outer}]", [
        "X: d × d fractional Brownian motions, the scaled sums of the outer weights; 1 = (1, …, 1)",
        f"m(q) = E φ(√q z), {length}",
        f"m = {float(block.activation.mean(q)):.4g} at |H|² = d",
    ]


def _plus(term: str, bias: str, variance: float) -> str:
    """A sum; a bias of variance 0 is left out."""
    return f"{term} + {bias}" if variance > 0 else term


def _numbers(model: rs.Model) -> str:
    found = {"d": model.width, "ρ": model.gain}
    found |= {s: v for f, s in _SYMBOLS.items() if (v := getattr(model.block, f, None)) is not None}
    if isinstance(model.law, rs.FractionalNoise):
        found["Hurst index"] = model.law.hurst
    return ", ".join(f"{symbol} = {_short(value)}" for symbol, value in found.items())


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) or not math.isfinite(value) else f"{value:g}"
