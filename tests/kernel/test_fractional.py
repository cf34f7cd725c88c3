"""Fractional noise: the sampler is a linear map of white noise, so its covariance needs no sample."""

import math

import mpmath
import numpy as np
import pytest
import torch
from linear_maps import OneHot
from torch import Tensor

from resnet_sde import fractional
from resnet_sde.fractional import Circulant, autocovariance, fractional_noise_
from resnet_sde.streams import Stream, stream

HURSTS = [0.01, 0.1, 0.3, 0.5, 0.6, 0.75, 0.9, 0.99]
DEPTHS = [1, 2, 3, 7, 64, 97]  # 97 is a prime
PEERS = ["hosking", "cholesky"]

every_hurst = pytest.mark.parametrize("hurst", HURSTS)


def exact(hurst: float, depth: int) -> Tensor:
    """The covariance matrix from autocovariances at 40 digits."""
    lag = torch.arange(depth)
    return torch.from_numpy(precise(hurst, depth))[(lag[:, None] - lag).abs()]


def precise(hurst: float, depth: int, lags: np.ndarray | None = None) -> np.ndarray:
    """γ(n) by its definition at 40 digits, which no cancellation can spoil."""
    with mpmath.workdps(40):
        power = 2 * mpmath.mpf(hurst)
        lags = np.arange(depth) if lags is None else lags

        def p(n: int) -> mpmath.mpf:
            return mpmath.mpf(abs(n)) ** power

        return np.array([float((p(n - 1) - 2 * p(n) + p(n + 1)) / 2) for n in map(int, lags)])


def rows_of_covariance(circulant: Circulant, rows: list[int], dtype: torch.dtype = torch.float64) -> Tensor:
    """Some rows of the covariance of the map, by unit vectors, a few hundred at a time."""
    total = torch.zeros(len(rows), circulant.depth)
    for start in range(0, circulant.size, 256):
        unit = torch.eye(min(256, circulant.size - start), dtype=dtype)
        pad = (start, circulant.size - start - unit.shape[0])
        images = circulant.color_(torch.nn.functional.pad(unit, pad).contiguous()).double()
        total += images[:, rows].mT @ images
    return total


def error(circulant: Circulant, hurst: float, dtype: torch.dtype = torch.float64) -> float:
    found = rows_of_covariance(circulant, list(range(circulant.depth)), dtype)
    return float((found - exact(hurst, circulant.depth)).abs().max())


@every_hurst
def test_autocovariance_to_the_last_digits(hurst: float) -> None:
    lags = np.unique(np.r_[0:40, np.geomspace(40, 4096, 40).astype(int)])
    found = autocovariance(hurst, 4097).numpy()[lags]
    # Relative, so that the smallest values are right too; a power loses a few roundings of 2.2e-16.
    assert np.allclose(found, precise(hurst, 0, lags), rtol=3e-15, atol=0)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_short_autocovariances(depth: int) -> None:
    expected = [1.0, 2**0.5 - 1, 0.5 - math.sqrt(8) + 0.5 * 3**1.5][:depth]
    torch.testing.assert_close(autocovariance(0.75, depth), torch.tensor(expected), rtol=1e-14, atol=1e-15)


@every_hurst
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_map_has_the_covariance(hurst: float, depth: int) -> None:
    assert error(Circulant(hurst, depth, torch.float64), hurst) <= 1e-12


@pytest.mark.parametrize("hurst", [0.01, 0.75, 0.99])
def test_the_map_has_the_covariance_at_a_thousand(hurst: float) -> None:
    assert error(Circulant(hurst, 1000, torch.float64), hurst) <= 1e-12


@pytest.mark.parametrize("hurst", [0.1, 0.99])
def test_the_map_has_the_covariance_at_four_thousand(hurst: float) -> None:
    depth, rows = 4096, [0, 1, 2047, 4095]
    found = rows_of_covariance(Circulant(hurst, depth, torch.float64), rows)
    gamma = precise(hurst, depth)
    expected = torch.tensor(np.stack([gamma[np.abs(np.arange(depth) - row)] for row in rows]))
    assert float((found - expected).abs().max()) <= 1e-12


@every_hurst
@pytest.mark.parametrize("depth", [2, 97, 256])
def test_float32_keeps_its_digits(hurst: float, depth: int) -> None:
    assert error(Circulant(hurst, depth, torch.float32), hurst, torch.float32) <= 2e-6


@pytest.mark.parametrize("depth", [2, 3, 97, 4096])
def test_no_eigenvalue_is_negative(depth: int) -> None:
    for hurst in [*HURSTS, 0.999]:
        scale = Circulant(hurst, depth, torch.float64)._scale
        assert bool((scale > 0).all()), "nothing is approximated"


class WrongNyquist(Circulant):
    """The map of a published generator: eigenvalue 0 stands where the last one belongs."""

    def color_(self, normals: Tensor) -> Tensor:
        half = self.size // 2 - 1
        gamma = precise(self.hurst, half + 1)
        eigenvalues = np.fft.rfft(np.r_[gamma, gamma[-2:0:-1]]).real
        normals[..., -2:] *= math.sqrt(eigenvalues[0] / eigenvalues[-1])
        return super().color_(normals)


@pytest.mark.parametrize("hurst", [0.3, 0.75, 0.9])
def test_a_wrong_eigenvalue_is_caught(hurst: float) -> None:
    broken = WrongNyquist(hurst, 64, torch.float64)
    broken.hurst = hurst
    assert error(broken, hurst) > 1e-3


def zero_in_the_middle(hurst: float, depth: int) -> Tensor:
    gamma = autocovariance(hurst, depth)
    gamma[-1] = 0.0
    return gamma


@pytest.mark.parametrize(("hurst", "harmless"), [(0.3, True), (0.9, False), (0.99, False)])
def test_a_zero_in_the_middle_is_caught_where_it_hurts(
    hurst: float, harmless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No lag of the path meets the entry in the middle; it decides whether the eigenvalues have roots at all.
    monkeypatch.setattr(fractional, "autocovariance", zero_in_the_middle)
    if harmless:
        assert error(Circulant(hurst, 64, torch.float64), hurst) <= 1e-12
    else:
        with pytest.raises(ValueError, match="varies by less than float64 can tell"):
            Circulant(hurst, 64, torch.float64)


def test_half_is_white() -> None:
    found = rows_of_covariance(Circulant(0.5, 200, torch.float64), list(range(200)))
    torch.testing.assert_close(found, torch.eye(200), rtol=0, atol=1e-15)


@pytest.mark.parametrize("hurst", [0.9, 0.99, 0.999, 1 - 1e-6, 1 - 1e-12])
def test_constant_weights_are_the_limit(hurst: float) -> None:
    # γ is convex in H, of slope (n−1)² log(n−1) − 2n² log n + (n+1)² log(n+1) ≤ 2 log n + 3 at H = 1.
    n = torch.arange(1, 1000)
    missing = 1 - autocovariance(hurst, 1000)[1:]
    assert bool((missing >= -1e-13).all())
    assert bool((missing <= (1 - hurst) * (2 * n.log() + 3) + 1e-13).all())
    assert error(Circulant(hurst, 64, torch.float64), hurst) <= 1e-12


def pushed(hurst: float, depth: int) -> Tensor:
    """The covariance of what `fractional_noise_` fills, its transposes and pieces included."""
    size = Circulant(hurst, depth, torch.float64).size

    class UnitVectors(OneHot):
        """Path number j is the image of unit vector j."""

        def normal_(self, out: Tensor) -> Tensor:
            out.zero_().diagonal(self.drawn).fill_(1.0)
            self.drawn += out.shape[0]
            return out

    images = fractional_noise_(torch.empty(depth, size), hurst, UnitVectors())
    return images @ images.mT


@pytest.mark.parametrize("depth", [1, 2, 97, 600])
def test_pieces_and_transposes_change_nothing(depth: int) -> None:
    assert float((pushed(0.8, depth) - exact(0.8, depth)).abs().max()) <= 1e-12


def test_the_size_of_pieces_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fractional_noise_(torch.empty(50, 7, 11), 0.7, stream(0))
    monkeypatch.setattr(fractional, "_CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(fractional_noise_(torch.empty(50, 7, 11), 0.7, stream(0)), whole)


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("sampler", fractional.SAMPLERS)
def test_fills_in_place(shape: tuple[int, ...], sampler: str) -> None:
    out = torch.full(shape, math.nan)
    filled = fractional_noise_(out, 0.3, stream(0), sampler)
    assert filled.data_ptr() == out.data_ptr()
    assert filled.shape == shape
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("hurst", [0.1, 0.5, 0.75, 0.95])
@pytest.mark.parametrize("sampler", PEERS)
def test_peers_have_the_covariance_too(sampler: str, hurst: float, monkeypatch: pytest.MonkeyPatch) -> None:
    depth = 24
    units = iter(np.eye(depth))
    monkeypatch.setattr(np.random, "normal", lambda *_: next(units).copy())
    images = fractional_noise_(torch.empty(depth, depth), hurst, stream(0), sampler)
    torch.testing.assert_close(images @ images.mT, exact(hurst, depth), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sampler", fractional.SAMPLERS)
def test_one_name_one_path(sampler: str) -> None:
    def draw(source: Stream) -> Tensor:
        return fractional_noise_(torch.empty(8, 3), 0.7, source, sampler)

    # The fixture of conftest.py sees that NumPy's global state is left as it was.
    assert torch.equal(draw(stream(0)), draw(stream(0)))
    assert not torch.equal(draw(stream(0)), draw(stream(1)))
    source = stream(0)
    assert not torch.equal(draw(source), draw(source))
    assert len(draw(stream(0))[0].unique()) == 3


@pytest.mark.parametrize("sampler", PEERS)
def test_peers_leave_the_global_state_even_when_they_fail(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        np.random.rand()  # noqa: NPY002
        raise KeyboardInterrupt

    monkeypatch.setattr(np.random, "normal", fail)
    with pytest.raises(KeyboardInterrupt):
        fractional_noise_(torch.empty(8, 3), 0.7, stream(0), sampler)
