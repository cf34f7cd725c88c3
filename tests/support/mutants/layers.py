"""Bugs in the layer loop, the blocks and the matrices."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mutants import Patch, caught_by
from resnet_sde import matrices, model, monte_carlo, propagate
from resnet_sde import observables as ob
from resnet_sde.activations import Tanh
from resnet_sde.blocks import Layer, pointwise
from resnet_sde.blocks.pointwise import Pointwise
from resnet_sde.matrices import Deferred, Dense, Matrix
from resnet_sde.model import WeightPaths
from resnet_sde.propagate import States, Trajectory


@caught_by("gradient-invariant")
def adjoint(patch: Patch) -> None:
    """Gradients come back through φ as if it were the identity."""
    real = Pointwise._back

    def straight(self: Pointwise, pre: Tensor, p: Tensor, layer: Layer) -> Tensor:
        return real(self, torch.ones_like(pre), p, layer)

    patch.setattr(Pointwise, "_back", straight)


@caught_by("gradient-invariant")
def adjoint_of_another_layer(patch: Patch) -> None:
    """Gradients come back through φ at the pre-activations of the layer below."""
    real = propagate._Loop.down

    def late(self, p: Tensor, layers: list[Layer], pre: list[Tensor], *, keep: bool):
        return real(self, p, layers, [pre[0], *pre[:-1]], keep=keep)

    patch.setattr(propagate._Loop, "down", late)


@caught_by("gradient-invariant")
def matrix_for_its_transpose(patch: Patch) -> None:
    """A matrix without a bias acts on gradients as on states."""
    real = Dense.rmatvec

    def same(self: Dense, p: Tensor, scale: float = 1.0) -> Tensor:
        square = self.entries.shape[-1] == self.entries.shape[-2]
        return torch.bmm(p, self.entries) * scale if square else real(self, p, scale)

    patch.setattr(Dense, "rmatvec", same)


@caught_by("gaussian-duals")
def slope_of_the_value(patch: Patch) -> None:
    """φ' of tanh is 1 − x², with x in place of tanh x."""
    patch.setattr(Tanh, "prime", lambda self, x: 1 - x.square())


@caught_by("plain-networks")
def fan_in_of_the_bias(patch: Patch) -> None:
    """A matrix with a bias is divided by √(d + 1), the number of its rows."""
    real = pointwise.affine

    def scaled(matrix: Matrix, x: Tensor, weight: float, bias: float, one: Tensor | None) -> Tensor:
        size = x.shape[-1]
        return real(matrix, x, weight * size / (size + 1) if bias > 0 else weight, bias, one)

    patch.setattr(pointwise, "affine", scaled)


@caught_by("drawn-weights")
def variance_of_the_bias(patch: Patch) -> None:
    """The variance of the bias is taken for its standard deviation."""
    real = pointwise.affine
    patch.setattr(
        pointwise, "affine", lambda matrix, x, weight, bias, one: real(matrix, x, weight, bias**2, one)
    )


@caught_by("plain-networks")
def bias_of_another_scale(patch: Patch) -> None:
    """The bias is added to a state of another unit as if it were in natural ones."""
    real = pointwise.affine
    patch.setattr(
        pointwise, "affine", lambda matrix, x, weight, bias, one: real(matrix, x, weight, bias, None)
    )


@caught_by("gradients-are-derivatives")
def column_of_the_bias(patch: Patch) -> None:
    """Gradients lose the first row of a matrix with a bias in place of the last."""
    real = pointwise.affine_back

    def shifted(matrix: Matrix, p: Tensor, weight: float, bias: float, width: int | None = None) -> Tensor:
        if bias == 0:
            return real(matrix, p, weight, bias, width)
        return matrix.rmatvec(p)[..., 1:] * math.sqrt(weight / (width or p.shape[-1]))

    patch.setattr(pointwise, "affine_back", shifted)


@caught_by("log-normal-limit")
def sign_of_the_exponent(patch: Patch) -> None:
    """The power of two that is taken out of a state is carried with the wrong sign."""
    real = propagate._rescaled

    def wrong(x: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
        scaled, after = real(x, exponent)
        return scaled, 2 * exponent - after

    patch.setattr(propagate, "_rescaled", wrong)


@caught_by("gradients-are-derivatives")
def skip_of_gradients(patch: Patch) -> None:
    """Gradients come back with a skip weight of 1, whatever it is."""
    real = propagate._Loop.down

    def whole(self, *arguments, **options):
        return real(propagate._Loop(self.block, self.alpha, 1.0, self.period), *arguments, **options)

    patch.setattr(propagate._Loop, "down", whole)


@caught_by("gradients-are-derivatives")
def nothing_known(patch: Patch) -> None:
    """A matrix that was looked at forward is revealed anew on the way back."""

    def fresh(self: Deferred, p: Tensor, scale: float = 1.0) -> Tensor:
        return Deferred(self._source, self._seen.probe.shape[-1]).matvec(p, scale)

    patch.setattr(Deferred, "rmatvec", fresh)


@caught_by("gradients-are-derivatives")
def transposed_coefficients(patch: Patch) -> None:
    """The coefficients of several probes in their orthonormal basis are transposed."""
    real = matrices._orthonormal

    def wrong(x: Tensor) -> tuple[Tensor, Tensor]:
        coefficients, basis = real(x)
        return coefficients.mT, basis

    patch.setattr(matrices, "_orthonormal", wrong)


@caught_by("independent-matrices")
def inner_is_outer_in_simulate(patch: Patch) -> None:
    """In `simulate` alone, two matrices of correlated weights are the same."""
    patch.setattr(monte_carlo, "WeightPaths", _one_path)


def _one_path(paths: dict, *drawn: object) -> WeightPaths:
    same = "inner" in paths and _fine(paths["inner"]) == _fine(paths["outer"])
    return WeightPaths({**paths, "outer": paths["inner"]} if same else paths, *drawn)


def _fine(path: object) -> torch.Size:
    return next(v.shape for v in vars(path).values() if isinstance(v, Tensor))


@caught_by("independent-matrices")
def inner_is_outer_for_white_weights(patch: Patch) -> None:
    """In `simulate` alone, two matrices of white weights that are drawn are the same."""

    class Same(Layer):
        def __new__(cls, matrices: Mapping[str, Matrix]) -> Layer:
            inner, outer = matrices.get("inner"), matrices.get("outer")
            same = isinstance(inner, Dense) and isinstance(outer, Dense)
            if same and inner.entries.shape == outer.entries.shape:
                matrices = {**matrices, "outer": inner}
            return Layer(matrices)

    patch.setattr(monte_carlo, "Layer", Same)


@caught_by("parameter-gradients")
def gradient_of_parameters_above(patch: Patch) -> None:
    """Gradients of inner weights are taken at the state above the layer in place of that below."""
    real = propagate._Loop.noted

    def above(
        self, layers: list[Layer], hidden: States, adjoint: States, *, pairs: bool
    ) -> dict[str, States]:
        found = real(self, layers, hidden, adjoint, pairs=pairs)
        growth = [hidden.natural(k + 1).norm(dim=-1, keepdim=True) for k in range(len(layers))]
        growth = [g / hidden.natural(k).norm(dim=-1, keepdim=True) for k, g in enumerate(growth)]
        scaled = [norm * g for norm, g in zip(found["inner"].scaled, growth, strict=True)]
        return {**found, "inner": replace(found["inner"], scaled=scaled)}

    patch.setattr(propagate._Loop, "noted", above)


@caught_by("dropout-destroys-the-critical-line")
def masks_that_are_not_divided(patch: Patch) -> None:
    """Numbers that are kept are not divided by the keep rate."""
    real = propagate.Dropout.on

    def plain(self: propagate.Dropout, layer: Layer, h: Tensor) -> Layer:
        masked = real(self, layer, h)
        return masked.replaced(
            "outer", replace(masked["outer"], masks=(masked["outer"].masks > 0).to(h.dtype))
        )

    patch.setattr(propagate.Dropout, "on", plain)


@caught_by("rough-drift")
def inner_is_outer_in_draw(patch: Patch) -> None:
    """In paths that a model draws, two matrices are the same."""
    patch.setattr(model, "WeightPaths", _one_path)


@caught_by("euler-scheme")
def inner_one_layer_late(patch: Patch) -> None:
    """A layer takes the inner matrix of the layer before it."""
    real = WeightPaths.layers

    def late(self: WeightPaths, depth: int) -> list[Layer]:
        found = real(self, depth)
        return [found[k].replaced("inner", found[k - 1].get("inner")) for k in range(depth)]

    patch.setattr(WeightPaths, "layers", late)


@caught_by("gradient-mean-variation")
def displacement_of_gradients(patch: Patch) -> None:
    """Gradients are compared with their size at layer 0 in place of the top."""

    @ob.observable("input", gradients=True)
    def log10_gradient_displacement(t: Trajectory) -> Tensor:
        return ob.log10_displacement(Trajectory(t.adjoint))

    patch.setattr(ob, "log10_gradient_displacement", log10_gradient_displacement)
