"""`resnet-sde list` and `resnet-sde verify`, held to their contract; verdicts kept in a folder."""

import json
import math
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run

from resnet_sde import TANH, FractionalNoise, Model, SingleLayer
from resnet_sde.estimate import Estimate
from resnet_sde.theorems import Claim, Lab, Theorem, Verdict, registry, suite, theorem, verify
from resnet_sde.theorems.results import Result

FAST = ("one-path-many-depths", "gradient-invariant")
MODULE = """
from resnet_sde.estimate import Estimate
from resnet_sde.theorems import Claim, theorem

@theorem("toy", words="A toy.", claims=1, budgets={"quick": {}, "full": {}},
         controls={"far": {"value": 1.0}, "near": {"value": 0.01}})
def toy(lab, *, value=0.0):
    yield Claim("value", Estimate(value, value, value), 0.0, 0.1)
"""


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    before = dict(registry)
    yield
    registry.clear()
    registry.update(before)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that registers a theorem one control of which holds."""
    (tmp_path / "toys.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toys", raising=False)  # it registers when it is imported
    return "toys"


def register(id: str, value: float, half: float, control: float | None = None) -> None:
    """A theorem that measures value ± half, and claims 0 ± 0.1; a control measures another value."""

    def check(lab: Lab, *, value: float = value) -> Iterator[Claim]:
        yield Claim("value", Estimate(value, value - half, value + half), 0.0, 0.1)

    controls = {} if control is None else {"wrong": {"value": control}}
    budgets: dict[str, dict[str, Any]] = {"quick": {}, "full": {}}
    theorem(id, words=f"{id}.", claims=1, budgets=budgets, controls=controls)(check)


def verdicts(*words: object) -> list[dict[str, Any]]:
    status, output, _ = run(*words, "--json", command="verify")
    assert status in (0, 1)
    assert output.count("\n") == 1
    return json.loads(output)["verdicts"]


# verify


def test_json_has_the_keys_of_the_contract() -> None:
    status, output, errors = run(*FAST, "--controls", "--seed", 3, "--json", command="verify")
    assert (status, errors) == (0, "")
    answer = json.loads(output)
    assert {"model", "seed", "versions", "verdicts"} <= answer.keys()
    assert (answer["seed"], answer["budget"], answer["family"]) == (3, "quick", 0.05)
    assert [v["id"] for v in answer["verdicts"]] == list(FAST)
    for record in answer["verdicts"]:
        assert {"id", "status", "claims", "seconds", "control_status"} <= record.keys()
        assert (record["status"], record["control_status"]) == ("holds", "fails")
        assert [c["control"] for c in record["controls"]] == list(registry[record["id"]].controls)
        assert len(record["claims"]) == registry[record["id"]].claims
        for claim in record["claims"]:
            assert {"name", "status", "value", "low", "high", "predicted", "tolerance"} <= claim.keys()


def test_without_controls_there_is_no_control_status() -> None:
    (record,) = verdicts(FAST[0])
    assert (record["control_status"], record["controls"]) == (None, [])


@pytest.mark.parametrize(
    ("value", "half", "control", "words", "status"),
    [
        (0.0, 0.01, None, [], 0),
        (1.0, 0.01, None, [], 1),
        (0.0, 1.0, None, [], 0),
        (0.0, 1.0, None, ["--strict"], 1),
        (0.0, 0.01, 1.0, ["--controls"], 0),
        (0.0, 0.01, 1.0, ["--controls", "--strict"], 0),
        (0.0, 0.01, 0.01, ["--controls"], 1),
        (0.0, 0.01, 0.01, [], 0),
        (0.0, 0.01, 0.1, ["--controls"], 0),
        (0.0, 0.01, 0.1, ["--controls", "--strict"], 1),
    ],
)
def test_exit_statuses(
    value: float, half: float, control: float | None, words: list[str], status: int
) -> None:
    """1 for a theorem that fails, for a control that holds, and with --strict for any doubt."""
    register("toy", value, half, control)
    found, output, errors = run("toy", *words, command="verify")
    assert found == status
    in_doubt = half == 1.0 or (control == 0.1 and "--controls" in words)
    assert ("undecided: toy" in errors) == in_doubt
    assert "1 theorem: " in output


def test_the_table() -> None:
    register("false", 1.0, 0.01)
    status, output, _ = run("false", FAST[0], "--controls", command="verify")
    assert status == 1
    lines = output.splitlines()
    assert lines[0].startswith("fails      false  (1 claim, ")
    assert lines[1] == "  fails  value: 1 [0.99, 1.01] vs 0 ± 0.1"
    assert lines[2].startswith(f"holds      {FAST[0]}  (4 claims, ")
    assert lines[3].startswith("    fails      control: H off by 0.01 in the rescaling  (")
    assert lines[-3:] == [
        "2 theorems: 1 fails, 1 holds",
        "1 control: 1 fails (none should hold)",
        "Chance of a wrong answer anywhere in the suite: 0.05 or less.",
    ]
    _, verbose, _ = run(FAST[0], "--verbose", command="verify")
    assert verbose.count("largest error of the covariance") == 4


def test_a_catalogue_is_named_as_a_whole() -> None:
    inside = [theorem.id for theorem in registry.values() if theorem.catalogue == "marion"]
    assert suite.select(["marion"]) == inside
    assert suite.select(["sde-limit", "marion"])[:2] == ["sde-limit", inside[0]]
    assert suite.select([]) == list(registry)


def test_requests_that_are_wrong() -> None:
    for words, sentence in (
        (["sde-limits"], "there is no theorem 'sde-limits'; there are for example sde-limit"),
        (["--budget", "slow"], "Invalid value for '--budget'"),
        (["--out", ""], "--out needs the name of a folder"),
        (["--import", "no_such_module"], "give a module that can be imported"),
        (["--workers", 0], "give for example 2"),
    ):
        status, output, errors = run(*words, command="verify")
        assert (status, output) == (2, "")
        assert sentence in errors
        assert errors.count("\n") == 1


def test_workers_and_modules_change_no_number(toys: str) -> None:
    words = (*FAST, "toy", "--import", toys, "--controls", "--json")
    status, alone, errors = run(*words, command="verify")
    assert status == 1, errors
    status, shared, errors = run(*words, "--workers", 2, command="verify")
    assert status == 1, errors
    assert [timeless(v) for v in json.loads(alone)["verdicts"]] == [
        timeless(v) for v in json.loads(shared)["verdicts"]
    ]
    toy = json.loads(alone)["verdicts"][-1]
    assert (toy["id"], toy["status"], toy["control_status"]) == ("toy", "holds", "holds")


def timeless(record: Any) -> Any:
    """A record without the seconds it took."""
    if isinstance(record, dict):
        return {name: timeless(part) for name, part in record.items() if name != "seconds"}
    return [timeless(part) for part in record] if isinstance(record, list) else record


# Folders


def test_finished_verdicts_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*FAST, "--controls", "--out", tmp_path)
    first = verdicts(*words)
    assert len(list((tmp_path / "verdicts").iterdir())) == 5

    def refuse(task: suite.Task) -> Verdict:
        raise AssertionError(task)

    monkeypatch.setattr(suite.Task, "run", refuse)
    assert verdicts(*words) == first, "nothing is computed again"
    for other in (("--seed", 1), ("--budget", "full")):
        with pytest.raises(AssertionError):
            run(FAST[0], "--out", tmp_path, *other, command="verify")


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[suite.Task] = []
    right = suite.Task.run

    def stop(task: suite.Task) -> Verdict:
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(task)
        return right(task)

    monkeypatch.setattr(suite.Task, "run", stop)
    status, _, errors = run(*FAST, "--out", tmp_path, command="verify")
    assert status == 130
    assert "what was finished under --out is kept" in errors
    monkeypatch.setattr(suite.Task, "run", lambda task: done.append(task) or right(task))
    assert [v["status"] for v in verdicts(*FAST, "--out", tmp_path)] == ["holds", "holds"]
    assert [task.id for task in done] == list(FAST), "each was computed once"


def test_damaged_and_outdated_files_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = suite.Task(FAST[0], None, "quick", 0)
    verdict, done = task.run(), []
    monkeypatch.setattr(suite.Task, "run", lambda task: done.append(task) or verdict)

    def again() -> int:
        done.clear()
        assert list(suite.run_suite([task], store=tmp_path)) == [(task, verdict)]
        return len(done)

    assert [again(), again()] == [1, 0]
    (file,) = (tmp_path / "verdicts").iterdir()
    whole = file.read_bytes()
    with monkeypatch.context() as edited:
        edited.setattr("resnet_sde.runs.identity.package", lambda: "another text")
        assert [again(), again()] == [1, 0]
    assert again() == 0
    at = whole.index(b'"value": ') + 12
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    for text in (b"", b"{", b"[]", b"{}", b'{"claims": [{}]}', flipped, whole[:-1], whole + b" "):
        file.write_bytes(text)
        assert again() == 1
        assert file.read_bytes() == whole


HELPED = """
from resnet_sde.estimate import Estimate
from resnet_sde.claims import Claim
from resnet_sde.theorems.core import theorem
SIZE = 0.0
def measured():
    return SIZE
@theorem("helped", words="One.", claims=1, budgets={"quick": {}, "full": {}},
         controls={"big": {"by": 1.0}})
def helped(lab, *, by=0.0):
    yield Claim("zero", Estimate(measured() + by, -0.1, 0.1), 0.0)
"""


def test_a_theorem_of_ones_own_is_checked_anew_when_what_it_calls_is_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for text in (HELPED, HELPED, HELPED.replace("SIZE = 0.0", "SIZE = 0.05")):
        space: dict[str, object] = {"__name__": "of_mine"}
        monkeypatch.setitem(sys.modules, "of_mine", types.ModuleType("of_mine"))
        monkeypatch.delitem(registry, "helped", raising=False)
        exec(compile(text, "of_mine", "exec"), space)
        monkeypatch.setitem(registry, "helped", registry["helped"])
        task = suite.Task("helped", None, "quick", 0)
        ((_, verdict),) = suite.run_suite([task], store=tmp_path)
        found.append(verdict.claims[0].measured.value)
    assert found == [0.0, 0.0, 0.05]
    assert len(list((tmp_path / "verdicts").iterdir())) == 2


def test_records_are_whole() -> None:
    ends = [(0.1, -math.inf, math.inf), (math.inf, math.inf, math.inf), (1 / 3, 0.3, 0.4)]
    claims = [Claim(str(n), Estimate(*e), 0.5, 0.1, "<=", "no" if n else None) for n, e in enumerate(ends)]
    verdict = Verdict("x", tuple(claims), "full", 7, 1.5, "wrong", {"beta": "0.35"})
    text = json.dumps(suite.record_of(verdict), allow_nan=False)
    assert suite.verdict_of(json.loads(text)) == verdict
    model = Model(SingleLayer(TANH), FractionalNoise(0.8), 4)
    unknown = verify("sde-limit", model=model, samples=20)
    again = suite.verdict_of(json.loads(json.dumps(suite.record_of(unknown), allow_nan=False)))
    assert again.status == unknown.status == "assumption not met"
    assert math.isnan(again.claims[0].predicted)


def test_settings_are_kept_as_words() -> None:
    verdict = verify("mean-variation", control="increments of fractional Brownian motion", samples=20)
    assert verdict.settings == {"law": "fractional:0.6", "samples": "20"}


# list


def test_the_list() -> None:
    status, output, errors = run(command="list")
    assert (status, errors) == (0, "")
    for id, entry in registry.items():
        assert f"  {id} (" in output
        assert entry.words.split(",")[0][:40] in " ".join(output.split())
    assert max(map(len, output.splitlines())) <= 104


def test_the_list_as_json() -> None:
    status, output, _ = run("marion", "--json", command="list")
    assert status == 0
    entries = json.loads(output)["theorems"]
    assert [entry["id"] for entry in entries] == suite.select(["marion"])
    assert all(
        {"words", "statement", "assumptions", "source", "claims", "controls"} <= entry.keys()
        for entry in entries
    )


def test_the_list_of_your_own(toys: str) -> None:
    status, output, _ = run("toy", "--import", toys, command="list")
    assert (status, output.splitlines()[0]) == (0, "toys")
    assert "toy (1 claim)" in output
    assert run("nothing", command="list")[0] == 2


BROKEN = {
    ".foo": "no dotted name",
    "": "no dotted name",
    "a b": "no dotted name",
    "a.": "no dotted name",
    "toys/own": "no dotted name",
    "no_such_module_here": "No module named",
}
CODE = {
    "unfinished": ("def f(:\n", "SyntaxError"),
    "undefined": ("nothing_of_this_name\n", "NameError"),
    "leaves": ("import sys; sys.exit(3)\n", "SystemExit"),
    "zero": ("1 / 0\n", "ZeroDivisionError"),
    "silent": ("raise RuntimeError\n", "RuntimeError: without a message"),
    "null": ("\0", "null bytes"),
}


@pytest.mark.parametrize("command", ["list", "verify"])
def test_modules_that_cannot_be_imported(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, (code, _) in CODE.items():
        (tmp_path / f"{name}.py").write_text(code)
    for name, words in {**BROKEN, **{name: words for name, (_, words) in CODE.items()}}.items():
        status, output, errors = run(FAST[0], "--import", name, command=command)
        assert (status, output) == (2, "")
        assert errors.startswith(f"resnet-sde: --import {name}".rstrip())
        assert words in errors
        assert "give a module that can be imported" in errors
        assert errors.count("\n") == 1


def test_the_current_folder_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toys_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "toys_here", raising=False)
    status, output, errors = run("toy", "--import", "toys_here", command="list")
    assert (status, errors) == (0, "")
    assert "toy (1 claim)" in output


@pytest.mark.parametrize(
    "id", ["../x", "a/b", "a\\b", "/etc/x", "", ".hidden", "..", " a", "a\n", "a\0", "-x", "x" * 101]
)
def test_ids_are_fit_for_names_of_files(id: str) -> None:
    with pytest.raises(ValueError, match=r"a theorem cannot have the id .* as in 'fair-coin'"):
        register(id, 0.0, 0.01)
    assert id not in registry


def test_results_put_controls_beside_their_theorem() -> None:
    held = Claim("x", Estimate(0, 0, 0), 0.0)
    failed = Claim("x", Estimate(1, 1, 1), 0.0)

    def verdict(claim: Claim) -> Verdict:
        return Verdict("x", (claim,), "quick", 0, 0.0)

    assert Result(verdict(held)).control_status is None
    both = Result(verdict(held), [verdict(failed), verdict(held)])
    assert both.control_status == "holds"
    assert both.failed
    assert isinstance(registry[FAST[0]], Theorem)
