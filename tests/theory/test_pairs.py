"""Several inputs in networks with independent layers: against 50 digits, and where inputs come together."""

import math

import mpmath as mp
import pytest
import torch
from dual_references import EXACT
from torch import Tensor

from resnet_sde import RELU, TANH, Block, Model, Reduced, SingleLayer, SmoothNoise, TwoLayer, WhiteNoise
from resnet_sde.activations import ERF, GELU, SIGMOID, LeakyReLU
from resnet_sde.meanfield import gaps, gradient_cosines, kernel, lengths

DEPTH = 6  # of the networks by hand
FULL = (1.5, 0.3, 0.8, 0.2)
K0 = torch.tensor([[1.0, 0.3, -0.9], [0.3, 0.2, -0.4], [-0.9, -0.4, 2.5]])
MEANS = {  # E φ(√q z)
    "relu": lambda q: mp.sqrt(q / (2 * mp.pi)),
    "gelu": lambda q: q / mp.sqrt(2 * mp.pi * (1 + q)),
    "erf": lambda q: mp.mpf(0),
}


def white(block: Block, beta: float = 0.3, gain: float = 1.0, skip: float = 1.0) -> Model:
    return Model(block, WhiteNoise(), 1, beta=beta, gain=gain, skip=skip)


def by_hand(name: str, model: Model, k0: mp.matrix, keep_rate: float) -> tuple[list, list]:
    """Kernels of states and of gradients at every layer, in the arithmetic of mpmath.

    Gradients are those at layer 0 where all inputs have the same gradient at layer l.
    """
    reference, block = EXACT[name][1], model.block
    weight, bias, of_weights, of_bias = (mp.mpf(v) for v in block.variances)
    alpha, skip = mp.mpf(model.alpha(DEPTH)), mp.mpf(model.skip)
    n, k = k0.rows, k0.copy()
    modes = [mp.mpf(0)] * n
    back = mp.matrix(n, n)
    back += 1
    states, gradients = [k.copy()], [back.copy()]
    for _ in range(DEPTH):
        r = weight * k + bias * mp.ones(n)
        pulls = [alpha * MEANS[name](r[i, i]) if isinstance(block, Reduced) else mp.mpf(0) for i in range(n)]
        for i in range(n):
            for j in range(n):
                c = r[i, j] / mp.sqrt(r[i, i] * r[j, j])
                product, slope = reference(r[i, i], r[j, j], min(c, mp.mpf(1)))
                masks = 1 / mp.mpf(keep_rate) if i == j else 1
                branch = masks * of_weights * product + of_bias
                k[i, j] = (
                    skip**2 * k[i, j] + alpha**2 * branch + skip * (modes[i] * pulls[j] + modes[j] * pulls[i])
                )
                back[i, j] *= skip**2 + alpha**2 * masks * of_weights * weight * slope
        modes = [skip * mode + pull for mode, pull in zip(modes, pulls, strict=True)]
        states.append(k.copy())
        gradients.append(back.copy())
    return states, gradients


def tensor(matrices: list) -> Tensor:
    return torch.tensor([[float(x) for x in m] for m in matrices]).reshape(
        len(matrices), *(2 * [matrices[0].rows])
    )


CASES = {
    "res-1 ReLU": ("relu", white(SingleLayer(RELU, 1.2, 0.1)), 1.0),
    "res-1 leaky, skip 0.7": ("leaky", white(SingleLayer(LeakyReLU(0.3), 1.2, 0.1), skip=0.7), 1.0),
    "feed-forward erf": ("erf", white(SingleLayer(ERF, 1.7, 0.2), 0.0, skip=0.0), 1.0),
    "feed-forward GELU, dropout": ("gelu", white(SingleLayer(GELU, 1.5, 0.3), 0.0, skip=0.0), 0.8),
    "res-3": ("relu", white(TwoLayer(RELU)), 1.0),
    "full erf, dropout": ("erf", white(TwoLayer(ERF, *FULL)), 0.7),
    "full GELU, skip −1": ("gelu", white(TwoLayer(GELU, *FULL), skip=-1.0), 1.0),
    "reduced erf": ("erf", white(Reduced(ERF, 1.5, 0.3)), 1.0),
    "reduced ReLU": ("relu", white(Reduced(RELU, 0.5, 0.3)), 1.0),
    "reduced GELU, skip 0.7, dropout": ("gelu", white(Reduced(GELU, 0.5, 0.3), skip=0.7), 0.8),
}
every_case = pytest.mark.parametrize(("name", "model", "keep_rate"), CASES.values(), ids=CASES)


@every_case
@mp.workdps(50)
def test_kernels_of_three_inputs(name: str, model: Model, keep_rate: float) -> None:
    expected = tensor(by_hand(name, model, mp.matrix(K0.tolist()), keep_rate)[0])
    found = kernel(model, K0, depth=DEPTH, keep_rate=keep_rate)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@every_case
@pytest.mark.parametrize("gap0", [1e-12, 1e-3, 0.5, 1.9])
@mp.workdps(50)
def test_gaps_and_gradient_cosines(name: str, model: Model, keep_rate: float, gap0: float) -> None:
    k0 = mp.mpf("0.8") * mp.matrix([[1, 1 - mp.mpf(gap0)], [1 - mp.mpf(gap0), 1]])
    states, gradients = by_hand(name, model, k0, keep_rate)
    gap = torch.tensor([float(1 - k[0, 1] / k[0, 0]) for k in states])
    found = gaps(model, 0.8, gap0, depth=DEPTH, keep_rate=keep_rate)
    torch.testing.assert_close(found, gap, rtol=2e-12, atol=0)
    if keep_rate == 1:
        cosine = torch.tensor([float(1 - back[0, 1] / back[0, 0]) for back in gradients])
        lost = 1 - gradient_cosines(model, 0.8, gap0, depth=DEPTH)
        torch.testing.assert_close(lost, cosine, rtol=1e-11, atol=1e-13)


# --- Inputs that come together.


@pytest.mark.parametrize(
    "block", [SingleLayer(TANH), TwoLayer(TANH, *FULL), SingleLayer(GELU), TwoLayer(SIGMOID, *FULL)], ids=str
)
def test_inputs_that_almost_agree_part_like_gradients(block: Block) -> None:
    """To first order the gap follows the Jacobian: gap · χ⁰/χˡ · q_0/q_l, were lengths equal or not."""
    model, start = white(block), 1e-12
    alone = lengths(model, 0.8, depth=100)
    expected = start * (alone.log_gradient_growth - alone.log_q + alone.log_q[0]).exp()
    torch.testing.assert_close(gaps(model, 0.8, start, depth=100), expected, rtol=1e-9, atol=0)
    cosine = gradient_cosines(model, 0.8, start, depth=100)
    assert 0 <= float((1 - cosine).max()) < 1e-10


def test_gaps_shrink_to_nothing_without_losing_digits() -> None:
    """An ordered network forgets its inputs by the same factor in every layer, below 1e-100."""
    ordered = white(SingleLayer(TANH, 0.5, 0.05), 0.0, skip=0.0)
    q = float(lengths(ordered, 0.1, depth=300).q[-1])
    found = gaps(ordered, q, 0.5, depth=800)
    factor = float(0.5 * TANH.second_moment_prime(torch.tensor(q)))
    assert float(found[-1]) < 1e-100
    torch.testing.assert_close(found[501:] / found[500:-1], torch.full((300,), factor), rtol=1e-11, atol=0)


def test_many_pairs_at_once() -> None:
    model, starts = white(TwoLayer(RELU, *FULL)), torch.tensor([[1e-9, 0.2, 1.0], [1.7, 2.0, 0.0]])
    for verb in (gaps, gradient_cosines):
        found = verb(model, 0.8, starts, depth=20)
        assert found.shape == (21, 2, 3)
        for i in range(2):
            for j in range(3):
                alone = verb(model, 0.8, float(starts[i, j]), depth=20)
                torch.testing.assert_close(found[:, i, j], alone, rtol=1e-13, atol=0)
    assert not gaps(model, 0.8, starts, depth=20)[:, 1, 2].any(), "an input agrees with itself"


def test_gaps_and_kernels_agree() -> None:
    model = white(Reduced(GELU, 1.2, 0.3))
    found = kernel(model, 0.7 * torch.tensor([[1.0, 0.4], [0.4, 1.0]]), depth=30)
    gap = 1 - found[:, 0, 1] / found[:, 0, 0]
    torch.testing.assert_close(gaps(model, 0.7, 0.6, depth=30), gap, rtol=1e-12, atol=0)
    torch.testing.assert_close(found[:, 1, 1], lengths(model, 0.7, depth=30).q, rtol=1e-13, atol=0)


# --- Scales.


@pytest.mark.parametrize("skip", [1.0, 0.0], ids=["exploding", "vanishing"])
def test_unequal_lengths_beyond_floats(skip: float) -> None:
    """For a homogeneous block the cosine of x and 2x' is that of x and x', also where q is 1e±1000."""
    model = white(SingleLayer(RELU), 0.0, skip=skip)
    unequal, equal = torch.tensor([[1.0, 0.5], [0.5, 4.0]]), torch.tensor([[1.0, 0.25], [0.25, 1.0]])
    for depth in (200, 600, 900):
        found, same = kernel(model, unequal, depth=depth), kernel(model, equal, depth=depth)
        torch.testing.assert_close(found, same * torch.tensor([[1.0, 2.0], [2.0, 4.0]]), rtol=1e-11, atol=0)
    deep = gaps(model, 1.0, 0.75, depth=6000)
    assert lengths(model, depth=6000).log_q[-1].abs() > 2400
    assert bool((deep[1:] < deep[:-1]).all())
    rate = (1 + 2 * skip) ** 2  # in units of 9π²/2l²
    assert float(deep[-1]) == pytest.approx(rate * 4.5 * math.pi**2 / 6000**2, rel=0.02)


def test_overflow_is_infinite() -> None:
    found = kernel(white(SingleLayer(RELU), 0.0), torch.eye(2), depth=2000)
    assert bool((found[-1] == math.inf).all())


# --- What is asked for.


def test_products_of_matrices_are_kernels() -> None:
    """They are symmetric up to rounding only."""
    x = torch.linspace(-1.0, 1.3, 6 * 50).reshape(6, 50).sin()
    k0 = x @ x.T / 50
    k0[0, 1] *= 1 + 4e-16
    assert not torch.equal(k0, k0.T)
    found = kernel(white(TwoLayer(RELU)), k0, depth=5)
    assert torch.equal(found, found.mT)


@pytest.mark.parametrize(
    ("k0", "message"),
    [
        ([[1.0, 0.5]], r"got shape \(1, 2\)"),
        ([1.0, 0.5], r"got shape \(2,\)"),
        ([[1.0, 0.5], [0.5, 0.0]], "positive diagonal"),
        ([[1.0, math.nan], [math.nan, 1.0]], "finite numbers"),
        ([[1.0, 0.5], [0.4, 1.0]], "not symmetric"),
        ([[1.0, 1.1], [1.1, 1.0]], "negative eigenvalue"),
    ],
    ids=["not square", "a vector", "an input that is zero", "nan", "not symmetric", "not positive"],
)
def test_what_is_no_kernel_is_refused(k0: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernel(white(SingleLayer(TANH)), torch.tensor(k0), depth=3)


@pytest.mark.parametrize("gap0", [-0.1, 2.1, math.nan, torch.tensor([0.5, 3.0])], ids=str)
def test_gaps_lie_between_0_and_2(gap0: float | Tensor) -> None:
    for verb in (gaps, gradient_cosines):
        with pytest.raises(ValueError, match=r"gap0 is 1 − cosine: it must lie in \[0, 2\]"):
            verb(white(SingleLayer(TANH)), 1.0, gap0, depth=3)


def test_other_refusals() -> None:
    model = white(SingleLayer(TANH))
    smooth = Model(SingleLayer(TANH), SmoothNoise(), 1)
    for verb, start in ((gaps, (1.0, 0.5)), (gradient_cosines, (1.0, 0.5)), (kernel, (torch.eye(2),))):
        with pytest.raises(ValueError, match=r"use meanfield\.two_time"):
            verb(smooth, *start, depth=3)
        with pytest.raises(ValueError, match="depth must be a positive integer"):
            verb(model, *start, depth=0)
        with pytest.raises(ValueError, match="keep_rate must lie in"):
            verb(model, *start, depth=3, keep_rate=0.0)
