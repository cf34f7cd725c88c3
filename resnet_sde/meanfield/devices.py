"""Theory is computed on the CPU, in float64: by rules, root finders and solvers that are quicker there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_R = TypeVar("_R")


def computed_on_the_cpu(f: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, with tensors of another device brought to the CPU, and what it finds taken back there."""

    @wraps(f)
    def found(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = [t.device for value in (*args, *kwargs.values()) for t in _tensors(value).values()]
        device = next((d for d in given if d.type != "cpu"), None)
        if device is None:
            return f(*args, **kwargs)
        cpu = torch.device("cpu")
        on_cpu: Any = [_moved(value, cpu) for value in args]
        named: Any = {name: _moved(value, cpu) for name, value in kwargs.items()}
        result: _R = _moved(f(*on_cpu, **named), device)
        return result

    return found


def _tensors(value: Any) -> dict[str, Tensor]:
    """A tensor, or those that a dataclass holds."""
    if isinstance(value, Tensor):
        return {"": value}
    if not is_dataclass(value) or isinstance(value, type):
        return {}
    held = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    return {name: part for name, part in held.items() if isinstance(part, Tensor)}


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    parts = {name: part.to(device) for name, part in _tensors(value).items()}
    return replace(value, **parts) if parts else value
