"""What activations and blocks of one's own say of infinite width, beside what their functions give.

Moments are computed again by quadrature, and the recursion of a block on wide random layers. Each is asked
once, at a few states; what it has no formula for is left to its first use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from resnet_sde.activations import Activation, ByQuadrature
from resnet_sde.blocks import Block, Layer, NotKnown
from resnet_sde.checks import states
from resnet_sde.laws import PathLaw
from resnet_sde.matrices import Deferred, Dense, NotDrawn
from resnet_sde.streams import Stream, stream

_CLOSE = 1e-3  # of a moment, relative to the size of what it is the mean of
_UNRESOLVED = 4.0  # times the difference of two grids: what quadrature may miss at kinks and jumps
_SLOWEST = 1.25  # least ratio of successive differences of grids of half the step
_SIGMAS = 7.0  # of the mean over networks, by their spread: a false alarm below 1e-9
_FINITE_WIDTH = 8.0  # over the width: how far a mean over finite networks may be off
_DEFERRED, _WHOLE = (
    (1024, 192),
    (128, 64),
)  # width and networks, of matrices revealed where they are looked at
_ROUNDED = 1e-10  # of the square of a slope over a length: less may be rounding of it
_SUMMED = 32, 128, 512  # layers whose branches are summed
_ROUGHLY = 0.2  # of an exponent, which shows at few layers only roughly; some ten times its random error
_MEAN_SQUARES, _GAP = (0.4, 2.5), 0.5  # of the two states that a block is asked about
_F64: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}


class _Mean(NamedTuple):
    """A mean by quadrature, how far that on a grid of twice the step is from it, and its scale."""

    found: float
    unresolved: float
    size: float
    below: bool = False  # whether what was found is a bound from below however little is resolved

    def refutes(self, claim: float) -> bool:
        if self.below and claim < self.found - _CLOSE * self.size:
            return True
        allowed = _CLOSE * self.size + _UNRESOLVED * self.unresolved
        return math.isfinite(allowed) and abs(claim - self.found) > allowed


_Stated = tuple[str, tuple[float, ...], _Mean]
"""The name of a moment, what it is asked about (q, or q1, q2 and gap), and its value."""


def states_moments(phi: Activation, *, joint: bool = False) -> bool:
    """Whether Gaussian moments of an activation are known, of two variables if `joint`, and not another's."""
    if type(phi)._moments is ByQuadrature._moments:  # of whatever the functions are
        return True
    # Moments that are written one by one are known as well: those that are missing say so when asked for.
    single = ("second_moment",) if not joint and type(phi)._moments is Activation._moments else ()
    return any(states(phi, name, "__call__", "prime") for name in ("_moments", "dual", *single))


@torch.no_grad()
def wrong_moment(phi: Activation) -> str | None:
    """What is wrong with a Gaussian moment that an activation states; None if nothing is seen to be."""
    for name, of, mean in (*_of_one_variable(phi), *_of_two_variables(phi)):
        claim = _claimed(getattr(phi, name), of)
        if claim is not None and mean.refutes(claim):
            names = ("q",) if len(of) == 1 else ("q1", "q2", "gap")
            at = ", ".join(f"{key} = {value:g}" for key, value in zip(names, of, strict=True))
            return (
                f"{name} of activation {type(phi).__name__} at {at} is {claim:.6g}, and by quadrature of its "
                f"function {mean.found:.6g}; mend this moment, or leave the moments out"
            )
    return None


def _claimed(claim: Callable[..., Any], of: tuple[float, ...]) -> float | None:
    """The number that a method states; None where it has none."""
    numbers = [torch.tensor(value, **_F64) for value in of]
    try:
        found = claim(*numbers) if len(of) == 1 else claim(*numbers[:2], gap=numbers[2])
        number = float(sum(found) if isinstance(found, tuple) else found)
    except Exception:  # what has no formula, or fails by itself, is left to its first use
        return None
    return number if math.isfinite(number) else None


class _Quadrature:
    """Quadrature of standard normal variables."""

    def __init__(self, end: float, steps: int, variables: int) -> None:
        self.z = torch.linspace(-end, end, 2 * steps + 1, **_F64)
        of_one = torch.exp(-0.5 * self.z.square())
        weight = of_one if variables == 1 else of_one[:, None] * of_one
        self._weights = [weight[(slice(None, None, step),) * variables] for step in (1, 2, 4)]

    def mean(self, values: Tensor, *parts: Tensor) -> _Mean:
        """The mean of a product of parts; its scale is that of their root mean squares."""
        found, rough, rougher = (self._on(step, values) for step in (0, 1, 2))
        squares = [self._on(0, part.square()) for part in parts]
        size = math.sqrt(math.prod(squares)) if parts else abs(found)
        unresolved = max(abs(found - rough), abs(rough - rougher) / 4)
        if unresolved > _CLOSE / 10 * size and abs(rough - rougher) < _SLOWEST * unresolved:
            unresolved = math.inf  # at a singularity a finer grid does not help
        return _Mean(found, unresolved, size)

    def _on(self, coarser: int, values: Tensor) -> float:
        weight = self._weights[coarser]
        return float((weight * values[(slice(None, None, 2**coarser),) * values.ndim]).sum() / weight.sum())


def _jumps(phi: Activation, q: float) -> bool:
    """Whether E φ' is not E φ(√q z) z / √q: where φ jumps prime does not show all of its derivative."""
    grid = _Quadrature(9.0, 9000, 1)
    x = math.sqrt(q) * grid.z
    y, slope = phi(x.clone()), phi.prime(x.clone())
    return grid.mean(slope - y * grid.z / math.sqrt(q), slope, torch.ones_like(x)).refutes(0.0)


def _of_one_variable(phi: Activation) -> Iterator[_Stated]:
    grid = _Quadrature(9.0, 9000, 1)
    for q in (0.0025, 0.04, 1.0, 9.0, 25.0):
        root = math.sqrt(q)
        x = root * grid.z
        y, slope = phi(x.clone()), phi.prime(x.clone())
        square = grid.mean(y.square(), y, y)
        yield "mean", (q,), grid.mean(y, y)
        yield "second_moment", (q,), square
        yield "share", (q,), _Mean(square.found / q, square.unresolved / q, square.size / q)
        yield "dual", (q, q, 0.0), square
        if _jumps(phi, q):
            continue
        square = grid.mean(slope.square(), slope, slope)
        yield "second_moment_prime", (q,), square
        yield "dual_prime", (q, q, 0.0), square
        yield "second_moment_second", (q,), _bend(phi, grid, root)
        # E φ'' φ, by parts.
        bend = slope * y * grid.z / root - slope.square()
        yield "mean_curvature", (q, q, 0.0), grid.mean(bend, slope, slope)


def _bend(phi: Activation, grid: _Quadrature, root: float) -> _Mean:
    """E φ''², from differences of φ' over h, 2h and 4h.

    By Jensen's inequality each is below it, so a claim below them is refuted even at a kink, where they grow
    without bound; a claim above them is where they have settled.
    """
    squares, slope = [], phi.prime(root * grid.z)
    smallest = _ROUNDED * grid.mean(slope.square()).found / root**2
    for steps in (1, 2, 4):
        h = root * steps * float(grid.z[1] - grid.z[0])
        ahead, behind = (phi.prime(root * grid.z + side) for side in (h, -h))
        squares.append(grid.mean(((ahead - behind) / (2 * h)).square()).found)
    found, rough, rougher = squares
    unresolved = max(abs(found - rough), abs(rough - rougher) / 4)
    if abs(found - rough) > max(abs(rough - rougher) / 2, _CLOSE / 10 * found):
        unresolved = math.inf
    return _Mean(found, unresolved, found + smallest / _CLOSE, below=True)


def _of_two_variables(phi: Activation) -> Iterator[_Stated]:
    grid = _Quadrature(7.0, 140, 2)
    for of in ((1.0, 1.0, 0.3), (0.5, 2.0, 1.4), (1.0, 1.0, 1e-6), (9.0, 9.0, 0.15), (0.04, 4.0, 0.8)):
        q1, q2, gap = of
        rest = math.sqrt(gap * (2.0 - gap))
        v = (math.sqrt(q2) * grid.z)[:, None].expand(len(grid.z), len(grid.z)).contiguous()
        u = math.sqrt(q1) * ((1.0 - gap) * grid.z[:, None] + rest * grid.z)
        y, other = phi(u.clone()), phi(v.clone())
        jumps = _jumps(phi, max(q1, q2))
        if gap > 0.1 or not jumps:
            yield "difference", of, grid.mean((y - other).square() / 2)
        if gap > 0.1:
            yield "dual", of, grid.mean(y * other, y, other)
        if gap > 0.1 and not jumps:
            slope, back, along = phi.prime(u), phi.prime(v), grid.z / (math.sqrt(q1) * rest)
            yield "dual_prime", of, grid.mean(slope * back, slope, back)
            yield "mean_curvature", of, grid.mean(slope * along * other, slope * along, other)  # by parts


@torch.no_grad()
def wrong_recursion(
    block: Block, revealed: tuple[int, int] = _DEFERRED, whole: tuple[int, int] = _WHOLE
) -> str | None:
    """What is wrong with what a block says of infinite width; None if nothing is seen to be.

    Args:
        block: of one's own or not.
        revealed: width and networks, of matrices that are revealed where they are looked at.
        whole: the same where these do not do.
    """
    name = f"block {type(block).__name__}"
    try:
        said = tuple(block.variances)
    except NotKnown:  # a dual is stated in place of them
        said = (1.0, 0.0, 1.0, 0.0)
    if len(said) != 4 or not all(0 <= float(value) < math.inf for value in said):
        return f"variances of {name} must be four numbers from 0 on, got {said}; give Variances(1, 0, 1, 0)"
    for place, pair in (("inner", said[:2]), ("outer", said[2:])):
        if place not in block.shapes(1) and pair != (1.0, 0.0):
            return f"variances of {name} are {pair} for its {place} matrix, which it lacks; give (1, 0) there"
    try:
        width, found = revealed[0], _measured(block, *revealed, whole=False)
    except NotDrawn:
        width, found = whole[0], _measured(block, *whole, whole=True)
    for verb, of, products, size in found:
        claim = _claimed(getattr(block, verb), of)
        mean, spread = float(products.mean()), float(products.std()) / math.sqrt(len(products))
        if claim is not None and abs(mean - claim) > _SIGMAS * spread + _FINITE_WIDTH / width * size:
            q1, q2, gap = of
            return (
                f"{verb} of {name} at q1 = {q1:g}, q2 = {q2:g} and gap = {gap:g} is {claim:.4g} as it "
                f"says, and wide random layers give {mean:.4g}; mend its variances or dual, or leave them out"
            )
    return None


@torch.no_grad()
def wrong_scaling(block: Block, law: PathLaw, width: int, beta: Any) -> str | None:
    """What is wrong with the critical exponent that a block states; None if nothing is seen to be.

    At β* the sum of the branches at one state neither vanishes nor explodes with the depth; where its growth
    still changes it may be off by as much. Below 1/4 it is not that sum which decides.
    """
    source, networks = stream(0, "stated", "scaling", width), max(8, 512 // width)
    h = source.normal_(torch.empty(networks, 1, width, **_F64))
    squares = []
    for depth in _SUMMED:
        path = {
            name: law.path(depth, (networks, *shape), generator=source, dtype=torch.float64).weights(depth)
            for name, shape in block.shapes(width).items()
        }
        layers = (Layer({name: Dense(of_all[k]) for name, of_all in path.items()}) for k in range(depth))
        branches = (block.branch(h.clone(), layer) for layer in layers)
        squares.append(float(sum(branches, torch.zeros_like(h)).square().mean()))
    if not all(0 < square < math.inf for square in squares):
        return None
    first, second = (math.log(b / a) / (2 * math.log(4)) for a, b in pairwise(squares))
    growth = (first + second) / 2
    if abs(float(beta) - max(growth, 0.25)) <= _ROUGHLY + abs(second - first):
        return None
    return (
        f"critical_beta of block {type(block).__name__} with {law} weights is {beta:g}, and between "
        f"{_SUMMED[0]} and {_SUMMED[-1]} layers the sum of its branches grows like L^{growth:.2g}; mend it, "
        "or give the model a beta"
    )


def _measured(
    block: Block, width: int, networks: int, *, whole: bool
) -> Iterator[tuple[str, tuple[float, float, float], Tensor, float]]:
    """What a claim is named, what it is asked about, what each network gives, and the size of that."""
    source = stream(0, "stated", "block", width)

    def matrix(shape: tuple[int, int]) -> Dense | Deferred:
        if not whole:
            return Deferred(source, shape[1])
        return Dense(source.normal_(torch.empty(networks, *shape, **_F64)))

    drawn = {name: matrix(shape) for name, shape in block.shapes(width).items()}
    layer = Layer(drawn)
    h = _states(source, networks, width)
    branch = block.branch(h, layer).clone()
    found = list(_products("dual", branch))
    apart = (branch[:, 0] - branch[:, 1]).square().mean(-1) / 2
    found.append(("difference", (*_MEAN_SQUARES, _GAP), apart, found[-1][-1]))
    p = source.normal_(torch.empty(networks, 1, width, **_F64)).expand_as(h).contiguous()
    try:
        found.extend(_products("dual_prime", block.adjoint(h, p, layer)))
    except NotDrawn:
        raise
    except Exception:  # a block without a way back is simulated forward only
        return iter(found)
    return iter(found)


def _states(source: Stream, networks: int, width: int) -> Tensor:
    """Gaussian states of two inputs, (network, 2, width), whose mean squares and gap are exact."""
    a, b = source.normal_(torch.empty(2, networks, width, **_F64))
    a = a / a.square().mean(-1, keepdim=True).sqrt()
    b = b - a * (a * b).mean(-1, keepdim=True)
    b = b / b.square().mean(-1, keepdim=True).sqrt()
    second = (1 - _GAP) * a + math.sqrt(_GAP * (2 - _GAP)) * b
    return torch.stack([math.sqrt(q) * x for q, x in zip(_MEAN_SQUARES, (a, second), strict=True)], dim=1)


def _products(verb: str, x: Tensor) -> Iterator[tuple[str, tuple[float, float, float], Tensor, float]]:
    """Mean products of two inputs in each network."""
    sizes = x.square().mean((0, 2)).sqrt().tolist()
    for i, j, gap in ((0, 0, 0.0), (0, 1, _GAP), (1, 1, 0.0)):
        of = (_MEAN_SQUARES[i], _MEAN_SQUARES[j], gap)
        yield verb, of, (x[:, i] * x[:, j]).mean(-1), sizes[i] * sizes[j]
