"""Fractional noise with H near 1: exact, or refused; never NaN."""

import pytest
import torch

import resnet_sde as rs
from resnet_sde.fractional import Circulant


def test_the_cases_that_gave_no_numbers_are_refused() -> None:
    for missing, depth in ((1e-12, 1000), (1e-14, 1000), (1e-15, 1000), (1e-15, 10**5)):
        with pytest.raises(ValueError, match="varies by less than float64 can tell"):
            rs.FractionalNoise(1 - missing).path(depth, (1,), generator=rs.generator(0))
        with pytest.raises(ValueError, match="varies by less than float64 can tell"):
            rs.simulate(
                rs.Model(rs.SingleLayer(rs.RELU), rs.FractionalNoise(1 - missing), 2),
                torch.ones(1, 2),
                depth=depth,
                samples=2,
                observe=[rs.observables.growth],
            )


@pytest.mark.parametrize(
    ("hurst", "depth"), [(0.99, 1000), (0.9999, 300), (1 - 1e-6, 100), (1 - 1e-12, 60), (0.01, 1000)]
)
def test_what_is_drawn_has_the_covariance_it_states(hurst: float, depth: int) -> None:
    """The map from white noise, pushed through unit vectors, against 1 − γ from the definition."""
    few = min(depth, 100)
    circulant = Circulant(hurst, few, torch.float64)
    columns = circulant.color_(torch.eye(circulant.size, dtype=torch.float64))
    lag = torch.arange(few, dtype=torch.float64)
    power = 2 * hurst
    gamma = ((lag - 1).abs().pow(power) - 2 * lag.pow(power) + (lag + 1).pow(power)) / 2
    assert torch.allclose((columns.mT @ columns)[0], gamma, rtol=0, atol=1e-11)
    assert bool(
        rs.FractionalNoise(hurst).path(depth, (2,), generator=rs.generator(0)).weights(depth).isfinite().all()
    )
