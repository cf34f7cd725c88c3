"""The depth atlas: a page of its data, in which all is as the code says; what fails costs no other."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from places import DOCS

from experiments.execution import Execution
from experiments.own import depth_atlas
from experiments.own.atlas_page import page
from experiments.own.depth_atlas import ALL, BUDGETS, DepthAtlas, report
from experiments.own.own_architectures import OWN


@pytest.fixture(scope="module")
def kept() -> xr.Dataset:
    return xr.load_dataset(DOCS / "depth-atlas.nc", engine="scipy")


def test_the_page_is_that_of_the_data(kept: xr.Dataset) -> None:
    assert page(kept) == (DOCS / "depth-atlas.md").read_text(encoding="utf-8")


def test_every_architecture_is_on_it_as_its_code_says(kept: xr.Dataset) -> None:
    some = set(kept.architecture.values.tolist())
    assert kept.architecture.values.tolist() == [name for name in ALL if name in some]
    assert int((kept.outcome == "measured").sum()) >= 40
    assert not (kept.outcome == "failed").any()
    refused = kept.architecture.values[kept.outcome == "refused"].tolist()
    assert refused == [name for name in ALL if name in some and ALL[name].refused]
    assert {name for name in kept.architecture.values if kept.differs.sel(architecture=name) != ""} == set()
    near = abs(kept.beta.sel(end="value") - kept.prescribed)
    assert float(near.max()) <= 0.12


def test_theory_of_rates_where_there_is_one(kept: xr.Dataset) -> None:
    """A factor in initial weights splits the groups, a multiplier does not."""
    rates = kept.rate.sel(end="value")
    for name in ("GPT, (2L)^-1/2 in weights", "SwiGLU GPT, (2L)^-1/2 in weights"):
        blocks, writers, inner = rates.sel(architecture=name).values
        assert [blocks, writers, inner] == pytest.approx([-1.0, -1.0, -0.5], abs=0.15)
    for name, exponent in (("GPT, multiplier 1/√L", -0.5), ("GPT, multiplier 1/L", 0.0)):
        assert rates.sel(architecture=name).values == pytest.approx([exponent] * 3, abs=0.15)


SMALL = DepthAtlas(("MLP-ResNet, pre-norm", "feed-forward network"), (8, 16), 2, (4, 8), 2)


def test_a_store_is_gone_on_from_and_a_failure_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(depth: int) -> None:
        raise OSError(f"no weights for {depth}")

    monkeypatch.setitem(ALL, "broken", replace(OWN["MLP-ResNet, pre-norm"], factory=broken))
    some = replace(SMALL, architectures=("broken", *SMALL.architectures))
    first = some.run(how=Execution(store=tmp_path))
    assert first.outcome.values.tolist() == ["failed", "measured", "refused"]
    assert first.sentence.values[0] == "OSError: no weights for 8"
    assert "no skip connection" in first.sentence.values[2]
    assert first.agrees.values.tolist() == [0, 1, 1]
    assert len(list(tmp_path.glob("*.json"))) == 3  # two records and a manifest
    assert "OSError" in page(first)

    def asked_again(*_: object, **__: object) -> None:
        raise AssertionError("it is kept")

    monkeypatch.setattr(depth_atlas, "depth_check", asked_again)
    second = SMALL.run(how=Execution(store=tmp_path))
    xr.testing.assert_identical(first.isel(architecture=[1, 2]).drop_attrs(), second.drop_attrs())
    assert math.isnan(second.beta.values[1, 0])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"beta": 0.5}, "β is"),
        ({"kind": "post-norm"}, "the kind is residual, not post-norm"),
        ({"stream": "2.*"}, "the stream is 1.*"),
        ({"writers": {"w": 1.0}}, "writers are"),
        ({"writers": {"v": 0.5}}, "writers are"),
        ({"coherent": True}, "the coherence is 0."),
        ({"copies": "loop"}, "the copies is none, not loop"),
        ({"beta": math.nan}, "β is"),
        ({"refused": "two streams"}, "it is not refused"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
def test_what_is_not_as_the_code_says_is_noticed(
    wrong: dict[str, object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network with a wrong entry of what it prescribes, measured once."""
    row = _measured_once()
    assert depth_atlas._differs(row, ALL["MLP-ResNet, pre-norm"]) == []
    assert any(
        words in text for text in depth_atlas._differs(row, replace(ALL["MLP-ResNet, pre-norm"], **wrong))
    )


_ROWS: list[dict[str, object]] = []


def _measured_once() -> dict[str, object]:
    if not _ROWS:
        _ROWS.append(depth_atlas._measure("MLP-ResNet, pre-norm", (SMALL, 0)))
    return _ROWS[0]


def test_the_report_has_a_line_for_each_and_one_for_all(kept: xr.Dataset) -> None:
    lines = report(kept)
    assert len(lines) == kept.sizes["architecture"] + 1
    assert lines[-1].endswith("{0} of {0} as their code says".format(kept.sizes["architecture"]))
    assert {"smoke", "cpu", "paper"} == BUDGETS.keys()
    assert np.isfinite(kept.beta.sel(end="value")).sum() >= 40
