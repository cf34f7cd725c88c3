"""Which equation a model tends to, or the refusal that says why there is none."""

import pytest
from torch import Tensor

from resnet_sde import (
    GELU,
    LINEAR,
    RELU,
    SIGMOID,
    TANH,
    Block,
    ConstantNoise,
    FractionalNoise,
    Model,
    NoLimit,
    Path,
    PathLaw,
    Reduced,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
    limit,
)
from resnet_sde.limits import ItoSDE, ItoSDEInLaw, RandomODE, YoungODE

WHITE, SMOOTH, CONSTANT = WhiteNoise(), SmoothNoise(0.3), ConstantNoise()
ROUGH, RUGGED = FractionalNoise(0.8), FractionalNoise(0.3)
SAMPLES, INPUTS, WIDTH = 3, 2, 5

CARD = [
    (WHITE, SingleLayer(TANH), ItoSDE, 0.5),
    (WHITE, SingleLayer(RELU, 1.2, 0.3), ItoSDE, 0.5),
    (FractionalNoise(0.5), SingleLayer(RELU), ItoSDE, 0.5),
    (WhiteNoise("uniform"), SingleLayer(TANH), ItoSDEInLaw, None),
    (WhiteNoise("rademacher"), SingleLayer(TANH), ItoSDEInLaw, None),
    (WHITE, TwoLayer(RELU), ItoSDEInLaw, None),
    (FractionalNoise(0.5), TwoLayer(TANH), ItoSDEInLaw, None),
    (WhiteNoise("uniform"), TwoLayer(RELU, 1.0, 0.1, 1.0, 0.1), ItoSDEInLaw, None),
    (WhiteNoise("rademacher"), TwoLayer(LINEAR), ItoSDEInLaw, None),
    (WHITE, Reduced(TANH), ItoSDEInLaw, None),
    (ROUGH, SingleLayer(TANH), YoungODE, 0.6),
    (FractionalNoise(0.6), SingleLayer(RELU, 1.0, 0.2), YoungODE, 0.2),
    (FractionalNoise(0.6), TwoLayer(RELU), YoungODE, 0.1),
    (ROUGH, TwoLayer(SIGMOID), YoungODE, 0.2),
    (FractionalNoise(0.75), TwoLayer(GELU), YoungODE, 0.25),
    (FractionalNoise(0.75), TwoLayer(TANH, sigma_a2=0.1), YoungODE, 0.25),
    (FractionalNoise(0.9), TwoLayer(TANH), YoungODE, 0.2),
    (ROUGH, TwoLayer(LINEAR, 1.0, 0.3), YoungODE, 0.1),
    (FractionalNoise(0.7), TwoLayer(TANH), ItoSDEInLaw, None),
    (RUGGED, TwoLayer(RELU), ItoSDEInLaw, None),
    (RUGGED, TwoLayer(TANH, 1.0, 0.1, 1.0, 0.1), ItoSDEInLaw, None),
    (SMOOTH, SingleLayer(TANH), RandomODE, 1.0),
    (SMOOTH, TwoLayer(RELU), RandomODE, 1.0),
    (CONSTANT, SingleLayer(LINEAR), RandomODE, 1.0),
]


@pytest.mark.parametrize(("law", "block", "kind", "rate"), CARD, ids=str)
def test_the_card(law: PathLaw, block: Block, kind: type, rate: float | None) -> None:
    found = limit(Model(block, law, WIDTH))
    assert type(found) is kind
    assert found.coupled == (kind is not ItoSDEInLaw)
    assert found.kind == {YoungODE: "young-ode", RandomODE: "random-ode"}.get(kind, "ito-sde")
    assert found.strong_order == (None if rate is None else pytest.approx(rate))
    assert type(limit(found.model)) is kind


class Unknown(PathLaw):
    """A law from elsewhere."""

    exponent = 0.7

    def covariance(self, depth: int) -> Tensor:
        raise NotImplementedError

    def _draw(self, *args: object) -> Path:
        raise NotImplementedError


REFUSED = [
    (Model(SingleLayer(TANH), WHITE, 4, beta=0.0, skip=0.0), "skip is 0.0", "skip 1"),
    (Model(SingleLayer(TANH), SMOOTH, 4, beta=1.0, skip=0.9), "skip is 0.9", "skip 1"),
    (Model(SingleLayer(TANH), RUGGED, 4), "H = 0.3 < 1/2 with one weight matrix", "TwoLayer"),
    (Model(SingleLayer(RELU), FractionalNoise(0.2), 4, beta=0.5), "H = 0.2 < 1/2", "TwoLayer"),
    (Model(TwoLayer(TANH), FractionalNoise(0.75), 4), "H = 3/4", "another H"),
    (Model(Reduced(RELU), WHITE, 4), "reduced block", "odd activation"),
    (Model(Reduced(TANH), SMOOTH, 4, beta=1.0), "reduced block with smooth:0.3 weights", "TwoLayer"),
    (Model(Reduced(TANH), ROUGH, 4, beta=0.8), "reduced block", "TwoLayer"),
    (Model(SingleLayer(TANH), Unknown(), 4), "weights of the law", "laws of the package"),
    (Model(TwoLayer(TANH), WhiteNoise("uniform"), 4), "are not Gaussian", "linear on either side"),
    (Model(Reduced(TANH), WhiteNoise("rademacher"), 4), "are not Gaussian", "Gaussian weights"),
    (Model(SingleLayer(TANH), WHITE, 4, beta=0.4), "beta is 0.4, the critical value 0.5", "Leave beta out"),
    (Model(TwoLayer(RELU), RUGGED, 4, beta=0.3), "beta is 0.3, the critical value 0.5", "Leave beta out"),
    (Model(TwoLayer(TANH), FractionalNoise(0.9), 4, beta=0.9), "critical value 0.8", "Leave beta out"),
    (Model(SingleLayer(TANH), SMOOTH, 4, beta=0.5), "critical value 1.0", "Leave beta out"),
]


@pytest.mark.parametrize(("model", "fact", "remedy"), REFUSED, ids=[fact for _, fact, _ in REFUSED])
def test_refusals_say_what_why_and_what_instead(model: Model, fact: str, remedy: str) -> None:
    with pytest.raises(NoLimit) as caught:
        limit(model)
    error = caught.value
    assert isinstance(error, ValueError)
    assert fact in error.fact
    assert remedy in error.remedy
    assert len(error.reason) > 20
    assert str(error) == f"{error.fact}: {error.reason}. {error.remedy}"


@pytest.mark.parametrize(("beta", "fate"), [(0.4, "explodes"), (0.6, "identity")])
def test_other_scalings_are_told_their_fate(beta: float, fate: str) -> None:
    with pytest.raises(NoLimit, match=fate):
        limit(Model(TwoLayer(RELU), WHITE, 4, beta=beta))
