"""Figures of trained networks: they hold at the smoke budget, and they draw.

Seeds are fixed, so the checks cannot fail by chance. Accuracies over the plane are trained for hours at the
budget cpu; there the claims are tested with numbers made up after the theory.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from drawn_figures import (
    failures,
    module,
    smoke,
)

import resnet_sde as rs
from experiments.execution import Execution
from experiments.marion import accuracy_plane, depth_convergence, trained_weights
from experiments.marion.depth_convergence import DepthConvergence, rate
from paper_figs.marion import _accuracy_maps as accuracy_maps
from paper_figs.marion import fig9
from paper_figs.marion._trained_paths import expected_roughness
from resnet_sde.claims import at_most
from resnet_sde.propagate import default_dtype
from resnet_sde.training import roughness

EXPERIMENTS = {
    "marion/fig8": (trained_weights, "cpu"),
    "marion/fig8_fashion": (trained_weights, "cpu-fashion"),
    "marion/fig9": (accuracy_plane, "cpu"),
    "marion/fig9_fashion": (accuracy_plane, "cpu-fashion"),
    "marion/depth_weights": (depth_convergence, "cpu"),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_budgets_are_those_of_the_experiment(name: str) -> None:
    """So that networks trained there are found by the figure."""
    experiment, cpu = EXPERIMENTS[name]
    assert module(name).BUDGETS["cpu"] is experiment.BUDGETS[cpu]
    assert module(name).BUDGETS["paper"] is experiment.BUDGETS["paper"]


def test_trained_networks_are_kept_and_taken(tmp_path: Path) -> None:
    with default_dtype(torch.float32):
        first = fig9.compute("smoke", 0, Execution(store=tmp_path))
        kept = sorted(tmp_path.rglob("*"))
        again = fig9.compute("smoke", 0, Execution(store=tmp_path))
    xr.testing.assert_identical(first, smoke("marion/fig9"))
    xr.testing.assert_identical(again, first)
    assert kept
    assert sorted(tmp_path.rglob("*")) == kept


# Numbers of the budget cpu


def plane(edges: dict[str, np.ndarray] | None = None, name: str = "marion/fig9") -> xr.Dataset:
    """Accuracies 0.1 below an edge of each block and 0.96 above, as of networks with the seeds of the budget.

    By default the edge is 0.3 below the boundary at initialization. Validation images choose the rate 0.01.
    """
    of = module(name).BUDGETS["cpu"]
    axes = {"block": list(of.blocks), "hurst": list(of.hursts), "beta": list(of.betas)}
    axes |= {"rate": list(of.rates), "sample": range(of.samples)}
    shape = tuple(len(values) for values in axes.values())
    edges = edges or {block: accuracy_maps.boundary(block, np.array(of.hursts)) - 0.3 for block in of.blocks}
    edge = np.stack([edges[block] for block in of.blocks])[:, :, None]
    learned = 0.1 + 0.86 / (1 + np.exp(-(np.array(of.betas) - edge) / 0.01))
    noise = np.random.default_rng(0).normal(scale=0.005, size=shape)
    found = learned[..., None, None] + noise
    best = np.isclose(of.rates, 0.01)[:, None]
    return xr.Dataset(
        {
            "test_accuracy": (tuple(axes), np.where(best, found, 0.99 - found)),
            "validation_accuracy": (tuple(axes), np.where(best, found, 0.05)),
        },
        axes,
        {"budget": "cpu", "experiment": repr(of)},
    )


@pytest.mark.parametrize("name", ["marion/fig9", "marion/fig9_fashion"])
def test_networks_that_learn_down_to_an_edge_hold(name: str) -> None:
    assert failures(name, plane(name=name)) == []


def test_one_seed_has_no_interval() -> None:
    """The budget paper has one, which can be drawn, and whose blocks are not compared."""
    ds = plane().isel(sample=[0]).assign_attrs(budget="paper")
    fig9.draw(ds).canvas.draw()
    assert all("res-1, " in claim.name for claim in fig9.check(ds))


def hursts() -> np.ndarray:
    return np.array(fig9.BUDGETS["cpu"].hursts)


def scaling_the_wrong_way() -> xr.Dataset:
    ds = plane()
    return ds.assign_coords(beta=ds.beta[::-1]).sortby("beta")


def test_a_reason_is_given_where_a_claim_fails() -> None:
    assert str(at_most("x", 2.0, 1.0, "known")) == "x: 2 ≤ 1 (known)"
    assert str(at_most("x", 0.5, 1.0, "known")) == "x: 0.5 ≤ 1"


def test_the_difference_of_blocks_is_not_that_of_the_best_test_accuracy() -> None:
    """Rates are chosen on validation images, here the worst on test images for networks that learn not."""
    apart = accuracy_maps.differences(plane()).mean("sample")
    assert abs(float(apart.sel(hurst=0.9, beta=0.1))) < 0.02
    assert float(apart.sel(hurst=0.1, beta=0.1)) == pytest.approx(0.86, abs=0.02)


def test_only_on_the_edge_there_is_a_reason_to_fail() -> None:
    """Networks that learn down to 0.19 below max(H, 1/2), and networks that do not learn at large beta."""
    edges = dict.fromkeys(("res-1", "res-3"), np.maximum(hursts(), 0.5) - 0.19)
    near, far = plane(edges), scaling_the_wrong_way()
    reasons = {
        name: [c.known for c in fig9.check(ds) if not c.holds and "lowest" in c.name]
        for name, ds in (("near", near), ("far", far))
    }
    assert reasons == {"near": [accuracy_maps.ON_THE_EDGE], "far": [""]}


# Theory beside the figures


@pytest.mark.parametrize("law", [rs.WhiteNoise(), rs.SmoothNoise(0.1)], ids=str)
def test_the_roughness_at_initialization(law: rs.PathLaw) -> None:
    """400 matrices of 36 entries: 4.5 standard errors of their mean and of their deviation, 1/√800 of it.

    The ratio of two quadratic forms is biased by a few percent of its deviation at 36 entries.
    """
    source = rs.generator(0, "roughness")
    paths = law.path(20, (400, 6, 6), generator=source).weights(20)
    found = np.array([roughness(paths[:, i]) for i in range(400)])
    mean, deviation = expected_roughness(law, 20, 36)
    assert abs(found.mean() - mean) < (4.5 / 20 + 0.1) * deviation
    assert found.std(ddof=1) == pytest.approx(deviation, rel=4.5 / 800**0.5)


def test_one_step_of_adam_leaves_weights_apart_at_the_rate_of_its_signs() -> None:
    """Half the rate of states and gradients, and layers where a sign changes stay a whole step apart."""
    of = DepthConvergence((32, 64, 128, 256), ("smooth",), (1.0,), width=12, n_in=8, steps=1, samples=64)
    with default_dtype(torch.float32):
        ds = of.run()
    found = rate(ds, "smooth", 1.0)
    assert found.low < 0.5 < found.high < 1
    assert float(ds.largest.isel(depth=-1).mean() / ds.largest.isel(depth=0).mean()) > 0.7
