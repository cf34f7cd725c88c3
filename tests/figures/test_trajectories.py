"""The picture of networks next to their limits at the smoke budget: it holds, and it notices what is wrong.

Seeds are fixed, so the checks cannot fail by chance; were the random numbers to change, a false alarm has
probability 0.01 or less, most of it from the orders of 64 networks at white weights.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from drawn_figures import smoke as smoke_of

import resnet_sde as rs
from experiments.own.trajectories import Trajectories, limit_or_none, start
from paper_figs.own import trajectories
from paper_figs.program import main
from paper_figs.stored import store

SMOKE = trajectories.BUDGETS["smoke"]
WITH_LIMIT = [law for law in trajectories.LAWS if str(law) != "fractional:0.3"]


def smoke() -> xr.Dataset:
    return smoke_of("own/trajectories")


def failures(ds: xr.Dataset) -> list[str]:
    return [str(c) for c in trajectories.check(ds) if not c.holds]


def test_the_numbers_hold() -> None:
    assert failures(smoke()) == []
    assert len(trajectories.check(smoke())) == 15


def test_the_dataset_says_where_it_came_from() -> None:
    attributes = smoke().attrs
    assert (attributes["seed"], attributes["budget"], attributes["experiment"]) == (0, "smoke", repr(SMOKE))
    assert attributes["table"] == trajectories.table(smoke())


class OffCritical(Trajectories):
    """The residual scale of the networks, not that of the limit, lies beside the critical one."""

    def _errors(self, model, equation, seed):
        return super()._errors(replace(model, beta=model.beta - 0.05), equation, seed)


def test_a_wrong_exponent_is_noticed() -> None:
    wrong = OffCritical((rs.FractionalNoise(0.75),), SMOKE.depths, SMOKE.finest, samples=32, points=64).run()
    assert any("largest ratio" in failure for failure in failures(wrong))


@pytest.mark.parametrize("law", WITH_LIMIT, ids=str)
def test_a_limit_solved_in_stretches_ends_where_it_should(law: rs.PathLaw) -> None:
    model = SMOKE.model(law)
    equation, path, h = limit_or_none(model), SMOKE._draw(model, 3, 0), start(3, 4)
    assert equation is not None
    *_, end = SMOKE.solution(equation, h, path)
    steps = SMOKE.points if isinstance(law, rs.SmoothNoise) else SMOKE.finest
    torch.testing.assert_close(end, equation.solve(h, path, steps=steps), rtol=0, atol=1e-11)


def test_smooth_limits_are_solved_finely_enough() -> None:
    model = SMOKE.model(rs.SmoothNoise(0.1))
    equation, path, h = limit_or_none(model), SMOKE._draw(model, 3, 0), start(3, 4)
    coarse, fine = (equation.solve(h, path, steps=steps) for steps in (SMOKE.points, 16 * SMOKE.points))
    assert (coarse - fine).abs().max() < 1e-3 * float(smoke().distance.sel(law="smooth:0.1").mean())


def test_the_drawn_states_are_those_of_the_network() -> None:
    law = rs.FractionalNoise(0.6)
    model = SMOKE.model(law)
    layers = SMOKE._draw(model, 1, 0).layers(16)
    h = start(1, 4)
    states = [1.0]
    for layer in layers:
        h = h + 16**-0.6 * torch.tanh(h) @ layer["outer"].entries / 2
        states.append(float(h[0, 0, 0]))
    drawn = smoke().states.sel(law="fractional:0.6", depth=16)
    np.testing.assert_allclose(drawn.dropna("time"), states, rtol=1e-12)
    np.testing.assert_array_equal(drawn.time[drawn.notnull()], np.linspace(0, 1, 17))


def test_the_picture() -> None:
    figure = trajectories.draw(smoke())
    assert len(figure.axes) == 8
    assert all(ax.get_xlabel() and ax.get_title("left") for ax in figure.axes)
    assert [len(ax.get_lines()) for ax in figure.axes] == [3, *[4] * 6, 7]
    assert "no limit: $H < 1/2$, one matrix" in [text.get_text() for text in figure.axes[0].texts]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("$L = 16$", "$L = 64$", "$L = 256$", "limit")
    ]


def test_the_table() -> None:
    rows = [line.split(" | ") for line in trajectories.table(smoke()).splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {10}
    kinds = {row[0].removeprefix("| "): row[1] for row in rows[2:]}
    assert list(kinds) == [str(law) for law in trajectories.LAWS]
    assert kinds["fractional:0.3"] == "none †"
    assert kinds["white"] == "Itô equation"
    assert kinds["fractional:0.9"] == "Young equation"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(smoke(), tmp_path, "own/trajectories")
    assert main(["own/trajectories", "--redraw", "--out", str(tmp_path)]) == 0
    assert "15 of 15 claims hold" in capsys.readouterr().out
    assert (tmp_path / "own/trajectories.md").read_text(encoding="utf-8") == smoke().attrs["table"]
