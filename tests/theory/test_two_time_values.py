"""Displacements of infinitely wide networks against tabulated values, to the digits of the tables."""

import functools
import math

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from resnet_sde import LINEAR, RELU, Block, FractionalNoise, SingleLayer, SmoothNoise, TwoLayer
from resnet_sde.laws import PathLaw
from resnet_sde.meanfield import displacements

WIDTH = 40
ONE, RECTIFIED, TWO = SingleLayer(LINEAR), SingleLayer(RELU), TwoLayer(RELU)


class SmoothIncrements(SmoothNoise):
    """The increments of smooth weights, brought to unit variance."""

    @override
    def covariance(self, depth: int) -> Tensor:
        lag = torch.arange(depth)
        times = torch.arange(-1, depth + 1, dtype=torch.float64) / depth
        kernel = torch.exp(-0.5 * (times / self.length_scale).square())
        second = 2 * kernel[1:-1] - kernel[:-2] - kernel[2:]
        return (second / second[0])[(lag[:, None] - lag).abs()]


@functools.cache
def moved(block: Block, law: PathLaw, depth: int, *betas: float) -> tuple[list[float], list[float]]:
    """log10 of the root mean squared displacements of states, and of gradients at width 40."""
    alphas = float(depth) ** -torch.tensor(betas)
    found = displacements(block, law, depth, alphas)
    return found.log10_forward.tolist(), found.at_width(WIDTH).tolist()


def root_mean_squares(block: Block, law: PathLaw, depth: int, beta: float) -> tuple[float, float]:
    forward, gradient = moved(block, law, depth, beta)
    return 10 ** forward[0], 10 ** gradient[0]


@pytest.mark.parametrize(
    ("law", "linear", "relu", "res3", "gradient"),
    [
        (SmoothNoise(0.1), 0.5057, 0.3485, 0.3073, 0.2703),
        (SmoothIncrements(0.1), 0.1449, 0.1012, 0.2012, 0.2133),
    ],
    ids=["smooth", "increments of smooth"],
)
def test_smooth_weights(law: PathLaw, linear: float, relu: float, res3: float, gradient: float) -> None:
    assert root_mean_squares(ONE, law, 1000, 1.0)[0] == pytest.approx(linear, abs=6e-5)
    assert root_mean_squares(RECTIFIED, law, 1000, 1.0)[0] == pytest.approx(relu, abs=6e-5)
    assert root_mean_squares(TWO, law, 1000, 1.0) == pytest.approx((res3, gradient), abs=6e-5)


@pytest.mark.parametrize(
    ("depth", "log10", "rate"),
    [(100, 1.493, 0.344), (250, 3.054, 0.445), (500, 4.972, 0.512), (1000, 7.783, 0.567)],
)
def test_smooth_weights_explode_exponentially(depth: int, log10: float, rate: float) -> None:
    forward = moved(TWO, SmoothNoise(0.1), depth, 0.5)[0][0]
    assert forward == pytest.approx(log10, abs=6e-4)
    # Growth, where the displacement is all of it.
    assert forward * math.log(10) / math.sqrt(depth) == pytest.approx(rate, abs=6e-4)


@pytest.mark.parametrize(
    ("hurst", "deep", "relu", "linear"),
    [
        (0.6, 0.531, 0.787, 1.242),
        (0.7, 0.457, 0.775, 1.200),
        (0.8, 0.450, 0.766, 1.170),
        (0.9, 0.503, 0.759, 1.148),
    ],
)
def test_regular_weights(hurst: float, deep: float, relu: float, linear: float) -> None:
    """At β = H and depth 1000."""
    law = FractionalNoise(hurst)
    assert root_mean_squares(TWO, law, 1000, hurst)[0] == pytest.approx(deep, abs=6e-4)
    assert root_mean_squares(RECTIFIED, law, 1000, hurst)[0] == pytest.approx(relu, abs=6e-4)
    assert root_mean_squares(ONE, law, 1000, hurst)[0] == pytest.approx(linear, abs=6e-4)


@pytest.mark.full
@pytest.mark.parametrize(("hurst", "deeper"), [(0.6, 0.509), (0.9, 0.485)])
def test_regular_weights_at_three_times_the_depth(hurst: float, deeper: float) -> None:
    found = root_mean_squares(TWO, FractionalNoise(hurst), 3000, hurst)[0]
    assert found == pytest.approx(deeper, abs=6e-4)


@pytest.mark.parametrize(("hurst", "rms"), [(0.05, 0.736), (0.2, 0.697), (0.35, 0.680), (0.5, 0.805)])
def test_rough_weights(hurst: float, rms: float) -> None:
    assert root_mean_squares(TWO, FractionalNoise(hurst), 1000, 0.5)[0] == pytest.approx(rms, abs=6e-4)


def test_one_of_growing_depths() -> None:
    """At H = 0.2, β = 0.4 two matrices grow, as β < 1/2, and one matrix shrinks, as β > 1/4."""
    law = FractionalNoise(0.2)
    for depth, expected in ((250, 0.184), (1000, 0.293)):
        assert moved(TWO, law, depth, 0.4)[0][0] == pytest.approx(expected, abs=6e-4)
    assert moved(RECTIFIED, law, 1000, 0.4)[0] < moved(RECTIFIED, law, 250, 0.4)[0]


# --- The plane of H and β at depth 1000: two ReLU matrices.

# β: forward and gradient, the latter where it is tabulated
PLANE: dict[float, dict[float, tuple[float, float | None]]] = {
    0.05: {0.4: (0.331, None), 0.5: (-0.133, -0.057), 0.6: (-0.470, None)},
    0.2: {0.25: (2.732, None), 0.5: (-0.157, None)},
    0.35: {0.5: (-0.168, None)},
    0.5: {0.4: (0.400, None), 0.5: (-0.094, None), 0.7: (-0.747, None)},
    0.65: {0.5: (0.286, None), 0.6: (-0.147, -0.395)},
    0.8: {0.6: (0.492, -0.029), 0.7: (0.001, -0.398), 0.8: (-0.347, -0.713)},
    0.9: {0.7: (0.551, 0.171), 0.8: (0.053, -0.209), 0.9: (-0.298, -0.528)},
    0.97: {0.9: (0.049, -0.060), 1.0: (-0.296, -0.386)},
}
# where the displacement has norm 1, forward and gradient; the last digit is not certain
LEVEL = {
    0.05: (0.466, 0.485),
    0.2: (0.459, 0.482),
    0.35: (0.457, 0.478),
    0.5: (0.477, 0.477),
    0.65: (0.561, 0.491),
    0.8: (0.700, 0.594),
    0.9: (0.814, 0.740),
    0.97: (0.913, 0.883),
}


@functools.cache
def column(hurst: float) -> dict[float, tuple[float, float]]:
    """All that is asked at one H, in one recursion."""
    around = [level + shift for level in LEVEL[hurst] for shift in (-0.002, 0.002)]
    betas = (*PLANE[hurst], *around)
    return dict(zip(betas, zip(*moved(TWO, FractionalNoise(hurst), 1000, *betas), strict=True), strict=True))


@pytest.mark.parametrize(("hurst", "beta"), [(h, b) for h, row in PLANE.items() for b in row])
def test_plane(hurst: float, beta: float) -> None:
    forward, gradient = column(hurst)[beta]
    expected = PLANE[hurst][beta]
    assert forward == pytest.approx(expected[0], abs=6e-4)
    if expected[1] is not None:
        assert gradient == pytest.approx(expected[1], abs=6e-4)


@pytest.mark.parametrize("which", [0, 1], ids=["forward", "gradient"])
@pytest.mark.parametrize("hurst", LEVEL)
def test_the_level_of_norm_one(hurst: float, which: int) -> None:
    level = LEVEL[hurst][which]
    assert column(hurst)[level - 0.002][which] > 0 > column(hurst)[level + 0.002][which]


# --- One matrix, for contrast.


@pytest.mark.parametrize(
    ("block", "hurst", "beta", "log10"),
    [
        (RECTIFIED, 0.05, 0.5, -1.475),
        (RECTIFIED, 0.05, 0.25, -0.385),
        (RECTIFIED, 0.2, 0.2, 0.219),
        (RECTIFIED, 0.35, 0.3, 0.196),
        (RECTIFIED, 0.35, 0.4, -0.257),
        (RECTIFIED, 0.5, 0.5, -0.094),
        (ONE, 0.1, 0.25, -0.001),
        (ONE, 0.35, 0.3, 0.641),
        (ONE, 0.35, 0.4, -0.058),
        (ONE, 0.8, 0.8, 0.068),
    ],
)
def test_one_matrix(block: Block, hurst: float, beta: float, log10: float) -> None:
    assert moved(block, FractionalNoise(hurst), 1000, beta)[0][0] == pytest.approx(log10, abs=6e-4)
