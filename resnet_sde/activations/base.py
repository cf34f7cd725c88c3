"""A pointwise nonlinearity φ, its derivative and its Gaussian dual."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from resnet_sde._gaussian import Moments


class Activation(ABC):
    """A pointwise nonlinearity φ and its Gaussian dual.

    homogeneous: φ(cx) = c φ(x) for every c > 0.
    odd: φ(−x) = −φ(x).
    smooth: φ has derivatives of all orders, and none grows faster than a power.

    In the Gaussian moments (u, v) are centred with variances q1, q2 and correlation 1 − gap, gap in [0, 2]; z
    is standard normal. Their arguments are tensors in float64, and broadcast. The gap is asked for instead of
    the correlation because near two equal inputs everything depends on its digits.

    What an activation of one's own states is tried where it is first used: its derivative at arguments from
    −12 to 12, its moments at a few variances from 0.0025 to 25. What is false elsewhere alone is not seen.
    """

    homogeneous: bool = False
    odd: bool = False
    smooth: bool = False

    @staticmethod
    def of(
        function: Callable[[Tensor], Tensor],
        *,
        derivative: Callable[[Tensor], Tensor] | None = None,
        kinks: Sequence[float] = (),
        homogeneous: bool | None = None,
        odd: bool | None = None,
    ) -> Activation:
        """The activation of any elementwise function of torch.

        Its Gaussian moments are computed to 1e-10 of their size (√(E φ(u)² E φ(v)²) where they change sign),
        or refused in a sentence, as those of steps and of what grows too fast are.

        Args:
            function: of a tensor of any shape, at the top level of a module, or a partial of one.
            derivative: φ', elementwise; autograd finds it where it is left out.
            kinks: where φ' or a derivative of it jumps; those that are not named are looked for.
            homogeneous: whether φ(cx) = c φ(x) for c > 0; seen from its values where it is left out.
            odd: whether φ(−x) = −φ(x); likewise.

        Raises:
            ValueError: the function is not elementwise, draws random numbers, writes into its argument,
                changes shape or dtype, is not finite, has no name, or is not what is said of it.

        Example:
            >>> Activation.of(torch.nn.functional.softsign).odd
            True
        """
        from resnet_sde.activations.callables import of_function

        return of_function(function, derivative, kinks, homogeneous, odd)

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """φ(x), elementwise."""

    @abstractmethod
    def prime(self, x: Tensor) -> Tensor:
        """φ'(x), elementwise; at a kink the value from the left."""

    def pullback(self, x: Tensor, p: Tensor) -> Tensor:
        """φ'(x) p, the way a gradient comes back through φ."""
        return p * self.prime(x)

    @property
    def _moments(self) -> Moments:
        """The formulas behind the Gaussian moments; an activation of one's own may do without."""
        raise NotImplementedError(
            f"the Gaussian moments of {self} are not known; give it a property _moments"
        )

    def dual(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        """E φ(u) φ(v)."""
        return self._moments.dual(q1, q2, gap)

    def difference(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        """E (φ(u) − φ(v))² / 2, without cancellation as gap → 0 and q1 → q2."""
        return self._moments.difference(q1, q2, gap)

    def dual_prime(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        """E φ'(u) φ'(v), which is the derivative of the dual in the covariance (Price's theorem)."""
        return self._moments.dual_prime(q1, q2, gap)

    def mean_curvature(self, q1: Tensor, q2: Tensor, *, gap: Tensor) -> Tensor:
        """E φ''(u) φ(v), which is twice the derivative of the dual in q1 at fixed covariance.

        Where φ' jumps φ'' has a Dirac mass. For an α-ReLU, α < 1, the second reading is the definition.
        """
        return self._moments.mean_curvature(q1, q2, gap)

    def mean(self, q: Tensor) -> Tensor:
        """E φ(√q z)."""
        return self._moments.mean(q)

    def second_moment(self, q: Tensor) -> Tensor:
        """E φ(√q z)², the dual at gap 0."""
        return self._moments.second_moment(q)

    def share(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """E φ(√q z)² / q in two parts: a limit that it may have at q → 0 or q → ∞, and what is left.

        Near such a limit the second part keeps its digits. For an activation of one's own the first may be 0.
        """
        try:
            moments = self._moments
        except NotImplementedError:
            return torch.zeros_like(q), self.second_moment(q) / q
        return moments.share(q)

    def second_moment_prime(self, q: Tensor) -> Tensor:
        """E φ'(√q z)²."""
        return self._moments.second_moment_prime(q)

    def second_moment_second(self, q: Tensor) -> Tensor:
        """E φ''(√q z)²; infinite where φ has a kink."""
        return self._moments.second_moment_second(q)
