"""Figures 1 to 7 at the smoke budget: they hold, they notice what is wrong, and they draw what they say.

Seeds are fixed, so the checks cannot fail by chance; were the random numbers to change, all of them together
would raise a false alarm with probability 0.005, nearly all of it from the medians of 12 networks in figures
4 and 5.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from drawn_figures import (
    assert_says_where_it_came_from,
    drawn,
    drawn_numbers,
    failures,
    module,
    panels,
    smoke,
)

import resnet_sde as rs
from experiments.marion.fractional_paths import FractionalPaths
from experiments.marion.initialization import Initialization, first_order, mean_and_interval
from paper_figs._ratios import widened
from paper_figs._style import save
from paper_figs.marion import fig1, fig2, fig4, fig6
from resnet_sde.claims import at_least, between, equal

PANELS = {f"marion/fig{number}": panels for number, panels in enumerate((3, 2, 3, 3, 3, 5, 4), 1)}


@pytest.fixture(scope="module", params=PANELS)
def name(request: pytest.FixtureRequest) -> str:
    """All tests of a figure run one after the other: they share its picture."""
    return request.param


def test_the_numbers_hold(name: str) -> None:
    assert failures(name, smoke(name)) == []


def test_the_dataset_says_where_it_came_from(name: str) -> None:
    assert_says_where_it_came_from(name, smoke(name))


def test_every_panel_is_labelled(name: str) -> None:
    figure = drawn(name)
    assert len(panels(figure)) == PANELS[name]
    assert all(ax.get_xlabel() and ax.get_title("left") for ax in panels(figure))
    assert figure.axes[0].get_ylabel()
    assert figure.legends or any(ax.get_legend() for ax in figure.axes)
    for ax in panels(figure):
        assert len(ax.get_lines()) + len(ax.patches) > 0


def test_a_stored_dataset_draws_the_same_figure(name: str, tmp_path: Path) -> None:
    ds, path = smoke(name), tmp_path / "stored.nc"
    ds.to_netcdf(path, engine="scipy")
    stored = xr.load_dataset(path, engine="scipy")
    assert stored.attrs == ds.attrs
    again = drawn_numbers(module(name).draw(stored))
    for one, other in zip(drawn_numbers(drawn(name)), again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [str(c) for c in module(name).check(stored)] == [str(c) for c in module(name).check(ds)]


def other_model(experiment: Initialization, labels: xr.Dataset) -> xr.Dataset:
    """The data of another experiment under the labels of the right one."""
    return experiment.run(seed=0).assign_coords(beta=labels.beta).assign_attrs(labels.attrs)


def fig1_wrong_exponent() -> xr.Dataset:
    right = fig1.BUDGETS["smoke"]
    return other_model(replace(right, betas=tuple(0.85 * beta for beta in right.betas)), smoke("marion/fig1"))


def fig1_wrong_variance() -> xr.Dataset:
    ds = smoke("marion/fig1")
    return ds.assign(log10_displacement=ds.log10_displacement + np.log10(2) / 2)


def fig2_wrong_exponent() -> xr.Dataset:
    return other_model(replace(fig2.BUDGETS["smoke"], betas=(0.45,)), smoke("marion/fig2"))


def fig2_inverted() -> xr.Dataset:
    ds = smoke("marion/fig2")
    return ds.assign(log10_gradient_growth=-ds.log10_gradient_growth)


def fig3_divided_by_the_wrong_end() -> xr.Dataset:
    ds = smoke("marion/fig3")
    return ds.assign(log10_gradient_displacement=ds.log10_gradient_displacement - ds.log10_gradient_growth)


def fig4_white_weights() -> xr.Dataset:
    return other_model(replace(fig4.BUDGETS["smoke"], law=rs.WhiteNoise()), smoke("marion/fig4"))


def fig5_longer_correlations() -> xr.Dataset:
    return other_model(replace(fig4.BUDGETS["smoke"], law=rs.SmoothNoise(0.5)), smoke("marion/fig5"))


def fig6_wrong_hurst() -> xr.Dataset:
    experiment: FractionalPaths = replace(fig6.BUDGETS["smoke"], hursts=(0.25, 0.5, 0.7))
    return experiment.run(seed=0).assign_coords(hurst=[0.2, 0.5, 0.8])


def fig6_alternating_noise() -> xr.Dataset:
    """Every path with the wrong eigenvalue at the highest frequency: 10 % too much variance at H = 0.8."""
    ds = smoke("marion/fig6")
    return ds.assign(quadratic_variation=ds.quadratic_variation * xr.where(ds.hurst == 0.8, 1.1, 1.0))


def fig7_states_for_gradients() -> xr.Dataset:
    ds = smoke("marion/fig7")
    return ds.assign(log10_displacement=ds.log10_gradient_displacement)


def fig7_too_small() -> xr.Dataset:
    """All ratios smaller by a factor of 10^0.2, as those of a smaller variance are."""
    ds = smoke("marion/fig7")
    return ds.assign(log10_displacement=ds.log10_displacement - 0.2)


def fig7_gradients_of_infinite_width() -> xr.Dataset:
    """A theory without the share 1/40 of gradients that goes with the state."""
    ds, share = smoke("marion/fig7"), 1 / 40
    square = (100**ds.log10_gradient_displacement_theory - share * 100**ds.log10_displacement_theory) / (
        1 - share
    )
    return ds.assign(log10_gradient_displacement_theory=np.log10(square) / 2)


def fig7_nowhere_one() -> xr.Dataset:
    ds = smoke("marion/fig7")
    return ds.assign(log10_displacement=-abs(ds.log10_displacement) - 0.1)


PLANTED = [
    ("marion/fig1", fig1_wrong_exponent, "beta = 0.5"),
    ("marion/fig1", fig1_wrong_variance, "beta = 1"),
    ("marion/fig2", fig2_wrong_exponent, "mean ratio"),
    ("marion/fig2", fig2_inverted, "gradient, p-value"),
    ("marion/fig3", fig3_divided_by_the_wrong_end, "beta = 0.25"),
    ("marion/fig4", fig4_white_weights, "beta = 1"),
    ("marion/fig4", fig4_white_weights, "beta = 0.5"),
    ("marion/fig5", fig5_longer_correlations, "beta = 2"),
    ("marion/fig6", fig6_wrong_hurst, "H = 0.2, lag correlation, mean"),
    ("marion/fig6", fig6_wrong_hurst, "H = 0.8, lag correlation, mean"),
    ("marion/fig6", fig6_alternating_noise, "H = 0.8, quadratic variation, mean"),
    ("marion/fig7", fig7_states_for_gradients, "forward, beta where the ratio is 1, networks"),
    ("marion/fig7", fig7_too_small, "forward, mean distance"),
    ("marion/fig7", fig7_gradients_of_infinite_width, "gradient, beta where the ratio is 1, mean field"),
    ("marion/fig7", fig7_nowhere_one, "forward, beta where the ratio is 1, networks"),
]


@pytest.mark.parametrize(("name", "plant", "noticed"), PLANTED)
def test_a_planted_violation_fails(name: str, plant: Callable[[], xr.Dataset], noticed: str) -> None:
    assert any(noticed in failure for failure in failures(name, plant()))


def test_claims_are_total() -> None:
    assert equal("x", 1.0, 1.1, 0.2).holds
    assert not equal("x", float("nan"), 1.1, 0.2).holds
    assert between("x", 1.0, 0.9, 1.3).holds
    assert not between("x", 1.4, 0.9, 1.3).holds
    assert not at_least("p", 1e-5, 1e-4).holds
    assert str(at_least("p", 1e-5, 1e-4)) == "p: 1e-05 ≥ 0.0001"
    assert widened(200) == 0.5


def test_intervals_cover_the_mean() -> None:
    """800 intervals of level 95 % from 40 Gaussian numbers; a percentile bootstrap covers about 94 %."""
    values = torch.randn(800, 40, generator=rs.generator(0, "coverage")).numpy()
    summary = mean_and_interval(xr.DataArray(values, dims=("cell", "sample")))
    covered = float(((summary.low <= 0) & (summary.high >= 0)).mean())
    assert abs(covered - 0.94) < 4.5 * 0.0084  # standard error of the share: false alarm 7e-6
    np.testing.assert_allclose(summary["mean"], values.mean(1))


def test_the_first_order_of_white_weights_is_exact() -> None:
    assert first_order(rs.WhiteNoise(), 80, 40) == pytest.approx((40**0.5, 40**0.5), rel=1e-12)


def test_constant_weights_add_up() -> None:
    """γ = 1 everywhere: E‖V φ(W h)‖² = ‖h‖²/2, and the gradient of the same."""
    assert first_order(rs.ConstantNoise(), 80, 40) == pytest.approx((80 / 2**0.5, 80 / 2**0.5), rel=1e-12)


def test_the_same_figure_makes_the_same_file(tmp_path: Path) -> None:
    for number in (1, 2):
        save(fig2.draw(smoke("marion/fig2")), tmp_path / f"copy{number}")
    for suffix in (".pdf", ".png"):
        assert (tmp_path / f"copy1{suffix}").read_bytes() == (tmp_path / f"copy2{suffix}").read_bytes()
