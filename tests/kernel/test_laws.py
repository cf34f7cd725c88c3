"""What every law of weights must satisfy; covariances are exact, by unit vectors pushed through samplers."""

import math

import pytest
import torch
from every import EVERY_LAW
from hypothesis import given
from hypothesis import strategies as st
from linear_maps import covariance, linear_map
from torch import Tensor

from resnet_sde import (
    ConstantNoise,
    FractionalNoise,
    OffGrid,
    PathLaw,
    SmoothNoise,
    WhiteNoise,
    generator,
)
from resnet_sde.fractional import SAMPLERS
from resnet_sde.paths import ConstantPath, GridPath, SmoothPath, smooth_features
from resnet_sde.streams import Stream
from resnet_sde.testing import checks

GAUSSIAN = [
    WhiteNoise(),
    FractionalNoise(0.05),
    FractionalNoise(0.3),
    FractionalNoise(0.5),
    FractionalNoise(0.75),
    FractionalNoise(0.97),
    SmoothNoise(0.03),
    SmoothNoise(0.1),
    SmoothNoise(1.0),
    ConstantNoise(),
]
LAWS = [
    *dict.fromkeys([*GAUSSIAN, *EVERY_LAW]),
    FractionalNoise(0.7, sampler="hosking"),
    FractionalNoise(0.7, sampler="cholesky"),
]
LENGTH_SCALES = [0.005, 0.02, 0.1, 0.3, 1.0, 10.0]

every_law = pytest.mark.parametrize("law", LAWS, ids=str)
every_gaussian_law = pytest.mark.parametrize("law", GAUSSIAN, ids=str)


def weights_of(law: PathLaw, depth: int, seen_at: int) -> Tensor:
    """The exact covariance of the weights of a network of depth `seen_at` on a path drawn for `depth`."""

    def draw(source: Stream) -> Tensor:
        return law.path(depth, (1,), generator=source, dtype=torch.float64).weights(seen_at)

    return covariance(draw)


@every_law
@pytest.mark.parametrize("check", ["shapes", "stated_covariance", "randomness", "names"])
def test_laws_of_any_parameter_pass_what_is_quick(law: PathLaw, check: str) -> None:
    checks(law)[check]()


@pytest.mark.usefixtures("global_random")
def test_no_generator_means_the_default_one() -> None:
    torch.manual_seed(3)
    first = WhiteNoise().path(4, (2,)).weights(4)
    torch.manual_seed(3)
    assert torch.equal(first, WhiteNoise().path(4, (2,)).weights(4))


@every_gaussian_law
@pytest.mark.parametrize("depth", [1, 2, 3, 24])
def test_realised_covariance_is_the_stated_one(law: PathLaw, depth: int) -> None:
    # Smooth paths keep eigenvalues above 1e-12 of the largest only: their error is of that size.
    tolerance = 1e-10 if isinstance(law, SmoothNoise) else 1e-13
    torch.testing.assert_close(weights_of(law, depth, depth), law.covariance(depth), rtol=0, atol=tolerance)


@every_gaussian_law
@pytest.mark.parametrize("seen_at", [1, 2, 6, 8, 24])
def test_a_path_has_the_law_of_any_depth_it_is_seen_at(law: PathLaw, seen_at: int) -> None:
    tolerance = 1e-10 if isinstance(law, SmoothNoise) else 1e-13
    torch.testing.assert_close(weights_of(law, 24, seen_at), law.covariance(seen_at), rtol=0, atol=tolerance)


@every_gaussian_law
def test_entries_are_independent(law: PathLaw) -> None:
    def draw(source: Stream) -> Tensor:
        return law.path(6, (2, 2), generator=source, dtype=torch.float64).weights(6).movedim(0, -1)

    expected = torch.kron(torch.eye(4), law.covariance(6))
    torch.testing.assert_close(covariance(draw), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("length_scale", LENGTH_SCALES)
def test_smooth_features_reproduce_the_kernel_at_any_time(length_scale: float) -> None:
    odd_times = torch.linspace(0, 1, 307)  # none of them a node, except the ends
    near = torch.linspace(0.3, 0.3 + length_scale, 50).clamp(max=1.0)
    times = torch.cat([odd_times, near])
    kernel = torch.exp(-0.5 * ((times[:, None] - times) / length_scale).square())
    features = smooth_features(times, length_scale)
    assert float((features @ features.mT - kernel).abs().max()) < 1e-10


def test_smooth_covariance_check_catches_a_wrong_length() -> None:
    law = SmoothNoise(0.1)
    assert float((weights_of(SmoothNoise(0.101), 24, 24) - law.covariance(24)).abs().max()) > 1e-3


def test_smooth_path_is_differentiable_in_time() -> None:
    path = SmoothNoise(0.2).path(1, (3,), generator=generator(0))
    assert isinstance(path, SmoothPath)
    time = torch.tensor(0.4, requires_grad=True)
    (slope,) = torch.autograd.grad(path.at(time).sum(), time)
    step = 1e-5
    with torch.no_grad():
        difference = (path.at(time + step) - path.at(time - step)).sum() / (2 * step)
    torch.testing.assert_close(slope, difference, rtol=1e-7, atol=1e-7)


def test_times_keep_their_shape() -> None:
    times = torch.rand(2, 5, generator=generator(0))
    for law in (SmoothNoise(0.2), ConstantNoise()):
        path = law.path(1, (3, 4), generator=generator(1))
        assert isinstance(path, (SmoothPath, ConstantPath))
        assert path.at(times).shape == (2, 5, 3, 4)
        torch.testing.assert_close(path.weights(5)[2], path.at(torch.tensor(0.4)))


@every_gaussian_law
def test_exponent_is_half_the_growth_of_the_variance_of_sums(law: PathLaw) -> None:
    # The local slope is exact but for the first lags, O(1/L) for smooth kernels.
    short, long = 512, 1024
    growth = math.log2(float(law.covariance(long).sum() / law.covariance(short).sum()))
    assert abs(growth / 2 - law.exponent) < 2e-3


def test_half_is_white() -> None:
    assert torch.equal(FractionalNoise(0.5).covariance(300), torch.eye(300))
    torch.testing.assert_close(weights_of(FractionalNoise(0.5), 30, 30), torch.eye(30), rtol=0, atol=1e-15)


@pytest.mark.parametrize("law", [WhiteNoise(), FractionalNoise(0.7)], ids=str)
@pytest.mark.parametrize("depth", [0, -2, 5, 7, 24])
def test_off_grid(law: PathLaw, depth: int) -> None:
    path = law.path(12, (2,), generator=generator(0))
    with pytest.raises(OffGrid, match=f"depth {depth} does not divide the 12 layers"):
        path.weights(depth)


@pytest.mark.parametrize("entries", ["uniform", "rademacher"])
def test_sums_of_other_entries_are_refused(entries: str) -> None:
    path = WhiteNoise(entries).path(12, (2,), generator=generator(0))
    assert path.weights(12).shape == (12, 2)
    with pytest.raises(OffGrid, match="sums of non-Gaussian weights have another law"):
        path.weights(6)


def test_looking_twice_is_looking_once() -> None:
    path = FractionalNoise(0.7).path(12, (3,), generator=generator(0))
    assert isinstance(path, GridPath)
    before = path.fine.clone()
    assert torch.equal(path.weights(4), path.weights(4))
    assert torch.equal(path.fine, before)
    twice = GridPath(path.weights(6), 0.7).weights(2)
    torch.testing.assert_close(twice, path.weights(2))


@pytest.mark.parametrize(
    ("entries", "fourth"), [("gaussian", 3.0), ("uniform", 1.8), ("rademacher", 1.0)], ids=str
)
def test_moments_of_entries(entries: str, fourth: float) -> None:
    n = 200_000
    x = WhiteNoise(entries).path(n, (), generator=generator(0, entries)).weights(n)
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, fourth)):
        values = x**power
        # |z| < 4.42 has a false alarm of 1e-5; the floor is for signs, whose even powers do not vary.
        assert abs(float(values.mean()) - moment) < 4.42 * float(values.std()) / math.sqrt(n) + 1e-12


@pytest.mark.parametrize("depth", [0, -1, 2.5, math.inf, math.nan])
def test_depth_must_be_positive(depth: int) -> None:
    with pytest.raises(ValueError, match="depth must be a positive integer"):
        WhiteNoise().path(depth, (2,), generator=generator(0))


def test_linear_map_of_white_noise_is_the_identity() -> None:
    def draw(source: Stream) -> Tensor:
        return WhiteNoise().path(5, (), generator=source, dtype=torch.float64).weights(5)

    assert torch.equal(linear_map(draw), torch.eye(5))


NUMBERS = st.one_of(st.floats(), st.floats(0, 1), st.integers(-3, 3))


@given(hurst=NUMBERS, sampler=st.one_of(st.sampled_from(SAMPLERS), st.text(max_size=5)))
def test_fractional_is_valid_or_says_why(hurst: float, sampler: str) -> None:
    valid = 0 < hurst < 1 and sampler in SAMPLERS
    check_constructor(lambda: FractionalNoise(hurst, sampler), valid)


@given(length_scale=NUMBERS)
def test_smooth_is_valid_or_says_why(length_scale: float) -> None:
    check_constructor(lambda: SmoothNoise(length_scale), 0.005 <= length_scale < math.inf)


@given(entries=st.text(max_size=8))
def test_white_is_valid_or_says_why(entries: str) -> None:
    check_constructor(lambda: WhiteNoise(entries), entries in ("gaussian", "uniform", "rademacher"))


def check_constructor(make: object, valid: bool) -> None:
    if valid:
        assert isinstance(make(), PathLaw)
        return
    with pytest.raises(ValueError, match=r"got|unknown") as caught:
        make()
    assert "give" in str(caught.value), "the message names a remedy"
