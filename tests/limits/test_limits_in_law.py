"""Limits that hold in law: their coefficients exactly, their laws in closed form and against networks.

Against exact values and between ensembles the threshold is |z| < 4.42, a false alarm of 1e-5 each; shapes of
laws pass at p > 1e-4. Seeds are fixed.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from resnet_sde import (
    ERF,
    GELU,
    LINEAR,
    RELU,
    SIGMOID,
    TANH,
    Activation,
    Block,
    FractionalNoise,
    LeakyReLU,
    Model,
    NoLimit,
    PathLaw,
    Reduced,
    SingleLayer,
    TwoLayer,
    WhiteNoise,
    forward,
    generator,
    limit,
)
from resnet_sde.finite_width import homogeneous_moments
from resnet_sde.limits import ItoSDEInLaw

WHITE, UNIFORM = WhiteNoise(), WhiteNoise("uniform")
Z = 4.42


def in_law(model: Model, depth: int | None = None) -> ItoSDEInLaw:
    found = limit(model)
    assert isinstance(found, ItoSDEInLaw)
    return replace(found, depth=depth)


def states(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, "states", shape))


def z_score(values: Tensor, exact: float) -> float:
    return float((values.mean() - exact) / values.std()) * math.sqrt(len(values))


def z_between(first: Tensor, second: Tensor) -> float:
    error = math.sqrt(float(first.var()) / len(first) + float(second.var()) / len(second))
    return float(first.mean() - second.mean()) / error


def log_growth(h: Tensor, start: Tensor) -> Tensor:
    return (h.square().sum((1, 2)) / start.square().sum((1, 2))).log()


def network_ends(model: Model, h: Tensor, depth: int, seed: int, chunk: int = 2000) -> Tensor:
    """Ends of independent networks, one for every sample of h."""
    ends = []
    for k, start in enumerate(h.split(chunk)):
        path = model.draw(depth, samples=len(start), seed=1000 * seed + k)
        ends.append(forward(model.block, start, path.layers(depth), model.alpha(depth))[-1])
    return torch.cat(ends)


class WithoutDrift(ItoSDEInLaw):
    """The equation that forgets the drift."""

    def drift(self, h: Tensor) -> Tensor:
        return torch.zeros_like(h)


@pytest.mark.parametrize(
    ("block", "law", "coefficient"),
    [
        (SingleLayer(TANH), UNIFORM, lambda h: h.tanh().square().mean(-1)),
        (SingleLayer(RELU, 1.5, 0.2), UNIFORM, lambda h: 1.5 * h.relu().square().mean(-1) + 0.2),
        (TwoLayer(RELU), WHITE, lambda h: h.square().mean(-1) / 2),
        (TwoLayer(RELU), UNIFORM, lambda h: h.square().mean(-1) / 2),
        (TwoLayer(LeakyReLU(0.8)), WHITE, lambda h: 0.82 * h.square().mean(-1)),
        (
            TwoLayer(LINEAR, 1.2, 0.3, 0.7, 0.1),
            WHITE,
            lambda h: 0.7 * (1.2 * h.square().mean(-1) + 0.3) + 0.1,
        ),
        (Reduced(LINEAR, 1.2, 0.3), WHITE, lambda h: 1.2 * h.square().mean(-1) + 0.3),
        (TwoLayer(LINEAR), FractionalNoise(0.5), lambda h: h.square().mean(-1)),
    ],
    ids=lambda part: "expected" if callable(part) and not isinstance(part, Block) else str(part),
)
def test_diffusions_of_white_weights(block: Block, law: PathLaw, coefficient: object) -> None:
    h = states(7, 1, 5)
    found = in_law(Model(block, law, 5, gain=0.8))
    expected = 0.64 * coefficient(h)
    torch.testing.assert_close(found.covariation(h)[..., 0], expected, rtol=1e-12, atol=1e-12)
    noise = states(7, 5)
    expected_noise = expected.sqrt()[..., None] * noise[:, None]
    torch.testing.assert_close(found.diffuse(h, noise), expected_noise, rtol=1e-12, atol=1e-12)
    assert not found.drift(h).any()


def test_the_diffusion_of_tanh() -> None:
    found = in_law(Model(TwoLayer(TANH), WHITE, 4))
    assert found.covariation(torch.ones(1, 1, 4)).item() == pytest.approx(0.39429, abs=5e-6)


@pytest.mark.parametrize("block", [TwoLayer(TANH, 1.3, 0.2, 0.7, 0.1), TwoLayer(RELU), Reduced(ERF)], ids=str)
def test_several_inputs_move_together(block: Block) -> None:
    """A_ab is the covariance of the branches: that of one network with very wide inner weights, exactly."""
    h = states(4, 3, 6)
    h[0, 1] = h[0, 0]  # two equal inputs, and a zero one
    h[1, 2] = 0.0
    found = in_law(Model(block, WHITE, 6))
    covariation = found.covariation(h)
    torch.testing.assert_close(covariation, covariation.mT, rtol=1e-12, atol=1e-12)
    assert bool((torch.linalg.eigvalsh(covariation) > -1e-12).all())
    for a in range(3):
        alone = found.covariation(h[:, a : a + 1])
        torch.testing.assert_close(covariation[:, a : a + 1, a : a + 1], alone, rtol=1e-12, atol=1e-12)
    noise = torch.eye(18).view(18, 18)
    roots = found.diffuse(h[2:3].expand(18, 3, 6), noise).flatten(1)
    square = (roots.mT @ roots).view(3, 6, 3, 6)
    expected = torch.einsum("ab,ij->aibj", covariation[2], torch.eye(6))
    torch.testing.assert_close(square, expected, rtol=1e-10, atol=1e-10)
    equal = found.diffuse(h[:1], states(1, 18))
    torch.testing.assert_close(equal[:, 0], equal[:, 1], rtol=1e-6, atol=1e-6)


def test_several_inputs_against_one_layer_of_networks() -> None:
    """In the mean over networks, one step of the equation and one layer give h hᵀ the same increment."""
    model, h = Model(TwoLayer(TANH, 1.3, 0.2, 0.7, 0.1), WHITE, 6), states(1, 2, 6)
    step = network_ends(model, h.expand(20_000, -1, -1), 1, seed=0) - h
    products = (step[:, 0] * step[:, 1]).mean(-1)
    exact = in_law(model).covariation(h)[0]
    assert abs(z_score(products, exact[0, 1].item())) < Z
    assert abs(z_score(products, exact[0, 0].item())) > Z


@pytest.mark.parametrize("hurst", [0.05, 0.2, 0.35])
def test_coefficients_of_rough_relu_networks(hurst: float) -> None:
    """c_H of the spec, and the drift (c_H − 1/2) h / 2d."""
    h = states(5, 1, 3)
    found = in_law(Model(TwoLayer(RELU), FractionalNoise(hurst), 3))
    length = h.square().mean(-1)[..., None]
    table = {0.05: 0.4325, 0.2: 0.3938, 0.35: 0.3592}
    c = found.covariation(h) / length
    torch.testing.assert_close(c, torch.full_like(c, table[hurst]), rtol=0, atol=6e-5)
    torch.testing.assert_close(found.drift(h), (c - 0.5) / 6 * h, rtol=1e-9, atol=1e-12)


DUALS = [
    (TwoLayer(TANH, 1.3, 0.2, 0.7), FractionalNoise(0.65)),
    (TwoLayer(TANH), FractionalNoise(0.3)),
    (TwoLayer(RELU, 1.3, 0.2, 0.7, 0.4), FractionalNoise(0.35)),
    (TwoLayer(SIGMOID, 1.3, 0.0, 0.7, 0.4), FractionalNoise(0.2)),
    (TwoLayer(GELU), FractionalNoise(0.45)),
]


@pytest.mark.parametrize(("block", "law"), DUALS, ids=str)
def test_the_sums_of_a_finite_network_are_exact(block: TwoLayer, law: FractionalNoise) -> None:
    """Hold h still: A is the variance of L^{−1/2} Σ V_k φ(W_k h), b that of its layers on each other."""
    depth, width = 6, 3
    model, h = Model(block, law, width, gain=0.9), torch.full((1, 1, width), 0.8)
    found = in_law(model, depth)
    gamma = law.covariance(depth)
    q = torch.full_like(gamma, block.sigma_w2 * 0.64 + block.sigma_b2)
    phi = block.activation
    kernel = block.sigma_v2 * phi.dual(q, q, gap=1 - gamma) + block.sigma_a2
    exact = 0.81 * float((gamma * kernel).sum()) / depth
    # The table is linear between nodes 0.1 apart in the logarithm: (0.1)² / 8 times a curvature below 1.
    assert found.covariation(h).item() == pytest.approx(exact, rel=2e-3)
    slopes = phi.mean_curvature(q, q, gap=1 - gamma) + gamma * phi.dual_prime(q, q, gap=1 - gamma)
    pairs = float((gamma * slopes).tril(-1).sum()) / depth
    drift = 0.81 * block.sigma_v2 * block.sigma_w2 / width * pairs * h
    torch.testing.assert_close(found.drift(h), drift, rtol=2e-3, atol=1e-6)
    assert found.covariation(h).item() != pytest.approx(in_law(model).covariation(h).item(), rel=1e-3)


def test_the_drift_is_that_of_a_pair_of_layers() -> None:
    """E V_2 φ(W_2 (h + V_1 φ(W_1 h) / √2)) / √2, for two correlated layers, against one step of the drift."""
    model = Model(TwoLayer(TANH), FractionalNoise(0.7), 1)
    h = torch.full((200_000, 1, 1), 1.0)
    alpha = 0.1
    path = model.draw(2, samples=len(h), seed=3)
    end = forward(model.block, h, path.layers(2), alpha)[-1]
    plain = alpha * sum(
        model.block.branch(h, layer) for layer in path.layers(2)
    )  # without the effect of one layer on the other: mean zero, and most of the noise
    shift = (end - h - plain).flatten()
    exact = 2 * alpha**2 * in_law(model, 2).drift(h[:1]).item()
    assert exact > 0
    assert abs(z_score(shift, exact)) < Z
    assert abs(z_score(shift, 1.3 * exact)) > Z


def moment(function: Callable[[Tensor, Tensor], Tensor], r: float) -> float:
    """E f(u, v) of standard normals of correlation r.

    The trapezoidal rule errs by e^{−2πa/h} for a function that is analytic up to a from the real line: the
    poles of tanh are at π/2, of tanh(r x + √(1 − r²) y) no nearer, so that it has all digits at h = 1/8.
    """
    grid = torch.linspace(-8, 8, 129)
    x, y = grid[:, None], grid
    density = torch.exp(-(x * x + y * y) / 2) / (2 * math.pi)
    return float((function(x, r * x + math.sqrt(1 - r * r) * y) * density).sum()) / 64


def test_infinite_sums_against_quadrature() -> None:
    """A and b of tanh at H = 0.65 at |h|²/d = 1: nine lags by quadrature, the others by their slope."""
    law = FractionalNoise(0.65)
    n = torch.arange(200_001, dtype=torch.float64)
    gamma = ((n - 1).abs() ** 1.3 - 2 * n**1.3 + (n + 1) ** 1.3) / 2
    tanh, prime = torch.tanh, lambda x: 1 - torch.tanh(x) ** 2
    second = lambda x: -2 * torch.tanh(x) * prime(x)  # noqa: E731
    a = moment(lambda u, v: tanh(u) * tanh(v), 0.999999999)
    chi2 = moment(lambda u, v: prime(u), 0.0) ** 2
    b, near = 0.0, 10
    for g in gamma[1:near].tolist():
        a += 2 * g * moment(lambda u, v: tanh(u) * tanh(v), g)
        b += g * moment(lambda u, v: second(u) * tanh(v) + g * prime(u) * prime(v), g)  # noqa: B023
    curvature = moment(lambda u, v: second(u) * tanh(v), 0.1) / 0.1
    far = float(gamma[near:].square().sum()) + float(gamma[-1]) ** 2 * 200_001 / 0.4
    a += 2 * chi2 * far
    b += (chi2 + curvature) * far
    found = in_law(Model(TwoLayer(TANH), law, 1))
    h = torch.ones(1, 1, 1)
    assert found.covariation(h).item() == pytest.approx(a, rel=2e-3)
    assert found.drift(h).item() == pytest.approx(b, rel=5e-3)


@pytest.mark.parametrize(("block", "law"), DUALS, ids=str)
def test_states_of_any_size_have_coefficients(block: TwoLayer, law: FractionalNoise) -> None:
    model = Model(block, law, 2)
    sizes = torch.tensor([0.0, 1e-200, 1e-8, 1e-3, 1.0, 1e3, 1e8])[:, None, None].expand(7, 1, 2)
    for found in (in_law(model), in_law(model, 1), in_law(model, 700)):
        a, b = found.covariation(sizes), found.drift(sizes)
        assert bool(a.isfinite().all())
        assert bool(b.isfinite().all())
        assert bool((a >= 0).all())
        assert not b[0].any()
    still = block.sigma_b2 == block.sigma_a2 == 0 and block.activation is not SIGMOID
    assert (in_law(model, 700).covariation(sizes)[0].item() == 0) == still


@pytest.mark.parametrize("width", [2, 10])
def test_the_law_of_the_relu_limit_is_log_normal(width: int) -> None:
    """With s steps the norm has the law of s layers of a linear network of variance 1/2, known exactly."""
    samples, steps = 4000, 64
    model = Model(TwoLayer(RELU), WHITE, width)
    h = torch.ones(samples, 1, width)
    end = in_law(model).solve(h, steps=steps, seed=1)
    exact = homogeneous_moments(Model(SingleLayer(LINEAR, 0.5), WHITE, width), steps)
    squares = end.square().sum((1, 2)) / width
    assert abs(z_score(squares, exact.mean_square_growth)) < Z
    logs = log_growth(end, h)
    law = stats.norm(0.5 - 1 / width, math.sqrt(2 / width))
    # A step is one of the limit up to 1/s² times a coefficient below 1, so s steps are up to 1/s.
    assert abs(float(logs.mean()) - law.mean()) < Z * law.std() / math.sqrt(samples) + 1 / steps
    assert float(logs.std()) == pytest.approx(law.std(), rel=Z / math.sqrt(2 * samples) + 1 / steps)
    assert stats.kstest(((logs - logs.mean()) / logs.std()).numpy(), stats.norm().cdf).pvalue > 1e-4
    cosines = torch.nn.functional.cosine_similarity(end, h, dim=-1).flatten()
    error = Z * float(cosines.std()) / math.sqrt(samples) + 1 / steps
    assert abs(float(cosines.mean()) - math.exp(-(width - 1) / (4 * width))) < error
    wrong = in_law(Model(TwoLayer(LeakyReLU(0.8)), WHITE, width)).solve(h, steps=steps, seed=1)
    assert abs(z_score(wrong.square().sum((1, 2)) / width, exact.mean_square_growth)) > Z


@pytest.mark.parametrize(
    "model",
    [
        Model(TwoLayer(TANH, 1.3, 0.2, 0.7, 0.1), WHITE, 4),
        Model(SingleLayer(TANH, 1.5, 0.2), WhiteNoise("rademacher"), 4),
        Model(Reduced(TANH, 1.5, 0.2), WHITE, 4),
    ],
    ids=str,
)
def test_networks_have_the_law_of_the_limit(model: Model) -> None:
    samples, depth = 2000, 32
    h = torch.tensor([[1.0, 1.0, -1.0, 0.5], [1.0, -0.5, 0.3, 0.3]]).expand(samples, 2, 4)
    solution = in_law(model).solve(h, steps=depth, seed=2)
    ends = network_ends(model, h, depth, seed=4)
    statistics = [
        lambda x: x[:, 0, 0],
        lambda x: x[:, 0].square().mean(-1),
        lambda x: (x[:, 0] * x[:, 1]).mean(-1),
        lambda x: x[:, 0].norm(dim=-1).log(),
    ]
    for statistic in statistics:
        assert abs(z_between(statistic(solution), statistic(ends))) < Z
        assert stats.ks_2samp(statistic(solution).numpy(), statistic(ends).numpy()).pvalue > 1e-4
    apart = torch.cat(
        [in_law(model).solve(h[:, a : a + 1], steps=depth, seed=10 + a) for a in range(2)], dim=1
    )
    assert abs(z_between(statistics[2](apart), statistics[2](ends))) > Z, "on noises of their own they part"


@pytest.mark.parametrize(("variance", "alike"), [(1.0, True), (1.5, False)])
def test_of_other_entries_one_input_has_the_law_of_the_limit(variance: float, alike: bool) -> None:
    h = torch.tensor([[1.0, 1.0, -1.0, 0.5]]).expand(2000, 1, 4)
    ends = network_ends(Model(TwoLayer(RELU), UNIFORM, 4), h, 32, seed=4)
    solution = in_law(Model(TwoLayer(RELU, variance), UNIFORM, 4)).solve(h, steps=32, seed=2)
    assert (abs(z_between(solution.norm(dim=-1).log()[:, 0], ends.norm(dim=-1).log()[:, 0])) < Z) == alike


def test_linear_networks_carry_products_of_inputs() -> None:
    """E ⟨h, h'⟩ grows by 1 + 1/L a layer, exactly."""
    samples, steps, width = 4000, 32, 5
    h = states(1, 2, width).expand(samples, -1, -1)
    solution = in_law(Model(TwoLayer(LINEAR), WHITE, width)).solve(h, steps=steps, seed=3)
    growth = (1 + 1 / steps) ** steps
    for a, b in ((0, 0), (0, 1), (1, 1)):
        products = (solution[:, a] * solution[:, b]).sum(-1)
        start = float((h[0, a] * h[0, b]).sum())
        assert abs(z_score(products, growth * start)) < Z


def test_rough_relu_networks_drift() -> None:
    """Mean log ‖h‖² at H = 0.35, width 2: A(1 − 2/d) + 2 b, at the depth of the networks and in the limit."""
    width, depth, samples = 2, 512, 16_000
    model = Model(TwoLayer(RELU), FractionalNoise(0.35), width)
    h = torch.ones(samples, 1, width)
    logs = log_growth(network_ends(model, h, depth, seed=5), h)
    found = in_law(model, depth)
    c = found.covariation(h[:1]).item()
    drift = found.drift(h[:1])[0, 0, 0].item()
    exact = c * (1 - 2 / width) + 2 * drift
    assert exact == pytest.approx(-0.0582, abs=2e-3)
    assert abs(z_score(logs, exact)) < Z
    assert abs(z_score(logs, c * (1 - 2 / width))) > Z, "without the drift"
    assert float(logs.var()) == pytest.approx(4 * c / width, rel=0.08)
    solution = found.solve(h[:4000], steps=128, seed=6)
    assert abs(z_score(log_growth(solution, h[:4000]), exact)) < Z


def test_odd_networks_of_correlated_weights_drift() -> None:
    """Tanh at H = 0.7, width 1: the mean of h moves, which neither the diffusion nor white weights do."""
    depth, samples = 1024, 16_000
    model = Model(TwoLayer(TANH), FractionalNoise(0.7), 1)
    h = torch.ones(samples, 1, 1)
    ends = network_ends(model, h, depth, seed=6).flatten()
    found = in_law(model, depth)
    more = torch.ones(30_000, 1, 1)
    solution = found.solve(more, steps=128, seed=7).flatten()
    assert abs(z_between(ends, solution)) < Z
    assert abs(z_between(ends.square(), solution.square())) < Z
    driftless = WithoutDrift(model, depth).solve(more, steps=128, seed=7).flatten()
    assert abs(z_between(ends, driftless)) > Z
    white = in_law(replace(model, law=WHITE)).solve(more[:6000], steps=128, seed=7).flatten()
    assert abs(z_between(ends.square(), white.square())) > Z


def test_half_is_white() -> None:
    for block in (TwoLayer(TANH, 1.3, 0.2), TwoLayer(RELU)):
        h = states(3, 2, 4)
        white, half = (in_law(Model(block, law, 4)) for law in (WHITE, FractionalNoise(0.5)))
        assert torch.equal(white.covariation(h), half.covariation(h))
        assert not half.drift(h).any()
        assert half.solve(h, steps=4).shape == h.shape


def test_the_seed_decides() -> None:
    found, h = in_law(Model(TwoLayer(TANH), WHITE, 4)), states(3, 2, 4)
    assert torch.equal(found.solve(h, steps=8, seed=1), found.solve(h, steps=8, seed=1))
    assert not torch.equal(found.solve(h, steps=8, seed=1), found.solve(h, steps=8, seed=2))
    assert not torch.equal(found.solve(h, steps=8), found.solve(h, steps=16))


def test_what_the_limit_in_law_cannot_do() -> None:
    model = Model(TwoLayer(RELU), FractionalNoise(0.3), 4)
    with pytest.raises(ValueError, match="one input at a time; give one"):
        in_law(model).solve(states(3, 2, 4), steps=8)
    with pytest.raises(NoLimit, match="simulate"):
        in_law(model).gradient(states(3, 1, 4), states(3, 1, 4), steps=8)
    with pytest.raises(ValueError, match="give euler"):
        in_law(model).solve(states(3, 1, 4), steps=8, method="srk")
    for depth in (0, -1, 2.5):
        with pytest.raises(ValueError, match="depth must be a positive integer"):
            in_law(model, depth)


@pytest.mark.parametrize("phi", [TANH, RELU, ERF], ids=str)
def test_solutions_of_one_input_are_differentiable(phi: Activation) -> None:
    found = in_law(Model(TwoLayer(phi), WHITE, 2))
    h = states(2, 1, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda start: found.solve(start, steps=3), h)
