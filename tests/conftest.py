"""Options, marks and guards shared by all tests."""

import os
import signal
from collections.abc import Iterator

# One thread for each process, those that tests start included: tests run side by side, and their arithmetic
# is too small to share out. NumPy reads this when it is imported.
os.environ["OMP_NUM_THREADS"] = "1"

import between_workers
import hypothesis
import numpy as np
import pytest
import torch
from pretended_cuda import pretended_cuda

# The same examples on every machine and in every run; no deadline, because machines differ in speed.
hypothesis.settings.register_profile("house", deadline=None, database=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("resnet_sde")
    group.addoption("--device", default="cpu", help="device of the tests that take one (default: cpu)")
    group.addoption(
        "--dtype", default="float64", choices=["float32", "float64"], help="their dtype (default: float64)"
    )
    group.addoption("--full", action="store_true", help="also run the tests marked full, which take minutes")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what is in the background so
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {}
    if not config.getoption("--full"):
        reasons["full"] = "takes minutes: give --full to run it"
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError(f"ids that differ from process to process; give ids=plain: {unstable}")
    for item in items:
        for mark, reason in reasons.items():
            if item.get_closest_marker(mark) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> torch.device:
    asked = torch.device(pytestconfig.getoption("--device"))
    if asked.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return asked


@pytest.fixture(autouse=True)
def cuda_or_what_stands_for_it(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests marked gpu have a CUDA device, or tensors on the CPU that say they are on one."""
    mark = request.node.get_closest_marker("gpu")
    if mark is None or torch.cuda.is_available():
        yield
    elif "real" in mark.kwargs:
        pytest.skip(f"needs a CUDA device: {mark.kwargs['real']}")
    else:
        with pretended_cuda():
            yield


@pytest.fixture(scope="session")
def dtype(pytestconfig: pytest.Config) -> torch.dtype:
    return getattr(torch, pytestconfig.getoption("--dtype"))


@pytest.fixture(scope="session", autouse=True)
def shared_between_workers(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The folder of the run, which pytest makes anew for each: nothing in it is of other code."""
    own = tmp_path_factory.getbasetemp()
    # Not by the environment, which a pytest that a test starts has from it.
    before = between_workers.folder  # of the run around this one, where a test runs pytest in its own process
    between_workers.folder = own.parent if hasattr(pytestconfig, "workerinput") else own
    yield
    between_workers.folder = before


@pytest.fixture
def moments_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moments of an activation of one's own are taken as they are, for errors that tests plant there."""
    monkeypatch.setattr("resnet_sde.contracts.blocks.wrong_moment", lambda phi: None)


@pytest.fixture(autouse=True)
def float64_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    assert before == torch.float32, "what ran before this test left another default dtype behind"
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(autouse=True)
def global_random_state_is_untouched() -> Iterator[None]:
    """No verb reads or writes the global random state: every draw has a generator of its own."""
    before = _random_states()
    yield
    after = _random_states()
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert not changed, (
        f"the test changed the global random state of {' and '.join(changed)}: pass a generator"
    )


@pytest.fixture
def global_random(global_random_state_is_untouched: None) -> Iterator[None]:
    """For the few tests that must draw from the global state (of a peer, say): seeds it and puts it back."""
    state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        yield
    np.random.set_state(state)  # noqa: NPY002


def _random_states() -> dict[str, np.ndarray]:
    """The global random states that exist: asking for CUDA's would start CUDA."""
    _, key, position, *gauss = np.random.get_state()  # noqa: NPY002
    states = {"numpy": np.array([*key, position, *gauss]), "torch": torch.get_rng_state().numpy()}
    if torch.cuda.is_initialized():
        states["torch.cuda"] = torch.cuda.get_rng_state().numpy()
    return states
