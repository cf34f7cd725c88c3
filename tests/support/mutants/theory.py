"""Bugs in the theory of infinite and of finite width."""

import sys
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mutants import Patch, caught_by
from resnet_sde.finite_width import expansion, phi_squared_moments
from resnet_sde.finite_width.homogeneous import HomogeneousMoments
from resnet_sde.meanfield import one_time, pairs, parameters, phases
from resnet_sde.meanfield.two_time import Moved
from resnet_sde.model import Model
from resnet_sde.theorems import kernels
from resnet_sde.theorems.yang import widths


@caught_by("one-time-recursion")
def one_layer_late(patch: Patch) -> None:
    """The sum along a row of the kernel takes the sources of the layer before."""
    real = Moved.advance

    def late(self: Moved, k: int, source: Tensor) -> None:
        real(self, k, torch.cat([source[:, :1], source[:, :-1]], dim=1))

    patch.setattr(Moved, "advance", late)


@caught_by("two-time-kernel")
def lower_triangle_twice(patch: Patch) -> None:
    """The lower triangle of the kernel between layers is added to itself, not to its transpose."""
    real = kernels.two_time

    def twice(model: Model, q0: float = 1.0, *, depth: int) -> Tensor:
        found = real(model, q0, depth=depth)
        return found.tril() + found.tril(-1)

    patch.setattr(kernels, "two_time", twice)


@caught_by("one-time-recursion")
def gradients_of_the_next_layer(patch: Patch) -> None:
    """Gradients between layers see the states that their layers put out in place of those that go in."""
    real = kernels.gradients_along

    def late(model: Model, kernel: Tensor) -> Tensor:
        after = torch.arange(1, len(kernel) + 1).clamp(max=len(kernel) - 1)
        return real(model, kernel[after][:, after])

    patch.setattr(sys.modules["resnet_sde.meanfield.two_time"], "gradients_along", late)
    patch.setattr(kernels, "gradients_along", late)


@caught_by("two-time-flow")
def lag_of_the_flow(patch: Patch) -> None:
    """The flow of the kernel takes the mass of the cell at the next lag."""
    flow = sys.modules["resnet_sde.meanfield.flow"]  # the package has a function of this name
    real = flow._cells

    def late(model: Model, steps: int) -> Tensor:
        mass = real(model, steps)
        return torch.cat([mass[1:], mass[-1:]])

    patch.setattr(flow, "_cells", late)


@caught_by("one-time-recursion")
def gradient_of_the_next_length(patch: Patch) -> None:
    """The factor of gradients is taken at the length that a layer puts out."""
    real = one_time._walk

    def late(*arguments: object) -> Iterator[tuple[float, float, float, float, float]]:
        rows = list(real(*arguments))
        for k, (x, moved, mean, _, log_sum) in enumerate(rows):
            yield x, moved, mean, rows[min(k + 1, len(rows) - 1)][3] - rows[1][3], log_sum

    patch.setattr(one_time, "_walk", late)


@caught_by("parameter-gradients")
def gradient_of_the_input(patch: Patch) -> None:
    """The gradients of the weights of a layer are those of its input, not of its output."""
    real = parameters.parameter_gradients

    def late(model: Model, q0: float = 1.0, *, depth: int) -> parameters.ParameterGradients:
        found = real(model, q0, depth=depth)
        layer = one_time.lengths(model, q0, depth=depth).log_gradient_growth.diff()
        values = {name: value + layer for name, value in vars(found).items() if value is not None}
        return replace(found, **values)

    patch.setattr(widths, "parameter_gradients", late)


@caught_by("dropout-destroys-the-critical-line")
def dropout_of_one_mask(patch: Patch) -> None:
    """Two inputs feel dropout in their lengths only, as if they shared their masks."""
    real = pairs._added

    def shared(model: Model, q1: Tensor, q2: Tensor, gap: Tensor, keep_rate: float, depth: int) -> Tensor:
        return real(model, q1, q2, gap, 1.0, depth)

    patch.setattr(pairs, "_added", shared)


@caught_by("correlation-depth-scale")
def linear_depth_scale(patch: Patch) -> None:
    """Depth scales are 1/(1 − χ), which is right near criticality only."""
    patch.setattr(phases, "_depth_scale", lambda chi: 1 / (1 - chi))


@caught_by("responses-of-kernels")
def growth_of_the_next_layer(patch: Patch) -> None:
    """Fluctuations grow in a layer by the slope at the kernel that it puts out."""
    real = expansion.Expansion.growth.fget
    patch.setattr(
        expansion.Expansion,
        "growth",
        property(lambda self: torch.cat([real(self)[1:], real(self)[-1:]])),
    )


@caught_by("empirical-kernel-fluctuations")
def one_pairing(patch: Patch) -> None:
    """The covariance of two squares has one pairing of Isserlis' two, so that variances are half."""
    real = expansion._products
    patch.setattr(expansion, "_products", lambda found: real(found) / 2)


@caught_by("linear-moments")
def source_of_a_square(patch: Patch) -> None:
    """Var φ² of half-lines misses the factor 2 of the variance of a square."""
    real = phi_squared_moments.HalfLines.pair

    def half(
        self: phi_squared_moments.HalfLines, late: Tensor, early: Tensor, cross: Tensor
    ) -> tuple[Tensor, Tensor]:
        source, feedback = real(self, late, early, cross)
        return source - ((self.right + self.left) / 2) ** 2 * cross.square(), feedback

    patch.setattr(phi_squared_moments.HalfLines, "pair", half)


@caught_by("second-moment")
def fourth_moment(patch: Patch) -> None:
    """The second moment of the share of the norm that a branch keeps is the square of the first."""
    patch.setattr(
        HomogeneousMoments, "q2", property(lambda self: self.q1**2, lambda self, value: None), raising=False
    )


@caught_by("log-normal-limit")
def typical_growth(patch: Patch) -> None:
    """The mean of the logarithm forgets the term −2/d, the drift of Itô's formula."""
    patch.setattr(
        HomogeneousMoments, "mean_log_growth", property(lambda self: self.depth * self.q1 * self.alpha**2)
    )
