"""Checks of activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde.activations import Activation, ByQuadrature
from resnet_sde.contracts.asked import Broken, gradient_of
from resnet_sde.contracts.blocks import try_activation
from resnet_sde.contracts.theory import states_moments, wrong_moment
from resnet_sde.testing.common import require, same_names

_F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
# Both signs, far and near, and nothing at 0, where the derivative may be a convention.
_SIZES = torch.tensor([1e-9, 0.2, 1.3, 5.0, 30.0, 700.0], **_F64)
_POINTS = torch.cat([-_SIZES.flip(0), _SIZES])
_SAME, _TINY = 1e-13, 1e-15
_MOMENT = 1e-7  # of its size
_VARIANCES = (1e-4, 0.04, 1.0, 9.0)
_PAIRS = ((1.0, 1.0, 0.3), (0.5, 2.0, 1.4), (1.0, 1.0, 1e-6), (9.0, 9.0, 0.15), (0.04, 4.0, 0.8))
_OF_ONE = ("mean", "second_moment", "second_moment_prime", "second_moment_second")
_OF_TWO = ("dual", "difference", "dual_prime", "mean_curvature")


def function(phi: Activation, seed: int) -> None:
    """What is tried before an activation decides a number; see docs/own-parts.md."""
    try_activation(phi)


def values(phi: Activation, seed: int) -> None:
    """Shape and dtype are kept and numbers finite, from −700 to 700, of any layout and of no numbers."""
    for dtype in (torch.float32, torch.float64):
        x = torch.cat([_POINTS, torch.zeros(2, **_F64)]).to(dtype)
        for given in (x, x.view(7, 2).mT, x[:0], x[0]):
            for what, found in (
                ("φ", phi(given)),
                ("φ'", phi.prime(given)),
                ("pullback", phi.pullback(given, given)),
            ):
                require(
                    (found.shape, found.dtype) == (given.shape, dtype),
                    f"{what} of {tuple(given.shape)}, {dtype} is {tuple(found.shape)}, {found.dtype}",
                )
                require(bool(found.isfinite().all()), f"{what} is not finite in {dtype} between −700 and 700")


def derivative(phi: Activation, seed: int) -> None:
    """The derivative is that of autograd at every point, to 1e-13; pullback is a product with it."""
    found = phi.prime(_POINTS.clone())
    slope = gradient_of(phi, _POINTS, torch.ones_like(_POINTS))
    if slope is None:
        raise SkipTest("autograd cannot follow it, and differences are tried with its function")
    off = (found - slope).abs() - _SAME * slope.abs() - _TINY
    worst = int(off.argmax())
    require(
        float(off[worst]) <= 0,
        f"prime at {float(_POINTS[worst]):g} is {float(found[worst]):.9g}, and by autograd "
        f"{float(slope[worst]):.9g}",
    )
    p = torch.linspace(-2, 2, len(_POINTS), **_F64)
    torch.testing.assert_close(phi.pullback(_POINTS.clone(), p), found * p, rtol=_SAME, atol=_TINY)


def symmetries(phi: Activation, seed: int) -> None:
    """It is odd, and homogeneous, if and only if it says so: exponents and scales depend on that."""
    x = _POINTS[2:]
    y = phi(x)
    scaled = all(torch.allclose(phi(c * x), c * y, rtol=_SAME, atol=0) for c in (0.125, 3.0))
    for fact, holds, formula in (
        ("odd", torch.allclose(phi(-x), -y, rtol=_SAME, atol=0), "φ(−x) = −φ(x)"),
        ("homogeneous", scaled, "φ(cx) = c φ(x)"),
    ):
        require(
            bool(getattr(phi, fact)) == holds,
            f"{fact} is {getattr(phi, fact)}, and {formula} {'holds' if holds else 'does not hold'}; say so",
        )


@dataclass(frozen=True, eq=False)
class _SameFunction(ByQuadrature):
    """The function of an activation, whose moments are computed from it alone."""

    of_phi: Activation

    def __str__(self) -> str:
        return str(self.of_phi)

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return self.of_phi(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return self.of_phi.prime(x)


def moments(phi: Activation, seed: int) -> None:
    """Gaussian moments are those of its function, to 0.1 % by grids and to 1e-7 by rules that may refuse."""
    if (sentence := wrong_moment(phi)) is not None:
        raise Broken(sentence)
    if isinstance(phi, ByQuadrature) and type(phi)._moments is ByQuadrature._moments:  # by these rules
        _kinks(phi)
        return
    exact, refused = _SameFunction(phi), ""
    for name, of in [
        *((n, (q,)) for n in _OF_ONE for q in _VARIANCES),
        *((n, p) for n in _OF_TWO for p in _PAIRS),
    ]:
        try:
            found = _moment(getattr(phi, name), of)
        except (ValueError, NotImplementedError):  # it states no such moment
            continue
        try:
            expected = _moment(getattr(exact, name), of)
        except ValueError as reason:
            refused = str(reason)
            continue
        q = of[:2] if len(of) == 3 else (of[0], of[0])
        size = abs(expected)
        if name in ("dual", "mean"):  # which may be 0
            size = max(size, math.sqrt(math.prod(_moment(exact.second_moment, (one,)) for one in q)))
        same = found == expected or abs(found - expected) <= _MOMENT * size
        require(same, f"{name} at {of} is {found:.10g}, and by quadrature {expected:.10g}")
    if refused:
        raise SkipTest(f"some moments are tried to 0.1 % only: {refused}")


def _moment(f: Callable[..., Tensor], of: tuple[float, ...]) -> float:
    numbers = [torch.tensor(value, **_F64) for value in of]
    return float(f(*numbers) if len(of) == 1 else f(*numbers[:2], gap=numbers[2]))


def smoothness(phi: Activation, seed: int) -> None:
    """It does not jump, and has no kink where it says that it is smooth."""
    kinks = _kinks(phi if isinstance(phi, ByQuadrature) else _SameFunction(phi))
    require(
        not (phi.smooth and kinks),
        f"it says that it is smooth, and has kinks at {', '.join(f'{at:.4g}' for at in kinks)}",
    )


def _kinks(phi: ByQuadrature) -> list[float]:
    """Where they are, as rules of quadrature find them. Raises SkipTest, with the reason, if they do not."""
    try:
        return [kink.at for kink in phi._moments.pieces.kinks]  # type: ignore[attr-defined]
    except ValueError as reason:
        raise SkipTest(str(reason)) from None


def names(phi: Activation, seed: int) -> None:
    """The activation, a copy and one that went to another process have one name, and the same values."""
    same_names(phi, lambda one: one(_POINTS.clone()))


Check = Callable[[Activation, int], None]


def checks_of(phi: Activation) -> list[Check]:
    """The checks that apply to an activation."""
    found: list[Check] = [function, values, derivative, symmetries, names, smoothness]
    return found + ([moments] if states_moments(phi) else [])
