"""Figures 1 to 7 at the smoke budget: they hold, and they draw what they say.

Seeds are fixed, so the checks cannot fail by chance; were the random numbers to change, all of them together
would raise a false alarm with probability 0.005, nearly all of it from the medians of 12 networks in figures
4 and 5.
"""

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
from experiments.marion.initialization import first_order, mean_and_interval
from paper_figs._ratios import widened
from paper_figs._style import save
from paper_figs.marion import fig2
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
