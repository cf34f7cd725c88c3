"""The same laws on a CUDA device, in both precisions; on a stand-in with fewer networks where there is none.

Bits differ between device types, so ensembles are compared in law: |z| < 4.9 against exact values and
between ensembles, p > 1e-6 for their shape, a false alarm of 1e-6 each. What has one path is compared number
by number.
"""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from resnet_sde import (
    LINEAR,
    RELU,
    TANH,
    FractionalNoise,
    Model,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WeightPaths,
    WhiteNoise,
    couple,
    forward,
    generator,
    limit,
    simulate,
)
from resnet_sde import observables as ob
from resnet_sde.coupling import Comparison
from resnet_sde.estimate import Outcome
from resnet_sde.finite_width import homogeneous_moments
from resnet_sde.limits import ItoSDEInLaw
from resnet_sde.paths import GridPath, SmoothPath

pytestmark = pytest.mark.gpu

WHITE = WhiteNoise()
Z = 4.9
REAL = torch.cuda.is_available()
STEPS = 64 if REAL else 16
PRECISIONS = [torch.float32, torch.float64] if REAL else [torch.float32]  # tests/gpu are in float64
both_precisions = pytest.mark.parametrize("dtype", PRECISIONS, ids=str)

PATHWISE = [
    Model(SingleLayer(TANH, 1.2, 0.1), WHITE, 5),
    Model(SingleLayer(RELU), FractionalNoise(0.8), 5),
    Model(TwoLayer(RELU), FractionalNoise(0.8), 5),
    Model(TwoLayer(TANH), FractionalNoise(0.9), 5),
    Model(TwoLayer(TANH, 1.2, 0.1, 0.8, 0.2), SmoothNoise(0.3), 5),
]
IN_LAW = [
    Model(TwoLayer(RELU), WHITE, 4),
    Model(TwoLayer(TANH), WHITE, 4),
    Model(TwoLayer(RELU), FractionalNoise(0.3), 4),
]
every_pathwise_model = pytest.mark.parametrize("model", PATHWISE, ids=str)
every_model_in_law = pytest.mark.parametrize("model", IN_LAW, ids=str)


def states(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(0, "states", shape))


def z_between(first: Tensor, second: Tensor) -> float:
    error = math.sqrt(float(first.var()) / len(first) + float(second.var()) / len(second))
    return float(first.mean() - second.mean()) / error


def assert_same_law(first: Tensor, second: Tensor) -> None:
    first, second = first.double().flatten().cpu(), second.double().flatten().cpu()
    assert abs(z_between(first, second)) < Z
    assert stats.ks_2samp(first.numpy(), second.numpy()).pvalue > 1e-6


def moved(path: WeightPaths, move: Callable[[Tensor], Tensor]) -> WeightPaths:
    def one(p: GridPath | SmoothPath) -> GridPath | SmoothPath:
        if isinstance(p, GridPath):
            return GridPath(move(p.fine), p.exponent, p.stable)
        return SmoothPath(move(p.modes), p.length_scale)

    return WeightPaths({name: one(p) for name, p in path.matrices.items()})


@both_precisions
@pytest.mark.parametrize("method", ["dense", "deferred"])
@pytest.mark.parametrize("block", [TwoLayer(RELU), SingleLayer(LINEAR)], ids=["res-3", "linear res-1"])
def test_simulate(block: TwoLayer | SingleLayer, method: str, dtype: torch.dtype) -> None:
    model, depth, samples = Model(block, WHITE, 10), 50, 4000 if REAL else 400
    exact = homogeneous_moments(model, depth).mean_square_displacement
    x = torch.ones(1, 6, dtype=dtype)
    options = {"depth": depth, "samples": samples, "observe": ob.LOG_RATIOS, "method": method}
    there, here = simulate(model, x.cuda(), **options), simulate(model, x, **options)
    for name, values in there.items():
        assert values.device.type == "cpu"
        assert_same_law(values, here[name])
    for name in ("log10_displacement", "log10_gradient_displacement"):
        squares = 100.0 ** there[name].flatten()
        z = float((squares.mean() - exact) / squares.std()) * math.sqrt(samples)
        assert abs(z) < Z
        off = 0.2 if REAL else 0.6
        assert abs(z - off * exact / float(squares.std()) * math.sqrt(samples)) > Z, (
            "20 % off, or 60 % where networks are few"
        )
    again = simulate(model, x.cuda(), **options)
    assert all(torch.equal(there[name], again[name]) for name in there)


@pytest.mark.parametrize("law", [FractionalNoise(0.3), FractionalNoise(0.8), SmoothNoise(0.2)], ids=str)
@both_precisions
def test_simulate_with_weights_correlated_along_depth(law: object, dtype: torch.dtype) -> None:
    model, x = Model(TwoLayer(TANH), law, 8), torch.ones(2, 6, dtype=dtype)
    options = {
        "depth": 32,
        "samples": 2000 if REAL else 200,
        "observe": [ob.log10_displacement, ob.log10_gradient_growth],
    }
    there, here = simulate(model, x.cuda(), **options), simulate(model, x, **options)
    for name, values in there.items():
        assert_same_law(values[:, 0], here[name][:, 0])


@every_pathwise_model
@both_precisions
def test_limits_on_one_path(model: Model, dtype: torch.dtype) -> None:
    """The path of the CPU, moved: the network on it, its limit and the limit's gradient."""
    path, h, top = model.draw(STEPS, samples=3, seed=0), states(3, 2, 5), states(3, 2, 5)
    cuda = moved(path, lambda x: x.to("cuda", dtype))
    there, end = h.to("cuda", dtype), top.to("cuda", dtype)
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype is torch.float64 else {"rtol": 1e-3, "atol": 1e-3}
    network = forward(model.block, there, cuda.layers(STEPS), model.alpha(STEPS))[-1]
    for method in ({"method": "euler"}, {}):
        found = limit(model).solve(there, cuda, steps=STEPS, **method)
        assert (found.device.type, found.dtype) == ("cuda", dtype)
        expected = limit(model).solve(h, path, steps=STEPS, **method)
        torch.testing.assert_close(found.cpu().double(), expected, **tolerance)
    assert network.device.type == "cuda"
    if not (isinstance(model.block, TwoLayer) and isinstance(model.law, FractionalNoise)):
        euler = limit(model).solve(there, cuda, steps=STEPS, method="euler")
        torch.testing.assert_close(euler, network, **tolerance)
    gradient = limit(model).gradient(there, end, cuda, steps=STEPS)
    expected = limit(model).gradient(h, top, path, steps=STEPS)
    torch.testing.assert_close(gradient.cpu().double(), expected, **tolerance)


@every_pathwise_model
def test_paths_are_drawn_where_they_are_used(model: Model) -> None:
    path = model.draw(16, samples=2, seed=0, device="cuda")
    found = limit(model).solve(states(2, 1, 5).cuda(), path, steps=16)
    assert found.device.type == "cuda"
    assert bool(found.isfinite().all())


@every_model_in_law
@both_precisions
def test_limits_in_law(model: Model, dtype: torch.dtype) -> None:
    equation = limit(model)
    assert isinstance(equation, ItoSDEInLaw)
    h = torch.ones(4000 if REAL else 400, 1, 4)
    found = equation.solve(h.to("cuda", dtype), steps=64, seed=1)
    assert (found.device.type, found.dtype) == ("cuda", dtype)
    expected = equation.solve(h, steps=64, seed=2)
    for statistic in (lambda x: x[:, 0, 0], lambda x: x.square().sum((1, 2)).log()):
        assert_same_law(statistic(found), statistic(expected))
    scaled = equation.solve((1.1 if REAL else 1.5) * h, steps=64, seed=3)
    log_size = (found.cpu().double().square().sum((1, 2)).log(), scaled.square().sum((1, 2)).log())
    assert abs(z_between(*log_size)) > Z, "states larger by a tenth, or by half where they are few"


@both_precisions
@pytest.mark.parametrize(("method", "width"), [("dense", 6), ("deferred", 6), ("auto", 200)])
def test_couple(method: str, width: int, dtype: torch.dtype) -> None:
    model, x = Model(SingleLayer(TANH), WHITE, width), states(1, width)

    def errors(x: Tensor) -> Tensor:
        request = Comparison(model, limit(model), x, (8, 32), 128, method, gradients=False)
        found = request.run(1500 if REAL else 100, seed=0)
        return torch.cat([found.terminal, found.largest, found.weak], dim=1)

    there, here = errors(x.to("cuda", dtype)), errors(x)
    assert there.device.type == "cpu"
    for a, b in zip(there.T, here.T, strict=True):
        assert_same_law(a, b)


@pytest.mark.gpu(real="the bits of a stand-in are those of the CPU, where test_coupling has the orders")
@both_precisions
def test_couple_gives_orders(dtype: torch.dtype) -> None:
    options = {"depths": (8, 16, 32, 64), "samples": 1000}
    white = couple(
        Model(SingleLayer(TANH), WHITE, 4),
        states(1, 4).to("cuda", dtype),
        reference=512,
        gradients=True,
        **options,
    )
    assert white.status is Outcome.HOLDS, white.strong_order
    assert white.gradient_order is not None
    assert white.gradient_order.within(0.5, 0.15) is Outcome.HOLDS, white.gradient_order
    smooth = couple(Model(TwoLayer(TANH), SmoothNoise(0.3), 4), states(1, 4).to("cuda", dtype), **options)
    assert smooth.status is Outcome.HOLDS, smooth.strong_order
    young = couple(
        Model(SingleLayer(TANH), FractionalNoise(0.75), 1),
        torch.ones(1, 1, device="cuda", dtype=dtype),
        reference="exact",
        **options,
    )
    assert young.status is Outcome.HOLDS, young.strong_order
