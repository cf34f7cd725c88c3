r"""Normalized streams with white weights: Itô equations on the sphere of radius √d.

A layer h ← N(h + α V g(h)) adds a step to a state of mean square 1, and takes off what of it lies along the
state. With dX what the steps of the stream without a normalization sum to, of variance A(H) dt in every
coordinate, and P the projection on what is orthogonal to H, and for the norm "layer" to (1, …, 1) too, Itô's
formula for x ↦ √d x / |x| gives

    dH = P dX − (A/2) (1 − r/d) H dt,    H_0 = N(h_0),

r being 1, or 2 for the norm "layer": the number of directions that P takes off. So E ⟨H_t, H_0⟩² decays like
e^{−S} at large width, S = ∫ A dt. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from typing_extensions import override

from resnet_sde.blocks import normalize
from resnet_sde.limits.base import check_states, projection, tangent
from resnet_sde.limits.sde import ItoSDE, ItoSDEInLaw
from resnet_sde.model import Model

_DIRECTIONS = {"rms": 1, "layer": 2}


def _drift(model: Model, h: Tensor) -> Tensor:
    assert model.norm is not None
    variance = model.gain**2 * model.block.covariance(h.double()).diagonal(dim1=-2, dim2=-1)
    share = 1 - _DIRECTIONS[model.norm] / model.width
    return -(share / 2 * variance).to(h.dtype)[..., None] * h


def _formula(model: Model, formula: str, letters: list[str], noise: str) -> tuple[str, list[str]]:
    assert model.norm is not None
    variance = f"A: the variance of a coordinate of {noise} per unit of time"
    return f"dH = P {noise} − (A/2) (1 − {_DIRECTIONS[model.norm]}/d) H dt, {formula}", [
        projection(model),
        *([] if any(line.startswith("A =") for line in letters) else [variance]),
        *letters,
    ]


@dataclass(frozen=True)
class SphereSDE(ItoSDE):
    """dH = P dX − (A/2) (1 − r/d) H dt on the weight path, dX = gain dB g(H); of one matrix."""

    @property
    @override
    def words(self) -> str:
        return (
            "The network tends to an Itô equation on the sphere |H|² = width, driven by the Brownian motion "
            "that its own weights sum to: the normalization takes off what lies along the state."
        )

    @override
    def formula(self) -> tuple[str, list[str]]:
        formula, letters = super().formula()
        return _formula(self.model, formula.replace("dH", "dX"), letters, "dX")

    @override
    def drift(self, h: Tensor) -> Tensor:
        return _drift(self.model, h)

    @override
    def diffuse(self, h: Tensor, v: Tensor) -> Tensor:
        return tangent(self.model, h, super().diffuse(h, v))

    @override
    def solve(self, h: Tensor, *args: Any, **options: Any) -> Tensor:
        """As of `ItoSDE`, from N(h) on. A network of as many layers is another scheme of this equation."""
        check_states(self, h)
        return super().solve(normalize(h, str(self.model.norm))[0], *args, **options)


@dataclass(frozen=True)
class SphereSDEInLaw(ItoSDEInLaw):
    """The same in law, dX = A(H)^{1/2} dB; of white weights."""

    @property
    @override
    def words(self) -> str:
        return (
            "In law, not on the weights themselves, the network tends to an Itô equation on the sphere "
            "|H|² = width, driven by a Brownian motion of its own in every coordinate: the normalization "
            "takes off what lies along the state."
        )

    @override
    def formula(self) -> tuple[str, list[str]]:
        formula, letters = super().formula()
        return _formula(self.model, formula.replace("dH", "dX"), letters, "dX")

    @override
    def drift(self, h: Tensor) -> Tensor:
        return _drift(self.model, h)

    @override
    def diffuse(self, h: Tensor, v: Tensor) -> Tensor:
        return tangent(self.model, h, super().diffuse(h, v))

    @override
    def solve(self, h: Tensor, *args: Any, **options: Any) -> Tensor:
        """As of `ItoSDEInLaw`, from N(h) on."""
        check_states(self, h)
        return super().solve(normalize(h, str(self.model.norm))[0], *args, **options)
