"""Workers of a Dask cluster: the same bits as here, and no end that is not a sentence."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import small_work
import torch
import xarray as xr
from drawn_figures import smoke
from places import ROOT, SUPPORT
from waiting import PATIENCE, wait_until

import resnet_sde as rs
from experiments.execution import Execution
from paper_figs import stored
from paper_figs.making import Request, make_all
from paper_figs.marion import fig7
from resnet_sde.cli import main
from resnet_sde.propagate import default_dtype
from resnet_sde.runs import cluster as of_dask
from resnet_sde.runs.execute import Executor, _each, execute
from resnet_sde.theorems.suite import plan, record_of, run_suite
from resnet_sde.training import TrainingConfig, TrainingJob, load_data, train

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # Dask and its loops have warnings of their own

IDS = ["length-depth-scale", "one-path-many-depths"]


@pytest.fixture(scope="module")
def dask() -> Iterator[of_dask.Cluster]:
    with of_dask.Cluster("local", workers=2) as executor:
        yield executor


@pytest.fixture(params=["dask", "threads"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "dask":
        yield request.getfixturevalue("dask")
    else:
        with ThreadPoolExecutor(2) as threads:
            yield threads


def build(beta: float) -> rs.Model:
    return rs.Model(rs.TwoLayer(rs.RELU), rs.FractionalNoise(0.3), width=12, beta=beta)


def test_a_study_is_the_same(executor: Executor, tmp_path: Path) -> None:
    request = {"over": {"beta": [0.5, 1.0], "depth": [5, 20]}, "samples": 20, "seed": 3}
    observe = [rs.observables.displacement]
    here = rs.study(build, torch.ones(1, 8), observe=observe, **request)
    there = rs.study(build, torch.ones(1, 8), observe=observe, executor=executor, store=tmp_path, **request)
    assert there.equals(here)
    again = rs.study(build, torch.ones(1, 8), observe=observe, store=tmp_path, **request)
    assert again.equals(here)


def test_training_is_the_same_and_is_kept_by_the_process_that_asks(
    executor: Executor, tmp_path: Path
) -> None:
    jobs = [TrainingJob(build(0.5), depth=depth, lr=0.01, seed=seed) for depth in (3, 6) for seed in (0, 1)]
    data, config = load_data("digits", limit=200), TrainingConfig(steps=12)
    here = train(jobs, config, data, stack=1)
    there = train(jobs, config, data, stack=1, executor=executor, store=tmp_path, keep_networks=True)
    strip = {"network": None, "seconds": None}
    assert [{**asdict(o), **strip} for o in there] == [{**asdict(o), **strip} for o in here]
    assert all((tmp_path / str(outcome.network)).exists() for outcome in there)
    assert len(list(tmp_path.glob("*/outcome.json"))) == len(jobs)
    assert not list(tmp_path.glob("*/checkpoint.npz"))


def test_verification_is_the_same(executor: Executor) -> None:
    tasks = plan(IDS, budget="quick", seed=0, controls=True)
    records = [
        {task: {**record_of(verdict), "seconds": None} for task, verdict in run_suite(tasks, executor=how)}
        for how in (None, executor)
    ]
    assert records[0] == records[1]


FIGURES = ("marion/fig6", "yang/growth", "marion/fig2")


def test_figures_are_the_same(executor: Executor, tmp_path: Path) -> None:
    request, how = Request("smoke", 0, tmp_path, tmp_path / "training"), Execution(executor=executor)
    with default_dtype(torch.float32):
        list(make_all(FIGURES[:2], request, how))  # each is a task
        list(make_all(FIGURES[2:], request, how))  # its cells are tasks
    for name in FIGURES:
        xr.testing.assert_identical(stored.load(tmp_path, name).drop_attrs(), smoke(name).drop_attrs())


def test_planes_are_the_same(executor: Executor) -> None:
    plane = replace(fig7.BUDGETS["smoke"], hursts=(0.3, 0.7), samples=2, inputs=1, depth=20, width=5)
    xr.testing.assert_identical(plane.run(how=Execution(executor=executor)), plane.run())


def test_small_tasks_are_put_together(dask: of_dask.Cluster) -> None:
    tasks = list(range(3500))
    assert sorted(execute(tasks, small_work.square, 7, executor=dask)) == [(n, n**2 + 7) for n in tasks]


def test_what_was_finished_before_a_failure_is_given(dask: of_dask.Cluster) -> None:
    work, error = small_work.raise_error, ZeroDivisionError("of the work")
    assert _each([0, 0, 1, 0], work, error) == ([0, 0], error)
    with pytest.raises(ZeroDivisionError, match="of the work"):
        list(execute([0] * 1500 + [1], work, error, executor=dask))


def test_a_worker_that_dies_costs_nothing(dask: of_dask.Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "died"
    tasks = list(range(6))
    assert sorted(execute(tasks, small_work.end_once, mark, executor=dask)) == [(n, n) for n in tasks]
    assert mark.exists()


@pytest.mark.full  # four workers are started anew
def test_work_that_kills_every_worker_is_a_sentence(dask: of_dask.Cluster) -> None:
    with pytest.raises(RuntimeError, match="died again and again at the same piece of work"):
        list(execute([1], small_work.end_by, (1, "SIGKILL"), executor=dask))


@pytest.mark.parametrize(
    ("work", "shared", "kind", "sentence"),
    [
        (small_work.lock, None, ValueError, "cannot be sent back by a worker of the cluster: .*workers=1"),
        (small_work.unreadable_here, os.getpid(), RuntimeError, "sent cannot be read here: not here"),
        (small_work.raise_picky, None, Exception, "3 words"),
        (small_work.raise_unpicklable, None, RuntimeError, "ValueError: in use"),
        (small_work.raise_error, SystemExit(4), SystemExit, "4"),
        (small_work.raise_error, KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
    ids=["no pickle", "not read here", "error of its own", "no pickle of an error", "exit", "interrupt"],
)
def test_whatever_work_gives_the_work_ends(
    dask: of_dask.Cluster, work: object, shared: object, kind: type[BaseException], sentence: str
) -> None:
    """What Dask itself cannot send, or this process not read, Dask would ask for for ever."""
    with pytest.raises(kind, match=sentence):
        list(execute(range(4), work, shared, executor=dask))


def test_errors_say_where_they_were_raised(dask: of_dask.Cluster) -> None:
    with pytest.raises(ZeroDivisionError) as error:
        list(execute(range(4), small_work.raise_error, ZeroDivisionError("x"), executor=dask))
    assert "in raise_error" in str(error.value.__cause__)
    with pytest.raises(ZeroDivisionError):
        dask.submit(divmod, 1, 0).result(PATIENCE)
    assert dask.submit(divmod, 7, 4).result(PATIENCE) == (1, 3)


LOST = "the scheduler of the cluster is gone, or gave this work up; what was finished is kept"


def test_a_scheduler_lost_while_a_result_is_fetched_is_a_sentence(
    dask: of_dask.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise distributed.comm.CommClosedError("of a scheduler that was killed")

    monkeypatch.setattr(dask.client, "_gather", lost)
    future = dask.submit(int)
    with pytest.raises(RuntimeError, match=LOST):
        future.result(PATIENCE)


def test_a_scheduler_that_is_gone_is_not_asked_for_results_any_more(
    dask: of_dask.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asks(*_: object) -> None:
        await asyncio.Event().wait()  # as Dask does, while it tries to connect

    monkeypatch.setattr(dask.client, "_gather", asks)
    monkeypatch.setattr(of_dask, "_LOOKS", 0.01)
    future = dask.submit(int)
    wait_until(lambda: any(f.status == "finished" for f in dask.client.futures.values()), "no result")
    assert not future.done(), "it is still being fetched"
    lost = [dask.client.futures[key] for key in list(dask.client.futures)]
    dask.client.loop.add_callback(lambda: [state.cancel() for state in lost])  # as a client that lost it
    with pytest.raises(RuntimeError, match=LOST):
        future.result(PATIENCE)


def test_a_scheduler_lost_while_work_is_submitted_is_a_sentence(
    dask: of_dask.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise distributed.client.ClosedClientError("Client is closed. Can't send update-graph message.")

    for name in ("submit", "nthreads"):
        with monkeypatch.context() as patch:
            patch.setattr(dask.client, name, lost)
            with pytest.raises(RuntimeError, match=LOST):
                list(execute([1, 2], small_work.square, 0, executor=dask))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts copies of this process")
def test_a_scheduler_that_is_killed_is_a_sentence(tmp_path: Path) -> None:
    """And the cluster can be left."""
    words = [sys.executable, "-c", "import sys; from pathlib import Path; from injected_workers import *; "]
    words[2] += "(scheduler(Path(sys.argv[2])) if sys.argv[1] == 'scheduler' else "
    words[2] += "worker_of(sys.argv[2], sys.argv[3]))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{SUPPORT}"}
    start = lambda *more: subprocess.Popen(  # noqa: E731
        [*words, *more], env=environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    started = [start("scheduler", str(tmp_path / "address"))]
    try:
        wait_until((tmp_path / "address").exists, "there is no scheduler")
        address = (tmp_path / "address").read_text()
        started.append(start("worker", address, str(tmp_path)))
        executor = of_dask.Cluster(address)
        executor.client._timeout = 1.0  # for which it looks for a scheduler that is gone
        work = execute(range(8), small_work.end_other, started[0].pid, executor=executor)
        with executor, pytest.raises(RuntimeError, match=LOST):
            list(work)
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_other_arithmetic_is_refused(dask: of_dask.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    right = of_dask._settings()
    other = {**right, "environment": {**right["environment"], "torch": "0.4"}}
    monkeypatch.setattr(of_dask, "_settings", lambda: other)
    with pytest.raises(RuntimeError, match=r"would not give the same bits \(torch \S+ there, 0\.4 here\)"):
        list(execute([1, 2], small_work.square, 0, executor=dask))


SCRIPT = """
import sys
import torch
import resnet_sde as rs
from resnet_sde.runs.cluster import Cluster

FACTOR = 2.0

def doubled(run):
    return FACTOR * rs.observables.displacement(run)

def build(beta):
    return rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), width=8, beta=beta)

if __name__ == "__main__":
    request = dict(over={"beta": [0.5, 1.0]}, depth=5, samples=6, observe=[doubled])
    here = rs.study(build, torch.ones(1, 4), **request)
    with Cluster(sys.argv[1]) as executor:
        assert rs.study(build, torch.ones(1, 4), executor=executor, **request).equals(here)
    print("the same")
"""


def test_functions_of_a_script_are_sent_by_value(dask: of_dask.Cluster, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(SCRIPT)
    address = dask.client.scheduler_info()["address"]
    words = [sys.executable, "own.py", address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.stdout == "the same\n", found.stderr


def test_commands_take_a_cluster(dask: of_dask.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    address = dask.client.scheduler_info()["address"]
    request = ["study", "--depth", "5", "--samples", "4", "--json"]
    found = []
    for more in ([], ["--cluster", address]):
        with pytest.raises(SystemExit) as exit:
            main([*request, *more])
        found.append((exit.value.code, capsys.readouterr()))
    assert found[0] == found[1]
    assert found[0][0] == 0
    with pytest.raises(SystemExit):
        main([*request, "--cluster", address, "--workers", "2"])
    assert capsys.readouterr().err == (
        "resnet-sde: --workers are local processes; leave it out with the address of a cluster\n"
    )


def test_no_scheduler_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_dask, "_PATIENCE", 0.5)
    with pytest.raises(
        ValueError, match=r"the cluster at tcp://127\.0\.0\.1:9 does not answer: .*; give the"
    ):
        of_dask.Cluster("tcp://127.0.0.1:9")
