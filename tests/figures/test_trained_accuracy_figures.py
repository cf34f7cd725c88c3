"""Figures of accuracies of trained networks: they hold, they notice what is wrong, and they draw.

At the smoke budget networks see few steps, and claims are few. Those of larger budgets are tested on made
accuracies on the grids of the budget cpu, which follow the laws in question or others.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from drawn_figures import (
    failures,
    module,
)

from experiments.execution import Execution
from experiments.fischer import residual_scale
from experiments.schoenholz import trainability
from experiments.yang import variance_grids
from paper_figs import _panels as panels_of
from paper_figs.catalogue import PICTURES
from paper_figs.fischer import trained as fischer_trained
from paper_figs.schoenholz._trainability import SETTINGS
from paper_figs.yang import _variance_maps as variance_maps

SCHOENHOLZ = tuple(name for name in PICTURES if name.startswith("schoenholz/trainability"))
YANG = tuple(name for name in PICTURES if name.startswith("yang/trained"))
FIGURES = (*SCHOENHOLZ, *YANG, "fischer/trained")
EXPERIMENTS = {"schoenholz": trainability, "yang": variance_grids, "fischer": residual_scale}


@pytest.mark.parametrize("name", FIGURES)
def test_budgets_are_those_of_the_experiments(name: str) -> None:
    """Else what is trained for one is not found by the other."""
    assert module(name).BUDGETS is EXPERIMENTS[name.partition("/")[0]].BUDGETS


def test_figures_of_one_experiment_share_what_is_computed() -> None:
    for names in (SCHOENHOLZ, YANG):
        assert len({module(name).compute for name in names}) == 1


def test_what_is_trained_is_kept_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fischer_trained.compute("smoke", 0, Execution(store=tmp_path))
    assert list(tmp_path.iterdir())
    monkeypatch.setattr("resnet_sde.training.grid.fit", None)
    xr.testing.assert_identical(fischer_trained.compute("smoke", 0, Execution(store=tmp_path)), first)


def test_cells_end_half_way_between_their_centres() -> None:
    np.testing.assert_allclose(panels_of.edges(np.array([1.0, 4.0, 16.0])), [0.5, 2, 8, 32])


# Accuracies that follow a law


@cache
def scales_of(setting: trainability.Setting) -> dict[str, tuple[str, np.ndarray]]:
    return trainability.BUDGETS["cpu"]._scales(setting)


@cache
def theory_of_variances() -> xr.Dataset:
    of = variance_grids.BUDGETS["cpu"]
    return xr.concat([of._theory(kind) for kind in of.kinds], "kind").assign_coords(kind=list(of.kinds))


@cache
def theory_of_scales() -> dict[str, tuple[str, list[float]]]:
    return residual_scale.BUDGETS["cpu"]._theory()


def trained_to(depth: Callable[[str, xr.Dataset], xr.DataArray]) -> xr.Dataset:
    """Training accuracies that fall through 0.5 at these depths, by setting, and through 0.3 soon after."""
    of, parts = trainability.BUDGETS["cpu"], []
    axes = {"sigma_w2": list(of.sigma_w2), "depth": list(of.depths)}
    for setting in of.settings:
        scales = xr.Dataset(scales_of(setting), axes)
        fall = scales.depth / depth(str(setting), scales)
        accuracy = (0.1 + 0.87 / (1 + 1.17 * fall**4)).expand_dims(sample=2, axis=-1)
        parts.append(scales.assign(train_accuracy=accuracy))
    names = [str(setting) for setting in of.settings]
    return xr.concat(parts, "setting").assign_coords(setting=names).assign_attrs(budget="cpu")


def depths_as_found(setting: str, scales: xr.Dataset) -> xr.DataArray:
    """A multiple of ξ_c, of ξ_grad at the largest rate, and a depth of all networks with RMSprop."""
    if setting == "sgd 0.03":
        return 8 * scales.xi_grad
    if setting.startswith("rmsprop"):
        return 30 + 3 * np.sin(5 * scales.sigma_w2)
    return (3 if setting == "sgd 0.003" else 5) * scales.xi_c


def depths_of_another_exponent(setting: str, scales: xr.Dataset) -> xr.DataArray:
    return 10 * scales.xi_c**0.5


def depths_of_gradients(setting: str, scales: xr.Dataset) -> xr.DataArray:
    return 8 * scales.xi_grad


def depths_of_one_law(setting: str, scales: xr.Dataset) -> xr.DataArray:
    return 5 * scales.xi_c


def depths_that_fall(setting: str, scales: xr.Dataset) -> xr.DataArray:
    return 100 / scales.xi_c


def depths_without_dropout(setting: str, scales: xr.Dataset) -> xr.DataArray:
    return 9 * scales.xi_grad


@pytest.mark.parametrize("name", SCHOENHOLZ)
def test_depths_that_follow_the_depth_scales_hold(name: str) -> None:
    assert failures(name, trained_to(depths_as_found)) == []


PLANTED_DEPTHS = [
    ("schoenholz/trainability", depths_of_another_exponent, "slope"),
    ("schoenholz/trainability", depths_of_gradients, "relative spread"),
    ("schoenholz/trainability", depths_that_fall, "correlation"),
    ("schoenholz/trainability_dropout", depths_without_dropout, "accuracy at (1.76, 48)"),
    ("schoenholz/trainability_dropout", depths_that_fall, "keep rate 0.98, correlation"),
    ("schoenholz/trainability_optimizers", depths_of_one_law, "SGD, rate 0.03, relative spread"),
    ("schoenholz/trainability_optimizers", depths_of_one_law, "RMSprop, rate 0.0003, correlation"),
    ("schoenholz/trainability_optimizers", depths_of_one_law, "L*/xi_c of the most ordered networks"),
    ("schoenholz/trainability_optimizers", depths_that_fall, "SGD, rate 0.003, correlation"),
]


@pytest.mark.parametrize(("name", "depth", "noticed"), PLANTED_DEPTHS)
def test_depths_of_another_law_fail(
    name: str, depth: Callable[[str, xr.Dataset], xr.DataArray], noticed: str
) -> None:
    assert any(noticed in failure for failure in failures(name, trained_to(depth)))


def over_variances(exponents: dict[str, float], threshold: float = 6.0) -> xr.Dataset:
    """Test accuracies of tanh that fall with σ_w² L^exponent, by rule; of ReLUs up to a threshold of ln p."""
    theory = theory_of_variances()
    falls = [
        0.97 - 0.1 * np.log(1 + 0.25 * theory.sigma_w2 * (theory.depth / 8) ** exponent).clip(0)
        for exponent in exponents.values()
    ]
    tanh = xr.concat(falls, "rule").assign_coords(rule=list(exponents)).clip(0.1)
    fast = theory.log_q < threshold
    relu = xr.where(
        tanh.rule == variance_maps.ADAPTIVE, 0.98 - 0.02 * (theory.log_q - 3).clip(0), 0.95 * fast
    )
    accuracy = xr.where(theory.kind.isin(RECTIFIED), relu.clip(0), tanh).expand_dims(sample=2)
    one = accuracy.sel(sigma_w2=1.0, method="nearest", drop=True)
    best = accuracy.sel(sigma_w2=0.05, method="nearest", drop=True)
    found = theory.assign(test_accuracy=accuracy, diverged=0 * accuracy, at_one=one, at_recommended=best)
    return found.assign_attrs(budget="cpu")


RECTIFIED = ["relu full", "alpha-relu full"]
AS_FOUND = {variance_maps.LAW: 1.2, variance_maps.FIXED: 0.0, variance_maps.ADAPTIVE: 0.6}


@pytest.mark.parametrize("name", ["yang/trained", "yang/trained_relu"])
def test_accuracies_that_follow_gradients_and_lengths_hold(name: str) -> None:
    assert failures(name, over_variances(AS_FOUND)) == []


PLANTED_ACCURACIES = [
    ("yang/trained", AS_FOUND | {variance_maps.LAW: 0.0}, 6.0, "less that with sigma_w2"),
    ("yang/trained", AS_FOUND | {variance_maps.LAW: 2.5}, 6.0, "sgd 0.16/L, slope"),
    ("yang/trained", AS_FOUND | {variance_maps.LAW: -1.0}, 6.0, "rank correlation"),
    ("yang/trained", AS_FOUND | {variance_maps.LAW: -1.0}, 6.0, "less that at 1"),
    ("yang/trained", AS_FOUND | {variance_maps.FIXED: 1.0}, 6.0, "sgd 0.005, slope"),
    (
        "yang/trained",
        AS_FOUND | {variance_maps.ADAPTIVE: 1.5},
        6.0,
        "rmsprop 3e-4, slope less that of sgd 0.16/L",
    ),
    ("yang/trained", AS_FOUND | {variance_maps.ADAPTIVE: -0.5}, 6.0, "slope less that of sgd 0.005"),
    ("yang/trained_relu", AS_FOUND, 2.0, "log p <= 3"),
    ("yang/trained_relu", AS_FOUND, 9.0, "log p >= 6.9"),
]


@pytest.mark.parametrize(("name", "exponents", "threshold", "noticed"), PLANTED_ACCURACIES)
def test_accuracies_of_another_law_fail(
    name: str, exponents: dict[str, float], threshold: float, noticed: str
) -> None:
    found = failures(name, over_variances(exponents, threshold))
    assert any(noticed in failure for failure in found)


def test_powers_that_do_not_follow_lengths_fail() -> None:
    ds = over_variances(AS_FOUND)
    reversed_in_depth = ds.test_accuracy.isel(depth=slice(None, None, -1)).values
    mixed = ds.test_accuracy.where(ds.kind != "alpha-relu full", reversed_in_depth)
    found = failures("yang/trained_relu", ds.assign(test_accuracy=mixed))
    assert any("alpha-relu full, rmsprop 3e-4, rank correlation" in failure for failure in found)


def trained_at(product: float, exponent: float = 0.0, lost: float = 0.1) -> xr.Dataset:
    """Losses that are least at ρ√L = product (L/20)^exponent; accuracies that fall by `lost` at large ρ√L."""
    of = residual_scale.BUDGETS["cpu"]
    ds = xr.Dataset(theory_of_scales(), {"depth": list(of.depths), "product": list(of.products)})
    away = np.log(ds["product"] / (product * (ds.depth / 20) ** exponent))
    loss = (0.2 + 0.1 * away**2).expand_dims(sample=4)
    accuracy = xr.where(ds["product"] > 5, 0.96 - lost, 0.96 + 0 * loss)
    return ds.assign(test_loss=loss, train_loss=loss, test_accuracy=accuracy).assign_attrs(budget="cpu")


def test_losses_that_are_least_at_the_right_scale_hold() -> None:
    assert failures("fischer/trained", trained_at(2.2)) == []


@pytest.mark.parametrize(
    ("product", "exponent", "lost", "noticed"),
    [
        (1.05, 0.0, 0.1, "from the response to length"),
        (3.2, 0.0, 0.1, "rho sqrt(L) of the least"),
        (2.2, 0.5, 0.1, "best rho at L = 10"),
        (2.2, -0.5, 0.1, "best rho at L = 10"),
        (2.2, 0.0, 0.01, "accuracy lost"),
    ],
    ids=["length", "large", "fixed", "steep", "flat"],
)
def test_losses_of_another_law_fail(product: float, exponent: float, lost: float, noticed: str) -> None:
    found = failures("fischer/trained", trained_at(product, exponent, lost))
    assert any(noticed in failure for failure in found)


def test_every_setting_has_a_name() -> None:
    assert len(SETTINGS) == len({setting for of in trainability.BUDGETS.values() for setting in of.settings})
