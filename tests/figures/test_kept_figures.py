"""The datasets that come with the code: those of the budgets as they are now, and what they show."""

import re
from pathlib import Path

import pytest
from drawn_figures import module

from paper_figs.catalogue import PICTURES
from paper_figs.making import Request, budget_of
from paper_figs.stored import KEPT, SUFFIX, load

KNOWN = {  # figures with claims that are known to fail, and how many
    "marion/fig9": 2,
    "marion/fig9_fashion": 1,
    "yang/trained_relu": 1,
    "fischer/trained": 1,
}
FILES = [path for path in KEPT.rglob("*") if path.is_file()]
MEGABYTES = 8  # of a checkout
DIGITS = 13  # with the point, of a number in a request; computed ones have 16 or 17


def test_every_figure_has_one_and_they_are_small() -> None:
    assert {path.relative_to(KEPT).as_posix() for path in FILES} == {f"{name}{SUFFIX}" for name in PICTURES}
    assert sum(path.stat().st_size for path in FILES) < MEGABYTES * 1e6


@pytest.mark.parametrize("name", PICTURES)
def test_a_request_holds_numbers_that_were_written_down(name: str) -> None:
    """A number that is computed has other last digits on another machine, and is then another request."""
    numbers = re.findall(r"\d+\.\d+(?:e-?\d+)?", repr(module(name).BUDGETS))
    assert [number for number in numbers if len(number.partition("e")[0].lstrip("0.")) > DIGITS] == []


@pytest.mark.parametrize("name", PICTURES)
def test_it_is_that_of_the_budget_and_its_claims_hold(name: str) -> None:
    figure, ds = module(name), load(KEPT, name)
    budget = budget_of(figure, Request("cpu", 0, Path(), Path()))
    assert (ds.attrs["budget"], int(ds.attrs["seed"])) == (budget, 0)
    assert ds.attrs["experiment"] == repr(figure.BUDGETS[budget])
    failed = [claim for claim in figure.check(ds) if not claim.holds]
    assert [str(claim) for claim in failed if not claim.known] == []
    assert len(failed) == KNOWN.get(name, 0)
