"""What a law of one's own says of its weights, beside the weights that it draws.

Means over the entries of matrices are compared with what the law states, to seven times their own spread.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import torch
from torch import Tensor

from resnet_sde.checks import states
from resnet_sde.contracts.asked import CLOSE, Broken, check_result, claim, close, once, ours
from resnet_sde.fractional import autocovariance
from resnet_sde.laws import Noise, PathLaw
from resnet_sde.paths import OffGrid, Path
from resnet_sde.streams import stream

_SIGMAS = 7.0  # of an estimated moment: a false alarm of 3e-12
_REPEATED = 0.9  # correlation of 64 numbers or more, which independent ones have in 1e-20 of the cases
_ROUGHLY = 0.25  # of an exponent: between 256 and 1024 layers a sum need not grow as it does in the end
_SHARPLY, _DRIFT = 0.02, 6.0  # of one that has settled, and times what it still changes by
_ENTRIES, _FEWEST = 4096, 1024  # of a layer, of which moments are taken
_ENOUGH = 2**20  # of all layers together: few layers are seen the better
_LOOKED_AT = 4096  # networks among which repeated ones are looked for
_NUMBERS = 2**23  # of a path that is drawn to be checked
_FEWEST_OF_A_NETWORK, _MOST_OF_A_NETWORK = 64, 256  # entries by which networks are told apart
_LAYERS = 64  # that are compared with each other
_DRAWN = ("covariance", "autocovariance", "path", "_draw", "sample", "value")
_SHORT = 2.0 ** -torch.arange(3, 40, dtype=torch.float64)  # times over which a smooth path moves like them
_RESOLVED, _DIFFERENTIABLE = 1e-10, 3.5  # of 1 − correlation, and how it grows where the lag is doubled


def check_law(law: PathLaw) -> None:
    """Check a law of one's own. Raises ValueError where it is not what it says of itself."""
    if not ours(law):
        once(_check_law_or_refuse, law)


def check_depth(law: PathLaw, finest: int, depth: int, shape: tuple[int, ...]) -> None:
    """Check the weights that a law of one's own shows to networks of a depth.

    A law may be what it says at the depth of its path, and another where weights are summed up for a network
    of fewer layers. Paths of over 8192 layers, which take long to draw, are not checked.

    Args:
        law: the law; those of the package are not asked.
        finest: layers of the path.
        depth: layers of the networks.
        shape: of a matrix.

    Raises:
        ValueError: means, covariances or memory are not those that the law states.
    """
    if not ours(law) and max(finest, depth) * _FEWEST <= _NUMBERS:
        once(_check_depth, law, finest, depth, tuple(shape))


def check_networks(law: PathLaw, weights: Tensor) -> None:
    """Refuse weights in which one network has those of another. Matrices of under 64 entries are not asked.

    Args:
        law: the law; those of the package are not asked.
        weights: of one layer, (network, in, out).

    Raises:
        ValueError: two networks have the same weights.
    """
    if ours(law) or weights[0].numel() < _FEWEST_OF_A_NETWORK:
        return
    units = torch.nn.functional.normalize(weights.flatten(1)[:, :_MOST_OF_A_NETWORK].double(), dim=1)
    if bool(((units @ units.T).fill_diagonal_(0).abs() > _REPEATED).any()):
        name = type(law).__name__
        raise ValueError(
            f"law {name} draws the same numbers for different networks, which must be independent"
        )


def _check_depth(law: PathLaw, finest: int, depth: int, shape: tuple[int, ...]) -> None:
    name = f"law {type(law).__name__}"
    most = min(max(_ENTRIES, _ENOUGH // max(finest, depth)), _NUMBERS // max(finest, depth))
    if math.prod(shape) > 2 * most:
        shape = (16, 16)
    networks = -(-most // math.prod(shape))
    source = stream(0, "contract", "law", finest, depth)
    path = law.path(finest, (networks, *shape), generator=source, dtype=torch.float64)
    try:
        weights = path.weights(depth)
    except OffGrid:  # it says so at its use
        return
    check_result(f"a path of {name}", weights, torch.empty(depth, networks, *shape, dtype=torch.float64))
    if not torch.equal(path.shared(depth), weights):
        raise Broken(f"a path of {name} has other numbers in shared({depth}) than in weights({depth})")
    try:
        compare_moments(name, law, weights, f" of networks of {depth} layers on paths of {finest}")
    except Unlike:
        check_networks(law, weights[0, :_LOOKED_AT])  # networks that repeat look so too
        raise


def _check_law_or_refuse(law: PathLaw) -> None:
    """What fails by itself is left to its first use, unless theory is to rely on what the law states."""
    try:
        try_law(law)
    except Broken:
        raise
    except Exception as error:
        if law.noise is None and law.kind is None and not claim(law, "gaussian"):
            raise
        raise Broken(
            f"law {type(law).__name__} states what its weights are, and trying that ended in "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from None


def try_law(law: PathLaw) -> None:
    """Raise Broken where a law is not what it says of itself, be it of the package or not."""
    name, depth = f"law {type(law).__name__}", 64
    noises = get_args(Noise)
    if law.noise not in (*noises, None):
        raise Broken(f"noise of {name} must be {', '.join(noises)} or None, got {law.noise!r}")
    if not hasattr(law, "exponent"):
        raise Broken(f"{name} does not say how its sums grow; give it an exponent, 0.5 of white weights")
    drawn_in = type(law).value if law.kind == "smooth" else type(law).sample
    if type(law)._draw is PathLaw._draw and drawn_in in (PathLaw.value, PathLaw.sample):
        raise Broken(f"{name} draws nothing; give it a method {drawn_in.__name__}")
    if type(law)._draw is PathLaw._draw and not law.states_covariance:
        raise Broken(
            f"{name} does not say what the covariance of its weights is; give it a method covariance, "
            "autocovariance or correlation, or noise = 'white'"
        )

    def drawn(dtype: torch.dtype, shape: tuple[int, int, int], *key: int) -> Tensor:
        path = law.path(depth, shape, generator=stream(0, "contract", "law", *key), dtype=dtype)
        if not isinstance(path, Path):
            raise Broken(f"{name} drew {type(path).__name__}; it must draw a Path, for example GridPath")
        like = torch.empty(depth, *shape, dtype=dtype)
        return check_result(f"a path of {name}", path.weights(depth), like).clone()

    drawn(torch.float32, (2, 3, 4))
    square = 64, 14, 14  # networks, and a matrix
    weights = drawn(torch.float64, square)
    _check_apart(name, weights[0].flatten(1))
    compare_moments(name, law, weights)
    compare_moments(name, law, drawn(torch.float32, square, 2), " in float32")
    again, other = drawn(torch.float64, square), drawn(torch.float64, square, 1)
    if not torch.equal(weights, again) or torch.equal(weights, other):
        raise Broken(
            f"{name} does not draw from the generator that it is given alone: the same one must give the "
            "same weights, and another one others"
        )
    filled = _check_filler(name, law, square) if law.filler is not None else None
    drawn_so = [(name, weights)] if filled is None else [(name, weights), (f"the filler of {name}", filled)]
    for whose, layers in drawn_so:
        _check_claims(whose, law, layers[0])
    _check_exponent(name, law)
    if law.kind not in ("rough", "smooth", None):
        raise Broken(f"kind of {name} must be rough, smooth or None, got {law.kind!r}")
    if law.noise is not None:
        _check_noise(name, law)
    if law.noise is not None or law.kind is not None:
        _check_paths(name, law)
    if law.noise == "white" or (states(law, "independent", *_DRAWN) and law.independent):
        for whose, layers in drawn_so:
            _check_apart_in_depth(whose, layers.flatten(1).square() - 1)


def _check_filler(name: str, law: PathLaw, shape: tuple[int, ...]) -> Tensor:
    """Layers that were filled one by one, (layer, *shape); checked."""

    def filled(key: int) -> Tensor:
        assert law.filler is not None
        fill, like = law.filler(stream(0, "contract", "law", key)), torch.empty(shape, dtype=torch.float64)
        what = f"the filler of {name}"
        return torch.stack([check_result(what, fill(like.clone()), like).clone() for _ in range(_LAYERS)])

    layers = filled(3)
    if not torch.equal(layers, filled(3)) or torch.equal(layers, filled(4)):
        raise Broken(f"the filler of {name} does not draw from the stream that it is given alone")
    _check_apart(name, layers[0].flatten(1))
    compare_moments(name, law, layers, ", filled layer by layer")
    return layers


class Unlike(Broken):
    """Moments of weights are not those that a law states, as far as their own spread tells."""


def compare_moments(name: str, law: PathLaw, weights: Tensor, where: str = "") -> None:
    """Raise Unlike unless weights, (layer, …) with independent entries, have the covariance of a law."""
    depth = len(weights)
    like = torch.empty(depth, depth, dtype=torch.float64)
    expected = check_result(f"covariance of {name}", law.covariance(depth), like)
    some = torch.arange(depth) if depth <= _LAYERS else torch.linspace(0, depth - 1, _LAYERS).round().long()
    flat, expected = weights[some].flatten(1).double(), expected[some][:, some]
    count = flat.shape[1]
    products = flat @ flat.T / count
    spread = (flat.square() @ flat.square().T / count - products.square()).clamp(min=0).sqrt()
    mean = flat.mean(1)
    of = [("mean", mean, flat.std(1), torch.zeros_like(mean)), ("covariance", products, spread, expected)]
    # Of all layers together, which shows less than of each alone. Entries are independent of each other.
    sums = [(flat.square().mean(0), expected.diagonal().mean()), (flat.mean(0).square(), expected.mean())]
    if depth > 1:
        sums.append(((flat[1:] * flat[:-1]).mean(0), expected.diagonal(1).mean()))
    of += [("covariance", found.mean(), found.std(), exact) for found, exact in sums]
    for what, value, deviation, exact in of:
        off = ((value - exact).abs() - _SIGMAS * deviation / count**0.5 - CLOSE).flatten()
        worst = int(off.argmax())
        if not float(off[worst]) <= 0:
            raise Unlike(
                f"{name} draws weights whose {what} along depth is not the one that it states{where}: "
                f"{float(value.flatten()[worst]):.4g}, and not {float(exact.flatten()[worst]):.4g}"
            )


def _check_apart(name: str, values: Tensor) -> None:
    """Refuse numbers that others repeat, up to a sign; values (network, entry)."""
    for what, rows in (("networks", values), ("entries of a matrix", values.T)):
        units = torch.nn.functional.normalize(rows, dim=1)
        if bool(((units @ units.T).fill_diagonal_(0).abs() > _REPEATED).any()):
            raise Broken(f"{name} draws the same numbers for different {what}, which must be independent")


def _check_claims(name: str, law: PathLaw, values: Tensor) -> None:
    if claim(law, "gaussian"):
        error = _SIGMAS * (96 / values.numel()) ** 0.5
        if not abs(float(values.pow(4).mean()) - 3) <= error:
            raise Broken(f"{name} says that its weights are Gaussian, and their fourth moment is not 3")
        for point in (0.1, 0.5, 1.0, 1.5, 2.0, 3.0):
            share = math.erf(point / math.sqrt(2))
            error = _SIGMAS * math.sqrt(share * (1 - share) / values.numel())
            if not abs(float((values.abs() < point).double().mean()) - share) <= error:
                raise Broken(
                    f"{name} says that its weights are Gaussian, and not {share:.2g} of them are in ±{point}"
                )
    sides = values.sign() if claim(law, "symmetric") else values.new_zeros(1)
    if not abs(float(sides.mean())) <= _SIGMAS / values.numel() ** 0.5:
        raise Broken(
            f"{name} says that its weights are symmetric, and they are not as often above 0 as below"
        )
    if claim(law, "independent") and not torch.equal(
        law.covariance(256), torch.eye(256, dtype=torch.float64)
    ):
        raise Broken(f"{name} says that its weights are independent along depth, and its covariance is not 1")


def _check_exponent(name: str, law: PathLaw) -> None:
    """Refuse an exponent of sums that the covariance does not have.

    Where the growth of the sums still changes with the depth, the exponent may be off by as much as that may
    add up to; where it has settled, by a fiftieth. Sums of a function of time, whose covariance is known, may
    cancel.
    """
    if law.kind == "smooth":
        return
    sums = [float(law.covariance(depth).sum()) for depth in (16, 64, 256, 1024)]
    first, second, third = (math.log(b / a) / math.log(16) for a, b in pairwise(sums))
    changes = abs(third - second) + abs(second - first)
    if not abs(third - law.exponent) <= min(_ROUGHLY, _SHARPLY + _DRIFT * changes):
        raise Broken(
            f"{name} says that the sum of L weights grows like L^{law.exponent:g}; by its covariance it "
            f"grows like L^{third:.2g}"
        )


def _check_noise(name: str, law: PathLaw) -> None:
    """Refuse a noise of another covariance or exponent."""
    exponents = {"white": 0.5, "short-memory": 0.5, "smooth": 1.0, "constant": 1.0}
    exponents["fractional"] = law.exponent
    noise = str(law.noise)
    for depth in (16, 256):
        _check_covariance(name, law, exponents[noise], torch.arange(depth, dtype=torch.float64))


def _check_covariance(name: str, law: PathLaw, exponent: float, lag: Tensor) -> None:
    noise = law.noise
    if noise == "fractional":
        if not 0 < law.exponent < 1 or law.exponent == 0.5 or not claim(law, "gaussian"):
            raise Broken(
                f"{name} says that it is fractional noise; it must be Gaussian, and H in (0, 1), not 1/2"
            )
        by_lag = autocovariance(law.exponent, len(lag))
    elif noise == "smooth":
        try:
            by_lag = check_result(f"correlation of {name}", law.correlation(lag / len(lag)), lag)
        except NotImplementedError as error:
            raise Broken(f"{name} says that its weights are smooth: {error}") from None
        moved = 1 - law.correlation(torch.stack([_SHORT, 2 * _SHORT]))
        least = int((moved[0] > _RESOLVED).sum()) - 1
        if least >= 0 and not moved[1, least] >= _DIFFERENTIABLE * moved[0, least]:
            raise Broken(f"{name} says that its weights are smooth, and by their correlation they are not")
    else:
        by_lag = torch.ones_like(lag) if noise == "constant" else (lag == 0).double()
    covariance, ahead = law.covariance(len(lag)), (lag[:, None] - lag).abs().long()
    same = _is_memory(name, law, covariance) if noise == "short-memory" else close(covariance, by_lag[ahead])
    if not same or law.exponent != exponent or claim(law, "independent") != (noise == "white"):
        raise Broken(f"{name} says that its noise is {noise}, which its covariance or another fact is not")


def _is_memory(name: str, law: PathLaw, covariance: Tensor) -> bool:
    """Whether the memory of a law sums up the covariances of pairs of layers, and has an end."""
    depth, pairs = len(covariance), covariance.triu(1)
    try:
        gamma, count = law.memory(depth)
        last, of_all = law.memory()
    except (ValueError, NotImplementedError) as error:
        raise Broken(f"{name} says that its memory is short: {error}") from None
    found, whole = (
        torch.stack([(c * g**power).sum() for power in (1, 3)]) for g, c in ((gamma, count), (last, of_all))
    )
    expected = torch.stack([(pairs**power).sum() / depth for power in (1, 3)])
    settled = bool(((found - whole).abs() <= _ROUGHLY * (1 + whole.abs())).all()) or depth < _LAYERS
    return close(1 + found, 1 + expected) and settled


def _check_paths(name: str, law: PathLaw) -> None:
    """Refuse paths on which networks of several depths do not see the same noise."""
    depth, steps = 64, 4
    path = law.path(depth, (3, 2, 2), generator=stream(0, "contract", "law", "path"), dtype=torch.float64)
    fine = path.weights(depth)
    if law.noise in (None, "short-memory") and law.kind == "rough":
        _check_depth(law, depth, depth // steps, (16, 16))
        return
    if law.noise == "short-memory":
        return
    try:
        if law.kind == "smooth":
            expected = fine[::steps]
            same = close(path.at(torch.arange(depth, dtype=torch.float64) / depth), fine)
        else:
            expected = fine.unflatten(0, (-1, steps)).sum(1) * float(steps) ** -law.exponent
            same = True
        if not same or not close(path.weights(depth // steps), expected):
            raise Broken(f"{name} draws paths on which networks of other depths see another noise")
    except OffGrid as error:
        if law.kind is not None:
            said = f"kind is {law.kind}" if law.noise is None else f"noise is {law.noise}"
            raise Broken(f"{name} says that its {said}, and of its paths: {error}") from None
    if law.noise == "smooth":
        _check_between(name, law)


def _check_between(name: str, law: PathLaw) -> None:
    """Refuse paths that move otherwise between the times of layers than their correlation says."""
    depth = 64
    source = stream(0, "contract", "law", "between")
    path = law.path(depth, (_FEWEST, 1, 1), generator=source, dtype=torch.float64)
    for share in (0.25, 0.5, 0.75):
        times = torch.arange(depth - 1, dtype=torch.float64) / depth
        moved = (path.at(times + share / depth) - path.at(times)).flatten(1).square().mean(0)
        expected = 2 * float(1 - law.correlation(torch.tensor([share / depth], dtype=torch.float64)))
        if (
            not abs(float(moved.mean()) - expected)
            <= _SIGMAS * float(moved.std()) / len(moved) ** 0.5 + CLOSE
        ):
            raise Broken(f"{name} says that its weights are smooth, and between layers its paths are not")


def _check_apart_in_depth(name: str, squares: Tensor) -> None:
    """Refuse layers that are uncorrelated and yet not independent; squares (layer, entry), less 1."""
    pairs = squares.mean(0).square() - squares.square().mean(0) / len(squares)
    for found in ((squares[1:] * squares[:-1]).mean(0), pairs):
        if not abs(float(found.mean())) <= _SIGMAS * float(found.std()) / len(found) ** 0.5 + CLOSE:
            raise Broken(
                f"{name} says that its layers are independent, and the squares of their weights are not"
            )
