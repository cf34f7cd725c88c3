"""How what users write is asked about itself: once, and again when it has been changed.

What it says wrongly is refused in a sentence; what goes wrong by itself is left to its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from resnet_sde.activations import OfFunction
from resnet_sde.streams import Stream

CLOSE = 1e-6  # of numbers that are to be the same, as a share of the largest
_SMALL = 2**20  # bytes of an array that is compared whole
_KNOWN = ("resnet_sde", "abc", "torch")  # whose classes are taken as they are


def ours(thing: object) -> bool:
    """Whether a thing, with the parts it is made of, is of the package alone, and is not asked."""
    own = type(thing).__module__.partition(".")[0] == "resnet_sde" and not isinstance(thing, OfFunction)
    return own and all(map(ours, getattr(thing, "parts", ())))


class Broken(ValueError):
    """What is refused, in contrast to what fails by itself."""


def once(check: Callable[..., None], *what: object) -> None:
    """Run a check, unless it has been run on this before; what goes wrong by itself is not its business."""
    try:
        kept = what, _state(what[0])
        try:
            hash(kept)
        except TypeError:
            check(*what)
        else:
            _passed(check, *kept)
    except Broken as error:
        raise ValueError(str(error)) from None
    except Exception:
        return


@lru_cache(maxsize=1024)
def _passed(check: Callable[..., None], what: tuple[object, ...], state: object) -> None:
    """Run a check; what passed is known until its state is another."""
    check(*what)


def _state(thing: Any, depth: int = 0) -> object:
    """What an object and its own classes hold now: it may be changed after it was checked."""
    if isinstance(thing, Tensor):
        return id(thing), thing._version
    if isinstance(thing, (bool, int, float, str, type(None))) or depth > 4:
        return thing if not isinstance(thing, float) else thing.hex()
    if isinstance(thing, (list, tuple)):
        return tuple(_state(value, depth + 1) for value in thing)
    if isinstance(thing, dict):
        return tuple((str(name), _state(value, depth + 1)) for name, value in thing.items())
    if type(thing).__name__ == "ndarray":
        return id(thing), thing.tobytes() if thing.nbytes < _SMALL else thing.shape
    if not hasattr(thing, "__dict__") or isinstance(thing, type) or callable(getattr(thing, "__get__", None)):
        return id(thing)
    classes = [
        vars(kind) for kind in type(thing).__mro__[:-1] if kind.__module__.partition(".")[0] not in _KNOWN
    ]
    own = tuple(tuple((name, id(value)) for name, value in held.items()) for held in classes)
    return id(thing) if not vars(thing) and not own else (own, _state(vars(thing), depth + 1))


def claim(thing: Any, name: str) -> bool:
    """What a thing says of itself under a name. Raises Broken unless that is True or False."""
    value = getattr(thing, name)
    if type(value).__name__ not in ("bool", "bool_"):
        raise Broken(f"{name} of {type(thing).__name__} must be True or False, got {value!r}")
    return bool(value)


def close(found: Tensor, expected: Tensor, like: Tensor | None = None) -> bool:
    """Where both are numbers, to a share of the largest of them, or of `like`."""
    known = ~(found.isnan() | expected.isnan())
    a, b = found[known], expected[known]
    sizes = [t[t.isfinite()].abs().max() for t in (b, like) if t is not None and bool(t.isfinite().any())]
    size = max(sizes, default=b.new_zeros(()))
    return bool(((a == b) | ((a - b).abs() <= CLOSE * size)).all())


def check_result(what: str, found: object, like: Tensor) -> Tensor:
    """What was found, detached. Raises Broken unless it is a tensor of the shape and dtype of another."""
    if not isinstance(found, Tensor):
        raise Broken(f"{what} returned {type(found).__name__}; it must return a tensor")
    if found.shape != like.shape or found.dtype != like.dtype:
        raise Broken(
            f"{what} returned shape {tuple(found.shape)} and {found.dtype}; it must return shape "
            f"{tuple(like.shape)} and {like.dtype}"
        )
    return found.detach()


def numbers(source: Stream, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return source.normal_(torch.empty(*shape, dtype=torch.float64))


def gradient_of(f: Callable[[Tensor], Tensor], x: Tensor, p: Tensor) -> Tensor | None:
    """(∂f/∂x)ᵀ p; None where autograd cannot follow."""
    start = x.clone().requires_grad_()
    try:
        with torch.enable_grad():
            (found,) = torch.autograd.grad(f(start), start, p, allow_unused=True)
    except RuntimeError:
        return None
    return torch.zeros_like(x) if found is None else found
