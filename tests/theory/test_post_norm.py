"""Streams behind a normalization: loops, networks, kernels of infinite width, and what refuses them."""

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from inspect import getmembers, isfunction, signature
from pkgutil import iter_modules

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, rms_norm

import resnet_sde as rs
from resnet_sde import meanfield as mf
from resnet_sde import observables as ob
from resnet_sde.blocks import NotKnown
from resnet_sde.estimate import mean
from resnet_sde.limits.sphere import SphereSDE, SphereSDEInLaw
from resnet_sde.networks import ResNet, StackedResNets, load, save
from resnet_sde.runs.identity import digest
from resnet_sde.streams import stream

WHITE, WIDTH = rs.WhiteNoise(), 7
NORMS = {"rms": rms_norm, "layer": layer_norm}
FULL = rs.TwoLayer(rs.TANH, 1.5, 0.2, 0.8, 0.1)
INSIDE = [
    FULL,
    rs.TwoLayer(rs.RELU),  # homogeneous, whose states are carried at any scale where there is no norm
    rs.SingleLayer(rs.TANH, 1.5, 0.3),
    rs.GatedLinearUnit(rs.TANH, expansion=2.0),
    rs.PreNorm(rs.Reduced(rs.RELU)),
]
of_both = pytest.mark.parametrize("norm", NORMS)


def plain(model: rs.Model, h: Tensor, layers: list[rs.Layer], alpha: float) -> Tensor:
    """h_L by torch's own normalization, which has an ε."""
    for layer in layers:
        h = model.skip * h + alpha * model.block.branch(h, layer)
        h = NORMS[model.norm](h, h.shape[-1:], eps=1e-300)
    return h


@of_both
@pytest.mark.parametrize("block", INSIDE, ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-100, 1e30])
def test_loops_are_those_of_torch(norm: str, block: rs.Block, scale: float) -> None:
    model = rs.Model(block, WHITE, WIDTH, beta=0.5, skip=0.9, norm=norm)
    h, top = (torch.randn(3, 2, WIDTH, generator=rs.generator(0, name)) for name in "ht")
    h, layers = scale * h, model.draw(6, samples=3).layers(6)
    found = rs.trajectory(block, h, layers, 0.7, 0.9, norm=norm, top=top, parameters=True)
    start = h.clone().requires_grad_()
    entries = layers[2].matrices["outer" if "outer" in block.shapes(WIDTH) else "inner"].entries
    expected = plain(model, start, layers, 0.7)
    with torch.enable_grad():
        entries.requires_grad_()
        end = plain(model, start, layers, 0.7)
        back, of_entries = torch.autograd.grad(end[:, 0], (start, entries), top[:, 0])
        entries.requires_grad_(False)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(found.hidden.natural(-1), expected.detach(), **close)
    torch.testing.assert_close(scale * found.adjoint.natural(0)[:, 0], scale * back[:, 0], **close)
    name = "outer" if "outer" in found.parameters else "inner"
    weights = block._weights(WIDTH)[name]
    norms = of_entries[:, :weights].norm(dim=(1, 2))
    torch.testing.assert_close(found.parameters[name].natural(2)[:, 0, 0], norms, rtol=1e-9, atol=1e-12)
    assert float((found.hidden.natural(3).square().mean(-1) - 1).abs().max()) < 1e-12
    forward = rs.forward(block, start, layers, 0.7, 0.9, norm=norm)
    torch.testing.assert_close(forward[-1], expected, **close)
    (again,) = torch.autograd.grad(forward[-1][:, 0], start, top[:, 0])
    torch.testing.assert_close(scale * again[:, 0], scale * back[:, 0], **close)


@of_both
def test_networks_that_are_trained(norm: str, tmp_path) -> None:
    model = rs.Model(FULL, WHITE, WIDTH, beta=0.5, norm=norm)
    net = ResNet(model, 4, 3, 2, seed=1, dtype=torch.float64)
    x, top = (torch.randn(5, n, generator=rs.generator(0, n)) for n in (3, 2))
    weights = {name: value.detach().clone().requires_grad_() for name, value in net.named_parameters()}
    h = x @ weights["embed"] + weights["embed_bias"]
    for k in range(4):
        a = torch.tanh(h @ weights["inner"][k] + weights["inner_bias"][k])
        h = h + net.alpha * (a @ weights["outer"][k] + weights["outer_bias"][k])
        h = NORMS[norm](h, (WIDTH,), eps=1e-300)
    expected = h @ weights["readout"] + weights["readout_bias"]
    torch.testing.assert_close(net(x), expected, rtol=1e-11, atol=1e-12)
    net(x).backward(top)
    gradients = torch.autograd.grad(expected, tuple(weights.values()), top)
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-11)
    handle = net.blocks[1].register_forward_hook(lambda module, given, out: None)
    torch.testing.assert_close(net(x), expected.detach(), rtol=1e-11, atol=1e-12)
    handle.remove()
    save(net, tmp_path / "net.npz")
    assert load(tmp_path / "net.npz").norm == norm
    assert torch.equal(load(tmp_path / "net.npz")(x), net(x))
    stack = StackedResNets([model, model], 4, 3, 2, seeds=[1, 2], dtype=torch.float64)
    torch.testing.assert_close(stack(x)[0], net(x), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(stack.network(0)(x), net(x), rtol=1e-11, atol=1e-12)
    assert f"norm={norm}" in repr(net)
    with pytest.raises(ValueError, match="different shapes or forms"):
        StackedResNets([model, replace(model, norm=None)], 4, 3, 2, seeds=[0, 0])


SEEN = [ob.kernel, ob.tangent_kernel, ob.log10_gradient_growth, ob.displacement, ob.gradient_displacement]


@pytest.mark.parametrize(("norm", "width"), [("rms", 32), ("rms", 64), ("layer", 128)])
@pytest.mark.parametrize(
    "block",
    [FULL, rs.SingleLayer(rs.RELU), rs.TwoLayer(rs.RELU, expansion=2.0)],
    ids=["full", "res-1", "wide"],
)
def test_networks_agree_with_their_mean_field(block: rs.Block, norm: str, width: int) -> None:
    """Within intervals of 1e-5 and of finite width; the controls are without a norm, and 10 % more gain."""
    depth, samples = 12, 500
    model = rs.Model(block, WHITE, width, beta=0.5, gain=1.5, skip=0.9, norm=norm)
    k0 = torch.tensor([[4.0, 1.6], [1.6, 9.0]])
    x = torch.cat([torch.linalg.cholesky(k0), torch.zeros(2, width - 2)], 1) * math.sqrt(width)
    out = rs.simulate(model, x, depth=depth, samples=samples, observe=SEEN)

    def theory(m: rs.Model) -> list[float]:
        kernel, tangents = mf.kernel(m, k0, depth=depth)[-1], mf.tangent_kernel(m, k0, depth=depth)
        moved = mf.displacement(m, 4.0, depth=depth)
        growth = math.exp(float(mf.lengths(m, 4.0, depth=depth).log_gradient_growth[-1]))
        parts = [kernel[0, 0], kernel[0, 1], tangents[0, 0], tangents[0, 1]]
        return [*map(float, parts), growth, float(moved.forward[-1]), float(moved.gradient[0])]

    measured = [
        out["kernel"][:, 0, 0],
        out["kernel"][:, 0, 1],
        out["tangent_kernel"][:, 0, 0],
        out["tangent_kernel"][:, 0, 1],
        10 ** (2 * out["log10_gradient_growth"][:, 0]),
        out["displacement"][:, 0].square(),
        out["gradient_displacement"][:, 0].square(),
    ]
    estimates = [mean(each, level=1 - 1e-5) for each in measured]

    def outside(values: list[float]) -> int:
        rooms = [4.0 / width * max(1.0, abs(value)) for value in values]
        return sum(
            not e.low - room < value < e.high + room
            for e, value, room in zip(estimates, values, rooms, strict=True)
        )

    assert outside(theory(model)) == 0
    assert outside(theory(replace(model, norm=None))) > 0
    assert width < 64 or outside(theory(replace(model, gain=1.65))) > 0


def test_cosines_by_the_closed_recursion() -> None:
    """c' = (skip² c + α² K(c)) / (skip² + α² K(1)), and gradients by (skip² + α² χ) / (skip² + α² K(1))."""
    model = rs.Model(rs.SingleLayer(rs.RELU), WHITE, 8, beta=0.0, gain=0.6, skip=0.8, norm="rms")
    gap = mf.gaps(model, 1.0, 0.7, depth=30)
    cosines = mf.gradient_cosines(model, 1.0, 0.7, depth=30)
    c, a2, s2 = 0.3, 0.36, 0.64
    back = 1.0
    for k in range(30):
        assert float(gap[k]) == pytest.approx(1 - c, rel=1e-12)
        back *= (s2 + a2 * (math.pi - math.acos(c)) / (2 * math.pi)) / (s2 + a2 / 2)
        assert float(cosines[k + 1]) == pytest.approx(back, rel=1e-11)
        dual = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / (2 * math.pi)
        c = (s2 * c + a2 * dual) / (s2 + a2 / 2)
    found = mf.lengths(model, 3.0, depth=30)
    torch.testing.assert_close(found.q[1:], torch.ones(30, dtype=torch.float64), rtol=0, atol=0)
    assert float(found.log_gradient_growth[-1]) == pytest.approx(-math.log(3.0), rel=1e-12)  # ReLU: χ = K(1)
    tiny = mf.gaps(model, 1.0, 1e-13, depth=30)[-1] / mf.gaps(model, 1.0, 1e-9, depth=30)[-1]
    assert float(tiny) == pytest.approx(1e-4, rel=1e-4), "digits of small gaps are kept"


def test_the_input_is_forgotten() -> None:
    """Squared cosine with h_0 is e^{−S}, and the distance saturates at √2 (S = α² c L / skip²)."""
    model = rs.Model(rs.SingleLayer(rs.LINEAR), WHITE, 8, norm="rms")
    for gain in (0.5, 1.0, 3.0):
        found = float(mf.lengths(replace(model, gain=gain), depth=10**5).displacement2[-1])
        assert found == pytest.approx(2 - 2 * math.exp(-(gain**2) / 2), rel=1e-3)
    assert rs.Model(model.block, WHITE, 8, beta=0.2, norm="rms").regime is rs.Regime.SATURATION
    assert model.regime is rs.Regime.CRITICAL
    with pytest.raises(ValueError, match="has no critical scaling; give beta"):
        rs.Model(rs.TwoLayer(rs.RELU), rs.FractionalNoise(0.3), 8, norm="rms")


def test_nothing_that_was_has_another_name() -> None:
    model = rs.Model(rs.SingleLayer(rs.RELU), WHITE, 8)
    assert repr(model).endswith("width=8, beta=0.5, gain=1.0, skip=1.0)")
    assert "norm" not in vars(model)
    normed = replace(model, norm="rms")
    assert repr(normed).endswith("skip=1.0, norm='rms')")
    assert pickle.loads(pickle.dumps(normed)) == normed
    assert replace(normed, norm=None) == model
    assert digest(normed) != digest(model)
    assert not torch.equal(stream(0, model).normal(2), stream(0, normed).normal(2))


class NoDrift(SphereSDE):
    """What one has who only projects."""

    def drift(self, h: Tensor) -> Tensor:
        return torch.zeros_like(h)


class OfAnyWidth(SphereSDE):
    """The drift of infinite width."""

    def drift(self, h: Tensor) -> Tensor:
        return super().drift(h) / (1 - {"rms": 1, "layer": 2}[self.model.norm] / self.model.width)


@of_both
def test_the_limit_is_an_equation_on_the_sphere(norm: str) -> None:
    """Its solution on the path nears the deepest network like 1/√L; with another drift it does not."""
    model = rs.Model(rs.SingleLayer(rs.TANH, 1.0, 0.2), WHITE, 4, norm=norm)
    assert type(rs.limit(model)) is SphereSDE
    h, path = torch.randn(300, 2, 4, generator=rs.generator(0, "h")), model.draw(512, samples=300)
    deep = rs.forward(model.block, h, path.layers(512), model.alpha(512), norm=norm)[-1]
    errors = {
        kind: [float((kind(model).solve(h, path, steps=n) - deep).square().mean().sqrt()) for n in (32, 256)]
        for kind in (SphereSDE, NoDrift, OfAnyWidth)
    }
    assert errors[SphereSDE][1] < 0.7 * errors[SphereSDE][0]  # √8 times less, and what is left of 512 layers
    assert errors[NoDrift][1] > 0.85 * errors[NoDrift][0]
    assert errors[OfAnyWidth][1] > 1.5 * errors[SphereSDE][1]


def test_networks_on_one_path_have_the_expected_order() -> None:
    model = rs.Model(rs.SingleLayer(rs.TANH), WHITE, 4, norm="rms")
    x = torch.tensor([[1.0, -0.5, 2.0, 0.3]])
    found = rs.couple(model, x, depths=(16, 32, 64), samples=300, reference=512, gradients=True)
    assert found.expected == 0.5
    assert found.strong_order.low < 0.5 < found.strong_order.high
    assert abs(found.gradient_order.value - 0.5) < 0.15
    assert 0 < found.weak_errors[-1] < found.weak_errors[0]
    smooth = rs.Model(rs.TwoLayer(rs.TANH), rs.SmoothNoise(0.5), 4, norm="layer")
    found = rs.couple(smooth, x, depths=(16, 32, 64), samples=100, gradients=True)
    assert abs(found.strong_order.value - 1) < 0.1
    assert abs(found.gradient_order.value - 1) < 0.1
    with pytest.raises(ValueError, match="no closed form"):
        rs.couple(
            rs.Model(rs.SingleLayer(rs.LINEAR), WHITE, 1, norm="rms"),
            torch.ones(1, 1),
            depths=(8, 16),
            samples=5,
            reference="exact",
        )


@pytest.mark.parametrize("norm", NORMS)
def test_limits_in_law(norm: str) -> None:
    """E ⟨h_L, N(h_0)⟩ / d of two matrices at width 3; the control is the drift of the other norm."""
    width, depth, samples = 3, 256, 6000
    model = rs.Model(rs.TwoLayer(rs.RELU, 1.0, 0.5, expansion=2.0), WHITE, width, norm=norm)
    equation = rs.limit(model)
    assert type(equation) is SphereSDEInLaw
    h = torch.tensor([1.0, -2.0, 0.5]).expand(samples, 1, 3).contiguous()
    start = NORMS[norm](h, (3,), eps=1e-300)
    layers = model.draw(depth, samples=samples).layers(depth, shared=True)
    end = rs.forward(model.block, h, layers, model.alpha(depth), norm=norm)[-1]
    networks = mean((end * start).mean((1, 2)), level=1 - 1e-4)
    solved = equation.solve(h, steps=128, seed=1)
    limit = mean((solved * start).mean((1, 2)), level=1 - 1e-4)
    assert networks.low - 0.01 < limit.high
    assert limit.low - 0.01 < networks.high
    # In law the drift alone moves this mean: E ⟨H_1, H_0⟩ / d = e^{−(A/2)(1 − r/d)}, A being constant here.
    variance = 0.75
    for r, holds in ((1, norm == "rms"), (2, norm == "layer")):
        expected = math.exp(-variance / 2 * (1 - r / width))
        assert (networks.low - 0.01 < expected < networks.high + 0.01) == holds


MODEL = rs.Model(FULL, WHITE, 8, norm="rms")
GIVEN = {
    **{"depth": 4, "k0": torch.eye(2), "q0": 1.0, "kernel": torch.eye(5), "gap0": 0.5, "cosine": 0.5},
    **{"times": torch.linspace(0, 1, 3), "readout": None},
}
KNOWN = {  # what answers for normalized streams, each tested above or in its numbers
    *("lengths", "gaps", "gradient_cosines", "kernel", "tangent_kernel", "displacement"),
    "scaled",  # makes another model
}


def verbs() -> dict[str, Callable[..., object]]:
    """Every function of theory that takes a model first, in any module."""
    found = {}
    for package in (rs.meanfield, rs.finite_width):
        for part in iter_modules(package.__path__, f"{package.__name__}."):
            for _, thing in getmembers(import_module(part.name), isfunction):
                if thing.__name__[0] != "_" and next(iter(signature(thing).parameters), "") == "model":
                    found[thing.__name__] = thing
    return found


@pytest.mark.parametrize("name", sorted({*verbs()} - KNOWN))
def test_what_is_derived_for_plain_streams_refuses(name: str) -> None:
    """In one sentence; whoever adds a verb makes it refuse, or adds it to those that know."""
    verb = verbs()[name]
    for model in (
        MODEL,
        replace(MODEL, block=rs.SingleLayer(rs.TANH)),
        replace(MODEL, block=rs.PreNorm(FULL)),
    ):
        asked = [n for n, p in signature(verb).parameters.items() if n in GIVEN or p.default is p.empty]
        with pytest.raises(
            NotKnown, match=r"streams without a normalization, and the model has norm rms; use"
        ) as e:
            verb(model, **{n: GIVEN[n] for n in asked[1:]})
        assert "\n" not in str(e.value)


def test_other_refusals() -> None:
    correlated = rs.Model(FULL, rs.FractionalNoise(0.7), 8, norm="rms")
    shifted = rs.Model(rs.Reduced(rs.RELU), WHITE, 8, norm="layer")
    for ask, message in (
        (lambda: rs.Model(FULL, WHITE, 8, norm="batch"), "norm must be one of rms, layer"),
        (lambda: rs.Model(FULL, WHITE, 1, norm="layer"), "one coordinate is its mean"),
        (
            lambda: rs.forward(FULL, torch.ones(1, 1, 8), [], 0.1, norm="batch"),
            "norm must be one of rms, layer",
        ),
        (lambda: rs.limit(correlated), "derived for smooth and constant weights, and for white"),
        (
            lambda: rs.limit(replace(MODEL, block=rs.Convolution(rs.SingleLayer(rs.TANH), (4,)))),
            "that no positions share",
        ),
        (lambda: rs.limit(replace(MODEL, beta=0.3)), "the network forgets its input"),
        (lambda: mf.displacement(correlated, depth=4), "streams without a normalization"),
        (lambda: mf.displacement(MODEL, depth=4).at_width(8), "no share of a gradient grows"),
        (lambda: mf.lengths(shifted, depth=4), "have a mean, which a normalization meets"),
        (lambda: mf.lengths(replace(MODEL, gain=0.0, skip=0.0, beta=0.0), depth=4), "states that are zero"),
        (
            lambda: rs.couple(
                replace(MODEL, block=rs.SingleLayer(rs.TANH)),
                torch.ones(1, 8),
                depths=(8, 16),
                samples=2,
                method="deferred",
            ),
            "no norm and no gradients",
        ),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)
