"""The picture of a study says what it shows, and never costs the numbers."""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from command_line import TINY, cells, run
from matplotlib.figure import Figure

import resnet_sde as rs
from resnet_sde import plots
from resnet_sde.cli.study import _with_theory
from resnet_sde.plots import draw_ratios, figure_bytes


def drawn(*words: object, samples: int = 3) -> Figure:
    """The picture of what a study prints."""
    return draw_ratios(cells(*TINY, *words), samples=samples, seed=0)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


NOTHING_TO_DRAW = [
    ("--gain", 0),
    ("--sw2", 0),
    ("--block", "reduced", "--sw2", 0),
    ("--beta", 20, "--depth", 10),
    ("--beta", -2, "--depth", 500),
    ("--gain", 0, "--gain", 1),
    ("--block", "res-2", "--activation", "gelu", "--beta", -2, "--depth", 300),
]


@pytest.mark.parametrize("words", NOTHING_TO_DRAW, ids=str)
def test_ratios_that_have_no_logarithm(words: tuple[object, ...], tmp_path: Path) -> None:
    """Table, JSON, dataset and figure are all there; the figure says what it has no place for."""
    out = tmp_path / "out"
    status, output, _ = run(*TINY, *words, "--out", out, "--json")
    assert status == 0
    found = json.loads(output)
    assert (found["dataset"], found["figure"]) == (str(out / "study.nc"), str(out / "study.png"))
    assert (out / "study.png").read_bytes().startswith(b"\x89PNG")
    missing = [c for c in found["cells"] if not isinstance(c["displacement"]["mean"], float)]
    missing += [c for c in found["cells"] if c["displacement"]["mean"] == 0]
    title = draw_ratios(found["cells"], samples=3, seed=0).axes[0].get_title()
    assert bool(missing) == ("means are" in title)
    if missing:
        assert f"({len(missing)} of {len(found['cells'])} means are" in title


@pytest.mark.parametrize("seed", range(2))
def test_a_single_tiny_network(seed: int, tmp_path: Path) -> None:
    words = ("--samples", 1, "--width", 1, "--depth", 1, "--seed", seed, "--out", tmp_path)
    status, output, errors = run(*words)
    assert (status, errors) == (0, "")
    assert "figure: " in output


def test_the_picture_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (
        RuntimeError("latex could not\nbe found"),
        ValueError("no"),
        OSError("disk"),
        KeyError("x"),
    ):

        def broken(*_: object, error: Exception = error, **__: object) -> bytes:
            raise error

        (tmp_path / "study.png").write_bytes(b"of an earlier study")
        with monkeypatch.context() as m:
            m.setattr(plots, "figure_bytes", broken)
            status, output, errors = run(*TINY, "--out", tmp_path)
        assert status == 0
        assert output.startswith("‖h_L − h_0‖ / ‖h_0‖, mean over networks")
        assert output.endswith(f"dataset: {tmp_path / 'study.nc'}\n")
        assert "study.png could not be drawn, the numbers are not affected: " in errors
        assert "the picture of an earlier study was removed" in errors
        assert not (tmp_path / "study.png").exists()
    with monkeypatch.context() as m:
        m.setattr(plots, "figure_bytes", broken)
        found = json.loads(run(*TINY, "--out", tmp_path, "--json")[1])
    assert (found["dataset"], found["figure"]) == (str(tmp_path / "study.nc"), None)
    assert found["cells"]


def test_latex_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with mpl.rc_context({"text.usetex": True}):
        status, output, errors = run(*TINY, "--seed", 987654321, "--out", tmp_path)
    assert status == 0
    assert "dataset: " in output
    assert "figure: " not in output
    assert errors.count("\n") == 1
    assert "latex" in errors


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_became_read_only_costs_no_table(tmp_path: Path) -> None:
    assert run(*TINY, "--out", tmp_path)[0] == 0
    tmp_path.chmod(0o500)
    try:
        status, output, errors = run(*TINY, "--out", tmp_path)
    finally:
        tmp_path.chmod(0o700)
    assert status == 2
    assert "Permission denied" in errors
    assert output.startswith("‖h_L − h_0‖")


def test_a_dataset_that_cannot_be_written_costs_no_table(tmp_path: Path) -> None:
    (tmp_path / "study.nc").mkdir()
    status, output, errors = run(*TINY, "--out", tmp_path)
    assert (status, errors.count("\n")) == (2, 1)
    assert output.startswith("‖h_L − h_0‖")
    assert "figure: " in output
    status, output, _ = run(*TINY, "--out", tmp_path, "--json")
    assert (status, "dataset" in json.loads(output)) == (2, False)
    assert json.loads(output)["cells"]


def test_the_title_names_what_is_common() -> None:
    title = drawn("--law", "smooth").get_suptitle()
    assert title.startswith(r"block res-3, relu, smooth $\ell = 0.1$ weights, $d = 3$, $\beta = 1$")
    assert title.endswith("3 networks at each point, seed 0")
    one = draw_ratios(cells(*TINY, "--activation", "tanh"), samples=1, seed=7).get_suptitle()
    assert one.startswith("block res-2, tanh, white gaussian weights")
    assert one.endswith("1 network at each point, seed 7")
    mixed = drawn("--law", "smooth", "--law", "white", "--block", "res-1", "--block", "full").get_suptitle()
    assert mixed.startswith("relu, $d = 3$\n")


def test_ticks_stand_at_the_depths() -> None:
    figure = drawn("--depth", 16, "--depth", 250)
    for axes in figure.axes:
        assert sorted(axes.get_xticks()) == [2, 16, 250]
        assert len(axes.get_xticks(minor=True)) == 0
    figure_bytes(figure, dpi=40)
    assert sorted(label.get_text() for label in figure.axes[0].get_xticklabels()) == ["16", "2", "250"]
    many = plots._apart(list(range(1, 1001)))
    assert 5 <= len(many) <= 9
    assert many[0] == 1000
    assert min(a / b for a, b in itertools.pairwise(many)) >= 1000**0.125
    assert plots._apart([7]) == [7]


def test_bands_and_lines_are_explained() -> None:
    assert legend(drawn("--depth", 5)) == ["networks", "5 % to 95 % of networks", "exact r.m.s."]
    assert "5 % to 95 % of networks" not in legend(drawn("--depth", 5, samples=1))
    assert "5 % to 95 % of networks" not in legend(drawn())
    widths = [word for width in range(1, 12) for word in ("--width", width)]
    assert "5 % to 95 % of networks" not in legend(drawn("--depth", 5, *widths))


def theory(words: tuple[object, ...], model: rs.Model) -> dict[str, Any]:
    (cell,) = cells(*TINY, *words)
    return _with_theory(cell, model)


def test_the_line_at_infinite_width() -> None:
    """Where nothing exact is known; of tanh what `kernel` answers, and networks of width 100 lie on it."""
    model = rs.Model(rs.TwoLayer(rs.TANH), rs.FractionalNoise(0.8), 100)
    words = ("--activation", "tanh", "--law", "fractional", "--hurst", 0.8, "--width", 100, "--depth", 16)
    base = ("--samples", 40, "--input", "digits", *words)
    (cell,) = cells(*base)
    shown = _with_theory(cell, model)
    status, output, _ = run(*words, "--json", command="kernel")
    assert status == 0
    kernel = json.loads(output)
    for ratio in ("displacement", "gradient_displacement"):
        line = shown[ratio]["mean_field_mean_square"]
        assert line == pytest.approx(kernel[f"{ratio}2"])
        se = cell[ratio]["mean_square_se"]
        assert abs(cell[ratio]["mean_square"] - line) < 5 * se + 0.05 * line  # and 1/width
    figure = draw_ratios([shown], samples=40, seed=0)
    assert legend(figure)[-1] == "r.m.s. at infinite width"
    heights = [line.get_ydata()[0] for line in figure.axes[0].get_lines()]
    assert any(np.isclose(y, shown["displacement"]["mean_field_mean_square"] ** 0.5) for y in heights)


def test_exact_lines_come_first_and_unknown_ones_are_left_out() -> None:
    model = rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), 3)
    figure = draw_ratios([theory((), model)], samples=3, seed=0)
    assert legend(figure)[-1] == "exact r.m.s."
    (cell,) = cells(*TINY, "--law", "smooth")
    deep = {**cell, "depth": 10**6}
    assert _with_theory(deep, rs.Model(rs.TwoLayer(rs.RELU), rs.SmoothNoise(0.1), 3)) == deep
