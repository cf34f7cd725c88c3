"""Depth scales of feed-forward networks across the phase diagram, with dropout and without."""

import math

import pytest
import torch
from torch import Tensor

from resnet_sde.activations import RELU, TANH
from resnet_sde.meanfield.phases import fixed_points, phase

FIGURE_2 = {  # ξ_q / ξ_c of tanh networks
    0.001: "1.4264/1.4345 11.3797/22.8861 2.7068/46.5214 1.6775/20.9783 1.3068/13.9790 1.1114/10.8343 "
    ".9037/7.9465",
    0.01: "1.3034/1.3699 3.7200/7.5694 2.3726/81.7043 1.6097/18.3873 1.2801/12.7105 1.0974/10.1646 "
    ".8979/7.6834",
    0.05: "1.0089/1.1914 1.7476/3.6270 1.6828/15.7910 1.3880/25.2134 1.1799/11.7956 1.0415/9.0515 "
    ".8733/6.9803",
    0.1: ".8386/1.0697 1.2752/2.6828 1.3356/7.6532 1.2124/335.9577 1.0842/13.4601 .9831/8.9846 .8455/6.5957",
    0.2: ".6741/.9357 .9380/2.0085 1.0263/4.4068 1.0054/14.9502 .9503/25.5325 .8927/10.2510 .7978/6.4106",
}
FIGURE_3 = {  # c* / ξ_c of tanh networks with dropout, σ_b² = 0.05
    1.0: "1/1.1914 1/3.6270 1/15.7910 1/4911.7 .74408/25.2134 .44680/11.7956 .29932/9.0515 .16506/6.9803",
    0.99: ".99238/1.1899 .96948/3.5525 .88655/10.8530 .76634/14.4779 .62172/13.1177 .39581/9.6652 "
    ".27065/8.0135 .15209/6.4408",
    0.98: ".98463/1.1885 .93950/3.4798 .80485/8.8427 .67472/10.5044 .54845/10.0905 .35627/8.3598 "
    ".24683/7.2306 .14079/5.9826",
    0.95: ".96059/1.1838 .85277/3.2717 .63510/6.2332 .50983/6.7746 .41228/6.7279 .27357/6.1870 "
    ".19382/5.6655 .11409/4.9337",
    0.9: ".91764/1.1750 .71910/2.9532 .45927/4.4734 .35674/4.6667 .28640/4.6553 .19227/4.4432 "
    ".13885/4.1983 .08446/3.8030",
    0.8: ".81950/1.1527 .49363/2.3997 .26460/2.9140 .20082/2.9438 .16084/2.9214 .10977/2.8256 "
    ".08110/2.7219 .05137/2.5492",
}


def as_printed(text: str, value: Tensor) -> bool:
    """To half a unit of the last digit shown, and rounding."""
    digits = len(text.partition(".")[2])
    return abs(float(value) - float(text)) <= 0.5001 * 10.0**-digits


@pytest.mark.parametrize("sigma_b2", FIGURE_2)
def test_depth_scales_against_weights(sigma_b2: float) -> None:
    found = fixed_points(TANH, torch.tensor([0.5, 1, 1.5, 2, 2.5, 3, 4]), sigma_b2)
    cells = FIGURE_2[sigma_b2].split()
    for place, (xi_q, xi_c) in enumerate(cell.split("/") for cell in cells):
        assert as_printed(xi_q, found.xi_q[place])
        assert as_printed(xi_c, found.xi_c[place])


@pytest.mark.parametrize("keep_rate", FIGURE_3)
def test_dropout_against_weights(keep_rate: float) -> None:
    found = fixed_points(TANH, torch.tensor([0.5, 1, 1.5, 1.76, 2, 2.5, 3, 4]), 0.05, keep_rate=keep_rate)
    for place, (c_star, xi_c) in enumerate(cell.split("/") for cell in FIGURE_3[keep_rate].split()):
        assert as_printed(c_star, found.c_star[place])
        assert as_printed(xi_c, found.xi_c[place])
    if keep_rate < 1:
        grid = fixed_points(TANH, torch.linspace(0.01, 6, 300), 0.05, keep_rate=keep_rate)
        assert (grid.c_star < 1).all()
        assert (grid.c_star.diff() < 0).all()


@pytest.mark.parametrize(
    ("sigma_b2", "highest", "place"),
    [
        (1e-5, 112.01, None),
        (1e-4, 35.565, None),
        (1e-3, 11.3927, None),
        (0.01, 3.75515, 1.03958),
        (0.05, 1.809957, 1.17411),
        (0.1, 1.351292, 1.32217),
        (0.2, 1.027818, 1.58976),
    ],
)
def test_lengths_are_slowest_at_finite_scale(sigma_b2: float, highest: float, place: float | None) -> None:
    grid = 1 + torch.linspace(-5 * sigma_b2**0.5, 5 * sigma_b2**0.5, 2001).clamp_min(-0.9)
    xi = fixed_points(TANH, grid, sigma_b2).xi_q
    assert float(xi.max()) == pytest.approx(highest, rel=5e-5)
    assert place is None or float(grid[xi.argmax()]) == pytest.approx(place, abs=0.003)
    at_one = float(fixed_points(TANH, 1.0, sigma_b2).xi_q)
    assert at_one * 2 * (2 * sigma_b2) ** 0.5 == pytest.approx(1, abs=0.6 * sigma_b2**0.5)


@pytest.mark.parametrize(
    ("sigma_w2", "xi_q", "xi_c"),
    [
        (0.01, 0.208866, 0.212974),
        (0.3, 0.692999, 0.756617),
        (0.6, 1.179995, 1.480306),
        (0.9, 1.650552, 2.876493),
        (1.2, 1.808783, 5.944536),
        (1.5, 1.682828, 15.790994),
        (1.7, 1.558254, 74.918271),
    ],
)
def test_ordered_networks(sigma_w2: float, xi_q: float, xi_c: float) -> None:
    found = phase(TANH, sigma_w2, 0.05)
    assert found.xi_q == pytest.approx(xi_q, abs=6e-7)
    assert found.xi_c == pytest.approx(xi_c, abs=6e-7)
    assert (found.xi_c, found.chi_c, found.c_star) == (found.xi_grad, found.chi_1, 1)


def test_correlations_are_slower_than_lengths_and_gradients_but_with_dropout() -> None:
    w, b = torch.linspace(0.1, 16, 54), 10 ** torch.linspace(-4, math.log10(3), 12)
    found = fixed_points(TANH, w[:, None], b)
    assert (found.chi_c > found.chi_q).all()
    chaotic = found.chi_1 > 1.001
    assert (found.xi_c[chaotic] / -found.xi_grad[chaotic] > 1).all()
    assert (found.c_star[chaotic] < 1).all()
    off = phase(TANH, 0.915, 1e-4, keep_rate=0.9)
    assert (round(off.chi_q, 3), round(off.chi_c, 3)) == (0.968, 0.893)
    off = phase(RELU, 0.9, 0.05, keep_rate=0.99)
    assert (round(off.xi_q, 3), round(off.xi_c, 3)) == (1.268, 1.191)


def test_shared_masks_are_larger_weights() -> None:
    """What a network with one mask for all inputs would show is at ρ = 1 and σ_w²/ρ; lengths agree anyhow."""
    own, shared = phase(TANH, 1.7, 0.05, keep_rate=0.8), phase(TANH, 1.7 / 0.8, 0.05)
    assert own.q_star == pytest.approx(shared.q_star, rel=1e-14)
    assert own.xi_grad == pytest.approx(shared.xi_grad, rel=1e-12)
    assert own.c_star < shared.c_star - 0.1
