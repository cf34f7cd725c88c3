"""The verb `study`: simulate every cell of a grid and label the results."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from resnet_sde._observed import check_parts, observable_name
from resnet_sde.checks import positive_integer
from resnet_sde.model import Model
from resnet_sde.monte_carlo import Ensemble, check_memory_of, check_results
from resnet_sde.runs.execute import Executor, check_executor
from resnet_sde.runs.identity import environment
from resnet_sde.runs.progress import progress_bar
from resnet_sde.runs.store import Record, Store
from resnet_sde.runs.versions import current_versions
from resnet_sde.studies.attributes import describe
from resnet_sde.studies.axes import axis_labels, check_names, grid_values
from resnet_sde.studies.cells import Cell, Results, identities, make_cells, parts, pieces
from resnet_sde.studies.pool import Task, check_picklable, run_tasks

log = logging.getLogger("resnet_sde")


def study(
    build: Callable[..., Model],
    x: Tensor,
    *,
    over: Mapping[str, Sequence[object]],
    samples: int,
    observe: Sequence[object],
    depth: int | None = None,
    gradients: bool = False,
    method: str = "auto",
    seed: int = 0,
    workers: int = 1,
    executor: Executor | None = None,
    batch: int = 256,
    store: str | Path | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Simulate an ensemble at every point of a grid.

    A cell's numbers depend on its model, its depth, the inputs, the observables, the method and the seed
    alone: not on the rest of the grid, on `workers`, `executor` or `batch`, or on whether it was read back
    from `store`.

    Args:
        build: from the coordinates of a point, except depth, to its Model; called in this process.
        x: inputs as in `simulate`, the same for every cell.
        over: values along every axis of the grid, any sequences; "depth" may be one of them.
        samples: networks in each cell.
        observe: observables of different names that keep no count; module-level functions for more workers.
        depth: number of layers, if it is no axis of the grid.
        gradients: run the backward pass even if no observable asks for it.
        method: "auto", "dense" or "deferred", as in `simulate`.
        seed: a non-negative integer.
        workers: local processes. A script with more than one needs the ``if __name__ == "__main__":`` guard.
        executor: one of `concurrent.futures` that works in their place; it is not shut down.
        batch: networks handed to a worker at a time, rounded up to whole chunks.
        store: folder that keeps every finished cell; the same study started again goes on from what is there.
            Where it cannot be told what decides a number, or the disk is full, a warning says so.
        progress: draw a progress bar on standard error if that is a terminal.

    Returns:
        One variable for each observable, with the axes of the grid first, then "sample", then its own
        (results of different depths are padded with NaN along "layer"); `model` and `method` say what ran in
        each cell; seed (as a string from 2^31 on), versions and configuration are attributes.

    Raises:
        ValueError: an argument is out of range, or two labels of an axis or two observables are the same.
        RuntimeError: a worker process could not start or died, and why; cells finished before are kept.
        OSError: the store cannot be made or written to when the study starts.

    Example:
        >>> import torch
        >>> from resnet_sde import RELU, Model, TwoLayer, WhiteNoise, observables
        >>> ds = study(
        ...     lambda beta: Model(TwoLayer(RELU), WhiteNoise(), width=20, beta=beta),
        ...     torch.ones(1, 8),
        ...     over={"beta": [0.5, 1.0], "depth": [10, 40]},
        ...     samples=30,
        ...     observe=[observables.displacement],
        ... )
        >>> ds.displacement.dims
        ('beta', 'depth', 'sample', 'input')
    """
    values = grid_values(over, depth)
    axes = axis_labels(values)
    for name, value in (("workers", workers), ("batch", batch)):
        positive_integer(name, value, "give for example 1")
    check_executor(executor)
    request: dict[str, Any] = {"samples": samples, "gradients": gradients, "method": method, "seed": seed}
    cells = make_cells(build, x, values, depth=depth, observe=observe, **request)
    check_names(observe, axes)
    check_memory_of([cell.ensemble for cell in cells], x, observe)
    if workers > 1 and executor is None:
        check_picklable(observe, [cell.ensemble for cell in cells])
    configuration = _configuration(cells[0].ensemble, x, axes, gradients=bool(gradients), method=method)
    kept = None if store is None else _opened(store, configuration, x)
    results = _compute_missing(
        cells, x, observe, kept, batch=int(batch), progress=progress, workers=int(workers), executor=executor
    )
    return _labelled(cells, results, axes, observe, versions=current_versions(), configuration=configuration)


def _opened(store: str | Path, configuration: Mapping[str, object], x: Tensor) -> Store:
    manifest = {"study": configuration, "environment": environment(x.device)}
    return Store(store, "cells/{key}.npz", manifest=manifest)


def _configuration(
    settled: Ensemble, x: Tensor, axes: Mapping[str, object], *, gradients: bool, method: str
) -> dict[str, object]:
    """What was asked for, in numbers that JSON knows."""
    return {
        **{"samples": settled.samples, "gradients": gradients, "method": method, "seed": settled.seed},
        **({} if "depth" in axes else {"depth": settled.depth}),
        "over": axes,
        "input": {"shape": list(x.shape), "dtype": str(x.dtype), "device": x.device.type},
    }


def _compute_missing(
    cells: Sequence[Cell],
    x: Tensor,
    observe: Sequence[object],
    store: Store | None,
    *,
    workers: int,
    executor: Executor | None,
    batch: int,
    progress: bool,
) -> list[Results]:
    """Results of all cells, from the store where they are there."""
    every = pieces(cells)
    asked = identities(cells, every, x, observe) if store is not None else []
    results: list[Results | None] = [None] * len(every)
    if store is not None:
        results = [dict(found.arrays) if (found := store.load(each)) else None for each in asked]
    missing = [number for number, found in enumerate(results) if found is None]
    like = next((found for found in results if found is not None), None)
    sizes = [piece.networks.stop - piece.networks.start for piece in every]
    there = sum(sizes) - sum(sizes[number] for number in missing)
    if there:
        log.info("%d of %d networks were there already", there, sum(sizes))
    tasks: list[Task] = [
        (number, part, every[number].ensemble, chunks)
        for number in missing
        for part, chunks in enumerate(parts(every[number].ensemble, every[number].chunks, batch))
    ]
    open_parts = Counter(task[0] for task in tasks)
    finished: dict[int, dict[int, list[Results]]] = {number: {} for number in missing}
    bar = progress_bar(shown=progress, total=sum(sizes), initial=there, unit="net", delay=2)
    with bar, closing(run_tasks(tasks, x, observe, workers, executor)) as tasks_done:
        for number, part, chunks in tasks_done:
            if not finished[number]:
                check_results(every[number].ensemble, chunks[0])
            finished[number][part] = chunks
            bar.update(sum(len(next(iter(chunk.values()))) for chunk in chunks))
            if len(finished[number]) == open_parts[number]:
                whole = _joined(chunk for _, some in sorted(finished.pop(number).items()) for chunk in some)
                _check_like(like, whole)
                results[number] = like = whole
                if store is not None:
                    store.save(asked[number], Record(whole))
    by_cell: list[list[Results]] = [[] for _ in cells]
    for piece, result in zip(every, results, strict=True):
        assert result is not None
        by_cell[piece.cell].append(result)
    return [_joined(some) for some in by_cell]


def _joined(consecutive: Iterable[Results]) -> Results:
    """Results of all networks. Raises ValueError if some have other axes than others."""
    ordered = list(consecutive)
    if len(ordered) == 1:
        return ordered[0]
    check_parts(ordered)
    return {name: np.concatenate([part[name] for part in ordered]) for name in ordered[0]}


def _check_like(before: Results | None, whole: Results) -> None:
    """Raise ValueError if an observable has another number of axes here than in what was there before."""
    if before is None:
        return
    for name, values in whole.items():
        if before[name].ndim != values.ndim:
            raise ValueError(
                f"observable {name} returned {before[name].ndim} axes in one cell and {values.ndim} in "
                "another; return as many for every model and depth"
            )


def _labelled(
    cells: Sequence[Cell],
    results: Sequence[Results],
    axes: Mapping[str, Sequence[object]],
    observe: Sequence[object],
    *,
    versions: Mapping[str, str],
    configuration: Mapping[str, object],
) -> xr.Dataset:
    grid = tuple(len(labels) for labels in axes.values())
    variables: dict[str, object] = {}
    for observable in observe:
        name = observable_name(observable)
        values = [result[name] for result in results]
        shape = tuple(max(sizes) for sizes in zip(*(v.shape for v in values), strict=True))
        kind = np.result_type(*values)
        padded = np.full((*grid, *shape), np.nan, dtype=kind if np.issubdtype(kind, np.inexact) else float)
        for cell, value in zip(cells, values, strict=True):
            padded[cell.index][tuple(slice(size) for size in value.shape)] = value
        own = getattr(observable, "dims", None) or tuple(f"{name}_{axis}" for axis in range(1, len(shape)))
        variables[name] = ((*axes, "sample", *own), padded)
    for name, text in (
        ("model", [repr(c.ensemble.model) for c in cells]),
        ("method", [c.ensemble.method for c in cells]),
    ):
        variables[name] = (tuple(axes), np.array(text).reshape(grid))
    attributes = {
        "seed": seed if (seed := cells[0].ensemble.seed) < 2**31 else str(seed),  # netCDF-3 has 32 bits
        "method": ", ".join(sorted({cell.ensemble.method for cell in cells})),
        "versions": json.dumps(versions),
        "configuration": json.dumps(configuration),
    }
    coordinates = {name: list(labels) for name, labels in axes.items()}
    return describe(xr.Dataset(variables, coordinates, attributes), observe)
