"""What all limits have in common, and the refusal where there is none."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from resnet_sde.blocks import Block, Convolution, NotKnown
from resnet_sde.checks import positive_integer
from resnet_sde.model import Model, WeightPaths
from resnet_sde.paths import FilteredPath, GridPath


class NoLimit(ValueError):
    """A model has no limit in depth.

    Args:
        fact: what is the case.
        reason: why.
        remedy: what to use instead.
    """

    def __init__(self, fact: str, reason: str, remedy: str) -> None:
        super().__init__(f"{fact}: {reason}. {remedy}")
        self.fact, self.reason, self.remedy = fact, reason, remedy


@dataclass(frozen=True)
class Limit(ABC):
    """The L → ∞ equation of a model at its critical scaling.

    model: the networks that tend to it.
    kind: "ito-sde", "young-ode" or "random-ode"; name is the same in words.
    coupled: whether networks converge to it on their own weight path, or in law only.
    """

    model: Model
    kind: ClassVar[str]
    name: ClassVar[str]
    coupled: ClassVar[bool]

    @property
    def strong_order(self) -> float | None:
        """Rate in depth of the pathwise convergence; None where it holds in law only or no rate is known."""
        return None

    @property
    def weak_order(self) -> float | None:
        """Rate in depth of means of smooth functions of the states; None where none is known.

        1 for Euler schemes of Itô and of ordinary equations, where φ is smooth.
        """
        block = at_each_position(self.model.block)
        phi = getattr(block, "activation", None)
        smooth = phi is not None and (phi.smooth or (block.homogeneous and not any(block.variances[1::2])))
        return 1.0 if smooth and self.model.law.noise != "fractional" else None

    @property
    @abstractmethod
    def words(self) -> str:
        """Which equation this is, in a sentence, and how it is driven."""

    @abstractmethod
    def formula(self) -> tuple[str, list[str]]:
        """The equation, and a line for each of its letters; ρ is the gain."""

    def lines(self) -> Iterator[str]:
        """The equation, what its letters mean, and the numbers in it."""
        formula, letters = self.formula()
        yield f"Equation: {formula}"
        yield from (f"  {line}" for line in letters)
        yield f"  with {_numbers(self.model)}"

    @abstractmethod
    def solve(self, h: Tensor, *args: Any, **options: Any) -> Tensor:
        """The solution at time 1 from h at time 0, both (sample, input, width); differentiable in h."""

    def gradient(self, h: Tensor, top: Tensor, *args: Any, **options: Any) -> Tensor:
        """The backward limit p_0 = (∂H_1/∂h)ᵀ p_1, by differentiating the solver.

        Args:
            h: initial states, (sample, input, width).
            top: p_1, the gradient with respect to the solution; shape of h.
            args: as for `solve`.
            options: as for `solve`.
        """
        with torch.enable_grad():
            start = h.detach().clone().requires_grad_()
            return torch.autograd.grad(self.solve(start, *args, **options), start, top)[0]


_SYMBOLS = {
    **{"sigma_w2": "σ_w²", "sigma_b2": "σ_b²", "sigma_u2": "σ_u²", "sigma_v2": "σ_v²", "sigma_a2": "σ_a²"}
}


def hidden_of(block: Block, width: int) -> int:
    """How many numbers φ meets in a branch."""
    shapes = block.shapes(width)
    return shapes["inner"][1] if "inner" in shapes else width


def at_each_position(block: Block) -> Block:
    """The block of which all positions share the convolutions; any other itself."""
    return block.block if type(block) is Convolution else block


def letter(model: Model) -> str:
    """What formulas call that number, with the entries of a kernel; M where it is not that of a state."""
    channels = model.width // model.block.sharing
    same = hidden_of(at_each_position(model.block), channels) == channels
    if model.block.sharing > 1:
        return "(K C)" if same else "(K M)"
    return "d" if same else "M"


def fan_in(model: Model) -> str:
    """What formulas call the numbers that the first matrix meets."""
    return "d" if model.block.sharing == 1 else "(K C)"


def times(model: Model) -> str:
    """What stands in formulas between a matrix and what it multiplies."""
    return " " if model.block.sharing == 1 else " ∗ "


def _numbers(model: Model) -> str:
    block, channels = at_each_position(model.block), model.width // model.block.sharing
    found: dict[str, float] = {"d": model.width}
    if isinstance(model.block, Convolution):
        found |= {"C": channels, "K": model.block.neighbours.shape[1]}
    hidden = hidden_of(block, channels)
    found |= {**({"M": hidden} if "M" in letter(model) else {}), "ρ": model.gain}
    found |= {s: v for f, s in _SYMBOLS.items() if (v := getattr(block.inside, f, None)) is not None}
    if model.law.noise == "fractional":
        found["Hurst index"] = model.law.exponent
    plain = {s: v if isinstance(v, int) or not math.isfinite(v) else f"{v:g}" for s, v in found.items()}
    return ", ".join(f"{symbol} = {value}" for symbol, value in plain.items())


def plus(term: str, bias: str, variance: float) -> str:
    """A sum in a formula; a bias of variance 0 is left out."""
    return f"{term} + {bias}" if variance > 0 else term


def argument(block: Block) -> tuple[str, list[str]]:
    """The letter of the state that a branch meets, and what it is."""
    return (
        ("H", [])
        if block.inside is block
        else ("x", ["x: H as its normalization leaves it, of mean square 1"])
    )


def driven_by_sums(model: Model, sums: str, motions: str) -> tuple[str, list[str]]:
    """`formula` of the branch of one matrix, with the sum of the weights in the place of the weights."""
    block, size = at_each_position(model.block), fan_in(model)
    x, letters = argument(block)
    right = f"d{sums}{times(model)}g(H)"
    with suppress(NotKnown):
        bias = block.inside.variances.outer_bias
        right = plus(f"(σ_w/√{size}) d{sums}{times(model)}φ({x})", f"σ_b d{sums.lower()}", bias)
    which = "d × d" if size == "d" else "kernels of K C × C"
    letters.append(f"{sums}: {which} independent {motions} motions, the scaled sums of the weights")
    return f"dH = ρ [{right}]", letters


def tangent(model: Model, h: Tensor, step: Tensor) -> Tensor:
    """What a normalization leaves of a step: all of it if there is none."""
    if model.norm is None:
        return step
    step = step - step.mean(-1, keepdim=True) if model.norm == "layer" else step
    return step - h * ((h * step).sum(-1, keepdim=True) / h.square().sum(-1, keepdim=True))


def projection(model: Model) -> str:
    """What P is in the formulas of normalized streams."""
    return (
        f"P: the projection on what is orthogonal to {'H' if model.norm == 'rms' else 'H and to (1, …, 1)'}"
    )


def check_states(limit: Limit, h: Tensor) -> None:
    """Raises ValueError unless h is (sample, input, width), with something in it."""
    if h.ndim != 3 or h.shape[-1] != limit.model.width or 0 in h.shape:
        raise ValueError(
            f"states must have shape (sample, input, width) with width {limit.model.width}; "
            f"reshape these, of shape {tuple(h.shape)}"
        )


def check_rough(limit: Limit, path: WeightPaths) -> None:
    """Raises ValueError unless the path may be one of the model's law, of its matrices."""
    shapes = limit.model.block.shapes(limit.model.width)
    found = path.matrices if isinstance(path, WeightPaths) else {}
    memory = limit.model.law.noise == "short-memory"
    noises = {
        name: p.noise if memory and isinstance(p, FilteredPath) else None if memory else p
        for name, p in found.items()
    }
    if found.keys() != shapes.keys() or not all(
        isinstance(p, GridPath)
        and p.exponent == limit.model.law.exponent
        and p.fine.shape[2:] == shapes[name]
        for name, p in noises.items()
    ):
        raise ValueError(
            "the path is none of the weights of this model, and its solution another one; draw it with "
            "model.draw(depth, samples=…)"
        )


def check_steps(steps: int) -> int:
    """The number of steps. Raises ValueError unless it is a positive integer."""
    return positive_integer("steps", steps, "give for example 128")


def grid(steps: int) -> Tensor:
    """The times 0, 1/steps, …, 1; in float64, because float32 times gain or lose a step."""
    return torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
