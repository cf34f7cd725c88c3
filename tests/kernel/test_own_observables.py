"""Observables of one's own: copied, checked at first use, and explained where they are no observables."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.propagate import Trajectory, Workspace

MODEL = rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), width=8)
X = torch.ones(1, 8)


def last(t: Trajectory) -> Tensor:
    return t.hidden.scaled[-1][:, 0, 0]


def middle(t: Trajectory) -> Tensor:
    return t.hidden.scaled[2][:, :, :3]


def first(t: Trajectory) -> Tensor:
    return t.hidden.scaled[0][:, 0]


def pulled(t: Trajectory) -> Tensor:
    return t.adjoint.scaled[1].transpose(1, 2)


def units(t: Trajectory) -> Tensor:
    return t.hidden.exponent[-1].expand(-1, -1, 4)


def as_array(t: Trajectory) -> np.ndarray:
    return t.hidden.scaled[-1][:, 0].numpy()


VIEWS = [last, middle, first, pulled, units, as_array]
SCRATCH = torch.empty(512)


def kept(t: Trajectory) -> Tensor:
    """In memory of the observable's own, written to every time."""
    out = SCRATCH[: len(t.hidden.scaled[0])]
    return out.copy_(t.hidden.scaled[-1][:, 0, 0])


def cloned(view: Callable[[Trajectory], Tensor]) -> Callable[[Trajectory], Tensor]:
    def clone(t: Trajectory) -> Tensor:
        return torch.as_tensor(view(t)).clone()

    return clone


def simulate(observe: list[object], **more: object) -> dict[str, Tensor]:
    return rs.simulate(MODEL, X, **{"depth": 5, "samples": 1024, "gradients": True, **more}, observe=observe)


@pytest.mark.parametrize("method", ["dense", "deferred"])
@pytest.mark.parametrize("beside", [[], [ob.gradient_displacement]], ids=["alone", "beside"])
@pytest.mark.parametrize("view", [*VIEWS, kept], ids=lambda f: f.__name__)
def test_views_of_states_are_copied(view: Callable[[Trajectory], Tensor], beside: list, method: str) -> None:
    found = simulate([view, *beside], method=method)[view.__name__]
    expected = simulate([cloned(view if view is not kept else last), *beside], method=method)["clone"]
    assert torch.equal(found, expected)
    if view is not units:
        assert not torch.equal(found[:512], found[512:])


@pytest.mark.parametrize(("workers", "batch"), [(1, 256), (1, 2048), (2, 256)])
def test_views_in_a_study(workers: int, batch: int) -> None:
    ds = rs.study(
        lambda: MODEL,
        X,
        over={},
        depth=5,
        samples=1100,
        observe=[last, middle],
        batch=batch,
        workers=workers,
    )
    expected = simulate([last, middle], samples=1100, gradients=False)
    for name in ("last", "middle"):
        assert np.array_equal(ds[name].values, expected[name].numpy())


def test_results_and_trajectories_are_the_callers_own() -> None:
    h, p = torch.randn(3, 1, 8, generator=rs.generator(0)), torch.randn(3, 1, 8, generator=rs.generator(1))
    for block in (rs.SingleLayer(rs.RELU), rs.SingleLayer(rs.TANH)):
        paths = replace(MODEL, block=block).draw(4, samples=3)
        run = lambda b=block, w=paths: rs.trajectory(b, h, w.layers(4), 0.5, top=p)  # noqa: E731
        before, again = run(), run()
        for states in (before.hidden, before.adjoint):
            for state in states.scaled:
                state.fill_(math.nan)
        for name in ("hidden", "adjoint"):
            states = [getattr(t, name).scaled for t in (again, run())]
            assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert bool(h.isfinite().all() & p.isfinite().all())


@pytest.mark.parametrize(
    "law",
    [rs.WhiteNoise(), rs.FractionalNoise(0.7), rs.SmoothNoise(), rs.ConstantNoise()],
    ids=str,
)
def test_layers_and_weights_are_copies_of_a_path(law: rs.PathLaw) -> None:
    paths = rs.Model(rs.TwoLayer(rs.TANH), law, 4).draw(8, samples=2)
    for depth in (8, 4, 1):
        before = [layer["outer"].entries.clone() for layer in paths.layers(depth)]
        paths.matrices["outer"].weights(depth).fill_(0.0)
        layers = paths.layers(depth)
        layers[0]["outer"].entries.zero_()
        assert all(torch.equal(a["outer"].entries, b) for a, b in zip(layers[1:], before[1:], strict=True))
        assert all(
            torch.equal(layer["outer"].entries, old)
            for layer, old in zip(paths.layers(depth), before, strict=True)
        )


def test_kernels_of_verbs_are_not_kept() -> None:
    model = rs.Model(rs.SingleLayer(rs.TANH), rs.SmoothNoise(), 4)
    for compute in (
        lambda: rs.meanfield.two_time(model, depth=5),
        lambda: model.law.covariance(5),
        lambda: rs.FractionalNoise(0.7).covariance(5),
        lambda: rs.meanfield.flow(model, steps=4).kernel,
        lambda: model.draw(5, samples=1).matrices["outer"].weights(5),
        lambda: rs.meanfield.fixed_points(rs.TANH, torch.tensor([0.5, 1.7]), 0.05).q_star,
    ):
        found = compute()
        expected = found.clone()
        found.fill_(math.nan)
        assert torch.equal(compute(), expected)


def mean_over_networks(t: Trajectory) -> Tensor:
    return t.hidden.natural(-1).square().mean((0, 2))


REFUSED: dict[str, tuple[Callable[[Trajectory], object], str]] = {
    "no result": (lambda t: None, "returned NoneType; it must return a tensor whose first axis"),
    "a float": (lambda t: float(last(t).mean()), "returned float"),
    "a list": (lambda t: last(t).tolist(), "returned list"),
    "a class": (Trajectory, "Trajectory"),
    "a number": (lambda t: last(t).mean(), r"returned shape \(\)"),
    "a mean over networks": (mean_over_networks, r"returned shape \(1,\)"),
    "another first axis": (lambda t: t.hidden.scaled[-1].transpose(0, 1), r"returned shape \(1, 512, 8\)"),
    "complex numbers": (lambda t: last(t) + 1j, "complex64; return real ones"),
    "short floats": (lambda t: last(t).bfloat16(), "bfloat16; return real ones"),
    "objects": (lambda t: np.array(["a"] * len(last(t))), "returned ndarray"),
    "a sparse tensor": (lambda t: last(t).to_sparse(), "returned torch.sparse_coo"),
    "states written to": (lambda t: t.hidden.scaled[-1].mul_(2)[:, 0], "writes into the states"),
    "gradients written to": (lambda t: t.adjoint.scaled[0].zero_()[:, 0], "writes into the states"),
    "centred": (lambda t: last(t) - last(t).mean(), "in other company"),
    "ranks": (lambda t: last(t).argsort().argsort(), "in other company"),
}


@pytest.mark.parametrize(("observe", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_observable_is_explained(observe: Callable, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        simulate([observe], samples=700)
    assert "\n" not in str(caught.value)


def test_a_mean_over_networks_is_not_an_axis_of_as_many_inputs() -> None:
    x = torch.eye(3, 8)
    with pytest.raises(ValueError, match="first axis must be that of the networks"):
        rs.simulate(MODEL, x, depth=3, samples=3, observe=[mean_over_networks])
    with pytest.raises(ValueError, match="first axis must be that of the 512 networks"):
        rs.study(lambda: MODEL, x[:2], over={}, depth=3, samples=700, observe=[mean_over_networks])


@ob.observable("input")
def too_many_axes(t: Trajectory) -> Tensor:
    return t.hidden.natural(-1)


@ob.observable("input")
def coordinates(t: Trajectory) -> Tensor:
    return t.hidden.natural(-1)[:, 0]


@ob.observable("layer", every_layer=True)
def branches(t: Trajectory) -> Tensor:
    return torch.stack([h[:, 0, 0] for h in t.hidden.scaled[1:]], 1)


@ob.observable("sample")
def own_sample(t: Trajectory) -> Tensor:
    return t.hidden.natural(-1)[:, 0]


def by_company(t: Trajectory) -> Tensor:
    return torch.zeros(len(t.hidden.scaled[0]), 2 if len(t.hidden.scaled[0]) == 512 else 3)


def by_depth(t: Trajectory) -> Tensor:
    h = t.hidden.scaled
    return torch.zeros(len(h[0]), *([2] if len(h) > 4 else [2, 2]))


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        ([too_many_axes], "its axes behind the networks are input"),
        ([coordinates], "axis 'input' of observable coordinates has 8 entries, and that of the inputs has 1"),
        ([ob.log10_length, branches], "axis 'layer' of observable branches has"),
        ([by_company], r"returned shape \(512, 2\) for some networks and \(188, 3\) for others"),
    ],
    ids=["axes", "inputs", "layers", "company"],
)
def test_axes_are_those_that_are_declared(observe: list[object], message: str) -> None:
    request = {"depth": 5, "samples": 700, "observe": observe}
    with pytest.raises(ValueError, match=message):
        rs.simulate(MODEL, X, **request)
    with pytest.raises(ValueError, match=message):
        rs.study(lambda: MODEL, X, over={}, **request)


def test_axes_of_a_grid_and_of_its_observables_have_different_names() -> None:
    with pytest.raises(ValueError, match="axis 'sample' of observable own_sample"):
        rs.study(lambda: MODEL, X, over={}, depth=3, samples=2, observe=[own_sample])
    with pytest.raises(ValueError, match="returned 3 axes in one cell and 2 in another"):
        rs.study(lambda: MODEL, X, over={"depth": [2, 5]}, samples=2, observe=[by_depth])

    def input(t: Trajectory) -> Tensor:
        return last(t)

    with pytest.raises(ValueError, match="cannot have the name 'input'"):
        rs.study(lambda: MODEL, X, over={}, depth=3, samples=2, observe=[input, ob.growth])


def test_numbers_of_other_kinds_are_kept() -> None:
    def active(t: Trajectory) -> Tensor:
        return (t.hidden.scaled[-1] > 0).sum(-1)

    def positive(t: Trajectory) -> Tensor:
        return last(t) > 0

    def drawn(t: Trajectory) -> Tensor:
        return torch.rand(len(last(t)), generator=source)

    source = rs.generator(0, "observable")
    out = simulate([active, positive, drawn, as_array])
    assert out["active"].dtype == torch.int64
    assert torch.equal(out["positive"], out["as_array"][:, 0] > 0)
    assert out["drawn"].shape == (1024,)


def test_autograd_does_not_follow() -> None:
    x, weight = X.clone().requires_grad_(), torch.tensor(1.5, requires_grad=True)

    class Steep(rs.Activation):
        def __call__(self, x: Tensor) -> Tensor:
            return torch.tanh(weight * x)

        def prime(self, x: Tensor) -> Tensor:
            return weight * (1 - self(x).square())

        def __repr__(self) -> str:
            return "Steep()"

    def slope(t: Trajectory) -> Tensor:
        with torch.enable_grad():
            return weight * last(t)

    for block in (rs.SingleLayer(rs.RELU), rs.SingleLayer(Steep()), rs.TwoLayer(Steep())):
        model = rs.Model(block, rs.WhiteNoise(), 8)
        for observe in ([ob.growth, ob.gradient_growth, slope], [ob.log10_length]):
            request = {"depth": 4, "samples": 6, "observe": observe}
            found, plain = rs.simulate(model, x, **request), rs.simulate(model, X, **request)
            assert all(torch.equal(found[name], plain[name]) for name in plain)
            assert not any(values.requires_grad for values in found.values())
            rs.study(lambda model=model: model, x, over={}, **request)
        h = torch.ones(2, 1, 8, requires_grad=True)
        seen = rs.trajectory(block, h, model.draw(4, samples=2).layers(4), 0.5, workspace=Workspace())
        assert not any(state.requires_grad for state in seen.hidden.scaled)
        assert rs.forward(block, h, model.draw(4, samples=2).layers(4), 0.5).requires_grad


@pytest.mark.parametrize("made", [None, rs.Model, "white", rs.SingleLayer(rs.RELU)], ids=repr)
def test_build_returns_a_model(made: object) -> None:
    with pytest.raises(ValueError, match="it must return a Model"):
        rs.study(lambda beta: made, X, over={"beta": [0.5]}, depth=3, samples=2, observe=[ob.growth])
    with pytest.raises(ValueError, match="model must be a Model"):
        rs.simulate(made, X, depth=3, samples=2, observe=[ob.growth])


@pytest.mark.parametrize("value", [1, "yes", None, torch.tensor(True)], ids=repr)
def test_gradients_is_yes_or_no(value: object) -> None:
    with pytest.raises(ValueError, match="gradients must be True or False"):
        simulate([ob.growth], gradients=value)
