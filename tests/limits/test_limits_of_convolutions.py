"""Convolutions on the path to their limits in depth."""

import math

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde.model import WeightPaths

WHITE = rs.WhiteNoise()
LINEAR = rs.Convolution(rs.SingleLayer(rs.LINEAR), 4)
TANH = rs.SingleLayer(rs.TANH, 1.0, 0.1)


def closed(law: rs.PathLaw, h: Tensor, path: WeightPaths, depth: int, *, ito: bool = True) -> Tensor:
    """One channel, a linear branch and periodic padding: Fourier modes of the state are multiplied by
    exp(X(θ) − ⟨X(θ)⟩ / 2), X(θ) being the mode of the sum of all kernels."""
    ends = path.matrices["outer"].weights(depth)[..., 0].sum(0) * depth**-law.exponent / math.sqrt(3)
    theta = 2 * math.pi * torch.arange(4, dtype=torch.float64) / 4
    waves = torch.exp(1j * theta * torch.arange(-1, 2, dtype=torch.float64)[:, None])
    square = waves.square().sum(0) / 3 if law.exponent == 0.5 and ito else torch.zeros(4)
    factor = torch.exp(ends.to(waves) @ waves - square / 2)
    return torch.fft.ifft(torch.fft.fft(h) * factor[:, None]).real


@pytest.mark.parametrize("law", [WHITE, rs.FractionalNoise(0.7)], ids=str)
def test_linear_convolutions_tend_to_their_closed_form(law: rs.PathLaw) -> None:
    """At the rates 1/2 and 2H − 1 = 0.4, which is a little faster at these depths, on 300 paths."""
    model = rs.Model(LINEAR, law, 4)
    h = torch.randn(300, 1, 4, generator=rs.generator(0, "h"), dtype=torch.float64)
    path, errors = model.draw(1024, samples=300, dtype=torch.float64), []
    target = closed(law, h, path, 1024)
    for depth in (64, 1024):
        end = rs.forward(model.block, h, path.layers(depth), model.alpha(depth))[-1]
        errors.append(float((end - target).square().mean().sqrt()))
    assert 16**0.35 < errors[0] / errors[1] < 16**0.6
    assert errors[1] < 0.1 * float(target.square().mean().sqrt())
    solved = rs.limit(model).solve(h, path, steps=1024)
    assert float((solved - target).square().mean().sqrt()) < 1.5 * errors[1]
    if law is WHITE:
        wrong = float((end - closed(law, h, path, 1024, ito=False)).square().mean().sqrt())
        assert wrong > 3 * errors[1], "a limit without Itô's term that would not be noticed"


@pytest.mark.parametrize(
    ("block", "law", "order"),
    [
        (rs.Convolution(TANH, 4, padding="zero"), WHITE, 0.5),
        (rs.Convolution(rs.TwoLayer(rs.TANH, expansion=2.0), (2, 2)), rs.SmoothNoise(0.3), 1.0),
        (rs.Convolution(TANH, 4, padding="zero"), rs.FractionalNoise(0.7), None),
    ],
    ids=["white", "smooth", "fractional"],
)
def test_networks_tend_to_their_limit_on_the_path(
    block: rs.Convolution, law: rs.PathLaw, order: float | None
) -> None:
    model = rs.Model(block, law, 8)
    x = torch.randn(1, 8, generator=rs.generator(0, "x"))
    found = rs.couple(model, x, depths=(8, 16, 32), samples=200 if order == 0.5 else 40, gradients=True)
    assert found.expected == order
    assert found.strong_order is not None
    assert found.gradient_order is not None
    for measured in (found.strong_order, found.gradient_order):
        if order is None:  # 2H − 1 or, at these depths, a faster rate
            assert 0.4 < measured.high
            assert 0.3 < measured.value < 1.0
        else:
            assert abs(measured.value - order) < 0.15
    assert " ∗ " in "".join(rs.limit(model).lines())
    assert "C = 2" in "".join(rs.limit(model).lines())


def test_refusals() -> None:
    single = rs.Convolution(TANH, 4)
    for block, law, message in (
        (rs.Convolution(rs.TwoLayer(rs.RELU), 4), WHITE, "convolutions of TwoLayer with white weights"),
        (single, rs.WhiteNoise("uniform"), "convolutions of SingleLayer with white-uniform weights"),
        (single, rs.AutoregressiveNoise([0.5]), "convolutions of SingleLayer with autoregressive"),
        (single, rs.FractionalNoise(0.3), "1/2 with one weight matrix|convolutions"),
        (rs.Convolution(rs.Reduced(rs.TANH), 4), rs.SmoothNoise(0.3), "the reduced block"),
        (rs.PreNorm(single), WHITE, "the block PreNorm"),
    ):
        beta = None if block.critical_beta(law) is not None else 1.0
        with pytest.raises(rs.NoLimit, match=message) as caught:
            rs.limit(rs.Model(block, law, 8, beta=beta))
        assert "\n" not in str(caught.value)
