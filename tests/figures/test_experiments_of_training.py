"""Experiments with trained networks at their smallest budget: axes, theory, summaries, resuming."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import resnet_sde as rs
from experiments.command import module as found_module
from experiments.execution import Execution
from experiments.fischer import residual_scale
from experiments.marion import accuracy_plane, depth_convergence, trained_weights
from experiments.program import EXPERIMENTS, main
from experiments.schoenholz import trainability
from experiments.trained import Images, at_best_rate
from experiments.yang import variance_grids

AXES = {
    "marion/trained_weights": ("test_accuracy", {"case": 3, "sample": 2}),
    "marion/accuracy_plane": ("test_accuracy", {"block": 2, "hurst": 2, "beta": 2, "rate": 1, "sample": 2}),
    "marion/depth_convergence": ("largest", {"law": 2, "beta": 2, "depth": 3, "sample": 4}),
    "schoenholz/trainability": ("train_accuracy", {"setting": 2, "sigma_w2": 3, "depth": 3, "sample": 1}),
    "yang/variance_grids": ("test_accuracy", {"kind": 2, "rule": 1, "depth": 2, "sigma_w2": 3, "sample": 1}),
    "fischer/residual_scale": ("test_accuracy", {"depth": 2, "product": 3, "sample": 2}),
    "own/depth_atlas": ("agrees", {"architecture": 4}),
    "own/depth_transfer": ("loss", {"scheme": 11, "place": 3, "rate": 4, "sample": 2}),
}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> dict[str, xr.Dataset]:
    """Every experiment, as the command runs it; in float32 whatever the default is."""
    out = tmp_path_factory.mktemp("training")
    assert main(["all", "--budget", "smoke", "--out", str(out)]) == 0
    return {name: xr.load_dataset(out / f"{name}-smoke-0.nc", engine="scipy") for name in EXPERIMENTS}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_axes_origin_and_report(name: str, smoke: dict[str, xr.Dataset]) -> None:
    variable, sizes = AXES[name]
    ds = smoke[name]
    assert dict(ds[variable].sizes) == sizes
    assert np.isfinite(ds[variable]).all()
    assert {"experiment", "data", "seed", "versions"} <= ds.attrs.keys()
    module = found_module("experiments", name)
    assert {"smoke", "cpu", "paper"} <= module.BUDGETS.keys()
    assert ds.attrs["experiment"] == repr(module.BUDGETS["smoke"])
    assert all("nan" not in line.partition(":")[0] for line in module.report(ds))


def test_smooth_weights_stay_smooth_and_rough_ones_rough(smoke: dict[str, xr.Dataset]) -> None:
    ds = smoke["marion/trained_weights"]
    assert (ds.roughness_after.sel(case="smooth, beta = 1") < 0.3).all()
    assert (ds.roughness_after.sel(case="white, beta = 1") > 0.8).all()
    assert (ds.after != ds.before).any(("entry", "layer")).all()
    increments = ds.before.diff("layer").sel(case="smooth, beta = 1")
    assert (abs(increments) < abs(ds.before.diff("layer")).max() / 2).all()


def test_a_difference_of_blocks_is_paired_by_seed(smoke: dict[str, xr.Dataset]) -> None:
    ds = smoke["marion/accuracy_plane"]
    at = ds.test_accuracy.sel(hurst=0.1, beta=0.9).isel(rate=0)
    found = accuracy_plane.difference(ds, 0.1, 0.9)
    apart = (at.sel(block="res-1") - at.sel(block="res-3")).values
    assert found.value == pytest.approx(apart.mean())
    assert found.high - found.value == pytest.approx(12.706 * apart.std(ddof=1) / math.sqrt(2), rel=1e-3)


def test_the_rate_of_a_cell_is_chosen_on_validation_images() -> None:
    rates, cells = [0.1, 0.01], ["a", "b", "c"]
    validation = np.array([[[0.5, 0.7], [0.9, 0.1]], [[0.2, 0.2], [0.3, 0.3]], [[0.4, 0.4], [0.4, 0.4]]])
    axes = ("cell", "rate", "sample")
    ds = xr.Dataset(
        {"validation_accuracy": (axes, validation), "test_accuracy": (axes, 1 - validation)},
        {"cell": cells, "rate": rates},
    )
    best = at_best_rate(ds)
    assert best.rate.values.tolist() == [0.1, 0.01, 0.01]
    np.testing.assert_allclose(best.test_accuracy, [[0.5, 0.3], [0.7, 0.7], [0.6, 0.6]])


def test_networks_of_twice_the_depth_start_from_the_same_weights(smoke: dict[str, xr.Dataset]) -> None:
    """Without training the distance is 0; with it smooth networks come nearer as they get deeper."""
    still = replace(depth_convergence.BUDGETS["smoke"], lr=1e-12, steps=1)
    assert (still.run().largest < 1e-6).all()
    trained = smoke["marion/depth_convergence"]
    assert (trained.root_mean_square.mean("sample") > 1e-3).all()
    assert (trained.root_mean_square <= trained.largest).all()
    smooth = trained.root_mean_square.sel(law="smooth", beta=1.0).mean("sample")
    assert smooth[-1] < 0.6 * smooth[0]


def test_the_rate_of_distances_that_halve_is_one() -> None:
    depths = [8, 16, 32, 64]
    values = np.broadcast_to(1 / np.array(depths)[None, None, :, None], (1, 1, 4, 5))
    spread = values * (1 + 0.01 * np.arange(5))
    coordinates = {"law": ["smooth"], "beta": [1.0], "depth": depths}
    ds = xr.Dataset({"root_mean_square": (("law", "beta", "depth", "sample"), spread)}, coordinates)
    assert depth_convergence.rate(ds, "smooth", 1.0).value == pytest.approx(1, abs=1e-6)


def test_the_deepest_network_and_its_collapse_on_a_scale() -> None:
    """Accuracies made to fall through 0.5 at six times ξ_c, and only once."""
    of = trainability.Trainability(depths=tuple(range(2, 90)), sigma_w2=(0.75, 1.0, 1.2, 1.4, 2.5, 4.0))
    scales = of._scales(trainability.Setting())
    xi = scales["xi_c"][1]
    accuracy = 1 / (1 + np.exp(np.array(of.depths)[None, :] / xi[:, None] - 6))
    ds = xr.Dataset(
        {"train_accuracy": (("setting", "sigma_w2", "depth", "sample"), accuracy[None, ..., None]), **scales},
        {"setting": ["sgd 0.01"], "sigma_w2": list(of.sigma_w2), "depth": list(of.depths)},
    )
    found = trainability.collapse(ds, "sgd 0.01", 0.5)
    assert found["mean"] == pytest.approx(6, abs=0.01)
    assert found["slope"] == pytest.approx(1, abs=0.01)
    assert found["correlation"] > 0.999
    assert found["count"] == 6
    assert trainability.collapse(ds, "sgd 0.01", 0.5, "xi_grad")["deviation"] > 10 * found["deviation"]
    assert trainability.collapse(ds, "sgd 0.01", 1e-9)["count"] < 3
    assert math.isnan(trainability.collapse(ds, "sgd 0.01", 1e-9)["mean"])


def test_depth_scales_beside_trained_networks_are_those_of_the_phases(smoke: dict[str, xr.Dataset]) -> None:
    ds = smoke["schoenholz/trainability"]
    for setting, keep_rate in zip(ds.setting.values, (1.0, 0.9), strict=True):
        for sigma_w2 in ds.sigma_w2.values:
            expected = rs.meanfield.phase(rs.TANH, sigma_w2, 0.05, keep_rate=keep_rate)
            found = ds.sel(setting=setting, sigma_w2=sigma_w2)
            assert float(found.xi_c) == pytest.approx(expected.xi_c, rel=1e-9)
            assert float(found.xi_grad) == pytest.approx(abs(expected.xi_grad), rel=1e-9)


def test_contours_of_accuracy() -> None:
    """Accuracy falls through 0.9 at σ_w² = 20 / L, so the slope is −1; through 0.5 nowhere."""
    depths, sigma_w2 = [4, 16, 64], np.geomspace(0.02, 20, 13)
    log_product = np.log(sigma_w2[None, :] * np.array(depths)[:, None])
    accuracy = 0.9 - 0.02 * (log_product - math.log(20))
    dims = ("kind", "rule", "depth", "sigma_w2", "sample")
    ds = xr.Dataset(
        {
            "test_accuracy": (dims, accuracy[None, None, ..., None]),
            "log_gradient_growth": (("kind", "depth", "sigma_w2"), np.sqrt(np.exp(log_product))[None]),
        },
        {"kind": ["k"], "rule": ["r"], "depth": depths, "sigma_w2": sigma_w2},
    )
    assert variance_grids.contour_slope(ds, "k", "r", 0.9) == pytest.approx(-1, abs=1e-9)
    assert math.isnan(variance_grids.contour_slope(ds, "k", "r", 0.5))
    ranks = variance_grids.rank_correlations(ds, "k", "r")
    assert ranks["log_gradient_growth"] == pytest.approx(-1)
    assert ranks["sigma_w2 L"] == pytest.approx(-1)
    assert ranks["sigma_w2"] > -0.9


def test_theory_beside_the_variances(smoke: dict[str, xr.Dataset]) -> None:
    ds = smoke["yang/variance_grids"]
    model = rs.Model(rs.Reduced(rs.TANH, 20.0), rs.WhiteNoise(), 64, beta=0.0)
    expected = rs.meanfield.lengths(model, depth=12).log_gradient_growth[-1]
    found = ds.log_gradient_growth.sel(kind="tanh reduced", depth=12, sigma_w2=20.0)
    assert float(found) == pytest.approx(float(expected))
    assert float(ds.recommended.sel(kind="tanh reduced", depth=4)) == pytest.approx(2.786403, rel=1e-5)


def test_inputs_of_another_dimension_are_projected() -> None:
    data = Images(scaling="sphere").load()
    seen = variance_grids.projected(data, 100, 0)
    assert seen.n_in == 100
    torch.testing.assert_close(seen.test.x.square().mean(1), torch.ones(397, dtype=torch.float32))
    assert variance_grids.projected(data, 64, 0) is data


def test_the_least_loss_by_a_parabola() -> None:
    products = np.geomspace(0.1, 10, 13)
    loss = (np.log(products) - math.log(2.2)) ** 2
    ds = xr.Dataset(
        {"test_loss": (("depth", "product", "sample"), np.stack([loss, products], axis=0)[..., None])},
        {"depth": [10, 20], "product": products},
    )
    found = residual_scale.best_product(ds).isel(sample=0)
    assert float(found.sel(depth=10)) == pytest.approx(2.2, rel=1e-9)
    assert math.isnan(float(found.sel(depth=20)))  # the least is at the end of the grid


def test_an_experiment_goes_on_from_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of, how = trained_weights.BUDGETS["smoke"], Execution(store=tmp_path)
    first = of.run(how=how)
    monkeypatch.setattr("resnet_sde.training.grid.fit", None)
    xr.testing.assert_identical(of.run(how=how), first)
    pairs = depth_convergence.BUDGETS["smoke"]
    found = pairs.run(how=how)
    monkeypatch.setattr(os, "fsync", None)  # nothing new is kept
    xr.testing.assert_identical(pairs.run(how=how), found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["marion/accuracy_plane", "--budget", "huge"], "give one of smoke, cpu, cpu-fashion, paper"),
        (["marion/depth_convergence", "--data", "digits"], "leave out --data"),
        (
            ["marion/accuracy_plane", "--budget", "smoke", "--data", "mnist:/no/such/folder"],
            "There is no folder",
        ),
        (["marion", "--budget", "cpu-fashion"], "marion/depth_convergence has no budget"),
        (["marion/accuracy_plane", "marion/trained_weights", "--page", "x.md"], "leave out --page"),
        (["all", "--seed", "-1"], "seed"),
        (["all", "--workers", "0"], "workers"),
    ],
    ids=["budget", "data", "folder", "budget of the second", "page", "seed", "workers"],
)
def test_a_request_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence, and before anything runs."""
    assert main([*words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.rglob("*.n*")) == []
