r"""Covariances of products of φ in four Gaussian variables: the sources of the 1/width theory of two inputs.

Let (x0, x1) and (x2, x3) be states of one coordinate in two layers, and let I(t) = E φ(x0)φ(x1)φ(x2)φ(x3)
with the covariances between the two pairs multiplied by t. Wanted is I(1) − I(0). By Price's theorem

    I'(t) = Σ κ_ab E ∂_a ∂_b φφφφ,     a in the first pair, b in the second.

For signs that is closed: two become Dirac masses, and the other two have an angle given those. An error
function is the mean sign of its argument plus a Gaussian variable, and tanh a mean of error functions. For
ReLU the second derivative is closed but for the probability of an orthant, whose derivative is. So one
integral over t is left. With t = sin θ its singularities, just beyond t = 1 for states that are nearly equal,
are mild, and Gauss's rule does the rest.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from resnet_sde._gaussian import ErfMixture, logistic
from resnet_sde.activations import Activation, AlphaReLU, Erf, LeakyReLU, Linear, ReLU, Tanh
from resnet_sde.finite_width.phi_squared_moments import HalfLines

_NODES = 32  # of the integral: rounding error up to variances of 30, 1e-10 at 100
_TANH_NODES = 20  # the same where a product of mixtures stands under the integral: 1e-12 up to variances of 3
_MIXTURE = 6  # error functions in tanh: error 1e-7
_TURN = 2 * math.pi
_Matrix = list[list[Tensor]]


def four_point(activation: Activation, first: Tensor, second: Tensor, between: Tensor) -> Tensor:
    """Cov(φ(x0) φ(x1), φ(x2) φ(x3)).

    Args:
        activation: erf, tanh, ReLU or linear.
        first: covariance of (x0, x1), with four equal entries if they are one variable.
        second: covariance of (x2, x3), likewise.
        between: covariance of (x0, x1) with (x2, x3).

    Shape: (points, 2, 2) each, to (points,).

    Raises:
        ValueError: the formulas for this activation are not known here.
    """
    if type(activation) is Linear or activation == LeakyReLU(1.0):
        return _permanent(between)
    if type(activation) is Erf:
        return _signs(ErfMixture((1.0,), (0.5,)), first, second, between)
    if type(activation) is Tanh:
        return _signs(logistic(1.0, shifted=False, size=_MIXTURE), first, second, between)
    if type(activation) is ReLU or activation in (AlphaReLU(1.0), LeakyReLU(0.0)):
        return _half_lines(first, second, between)
    raise ValueError(
        f"the 1/width theory of two inputs is not known for {activation}; give erf, tanh, relu or linear, or "
        "one input"
    )


def points_at_once(activation: Activation) -> int:
    """How many points to ask for at a time, so that the temporaries stay small."""
    return 4 if isinstance(activation, Tanh) else 256


def _permanent(between: Tensor) -> Tensor:
    return between[:, 0, 0] * between[:, 1, 1] + between[:, 0, 1] * between[:, 1, 0]


def _rule(nodes: int = _NODES) -> tuple[Tensor, Tensor]:
    """Nodes t and weights on (0, 1)."""
    x, weight = np.polynomial.legendre.leggauss(nodes)
    angle = torch.as_tensor((x + 1) * math.pi / 4)
    return torch.sin(angle), torch.as_tensor(weight) * math.pi / 4 * torch.cos(angle)


def _joint(first: Tensor, second: Tensor, between: Tensor, t: Tensor) -> _Matrix:
    """The covariance of all four; entries (..., nodes)."""
    blocks = ((first[..., None], between[..., None] * t), (between.mT[..., None] * t, second[..., None]))
    return [[blocks[a // 2][b // 2][..., a % 2, b % 2, :] for b in range(4)] for a in range(4)]


def _without(m: _Matrix, k: int) -> _Matrix:
    """The covariance of the other variables where variable k is zero."""
    others = [i for i in range(len(m)) if i != k]
    return [[m[i][j] - m[i][k] * m[k][j] / m[k][k] for j in others] for i in others]


def _angle(m: _Matrix, i: int, j: int) -> Tensor:
    """The arc sine of the correlation of two variables."""
    return torch.atan2(m[i][j], (m[i][i] * m[j][j] - m[i][j].square()).clamp_min(0).sqrt())


def _signs(phi: ErfMixture, first: Tensor, second: Tensor, between: Tensor) -> Tensor:
    """A mean over mixtures of error functions, each of which widens its own variable."""
    size = len(phi.weights)
    t, weight = _rule(_NODES if size == 1 else _TANH_NODES)
    index = torch.cartesian_prod(*[torch.arange(size)] * 4).reshape(-1, 4)
    wider = torch.tensor(phi.variances, dtype=torch.float64)[index]
    share = torch.tensor(phi.weights, dtype=torch.float64)[index].prod(1)
    total = torch.zeros_like(between[:, 0, 0])
    m = _joint(
        first[:, None] + torch.diag_embed(wider[:, :2]),
        second[:, None] + torch.diag_embed(wider[:, 2:]),
        between[:, None],
        t,
    )
    for a in (0, 1):
        given = _without(m, a)
        for b in (2, 3):
            density = (m[a][a] * given[b - 1][b - 1]).rsqrt()
            angle = _angle(_without(given, b - 1), 0, 1)
            total = total + between[:, a, b - 2] * ((density * angle) @ weight @ share)
    return total * 4 / math.pi**2


def _half_lines(first: Tensor, second: Tensor, between: Tensor) -> Tensor:
    """ReLU, where the two variables of a pair may be one."""
    one, other = _is_square(first), _is_square(second)
    if one and other:
        return HalfLines(1.0, 0.0).pair(first[:, 0, 0], second[:, 0, 0], between[:, 0, 0])[0]
    if one:
        return _square_and_product(first[:, 0, 0], second, between[:, 0])
    if other:
        return _square_and_product(second[:, 0, 0], first, between[:, :, 0])
    return _two_products(first, second, between)


def _is_square(pair: Tensor) -> bool:
    return torch.equal(pair[:, 0, 0], pair[:, 0, 1]) and torch.equal(pair[:, 0, 0], pair[:, 1, 1])


def _square_and_product(variance: Tensor, pair: Tensor, between: Tensor) -> Tensor:
    """Cov(x₊², y₊ z₊)."""
    t, weight = _rule()
    doubled = [torch.stack([x, x], -1) for x in (variance, between)]
    m = _joint(torch.stack([doubled[0]] * 2, 1), pair, torch.stack([between] * 2, 1), t)
    m = [[m[i][j] for j in (0, 2, 3)] for i in (0, 2, 3)]
    start = torch.zeros_like(variance)
    bent = between[:, :1] * between[:, 1:] * 4 * _all_positive(m)
    for b in (1, 2):
        given, square = _without(m, b), between[:, b - 1, None].square()
        mean_slope = 2 * (variance / _TURN).sqrt()
        start = start + between[:, b - 1] * mean_slope * _half_mean(pair, b - 1)
        half_mean = (given[1][1].sqrt() + given[0][1] / given[0][0].sqrt()) / (2 * math.sqrt(_TURN))
        bent = bent + 2 * square * (_TURN * m[b][b]).rsqrt() * half_mean
    return start + (bent * (1 - t)) @ weight


def _two_products(first: Tensor, second: Tensor, between: Tensor) -> Tensor:
    """Cov(w₊ x₊, y₊ z₊)."""
    t, weight = _rule()
    m = _joint(first, second, between, t)
    start = torch.zeros_like(between[:, 0, 0])
    bent = orthant = torch.zeros_like(m[0][0])
    for a in (0, 1):
        given = _without(m, a)
        of_row = 2 * between[:, a, 0] * between[:, a, 1]
        bent = bent + of_row[:, None] * (_TURN * m[a][a]).rsqrt() * _one_mean(given, 0)
        of_column = 2 * between[:, 0, a] * between[:, 1, a]
        across = _one_mean(_without(m, a + 2), 2)
        bent = bent + of_column[:, None] * (_TURN * m[a + 2][a + 2]).rsqrt() * across
        for b in (2, 3):
            start = start + between[:, a, b - 2] * _half_mean(first, a) * _half_mean(second, b - 2)
            kappa = between[:, a, b - 2, None]
            rest = _without(given, b - 1)
            density = (m[a][a] * given[b - 1][b - 1]).rsqrt() / _TURN
            bent = bent + kappa.square() * density * _two_means(rest)
            orthant = orthant + kappa * density * (0.25 + _angle(rest, 0, 1) / _TURN)
    apart = (0.25 + _pair_angle(first) / _TURN) * (0.25 + _pair_angle(second) / _TURN)
    all_four = apart / 2 + (orthant * (1 - t).square()) @ weight / 2
    return start + (bent * (1 - t)) @ weight + 2 * _permanent(between) * all_four


def _pair_angle(pair: Tensor) -> Tensor:
    return _angle([[pair[:, i, j] for j in (0, 1)] for i in (0, 1)], 0, 1)


def _half_mean(pair: Tensor, a: int) -> Tensor:
    """E 1[x > 0] y₊, x being variable a of a pair and y the other."""
    c = 1 - a
    return (pair[:, c, c].sqrt() + pair[:, 0, 1] / pair[:, a, a].sqrt()) / (2 * math.sqrt(_TURN))


def _two_means(m: _Matrix) -> Tensor:
    """E x₊ y₊."""
    root = (m[0][0] * m[1][1] - m[0][1].square()).clamp_min(0).sqrt()
    return (root + m[0][1] * (math.pi / 2 + _angle(m, 0, 1))) / _TURN


def _one_mean(m: _Matrix, x: int) -> Tensor:
    """E x₊ 1[y > 0] 1[z > 0], by Stein's lemma."""
    total = torch.zeros_like(m[0][0])
    for k in range(3):
        positive = 0.25 + _angle(_without(m, k), 0, 1) / _TURN
        total = total + m[x][k] * (_TURN * m[k][k]).rsqrt() * positive
    return total


def _all_positive(m: _Matrix) -> Tensor:
    """P(x, y, z > 0)."""
    return 0.125 + (_angle(m, 0, 1) + _angle(m, 0, 2) + _angle(m, 1, 2)) / (2 * _TURN)
