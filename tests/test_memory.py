"""A request that does not fit into memory is refused before it starts, in one sentence with both sizes."""

import re
from collections.abc import Callable

import pytest
import torch

import resnet_sde as rs
from resnet_sde import _checks
from resnet_sde import observables as ob
from resnet_sde.propagate import Trajectory

MODEL = rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), width=2)
X = torch.ones(1, 2)


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
    monkeypatch.setattr(_checks, "memory_of", lambda device="cpu": float(size))


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
        assert _checks.positive_integer("depth", value, "") == 4
    for wrong in (True, "4", None, 2.5, 0, -3, float("nan"), float("inf"), torch.tensor([1, 2]), [4], 1j):
        with pytest.raises(ValueError, match=r"depth must be a positive integer, got .*; give 4"):
            _checks.positive_integer("depth", wrong, "give 4")
