"""What a normalization makes of states that it has nothing to divide by, and of those that are no numbers."""

import math

import pytest
import torch

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde.blocks import normalize


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.1, 1.0, 1 / 3, -0.7, 1e30, 0.0])
def test_rounding_of_a_state_that_is_its_mean_is_not_made_a_state(dtype: torch.dtype, value: float) -> None:
    for width in (1, 2, 3, 7, 10, 100):
        h = torch.full((1, 1, width), value, dtype=dtype, requires_grad=True)
        x, size = normalize(h, "layer")
        assert not x.any()
        assert not size.any()
        (slope,) = torch.autograd.grad(x.sum(), h)
        assert not slope.any()  # not NaN, as of 0/0
        # A hundred roundings of the largest number are more than that.
        near = h.detach().clone()
        near[..., 0] += 100 * max(abs(value), 1.0) * torch.finfo(dtype).eps
        assert width == 1 or float(normalize(near, "layer")[0].square().mean()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_autograd_has_the_gradients_of_a_stream_that_is_zero(norm: str) -> None:
    model = rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise(), 4, norm=norm)  # type: ignore[arg-type]
    net = rs.networks.ResNet(model, 2, 3, 1, dtype=torch.float64)
    x = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(net(x).sum(), x)
    assert not slope.any()


@pytest.mark.parametrize("norm", ["rms", "layer"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_not_made_zero(norm: str, value: float) -> None:
    h = torch.tensor([[[1.0, value, 2.0, 3.0]]])
    assert bool(normalize(h, norm)[0].isnan().any())
    model = rs.Model(rs.GatedLinearUnit(rs.activation("silu")), rs.WhiteNoise(), 4, beta=0.0)
    layers = model.draw(3, samples=1, dtype=torch.float32).layers(3)
    large = torch.full((1, 1, 4), 1e30, dtype=torch.float32)  # whose branch overflows
    found = rs.trajectory(model.block, large, layers, 1.0, norm=norm, top=torch.ones_like(large))
    assert not bool(found.hidden.scaled[-1].isfinite().all())
    assert found.adjoint is not None
    assert not bool(found.adjoint.scaled[0].isfinite().all())


def test_blocks_without_a_variance_to_be_found_are_refused() -> None:
    for block in (rs.PreNorm(rs.TwoLayer(rs.TANH)), rs.GatedLinearUnit(rs.TANH)):
        with pytest.raises(ValueError, match=r"derived for branches V φ"):
            mf.depth_law(block)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"derived for branches V φ"):
            mf.recommend_variances(8, block)  # type: ignore[arg-type]
