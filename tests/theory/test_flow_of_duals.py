"""Flows of blocks that state a dual, as normalized and gated ones do, and the layers that tend to them."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import resnet_sde as rs
from resnet_sde import meanfield as mf

SINGLE, TWO = rs.SingleLayer(rs.TANH, 1.5, 0.2), rs.TwoLayer(rs.TANH, 1.5, 0.2, 0.8, 0.1)
GATED = rs.GatedLinearUnit(rs.SIGMOID, 1.5, 1.7, 1.2)
MEMORY, SMOOTH = rs.AutoregressiveNoise((0.5,)), rs.SmoothNoise(0.5)


def test_normalized_networks_walk_and_their_cosines_live_in_logarithmic_time() -> None:
    """q = q0 + c t, and dκ/dτ = the arc-cosine kernel less κ in τ = log(1 + c t / q0)."""
    q0, gap0, c = 0.5, 0.8, 9.0 / 2
    model = rs.Model(rs.PreNorm(rs.TwoLayer(rs.RELU)), rs.WhiteNoise(), 8, gain=3.0)
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    q = mf.flow(model, q0, steps=4).kernel.diagonal()
    torch.testing.assert_close(q, q0 + c * times, rtol=1e-10, atol=0)

    def slope(_: float, cosine: np.ndarray) -> np.ndarray:
        angle = np.arccos(cosine)
        return (np.sin(angle) + cosine * (math.pi - angle)) / math.pi - cosine

    tau = np.log1p(c * times.numpy() / q0)
    expected = solve_ivp(slope, (0, tau[-1]), [1 - gap0], t_eval=tau, rtol=1e-11, atol=1e-13).y[0]
    found = mf.flow_gaps(model, q0, gap0, times)
    torch.testing.assert_close(1 - found, torch.from_numpy(expected), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("block", "law"),
    [
        (rs.PreNorm(SINGLE), MEMORY),
        (rs.PreNorm(SINGLE), rs.FractionalNoise(0.75)),
        (rs.PreNorm(TWO), SMOOTH),
        (rs.PreNorm(TWO), MEMORY),
        (rs.PreNorm(GATED), SMOOTH),
        (GATED, rs.WhiteNoise()),
    ],
    ids=str,
)
def test_layers_tend_to_the_flow(block: rs.Block, law: rs.PathLaw) -> None:
    """Kernels and gradients of 24 and 48 layers, extrapolated; the control has no norm, or another gate."""
    gain = 1.5 if law is SMOOTH else 1.0
    model = rs.Model(block, law, 8, gain=gain)
    ends = []
    for depth in (24, 48):
        kernel = mf.two_time(model, depth=depth)
        back = mf.gradients_along(model, kernel)
        ends.append(torch.stack([kernel[-1, -1], kernel[depth // 2, -1], back[0, 0].log()]))
    expected = 2 * ends[1] - ends[0]

    def flow_of(block: rs.Block) -> torch.Tensor:
        found = mf.flow(rs.Model(block, law, 8, gain=gain), steps=48)
        return torch.stack([found.kernel[-1, -1], found.kernel[24, -1], found.log_gradient_growth[-1]])

    assert float((flow_of(block) - expected).abs().max()) < 5e-3
    other = rs.GatedLinearUnit(rs.SIGMOID, 1.5, 1.7, 1.3) if block is GATED else block.inside
    assert float((flow_of(other) - expected).abs().max()) > 2e-2


def test_refusals() -> None:
    swiglu = rs.GatedLinearUnit(rs.activation("silu"))
    for model, words in (
        (rs.Model(swiglu, rs.WhiteNoise(), 8), "grow faster than the state"),
        (rs.Model(rs.PreNorm(TWO), rs.FractionalNoise(0.75), 8), "is not known; use two_time"),
        (rs.Model(GATED, rs.FractionalNoise(0.9), 8), "is not known; use two_time"),
        (rs.Model(rs.PreNorm(SINGLE), rs.FractionalNoise(0.3), 8), "is not known; use two_time"),
    ):
        with pytest.raises(mf.NoFlow, match=words) as caught:
            mf.flow(model)
        assert "\n" not in str(caught.value)


def test_gates_of_another_variance_are_refused() -> None:
    """As inner matrices are: their kernel is known for weights of variance 1 alone."""
    weights = torch.randn(12, 40, generator=rs.generator(0, "w"), dtype=torch.float64)
    trained = rs.EmpiricalNoise(weights, "smooth")
    assert float((trained.covariance(12).diagonal() - 1).abs().max()) > 1e-3
    for block in (GATED, rs.PreNorm(GATED), rs.PreNorm(TWO)):
        with pytest.raises(ValueError, match="not the variance 1"):
            mf.two_time(rs.Model(block, trained, 8, beta=0.5), depth=12)
