"""A request that does not fit into memory is refused before it starts, in one sentence with both sizes."""

import re
from collections.abc import Callable

import pytest
import torch

import resnet_sde as rs
from resnet_sde import checks
from resnet_sde import finite_width as fw
from resnet_sde import meanfield as mf
from resnet_sde import observables as ob
from resnet_sde.networks import ResNet, StackedResNets
from resnet_sde.propagate import Trajectory

MODEL = rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), width=2)
X = torch.ones(1, 2, dtype=torch.float64)


def sentence(call: Callable[[], object]) -> str:
    """The refusal of a call, which names what it needs and what this machine has."""
    with pytest.raises(ValueError, match="this machine has") as caught:
        call()
    text = str(caught.value)
    assert re.search(r"need about .* GB, and this machine has .* GB; give ", text), text
    assert "\n" not in text
    return text


def stop_at(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """A machine of this size."""
    monkeypatch.setattr(checks, "memory_of", lambda device="cpu": float(size))


@ob.observable()
def many(t: Trajectory) -> torch.Tensor:
    """A thousand numbers a network, which its marks do not say."""
    return t.hidden.natural(-1)[:, 0, :1].expand(-1, 1000).clone()


@pytest.mark.parametrize("samples", [10**30, 10**12, 10**400])
def test_results_of_too_many_networks(samples: int) -> None:
    text = sentence(lambda: rs.simulate(MODEL, X, depth=1, samples=samples, observe=[ob.growth]))
    assert "results of 1" in text
    sentence(lambda: rs.study(lambda: MODEL, X, over={}, depth=1, samples=samples, observe=[ob.growth]))


def test_all_cells_of_a_study_count(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 10**6)

    def of(gains: int) -> object:
        return rs.study(
            lambda gain: rs.Model(MODEL.block, MODEL.law, 2, gain=gain),
            X,
            over={"gain": [1.0 + i for i in range(gains)]},
            depth=1,
            samples=20_000,
            observe=[ob.growth],
        )

    of(2)
    assert "in each of 4 cells" in sentence(lambda: of(4))


def test_every_layer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 10**6)
    run = {"samples": 1000, "observe": [ob.log10_length]}
    rs.simulate(MODEL, X, depth=10, **run)  # type: ignore[arg-type]
    sentence(lambda: rs.simulate(MODEL, X, depth=100, **run))  # type: ignore[arg-type]


def test_results_of_unknown_size_are_refused_once_their_size_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 10**7)
    rs.simulate(MODEL, X, depth=1, samples=500, observe=[many])
    sentence(lambda: rs.simulate(MODEL, X, depth=1, samples=1000, observe=[many]))
    sentence(lambda: rs.study(lambda: MODEL, X, over={}, depth=1, samples=1000, observe=[many]))


def test_whole_numbers_of_every_kind() -> None:
    for value in (4, 4.0, torch.tensor(4), torch.tensor([4]), *map(torch.tensor, (4.0,))):
        assert checks.positive_integer("depth", value, "") == 4
    for wrong in (True, "4", None, 2.5, 0, -3, float("nan"), float("inf"), torch.tensor([1, 2]), [4], 1j):
        with pytest.raises(ValueError, match=r"depth must be a positive integer, got .*; give 4"):
            checks.positive_integer("depth", wrong, "give 4")


SMOOTH = rs.Model(rs.SingleLayer(rs.RELU), rs.SmoothNoise(), width=2)
ROUGH = rs.Model(rs.SingleLayer(rs.RELU), rs.FractionalNoise(0.7), width=2)
ERF = rs.Model(rs.SingleLayer(rs.ERF), rs.WhiteNoise(), width=2)
STATE = torch.ones(1, 1, 2, dtype=torch.float64)

FAR = 10**9
REQUESTS: dict[str, Callable[[], object]] = {
    "lengths": lambda: mf.lengths(MODEL, depth=FAR),
    "gaps": lambda: mf.gaps(MODEL, 1.0, torch.ones(100), depth=10**8),
    "gradient_cosines": lambda: mf.gradient_cosines(MODEL, depth=FAR),
    "kernel": lambda: mf.kernel(MODEL, torch.eye(3), depth=FAR),
    "parameter_gradients": lambda: mf.parameter_gradients(MODEL, depth=FAR),
    "two_time": lambda: mf.two_time(SMOOTH, depth=10**7),
    "gradient_two_time": lambda: mf.gradient_two_time(SMOOTH, depth=10**7),
    "displacements": lambda: mf.displacements(SMOOTH.block, SMOOTH.law, 10**7, torch.ones(1)),
    "flow": lambda: mf.flow(SMOOTH, steps=10**7),
    "white flow": lambda: mf.flow(MODEL, steps=10**7),
    "recommend_variances": lambda: mf.recommend_variances(FAR, rs.TwoLayer(rs.TANH)),
    "finite_size": lambda: fw.finite_size(ERF, depth=10**7),
    "finite_size_pair": lambda: fw.finite_size_pair(ERF, torch.eye(2), depth=10**7),
    "output_response": lambda: fw.output_response(ERF, 0.1, depth=FAR),
    "off_diagonal_response": lambda: fw.off_diagonal_response(ERF, 0.1, depth=FAR),
    "diagonal_optimum": lambda: fw.diagonal_optimum(ERF, 0.1, depth=FAR),
    "path": lambda: rs.WhiteNoise().path(FAR, (100, 100), generator=rs.generator(0)),
    "fractional path": lambda: rs.FractionalNoise(0.3).path(FAR, (100, 100), generator=rs.generator(0)),
    "smooth path": lambda: rs.SmoothNoise().path(9, (100, 100), generator=rs.generator(0)).weights(FAR),
    "networks": lambda: MODEL.draw(10, samples=10**12),
    "layers": lambda: rs.Model(MODEL.block, rs.ConstantNoise(), 2).draw(10, samples=1).layers(FAR),
    "couple": lambda: rs.couple(SMOOTH, STATE[0], depths=(10**10, 2 * 10**10), samples=1),
    "couple, rough": lambda: rs.couple(ROUGH, STATE[0], depths=(10**9, 2 * 10**9), samples=1),
    "couple, samples": lambda: rs.couple(MODEL, STATE[0], depths=(1, 2), samples=10**12),
    "ResNet": lambda: ResNet(MODEL, FAR, 2, 2, seed=0),
    "StackedResNets": lambda: StackedResNets([MODEL] * 9, FAR, 2, 2, seeds=range(9)),
    "solve in law": lambda: rs.limit(rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), 2)).solve(
        STATE, steps=10**11
    ),
}


@pytest.mark.parametrize("verb", REQUESTS)
def test_every_verb_refuses_what_does_not_fit(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 24e9)
    sentence(REQUESTS[verb])


SMALL: dict[str, Callable[[float], object]] = {
    "lengths": lambda n: mf.lengths(MODEL, depth=n).log_q,  # type: ignore[arg-type]
    "gaps": lambda n: mf.gaps(MODEL, depth=n),  # type: ignore[arg-type]
    "gradient_cosines": lambda n: mf.gradient_cosines(MODEL, depth=n),  # type: ignore[arg-type]
    "kernel": lambda n: mf.kernel(MODEL, torch.eye(2), depth=n),  # type: ignore[arg-type]
    "parameter_gradients": lambda n: mf.parameter_gradients(MODEL, depth=n).log_state,  # type: ignore[arg-type]
    "two_time": lambda n: mf.two_time(SMOOTH, depth=n),  # type: ignore[arg-type]
    "gradient_two_time": lambda n: mf.gradient_two_time(SMOOTH, depth=n),  # type: ignore[arg-type]
    "displacements": lambda n: (
        mf.displacements(
            SMOOTH.block,
            SMOOTH.law,
            n,  # type: ignore[arg-type]
            torch.ones(1),
        ).log10_forward
    ),
    "flow": lambda n: mf.flow(SMOOTH, steps=n).kernel,  # type: ignore[arg-type]
    "recommend_variances": lambda n: mf.recommend_variances(n, rs.TwoLayer(rs.TANH)),  # type: ignore[arg-type]
    "finite_size": lambda n: fw.finite_size(ERF, depth=n).kernel_covariance,  # type: ignore[arg-type]
    "finite_size_pair": lambda n: fw.finite_size_pair(ERF, torch.eye(2), depth=n).kernel,  # type: ignore[arg-type]
    "output_response": lambda n: fw.output_response(ERF, 0.1, depth=n),  # type: ignore[arg-type]
    "diagonal_optimum": lambda n: fw.diagonal_optimum(ERF, 0.1, depth=n),  # type: ignore[arg-type]
    "homogeneous_moments": lambda n: fw.homogeneous_moments(
        rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), 2),
        n,  # type: ignore[arg-type]
    ),
    "alpha": lambda n: MODEL.alpha(n),  # type: ignore[arg-type]
    "draw": lambda n: MODEL.draw(n, samples=n).matrices["outer"].weights(4),  # type: ignore[arg-type]
    "layers": lambda n: len(MODEL.draw(4, samples=1).layers(n)),  # type: ignore[arg-type]
    "solve": lambda n: rs.limit(MODEL).solve(STATE, MODEL.draw(4, samples=1), steps=n),
    "solve in law": lambda n: rs.limit(rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), 2)).solve(
        STATE, steps=n
    ),
    "couple": lambda n: rs.couple(MODEL, STATE[0], depths=(1, 2), reference=n, samples=n).weak_errors,  # type: ignore[arg-type]
}


@pytest.mark.parametrize("verb", SMALL)
def test_a_whole_number_may_be_a_float_and_no_other_number_passes(verb: str) -> None:
    call = SMALL[verb]
    exact, same = call(4), call(4.0)
    assert torch.equal(exact, same) if isinstance(exact, torch.Tensor) else exact == same  # type: ignore[arg-type]
    for wrong in (2.5, 0, -3, float("inf"), True):
        with pytest.raises(ValueError, match=r"positive integer|must be exact, solver or the depth"):
            call(wrong)


def test_a_scale_that_overflows_is_refused() -> None:
    with pytest.raises(ValueError, match="give a larger beta"):
        mf.lengths(rs.Model(MODEL.block, MODEL.law, 2, beta=-200.0), depth=100)
    with pytest.raises(ValueError, match="depth must be positive"):
        mf.DepthLaw(1.0, 0.5)(-1.0)
