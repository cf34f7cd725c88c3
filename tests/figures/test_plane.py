"""The plane of Hurst index and β: networks against exact moments and plain loops, and what is kept of them.

Seeds are fixed; were the random numbers to change, the tests of moments together would raise a false alarm
with probability 4e-5.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import resnet_sde as rs
from experiments.execution import Execution
from experiments.marion import plane
from experiments.marion.plane import Plane, over_networks, zero_level
from resnet_sde.finite_width import homogeneous_moments
from resnet_sde.propagate import Workspace
from resnet_sde.runs.store import Identity, Record, Store
from resnet_sde.streams import stream

TINY = Plane((0.3, 0.8), (0.0, 0.5, 1.0), samples=3, inputs=2, depth=12, width=5, n_in=3)
WHITE = Plane((0.5,), (0.5, 1.0), samples=600, inputs=1, depth=25, width=10, n_in=3)
RATIOS = ("log10_displacement", "log10_gradient_displacement")
Z = 4.42  # standard errors: false alarm 1e-5


def plain_ratios(line: Plane, beta: float) -> tuple[float, float]:
    """The ratios of the first network and its last input, from its numbers drawn in their order."""
    source = stream(7, "plane", rs.FractionalNoise(*line.hursts), line.depth, line.width, line.inputs, 0)

    def normal(*shape: int) -> torch.Tensor:
        return source.normal_(torch.empty(shape, dtype=torch.float32))

    x, first, top = (
        normal(line.inputs, line.n_in),
        normal(line.n_in, line.width),
        normal(line.inputs, line.width),
    )
    law, shape = rs.FractionalNoise(*line.hursts), (1, line.width, line.width)
    inner, outer = (
        law.path(line.depth, shape, generator=source, dtype=torch.float32).weights(line.depth)[:, 0].double()
        for _ in "WV"
    )
    start = (x @ first)[-1].double() / line.n_in**0.5
    states = [start.requires_grad_()]
    for w, v in zip(inner, outer, strict=True):
        branch = torch.relu(states[-1] @ w / line.width**0.5) @ v / line.width**0.5
        states.append(states[-1] + line.depth**-beta * branch)
    p = top[-1].double()
    (gradient,) = torch.autograd.grad(states[-1], start, p)
    moved, length = (states[-1] - start).detach().norm(), start.detach().norm()
    return float((moved / length).log10()), float(((gradient - p).norm() / p.norm()).log10())


@pytest.mark.parametrize("hurst", TINY.hursts)
def test_ratios_are_those_of_plain_networks(hurst: float) -> None:
    line = replace(TINY, hursts=(hurst,), samples=1)
    ds = line.run(seed=7).isel(hurst=0, sample=0, input=-1)
    for beta in line.betas:
        found = [float(ds[name].sel(beta=beta)) for name in RATIOS]
        assert found == pytest.approx(plain_ratios(line, beta), abs=1e-4)  # float32 weights and states


@cache
def white_networks() -> xr.Dataset:
    return WHITE.run(seed=1).isel(hurst=0, input=0)


def error_of_mean_square(beta: float, variable: str, change: float = 1.0) -> float:
    """Distance of the mean square displacement from its exact value, in standard errors."""
    squares = 100.0 ** white_networks()[variable].sel(beta=beta).to_numpy()
    model = rs.Model(rs.TwoLayer(rs.RELU), rs.WhiteNoise(), WHITE.width, beta=beta)
    exact = change * homogeneous_moments(model, WHITE.depth).mean_square_displacement
    return float((squares.mean() - exact) / squares.std(ddof=1) * len(squares) ** 0.5)


@pytest.mark.parametrize("variable", RATIOS)
@pytest.mark.parametrize("beta", WHITE.betas)
def test_mean_squares_of_white_networks_are_exact(beta: float, variable: str) -> None:
    assert abs(error_of_mean_square(beta, variable)) < Z
    assert abs(error_of_mean_square(beta, variable, change=1.25)) > Z


def test_the_mean_field_of_white_networks_is_exact() -> None:
    """Gradients too: their share along the state moves like the rest."""
    ds = replace(WHITE, samples=1).run().isel(hurst=0)
    exact = np.log10((1 + WHITE.depth ** (-2 * ds.beta) / 2) ** WHITE.depth - 1) / 2
    for name in RATIOS:
        np.testing.assert_allclose(ds[f"{name}_theory"], exact, rtol=1e-10)


def test_explosion_is_a_number() -> None:
    torch.set_default_dtype(torch.float32)  # as outside of these tests
    ds = Plane((0.2, 0.95), (0.0, 0.1), samples=1, inputs=1, depth=800, width=8).run()
    assert all(bool(np.isfinite(variable).all()) for variable in ds.data_vars.values())
    assert float(ds.log10_displacement.max()) > 38, "beyond float32"
    assert float(ds.log10_displacement_theory.sel(beta=0.0).min()) > 38


class TestWhatIsKept:
    def test_workers_hurst_indices_and_networks_change_no_bit(self) -> None:
        whole = TINY.run(seed=3)
        xr.testing.assert_identical(whole, TINY.run(seed=3, how=Execution(workers=2)))
        some = replace(TINY, hursts=(0.8,), samples=2).run(seed=3)
        for name in RATIOS:
            np.testing.assert_array_equal(some[name], whole[name].sel(hurst=[0.8]).isel(sample=[0, 1]))
        assert not bool((TINY.run(seed=4)[RATIOS[0]] == whole[RATIOS[0]]).any())

    def test_few_rows_at_once_make_the_same_networks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = TINY.run()
        monkeypatch.setattr(plane, "ROWS", 1)
        xr.testing.assert_allclose(TINY.run(), whole, rtol=0, atol=1e-4)

    def test_an_interrupted_run_goes_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole, saved = TINY.run(seed=5), []
        save = Store.save

        def counted(self: Store, identity: Identity, record: Record) -> bool:
            saved.append(identity["plane"])
            if len(saved) == 2:
                raise KeyboardInterrupt
            return save(self, identity, record)

        monkeypatch.setattr(Store, "save", counted)
        with pytest.raises(KeyboardInterrupt):
            TINY.run(seed=5, how=Execution(store=tmp_path))
        xr.testing.assert_identical(TINY.run(seed=5, how=Execution(store=tmp_path)), whole)
        low, high = (repr(replace(TINY, hursts=(hurst,))) for hurst in (0.3, 0.8))
        assert saved == [low, high, high]
        xr.testing.assert_identical(TINY.run(seed=5, how=Execution(store=tmp_path)), whole)
        assert len(saved) == 3

    def test_edited_code_computes_anew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        TINY.run(seed=5, how=Execution(store=tmp_path))
        monkeypatch.setattr(plane, "stream", lambda seed, *key: stream(seed + 1, *key))
        xr.testing.assert_identical(TINY.run(seed=5, how=Execution(store=tmp_path)), TINY.run(seed=5))

    @pytest.mark.parametrize("other", ["seed", "samples", "betas", "damaged"])
    def test_nothing_else_is_taken_for_it(self, other: str, tmp_path: Path) -> None:
        TINY.run(seed=5, how=Execution(store=tmp_path))
        experiment, seed = TINY, 5
        if other == "seed":
            seed = 6
        elif other == "damaged":
            for file in tmp_path.iterdir():
                file.write_bytes(file.read_bytes()[:50])
        else:
            experiment = replace(TINY, **{"samples": 2} if other == "samples" else {"betas": (0.0, 0.5, 0.9)})
        xr.testing.assert_identical(
            experiment.run(seed=seed, how=Execution(store=tmp_path)), experiment.run(seed=seed)
        )

    @pytest.mark.parametrize(
        ("name", "wrong"), [("seed", {"seed": -1}), ("workers", {"how": Execution(workers=0)})]
    )
    def test_bad_numbers_are_refused(self, name: str, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=name):
            TINY.run(**wrong)


def table(of: Callable[[np.ndarray], np.ndarray], count: int = 25) -> xr.DataArray:
    betas = np.linspace(0, 1.3, count)
    lines = [of(betas - level) for level in (0.4, 0.7)]
    return xr.DataArray(lines, {"hurst": [0.2, 0.8], "beta": betas}, ("hurst", "beta"))


def test_the_level_is_found_between_the_points() -> None:
    curved = table(lambda x: np.where(x < 0, 4 * np.expm1(-3 * x), -2 * np.tanh(6 * x)))
    np.testing.assert_allclose(zero_level(curved), [0.4, 0.7], atol=2e-3)
    np.testing.assert_allclose(zero_level(curved.transpose()), zero_level(curved))
    exploding = curved.where(curved < 5, np.inf)
    np.testing.assert_allclose(zero_level(exploding), zero_level(curved), atol=1e-12)


def test_no_level_is_no_number() -> None:
    assert bool(zero_level(table(lambda x: -1 - x**2)).isnull().all())


def test_errors_are_those_of_networks() -> None:
    """Inputs of a network that agree add nothing, whatever their number."""
    of_networks = np.array([1.0, 2.0, 4.0, 7.0])
    values = xr.DataArray(np.repeat(of_networks[:, None], 9, axis=1), dims=("sample", "input"))
    summary = over_networks(values)
    assert float(summary["mean"]) == 3.5
    assert float(summary["error"]) == pytest.approx(of_networks.std(ddof=1) / 2)


def test_memory_is_reused() -> None:
    workspace, line = Workspace(), replace(TINY, hursts=(0.3,))
    ratios = [plane._network(line, stream(1, n), workspace)[0].copy() for n in (0, 1, 0)]
    np.testing.assert_array_equal(ratios[0], ratios[2])
