"""Networks behind a normalization as random walks: their laws, and their moments at three widths.

Exact values are met within |z| < 4.42, a false alarm of 1e-5 each; laws at p > 1e-4. Seeds are fixed.
"""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

import resnet_sde as rs
from resnet_sde.finite_width import homogeneous_moments, random_walk
from resnet_sde.streams import stream

WHITE, SILU = rs.WhiteNoise(), rs.activation("silu")
Z, SAMPLES, DEPTH = 4.42, 16_000, 4
LINEAR = rs.SingleLayer(rs.LINEAR, 0.8, 0.2)
NARROW = rs.TwoLayer(rs.RELU, expansion=0.25)
GATED = rs.GatedLinearUnit(SILU, 1.5, 0.7, 1.2, 0.5)


def model_of(block: rs.Block, width: int, spread: float, norm: str = "rms") -> rs.Model:
    """One whose S is this at q0 = 2 and DEPTH layers."""
    model = rs.Model(rs.PreNorm(block, norm), WHITE, width, beta=0.5)
    unit = random_walk(model, 2.0, depth=DEPTH).spread
    return rs.Model(model.block, WHITE, width, beta=0.5, gain=math.sqrt(spread / unit))


def ratios(model: rs.Model) -> tuple[Tensor, Tensor]:
    """R and D of networks of DEPTH layers from one state of mean square 2."""
    start = torch.randn(model.width, generator=rs.generator(0, "start"), dtype=torch.float64)
    start = (start * math.sqrt(2) / start.square().mean().sqrt()).expand(SAMPLES, 1, -1).contiguous()
    source, shapes = stream(3, "walks"), model.block.shapes(model.width)
    layers = (rs.Layer.revealed(shapes, source) for _ in range(DEPTH))
    end = rs.forward(model.block, start, layers, model.alpha(DEPTH))[-1]
    return tuple(x.square().mean((1, 2)) / 2 for x in (end, end - start))


@pytest.mark.parametrize("norm", ["rms", "layer"])
@pytest.mark.parametrize("spread", [0.25, 1.0])
def test_linear_branches_walk_exactly(norm: str, spread: float) -> None:
    model = model_of(LINEAR, 32, spread, norm)
    walk = random_walk(model, 2.0, depth=DEPTH)
    assert walk.exact
    grown, moved = ratios(model)
    assert stats.kstest(grown, walk.growth.cdf).pvalue > 1e-4
    assert stats.kstest(moved, walk.displacement.cdf).pvalue > 1e-4
    assert stats.kstest(grown, stats.chi2(32, scale=(1 + spread) / 32).cdf).pvalue < 1e-6, "a central law"
    assert walk.growth.var() == pytest.approx(walk.std_square_growth**2, rel=1e-10)
    assert walk.displacement.var() == pytest.approx(walk.std_square_displacement**2, rel=1e-10)


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize(
    "block", [LINEAR, rs.TwoLayer(rs.RELU), NARROW, rs.TwoLayer(rs.TANH, 1.5, 0.2, 0.8, 0.1), GATED], ids=str
)
def test_moments_at_three_widths(block: rs.Block, width: int) -> None:
    model = model_of(block, width, 4.0)
    walk = random_walk(model, 2.0, depth=DEPTH)
    for found, mean, std in zip(
        ratios(model),
        (walk.mean_square_growth, walk.mean_square_displacement),
        (walk.std_square_growth, walk.std_square_displacement),
        strict=True,
    ):
        squares = (found - mean).square()
        error, of_squares = (float(x.std()) / math.sqrt(SAMPLES) for x in (found, squares))
        assert abs(float(found.mean()) - mean) < Z * error
        assert abs(float(squares.mean()) - std**2) < Z * of_squares
        assert abs(float(squares.mean()) - 1.3 * std**2) > Z * of_squares, "a variance that is 30 % off"
        if block in (rs.TwoLayer(rs.RELU), GATED):
            constant = std**2 - (1 + 2 / width) * walk.spread_variance
            assert abs(float(squares.mean()) - constant) > Z * of_squares, "branches of a constant size"
        if block == NARROW:
            square = std**2 - 0.75 * (1 + 2 / width) * walk.spread_variance
            assert abs(float(squares.mean()) - square) > Z * of_squares, "as many hidden numbers as width"


def test_numbers_that_were_derived_and_simulated() -> None:
    """d = 32, L = 64: S = 64 and 1, widths times variances; that of a ReLU has 5 (1 + 2/d) L α⁴ c² more."""
    for gain, spread, expected in ((1.0, 64.0, 8448.0), (0.125, 1.0, 6.0)):
        linear = rs.Model(rs.PreNorm(rs.SingleLayer(rs.LINEAR)), WHITE, 32, beta=0.0, gain=gain)
        relu = rs.Model(rs.PreNorm(rs.TwoLayer(rs.RELU)), WHITE, 32, beta=0.0, gain=gain * math.sqrt(2))
        walk, other = (random_walk(model, depth=64) for model in (linear, relu))
        assert walk.spread == pytest.approx(spread, rel=1e-12)
        assert 32 * walk.std_square_growth**2 == pytest.approx(expected, rel=1e-12)
        added = 5 * (1 + 2 / 32) * 64 * gain**4
        assert 32 * other.std_square_growth**2 == pytest.approx(expected + added, rel=1e-10)
        assert not other.exact
    deep = random_walk(rs.Model(linear.block, WHITE, 32, beta=0.0), depth=10**6)
    assert deep.std_log_growth == pytest.approx(math.sqrt(2 / 32), rel=1e-5), (
        "no depth makes norms fluctuate more"
    )


def test_what_is_no_walk() -> None:
    normalized = rs.PreNorm(rs.TwoLayer(rs.RELU))
    for model, message in (
        (rs.Model(rs.TwoLayer(rs.RELU), WHITE, 8), "random walks where"),
        (rs.Model(normalized, rs.FractionalNoise(0.7), 8), "random walks where"),
        (rs.Model(normalized, rs.WhiteNoise("uniform"), 8), "random walks where"),
        (rs.Model(normalized, WHITE, 8, beta=0.5, skip=0.5), "random walks where"),
        (rs.Model(normalized, WHITE, 8, gain=0.0), "random walks where"),
        (rs.Model(rs.PreNorm(rs.SingleLayer(rs.TANH)), WHITE, 8), "direction of the state"),
        (rs.Model(rs.PreNorm(rs.Reduced(rs.TANH)), WHITE, 8), "size of the branches of Reduced"),
        (rs.Model(rs.PreNorm(rs.TwoLayer(rs.RELU), "layer"), WHITE, 1), "one coordinate is its mean"),
        (rs.Model(normalized, WHITE, 8, beta=-1e3), "beta -1000"),
        (rs.Model(normalized, WHITE, 8, gain=1e200), "mean square inf"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            random_walk(model, depth=4)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="random_walk for branches"):
        homogeneous_moments(rs.Model(normalized, WHITE, 8), 4)
