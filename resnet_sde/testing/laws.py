"""Checks of laws of weights.

Means are compared to seven times their spread, which is below 1 % of the variance of a weight.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from unittest import SkipTest

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from resnet_sde.contracts.laws import Unlike, compare_moments, try_law
from resnet_sde.laws import PathLaw
from resnet_sde.paths import OffGrid
from resnet_sde.streams import Stream, generator, stream
from resnet_sde.testing.common import require, same_names

_PILOT, _MOST = 2**18, 2**21  # weights of a layer: to see how their squares vary, and at most
_SPREADS, _SEEN = 10.0, 0.02  # a variance that is 2 % off is 10 spreads off, and 7 are allowed
_SHARE = 0.2  # of the largest weight in the variance of squares, above which they show nothing
_FINE = 4  # layers
_NETWORKS, _SIGMAS = 2**16, 7.0
_LEVEL = 1e-7  # of a test of distributions


def _draw(law: PathLaw, depth: int, shape: tuple[int, ...], source: Stream) -> Tensor:
    """Weights in float64, on a path of `depth` layers. Raises SkipTest where it has not so many."""
    try:
        return law.path(depth, shape, generator=source, dtype=torch.float64).weights(depth)
    except OffGrid as reason:
        raise SkipTest(str(reason)) from None


def _matrices(law: PathLaw, seed: int) -> tuple[int, int, int]:
    """The shape of so many matrices that a variance is known well enough. Raises SkipTest where none is."""
    squares = _draw(law, 1, (_PILOT,), stream(seed, "pilot")).square()
    squares = squares / squares.mean()
    deviations = (squares - 1).square()
    share = float(deviations.max() / deviations.sum()) if bool(deviations.any()) else 0.0
    needed = float(deviations.mean()) * (_SPREADS / _SEEN) ** 2
    if share > _SHARE or needed > _MOST:
        raise SkipTest(
            f"tails are so heavy that {_MOST} weights do not show a variance to 2 % (it takes {needed:.2g}, "
            f"and one of {_PILOT} makes up {100 * share:.0f} % of the variance of their squares)"
        )
    return max(256, math.ceil(needed / 256)), 16, 16


def facts(law: PathLaw, seed: int) -> None:
    """What is tried before a law decides a number; see docs/own-parts.md for the facts."""
    try:
        try_law(law)
    except OffGrid as reason:
        raise SkipTest(str(reason)) from None
    except Unlike:
        _matrices(law, seed)  # says so where tails are too heavy to tell
        raise


def shapes(law: PathLaw, seed: int) -> None:
    """Weights have the shape and dtype that are asked for, are finite, and copies of those of the path."""
    for depth in (1, 2, 7):
        for shape in ((), (3,), (2, 3, 4)):
            for dtype in (torch.float32, torch.float64, None):
                try:
                    path = law.path(depth, shape, generator=generator(seed, "shapes"), dtype=dtype)
                except OffGrid:
                    continue
                found, expected = path.weights(depth), dtype or torch.get_default_dtype()
                require(
                    (found.shape, found.dtype) == ((depth, *shape), expected),
                    f"weights of {(depth, *shape)}, {expected} are {tuple(found.shape)}, {found.dtype}",
                )
                require(bool(found.isfinite().all()), f"weights of {depth} layers are not finite")
                kept = found.clone()
                found.zero_()
                require(
                    torch.equal(path.weights(depth), kept),
                    "whoever writes into weights changes the path; let it answer with a copy",
                )


def stated_covariance(law: PathLaw, seed: int) -> None:
    """Covariances are symmetric and not negative, of variance 1 where a noise is stated."""
    for depth in (1, 2, 60):
        try:
            gamma = law.covariance(depth)
        except OffGrid:
            continue
        require(
            (gamma.shape, gamma.dtype) == ((depth, depth), torch.float64),
            f"covariance({depth}) has shape {tuple(gamma.shape)} and {gamma.dtype}",
        )
        require(torch.equal(gamma, gamma.mT), f"covariance({depth}) is not symmetric")
        ones = (gamma.diagonal() - 1).abs()
        require(
            law.noise is None or float(ones.max()) <= 1e-14, f"covariance({depth}) is not 1 on its diagonal"
        )
        least = float(torch.linalg.eigvalsh(gamma)[0])  # rounding is a share of the trace
        require(
            least >= -1e-15 * float(gamma.trace()),
            f"covariance({depth}) has the negative eigenvalue {least:.3g}",
        )


def covariance(law: PathLaw, seed: int) -> None:
    """Networks of 4, 2 and 1 layers have the covariance that is stated, on one path if the law has a kind."""
    source, shape = stream(seed, "covariance"), _matrices(law, seed)
    path = law.path(_FINE, shape, generator=source, dtype=torch.float64)
    for depth in (_FINE, 2, 1):
        try:
            weights, where = path.weights(depth), f" of {depth} layers on paths of {_FINE}"
        except OffGrid:
            weights, where = _draw(law, depth, shape, source), f" of {depth} layers"
        compare_moments(str(law), law, weights, where)


def independence(law: PathLaw, seed: int) -> None:
    """Entries, networks side by side and paths drawn one after another are uncorrelated, squares too."""
    source = stream(seed, "independence")
    first, second = (_draw(law, 2, (_NETWORKS, 2, 2), source)[-1] for _ in range(2))
    beside = torch.cat([first[0::2].flatten(1), first[1::2].flatten(1), second[0::2].flatten(1)], 1)
    for what, values in (("", beside), ("squares of ", beside.square())):
        values = values - values.mean(0)
        products = values.mT @ values / len(values)
        spread = (values.square().mT @ values.square() / len(values) - products.square()).clamp(min=0).sqrt()
        off = products.abs() - _SIGMAS * spread / len(values) ** 0.5 - 1e-12
        worst = int(off.fill_diagonal_(-1.0).argmax())
        i, j = divmod(worst, off.shape[1])
        size = float((products[i, i] * products[j, j]).sqrt()) or 1.0
        places = [
            f"entry {k % 4} of {('a network', 'its neighbour', 'the next draw')[k // 4]}" for k in (i, j)
        ]
        require(
            float(off[i, j]) <= 0,
            f"{what}{places[0]} and {what}{places[1]} have correlation {float(products[i, j]) / size:.3f}, "
            "and must be independent",
        )


def distribution(law: PathLaw, seed: int) -> None:
    """Weights that are said to be Gaussian are, and sums of four layers; symmetric ones have equal sides."""
    weights = _draw(law, 4, (_PILOT,), stream(seed, "distribution"))
    factors = torch.tensor([1.0, -0.7, 0.5, 0.9], dtype=torch.float64)
    gamma = law.covariance(4)
    for what, values, variance in (
        ("a layer", weights[0], gamma[0, 0]),
        ("sums over four layers", factors @ weights, factors @ gamma @ factors),
    ):
        if law.gaussian:
            found = stats.kstest((values / variance.sqrt()).numpy(), "norm")
            require(
                found.pvalue > _LEVEL,
                f"weights are said to be Gaussian, and shares of {what} are up to {found.statistic:.3g} off",
            )
        below, above = int((values < 0).sum()), int((values > 0).sum())
        require(
            abs(above - below) <= _SIGMAS * (above + below) ** 0.5,
            f"weights are said to be symmetric, and of {what} {above} are above 0 and {below} below",
        )
    if law.symmetric and not law.gaussian:
        found = stats.ks_2samp(weights[0, ::2].numpy(), -weights[0, 1::2].numpy())
        require(found.pvalue > _LEVEL, "weights are said to be symmetric, and V and −V have not the same law")


def layer_by_layer(law: PathLaw, seed: int) -> None:
    """Layers that the filler draws one by one have the covariance that is stated."""
    assert law.filler is not None
    source = stream(seed, "filler")
    fill, shape = law.filler(source), _matrices(law, seed)
    layers = torch.stack([fill(torch.empty(shape, dtype=torch.float64)).clone() for _ in range(4)])
    compare_moments(str(law), law, layers, ", filled layer by layer")


def randomness(law: PathLaw, seed: int) -> None:
    """One name of a stream gives one path, which no global random state decides or feels."""

    def draw(source: torch.Generator | Stream) -> Tensor:
        return law.path(6, (2, 3), generator=source).weights(6)

    before = _global_states()
    for make in (generator, stream):
        source = make(seed, "one")
        first, then, again, other = (
            draw(source),
            draw(source),
            draw(make(seed, "one")),
            draw(make(seed, "two")),
        )
        require(torch.equal(first, again), "the same generator gives other weights")
        require(not torch.equal(first, other), "another generator gives the same weights")
        require(not torch.equal(first, then), "a generator gives the same weights twice")
    require(
        before == _global_states(), "drawing weights changes a global random state, which no seed decides"
    )


def names(law: PathLaw, seed: int) -> None:
    """The law, a copy and one that went to another process have one name, and the same weights."""
    same_names(law, lambda one: one.path(6, (2, 3), generator=stream(seed, one)).weights(6))


def _global_states() -> tuple[object, ...]:
    numpy = tuple(map(str, np.random.get_state()))  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numpy, random.getstate()


Check = Callable[[PathLaw, int], None]


def checks_of(law: PathLaw) -> list[Check]:
    """The checks that apply to a law."""
    found: list[Check] = [facts, shapes, stated_covariance, covariance, independence, randomness, names]
    found += [distribution] if law.gaussian or law.symmetric else []
    return found + ([layer_by_layer] if law.filler is not None else [])
