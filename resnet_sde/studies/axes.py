"""The axes of a grid: what is handed to `build` along each of them, and how their points are labelled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from torch import Tensor

from resnet_sde._observed import observable_name

Label = str | float | int
_USED = ("sample", "input", "layer", "model", "method")


def grid_values(over: Mapping[str, Iterable[object]], depth: object) -> dict[str, list[object]]:
    """The values along every axis: those of arrays and tensors as plain numbers, others as they are.

    Raises:
        ValueError: an axis is not one sequence of values, or its name is that of something else; or depth is
            given twice or not at all.
    """
    if not isinstance(over, Mapping):
        raise ValueError(f"over must map names of axes to their values, got {type(over).__name__}")
    if ("depth" in over) == (depth is not None):
        raise ValueError("give the depth either as an axis in `over` or as `depth`, and only once")
    for name in over:
        if name in _USED:
            raise ValueError(f"{name!r} is an axis or a variable of the results; give this axis another name")
    return {name: _plain(name, values) for name, values in over.items()}


def axis_labels(values: Mapping[str, Sequence[object]]) -> dict[str, list[Label]]:
    """Coordinates of every axis: numbers and strings as they are, other values by their string.

    Raises:
        ValueError: an axis has no value, one twice, or one that is not a number.
    """
    axes = {}
    for name, along in values.items():
        plain = [_number(value) for value in along]
        labels: list[Label] = [v if isinstance(v, (str, int, float)) else str(v) for v in plain]
        if any(isinstance(label, str) for label in labels):
            labels = [str(label) for label in labels]
        elif any(isinstance(label, int) and abs(label) >= 2**31 for label in labels):
            labels = [_as_float(label) for label in labels]  # netCDF-3 has 32 bits
        # As coordinates they become one array, where large integers next to fractions are rounded.
        if not labels or len(np.unique(np.asarray(labels))) < len(labels):
            raise ValueError(f"axis {name!r} needs at least one value, and no value twice; got {labels}")
        if any(isinstance(label, float) and math.isnan(label) for label in labels):
            raise ValueError(f"axis {name!r} holds NaN, which labels nothing; remove it")
        _check_exact(name, plain, labels)
        axes[name] = labels
    return axes


def _as_float(label: Label) -> float:
    try:
        return float(label)
    except OverflowError:
        return math.inf


def _check_exact(name: str, given: Sequence[object], labels: Sequence[Label]) -> None:
    """Raise ValueError where a label is a float that is not the whole number it stands for."""
    for value, label in zip(given, labels, strict=True):
        if isinstance(value, int) and isinstance(label, float) and value != label:
            raise ValueError(
                f"axis {name!r} holds {value}, and labels are floats, which cannot hold it; give whole "
                "numbers up to 2^53, or strings"
            )


def check_names(observe: Sequence[object], axes: Mapping[str, object]) -> None:
    """Raises ValueError if an observable or one of its axes has a name that the results use already."""
    dims = [("input", "other_input", "layer"), *(getattr(o, "dims", ()) for o in observe)]
    used = {"model", "method", "sample", *axes}
    for observable in observe:
        name, own = observable_name(observable), tuple(getattr(observable, "dims", ()))
        if name in used or any(name in others for others in dims):
            raise ValueError(f"an observable cannot have the name {name!r}, which the results use already")
        for axis in own:
            if axis in used or own.count(axis) > 1:
                raise ValueError(
                    f"axis {axis!r} of observable {name} has a name that the results use already; give it "
                    "another"
                )


def _plain(name: str, values: Iterable[object]) -> list[object]:
    array = values.detach().cpu() if isinstance(values, Tensor) else values
    if hasattr(array, "__array__"):  # of NumPy, torch, pandas or xarray
        array = np.asarray(array)
        if array.ndim != 1:
            raise ValueError(f"axis {name!r} has shape {array.shape}; give a sequence of values")
        return array.tolist()
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ValueError(
            f"axis {name!r} must be a sequence of values, got {values!r}; give for example a list"
        )
    return list(array)


def _number(value: object) -> object:
    """A scalar of NumPy or torch as the number that it holds; anything else as it is."""
    if isinstance(value, np.generic) or (isinstance(value, (np.ndarray, Tensor)) and value.ndim == 0):
        return value.item()
    return value
