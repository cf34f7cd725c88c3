"""Networks and their limits are differentiable in inputs, readout and the parameters of an activation."""

import pytest
import torch
from torch import Tensor

from resnet_sde import (
    Activation,
    FractionalNoise,
    Model,
    PathLaw,
    SingleLayer,
    SmoothNoise,
    WhiteNoise,
    forward,
    limit,
)

LAWS = [WhiteNoise(), FractionalNoise(0.75), SmoothNoise(0.3)]


class Swish(Activation):
    """φ(x) = x σ(bx), with b to be learned."""

    def __init__(self, steepness: Tensor) -> None:
        self.steepness = steepness

    def __call__(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.steepness * x)

    def prime(self, x: Tensor) -> Tensor:
        s = torch.sigmoid(self.steepness * x)
        return s + self.steepness * x * s * (1 - s)


def loss_and_gradients(law: PathLaw, *, solver: bool, steepness: float = 1.3) -> tuple[Tensor, ...]:
    """A readout's loss, by the network or by the limit's own Euler scheme, and all its gradients."""
    parameter = torch.tensor(steepness, requires_grad=True)
    model = Model(SingleLayer(Swish(parameter)), law, width=3)
    path = model.draw(64, samples=4, seed=0)
    h = torch.linspace(-1, 1, 24).view(4, 2, 3).requires_grad_()
    readout = torch.tensor([0.5, -1.0, 2.0], requires_grad=True)
    if solver:
        end = limit(model).solve(h, path, steps=64, method="euler")
    else:
        end = forward(model.block, h, path.layers(64), model.alpha(64))[-1]
    loss = (end @ readout).square().mean()
    return loss, *torch.autograd.grad(loss, [h, readout, parameter])


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_limit_differentiates_like_the_network(law: PathLaw) -> None:
    for ours, theirs in zip(
        loss_and_gradients(law, solver=False), loss_and_gradients(law, solver=True), strict=True
    ):
        assert bool((ours != 0).any())
        torch.testing.assert_close(theirs, ours, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_gradient_in_the_activation_is_that_of_finite_differences(law: PathLaw) -> None:
    step = 1e-5
    up, down = (loss_and_gradients(law, solver=True, steepness=1.3 + s)[0] for s in (step, -step))
    slope = loss_and_gradients(law, solver=True)[-1]
    # Central differences err by O(step²) and by rounding / step, both below 1e-8 here.
    torch.testing.assert_close(slope, (up - down).detach() / (2 * step), rtol=1e-7, atol=1e-9)


def test_unknown_moments_are_refused() -> None:
    phi = Swish(torch.tensor(1.0))
    with pytest.raises(NotImplementedError, match="give it a property _moments"):
        phi.mean(torch.ones(1))
