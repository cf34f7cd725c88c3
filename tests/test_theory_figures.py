"""Figures of wide networks at the smoke budget: they hold, they notice what is wrong, and they draw.

Seeds are fixed, so the checks cannot fail by chance. Numbers are made in torch's default precision, as on the
command line: a constant that is rounded to float32 must fail here.
"""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from drawn_figures import (
    failures,
    smoke,
)

from paper_figs.schoenholz import gradients as schoenholz_gradients
from resnet_sde import TANH
from resnet_sde.meanfield.critical import critical_line


def gradients_the_wrong_way() -> xr.Dataset:
    """Slopes counted upwards: the opposite sign."""
    ds = smoke("schoenholz/gradients")
    return ds.assign(slope=-ds.slope)


def gradients_of_another_width() -> xr.Dataset:
    ds = smoke("schoenholz/gradients")
    return ds.assign(gradient=ds.gradient + np.log(ds.attrs["width"]))


def gradients_that_stay_together() -> xr.Dataset:
    """The covariance with the rate of the squares."""
    ds = smoke("schoenholz/gradients")
    return ds.assign(covariance_theory=ds.square_theory)


def relaxation_of_amplitudes() -> xr.Dataset:
    """Depth scales of a distance that is the square root of the right one: exponent 1/2."""
    ds = smoke("schoenholz/phases")
    return ds.assign(xi_c=2 * ds.xi_c)


def boundary_of_deviations() -> xr.Dataset:
    """A boundary in σ_w where σ_w² is meant."""
    ds = smoke("schoenholz/phases")
    return ds.assign(boundary_known=ds.boundary_known**0.5)


def scales_of_gradients() -> xr.Dataset:
    """ξ_c without the fixed point of correlations: |ξ_∇|, which is the same in the ordered phase only."""
    ds = smoke("schoenholz/scales")
    return ds.assign(xi_c=ds.xi_c * xr.where(ds.sigma_w2 > ds.critical, 0.9, 1.0))


def dropout_with_shared_masks() -> xr.Dataset:
    """Networks whose inputs share their masks, which then never part: order without dropout."""
    ds = smoke("schoenholz/dropout")
    networks = ds.networks.copy()
    networks.loc[{"of": "mean", "networks_w2": 1.0}] = 1.0
    return ds.assign(networks=networks)


def lengths_without_biases() -> xr.Dataset:
    ds = smoke("schoenholz/poole_lengths")
    return ds.assign(networks_length=ds.networks_length - ds.attrs["sigma_b2"])


def correlations_that_change_sign() -> xr.Dataset:
    ds = smoke("schoenholz/poole_correlations")
    return ds.assign(networks_correlation=-ds.networks_correlation)


PLANTED = [
    ("schoenholz/gradients", gradients_the_wrong_way, "mean slope"),
    ("schoenholz/gradients", gradients_of_another_width, "log of gradients"),
    ("schoenholz/gradients", gradients_that_stay_together, "covariance of gradients"),
    ("schoenholz/phases", relaxation_of_amplitudes, "xi_c from late layers"),
    ("schoenholz/phases", boundary_of_deviations, "boundary"),
    ("schoenholz/scales", scales_of_gradients, "xi_c, largest relative deviation"),
    ("schoenholz/dropout", dropout_with_shared_masks, "correlations, networks"),
    ("schoenholz/poole_lengths", lengths_without_biases, "length, networks"),
    ("schoenholz/poole_correlations", correlations_that_change_sign, "correlation, networks"),
]


def test_the_critical_variance_that_is_written_down_is_right() -> None:
    assert schoenholz_gradients.CRITICAL == pytest.approx(float(critical_line(TANH, 0.05)), rel=1e-11)


@pytest.mark.parametrize(("name", "plant", "noticed"), PLANTED)
def test_a_planted_violation_fails(name: str, plant: Callable[[], xr.Dataset], noticed: str) -> None:
    assert any(noticed in failure for failure in failures(name, plant()))
