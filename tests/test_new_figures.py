"""Figures of leaky ReLU, of correlated weights, of orders and of deferred weights, at the smoke budget.

Seeds are fixed, so the checks cannot fail by chance. Each planted violation names the claim that it must
fail.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from drawn_figures import (
    as_on_the_command_line,
    failures,
    smoke,
)

import resnet_sde as rs
from experiments.marion import correlated_weights as weights
from paper_figs.own import dense_and_deferred
from resnet_sde.matrices import Deferred

# Orders


def orders_of_another_beta() -> xr.Dataset:
    ds = smoke("own/orders")
    strong = ds.strong.copy()
    strong.loc[{"hurst": 0.75}] = ds.wrong.sel(controlled=0.75, control="beta off by 0.15")
    return ds.assign(strong=strong)


def orders_of_other_noise() -> xr.Dataset:
    ds = smoke("own/orders")
    strong = ds.strong.copy()
    strong.loc[{"hurst": 0.75}] = ds.wrong.sel(controlled=0.75, control="noise of its own for every depth")
    return ds.assign(strong=strong)


def orders_h_minus_a_half() -> xr.Dataset:
    """Half of what they are."""
    ds = smoke("own/orders")
    return ds.assign(weak=ds.weak / 2)


def orders_with_controls_that_hold() -> xr.Dataset:
    ds = smoke("own/orders")
    return ds.assign(wrong=ds.wrong - ds.wrong + ds.strong.sel(hurst=0.75))


def orders_of_other_outer_weights() -> xr.Dataset:
    ds = smoke("own/orders")
    return ds.assign(relu=ds.relu * 0 + ds.relu_wrong.values)


def orders_of_a_slope_of_one() -> xr.Dataset:
    """The order of one matrix, 2H − 1."""
    ds = smoke("own/orders")
    return ds.assign(tanh=ds.tanh * 0 + 0.8)


def orders_halved() -> xr.Dataset:
    ds = smoke("own/orders")
    return ds.assign(row_order=ds.row_order / 2)


# Dense and deferred weights


def other_deferred(model: rs.Model) -> xr.Dataset:
    """The smoke dataset with other networks in place of deferred ones."""
    ds, settings = smoke("own/dense_and_deferred"), dense_and_deferred.BUDGETS["smoke"]
    with as_on_the_command_line():
        ratio, moved = dense_and_deferred.look(model, settings.depth, settings.samples, "deferred", 0)
    ds.ratio.loc[{"weights": "deferred"}] = ratio
    ds.moved_product.loc[{"weights": "deferred"}] = moved
    return ds


def deferred_variance_three_percent_off() -> xr.Dataset:
    model = dense_and_deferred.BUDGETS["smoke"].model()
    return other_deferred(replace(model, gain=1.03**0.5))


def deferred_weights_that_forget() -> xr.Dataset:
    """Looks back that are fresh in all directions, those included that were looked along before."""

    def forgetful(self: Deferred, p: torch.Tensor, scale: float) -> torch.Tensor:
        return self._source.normal_(torch.empty_like(p)) * p.norm(dim=-1, keepdim=True) * scale

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Deferred, "rmatvec", forgetful)
        return other_deferred(dense_and_deferred.BUDGETS["smoke"].model())


def gradients_that_follow_states() -> xr.Dataset:
    ds = smoke("own/dense_and_deferred")
    states = ds.ratio.sel(weights="deferred", of="log10_growth")
    ds.ratio.loc[{"weights": "deferred", "of": "log10_gradient_growth"}] = states
    return ds


def decaying_gradients() -> xr.Dataset:
    ds = smoke("own/dense_and_deferred")
    ds.ratio.loc[{"weights": "deferred", "of": "log10_gradient_growth"}] *= -1
    return ds


def deferred_numbers_of_order_d_squared() -> xr.Dataset:
    ds = smoke("own/dense_and_deferred")
    return ds.assign(numbers=ds.numbers.sel(weights="dense") + 0 * ds.numbers)


PLANTED = [
    ("own/orders", orders_of_another_beta, "one matrix, H = 0.75, strong order"),
    ("own/orders", orders_of_other_noise, "one matrix, H = 0.75, strong order"),
    ("own/orders", orders_h_minus_a_half, "one matrix, H = 0.9, weak order"),
    ("own/orders", orders_with_controls_that_hold, "control, one matrix, H = 0.75"),
    ("own/orders", orders_of_other_outer_weights, "two matrices, relu, H = 0.8, ratio"),
    ("own/orders", orders_of_a_slope_of_one, "two matrices, tanh, H = 0.9, ratio"),
    ("own/orders", orders_halved, "white, tanh, strong order"),
    ("own/orders", orders_halved, "white, linear, weak order"),
    ("own/orders", orders_halved, "white, ReLU, gradient order"),
    ("own/orders", orders_halved, "smooth, tanh, gradient order"),
    (
        "own/dense_and_deferred",
        deferred_variance_three_percent_off,
        "displacement of states and of gradients",
    ),
    ("own/dense_and_deferred", deferred_weights_that_forget, "deferred, largest |⟨p_0, h_0⟩"),
    ("own/dense_and_deferred", gradients_that_follow_states, "correlation of growths"),
    ("own/dense_and_deferred", decaying_gradients, "log10_gradient_growth, p-value"),
    ("own/dense_and_deferred", deferred_numbers_of_order_d_squared, "deferred, random numbers"),
]


@pytest.mark.parametrize(("name", "plant", "noticed"), PLANTED)
def test_a_planted_violation_fails(name: str, plant: Callable[[], xr.Dataset], noticed: str) -> None:
    assert any(noticed in failure for failure in failures(name, plant()))


def test_no_claim_is_about_time() -> None:
    ds = smoke("own/dense_and_deferred")
    slower = ds.assign(seconds=100 * ds.seconds)
    assert failures("own/dense_and_deferred", slower) == []


@pytest.mark.parametrize(("width", "inputs"), [(3, 1), (7, 2), (8, 5)])
def test_random_numbers_are_counted(width: int, inputs: int) -> None:
    assert dense_and_deferred.numbers("dense", width, inputs) == 2 * width**2
    assert dense_and_deferred.numbers("deferred", width, inputs) == 4 * width * inputs


class TestCorrelatedWeights:
    """At width 4, where correlations are of size 1/4; |z| < 4.42, a false alarm of 1e-5 each."""

    width, seed = 4, 42

    def draws(self, count: int, key: str) -> torch.Tensor:
        """√d V with rows of inputs, (draw, in, out)."""
        z = torch.randn(count, self.width**2, generator=rs.generator(0, key))
        return (z @ weights.symmetric_root(self.width, self.seed)).view(count, self.width, self.width)

    def test_the_root_makes_the_correlations(self) -> None:
        """What unit vectors become is their covariance; no sampling."""
        root, entries = (
            make(self.width, self.seed) for make in (weights.symmetric_root, weights.correlation)
        )
        np.testing.assert_allclose((root @ root.T).numpy(), entries, atol=1e-12)
        assert np.linalg.eigvalsh(entries)[0] == pytest.approx(0, abs=1e-12)  # rows are centred

    def test_mixed_paths_have_them_in_every_layer(self) -> None:
        root = weights.symmetric_root(self.width, self.seed)
        units = torch.eye(self.width**2).view(-1, self.width, self.width)
        for law in (weights.WHITE, weights.SMOOTH):
            path = law.path(3, (1, self.width, self.width), generator=rs.generator(0), dtype=torch.float64)
            kind = "fine" if law is weights.WHITE else "modes"
            layers = getattr(weights.mixed(replace(path, **{kind: units[:, None]}), root), kind)
            torch.testing.assert_close(layers.flatten(1), root)

    def test_mean_squares_given_them(self) -> None:
        entries = weights.correlation(self.width, self.seed)
        form = weights.outer_form(entries)
        count = 100_000
        outer, inner = self.draws(count, "outer"), self.draws(count, "inner")
        u = torch.tensor([1.0, -0.5, 0.3, 2.0])
        squares = (u @ outer).square().sum(-1) / self.width
        assert abs(self.z(squares, float(u.numpy() @ form @ u.numpy()))) < 4.42
        assert abs(self.z(squares, float(u.square().sum()))) > 4.42
        (factor,) = weights.branch_factors(entries, u.numpy()[None])
        branch = (torch.relu(u @ inner)[:, None] @ outer)[:, 0].square().sum(-1) / self.width**2
        assert abs(self.z(branch / u.square().sum(), factor)) < 4.42
        assert abs(self.z(branch / u.square().sum(), 0.5)) > 4.42

    @staticmethod
    def z(values: torch.Tensor, exact: float) -> float:
        return float((values.mean() - exact) / values.std()) * len(values) ** 0.5
