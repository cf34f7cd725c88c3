"""What a block, an activation or a law of one's own says of itself, checked before it is relied on.

Each is asked once, about a few random numbers of a stream of its own; those of the package are not asked.
What fails here for want of a formula, or because the numbers are on another device, is left to its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from resnet_sde._random import Stream, stream
from resnet_sde.activations import Activation
from resnet_sde.blocks import Block, Layer
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Dense, Identity, Matrix
from resnet_sde.paths import Path

_WIDEST = 512  # of the states that a block is asked about
_CLOSE = 1e-6
_SIGMAS = 7.0  # of an estimated covariance: a false alarm of 3e-12


def check_model_parts(block: object, law: object, width: int) -> None:
    """Check the block, its activation and the law of a model.

    Raises:
        ValueError: one of them is something else, or is not what it says of itself.
    """
    if not isinstance(block, Block):
        raise ValueError(f"block must be a Block, got {block!r}; give for example SingleLayer(RELU)")
    if not isinstance(law, PathLaw):
        raise ValueError(f"law must be a law of the weights, got {law!r}; give for example WhiteNoise()")
    if not _ours(law):
        _once(_check_law, law)
    check_block(block, width)


def check_block(block: Block, width: int) -> None:
    """Check a block of one's own and its activation. Raises ValueError as `check_model_parts`."""
    activation = getattr(block, "activation", None)
    if isinstance(activation, Activation) and not _ours(activation):
        _once(_check_activation, activation)
    if not _ours(block):
        _once(_check_branch, block, min(width, _WIDEST))


def check_adjoint(block: Block, width: int) -> None:
    """Check the way back through a block of one's own. Raises ValueError as `check_model_parts`."""
    if not _ours(block):
        _once(_check_adjoint, block, min(width, _WIDEST))


def _ours(thing: object) -> bool:
    return type(thing).__module__.partition(".")[0] == "resnet_sde"


class _Broken(ValueError):
    """What is refused, in contrast to what fails by itself."""


def _once(check: Callable[..., None], *what: object) -> None:
    """Run a check, unless it has been run on this before; what goes wrong by itself is not its business."""
    try:
        try:
            check(*what)
        except TypeError:  # of a hash
            check.__wrapped__(*what)  # type: ignore[attr-defined]
    except _Broken as error:
        raise ValueError(str(error)) from None
    except Exception:
        return


def _claim(thing: Any, name: str) -> bool:
    value = getattr(thing, name)
    if type(value).__name__ not in ("bool", "bool_"):
        raise _Broken(f"{name} of {type(thing).__name__} must be True or False, got {value!r}")
    return bool(value)


def _close(found: Tensor, expected: Tensor) -> bool:
    """Where both are numbers."""
    known = ~(found.isnan() | expected.isnan())
    a, b = found[known], expected[known]
    size = b[b.isfinite()].abs().max() if bool(b.isfinite().any()) else b.new_zeros(())
    return bool(((a == b) | ((a - b).abs() <= _CLOSE * size)).all())


def _check_result(what: str, found: object, like: Tensor) -> Tensor:
    if not isinstance(found, Tensor):
        raise _Broken(f"{what} returned {type(found).__name__}; it must return a tensor")
    if found.shape != like.shape or found.dtype != like.dtype:
        raise _Broken(
            f"{what} returned shape {tuple(found.shape)} and {found.dtype}; it must return shape "
            f"{tuple(like.shape)} and {like.dtype}"
        )
    return found.detach()


def _numbers(source: Stream, *shape: int) -> Tensor:
    return source.normal_(torch.empty(*shape, dtype=torch.float64))


@lru_cache(maxsize=256)
@torch.no_grad()
def _check_activation(phi: Activation) -> None:
    name = type(phi).__name__
    x = 2 * _numbers(stream(0, "contract", "activation"), 6, 10)
    before = x.clone()
    for dtype in (torch.float32, torch.float64):
        y = _check_result(f"activation {name}", phi(x.to(dtype)), x.to(dtype))
    _unwritten(f"activation {name}", (x, before))
    if not _close(phi(x[1:4, 2:7]), y[1:4, 2:7]):
        raise _Broken(f"activation {name} is not elementwise: φ of a part of a tensor is not that part of φ")
    if _claim(phi, "homogeneous") and not all(_close(phi(c * x), c * y) for c in (2.0, 0.25)):
        raise _Broken(f"activation {name} says that it is homogeneous, and φ(2x) is not 2 φ(x)")
    if _claim(phi, "odd") and not _close(phi(-x), -y):
        raise _Broken(f"activation {name} says that it is odd, and φ(−x) is not −φ(x)")
    slope = _gradient(phi, x, torch.ones_like(x))
    prime = _check_result(f"prime of activation {name}", phi.prime(x), x)
    if slope is not None and not _close(prime, slope):
        raise _Broken(f"prime of activation {name} is not its derivative as autograd finds it")
    back = _check_result(f"pullback of activation {name}", phi.pullback(x, y), x)
    if not _close(back, prime * y):
        raise _Broken(f"pullback of activation {name} is not φ'(x) p")
    _unwritten(f"activation {name}", (x, before))


@lru_cache(maxsize=256)
@torch.no_grad()
def _check_branch(block: Block, width: int) -> None:
    name, (h, layer) = f"block {type(block).__name__}", _probe(block, width)
    inside = [(x, x.clone()) for x in (h, *_entries(layer))]
    branch = _branch(name, block, h, layer)
    _unwritten(name, *inside)
    alone = Layer(_first(layer.outer), None if layer.inner is None else _first(layer.inner))
    if not _close(_branch(name, block, h[:1].clone(), alone), branch[:1]):
        raise _Broken(f"{name} mixes networks: alone, a network has another branch")
    if _claim(block, "homogeneous"):
        scale = torch.exp2(torch.arange(h.shape[0] * h.shape[1], dtype=h.dtype) - 2).view(*h.shape[:2], 1)
        if not _close(_branch(name, block, scale * h, layer, scale) / scale, branch):
            raise _Broken(
                f"{name} says that it is homogeneous, and its branch at 2h is not twice that at h; set "
                "homogeneous = False"
            )


@lru_cache(maxsize=256)
@torch.no_grad()
def _check_adjoint(block: Block, width: int) -> None:
    name, (h, layer) = f"adjoint of block {type(block).__name__}", _probe(block, width)
    pre = block.branch(h, layer)[1]
    p = _numbers(stream(0, "contract", "adjoint", width), *h.shape)
    inside = [(x, x.clone()) for x in (h, p, *_entries(layer), *([pre] if isinstance(pre, Tensor) else []))]
    found = _check_result(name, block.adjoint(pre, p, layer), h)
    _unwritten(name, *inside)
    expected = _gradient(lambda start: block.branch(start, layer)[0], h, p)
    if expected is not None and not _close(found, expected):
        raise _Broken(f"{name} is not (∂ V g / ∂h)ᵀ p as autograd finds it")
    scale = torch.exp2(torch.arange(h.shape[0] * h.shape[1], dtype=h.dtype) - 2).view(*h.shape[:2], 1)
    if not _close(block.adjoint(pre, scale * p, layer) / scale, found):
        raise _Broken(f"{name} mixes inputs, whose gradients are carried at scales of their own")


@lru_cache(maxsize=256)
def _check_law(law: PathLaw) -> None:
    name, depth, shape = f"law {type(law).__name__}", 4, (128, 96)
    for dtype in (torch.float32, torch.float64):
        path = law.path(depth, shape, generator=stream(0, "contract", "law"), dtype=dtype)
        if not isinstance(path, Path):
            raise _Broken(f"{name} drew {type(path).__name__}; it must draw a Path, for example GridPath")
        like = torch.empty(depth, *shape, dtype=dtype)
        weights = _check_result(f"a path of {name}", path.weights(depth), like)
    like = torch.empty(depth, depth, dtype=torch.float64)
    expected = _check_result(f"covariance of {name}", law.covariance(depth), like)
    flat = weights.flatten(1)
    products = flat[:, None] * flat
    for what, values, exact in (("mean", flat, torch.zeros(depth)), ("covariance", products, expected)):
        error = _SIGMAS * values.std(-1) / values.shape[-1] ** 0.5 + _CLOSE
        if not bool(((values.mean(-1) - exact).abs() <= error).all()):
            raise _Broken(f"{name} draws weights whose {what} along depth is not the one that it states")


def _probe(block: Block, width: int) -> tuple[Tensor, Layer]:
    """Random states of two networks with three inputs, and a layer."""
    shapes = block.shapes(width)
    known = isinstance(shapes, dict) and shapes and shapes.keys() <= {"outer", "inner"}
    if not known or not all(len(shape) == 2 for shape in shapes.values()):
        raise _Broken(
            f"shapes of block {type(block).__name__} must map outer, inner or both to (in, out), "
            f"got {shapes!r}"
        )
    source = stream(0, "contract", "block", width)
    drawn = {name: Dense(_numbers(source, 2, *shape)) for name, shape in shapes.items()}
    layer = Layer(outer=drawn.get("outer", Identity()), inner=drawn.get("inner"))
    return _numbers(source, 2, 3, width), layer


def _first(matrix: Matrix) -> Matrix:
    """That of the first network."""
    return Dense(matrix.entries[:1]) if isinstance(matrix, Dense) else matrix


def _entries(layer: Layer) -> list[Tensor]:
    return [m.entries for m in (layer.outer, layer.inner) if isinstance(m, Dense)]


def _branch(name: str, block: Block, h: Tensor, layer: Layer, one: Tensor | None = None) -> Tensor:
    found = block.branch(h, layer, one)
    if not isinstance(found, tuple) or len(found) != 2:
        raise _Broken(
            f"branch of {name} returned {type(found).__name__}; it must return V g(h) and pre-activations"
        )
    return _check_result(f"branch of {name}", found[0], h)


def _unwritten(name: str, *pairs: tuple[Tensor, Tensor]) -> None:
    if not all(torch.equal(now, before) for now, before in pairs):
        raise _Broken(f"{name} writes into what it is given; let it work on a copy")


def _gradient(f: Callable[[Tensor], Tensor], x: Tensor, p: Tensor) -> Tensor | None:
    """(∂f/∂x)ᵀ p; None where autograd cannot follow."""
    start = x.clone().requires_grad_()
    try:
        with torch.enable_grad():
            (found,) = torch.autograd.grad(f(start), start, p, allow_unused=True)
    except RuntimeError:
        return None
    return torch.zeros_like(x) if found is None else found
