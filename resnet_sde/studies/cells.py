"""The cells of a study: what each one computes, and what decides its results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from resnet_sde._observed import observable_name
from resnet_sde.model import Model
from resnet_sde.monte_carlo import Ensemble, check_request, plan, warn_of_rounding
from resnet_sde.runs.identity import digest, digests, environment
from resnet_sde.runs.store import Identity

Results = dict[str, np.ndarray]

KEPT = 1000  # networks of a record, about


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


@dataclass(frozen=True)
class Piece:
    """Networks of a cell that are kept as one record, so that cells of more networks can be made of them.

    cell: its number.
    chunks: of the cell; all but the last piece of a cell have as many networks.
    """

    cell: int
    ensemble: Ensemble
    chunks: range

    @property
    def networks(self) -> slice:
        """Which networks of the cell these are."""
        first, last = self.chunks[0], self.chunks[-1]
        return slice(self.ensemble.networks(first).start, self.ensemble.networks(last).stop)


def pieces(cells: Sequence[Cell]) -> list[Piece]:
    """All pieces of all cells, those of a cell in the order of its networks."""
    return [
        Piece(number, cell.ensemble, chunks)
        for number, cell in enumerate(cells)
        for chunks in parts(cell.ensemble, range(cell.ensemble.chunks), KEPT)
    ]


def identities(
    cells: Sequence[Cell], pieces: Sequence[Piece], x: Tensor, observe: Sequence[object]
) -> list[Identity | None]:
    """What decides the results of each piece of the cells; None, after a warning, where that cannot be told.

    How many networks come after a piece does not.
    """
    (code,) = digests([list(observe)])
    models = digests(cell.ensemble.model for cell in cells) if code is not None else [None] * len(cells)
    inputs: dict[tuple[int, int], str] = {}  # by the networks that see them; (0, 0) if all see the same
    shared = {
        "observe": [observable_name(each) for each in observe],
        "code": code,
        "environment": environment(x.device),
    }
    found: list[Identity | None] = []
    for piece in pieces:
        own, model = piece.networks, models[piece.cell]
        if model is None:
            found.append(None)
            continue
        key = (own.start, own.stop) if x.ndim == 3 else (0, 0)
        if key not in inputs:
            inputs[key] = digest(x.detach()[own] if x.ndim == 3 else x.detach())
        cell = repr(replace(piece.ensemble, samples=own.stop))
        found.append({"cell": cell, "from": own.start, "model": model, "input": inputs[key], **shared})
    return found


def _built(build: Callable[..., Model], point: Mapping[str, object]) -> Model:
    model = build(**point)
    if not isinstance(model, Model):
        at = ", ".join(f"{name} = {value!r}" for name, value in point.items())
        raise ValueError(f"build returned {model!r} at {at or 'the only point'}; it must return a Model")
    return model


def as_arrays(results: Mapping[str, Tensor]) -> Results:
    """Tensors as arrays."""
    return {name: values.numpy() for name, values in results.items()}


def parts(ensemble: Ensemble, chunks: range, networks: int) -> Iterator[range]:
    """Consecutive chunks in parts of about so many networks, whole chunks each."""
    step = max(1, -(-networks // ensemble.chunk))
    for start in range(0, len(chunks), step):
        yield chunks[start : start + step]
