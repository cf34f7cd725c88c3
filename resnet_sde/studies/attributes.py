"""Long names and units of what a study returns."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

import numpy as np
import xarray as xr

from resnet_sde._observed import observable_name
from resnet_sde.parts import BLOCKS, LAWS, choices

_LONG_NAMES = {
    "law": "law of the weights along depth",
    **{option: choice.title for option, choice in {**choices(LAWS), **choices(BLOCKS)}.items()},
    "block": "residual branch",
    "pre_norm": "normalization of the state before each branch",
    "post_norm": "normalization of the sum of state and branch",
    "activation": "activation φ",
    "width": "width d of the hidden states",
    "depth": "number of layers L",
    "beta": "scaling exponent β of the residual scale gain · L^(−β)",
    "gain": "residual scale at depth 1",
    "skip": "weight of the identity branch",
    "model": "model of a cell",
    "method": "how weights were drawn in a cell: in full (dense), or where they are looked at (deferred)",
}


def describe(dataset: xr.Dataset, observe: Iterable[object]) -> xr.Dataset:
    """Give every variable and coordinate a `long_name`, and numbers `units`: 1, as they are pure numbers.

    The long name of an observable is the first sentence of its docstring, its name if it has none. An
    observable that has units says so in an attribute `units`.
    """
    observables = {observable_name(each): each for each in observe}
    for name, variable in dataset.variables.items():
        source = observables.get(str(name))
        own = _sentence(source) if source is not None else None
        variable.attrs["long_name"] = own or _LONG_NAMES.get(str(name), str(name))
        if np.issubdtype(variable.dtype, np.number):
            variable.attrs["units"] = str(getattr(source, "units", "1"))
    return dataset


def _sentence(observable: object) -> str | None:
    """The first sentence of the docstring of a function."""
    text = inspect.getdoc(observable) if inspect.isroutine(observable) else None
    return re.split(r"\.(?:\s|$)", " ".join(text.split()))[0] if text else None
