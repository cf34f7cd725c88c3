"""Figures of finite width at the smoke budget: they hold, they notice what is wrong, and they draw.

Seeds are fixed, so the checks cannot fail by chance; were the random numbers to change, all of them together
would raise a false alarm with probability 0.01. Numbers are made in torch's default precision, as on the
command line: a constant that is rounded to float32 must fail here.
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

from experiments.fischer.finite_width import (
    Networks,
    deviations,
    extrapolated,
    sharp_shift,
    sharp_variance,
    variance,
)
from experiments.wide import mean_and_error
from paper_figs.fischer.regression import digits, kernel_of_angle
from resnet_sde import ERF
from resnet_sde.finite_width import output_response
from resnet_sde.meanfield import kernel

# What must be noticed


def kernels_without_memory() -> xr.Dataset:
    ds = smoke("fischer/kernels")
    wrong = ds.variance_theory.copy()
    wrong.loc[{"network": "residual"}] = ds.without_memory
    return ds.assign(variance_theory=wrong)


def kernels_with_deviations_for_variances() -> xr.Dataset:
    """What falls like width^−1/2."""
    ds = smoke("fischer/kernels")
    return ds.assign(readout=ds.readout * (ds.networks_width / 32) ** 0.5)


def responses_without_the_readout() -> xr.Dataset:
    """The response of the states, which has no maximum."""
    ds = smoke("fischer/response")
    states = [Networks(20, float(x)).theory().kernel_response[-1, 0] for x in ds.simulated_scale]
    return ds.assign(simulated_theory=(ds.simulated_theory.dims, [[float(x) for x in states]]))


def responses_of_another_exponent() -> xr.Dataset:
    """Optimal scales that fall like L^−0.45."""
    ds = smoke("fischer/response")
    factor = xr.where(ds.scaled_peak["at"] == "scale", (ds.scaled_depth / 20) ** 0.05, 1.0)
    return ds.assign(scaled_peak=ds.scaled_peak * factor)


def optima_of_another_exponent() -> xr.Dataset:
    ds = smoke("fischer/optimum")
    return ds.assign(scale=ds.scale * (ds.depth / 20) ** 0.05)


def prefactors_of_deviations() -> xr.Dataset:
    """Variances where standard deviations are meant: 1/σ_w² for 1/σ_w."""
    ds = smoke("fischer/optimum")
    return ds.assign(prefactor=ds.prefactor / ds.sigma_w2**0.5)


def separation_with_the_slope_of_lengths() -> xr.Dataset:
    ds = smoke("fischer/separation")
    lengths = [output_response(Networks(20, float(x)).model(), 0.05, depth=20) for x in ds.simulated_scale]
    return ds.assign(simulated_theory=ds.simulated_theory * 0 + np.array(lengths))


def fluctuations_without_memory() -> xr.Dataset:
    ds = smoke("fischer/fluctuations")
    wrong = ds.at_scales.copy()
    wrong.loc[{"quantity": "variance"}] = ds.at_scales.sel(quantity="without_memory")
    return ds.assign(at_scales=wrong)


def fluctuations_that_shift_upwards() -> xr.Dataset:
    ds = smoke("fischer/fluctuations")
    wrong = ds.simulated.copy()
    wrong.loc[{"of": "shift", "estimate": "value"}] *= -1
    return ds.assign(simulated=wrong)


def exponents_off_by_little() -> xr.Dataset:
    """Networks with ρ = 0.9 L^−b."""
    ds = smoke("fischer/exponents")
    factor = xr.where(ds.simulated["of"] == "kernel", 1 - 0.19 * (1 - 0.05 / ds.simulated_theory), 1.0)
    return ds.assign(simulated=ds.simulated * factor)


def pairs_with_biases_of_their_own() -> xr.Dataset:
    """Biases that are independent between inputs add nothing to the entry 12."""
    ds = smoke("fischer/pairs")
    return ds.assign(limit=ds.limit - 0.05 * (ds.entry == "12"))


def pairs_with_one_slope() -> xr.Dataset:
    """The entry 12 responds to itself as the entry 22 does."""
    ds = smoke("fischer/pairs")
    wrong = ds.response.copy()
    wrong.loc[{"moved": "12 to 12"}] = ds.response.sel(moved="22 to 22")
    return ds.assign(response=wrong)


def posterior_with_half_the_score() -> xr.Dataset:
    """The entry 12 counted once, not twice."""
    ds = smoke("fischer/posterior")
    return ds.assign(limit=ds.limit * xr.where(ds.entry == "12", 0.5, 1.0))


def regression_best_at_one_over_depth() -> xr.Dataset:
    ds = smoke("fischer/regression")
    return ds.assign(best=ds.best * (10 / ds.depth) ** 0.5)


PLANTED = [
    ("fischer/kernels", kernels_without_memory, "residual, variance of C"),
    ("fischer/kernels", kernels_with_deviations_for_variances, "slope of the variance"),
    ("fischer/kernels", kernels_with_deviations_for_variances, "slope of the shift"),
    ("fischer/response", responses_without_the_readout, "response against ρ"),
    ("fischer/response", responses_of_another_exponent, "L = 500, ρ√L of the maximum"),
    ("fischer/optimum", optima_of_another_exponent, "slope of ln ρ*"),
    ("fischer/optimum", prefactors_of_deviations, "prefactors"),
    ("fischer/separation", separation_with_the_slope_of_lengths, "separation, networks"),
    ("fischer/fluctuations", fluctuations_without_memory, "L = 20, variance, networks"),
    ("fischer/fluctuations", fluctuations_that_shift_upwards, "L = 20, shift, networks"),
    ("fischer/exponents", exponents_off_by_little, "b = 0.5, kernel, networks"),
    ("fischer/pairs", pairs_with_biases_of_their_own, "means, networks"),
    ("fischer/pairs", pairs_with_one_slope, "responses, networks"),
    ("fischer/posterior", posterior_with_half_the_score, "all widths, networks"),
    ("fischer/regression", regression_best_at_one_over_depth, "ρ√L of the least test error"),
]


@pytest.mark.parametrize(("name", "plant", "noticed"), PLANTED)
def test_a_planted_violation_fails(name: str, plant: Callable[[], xr.Dataset], noticed: str) -> None:
    assert any(noticed in failure for failure in failures(name, plant()))


# What the numbers are made with


NETWORKS = {
    "residual": Networks(6, 0.3, 1.2, k0=0.1),
    "partial skip": Networks(6, 0.5, 1.2, k0=0.3, skip=0.8),
    "feed-forward": Networks(6, 1.0, 1.2, k0=0.5, skip=0.0),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_sharp_estimates(name: str) -> None:
    """The same as plain ones, with less noise: five standard errors, a false alarm of 6e-7 each."""
    networks, width = NETWORKS[name], 32
    parts = networks.simulate(width, 4000, deviations(networks), 0)
    linear, error = mean_and_error(parts[:, 1])
    assert abs(linear) < 5 * error
    for (value, noise), (plain, plain_noise) in (
        (sharp_variance(parts, width), [width * x for x in variance(parts[:, 0])]),
        (sharp_shift(parts, width), [width * x for x in mean_and_error(parts[:, 0])]),
    ):
        assert noise < plain_noise / 1.5
        assert abs(value - plain) < 5 * plain_noise
    theory = networks.theory()
    expected, allowed = float(theory.branch_covariance[-1, -1]), 5 / width
    value, noise = sharp_variance(parts, width)
    assert abs(value - expected) < 5 * noise + allowed * expected


def test_memory_is_what_feed_forward_networks_do_not_have() -> None:
    alone = NETWORKS["feed-forward"]
    full, other = alone.theory().branch_covariance, alone.without_memory().branch_covariance[..., 0, 0]
    torch.testing.assert_close(other, full)
    assert alone.simulate(8, 2, deviations(alone), 0).dtype == torch.float64


def test_extrapolation_is_exact_where_it_should_be() -> None:
    widths = np.array([32, 64, 128])
    assert extrapolated(widths, 3 - 7 / widths, np.array([1, 2, 1])) == pytest.approx(3, rel=1e-12)


def test_a_kernel_of_angles_is_that_of_the_images() -> None:
    networks, (x, _) = Networks(20, 0.4), digits()
    x = x[:12] - x.mean(0)
    cosine = (x @ x.T / torch.outer(*[torch.linalg.vector_norm(x, dim=1)] * 2)).clamp(-1, 1)
    k = kernel(networks.model(), networks.k0 * cosine, depth=networks.depth)[-1]
    q = k.diagonal()
    expected = ERF.dual(q[:, None], q, gap=1 - k / torch.outer(q, q).sqrt())
    found = torch.from_numpy(kernel_of_angle(networks)(cosine.numpy()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
