"""Laws of whole ensembles: dense against deferred matrices, and both against exact theory.

Seeds are fixed. Two ensembles of one law are compared by every statistic of `p_values` at level LEVEL over
the number of these comparisons: with right code, one choice of seeds in a thousand fails somewhere.
Against exact means the threshold is |z| < 4.42, a false alarm of 1e-5 each.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from resnet_sde import (
    LINEAR,
    RELU,
    TANH,
    FractionalNoise,
    LeakyReLU,
    Model,
    SingleLayer,
    TwoLayer,
    WhiteNoise,
    simulate,
    trajectory,
)
from resnet_sde import observables as ob
from resnet_sde.blocks import Layer
from resnet_sde.finite_width import homogeneous_moments
from resnet_sde.matrices import Dense
from resnet_sde.propagate import Trajectory
from resnet_sde.streams import generator, stream

LEVEL = 1e-3
SAMPLES = 2000
DEPTH = 20

MODELS = {
    "res-1 tanh": (SingleLayer(TANH), 0.25),
    "res-3": (TwoLayer(RELU), 0.25),
    "full with biases": (TwoLayer(TANH, 1.5, 0.3, 1.0, 0.2), 0.25),
}
WIDTHS = (5, 20)  # hardly more coordinates than a deferred matrix sees vectors, and many more
CASES = [
    pytest.param(Model(block, WhiteNoise(), width, beta), inputs, id=f"{name}-{width}-{inputs}")
    for name, (block, beta) in MODELS.items()
    for width in WIDTHS
    for inputs in (1, 3)
]
STATISTICS = len(CASES) // 2 * (8 + 12)  # eight of one input, twelve of three


@ob.observable("pair", gradients=True)
def products(t: Trajectory) -> Tensor:
    """Cosines of h_L and p_0, and for two inputs of h_L(x) and h_L(x'), of p_0(x) and p_0(x')."""
    assert t.adjoint is not None
    h, p = t.hidden.natural(-1), t.adjoint.natural(0)
    if h.shape[1] == 1:
        pairs = [(h[:, 0], p[:, 0])]
    else:
        pairs = [(h[:, 0], p[:, 0]), (h[:, 0], h[:, 1]), (p[:, 0], p[:, 1])]
    return torch.stack([torch.nn.functional.cosine_similarity(a, b) for a, b in pairs], dim=1)


def ensemble(model: Model, inputs: int, method: str, seed: int) -> Tensor:
    """Statistics of each network, (sample, statistic): of the first input, and what ties it to others."""
    x = torch.randn(inputs, 4, generator=generator(0, "x", inputs))
    observe = [ob.log10_displacement, ob.log10_growth, ob.log10_gradient_displacement, products]
    out = simulate(model, x, depth=DEPTH, samples=SAMPLES, observe=observe, method=method, seed=seed)
    return torch.cat([out[o.__name__][:, :1] for o in observe[:3]] + [out["products"]], dim=1)


def p_values(first: Tensor, second: Tensor) -> list[float]:
    """Two-sample p-values of every statistic: Kolmogorov-Smirnov for its law, Welch for its mean."""
    result = []
    for a, b in zip(first.T.numpy(), second.T.numpy(), strict=True):
        result += [float(stats.ks_2samp(a, b).pvalue), float(stats.ttest_ind(a, b, equal_var=False).pvalue)]
    return result


@pytest.mark.parametrize(("model", "inputs"), CASES)
def test_dense_and_deferred_share_a_law(model: Model, inputs: int) -> None:
    found = p_values(ensemble(model, inputs, "dense", 0), ensemble(model, inputs, "deferred", 0))
    assert len(found) == (8 if inputs == 1 else 12)
    assert min(found) > LEVEL / STATISTICS


@pytest.mark.parametrize("method", ["dense", "deferred"])
def test_an_error_of_three_percent_is_caught(method: str) -> None:
    # Without skip log ‖h_L‖² shifts by 20 log 1.03 = 0.59. A layer multiplies ‖h‖² by χ²_d χ²_B / d², so its
    # variance is about 20 (2/d + 5/d) = 3.5 at d = 40, and Welch's t is 0.59 / √(2 · 3.5 / 2000) = 10 on
    # average: against a threshold of 4.6 the power is 1 − 1e-7.
    right = Model(TwoLayer(RELU), WhiteNoise(), 40, beta=0.0, skip=0.0)
    wrong = replace(right, block=TwoLayer(RELU, sigma_w2=1.03))
    reference = ensemble(right, 1, "deferred", 1)[:, 1:2]  # without a skip only the growth is not trivial
    assert min(p_values(reference, ensemble(right, 1, method, 2)[:, 1:2])) > LEVEL / STATISTICS
    assert min(p_values(reference, ensemble(wrong, 1, method, 2)[:, 1:2])) < LEVEL / STATISTICS


BLOCKS = [TwoLayer(RELU), TwoLayer(LeakyReLU(0.8)), SingleLayer(LINEAR)]
ENTRIES = ["gaussian", "uniform", "rademacher"]


EVERY = [(block, entries, 0.5) for block in BLOCKS for entries in ENTRIES]
SMALL_STEPS = [(block, entries, 1.0) for block, entries in zip(BLOCKS, ENTRIES, strict=True)]


@pytest.mark.parametrize(("block", "entries", "beta"), EVERY + SMALL_STEPS, ids=str)
def test_exact_means(block: TwoLayer | SingleLayer, entries: str, beta: float) -> None:
    model = Model(block, WhiteNoise(entries), 10, beta)
    depth, samples = 25, 2000
    moments = homogeneous_moments(model, depth)
    x = torch.randn(1, 6, generator=generator(0, "x"))
    observe = [ob.displacement, ob.growth, ob.gradient_displacement, ob.gradient_growth]
    out = simulate(model, x, depth=depth, samples=samples, observe=observe, method="dense", seed=4)
    for o in observe:
        squares = out[o.__name__].square().flatten()
        displaced = "displacement" in o.__name__
        exact = moments.mean_square_displacement if displaced else moments.mean_square_growth
        assert abs(z_score(squares, exact)) < 4.42
        # The standard error of a displacement is below 2.5 %: a constant c off by a fifth is rejected.
        if displaced:
            assert abs(z_score(squares, 1.2 * exact)) > 4.42


def z_score(values: Tensor, exact: float) -> float:
    return float((values.mean() - exact) / values.std()) * math.sqrt(len(values))


@pytest.mark.parametrize(("block", "width"), [*((block, 10) for block in BLOCKS), (BLOCKS[0], 40)], ids=str)
def test_exact_deviation_for_gaussian_weights(block: TwoLayer | SingleLayer, width: int) -> None:
    model = Model(block, WhiteNoise(), width, 0.5)
    depth, samples = 20, 20_000
    moments = homogeneous_moments(model, depth)
    out = simulate(
        model, torch.ones(1, 3), depth=depth, samples=samples, observe=[ob.displacement, ob.log10_growth]
    )
    squares = out["displacement"].square().flatten()
    deviations = (squares - moments.mean_square_displacement).square()
    assert abs(z_score(deviations, moments.std_square_displacement**2)) < 4.42
    # The logarithms are known to order α⁴ = 1/400 a layer: drift α⁶ L = 0.0025, and 5 % of the deviation.
    logs = 2 * math.log(10) * out["log10_growth"].flatten()
    standard_error = float(logs.std()) / math.sqrt(samples)
    assert abs(float(logs.mean()) - moments.mean_log_growth) < 4.42 * standard_error + 5 / depth**2
    assert float(logs.std()) == pytest.approx(
        moments.std_log_growth, rel=0.05 + 4.42 / math.sqrt(2 * samples)
    )


@pytest.mark.parametrize("block", BLOCKS, ids=["res-3", "leaky res-2", "linear res-1"])
def test_exact_deviation_where_a_layer_is_not_small(block: TwoLayer | SingleLayer) -> None:
    """At α = 1 the second moment of ‖g(h)‖² / ‖h‖² matters, which a small α hides."""
    model = Model(block, WhiteNoise(), 10, beta=0.0)
    moments = homogeneous_moments(model, 2)
    out = simulate(model, torch.ones(1, 3), depth=2, samples=40_000, observe=[ob.displacement])
    squares = out["displacement"].square().flatten()
    deviations = (squares - moments.mean_square_displacement).square()
    assert abs(z_score(deviations, moments.std_square_displacement**2)) < 4.42
    assert abs(z_score(deviations, 1.3 * moments.std_square_displacement**2)) > 4.42


def test_limit_law_of_the_logarithm_is_normal() -> None:
    width, depth, samples = 40, 500, 1500
    model = Model(TwoLayer(RELU), WhiteNoise(), width)
    out = simulate(
        model,
        torch.ones(1, 5),
        depth=depth,
        samples=samples,
        observe=[ob.log10_growth, ob.log10_gradient_growth],
    )
    for values in out.values():
        logs = 2 * math.log(10) * values.flatten()
        law = stats.norm(0.5 - 1 / width, math.sqrt(2 / width))
        assert stats.kstest(logs.numpy(), law.cdf).pvalue > 1e-4
        assert abs(z_score(logs, law.mean())) < 4.42
        assert abs(z_score((logs - law.mean()).square(), law.var())) < 4.42


def test_explosion_needs_width() -> None:
    """At width 1 the mean square explodes while the network collapses; at width 2 log R does not drift."""
    depth, samples = 400, 1000
    for width, direction in ((1, -1), (2, 0), (40, 1)):
        model = Model(SingleLayer(LINEAR), WhiteNoise(), width, beta=0.25)
        out = simulate(model, torch.ones(1, 2), depth=depth, samples=samples, observe=[ob.log10_growth])
        logs = 2 * math.log(10) * out["log10_growth"].flatten()
        expected = homogeneous_moments(model, depth).mean_log_growth
        assert np.sign(round(expected, 9)) == direction
        # The next term is −5 α⁶ a layer at width 1, 0.25 in all; the bound leaves as much for the others.
        error = 4.42 * float(logs.std()) / math.sqrt(samples) + 0.5
        assert abs(float(logs.mean()) - expected) < error


def dense_layers(model: Model, samples: int, depth: int, seed: int) -> list[Layer]:
    return model.draw(depth, samples=samples, seed=seed).layers(depth)


def deferred_layers(model: Model, samples: int, depth: int, seed: int) -> list[Layer]:
    source = stream(seed, "deferred", samples)
    return [Layer.revealed(model.block.shapes(model.width), source) for _ in range(depth)]


@pytest.mark.parametrize("draw", [dense_layers, deferred_layers])
def test_exact_means_of_the_full_relu_network_with_biases(draw: Callable[..., list[Layer]]) -> None:
    """Yang & Schoenholz (2017): p^l = (1 + B)^l (p^0 + k/B) − k/B and χ^0/χ^L = (1 + B)^L, at every width."""
    width, depth, pieces, samples = 8, 3, 4, 10_000
    model = Model(TwoLayer(RELU, 1.0, 0.5, 1.0, 0.5), WhiteNoise(), width, beta=0.0)
    lengths, gradients = [], []
    for piece in range(pieces):
        h = torch.ones(samples, 1, width)
        top = torch.randn(samples, 1, width, generator=generator(piece, "top"))
        t = trajectory(model.block, h, draw(model, samples, depth, piece), 1.0, top=top)
        assert t.adjoint is not None
        lengths.append(t.hidden.natural(-1).square().mean((1, 2)))
        gradients.append(t.adjoint.natural(0).square().mean((1, 2)))
    assert abs(z_score(torch.cat(lengths), 6.9375)) < 4.42
    assert abs(z_score(torch.cat(gradients), 3.375)) < 4.42
    for values, wrong in ((lengths, 6.0), (gradients, 3.0)):
        assert abs(z_score(torch.cat(values), wrong)) > 4.42


def scalar_chain(width: int, depth: int, samples: int, alpha: float) -> np.ndarray:
    """D of res-3 from the Markov chain of (‖h‖², ⟨h, h_0⟩) alone."""
    rng = np.random.default_rng(0)
    square, along = np.ones(samples), np.ones(samples)
    for _ in range(depth):
        on = rng.binomial(width, 0.5, samples)
        size = np.sqrt(square * rng.chisquare(on) / width / width)  # ‖r‖ / √d
        first, second = rng.standard_normal((2, samples))
        rest = rng.chisquare(width - 2, samples)
        length = np.sqrt(square)
        cosine = along / length
        along += alpha * size * (cosine * first + np.sqrt(np.clip(1 - cosine**2, 0, None)) * second)
        square = (length + alpha * size * first) ** 2 + (alpha * size) ** 2 * (second**2 + rest)
    return square + 1 - 2 * along


@pytest.mark.parametrize("width", [40, 500])
def test_the_scalar_chain_agrees(width: int) -> None:
    depth, samples = 20, 1000
    model = Model(TwoLayer(RELU), WhiteNoise(), width)
    out = simulate(model, torch.ones(1, 2), depth=depth, samples=samples, observe=[ob.displacement])
    squares = out["displacement"].square().flatten().numpy()
    chain = scalar_chain(width, depth, 50_000, model.alpha(depth))
    assert stats.ks_2samp(squares, chain).pvalue > 1e-4
    assert stats.ttest_ind(squares, chain, equal_var=False).pvalue > 1e-5
    assert stats.ttest_ind(squares, chain * (1 + 0.5 / math.sqrt(width)), equal_var=False).pvalue < 1e-5


@pytest.mark.parametrize(
    "model",
    [
        Model(SingleLayer(TANH), WhiteNoise(), 10),
        Model(SingleLayer(RELU), WhiteNoise(), 10),
        Model(SingleLayer(LeakyReLU(0.8)), WhiteNoise(), 10),
        Model(TwoLayer(TANH), WhiteNoise(), 10),
        Model(TwoLayer(RELU, sigma_b2=0.1), WhiteNoise(), 10),
        Model(TwoLayer(RELU, sigma_a2=0.1), WhiteNoise(), 10),
        Model(TwoLayer(RELU), FractionalNoise(0.6), 10),
        Model(TwoLayer(RELU), WhiteNoise(), 10, beta=0.0, skip=0.0),
    ],
    ids=str,
)
def test_moments_are_refused_where_they_do_not_hold(model: Model) -> None:
    with pytest.raises(ValueError, match="exact moments need"):
        homogeneous_moments(model, 50)


def test_fractional_noise_of_index_one_half_is_white() -> None:
    white, same = (Model(TwoLayer(RELU), law, 10) for law in (WhiteNoise(), FractionalNoise(0.5)))
    assert homogeneous_moments(same, 50) == homogeneous_moments(white, 50)


@pytest.mark.parametrize("block", [SingleLayer(TANH), TwoLayer(TANH), SingleLayer(RELU)], ids=str)
def test_they_would_not_hold_there(block: TwoLayer | SingleLayer) -> None:
    """The lower bound 0.6446 is left by far where a branch does not keep half of every norm."""
    model = Model(block, WhiteNoise(), 10)
    h = torch.randn(1, 1, 10, generator=generator(2)).expand(4000, 1, 10).contiguous()
    t = trajectory(model.block, h, dense_layers(model, 4000, 50, 0), model.alpha(50), every_layer=False)
    squares = ob.displacement(t).square().flatten()
    assert z_score(squares, (1 + 0.5 / 50) ** 50 - 1) < -4.42


def test_unequal_dense_entries_share_kernels_but_not_laws() -> None:
    """Rademacher weights have another law at small width: the tests of this file would see it."""
    first, second = (
        ensemble(Model(SingleLayer(LINEAR), WhiteNoise(entries), 2, 0.0), 1, "dense", 0)
        for entries in ("gaussian", "rademacher")
    )
    assert min(p_values(first, second)) < 1e-6


def test_dense_is_what_it_says() -> None:
    assert all(
        isinstance(x["outer"], Dense) for x in dense_layers(Model(TwoLayer(RELU), WhiteNoise(), 4), 2, 3, 0)
    )
