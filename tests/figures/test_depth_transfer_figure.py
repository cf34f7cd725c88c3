"""Controls of the figure `depth_transfer`: each fails the claim that it must, and no other."""

import math

import numpy as np
import pytest
import xarray as xr
from drawn_figures import failures, module
from places import DOCS

from experiments.own.depth_transfer import SCHEMES, crossings, predicted, shift
from paper_figs.controls import verify
from paper_figs.stored import KEPT, load
from resnet_sde.estimate import Outcome

PAGE = DOCS / "depth-check.md"
CONTROLS = module("own/depth_transfer").CONTROLS
MOVES = [name for name, of in SCHEMES.items() if of.claim == "moves"]


def kept() -> xr.Dataset:
    return load(KEPT, "own/depth_transfer")


def moved(name: str, by: float) -> xr.Dataset:
    """Deep networks of a scheme cross the loss at a rate that is so many octaves larger."""
    ds = kept()
    ds = ds.assign(log2_rate=ds.log2_rate.astype(float))
    ds.log2_rate.loc[{"scheme": name, "place": "deep"}] += by
    return ds


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_fails_one_claim(control: str) -> None:
    verdict = verify("own/depth_transfer", control, kept())
    assert verdict.outcome is Outcome.FAILS
    assert len(verdict.claims) == 1


@pytest.mark.parametrize("name", MOVES)
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
