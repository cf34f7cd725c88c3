"""Figures of wide networks at the smoke budget: they hold, they notice what is wrong, and they draw.

Seeds are fixed, so the checks cannot fail by chance. Numbers are made in torch's default precision, as on the
command line: a constant that is rounded to float32 must fail here.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from paper_figs.__main__ import PICTURES, THEORY

PANELS = {
    "poole_correlations": 4,
    "poole_lengths": 4,
    "schoenholz_dropout": 2,
    "schoenholz_gradients": 3,
    "schoenholz_phases": 3,
    "schoenholz_scales": 2,
}
_computed: dict[str, xr.Dataset] = {}


def module(name: str):
    return import_module(f"paper_figs.{name}")


def smoke(name: str) -> xr.Dataset:
    """The dataset of a figure at the smoke budget, computed once for all tests."""
    if name not in _computed:
        torch.set_default_dtype(torch.float32)
        _computed[name] = module(name).compute("smoke", 0)
        torch.set_default_dtype(torch.float64)
    return _computed[name].copy(deep=True)


def failures(name: str, ds: xr.Dataset) -> list[str]:
    return [str(c) for c in module(name).check(ds) if not c.passed]


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def drawn_numbers(figure: Figure) -> list[np.ndarray]:
    lines = [line.get_xydata() for ax in figure.axes for line in ax.get_lines()]
    maps = [m.get_array() for ax in figure.axes for m in ax.collections if isinstance(m, QuadMesh)]
    return [*lines, *maps]


def test_every_figure_is_tested() -> None:
    assert set(THEORY) == set(PANELS)
    assert set(THEORY) < set(PICTURES)


@pytest.mark.parametrize("name", PANELS)
def test_the_numbers_hold(name: str) -> None:
    assert failures(name, smoke(name)) == []


@pytest.mark.parametrize("name", PANELS)
def test_the_dataset_says_where_it_came_from(name: str) -> None:
    attributes = smoke(name).attrs
    assert (attributes["seed"], attributes["budget"]) == (0, "smoke")
    assert attributes["experiment"] == repr(module(name).BUDGETS["smoke"])
    assert all(package in attributes["versions"] for package in ("torch", "numpy", "resnet_sde"))
    assert {"smoke", "paper"} <= module(name).BUDGETS.keys()


@pytest.mark.parametrize("name", PANELS)
def test_a_stored_dataset_draws_the_same_figure(name: str, tmp_path: Path) -> None:
    ds, path = smoke(name), tmp_path / "stored.nc"
    ds.to_netcdf(path, engine="scipy")
    stored = xr.load_dataset(path, engine="scipy")
    figure, again = module(name).draw(ds), module(name).draw(stored)
    assert len(panels(figure)) == PANELS[name]
    assert all(ax.get_xlabel() and ax.get_title("left") for ax in panels(figure))
    assert all(len(ax.get_lines()) > 0 for ax in panels(figure))
    assert figure.legends
    assert not plt.get_fignums()
    for one, other in zip(drawn_numbers(figure), drawn_numbers(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [str(c) for c in module(name).check(stored)] == [str(c) for c in module(name).check(ds)]


def gradients_the_wrong_way() -> xr.Dataset:
    """Slopes counted upwards: the opposite sign."""
    ds = smoke("schoenholz_gradients")
    return ds.assign(slope=-ds.slope)


def gradients_of_another_width() -> xr.Dataset:
    ds = smoke("schoenholz_gradients")
    return ds.assign(gradient=ds.gradient + np.log(ds.attrs["width"]))


def gradients_that_stay_together() -> xr.Dataset:
    """The covariance with the rate of the squares."""
    ds = smoke("schoenholz_gradients")
    return ds.assign(covariance_theory=ds.square_theory)


def relaxation_of_amplitudes() -> xr.Dataset:
    """Depth scales of a distance that is the square root of the right one: exponent 1/2."""
    ds = smoke("schoenholz_phases")
    return ds.assign(xi_c=2 * ds.xi_c)


def boundary_of_deviations() -> xr.Dataset:
    """A boundary in σ_w where σ_w² is meant."""
    ds = smoke("schoenholz_phases")
    return ds.assign(boundary_known=ds.boundary_known**0.5)


def scales_of_gradients() -> xr.Dataset:
    """ξ_c without the fixed point of correlations: |ξ_∇|, which is the same in the ordered phase only."""
    ds = smoke("schoenholz_scales")
    return ds.assign(xi_c=ds.xi_c * xr.where(ds.sigma_w2 > ds.critical, 0.9, 1.0))


def dropout_with_shared_masks() -> xr.Dataset:
    """Networks whose inputs share their masks, which then never part: order without dropout."""
    ds = smoke("schoenholz_dropout")
    networks = ds.networks.copy()
    networks.loc[{"of": "mean", "networks_w2": 1.0}] = 1.0
    return ds.assign(networks=networks)


def lengths_without_biases() -> xr.Dataset:
    ds = smoke("poole_lengths")
    return ds.assign(networks_length=ds.networks_length - ds.attrs["sigma_b2"])


def correlations_that_change_sign() -> xr.Dataset:
    ds = smoke("poole_correlations")
    return ds.assign(networks_correlation=-ds.networks_correlation)


PLANTED = [
    ("schoenholz_gradients", gradients_the_wrong_way, "mean slope"),
    ("schoenholz_gradients", gradients_of_another_width, "log of gradients"),
    ("schoenholz_gradients", gradients_that_stay_together, "covariance of gradients"),
    ("schoenholz_phases", relaxation_of_amplitudes, "xi_c from late layers"),
    ("schoenholz_phases", boundary_of_deviations, "boundary"),
    ("schoenholz_scales", scales_of_gradients, "xi_c, largest relative deviation"),
    ("schoenholz_dropout", dropout_with_shared_masks, "correlations, networks"),
    ("poole_lengths", lengths_without_biases, "length, networks"),
    ("poole_correlations", correlations_that_change_sign, "correlation, networks"),
]


@pytest.mark.parametrize(("name", "plant", "noticed"), PLANTED)
def test_a_planted_violation_fails(name: str, plant: Callable[[], xr.Dataset], noticed: str) -> None:
    assert any(noticed in failure for failure in failures(name, plant()))
