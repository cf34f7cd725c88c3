"""Every figure has controls, networks that are wrong in a named way, and its claims notice each of them."""

from pathlib import Path

import pytest
import torch
import xarray as xr
from drawn_figures import module, smoke

from paper_figs.catalogue import PICTURES
from paper_figs.controls import Control, verify
from paper_figs.making import Record, trained
from paper_figs.program import main
from paper_figs.stored import KEPT, load, store
from resnet_sde.claims import at_most
from resnet_sde.estimate import Outcome
from resnet_sde.propagate import default_dtype
from resnet_sde.theorems.core import Verdict


def outcomes(name: str, ds: xr.Dataset) -> list[Verdict]:
    with default_dtype(torch.float32):
        return [verify(name, control, ds) for control in module(name).CONTROLS]


@pytest.mark.parametrize("name", PICTURES)
def test_no_control_holds(name: str) -> None:
    """At the smoke budget; those of trained networks, of which little is claimed there, as stored too."""
    found = [*outcomes(name, smoke(name))]
    if trained(module(name)):
        found += outcomes(name, load(KEPT, name))
    wrong = [str(v) for v in found if v.outcome not in (Outcome.FAILS, Outcome.NOT_MET)]
    assert wrong == []
    noticed = {v.control for v in found if v.outcome is Outcome.FAILS}
    assert noticed == module(name).CONTROLS.keys() != set()


def of(monkeypatch: pytest.MonkeyPatch, control: Control, known: str = "") -> Verdict:
    """Figure 2 in place of which there is one number, 1, that must not be above 1."""
    figure = module("marion/fig2")
    ds = smoke("marion/fig2").assign(x=1.0)
    monkeypatch.setattr(figure, "CONTROLS", {"planted": control})
    monkeypatch.setattr(figure, "check", lambda ds: [at_most("x", ds.x, 1.0, known), at_most("zero", 0, 1)])
    verdict = verify("marion/fig2", "planted", ds)
    assert float(ds.x) == 1.0, "the dataset of the figure stays as it is"
    return verdict


def doubled(ds: xr.Dataset) -> xr.Dataset:
    ds.x.values = 2 * ds.x.values
    return ds


def test_a_control_fails_if_all_claims_that_should_notice_it_do(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = of(monkeypatch, Control(doubled, "x"))
    assert verdict.outcome is Outcome.FAILS
    assert [str(claim) for claim in verdict.claims] == ["x: 2 ≤ 1"]


@pytest.mark.parametrize("noticed", [("zero",), ("x", "zero"), ("zero", "x")])
def test_a_control_holds_if_one_does_not(noticed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = of(monkeypatch, Control(doubled, *noticed))
    assert verdict.holds
    assert [claim.name for claim in verdict.claims] == ["zero"]


def test_a_change_of_nothing_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of(monkeypatch, Control(lambda ds: ds, "x")).holds


def test_a_claim_that_fails_for_a_known_reason_notices_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of(monkeypatch, Control(doubled, "x"), known="as is known").outcome is Outcome.NOT_MET


def test_a_control_that_no_claim_is_about_is_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = of(monkeypatch, Control(doubled, "no such claim"))
    assert verdict.outcome is Outcome.NOT_MET
    assert "no claim that could notice it is made at this budget" in str(verdict)


class TestCommand:
    words = ("marion/fig2", "--redraw", "--controls", "--out")

    @pytest.fixture
    def out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A folder with Figure 2, which has one control that is quickly checked."""
        figure = module("marion/fig2")
        monkeypatch.setattr(figure, "CONTROLS", {"a <sign>": list(figure.CONTROLS.values())[-1]})
        store(smoke("marion/fig2"), tmp_path, "marion/fig2")
        return tmp_path

    def test_each_control_is_a_line_and_part_of_the_record(
        self, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*self.words, str(out)]) == 0
        *_, control, tally, _ = capsys.readouterr().out.splitlines()
        assert control.startswith("    fails      control: a <sign>  (")
        assert tally == "  1 control: 1 fails (none should hold)"
        record = Record.load(out, "marion/fig2")
        assert record is not None
        assert [verdict.control for verdict in record.controls] == ["a <sign>"]
        page = (out / "index.html").read_text(encoding="utf-8")
        assert "1 control: 1 fails; none should hold" in page
        assert "a &lt;sign&gt;<small>gradient, mean ratio" in page

    def test_a_control_that_holds_is_an_error(
        self, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module("marion/fig2"), "CONTROLS", {"nothing": Control(lambda ds: ds, "p-value")})
        assert main([*self.words, str(out)]) == 1
        assert "    holds      control: nothing" in capsys.readouterr().out

    def test_a_record_of_before_has_none(self, out: Path) -> None:
        assert main([*self.words[:2], "--out", str(out)]) == 0
        record = Record.load(out, "marion/fig2")
        assert record is not None
        assert record.controls == ()
        assert "none should hold" not in (out / "index.html").read_text(encoding="utf-8")
