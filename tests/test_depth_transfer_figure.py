"""Planted violations of the figure `depth_transfer`: each fails the claim that it must."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from drawn_figures import failures

from experiments.own.depth_transfer import SCHEMES, crossings, octaves, predicted, shift
from paper_figs.stored import KEPT, load

PAGE = Path(__file__).parent.parent / "docs" / "depth-check.md"
CLAIMED = {claim: [name for name, of in SCHEMES.items() if of.claim == claim] for claim in ("stays", "moves")}

FAILS = "SGD, default weights, one rate"


def kept() -> xr.Dataset:
    return load(KEPT, "own/depth_transfer")


def moved(name: str, by: float) -> xr.Dataset:
    """Deep networks of a scheme cross the loss at a rate that is so many octaves larger."""
    ds = kept()
    ds = ds.assign(log2_rate=ds.log2_rate.astype(float))
    ds.log2_rate.loc[{"scheme": name, "place": "deep"}] += by
    return ds


def uncrossed() -> xr.Dataset:
    """One network of a scheme that stays does not come down to the loss."""
    ds = kept().copy(deep=True)
    ds.loss.loc[{"scheme": "SGD, multiplier 1/√L, one rate", "place": "middle", "sample": 0}] += 10
    return ds


def untrained() -> xr.Dataset:
    """The networks of a depth that is not compared learn nothing, at any rate but one."""
    ds = kept().copy(deep=True)
    at = ds.loss.loc[{"scheme": "SGD, multiplier 1/L, one rate", "place": "middle"}]
    at[:] = at.isel(rate=0)
    return ds


PLANTED: dict[str, Callable[[], xr.Dataset]] = {
    **{
        f"{name}, largest shift in the interval": lambda name=name: moved(name, 1.0)
        for name in CLAIMED["stays"]
    },
    **{
        f"{name}, exponent of the crossing": lambda name=name: moved(name, -2 * octaves(kept(), name))
        for name in CLAIMED["moves"]
    },
    f"{FAILS}, octaves from the shallow crossing": lambda: moved(FAILS, 4.0),
    "networks that cross outside of the grid of rates": uncrossed,
}


@pytest.mark.parametrize("noticed", PLANTED)
def test_a_planted_violation_fails(noticed: str) -> None:
    (failure,) = failures("own/depth_transfer", PLANTED[noticed]())
    assert failure.startswith(noticed)


def test_training_that_learns_nothing_is_noticed() -> None:
    found = failures("own/depth_transfer", untrained())
    assert found[0].startswith("largest ratio of the least loss to that at the smallest rate")


@pytest.mark.parametrize("name", CLAIMED["moves"])
def test_a_rate_that_stays_is_no_rate_that_moves(name: str) -> None:
    """Were the rate the same at all depths, both claims of a scheme that moves would fail."""
    shallow, _, deep = crossings(kept(), name)
    shift, exponent = failures("own/depth_transfer", moved(name, float(np.mean(shallow - deep))))
    assert shift.startswith(f"{name}, smallest shift down in the interval")
    assert exponent.startswith(f"{name}, exponent of the crossing")


@pytest.mark.parametrize("name", [name for name, of in SCHEMES.items() if of.claim == ""])
def test_nothing_is_claimed_where_theory_and_sweeps_disagree(name: str) -> None:
    assert failures("own/depth_transfer", moved(name, 3.0)) == []


def test_the_kept_numbers_bear_out_the_claims() -> None:
    ds = kept()
    assert failures("own/depth_transfer", ds) == []
    assert list(ds.scheme.values) == list(SCHEMES)
    assert [int(depth) for depth in ds.depth[0]] == [8, 32, 128]
    assert [int(depth) for depth in ds.depth[-1]] == [4, 12, 36]


def row(ds: xr.Dataset, name: str) -> str:
    """What the page on the depth check says of a scheme."""
    found, law, crossed = shift(ds, name), predicted(ds, name), np.isfinite(crossings(ds, name)).all(0)
    first, *_, last = (int(depth) for depth in ds.depth.sel(scheme=name))
    moves = f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
    if not crossed.all():
        moves = f"{(~crossed).sum()} of {len(crossed)} never come down"
    says = f"{law:.2f}" if math.isfinite(law) else "no power law"
    return f"| {name} | {first} to {last} | {moves} | {says} | {SCHEMES[name].claim or 'nothing'} |"


def test_the_page_has_the_numbers_of_the_data() -> None:
    ds = kept()
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    table = lines[[line.startswith("| networks, rates |") for line in lines].index(True) + 1 :]
    assert table == [row(ds, str(name)) for name in ds.scheme.values]
