"""The cells of a study: what each one computes, under which name it is kept, and the files that keep it."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import numpy as np
from torch import Tensor

from resnet_sde.ensembles import Ensemble, check_request, plan, warn_of_rounding
from resnet_sde.model import Model
from resnet_sde.runs.store import write_whole

Results = dict[str, np.ndarray]


@dataclass(frozen=True)
class Cell:
    """One point of the grid.

    index: position along every axis of the grid.
    key: name under which its results are kept, a digest of everything that its numbers depend on.
    """

    index: tuple[int, ...]
    ensemble: Ensemble
    key: str


def make_cells(
    build: Callable[..., Model],
    x: Tensor,
    over: Mapping[str, Sequence[object]],
    *,
    depth: int | None,
    samples: int,
    observe: Sequence[object],
    versions: Mapping[str, str],
    **request: object,
) -> list[Cell]:
    """All cells of the grid, checked; `build` runs here, so workers see frozen models only."""
    check_request(x, samples, observe)
    ensembles = {}
    for index in itertools.product(*(range(len(values)) for values in over.values())):
        point = {name: values[i] for (name, values), i in zip(over.items(), index, strict=True)}
        layers = point.pop("depth", depth)
        model = _built(build, point)
        ensembles[index] = plan(model, x, depth=layers, samples=samples, observe=observe, **request)  # type: ignore[arg-type]
    for ensemble in ensembles.values():
        warn_of_rounding(ensemble, x)
    shared = [_digest_input(x), x.device.type, *map(_identity, observe), sorted(versions.items())]
    return [
        Cell(index, ensemble, hashlib.sha256(json.dumps([repr(ensemble), *shared]).encode()).hexdigest()[:32])
        for index, ensemble in ensembles.items()
    ]


def _built(build: Callable[..., Model], point: Mapping[str, object]) -> Model:
    model = build(**point)
    if not isinstance(model, Model):
        at = ", ".join(f"{name} = {value!r}" for name, value in point.items())
        raise ValueError(f"build returned {model!r} at {at or 'the only point'}; it must return a Model")
    return model


class CellStore:
    """A folder with one file for each finished cell. A file appears whole or not at all.

    Raises:
        OSError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "cells"
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder):
            pass

    def load(self, cell: Cell, names: Sequence[str]) -> Results | None:
        """These results of a finished cell; None if there are none, or the file is damaged."""
        try:
            with self._path(cell).open("rb") as content, np.load(content, allow_pickle=False) as file:
                results = {name: file[name] for name in file.files}
        except Exception:  # a damaged archive can raise nearly anything
            return None
        sizes = {name: len(values) for name, values in results.items()}
        return results if sizes == dict.fromkeys(names, cell.ensemble.samples) else None

    def save(self, cell: Cell, results: Results) -> None:
        """Keep the results of a finished cell."""
        buffer = io.BytesIO()
        np.savez(buffer, **results)  # type: ignore[arg-type]
        write_whole(self._path(cell), buffer.getvalue())

    def _path(self, cell: Cell) -> Path:
        return self._folder / f"{cell.key}.npz"


def _digest_input(x: Tensor) -> str:
    content = x.detach().cpu().contiguous().numpy()
    return hashlib.sha256(repr((x.dtype, tuple(x.shape))).encode() + content.tobytes()).hexdigest()


def _identity(observe: object) -> str:
    """Name of an observable, and its code: an edited function is another observable."""
    name = f"{getattr(observe, '__module__', '')}.{getattr(observe, '__qualname__', '')}"
    body = repr(observe)
    if isinstance(observe, FunctionType):
        captured = [cell.cell_contents for cell in observe.__closure__ or ()]
        body = _body(observe.__code__) + repr((observe.__defaults__, observe.__kwdefaults__, captured))
    return f"{name} {hashlib.sha256(body.encode()).hexdigest()}"


def _body(code: CodeType) -> str:
    """What a function does, in a form that is the same in every process."""
    constants = [
        _body(constant)
        if isinstance(constant, CodeType)
        else repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
        for constant in code.co_consts
    ]
    return repr((code.co_code, code.co_names, constants))


def as_arrays(results: Mapping[str, Tensor]) -> Results:
    """Tensors as arrays."""
    return {name: values.numpy() for name, values in results.items()}


def parts(ensemble: Ensemble, batch: int) -> Iterator[range]:
    """The grains of a cell in pieces of about `batch` networks, whole grains each."""
    step = max(1, -(-batch // ensemble.grain))
    for start in range(0, ensemble.grains, step):
        yield range(start, min(start + step, ensemble.grains))
