"""Singular values of the Jacobian of a network: against torch.func, the mean field, and by hand."""

import math

import pytest
import torch
from test_parameter_gradients import BLOCKS, Own, drawn
from torch import Tensor
from torch.func import jacrev

import resnet_sde as rs
from resnet_sde import LINEAR, RELU, TANH, Reduced, SingleLayer, TwoLayer, meanfield
from resnet_sde import observables as ob
from resnet_sde.jacobians import input_jacobian
from resnet_sde.matrices import Dense, Layer
from resnet_sde.propagate import States
from resnet_sde.streams import stream

WIDTH, SAMPLES, INPUTS, ALPHA = 6, 3, 2, 0.4
X = torch.tensor([[1.0, 0.2, -0.5, 0.3], [0.6, -0.7, 0.4, 0.1]])


def states() -> Tensor:
    return torch.randn(SAMPLES, INPUTS, WIDTH, generator=stream(0, "h").torch)


def by_torch(block: rs.Block, h: Tensor, layers: list[Layer], *run: object) -> Tensor:
    jacobian = jacrev(lambda start: rs.forward(block, start, layers, *run)[-1])(h)
    return torch.stack(
        [torch.stack([jacobian[s, i, :, s, i] for i in range(INPUTS)]) for s in range(SAMPLES)]
    )


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_singular_values_are_those_of_torch(block: rs.Block) -> None:
    h, layers = states(), drawn(block)
    jacobian = input_jacobian(block, h, layers, ALPHA, 0.8)
    t = rs.Trajectory(rs.trajectory(block, h, layers, ALPHA, 0.8).hidden, jacobian=jacobian)
    expected = by_torch(block, h, layers, ALPHA, 0.8)
    torch.testing.assert_close(jacobian.natural(0), expected, rtol=1e-10, atol=1e-13)
    found = ob.jacobian_singular_values(t)
    torch.testing.assert_close(found, torch.linalg.svdvals(expected), rtol=1e-9, atol=1e-12)
    wrong = torch.linalg.svdvals(by_torch(block, h, layers, 1.01 * ALPHA, 0.8))
    assert not torch.allclose(found, wrong, rtol=1e-4)


def test_scalings_for_each_input_and_adjoints_by_autograd() -> None:
    block, h = TwoLayer(TANH, 1.0, 0.5), states()
    layers, alphas = drawn(block), torch.tensor([[0.1], [0.9]])
    expected = by_torch(block, h, layers, alphas)
    for own in (block, Own("autograd"), Own("twice")):
        found = input_jacobian(own, h, layers, alphas).natural(0)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("width", [3, 40])
def test_ensembles_are_followed_in_parts(width: int) -> None:
    """Of a linear network J is the product of I + α V, and all of its singular values are alike in law."""
    block, h = SingleLayer(LINEAR), torch.ones(SAMPLES, INPUTS, width)
    depth = 700  # 4.5 million numbers for each network of width 40, so that each is followed alone
    weights = torch.randn(depth, SAMPLES, width, width, generator=stream(0, "v").torch)
    found = input_jacobian(block, h, (Layer({"outer": Dense(w)}) for w in weights), depth**-0.5).natural(0)
    product = torch.eye(width).expand(SAMPLES, width, width)
    for w in weights:
        product = product @ (torch.eye(width) + w / math.sqrt(depth * width))
    for i in range(INPUTS):
        torch.testing.assert_close(found[:, i], product.mT, rtol=1e-9, atol=1e-9)


def test_beyond_the_range_of_numbers_the_ratios_are_kept() -> None:
    block, h = SingleLayer(RELU, 4.0), states()
    layers = 40 * drawn(block)  # the same layers again and again
    jacobian = input_jacobian(block, h, layers, 60.0)
    top = float(jacobian.exponent.max())
    t = rs.Trajectory(rs.trajectory(block, h, layers, 60.0).hidden, jacobian=jacobian)
    assert top > 1100
    assert ob.jacobian_singular_values(t)[..., 0].isinf().any()
    smaller = rs.Trajectory(t.hidden, jacobian=States(jacobian.scaled, jacobian.exponent - top))
    found = ob.jacobian_singular_values(smaller)
    assert found.isfinite().all()
    norms = torch.linalg.matrix_norm(smaller.jacobian.natural(0))
    torch.testing.assert_close(torch.linalg.vector_norm(found, dim=-1), norms, rtol=1e-10, atol=0)


MODELS = {
    "one matrix": SingleLayer(RELU, 1.2, 0.3),
    "two": TwoLayer(TANH, 1.2, 0.3, 0.8, 0.2),
    "reduced": Reduced(TANH, 1.2),
}


@pytest.mark.parametrize("block", MODELS.values(), ids=MODELS)
def test_the_mean_square_is_that_of_infinite_width(block: rs.Block) -> None:
    """χ^L at three widths, to 4 standard errors and 2 / width, relatively; 18 numbers, so chance 0.001."""
    for width, samples in ((16, 80), (32, 40), (64, 20)):
        model = rs.Model(block, rs.WhiteNoise(), width, beta=0.5, gain=1.2)
        observe = [ob.jacobian_singular_values, ob.growth]
        out = rs.simulate(model, X, depth=8, samples=samples, observe=observe, seed=width)
        found = out["jacobian_singular_values"]
        assert found.shape == (samples, 2, width)
        assert bool((found.diff(dim=-1) <= 0).all())
        squares = found.square().mean(-1)
        for i, x in enumerate(X):
            q0 = float(x.square().sum()) / X.shape[1]
            theory = meanfield.lengths(model, q0, depth=8).log_gradient_growth[-1].exp()
            error = squares[:, i].std() / math.sqrt(samples)
            allowed = 4 * error + 2 * theory / width
            assert abs(squares[:, i].mean() - theory) < allowed
    assert abs(squares[:, i].mean() - 1.3 * theory) > allowed


def test_other_observables_keep_their_numbers() -> None:
    """Beside a Jacobian and without, on matrices that are drawn in full."""
    model = rs.Model(TwoLayer(RELU), rs.SmoothNoise(0.3), 8, beta=1.0)
    run = {"depth": 5, "samples": 7, "seed": 3, "method": "dense", "gradients": True}
    alone = rs.simulate(model, X, observe=[ob.growth, ob.gradient_growth], **run)
    both = rs.simulate(model, X, observe=[ob.growth, ob.jacobian_singular_values, ob.gradient_growth], **run)
    assert all(torch.equal(both[name], values) for name, values in alone.items())
    ds = rs.study(
        lambda beta: rs.Model(TwoLayer(RELU), rs.WhiteNoise(), 6, beta=beta),
        X,
        over={"beta": [0.5, 1.0], "depth": [4, 8]},
        samples=3,
        observe=[ob.jacobian_singular_values],
        seed=0,
    )
    assert ds.jacobian_singular_values.dims[-3:] == ("sample", "input", "singular_value")
    assert ds.jacobian_singular_values.sizes["singular_value"] == 6
    near_identity = ds.jacobian_singular_values.sel(beta=1.0)
    assert float(abs(near_identity - 1).mean()) < float(
        abs(ds.jacobian_singular_values.sel(beta=0.5) - 1).mean()
    )


def test_what_has_no_jacobian_is_refused() -> None:
    model = rs.Model(SingleLayer(RELU), rs.WhiteNoise(), 8)
    run = {"depth": 4, "samples": 2, "observe": [ob.jacobian_singular_values]}
    with pytest.raises(ValueError, match="give method dense"):
        rs.simulate(model, X, method="deferred", **run)
    with pytest.raises(ValueError, match="GB"):
        rs.simulate(rs.Model(SingleLayer(RELU), rs.WhiteNoise(), 8000), X, **{**run, "depth": 10_000})
    with pytest.raises(ValueError, match="needs the Jacobian"):
        ob.jacobian_singular_values(rs.trajectory(SingleLayer(RELU), states(), drawn(SingleLayer(RELU)), 0.1))
    revealed = [Layer.revealed({"outer": (WIDTH, WIDTH)}, stream(0, "v")) for _ in range(3)]
    with pytest.raises(ValueError, match="drawn in full"):
        input_jacobian(SingleLayer(RELU), states(), revealed, 0.1)
