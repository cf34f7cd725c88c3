"""Bugs in the limits, their solvers, and in what couples networks with them."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from mutants import Patch, caught_by
from resnet_sde import coupling, estimate
from resnet_sde.blocks import Block, Layer, SingleLayer
from resnet_sde.blocks.pointwise import Pointwise
from resnet_sde.laws import WhiteNoise
from resnet_sde.limits import ode, sde, young
from resnet_sde.model import Model, WeightPaths
from resnet_sde.propagate import Trajectory


@caught_by("rough-drift")
def drift_twice(patch: Patch) -> None:
    """The drift of the equation in law is doubled."""
    real = sde.ItoSDEInLaw.drift
    patch.setattr(sde.ItoSDEInLaw, "drift", lambda self, h: 2 * real(self, h))


@caught_by("rough-drift")
def no_drift(patch: Patch) -> None:
    """The drift of the equation in law is dropped."""
    patch.setattr(sde.ItoSDEInLaw, "drift", lambda self, h: torch.zeros_like(h))


@caught_by("euler-scheme")
def stratonovich(patch: Patch) -> None:
    """The diffusion is taken in the middle of a step, which solves the equation of Stratonovich."""
    real = sde.ItoSDE.diffuse
    patch.setattr(sde.ItoSDE, "diffuse", lambda self, h, v: real(self, h + real(self, h, v) / 2, v))


@caught_by("weak-limit")
def white_diffusion(patch: Patch) -> None:
    """The covariance of the equation in law is a tenth too large, as with another variance of the matrix."""
    real = sde.ItoSDEInLaw.covariation
    patch.setattr(sde.ItoSDEInLaw, "covariation", lambda self, h: 1.1 * real(self, h))


@caught_by("euler-scheme")
def time_of_the_solver(patch: Patch) -> None:
    """The grid of times of an ordinary equation ends one step early."""
    real = ode.grid
    patch.setattr(ode, "grid", lambda steps: real(steps) * (1 - 1 / steps))


@caught_by("euler-scheme")
def size_of_increments(patch: Patch) -> None:
    """Brownian increments are those of a grid with one step more."""
    real = sde._PathBrownian.__call__

    def smaller(self: sde._PathBrownian, *arguments: object, **options: object) -> Tensor:
        steps = len(self._fine)
        return real(self, *arguments, **options) * math.sqrt(steps / (steps + 1))

    patch.setattr(sde._PathBrownian, "__call__", smaller)


@caught_by("coupled-rates")
def right_point_rule(patch: Patch) -> None:
    """Heun's scheme takes the branch after the step in place of the average."""

    def branch(self: young._Heun, h: Tensor, layer: Layer) -> Tensor:
        return self.source.branch(h + self.alpha * self.source.branch(h, layer), layer)

    patch.setattr(young._Heun, "branch", branch)


@caught_by("coupled-errors")
def no_correction(patch: Patch) -> None:
    """The closed form for white weights is that of an ordinary equation, without Itô's correction."""
    real = coupling.exact_end

    def wrong(model: Model, h: Tensor, path: WeightPaths, depth: int) -> Tensor:
        end = real(model, h, path, depth)
        white = isinstance(model.law, WhiteNoise)
        return end * math.exp((model.gain * model.block.strength) ** 2 / 2) if white else end

    patch.setattr(coupling, "exact_end", wrong)


@caught_by("coupled-errors")
def reference_on_another_path(patch: Patch) -> None:
    """The reference of a coupled network walks a path of its own."""
    real = coupling.Comparison._target

    def other(self: coupling.Comparison, h: Tensor, path: WeightPaths, top: Tensor) -> tuple[Tensor, Tensor]:
        return real(self, h, self.model.draw(self.finest, samples=len(h), dtype=h.dtype), top)

    patch.setattr(coupling.Comparison, "_target", other)


@caught_by("coupled-errors")
def gradient_of_another_scale(patch: Patch) -> None:
    """Gradients of coupled networks come back with a factor that is a tenth too small."""
    real = coupling.trajectory

    def smaller(block: Block, h: Tensor, layers: list[Layer], alpha: float, **options: object) -> Trajectory:
        return real(block, h, layers, 0.9 * alpha, **options)

    patch.setattr(coupling, "trajectory", smaller)


@caught_by("sde-limit")
def errors_that_add(patch: Patch) -> None:
    """The error of a finer network is taken out as if errors added, in place of their squares."""
    real = estimate._fit
    patch.setattr(
        estimate, "_fit", lambda depths, values, reference, power: real(depths, values, reference, 1)
    )


@caught_by("euler-scheme")
def wide_single_layer(patch: Patch) -> None:
    """One matrix of the limit on the path lacks σ_w."""
    real = Pointwise.branch

    def wide(self: Pointwise, h: Tensor, layer: Layer) -> Tensor:
        return real(replace(self, sigma_w2=1.1) if isinstance(self, SingleLayer) else self, h, layer)

    patch.setattr(Pointwise, "branch", wide)
