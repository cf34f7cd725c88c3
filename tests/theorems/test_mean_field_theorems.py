"""Theorems about feed-forward and about unscaled residual networks, where they are asked about other models.

And the networks that only these theorems draw. Seeds are fixed; a mean may be five standard errors off.
"""

import math

import pytest
import torch
from torch import Tensor

from resnet_sde import ERF, RELU, TANH, FractionalNoise, Model, Reduced, SingleLayer, TwoLayer, WhiteNoise
from resnet_sde import observables as ob
from resnet_sde.activations import Activation
from resnet_sde.meanfield import gradient_log_variance, phase
from resnet_sde.monte_carlo import simulate
from resnet_sde.theorems import assert_holds, registry, verify
from resnet_sde.theorems.lab import Lab
from resnet_sde.theorems.schoenholz.gradients import typical_log_slope
from resnet_sde.theorems.schoenholz.networks import dropped, feed_forward, one_input

WHITE = WhiteNoise()
CATALOGUES = ("schoenholz", "yang")


@pytest.mark.parametrize("name", CATALOGUES)
def test_most_theorems_look_at_networks(name: str) -> None:
    theorems = [theorem for theorem in registry.values() if theorem.catalogue == name]
    assert sum(theorem.claims for theorem in theorems) <= 60
    assert sum("samples" in theorem.budgets["quick"] for theorem in theorems) > len(theorems) // 2


@pytest.mark.parametrize(
    ("id", "model"),
    [
        ("mean-field-recursion", feed_forward(ERF, 1.6, 0.1, 300)),
        ("length-fixed-point", feed_forward(TANH, 1.5, 0.2, 300)),
        ("gradient-depth-scale", feed_forward(ERF, 0.8, 0.05, 300)),
        ("wide-residual-networks", Model(Reduced(ERF, 1.5), WHITE, 300, beta=0.1)),
        ("kernel-flow", Model(SingleLayer(TANH), WHITE, 300)),
    ],
    ids=["recursion", "fixed point", "gradients", "residual", "flow"],
)
def test_theorems_hold_for_models_of_your_own(id: str, model: Model) -> None:
    verdict = assert_holds(id, model=model)
    assert verdict.settings == {"model": str(model)}


@pytest.mark.parametrize(
    ("id", "model"),
    [
        ("mean-field-recursion", Model(SingleLayer(TANH), WHITE, 10)),
        ("length-fixed-point", feed_forward(RELU, 2.0, 0.0, 10)),
        ("length-fixed-point", feed_forward(TANH, 0.5, 0.0, 10)),
        ("gradient-depth-scale", Model(TwoLayer(TANH), WHITE, 10, beta=0.0, skip=0.0)),
        ("wide-residual-networks", Model(TwoLayer(TANH), FractionalNoise(0.7), 10)),
        ("kernel-flow", Model(TwoLayer(TANH), FractionalNoise(0.7), 10)),
        ("kernel-flow", feed_forward(TANH, 1.0, 0.0, 10)),
        ("sde-limit", feed_forward(TANH, 1.0, 0.0, 10)),
    ],
)
def test_models_that_a_theorem_does_not_speak_of(id: str, model: Model) -> None:
    verdict = verify(id, model=model, samples=20)
    assert verdict.status == "assumption not met"
    assert verdict.claims[0].unmet


def test_a_wrong_scaling_fails_for_models_of_your_own() -> None:
    assert verify("kernel-flow", model=Model(SingleLayer(TANH), WHITE, 300, beta=0.4)).status == "fails"


# Networks drawn without their matrices.

START = (0.6, 0.6, 0.5)


def z_scores(first: Tensor, second: Tensor) -> Tensor:
    """Of the differences of the means of two samples along the first axis."""
    error = (first.var(0) / len(first) + second.var(0) / len(second)).sqrt()
    return (first.mean(0) - second.mean(0)) / error


def test_networks_without_dropout_have_the_law_of_simulated_ones() -> None:
    model = feed_forward(TANH, 1.8, 0.05, 20)  # so narrow that infinite width is far away
    drawn = dropped(Lab(1, 0.99, 15_000), model, START, keep_rate=1.0, depth=6)
    # The inputs of simulated networks have Gaussian first pre-activations with this kernel, as drawn ones.
    for variance, alike in ((1.8, True), (1.88, False)):
        seen = Lab(2, 0.99, 15_000).kernels(feed_forward(TANH, variance, 0.05, 20), START, depth=6)
        z = z_scores(torch.cat([drawn, drawn.square()], 1), torch.cat([seen, seen.square()], 1)).abs()
        assert bool((z < 5).all()) == alike


def test_shared_masks_are_larger_weights() -> None:
    """At infinite width: c tends to that of σ_w²/ρ without dropout, and to less if masks are not shared."""
    model, twin = feed_forward(TANH, 1.8, 0.05, 500), phase(TANH, 2.0, 0.05)
    assert twin.q_star is not None
    assert twin.c_star is not None
    start = (twin.q_star, twin.q_star, twin.c_star)
    for shared in (True, False):
        drawn = dropped(Lab(1, 0.99, 300), model, start, keep_rate=0.9, depth=10, shared=shared)
        c = drawn[:, 0, 1] / drawn.diagonal(dim1=1, dim2=2).prod(-1).sqrt()
        off = abs(float(c.mean()) - twin.c_star)
        assert (off < 0.01 + 5 * float(c.std()) / math.sqrt(300)) == shared


@pytest.mark.parametrize(("phi", "weight"), [(TANH, 2.5), (ERF, 2.0)], ids=["tanh", "erf"])
def test_how_far_single_gradients_fall_behind(phi: Activation, weight: float) -> None:
    """Chaotic networks of width 64; half the variance alone, −v/2, is off by 0.3 or more."""
    width, layers, start = 64, 30, phase(phi, weight, 0.05)
    assert start.q_star is not None
    seen = simulate(
        feed_forward(phi, weight, 0.05, width),
        one_input(start.q_star),
        depth=40,
        samples=12_000,
        observe=[ob.log10_gradient_length],
        seed=4,
    )["log10_gradient_length"][..., 0]
    lag = (2 * math.log(10) * (seen[:, 5] - seen[:, 35]) / layers - math.log(start.chi_1)) * width

    def rejected(slope: float) -> bool:
        return abs(float(lag.mean()) - slope) > 0.05 + 5 * float(lag.std()) / math.sqrt(len(lag))

    assert not rejected(typical_log_slope(phi, weight, 0.05))
    assert rejected(-float(gradient_log_variance(phi, weight, 0.05)) / 2)
