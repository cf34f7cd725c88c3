"""What the theorems of finite width measure: estimates that lean on a theory agree with plain ones."""

import math
from dataclasses import replace

import pytest
import torch

from resnet_sde import RELU, TANH, FractionalNoise, Model, SingleLayer, TwoLayer, WhiteNoise
from resnet_sde.finite_width import finite_size
from resnet_sde.theorems import Lab, assert_holds, verify
from resnet_sde.theorems.fischer.networks import (
    ERF_NET,
    FEED_FORWARD,
    PARTIAL,
    RELU_NET,
    TWO_INPUTS,
    Deviation,
    covariance,
    look,
)
from resnet_sde.theorems.fischer.optimal import _argmax
from resnet_sde.theorems.kernels import bessel, moment

SAMPLES = 3000
LAB = Lab(seed=0, level=0.99, samples=SAMPLES)
CASES = {"erf": ERF_NET, "skip 0.8": PARTIAL, "feed-forward": FEED_FORWARD, "ReLU": RELU_NET}


def agrees(values: torch.Tensor, plain: torch.Tensor) -> bool:
    """Whether two estimates on the same networks have one mean, up to five standard errors (6e-7)."""
    apart = values - plain
    return abs(float(apart.mean())) < 5 * float(apart.std()) / math.sqrt(len(apart))


def products(first: Deviation, second: Deviation) -> torch.Tensor:
    x, y = (d.exact - d.exact.mean() for d in (first, second))
    return first.terms.shape[-1] * x * y * len(x) / (len(x) - 1)


@pytest.mark.parametrize("name", CASES)
def test_linear_parts_change_errors_and_no_means(name: str) -> None:
    seen = look(LAB, CASES[name].at(32))
    for deviation in (seen.c(), seen.q()):
        plain = products(deviation, deviation)
        found = covariance(deviation, deviation)
        assert agrees(found, plain)
        assert agrees(deviation.entry, deviation.limit + deviation.exact)


def test_linear_parts_save_networks() -> None:
    """A variance is known as well as from three times as many networks, in wider ones from ten times."""
    for width, share in ((32, 0.3), (128, 0.1)):
        kernel = look(replace(LAB, samples=SAMPLES // 2), ERF_NET.at(width)).c()
        assert covariance(kernel, kernel).var() < share * products(kernel, kernel).var()


def test_linear_parts_of_two_inputs() -> None:
    seen = look(LAB, TWO_INPUTS.at(32))
    for p, q in ((0, 1), (1, 2), (2, 2)):
        assert agrees(covariance(seen.c(p), seen.c(q)), products(seen.c(p), seen.c(q)))


def test_terms_that_are_not_centred_are_noticed() -> None:
    """The planted error: a mean that is off by 5 %."""
    seen = look(LAB, ERF_NET.at(32)).c()
    wrong = Deviation(seen.limit, seen.exact, seen.terms + 0.05 * seen.limit)
    assert not agrees(wrong.entry, wrong.limit + wrong.exact)


def test_theories_without_memory() -> None:
    """In feed-forward networks there is none to forget; in residual ones 40 % of the variance."""
    for case, kept in ((FEED_FORWARD, 1.0), (ERF_NET, 0.584)):
        full = finite_size(case.model, case.start[0], depth=case.depth)
        less = case.without_memory(fluctuations=True, feedback=True)
        ratio = float(less.branch_covariance[-1, -1]) / float(full.branch_covariance[-1, -1])
        assert ratio == pytest.approx(kept, abs=1e-3)
        assert (abs(float(less.branch_shift[-1] / full.branch_shift[-1]) - 1) < 1e-9) == (kept == 1)


def test_models_of_your_own() -> None:
    model = Model(SingleLayer(TANH, 1.1, 0.1), WhiteNoise(), 100)
    verdict = assert_holds("kernel-fluctuations", model=model, start=0.7, depth=15)
    assert len(verdict.claims) == 1
    other = Model(TwoLayer(TANH), WhiteNoise(), 100)
    verdict = verify("kernel-fluctuations", model=other, samples=20)
    assert verdict.status == "assumption not met"


def test_complex_steps_find_a_maximum() -> None:
    """Of 2 log ρ − ρ²/9 at ρ = 3, as a function of ρ²; and there is none of log ρ."""
    assert _argmax(lambda s: complex(torch.log(torch.tensor(s))) - s / 9, 2.0) == pytest.approx(
        3.0, rel=1e-12
    )
    assert math.isnan(_argmax(lambda s: complex(torch.log(torch.tensor(s))), 2.0))


def test_sums_behind_the_kernels() -> None:
    assert bessel(1.0) == pytest.approx(2.279585302336067, rel=1e-14)
    # Σ_{n ≥ 1} γ(n) = −1/2 for H < 1/2, and at power 2H it is 0.50615 for H = 0.05.
    assert moment(0.1, 0.0, 10_000) == pytest.approx(0.5, abs=1e-3)
    assert moment(0.05, 0.1, 100_000) == pytest.approx(0.50615, abs=1e-4)


@pytest.mark.parametrize("id", ["mean-bounds", "probability-bound", "second-moment", "log-normal-limit"])
def test_noise_of_hurst_index_one_half_is_white(id: str) -> None:
    """Theorems ask a law for facts; another entry than a Gaussian one is another fact."""
    for law, spoken_of in ((FractionalNoise(0.5), True), (FractionalNoise(0.6), False)):
        verdict = verify(id, model=Model(TwoLayer(RELU), law, 10, 0.5), samples=20)
        assert (verdict.status != "assumption not met") is spoken_of
