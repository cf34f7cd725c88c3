"""Bugs planted in the library at run time (`mutants`): quick theorems must catch each of them.

Here each bug meets the cheapest theorems that catch it, which hold without it (`test_theorems`). The complete
matrix is the test marked full, and `python tests/support/mutants/matrix.py FOLDER` makes its table in parts.
"""

import inspect
from importlib import import_module

import pytest
import torch
from first_failure import few_samples_first, until_a_claim_fails
from mutants import MUTANTS, planted, reached
from mutants.matrix import NOT_REACHED, called, matrix, outcome, table
from places import ROOT

from resnet_sde.fractional import _circulant
from resnet_sde.paths import SmoothPath
from resnet_sde.theorems import registry, verify

BY_NAME = pytest.mark.parametrize("name", MUTANTS)
FOUR = ("smooth_variance", "clipped_correlation", "chunks_in_pairs", "inner_is_outer_in_simulate")


@BY_NAME
def test_a_bug_is_caught(name: str) -> None:
    for id in MUTANTS[name].theorems:
        assert any(outcome(MUTANTS[name], id, **few) == "fails" for few in few_samples_first(id)), id


@pytest.mark.parametrize("name", [name for name in MUTANTS if MUTANTS[name].tests])
def test_tests_catch_what_no_theorem_speaks_of(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "kernel")
    for test in MUTANTS[name].tests:
        module, function = test.split(".")
        check = getattr(import_module(module), function)
        check()
        with planted(MUTANTS[name]), pytest.raises(AssertionError):
            check()


@pytest.mark.full
@pytest.mark.parametrize("name", FOUR)
def test_bugs_that_once_escaped_fail_at_the_full_budget(name: str) -> None:
    for id in MUTANTS[name].theorems:
        with planted(MUTANTS[name]):
            assert verify(until_a_claim_fails(id), budget="full", seed=0).status == "fails"


@pytest.mark.full
@BY_NAME
def test_every_theorem_meets_every_bug(name: str) -> None:
    """What the table of the cheapest theorems says is what the matrix finds."""
    ((_, found),) = matrix([name])
    failed = {id for id, status in found.items() if status == "fails"}
    assert set(MUTANTS[name].theorems) <= failed
    assert failed or MUTANTS[name].tests


# What the mutants stand on


def test_a_bug_is_gone_with_its_context() -> None:
    before = SmoothPath.at
    with planted(MUTANTS["smooth_variance"]):
        assert SmoothPath.at is not before
    assert SmoothPath.at is before


def test_caches_do_not_carry_a_bug_out() -> None:
    """What was computed with a bug is forgotten, and so is what was right before it."""

    def factor() -> None:
        _circulant(0.7, 8, torch.float64, torch.device("cpu"))

    factor()
    with planted(MUTANTS["lag_off_by_one"]):
        assert _circulant.cache_info().currsize == 0
        factor()
    assert _circulant.cache_info().currsize == 0


def test_a_theorem_that_is_not_reached_is_told() -> None:
    codes = reached(MUTANTS["smooth_variance"])
    assert codes == {SmoothPath.at.__code__}
    assert codes & called("drawn-weights")
    assert not codes & called("gaussian-duals")


@BY_NAME
def test_what_a_bug_replaces_is_looked_up(name: str) -> None:
    """Fields of a class, which have no value there, are no functions: then every theorem is run."""
    codes = reached(MUTANTS[name])
    assert codes is None or codes


def test_every_bug_is_told_in_a_sentence_and_names_theorems_that_exist() -> None:
    for name, mutant in MUTANTS.items():
        assert inspect.getdoc(mutant.plant).endswith("."), name
        assert set(mutant.theorems) <= set(registry), name
    assert len(MUTANTS) >= 25
    assert set(FOUR) <= set(MUTANTS)


def test_the_table_names_what_fails() -> None:
    found = {"scaling": {"strong-error": "fails", "identity": "holds", "euler-scheme": NOT_REACHED}}
    last = table(found).splitlines()[-1]
    assert last.startswith("| scaling | The exponent of the scaling")
    assert last.endswith("| strong-error |")
