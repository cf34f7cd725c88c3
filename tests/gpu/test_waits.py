"""The host never waits for the device inside the loop over layers: as often for a depth as for its double.

What a stand-in for a CUDA device counts is `item`, `bool`, `float`, `tolist`, copies from one device to the
other, and operations whose result has a size that depends on numbers. Rules and tables that are kept from one
call to the next are made by a call before.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from every import EVERY_LAW, blocks_of
from pretended_cuda import pretended_cuda, waits
from small_training import data, job

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.blocks import Convolution
from resnet_sde.limits import ItoSDEInLaw, RandomODE
from resnet_sde.matrices import Dense
from resnet_sde.training import Run, TrainingConfig

FULL = rs.TwoLayer(rs.TANH, 1.2, 0.1, 0.8, 0.2)
BOTH = [ob.log10_displacement, ob.log10_gradient_growth]
NORMED = rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise(), 8, norm="rms")
CONVOLVED = rs.Model(Convolution(rs.SingleLayer(rs.TANH), positions=(4,)), rs.WhiteNoise(), 8)


@pytest.fixture(autouse=True)
def stand_in() -> Iterator[None]:
    with pretended_cuda():
        yield


def states(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=rs.generator(0, "waits", shape)).cuda()


def more_for_twice(run: Callable[[int], object], depth: int = 4) -> dict[str, int]:
    """How much more often the host waits for twice the depth."""
    run(depth), run(2 * depth)
    counts = []
    for layers in (depth, 2 * depth):
        waits.clear()
        run(layers)
        counts.append(Counter(waits))
    return dict(counts[1] - counts[0])


def simulating(
    model: rs.Model, inputs: int = 2, method: str = "dense", observe: list = BOTH
) -> Callable[[int], object]:
    x = states(inputs, 6)
    return lambda depth: rs.simulate(model, x, depth=depth, samples=3, observe=observe, method=method)


@pytest.mark.parametrize("law", EVERY_LAW, ids=str)
def test_every_law(law: rs.PathLaw) -> None:
    assert not more_for_twice(simulating(rs.Model(FULL, law, 8)))


@pytest.mark.parametrize(("inputs", "method"), [(1, "deferred"), (2, "deferred"), (2, "dense")])
@pytest.mark.parametrize("block", [*blocks_of(rs.RELU), rs.PreNorm(FULL)], ids=str)
def test_every_block(block: rs.Block, inputs: int, method: str) -> None:
    assert not more_for_twice(simulating(rs.Model(block, rs.WhiteNoise(), 8), inputs, method))


@pytest.mark.parametrize("model", [NORMED, CONVOLVED], ids=["norm", "convolution"])
def test_normalized_streams_and_convolutions(model: rs.Model) -> None:
    assert not more_for_twice(simulating(model, observe=BOTH[:1]))


@pytest.mark.parametrize("shown", [ob.tangent_kernel, ob.jacobian_singular_values, ob.log10_length])
def test_what_observables_are_shown(shown: object) -> None:
    assert not more_for_twice(simulating(rs.Model(FULL, rs.WhiteNoise(), 8), observe=[shown]))


SOLVED = [
    rs.Model(rs.SingleLayer(rs.TANH, 1.2, 0.1), rs.WhiteNoise(), 8),
    rs.Model(rs.SingleLayer(rs.TANH), rs.AutoregressiveNoise(0.5), 8),
    rs.Model(rs.SingleLayer(rs.RELU), rs.FractionalNoise(0.8), 8),
    rs.Model(FULL, rs.FractionalNoise(0.9), 8),
    rs.Model(FULL, rs.SmoothNoise(0.3), 8),
    rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), 8),
    rs.Model(rs.TwoLayer(rs.TANH), rs.WhiteNoise(), 8),
    rs.Model(rs.TwoLayer(rs.GELU), rs.WhiteNoise(), 8),
    rs.Model(rs.TwoLayer(rs.TANH), rs.FractionalNoise(0.3), 8),
    rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise("uniform"), 8),
]


@pytest.mark.parametrize("model", SOLVED, ids=str)
def test_limits_and_their_gradients(model: rs.Model) -> None:
    """torchdiffeq asks for the time four times at each step of its own, and nothing of ours adds to it."""
    equation, h = rs.limit(model), states(3, 1, 8)
    allowed = {"_local_scalar_dense": 4 * 4} if isinstance(equation, RandomODE) else {}
    if isinstance(equation, ItoSDEInLaw):
        assert more_for_twice(lambda steps: equation.solve(h, steps=steps)) == allowed
        return
    path = model.draw(32, samples=3, device="cuda")
    assert more_for_twice(lambda steps: equation.solve(h, path, steps=steps)) == allowed
    assert more_for_twice(lambda steps: equation.gradient(h, h, path, steps=steps)) == allowed


@pytest.mark.parametrize("method", ["dense", "deferred"])
def test_networks_on_one_path(method: str) -> None:
    model, gradients = rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise(), 40), method == "dense"
    h = states(1, 40)

    def compare(depth: int) -> object:
        given = {"depths": (depth // 2, depth), "samples": 3, "reference": 2 * depth}
        return rs.couple(model, h, method=method, gradients=gradients, **given)

    assert not more_for_twice(compare)


@pytest.mark.parametrize("block", [rs.SingleLayer(rs.RELU), FULL], ids=str)
def test_training(block: rs.Block) -> None:
    how = TrainingConfig(batch_size=16, dtype="float64")

    def train(depth: int) -> None:
        run = Run([job(depth=depth, block=block)] * 2, how, data(), device="cuda")
        for _ in range(2):
            run.advance()

    assert not more_for_twice(train)


def test_a_wait_in_every_layer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    matvec = Dense.matvec

    def waiting(self: Dense, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return matvec(self, x, scale if bool(x.isfinite().all()) else torch.nan)

    monkeypatch.setattr(Dense, "matvec", waiting)
    assert more_for_twice(simulating(rs.Model(FULL, rs.WhiteNoise(), 8)))["_local_scalar_dense"] >= 4
