"""Smooth weights: a random ordinary differential equation, dH = V_t g(H, W_t) dt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.blocks import Layer, SingleLayer, TwoLayer, normalize
from resnet_sde.checks import check_memory
from resnet_sde.limits.base import (
    Limit,
    argument,
    at_each_position,
    check_states,
    check_steps,
    fan_in,
    grid,
    letter,
    plus,
    projection,
    tangent,
    times,
)
from resnet_sde.matrices import Dense
from resnet_sde.model import WeightPaths

_LETTERS = {"outer": "V", "inner": "W", "gate": "W", "value": "U"}


@dataclass(frozen=True)
class RandomODE(Limit):
    """dH = gain · V_t g(H, W_t) dt, with weights that are smooth functions of t (Marion et al., 2025)."""

    kind: ClassVar[str] = "random-ode"
    name: ClassVar[str] = "a random ODE"
    coupled: ClassVar[bool] = True

    @property
    @override
    def words(self) -> str:
        weights = "one constant matrix" if self.model.law.noise == "constant" else "its smooth weights"
        scheme, projected = ("is the Euler scheme", "") if self.model.norm is None else ("is a scheme", "P ")
        return (
            f"The network {scheme} of the ordinary differential equation dH/dt = gain {projected}f(H, "
            f"{self._letters}), f being its residual branch, driven by {weights}."
        )

    @property
    def _letters(self) -> str:
        """Of the matrices."""
        return ", ".join(
            _LETTERS.get(name, name) for name in reversed(at_each_position(self.model.block).shapes(1))
        )

    @override
    def formula(self) -> tuple[str, list[str]]:
        at_each, by = at_each_position(self.model.block), times(self.model)
        block, (inner, letters) = at_each.inside, argument(at_each)
        letters = [
            f"{' and '.join(self._letters.split(', '))}: the weights at time t = k/L, of variance 1",
            *letters,
        ]
        scale = "ρ"
        if self.model.norm is not None:
            scale, letters = "ρ P", [projection(self.model), *letters]
        if not isinstance(block, (SingleLayer, TwoLayer)):
            return f"dH/dt = {scale} f({inner}, {self._letters})", [*letters, "f: the residual branch"]
        factor, bias = "σ_w", "σ_b b_t"
        if isinstance(block, TwoLayer):
            inner = plus(f"(σ_w/√{fan_in(self.model)}) W_t{by}{inner}", "σ_b b_t", block.sigma_b2)
            factor, bias = "σ_v", "σ_a a_t"
        right = plus(f"({factor}/√{letter(self.model)}) V_t{by}φ({inner})", bias, block.variances.outer_bias)
        return f"dH/dt = {scale} [{right}]", letters

    @property
    @override
    def strong_order(self) -> float:
        """Rate of the Euler scheme, 1."""
        return 1.0

    @override
    def solve(
        self, h: Tensor, path: WeightPaths, *, steps: int, method: str = "rk4", **options: Any
    ) -> Tensor:
        """The solution at time 1, the last of `states`."""
        return self.states(h, path, steps=steps, method=method, **options)[-1]

    def states(
        self, h: Tensor, path: WeightPaths, *, steps: int, method: str = "rk4", **options: Any
    ) -> Tensor:
        """The solution at the times k / steps, by torchdiffeq; differentiable in h and in the path.

        Kinked activations stop adaptive methods of high order at every kink: keep to a fixed grid there.

        Args:
            h: initial states, (sample, input, width).
            path: weight paths of a smooth or constant law.
            steps: of the time grid; fixed-grid methods take exactly these.
            method: of torchdiffeq; "euler" is the network of `steps` layers on this path.
            options: further arguments of ``torchdiffeq.odeint``, such as rtol and atol.

        Shape: (steps + 1, sample, input, width).

        Raises:
            ValueError: shapes do not fit, or the path is rough.
        """
        import torchdiffeq  # slow to import, and who asks for the equation alone need not wait for it

        check_states(self, h)
        h = h if self.model.norm is None else normalize(h, self.model.norm)[0]
        steps = check_steps(steps)
        needed = (steps + 1) * (h.numel() * h.element_size() + 8)
        check_memory(f"states at {steps} steps", needed, "give fewer steps, networks or inputs", h.device)

        def field(t: Tensor, y: Tensor) -> Tensor:
            weights = {name: Dense(p.at(t)) for name, p in path.matrices.items()}
            return tangent(self.model, y, self.model.gain * self.model.block.branch(y, Layer(weights)))

        solution = torchdiffeq.odeint(field, h, grid(steps).to(h.device), method=method, **options)
        assert isinstance(solution, torch.Tensor)
        return solution
