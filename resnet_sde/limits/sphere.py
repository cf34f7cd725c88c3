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
from resnet_sde.limits.base import Limit, check_states, projection, tangent
from resnet_sde.limits.sde import ItoSDE, ItoSDEInLaw

_DIRECTIONS = {"rms": 1, "layer": 2}


class _OnSphere(Limit):
    """What a normalization makes of an Itô equation that stands behind it in the order of bases."""

    @override
    def formula(self) -> tuple[str, list[str]]:
        formula, letters = super().formula()  # type: ignore[safe-super]
        assert self.model.norm is not None
        stated = any(line.startswith("A =") for line in letters)
        variance = [] if stated else ["A: the variance of a coordinate of dX per unit of time"]
        sphere = f"dH = P dX − (A/2) (1 − {_DIRECTIONS[self.model.norm]}/d) H dt"
        return f"{sphere}, {formula.replace('dH', 'dX')}", [projection(self.model), *variance, *letters]

    def drift(self, h: Tensor) -> Tensor:
        """What keeps the state on the sphere; shape of h."""
        model = self.model
        assert model.norm is not None
        variance = model.gain**2 * model.block.covariance(h.double()).diagonal(dim1=-2, dim2=-1)
        share = 1 - _DIRECTIONS[model.norm] / model.width
        return -(share / 2 * variance).to(h.dtype)[..., None] * h

    def diffuse(self, h: Tensor, v: Tensor) -> Tensor:
        """P dX for noise v; shape of h."""
        return tangent(self.model, h, super().diffuse(h, v))  # type: ignore[misc]

    @override
    def solve(self, h: Tensor, *args: Any, **options: Any) -> Tensor:
        """As without a normalization, from N(h) on. A network of as many layers is another scheme."""
        check_states(self, h)
        return super().solve(normalize(h, str(self.model.norm))[0], *args, **options)  # type: ignore[safe-super]


@dataclass(frozen=True)
class SphereSDE(_OnSphere, ItoSDE):
    """dH = P dX − (A/2) (1 − r/d) H dt on the weight path, dX = gain dB g(H); of one matrix."""

    @property
    @override
    def words(self) -> str:
        return (
            "The network tends to an Itô equation on the sphere |H|² = width, driven by the Brownian motion "
            "that its own weights sum to: the normalization takes off what lies along the state."
        )


@dataclass(frozen=True)
class SphereSDEInLaw(_OnSphere, ItoSDEInLaw):
    """The same in law, dX = A(H)^{1/2} dB; of white weights."""

    @property
    @override
    def words(self) -> str:
        return (
            "In law, not on the weights themselves, the network tends to an Itô equation on the sphere "
            "|H|² = width, driven by a Brownian motion of its own in every coordinate: the normalization "
            "takes off what lies along the state."
        )
