"""Checks of arguments that many verbs share."""

from __future__ import annotations

import math
import os
from typing import Any

_GROUP_LIMIT = (
    "/sys/fs/cgroup/memory.max"  # what Linux lets this process and its siblings use, where it is set
)


def positive_integer(name: str, value: Any, remedy: str) -> int:
    """The value as an int; any number that is whole will do, 4.0 and those of NumPy and torch included.

    Raises:
        ValueError: it is not a whole number from 1 on; the sentence ends with the remedy.
    """
    try:
        whole = not is_truth(value) and bool(value >= 1) and bool(value % 1 == 0)
    except (TypeError, ValueError, RuntimeError):
        whole = False
    if not whole:
        raise ValueError(f"{name} must be a positive integer, got {value!r}; {remedy}")
    return int(value)


def finite_number(name: str, value: Any) -> float:
    """The value as a float, whatever holds it. Raises ValueError if it is not a finite number."""
    try:
        found = math.nan if isinstance(value, str) or is_truth(value) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return found


def is_truth(value: Any) -> bool:
    """Whether it is True or False, of Python, NumPy or torch: they compare like 1 and 0, yet are none."""
    return str(getattr(value, "dtype", type(value).__name__)) in ("bool", "bool_", "torch.bool")


def flag(name: str, value: Any) -> bool:
    """The value as a bool; that of NumPy will do. Raises ValueError if it is anything else."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_size(x: Any, size: int, of: str = "inputs") -> None:
    """Raise ValueError unless vectors, a tensor (..., number), have as many numbers as a matrix takes."""
    if x.shape[-1] != size:
        raise ValueError(
            f"a matrix of {size} {of} was given vectors of {x.shape[-1]} numbers; mend its shape, (in, out), "
            "where in is one more with a bias, or what multiplies it"
        )


def states(value: object, fact: str, *behaviour: str) -> bool:
    """Whether what a class, or that of an object, says of itself is said of what it does.

    A subclass that does something else inherits what its parent says of itself, which is not true of it: a
    fact counts if the class that states it is the one that defines the behaviour, or a subclass of that.
    """
    order = (value if isinstance(value, type) else type(value)).__mro__

    def place(name: str) -> int:
        return next((i for i, cls in enumerate(order) if name in vars(cls)), len(order))

    return all(place(fact) <= place(name) for name in behaviour)


def check_memory(what: str, needed: float, remedy: str, device: Any = "cpu") -> None:
    """Refuse a request that does not fit into memory, before it starts.

    Args:
        what: the request, with what decides its size, as in "100 networks of depth 10"; plural.
        needed: bytes that it holds at once; an estimate from below is enough.
        remedy: what to give instead.
        device: torch's, or its name.

    Raises:
        ValueError: `needed` is more than the memory of the machine, or of the device.
    """
    there = memory_of(device)
    if needed > there:
        raise ValueError(f"{what} need about {_size(needed)}, and this machine has {_size(there)}; {remedy}")


def check_device(device: Any) -> Any:
    """The device of this name, as torch has it. Raises ValueError where there is none to compute on."""
    import torch  # slow to import

    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"there is no device {device!r}; give for example 'cpu'") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"this machine has no device {str(found)!r} that torch can use; give device='cpu'")
    if found.type == "meta":
        raise ValueError("device 'meta' holds no numbers; give for example 'cpu'")
    return found


def memory_of(device: Any = "cpu") -> float:
    """Bytes of memory of a device; infinity where they cannot be told."""
    if str(device).startswith("cuda"):
        import torch  # slow to import

        return float(torch.cuda.get_device_properties(device).total_memory)
    if not hasattr(os, "sysconf"):
        return math.inf
    return float(min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), _limit_of_group()))


def _limit_of_group() -> float:
    """Of a container."""
    try:
        with open(_GROUP_LIMIT, encoding="ascii") as file:
            return float(file.read())
    except (OSError, ValueError):  # no such file, or "max"
        return math.inf


def _size(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count < 1e300 else "over 1e291 GB"
