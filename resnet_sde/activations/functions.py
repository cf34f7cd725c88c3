"""Nonlinearities of which the function and its derivatives are given, and moments follow by quadrature."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from resnet_sde import _gaussian
from resnet_sde._gaussian import Moments
from resnet_sde.activations.base import Activation

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
_LINEAR_FROM = 50.0  # where softplus is x to rounding; torch's default, 20, is wrong by 2e-9


def derivative(f: Callable[[Tensor], Tensor], order: int, x: Tensor, p: Tensor | None = None) -> Tensor:
    """The derivative of an elementwise function by autograd, times p; at a kink what autograd says.

    Raises:
        RuntimeError: autograd cannot follow it so far.
    """
    with torch.inference_mode(False), torch.enable_grad():
        start = x.detach().clone().requires_grad_()
        found = f(start)
        for k in range(order):
            if not found.requires_grad:  # constant, or as far as autograd sees
                return torch.zeros_like(start).detach()
            last = k + 1 == order
            ones = torch.ones_like(found) if p is None or not last else p.clone()
            (slope,) = torch.autograd.grad(found, start, ones, create_graph=not last, allow_unused=True)
            found = torch.zeros_like(start) if slope is None else slope
    return found.detach()


class ByQuadrature(Activation):
    """A nonlinearity whose moments are computed to 1e-10 from φ, φ' and the derivatives of that by autograd.

    kinks: where φ' jumps, or a derivative of it; what is not said here is looked for.
    """

    kinks: ClassVar[tuple[float, ...]] = ()

    def derivatives(self) -> list[Callable[[Tensor], Tensor]]:
        """The second, third and fourth derivative, elementwise."""
        return [partial(derivative, self.prime, order) for order in (1, 2, 3)]

    @property
    @override
    def _moments(self) -> Moments:
        return _moments_of(self)


@functools.lru_cache(maxsize=64)
def _moments_of(phi: ByQuadrature) -> _gaussian.Numerical:
    functions: list[Callable[[Tensor], Tensor]] = [phi, phi.prime]
    for f in phi.derivatives():
        try:
            f(torch.ones(1, dtype=torch.float64))
        except RuntimeError:  # autograd goes no further
            break
        functions.append(f)
    return _gaussian.Numerical(str(phi), [torch.no_grad()(f) for f in functions], phi.kinks)


def smooth(phi: ByQuadrature) -> bool:
    """Whether φ has no kink and is linear far out. Raises ValueError where that cannot be seen."""
    pieces = _moments_of(phi).pieces
    return not pieces.kinks and pieces.tails is not None


@dataclass(frozen=True)
class Silu(ByQuadrature):
    """φ(x) = x / (1 + e^{−x}), also called swish."""

    smooth = True

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return functional.silu(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        s = torch.sigmoid(x)
        return s * (1.0 + x * (1.0 - s))


@dataclass(frozen=True)
class Softplus(ByQuadrature):
    """φ(x) = log(1 + e^x)."""

    smooth = True

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return functional.softplus(x, 1.0, _LINEAR_FROM)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


@dataclass(frozen=True)
class Elu(ByQuadrature):
    """φ(x) = x for x > 0, else e^x − 1."""

    kinks = (0.0,)

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return functional.elu(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return torch.exp(x.clamp_max(0.0))


@dataclass(frozen=True)
class Selu(ByQuadrature):
    """φ(x) = λ x for x > 0, else λ α (e^x − 1), with E φ = 0 and E φ² = 1 of a standard normal variable."""

    kinks = (0.0,)

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return functional.selu(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        left = (_SELU_SCALE * _SELU_ALPHA) * torch.exp(x.clamp_max(0.0))
        return left.masked_fill(x > 0, _SELU_SCALE)


@dataclass(frozen=True)
class Mish(ByQuadrature):
    """φ(x) = x tanh(log(1 + e^x))."""

    smooth = True

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return functional.mish(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        share = torch.tanh(functional.softplus(x, 1.0, _LINEAR_FROM))
        return share + x * torch.sigmoid(x) * (1.0 - share.square())


@dataclass(frozen=True)
class HardTanh(ByQuadrature):
    """φ(x) = x between −1 and 1, and −1 or 1 beyond."""

    kinks = (-1.0, 1.0)
    odd = True

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return x.clamp(-1.0, 1.0)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return ((x > -1.0) & (x <= 1.0)).to(x.dtype)


@dataclass(frozen=True)
class Sin(Activation):
    """φ(x) = sin(x)."""

    odd = True
    smooth = True

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return torch.sin(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return torch.cos(x)

    @property
    @override
    def _moments(self) -> Moments:
        return _gaussian.Sine()


SILU = Silu()
SOFTPLUS = Softplus()
ELU = Elu()
SELU = Selu()
MISH = Mish()
HARD_TANH = HardTanh()
SIN = Sin()
