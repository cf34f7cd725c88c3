"""Checks of residual branches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import torch
from scipy import stats
from torch import Tensor

from resnet_sde.blocks import Block, Layer, NotKnown, Reduced
from resnet_sde.contracts.asked import Broken, close
from resnet_sde.contracts.blocks import narrowed, probe, try_adjoint, try_branch, try_company
from resnet_sde.contracts.coefficients import (
    states_sizes,
    try_covariance,
    try_one_matrix,
    try_scale_free,
    try_sizes,
)
from resnet_sde.contracts.matrices import NotSeen, try_dropout, try_parameters
from resnet_sde.contracts.revealed import looks_once
from resnet_sde.contracts.theory import wrong_recursion, wrong_scaling
from resnet_sde.laws import ConstantNoise, WhiteNoise
from resnet_sde.matrices import Dense
from resnet_sde.model import Model
from resnet_sde.monte_carlo import simulate
from resnet_sde.observables import log10_gradient_growth, log10_growth
from resnet_sde.propagate import trajectory
from resnet_sde.streams import Stream, stream
from resnet_sde.testing.common import require, same_names

_NETWORKS = 33  # that are looked at together
_STEP, _CLOSE = 1e-6, 1e-6  # of differences, and how far a derivative may be off by them
_SAME = 1e-9  # of the largest number: two ways to one sum
_REVEALED, _WHOLE = (4096, 128), (512, 64)  # width and networks that show a dual to 2 % and to 10 %
_CORRELATION, _GAP, _SIGMAS = 0.5, 0.3, 7.0
_SAMPLES, _LEVEL = 2000, 1e-7
_MOST, _SEEN, _SHOWN = (
    2**18,
    0.028,
    0.03,
)  # layers, the error at which fewer do, and that which they must show
_F64: dict[str, Any] = {"dtype": torch.float64}


def _widths(block: Block) -> tuple[int, ...]:
    """Small and large, and made of positions where a block has some; at 2 a layer norm leaves signs alone."""
    return 3 * block.sharing, 7 * block.sharing, narrowed(block, 64 * block.sharing, 64)


def _width(block: Block) -> int:
    return 6 if block.sharing == 1 else 2 * block.sharing


@torch.no_grad()
def _goes_back(block: Block) -> bool:
    """Whether it has gradients; where inputs meet, or autograd cannot follow, it need not."""
    h, layer = probe(block, _width(block))
    try:
        block.adjoint(h, h, layer)
        return close(block.branch(h[:, :1].clone(), layer), block.branch(h, layer)[:, :1])
    except NotKnown:
        return False
    except Exception:  # is told by the checks themselves
        return True


def branch(block: Block, seed: int) -> None:
    """What is tried before a branch decides a number, at widths 3, 7 and 64; see docs/own-parts.md."""
    for width in _widths(block):
        try_branch(block, width)
        try_company(block, width, _NETWORKS, False)


def adjoint(block: Block, seed: int) -> None:
    """The same of its adjoint: autograd, scales of inputs, float32, networks side by side."""
    for width in _widths(block):
        try_adjoint(block, width)
        try_company(block, width, _NETWORKS, True)


def differences(block: Block, seed: int) -> None:
    """Every coordinate of the adjoint is the difference of the branch, which no autograd is asked about."""
    h, layer = probe(block, _width(block))
    p = stream(seed, "differences").normal_(torch.empty_like(h))
    found = block.adjoint(h, p, layer)
    for k in range(h.shape[-1]):
        step = torch.zeros_like(h)
        step[..., k] = _STEP
        ahead, behind = block.branch(h + step, layer), block.branch(h - step, layer)
        slope = (p * (ahead - behind)).sum(-1) / (2 * _STEP)
        off = float((found[..., k] - slope).abs().max() / found.abs().max().clamp(min=1e-300))
        require(
            off <= _CLOSE,
            f"coordinate {k} of the adjoint is not the derivative of the branch, by its differences: off by "
            f"{off:.2g} of the largest",
        )


def loop(block: Block, seed: int) -> None:
    """Four layers, forward and back, are h + α V g(h) and its gradient by autograd."""
    source, width = stream(seed, "loop"), _width(block)
    h, top = source.normal_(torch.empty(2, 3, 2, width, **_F64))
    layers = [
        Layer({n: Dense(source.normal_(torch.empty(3, *s, **_F64))) for n, s in block.shapes(width).items()})
        for _ in range(4)
    ]
    found = trajectory(block, h, layers, 0.5, top=top if _goes_back(block) else None)
    state = start = h.clone().requires_grad_()
    for layer in layers:
        state = state + 0.5 * block.branch(state, layer)
    _same("states", found.hidden.natural(-1), state.detach())
    if found.adjoint is None:
        return
    try:
        (expected,) = torch.autograd.grad(state, start, top)
    except RuntimeError as error:
        raise SkipTest(f"autograd cannot follow the branch: {error}") from None
    _same("gradients", found.adjoint.natural(0), expected)


def _same(what: str, found: Tensor, expected: Tensor) -> None:
    off = float((found - expected).abs().max() / expected.abs().max())
    require(
        off <= _SAME, f"{what} of a plain loop over its branch are others: off by {off:.2g} of the largest"
    )


def revealed(block: Block, seed: int) -> None:
    """Matrices that are revealed where they are looked at give networks and gradients of one law."""
    model = Model(block, WhiteNoise(), _width(block), beta=0.5)
    observe = [log10_growth, *([log10_gradient_growth] if _goes_back(block) else [])]
    for inputs in (1, 2):
        x = torch.eye(inputs, model.width, **_F64) + 0.3
        one, other = (
            simulate(
                model,
                x,
                depth=3,
                samples=_SAMPLES,
                observe=observe,
                method=method,
                seed=seed,
            )
            for method in ("dense", "deferred")
        )
        for name in one:
            level = float(stats.ks_2samp(one[name][:, 0].numpy(), other[name][:, 0].numpy()).pvalue)
            require(
                level > _LEVEL,
                f"revealed matrices give another law of {name} than drawn ones, at level {level:.2g}",
            )


def dual(block: Block, seed: int) -> None:
    """Its dual and that of gradients are means over wide random layers: 2 % are seen, 10 % of others."""
    if (sentence := wrong_recursion(block, _REVEALED, _WHOLE)) is not None:
        raise Broken(sentence)


def dual_of_correlated_weights(block: Block, seed: int) -> None:
    """So is that where inner weights are correlated along depth, which kernels of two times ask for."""
    width, networks = 256, 32
    source = stream(seed, "correlated")
    h = source.normal_(torch.empty(2, networks, 1, width, **_F64))
    h = h / h.square().mean(-1, keepdim=True).sqrt()
    pair = h[0], (1 - _GAP) * h[0] + math.sqrt(_GAP * (2 - _GAP)) * h[1]
    gaps = 1 - (pair[0] * pair[1]).mean(-1) / pair[1].square().mean(-1).sqrt()
    pair = pair[0], pair[1] / pair[1].square().mean(-1, keepdim=True).sqrt()
    layers = _correlated(block, width, networks, source)
    a, b = (block.branch(state.clone(), layer).clone() for state, layer in zip(pair, layers, strict=True))
    one = torch.ones_like(gaps)
    stated = block.dual(one, one, gap=gaps, inner=_CORRELATION).flatten()
    found = (a * b).mean((1, 2)) - stated
    size = float((a.square().mean() * b.square().mean()).sqrt())
    allowed = _SIGMAS * float(found.std()) / networks**0.5 + 8 / width * size
    require(
        abs(float(found.mean())) <= allowed,
        f"its dual at inner = {_CORRELATION} is {float(stated.mean()):.4g}, and wide layers of weights with "
        f"that correlation give {float(found.mean() + stated.mean()):.4g}",
    )


def _correlated(block: Block, width: int, networks: int, source: Stream) -> list[Layer]:
    """Two layers that share the outer matrix, and others by a correlation."""
    first: dict[str, Dense] = {}
    second: dict[str, Dense] = {}
    for name, shape in block.shapes(width).items():
        one, fresh = (source.normal_(torch.empty(networks, *shape, **_F64)) for _ in range(2))
        other = _CORRELATION * one + math.sqrt(1 - _CORRELATION**2) * fresh
        first[name], second[name] = Dense(one), Dense(one if name == "outer" else other)
    return [Layer(first), Layer(second)]


def exponent(block: Block, seed: int) -> None:
    """Sums of its branches grow as its critical exponents say, with white and with constant weights."""
    width = narrowed(block, 16 * block.sharing, 16)
    for law in (WhiteNoise(), ConstantNoise()):
        beta = block.critical_beta(law)
        if beta is not None and (sentence := wrong_scaling(block, law, width, beta)) is not None:
            raise Broken(sentence)


def parameters(block: Block, seed: int) -> None:
    """Gradients of its matrices are those of autograd, and masks of dropout reach its outer matrix."""
    width = _width(block)
    has_outer = block.sharing == 1 and block.shapes(width).get("outer", (0, 0))[0] in (width, width + 1)
    for trial in [try_parameters, *([try_dropout] if has_outer else [])]:
        try:
            trial(block, width)
        except NotSeen as reason:
            raise SkipTest(str(reason)) from None


def one_matrix(block: Block, seed: int) -> None:
    """It is linear in a matrix named outer, the only one, at widths 3, 7 and 64."""
    for width in _widths(block):
        try_one_matrix(block, width, stream(seed, "one_matrix", width))


def scale_free(block: Block, seed: int) -> None:
    """Its branch is the same at all multiples of a state, at widths 3, 7 and 64."""
    for width in _widths(block):
        try_scale_free(block, width, stream(seed, "scale_free", width))


def covariance(block: Block, seed: int) -> None:
    """Its covariance is that of branches of random layers, at widths 6 and 7: 3 % of their sizes is seen."""
    for width in (_width(block), _width(block) + 1):
        _shown(try_covariance(block, width, stream(seed, "covariance", width), _MOST, _SEEN))


def size_moments(block: Block, seed: int) -> None:
    """So are the moments of its sizes: 3 % of the mean is seen."""
    for width in (_width(block), _width(block) + 1):
        _shown(try_sizes(block, width, stream(seed, "size_moments", width), _MOST, _SEEN))


def _shown(error: float) -> None:
    if error > _SHOWN:
        raise SkipTest(f"branches vary so much that {_MOST} layers show errors from {error:.2g} on only")


def names(block: Block, seed: int) -> None:
    """The block, a copy and one that went to another process have one name, and the same branch."""
    same_names(block, lambda one: one.branch(*probe(one, _width(one))))


Check = Callable[[Block, int], None]


def checks_of(block: Block) -> list[Check]:
    """The checks that apply to a block."""
    found: list[Check] = [branch, loop, names, exponent]
    found += [one_matrix] if block.one_matrix else []
    found += [scale_free] if block.scale_free else []
    # Of one matrix that limits do not take, a stated covariance is what theory of infinite width asks for.
    stated = block.states_covariance and not isinstance(block.inside, Reduced)
    found += [covariance] if stated else []
    found += [size_moments] if states_sizes(block) else []
    back = _goes_back(block)
    found += [adjoint, differences, parameters] if back else []
    found += [revealed] if looks_once(block, _width(block), gradients=back) else []
    one = torch.ones(1, **_F64)
    try:
        block.dual(one, one, gap=0.5 * one)
    except NotKnown:
        return found
    except Exception:  # is told by the check itself
        pass
    return [*found, dual, dual_of_correlated_weights]
