"""What a block, an activation or a law of one's own says of itself, checked before it is relied on.

Each is asked once, about a few random numbers of a stream of its own; those of the package are not asked.
What fails here for want of a formula, or because the numbers are on another device, is left to its first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from resnet_sde.activations import Activation, OfFunction
from resnet_sde.blocks import Block, Layer, NotKnown
from resnet_sde.contracts.asked import Broken, check_result, claim, close, gradient_of, numbers, once, ours
from resnet_sde.contracts.laws import check_law
from resnet_sde.contracts.theory import states_moments, wrong_moment, wrong_recursion, wrong_scaling
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Dense, Matrix
from resnet_sde.streams import stream

_COMPANY = 2**24  # numbers in the matrices of networks that are looked at together
WIDEST = 512  # of the states that a block is asked about
# Of states, beside 1: what holds for small ones may fail for large.
SCALES = (2.0**-20, 0.25, 2.0**10, 2.0**20)
_SINGLE = 1e-3  # of the largest of some numbers: how far float32 may be from float64
_STEP, _ROUGHLY = 1e-5, 1e-4  # of differences, and how far a slope may be off by them
_SMALL_STEPS = 1e-6, 1e-7
_STRONGEST = 25.0  # times its strength: what the layer loop allows for


def narrowed(block: Block, width: int, widest: int = WIDEST) -> int:
    """The width at which a block of this width is asked: no larger, but made of whole positions."""
    return min(width, max(1, widest // block.sharing) * block.sharing)


def check_model_parts(block: object, law: object, width: int) -> None:
    """Check the block, its activation and the law of a model.

    Raises:
        ValueError: one of them is something else, or is not what it says of itself.
    """
    if not isinstance(block, Block):
        raise ValueError(f"block must be a Block, got {block!r}; give for example SingleLayer(RELU)")
    if not isinstance(law, PathLaw):
        raise ValueError(f"law must be a law of the weights, got {law!r}; give for example WhiteNoise()")
    check_law(law)
    check_block(block, width)


def check_block(block: Block, width: int) -> None:
    """Check a block of one's own and its activation. Raises ValueError as `check_model_parts`."""
    activation = getattr(block, "activation", None)
    if isinstance(activation, Activation) and not ours(activation):
        once(try_activation, activation)
        check_moments(activation)
    if not ours(block):
        once(try_branch, block, width)
    elif block.sharing > 1:
        block.shapes(width)  # says so where they are not made of its positions


def check_adjoint(block: Block, width: int) -> None:
    """Check the way back through a block of one's own. Raises ValueError as `check_model_parts`."""
    if not ours(block):
        once(try_adjoint, block, width)


def check_company(block: Block, width: int, networks: int, *, gradients: bool = False) -> None:
    """Check that a block of one's own treats networks apart in an ensemble of this size.

    Not seen are networks whose matrices have more than 2²⁴ numbers together, beyond the first of them.

    Args:
        block: the block; one of the package is asked if its activation is none.
        width: of the states.
        networks: in the ensemble.
        gradients: whether to ask about the way back too.

    Raises:
        ValueError: what is said of a network depends on those beside it.
    """
    activation = getattr(block, "activation", None)
    if networks > 1 and not (ours(block) and (activation is None or ours(activation))):
        once(try_company, block, narrowed(block, width), networks, gradients)


@contextmanager
def unchanged(block: Block, width: int) -> Iterator[None]:
    """Refuse a block of one's own that is another after a pass through layers than before it.

    What changes between passes is not seen: it may have been set.

    Raises:
        ValueError: asked about the same states and matrices, it says something else.
    """
    before = _answer(block, width)
    yield
    if before is not None and (after := _answer(block, width)) is not None and not torch.equal(before, after):
        raise ValueError(
            f"block {type(block).__name__} says something else of the same states after a pass than before; "
            "keep no count of its calls in it, or in its activation"
        )


@torch.no_grad()
def _answer(block: Block, width: int) -> Tensor | None:
    """What a block says of one network; None of those of the package, and where it does not work."""
    activation = getattr(block, "activation", None)
    if ours(block) and (activation is None or ours(activation)):
        return None
    try:
        return block.branch(*probe(block, narrowed(block, width), 1)).clone().nan_to_num()
    except Exception:
        return None


def check_critical_beta(block: Block, law: PathLaw, width: int, beta: object) -> None:
    """Check what a block of one's own says of its scaling in depth. Raises ValueError where it is another."""
    if not ours(block):
        once(_check_critical_beta, block, law, narrowed(block, width, 16), beta)


def check_moments(activation: Activation) -> None:
    """Check the Gaussian moments that an activation of one's own states, if it does. Raises ValueError."""
    if not ours(activation) and states_moments(activation):
        once(_check_theory, activation, wrong_moment)


def check_recursion(block: Block) -> None:
    """Check what a block of one's own says of infinite width. Raises ValueError as `check_model_parts`."""
    if not ours(block):
        once(_check_theory, block, wrong_recursion)


def _check_theory(thing: Any, wrong: Callable[[Any], str | None]) -> None:
    if (sentence := wrong(thing)) is not None:
        raise Broken(sentence)


@contextmanager
def _no_chance(name: str) -> Iterator[None]:
    """Refuse what draws from torch's global random state, which no seed of a verb decides."""
    before = torch.get_rng_state()
    yield
    if not torch.equal(before, torch.get_rng_state()):
        raise Broken(f"{name} draws random numbers, which no seed decides; give it none, or a fixed mask")


@torch.no_grad()
def try_activation(phi: Activation) -> None:
    """Raise Broken where an activation is not what it says of itself, be it of the package or not."""
    name = repr(phi) if isinstance(phi, OfFunction) else type(phi).__name__
    x = 2 * numbers(stream(0, "contract", "activation"), 6, 10)
    before = x.clone()
    with _no_chance(f"activation {name}"):
        phi(x)
    for dtype in (torch.float32, torch.float64):
        y = check_result(f"activation {name}", phi(x.to(dtype)), x.to(dtype))
    _unwritten(f"activation {name}", (x, before))
    if not close(phi(x[1:4, 2:7]), y[1:4, 2:7]):
        raise Broken(f"activation {name} is not elementwise: φ of a part of a tensor is not that part of φ")
    _same_in_single(f"activation {name}", phi, x)
    if claim(phi, "homogeneous") and not all(close(phi(c * x), c * y) for c in (2.0, *SCALES)):
        raise Broken(f"activation {name} says that it is homogeneous, and φ(2x) is not 2 φ(x)")
    if claim(phi, "odd") and not all(close(phi(-c * x), -phi(c * x)) for c in (1.0, *SCALES)):
        raise Broken(f"activation {name} says that it is odd, and φ(−x) is not −φ(x)")
    prime = check_result(f"prime of activation {name}", phi.prime(x), x)
    for c in (1.0, *SCALES):
        slope = gradient_of(phi, c * x, torch.ones_like(x))
        if slope is not None and not close(phi.prime(c * x), slope, prime):
            raise Broken(f"prime of activation {name} is not its derivative as autograd finds it")
    if gradient_of(phi, x, torch.ones_like(x)) is None:  # autograd cannot follow it
        slope = (phi(x + _STEP) - phi(x - _STEP)) / (2 * _STEP)
        if not bool(((prime - slope).abs() <= _ROUGHLY * (1 + slope.abs())).all()):
            raise Broken(f"prime of activation {name} is not the derivative of φ, by its differences")
    fine = torch.linspace(-12.0, 12.0, 4802, dtype=torch.float64)[None]  # without 0, where kinks are
    slope = gradient_of(phi, fine, torch.ones_like(fine))
    if slope is not None and not close(phi.prime(fine), slope, prime):
        raise Broken(f"prime of activation {name} is not its derivative as autograd finds it")
    _same_in_single(f"prime of activation {name}", phi.prime, x)
    back = check_result(f"pullback of activation {name}", phi.pullback(x, y), x)
    if not close(back, prime * y):
        raise Broken(f"pullback of activation {name} is not φ'(x) p")
    _unwritten(f"activation {name}", (x, before))


def _same_in_single(what: str, f: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Refuse what is another function in float32 than in float64."""
    single, double = f(x.float()).double(), f(x.float().double())
    size = double[double.isfinite()].abs().max() if bool(double.isfinite().any()) else 0.0
    if bool(((single - double).abs() > _SINGLE * size).any()):
        raise Broken(f"{what} gives other numbers in float32 than in float64; let it do the same in both")


def _asked(check: Callable[[Block, int], None]) -> Callable[[Block, int], None]:
    """Refuse a block that fails when it is asked: what is not tried may be false.

    A block with numbers of its own may know one width only, and one device.
    """

    def asked(block: Block, width: int) -> None:
        try:
            check(block, narrowed(block, width))
        except (Broken, NotKnown):
            raise
        except Exception as error:
            if width > WIDEST:
                return check(block, width)
            if "same device" in str(error):
                raise
            words = " ".join(str(error).split())[:300]
            if isinstance(error, ValueError):
                raise Broken(f"block {type(block).__name__}: {words}") from error
            raise Broken(
                f"block {type(block).__name__} fails on states of shape (2, 3, {width}) in float64, by "
                f"{type(error).__name__}: {words}; let it take states and matrices of any number of networks "
                "and inputs, in float32 and float64"
            ) from error
        return None

    return asked


@_asked
@torch.no_grad()
def try_branch(block: Block, width: int) -> None:
    """Raise Broken where a branch is not what a block says of it; this and the next two ask ours too."""
    name, (h, layer) = f"block {type(block).__name__}", probe(block, width)
    inside = [(x, x.clone()) for x in (h, *_entries(layer))]
    with _no_chance(name):
        branch = _branch(name, block, h, layer).clone()
    _unwritten(name, *inside)
    if not close(_branch(name, block, h, layer), branch):
        raise Broken(
            f"{name} says something else of the same state and matrices when it is asked again; let its "
            "branch depend on them alone, without chance and without a count of its calls"
        )
    more, many = probe(block, width, 4)
    of_all = _branch(name, block, more, many)
    for i in range(len(more)):
        one = slice(i, i + 1)
        alone = many.changed(partial(_only, part=one))
        if close(_branch(name, block, more[i : i + 1].clone(), alone), of_all[i : i + 1]):
            continue
        raise Broken(f"{name} mixes networks: alone, a network has another branch")
    if claim(block, "homogeneous"):
        powers = torch.tensor([-30.0, -2.0, 0.0, 1.0, 3.0, 30.0], dtype=h.dtype)
        scale = torch.exp2(powers[: h.shape[0] * h.shape[1]]).view(*h.shape[:2], 1)
        if not close(_branch(name, block, scale * h, layer, scale) / scale, branch):
            raise Broken(
                f"{name} says that it is homogeneous, and its branch at 2h is not twice that at h; set "
                "homogeneous = False"
            )
        _check_strength(name, block, _branch(name, block, h, layer, torch.zeros_like(scale)), h)
    _same_in_single(name, lambda x: _branch(name, block, x, _cast(layer, x.dtype)), h)


@torch.no_grad()
def try_company(block: Block, width: int, networks: int, gradients: bool) -> None:
    """Raise Broken where a network depends on those beside it."""
    name, each = f"block {type(block).__name__}", sum(a * b for a, b in block.shapes(width).values())
    networks = max(2, min(networks, _COMPANY // each))
    h, layer = probe(block, width, networks)
    p = numbers(stream(0, "contract", "company", width), *h.shape)

    def found(part: slice) -> tuple[Tensor, Tensor | None]:
        some = layer.changed(partial(_only, part=part))
        branch = block.branch(h[part].clone(), some).clone()
        return branch, way_back(block, h[part].clone(), p[part].clone(), some) if gradients else None

    of_all = found(slice(networks))
    # The second half: others come first there, and whoever is looked up by place has another place.
    for part in (slice(networks // 2, networks), slice(networks - 1, networks)):
        for what, alone, all_ in zip(("branch", "gradient"), found(part), of_all, strict=True):
            if alone is not None and all_ is not None and not close(alone, all_[part]):
                raise Broken(
                    f"{name} mixes networks: among {networks}, a network has another {what} than among fewer"
                )


def _check_critical_beta(block: Block, law: PathLaw, width: int, beta: object) -> None:
    if (sentence := wrong_scaling(block, law, width, beta)) is not None:
        raise Broken(sentence)


def _check_strength(name: str, block: Block, found: Tensor, start: Tensor) -> None:
    if block.strength is None:
        return
    if not bool((found.norm(dim=-1) <= _STRONGEST * block.strength * start.norm(dim=-1)).all()):
        raise Broken(
            f"{name} makes a vector more than {_STRONGEST:g} times longer than strength {block.strength:g} "
            "says, by which states are kept in the range of their dtype"
        )


@_asked
@torch.no_grad()
def try_adjoint(block: Block, width: int) -> None:
    """Raise Broken where an adjoint is not that of the branch."""
    name, (h, layer) = f"adjoint of block {type(block).__name__}", probe(block, width)
    p = numbers(stream(0, "contract", "adjoint", width), *h.shape)
    inside = [(x, x.clone()) for x in (h, p, *_entries(layer))]
    found = check_result(name, way_back(block, h, p, layer), h)
    _unwritten(name, *inside)
    for c in (1.0, *SCALES):
        expected = gradient_of(lambda start: block.branch(start, layer), c * h, p)
        back = way_back(block, c * h, p, layer)
        if expected is not None and not close(back, expected, found):
            raise Broken(f"{name} is not (∂ V g / ∂h)ᵀ p as autograd finds it")
    if type(block).adjoint is Block.adjoint and not _is_derivative(block, h, p, layer, found):
        raise Broken(
            f"{name} by autograd is not the derivative of its branch, by differences; leave out what hides "
            "numbers from autograd, as detach and item do, or write adjoint(h, p, layer)"
        )
    scale = torch.exp2(torch.arange(h.shape[0] * h.shape[1], dtype=h.dtype) - 2).view(*h.shape[:2], 1)
    if not close(way_back(block, h, scale * p, layer) / scale, found):
        raise Broken(f"{name} mixes inputs, whose gradients are carried at scales of their own")
    _check_strength(name, block, found, p)

    def back_at(x: Tensor) -> Tensor:
        return way_back(block, x, p.float().to(x.dtype), _cast(layer, x.dtype))

    _same_in_single(name, back_at, h)


def way_back(block: Block, h: Tensor, p: Tensor, layer: Layer) -> Tensor:
    """(∂ V g / ∂h)ᵀ p as the layer loop asks for it: of the parts of a block too, not of its autograd."""
    return block._adjoint_at(block._branch_and_pre(h, layer)[1], p, layer)


def probe(block: Block, width: int, networks: int = 2) -> tuple[Tensor, Layer]:
    """Random states of some networks with three inputs, and a layer."""
    shapes = block.shapes(width)
    if (
        not isinstance(shapes, dict)
        or not shapes
        or not all(map(_named_shape, *zip(*shapes.items(), strict=True)))
    ):
        raise Broken(
            f"shapes of block {type(block).__name__} must map the name of each matrix to (in, out), got "
            f"{shapes!r}; give for example {{'outer': (width, width)}}"
        )
    source = stream(0, "contract", "block", width)
    drawn = {name: Dense(numbers(source, networks, *shape)) for name, shape in shapes.items()}
    return numbers(source, networks, 3, width), Layer(drawn)


def _named_shape(name: object, shape: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(shape, tuple)
        and len(shape) == 2
        and all(isinstance(size, int) and size > 0 for size in shape)
    )


def _only(matrix: Matrix, part: slice) -> Matrix:
    """That of some networks."""
    return Dense(matrix.entries[part]) if isinstance(matrix, Dense) else matrix


def _cast(layer: Layer, dtype: torch.dtype) -> Layer:
    """The same matrices in another dtype, and float32 numbers in either."""

    def cast(matrix: Matrix) -> Matrix:
        return Dense(matrix.entries.float().to(dtype)) if isinstance(matrix, Dense) else matrix

    return layer.changed(cast)


def _entries(layer: Layer) -> list[Tensor]:
    return [m.entries for m in layer.matrices.values() if isinstance(m, Dense)]


def _branch(name: str, block: Block, h: Tensor, layer: Layer, unit: Tensor | None = None) -> Tensor:
    return check_result(f"branch of {name}", block.branch(h, replace(layer, unit=unit)), h)


def _is_derivative(block: Block, h: Tensor, p: Tensor, layer: Layer, back: Tensor) -> bool:
    """Whether ⟨p, branch⟩ changes along a random direction as `back` says; one step may meet a kink."""
    along = numbers(stream(0, "contract", "derivative", h.shape[-1]), *h.shape)
    claim, size = float((back * along).sum()), float(back.norm())
    for step in _SMALL_STEPS:
        ahead, behind = (block.branch(h + side * along, layer) for side in (step, -step))
        slope = float((p * (ahead - behind)).sum()) / (2 * step)
        if not math.isfinite(slope) or abs(slope - claim) <= _ROUGHLY * size:
            return True
    return False


def _unwritten(name: str, *pairs: tuple[Tensor, Tensor]) -> None:
    if not all(torch.equal(now, before) for now, before in pairs):
        raise Broken(f"{name} writes into what it is given; let it work on a copy")
