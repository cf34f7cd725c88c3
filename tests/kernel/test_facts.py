"""What theory asks of laws and activations are their facts, not their types."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from resnet_sde import (
    LINEAR,
    RELU,
    TANH,
    AlphaReLU,
    Block,
    ConstantNoise,
    FractionalNoise,
    LeakyReLU,
    Model,
    NoLimit,
    PathLaw,
    Reduced,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
    finite_width,
    limit,
    meanfield,
    simulate,
)
from resnet_sde.networks import ReadInOut, ResNet, dropout_masks
from resnet_sde.observables import log10_growth
from resnet_sde.paths import GridPath, Path
from resnet_sde.streams import Stream, stream

WHITE, HALF = WhiteNoise(), FractionalNoise(0.5)
BLOCKS = [SingleLayer(TANH), TwoLayer(RELU, 1.1, 0.2), Reduced(TANH, 1.3)]


class Own(PathLaw):
    """Normal weights with a correlation of neighbours, which is 0 for white ones."""

    exponent = 0.5

    def __init__(self, neighbours: float = 0.0) -> None:
        self.neighbours = neighbours

    def __repr__(self) -> str:
        return f"Own({self.neighbours})"

    def covariance(self, depth: int) -> Tensor:
        off = torch.diag(torch.ones(depth - 1, dtype=torch.float64), 1)
        return torch.eye(depth, dtype=torch.float64) + self.neighbours * (off + off.T)

    def _draw(self, depth: int, shape: tuple[int, ...], source: Stream, dtype: torch.dtype) -> Path:
        root = torch.linalg.cholesky(self.covariance(depth)).to(dtype)
        normal = source.normal_(torch.empty(depth, *shape, dtype=dtype))
        return GridPath(torch.tensordot(root, normal, 1), 0.5)


@pytest.mark.parametrize(
    ("law", "independent"),
    [
        (WHITE, True),
        (WhiteNoise("rademacher"), True),
        (HALF, True),
        (FractionalNoise(0.5, sampler="hosking"), True),
        (Own(), True),
        (Own(1e-6), False),
        (FractionalNoise(0.5 + 1e-9), False),
        (FractionalNoise(0.3), False),
        (SmoothNoise(), False),
        (SmoothNoise(0.005), False),
        (ConstantNoise(), False),
    ],
    ids=str,
)
def test_independence_is_a_fact_of_a_law(law: PathLaw, independent: bool) -> None:
    assert law.independent is independent
    model = Model(SingleLayer(TANH), law, 4)
    if independent:
        assert torch.equal(
            meanfield.lengths(model, depth=9).log_q,
            meanfield.lengths(Model(SingleLayer(TANH), WHITE, 4), depth=9).log_q,
        )
    else:
        with pytest.raises(ValueError, match="are not independent"):
            meanfield.lengths(model, depth=9)


@pytest.mark.parametrize("law", [HALF, Own()], ids=str)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_white_law_is_white(block: Block, law: PathLaw) -> None:
    white, same = Model(block, WHITE, 4), Model(block, law, 4)
    assert (same.beta, same.regime) == (white.beta, white.regime)
    for verb in (meanfield.lengths, meanfield.two_time):
        torch.testing.assert_close(
            vars_of(verb(same, depth=7)), vars_of(verb(white, depth=7)), rtol=1e-12, atol=0
        )
    gaps = [meanfield.gaps(model, 1.0, 0.5, depth=7) for model in (white, same)]
    assert torch.equal(*gaps)


def vars_of(found: object) -> Tensor:
    return found if isinstance(found, Tensor) else found.log_q


def test_an_own_law_is_simulated_as_its_theory_says() -> None:
    x, depth, samples = torch.ones(1, 16), 6, 4000
    model = Model(SingleLayer(LINEAR), Own(), 16)
    growth = simulate(model, x, depth=depth, samples=samples, observe=[log10_growth])["log10_growth"]
    square = 10.0 ** (2 * growth[:, 0])
    exact = float(meanfield.lengths(model, depth=depth).q[-1])
    z = (float(square.mean()) - exact) / float(square.std()) * math.sqrt(samples)
    assert abs(z) < 4.42, "a false alarm of 1e-5"


@pytest.mark.parametrize("law", [HALF, WHITE], ids=str)
def test_the_limit_of_a_reduced_block_asks_for_independence(law: PathLaw) -> None:
    assert type(limit(Model(Reduced(TANH), law, 4))) is type(limit(Model(Reduced(TANH), WHITE, 4)))
    with pytest.raises(NoLimit, match="reduced block"):
        limit(Model(Reduced(TANH), FractionalNoise(0.6), 4, beta=0.6))


@pytest.mark.parametrize("identity", [LINEAR, LeakyReLU(1.0)], ids=str)
def test_the_identity_is_odd(identity: LeakyReLU) -> None:
    assert identity.odd
    assert identity.homogeneous
    assert TwoLayer(identity).critical_beta(FractionalNoise(0.9)) == pytest.approx(0.8)
    assert TwoLayer(identity, sigma_a2=0.1).critical_beta(FractionalNoise(0.9)) == pytest.approx(0.9)
    assert Reduced(identity).critical_beta(WHITE) == 0.5
    for block, law in [(Reduced(identity), WHITE), (TwoLayer(identity), FractionalNoise(0.7))]:
        model, peer = (Model(type(block)(phi), law, 4) for phi in (identity, TANH))
        assert model.beta == peer.beta
        assert type(limit(model)) is type(limit(peer))
    lengths = [meanfield.lengths(Model(Reduced(phi), WHITE, 4), depth=20) for phi in (identity, LINEAR)]
    assert torch.equal(lengths[0].displacement2, lengths[1].displacement2)


@pytest.mark.parametrize("phi", [RELU, LeakyReLU(0.999), AlphaReLU(1.0), LeakyReLU(0.0)], ids=str)
def test_what_has_a_mean_is_not_odd(phi: LeakyReLU) -> None:
    assert not phi.odd
    assert TwoLayer(phi).critical_beta(FractionalNoise(0.9)) == pytest.approx(0.9)
    assert Reduced(phi).critical_beta(WHITE) == 1.0


@pytest.mark.parametrize(
    "block", [SingleLayer(TANH), TwoLayer(TANH, 1.5, 0.1, 0.8, 0.2), Reduced(TANH)], ids=str
)
@pytest.mark.parametrize("keep_rate", [0.5, 0.8])
def test_dropout_is_on_the_outputs_of_the_activation(block: Block, keep_rate: float) -> None:
    """In a trained network and in its theory, of every block alike."""
    width, networks = 64, 200
    model, squares = Model(block, WHITE, width, beta=0.0, skip=0.0), []
    h = torch.ones(1, width)
    if isinstance(block, SingleLayer):
        h = stream(0, "start").normal_(torch.empty(networks, width))  # what φ sees first is Gaussian
    for seed in range(networks):
        net = ResNet(model, 1, width, width, seed=seed, read_in_out=ReadInOut(embed_w2=None))
        net.readout.data, net.readout_bias.data = torch.eye(width), torch.zeros(width)
        masks = dropout_masks((2, width, 1), keep_rate, stream(seed, "masks"), h)
        with torch.no_grad():
            squares.append(net(h[seed % len(h)][None], masks=masks).square().mean())
    found, exact = torch.stack(squares), meanfield.lengths(model, depth=1, keep_rate=keep_rate).q[-1]
    error = float(found.std()) / math.sqrt(networks)
    assert abs(float(found.mean() - exact)) < 4.42 * error, "a false alarm of 1e-5"
    whole = meanfield.lengths(model, depth=1).q[-1]
    assert abs(float(found.mean() - whole)) > 6 * error, "so no dropout would not pass"


def test_dropout_of_a_reduced_layer() -> None:
    model = Model(Reduced(TANH), WHITE, 40, beta=0.0, skip=0.0)
    z, weight = np.polynomial.hermite_e.hermegauss(100)
    exact = float(np.tanh(z) ** 2 @ weight) / math.sqrt(2 * math.pi) / 0.5
    assert float(meanfield.lengths(model, depth=1, keep_rate=0.5).q[-1]) == pytest.approx(exact, rel=1e-9)
    assert exact == pytest.approx(0.7886, abs=5e-5)


def test_white_noise_of_either_name_has_one_theory_of_finite_width() -> None:
    white, half = (Model(SingleLayer(LINEAR), law, 8) for law in (WHITE, HALF))
    found = [finite_width.finite_size(model, 1.0, depth=4).kernel for model in (white, half)]
    assert torch.equal(*found)
    request = {"depth": 3, "samples": 5, "observe": [log10_growth]}
    x = torch.ones(1, 8)
    assert simulate(half, x, **request, method="deferred")["log10_growth"].shape == (5, 1)
    for law in (Own(), WhiteNoise("uniform"), FractionalNoise(0.6), ConstantNoise()):
        model = Model(SingleLayer(LINEAR), law, 8)
        with pytest.raises(ValueError, match="white Gaussian weights"):
            finite_width.finite_size(model, 1.0, depth=4)
        with pytest.raises(ValueError, match="white Gaussian weights"):
            simulate(model, x, **request, method="deferred")
