"""What a random stream is called: the same in every process and under every option of printing.

The name of a plain object is its `repr`. A `repr` may hold what changes from process to process, though: a
place in memory, sets in the order of hashes, digits as options of printing want them. So containers,
dataclasses, arrays and functions are named by their parts; what cannot be named so is refused.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import re
import sys
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

LATER = {"later": True}  # of a field that came after records were kept: at its default, no name shows it
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...))
_COMPILED = (
    "torch",
    "numpy",
    "scipy.special",
    "torch._C._special",
    "torch._C._nn",
)  # functions without a home
# In a `repr` that someone has written: a place in memory; digits cut off by options of printing; and a set,
# whose order is that of hashes.
_UNSTABLE = re.compile(r"\b0x[0-9a-fA-F]{4,}|\b(?:tensor|array)\(|\.\.\.|\{[^{}:]*,[^{}:]*\}")


def stable_name(value: object, where: str = "the key") -> str:
    """The `repr` of an object, but for parts whose `repr` is not the same everywhere.

    Args:
        value: strings, numbers, containers, enumerations, arrays, functions of modules, dataclasses of
            these, and objects with a `repr` of their own.
        where: what the object is part of, for the refusal.

    Raises:
        ValueError: there is no such name; the message says of which field.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _PLAIN or isinstance(value, (torch.Size, torch.dtype, torch.device)):
        return repr(value)
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return repr(str(value))
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, (Tensor, np.ndarray)):
        return _of_array(value, where)
    if isinstance(value, (tuple, list, dict, set, frozenset)):
        return _of_container(value, where)
    if isinstance(value, (FunctionType, BuiltinFunctionType, type, np.ufunc)):
        return _of_function(value, where)
    if isinstance(value, partial):
        parts = (value.func, value.args, value.keywords)
        return f"partial({', '.join(stable_name(part, where) for part in parts)})"
    if _generated(value):
        fields = _shown(value)
        named = (f"{f.name}={stable_name(getattr(value, f.name), _inside(value, f.name))}" for f in fields)
        return f"{type(value).__qualname__}({', '.join(named)})"
    return _of_object(value, where)


def _generated(value: object) -> bool:
    """Whether the `repr` of a dataclass is the one that was made for it, and so made of its fields."""
    written = type(value).__repr__
    return dataclasses.is_dataclass(value) and (written is brief or hasattr(written, "__wrapped__"))


def _shown(value: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass that its name shows."""
    fields = (f for f in dataclasses.fields(value) if f.repr)
    return [f for f in fields if not (f.metadata == LATER and getattr(value, f.name) == f.default)]


def brief(self: Any) -> str:
    """The `repr` of a dataclass, without fields that came later and are at their default."""
    shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in _shown(self))
    return f"{type(self).__qualname__}({shown})"


def leave_out(thing: object) -> None:
    """Let a new object not hold fields that came later and are at their default: its digest is as before."""
    for f in dataclasses.fields(thing):  # type: ignore[arg-type]
        if f.metadata == LATER and getattr(thing, f.name) == f.default:
            vars(thing).pop(f.name, None)


def _inside(value: object, name: str) -> str:
    return f"field {name!r} of {type(value).__qualname__}"


def _of_container(value: Any, where: str) -> str:
    if isinstance(value, dict):
        items = [f"{stable_name(k, where)}: {stable_name(v, where)}" for k, v in value.items()]
        return _as(value, dict, f"{{{', '.join(items)}}}")
    parts = [stable_name(part, where) for part in value]
    if isinstance(value, (set, frozenset)):
        kind = set if isinstance(value, set) else frozenset
        inside = f"{{{', '.join(sorted(parts))}}}" if parts else ""
        return _as(value, kind, inside if kind is set and parts else f"{kind.__name__}({inside})")
    if hasattr(value, "_fields") and len(value._fields) == len(parts):
        named = (f"{name}={part}" for name, part in zip(value._fields, parts, strict=True))
        return f"{type(value).__name__}({', '.join(named)})"
    if isinstance(value, list):
        return _as(value, list, f"[{', '.join(parts)}]")
    inside = f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
    return _as(value, tuple, inside)


def _as(value: object, kind: type, inside: str) -> str:
    """A container of its own class says so."""
    return inside if type(value) is kind else f"{type(value).__qualname__}({inside})"


def _of_array(value: Tensor | np.ndarray, where: str) -> str:
    """By content: digits are printed as options of printing want them."""
    if isinstance(value, Tensor):
        plain = value.detach().cpu().to_dense()
        value = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    array = value
    if array.dtype.hasobject:
        return f"array({stable_name(array.tolist(), where)})"
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"array({array.dtype.str}, {array.shape}, {digest})"


def _of_function(value: Any, where: str) -> str:
    """By the place where it is found again; functions inside of functions have none."""
    own = getattr(value, "__module__", None), getattr(value, "__qualname__", value.__name__)
    for home, name in (own, *((home, value.__name__) for home in _COMPILED)):
        found: Any = sys.modules.get(home or "builtins")
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is value:  # a worker process calls the main module otherwise
            return f"{'__main__' if home == '__mp_main__' else home}.{name}"
    raise ValueError(
        f"random numbers are named by what they are for, and {where} holds the function {own[1]}, which has "
        "no name of its own; define it at the top level of a module"
    )


def _of_object(value: object, where: str) -> str:
    name = repr(value)
    with np.printoptions(precision=1, threshold=2, floatmode="fixed"):
        printed = repr(value) == name
    if not printed or _UNSTABLE.search(name) or type(value).__repr__ is object.__repr__:
        raise ValueError(
            f"random numbers are named by what they are for, and {where} is called {name[:200]}, which is "
            "not the same in every process; give the objects in it a __repr__ that says what they are"
        )
    return name
