"""What tests of figures share: datasets at the smoke budget, their drawings, and what holds for all."""

from functools import lru_cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from between_workers import once
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from paper_figs.catalogue import figure as module
from resnet_sde.propagate import default_dtype

_computed: dict[object, xr.Dataset] = {}


def smoke(name: str) -> xr.Dataset:
    """The dataset of a figure at the smoke budget, computed once for all tests and figures that share it."""
    compute = module(name).compute
    if compute not in _computed:
        with default_dtype(torch.float32):  # as on the command line: what is rounded to it shows
            _computed[compute] = once(compute.__module__, lambda: compute("smoke", 0))
    return _computed[compute].copy(deep=True)


@lru_cache(maxsize=1)
def drawn(name: str) -> Figure:
    """The figure of that dataset, drawn once for the tests of a figure, which run one after the other."""
    return module(name).draw(smoke(name))


def failures(name: str, ds: xr.Dataset) -> list[str]:
    return [str(c) for c in module(name).check(ds) if not c.holds]


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def drawn_numbers(figure: Figure) -> list[np.ndarray]:
    lines = [line.get_xydata() for ax in figure.axes for line in ax.get_lines()]
    patches = [patch.get_path().vertices for ax in figure.axes for patch in ax.patches]
    maps = [m.get_array() for ax in figure.axes for m in ax.collections if isinstance(m, QuadMesh)]
    return [*lines, *patches, *maps]


def assert_says_where_it_came_from(name: str, ds: xr.Dataset) -> None:
    assert (ds.attrs["seed"], ds.attrs["budget"]) == (0, "smoke")
    assert ds.attrs["experiment"] == repr(module(name).BUDGETS["smoke"])
    assert all(package in ds.attrs["versions"] for package in ("torch", "numpy", "resnet_sde"))


def assert_draws_the_same_when_stored(name: str, folder: Path, axes: int) -> None:
    """The figure is drawn and checked from a file as from what was computed."""
    ds, path = smoke(name), folder / "stored.nc"
    ds.to_netcdf(path, engine="scipy")
    stored = xr.load_dataset(path, engine="scipy")
    figure, again = drawn(name), module(name).draw(stored)
    assert len(panels(figure)) == axes
    assert all(ax.get_xlabel() and ax.get_title("left") and ax.get_lines() for ax in panels(figure))
    assert figure.legends
    assert not plt.get_fignums()
    for one, other in zip(drawn_numbers(figure), drawn_numbers(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [str(c) for c in module(name).check(stored)] == [str(c) for c in module(name).check(ds)]
