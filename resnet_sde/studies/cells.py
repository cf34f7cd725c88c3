"""The cells of a study: what each one computes, and what decides its results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resnet_sde._observed import observable_name
from resnet_sde.ensembles import Ensemble, check_request, plan, warn_of_rounding
from resnet_sde.model import Model
from resnet_sde.runs.identity import digest, digests, environment
from resnet_sde.runs.store import Identity

Results = dict[str, np.ndarray]


@dataclass(frozen=True)
class Cell:
    """One point of the grid.

    index: position along every axis of the grid.
    """

    index: tuple[int, ...]
    ensemble: Ensemble


def make_cells(
    build: Callable[..., Model],
    x: Tensor,
    over: Mapping[str, Sequence[object]],
    *,
    depth: int | None,
    samples: int,
    observe: Sequence[object],
    **request: object,
) -> list[Cell]:
    """All cells of the grid, checked; `build` runs here, so workers see frozen models only."""
    check_request(x, samples, observe)
    ensembles, before = {}, x.detach().clone()
    for index in itertools.product(*(range(len(values)) for values in over.values())):
        point = {name: values[i] for (name, values), i in zip(over.items(), index, strict=True)}
        layers = point.pop("depth", depth)
        model = _built(build, point)
        if not torch.equal(x.detach(), before):
            raise ValueError("build writes into the inputs x; let it work on a copy, as in x.clone()")
        ensembles[index] = plan(model, x, depth=layers, samples=samples, observe=observe, **request)  # type: ignore[arg-type]
    for ensemble in ensembles.values():
        warn_of_rounding(ensemble, x)
    return [Cell(index, ensemble) for index, ensemble in ensembles.items()]


def identities(cells: Sequence[Cell], x: Tensor, observe: Sequence[object]) -> list[Identity | None]:
    """What decides the results of each cell; None, after a warning, where that cannot be told."""
    (code,) = digests([list(observe)])
    models = digests(cell.ensemble.model for cell in cells) if code is not None else [None] * len(cells)
    shared = {
        "input": digest(x.detach()),
        "observe": [observable_name(each) for each in observe],
        "code": code,
        "environment": environment(x.device),
    }
    return [
        None if model is None else {"cell": repr(cell.ensemble), "model": model, **shared}
        for cell, model in zip(cells, models, strict=True)
    ]


def _built(build: Callable[..., Model], point: Mapping[str, object]) -> Model:
    model = build(**point)
    if not isinstance(model, Model):
        at = ", ".join(f"{name} = {value!r}" for name, value in point.items())
        raise ValueError(f"build returned {model!r} at {at or 'the only point'}; it must return a Model")
    return model


def as_arrays(results: Mapping[str, Tensor]) -> Results:
    """Tensors as arrays."""
    return {name: values.numpy() for name, values in results.items()}


def parts(ensemble: Ensemble, batch: int) -> Iterator[range]:
    """The grains of a cell in pieces of about `batch` networks, whole grains each."""
    step = max(1, -(-batch // ensemble.grain))
    for start in range(0, ensemble.grains, step):
        yield range(start, min(start + step, ensemble.grains))
