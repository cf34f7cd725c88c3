"""Axes of a grid from whatever holds numbers, and results that can be written."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from ids import plain

import resnet_sde as rs
from resnet_sde.observables import growth

X = torch.ones(1, 4)
QUARTERS = [0.25, 0.5, 0.75, 1.0]


def study(**more: object) -> xr.Dataset:
    request = {"depth": 2, "samples": 2, "observe": [growth], "over": {}, **more}
    if "depth" in request["over"]:
        del request["depth"]
    return rs.study(
        lambda **point: rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), 4, **point), X, **request
    )


@pytest.mark.parametrize(
    "values",
    [
        torch.linspace(0.25, 1, 4),
        torch.linspace(0.25, 1, 4, dtype=torch.float32, requires_grad=True),
        np.linspace(0.25, 1, 4),
        np.linspace(0.25, 1, 4, dtype=np.float32),
        [torch.tensor(q) for q in QUARTERS],
        [np.array(q) for q in QUARTERS],
        tuple(QUARTERS),
        (q for q in QUARTERS),
        dict.fromkeys(QUARTERS),
        pd.Index(QUARTERS),
        pd.Series(QUARTERS),
        xr.DataArray(QUARTERS, dims="beta"),
        map(float, QUARTERS),
    ],
    ids=lambda v: type(v).__name__,
)
def test_numbers_from_anywhere(values: Iterable[float]) -> None:
    ds = study(over={"beta": values})
    assert ds.beta.dtype == np.float64
    assert ds.beta.values.tolist() == QUARTERS
    assert ds.equals(study(over={"beta": QUARTERS}))
    assert ds.attrs["configuration"] == study(over={"beta": QUARTERS}).attrs["configuration"]


@pytest.mark.parametrize("values", [range(2, 5), torch.arange(2, 5), np.arange(2, 5), (n for n in (2, 3, 4))])
def test_depths_from_anywhere(values: Iterable[int]) -> None:
    assert study(over={"depth": values}).depth.values.tolist() == [2, 3, 4]


@pytest.mark.parametrize("gap", [1e-5, 1e-12])
def test_nearly_equal_labels_differ(gap: float) -> None:
    near = torch.tensor([0.5, 0.5 + gap], dtype=torch.float64)
    for values in (near, list(near), near.numpy(), near.tolist()):
        found = study(over={"beta": values})
        assert found.beta.values.tolist() == near.tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("0.5", "must be a sequence of values, got '0.5'"),
        (0.5, "must be a sequence of values"),
        (torch.ones(2, 2), r"has shape \(2, 2\)"),
        (torch.tensor(0.5), r"has shape \(\)"),
        ([0.5, float("nan")], "holds NaN"),
        ([0.5, torch.tensor(0.5)], "no value twice"),
        (torch.tensor([0.5, 0.5]), "no value twice"),
        ([2**53, 2**53 + 1, 0.5], "no value twice"),
        ([], "at least one value"),
        (iter(()), "at least one value"),
    ],
    ids=plain,
)
def test_axes_that_are_none(values: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(over={"beta": values})
    with pytest.raises(ValueError, match="over must map"):
        study(over=[("beta", [0.5])])


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**31, 2**63, 10**30])
@pytest.mark.parametrize("engine", ["scipy"])
def test_results_with_any_seed_are_written(seed: int, engine: str, tmp_path: object) -> None:
    path = tmp_path / "study.nc"
    ds = study(seed=np.int64(seed) if seed < 2**63 else seed, gradients=np.True_, samples=np.float32(3))
    ds.to_netcdf(path, engine=engine)
    with xr.open_dataset(path, engine=engine) as back:
        assert int(back.attrs["seed"]) == seed
        assert back.growth.shape == (3, 1)
        assert '"gradients": true' in back.attrs["configuration"]


@pytest.mark.parametrize(
    "values",
    [
        [True, False],
        ["a", "b"],
        [None, 0.5],
        [rs.WhiteNoise(), rs.SmoothNoise()],
        [2, 3],
        [0.25, 1],
        [2**31, 7],
    ],
    ids=str,
)
def test_every_kind_of_label_is_written(values: list[object], tmp_path: object) -> None:
    model = rs.Model(rs.SingleLayer(rs.RELU), rs.WhiteNoise(), 4)
    ds = rs.study(lambda thing: model, X, over={"thing": values}, depth=2, samples=2, observe=[growth])
    ds.to_netcdf(tmp_path / "study.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "study.nc", engine="scipy") as back:
        assert [str(v) for v in back.thing.values.tolist()] == [str(v) for v in ds.thing.values.tolist()]
