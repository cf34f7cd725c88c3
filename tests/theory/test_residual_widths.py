"""Unscaled residual networks of finite width: exact means for ReLU, the infinite width for others.

Seeds are fixed. |z| < 4.42 is a false alarm of 1e-5; there are 28 of them here. Every theory is also given an
error of 2 % in E φφ and E φ'φ', which must be rejected.
"""

import math
from dataclasses import replace

import pytest
import torch
from residual_models import residual
from torch import Tensor

from resnet_sde import RELU, TANH, AlphaReLU, Block, Reduced, TwoLayer, simulate, trajectory
from resnet_sde import observables as ob
from resnet_sde.blocks import Layer
from resnet_sde.meanfield import gaps, lengths, parameter_gradients
from resnet_sde.streams import stream

LIMIT = 4.42
DEPTH, AT_ONCE = 8, 64
BLOCKS: dict[str, Block] = {
    "tanh": TwoLayer(TANH, 1.0, 0.25, 1.0, 0.25),
    "relu": TwoLayer(RELU, 1.0, 0.1, 0.5, 0.1),
    "power": TwoLayer(AlphaReLU(0.9), 1.0, 0.5, 1.0, 0.5),
    "reduced tanh": Reduced(TANH, 2.0, 0.5),
}


def inputs(width: int) -> Tensor:
    """Two states of mean square 1, mean 0 and cosine 1/2."""
    x = torch.ones(width)
    x[1::2] = -1.0
    return torch.stack([x, torch.cat([-x[: width // 4], x[width // 4 :]])])


def measured(block: Block, width: int, networks: int) -> Tensor:
    """p^L, s^L = (1 − e^L) p^L and χ^0/χ^L of every network: shape (network, 3)."""
    found = []
    for piece in range(networks // AT_ONCE):
        source = stream(0, "widths", block, width, piece)
        top = source.normal_(torch.empty(AT_ONCE, 1, width, dtype=torch.float32)).expand(-1, 2, -1)
        layers = [Layer.revealed(block.shapes(width), source) for _ in range(DEPTH)]
        h = inputs(width).float().expand(AT_ONCE, 2, width).contiguous()
        t = trajectory(block, h, layers, 1.0, top=top.contiguous(), every_layer=False)
        assert t.adjoint is not None
        h, below = t.hidden.natural(-1), t.adjoint.natural(0)
        squares = h.square().mean(-1).mean(-1)
        apart = (h[:, 0] - h[:, 1]).square().mean(-1) / 2
        growth = below[:, 0].square().mean(-1) / top[:, 0].double().square().mean(-1)
        found.append(torch.stack([squares, apart, growth], 1))
    return torch.cat(found)


def theory(block: Block) -> Tensor:
    along = lengths(residual(block), depth=DEPTH)
    gap = gaps(residual(block), 1.0, 0.5, depth=DEPTH)[-1]
    return torch.stack([along.q[-1], along.q[-1] * gap, along.log_gradient_growth[-1].exp()])


def wrong(block: Block) -> Block:
    """With duals 2 % too large; a reduced block becomes one with an outer matrix of variance 1.02."""
    if isinstance(block, TwoLayer):
        return replace(block, sigma_v2=1.02 * block.sigma_v2)
    assert isinstance(block, Reduced)
    return TwoLayer(block.activation, block.sigma_w2, block.sigma_b2, 1.02, 0.0)


def z_scores(samples: Tensor, expected: Tensor) -> list[float]:
    return ((samples.mean(0) - expected) / samples.std(0) * math.sqrt(len(samples))).tolist()


@pytest.mark.parametrize("name", BLOCKS)
def test_wide_networks_agree_with_infinite_ones(name: str) -> None:
    """Means, whose bias is O(1/width): below 1 % at width 64, and here below half a standard error."""
    samples = measured(BLOCKS[name], 512, 1024)
    assert max(map(abs, z_scores(samples, theory(BLOCKS[name])))) < LIMIT
    of_length, _, of_gradient = z_scores(samples, theory(wrong(BLOCKS[name])))
    assert min(abs(of_length), abs(of_gradient)) > LIMIT


def test_a_mean_drives_wide_reduced_relu_networks() -> None:
    """Here the bias is some 10/width, so two widths are extrapolated; without the mean all would be off."""
    block = Reduced(RELU, 0.5, 0.1)
    narrow, wide = measured(block, 256, 4096), measured(block, 512, 4096)
    limit = 2 * wide.mean(0) - narrow.mean(0)
    error = (4 * wide.var(0) + narrow.var(0)).sqrt() / 64
    assert bool(((limit - theory(block)).abs() < LIMIT * error).all())
    of_length, _, of_gradient = ((limit - theory(wrong(block))).abs() / error).tolist()
    assert min(of_length, of_gradient) > LIMIT
    assert float(theory(block)[0] / theory(wrong(block))[0]) > 5


# --- ReLU with an outer matrix: E w wᵀ is the same given the sign of w · x, and means are exact at any width.

NARROW = TwoLayer(RELU, 1.0, 0.5, 1.0, 0.5)


@pytest.mark.parametrize("method", ["dense", "deferred"])
def test_simulated_means_are_exact_for_relu(method: str) -> None:
    x, samples = torch.full((1, 4), 1.0), 150_000
    observe = [ob.kernel, ob.gradient_growth]
    out = simulate(residual(NARROW, 8), x, depth=3, samples=samples, observe=observe, method=method)
    found = torch.stack([out["kernel"].flatten(), out["gradient_growth"].square().flatten()], 1)
    for block, right in ((NARROW, True), (wrong(NARROW), False)):
        along = lengths(residual(block), depth=3)
        z = z_scores(found, torch.stack([along.q[-1], along.log_gradient_growth[-1].exp()]))
        assert all((abs(each) < LIMIT) == right for each in z)


def narrow_gradients(samples: int, piece: int) -> Tensor:
    """Mean squared gradients of W, b, V at the three layers of small networks: (network, 9)."""
    width, source = 8, stream(piece, "narrow")
    layers = [Layer.revealed(NARROW.shapes(width), source) for _ in range(3)]
    top = source.normal_(torch.empty(samples, 1, width))
    t = trajectory(NARROW, torch.ones(samples, 1, width), layers, 1.0, top=top, parameters=True)
    assert t.parameters is not None
    scales = {"inner": NARROW.sigma_w2, "inner_bias": NARROW.sigma_b2, "outer": NARROW.sigma_v2}
    places = [(t.parameters[name].natural(k), scale) for k in range(3) for name, scale in scales.items()]
    return torch.cat([norm[:, 0].square() / (width * scale) for norm, scale in places], dim=1)


def test_parameter_gradients_are_exact_for_relu() -> None:
    """Of W: 1.125, 1.6875, 2.0625; of V the last two and 2.3125; tabulated simulations gave the same."""
    found = torch.cat([narrow_gradients(10_000, piece) for piece in range(20)])

    def expected(block: TwoLayer) -> Tensor:
        exact = parameter_gradients(residual(block), depth=3)
        assert exact.log_inner is not None
        assert exact.log_inner_bias is not None
        assert exact.log_outer is not None
        return torch.stack([exact.log_inner, exact.log_inner_bias, exact.log_outer], 1).exp().flatten()

    right = expected(NARROW)
    assert torch.allclose(right[::3], torch.tensor([1.125, 1.6875, 2.0625]), rtol=1e-12)
    assert torch.allclose(right[2::3], torch.tensor([1.6875, 2.0625, 2.3125]), rtol=1e-12)
    assert max(map(abs, z_scores(found, right))) < LIMIT
    off = z_scores(found, expected(TwoLayer(RELU, 1.0, 0.5, 1.02, 0.5)))
    assert min(abs(each) for k, each in enumerate(off) if k % 3 < 2) > LIMIT  # those of V change by less
