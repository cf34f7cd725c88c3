"""The networks behind the figures of deep residual networks."""

import torch

import resnet_sde as rs
from experiments.yang.residuals import name as variances_of
from experiments.yang.residuals import networks, states


def test_inputs_have_the_cosines_they_should() -> None:
    x = states(12, (1.0, 0.9, 0.0, -0.5))
    torch.testing.assert_close(x.square().mean(-1), torch.ones(4))
    torch.testing.assert_close((x @ x[0]) / 12, torch.tensor([1.0, 0.9, 0.0, -0.5]))


def test_networks_begin_at_their_inputs() -> None:
    """Gradients are 1 at the top, and the first state is the input."""
    block = rs.Reduced(rs.TANH, 1.0, 0.5)
    seen = networks(block, (0.3,), width=8, depth=5, samples=3, seed=0)
    assert seen.q.shape == (3, 6, 2)
    assert torch.allclose(seen.cosine[:, 0, 1], torch.full((3,), 0.3), atol=1e-6)
    assert bool((seen.log_gradient[:, -1] == 0).all())
    assert variances_of(block) == "1, 0.5, -, -"
