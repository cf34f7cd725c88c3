"""What all experiments with trained networks share: a grid of jobs, and its outcomes as a dataset."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from experiments.execution import HERE, Execution
from resnet_sde.runs.versions import current_versions
from resnet_sde.training import Data, TrainingConfig, TrainingJob, TrainingResult, load_data, train

NUMBERS = (
    *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("test_loss", "test_accuracy", "diverged", "steps"),
)


@dataclass(frozen=True)
class Images:
    """Where examples come from; see `load_data`."""

    source: str = "digits"
    scaling: str = "pixels"
    validation: int | None = None
    test: int | None = None
    limit: int | None = None

    def load(self) -> Data:
        """The examples."""
        return load_data(
            self.source, scaling=self.scaling, validation=self.validation, test=self.test, limit=self.limit
        )


def outcomes_over(
    axes: Mapping[str, Sequence[object]],
    job: Callable[..., TrainingJob],
    config: TrainingConfig,
    data: Data,
    how: Execution = HERE,
) -> tuple[xr.Dataset, np.ndarray]:
    """Outcomes of the jobs at all points of a grid: their numbers with its axes, and all there is of them.

    Args:
        axes: labels along every axis.
        job: from the labels of a point to what is trained there.
        config: how all of them are trained.
        data: the examples.
        how: they are trained.
    """
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    found = train(
        [job(**point) for point in points],
        config,
        data,
        stack=how.stack,
        workers=how.workers,
        executor=how.executor,
        store=how.store,
        progress=how.progress,
    )
    shape = tuple(len(values) for values in axes.values())
    everything = np.empty(len(found), dtype=object)
    everything[:] = found
    variables = {
        name: (tuple(axes), np.array([float(getattr(each, name)) for each in found]).reshape(shape))
        for name in NUMBERS
    }
    coordinates = {name: [_label(value) for value in values] for name, values in axes.items()}
    return xr.Dataset(variables, coordinates), everything.reshape(shape)


def of_outcomes(everything: np.ndarray, value: Callable[[TrainingResult], object]) -> np.ndarray:
    """A number, or an array, of every outcome; the axes of the grid first."""
    found = np.array([value(each) for each in everything.flat])
    return found.reshape(*everything.shape, *found.shape[1:])


def at_best_rate(ds: xr.Dataset) -> xr.Dataset:
    """The outcomes at the learning rate of the best mean validation accuracy, without the axis rate.

    Of equally good rates it is the smallest, kept as the variable `rate`. Test images are not asked.
    """
    best = ds.validation_accuracy.mean("sample").sortby("rate").idxmax("rate")
    return ds.sel(rate=best).drop_vars("rate").assign(rate=best)


def attributes(experiment: object, data: Data, seed: int) -> dict[str, object]:
    """What a dataset says of its origin."""
    sizes = {"train": len(data.train.x), "validation": len(data.validation.x), "test": len(data.test.x)}
    return {
        "experiment": repr(experiment),
        "data": json.dumps({"name": data.name, **sizes}),
        "seed": seed,
        "versions": json.dumps(current_versions()),
    }


def _label(value: object) -> object:
    return value if isinstance(value, (int, float, str)) else str(value)
