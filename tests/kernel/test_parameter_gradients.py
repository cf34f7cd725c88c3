"""Gradients of parameters, and dropout: against autograd, and against the loop of networks that train."""

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import LINEAR, RELU, SIGMOID, TANH, AlphaReLU, Reduced, SingleLayer, TwoLayer
from resnet_sde import observables as ob
from resnet_sde.blocks import affine, affine_back
from resnet_sde.matrices import Dense, Identity, Layer
from resnet_sde.networks.residual import Layers, Weights
from resnet_sde.propagate import Dropout
from resnet_sde.streams import stream

PHIS = (LINEAR, RELU, TANH, SIGMOID, AlphaReLU(0.8))
BLOCKS: list[rs.Block] = [
    *(SingleLayer(phi, 1.2, b) for phi, b in product(PHIS, (0.0, 0.3))),
    *(Reduced(phi, 1.2, b) for phi, b in product(PHIS, (0.0, 0.3))),
    *(TwoLayer(phi, 1.2, b, 0.8, a) for phi, (a, b) in product(PHIS, [(0.0, 0.0), (0.2, 0.3), (0.2, 0.0)])),
]
WIDTH, DEPTH, SAMPLES, INPUTS, ALPHA = 6, 9, 3, 2, 0.4
every_block = pytest.mark.parametrize("block", BLOCKS, ids=str)


def drawn(block: rs.Block, depth: int = DEPTH, width: int = WIDTH) -> list[Layer]:
    model = rs.Model(block, rs.WhiteNoise(), width, beta=0.0)
    return model.draw(depth, samples=SAMPLES, seed=1).layers(depth)


def states(name: str, inputs: int = INPUTS, width: int = WIDTH) -> Tensor:
    return torch.randn(SAMPLES, inputs, width, generator=stream(0, name).torch)


def by_autograd(
    block: rs.Block, layers: list[Layer], *run: object, top: Tensor, **more: object
) -> dict[str, Tensor]:
    """Norms of gradients of what `forward` gives, (layer, sample, input)."""
    entries = [
        {n: m.entries.clone().requires_grad_() for n, m in layer.matrices.items() if isinstance(m, Dense)}
        for layer in layers
    ]
    own = [Layer({n: Dense(m) for n, m in each.items()}) for each in entries]
    end = rs.forward(block, states("h", top.shape[1]), own, *run, **more)[-1]
    flat = [m for each in entries for m in each.values()]
    found: dict[str, list[Tensor]] = {}
    for i in range(top.shape[1]):
        of = iter(torch.autograd.grad(end[:, i], flat, top[:, i], retain_graph=True, materialize_grads=True))
        for each in entries:
            for name in each:
                gradient = next(of)
                found.setdefault(name, []).append(gradient[:, :WIDTH].norm(dim=(1, 2)))
                if gradient.shape[1] > WIDTH:
                    found.setdefault(f"{name}_bias", []).append(gradient[:, WIDTH].norm(dim=1))
    return {n: torch.stack(v).view(top.shape[1], len(layers), -1).permute(1, 2, 0) for n, v in found.items()}


def seen(t: rs.Trajectory) -> dict[str, Tensor]:
    """The same of a trajectory."""
    assert t.parameters is not None
    depth = len(next(iter(t.parameters.values())).scaled)
    return {n: torch.stack([s.natural(k)[..., 0] for k in range(depth)]) for n, s in t.parameters.items()}


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, values in found.items():
        torch.testing.assert_close(values, expected[name], rtol=1e-9, atol=1e-12, msg=name)


@every_block
@pytest.mark.parametrize("skip", [1.0, 0.5])
@pytest.mark.parametrize("keep_rate", [None, 0.7])
def test_norms_are_those_of_autograd(block: rs.Block, skip: float, keep_rate: float | None) -> None:
    layers, top = drawn(block), states("top")

    def masks() -> Dropout | None:
        return None if keep_rate is None else Dropout(keep_rate, stream(0, "masks"))

    t = rs.trajectory(block, states("h"), layers, ALPHA, skip, top=top, parameters=True, dropout=masks())
    assert_alike(seen(t), by_autograd(block, layers, ALPHA, skip, top=top, dropout=masks()))
    wrong = by_autograd(block, layers, 1.01 * ALPHA, skip, top=top, dropout=masks())
    with pytest.raises(AssertionError):
        assert_alike(seen(t), wrong)


def test_each_input_may_have_its_own_scaling() -> None:
    block, alphas, top = TwoLayer(RELU, 1.0, 0.3, 1.0, 0.2), torch.tensor([[0.1], [0.9]]), states("top")
    t = rs.trajectory(block, states("h"), drawn(block), alphas, top=top, parameters=True)
    assert_alike(seen(t), by_autograd(block, drawn(block), alphas, top=top))


def test_ends_alone_leave_gradients_of_all_layers() -> None:
    block, top = TwoLayer(RELU, 1.0, 0.3), states("top")
    whole, ends = (
        rs.trajectory(block, states("h"), drawn(block), ALPHA, top=top, parameters=True, every_layer=every)
        for every in (True, False)
    )
    assert ends.adjoint is not None
    assert whole.adjoint is not None
    assert len(ends.hidden.scaled) == len(ends.adjoint.scaled) == 2
    assert_alike(seen(ends), seen(whole))
    assert torch.equal(ends.adjoint.natural(0), whole.adjoint.natural(0))
    plain = rs.trajectory(block, states("h"), drawn(block), ALPHA, top=top)
    assert plain.parameters is None
    assert torch.equal(plain.hidden.natural(-1), whole.hidden.natural(-1))


@pytest.mark.parametrize("block", [SingleLayer(LINEAR, 4.0, 0.3), SingleLayer(SIGMOID, 4.0)], ids=str)
def test_matrices_that_are_revealed_have_the_gradient_of_one_product(block: SingleLayer) -> None:
    """σ |φ(h)| |p| α / √d, and σ_b |p| α, also where numbers leave the range of float64."""
    source, depth = stream(0, "revealed"), 1200
    layers = [Layer.revealed(block.shapes(WIDTH), source) for _ in range(depth)]
    t = rs.trajectory(block, states("h"), layers, 2.0, top=states("top"), parameters=True)
    assert t.parameters is not None
    assert t.adjoint is not None

    def log2(scaled: Tensor, exponent: Tensor) -> Tensor:
        return scaled.double().norm(dim=-1).log2() + exponent[..., 0]

    exponents = []
    for k in (0, 7, depth - 1):
        h, above = t.hidden, log2(t.adjoint.scaled[k + 1], t.adjoint.exponent[k + 1])
        at = block.activation(h.scaled[k]) if block.homogeneous else block.activation(h.natural(k))
        of = log2(at, h.exponent[k]) + above + math.log2(2 * math.sqrt(block.sigma_w2 / WIDTH))
        norms = t.parameters["outer"]
        torch.testing.assert_close(log2(norms.scaled[k], norms.exponent[k]), of, rtol=1e-12, atol=1e-9)
        exponents.append(float(of.max()))
        if block.sigma_b2:
            biases = t.parameters["outer_bias"]
            found = log2(biases.scaled[k], biases.exponent[k])
            torch.testing.assert_close(found, above + math.log2(2 * 0.3**0.5), rtol=1e-12, atol=1e-9)
    assert max(exponents) > 1100 or not block.homogeneous, "beyond float64"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.activation in (RELU, TANH)], ids=str)
def test_the_loop_of_networks_that_train_has_the_same_branch(block: rs.Block) -> None:
    """States, masks and gradients of weights as layers use them, which differ by σ / √d, or σ for biases."""
    layers, top, keep_rate = drawn(block), states("top", 1), 0.7
    variances = zip(Weights._fields, block.variances, strict=True)
    scales = {n: math.sqrt(v if n.endswith("bias") else v / WIDTH) for n, v in variances}
    stacked = {n: torch.stack([layer[n].entries for layer in layers], 1) for n in block.shapes(1)}
    parts = {n: m[:, :, :WIDTH] * scales[n] for n, m in stacked.items()}
    biases = {f"{n}_bias": m[:, :, WIDTH] for n, m in stacked.items() if m.shape[2] > WIDTH}
    parts |= {n: m * scales[n] for n, m in biases.items()}
    weights = Weights(*(parts[n].requires_grad_() if n in parts else None for n in Weights._fields))
    numbers = torch.rand(DEPTH, SAMPLES, 1, WIDTH, generator=stream(0, "masks").torch)
    masks, dropout = (numbers < keep_rate) / keep_rate, Dropout(keep_rate, stream(0, "masks"))
    alphas = torch.full((SAMPLES,), ALPHA)
    end = Layers(block.activation, 1.0)(states("h", 1).mT, alphas, weights, masks.mT.contiguous())
    end.backward(top.mT)
    t = rs.trajectory(block, states("h", 1), layers, ALPHA, top=top, parameters=True, dropout=dropout)
    torch.testing.assert_close(t.hidden.natural(-1), end.detach().mT, rtol=1e-12, atol=1e-12)
    for name, norms in seen(t).items():
        gradient = getattr(weights, name).grad.flatten(2).norm(dim=2) * scales[name]
        torch.testing.assert_close(norms[..., 0], gradient.mT, rtol=1e-10, atol=1e-12)


def test_a_gradient_at_the_top_may_be_that_of_a_loss() -> None:
    block, target = TwoLayer(RELU, 1.0, 0.3), states("target")
    end = rs.trajectory(block, states("h"), drawn(block), ALPHA).hidden.natural(-1)
    shown = []

    def loss(h: Tensor) -> Tensor:
        shown.append(h.clone())
        return h - target

    t = rs.trajectory(block, states("h"), drawn(block), ALPHA, top=loss, parameters=True)
    fixed = rs.trajectory(block, states("h"), drawn(block), ALPHA, top=end - target, parameters=True)
    assert len(shown) == 1
    assert torch.equal(shown[0], end)
    assert_alike(seen(t), seen(fixed))
    for wrong in (lambda h: h[:, :1], lambda h: None, states("top", 1), "top"):
        with pytest.raises(ValueError, match="top must be"):
            rs.trajectory(block, states("h"), drawn(block), ALPHA, top=wrong)
    with pytest.raises(ValueError, match="dropout must be a Dropout"):
        rs.forward(block, states("h"), drawn(block), ALPHA, dropout=0.9)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give top"):
        rs.trajectory(block, states("h"), drawn(block), ALPHA, parameters=True)


# --- Dropout


def test_masks_are_drawn_for_each_input_or_once_for_all() -> None:
    block, keep_rate, width = SingleLayer(LINEAR), 0.8, 4000
    layers = [Layer({"outer": Identity()}) for _ in range(2)]
    h = torch.ones(SAMPLES, INPUTS, width)
    for shared in (False, True):
        dropout = Dropout(keep_rate, stream(0, "masks"), shared)
        found = rs.forward(block, h, layers, width**0.5, 0.0, dropout=dropout)[1:]
        # What is left is 1/keep in the first layer, and 1/keep² in both: to 5 standard deviations of 12,000.
        for k, share in ((0, keep_rate), (1, keep_rate**2)):
            left = found[k] != 0
            torch.testing.assert_close(found[k][left], torch.full_like(found[k][left], share**-1))
            assert abs(float(left[:, 0].double().mean()) - share) < 5 * (share * (1 - share) / 12_000) ** 0.5
            assert torch.equal(left[:, 0], left[:, 1]) == shared
            assert not torch.equal(left[0], left[1])


def test_a_keep_rate_of_one_changes_no_number() -> None:
    block, top = TwoLayer(TANH, 1.0, 0.3, 1.0, 0.2), states("top")
    plain = rs.trajectory(block, states("h"), drawn(block), ALPHA, top=top)
    masked = rs.trajectory(
        block, states("h"), drawn(block), ALPHA, top=top, dropout=Dropout(1.0, stream(0, "masks"))
    )
    assert plain.adjoint is not None
    assert masked.adjoint is not None
    assert torch.equal(plain.adjoint.natural(0), masked.adjoint.natural(0))


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.5, math.nan, "half", None, True, np.True_, torch.tensor(True)])
def test_other_keep_rates_are_refused(rate: object) -> None:
    with pytest.raises(ValueError, match="keep_rate") as caught:
        Dropout(rate, stream(0, "masks"))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


# --- Blocks of one's own


@dataclass(frozen=True)
class Own(rs.Block):
    """V tanh(W h + b) + v in one way or another."""

    how: str = "right"
    activation: rs.Activation = TANH

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"inner": (width + 1, width), "outer": (width, width)}

    def branch(self, h: Tensor, layer: Layer) -> Tensor:
        pre = affine(layer["inner"], h, 1.0, 0.5)
        a = self.activation(pre)
        if self.how == "entries":
            return torch.bmm(a, layer["outer"].entries) * a.shape[-1] ** -0.5
        if self.how == "twice":
            return (layer["outer"].matvec(a) + layer["outer"].matvec(2 * a)) / 3 * a.shape[-1] ** -0.5
        return affine(layer["outer"], a, 1.0, 0.0)

    def adjoint(self, h: Tensor, p: Tensor, layer: Layer) -> Tensor:
        if self.how == "autograd":
            return super().adjoint(h, p, layer)
        pre = affine(layer["inner"], h, 1.0, 0.5)
        if self.how == "entries":
            back = torch.bmm(p, layer["outer"].entries.mT) * p.shape[-1] ** -0.5
        elif self.how == "twice":
            back = (layer["outer"].rmatvec(p) + layer["outer"].rmatvec(2 * p)) / 3 * p.shape[-1] ** -0.5
        else:
            factor = 2.0 if self.how == "factor" else 1.0
            back = affine_back(layer["outer"], factor * p, 1.0, 0.0) / factor
        return affine_back(layer["inner"], self.activation.pullback(pre, back), 1.0, 0.5)

    def critical_beta(self, law: rs.PathLaw) -> float:
        return 0.5

    @property
    def strength(self) -> float:
        return 1.0


@pytest.mark.parametrize("how", ["right", "autograd"])
@pytest.mark.parametrize("keep_rate", [None, 0.7])
def test_a_block_of_ones_own_needs_no_formula_for_its_parameters(how: str, keep_rate: float | None) -> None:
    own, known, top = Own(how), TwoLayer(TANH, 1.0, 0.5), states("top")

    def masks() -> Dropout | None:
        return None if keep_rate is None else Dropout(keep_rate, stream(0, "masks"))

    found, expected = (
        rs.trajectory(b, states("h"), drawn(known), ALPHA, top=top, parameters=True, dropout=masks())
        for b in (own, known)
    )
    assert_alike(seen(found), seen(expected))
    torch.testing.assert_close(found.hidden.natural(-1), expected.hidden.natural(-1))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("entries", "call matvec of each matrix once"),
        ("twice", "call matvec of each matrix once"),
        ("factor", "gradients of outer are not those of autograd"),
    ],
)
def test_gradients_that_are_not_seen_are_refused_before_anything_is_computed(how: str, message: str) -> None:
    block, top, met = Own(how), states("top"), []
    layers = (met.append(layer) or layer for layer in drawn(TwoLayer(TANH, 1.0, 0.5)))
    with pytest.raises(ValueError, match=message) as caught:
        rs.trajectory(block, states("h"), layers, ALPHA, top=top, parameters=True)
    assert "\n" not in str(caught.value)
    assert not met
    whole = rs.trajectory(block, states("h"), drawn(TwoLayer(TANH, 1.0, 0.5)), ALPHA, top=top)
    assert whole.adjoint is not None, "states and their gradients are known all the same"


class Past(Own):
    """Adds h beside the outer matrix."""

    def branch(self, h: Tensor, layer: Layer) -> Tensor:
        pre = affine(layer["inner"], h, 1.0, 0.5)
        return self.activation(pre)

    def shapes(self, width: int) -> dict[str, tuple[int, int]]:
        return {"inner": (width + 1, width)}

    def adjoint(self, h: Tensor, p: Tensor, layer: Layer) -> Tensor:
        pre = affine(layer["inner"], h, 1.0, 0.5)
        return affine_back(layer["inner"], self.activation.pullback(pre, p), 1.0, 0.5)


@pytest.mark.parametrize("block", [Past(), Own("entries")], ids=["no outer matrix", "entries"])
def test_a_block_that_masks_do_not_reach_is_refused(block: rs.Block) -> None:
    for verb in (rs.forward, rs.trajectory):
        with pytest.raises(ValueError, match="dropout") as caught:
            verb(block, states("h"), drawn(block), ALPHA, dropout=Dropout(0.5, stream(0, "masks")))
        assert "\n" not in str(caught.value)


# --- Observables


@ob.observable("layer_below", "input", parameters=True)
def of_outer(t: rs.Trajectory) -> Tensor:
    """Norms of the gradients of the outer matrix."""
    assert t.parameters is not None
    norms = t.parameters["outer"]
    return torch.stack([norms.natural(k)[..., 0] for k in range(len(norms.scaled))], 1)


@ob.observable("input", parameters=True)
def written(t: rs.Trajectory) -> Tensor:
    """Writes into the norms."""
    assert t.parameters is not None
    return t.parameters["outer"].scaled[0].mul_(2)[..., 0]


@pytest.mark.parametrize("method", ["dense", "deferred"])
def test_observables_look_at_gradients_of_parameters(method: str) -> None:
    model = rs.Model(TwoLayer(TANH, 1.0, 0.3), rs.WhiteNoise(), WIDTH, beta=0.5)
    request = {"depth": 5, "samples": 40, "method": method}
    x = torch.eye(2, 4)
    found = rs.simulate(model, x, observe=[of_outer, ob.log10_gradient_growth], **request)
    assert found["of_outer"].shape == (40, 5, 2)
    assert bool((found["of_outer"] > 0).all())
    plain = rs.simulate(model, x, observe=[ob.log10_gradient_growth], **request)
    assert torch.equal(found["log10_gradient_growth"], plain["log10_gradient_growth"])
    with pytest.raises(ValueError, match="written writes into the states"):
        rs.simulate(model, x, observe=[written], **request)
    twice = rs.simulate(replace(model, gain=2.0), x, depth=1, samples=40, observe=[of_outer], method=method)
    once = rs.simulate(model, x, depth=1, samples=40, observe=[of_outer], method=method)
    assert float((twice["of_outer"] / once["of_outer"]).log().mean().exp()) > 1.2, "α is part of them"
