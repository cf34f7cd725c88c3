r"""Weights with short memory along depth: Itô equations.

With one matrix of weights that are white and Gaussian the limit holds on the weight path, dH = dB g(H), and
the network is its Euler scheme. Weights that are made of Gaussian white noise ξ sum to s B, where B is what ξ
sums to and s² = 1 + 2 Λ, Λ = Σ_{n≥1} γ(n). In a layer they meet what earlier ones did to the state, and that
has a mean: on the path of ξ

    dH = s dB g(H) + Λ (σ_w²/d) φ'(H) φ(H) dt.

Everywhere else it holds in law, for the law of a sum of branches is all that survives: the states of
the inputs a, b have the covariation A_ab dt in every coordinate and the drift b dt, with

    A = σ_v² Σ_n γ_V(n) E φ(u_n) φ(u_0) + σ_a² Σ_n γ_V(n),
    b = (σ_v² σ_w² / d) H Σ_{n≥1} γ_V(n) (E φ''(u_n) φ(u_0) + γ_W(n) E φ'(u_n) φ'(u_0)),

where u_n and u_0 have variance σ_w² |h|²/d + σ_b² and correlation γ_W(n). For white weights only n = 0
is left and there is no drift. The sums converge for H < 1/2, for odd φ below H = 3/4, and for short memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
import torchsde
from torch import Tensor
from typing_extensions import override

from resnet_sde.blocks import Layer, Reduced, SingleLayer, TwoLayer
from resnet_sde.checks import positive_integer
from resnet_sde.laws import WhiteNoise
from resnet_sde.limits.base import (
    Limit,
    NoLimit,
    check_rough,
    check_states,
    check_steps,
    driven_by_sums,
    grid,
    plus,
)
from resnet_sde.limits.coefficients import Lags, table
from resnet_sde.matrices import Dense
from resnet_sde.model import Model, WeightPaths
from resnet_sde.paths import Path
from resnet_sde.streams import stream


class _PathBrownian(torchsde.BaseBrownian):
    """Our increments behind torchsde's interface: Brownian motion on the grid of a white path.

    torchsde adds time steps up and may query a last interval of rounding size, whose increment here is zero.
    """

    def __init__(self, increments: Tensor) -> None:
        self._fine = increments.flatten(2)

    def __call__(
        self, ta: Tensor, tb: Tensor | None = None, return_U: bool = False, return_A: bool = False
    ) -> Tensor:
        """B(tb) − B(ta); shape (sample, channels)."""
        assert tb is not None
        steps = len(self._fine)
        first, last = (round(float(t) * steps) for t in (ta, tb))
        return self._fine[first:last].sum(0) * steps**-0.5

    def __repr__(self) -> str:
        return f"increments of a weight path on {len(self._fine)} steps"

    @property
    def dtype(self) -> torch.dtype:
        """Of the increments."""
        return self._fine.dtype

    @property
    def device(self) -> torch.device:
        """Of the increments."""
        return self._fine.device

    @property
    def shape(self) -> torch.Size:
        """(sample, channels)."""
        return self._fine.shape[1:]

    @property
    def levy_area_approximation(self) -> str:
        """None: a path on a grid knows no areas."""
        return "none"


class _Equation(torch.nn.Module):
    """Drift and diffusion of states (sample, input · width), as torchsde asks for them."""

    noise_type, sde_type = "general", "ito"

    def __init__(self, limit: ItoSDE | ItoSDEInLaw, shape: torch.Size) -> None:
        super().__init__()
        self._limit, self._states = limit, shape

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """The drift."""
        return self._limit.drift(y.view(self._states)).flatten(1)

    def g_prod(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """The diffusion times the noise v; the matrix of width × width² entries is never formed."""
        return self._limit.diffuse(y.view(self._states), v).flatten(1)


def _integrate(limit: ItoSDE | ItoSDEInLaw, h: Tensor, increments: Tensor, steps: int, method: str) -> Tensor:
    """The solution by torchsde, which tries its shapes on numbers of the global random state."""
    if method != "euler":
        raise ValueError(
            f"unknown method {method!r}; give euler, torchsde's only one for Itô equations of general noise"
        )
    with torch.random.fork_rng([h.device] if h.is_cuda else []):
        solution = torchsde.sdeint(
            _Equation(limit, h.shape),
            h.flatten(1),
            grid(1),  # on the CPU: the solver compares times at every step
            bm=_PathBrownian(increments),
            method=method,
            dt=1.0 / steps,
        )
    return solution[-1].view(h.shape)


@dataclass(frozen=True)
class ItoSDE(Limit):
    """dH = gain · s dB g(H) + b(H) dt, on the matrix Brownian motion B of the weights.

    s is 1 and b is 0 for white weights (Marion et al., 2025); else they are as in the module.
    """

    kind: ClassVar[str] = "ito-sde"
    name: ClassVar[str] = "an Itô equation"
    coupled: ClassVar[bool] = True

    @property
    @override
    def words(self) -> str:
        if not self.model.law.independent:
            return (
                "The network tends to an Itô equation driven by the Brownian motion that its own weights sum "
                "to, with a drift of size 1/width: a layer meets what weights like its own did to the state."
            )
        return (
            "The network is the Euler scheme of the Itô equation dH = gain dB g(H), driven by the Brownian "
            "motion that its own weights sum to."
        )

    @override
    def formula(self) -> tuple[str, list[str]]:
        formula, letters = driven_by_sums(self.model, "B", "Brownian")
        if self.model.law.independent:
            return formula, letters
        mean, pointwise = self._later, type(self.model.block) is SingleLayer
        drift = "(σ_w²/d) φ'(H) φ(H)" if pointwise else "∂c(H)/∂H / 2"
        letters = letters if pointwise else ["c(H): the variance of a coordinate of the branch", *letters]
        return f"{formula} + ρ² Λ {drift} dt", [
            *letters[:-1],
            f"{letters[-1]}; their variance is s² = 1 + 2 Λ",
            f"Λ = Σ_{{n≥1}} γ(n) = {mean:.4g}, over the lags n at which weights are correlated",
        ]

    @property
    @override
    def strong_order(self) -> float:
        """1/2: the noise does not commute for width above 1, and no scheme does better without its areas."""
        return 0.5

    @cached_property
    def _later(self) -> float:
        return _later(self.model)

    def drift(self, h: Tensor) -> Tensor:
        """b(h); shape of h. Zero for white weights."""
        return self.model.block.memory_drift(h, self._later, self.model.gain)

    def diffuse(self, h: Tensor, v: Tensor) -> Tensor:
        """V g(h) s for noise v, the entries of V in a row for each sample."""
        shape = self.model.block.shapes(self.model.width)["outer"]
        gain = self.model.gain * math.sqrt(1 + 2 * self._later)
        return gain * self.model.block.branch(h, Layer({"outer": Dense(v.view(-1, *shape))}))

    @override
    def solve(self, h: Tensor, path: WeightPaths, *, steps: int, method: str = "euler") -> Tensor:
        """The solution at time 1 by torchsde, on the weight path of a network; differentiable in h.

        Args:
            h: initial states, (sample, input, width).
            path: weight paths of the model's law; `steps` must divide their finest depth.
            steps: of the time grid.
            method: "euler", torchsde's only one for Itô equations of general noise: for white weights the
                network of `steps` layers.

        Raises:
            ValueError: shapes do not fit, the path is of other weights, or the method is unknown.
            OffGrid: the path cannot be seen at this number of steps.
        """
        check_states(self, h)
        check_rough(self, path)
        steps = check_steps(steps)
        return _integrate(self, h, path.matrices["outer"].driver(steps), steps, method)


@dataclass(frozen=True)
class ItoSDEInLaw(Limit):
    """dH = A(H)^{1/2} dB + b(H) dt with a vector Brownian motion of its own; A and b as in the module.

    For correlated weights A and b are interpolated, to a relative accuracy of 1e-9 for |h|²/d from e^−24 to
    e^24, up to the sum over lags; for a positively homogeneous φ without biases they are exact up to that.

    depth: None for the limit; a number of layers puts the sums over lags that such a network has, with
        weights 1 − n / depth, in place of the infinite ones, which they near slowly for H near 1/2 and 3/4.
    """

    depth: int | None = None

    def __post_init__(self) -> None:
        if self.depth is not None:
            depth = positive_integer("depth", self.depth, "give None for the limit")
            object.__setattr__(self, "depth", depth)

    kind: ClassVar[str] = "ito-sde"
    name: ClassVar[str] = "an Itô equation"
    coupled: ClassVar[bool] = False

    @property
    @override
    def words(self) -> str:
        if self.model.block.one_matrix:
            if not self.model.law.independent:
                return (
                    "In law, not on the weights themselves, the network tends to an Itô equation driven by "
                    "the Brownian motion that sums of the weights tend to, with a drift of size 1/width: a "
                    "layer meets what weights like its own did to the state."
                )
            return (
                "In law, not on the weights themselves, the network tends to the Itô equation dH = gain dB "
                "g(H): sums of weights that are not Gaussian tend to Brownian motion in law only."
            )
        averaged = (
            "In law, not on the weights themselves, the network tends to an Itô equation driven by a "
            "Brownian motion of its own in every coordinate: the inner weights average out, and what is left "
            "of them is the variance of a branch"
        )
        if self.model.law.independent:
            return f"{averaged}, without drift."
        return (
            f"{averaged}, summed over all lags at which the weights are correlated, and a drift of size "
            "1/width."
        )

    @override
    def formula(self) -> tuple[str, list[str]]:
        block, white = self.model.block, self.model.law.independent
        if type(block) not in (SingleLayer, TwoLayer, Reduced):
            return self._of_branch()
        unit = torch.ones(1, 1, self.model.width, dtype=torch.float64)
        values = f"A = {float(self.covariation(unit)):.4g}"
        values += "" if white else f", b = {float(self.drift(unit)[0, 0, 0]):.4g}"
        letters = ["B: a Brownian motion for every coordinate; for one input"]
        bias = block.variances.outer_bias
        if isinstance(block, SingleLayer):
            inside = plus("σ_w² |φ(H)|²/d", "σ_b²", bias)
            if white:
                return "dH = √A dB", [*letters, f"A = ρ² [{inside}]", f"{values} at H = (1, …, 1)"]
            letters.append(f"A = ρ² (1 + 2 Λ) [{inside}]")
            letters.append("b = ρ² Λ (σ_w²/d) φ'(H) φ(H), with Λ = Σ_{n≥1} γ(n) over all lags of the weights")
            return "dH = √A dB + b dt", [*letters, f"{values} at H = (1, …, 1)"]
        factor = "" if isinstance(block, Reduced) else "σ_v² "
        if white:
            letters.append(f"A = ρ² [{plus(f'{factor}E φ(√q z)²', 'σ_a²', bias)}]")
        else:
            inside = plus(f"{factor}E φ(u_n) φ(u_0)", "σ_a²", bias)
            letters += [
                f"A = ρ² Σ_n γ(n) [{inside}], over all lags n of the weights",
                "b = ρ² (σ_v² σ_w²/d) Σ_{n≥1} γ(n) [E φ''(u_n) φ(u_0) + γ(n) E φ'(u_n) φ'(u_0)]",
                "u_n, u_0: Gaussian, of variance q and correlation γ(n)",
            ]
        letters.append(f"q = {plus('σ_w² |H|²/d', 'σ_b²', block.variances.inner_bias)}")
        return "dH = √A dB" + ("" if white else " + b H dt"), [*letters, f"{values} at |H|² = d"]

    def _of_branch(self) -> tuple[str, list[str]]:
        """`formula` of other blocks, which say what the covariance of their branches is."""
        letters = [
            "B: a Brownian motion for every coordinate; for one input",
            "c(H): the variance of a coordinate of the branch, over Gaussian weights of one layer",
        ]
        h = torch.ones(1, 1, self.model.width, dtype=torch.float64)
        h[..., 1::2] = -1
        values = f"A = {float(self.covariation(h)):.4g} at H = (1, −1, 1, …)"
        if self.model.law.independent:
            return "dH = √A dB", [*letters, "A = ρ² c(H)", values]
        letters += [
            "A = ρ² (1 + 2 Λ) c(H)",
            "b = ρ² Λ ∂c(H)/∂H / 2, Λ = Σ_{n≥1} γ(n) over all lags of the weights",
        ]
        return "dH = √A dB + b dt", [*letters, values]

    @cached_property
    def _later(self) -> float:
        return _later(self.model, self.depth)

    @property
    def _averaged(self) -> bool:
        """Whether inner weights are averaged over, that are correlated along depth."""
        return not (self.model.law.independent or self.model.block.one_matrix)

    def covariation(self, h: Tensor) -> Tensor:
        """A(h), per unit of time and coordinate; shape (sample, input, input)."""
        square = self.model.gain**2
        if self._averaged:
            length = h.double().square().mean(-1, keepdim=True)
            return (square * table(self.model, self.depth, h.device)(length)[0]).to(h.dtype)
        square *= 1 + 2 * self._later
        return (square * self.model.block.covariance(h.double())).to(h.dtype)

    def drift(self, h: Tensor) -> Tensor:
        """b(h); shape of h."""
        if not self._averaged:
            return self.model.block.memory_drift(h, self._later, self.model.gain)
        length = h.double().square().mean(-1, keepdim=True)
        strength = table(self.model, self.depth, h.device)(length)[1].to(h.dtype)
        return self.model.gain**2 / self.model.width * strength * h

    def diffuse(self, h: Tensor, v: Tensor) -> Tensor:
        """A(h)^{1/2} v for noise v."""
        covariation = self.covariation(h)
        if covariation.shape[-1] == 1:
            return covariation.clamp(min=0).sqrt() * v.view(h.shape)
        values, vectors = torch.linalg.eigh(covariation)
        root = vectors * values.clamp(min=0).sqrt()[..., None, :]
        return root @ v.view(h.shape)

    @override
    def solve(self, h: Tensor, *, steps: int, seed: int = 0, method: str = "euler") -> Tensor:
        """A solution at time 1 by torchsde, on a Brownian motion of its own.

        Args:
            h: initial states, (sample, input, width).
            steps: of the time grid.
            seed: of the Brownian motion.
            method: "euler".

        Raises:
            ValueError: shapes do not fit, the method is unknown, or several inputs were given where the
                weights of two matrices are correlated along depth, or inner ones not Gaussian.
        """
        check_states(self, h)
        steps = check_steps(steps)
        if h.shape[1] > 1 and self._averaged:
            raise ValueError(
                "the limit in law of two matrices of correlated weights is known for one input at a time; "
                "give one"
            )
        phi = getattr(self.model.block, "activation", None)
        linear = phi is not None and phi.odd and phi.homogeneous
        if h.shape[1] > 1 and not (self.model.law.gaussian or linear or self.model.block.one_matrix):
            raise ValueError(
                "the limit in law of inner weights that are not Gaussian is known for one input at a time; "
                "give one"
            )
        source = stream(seed, "limit", self.model, steps, tuple(h.shape), device=h.device)
        path: Path = WhiteNoise().path(steps, tuple(h.shape), generator=source, dtype=h.dtype)
        return _integrate(self, h, path.weights(steps), steps, method)

    @override
    def gradient(self, h: Tensor, top: Tensor, *args: Any, **options: Any) -> Tensor:
        """Refused: this equation gives the law of the states of given inputs, not of their derivatives.

        Raises:
            NoLimit: always.
        """
        raise NoLimit(
            "the limit holds in law only",
            "a gradient compares neighbouring inputs on the same weights, and the derivative of this "
            "solution, on a noise of its own, has another law",
            "Study the gradients of deep networks with simulate.",
        )


def _later(model: Model, depth: int | None = None) -> float:
    """Λ, the sum of the correlations of a layer with later ones."""
    return 0.0 if model.law.independent else Lags.of(model.law, depth).first
