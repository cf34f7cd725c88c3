"""Controls of the figure `depth_check`: each fails the claim that it must, and no other."""

import pytest
import xarray as xr
from drawn_figures import failures, module

from paper_figs.controls import verify
from paper_figs.stored import KEPT, load
from resnet_sde.estimate import Outcome


def kept() -> xr.Dataset:
    return load(KEPT, "own/depth_check")


@pytest.mark.parametrize("control", module("own/depth_check").CONTROLS)
def test_a_control_fails_one_claim(control: str) -> None:
    verdict = verify("own/depth_check", control, kept())
    assert verdict.outcome is Outcome.FAILS
    assert len(verdict.claims) == 1


def test_the_kept_numbers_are_those_of_many_seeds() -> None:
    assert failures("own/depth_check", kept()) == []
    assert int(kept().checks.sel(network="none")) == module("own/depth_check").BUDGETS["paper"].sound == 20
