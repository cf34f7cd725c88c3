"""Moments as functions of log q: as accurate as the moments themselves, and beyond the range of floats."""

import math

import pytest
import torch
from dual_references import ACTIVATIONS
from torch import Tensor

from resnet_sde.activations import GELU, TANH, Activation
from resnet_sde.meanfield._table import Table
from resnet_sde.streams import generator

EPSILON = torch.finfo(torch.float64).eps
MOMENTS = ("square", "slope", "centre")


def moment(phi: Activation, name: str, r: Tensor) -> Tensor:
    """As the lengths need them: E φ² / r, E φ'² and E φ / √r."""
    if name == "square":
        return phi.second_moment(r) / r
    return phi.second_moment_prime(r) if name == "slope" else phi.mean(r) / r.sqrt()


def errors(table: Table, phi: Activation, name: str, x: Tensor) -> Tensor:
    found = torch.tensor([table(float(at)) for at in x])
    return (found / moment(phi, name, x.exp()) - 1).abs()


@pytest.mark.parametrize("name", MOMENTS)
@pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)
def test_a_table_is_as_accurate_as_the_moments(phi: Activation, name: str) -> None:
    if name == "centre" and phi.odd:
        pytest.skip("the mean of an odd function is 0")
    table = Table(lambda r: moment(phi, name, r))
    x = 460 * torch.rand(600, generator=generator(0, "inside", name)) - 230
    # The argument e^x of the moment itself is good to |x| roundings.
    assert (errors(table, phi, name, x) < 10 * EPSILON * (1 + x.abs())).all()
    far = 230 + 70 * torch.rand(40, generator=generator(0, "outside", name))
    ends = torch.cat([-far, far[: 0 if phi is GELU and name == "square" else None]])  # where that overflows
    assert (errors(table, phi, name, ends) < 1e-13).all()


@pytest.mark.parametrize(
    ("x", "square"), [(-300.0, 1.0), (-200.0, 1.0), (200.0, math.exp(-200.0)), (300.0, math.exp(-300.0))]
)
def test_the_ends_of_tanh(x: float, square: float) -> None:
    """Linear near 0; far out the sign of z, but for a share e^{−x/2}."""
    table = Table(lambda r: TANH.second_moment(r) / r)
    assert table(x) == pytest.approx(square, rel=1e-13)


@pytest.mark.parametrize("x", [math.inf, -math.inf, 1e6, -1e6])
@pytest.mark.parametrize("phi", ACTIVATIONS, ids=str)
def test_beyond_all_floats_a_value_is_a_number(phi: Activation, x: float) -> None:
    for name in MOMENTS:
        assert 0 <= Table(lambda r, name=name: moment(phi, name, r))(x) < math.inf


def test_a_coarse_table_would_be_noticed() -> None:
    """Half the coefficients: the check of accuracy fails."""
    table = Table(lambda r: moment(TANH, "square", r))
    table(0.1)
    table._pieces[0] = table._pieces[0][-6:]
    x = torch.linspace(0.0, 0.249, 50)
    assert not (errors(table, TANH, "square", x) < 10 * EPSILON * (1 + x.abs())).all()
