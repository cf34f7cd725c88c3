"""The guards of conftest.py, run on small planted test files: a guard that cannot fail guards nothing."""

from collections.abc import Iterator

import between_workers
import numpy as np
import pytest
import torch
from places import ROOT

pytest_plugins = ["pytester"]
HERE = ROOT / "tests"

TOUCHES = """
import numpy as np, pytest, torch

def test_torch(): torch.rand(1)
def test_numpy(): np.random.rand()
def test_own_generator(): torch.rand(1, generator=torch.Generator())
def test_borrowed(global_random): torch.rand(1), np.random.rand()
def test_dtype(): assert torch.rand(1, generator=torch.Generator()).dtype == torch.float64
@pytest.mark.full
def test_full(): pass
@pytest.fixture(scope="module")
def careless(): torch.set_default_dtype(torch.float64)
def test_after_it(careless): pass
"""


@pytest.fixture
def as_in_a_process_of_its_own() -> Iterator[None]:
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(torch.float64)


@pytest.mark.usefixtures(
    "as_in_a_process_of_its_own", "global_random"
)  # the planted tests draw from it in this very process
def test_guards(pytester: pytest.Pytester) -> None:
    pytester.makeconftest((HERE / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers =\n    gpu\n    full\n")
    pytester.makepyfile(TOUCHES)
    shared = between_workers.folder
    result = pytester.runpytest_inprocess("-p", "no:xdist", "-p", "no:cacheprovider")
    assert between_workers.folder == shared, "what is computed once is still found"
    result.assert_outcomes(passed=5, errors=3, skipped=1)  # an error is what a failed teardown counts as
    result.stdout.fnmatch_lines(["*global random state of torch*", "*global random state of numpy*"])
    result.stdout.fnmatch_lines(["*left another default dtype behind*"])


@pytest.mark.usefixtures("global_random")
def test_borrowed_state_is_seeded() -> None:
    first = torch.rand(1).item(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert first == (torch.rand(1).item(), np.random.rand())  # noqa: NPY002


def test_options(device: torch.device, dtype: torch.dtype) -> None:
    assert torch.zeros(1, device=device, dtype=dtype).dtype in (torch.float32, torch.float64)
