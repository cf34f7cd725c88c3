"""Limits that hold on the weight path: exact equalities with networks, and closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from resnet_sde import (
    ERF,
    GELU,
    LINEAR,
    RELU,
    TANH,
    ConstantNoise,
    FractionalNoise,
    LeakyReLU,
    Model,
    OffGrid,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WeightPaths,
    WhiteNoise,
    forward,
    limit,
    trajectory,
)
from resnet_sde.limits.young import mean_slope
from resnet_sde.paths import ConstantPath, GridPath, SmoothPath
from resnet_sde.streams import generator, stream

WHITE, SMOOTH, CONSTANT = WhiteNoise(), SmoothNoise(0.3), ConstantNoise()
ROUGH, RUGGED = FractionalNoise(0.8), FractionalNoise(0.3)
SAMPLES, INPUTS, WIDTH = 3, 2, 5


def states(*key: object, width: int = WIDTH, inputs: int = INPUTS, samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, inputs, width, generator=generator(0, "states", *key))


def network(model: Model, h: Tensor, path: WeightPaths, depth: int) -> Tensor:
    return forward(model.block, h, path.layers(depth), model.alpha(depth))[-1]


SCHEMES = [
    Model(SingleLayer(TANH), WHITE, WIDTH),
    Model(SingleLayer(RELU, 1.4, 0.3), WHITE, WIDTH, gain=0.7),
    Model(SingleLayer(GELU), FractionalNoise(0.5), WIDTH),
    Model(SingleLayer(TANH), ROUGH, WIDTH, gain=1.3),
    Model(SingleLayer(RELU, 1.4, 0.3), FractionalNoise(0.6), WIDTH),
    Model(SingleLayer(TANH, 0.8, 0.1), SMOOTH, WIDTH, gain=0.9),
    Model(SingleLayer(LeakyReLU(0.3)), CONSTANT, WIDTH),
    Model(TwoLayer(RELU), SMOOTH, WIDTH),
    Model(TwoLayer(TANH, 1.2, 0.1, 0.8, 0.2), SMOOTH, WIDTH, gain=1.1),
    Model(TwoLayer(LINEAR), FractionalNoise(0.9), WIDTH),  # of a linear φ the leading term is all
    Model(TwoLayer(LINEAR, 1.2, 0.3, 0.8), ROUGH, WIDTH),
]
every_scheme = pytest.mark.parametrize("model", SCHEMES, ids=str)


def assert_close(found: Tensor, expected: Tensor, model: Model) -> None:
    """Equal but for roundings, which a smooth path enlarges by λ^{−1/2}, up to 10⁶ times, in its features."""
    tolerance = 1e-10 if model.law is SMOOTH else 1e-12
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@every_scheme
@pytest.mark.parametrize("depth", [1, 2, 64, 256, 7, 100])
def test_the_network_is_the_euler_scheme(model: Model, depth: int) -> None:
    path, h = model.draw(depth, samples=SAMPLES, seed=1), states("h")
    solution = limit(model).solve(h, path, steps=depth, method="euler")
    assert_close(solution, network(model, h, path, depth), model)
    other = model.draw(depth, samples=SAMPLES, seed=2)
    assert (solution - network(model, h, other, depth)).abs().max() > 1e-3, "on another path it is not"


@every_scheme
def test_on_the_path_of_a_finer_network_too(model: Model) -> None:
    path, h = model.draw(96, samples=SAMPLES, seed=3), states("h")
    for depth in (32, 12):
        solution = limit(model).solve(h, path, steps=depth, method="euler")
        assert_close(solution, network(model, h, path, depth), model)


@pytest.mark.parametrize("model", SCHEMES[:9], ids=str)
def test_its_gradient_is_the_adjoint_of_the_network(model: Model) -> None:
    depth, h, top = 64, states("h"), states("top")
    path = model.draw(depth, samples=SAMPLES, seed=1)
    found = limit(model).gradient(h, top, path, steps=depth, method="euler")
    adjoint = trajectory(model.block, h, path.layers(depth), model.alpha(depth), top=top).adjoint
    assert adjoint is not None
    assert_close(found, adjoint.natural(0), model)
    assert not h.requires_grad


def small(model: Model, depth: int = 4) -> tuple[Model, WeightPaths, Tensor]:
    model = replace(model, width=2)
    return model, model.draw(depth, samples=2, seed=5), states("grad", width=2, inputs=1, samples=2)


@every_scheme
@pytest.mark.parametrize("method", [{"method": "euler"}, {}])
def test_solutions_are_differentiable_in_the_start(model: Model, method: dict[str, str]) -> None:
    model, path, h = small(model)
    solve = limit(model).solve
    assert torch.autograd.gradcheck(lambda start: solve(start, path, steps=4, **method), h.requires_grad_())


def with_weights(path: WeightPaths, weights: list[Tensor]) -> WeightPaths:
    """The same paths made of other numbers."""
    kinds = {GridPath: "fine", SmoothPath: "modes", ConstantPath: "value"}
    parts = zip(path.matrices.items(), weights, strict=True)
    return WeightPaths({name: replace(p, **{kinds[type(p)]: values}) for (name, p), values in parts})


@every_scheme
@pytest.mark.parametrize("steps", [4, 2])
def test_solutions_are_differentiable_in_the_path(model: Model, steps: int) -> None:
    model, path, h = small(model)
    weights = [
        getattr(p, next(name for name in ("fine", "modes", "value") if hasattr(p, name))).requires_grad_()
        for p in path.matrices.values()
    ]
    solve = limit(model).solve
    assert torch.autograd.gradcheck(
        lambda *w: solve(h, with_weights(path, list(w)), steps=steps), tuple(weights), fast_mode=True
    )


@pytest.mark.parametrize("phi", [TANH, ERF, LINEAR], ids=str)
def test_mean_slopes_are_those_of_a_quadrature(phi: object) -> None:
    z = torch.linspace(-12, 12, 4001)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    q = torch.tensor([1e-4, 0.1, 1.0, 3.0])
    exact = (phi.prime(q[:, None].sqrt() * z) * density).sum(-1)
    torch.testing.assert_close(mean_slope(phi, q), exact, rtol=1e-10, atol=1e-10)
    if phi is TANH:
        assert torch.autograd.gradcheck(lambda v: mean_slope(phi, v), q.clone().requires_grad_())


LEADING = [
    Model(TwoLayer(RELU, 1.3, 0.2, 0.7, 0.1), ROUGH, WIDTH, gain=0.9),
    Model(TwoLayer(RELU), ROUGH, WIDTH),
    Model(TwoLayer(TANH, 1.3, 0.2, 0.7), FractionalNoise(0.9), WIDTH, gain=0.9),
]


@pytest.mark.parametrize("model", LEADING, ids=str)
def test_two_matrices_keep_the_leading_term_of_the_activation(model: Model) -> None:
    """dH = m(q) dZ with Z the row sums of V, or dH = χ(q) dA (H, 1) with A the sums of the products V W."""
    depth, block = 16, model.block
    path, h = model.draw(depth, samples=SAMPLES, seed=6), states("h")
    outer, inner = (path.matrices[name].weights(depth) for name in ("outer", "inner"))
    z = torch.linspace(-12, 12, 4001)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    expected = h
    for k in range(depth):
        q = block.sigma_w2 * expected.square().mean(-1, keepdim=True) + block.sigma_b2
        if block.activation is RELU:
            probe = (q / (2 * math.pi)).sqrt().expand_as(expected)
        else:
            u = expected @ inner[k, :, :WIDTH] * math.sqrt(block.sigma_w2 / WIDTH)
            u = u + math.sqrt(block.sigma_b2) * inner[k, :, WIDTH:]
            probe = (block.activation.prime(q.sqrt() * z) * density).sum(-1, keepdim=True) * u
        branch = probe @ outer[k, :, :WIDTH] * math.sqrt(block.sigma_v2 / WIDTH)
        if block.sigma_a2:
            branch = branch + math.sqrt(block.sigma_a2) * outer[k, :, WIDTH:]
        expected = expected + model.alpha(depth) * branch
    found = limit(model).solve(h, path, steps=depth, method="euler")
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=20)
@given(scale=st.floats(0.1, 3.0), seed=st.integers(0, 5))
def test_constant_weights_have_exponentials(scale: float, seed: int) -> None:
    model = Model(SingleLayer(LINEAR, scale), CONSTANT, 4, gain=0.8)
    path, h = model.draw(1, samples=SAMPLES, seed=seed), states("h", width=4)
    v = path.matrices["outer"].weights(1)[0]
    exact = h @ torch.linalg.matrix_exp(0.8 * math.sqrt(scale / 4) * v)
    solution = limit(model).solve(h, path, steps=100)
    torch.testing.assert_close(solution, exact, rtol=1e-7, atol=1e-7)  # rk4: (‖V‖ / 100)⁴ exp ‖V‖
    back = limit(model).gradient(h, h, path, steps=100)
    exact_back = h @ torch.linalg.matrix_exp(0.8 * math.sqrt(scale / 4) * v).mT
    torch.testing.assert_close(back, exact_back, rtol=1e-7, atol=1e-7)


def integral(path: WeightPaths) -> Tensor:
    """∫ V_t dt of a smooth path of 1 × 1 matrices, by a rule of Gauss; shape (sample, 1, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    values = path.matrices["outer"].at(torch.from_numpy((nodes + 1) / 2))
    return torch.einsum("t,t...->...", torch.from_numpy(weights / 2), values)


@pytest.mark.parametrize(("method", "tolerance"), [("rk4", 1e-6), ("dopri5", 1e-6), ("midpoint", 1e-3)])
def test_smooth_weights_of_width_one_have_closed_forms(method: str, tolerance: float) -> None:
    options = {"rtol": 1e-9, "atol": 1e-9} if method == "dopri5" else {}
    h = states("one", width=1).abs() + 0.1
    for phi in (LINEAR, TANH):
        model = Model(SingleLayer(phi), SMOOTH, 1)
        path = model.draw(8, samples=SAMPLES, seed=7)
        growth = integral(path).exp()
        exact = h * growth if phi is LINEAR else torch.asinh(torch.sinh(h) * growth)
        found = limit(model).states(h, path, steps=64, method=method, **options)
        assert found.shape == (65, *h.shape)
        torch.testing.assert_close(found[-1], exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("hurst", [0.6, 0.75, 0.9])
@pytest.mark.parametrize("phi", [LINEAR, TANH], ids=str)
def test_young_equations_of_width_one_have_closed_forms(phi: object, hurst: float) -> None:
    """h e^X, and asinh(sinh(h) e^X); Heun gets there much sooner than Euler, at order 3H − 1 or so."""
    samples, h = 200, torch.full((200, 1, 1), 0.7)
    model = Model(SingleLayer(phi), FractionalNoise(hurst), 1)
    path = model.draw(1024, samples=samples, seed=8)
    growth = (1024.0**-hurst * path.matrices["outer"].weights(1024).sum(0)).exp()
    exact = h * growth if phi is LINEAR else torch.asinh(torch.sinh(h) * growth)

    def error(steps: int, method: str) -> float:
        solution = limit(model).solve(h, path, steps=steps, method=method)
        return float(((solution - exact) / exact).abs().median())

    assert error(1024, "heun") < 0.1 * error(1024, "euler")
    assert error(1024, "heun") < 0.01
    assert error(1024, "heun") < 0.3 * error(64, "heun")


def test_the_first_order_error_of_the_linear_young_equation() -> None:
    """At width 1 the Euler scheme falls short by the factor exp(−L^{1−2H} / 2)."""
    hurst, depth, samples = 0.6, 2048, 400
    model = Model(SingleLayer(LINEAR), FractionalNoise(hurst), 1)
    path, h = model.draw(depth, samples=samples, seed=9), torch.ones(samples, 1, 1)
    logs = limit(model).solve(h, path, steps=depth, method="euler").log().flatten()
    driver = float(depth) ** -hurst * path.matrices["outer"].weights(depth).sum(0).flatten()
    shortfall = float((driver - logs).mean())
    assert shortfall == pytest.approx(0.5 * depth ** (1 - 2 * hurst), rel=0.02)


def test_a_linear_white_network_of_width_one_is_a_product() -> None:
    depth, model = 64, Model(SingleLayer(LINEAR), WHITE, 1)
    path, h = model.draw(depth, samples=SAMPLES, seed=10), states("one", width=1)
    product = (1 + depth**-0.5 * path.matrices["outer"].weights(depth)).prod(0)
    torch.testing.assert_close(limit(model).solve(h, path, steps=depth), h * product)


@every_scheme
def test_samples_and_inputs_do_not_feel_each_other(model: Model) -> None:
    path, h = model.draw(8, samples=SAMPLES, seed=11), states("h")
    solve = limit(model).solve
    full = solve(h, path, steps=8)
    torch.testing.assert_close(solve(h[:, :1], path, steps=8), full[:, :1])
    moved = h.clone()
    moved[1:] += 1.0
    torch.testing.assert_close(solve(moved, path, steps=8)[0], full[0])
    assert (solve(moved, path, steps=8)[1] - full[1]).abs().max() > 1e-3


@every_scheme
def test_float32_is_float64_to_its_rounding(model: Model) -> None:
    h = states("h")
    path = model.draw(100, samples=SAMPLES, seed=12)
    narrow = with_weights(
        path, [getattr(p, k).float() for p in path.matrices.values() for k in vars(p) if k in NUMBERS]
    )
    wide = limit(model).solve(h, path, steps=100)
    found = limit(model).solve(h.float(), narrow, steps=100)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wide, rtol=1e-4, atol=1e-4)


NUMBERS = ("fine", "modes", "value")


@pytest.mark.parametrize("model", [SCHEMES[0], SCHEMES[3]], ids=str)
def test_a_grid_can_be_seen_at_its_divisors_only(model: Model) -> None:
    path = model.draw(64, samples=SAMPLES, seed=0)
    for steps in (128, 48, 3):
        with pytest.raises(OffGrid, match="does not divide"):
            limit(model).solve(states("h"), path, steps=steps)


@pytest.mark.parametrize("model", [SCHEMES[0], SCHEMES[3], SCHEMES[5], Model(TwoLayer(RELU), WHITE, WIDTH)])
def test_bad_states_and_steps(model: Model) -> None:
    equation = limit(model)
    path = (model.draw(8, samples=SAMPLES, seed=0),) if equation.coupled else ()
    for shape in ((SAMPLES, WIDTH), (SAMPLES, 1, WIDTH + 1), (SAMPLES, 0, WIDTH)):
        with pytest.raises(ValueError, match="states must have shape"):
            equation.solve(torch.ones(shape), *path, steps=8)
    for steps in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="steps must be a positive integer"):
            equation.solve(states("h"), *path, steps=steps)


def test_methods_that_do_not_fit_are_refused() -> None:
    h = states("h")
    for model, method in ((SCHEMES[0], "milstein"), (SCHEMES[0], "midpoint"), (SCHEMES[3], "rk4")):
        with pytest.raises(ValueError, match=f"unknown method '{method}'; give euler"):
            limit(model).solve(h, model.draw(8, samples=SAMPLES, seed=0), steps=8, method=method)
    rough = SCHEMES[0].draw(8, samples=SAMPLES, seed=0)
    with pytest.raises(ValueError, match="draw the path from a smooth law"):
        limit(SCHEMES[5]).solve(h, rough, steps=8)


def test_limits_do_not_depend_on_the_stream_of_the_network() -> None:
    """A path may come from anywhere; only its numbers matter."""
    model = SCHEMES[0]
    shape = (SAMPLES, *model.block.shapes(WIDTH)["outer"])
    numbers = stream(3).normal_(torch.empty(16, *shape))
    path = WeightPaths({"outer": GridPath(numbers, 0.5)})
    torch.testing.assert_close(
        limit(model).solve(states("h"), path, steps=16), network(model, states("h"), path, 16)
    )
