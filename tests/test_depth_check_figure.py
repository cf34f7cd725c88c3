"""Planted violations of the figure `depth_check`: each fails the claim that it must."""

from collections.abc import Callable

import pytest
import xarray as xr
from drawn_figures import failures, module

from experiments.own.planted_bugs import BUGS
from paper_figs.stored import KEPT, load


def kept() -> xr.Dataset:
    return load(KEPT, "own/depth_check")


def changed(name: str, value: float, **at: str) -> Callable[[], xr.Dataset]:
    def plant() -> xr.Dataset:
        ds = kept().copy(deep=True)
        ds[name].loc[at] = value
        return ds

    return plant


PLANTED = {
    "sound network, blamed": changed("blamed", 1, network="none"),
    **{f"{bug}, named": changed("named", 2, network=bug) for bug in BUGS},
    "none, β of the block": changed("beta", 0.4, network="none", of="value"),
    "lost, β of the block": changed("beta", 0.5, network="lost", of="value"),
    "w3, β of w2": changed("writer_beta", 0.5, network="w3", writer="w2", of="value"),
    "q, k, v, β of wo": changed("writer_beta", 0.5, network="q, k, v", writer="wo", of="value"),
    "copies, coherence": changed("coherence", 0.5, network="copies"),
    "none, coherence": changed("coherence", 0.7, network="none"),
    "growth": lambda: kept().assign(growth=kept().growth * 1.1),
    "rate exponent of writers": changed("rate_exponent", -0.5, group="writers", of="value"),
    "rate exponent of inner": changed("rate_exponent", -1.0, group="inner", of="value"),
}


@pytest.mark.parametrize("noticed", PLANTED)
def test_a_planted_violation_fails(noticed: str) -> None:
    (failure,) = failures("own/depth_check", PLANTED[noticed]())
    assert failure.startswith(noticed)


def test_the_kept_numbers_are_those_of_many_seeds() -> None:
    assert failures("own/depth_check", kept()) == []
    assert int(kept().checks.sel(network="none")) == module("own/depth_check").BUDGETS["paper"].sound == 20
