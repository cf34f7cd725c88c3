"""The coefficients of the limit in law of correlated weights are those that its sums over lags give."""

import pytest
import torch

import resnet_sde as rs
from resnet_sde.limits.coefficients import coefficients
from resnet_sde.limits.sde import ItoSDEInLaw

CASES = [
    *((phi, 0.3) for phi in (rs.ERF, rs.TANH, rs.GELU, rs.SIGMOID, rs.RELU, rs.LeakyReLU(0.1))),
    *((phi, 0.3) for phi in (rs.AlphaReLU(0.75), rs.LINEAR)),
    *((phi, 0.7) for phi in (rs.ERF, rs.LINEAR)),
]


@pytest.mark.parametrize(("phi", "hurst"), CASES, ids=lambda value: str(value))
@pytest.mark.parametrize(("biases", "depth"), [((0.0, 0.0), None), ((0.1, 0.2), 50)], ids=["limit", "biases"])
def test_coefficients_are_those_of_the_sums(
    phi: rs.Activation, hurst: float, biases: tuple[float, float], depth: int | None
) -> None:
    """Relative errors are below 1e-8, from the shortest states to the longest, or rounding of what cancels.

    At H < 1/2 all of φ(0)² does, and what is left of A for the shortest states is 1e-11 of it.
    """
    width, gain = 4, 0.9
    block = rs.TwoLayer(phi, sigma_w2=1.3, sigma_b2=biases[0], sigma_a2=biases[1])
    model = rs.Model(block, rs.FractionalNoise(hurst), width=width, gain=gain)
    logs = 46 * torch.rand(60, generator=rs.generator(5, "lengths"), dtype=torch.float64) - 23
    h = (logs / 2).exp()[:, None, None].expand(-1, 1, width)
    limit = ItoSDEInLaw(model, depth=depth)
    covariation, drift = coefficients(model, depth, logs.exp())
    found, moved = limit.covariation(h)[:, 0, 0], limit.drift(h)[:, 0, 0]
    torch.testing.assert_close(found, gain**2 * covariation, rtol=1e-8, atol=2e-15)
    expected = gain**2 / width * drift * h[:, 0, 0]
    torch.testing.assert_close(moved, expected, rtol=1e-8, atol=1e-14 * float(expected.abs().max()))
    assert (covariation > 0).all()
    assert (drift.abs().max() > 0) or phi == rs.LINEAR
