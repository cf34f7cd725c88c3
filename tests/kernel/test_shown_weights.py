"""Pre-activations and weights, as observables and trajectories show them."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from every import pointwise_of
from torch import Tensor

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.matrices import NotDrawn
from resnet_sde.states import Trajectory
from resnet_sde.streams import stream

X = torch.tensor([[1.0, -0.3, 0.7], [0.2, 0.9, -0.4]], dtype=torch.float64)
WHITE = rs.WhiteNoise()
BIASED = [
    rs.SingleLayer(rs.TANH, 1.3, 0.4),
    rs.TwoLayer(rs.RELU, 1.3, 0.4, 0.7, 0.2),
    rs.Reduced(rs.RELU, 1.3, 0.4),
]
ALPHA = 0.5


def affine(entries: Tensor, x: Tensor, weight: float, bias: float) -> Tensor:
    """√(weight / d) V x + √bias v of entries in natural size, whose last row is v where there is one."""
    width = x.shape[-1]
    found = (weight / width) ** 0.5 * x @ entries[:, :width]
    return found if bias == 0 else found + bias**0.5 * entries[:, width:]


def wrong_layers(block: rs.Block, t: Trajectory) -> Tensor:
    """How far what a trajectory shows is from h + α V φ(W h + b) + a and from what φ meets, per network."""
    inner_weight, inner_bias, outer_weight, outer_bias = block.variances
    errors = []
    for k in range(len(t.hidden.scaled) - 1):
        before, after = t.hidden.natural(k), t.hidden.natural(k + 1)
        weights = {name: states.natural(k) for name, states in t.weights.items()}
        pre = affine(weights["inner"], before, inner_weight, inner_bias) if "inner" in weights else before
        out = block.activation(pre)
        out = affine(weights["outer"], out, outer_weight, outer_bias) if "outer" in weights else out
        size = after.abs().amax((1, 2))
        errors.append((before + ALPHA * out - after).abs().amax((1, 2)) / size)
        if t.preactivations is not None:
            errors.append((t.preactivations.natural(k) - pre).abs().amax((1, 2)) / pre.abs().amax((1, 2)))
    return torch.stack(errors).amax(0)


@pytest.mark.parametrize("law", [WHITE, rs.FractionalNoise(0.7)], ids=str)
@pytest.mark.parametrize("block", [*pointwise_of(rs.TANH), *BIASED], ids=str)
def test_what_is_shown_is_what_the_states_met(block: rs.Block, law: rs.PathLaw) -> None:
    @ob.observable(preactivations=True, weights=True)
    def wrong(t: Trajectory) -> Tensor:
        assert {len(states.scaled) for states in (t.preactivations, *t.weights.values())} == {9}
        return wrong_layers(block, t)

    model = rs.Model(block, law, 6, beta=0.0, gain=ALPHA)
    out = rs.simulate(model, X, depth=9, samples=5, observe=[wrong])
    assert (out["wrong"] < 1e-12).all()


def test_states_of_other_scales_come_with_their_preactivations() -> None:
    """A homogeneous block whose states are carried as powers of two."""
    block = rs.TwoLayer(rs.RELU, 8.0, 0.4, 8.0, 0.2)
    model = rs.Model(block, WHITE, 6, beta=0.0, gain=ALPHA)
    exponents = []

    @ob.observable(preactivations=True, weights=True)
    def wrong(t: Trajectory) -> Tensor:
        exponents.append(float(t.preactivations.exponent[-1].max()))
        return wrong_layers(block, t)

    out = rs.simulate(model, X, depth=120, samples=3, observe=[wrong])
    assert (out["wrong"] < 1e-11).all()
    assert min(exponents) > 50


def test_another_weight_is_noticed() -> None:
    """The comparison above sees an error of a hundredth in one layer."""
    block = rs.TwoLayer(rs.TANH, 1.3, 0.4)
    model = rs.Model(block, WHITE, 6, beta=0.0, gain=ALPHA)
    layers = model.draw(5, samples=2, dtype=torch.float64).layers(5)
    h = torch.ones(2, 1, 6, dtype=torch.float64)
    t = rs.trajectory(block, h, layers, ALPHA, preactivations=True, weights=True)
    assert (wrong_layers(block, t) < 1e-12).all()
    t.weights["inner"].scaled[3].mul_(1.01)
    assert (wrong_layers(block, t) > 1e-4).all()


@ob.observable(every_layer=True)
def path(t: Trajectory) -> Tensor:
    """Mean squares of all states."""
    return torch.stack([h.double().square().mean((1, 2)) for h in t.hidden.scaled], dim=1)


@ob.observable("matrix", weights=True)
def outer_sizes(t: Trajectory) -> Tensor:
    """Mean squares of the outer matrices. Shape: (sample, matrix)."""
    return torch.stack([v.double().square().mean((1, 2)) for v in t.weights["outer"].scaled], dim=1)


@ob.observable("matrix", "input", preactivations=True)
def met(t: Trajectory) -> Tensor:
    """Mean squares of what φ meets. Shape: (sample, matrix, input)."""
    pre = t.preactivations
    return torch.stack([pre.natural(k).square().mean(-1) for k in range(len(pre.scaled))], dim=1)


MODEL = rs.Model(rs.TwoLayer(rs.TANH), WHITE, 32)


@pytest.mark.parametrize("method", ["dense", "deferred"])
def test_other_observables_see_the_same_networks(method: str) -> None:
    request = {"depth": 7, "samples": 20, "method": method, "seed": 3}
    shown = [met] if method == "deferred" else [met, outer_sizes]
    before = rs.simulate(MODEL, X, observe=[path, ob.displacement, ob.gradient_growth], **request)
    after = rs.simulate(MODEL, X, observe=[*shown, path, ob.displacement, ob.gradient_growth], **request)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_pre_activations_are_those_of_wide_networks() -> None:
    """Of deferred matrices too: their first layer has the mean square of the states, as σ_w is 1."""
    for method in ("dense", "deferred"):
        out = rs.simulate(MODEL, X, depth=2, samples=400, observe=[met], method=method)["met"][:, 0]
        expected = X.square().mean(-1)
        spread = out.std(0) / 20
        assert ((out.mean(0) - expected).abs() < 5 * spread).all()


def test_a_study_shows_them(tmp_path: Path) -> None:
    found = [
        rs.study(
            lambda law: rs.Model(rs.TwoLayer(rs.TANH), law, 8, beta=0.5),
            X,
            over={"law": [WHITE, rs.SmoothNoise()], "depth": [3, 5]},
            samples=30,
            observe=[met, outer_sizes],
            workers=workers,
            store=store,
        )
        for workers, store in ((1, tmp_path), (2, None), (1, tmp_path))
    ]
    assert found[0].met.dims == ("law", "depth", "sample", "matrix", "input")
    assert set(found[0].method.values.ravel().tolist()) == {"dense"}
    assert bool(found[0]["outer_sizes"].isel(depth=0, matrix=slice(3, None)).isnull().all())
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_weights_need_dense_matrices() -> None:
    assert rs.simulate(MODEL, X, depth=2, samples=3, observe=[outer_sizes])["outer_sizes"].shape == (3, 2)
    with pytest.raises(
        ValueError, match="looks at weights, and deferred matrices hold none; give method dense"
    ):
        rs.simulate(MODEL, X, depth=2, samples=3, observe=[outer_sizes], method="deferred")
    layers = [rs.Layer.revealed(MODEL.block.shapes(32), stream(0, "shown")) for _ in range(2)]
    with pytest.raises(NotDrawn, match="weights are shown of dense matrices, not of Deferred ones"):
        rs.trajectory(MODEL.block, torch.ones(2, 1, 32), layers, 0.1, weights=True)


@dataclass(frozen=True)
class Own(rs.Block):
    activation: rs.Activation = rs.TANH

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"outer": (width, width)}

    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return layer["outer"].matvec(torch.tanh(h), h.shape[-1] ** -0.5)


class Changed(rs.TwoLayer):
    def branch(self, h: Tensor, layer: rs.Layer) -> Tensor:
        return 2.0 * super().branch(h, layer)


@pytest.mark.parametrize("block", [Own(), Changed(rs.TANH)], ids=["own", "changed"])
def test_what_a_block_of_ones_own_meets_is_not_known(block: rs.Block) -> None:
    model = rs.Model(block, WHITE, 8, beta=0.5)
    with pytest.raises(
        ValueError, match="is none; leave preactivations out, or take them of states and weights"
    ):
        rs.simulate(model, X, depth=2, samples=3, observe=[met])
    layers = model.draw(2, samples=2).layers(2)
    with pytest.raises(ValueError, match="leave preactivations out"):
        rs.trajectory(block, torch.ones(2, 1, 8), layers, 0.1, preactivations=True)
    out = rs.simulate(model, X, depth=2, samples=300, observe=[outer_sizes])["outer_sizes"]
    assert abs(float(out.mean()) - 1) < 5 * float(out.std()) / 600**0.5


@pytest.mark.parametrize("what", ["weights", "preactivations"])
def test_writing_into_them_is_noticed(what: str) -> None:
    @ob.observable(weights=True, preactivations=True)
    def writes(t: Trajectory) -> Tensor:
        part = t.weights["outer"] if what == "weights" else t.preactivations
        part.scaled[0].zero_()
        return t.hidden.scaled[0][:, 0, 0]

    with pytest.raises(ValueError, match="observable writes writes into the states"):
        rs.simulate(MODEL, X, depth=2, samples=3, observe=[writes])


def test_a_method_of_that_name_asks_for_nothing() -> None:
    class Module(torch.nn.Module):
        def forward(self, t: Trajectory) -> Tensor:
            assert t.weights is t.preactivations is None
            return t.hidden.scaled[-1][:, :, 0]

        def weights(self) -> None: ...

    assert rs.simulate(MODEL, X, depth=2, samples=3, observe=[Module()])["Module"].shape == (3, 2)


def test_their_memory_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network is refused that fits without what is to be kept of it."""
    from resnet_sde import monte_carlo

    needed: list[int] = []
    monkeypatch.setattr(monte_carlo, "check_memory", lambda what, bytes_, *_: needed.append(bytes_))
    found = {}
    for observe in ([path], [met], [outer_sizes]):
        needed.clear()
        monte_carlo.plan(
            MODEL,
            X,
            depth=50,
            samples=1,
            observe=observe,
            gradients=False,
            method="deferred" if observe != [outer_sizes] else "auto",
            seed=0,
        )
        found[observe[0].__name__] = needed[0]
    assert found["met"] - found["path"] == 50 * 2 * 32 * 8
    assert found["outer_sizes"] >= 50 * 2 * 32 * 32 * 8
