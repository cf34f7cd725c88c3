"""What the numbers of the figures of finite width are made with.

Seeds are fixed, so the checks cannot fail by chance.
"""

import numpy as np
import pytest
import torch

from experiments.fischer.finite_width import (
    Networks,
    deviations,
    extrapolated,
    sharp_shift,
    sharp_variance,
    variance,
)
from experiments.fischer.regression import digits, kernel_of_angle
from experiments.wide import mean_and_error
from resnet_sde import ERF
from resnet_sde.meanfield import kernel

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
