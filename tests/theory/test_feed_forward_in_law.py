"""Random feed-forward networks of finite width next to the theory of infinite width.

Seeds are fixed. A mean of n networks must lie within five standard errors of the theory and an allowance of
order 1/width for what the theory leaves out: a right theory fails one such comparison in 2 million seeds.
Theories that are wrong by 2 % of a variance, or leave out a part, must be rejected by the same comparison.
"""

import math

import pytest
import torch
from feed_forward import feed_forward, pair_kernel
from torch import Tensor

from resnet_sde import ERF, RELU, TANH, simulate
from resnet_sde.activations import Activation
from resnet_sde.meanfield import kernel
from resnet_sde.meanfield.critical import critical_line
from resnet_sde.meanfield.fluctuations import gradient_log_variance
from resnet_sde.meanfield.phases import phase
from resnet_sde.observables import cosine, log10_gradient_length, log10_length, observable
from resnet_sde.propagate import Trajectory
from resnet_sde.streams import stream

Z = 5.0
LN_10 = math.log(10)


def far(values: Tensor, expected: Tensor, allowed: Tensor | float) -> Tensor:
    """Where the mean over the first axis is further off than allowed."""
    error = values.std(0) / len(values) ** 0.5
    return (values.mean(0) - expected).abs() > allowed + Z * error


def inputs(q1: float, q2: float, c: float) -> Tensor:
    """Two inputs whose first pre-activations have these mean squares and this correlation; (input, n_in)."""
    return torch.tensor([[1.0, 0.0], [c, (1 - c**2) ** 0.5]]) * torch.tensor([[2 * q1], [2 * q2]]).sqrt()


@pytest.mark.parametrize(
    ("phi", "w", "b", "start"),
    [
        (TANH, 1.3, 0.05, (1.0, 1.0, 0.3)),
        (TANH, 1.7609546396, 0.05, (0.57, 0.57, 0.5)),
        (TANH, 2.5, 0.05, (0.3, 2.0, 0.9)),
        (ERF, 2.0, 0.05, (1.0, 0.5, 0.6)),
        (RELU, 1.5, 0.05, (1.0, 0.5, 0.6)),
    ],
    ids=["ordered", "critical", "chaotic", "erf", "relu"],
)
def test_lengths_and_correlations(
    phi: Activation, w: float, b: float, start: tuple[float, float, float]
) -> None:
    width, depth = 400, 12
    network = feed_forward(phi, w, b, width)
    seen = simulate(
        network, inputs(*start), depth=depth, samples=1000, observe=[log10_length, cosine], seed=7
    )
    q, c = (10 ** (2 * seen["log10_length"]), seen["cosine"][..., 0, 1])

    def rejected(sigma_w2: float) -> bool:
        theory = kernel(feed_forward(phi, sigma_w2, b), pair_kernel(*start), depth=depth)
        lengths = theory.diagonal(dim1=1, dim2=2)
        correlation = theory[:, 0, 1] / lengths.prod(-1).sqrt()
        return bool(far(q, lengths, 2 * lengths / width).any() | far(c, correlation, 5 / width).any())

    assert not rejected(w)
    assert rejected(w * 1.02)


def dropout_networks(
    phi: Activation, w: float, b: float, rho: float, *, q: float, width: int, depth: int, samples: int
) -> Tensor:
    """Kernels of two inputs at the last layer, (sample, 2, 2), of networks with masks for each input.

    Exact in law: given the layer before, pre-activations are normal and independent from row to row. Both
    inputs start at mean square q, orthogonal.
    """
    source = stream(3, "dropout", width, depth)
    z = q**0.5 * source.normal_(torch.empty(samples, width, 2))
    for _ in range(depth):
        keep = (torch.rand(samples, width, 2, generator=source.torch) < rho) / rho
        y = phi(z) * keep
        covariance = w * y.mT @ y / width + b
        z = source.normal_(torch.empty(samples, width, 2)) @ torch.linalg.cholesky(covariance).mT
    return z.mT @ z / width


@pytest.mark.parametrize(("w", "rho"), [(1.7609546396, 0.95), (2.5, 0.9)])
def test_dropout(w: float, rho: float) -> None:
    """Masks of their own keep two inputs, or one input twice, apart for ever."""
    width, depth = 400, 15
    found = phase(TANH, w, 0.05, keep_rate=rho)
    shape = {"q": found.q_star, "width": width, "depth": depth, "samples": 600}
    last = dropout_networks(TANH, w, 0.05, rho, **shape)
    q, c = last.diagonal(dim1=1, dim2=2), last[:, 0, 1] / last.diagonal(dim1=1, dim2=2).prod(-1).sqrt()

    def rejected(keep_rate: float) -> bool:
        start = pair_kernel(found.q_star, found.q_star, 0.0)
        theory = kernel(feed_forward(TANH, w, 0.05), start, depth=depth, keep_rate=keep_rate)[-1]
        off = far(c, theory[0, 1] / theory[0, 0], 5 / width)
        return bool(off | far(q, theory.diagonal(), 2 * theory[0, 0] / width).any())

    assert not rejected(rho)
    assert rejected(1.0)
    assert rejected(rho + 0.03)


CRITICAL = round(float(critical_line(TANH, 0.05)), 12)  # the same streams, and ids, on every machine


@pytest.mark.parametrize(
    ("phi", "w", "b"),
    [(TANH, 1.0, 0.05), (TANH, CRITICAL, 0.05), (TANH, 2.5, 0.05), (RELU, 2.0, 0.0)],
    ids=str,
)
def test_gradients_of_single_networks(phi: Activation, w: float, b: float) -> None:
    """Over 50 layers the log of squared gradients has drift log χ_1 − v/2 and variance v a layer."""
    width, layers, samples = 200, 50, 3000
    found = phase(phi, w, b)
    x = torch.full((1, 1), (found.q_star or 1.0) ** 0.5)
    network = feed_forward(phi, w, b, width)
    seen = simulate(network, x, depth=60, samples=samples, observe=[log10_gradient_length], seed=11)
    log = 2 * LN_10 * seen["log10_gradient_length"][..., 0]
    walk = (log[:, 5] - log[:, 55]) / layers
    v = float(gradient_log_variance(phi, w, b)) / width

    def drift_rejected(drift: float) -> bool:
        return bool(far(walk, torch.tensor(drift), 1 / width))

    def variance_rejected(variance: float) -> bool:
        # The variance of n normal numbers has the relative standard error √(2/n).
        measured = float(walk.var()) * layers
        return abs(measured / variance - 1) > 10 / width + Z * (2 / samples) ** 0.5

    assert not drift_rejected(math.log(found.chi_1) - v / 2)
    assert drift_rejected(math.log(found.chi_1 * 1.02) - v / 2)
    assert drift_rejected(math.log(found.chi_1))  # that of the mean square
    assert not variance_rejected(v)
    assert variance_rejected(1.5 * v)  # seven standard errors beyond what is allowed
    assert variance_rejected(2 / width)  # that of linear networks


@observable("input", "other_input", gradients=True)
def gradient_products(t: Trajectory) -> Tensor:
    """⟨p_0(x), p_0(x')⟩ / |p_L|²."""
    assert t.adjoint is not None
    first, last = t.adjoint.natural(0), t.adjoint.natural(-1)
    return first @ first.mT / last[:, :1].square().sum(-1, keepdim=True)


@pytest.mark.parametrize(("w", "layers"), [(1.3, 4), (2.5, 8)])
def test_gradients_of_two_inputs(w: float, layers: int) -> None:
    """Their covariance has the factor χ_c a layer, each alone χ_1: in chaos one falls and the other grows."""
    width = 400
    found = phase(TANH, w, 0.05)
    c = found.c_star if found.c_star < 1 else 0.999999
    network = feed_forward(TANH, w, 0.05, width)
    x = inputs(found.q_star, found.q_star, c)
    seen = simulate(network, x, depth=layers, samples=1500, observe=[gradient_products], seed=5)
    products = seen["gradient_products"]

    def rejected(chi: float, values: Tensor) -> bool:
        return bool(far(values, torch.tensor(chi**layers), 5 * layers / width * chi**layers))

    assert not rejected(found.chi_1, products[:, 0, 0])
    assert not rejected(found.chi_c, products[:, 0, 1])
    assert rejected(found.chi_1 * 0.95, products[:, 0, 0])
    assert rejected(found.chi_c * 1.05, products[:, 0, 1])
    if found.label == "chaotic":
        assert rejected(found.chi_1, products[:, 0, 1])
