"""Networks of several depths on one path: exact errors, two ways to walk, and what is refused.

Seeds are fixed. Against exact values the threshold is |z| < 4.42, a false alarm of 1e-5 each.
"""

import math
from dataclasses import replace

import pytest
import torch
from coupled import growth, request, states, z_score
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnet_sde import (
    GELU,
    LINEAR,
    TANH,
    Activation,
    ConstantNoise,
    FractionalNoise,
    Model,
    NoLimit,
    SingleLayer,
    SmoothNoise,
    TwoLayer,
    WhiteNoise,
    couple,
    limit,
)
from resnet_sde.coupling import Comparison, PathErrors
from resnet_sde.estimate import Outcome
from resnet_sde.streams import stream

WHITE, SMOOTH = WhiteNoise(), SmoothNoise(0.3)
Z = 4.42


@pytest.mark.parametrize(
    ("method", "width", "inputs"),
    [("dense", 10, 1), ("dense", 10, 2), ("deferred", 10, 2), ("deferred", 60, 1)],
)
def test_linear_errors_are_known_exactly(method: str, width: int, inputs: int) -> None:
    """E ‖h_R − h_L‖² = E ‖h_R‖² − E ‖h_L‖²: the finer network is the coarser one plus a martingale."""
    model = Model(SingleLayer(LINEAR), WHITE, width)
    depths, fine = (4, 8, 32), 128
    errors = request(model, states(inputs, width), depths, fine, method).run(1500, seed=0)
    for place, depth in enumerate(depths):
        exact = growth(fine) - growth(depth)
        assert abs(z_score(errors.terminal[:, place], exact)) < Z
        assert abs(z_score(errors.weak[:, place], -exact)) < Z
        assert abs(z_score(errors.terminal[:, place], 1.5 * exact)) > Z


def test_linear_errors_against_the_limit_of_width_one() -> None:
    """E (H − h_L)² = e − (1 + 1/L)^L; the squares are heavy-tailed at width 1, so many networks are taken."""
    model, depths = Model(SingleLayer(LINEAR, 0.25), WHITE, 1), (16, 64)
    errors = request(model, torch.ones(1, 1), depths, "exact").run(20_000, seed=0)
    for place, depth in enumerate(depths):
        exact = math.exp(0.25) - (1 + 0.25 / depth) ** depth
        assert abs(z_score(errors.terminal[:, place], exact)) < Z
        assert abs(z_score(errors.terminal[:, place], 1.2 * exact)) > Z


@pytest.mark.parametrize(("inputs", "bias"), [(1, 0.0), (2, 0.3)])
def test_dense_and_deferred_walks_share_a_law(inputs: int, bias: float) -> None:
    model, x = Model(SingleLayer(TANH, 1.5, bias), WHITE, 8), states(inputs, 8)
    dense, deferred = (
        request(model, x, (4, 16, 32), 128, method).run(1500, seed=1) for method in ("dense", "deferred")
    )
    comparisons = 0
    for name in ("terminal", "largest", "weak"):
        for a, b in zip(getattr(dense, name).T.numpy(), getattr(deferred, name).T.numpy(), strict=True):
            assert stats.ks_2samp(a, b).pvalue > 1e-3 / 36
            assert stats.ttest_ind(a, b, equal_var=False).pvalue > 1e-3 / 36
            comparisons += 1
    assert comparisons == 9
    other = request(replace(model, gain=1.1), x, (4, 16, 32), 128, "deferred").run(1500, seed=1)
    assert stats.ks_2samp(dense.terminal[:, 0].numpy(), other.terminal[:, 0].numpy()).pvalue < 1e-3 / 36


def test_errors_are_those_of_networks_one_by_one() -> None:
    model, x = Model(SingleLayer(TANH), FractionalNoise(0.7), 3), states(2, 3)
    found = request(model, x, (4, 8), 16)
    errors = found.run(5, seed=3)

    h, source = x.expand(5, 2, 3), stream(3, "couple", model, (4, 8), 16, "dense", 0)
    path = model.law.path(16, (5, 3, 3), generator=source)
    for place, depth in enumerate((4, 8)):
        scaled = [depth**-0.7 * w for w in path.weights(depth)]
        fine = [16**-0.7 * w for w in path.weights(16)]
        coarse_states, fine_states = [h], [h]
        for w in scaled:
            coarse_states.append(coarse_states[-1] + coarse_states[-1].tanh() @ w / math.sqrt(3))
        for w in fine:
            fine_states.append(fine_states[-1] + fine_states[-1].tanh() @ w / math.sqrt(3))
        gaps = torch.stack(coarse_states) - torch.stack(fine_states[:: 16 // depth])
        squares = gaps.square().sum((-2, -1)) / x.square().sum()
        torch.testing.assert_close(errors.terminal[:, place], squares[-1])
        torch.testing.assert_close(errors.largest[:, place], squares.amax(0))


@pytest.mark.parametrize("gradients", [False, True])
def test_the_seed_decides_and_chunks_do_not(gradients: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Model(SingleLayer(TANH), WHITE, 3), states(2, 3)

    def run(samples: int = 300, seed: int = 0) -> PathErrors:
        target = 32
        found = Comparison(model, limit(model), x, (4, 8), target, "dense", gradients)
        return found.run(samples, seed)

    first = run()
    assert torch.equal(first.terminal, run().terminal)
    assert not torch.equal(first.terminal, run(seed=1).terminal)
    assert torch.equal(first.terminal[:256], run(samples=256).terminal), "networks come in chunks of 256"
    options = {"depths": (4, 8), "samples": 50, "reference": 32, "gradients": gradients}
    assert couple(model, x, **options) == couple(model, x, **options)
    assert couple(model, x, **options) != couple(model, x, seed=1, **options)


def test_float32_runs_in_float32() -> None:
    model = Model(SingleLayer(TANH), WHITE, 4)
    for x in (states(1, 4).float(), states(1, 4)):
        found = couple(model, x, depths=(8, 16, 32, 64), samples=1000, reference=512)
        assert found.status is Outcome.HOLDS, found.strong_order
    smooth = couple(Model(TwoLayer(TANH), SMOOTH, 4), states(1, 4).float(), depths=(8, 16, 32), samples=50)
    assert smooth.status is Outcome.HOLDS


GOOD = {"depths": (4, 8), "samples": 3, "reference": 16}


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"depths": (8,)}, "two or more increasing"),
        ({"depths": (8, 4)}, "two or more increasing"),
        ({"depths": (4, 4)}, "two or more increasing"),
        ({"depths": (0, 4)}, "two or more increasing"),
        ({"depths": (4.5, 9)}, "two or more increasing"),
        ({"depths": (3, 8)}, "every depth must divide 16"),
        ({"depths": (3, 8), "reference": "exact"}, "every depth must divide 8"),
        ({"depths": (3, 8), "reference": None}, "every depth must divide 64"),
        ({"reference": 8}, "beyond 8"),
        ({"reference": 4}, "beyond 8"),
        ({"reference": 16.5}, "beyond 8"),
        ({"reference": "finest"}, "reference must be exact, solver"),
        ({"reference": "solver"}, "smooth weights only"),
        ({"reference": "exact"}, "no closed form"),
        ({"reference": "exact", "gradients": True}, "closed forms of gradients"),
        ({"samples": 0}, "samples must be a positive integer"),
        ({"samples": 2.5}, "samples must be a positive integer"),
        ({"method": "sparse"}, "unknown method 'sparse'; give one of auto, dense, deferred"),
        ({"method": "deferred", "gradients": True}, "give method dense"),
        ({"seed": -1}, "seed must be"),
        ({"x": torch.ones(4)}, "reshape it"),
        ({"x": torch.ones(1, 3)}, "reshape it"),
        ({"x": torch.ones(0, 4)}, "reshape it"),
        ({"x": torch.zeros(1, 4)}, "not zero"),
        ({"x": torch.full((1, 4), math.inf)}, "finite"),
        ({"x": torch.ones(1, 4, dtype=torch.int64)}, "convert it"),
        ({"x": [[1.0, 1.0, 1.0, 1.0]]}, "convert it"),
    ],
    ids=str,
)
def test_bad_arguments(changes: dict[str, object], phrase: str) -> None:
    options = {"x": torch.ones(1, 4), **GOOD, **changes}
    with pytest.raises(ValueError, match=phrase):
        couple(Model(SingleLayer(TANH), WHITE, 4), **options)


def test_models_without_a_limit_and_walks_that_do_not_fit() -> None:
    for model in (
        Model(SingleLayer(TANH), WHITE, 4, beta=0.35),
        Model(SingleLayer(TANH), FractionalNoise(0.3), 4),
    ):
        with pytest.raises(NoLimit):
            couple(model, torch.ones(1, 4), **GOOD)
    for model in (Model(TwoLayer(TANH), WHITE, 4), Model(SingleLayer(TANH), FractionalNoise(0.7), 4)):
        with pytest.raises(ValueError, match="give method dense"):
            couple(model, torch.ones(1, 4), method="deferred", **GOOD)


@given(
    depths=st.lists(st.integers(-2, 12), max_size=3),
    samples=st.integers(-1, 2),
    reference=st.one_of(st.none(), st.integers(-1, 48), st.sampled_from(["exact", "solver", "both"])),
    width=st.integers(1, 2),
    gradients=st.booleans(),
    law=st.sampled_from([WHITE, SMOOTH, FractionalNoise(0.7), ConstantNoise()]),
    phi=st.sampled_from([LINEAR, TANH, GELU]),
)
def test_any_request_is_answered_or_refused_in_words(
    depths: list[int],
    samples: int,
    reference: int | str | None,
    width: int,
    gradients: bool,
    law: object,
    phi: Activation,
) -> None:
    model = Model(SingleLayer(phi), law, width)
    try:
        found = couple(
            model,
            torch.ones(1, 2)[:, :width],
            depths=depths,
            samples=samples,
            reference=reference,
            gradients=gradients,
        )
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        assert "give" in refusal or "must" in refusal
        return
    assert found.strong_errors is not None
    assert all(math.isfinite(e) for e in found.strong_errors)
    assert (found.gradient_errors is not None) == gradients
