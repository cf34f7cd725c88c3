"""Any elementwise function as an activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from resnet_sde._names import stable_name
from resnet_sde.activations.functions import ByQuadrature, derivative, smooth
from resnet_sde.checks import finite_number, flag

_F64: dict[str, Any] = {"dtype": torch.float64}
_SAME = 1e-13  # of a number: what a fact may be off by
_DERIVED = 1e-4  # of a derivative by differences, whose step is a tenth of that
_FEW = 8  # numbers, of which steps are made
_UNFOLLOWED = "autograd cannot follow {}"
_TORCH_ALONE = "let it use functions of torch alone, or give derivative="
_IN_ITS_DTYPE = "which moments need; let it compute in the dtype that it is given"
_FINE = 1e-9  # a step that float32 does not see
_WRITTEN = 1e-9  # of a derivative that is written, against autograd


@dataclass(frozen=True, repr=False)
class OfFunction(ByQuadrature):
    """φ by an elementwise function of torch; made by `Activation.of`."""

    function: Callable[[Tensor], Tensor]
    written: Callable[[Tensor], Tensor] | None = None
    kinks: tuple[float, ...] = ()  # type: ignore[misc]
    homogeneous: bool = False
    odd: bool = False

    def __repr__(self) -> str:
        also = [] if self.written is None else [f"derivative={stable_name(self.written)}"]
        also += [f"kinks={self.kinks}"] if self.kinks else []
        return f"Activation.of({', '.join([stable_name(self.function), *also])})"

    @override
    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    @override
    def prime(self, x: Tensor) -> Tensor:
        return derivative(self.function, 1, x) if self.written is None else self.written(x)

    @override
    def pullback(self, x: Tensor, p: Tensor) -> Tensor:
        return derivative(self.function, 1, x, p) if self.written is None else p * self.written(x)

    @override
    def derivatives(self) -> list[Callable[[Tensor], Tensor]]:
        if self.written is None:
            return [partial(derivative, self.function, order) for order in (2, 3, 4)]
        return [partial(derivative, self.written, order) for order in (1, 2, 3)]

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """Whether no kink is known or found, and φ is linear far out."""
        try:
            return smooth(self)
        except ValueError:
            return False


def of_function(
    function: Callable[[Tensor], Tensor],
    written: Callable[[Tensor], Tensor] | None,
    kinks: Sequence[float],
    homogeneous: bool | None,
    odd: bool | None,
) -> OfFunction:
    """See `Activation.of`."""
    if not callable(function) or isinstance(function, type):
        raise ValueError(
            f"an activation is made of a function of a tensor, got {function!r}; give torch.tanh"
        )
    if isinstance(function, nn.Module) and any(True for _ in function.parameters()):
        raise ValueError(f"{function!r} has parameters, which training would change; give a function without")
    for f in (function, written):
        if f is not None:
            stable_name(f, "the activation")
    _check(function)
    phi = OfFunction(function, written, _places(kinks))
    _check_prime(phi)
    facts = {}
    for name, said, seen in (("homogeneous", homogeneous, _homogeneous), ("odd", odd, _odd)):
        facts[name] = seen(function) if said is None else flag(name, said)
        if said is not None and said != seen(function):
            raise ValueError(f"{phi} is {'' if seen(function) else 'not '}{name}; leave {name} out")
    return OfFunction(function, written, phi.kinks, **facts)


def _places(kinks: Sequence[float]) -> tuple[float, ...]:
    try:
        return tuple(finite_number("a kink", kink) for kink in kinks)
    except (TypeError, ValueError):
        raise ValueError(
            f"kinks must be a sequence of finite numbers, got {kinks!r}; give for example (0.5,)"
        ) from None


def _points() -> Tensor:
    sizes = torch.cat([torch.logspace(-6, 2, 97, **_F64), torch.linspace(0.013, 7.0, 63, **_F64)])
    return torch.cat([-sizes, sizes])


@torch.no_grad()
def _check(function: Callable[[Tensor], Tensor]) -> None:
    """Raises ValueError unless it is a function of each number of a tensor by itself."""
    name = stable_name(function)
    x = torch.linspace(-2.9, 3.1, 42, **_F64).reshape(6, 7)
    before, state = x.clone(), torch.get_rng_state()
    try:
        y = function(x)
    except Exception as error:
        raise ValueError(
            f"{name} fails on a tensor of shape (6, 7): {error}; give an elementwise function"
        ) from None
    finally:
        drawn = not torch.equal(state, torch.get_rng_state())
        torch.set_rng_state(state)
    if not isinstance(y, Tensor) or y.shape != x.shape or y.dtype != x.dtype:
        found = f"{tuple(y.shape)} and {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(
            f"{name} returned {found} for shape (6, 7) and float64; it must keep shape and dtype"
        )
    if not torch.equal(x, before):
        raise ValueError(f"{name} writes into what it is given; let it work on a copy")
    if drawn:
        raise ValueError(
            f"{name} draws random numbers, which no seed decides; give a function without chance"
        )
    if not bool(y.isfinite().all()):
        where = float(x[~y.isfinite()][0])
        raise ValueError(f"{name} is not finite at x = {where:.4g}; an activation is a number everywhere")
    alone, part = (
        function(x.flip(0, 1).reshape(42, 1)).reshape(6, 7).flip(0, 1),
        function(x[1:4, 2:6].clone()),
    )
    if not all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in ((alone, y), (part, y[1:4, 2:6]))):
        raise ValueError(f"{name} is not elementwise: φ of a part of a tensor is not that part of φ")
    if bool((y.float().double() == y).all()) and len(y.unique()) > _FEW:
        raise ValueError(
            f"{name} keeps no more than the digits of float32 of a number in float64, {_IN_ITS_DTYPE}"
        )
    if bool((y == y[0, 0]).all()):
        raise ValueError(f"{name} is constant, and no activation; give a function of what goes in")


@torch.no_grad()
def _check_prime(phi: OfFunction) -> None:
    x, step = torch.linspace(-6.9137, 7.3, 143, **_F64), 1e-5
    try:
        slope = phi.prime(x)
    except RuntimeError as error:
        raise ValueError(f"{_UNFOLLOWED.format(phi)}: {error}; {_TORCH_ALONE}") from None
    if not isinstance(slope, Tensor) or slope.shape != x.shape or slope.dtype != x.dtype:
        raise ValueError(f"the derivative of {phi} must keep the shape and dtype of what it is given")
    if phi.written is not None:
        try:
            exact = derivative(phi.function, 1, x)
        except RuntimeError:
            exact = slope
        if bool(((slope - exact).abs() > _WRITTEN * (1 + exact.abs())).any()) and bool(exact.any()):
            raise ValueError(
                f"the derivative given with {phi} is not that of autograd; mend it or leave it out"
            )
    near = (phi(x + step) - phi(x - step)) / (2 * step)
    bent = (
        phi(x + step) + phi(x - step) - 2 * phi(x)
    ).abs() / step  # large beside kinks, where all is allowed
    wrong = ~((slope - near).abs() <= _DERIVED * (1 + near.abs()) + bent)
    if bool(wrong.any()):
        if phi.written is None and not _followed(phi.function, x):
            raise ValueError(f"{_UNFOLLOWED.format(phi)}, to which it is constant; {_TORCH_ALONE}")
        fine = (phi(x + _FINE) - phi(x - _FINE)) / (2 * _FINE)  # of steps, where float32 is used within
        if bool((fine - near).abs().median() > _DERIVED):
            raise ValueError(f"{phi} loses digits of a number in float64, {_IN_ITS_DTYPE}")
        raise ValueError(
            f"the derivative of {phi} at {float(x[wrong][0]):.4g} is {float(slope[wrong][0]):.4g}, and by "
            f"its differences {float(near[wrong][0]):.4g}; give derivative=, a function that is right"
        )


def _followed(function: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether autograd goes through a function."""
    with torch.inference_mode(False), torch.enable_grad():
        return function(x.clone().requires_grad_()).requires_grad


@torch.no_grad()
def _homogeneous(function: Callable[[Tensor], Tensor]) -> bool:
    x = _points()
    y, ends = function(x), function(torch.tensor([-1.0, 1.0], **_F64))
    lines = torch.where(x < 0, -ends[0], ends[1]) * x
    return bool(((y - lines).abs() <= _SAME * x.abs() * ends.abs().max()).all())


@torch.no_grad()
def _odd(function: Callable[[Tensor], Tensor]) -> bool:
    x = _points()
    y = function(x)
    return bool(((function(-x) + y).abs() <= _SAME * y.abs()).all()) and bool(y.any())
