"""The experiments behind figures on the plane of H and β that are in no paper."""

import numpy as np
import pytest
import torch

import resnet_sde as rs
from experiments.marion.plane import at_every_scaling
from experiments.own.defective_noise import (
    PublishedNoise,
    coloured,
    covariance_of_map,
    eigenvalues,
    infinite_width,
)
from experiments.own.plane_of_blocks import BLOCKS, coefficients, growth_exponent, still
from paper_figs.own.plane_of_blocks import ONE
from resnet_sde.fractional import autocovariance
from resnet_sde.meanfield import displacements
from resnet_sde.observables import log10_displacement, log10_gradient_displacement
from resnet_sde.paths import OffGrid
from resnet_sde.propagate import Workspace

# The published generator


def literal_covariance(hurst: float, depth: int) -> torch.Tensor:
    """Of the published generator, step by step: complex spectra, imaginary roots, and a cast to real."""
    gamma = autocovariance(hurst, depth)
    row = torch.cat([gamma, torch.zeros(1), gamma[1:].flip(0)])
    roots = torch.sqrt(torch.fft.fft(row).real.to(torch.complex128))
    unit, scale = torch.eye(depth - 1, dtype=torch.complex128), (4 * depth) ** 0.5
    columns = []
    for normals in (unit, 1j * unit):
        spectra = torch.zeros(depth - 1, 2 * depth, dtype=torch.complex128)
        spectra[:, 1:depth] = roots[1:depth] * normals / scale
        spectra[:, depth + 1 :] = roots[depth + 1 :] * normals.conj().flip(1) / scale
        columns.append(spectra)
    ends = torch.zeros(2, 2 * depth, dtype=torch.complex128)
    ends[0, 0] = ends[1, depth] = roots[0] / (2 * depth) ** 0.5
    noise = torch.fft.fft(torch.cat([*columns, ends]))[:, :depth].real
    return noise.mT @ noise


@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.8, 0.97])
def test_the_map_is_the_published_generator(hurst: float) -> None:
    found = covariance_of_map(eigenvalues(hurst, 24, published=True))
    torch.testing.assert_close(found, literal_covariance(hurst, 24), rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 7, 24])
def test_without_its_defects_the_map_is_exact(depth: int) -> None:
    found = covariance_of_map(eigenvalues(0.9, depth, published=False))
    torch.testing.assert_close(found, rs.FractionalNoise(0.9).covariance(depth), rtol=0, atol=1e-12)


def test_the_published_law_draws_what_its_covariance_says() -> None:
    law, depth = PublishedNoise(0.97), 12
    path = law.path(depth, (40_000,), generator=rs.generator(0, "published"), dtype=torch.float64)
    noise = path.weights(depth)
    # Entries of an empirical covariance have errors of √2 / 200 at most.
    found, expected = noise @ noise.mT / noise.shape[1], law.covariance(depth)
    torch.testing.assert_close(found, expected, rtol=0, atol=5 * 2**0.5 / 200)
    assert float((found - rs.FractionalNoise(0.97).covariance(depth)).abs().max()) > 0.3
    with pytest.raises(OffGrid):
        path.weights(6)


def test_a_variance_that_is_not_1_belongs_to_the_block() -> None:
    block, law = infinite_width("published", 0.97, 64)
    assert block.variances.outer_weight == block.variances.inner_weight == law.variance(64) > 1.5
    torch.testing.assert_close(law.covariance(64).diagonal(), torch.ones(64), rtol=0, atol=1e-12)


def test_the_noise_is_linear_in_white_noise() -> None:
    values = eigenvalues(0.8, 16, published=True)
    one, other = torch.randn(2, 34, generator=rs.generator(1, "white"))
    torch.testing.assert_close(coloured(one + other, values), coloured(one, values) + coloured(other, values))


# Growth with depth


def test_networks_at_every_scaling_are_those_of_each() -> None:
    block = rs.TwoLayer(rs.RELU)
    layers = rs.Model(block, rs.FractionalNoise(0.7), 6).draw(10, samples=2, seed=0).layers(10)
    h, top = torch.randn(2, 2, 3, 6, generator=rs.generator(2, "states"))
    alphas = torch.tensor([0.1, 0.4])
    together = at_every_scaling(block, layers, alphas, h, top, Workspace())
    assert together.shape == (2, 2, 2, 3)
    for k, alpha in enumerate(alphas.tolist()):
        alone = rs.trajectory(block, h, layers, alpha, top=top, every_layer=False)
        both = torch.stack([log10_displacement(alone), log10_gradient_displacement(alone)])
        torch.testing.assert_close(together[:, :, k], both)


def test_white_weights_change_nowhere_but_at_one_half() -> None:
    for name in BLOCKS:
        for quantity in ("states", "gradients"):
            assert still(name, quantity, 0.5, (50, 400)) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("quantity", ["states", "gradients"])
def test_the_expansion_is_that_of_small_displacements(quantity: str) -> None:
    """Where α is small, what the kernel has beyond the first term is the second, up to the order of α."""
    block, depth, alpha = BLOCKS[ONE], 256, 0.01
    found = displacements(block, rs.FractionalNoise(0.1), depth, torch.tensor([alpha]))
    log10 = found.log10_forward if quantity == "states" else found.log10_gradient
    terms = [c * alpha**power for power, c in coefficients(block, quantity, 0.1, depth).items()]
    assert 100 ** float(log10) - terms[0] == pytest.approx(terms[1], rel=0.05)


def test_growth_exponents_are_slopes() -> None:
    """Squares 3 L^{−0.8} in every network have slope −0.4 and no error."""
    squares = 3.0 * np.array([10.0, 1000.0]) ** -0.8 * np.ones((5, 1))
    exponent, error = growth_exponent(squares, (10, 1000))
    assert exponent == pytest.approx(-0.4)
    assert error == pytest.approx(0.0, abs=1e-12)
