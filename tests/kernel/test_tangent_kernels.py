"""Empirical tangent kernels: against `torch.func`, by hand where states are huge, and at infinite width."""

import math

import pytest
import torch
from test_parameter_gradients import BLOCKS, Own
from torch import Tensor
from torch.func import functional_call, jacrev

import resnet_sde as rs
from resnet_sde import LINEAR, RELU, SIGMOID, TANH, Reduced, SingleLayer, TwoLayer, meanfield
from resnet_sde import observables as ob
from resnet_sde.estimate import quantile
from resnet_sde.matrices import Dense, Layer
from resnet_sde.networks import ReadInOut, ResNet
from resnet_sde.propagate import Dropout
from resnet_sde.streams import stream

WIDTH, DEPTH, SAMPLES, INPUTS, ALPHA = 6, 5, 2, 3, 0.4
every_block = pytest.mark.parametrize("block", BLOCKS, ids=str)


def drawn(block: rs.Block) -> list[Layer]:
    model = rs.Model(block, rs.WhiteNoise(), WIDTH, beta=0.0)
    return model.draw(DEPTH, samples=SAMPLES, seed=1).layers(DEPTH)


def states(name: str, inputs: int = INPUTS, width: int = WIDTH) -> Tensor:
    return torch.randn(SAMPLES, inputs, width, generator=stream(0, name).torch)


def shared_top(inputs: int = INPUTS) -> Tensor:
    return states("top", 1).expand(-1, inputs, -1).contiguous()


def by_jacobians(
    block: rs.Block, layers: list[Layer], *run: object, dropout: Dropout | None = None
) -> dict[str, Tensor]:
    """Products of the gradients of ⟨p_L, h_L⟩ from Jacobians of torch.func, (sample, input, input)."""
    entries = {(k, n): m.entries for k, layer in enumerate(layers) for n, m in layer.matrices.items()}
    h, top = states("h"), shared_top()

    def outputs(of: dict[tuple[int, str], Tensor]) -> Tensor:
        own: list[dict[str, Dense]] = [{} for _ in layers]
        for (k, name), matrix in of.items():
            own[k][name] = Dense(matrix)
        return (rs.forward(block, h, [Layer(each) for each in own], *run, dropout=dropout)[-1] * top).sum(-1)

    found: dict[str, Tensor] = {}
    for (_, name), jacobian in jacrev(outputs)(entries).items():
        own = torch.stack([jacobian[s, :, s] for s in range(SAMPLES)])  # (sample, input, in, out)
        for part, rows in ((name, own[:, :, :WIDTH]), (f"{name}_bias", own[:, :, WIDTH:])):
            if rows.shape[2]:
                flat = rows.flatten(2)
                found[part] = found.get(part, 0.0) + flat @ flat.mT
    return found


def summed(t: rs.Trajectory) -> dict[str, Tensor]:
    assert t.tangents is not None
    return {n: sum(of.natural(k) for k in range(len(of.scaled))) for n, of in t.tangents.items()}


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, values in found.items():
        torch.testing.assert_close(values, expected[name], rtol=1e-9, atol=1e-12, msg=name)


@every_block
def test_products_are_those_of_jacobians(block: rs.Block) -> None:
    layers = drawn(block)
    t = rs.trajectory(block, states("h"), layers, ALPHA, 0.7, top=shared_top(), tangents=True)
    expected = by_jacobians(block, layers, ALPHA, 0.7)
    assert_alike(summed(t), expected)
    torch.testing.assert_close(ob.tangent_kernel(t), sum(expected.values()) / WIDTH, rtol=1e-9, atol=1e-12)
    if "inner" in expected:  # control: a kernel that forgets a matrix is seen
        part = (sum(expected.values()) - expected["inner"]) / WIDTH
        assert not torch.allclose(ob.tangent_kernel(t), part, rtol=1e-3)


def test_products_with_dropout_scalings_for_each_input_and_adjoints_by_autograd() -> None:
    block, layers = TwoLayer(RELU, 1.2, 0.3, 0.8, 0.2), drawn(TwoLayer(RELU, 1.2, 0.3, 0.8, 0.2))
    masks = Dropout(0.7, stream(0, "masks"))
    t = rs.trajectory(block, states("h"), layers, ALPHA, top=shared_top(), tangents=True, dropout=masks)
    assert_alike(summed(t), by_jacobians(block, layers, ALPHA, dropout=Dropout(0.7, stream(0, "masks"))))
    alphas = torch.tensor([[0.1], [0.9], [-0.4]])
    t = rs.trajectory(block, states("h"), layers, alphas, top=shared_top(), tangents=True)
    assert_alike(summed(t), by_jacobians(block, layers, alphas))
    known = drawn(TwoLayer(TANH, 1.0, 0.5))
    for how in ("right", "autograd"):
        t = rs.trajectory(Own(how), states("h"), known, ALPHA, top=shared_top(), tangents=True)
        assert_alike(summed(t), by_jacobians(TwoLayer(TANH, 1.0, 0.5), known, ALPHA))
    for how in ("entries", "twice", "factor"):
        with pytest.raises(ValueError, match="block Own"):
            rs.trajectory(Own(how), states("h"), known, ALPHA, top=shared_top(), tangents=True)


@pytest.mark.parametrize("block", [SingleLayer(TANH, 1.3, 0.4), TwoLayer(RELU, 1.3, 0.4, 0.8, 0.2)], ids=str)
def test_the_kernel_of_a_trainable_network(block: rs.Block) -> None:
    """In the parameters of `ResNet` a matrix counts d / σ² times as much, and a bias 1 / σ_b² times."""
    model = rs.Model(block, rs.WhiteNoise(), WIDTH, beta=0.0, gain=ALPHA)
    net = ResNet(model, DEPTH, WIDTH, 1, seed=1, read_in_out=ReadInOut(embed_w2=None))
    x = states("h")[0]
    inside = {n: p.detach() for n, p in net.named_parameters() if "readout" not in n}
    jacobians = jacrev(lambda p: functional_call(net, p, (x,))[:, 0])(inside)
    top = net.readout.detach()[:, 0].expand(1, INPUTS, WIDTH).contiguous()
    layers = model.draw(DEPTH, samples=1, seed=1).layers(DEPTH)
    found = summed(rs.trajectory(block, x[None], layers, ALPHA, top=top, tangents=True))
    assert found.keys() == jacobians.keys()
    variances = dict(zip(("inner", "inner_bias", "outer", "outer_bias"), block.variances, strict=True))
    for name, jacobian in jacobians.items():
        scale = variances[name] if name.endswith("bias") else variances[name] / WIDTH
        flat = jacobian.flatten(1)
        torch.testing.assert_close(found[name][0] / scale, flat @ flat.T, rtol=1e-9, atol=1e-12)


def test_norms_stay_what_they_are_and_are_on_the_diagonal() -> None:
    block, top = TwoLayer(RELU, 1.0, 0.3, 1.0, 0.2), states("top")
    both, norms, products = (
        rs.trajectory(block, states("h"), drawn(block), ALPHA, top=top, every_layer=False, **asked)
        for asked in ({"parameters": True, "tangents": True}, {"parameters": True}, {"tangents": True})
    )
    assert products.parameters is None
    assert norms.tangents is None
    for name, of in norms.parameters.items():
        for k in range(DEPTH):
            assert torch.equal(of.natural(k), both.parameters[name].natural(k))
            square = both.tangents[name].natural(k).diagonal(dim1=1, dim2=2)
            torch.testing.assert_close(square, of.natural(k)[..., 0].square(), rtol=1e-12, atol=0)
            assert torch.equal(products.tangents[name].natural(k), both.tangents[name].natural(k))


@pytest.mark.parametrize("block", [SingleLayer(LINEAR, 4.0, 0.3), SingleLayer(SIGMOID, 4.0)], ids=str)
def test_matrices_that_are_revealed_have_the_products_of_states(block: SingleLayer) -> None:
    """α² σ² ⟨φ(h), φ(h')⟩ ⟨p, p'⟩ / d, also of states that leave the range of float64."""
    source, depth = stream(0, "revealed"), 700
    layers = [Layer.revealed(block.shapes(WIDTH), source) for _ in range(depth)]
    t = rs.trajectory(block, states("h"), layers, 2.0, top=states("top"), tangents=True)
    assert t.tangents is not None
    assert t.adjoint is not None

    def times(x: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
        return x @ x.mT, exponent + exponent.mT

    largest = 0.0
    for k in (0, 7, depth - 1):
        h, e = t.hidden.scaled[k], t.hidden.exponent[k]
        at = block.activation(h if block.homogeneous else t.hidden.natural(k))
        up, up_exponent = times(at, e)
        back, back_exponent = times(t.adjoint.scaled[k + 1], t.adjoint.exponent[k + 1])
        of, expected = t.tangents["outer"], 4.0 * block.sigma_w2 / WIDTH * up * back
        assert torch.equal(of.exponent[k], up_exponent + back_exponent)
        torch.testing.assert_close(of.scaled[k], expected, rtol=1e-12, atol=1e-12)
        largest = max(largest, float(of.exponent[k].max()))
    assert largest > 1100 or not block.homogeneous, "beyond float64"
    assert (ob.tangent_kernel(t).isinf().any()) == block.homogeneous


# --- Ensembles


X = torch.tensor([[1.0, 0.2, -0.5, 0.3], [0.6, -0.7, 0.4, 0.1]])
MODELS = {
    "one matrix": SingleLayer(RELU, 1.2, 0.3),
    "two": TwoLayer(TANH, 1.2, 0.3, 0.8, 0.2),
    "reduced": Reduced(RELU, 1.2),
}


@pytest.mark.parametrize("method", ["dense", "deferred"])
@pytest.mark.parametrize("block", MODELS.values(), ids=MODELS)
def test_wide_networks_have_the_kernel_of_infinite_width(block: rs.Block, method: str) -> None:
    """At three widths, the mean lies within 4 standard errors and twice the relative size 1 / width.

    Bonferroni over 18 kernels of 3 numbers: a false alarm has probability 0.003. A kernel whose first
    entry is 30 % smaller is outside at the largest width.
    """
    for width, samples in ((32, 300), (64, 300), (128, 200)):
        model = rs.Model(block, rs.WhiteNoise(), width, beta=0.5, gain=1.2)
        theory = meanfield.tangent_kernel(model, X @ X.T / X.shape[1], depth=8)
        found = rs.simulate(
            model, X, depth=8, samples=samples, observe=[ob.tangent_kernel], method=method, seed=width
        )["tangent_kernel"]
        error = found.std(0) / math.sqrt(samples)
        allowed = 4.0 * error + 2.0 * theory.abs() / width
        assert bool(((found.mean(0) - theory).abs() < allowed).all())
    wrong = theory.clone()
    wrong[0, 0] *= 0.7
    assert not bool(((found.mean(0) - wrong).abs() < allowed).all())


def test_the_part_of_the_inner_matrices_is_seen() -> None:
    """The mean field of a kernel without it is that of one matrix that meets φ(W h): far outside."""
    model = rs.Model(MODELS["two"], rs.WhiteNoise(), 128, beta=0.5, gain=1.2)
    theory = meanfield.tangent_kernel(model, X @ X.T / X.shape[1], depth=8)

    @ob.observable("input", "other_input", tangents=True)
    def outer_alone(t: rs.Trajectory) -> Tensor:
        parts = [t.tangents[name] for name in ("outer", "outer_bias")]
        return sum(of.natural(k) for of in parts for k in range(len(of.scaled))) / 128

    found = rs.simulate(model, X, depth=8, samples=200, observe=[outer_alone], seed=3)["outer_alone"]
    away = (found.mean(0) - theory).abs() / (found.std(0) / math.sqrt(200))
    assert float(away.min()) > quantile(1 - 1e-6, 200)


def test_studies_and_exact_values() -> None:
    ds = rs.study(
        lambda width: rs.Model(SingleLayer(RELU), rs.WhiteNoise(), width=width),
        X,
        over={"width": [8, 16], "depth": [4]},
        samples=3,
        observe=[ob.tangent_kernel, ob.growth],
        seed=0,
    )
    assert ds.tangent_kernel.dims[-3:] == ("sample", "input", "other_input")
    assert bool((ds.tangent_kernel > 0).any())
    linear = rs.Model(SingleLayer(LINEAR), rs.WhiteNoise(), 16, beta=0.0)
    k0 = torch.tensor([[1.0, 0.3], [0.3, 2.0]])
    for depth in (1, 5):
        expected = depth * 2.0 ** (depth - 1) * k0
        torch.testing.assert_close(meanfield.tangent_kernel(linear, k0, depth=depth), expected)


def test_what_has_no_tangent_kernel_is_refused() -> None:
    block, top = SingleLayer(RELU), states("top")
    with pytest.raises(ValueError, match="give top"):
        rs.trajectory(block, states("h"), drawn(block), ALPHA, tangents=True)
    with pytest.raises(ValueError, match="tangents must be"):
        rs.trajectory(block, states("h"), drawn(block), ALPHA, top=top, tangents="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give tangents=True"):
        ob.tangent_kernel(rs.trajectory(block, states("h"), drawn(block), ALPHA, top=top, parameters=True))
    rough = rs.Model(block, rs.FractionalNoise(0.7), 16)
    with pytest.raises(ValueError, match="not independent"):
        meanfield.tangent_kernel(rough, torch.eye(2), depth=4)
    huge = rs.Model(SingleLayer(RELU, 100.0), rs.WhiteNoise(), 16, beta=0.0)
    with pytest.raises(ValueError, match="leave the range"):
        meanfield.tangent_kernel(huge, torch.eye(2), depth=200)
    with pytest.raises(ValueError, match="GB"):
        rs.simulate(
            rs.Model(block, rs.WhiteNoise(), 4),
            torch.ones(30_000, 4),
            depth=3000,
            samples=1,
            observe=[ob.tangent_kernel],
        )
