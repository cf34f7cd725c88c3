"""What all limits have in common, and the refusal where there is none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from resnet_sde._checks import positive_integer
from resnet_sde.model import Model, WeightPaths
from resnet_sde.paths import GridPath


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
    kind: "ito-sde", "young-ode" or "random-ode".
    coupled: whether networks converge to it on their own weight path, or in law only.
    """

    model: Model
    kind: ClassVar[str]
    coupled: ClassVar[bool]

    @property
    def strong_order(self) -> float | None:
        """Rate in depth of the pathwise convergence; None where it holds in law only or no rate is known."""
        return None

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
    if found.keys() != shapes.keys() or not all(
        isinstance(p, GridPath)
        and p.exponent == limit.model.law.exponent
        and p.fine.shape[2:] == shapes[name]
        for name, p in found.items()
    ):
        raise ValueError(
            "the path is none of the weights of this model, and its solution another one; draw it with "
            "model.draw(depth, samples=…)"
        )


def check_steps(steps: int) -> int:
    """The number of steps. Raises ValueError unless it is a positive integer."""
    return positive_integer("steps", steps, "give for example 128")


def grid(steps: int, like: Tensor) -> Tensor:
    """The times 0, 1/steps, …, 1; in float64, because float32 times gain or lose a step."""
    return torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64, device=like.device)
