"""The benchmarks run, all columns measure the same thing, and the table has the right form. No times."""

import math
import multiprocessing
import multiprocessing.forkserver
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import finite_width as theories
from benchmarks import infinite_width as wide
from benchmarks import limits, program, report
from benchmarks.ensembles import BOTH, Work, ours, usual
from benchmarks.measure import Row, best
from benchmarks.workloads import WORKLOADS
from resnet_sde import ERF
from resnet_sde.finite_width.phi_squared_moments import phi_squared_moments

ROWS = {
    "figure2": 2,
    "explicit": 1,
    "fractional": 2,
    "scaling": 2,
    "limits": 7,
    "finite-width": 2,
    "infinite-width": 5,
    "training": 1,
    "scale": 6,
}


@pytest.fixture(scope="module", autouse=True)
def processes_that_know_torch() -> None:
    """The memory of every row is that of a process of its own, and each would import torch anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.workloads"])
    multiprocessing.forkserver.ensure_running()


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_row_has_finite_ratios(name: str, global_random: None) -> None:
    rows = list(WORKLOADS[name]("smoke"))
    assert len(rows) == ROWS[name]
    for row in rows:
        gathers = "gathered" in row.workload or "read back" in row.workload
        assert (row.over_floor is None) == (gathers or name in ("limits", "finite-width", "infinite-width"))
        assert row.over_floor is None or 0 < row.over_floor < math.inf
        alone = name in ("scaling", "scale") or "automatic" in row.workload or "tanh, L" in row.workload
        assert (row.speedup is None) == alone
        assert row.speedup is None or 0 < row.speedup < math.inf
        unweighed = name in ("limits", "infinite-width") or (name == "scale" and "layer" not in row.workload)
        assert (row.memory is None) == unweighed
        assert row.memory is None or 10 < row.memory < 10_000
        assert report.line(row).count("|") == report.header().splitlines()[0].count("|")


@pytest.mark.parametrize("entries", ["gaussian", "uniform"])
def test_the_usual_way_computes_the_same_statistics(entries: str, global_random: None) -> None:
    work = Work(12, 10, torch.float64, entries)
    a, b = ours(work, 2000), usual(work, 300)
    assert set(a) == set(b) == {o.__name__ for o in BOTH}
    for name in a:
        x, y = a[name].log(), b[name].log()
        error = math.sqrt(x.var() / x.numel() + y.var() / y.numel())
        assert abs(x.mean() - y.mean()) < 4.5 * error  # eight comparisons: chance below 1e-4
        assert abs(x.mean() - y.mean() - 0.2) > 4.5 * error  # a difference of 0.2 would be seen


def test_all_schemes_of_the_sde_have_the_same_law(global_random: None) -> None:
    ways = (
        limits.sde_on_a_path,
        limits.sde_deferred,
        limits.torchsde_documented,
        limits.torchsde_at_best,
    )
    lengths = [way(6, 16, 4000).double().square().mean(-1) for way in ways]
    for x in lengths[1:]:
        error = math.sqrt((x.var() + lengths[0].var()) / 4000)
        assert abs(x.mean() - lengths[0].mean()) < 4.5 * error  # three comparisons: chance below 1e-4
        assert 0.2 > 4.5 * error  # lengths are near 1.5: a variance wrong by half would be seen


def test_both_ways_to_the_sources_agree() -> None:
    kernel = theories.theory(ERF, 5).kernel
    sources = phi_squared_moments(ERF).sources(kernel, 1.0)[0].tril()
    assert torch.allclose(torch.as_tensor(theories.sources_by_owen(ERF, 5)), sources, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_plain_loops_find_the_same_lengths(name: str) -> None:
    assert wide.one_time_by_quadrature(name, 40, 40) == pytest.approx(wide.one_time(name, 40), rel=1e-10)


def test_plain_loops_find_the_same_kernels() -> None:
    betas = (0.1, 0.8)
    found = wide.two_time(40, betas)
    for way in (wide.two_time_by_rows, wide.two_time_by_entries):
        for beta, ends in zip(betas, found, strict=True):
            assert way(40, beta) == pytest.approx(ends, rel=1e-10)


def test_torchdiffeq_solves_the_network() -> None:
    assert torch.allclose(limits.ode_network(5, 16, 3), limits.ode_torchdiffeq(5, 16, 3), atol=1e-5)


def test_targets_of_a_row() -> None:
    times = {"ours": 1.0, "floor": 0.6, "usual": 10.0}
    assert Row("", "", **times, faster=10.0).met
    assert not Row("", "", **times, faster=11.0).met
    assert not Row("", "", **times, floors=1.5).met
    assert not Row("", "", **times, seconds=0.5).met
    assert Row("", "", **times, floors=None).met is None
    assert Row("", "", 1.0).met is None
    assert Row("", "", 1.0, seconds=2.0).met


def test_actions_take_turns() -> None:
    calls: list[str] = []
    times = best(2, a=lambda: calls.append("a"), b=lambda: calls.append("b"))
    assert calls == ["a", "b", "a", "b"]
    assert set(times) == {"a", "b"}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (2.5e-6, "2.5 µs"),
        (0.0123, "12.3 ms"),
        (1.0, "1 s"),
        (119.0, "119 s"),
        (150.0, "2.5 min"),
        (9000.0, "2.5 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert report.duration(seconds) == shown


def test_the_table_replaces_what_is_between_the_markers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(report, "README", readme)
    for _ in range(2):
        report.write(["| row |"])
        text = readme.read_text(encoding="utf-8")
        assert text.startswith(f"before\n{report.START}\n")
        assert text.endswith(f"{report.END}\nafter\n")
        assert "old" not in text
        assert text.count("| row |") == 1


def test_an_unknown_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "nothing"])
    with pytest.raises(SystemExit) as refusal:
        program.main()
    assert refusal.value.code == 2
    assert "unknown name nothing; give some of figure2" in capsys.readouterr().err
