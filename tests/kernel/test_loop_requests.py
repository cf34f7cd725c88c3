"""What the loop over layers is given: refused in a sentence, or taken as it is meant."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import resnet_sde as rs
from resnet_sde import RELU, TANH, SingleLayer, TwoLayer, monte_carlo
from resnet_sde import observables as ob
from resnet_sde.propagate import Dropout
from resnet_sde.streams import stream

MODEL = rs.Model(TwoLayer(RELU), rs.WhiteNoise(), width=6, beta=0.5)
STATES = torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(0))


def layers(model: rs.Model = MODEL, dtype: torch.dtype = torch.float32) -> list[rs.Layer]:
    return list(model.draw(4, samples=2, seed=0, dtype=dtype).layers(4))


def run(**given: object) -> rs.Trajectory:
    return rs.trajectory(**({"block": MODEL.block, "h": STATES, "layers": layers(), "alpha": 0.5} | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top": STATES.double()}, "top has numbers of torch.float64"),
        ({"top": STATES.long()}, "top has numbers of torch.int64"),
        ({"top": lambda h: h.double()}, "top has numbers of torch.float64"),
        ({"top": STATES * math.nan}, "not finite"),
        ({"top": STATES, "parameters": "no"}, "parameters must be True or False"),
        ({"layers": layers(dtype=torch.float64)}, "numbers of torch.float64"),
        ({"layers": layers(replace(MODEL, block=SingleLayer(RELU)))}, "no inner matrix"),
        ({"layers": layers(replace(MODEL, width=5))}, r"shape \(2, 5, 5\)"),
        ({"layers": [torch.ones(2, 6, 6)]}, "layers must be"),
        ({"layers": MODEL.draw(4, samples=2, seed=0)}, "layers must be"),
        ({"layers": 3}, "layers must be"),
    ],
)
def test_other_requests_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        run(**given)
    assert "\n" not in str(caught.value)


def test_what_makes_no_mask_is_refused() -> None:
    source = stream(0, "masks")
    for given in ((0.9, None), (0.9, 3), (True, source), (0.9, source, "no")):
        with pytest.raises(ValueError, match=r"must be|must lie") as caught:
            Dropout(*given)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_a_generator_seeds_the_masks() -> None:
    found = [
        run(dropout=Dropout(0.5, torch.Generator().manual_seed(s))).hidden.natural(-1) for s in (1, 1, 2)
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_loss_may_be_differentiated_in_top() -> None:
    def square(h: Tensor) -> Tensor:
        h.requires_grad_()
        return torch.autograd.grad(h.square().sum() / 2, h)[0]

    by_loss, plain = run(top=square, parameters=True), run(top=lambda h: h, parameters=True)
    assert by_loss.adjoint is not None
    assert plain.adjoint is not None
    assert torch.equal(by_loss.adjoint.natural(0), plain.adjoint.natural(0))
    assert not by_loss.adjoint.scaled[-1].requires_grad


@pytest.mark.parametrize("alpha", [1e6, 1e-6])
def test_a_function_is_not_shown_states_beyond_the_range_of_floats(alpha: float) -> None:
    far = {"layers": layers() * 10, "alpha": alpha, "skip": 0.0}
    with pytest.raises(ValueError, match="leaves the range of"):
        run(**far, top=lambda h: h)
    t = run(**far, top=STATES, parameters=True)
    assert t.parameters is not None
    assert all(bool(s.scaled[0].isfinite().all()) for s in t.parameters.values())


class Module(torch.nn.Module):
    """An observable that has methods of the names of facts."""

    def forward(self, t: rs.Trajectory) -> Tensor:
        assert t.adjoint is None
        return t.hidden.natural(-1)[:, :, 0]


class Asking:
    """An observable that asks for norms alone."""

    parameters = True

    def __call__(self, t: rs.Trajectory) -> Tensor:
        assert t.parameters is not None
        return t.parameters["outer"].natural(0)[..., 0]


@pytest.mark.parametrize("observe", [Module(), Asking()], ids=["module", "asking"])
def test_observables_say_what_they_need(observe: Callable[[rs.Trajectory], Tensor]) -> None:
    found = rs.simulate(MODEL, torch.ones(1, 4), depth=4, samples=3, observe=[observe])
    assert found[type(observe).__name__].shape == (3, 1)


@ob.observable("input", parameters=True)
def of_parameters(t: rs.Trajectory) -> Tensor:
    return t.hidden.natural(-1)[..., 0]


def test_memory_of_gradients_of_parameters_is_counted_and_changes_no_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed: list[float] = []
    monkeypatch.setattr(monte_carlo, "check_memory", lambda what, bytes_, *rest: needed.append(bytes_))
    model = rs.Model(TwoLayer(TANH), rs.WhiteNoise(), width=16)
    request = {"depth": 40, "samples": 5, "gradients": True, "method": "deferred", "seed": 0}
    plain, asked = (
        monte_carlo.plan(model, torch.eye(2, 4, dtype=torch.float32), observe=[o], **request)
        for o in (ob.log10_gradient_growth, of_parameters)
    )
    assert needed[2] - needed[0] == 40 * 2 * 16 * 4, "adjoint states of all layers, in float32"
    assert (plain.held, plain.chunk) == (asked.held, asked.chunk)
