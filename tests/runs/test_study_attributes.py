"""Long names and units of what a study returns, in memory and on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from command_line import TINY, run

import resnet_sde as rs
from resnet_sde import observables as ob
from resnet_sde.observables import observable


def lengths(t: object) -> torch.Tensor:
    """Length of h_L, in metres. Not a ratio."""
    return t.hidden.natural(-1).norm(dim=-1)  # type: ignore[attr-defined]


def silent(t):
    return t.hidden.natural(-1).norm(dim=-1)


lengths.units = "m"  # type: ignore[attr-defined]


def test_of_every_variable_and_coordinate() -> None:
    ds = rs.study(
        lambda beta, mine: rs.Model(rs.TwoLayer(rs.TANH), rs.WhiteNoise(), 3, beta=beta),
        torch.ones(1, 3),
        over={"beta": [0.5, 1.0], "depth": [2, 3], "mine": ["a", "b"]},
        samples=2,
        observe=[ob.displacement, ob.log10_length, lengths, silent],
    )
    assert all(v.attrs["long_name"] for v in ds.variables.values())
    for variable in ds.variables.values():
        assert ("units" in variable.attrs) == np.issubdtype(variable.dtype, np.number)
    assert ds.displacement.attrs == {"long_name": "‖h_L − h_0‖ / ‖h_0‖, not squared", "units": "1"}
    assert ds.log10_length.attrs["long_name"] == "log₁₀ of ‖h_l‖ / √width for every layer l"
    assert ds.lengths.attrs == {"long_name": "Length of h_L, in metres", "units": "m"}
    assert ds.silent.attrs == {"long_name": "silent", "units": "1"}
    assert ds.depth.attrs == {"long_name": "number of layers L", "units": "1"}
    assert ds.beta.attrs["long_name"].startswith("scaling exponent β")
    assert ds.mine.attrs == {"long_name": "mine"}
    assert ds.displacement.isel(sample=0).mean("input").sel(beta=1.0).dims == ("depth", "mine")


@pytest.mark.parametrize(
    "options", [(), ("--law", "smooth", "--law", "white", "--sw2", 1, "--sw2", 2)], ids=str
)
def test_on_disk(tmp_path: Path, options: tuple[object, ...]) -> None:
    assert run(*TINY, *options, "--out", tmp_path)[0] == 0
    ds = xr.load_dataset(tmp_path / "study.nc")
    assert all(v.attrs["long_name"] for v in ds.variables.values())
    assert ds.log10_growth.attrs == {"long_name": "log₁₀ of ‖h_L‖ / ‖h_0‖", "units": "1"}
    assert ds.law.attrs["long_name"] == "law of the weights along depth"


def test_every_observable_of_the_package_says_what_it_is() -> None:
    @observable("input")
    def plain(t):
        return silent(t)

    public = [value for value in vars(ob).values() if hasattr(value, "every_layer") and callable(value)]
    assert len(public) >= 11
    seen = [plain, *public]
    model = rs.Model(rs.SingleLayer(rs.TANH), rs.WhiteNoise(), 3)
    ds = rs.study(lambda: model, torch.ones(1, 3), over={}, depth=2, samples=2, observe=seen, gradients=True)
    names = {name: ds[name].attrs["long_name"] for name in ds.data_vars}
    assert names.pop("plain") == "plain"
    assert all(name != long and "." not in long and "Shape" not in long for name, long in names.items())
