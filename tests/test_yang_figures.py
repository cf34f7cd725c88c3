"""Figures of deep residual networks at the smoke budget: they hold, they notice what is wrong, and they draw.

Seeds are fixed, so the checks cannot fail by chance. Numbers are made in torch's default precision, as on the
command line.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr
from drawn_figures import (
    failures,
    smoke,
)

import resnet_sde as rs
from experiments.yang.residuals import name as variances_of
from experiments.yang.residuals import networks, states

# What must not pass.


def powers_of_one_more() -> xr.Dataset:
    """Lengths with the exponent 1/(1 − α) + 1/10."""
    ds = smoke("yang/alpha")
    return ds.assign(log_p=ds.log_p + 0.1 * np.log(ds.layer.clip(1)))


def kernel_of_another_power() -> xr.Dataset:
    ds = smoke("yang/alpha")
    return ds.assign(kernel=ds.kernel * 1.001)


def cosines_that_decay_faster() -> xr.Dataset:
    """e − e* with the exponent δ* + 0.02."""
    ds = smoke("yang/cosines")
    layer = ds.layer.clip(1)
    e_star, f = ds.constant.sel(all_of="e_star"), ds.constant.sel(all_of="f")
    over = 1 - e_star - ds.gap + f * layer**-0.5
    return ds.assign(gap=1 - e_star - over * layer**-0.02 + f * layer**-0.5)


def cosines_without_their_second_power() -> xr.Dataset:
    """The slope that a look at e − e* alone gives."""
    ds = smoke("yang/cosines")
    return ds.assign(constant=ds.constant.where(ds.all_of != "f", 1e-6))


def gradients_of_typical_networks() -> xr.Dataset:
    """Geometric means, which lie half a variance below the theory: here by a half."""
    ds = smoke("yang/gradients")
    return ds.assign(gradient=ds.gradient - 0.5)


def biases_for_weights() -> xr.Dataset:
    ds = smoke("yang/gradients")
    return ds.assign(extra=-ds.extra)


def growth_without_its_power() -> xr.Dataset:
    ds = smoke("yang/growth")
    return ds.assign(constant=ds.constant.where(ds.of == "a", 0.0))


def networks_that_double() -> xr.Dataset:
    ds = smoke("yang/lengths")
    return ds.assign(p=ds.p * 2, e=ds.e * 0.7)


def limit_of_second_order() -> xr.Dataset:
    """An error like 1/depth²."""
    ds = smoke("yang/limit")
    return ds.assign(layers=ds.limit + (ds.layers - ds.limit) * 10 / ds.depth)


def cosines_like_depth_to_the_minus_one() -> xr.Dataset:
    ds = smoke("yang/relu")
    return ds.assign(gap=ds.gap**0.5)


def weights_that_explode() -> xr.Dataset:
    ds = smoke("yang/relu")
    return ds.assign(gradient=ds.gradient * 1.1)


def variances_like_the_root_of_depth() -> xr.Dataset:
    ds = smoke("yang/variances")
    return ds.assign(sigma_w2=ds.sigma_w2 * ds.depth**0.5)


PLANTED = [
    ("yang/alpha", powers_of_one_more, "exponent of p"),
    ("yang/alpha", kernel_of_another_power, "crosses the diagonal"),
    ("yang/cosines", cosines_that_decay_faster, "1, 0.25, 1, 0.25 from cosine -0.5, corrected slope"),
    ("yang/cosines", cosines_without_their_second_power, "corrected slope"),
    ("yang/gradients", gradients_of_typical_networks, "inner_bias, log of mean"),
    ("yang/gradients", biases_for_weights, "inner, exponent"),
    ("yang/growth", growth_without_its_power, "change in the last decade"),
    ("yang/lengths", networks_that_double, "p over theory"),
    ("yang/lengths", networks_that_double, "from cosine 0.9, e"),
    ("yang/limit", limit_of_second_order, "ratio of errors"),
    ("yang/relu", cosines_like_depth_to_the_minus_one, "straightened cosine"),
    ("yang/relu", weights_that_explode, "inner matrix"),
    ("yang/variances", variances_like_the_root_of_depth, "slope from depth 256"),
]


@pytest.mark.parametrize(("name", "plant", "noticed"), PLANTED)
def test_a_planted_violation_fails(name: str, plant: Callable[[], xr.Dataset], noticed: str) -> None:
    assert any(noticed in failure for failure in failures(name, plant()))


# The networks.


def test_inputs_have_the_cosines_they_should() -> None:
    x = states(12, (1.0, 0.9, 0.0, -0.5))
    torch.testing.assert_close(x.square().mean(-1), torch.ones(4))
    torch.testing.assert_close((x @ x[0]) / 12, torch.tensor([1.0, 0.9, 0.0, -0.5]))


def test_networks_begin_at_their_inputs() -> None:
    """Gradients are 1 at the top, and the first state is the input."""
    block = rs.Reduced(rs.TANH, 1.0, 0.5)
    seen = networks(block, (0.3,), width=8, depth=5, samples=3, seed=0)
    assert seen.q.shape == (3, 6, 2)
    assert torch.allclose(seen.cosine[:, 0, 1], torch.full((3,), 0.3), atol=1e-6)
    assert bool((seen.log_gradient[:, -1] == 0).all())
    assert variances_of(block) == "1, 0.5, -, -"
