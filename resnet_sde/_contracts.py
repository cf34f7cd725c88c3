"""What a block, an activation or a law of one's own says of itself, checked before it is relied on.

Each is asked once, about a few random numbers of a stream of its own; those of the package are not asked.
What fails here for want of a formula, or because the numbers are on another device, is left to its first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from resnet_sde._checks import states
from resnet_sde._random import Stream, stream
from resnet_sde._stated import states_moments, wrong_moment, wrong_recursion
from resnet_sde.activations import Activation
from resnet_sde.blocks import Block, Layer
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Deferred, Dense, Identity, Matrix, NotDrawn
from resnet_sde.paths import Path

_WIDEST = 512  # of the states that a block is asked about
_CLOSE = 1e-6
# Of states, beside 1: what holds for small ones may fail for large.
_SCALES = (2.0**-20, 0.25, 2.0**10, 2.0**20)
_STRONGEST = 25.0  # times its strength: what the layer loop allows for
_SIGMAS = 7.0  # of an estimated covariance: a false alarm of 3e-12
_REPEATED = 0.9  # correlation of 64 numbers or more, which independent ones have in 1e-20 of the cases
_SMALL = 2**20  # bytes of an array that is compared whole
_KNOWN = ("resnet_sde", "abc", "torch")  # whose classes are taken as they are
_ROUGHLY = 0.25  # of an exponent: between 256 and 1024 layers a sum need not grow as it does in the end


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
        check_moments(activation)
    if not _ours(block):
        _once(_check_branch, block, min(width, _WIDEST))


def check_adjoint(block: Block, width: int) -> None:
    """Check the way back through a block of one's own. Raises ValueError as `check_model_parts`."""
    if not _ours(block):
        _once(_check_adjoint, block, min(width, _WIDEST))


def check_moments(activation: Activation) -> None:
    """Check the Gaussian moments that an activation of one's own states, if it does. Raises ValueError."""
    if not _ours(activation) and states_moments(activation):
        _once(_check_theory, activation, wrong_moment)


def check_recursion(block: Block) -> None:
    """Check what a block of one's own says of infinite width. Raises ValueError as `check_model_parts`."""
    if not _ours(block):
        _once(_check_theory, block, wrong_recursion)


def looks_once(block: Block, width: int, *, gradients: bool) -> bool:
    """Whether a matrix that is revealed where it is looked at will do: one look forward, and one back."""
    if _ours(block):
        return True
    what = block, min(width, _WIDEST), gradients
    try:
        return _looks_once(*what)
    except TypeError:  # of a hash
        return bool(_looks_once.__wrapped__(*what))


@lru_cache(maxsize=256)
@torch.no_grad()
def _looks_once(block: Block, width: int, gradients: bool) -> bool:
    source, (h, _) = stream(0, "contract", "looks"), _probe(block, width)
    drawn: dict[str, Matrix] = {name: Deferred(source, out) for name, (_, out) in block.shapes(width).items()}
    layer = Layer(outer=drawn.get("outer", Identity()), inner=drawn.get("inner"))
    try:
        pre = block.branch(h, layer)[1]
        if gradients:
            block.adjoint(pre, torch.ones_like(h), layer)
    except NotDrawn:
        return False
    except Exception:  # what goes wrong by itself is left to its first use
        return True
    return True


def _ours(thing: object) -> bool:
    return type(thing).__module__.partition(".")[0] == "resnet_sde"


class _Broken(ValueError):
    """What is refused, in contrast to what fails by itself."""


def _once(check: Callable[..., None], *what: object) -> None:
    """Run a check, unless it has been run on this before; what goes wrong by itself is not its business."""
    try:
        kept = what, _state(what[0])
        try:
            hash(kept)
        except TypeError:
            check(*what)
        else:
            _passed(check, *kept)
    except _Broken as error:
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


def _check_theory(thing: Any, wrong: Callable[[Any], str | None]) -> None:
    if (sentence := wrong(thing)) is not None:
        raise _Broken(sentence)


def _claim(thing: Any, name: str) -> bool:
    value = getattr(thing, name)
    if type(value).__name__ not in ("bool", "bool_"):
        raise _Broken(f"{name} of {type(thing).__name__} must be True or False, got {value!r}")
    return bool(value)


def _close(found: Tensor, expected: Tensor, like: Tensor | None = None) -> bool:
    """Where both are numbers, to a share of the largest of them, or of `like`."""
    known = ~(found.isnan() | expected.isnan())
    a, b = found[known], expected[known]
    sizes = [t[t.isfinite()].abs().max() for t in (b, like) if t is not None and bool(t.isfinite().any())]
    size = max(sizes, default=b.new_zeros(()))
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


@contextmanager
def _no_chance(name: str) -> Iterator[None]:
    """Refuse what draws from torch's global random state, which no seed of a verb decides."""
    before = torch.get_rng_state()
    yield
    if not torch.equal(before, torch.get_rng_state()):
        raise _Broken(f"{name} draws random numbers, which no seed decides; give it none, or a fixed mask")


def _numbers(source: Stream, *shape: int) -> Tensor:
    return source.normal_(torch.empty(*shape, dtype=torch.float64))


@torch.no_grad()
def _check_activation(phi: Activation) -> None:
    name = type(phi).__name__
    x = 2 * _numbers(stream(0, "contract", "activation"), 6, 10)
    before = x.clone()
    with _no_chance(f"activation {name}"):
        phi(x)
    for dtype in (torch.float32, torch.float64):
        y = _check_result(f"activation {name}", phi(x.to(dtype)), x.to(dtype))
    _unwritten(f"activation {name}", (x, before))
    if not _close(phi(x[1:4, 2:7]), y[1:4, 2:7]):
        raise _Broken(f"activation {name} is not elementwise: φ of a part of a tensor is not that part of φ")
    if _claim(phi, "homogeneous") and not all(_close(phi(c * x), c * y) for c in (2.0, *_SCALES)):
        raise _Broken(f"activation {name} says that it is homogeneous, and φ(2x) is not 2 φ(x)")
    if _claim(phi, "odd") and not all(_close(phi(-c * x), -phi(c * x)) for c in (1.0, *_SCALES)):
        raise _Broken(f"activation {name} says that it is odd, and φ(−x) is not −φ(x)")
    prime = _check_result(f"prime of activation {name}", phi.prime(x), x)
    for c in (1.0, *_SCALES):
        slope = _gradient(phi, c * x, torch.ones_like(x))
        if slope is not None and not _close(phi.prime(c * x), slope, prime):
            raise _Broken(f"prime of activation {name} is not its derivative as autograd finds it")
    back = _check_result(f"pullback of activation {name}", phi.pullback(x, y), x)
    if not _close(back, prime * y):
        raise _Broken(f"pullback of activation {name} is not φ'(x) p")
    _unwritten(f"activation {name}", (x, before))


@torch.no_grad()
def _check_branch(block: Block, width: int) -> None:
    name, (h, layer) = f"block {type(block).__name__}", _probe(block, width)
    inside = [(x, x.clone()) for x in (h, *_entries(layer))]
    with _no_chance(name):
        branch = _branch(name, block, h, layer)
    _unwritten(name, *inside)
    more, many = _probe(block, width, 4)
    of_all = _branch(name, block, more, many)
    for i in range(len(more)):
        alone = Layer(_only(many.outer, i), None if many.inner is None else _only(many.inner, i))
        if _close(_branch(name, block, more[i : i + 1].clone(), alone), of_all[i : i + 1]):
            continue
        raise _Broken(f"{name} mixes networks: alone, a network has another branch")
    if _claim(block, "homogeneous"):
        powers = torch.tensor([-30.0, -2.0, 0.0, 1.0, 3.0, 30.0], dtype=h.dtype)
        scale = torch.exp2(powers[: h.shape[0] * h.shape[1]]).view(*h.shape[:2], 1)
        if not _close(_branch(name, block, scale * h, layer, scale) / scale, branch):
            raise _Broken(
                f"{name} says that it is homogeneous, and its branch at 2h is not twice that at h; set "
                "homogeneous = False"
            )
        _check_strength(name, block, _branch(name, block, h, layer, torch.zeros_like(scale)), h)


def _check_strength(name: str, block: Block, found: Tensor, start: Tensor) -> None:
    if not bool((found.norm(dim=-1) <= _STRONGEST * block.strength * start.norm(dim=-1)).all()):
        raise _Broken(
            f"{name} makes a vector more than {_STRONGEST:g} times longer than strength {block.strength:g} "
            "says, by which states are kept in the range of their dtype"
        )


@torch.no_grad()
def _check_adjoint(block: Block, width: int) -> None:
    name, (h, layer) = f"adjoint of block {type(block).__name__}", _probe(block, width)
    pre = block.branch(h, layer)[1]
    p = _numbers(stream(0, "contract", "adjoint", width), *h.shape)
    inside = [(x, x.clone()) for x in (h, p, *_entries(layer), *([pre] if isinstance(pre, Tensor) else []))]
    found = _check_result(name, block.adjoint(pre, p, layer), h)
    _unwritten(name, *inside)
    for c in (1.0, *_SCALES):
        expected = _gradient(lambda start: block.branch(start, layer)[0], c * h, p)
        back = block.adjoint(block.branch(c * h, layer)[1], p, layer)
        if expected is not None and not _close(back, expected, found):
            raise _Broken(f"{name} is not (∂ V g / ∂h)ᵀ p as autograd finds it")
    scale = torch.exp2(torch.arange(h.shape[0] * h.shape[1], dtype=h.dtype) - 2).view(*h.shape[:2], 1)
    if not _close(block.adjoint(pre, scale * p, layer) / scale, found):
        raise _Broken(f"{name} mixes inputs, whose gradients are carried at scales of their own")
    _check_strength(name, block, found, p)


def _check_law(law: PathLaw) -> None:
    name, depth = f"law {type(law).__name__}", 64

    def drawn(dtype: torch.dtype, shape: tuple[int, int, int], *key: int) -> Tensor:
        path = law.path(depth, shape, generator=stream(0, "contract", "law", *key), dtype=dtype)
        if not isinstance(path, Path):
            raise _Broken(f"{name} drew {type(path).__name__}; it must draw a Path, for example GridPath")
        like = torch.empty(depth, *shape, dtype=dtype)
        return _check_result(f"a path of {name}", path.weights(depth), like).clone()

    drawn(torch.float32, (2, 3, 4))
    square = 64, 14, 14  # networks, and a matrix
    weights = drawn(torch.float64, square)
    _check_apart(name, weights[0].flatten(1))
    _check_moments(name, law, weights)
    again, other = drawn(torch.float64, square), drawn(torch.float64, square, 1)
    if not torch.equal(weights, again) or torch.equal(weights, other):
        raise _Broken(
            f"{name} does not draw from the generator that it is given alone: the same one must give the "
            "same weights, and another one others"
        )
    _check_claims(name, law, weights[0])


def _check_moments(name: str, law: PathLaw, weights: Tensor) -> None:
    depth = len(weights)
    like = torch.empty(depth, depth, dtype=torch.float64)
    expected = _check_result(f"covariance of {name}", law.covariance(depth), like)
    flat = weights.flatten(1)
    count = flat.shape[1]
    products = flat @ flat.T / count
    spread = (flat.square() @ flat.square().T / count - products.square()).clamp(min=0).sqrt()
    mean = flat.mean(1)
    of = (("mean", mean, flat.std(1), torch.zeros_like(mean)), ("covariance", products, spread, expected))
    for what, found, deviation, exact in of:
        if not bool(((found - exact).abs() <= _SIGMAS * deviation / count**0.5 + _CLOSE).all()):
            raise _Broken(f"{name} draws weights whose {what} along depth is not the one that it states")


def _check_apart(name: str, values: Tensor) -> None:
    """Refuse numbers that others repeat, up to a sign; values (network, entry)."""
    for what, rows in (("networks", values), ("entries of a matrix", values.T)):
        units = torch.nn.functional.normalize(rows, dim=1)
        if bool(((units @ units.T).fill_diagonal_(0).abs() > _REPEATED).any()):
            raise _Broken(f"{name} draws the same numbers for different {what}, which must be independent")


def _check_claims(name: str, law: PathLaw, values: Tensor) -> None:
    if _claim(law, "gaussian"):
        error = _SIGMAS * (96 / values.numel()) ** 0.5
        if not abs(float(values.pow(4).mean()) - 3) <= error:
            raise _Broken(f"{name} says that its weights are Gaussian, and their fourth moment is not 3")
    short, long = (law.covariance(depth) for depth in (256, 1024))
    said = states(law, "independent", "covariance", "_draw")  # what is inherited by another law is not said
    if said and _claim(law, "independent") and not torch.equal(short, torch.eye(256, dtype=torch.float64)):
        raise _Broken(
            f"{name} says that its weights are independent along depth, and its covariance is not 1"
        )
    growth = math.log(float(long.sum()) / float(short.sum())) / math.log(16)
    if not abs(growth - law.exponent) <= _ROUGHLY:
        raise _Broken(
            f"{name} says that the sum of L weights grows like L^{law.exponent:g}; by its covariance it "
            f"grows like L^{growth:.2g}"
        )


def _probe(block: Block, width: int, networks: int = 2) -> tuple[Tensor, Layer]:
    """Random states of some networks with three inputs, and a layer."""
    shapes = block.shapes(width)
    known = isinstance(shapes, dict) and shapes and shapes.keys() <= {"outer", "inner"}
    if not known or not all(len(shape) == 2 for shape in shapes.values()):
        raise _Broken(
            f"shapes of block {type(block).__name__} must map outer, inner or both to (in, out), "
            f"got {shapes!r}"
        )
    source = stream(0, "contract", "block", width)
    drawn = {name: Dense(_numbers(source, networks, *shape)) for name, shape in shapes.items()}
    layer = Layer(outer=drawn.get("outer", Identity()), inner=drawn.get("inner"))
    return _numbers(source, networks, 3, width), layer


def _only(matrix: Matrix, network: int) -> Matrix:
    """That of one network."""
    return Dense(matrix.entries[network : network + 1]) if isinstance(matrix, Dense) else matrix


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
