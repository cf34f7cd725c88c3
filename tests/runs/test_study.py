"""`study`: labels, bits that depend on nothing but the cell, and refusals."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from every import EVERY_LAW, blocks_of
from hypothesis import given
from hypothesis import strategies as st
from small_study import DISPLACEMENT, X, small, white

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.monte_carlo import Ensemble
from resnet_sde.observables import observable
from resnet_sde.propagate import Trajectory
from resnet_sde.studies import cells


def largest(t: Trajectory) -> torch.Tensor:
    """An observable without marks: it sees every layer, and its axes have numbers."""
    return torch.stack([h.abs().amax(-1) for h in t.hidden.scaled], dim=1)


@observable("input")
def positive(t: Trajectory) -> torch.Tensor:
    """A number of entries: an integer."""
    return (t.hidden.scaled[-1] > 0).sum(-1)


@observable("layer", "input", every_layer=True)
def active(t: Trajectory) -> torch.Tensor:
    """Integers of every layer."""
    return torch.stack([(h > 0).sum(-1) for h in t.hidden.scaled], dim=1)


# Labels


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.25, 1.0], [0.25, 1.0]),
        ([1, 2], [1, 2]),
        (["b", "a"], ["b", "a"]),
        ([rs.SmoothNoise(0.3), rs.FractionalNoise(0.7)], ["smooth:0.3", "fractional:0.7"]),
        ([rs.WhiteNoise("uniform"), rs.WhiteNoise()], ["white-uniform", "white"]),
        ([np.float64(0.5), np.int64(1)], [0.5, 1.0]),
        ([0.5, None], ["0.5", "None"]),
        ([True, False], [True, False]),
    ],
    ids=str,
)
def test_an_axis_of_any_kind(values: list[object], labels: list[object]) -> None:
    seen = []
    ds = rs.study(
        lambda thing: seen.append(thing) or white(),
        X,
        over={"thing": values},
        samples=1,
        observe=DISPLACEMENT,
        depth=2,
    )
    assert ds.thing.values.tolist() == labels
    assert all(a is b for a, b in zip(seen, values, strict=True))
    for label in labels:
        assert ds.displacement.sel(thing=label).shape == (1, 1)


def test_axes_keep_their_order_and_their_values() -> None:
    ds = rs.study(
        lambda law, width: rs.Model(rs.TwoLayer(rs.RELU), law, width),
        X.expand(2, -1),
        over={"width": [3, 2], "depth": [4, 2], "law": [rs.SmoothNoise(0.3), rs.WhiteNoise()]},
        samples=2,
        observe=[ob.growth, ob.kernel],
    )
    assert ds.growth.dims == ("width", "depth", "law", "sample", "input")
    assert ds.kernel.dims == ("width", "depth", "law", "sample", "input", "other_input")
    assert ds.kernel.shape == (2, 2, 2, 2, 2, 2)
    for width in (2, 3):
        for depth in (2, 4):
            model = rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), width)
            own = rs.simulate(model, X.expand(2, -1), depth=depth, samples=2, observe=[ob.growth, ob.kernel])
            cell = ds.sel(width=width, depth=depth, law="white")
            np.testing.assert_array_equal(cell.growth, own["growth"])
            np.testing.assert_array_equal(cell.kernel, own["kernel"])
            assert cell.model.item() == repr(model)
            assert cell.method.item() == "dense"  # four probes, and no more than three coordinates


def test_attributes_say_what_ran() -> None:
    ds = small(gradients=True, seed=np.int64(7), samples=np.int64(3))
    assert ds.attrs["seed"] == 7
    assert ds.attrs["method"] == "deferred"
    assert json.loads(ds.attrs["versions"]) == {
        **{"resnet_sde": rs.__version__, "torch": torch.__version__, "numpy": np.__version__}
    }
    assert json.loads(ds.attrs["configuration"]) == {
        **{"samples": 3, "gradients": True, "method": "auto", "seed": 7},
        "over": {"beta": [0.5, 1.0], "depth": [2, 5]},
        "input": {"shape": [1, 5], "dtype": "torch.float64", "device": "cpu"},
    }
    assert json.loads(small(over={}, depth=np.int64(2), build=white).attrs["configuration"])["depth"] == 2


def test_results_of_different_depths_are_padded() -> None:
    ds = small(observe=[ob.log10_length, active], over={"depth": [2, 4]})
    assert ds.log10_length.dims == ("depth", "sample", "layer", "input")
    for name in ("log10_length", "active"):
        assert ds[name].shape == (2, 3, 5, 1)
        assert np.isnan(ds[name].sel(depth=2)[:, 3:]).all()
        assert np.isfinite(ds[name].sel(depth=2)[:, :3]).all()
        assert np.isfinite(ds[name].sel(depth=4)).all()


def test_observables_may_be_plain_functions() -> None:
    ds = small(observe=[largest, lambda t: t.hidden.natural(-1).sum(-1), positive])
    assert ds.largest.dims == ("beta", "depth", "sample", "largest_1", "largest_2")
    assert ds["<lambda>"].dims == ("beta", "depth", "sample", "<lambda>_1")
    assert (ds.positive.values % 1 == 0).all()


# Bits


@pytest.fixture(scope="module")
def reference() -> xr.Dataset:
    return mixed()


def mixed(**changes: object) -> xr.Dataset:
    """White weights in chunks of 512, coloured ones in larger or smaller chunks, more than one chunk each."""
    changes = {"over": {"law": [rs.WhiteNoise(), rs.FractionalNoise(0.3)], "depth": [3, 5]}, **changes}
    return rs.study(
        lambda law: rs.Model(rs.TwoLayer(rs.RELU), law, width=4),
        X,
        samples=600,
        observe=ob.LOG_RATIOS,
        seed=3,
        **changes,
    )


@pytest.mark.parametrize("batch", [1, 32, 257, 10**6])
def test_bits_do_not_depend_on_the_batch(reference: xr.Dataset, batch: int) -> None:
    xr.testing.assert_identical(mixed(batch=batch), reference)


def test_bits_do_not_depend_on_the_workers(reference: xr.Dataset) -> None:
    xr.testing.assert_identical(mixed(batch=1, workers=2), reference)


def test_bits_do_not_depend_on_the_executor(reference: xr.Dataset) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as executor:
            xr.testing.assert_identical(mixed(batch=1, executor=executor), reference)
        with ThreadPoolExecutor(1) as later:
            assert torch.get_num_threads() == later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


def test_bits_do_not_depend_on_the_rest_of_the_grid(reference: xr.Dataset) -> None:
    laws = [rs.FractionalNoise(0.3), rs.SmoothNoise(0.5), rs.WhiteNoise()]
    ds = mixed(over={"depth": [5, 2, 3], "law": laws})
    for name in reference.data_vars:
        other = ds[name].transpose("law", "depth", ...).sel(law=["white", "fractional:0.3"], depth=[3, 5])
        xr.testing.assert_identical(other, reference[name])


def test_seeds_and_inputs_matter() -> None:
    ds = small()
    assert not np.isin(small(seed=2).displacement, ds.displacement).any()
    assert not np.isin(small(method="dense").displacement, ds.displacement).any()


def test_the_chunks_are_what_is_handed_out() -> None:
    ensemble = Ensemble(white(), 3, 2000, 1, 5, False, False, "deferred", 0)
    for batch in (1, 512, 513, 10**9):
        pieces = list(cells.parts(ensemble, range(ensemble.chunks), batch))
        assert [chunk for piece in pieces for chunk in piece] == list(range(ensemble.chunks))


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"over": {"beta": [0.5]}}, "give the depth"),
        ({"depth": 3}, "give the depth"),
        ({"over": {"beta": [], "depth": [2]}}, "'beta' needs at least one value"),
        ({"over": {"beta": [0.5, 0.5], "depth": [2]}}, "no value twice"),
        ({"over": {"beta": [0.5, "0.5"], "depth": [2]}}, "no value twice"),
        ({"over": {"sample": [0.5], "depth": [2]}}, "give this axis another name"),
        ({"over": {"depth": [2, 0]}}, "depth must be a positive integer"),
        ({"over": {"depth": [2.5]}}, "depth must be a positive integer"),
        ({"samples": 0}, "samples must be a positive integer"),
        ({"samples": True}, "samples must be a positive integer"),
        ({"workers": 0}, "workers must be a positive integer"),
        ({"workers": float("nan")}, "workers must be a positive integer"),
        ({"executor": 2}, "concurrent.futures.Executor, got int"),
        ({"batch": float("inf")}, "batch must be a positive integer"),
        ({"batch": 1.5}, "batch must be a positive integer"),
        ({"seed": -1}, "seed must be a non-negative integer"),
        ({"seed": 0.5}, "seed must be a non-negative integer"),
        ({"method": "fast"}, "give one of auto, dense, deferred"),
        ({"observe": []}, "such as observables.displacement"),
        ({"observe": [largest, largest]}, "own name"),
        ({"observe": [lambda t: t, lambda t: 2 * t]}, "own name"),
        ({"x": X.half()}, "convert it"),
        ({"x": X.long()}, "convert it"),
        ({"x": [[1.0]]}, "float32 or float64 tensor"),
        ({"x": np.ones((1, 2))}, "float32 or float64 tensor"),
        ({"x": torch.ones(4, 1, 3)}, "one x per network"),
        ({"x": torch.ones(3)}, "must have shape"),
        ({"x": torch.zeros(1, 3)}, "zero everywhere"),
        ({"x": torch.tensor([[1.0, float("nan")]])}, "not finite"),
        ({"workers": 2, "observe": [lambda t: t.hidden.natural(-1)]}, "top level of a module.*workers=1"),
    ],
    ids=lambda part: part if isinstance(part, str) else "-".join(part),
)
def test_a_bad_request_is_refused_before_anything_is_computed(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        small(store=tmp_path / "store", **changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "store").exists()


def test_an_observable_cannot_take_the_name_of_an_axis() -> None:
    def beta(t: Trajectory) -> torch.Tensor:
        return t.hidden.natural(-1)

    with pytest.raises(ValueError, match="cannot have the name 'beta'"):
        small(observe=[beta])


COUNTS = st.one_of(st.integers(-2, 4), st.floats(-2, 4), st.sampled_from([math.inf, math.nan, True]))


@given(
    samples=COUNTS,
    workers=COUNTS.filter(lambda count: count not in (2, 3, 4)),
    batch=COUNTS,
    depth=COUNTS,
    seed=st.one_of(st.integers(-1, 2**80), st.floats()),
    method=st.sampled_from(["auto", "dense", "deferred", "other"]),
)
def test_any_numbers_are_served_or_refused(**numbers: object) -> None:
    try:
        ds = rs.study(lambda: white(), X, over={}, observe=DISPLACEMENT, **numbers)
    except ValueError as error:
        sentence = str(error)
    else:
        sentence = "give"
        assert ds.displacement.shape == (numbers["samples"], 1)
    assert "give" in sentence
    assert "\n" not in sentence


@given(
    block=st.sampled_from([*blocks_of(rs.RELU), rs.TwoLayer(rs.TANH, sigma_b2=0.1), rs.Reduced(rs.GELU)]),
    law=st.sampled_from([*EVERY_LAW, rs.FractionalNoise(0.3)]),
    width=COUNTS,
    beta=st.one_of(st.none(), st.floats()),
    gain=st.floats(),
    skip=st.floats(),
    depth=st.integers(1, 5),
)
def test_any_model_is_served_or_refused(
    block: rs.Block, law: rs.PathLaw, depth: int, **numbers: float | None
) -> None:
    try:
        ds = rs.study(
            lambda: rs.Model(block, law, **numbers), X, over={}, observe=ob.LOG_RATIOS, samples=2, depth=depth
        )
    except ValueError as error:
        sentence = str(error)
    else:
        sentence = "give"
        assert ds.log10_growth.shape == (2, 1)
    assert "give" in sentence or "must be a finite number" in sentence
    assert "\n" not in sentence


def test_models_that_no_machine_can_hold_are_refused() -> None:
    for depth, width, law in ((10**12, 4, rs.WhiteNoise()), (10**6, 10**4, rs.SmoothNoise())):
        with pytest.raises(ValueError, match="GB; give a smaller width or depth"):
            rs.study(
                lambda law=law, width=width: rs.Model(rs.TwoLayer(rs.RELU), law, width),
                X,
                over={},
                observe=DISPLACEMENT if law != rs.WhiteNoise() else [ob.gradient_growth],
                samples=1,
                depth=depth,
            )


@pytest.mark.parametrize(
    "scaling", [{"beta": -400.0}, {"beta": -20.0}, {"beta": 0, "gain": 1e13}, {"beta": 0, "skip": -1e13}]
)
def test_steps_that_leave_every_number_behind_are_refused(scaling: dict[str, float]) -> None:
    model = rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), 4, **scaling)
    with pytest.raises(ValueError, match=r"more than 1e\+12 in one layer"):
        rs.study(lambda: model, X, over={}, observe=DISPLACEMENT, samples=1, depth=100)
